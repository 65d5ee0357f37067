//! A real daemon for each test, and one client per kind of caller.

pub mod content;
pub mod folder;
pub mod http;
pub mod shared;
pub mod strace;

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use tempfile::TempDir;

pub use http::{Client, Response};
pub use shared::Shared;

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_packhouse");

/// A running daemon over a folder of its own. Dropping it kills the daemon and removes the folder.
pub struct Server {
    child: Mutex<Option<Child>>,
    pub address: String,
    pub metrics: String,
    folder: TempDir,
    settings: Vec<(String, String)>,
    /// What a shell does first, in a mount namespace of the daemon's own: it mounts the data folder.
    mounts: Option<String>,
}

impl Server {
    /// A daemon with the default configuration.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// A daemon with some settings, as `PACKHOUSE_…` variables.
    pub fn with(settings: &[(&str, &str)]) -> Self {
        Self::of(tempfile::tempdir().unwrap(), settings)
    }

    /// A daemon over the data folder `data` in a folder that is there.
    pub fn of(folder: TempDir, settings: &[(&str, &str)]) -> Self {
        Self::made(folder, settings, None)
    }

    /// A daemon whose data folder a shell command mounts before, given the folder above it and the data folder. The mount
    /// is seen by the daemon alone and ends with it; needs root.
    pub fn on(settings: &[(&str, &str)], mounts: impl FnOnce(&Path) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mounts = mounts(folder.path());
        std::fs::create_dir(folder.path().join("data")).unwrap();
        Self::made(folder, settings, Some(mounts))
    }

    fn made(folder: TempDir, settings: &[(&str, &str)], mounts: Option<String>) -> Self {
        let settings = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let mut server = Self {
            child: Mutex::new(None),
            address: String::new(),
            metrics: String::new(),
            folder,
            settings,
            mounts,
        };
        server.boot();
        server
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.child.lock().unwrap().as_ref().unwrap().id()
    }

    fn boot(&mut self) {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))
            .unwrap();
        let metrics = free_port();
        let mut command = match &self.mounts {
            None => Command::new(PROGRAM),
            Some(script) => {
                // Each step becomes the next, so the child's number is the daemon's.
                let mut command = Command::new("unshare");
                command.args(["-m", "sh", "-c", &format!("{script} && exec \"$@\""), "sh", PROGRAM]);
                command
            }
        };
        command.args(["serve", "--listen", "127.0.0.1:0", "--metrics-listen", &metrics]);
        command.arg("--data").arg(self.data());
        command.arg("--admin-password-file").arg(self.folder.path().join("admin-password"));
        command.env("PACKHOUSE_SPACE_RESERVE", "0");
        for (name, value) in &self.settings {
            command.env(name, value);
        }
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        // Whatever else it prints must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        let address =
            line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("{line:?}\n{}", self.log()));
        self.address = address.split_once("://").unwrap().1.to_owned();
        self.metrics = metrics;
        *self.child.lock().unwrap() = Some(child);
    }

    /// Kills the daemon with SIGKILL and starts another on the same folder, at a new address.
    pub fn crash_and_restart(&mut self) {
        self.kill();
        self.boot();
    }

    /// The same with further settings.
    pub fn crash_and_restart_with(&mut self, settings: &[(&str, &str)]) {
        self.settings.extend(settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        self.crash_and_restart();
    }

    /// Ends the daemon with SIGTERM; says how it ended.
    pub fn terminate(&self) -> std::process::ExitStatus {
        self.signal("TERM");
        self.ended()
    }

    /// Sends the daemon a signal.
    pub fn signal(&self, name: &str) {
        run(Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]));
    }

    /// Waits for the daemon's end; says how it ended.
    pub fn ended(&self) -> std::process::ExitStatus {
        let mut child = self.child.lock().unwrap().take().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the daemon did not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// A command that sees the files the daemon sees.
    pub fn inside(&self, program: &str) -> Command {
        if self.mounts.is_none() {
            return Command::new(program);
        }
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.pid().to_string(), "-m", program]);
        command
    }

    /// Runs an administration command against this daemon's folder.
    pub fn admin(&self, args: &[&str]) -> Output {
        self.admin_with(args, "")
    }

    pub fn admin_with(&self, args: &[&str], input: &str) -> Output {
        let mut command = self.inside(PROGRAM);
        command.args(args).arg("--data").arg(self.data());
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// The same, which must succeed; says what it printed.
    pub fn admin_ok(&self, args: &[&str]) -> String {
        let output = self.admin(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Checks all that is stored, every byte, with the daemon running or not: nothing may be found.
    #[track_caller]
    pub fn is_sound(&self) {
        let output = self.admin(&["fsck", "--deep"]);
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    }

    /// Adds a user with a password.
    pub fn user(&self, name: &str, password: &str) {
        let output = self.admin_with(&["user", "add", name, "--password-stdin"], password);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// A token of a user with these scopes.
    pub fn token(&self, user: &str, scopes: &[&str]) -> String {
        let mut args = vec!["token", "create", "--user", user];
        for scope in scopes {
            args.extend(["--scope", scope]);
        }
        self.admin_ok(&args)
    }

    /// Ends every token of a user.
    pub fn revoke_tokens(&self, user: &str) {
        let listed = self.admin_ok(&["token", "list", "--user", user, "--json"]);
        let tokens: serde_json::Value = serde_json::from_str(&listed).unwrap();
        for token in tokens.as_array().unwrap() {
            self.admin_ok(&["token", "revoke", token["id"].as_str().unwrap()]);
        }
    }

    /// A client that signs in with a token with every scope for packages, by Basic. The user is added if need be.
    pub fn signed_in(&self, user: &str) -> Client {
        let known = self.admin_ok(&["user", "list"]);
        if !known.split_whitespace().any(|word| word == user) {
            self.user(user, "correct horse battery");
        }
        let token = self.token(user, &["read:packages", "write:packages", "delete:packages"]);
        Client::new(&self.address).basic(user, &token)
    }

    /// A client without credentials.
    pub fn anonymous(&self) -> Client {
        Client::new(&self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(40).collect();
            eprintln!("the daemon's log ends:\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
    }
}

/// An address nobody listens on now.
pub fn free_port() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// Runs a command that must succeed.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
