//! A small blocking HTTP/1.1 client: one connection a request, nothing hidden.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use base64::Engine as _;

/// An answer.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.text()))
    }

    /// The code of the first error of an OCI answer.
    pub fn code(&self) -> String {
        self.json()["errors"][0]["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Expects a status; says the answer if it is another.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?} {}", self.headers, self.text());
        self
    }

    /// Expects a status and an OCI error code.
    #[track_caller]
    pub fn refuses(self, status: u16, code: &str) -> Self {
        let this = self.expect(status);
        assert_eq!(this.header("content-type"), Some("application/json"));
        assert_eq!(this.code(), code, "{}", this.text());
        this
    }
}

/// A caller.
#[derive(Debug, Clone)]
pub struct Client {
    address: String,
    authorization: Option<String>,
}

impl Client {
    pub fn new(address: &str) -> Self {
        Self { address: address.to_owned(), authorization: None }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn basic(&self, user: &str, secret: &str) -> Self {
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{secret}"));
        self.authorized(&format!("Basic {pair}"))
    }

    pub fn bearer(&self, token: &str) -> Self {
        self.authorized(&format!("Bearer {token}"))
    }

    pub fn authorized(&self, header: &str) -> Self {
        Self { authorization: Some(header.to_owned()), ..self.clone() }
    }

    /// The same caller at another address, after a restart.
    pub fn at(&self, address: &str) -> Self {
        Self { address: address.to_owned(), ..self.clone() }
    }

    pub fn get(&self, target: &str) -> Response {
        self.send("GET", target, &[], b"")
    }

    pub fn head(&self, target: &str) -> Response {
        self.send("HEAD", target, &[], b"")
    }

    pub fn delete(&self, target: &str) -> Response {
        self.send("DELETE", target, &[], b"")
    }

    pub fn post(&self, target: &str, body: &[u8]) -> Response {
        self.send("POST", target, &[], body)
    }

    pub fn put(&self, target: &str, body: &[u8]) -> Response {
        self.send("PUT", target, &[], body)
    }

    pub fn patch(&self, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        self.send("PATCH", target, headers, body)
    }

    /// Sends a request with a `Content-Length` and reads the answer.
    pub fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let mut stream = self.open(method, target, headers, Some(body.len() as u64));
        // A server that refuses early closes its reading side; the answer is what counts.
        let _ = stream.write_all(body);
        read(&mut stream, method == "HEAD")
    }

    /// Sends a body in chunks, without a length.
    pub fn send_chunked(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        chunks: &[&[u8]],
    ) -> Response {
        let mut stream = self.open(method, target, headers, None);
        for chunk in chunks {
            let _ = write!(stream, "{:x}\r\n", chunk.len());
            let _ = stream.write_all(chunk);
            let _ = stream.write_all(b"\r\n");
        }
        let _ = stream.write_all(b"0\r\n\r\n");
        read(&mut stream, method == "HEAD")
    }

    /// Asks over a connection that stays open.
    pub fn ask(&self, stream: &mut TcpStream, method: &str, target: &str, body: &[u8]) -> Response {
        let authorization = self.authorization.as_deref().unwrap_or_default();
        let (address, length) = (&self.address, body.len());
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: {address}\r\nAuthorization: {authorization}\r\n\
             Content-Type: application/octet-stream\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        read(stream, method == "HEAD")
    }

    /// Opens a connection and sends a request's head; the body is the caller's.
    pub fn open(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        length: Option<u64>,
    ) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut head =
            format!("{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        match length {
            Some(0) if method == "GET" || method == "HEAD" => {}
            Some(length) => head.push_str(&format!("Content-Length: {length}\r\n")),
            None => head.push_str("Transfer-Encoding: chunked\r\n"),
        }
        if let Some(authorization) = &self.authorization {
            head.push_str(&format!("Authorization: {authorization}\r\n"));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream
    }
}

/// Reads an answer to its end.
pub fn read(stream: &mut TcpStream, head_only: bool) -> Response {
    let mut bytes = Vec::new();
    let mut buffer = [0; 65536];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) if bytes.is_empty() => panic!("no answer: {error}"),
            Err(_) => break,
        }
        if let Some((head, body)) = split(&bytes)
            && let Some(length) = head.header("content-length").and_then(|text| text.parse::<usize>().ok())
            && (head_only || body.len() >= length)
        {
            break;
        }
    }
    let (mut response, body) =
        split(&bytes).unwrap_or_else(|| panic!("no head: {:?}", String::from_utf8_lossy(&bytes)));
    response.body =
        if response.header("transfer-encoding").is_some() { unchunk(body) } else { body.to_vec() };
    if let Some(length) = response.header("content-length").and_then(|text| text.parse::<usize>().ok()) {
        assert!(head_only || response.status == 304 || response.body.len() == length, "a body cut short");
    }
    response
}

fn split(bytes: &[u8]) -> Option<(Response, &[u8])> {
    let at = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..at]).into_owned();
    let mut lines = head.split("\r\n");
    let status: u16 = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    if status == 100 {
        return split(&bytes[at + 4..]);
    }
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    Some((Response { status, headers, body: Vec::new() }, &bytes[at + 4..]))
}

fn unchunk(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(at) = body.windows(2).position(|window| window == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&body[..at]).unwrap(), 16).unwrap();
        if size == 0 {
            break;
        }
        whole.extend_from_slice(&body[at + 2..at + 2 + size]);
        body = &body[at + 4 + size..];
    }
    whole
}
