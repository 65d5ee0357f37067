//! Accepting connections: how many, from whom, and what to do when the system has no more files to give.

use std::{
    collections::HashMap,
    fs::File,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::FutureExt;
use ipnet::IpNet;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Semaphore,
};

use super::{
    connection::Shared,
    metrics::Metrics,
    pipeline::{Link, Serve},
    pulse::Pulse,
    tasks::{self, Phase, Stop},
};
use crate::{
    config::Limits,
    error::{Error, Kind, Result},
};

/// Connections the kernel may hold ready for us.
const BACKLOG: u32 = 1024;
/// Files that stay with the store, the log and the rest of the daemon, where the system gives that many.
const KEPT_FILES: u64 = 512;
/// The first and the longest pause after a failure to accept.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Refused connections that are told why at one time; further ones are only closed.
const FAREWELLS: usize = 64;

/// Binds an address.
///
/// # Errors
/// Unavailable, naming the address.
pub(super) fn bind(address: SocketAddr) -> Result<TcpListener> {
    let bind = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A restart must not wait for the connections of its predecessor to be forgotten.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bind().map_err(|cause| Error::new(Kind::Unavailable, format!("cannot listen on {address}: {cause}")))
}

/// How many files this process may open.
pub(super) fn file_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Asks the system for as many files as it allows. Says how many that are.
pub(super) fn raise_file_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let (Some(soft), Some(hard)) = (limit.current, limit.maximum) else { return u64::MAX };
    if soft < hard && setrlimit(Resource::Nofile, Rlimit { current: Some(hard), maximum: Some(hard) }).is_ok()
    {
        return hard;
    }
    soft
}

/// How many connections there are, and from whom.
#[derive(Debug)]
pub(super) struct Door {
    most: u32,
    most_per_address: u32,
    exempt: Vec<IpNet>,
    metrics: Arc<Metrics>,
    open: Mutex<Open>,
    farewells: Semaphore,
}

#[derive(Debug, Default)]
struct Open {
    all: u32,
    by_address: HashMap<IpAddr, u32>,
}

/// A connection's place. Dropping it gives the place back.
#[derive(Debug)]
pub(super) struct Place {
    door: Arc<Door>,
    address: Option<IpAddr>,
}

impl Door {
    /// `files`: how many the process may open.
    pub(super) fn new(limits: &Limits, files: u64, exempt: Vec<IpNet>, metrics: Arc<Metrics>) -> Arc<Self> {
        let most =
            u32::try_from(files - KEPT_FILES.min(files / 4)).unwrap_or(u32::MAX).min(limits.connections);
        if most < limits.connections {
            tracing::warn!(
                files,
                connections = most,
                "the system's limit of open files allows fewer connections"
            );
        }
        let (open, farewells) = (Mutex::default(), Semaphore::new(FAREWELLS));
        let most_per_address = limits.connections_per_address;
        Arc::new(Self { most, most_per_address, exempt, metrics, open, farewells })
    }

    /// A place for a connection from this address, or the reason why not.
    fn enter(self: &Arc<Self>, address: IpAddr) -> Result<Place, &'static str> {
        let address = address.to_canonical();
        let counted = !self.exempt.iter().any(|network| network.contains(&address));
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.all >= self.most {
            return Err("total");
        }
        if counted {
            let mine = open.by_address.entry(address).or_default();
            if *mine >= self.most_per_address {
                return Err("address");
            }
            *mine += 1;
        }
        open.all += 1;
        self.metrics.connections.inc();
        Ok(Place { door: self.clone(), address: counted.then_some(address) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.door.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.all -= 1;
        self.door.metrics.connections.dec();
        if let Some(address) = self.address
            && let Some(mine) = open.by_address.get_mut(&address)
        {
            *mine -= 1;
            if *mine == 0 {
                open.by_address.remove(&address);
            }
        }
    }
}

/// Accepts until the daemon drains.
pub(super) async fn accept<H: Serve>(
    listener: TcpListener,
    local: SocketAddr,
    shared: Arc<Shared<H>>,
    door: Arc<Door>,
    mut stop: Stop,
) {
    let mut spare = Spare::new();
    let mut pause = PAUSES.0;
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.reached(Phase::Draining) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                pause = PAUSES.0;
                admit(stream, peer, local, &shared, &door, &stop);
            }
            Err(cause) if is_the_clients(&cause) => {}
            // No files or no memory: without a pause this would be a busy loop, since the connection stays in the queue.
            Err(cause) => {
                shared.metrics.accept_errors.inc();
                tracing::warn!(%cause, ?pause, "cannot accept a connection");
                spare.turn_away(&listener);
                tokio::select! {
                    () = stop.reached(Phase::Draining) => return,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }
}

/// Errors of one connection that was gone before we took it (accept(2)).
fn is_the_clients(cause: &io::Error) -> bool {
    use io::ErrorKind as Is;
    matches!(
        cause.kind(),
        Is::ConnectionAborted | Is::ConnectionReset | Is::ConnectionRefused | Is::Interrupted
    )
}

fn admit<H: Serve>(
    stream: TcpStream,
    peer: SocketAddr,
    local: SocketAddr,
    shared: &Arc<Shared<H>>,
    door: &Arc<Door>,
    stop: &Stop,
) {
    shared.metrics.accepted.inc();
    let place = match door.enter(peer.ip()) {
        Ok(place) => place,
        Err(reason) => {
            shared.metrics.shed(reason);
            if shared.tls.is_none() {
                tasks::spawn(farewell(stream, door.clone()));
            }
            return;
        }
    };
    let local = stream.local_addr().unwrap_or(local);
    let link = Link { peer, local, tls: shared.tls.is_some(), pulse: Arc::new(Pulse::new()), spans: None };
    let (shared, stop) = (shared.clone(), stop.clone());
    tasks::spawn(async move {
        shared.serve(stream, link, stop).await;
        drop(place);
    });
}

const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n\
    Content-Type: application/json\r\nContent-Length: 80\r\n\r\n\
    {\"errors\":[{\"code\":\"UNAVAILABLE\",\"message\":\"too many connections; try again\"}]}\n";

/// Tells a client that there is no place for it. A few at a time, each for a moment: this is courtesy.
async fn farewell(mut stream: TcpStream, door: Arc<Door>) {
    let Ok(_permit) = door.farewells.try_acquire() else { return };
    let say = async {
        stream.write_all(TOO_MANY).await?;
        stream.shutdown().await?;
        // Read what it sends, so that closing is no reset that would destroy the answer.
        let mut sink = [0; 4096];
        while stream.read(&mut sink).await? > 0 {}
        io::Result::Ok(())
    };
    // It left, or took too long: either way it is over.
    let _over = tokio::time::timeout(Duration::from_secs(1), say).await.is_err();
}

/// A file kept open to be closed when there are none left, so that the clients that wait are turned away soon and not
/// left hanging until there are some.
struct Spare(Option<File>);

impl Spare {
    fn new() -> Self {
        Self(File::open("/dev/null").ok())
    }

    fn turn_away(&mut self, listener: &TcpListener) {
        if self.0.take().is_some() {
            // Accepted and dropped, one after the other, as many as may wait.
            let waiting = (0..BACKLOG).map(|_| listener.accept().now_or_never());
            let _turned_away = waiting.take_while(|client| matches!(client, Some(Ok(_)))).count();
        }
        *self = Self::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_has_the_length_it_says() {
        let text = std::str::from_utf8(TOO_MANY).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{}", body.len());
    }

    #[test]
    fn places_are_counted_in_all_and_by_address() {
        let limits = Limits { connections: 3, connections_per_address: 2, ..Limits::default() };
        let exempt = vec!["10.0.0.0/8".parse().unwrap()];
        let door = Door::new(&limits, 1024, exempt, Arc::new(Metrics::new().unwrap()));
        let [a, b, proxy]: [IpAddr; 3] =
            ["192.0.2.1", "192.0.2.2", "10.0.0.1"].map(|text| text.parse().unwrap());
        let first = door.enter(a).unwrap();
        let _second = door.enter(a).unwrap();
        assert_eq!(door.enter(a).unwrap_err(), "address");
        let third = door.enter(b).unwrap();
        assert_eq!(door.enter(b).unwrap_err(), "total");
        drop((first, third));
        let _others = [door.enter(proxy).unwrap(), door.enter(proxy).unwrap()];
        assert_eq!(door.enter(proxy).unwrap_err(), "total");
        assert_eq!(door.open.lock().unwrap().by_address.len(), 1, "nothing is remembered of who left");
    }

    #[test]
    fn few_files_mean_fewer_connections() {
        let door =
            |files| Door::new(&Limits::default(), files, Vec::new(), Arc::new(Metrics::new().unwrap())).most;
        assert_eq!(door(256), 192);
        assert_eq!(door(4096), 3584);
        assert_eq!(door(1 << 20), 8192);
    }
}
