//! What system calls a daemon makes, in their order: strace on a running process, and a reader of what it writes.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{Server, run};

/// Everything that writes, syncs or names. A question mark: some machines do not have that call.
const CALLS: &str = "fdatasync,fsync,?rename,?renameat,?renameat2,write,writev,pwrite64,pwritev,?pwritev2,\
                     sendto,sendmsg";

/// strace on a daemon, until [`Strace::end`].
pub struct Strace {
    child: Child,
    output: PathBuf,
}

impl Strace {
    /// Follows every thread of a daemon; `Err` says why that is not possible here.
    pub fn attach(server: &Server) -> Result<Self, String> {
        Self::with(server, &["-e", &format!("trace={CALLS}")])
    }

    /// Lets system calls on some paths (all, if none is named) go wrong, as `inject` says in strace's words, until
    /// [`Strace::end`].
    pub fn inject(server: &Server, paths: &[&Path], inject: &str) -> Result<Self, String> {
        let calls = inject.split(':').next().unwrap_or_default();
        let (trace, inject) = (format!("trace={calls}"), format!("inject={inject}"));
        let mut args = vec!["-e", &trace, "-e", &inject];
        for path in paths {
            args.extend(["-P", path.to_str().unwrap()]);
        }
        Self::with(server, &args)
    }

    fn with(server: &Server, what: &[&str]) -> Result<Self, String> {
        let output = server.folder().join("strace");
        let errors = server.folder().join("strace-errors");
        let mut command = Command::new("strace");
        // Paths for descriptors; whole strings, in hexadecimal unless they are plain text.
        command.args(["-f", "-y", "-x", "-s", "1048576"]).args(what);
        command.arg("-o").arg(&output).args(["-p", &server.pid().to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(std::fs::File::create(&errors).unwrap());
        let child = command.spawn().map_err(|error| format!("strace cannot be started: {error}"))?;
        let mut this = Self { child, output };
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let said = std::fs::read_to_string(&errors).unwrap();
            if said.contains(" attached") {
                return Ok(this);
            }
            if this.child.try_wait().unwrap().is_some() || Instant::now() > deadline {
                return Err(format!("strace cannot attach: {}", said.trim()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Lets the daemon go; says what it did.
    pub fn end(mut self) -> Vec<Call> {
        run(Command::new("kill").args(["-INT", &self.child.id().to_string()]));
        self.child.wait().unwrap();
        let mut text = String::new();
        std::fs::File::open(&self.output).unwrap().read_to_string(&mut text).unwrap();
        calls(&text)
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A system call. Times are line numbers: strace holds a thread at the beginning and at the end of a call until it has
/// noted that, so nobody acts on a call's end before its line.
#[derive(Debug, Clone)]
pub struct Call {
    pub name: String,
    /// The arguments as printed.
    pub args: String,
    pub began: usize,
    /// When it ended well; never, if it failed or was still under way at the end of the trace.
    pub ended: Option<usize>,
}

impl Call {
    /// Whether the call is one of these on a descriptor of a path that `is` likes.
    pub fn on(&self, names: &[&str], is: impl Fn(&str) -> bool) -> bool {
        names.contains(&self.name.as_str()) && self.path().is_some_and(is)
    }

    /// The path of the descriptor that is the first argument.
    pub fn path(&self) -> Option<&str> {
        let (number, rest) = self.args.split_once('<')?;
        let (path, _) = rest.split_once('>')?;
        number.bytes().all(|byte| byte.is_ascii_digit()).then_some(path)
    }

    /// Whether it writes these bytes, however strace prints them.
    pub fn writes(&self, bytes: &[u8]) -> bool {
        let hex: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
        self.args.contains(&hex) || std::str::from_utf8(bytes).is_ok_and(|text| self.args.contains(text))
    }
}

/// Reads a trace of several threads.
pub fn calls(trace: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    // For each thread the call it is in.
    let mut open = std::collections::HashMap::new();
    for (at, line) in trace.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(resumed) = rest.strip_prefix("<... ") {
            let Some((_, tail)) = resumed.split_once(" resumed>") else { continue };
            if let Some(index) = open.remove(thread) {
                let call: &mut Call = &mut calls[index];
                call.args.push_str(tail);
                call.ended = succeeded(tail).then_some(at);
            }
            continue;
        }
        // Signals and exits have no name with a parenthesis behind it.
        let Some((name, args)) = rest.split_once('(') else { continue };
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            continue;
        }
        let unfinished = args.strip_suffix("<unfinished ...>");
        if unfinished.is_some() {
            open.insert(thread, calls.len());
        }
        calls.push(Call {
            name: name.to_owned(),
            args: unfinished.unwrap_or(args).to_owned(),
            began: at,
            ended: (unfinished.is_none() && succeeded(args)).then_some(at),
        });
    }
    calls
}

/// Whether the end of a line says that the call did what it was asked: `) = 0`, or a number of bytes.
fn succeeded(tail: &str) -> bool {
    let result = tail.rsplit_once(" = ").map(|(_, result)| result.trim());
    result.is_some_and(|result| result.parse::<u64>().is_ok())
}
