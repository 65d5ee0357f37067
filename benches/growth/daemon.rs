//! The same operations through the real program over HTTP, and what it takes to start and to run.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use packhouse::error::{Error, Kind, Result};

use super::measure::Cost;

/// The program.
const PROGRAM: &str = env!("CARGO_BIN_EXE_packhouse");
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running daemon; killed when dropped.
pub struct Daemon {
    child: Child,
    address: String,
    /// From its start until `/readyz` said yes, in seconds.
    pub ready: f64,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn failed(what: impl Into<String>) -> Error {
    Error::new(Kind::Unavailable, what.into())
}

impl Daemon {
    /// Starts it over a data folder, with every setting at its default but the addresses.
    pub fn start(data: &Path) -> Result<Self> {
        let begun = Instant::now();
        let mut command = Command::new(PROGRAM);
        command.args(["serve", "--listen", "127.0.0.1:0", "--metrics-listen", "off", "--data"]).arg(data);
        command.env("PACKHOUSE_SPACE_RESERVE", "0").stderr(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).spawn().map_err(Error::internal)?;
        let out = child.stdout.take().ok_or_else(|| failed("the daemon has no output"))?;
        let mut daemon = Self { child, address: String::new(), ready: 0.0 };
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line).map_err(Error::internal)?;
        let address = line.trim().strip_prefix("listening on http://");
        daemon.address = address.ok_or_else(|| failed(format!("the daemon said {line:?}")))?.to_owned();
        let mut client = Client::connect(&daemon.address)?;
        while client.get("/readyz", None)?.0 != 200 {
            if begun.elapsed() > PATIENCE {
                return Err(failed("the daemon is not ready"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        daemon.ready = begun.elapsed().as_secs_f64();
        Ok(daemon)
    }

    /// A connection to it.
    pub fn client(&self) -> Result<Client> {
        Client::connect(&self.address)
    }

    /// Bytes of memory it takes: now, and at most until now.
    pub fn memory(&self) -> Result<(u64, u64)> {
        memory_of(&self.child.id().to_string())
    }
}

/// What `/proc` says of a process's resident memory, now and at most, in bytes.
pub fn memory_of(process: &str) -> Result<(u64, u64)> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).map_err(Error::internal)?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib =
            line.and_then(|rest| rest.split_whitespace().next()).and_then(|text| text.parse::<u64>().ok());
        kib.map(|kib| kib * 1024).ok_or_else(|| failed(format!("no {name} in /proc/{process}/status")))
    };
    Ok((field("VmRSS:")?, field("VmHWM:")?))
}

/// Processor time this process took and bytes it sent to the disk so far: seconds, bytes.
pub fn spent() -> Result<(f64, u64)> {
    let stat = std::fs::read_to_string("/proc/self/stat").map_err(Error::internal)?;
    // The name in parentheses may hold anything; behind it, user and system time are the 12th and 13th field.
    let rest = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    let ticks: f64 =
        rest.split_whitespace().skip(11).take(2).filter_map(|text| text.parse::<f64>().ok()).sum();
    let io = std::fs::read_to_string("/proc/self/io").map_err(Error::internal)?;
    let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap_or("0");
    // A tick is a hundredth of a second on every Linux.
    Ok((ticks / 100.0, written.trim().parse().map_err(Error::internal)?))
}

/// One connection that is kept open.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).map_err(Error::internal)?;
        stream.set_nodelay(true).map_err(Error::internal)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(Error::internal)?;
        Ok(Self { stream: BufReader::with_capacity(64 << 10, stream) })
    }

    /// Sends a request and reads the whole answer: status, length of the body.
    pub fn get(&mut self, path: &str, authorization: Option<&str>) -> Result<(u16, usize)> {
        let mut request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n");
        if let Some(value) = authorization {
            request.push_str(&format!("Authorization: {value}\r\n"));
        }
        request.push_str("\r\n");
        self.stream.get_mut().write_all(request.as_bytes()).map_err(Error::internal)?;
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line).map_err(Error::internal)? == 0 {
                return Err(failed("the daemon closed the connection"));
            }
            let line = line.trim_end();
            if status == 0 {
                let word = line.split(' ').nth(1).and_then(|word| word.parse().ok());
                status = word.ok_or_else(|| failed(format!("no status in {line:?}")))?;
            } else if line.is_empty() {
                break;
            } else if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().map_err(Error::internal)?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).map_err(Error::internal)?;
        Ok((status, length))
    }

    /// Times requests, each a path and what authorizes it; all must succeed.
    pub fn time(&mut self, requests: &[(String, String)]) -> Result<Cost> {
        let mut times = Vec::with_capacity(requests.len());
        for (path, authorization) in requests {
            let begun = Instant::now();
            let (status, _) = self.get(path, Some(authorization))?;
            times.push(begun.elapsed());
            if status != 200 {
                return Err(failed(format!("{path}: {status}")));
            }
        }
        Ok(Cost::of(times))
    }
}
