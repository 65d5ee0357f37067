//! A refusal reaches clients that write everything before they read.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use super::harness::{End, client, exchange, read_all, start};

const MIB: usize = 1 << 20;

/// Sends a request's head, then so many bytes, then reads.
async fn upload(address: std::net::SocketAddr, head: String, bytes: usize) -> super::harness::Answer {
    client(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let piece = vec![7; MIB];
        for _ in 0..bytes / MIB {
            stream.write_all(&piece).unwrap();
        }
        // Slow to look: by now the answer has long been sent, and a reset would have destroyed it.
        std::thread::sleep(Duration::from_millis(100));
        read_all(&mut stream, Duration::from_secs(10))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_writes_256_mib_first_reads_the_whole_refusal() {
    let server = start(|_| ()).await;
    for (length, path) in
        [(256 * MIB, "/t/refuse"), (256 * MIB, "/nowhere"), (256 * MIB, "/t/later?50"), (256 * MIB, "/t/bad")]
    {
        let head = format!("PUT {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        let answer = upload(server.address(), head, length).await;
        assert!([400, 401, 404].contains(&answer.status()), "{path}");
        assert_eq!(answer.end, End::Closed, "{path}");
        let announced: usize = answer.header("content-length").unwrap().parse().unwrap();
        assert_eq!(answer.body().len(), announced, "{path}: all of it");
        assert_eq!(answer.header("connection").as_deref(), Some("close"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_stream_without_length_is_read_to_the_bound_and_closed() {
    let server = start(|_| ()).await;
    let head = "PUT /t/refuse HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = client({
        let address = server.address();
        move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(head.as_bytes()).unwrap();
            let chunk = [format!("{MIB:x}\r\n").into_bytes(), vec![7; MIB], b"\r\n".to_vec()].concat();
            for _ in 0..64 {
                stream.write_all(&chunk).unwrap();
            }
            read_all(&mut stream, Duration::from_secs(10))
        }
    })
    .await;
    assert_eq!((answer.status(), answer.end), (401, End::Closed));
    assert_eq!(answer.body().len(), "echo: ".len() + 3000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_refused_body_keeps_the_connection() {
    let server = start(|_| ()).await;
    for (path, status) in [("/t/refuse", 401), ("/t/first", 200)] {
        let length = 3 * MIB;
        let head = format!("PUT {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        let next = "GET /t/after HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let request = [head.as_bytes(), &vec![7; length], next.as_bytes()].concat();
        let answer = exchange(server.address(), &request).await;
        let text = answer.text();
        assert!(text.starts_with(&format!("HTTP/1.1 {status}")), "{text}");
        assert!(text.ends_with("hello after"), "{path}: the next request was served");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_is_not_asked_for_what_is_refused() {
    let server = start(|_| ()).await;
    let address = server.address();
    let ask = |path: &'static str| {
        client(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            let head = format!(
                "PUT {path} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).unwrap();
            let mut first = [0; 12];
            stream.read_exact(&mut first).unwrap();
            if &first == b"HTTP/1.1 100" {
                stream.write_all(b"12345").unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                let mut rest = [0; 25];
                stream.read_exact(&mut rest).unwrap();
                return String::from_utf8_lossy(&rest).into_owned();
            }
            let rest = read_all(&mut stream, Duration::from_secs(10));
            assert_eq!(rest.end, End::Closed, "it may not be taken for the next request");
            String::from_utf8_lossy(&first).into_owned()
        })
    };
    assert_eq!(ask("/t/refuse").await, "HTTP/1.1 401");
    assert_eq!(ask("/t/later?50").await, "HTTP/1.1 401");
    assert_eq!(ask("/nowhere").await, "HTTP/1.1 404");
    assert!(ask("/t/sink").await.contains("HTTP/1.1 200"));
}
