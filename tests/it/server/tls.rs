//! TLS, and HTTP/2 with and without it.

use std::{
    io::{Read, Write},
    path::Path,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode, Version};
use http_body_util::{BodyExt, Empty, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use packhouse::config::{Config, Span};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::harness::{End, Server, client, eventually, exchange, read_all, start};

const FIRST: (&str, &str) = (include_str!("tls/first.pem"), include_str!("tls/first.key"));
const SECOND: (&str, &str) = (include_str!("tls/second.pem"), include_str!("tls/second.key"));

/// A server with the first certificate, in files of its own.
async fn secure(folder: &Path, change: impl FnOnce(&mut Config)) -> Server {
    write(folder, FIRST);
    let path = |name| Some(folder.join(name).to_str().unwrap().to_owned());
    start(|config| {
        config.server.tls_cert = path("cert.pem");
        config.server.tls_key = path("key.pem");
        change(config);
    })
    .await
}

fn write(folder: &Path, pair: (&str, &str)) {
    std::fs::write(folder.join("cert.pem"), pair.0).unwrap();
    std::fs::write(folder.join("key.pem"), pair.1).unwrap();
}

fn trusting(pem: &str, protocols: &[&str]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config).into()
}

async fn connect(server: &Server, pem: &str, protocols: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(server.address()).await?;
    trusting(pem, protocols).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

async fn speak_http2<S>(stream: S) -> http2::SendRequest<Full<Bytes>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (send, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    send
}

fn request(method: &str, path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let uri = format!("https://localhost{path}");
    Request::builder().method(method).uri(uri).version(Version::HTTP_2).body(Full::new(body.into())).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_is_chosen_by_alpn() {
    let folder = tempfile::tempdir().unwrap();
    let server = secure(folder.path(), |_| ()).await;
    assert!(server.0.url().starts_with("https://127.0.0.1:"));
    let stream = connect(&server, FIRST.0, &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut send = speak_http2(stream).await;
    let answer = send.send_request(request("GET", "/t/stream?5000000", "")).await.unwrap();
    assert_eq!((answer.status(), answer.version()), (StatusCode::OK, Version::HTTP_2));
    assert_eq!(answer.collect().await.unwrap().to_bytes().len(), 5_000_000);
    let answer = send.send_request(request("PUT", "/t/sink", vec![1; 3 << 20])).await.unwrap();
    assert_eq!(answer.collect().await.unwrap().to_bytes(), (3 << 20).to_string());
    let answer = send.send_request(request("GET", "/t/site", "")).await.unwrap();
    assert_eq!(answer.collect().await.unwrap().to_bytes(), "https://localhost");
    assert_eq!(server.metric(r#"packhouse_tls_handshakes_total{outcome="ok"}"#).await, 1.0);
    assert!(server.metric("packhouse_tls_certificate_expiry_timestamp_seconds").await > 4e9);
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_is_chosen_by_alpn_or_by_silence() {
    let folder = tempfile::tempdir().unwrap();
    let server = secure(folder.path(), |_| ()).await;
    for protocols in [&["http/1.1"][..], &[]] {
        let stream = connect(&server, FIRST.0, protocols).await.unwrap();
        let (mut send, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let ask = Request::get("/t/hi").header("host", "localhost").body(Empty::<Bytes>::new()).unwrap();
        let answer = send.send_request(ask).await.unwrap();
        assert_eq!(answer.collect().await.unwrap().to_bytes(), "hello hi");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_by_prior_knowledge() {
    let server = start(|_| ()).await;
    let mut send = speak_http2(TcpStream::connect(server.address()).await.unwrap()).await;
    let many = (0..100).map(|number| send.send_request(request("GET", &format!("/t/{number}"), "")));
    for (number, answer) in futures_util::future::join_all(many).await.into_iter().enumerate() {
        assert_eq!(answer.unwrap().collect().await.unwrap().to_bytes(), format!("hello {number}"));
    }
    let answer = send.send_request(request("HEAD", "/t/head?99", "")).await.unwrap();
    assert_eq!(answer.headers()["content-length"], "99");
    assert_eq!(answer.collect().await.unwrap().to_bytes(), "");
    for (path, status) in [("/t/panic", 500), ("/t/bad", 400), ("/nowhere", 404)] {
        assert_eq!(send.send_request(request("GET", path, "")).await.unwrap().status(), status);
    }
    // The reset may overtake the headers; either way it is never a short success.
    if let Ok(broken) = send.send_request(request("GET", "/t/broken?1000", "")).await {
        assert!(broken.collect().await.is_err());
    }
    assert_eq!(
        send.send_request(request("GET", "/t/x", "")).await.unwrap().status(),
        200,
        "other streams go on"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_refusals_come_before_the_body_and_spare_the_connection() {
    let server = start(|_| ()).await;
    let mut send = speak_http2(TcpStream::connect(server.address()).await.unwrap()).await;
    let answer = send.send_request(request("PUT", "/t/refuse", vec![0; 2 << 20])).await.unwrap();
    assert_eq!(answer.status(), 401);
    assert_eq!(answer.collect().await.unwrap().to_bytes().len(), 3006);
    assert_eq!(send.send_request(request("GET", "/t/x", "")).await.unwrap().status(), 200);
    let mut two_hosts = request("GET", "/t/x", "");
    two_hosts.headers_mut().insert("host", "elsewhere".parse().unwrap());
    assert_eq!(send.send_request(two_hosts).await.unwrap().status(), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_2_stream_whose_reader_stalls_is_reset_alone() {
    let server = start(|config| config.limits.write_idle_time = Span(Duration::from_millis(700))).await;
    let mut send = speak_http2(TcpStream::connect(server.address()).await.unwrap()).await;
    let stalled = send.send_request(request("GET", "/t/stream?100000000", "")).await.unwrap();
    server.until("packhouse_http_requests_in_flight", 1.0).await;
    server.until("packhouse_http_requests_in_flight", 0.0).await;
    assert!(stalled.collect().await.is_err());
    assert_eq!(send.send_request(request("GET", "/t/x", "")).await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_connections_drain() {
    let server = start(|_| ()).await;
    let mut send = speak_http2(TcpStream::connect(server.address()).await.unwrap()).await;
    let slow = tokio::spawn(send.send_request(request("GET", "/t/sleep?1000", "")));
    server.until("packhouse_http_requests_in_flight", 1.0).await;
    let stopping = tokio::spawn(server.0.shutdown());
    assert_eq!(slow.await.unwrap().unwrap().collect().await.unwrap().to_bytes(), "awake");
    assert!(stopping.await.unwrap());
    assert!(send.send_request(request("GET", "/t/x", "")).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_taken_up_and_a_bad_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let server = secure(folder.path(), |_| ()).await;
    let mut open = speak_http2(connect(&server, FIRST.0, &["h2"]).await.unwrap()).await;
    assert!(connect(&server, SECOND.0, &[]).await.is_err());

    // A certificate without its key, then nonsense: both are refused, both times the old pair stays.
    for (number, cert) in [SECOND.0, "nonsense"].into_iter().enumerate() {
        std::fs::write(folder.path().join("cert.pem"), cert).unwrap();
        server.0.reload();
        server.until(r#"packhouse_tls_reloads_total{outcome="failed"}"#, number as f64 + 1.0).await;
        connect(&server, FIRST.0, &[]).await.unwrap();
    }
    // Without being told: the files are looked at every few seconds.
    write(folder.path(), SECOND);
    eventually(async || connect(&server, SECOND.0, &[]).await.is_ok()).await;
    assert!(connect(&server, FIRST.0, &[]).await.is_err());
    assert_eq!(
        open.send_request(request("GET", "/t/x", "")).await.unwrap().status(),
        200,
        "old connections go on"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_resume_and_early_data_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = secure(folder.path(), |_| ()).await;
    let connector = trusting(FIRST.0, &["http/1.1"]);
    for wanted in [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed] {
        let stream = TcpStream::connect(server.address()).await.unwrap();
        let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(wanted));
        assert!(!stream.get_ref().1.is_early_data_accepted());
        // Tickets come after the handshake; reading the answer takes them too.
        stream.write_all(b"GET /t/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert!(text.ends_with("hello x"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_stalls_ends_at_its_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let server =
        secure(folder.path(), |config| config.limits.handshake_time = Span(Duration::from_millis(400))).await;
    let address = server.address();
    let answer = client(move || {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        // The beginning of a TLS record.
        stream.write_all(&[22, 3, 1, 2]).unwrap();
        read_all(&mut stream, Duration::from_secs(10))
    })
    .await;
    assert_ne!(answer.end, End::Silence);
    let plain = exchange(address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(!plain.text().contains("HTTP/1.1 2"));
    server.until(r#"packhouse_tls_handshakes_total{outcome="failed"}"#, 2.0).await;
    server.until("packhouse_connections_open", 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_reaches_a_client_that_writes_first_through_tls() {
    let folder = tempfile::tempdir().unwrap();
    let server = secure(folder.path(), |_| ()).await;
    let stream = connect(&server, FIRST.0, &["http/1.1"]).await.unwrap();
    let (tcp, mut session) = stream.into_inner();
    let mut tcp = tcp.into_std().unwrap();
    let text = client(move || {
        tcp.set_nonblocking(false).unwrap();
        let mut stream = rustls::Stream::new(&mut session, &mut tcp);
        stream
            .write_all(b"PUT /t/refuse HTTP/1.1\r\nHost: localhost\r\nContent-Length: 67108864\r\n\r\n")
            .unwrap();
        for _ in 0..64 {
            stream.write_all(&vec![0; 1 << 20]).unwrap();
        }
        let mut text = String::new();
        // The server's close_notify ends it; without one this would be an error.
        stream.read_to_string(&mut text).unwrap();
        text
    })
    .await;
    assert!(text.starts_with("HTTP/1.1 401"), "{text}");
    assert!(text.ends_with(&"x".repeat(3000)));
}
