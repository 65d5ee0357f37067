//! A blocking HTTP/1.1 client that keeps its connection: a soak would run out of ports with one connection a request.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use base64::Engine as _;

use crate::support::Response;

/// One caller on one connection.
pub struct Wire {
    address: String,
    authorization: String,
    stream: Option<TcpStream>,
    rest: Vec<u8>,
}

impl Wire {
    pub fn new(address: &str, user: &str, secret: &str) -> Self {
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{secret}"));
        let authorization = format!("Basic {pair}");
        Self { address: address.to_owned(), authorization, stream: None, rest: Vec::new() }
    }

    /// Sends a request and reads the answer.
    pub fn send(&mut self, method: &str, target: &str, kind: Option<&str>, body: &[u8]) -> Response {
        let mut request = format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\nContent-Length: {}\r\n",
            self.address,
            self.authorization,
            body.len()
        );
        if let Some(kind) = kind {
            request.push_str(&format!("Content-Type: {kind}\r\n"));
        }
        request.push_str("\r\n");
        let mut bytes = request.into_bytes();
        bytes.extend_from_slice(body);
        // A kept connection that the server closed meanwhile brings nothing at all: then once more on a new one.
        for fresh in [self.stream.is_none(), true] {
            if self.stream.is_none() {
                let stream = TcpStream::connect(&self.address).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
                stream.set_nodelay(true).unwrap();
                (self.stream, self.rest) = (Some(stream), Vec::new());
            }
            let sent = self.stream.as_mut().unwrap().write_all(&bytes);
            match self.read(method == "HEAD") {
                Some(response) => return response,
                None => {
                    self.stream = None;
                    assert!(!fresh, "{method} {target}: no answer, {sent:?}");
                }
            }
        }
        panic!("{method} {target}: no answer");
    }

    fn more(&mut self) -> Option<()> {
        let mut buffer = [0; 65536];
        let count = self.stream.as_mut()?.read(&mut buffer).ok().filter(|count| *count > 0)?;
        self.rest.extend_from_slice(&buffer[..count]);
        Some(())
    }

    /// Reads one answer and leaves what follows it. `None` when the connection ends before its first byte.
    fn read(&mut self, head_only: bool) -> Option<Response> {
        let end = loop {
            if let Some(at) = self.rest.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if self.more().is_none() {
                assert!(self.rest.is_empty(), "an answer's head was cut short");
                return None;
            }
        };
        let head = String::from_utf8_lossy(&self.rest[..end]).into_owned();
        let mut lines = head.trim_end().split("\r\n");
        let status: u16 = lines.next()?.split(' ').nth(1)?.parse().unwrap();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        self.rest.drain(..end);
        let mut response = Response { status, headers, body: Vec::new() };
        assert!(response.header("transfer-encoding").is_none(), "answers have lengths here");
        let length = response.header("content-length").map_or(0, |text| text.parse().unwrap());
        if !head_only {
            while self.rest.len() < length {
                self.more().expect("an answer's body was cut short");
            }
            response.body = self.rest.drain(..length).collect();
        }
        if response.header("connection").is_some_and(|text| text.eq_ignore_ascii_case("close")) {
            self.stream = None;
        }
        Some(response)
    }
}
