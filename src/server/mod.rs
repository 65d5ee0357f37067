//! Listens, takes requests through the pipeline to an adapter, counts, and stops in order.
//!
//! `listen` accepts; `connection` speaks TLS and HTTP with every bound set; `linger`, `framing`, `pulse` and `stall` are
//! the bounds that hyper leaves to us; `pipeline` takes one request, `dispatch` chooses its adapter, `flight` writes it
//! down. [`App`] puts them together, for the daemon and for tests alike.

mod audit;
mod connection;
mod control;
mod dispatch;
mod expiry;
mod flight;
mod framing;
mod lanes;
mod limits;
mod linger;
mod listen;
mod log;
mod metrics;
mod outgoing;
mod pipeline;
mod probe;
mod pulse;
mod sendfile;
mod socket;
mod stall;
mod tasks;
mod tls;

use std::{io::Write as _, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::Notify,
};

use self::{
    connection::Shared,
    lanes::Lanes,
    listen::Door,
    metrics::Page,
    pipeline::{Pipeline, Serve},
    probe::Probe,
    tasks::Tasks,
    tls::Tls,
};
pub use self::{
    control::Control,
    dispatch::{Entry, Table, entry, standard},
    lanes::LOOK_EVERY,
    log::start as start_log,
    metrics::Metrics,
    pipeline::{Ask, Authenticate},
    tasks::Phase,
};
use crate::{
    config::{Config, Limits},
    error::{Error, Result},
    jobs::{self, Job},
    registry::Registry,
};

/// What the server serves, made by whoever opened the stores.
pub struct Parts {
    /// The domain.
    pub registry: Arc<Registry>,
    /// Reads credentials.
    pub gate: Arc<dyn Authenticate>,
    /// Which adapter serves a first path segment; [`standard`] outside of tests.
    pub table: Table,
    /// Serves the control socket in the data folder, if there is to be one.
    pub control: Option<Control>,
    /// Background jobs.
    pub jobs: Vec<Job>,
}

impl Parts {
    /// The adapters, the jobs and the credentials of this program, over this registry.
    pub fn new(registry: Registry) -> Self {
        let gate = Arc::new(registry.authenticator());
        let (table, jobs) = (standard as Table, jobs::standard(&registry));
        Self { registry: Arc::new(registry), gate, table, control: None, jobs }
    }
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Parts")
    }
}

/// The server, before it runs.
#[derive(Debug)]
pub struct App;

/// The server, running in this process's runtime.
#[derive(Debug)]
pub struct Running {
    addresses: Vec<SocketAddr>,
    metrics_address: Option<SocketAddr>,
    metrics: Arc<Metrics>,
    secure: bool,
    tasks: Tasks,
    fresh: Arc<Notify>,
    drain: Duration,
}

impl App {
    /// Binds every address and serves. When it returns, requests are answered.
    ///
    /// # Errors
    /// Invalid or unavailable, when the configuration cannot work: an address in use, a bad certificate.
    pub async fn start(config: &Config, parts: Parts) -> Result<Running> {
        config.check()?;
        let metrics = Arc::new(Metrics::new()?);
        let tasks = Tasks::new();
        let fresh = Arc::new(Notify::new());
        let server = &config.server;
        let tls = match (&server.tls_cert, &server.tls_key) {
            (Some(cert), Some(key)) => Some(Arc::new(Tls::load(cert, key, metrics.clone())?)),
            _ => None,
        };
        let registry = parts.registry.clone();
        let control = parts.control.map(|control| Ok((control::bind(&server.data)?, control))).transpose()?;
        // Everything that can fail is done before anything runs.
        let listeners = server.listen.iter().map(|address| bound(*address)).collect::<Result<Vec<_>>>()?;
        let page = server.metrics.map(bound).transpose()?;

        let start = Start { config, metrics: &metrics, tasks: &tasks };
        let addresses = listeners.iter().map(|(_, address)| *address).collect();
        let metrics_address = page.as_ref().map(|(_, address)| *address);
        let secure = tls.is_some();
        start.jobs(&parts.jobs, &registry);
        start.requests(listeners, parts, tls.clone())?;
        if let Some(page) = page {
            start.metrics_page(page, registry.clone())?;
        }
        if let Some(tls) = tls {
            tasks::spawn(tls.keep_fresh(fresh.clone(), tasks.stop_handle()));
        }
        if let Some((listener, control)) = control {
            tasks::spawn(control::accept(listener, control, registry, tasks.stop_handle()));
        }
        let drain = config.limits.drain_time.0;
        Ok(Running { addresses, metrics_address, metrics, secure, tasks, fresh, drain })
    }
}

fn bound(address: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let listener = listen::bind(address)?;
    let address = listener.local_addr().map_err(Error::internal)?;
    Ok((listener, address))
}

/// What starting needs throughout.
struct Start<'a> {
    config: &'a Config,
    metrics: &'a Arc<Metrics>,
    tasks: &'a Tasks,
}

impl Start<'_> {
    fn probe(&self) -> Probe {
        Probe::new(self.tasks.watch(), self.config.space.reserve.0)
    }

    fn requests(
        &self,
        listeners: Vec<(TcpListener, SocketAddr)>,
        parts: Parts,
        tls: Option<Arc<Tls>>,
    ) -> Result<()> {
        let limits = &self.config.limits;
        let exempt = self.config.server.trusted_proxies.clone();
        let door = Door::new(limits, listen::file_limit(), exempt, self.metrics.clone());
        let pipeline = Pipeline::new(self.config, parts, self.metrics.clone(), self.probe())?;
        let shared = Shared::new(pipeline, tls, self.metrics.clone(), limits, Some(Lanes::start()?));
        self.accept(listeners, shared, door);
        Ok(())
    }

    /// The metrics page has a few places of its own, so that it can be read when all others are taken, and counts
    /// itself nowhere.
    fn metrics_page(&self, listener: (TcpListener, SocketAddr), registry: Arc<Registry>) -> Result<()> {
        let limits = Limits { connections: 32, connections_per_address: 32, ..self.config.limits.clone() };
        let unseen = Arc::new(Metrics::new()?);
        let door = Door::new(&limits, u64::MAX, Vec::new(), unseen.clone());
        let (metrics, reserve) = (self.metrics.clone(), self.config.space.reserve.0);
        let page = Page { metrics, registry, probe: self.probe(), reserve };
        self.accept(vec![listener], Shared::new(page, None, unseen, &limits, None), door);
        Ok(())
    }

    fn accept<H: Serve>(
        &self,
        listeners: Vec<(TcpListener, SocketAddr)>,
        shared: Shared<H>,
        door: Arc<Door>,
    ) {
        let shared = Arc::new(shared);
        for (listener, address) in listeners {
            let stop = self.tasks.stop_handle();
            tasks::spawn(listen::accept(listener, address, shared.clone(), door.clone(), stop));
        }
    }

    fn jobs(&self, jobs: &[Job], registry: &Arc<Registry>) {
        for job in jobs.iter().copied() {
            let (metrics, registry) = (self.metrics.clone(), registry.clone());
            let report = move |good, took| metrics.job(job.name, good, took);
            let mut stop = self.tasks.stop_handle();
            tasks::spawn(
                async move { jobs::run(job, registry, report, stop.reached(Phase::Draining)).await },
            );
        }
    }
}

impl Running {
    /// Where it listens, in the order of the configuration, with the ports it got.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where its metrics page is.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// What it counts.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The first address as a URL.
    pub fn url(&self) -> String {
        self.addresses.first().map(|address| self.url_of(address)).unwrap_or_default()
    }

    fn url_of(&self, address: &SocketAddr) -> String {
        format!("{}://{address}", if self.secure { "https" } else { "http" })
    }

    /// Loads the certificate again, as SIGHUP does.
    pub fn reload(&self) {
        self.fresh.notify_one();
    }

    /// Stops: accepts nothing more, says so on `/readyz`, finishes what was begun within the drain time, then closes.
    /// Says whether everything finished by itself.
    pub async fn shutdown(self) -> bool {
        self.tasks.stop(self.drain).await
    }
}

/// What the daemon says when it is up, and how it reads its configuration again.
#[derive(Clone, Copy)]
pub struct Launch<'a> {
    /// Printed behind the addresses.
    pub greeting: &'a str,
    /// Reads the configuration from where it came from.
    pub reread: &'a (dyn Fn() -> Result<Config> + Sync),
}

impl std::fmt::Debug for Launch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Launch")
    }
}

/// Runs the daemon until SIGTERM or SIGINT. The first line on standard output says where it listens; then comes the
/// greeting, if there is one. A second signal
/// ends the drain at once. SIGHUP loads the certificate again.
///
/// # Errors
/// As [`App::start`].
pub async fn run(config: &Config, parts: Parts, launch: Launch<'_>) -> Result<()> {
    log::start(&config.server)?;
    let registry = parts.registry.clone();
    let files = listen::raise_file_limit();
    let [mut terminate, mut interrupt, mut hangup] =
        [on(SignalKind::terminate())?, on(SignalKind::interrupt())?, on(SignalKind::hangup())?];
    let running = App::start(config, parts).await?;
    announce(&running, launch.greeting)?;
    tracing::info!(files, version = env!("CARGO_PKG_VERSION"), "started");
    loop {
        tokio::select! {
            _ = hangup.recv() => {
                running.reload();
                renew(&registry, launch.reread);
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    tracing::info!(drain = ?running.drain, "stopping");
    let finished = tokio::select! {
        finished = running.shutdown() => finished,
        _ = terminate.recv() => false,
        _ = interrupt.recv() => false,
    };
    tracing::info!(finished, "stopped");
    Ok(())
}

/// Puts a configuration that was read again in force, as far as that can be done while running: the log's level, the
/// read-only switch, sizes, counts and lifetimes. One that is no good is refused whole, and the old one stays.
fn renew(registry: &Registry, reread: &(dyn Fn() -> Result<Config> + Sync)) {
    match reread().and_then(|config| log::relevel(&config.server).map(|()| config)) {
        Ok(config) => {
            registry.set_settings(config.settings());
            tracing::info!(read_only = config.server.read_only, "the configuration was read again");
        }
        Err(error) => tracing::error!(%error, "the new configuration is refused; the old one stays in force"),
    }
}

fn on(kind: SignalKind) -> Result<Signal> {
    signal(kind).map_err(Error::internal)
}

/// Scripts wait for this line and read the port from it.
fn announce(running: &Running, greeting: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    for address in &running.addresses {
        writeln!(out, "listening on {}", running.url_of(address)).map_err(Error::internal)?;
    }
    out.write_all(greeting.as_bytes()).and_then(|()| out.flush()).map_err(Error::internal)
}
