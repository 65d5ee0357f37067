//! A daemon that several tests share, started by the first. Each test keeps to repositories of its own, so nothing else
//! has to be apart. It ends with the test program, however that ends.

use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{Client, Server};

/// A shared daemon: put it into a `static`.
pub struct Shared {
    settings: &'static [(&'static str, &'static str)],
    server: OnceLock<Server>,
    clients: Mutex<BTreeMap<String, Client>>,
    next: AtomicU64,
}

impl Shared {
    /// A daemon with some settings, as `PACKHOUSE_…` variables.
    pub const fn new(settings: &'static [(&'static str, &'static str)]) -> Self {
        Self {
            settings,
            server: OnceLock::new(),
            clients: Mutex::new(BTreeMap::new()),
            next: AtomicU64::new(0),
        }
    }

    /// The daemon.
    pub fn server(&'static self) -> &'static Server {
        self.server.get_or_init(|| {
            let server = Server::with(self.settings);
            reap_at_exit(&server);
            server
        })
    }

    /// A client that signs in with a token with every scope for packages. The user is added by the first who asks.
    pub fn signed_in(&'static self, user: &str) -> Client {
        let server = self.server();
        let mut clients = self.clients.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        clients.entry(user.to_owned()).or_insert_with(|| server.signed_in(user)).clone()
    }

    /// A client without credentials.
    pub fn anonymous(&'static self) -> Client {
        self.server().anonymous()
    }

    /// A number that nobody else gets.
    pub fn number(&'static self) -> u64 {
        self.next.fetch_add(1, Relaxed)
    }

    /// A repository of an owner that no other test uses.
    pub fn repository(&'static self, owner: &str) -> String {
        format!("{owner}/r{}", self.number())
    }
}

/// Statics are not dropped. A shell waits until this process is gone, seen by the end of its input, and cleans up.
fn reap_at_exit(server: &Server) {
    let script = "trap '' INT TERM HUP; cat >/dev/null; kill -9 \"$1\" 2>/dev/null; rm -rf \"$2\"";
    let reaper = Command::new("sh")
        .args(["-c", script, "reaper", &server.pid().to_string()])
        .arg(server.folder())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Its input stays open as long as this process lives.
    std::mem::forget(reaper);
}
