//! The real program: started, asked by its own command line, killed.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, PoisonError, mpsc},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Result, http::drain};

/// Longest start: what recovery is allowed to take.
const READY: Duration = Duration::from_secs(10);

/// One installation: the program and where its data lies.
pub struct Site {
    program: PathBuf,
    pub data: PathBuf,
    log: PathBuf,
    password: PathBuf,
    /// Commands at work, which end with the daemon; while it is down none begins.
    commands: Mutex<BTreeMap<u64, Child>>,
    open: Mutex<(bool, u64)>,
    /// How long what is deleted can be restored.
    pub keep: &'static str,
}

/// A running daemon.
pub struct Daemon {
    child: Child,
    pub address: String,
}

/// How a command ended.
pub enum Said {
    Done {
        out: String,
        err: String,
    },
    Refused(String),
    /// It was killed, or not begun.
    Nothing,
}

impl Site {
    pub fn new(program: &Path, data: &Path, beside: &Path, keep: &'static str) -> Self {
        Self {
            program: program.to_owned(),
            data: data.to_owned(),
            log: beside.join("log"),
            password: beside.join("admin-password"),
            commands: Mutex::default(),
            open: Mutex::default(),
            keep,
        }
    }

    fn spawn(&self) -> Result<Child> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = self.command();
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--metrics-listen", "off", "--data"])
            .arg(&self.data);
        command.arg("--admin-password-file").arg(&self.password).env("PACKHOUSE_SPACE_RESERVE", "0");
        // Each lost answer to an upload's beginning leaves a session behind.
        command
            .env("PACKHOUSE_LIMITS_SESSIONS_PER_CALLER", "100000")
            .env("PACKHOUSE_SERVER_LOG_LEVEL", "warn");
        // What nothing holds is collected all the time, and its files go at once.
        for (name, value) in [("INTERVAL", "30ms"), ("GRACE", "0"), ("RATE", "0")] {
            command.env(format!("PACKHOUSE_GC_{name}"), value);
        }
        command.env("PACKHOUSE_TRASH_KEEP", self.keep);
        Ok(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn()?)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PACKHOUSE_"))
        {
            command.env_remove(name);
        }
        command
    }

    /// Starts the daemon and waits until it listens; says how long that took.
    pub fn start(&self) -> Result<(Daemon, Duration)> {
        let begun = Instant::now();
        let mut child = self.spawn()?;
        let (said, hear) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            // The rest is read as well, so that what else it says does not fill the pipe.
            std::thread::spawn(move || {
                let mut stdout = BufReader::new(stdout);
                let mut line = String::new();
                let _ = stdout.read_line(&mut line);
                let _ = said.send(line);
                drain(stdout);
            });
        }
        let line = hear.recv_timeout(READY).unwrap_or_default();
        match line.trim().strip_prefix("listening on http://") {
            Some(address) => Ok((Daemon { child, address: address.to_owned() }, begun.elapsed())),
            None => {
                let _ = child.kill();
                let status = child.wait()?;
                Err(format!("no start within {READY:?} ({status}), it said {line:?}\n{}", self.log_tail())
                    .into())
            }
        }
    }

    /// A daemon on its way up, which nobody waits for.
    pub fn begin(&self) -> Result<Daemon> {
        Ok(Daemon { child: self.spawn()?, address: String::new() })
    }

    /// Lets commands begin, or not.
    pub fn let_commands(&self, open: bool) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).0 = open;
    }

    /// Sends a signal to every command at work.
    pub fn signal_commands(&self, signal: Signal) {
        for child in self.commands.lock().unwrap_or_else(PoisonError::into_inner).values() {
            // It was not waited for yet, so the number is still its own.
            let _ = kill_process(Pid::from_child(child), signal);
        }
    }

    /// Runs an administration command, as an operator would.
    pub fn cli(&self, args: &[&str]) -> Result<Said> {
        let (out, err, id);
        {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            if !open.0 {
                return Ok(Said::Nothing);
            }
            let mut command = self.command();
            command.args(args).arg("--data").arg(&self.data).stdin(Stdio::null());
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
            (out, err) = (child.stdout.take(), child.stderr.take());
            open.1 += 1;
            id = open.1;
            self.commands.lock().unwrap_or_else(PoisonError::into_inner).insert(id, child);
        }
        let (out, err) = (out.map(drain).unwrap_or_default(), err.map(drain).unwrap_or_default());
        let status = self.ended(id)?;
        Ok(match status.code() {
            Some(0) => Said::Done { out: out.trim().to_owned(), err },
            Some(_) => Said::Refused(err),
            None => Said::Nothing,
        })
    }

    fn ended(&self, id: u64) -> Result<ExitStatus> {
        loop {
            {
                let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
                let child = commands.get_mut(&id).ok_or("a command is gone")?;
                if let Some(status) = child.try_wait()? {
                    commands.remove(&id);
                    return Ok(status);
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The same, which must succeed.
    pub fn admin(&self, args: &[&str]) -> Result<String> {
        match self.cli(args)? {
            Said::Done { out, .. } => Ok(out),
            Said::Refused(why) => Err(format!("{args:?}: {why}").into()),
            Said::Nothing => Err(format!("{args:?} did not end by itself").into()),
        }
    }

    /// The same installation, from a backup, in another place.
    pub fn from_backup(&self, data: &Path, beside: &Path) -> Self {
        Self::new(&self.program, data, beside, self.keep)
    }

    /// Runs a command that is about another folder than this one; says whether it succeeded, and what it said.
    pub fn run(&self, args: &[&std::ffi::OsStr]) -> Result<(bool, String)> {
        let output = self.command().args(args).stdin(Stdio::null()).output()?;
        let text = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
    }

    /// Checks the folder while no daemon runs; `None` when this program cannot.
    pub fn fsck(&self, deep: bool) -> Result<Option<(bool, String)>> {
        let mut command = self.command();
        command.arg("fsck").args(deep.then_some("--deep")).arg("--data").arg(&self.data);
        let output = command.output()?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        Ok((output.status.code() != Some(2)).then(|| (output.status.success(), text)))
    }

    /// What the daemons of the last round complained about, and an empty log again.
    pub fn complaints(&self) -> Vec<String> {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let _ = File::create(&self.log);
        let bad = |line: &&str| line.contains("panicked") || line.contains(" ERROR ");
        log.lines().filter(bad).map(str::to_owned).collect()
    }

    pub fn log_tail(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Daemon {
    pub fn kill(mut self) -> Result {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Stops every thread, and waits until none of them runs.
    pub fn freeze(&self) -> Result {
        kill_process(Pid::from_child(&self.child), Signal::STOP)?;
        let tasks = format!("/proc/{}/task", self.child.id());
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let mut running = 0;
            for task in fs::read_dir(&tasks)? {
                let stat = fs::read_to_string(task?.path().join("stat")).unwrap_or_default();
                // The name before the state may hold anything, a bracket too.
                let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
                running += usize::from(state != Some('T'));
            }
            if running == 0 {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(format!("{running} threads do not stop").into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
