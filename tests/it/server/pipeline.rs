//! Around the handler: panics, ids, addresses, callers, health, counters.

use super::harness::{End, exchange, get, start};

#[tokio::test]
async fn a_panic_costs_one_request() {
    let server = start(|_| ()).await;
    let request =
        b"GET /t/panic HTTP/1.1\r\nHost: a\r\n\r\nGET /t/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = exchange(server.address(), request).await;
    let text = answer.text();
    assert!(text.starts_with("HTTP/1.1 500"), "{text}");
    assert!(text.contains("x-by: echo") && text.contains("echo: internal error"), "{text}");
    assert!(!text.contains("told to panic"), "the cause is for the log");
    assert!(text.ends_with("hello x"), "the connection goes on");
    assert_eq!(server.metric("packhouse_http_panics_total").await, 1.0);
}

#[tokio::test]
async fn every_answer_names_its_request() {
    let server = start(|_| ()).await;
    let answer = get(server.address(), "/t/request", "").await;
    assert_eq!(answer.header("x-request-id"), Some(answer.body()));
    for path in ["/t/bad", "/t/panic", "/t/refuse", "/nowhere", "/healthz"] {
        assert_eq!(get(server.address(), path, "").await.header("x-request-id").map(|id| id.len()), Some(16));
    }
}

#[tokio::test]
async fn errors_are_the_adapters_inside_and_ours_outside() {
    let server = start(|_| ()).await;
    let answer = get(server.address(), "/t/bad", "").await;
    assert_eq!((answer.status(), answer.header("x-by").as_deref()), (400, Some("echo")));
    let answer = get(server.address(), "/nowhere", "").await;
    assert_eq!(answer.status(), 404);
    assert_eq!(answer.header("content-type").as_deref(), Some("application/json"));
    assert!(answer.body().contains(r#""code":"NOT_FOUND""#));
    let answer = get(server.address(), "/t/stale", "").await;
    assert_eq!((answer.status(), answer.header("retry-after").as_deref()), (503, Some("1")));
}

#[tokio::test]
async fn a_body_that_fails_breaks_the_connection() {
    let server = start(|_| ()).await;
    for path in ["/t/broken?100000", "/t/short?100000", "/t/short?0", "/t/broken?0"] {
        let answer = get(server.address(), path, "").await;
        let announced: usize = answer.header("content-length").map_or(1, |length| length.parse().unwrap());
        assert!(answer.body().len() < announced, "{path}: never a short success");
        assert_ne!(answer.end, End::Silence);
    }
    let answer = get(server.address(), "/t/stream?3000000", "").await;
    assert_eq!(answer.body().len(), 3_000_000);
}

#[tokio::test]
async fn the_site_is_the_external_url_or_an_echo_of_loopback() {
    let server = start(|_| ()).await;
    let address = server.address();
    let own = format!("http://{address}");
    for (host, base) in [
        ("localhost:5000", "http://localhost:5000"),
        ("127.0.0.1:77", "http://127.0.0.1:77"),
        ("[::1]:5000", "http://[::1]:5000"),
        ("evil.example", own.as_str()),
        ("localhost.evil.example:80", own.as_str()),
    ] {
        let request = format!("GET /t/site HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert_eq!(exchange(address, request.as_bytes()).await.body(), base);
    }
    let server = start(|c| c.server.external_url = Some("https://hub.example/".into())).await;
    assert_eq!(get(server.address(), "/t/site", "").await.body(), "https://hub.example");
}

#[tokio::test]
async fn credentials_are_read_unless_the_route_signs_in() {
    let server = start(|_| ()).await;
    let address = server.address();
    assert_eq!(get(address, "/t/whoami", "").await.body(), "anonymous");
    assert_eq!(get(address, "/t/whoami", "Authorization: user 7\r\n").await.body(), "user:0000000000000007");
    assert_eq!(get(address, "/t/whoami", "Authorization: junk\r\n").await.status(), 401);
    assert_eq!(get(address, "/t/token", "Authorization: junk\r\n").await.body(), "hello token");
}

#[tokio::test]
async fn health_is_told_to_everybody() {
    let server = start(|_| ()).await;
    assert_eq!(get(server.address(), "/healthz", "").await.body(), "ok\n");
    assert_eq!(get(server.address(), "/readyz", "").await.body(), "ready\n");
    let head = b"HEAD /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(server.address(), head).await.body(), "");
    let post = b"POST /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(exchange(server.address(), post).await.status(), 405);
}

#[tokio::test]
async fn what_is_counted() {
    let server = start(|_| ()).await;
    get(server.address(), "/t/stream?1000", "").await;
    let put = b"PUT /t/sink HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close\r\n\r\n12345";
    exchange(server.address(), put).await;
    exchange(server.address(), b"BREW /t/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    get(server.address(), "/t/bad", "").await;
    server.until("packhouse_http_requests_in_flight", 0.0).await;
    for (line, value) in [
        (r#"packhouse_http_requests_total{adapter="echo",method="GET",route="do",status="200"}"#, 1.0),
        (r#"packhouse_http_requests_total{adapter="echo",method="PUT",route="do",status="200"}"#, 1.0),
        (r#"packhouse_http_requests_total{adapter="echo",method="OTHER",route="do",status="200"}"#, 1.0),
        (r#"packhouse_http_requests_total{adapter="echo",method="GET",route="none",status="400"}"#, 1.0),
        (r#"packhouse_http_received_bytes_total{adapter="echo"}"#, 5.0),
        (r#"packhouse_http_request_duration_seconds_count{adapter="echo",route="do"}"#, 3.0),
        ("packhouse_ready", 1.0),
        ("packhouse_space_reserve_bytes", f64::from(2u32 << 30)),
        ("packhouse_connections_accepted_total", 4.0),
    ] {
        assert_eq!(server.metric(line).await, value, "{line}");
    }
    let page = server.metrics().await;
    assert!(page.contains("process_resident_memory_bytes") && page.contains("packhouse_store_"), "{page}");
    lint(&page);
}

/// Where promtool is installed, its judgement counts.
fn lint(page: &str) {
    use std::{
        io::Write,
        process::{Command, Stdio},
    };
    let page = page.split_once("\r\n\r\n").map_or(page, |(_, body)| body);
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).stdout(Stdio::piped());
    let Ok(mut child) = promtool.spawn() else { return };
    child.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
