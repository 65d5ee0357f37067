//! A blocking HTTP/1.1 client that says exactly what it knows: answered, never sent, or lost on the way.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::Duration,
};

use base64::Engine as _;
use sha2::{Digest as _, Sha256};

use crate::content::{Content, Digest, digest};

/// An answer, whole: a body cut short is a lost answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    headers: Vec<(String, String)>,
    /// The body, unless it was only to be hashed.
    pub body: Vec<u8>,
    /// Of the body.
    pub digest: Digest,
    pub length: u64,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// For the report.
    pub fn shown(&self) -> String {
        let body = String::from_utf8_lossy(&self.body[..self.body.len().min(300)]).into_owned();
        format!("{} {}", self.status, body.trim())
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub enum NoAnswer {
    /// Nobody listens; nothing was sent.
    Refused,
    /// The request may have done what it asks for, or not.
    Lost(String),
}

/// What a request carries.
#[derive(Clone, Copy)]
pub enum Body<'a> {
    None,
    Bytes(&'a [u8]),
    /// A part of a blob, with a length or in chunks without one.
    Part {
        of: &'a Content,
        from: u64,
        to: u64,
        chunked: bool,
    },
}

/// One caller, with one connection that is kept.
pub struct Http {
    address: String,
    authorization: Option<String>,
    stream: Option<BufReader<TcpStream>>,
}

impl Http {
    pub fn new(address: &str) -> Self {
        Self { address: address.to_owned(), authorization: None, stream: None }
    }

    pub fn basic(address: &str, user: &str, secret: &str) -> Self {
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{secret}"));
        Self { authorization: Some(format!("Basic {pair}")), ..Self::new(address) }
    }

    pub fn get(&mut self, target: &str) -> Result<Reply, NoAnswer> {
        self.send("GET", target, &[], Body::None)
    }

    /// Sends a request and reads the answer; a blob's body is hashed and not kept.
    pub fn send(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Body<'_>,
    ) -> Result<Reply, NoAnswer> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(&self.address)?,
        };
        let head = self.head(method, target, headers, body);
        let sent = stream.get_mut().write_all(head.as_bytes()).and_then(|()| write(stream.get_mut(), body));
        // A server that refuses early may stop reading: its answer is what counts.
        let keep = !(method == "GET" && target.contains("/blobs/sha256:"));
        match read(&mut stream, method == "HEAD", keep) {
            Ok(reply) => {
                let closes = reply.header("connection").is_some_and(|it| it.eq_ignore_ascii_case("close"));
                if sent.is_ok() && !closes {
                    self.stream = Some(stream);
                }
                Ok(reply)
            }
            Err(error) => Err(NoAnswer::Lost(format!("{method} {target}: {error}"))),
        }
    }

    fn head(&self, method: &str, target: &str, headers: &[(&str, &str)], body: Body<'_>) -> String {
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n", self.address);
        if let Some(authorization) = &self.authorization {
            head += &format!("Authorization: {authorization}\r\n");
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        match body {
            Body::None if matches!(method, "GET" | "HEAD") => {}
            Body::None => head += "Content-Length: 0\r\n",
            Body::Bytes(bytes) => head += &format!("Content-Length: {}\r\n", bytes.len()),
            Body::Part { chunked: true, .. } => head += "Transfer-Encoding: chunked\r\n",
            Body::Part { from, to, .. } => head += &format!("Content-Length: {}\r\n", to - from),
        }
        head + "\r\n"
    }
}

fn connect(address: &str) -> Result<BufReader<TcpStream>, NoAnswer> {
    let stream = TcpStream::connect(address).map_err(|_| NoAnswer::Refused)?;
    let bounds = Some(Duration::from_secs(120));
    let set = stream.set_read_timeout(bounds).and_then(|()| stream.set_write_timeout(bounds));
    set.and_then(|()| stream.set_nodelay(true)).map_err(|error| NoAnswer::Lost(error.to_string()))?;
    Ok(BufReader::with_capacity(64 << 10, stream))
}

fn write(stream: &mut TcpStream, body: Body<'_>) -> io::Result<()> {
    match body {
        Body::None => Ok(()),
        Body::Bytes(bytes) => stream.write_all(bytes),
        Body::Part { of, from, to, chunked } => {
            let mut buffer = vec![0; 64 << 10];
            let mut at = from;
            while at < to {
                let length = buffer.len().min((to - at) as usize);
                of.fill(at, &mut buffer[..length]);
                if chunked {
                    write!(stream, "{length:x}\r\n")?;
                }
                stream.write_all(&buffer[..length])?;
                if chunked {
                    stream.write_all(b"\r\n")?;
                }
                at += length as u64;
            }
            if chunked { stream.write_all(b"0\r\n\r\n") } else { Ok(()) }
        }
    }
}

fn line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 || !line.ends_with('\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not HTTP: {what:?}"))
}

fn read(stream: &mut BufReader<TcpStream>, head_only: bool, keep: bool) -> io::Result<Reply> {
    let first = line(stream)?;
    let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status: u16 = status.ok_or_else(|| malformed(&first))?;
    let mut headers = Vec::new();
    loop {
        let text = line(stream)?;
        if text.is_empty() {
            break;
        }
        let (name, value) = text.split_once(':').ok_or_else(|| malformed(&text))?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let mut reply = Reply { status, headers, body: Vec::new(), digest: "".into(), length: 0 };
    let mut hasher = Sha256::new();
    let keep = keep || status != 200;
    if !(head_only || status == 204 || status == 304) {
        let chunked = reply.header("transfer-encoding").is_some();
        let length = reply.header("content-length").and_then(|text| text.parse::<u64>().ok());
        match length {
            Some(length) if !chunked => take(stream, length, &mut reply, &mut hasher, keep)?,
            _ if chunked => loop {
                let size = line(stream)?;
                let size = u64::from_str_radix(&size, 16).map_err(|_| malformed(&size))?;
                take(stream, size, &mut reply, &mut hasher, keep)?;
                line(stream)?;
                if size == 0 {
                    break;
                }
            },
            _ => return Err(malformed("a body without a length")),
        }
    }
    reply.digest = digest(hasher);
    Ok(reply)
}

fn take(
    stream: &mut BufReader<TcpStream>,
    length: u64,
    reply: &mut Reply,
    hasher: &mut Sha256,
    keep: bool,
) -> io::Result<()> {
    let mut left = length;
    while left > 0 {
        let buffer = stream.fill_buf()?;
        if buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let length = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        hasher.update(&buffer[..length]);
        if keep {
            reply.body.extend_from_slice(&buffer[..length]);
        }
        stream.consume(length);
        left -= length as u64;
        reply.length += length as u64;
    }
    Ok(())
}

/// Reads what is left, so that a child never waits for its pipe.
pub fn drain(mut from: impl Read) -> String {
    let mut text = String::new();
    let _ = from.read_to_string(&mut text);
    text
}
