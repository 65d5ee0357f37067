//! What every case stands on: a directory and environment of its own, a deadline, and commands
//! whose failure says which command it was and what it printed.

use std::cell::RefCell;
use std::fmt::Debug;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

pub enum Failure {
    /// Not run, and why.
    Skip(String),
    /// The first line says what went wrong; the rest is what the client printed.
    Fail(String),
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::Fail(error.to_string())
    }
}

pub type Result<T = ()> = std::result::Result<T, Failure>;

pub fn fail<T>(why: impl Into<String>) -> Result<T> {
    Err(Failure::Fail(why.into()))
}

pub fn check(holds: bool, why: impl FnOnce() -> String) -> Result {
    if holds { Ok(()) } else { fail(why()) }
}

pub fn same<T: PartialEq + Debug>(what: &str, got: T, want: T) -> Result {
    check(got == want, || format!("{what}: got {got:?}, want {want:?}"))
}

/// How the daemon of a case is set up.
#[derive(Clone, Copy)]
pub struct Mode {
    pub tls: bool,
    pub challenge: &'static str,
}

pub const HTTP: Mode = Mode { tls: false, challenge: "bearer" };
pub const TLS: Mode = Mode { tls: true, challenge: "basic" };

pub struct Case {
    pub name: &'static str,
    /// Programs without which the case cannot run.
    pub needs: &'static [&'static str],
    pub seconds: u64,
    pub mode: Mode,
    pub run: fn(&Ctx) -> Result,
}

pub struct Ctx {
    pub name: &'static str,
    pub mode: Mode,
    /// This case's own directory, gone when it ends.
    pub dir: PathBuf,
    /// What all cases of one run share: images, the certificate authority.
    pub shared: PathBuf,
    deadline: Instant,
    /// Shown when the case fails.
    logs: RefCell<Vec<PathBuf>>,
    ca: RefCell<Option<PathBuf>>,
}

impl Ctx {
    pub fn new(case: &Case, dir: PathBuf, shared: PathBuf) -> Result<Ctx> {
        for sub in ["home", "tmp", "run", "docker"] {
            fs::create_dir_all(dir.join(sub))?;
        }
        let deadline = Instant::now() + Duration::from_secs(case.seconds);
        let (logs, ca) = (RefCell::default(), RefCell::default());
        Ok(Ctx { name: case.name, mode: case.mode, dir, shared, deadline, logs, ca })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Makes Go programs and OpenSSL trust our authority from here on.
    pub fn trust(&self, ca: &Path) {
        *self.ca.borrow_mut() = Some(ca.to_owned());
    }

    /// A client's command, in an environment that knows nothing of this machine's user.
    pub fn cmd(&self, program: impl AsRef<Path>) -> Cmd<'_> {
        let program = program.as_ref();
        let mut command = Command::new(program);
        command.current_dir(&self.dir);
        self.isolate(&mut command);
        Cmd { ctx: self, shown: program.display().to_string(), command, input: Vec::new() }
    }

    fn isolate(&self, command: &mut Command) {
        command.env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("LANG", "C.UTF-8").env("HOME", self.path("home"));
        command.env("TMPDIR", self.path("tmp")).env("XDG_RUNTIME_DIR", self.path("run"));
        command.env("DOCKER_CONFIG", self.path("docker"));
        command.env("REGISTRY_AUTH_FILE", self.path("auth.json"));
        if let Some(ca) = &*self.ca.borrow() {
            command.env("SSL_CERT_FILE", ca);
        }
    }

    /// Starts a server that ends with its handle; its output goes to a log shown on failure.
    pub fn spawn(&self, program: &Path, log: &str, prepare: impl FnOnce(&mut Command)) -> Result<Server> {
        let log = self.path(log);
        let out = File::options().append(true).create(true).open(&log)?;
        let mut command = Command::new(program);
        command.current_dir(&self.dir).stdin(Stdio::null());
        command.stdout(out.try_clone()?).stderr(out);
        self.isolate(&mut command);
        prepare(&mut command);
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) => return fail(format!("{}: {error}", program.display())),
        };
        if !self.logs.borrow().contains(&log) {
            self.logs.borrow_mut().push(log);
        }
        Ok(Server { child })
    }

    /// Tries again until it works or the time is over.
    pub fn wait_for(&self, what: &str, mut ready: impl FnMut() -> bool) -> Result {
        let until = Instant::now() + self.left().min(Duration::from_secs(60));
        while !ready() {
            check(Instant::now() < until, || format!("{what}: not ready in time"))?;
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// The ends of the servers' logs.
    pub fn log_tails(&self) -> String {
        let mut text = String::new();
        for log in &*self.logs.borrow() {
            let all = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
            let lines: Vec<&str> = all.lines().collect();
            let tail = &lines[lines.len().saturating_sub(25)..];
            text.push_str(&format!("--- end of {}\n{}\n", log.display(), tail.join("\n")));
        }
        text
    }
}

/// A running server. Ends with its handle, politely if it can.
pub struct Server {
    pub child: Child,
}

impl Server {
    pub fn kill(&mut self) -> Result {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    pub fn running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let until = Instant::now() + Duration::from_secs(15);
        while self.running() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.kill();
    }
}

pub struct Output {
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    pub fn json(&self) -> Result<serde_json::Value> {
        match serde_json::from_str(&self.stdout) {
            Ok(value) => Ok(value),
            Err(error) => fail(format!("not JSON ({error}):\n{}", self.stdout)),
        }
    }

    pub fn line(&self) -> &str {
        self.stdout.trim()
    }

    pub fn lines(&self) -> Vec<&str> {
        let mut lines: Vec<&str> = self.stdout.split_whitespace().collect();
        lines.sort_unstable();
        lines
    }

    pub fn mentions(&self, text: &str) -> bool {
        self.stdout.contains(text) || self.stderr.contains(text)
    }
}

pub struct Cmd<'a> {
    ctx: &'a Ctx,
    command: Command,
    shown: String,
    input: Vec<u8>,
}

impl Cmd<'_> {
    pub fn arg(self, arg: impl AsRef<Path>) -> Self {
        self.args([arg.as_ref()])
    }

    pub fn args<A: AsRef<Path>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        for arg in args {
            let text = arg.as_ref().display().to_string();
            // A certificate given as an argument would fill the line.
            self.shown.push_str(&format!(" {}", text.lines().next().unwrap_or("''")));
            self.command.arg(arg.as_ref());
        }
        self
    }

    pub fn env(mut self, key: &str, value: impl AsRef<Path>) -> Self {
        self.command.env(key, value.as_ref());
        self
    }

    pub fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// The command must succeed.
    pub fn run(self) -> Result<Output> {
        let shown = self.shown.clone();
        match self.finish()? {
            (true, output) => Ok(output),
            (false, output) => fail(format!("`{shown}` failed\n{}{}", output.stdout, output.stderr)),
        }
    }

    /// The command must be refused: the registry said no.
    pub fn refused(self) -> Result<Output> {
        let shown = self.shown.clone();
        match self.finish()? {
            (false, output) => Ok(output),
            (true, output) => {
                fail(format!("`{shown}` should have failed\n{}{}", output.stdout, output.stderr))
            }
        }
    }

    /// Output goes to files, not pipes: what a client leaves running cannot hold us up.
    pub fn finish(mut self) -> Result<(bool, Output)> {
        use std::os::unix::process::CommandExt;
        let file = |name: &str| self.ctx.path("tmp").join(name);
        let (input, out, err) = (file(".stdin"), file(".stdout"), file(".stderr"));
        fs::write(&input, &self.input)?;
        self.command.stdin(File::open(&input)?);
        self.command.stdout(File::create(&out)?).stderr(File::create(&err)?);
        let mut child = match self.command.process_group(0).spawn() {
            Ok(child) => child,
            Err(error) => return fail(format!("`{}`: {error}", self.shown)),
        };
        let read = |path: &Path| fs::read(path).map(|b| String::from_utf8_lossy(&b).into_owned());
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if self.ctx.left().is_zero() {
                let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
                child.wait()?;
                return fail(format!("`{}` ran out of time\n{}{}", self.shown, read(&out)?, read(&err)?));
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        Ok((status.success(), Output { stdout: read(&out)?, stderr: read(&err)? }))
    }
}

/// Where a program is on the PATH.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// The digest of a file; OpenSSL's code is fast in every build profile, ours is not.
pub fn digest_of(ctx: &Ctx, file: &Path) -> Result<String> {
    let output = ctx.cmd("openssl").args(["dgst", "-sha256", "-r"]).arg(file).run()?;
    match output.stdout.split(' ').next() {
        Some(hex) if hex.len() == 64 => Ok(format!("sha256:{hex}")),
        _ => fail(format!("openssl dgst printed {:?}", output.stdout)),
    }
}
