//! A server in this process on a free port, a protocol to talk to it in, and clients that do as they are told.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderName, StatusCode, header};
use packhouse::{
    adapter::{Adapter, Cx, Head},
    auth::{Actor, Caller},
    config::{Config, Span},
    error::{Challenge, Error, Kind, Result, What},
    http::{Body, ByteStream, Reply, Site, reply},
    model::OwnerId,
    registry::{Registry, Settings},
    server::{App, Authenticate, Entry, Parts, Running, entry},
    store::memory::{MemoryBlobs, MemoryStore},
};

/// The protocol: the last segment of the path is a verb, the query a number.
#[derive(Debug)]
pub struct Echo;

#[derive(Debug)]
pub struct Route(String, u64);

impl Adapter for Echo {
    const NAME: &'static str = "echo";
    const ROUTES: &'static [&'static str] = &["do"];
    type Route = Route;

    fn parse(head: Head<'_>) -> Result<Route> {
        let path = head.uri.path();
        if path.contains("bad") {
            return Err(Error::invalid(What::Name, format!("not a name: {path}")));
        }
        let verb = path.rsplit('/').next().unwrap_or_default().to_owned();
        Ok(Route(verb, head.uri.query().and_then(|query| query.parse().ok()).unwrap_or(0)))
    }

    fn name(_route: &Route) -> &'static str {
        "do"
    }

    fn signs_in(route: &Route) -> bool {
        route.0 == "token"
    }

    async fn handle(cx: Cx<'_>, route: &Route, body: Body) -> Result<Reply> {
        let number = route.1;
        let text = |text: String| Reply::new(StatusCode::OK).bytes(text);
        Ok(match route.0.as_str() {
            "site" => text(cx.site.base.clone()),
            "whoami" => text(cx.caller.actor.to_string()),
            "request" => text(cx.caller.request.to_string()),
            "head" => Reply::new(StatusCode::OK).header(header::CONTENT_LENGTH, number.to_string()),
            "none" => Reply::new(StatusCode::NO_CONTENT).bytes("must not be sent"),
            "sleep" => {
                tokio::time::sleep(Duration::from_millis(number)).await;
                text("awake".into())
            }
            "panic" => panic!("the handler was told to panic"),
            "stale" => return Err(Error::new(Kind::StaleGrant, "rights changed")),
            "refuse" => return Err(Error::new(Kind::Unauthenticated(Challenge::Missing), "x".repeat(3000))),
            "later" => {
                tokio::time::sleep(Duration::from_millis(number)).await;
                return Err(Error::new(Kind::Unauthenticated(Challenge::Missing), "later"));
            }
            "sink" => text(count(body).await?.to_string()),
            "first" => text(first(body).await?.to_string()),
            "stream" => Reply::new(StatusCode::OK).stream(number, zeros(number)),
            "whole" => Reply::new(StatusCode::OK).bytes(vec![0; usize::try_from(number).unwrap()]),
            "short" => Reply::new(StatusCode::OK).stream(number + 1, zeros(number)),
            "broken" => {
                let failure = stream::once(async { Err(Error::internal("the disk broke")) });
                Reply::new(StatusCode::OK).stream(number + 1, Box::pin(zeros(number).chain(failure)))
            }
            _ => text(format!("hello {}", route.0)),
        })
    }

    fn render(error: &Error, _route: Option<&Route>, _site: &Site) -> Reply {
        let reply = Reply::new(reply::status(error.kind())).header(HeaderName::from_static("x-by"), "echo");
        reply.bytes(format!("echo: {}", error.public()))
    }
}

async fn count(mut body: Body) -> Result<u64> {
    let mut seen = 0;
    while let Some(bytes) = body.next().await {
        seen += bytes?.len() as u64;
    }
    Ok(seen)
}

async fn first(mut body: Body) -> Result<usize> {
    body.next().await.map_or(Ok(0), |bytes| bytes.map(|bytes| bytes.len()))
}

/// So many zeros, 64 KiB at a time.
fn zeros(length: u64) -> ByteStream {
    const PIECE: u64 = 64 << 10;
    static ZEROS: [u8; PIECE as usize] = [0; PIECE as usize];
    Box::pin(stream::unfold(length, |left| async move {
        let now = left.min(PIECE);
        (now > 0).then(|| (Ok(Bytes::from_static(&ZEROS[..now as usize])), left - now))
    }))
}

/// `Authorization: user N` is user N, anything else there is no good.
struct Gate;

#[async_trait]
impl Authenticate for Gate {
    async fn authenticate(&self, headers: &HeaderMap, caller: Caller) -> Result<Caller> {
        let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(caller) };
        let number = value.to_str().ok().and_then(|value| value.strip_prefix("user ")?.parse().ok());
        match number {
            Some(number) => Ok(Caller { actor: Actor::User(OwnerId(number)), ..caller }),
            None => Err(Error::new(Kind::Unauthenticated(Challenge::Invalid), "who?")),
        }
    }
}

fn table(segment: &str) -> Option<Entry> {
    (segment == "t").then_some(entry::<Echo>)
}

pub fn parts() -> Parts {
    let (meta, blobs) = (Arc::new(MemoryStore::new()), Arc::new(MemoryBlobs::new()));
    let registry = Registry::open(meta, blobs, Settings::default()).unwrap();
    Parts { gate: Arc::new(Gate), table, jobs: Vec::new(), ..Parts::new(registry) }
}

/// A configuration for tests: free ports, short deadlines.
pub fn config() -> Config {
    let mut config = Config::default();
    config.server.listen = vec!["127.0.0.1:0".parse().unwrap()];
    config.server.metrics = Some("127.0.0.1:0".parse().unwrap());
    config.limits.drain_time = Span(Duration::from_secs(5));
    config
}

/// A running server.
pub struct Server(pub Running);

pub async fn start(change: impl FnOnce(&mut Config)) -> Server {
    let mut config = config();
    change(&mut config);
    Server(App::start(&config, parts()).await.unwrap())
}

impl Server {
    pub fn address(&self) -> SocketAddr {
        self.0.addresses()[0]
    }

    pub async fn metrics(&self) -> String {
        let address = self.0.metrics_address().unwrap();
        let answer =
            exchange(address, b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        answer.text()
    }

    /// The value of one line of the metrics page.
    pub async fn metric(&self, line: &str) -> f64 {
        let page = self.metrics().await;
        let value = page.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {line} in {page}")).parse().unwrap()
    }

    /// Waits until a metric has a value.
    pub async fn until(&self, line: &str, wanted: f64) {
        eventually(async || self.metric(line).await == wanted).await;
    }
}

/// Waits, but not for ever.
pub async fn eventually(mut what: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !what().await {
        assert!(Instant::now() < deadline, "never happened");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Everything a server sent until it closed, and how it closed.
#[derive(Debug)]
pub struct Answer {
    pub bytes: Vec<u8>,
    pub end: End,
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum End {
    Closed,
    Reset,
    Silence,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The status of the last answer in it.
    pub fn status(&self) -> u16 {
        let text = self.text();
        let line = text.rmatch_indices("HTTP/1.1 ").next().unwrap_or_else(|| panic!("no answer: {self:?}")).0;
        text[line + 9..line + 12].parse().unwrap()
    }

    pub fn body(&self) -> String {
        self.text().split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<String> {
        let text = self.text();
        let head = text.split("\r\n\r\n").next()?;
        let line = head.lines().find(|line| line.to_lowercase().starts_with(&format!("{name}: ")))?;
        Some(line[name.len() + 2..].to_owned())
    }
}

/// Reads until the server closes, or says nothing for `patience`.
pub fn read_all(stream: &mut TcpStream, patience: Duration) -> Answer {
    stream.set_read_timeout(Some(patience)).unwrap();
    let mut bytes = Vec::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return Answer { bytes, end: End::Closed },
            Ok(read) => bytes.extend_from_slice(&piece[..read]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Answer { bytes, end: End::Silence };
            }
            Err(_) => return Answer { bytes, end: End::Reset },
        }
    }
}

/// Runs a client that blocks.
pub async fn client<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// Sends bytes, then reads until the server closes or is silent for long.
pub async fn exchange(address: SocketAddr, request: &[u8]) -> Answer {
    let request = request.to_vec();
    client(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(&request).unwrap();
        read_all(&mut stream, Duration::from_secs(10))
    })
    .await
}

/// A request that asks for the connection to be closed after it.
pub async fn get(address: SocketAddr, path: &str, headers: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n");
    exchange(address, request.as_bytes()).await
}
