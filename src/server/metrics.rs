//! What is counted, and the page that shows it. Labels are words of ours, never what a client sent.

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry as Families, TextEncoder, core::Collector, process_collector::ProcessCollector,
};

use super::{
    flight::Record,
    outgoing::Outgoing,
    pipeline::{Link, Serve},
    probe::Probe,
};
use crate::{
    error::{Error, Result},
    http::Content,
    registry::Registry,
};

/// From a cached HEAD to a slow push, in seconds.
const DURATIONS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0];

/// Everything counted by the daemon, by one instance of it.
#[derive(Debug)]
pub struct Metrics {
    families: Families,
    requests: IntCounterVec,
    durations: HistogramVec,
    received: IntCounterVec,
    sent: IntCounterVec,
    pub(super) in_flight: IntGauge,
    pub(super) panics: IntCounter,
    rate_limited: IntCounterVec,
    pub(super) connections: IntGauge,
    pub(super) accepted: IntCounter,
    pub(super) accept_errors: IntCounter,
    shed: IntCounterVec,
    overdue: IntCounterVec,
    handshakes: IntCounterVec,
    pub(super) certificate_expiry: IntGauge,
    reloads: IntCounterVec,
    pub(super) jobs: IntCounterVec,
    pub(super) job_durations: HistogramVec,
}

/// Makes families and registers them, so that none can be forgotten.
struct Maker(Families);

impl Maker {
    fn add<C: Collector + Clone + 'static>(&self, family: prometheus::Result<C>) -> Result<C> {
        let family = family.map_err(Error::internal)?;
        self.0.register(Box::new(family.clone())).map_err(Error::internal)?;
        Ok(family)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter> {
        self.add(IntCounter::new(name, help))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge> {
        self.add(IntGauge::new(name, help))
    }

    /// The process: its version, memory, files, processor time.
    fn process(&self) -> Result<()> {
        let help = Opts::new("packhouse_build_info", "The version that runs; always 1.");
        self.add(IntGaugeVec::new(help, &["version"]))?
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        self.0.register(Box::new(ProcessCollector::for_self())).map_err(Error::internal)
    }

    fn histograms(&self, name: &str, help: &str, labels: &[&str]) -> Result<HistogramVec> {
        let options = HistogramOpts::new(name, help).buckets(DURATIONS.to_vec());
        self.add(HistogramVec::new(options, labels))
    }
}

impl Metrics {
    /// All at zero.
    ///
    /// # Errors
    /// Internal when two families have one name.
    pub fn new() -> Result<Self> {
        let make = Maker(Families::new());
        make.process()?;
        let metrics = Self {
            requests: make.counters(
                "packhouse_http_requests_total",
                "Requests answered. Status 0: the client left before the answer.",
                &["adapter", "route", "method", "status"],
            )?,
            durations: make.histograms(
                "packhouse_http_request_duration_seconds",
                "From a request's headers to its answer's last byte.",
                &["adapter", "route"],
            )?,
            received: make.counters(
                "packhouse_http_received_bytes_total",
                "Bytes of request bodies.",
                &["adapter"],
            )?,
            sent: make.counters(
                "packhouse_http_sent_bytes_total",
                "Bytes of answers' bodies.",
                &["adapter"],
            )?,
            in_flight: make.gauge("packhouse_http_requests_in_flight", "Requests begun and not ended.")?,
            panics: make.counter("packhouse_http_panics_total", "Handlers that panicked: each is a bug.")?,
            rate_limited: make.counters(
                "packhouse_http_rate_limited_total",
                "Requests refused with 429.",
                &["scope", "class"],
            )?,
            connections: make.gauge("packhouse_connections_open", "Open client connections.")?,
            accepted: make.counter("packhouse_connections_accepted_total", "Client connections accepted.")?,
            accept_errors: make
                .counter("packhouse_connections_accept_errors_total", "Failures to accept.")?,
            shed: make.counters(
                "packhouse_connections_refused_total",
                "Connections refused for being too many.",
                &["reason"],
            )?,
            overdue: make.counters(
                "packhouse_connections_overdue_total",
                "Connections closed at a deadline.",
                &["waiting_for"],
            )?,
            handshakes: make.counters("packhouse_tls_handshakes_total", "TLS handshakes.", &["outcome"])?,
            certificate_expiry: make.gauge(
                "packhouse_tls_certificate_expiry_timestamp_seconds",
                "When the certificate in use expires; 0 without TLS.",
            )?,
            reloads: make.counters(
                "packhouse_tls_reloads_total",
                "Attempts to load a new certificate.",
                &["outcome"],
            )?,
            jobs: make.counters(
                "packhouse_job_runs_total",
                "Steps of background jobs.",
                &["task", "outcome"],
            )?,
            job_durations: make.histograms(
                "packhouse_job_duration_seconds",
                "Duration of a job's step.",
                &["task"],
            )?,
            families: make.0.clone(),
        };
        metrics.begin_at_zero();
        Ok(metrics)
    }

    /// Children with known labels exist from the start, so that the first event is a change and not an appearance.
    fn begin_at_zero(&self) {
        for outcome in ["ok", "failed"] {
            self.handshakes.with_label_values(&[outcome]).reset();
            self.reloads.with_label_values(&[outcome]).reset();
        }
        for reason in ["total", "address"] {
            self.shed.with_label_values(&[reason]).reset();
        }
        for scope in ["identity", "address"] {
            for class in ["read", "write", "sign_in"] {
                self.rate_limited.with_label_values(&[scope, class]).reset();
            }
        }
    }

    /// A request has ended.
    pub(super) fn request(
        &self,
        record: &Record,
        status: Option<StatusCode>,
        took: Duration,
        received: u64,
        sent: u64,
    ) {
        let status = status.map_or("0".into(), |status| status.as_str().to_owned());
        let labels = [record.adapter, record.route, method_word(&record.method), &status];
        self.requests.with_label_values(&labels).inc();
        self.durations.with_label_values(&[record.adapter, record.route]).observe(took.as_secs_f64());
        self.received.with_label_values(&[record.adapter]).inc_by(received);
        self.sent.with_label_values(&[record.adapter]).inc_by(sent);
    }

    pub(super) fn rate_limited(&self, scope: &str, class: &str) {
        self.rate_limited.with_label_values(&[scope, class]).inc();
    }

    pub(super) fn shed(&self, reason: &str) {
        self.shed.with_label_values(&[reason]).inc();
    }

    pub(super) fn overdue(&self, waiting_for: &str) {
        self.overdue.with_label_values(&[waiting_for]).inc();
    }

    pub(super) fn handshake(&self, good: bool) {
        self.handshakes.with_label_values(&[outcome(good)]).inc();
    }

    pub(super) fn reload(&self, good: bool) {
        self.reloads.with_label_values(&[outcome(good)]).inc();
    }

    /// A job's step has ended.
    pub(crate) fn job(&self, job: &str, good: bool, took: Duration) {
        self.jobs.with_label_values(&[job, outcome(good)]).inc();
        let family: Histogram = self.job_durations.with_label_values(&[job]);
        family.observe(took.as_secs_f64());
    }

    /// What is counted here, in Prometheus' text format.
    ///
    /// # Errors
    /// Internal when a family cannot be written.
    pub fn text(&self) -> Result<String> {
        TextEncoder::new().encode_to_string(&self.families.gather()).map_err(Error::internal)
    }

    /// The whole page: that, and how the stores are doing.
    ///
    /// # Errors
    /// Internal when a family cannot be written.
    pub(super) fn page(&self, registry: &Registry, probe: &Probe, reserve: u64) -> Result<String> {
        let mut page =
            TextEncoder::new().encode_to_string(&self.families.gather()).map_err(Error::internal)?;
        let mut figure = |name: &str, help: &str, value: f64| {
            // Everything that ends in _total is a counter.
            let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
            let name = format!("packhouse_{name}");
            page.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"));
        };
        let ready = probe.obstacle(registry).is_none();
        figure("ready", "Whether /readyz says so.", f64::from(u8::from(ready)));
        if let Ok(free) = registry.space() {
            figure("space_free_bytes", "Bytes free for uploads.", free as f64);
        }
        figure("space_reserve_bytes", "Free bytes below which uploads are refused.", reserve as f64);
        for (name, help, value) in registry.collection_metrics(registry.now()) {
            figure(name, help, value);
        }
        for (name, help, value) in registry.audit_metrics() {
            figure(name, help, value as f64);
        }
        for (name, help, value) in registry.scrub_metrics() {
            figure(name, help, value as f64);
        }
        for (name, value) in registry.activity() {
            figure(name, "What the registry is doing now.", value as f64);
        }
        for (name, value) in registry.figures() {
            let (name, value) = engine_figure(name, value);
            figure(&name, "A figure of the metadata engine.", value);
        }
        Ok(page)
    }
}

/// An engine's figure by Prometheus' rules for names: counters end in `_total`, time is in seconds.
fn engine_figure(name: &str, value: u64) -> (String, f64) {
    const COUNTERS: [&str; 13] = [
        "commits",
        "commits_refused",
        "commits_failed",
        "commit_groups",
        "reopened",
        "background_errors",
        "batch_bytes",
        "log_bytes",
        "flushed_bytes",
        "compacted_bytes",
        "inline_written_bytes",
        "cache_hits",
        "cache_misses",
    ];
    let seconds = value as f64 / 1e6;
    if let Some(stem) = name.strip_suffix("_micros_sum") {
        (format!("store_{stem}_seconds_total"), seconds)
    } else if let Some(stem) = name.strip_suffix("_micros_max") {
        (format!("store_{stem}_seconds_max"), seconds)
    } else if let Some(stem) = name.strip_suffix("_count") {
        (format!("store_{stem}s_total"), value as f64)
    } else if COUNTERS.contains(&name) {
        (format!("store_{name}_total"), value as f64)
    } else {
        (format!("store_{name}"), value as f64)
    }
}

fn outcome(good: bool) -> &'static str {
    if good { "ok" } else { "failed" }
}

/// A method as a label: there are as many methods as a client likes to invent.
fn method_word(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}

/// Serves the page, on a listener of its own.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) metrics: Arc<Metrics>,
    pub(super) registry: Arc<Registry>,
    pub(super) probe: Probe,
    pub(super) reserve: u64,
}

impl Serve for Page {
    async fn answer(&self, request: Request<Incoming>, link: &Arc<Link>) -> Response<Outgoing> {
        link.pulse.request_began();
        let (status, text) = match request.uri().path() {
            "/metrics" => match self.metrics.page(&self.registry, &self.probe, self.reserve) {
                Ok(page) => (StatusCode::OK, page),
                Err(error) => {
                    tracing::error!(%error, "the metrics page cannot be made");
                    (StatusCode::INTERNAL_SERVER_ERROR, String::new())
                }
            },
            _ => (StatusCode::NOT_FOUND, "see /metrics\n".to_owned()),
        };
        let mut response = Response::new(Outgoing::new(Content::Bytes(text.into()), None, None));
        *response.status_mut() = status;
        let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        link.pulse.request_ended();
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_names_as_prometheus_wants_them() {
        for (name, wanted, value) in [
            ("commits", "store_commits_total", 2e6),
            ("sync_count", "store_syncs_total", 2e6),
            ("sync_micros_sum", "store_sync_seconds_total", 2.0),
            ("sync_micros_max", "store_sync_seconds_max", 2.0),
            ("log_bytes", "store_log_bytes_total", 2e6),
            ("memtable_bytes", "store_memtable_bytes", 2e6),
        ] {
            assert_eq!(engine_figure(name, 2_000_000), (wanted.to_owned(), value));
        }
    }

    /// Every name the dashboard asks for is one that the page can have.
    #[test]
    fn the_dashboard_asks_for_what_there_is() {
        let dashboard = include_str!("../../config/grafana-dashboard.json");
        let ours = [
            include_str!("metrics.rs"),
            include_str!("../registry/status.rs"),
            include_str!("../registry/collect/status.rs"),
        ]
        .concat();
        let quoted = |text: &'static str| text.split('"').skip(1).step_by(2);
        let engine = quoted(include_str!("../store/rocks/mod.rs")).map(|name| engine_figure(name, 0).0);
        let engine: std::collections::HashSet<_> = engine.collect();
        let mut asked = 0;
        for name in dashboard.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            let Some(rest) = name.strip_prefix("packhouse_") else { continue };
            asked += 1;
            let whole = name.strip_suffix("_bucket").unwrap_or(name);
            let known = [whole, rest].iter().any(|name| ours.contains(&format!("\"{name}\"")));
            assert!(known || engine.contains(rest), "{name}");
        }
        assert!(asked > 40, "{asked}");
    }
}
