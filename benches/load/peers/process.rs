//! Servers as processes of ours: started, watched, ended by their numbers.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::Result;

/// What a server took from the machine so far, its children with it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Processor seconds.
    pub cpu: f64,
    /// Bytes in memory now, and the most since it was asked to forget.
    pub resident: u64,
    pub peak: u64,
}

/// A running server. Dropping it ends it.
pub struct Process {
    child: Child,
}

/// The kernel counts processor time in these parts of a second, on all that Linux runs on.
const TICKS: f64 = 100.0;

impl Process {
    /// Starts it with its words going to a file.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let log = File::options().create(true).append(true).open(log)?;
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
        Ok(Self { child: child.map_err(|error| format!("{command:?}: {error}"))? })
    }

    /// The same, with its standard output's first line given back.
    ///
    /// # Errors
    /// When it cannot be started, or says nothing.
    pub fn start_and_listen(command: &mut Command, log: &Path) -> Result<(Self, String)> {
        let log = File::options().create(true).append(true).open(log)?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn();
        let mut child = child.map_err(|error| format!("{command:?}: {error}"))?;
        let mut stdout = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        let process = Self { child };
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        // Whatever else it prints must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        Ok((process, line.trim().to_owned()))
    }

    fn numbers(&self) -> Vec<u32> {
        let own = self.child.id();
        let mut numbers = vec![own];
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap_or_default();
        numbers.extend(children.split_whitespace().filter_map(|number| number.parse::<u32>().ok()));
        numbers
    }

    /// # Errors
    /// When it has ended.
    pub fn usage(&self) -> Result<Usage> {
        let mut usage = Usage::default();
        for number in self.numbers() {
            let stat = fs::read_to_string(format!("/proc/{number}/stat"))?;
            // The name, in parentheses, may hold anything. After it the fields begin with the third.
            let fields: Vec<&str> =
                stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
            for at in [11, 12] {
                usage.cpu += fields.get(at).ok_or("a strange stat")?.parse::<f64>()? / TICKS;
            }
            let status = fs::read_to_string(format!("/proc/{number}/status"))?;
            usage.resident += kilobytes(&status, "VmRSS:") * 1024;
            usage.peak += kilobytes(&status, "VmHWM:") * 1024;
        }
        Ok(usage)
    }

    /// Begins a new peak of memory.
    pub fn forget_peak(&self) {
        for number in self.numbers() {
            // Not everywhere allowed; then the peak is that of its whole life, which is no less.
            let _ = fs::write(format!("/proc/{number}/clear_refs"), "5");
        }
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<String> {
        self.child.try_wait().ok().flatten().map(|status| status.to_string())
    }
}

fn kilobytes(status: &str, field: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id().cast_signed())
            && self.ended().is_none()
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.ended().is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command that has to succeed; says what it printed.
///
/// # Errors
/// When it does not.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("{command:?}: {}: {said}", output.status).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
