//! Prometheus scrapes the metrics page, and finds there what happened; its linter has no complaint.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use crate::daemon::Hub;
use crate::harness::{Case, Ctx, HTTP, Result, check, fail, same};
use crate::http::{Raw, reply};

pub const CASES: &[Case] = &[Case {
    name: "prometheus",
    needs: &["prometheus", "promtool"],
    seconds: 120,
    mode: HTTP,
    run: prometheus,
}];

/// An address nobody listens on now.
fn free_address() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

fn get(address: &str, target: &str) -> Result<String> {
    use std::io::Write;
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let page = reply(stream)?.expect(target, 200)?;
    Ok(String::from_utf8_lossy(&page.body).into_owned())
}

/// The one value of a query, as Prometheus has it now.
fn value(address: &str, query: &str) -> Result<String> {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
        byte => format!("%{byte:02x}"),
    };
    let encoded: String = query.bytes().map(escape).collect();
    let text = get(address, &format!("/api/v1/query?query={encoded}"))?;
    let answer: serde_json::Value = serde_json::from_str(&text)?;
    match answer["data"]["result"].as_array().map(Vec::as_slice) {
        Some([one]) => Ok(one["value"][1].as_str().unwrap_or_default().to_owned()),
        _ => fail(format!("{query}: not one value: {text}")),
    }
}

/// Waits until a scrape has brought a query to a value.
fn becomes(ctx: &Ctx, address: &str, query: &str, want: &str) -> Result {
    let mut last = String::new();
    let waited = ctx.wait_for(query, || {
        last = value(address, query).unwrap_or_default();
        last == want
    });
    waited.or_else(|_| same(query, last.as_str(), want))
}

fn prometheus(ctx: &Ctx) -> Result {
    let (metrics, address) = (free_address()?, free_address()?);
    let mut hub = Hub::with_metrics(ctx, "hub", &metrics)?;
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
         scrape_configs:\n- {{job_name: packhouse, static_configs: [{{targets: ['{metrics}']}}]}}\n"
    );
    fs::write(ctx.path("prometheus.yml"), config)?;
    ctx.cmd("promtool").args(["check", "config", "prometheus.yml"]).run()?;
    let _prometheus = ctx.spawn(Path::new("prometheus"), "prometheus.log", |command| {
        command.args(["--config.file=prometheus.yml", "--storage.tsdb.path=series", "--log.level=warn"]);
        command.arg(format!("--web.listen-address={address}"));
    })?;
    becomes(ctx, &address, "up{job=\"packhouse\"}", "1")?;

    let raw = Raw::new(&hub);
    let blob = vec![7; 50_000];
    raw.push_blob("acme/app", &blob)?;
    for _ in 0..3 {
        raw.get("/v2/acme/app/tags/list")?.expect("tags", 200)?;
    }
    for _ in 0..2 {
        raw.get("/v2/acme/app/manifests/none")?.expect("a manifest that is not there", 404)?;
    }
    let quiet = [
        ("packhouse_http_requests_total{route=\"tags\",method=\"GET\",status=\"200\"}", "3"),
        ("packhouse_http_requests_total{method=\"GET\",status=\"404\"}", "2"),
        ("sum(packhouse_http_requests_total{status=\"201\"})", "1"),
        // One session was opened, one blob pushed, five things read.
        ("sum(packhouse_http_requests_total)", "7"),
        ("sum(packhouse_http_received_bytes_total)", "50000"),
        ("packhouse_http_request_duration_seconds_count{route=\"tags\"}", "3"),
        ("packhouse_http_request_duration_seconds_bucket{route=\"tags\",le=\"+Inf\"}", "3"),
        ("packhouse_http_requests_in_flight", "0"),
        ("packhouse_http_panics_total", "0"),
        ("packhouse_ready", "1"),
        ("packhouse_build_info", "1"),
        ("packhouse_store_syncs_total > bool 0", "1"),
        ("packhouse_space_free_bytes > bool 0", "1"),
    ];
    for (query, want) in quiet {
        becomes(ctx, &address, query, want)?;
    }

    // After all that, so that every family has its children. The linter says nothing of a good page.
    let page = get(&metrics, "/metrics")?;
    for family in ["packhouse_http_requests_total{", "packhouse_store_", "process_resident_memory_bytes"] {
        check(page.contains(family), || format!("no {family} on the page"))?;
    }
    let lint = ctx.cmd("promtool").args(["check", "metrics"]).input(page).run()?;
    same("what the linter says", format!("{}{}", lint.stdout, lint.stderr), String::new())?;

    hub.kill()?;
    becomes(ctx, &address, "up{job=\"packhouse\"}", "0")?;
    hub.restart()?;
    becomes(ctx, &address, "up{job=\"packhouse\"}", "1")
}
