//! The client: one thread, many connections, each a closed loop of requests that a script gives it.
//!
//! It has to cost little, for it shares the machine with the servers it measures: requests are bytes made before the clock
//! starts, uploads go by `sendfile`, and bodies that nobody reads are dropped in the kernel.

mod answer;
mod connection;
mod outgoing;
pub mod paced;
mod stream;
mod tally;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::{
    event::{
        Timespec,
        epoll::{self, EventData, EventFlags},
    },
    time::{ClockId, clock_gettime},
};
use rustls::ClientConfig;

use crate::Result;
pub use connection::Answer;
use connection::{Connection, Progress};
pub use outgoing::{Body, Outgoing, Sink};
pub use stream::Scratch;
pub use tally::Tally;

/// A server, and how a request to it begins.
#[derive(Clone)]
pub struct Target {
    pub address: SocketAddr,
    pub tls: Option<Arc<ClientConfig>>,
    /// Header lines that every request has: Host, and Authorization if need be.
    pub headers: String,
}

impl Target {
    /// The head of a request, with these further header lines.
    pub fn head(&self, method: &str, path: &str, more: &str) -> Vec<u8> {
        format!("{method} {path} HTTP/1.1\r\n{}{more}\r\n", self.headers).into_bytes()
    }

    pub fn get(&self, path: &str) -> Vec<u8> {
        self.head("GET", path, "")
    }
}

/// What the connections of a run say.
pub trait Script {
    /// Puts the next request of connection `at` into `out`; `fresh` when an operation begins with it. False: it has no more.
    ///
    /// # Errors
    /// When there can be none.
    fn request(&mut self, at: usize, fresh: bool, out: &mut Outgoing) -> Result<bool>;

    /// Takes the answer to it.
    ///
    /// # Errors
    /// When it is not what it has to be: the run ends.
    fn answer(&mut self, at: usize, answer: &Answer<'_>) -> Result<Step>;
}

/// How far an operation is after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Further requests belong to it.
    More,
    /// It is done. Times are kept by kind.
    Done(usize),
}

/// When a run is over.
#[derive(Debug, Clone, Copy)]
pub enum End {
    /// At this time, in the middle of whatever goes on: for rates of bytes.
    Cut(Duration),
    /// When what was begun before this time is done: for operations.
    Finish(Duration),
}

/// The longest a run may take after its end should have come.
const PATIENCE: Duration = Duration::from_secs(300);

/// Runs a script over this many connections.
///
/// # Errors
/// When a connection breaks, an answer is wrong, or nothing moves any more.
pub fn run(target: &Target, connections: usize, script: &mut dyn Script, end: End) -> Result<Tally> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut open = Vec::new();
    for at in 0..connections {
        let connection = Connection::open(at, target, None)?;
        epoll::add(&poll, &connection, EventData::new_u64(at as u64), EventFlags::IN)?;
        open.push(connection);
    }
    let mut scratch = Scratch::default();
    let mut events: Vec<epoll::Event> = Vec::with_capacity(connections.clamp(64, 1024));
    let mut tally = Tally::new();
    let cpu = thread_cpu();
    let begun = Instant::now();
    let (lasts, cut) = match end {
        End::Cut(lasts) => (lasts, true),
        End::Finish(lasts) => (lasts, false),
    };
    let mut busy = 0;
    for connection in &mut open {
        let progress = connection.begin(script, begun)?;
        busy += usize::from(settle(&poll, connection, target, progress)?);
    }
    while busy > 0 {
        let spent = begun.elapsed();
        if cut && spent >= lasts {
            break;
        }
        if spent > lasts + PATIENCE {
            return Err("the run does not end".into());
        }
        let wait = if cut { lasts - spent } else { Duration::from_secs(1) };
        let wait = Timespec::try_from(wait)?;
        events.clear();
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), Some(&wait))?;
        let may_begin = begun.elapsed() < lasts;
        for event in &events {
            let connection = &mut open[event.data.u64() as usize];
            let progress = connection.turn(script, &mut scratch, &mut tally, may_begin)?;
            busy -= usize::from(!settle(&poll, connection, target, progress)?);
        }
    }
    tally.seconds = begun.elapsed().as_secs_f64();
    tally.client_cpu = thread_cpu() - cpu;
    Ok(tally)
}

/// Asks to be woken for what the connection waits for now. False: it is done.
fn settle(
    poll: &std::os::fd::OwnedFd,
    connection: &mut Connection,
    target: &Target,
    progress: Progress,
) -> Result<bool> {
    let data = EventData::new_u64(connection.at as u64);
    match progress {
        Progress::Over => {
            epoll::delete(poll, &*connection)?;
            return Ok(false);
        }
        Progress::Waits => {}
        Progress::WantsToSend => {
            epoll::modify(poll, &*connection, data, EventFlags::IN | EventFlags::OUT)?;
        }
        Progress::Sent => epoll::modify(poll, &*connection, data, EventFlags::IN)?,
        Progress::Closed => {
            // The server closes its connections after so many requests: the next one is another.
            connection.reopen(target)?;
            epoll::add(poll, &*connection, data, EventFlags::IN | EventFlags::OUT)?;
        }
    }
    Ok(true)
}

/// Processor seconds of this thread.
pub fn thread_cpu() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
