//! Stopping: nothing new, everything begun is finished, and not for ever.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use packhouse::config::Span;

use super::harness::{End, client, get, read_all, start};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_begun_is_finished() {
    let server = start(|_| ()).await;
    let address = server.address();
    let slow = tokio::spawn(async move { get(address, "/t/sleep?1500", "").await });
    let upload = tokio::spawn(client(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"PUT /t/sink HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc").unwrap();
        std::thread::sleep(Duration::from_millis(1200));
        stream.write_all(b"def").unwrap();
        read_all(&mut stream, Duration::from_secs(10))
    }));
    let idle = client(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /t/x HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        stream.read_exact(&mut [0; 20]).unwrap();
        stream
    })
    .await;
    server.until("packhouse_http_requests_in_flight", 2.0).await;
    let silent = client(move || TcpStream::connect(address).unwrap()).await;
    server.until("packhouse_connections_open", 4.0).await;
    let stopping = tokio::spawn(server.0.shutdown());
    for mut stream in [idle, silent] {
        let rest = client(move || read_all(&mut stream, Duration::from_secs(10))).await;
        assert_eq!(rest.end, End::Closed, "one with nothing to do is closed at once");
    }
    assert!(TcpStream::connect(address).is_err(), "nobody new");
    assert_eq!(slow.await.unwrap().body(), "awake");
    let upload = upload.await.unwrap();
    assert_eq!((upload.body().as_str(), upload.end), ("6", End::Closed));
    assert_eq!(upload.header("connection").as_deref(), Some("close"));
    assert!(stopping.await.unwrap(), "all finished by themselves");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_finish_is_cut_off() {
    let server = start(|config| config.limits.drain_time = Span(Duration::from_millis(300))).await;
    let address = server.address();
    let slow = tokio::spawn(async move { get(address, "/t/sleep?60000", "").await });
    server.until("packhouse_http_requests_in_flight", 1.0).await;
    let began = Instant::now();
    assert!(!server.0.shutdown().await);
    assert!(slow.await.unwrap().bytes.is_empty());
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_ends_with_the_signal() {
    let server = start(|_| ()).await;
    let address = server.address();
    // A request that is being sent when the signal comes is still answered.
    let mut asking = client(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /readyz HTTP/1.1\r\n").unwrap();
        stream
    })
    .await;
    server.until("packhouse_connections_open", 1.0).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let stopping = tokio::spawn(server.0.shutdown());
    tokio::time::sleep(Duration::from_millis(200)).await;
    let answer = client(move || {
        asking.write_all(b"Host: a\r\n\r\n").unwrap();
        read_all(&mut asking, Duration::from_secs(10))
    })
    .await;
    assert_eq!((answer.status(), answer.body().as_str(), answer.end), (503, "draining\n", End::Closed));
    assert!(stopping.await.unwrap());
}
