//! The raw steps: plain HTTP/1.1 over a socket, one connection a request, so that a case can cut
//! one in the middle. Over loopback without TLS only.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::daemon::{Hub, USER};
use crate::harness::{Result, check, fail};

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn expect(self, what: &str, status: u16) -> Result<Reply> {
        check(self.status == status, || {
            let body = String::from_utf8_lossy(&self.body);
            format!("{what}: status {}, want {status}\n{body}", self.status)
        })?;
        Ok(self)
    }

    /// Where to go on, as a path: the header may be absolute or relative.
    pub fn location(&self) -> Result<String> {
        let Some(location) = self.header("Location") else {
            return fail(format!("no Location in {:?}", self.headers));
        };
        Ok(match location.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("/", |slash| &rest[slash..]).to_owned(),
            None => location.to_owned(),
        })
    }

    /// The number of bytes that an upload session says it holds (`Range: 0-<last>`).
    pub fn held(&self) -> Result<usize> {
        let range = self.header("Range").unwrap_or_default();
        match range.split_once('-').map(|(first, last)| (first, last.parse::<usize>())) {
            // `0-0` is what everyone says of an empty session.
            Some(("0", Ok(0))) => Ok(0),
            Some(("0", Ok(last))) => Ok(last + 1),
            _ => fail(format!("Range of an upload is {range:?}")),
        }
    }
}

pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

pub fn upload_end(location: &str, digest: &str) -> String {
    let joint = if location.contains('?') { '&' } else { '?' };
    format!("{location}{joint}digest={digest}")
}

/// A user's way of talking to one daemon.
#[derive(Clone)]
pub struct Raw {
    host: String,
    basic: String,
}

impl Raw {
    pub fn new(hub: &Hub) -> Raw {
        Raw::with(hub, USER, &hub.token)
    }

    pub fn with(hub: &Hub, user: &str, token: &str) -> Raw {
        let basic = STANDARD.encode(format!("{user}:{token}"));
        Raw { host: hub.host.clone(), basic }
    }

    /// Sends a head that announces `length` bytes; the caller writes them.
    pub fn open(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        length: u64,
    ) -> Result<TcpStream> {
        let mut stream = TcpStream::connect(&self.host)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.set_write_timeout(Some(Duration::from_secs(60)))?;
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n", self.host);
        head += &format!("Authorization: Basic {}\r\nConnection: close\r\n", self.basic);
        for (key, value) in headers {
            head += &format!("{key}: {value}\r\n");
        }
        head += &format!("Content-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        Ok(stream)
    }

    pub fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Reply> {
        let mut stream = self.open(method, target, headers, body.len() as u64)?;
        stream.write_all(body)?;
        reply(stream)
    }

    pub fn get(&self, target: &str) -> Result<Reply> {
        self.send("GET", target, &[], b"")
    }

    /// Announces `body`, sends the first `sent` bytes of it and is gone.
    pub fn cut(&self, method: &str, target: &str, body: &[u8], sent: usize) -> Result<TcpStream> {
        let mut stream = self.open(method, target, &[], body.len() as u64)?;
        stream.write_all(&body[..sent])?;
        stream.flush()?;
        Ok(stream)
    }

    /// Opens an upload session and returns its location.
    pub fn begin(&self, repo: &str) -> Result<String> {
        let target = format!("/v2/{repo}/blobs/uploads/");
        self.send("POST", &target, &[], b"")?.expect("opening an upload", 202)?.location()
    }

    pub fn push_blob(&self, repo: &str, bytes: &[u8]) -> Result<String> {
        let digest = digest(bytes);
        let target = upload_end(&self.begin(repo)?, &digest);
        let kind = [("Content-Type", "application/octet-stream")];
        self.send("PUT", &target, &kind, bytes)?.expect("closing an upload", 201)?;
        Ok(digest)
    }

    pub fn push_manifest(&self, repo: &str, tag: &str, kind: &str, bytes: &[u8]) -> Result<String> {
        let target = format!("/v2/{repo}/manifests/{tag}");
        self.send("PUT", &target, &[("Content-Type", kind)], bytes)?.expect("pushing a manifest", 201)?;
        Ok(digest(bytes))
    }
}

pub fn hang_up(stream: &TcpStream) {
    let _ = stream.shutdown(Shutdown::Both);
}

/// Reads the whole answer of a connection that closes after it.
pub fn reply(mut stream: TcpStream) -> Result<Reply> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return fail(format!("no HTTP answer: {:?}", String::from_utf8_lossy(&bytes)));
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let Some(status) = status else {
        return fail(format!("no status in {head:?}"));
    };
    let pairs = lines.filter_map(|line| line.split_once(':'));
    let headers = pairs.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect();
    let mut reply = Reply { status, headers, body: bytes.split_off(end + 4) };
    if reply.header("Transfer-Encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        reply.body = unchunk(&reply.body)?;
    }
    if let Some(Ok(length)) = reply.header("Content-Length").map(str::parse::<usize>) {
        check(reply.body.len() == length, || format!("{} bytes of {length} arrived", reply.body.len()))?;
    }
    Ok(reply)
}

fn unchunk(mut rest: &[u8]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let Some(end) = rest.windows(2).position(|window| window == b"\r\n") else {
            return fail("a chunked answer ended early");
        };
        let line = String::from_utf8_lossy(&rest[..end]);
        let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)?;
        if size == 0 {
            return Ok(body);
        }
        rest = &rest[end + 2..];
        check(rest.len() >= size + 2, || "a chunk is shorter than it says".into())?;
        body.extend_from_slice(&rest[..size]);
        rest = &rest[size + 2..];
    }
}
