//! Requests as bytes: what is refused, what is passed on untouched.

use std::{io::Write, net::TcpStream, time::Duration};

use super::harness::{End, client, exchange, get, read_all, start};

#[tokio::test]
async fn two_lengths_are_refused_wherever_they_come() {
    let server = start(|_| ()).await;
    let good = "POST /t/sink HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    let chunked =
        "POST /t/sink HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
    for mixed in [
        "POST /t/sink HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /t/sink HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
        "POST /t/sink HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:chunked\r\nX: y\r\nContent-Length:0\r\n\r\n0\r\n\r\n",
    ] {
        for before in ["", good, chunked, &[good, chunked, good].concat()] {
            let answer = exchange(server.address(), format!("{before}{mixed}{good}").as_bytes()).await;
            assert_eq!(answer.status(), 400, "{answer:?}");
            assert_eq!(answer.text().matches("HTTP/1.1 200").count(), before.matches("POST").count());
            assert_eq!(answer.end, End::Closed, "what follows is not trusted");
        }
    }
    let last = "GET /t/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = exchange(server.address(), format!("{chunked}{good}{last}").as_bytes()).await;
    assert_eq!(answer.text().matches("HTTP/1.1 200").count(), 3, "one length each is fine: {answer:?}");
}

#[tokio::test]
async fn malformed_lengths_are_refused() {
    let server = start(|_| ()).await;
    for lines in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 5, 5\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Content-Length : 5\r\n",
    ] {
        let request = format!("POST /t/sink HTTP/1.1\r\nHost: a\r\n{lines}\r\n0\r\n\r\n");
        let answer = exchange(server.address(), request.as_bytes()).await;
        assert_eq!((answer.status(), answer.end), (400, End::Closed), "{lines}");
    }
}

#[tokio::test]
async fn one_host_that_agrees_with_the_target() {
    let server = start(|_| ()).await;
    for (request, status) in [
        ("GET /t/x HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET /t/x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET /t/x HTTP/1.1\r\n\r\n", 400),
        ("GET http://b/t/x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://a/t/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200),
        ("GET /t/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200),
    ] {
        let answer = exchange(server.address(), request.as_bytes()).await;
        assert_eq!((answer.status(), answer.end), (status, End::Closed), "{request}");
    }
}

#[tokio::test]
async fn paths_reach_the_adapter_as_they_were_sent() {
    let server = start(|_| ()).await;
    for (path, last) in [
        ("/t/a%2fb", "a%2fb"),
        ("/t/../..%2e%2e", "..%2e%2e"),
        ("/t/x/..", ".."),
        ("/t//%00", "%00"),
        ("/t/a;b\\c", "a;b\\c"),
        ("/t/%252f", "%252f"),
    ] {
        assert_eq!(get(server.address(), path, "").await.body(), format!("hello {last}"), "{path}");
    }
    for path in ["//t/x", "/%74/x", "/./t/x", "/T/x", "/tt/x", "/"] {
        assert_eq!(get(server.address(), path, "").await.status(), 404, "{path}");
    }
    for path in ["/t/\0", "/t/a b", "/t/\x7f", "t/x"] {
        let answer =
            exchange(server.address(), format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await;
        assert_eq!(answer.status(), 400, "{path:?}");
    }
    let answer =
        exchange(server.address(), b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert_eq!(answer.status(), 404);
}

#[tokio::test]
async fn header_bombs_are_refused() {
    let server = start(|_| ()).await;
    let many = "X: y\r\n".repeat(10_000);
    let few = "X: y\r\n".repeat(90);
    let large = format!("X: {}\r\n", "y".repeat(1 << 20));
    let small = format!("X: {}\r\n", "y".repeat(20_000));
    let endless = "y".repeat(100_000);
    for (lines, status) in [(many, 431), (large, 431), (few, 200), (small, 200)] {
        let answer = get(server.address(), "/t/x", &lines).await;
        assert_eq!((answer.status(), answer.end), (status, End::Closed), "{} bytes", lines.len());
    }
    // No end of the line in sight.
    let answer =
        exchange(server.address(), format!("GET /t/x HTTP/1.1\r\nHost: a\r\nX: {endless}").as_bytes()).await;
    assert_eq!((answer.status(), answer.end), (431, End::Closed));
    let answer = get(server.address(), &format!("/t/{}", "x".repeat(70_000)), "").await;
    assert!([414, 431].contains(&answer.status()));
}

#[tokio::test]
async fn head_has_the_length_and_no_body() {
    let server = start(|_| ()).await;
    for (path, length) in
        [("/t/x", "7"), ("/t/head?0", "0"), ("/t/head?12345", "12345"), ("/t/stream?99999", "99999")]
    {
        let request = format!("HEAD {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let answer = exchange(server.address(), request.as_bytes()).await;
        assert_eq!((answer.status(), answer.body().as_str()), (200, ""));
        assert_eq!(answer.header("content-length").as_deref(), Some(length), "{path}");
    }
    let answer = get(server.address(), "/t/none", "").await;
    assert_eq!((answer.status(), answer.header("content-length"), answer.body().as_str()), (204, None, ""));
}

#[tokio::test]
async fn a_connection_serves_request_after_request() {
    let server = start(|_| ()).await;
    let one =
        "GET /t/x HTTP/1.1\r\nHost: a\r\n\r\nPUT /t/sink HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab";
    let last = "GET /t/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = exchange(server.address(), format!("{}{last}", one.repeat(50)).as_bytes()).await;
    assert_eq!(answer.text().matches("HTTP/1.1 200 OK").count(), 101);
    server.until("packhouse_connections_open", 0.0).await;
    assert_eq!(server.metric("packhouse_connections_accepted_total").await, 1.0);
}

#[tokio::test]
async fn http_1_0_and_a_client_that_leaves_in_the_middle() {
    let server = start(|_| ()).await;
    let answer = exchange(server.address(), b"GET /t/x HTTP/1.0\r\n\r\n").await;
    assert!(answer.text().starts_with("HTTP/1.0 200 OK"), "{answer:?}");
    let address = server.address();
    client(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"PUT /t/sink HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        read_all(&mut stream, Duration::from_secs(10))
    })
    .await;
    server.until("packhouse_http_requests_in_flight", 0.0).await;
    server.until("packhouse_connections_open", 0.0).await;
}
