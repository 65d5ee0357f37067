//! One request, from bytes to bytes: id, address, adapter, answer; then one log line, one counter, one duration.

use std::{
    future::Future,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use async_trait::async_trait;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header, request};
use http_body::Body as _;
use hyper::body::Incoming;
use ipnet::IpNet;

use super::{
    Parts,
    dispatch::Table,
    flight::{Flight, Record},
    limits::{Class, Limiter, Who, client_address},
    linger::{self, DRAIN_BYTES},
    metrics::Metrics,
    outgoing::Outgoing,
    probe::Probe,
    pulse::Pulse,
    sendfile::Spans,
    tasks,
};
use crate::{
    adapter::Head,
    auth::{Authenticator, Caller, Policy},
    config::{Challenge, Config},
    error::{Error, Kind, Result, What},
    http::{Body, Content, Leftover, Pace, Reply, Site, reply, room::Room},
    model::{Timestamp, id},
    registry::Registry,
};

/// Reads credentials. Never takes a password: those are for routes that sign in.
#[async_trait]
pub trait Authenticate: Send + Sync {
    /// Who sends these headers; `caller` is the anonymous one.
    ///
    /// # Errors
    /// Unauthenticated when credentials are there and no good.
    async fn authenticate(&self, headers: &HeaderMap, caller: Caller) -> Result<Caller>;
}

#[async_trait]
impl Authenticate for Authenticator {
    async fn authenticate(&self, headers: &HeaderMap, caller: Caller) -> Result<Caller> {
        Self::authenticate(self, headers, caller).await
    }
}

/// What serves the requests of a listener.
pub(super) trait Serve: Send + Sync + 'static {
    /// Answers one.
    fn answer(
        &self,
        request: Request<Incoming>,
        link: &Arc<Link>,
    ) -> impl Future<Output = Response<Outgoing>> + Send;
}

/// A connection, as its requests see it.
#[derive(Debug)]
pub(super) struct Link {
    /// The other end.
    pub(super) peer: SocketAddr,
    /// Our end.
    pub(super) local: SocketAddr,
    /// Whether it is encrypted.
    pub(super) tls: bool,
    pub(super) pulse: Arc<Pulse>,
    /// What it sends out of files; `None` where it cannot.
    pub(super) spans: Option<Arc<Spans>>,
}

/// A request's head, with what the server knows about it.
#[derive(Debug)]
pub struct Ask {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) site: Site,
    pub(super) address: IpAddr,
    pub(super) at: Timestamp,
    pub(super) id: Arc<str>,
}

impl Ask {
    /// Whoever it is that asks, before anybody looked at credentials.
    pub(super) fn caller(&self) -> Caller {
        Caller::anonymous(self.at, self.id.clone()).calling_from(self.address)
    }

    /// As parsing sees it.
    pub(super) fn head(&self) -> Head<'_> {
        Head { method: &self.method, uri: &self.uri, headers: &self.headers }
    }
}

/// What all requests share.
pub struct Pipeline {
    registry: Arc<Registry>,
    gate: Arc<dyn Authenticate>,
    table: Table,
    limiter: Limiter,
    metrics: Arc<Metrics>,
    probe: Probe,
    trusted: Vec<IpNet>,
    external_url: Option<String>,
    bearer: bool,
    pace: Pace,
    /// For bodies that are held whole: half of the memory budget, which they share.
    room: Room,
    /// For answers that are held whole until their readers took them: a quarter of it.
    answers: Room,
    ids: Ids,
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pipeline")
    }
}

impl Pipeline {
    pub(super) fn new(config: &Config, parts: Parts, metrics: Arc<Metrics>, probe: Probe) -> Result<Self> {
        let limits = config.limits.clone();
        Ok(Self {
            registry: parts.registry,
            gate: parts.gate,
            table: parts.table,
            pace: Pace { idle: limits.body_idle_time.0, rate: limits.body_rate.0 },
            room: Room::new(config.memory.budget.0 / 2),
            answers: Room::new(config.memory.budget.0 / 4),
            limiter: Limiter::new(limits),
            metrics,
            probe,
            trusted: config.server.trusted_proxies.clone(),
            external_url: config.server.external_url.as_ref().map(|url| url.trim_end_matches('/').to_owned()),
            bearer: config.auth.challenge == Challenge::Bearer,
            ids: Ids::new()?,
        })
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(super) fn policy(&self) -> &Policy {
        self.registry.policy()
    }

    pub(super) fn gate(&self) -> &dyn Authenticate {
        &*self.gate
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Counts a request against a rate.
    pub(super) fn count(&self, who: Who, class: Class) -> Result<()> {
        self.limiter.count(who, class).inspect_err(|_| self.metrics.rate_limited(who.word(), class.word()))
    }

    /// Whether a rate is used up already.
    pub(super) fn ask(&self, who: Who, class: Class) -> Result<()> {
        self.limiter.ask(who, class).inspect_err(|_| self.metrics.rate_limited(who.word(), class.word()))
    }

    async fn reply(
        &self,
        parts: request::Parts,
        mixed: bool,
        link: &Link,
        body: Body,
        record: &mut Record,
    ) -> Reply {
        let host = match check_head(&parts, mixed) {
            Ok(host) => host,
            Err(error) => {
                record.refused(&error);
                return own_error(&error).header(header::CONNECTION, "close");
            }
        };
        if let Some(reply) = self.probe.answer(&parts.method, parts.uri.path(), &self.registry) {
            record.route = "health";
            return reply;
        }
        let first = parts.uri.path().strip_prefix('/').and_then(|path| path.split('/').next());
        let Some(enter) = first.and_then(self.table) else {
            let error = Error::not_found(What::Request, "nothing is served at this path");
            record.refused(&error);
            return own_error(&error);
        };
        let site = self.site(host.as_deref(), link);
        let ask = Ask {
            method: parts.method,
            uri: parts.uri,
            headers: parts.headers,
            site,
            address: record.address,
            at: self.registry.now(),
            id: record.id.clone(),
        };
        enter(self, &ask, body, record).await
    }

    /// The installation's address. Without a configured one, which only loopback listeners may lack, a Host that names
    /// loopback is echoed, since clients compare; any other is not, since anybody can send it.
    fn site(&self, host: Option<&str>, link: &Link) -> Site {
        let base = self.external_url.clone().unwrap_or_else(|| {
            let scheme = if link.tls { "https" } else { "http" };
            match host.filter(|host| names_loopback(host)) {
                Some(host) => format!("{scheme}://{host}"),
                None => format!("{scheme}://{}", link.local),
            }
        });
        Site { base, bearer: self.bearer }
    }
}

impl Serve for Pipeline {
    async fn answer(&self, request: Request<Incoming>, link: &Arc<Link>) -> Response<Outgoing> {
        let mixed = link.pulse.request_began();
        let (parts, incoming) = request.into_parts();
        let version = parts.version;
        let is_head = parts.method == Method::HEAD;
        let waits = parts.headers.get(header::EXPECT).is_some();
        let record = Record {
            id: self.ids.next(),
            method: parts.method.clone(),
            path: parts.uri.path().to_owned(),
            version,
            address: client_address(link.peer.ip(), &parts.headers, &self.trusted),
            adapter: "server",
            route: "none",
            caller: None,
            error: None,
            fault: false,
        };
        let length = incoming.size_hint().exact();
        let leftover = Leftover::default();
        let body = Body::new(incoming, length, self.pace, leftover.clone()).within(self.room.clone());
        let id = record.id.clone();
        let mut flight = Flight::new(record, leftover.clone(), self.metrics.clone(), link.pulse.clone());

        flight.carries(length);
        let mut reply = self.reply(parts, mixed, link, body, flight.record()).await;
        if !is_head {
            reply = self.within_budget(reply).await;
        }
        if settle_body(&leftover, length, waits) == Connection::Close {
            reply = reply.header(header::CONNECTION, "close");
        }
        reply = reply.header(header::HeaderName::from_static("x-request-id"), &id);
        flight.answered(reply.status);
        respond(reply, is_head, version, flight, link.spans.as_ref())
    }
}

impl Pipeline {
    /// An answer in memory waits for its place there, and keeps it until its reader took it.
    async fn within_budget(&self, reply: Reply) -> Reply {
        let Reply { status, headers, content } = reply;
        let Content::Bytes(bytes) = content else { return Reply { status, headers, content } };
        match self.answers.take(bytes.len() as u64).await {
            Ok(place) => Reply { status, headers, content: Content::Bytes(place.keep(bytes)) },
            Err(error) => Reply::new(reply::status(error.kind())).bytes(error.public().to_owned()),
        }
    }
}

#[derive(PartialEq, Eq)]
enum Connection {
    Keep,
    Close,
}

/// What the handler left of the body is read and dropped while the answer goes out, when it is short enough for the
/// connection to be worth keeping. Otherwise the connection ends after the answer, and lingers.
fn settle_body(leftover: &Leftover, length: Option<u64>, waits: bool) -> Connection {
    let Some(rest) = leftover.take() else { return Connection::Keep };
    // A client that waits for "100 Continue" and gets this answer need not send its body; asking for it now would.
    let unasked = waits && !leftover.asked();
    if unasked || length.is_some_and(|length| length - leftover.bytes().min(length) > DRAIN_BYTES) {
        return Connection::Close;
    }
    tasks::spawn(linger::drain(rest));
    Connection::Keep
}

/// Makes hyper's answer of ours.
fn respond(
    reply: Reply,
    is_head: bool,
    version: Version,
    mut flight: Flight,
    spans: Option<&Arc<Spans>>,
) -> Response<Outgoing> {
    let Reply { status, mut headers, content } = reply;
    let length = match &content {
        Content::Empty => 0,
        Content::Bytes(bytes) => bytes.len() as u64,
        Content::Stream(length, _) => *length,
        Content::File(part) => part.length,
    };
    // RFC 9110 §8.6: never with 1xx and 204; a 304 has the length of what it stands for, if anybody said it.
    let may_have_length = !status.is_informational() && status != StatusCode::NO_CONTENT;
    if !may_have_length {
        headers.remove(header::CONTENT_LENGTH);
    } else if status != StatusCode::NOT_MODIFIED && !headers.contains_key(header::CONTENT_LENGTH) {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        headers.entry(header::RETRY_AFTER).or_insert(HeaderValue::from_static("1"));
    }
    if version == Version::HTTP_2 {
        headers.remove(header::CONNECTION);
    }
    let bare = is_head || !may_have_length || status == StatusCode::NOT_MODIFIED;
    let content = if bare { Content::Empty } else { content };
    if matches!(content, Content::Empty) {
        flight.complete();
    } else {
        flight.carries(Some(length));
    }
    let mut response = Response::new(Outgoing::new(content, Some(flight), spans));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// What must hold of every request before anybody looks at it. Says the host that was asked for.
fn check_head(parts: &request::Parts, mixed: bool) -> Result<Option<String>> {
    let refuse = |text: &'static str| Err(Error::invalid(What::Request, text));
    if mixed {
        return refuse("Content-Length and Transfer-Encoding exclude each other");
    }
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let host = hosts.next().map(HeaderValue::to_str).transpose();
    let Ok(host) = host else { return refuse("the Host header is not text") };
    if hosts.next().is_some() {
        return refuse("more than one Host header");
    }
    match (host, parts.uri.authority()) {
        (Some(host), Some(authority)) if !host.eq_ignore_ascii_case(authority.as_str()) => {
            refuse("the Host header differs from the request's target")
        }
        (None, None) if parts.version == Version::HTTP_11 => refuse("there is no Host header"),
        (Some(host), _) => Ok(Some(host.to_owned())),
        (None, authority) => Ok(authority.map(|authority| authority.as_str().to_owned())),
    }
}

/// Whether a Host names this machine's loopback, with or without a port.
fn names_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}

/// A refusal by the server itself, where no adapter is involved.
pub(super) fn own_error(error: &Error) -> Reply {
    let code = match error.kind() {
        Kind::NotFound(_) => "NOT_FOUND",
        Kind::Unsupported => "UNSUPPORTED",
        Kind::Invalid(_) => "INVALID",
        _ => "UNKNOWN",
    };
    let body = serde_json::json!({ "errors": [{ "code": code, "message": error.public() }] });
    Reply::json(reply::status(error.kind()), &body)
}

/// Request ids: unique among all starts of the daemon, without asking for randomness each time.
struct Ids {
    base: u64,
    next: AtomicU64,
}

impl Ids {
    fn new() -> Result<Self> {
        Ok(Self { base: u64::from_be_bytes(id::random()?), next: AtomicU64::new(0) })
    }

    fn next(&self) -> Arc<str> {
        // An odd factor makes every number different and neighbours unlike.
        let number = self.next.fetch_add(1, Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        format!("{:016x}", self.base.wrapping_add(number)).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(version: Version, uri: &str, hosts: &[&str], mixed: bool) -> Result<Option<String>> {
        let mut request = Request::builder().version(version).uri(uri);
        for host in hosts {
            request = request.header("host", *host);
        }
        check_head(&request.body(()).unwrap().into_parts().0, mixed)
    }

    #[test]
    fn one_host_and_one_length() {
        let v11 = Version::HTTP_11;
        assert_eq!(host(v11, "/", &["a:1"], false).unwrap().as_deref(), Some("a:1"));
        assert!(host(v11, "/", &["a"], true).is_err());
        assert!(host(v11, "/", &["a", "a"], false).is_err());
        assert!(host(v11, "/", &[], false).is_err());
        assert_eq!(host(Version::HTTP_10, "/", &[], false).unwrap(), None);
        assert!(host(v11, "http://b/", &["a"], false).is_err());
        assert_eq!(host(v11, "http://A/", &["a"], false).unwrap().as_deref(), Some("a"));
        assert_eq!(host(Version::HTTP_2, "http://a/", &[], false).unwrap().as_deref(), Some("a"));
    }

    #[test]
    fn only_loopback_is_echoed() {
        for yes in ["localhost", "localhost:5000", "127.0.0.1:1", "[::1]", "[::1]:80"] {
            assert!(names_loopback(yes), "{yes}");
        }
        for no in
            ["", "evil", "localhost.evil", "localhost:", "localhost:5000/x", "127.0.0.1@evil", "::1", "127.1"]
        {
            assert!(!names_loopback(no), "{no}");
        }
    }

    #[test]
    fn ids_differ() {
        let ids = Ids::new().unwrap();
        let some: std::collections::HashSet<_> = (0..1000).map(|_| ids.next()).collect();
        assert_eq!(some.len(), 1000);
    }
}
