//! Clients that take their time: each is closed at its own deadline, and nobody else waits for it.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use packhouse::config::{Config, Size, Span};

use super::harness::{Answer, End, Server, client, get, read_all, start};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const EMPTY_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

fn short(config: &mut Config) {
    let limits = &mut config.limits;
    limits.first_request_time = Span(Duration::from_millis(600));
    limits.header_time = Span(Duration::from_millis(600));
    limits.idle_time = Span(Duration::from_millis(900));
    limits.body_idle_time = Span(Duration::from_millis(600));
    limits.write_idle_time = Span(Duration::from_millis(900));
    limits.linger_time = Span(Duration::from_secs(3));
}

/// Sends bytes, then nothing, and sees how long the server puts up with it.
async fn hold(address: SocketAddr, bytes: &'static [u8]) -> (Answer, Duration) {
    client(move || {
        let began = Instant::now();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(bytes).unwrap();
        (read_all(&mut stream, Duration::from_secs(20)), began.elapsed())
    })
    .await
}

async fn gone(server: &Server) {
    server.until("packhouse_connections_open", 0.0).await;
    server.until("packhouse_http_requests_in_flight", 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_slowloris_ends_at_a_deadline() {
    let server = start(short).await;
    let with_settings = [PREFACE, EMPTY_SETTINGS].concat().leak();
    // HEADERS of stream 1 without END_HEADERS, and no CONTINUATION.
    let half_headers = [PREFACE, EMPTY_SETTINGS, &[0, 0, 1, 1, 0, 0, 0, 0, 1, 0x82]].concat().leak();
    for (kind, bytes) in [
        ("silent", &b""[..]),
        ("half a line", b"GET /t/x HT"),
        ("half the headers", b"GET /t/x HTTP/1.1\r\nHost: a\r\nX: y"),
        ("an empty line", b"\r\n"),
        ("half a preface", &PREFACE[..10]),
        ("a preface", PREFACE),
        ("a preface and settings", with_settings),
        ("half of HTTP/2's headers", half_headers),
    ] {
        let (answer, took) = hold(server.address(), bytes).await;
        assert_ne!(answer.end, End::Silence, "{kind}");
        assert!(took >= Duration::from_millis(500), "{kind}: not before the deadline, {took:?}");
        assert_eq!(get(server.address(), "/t/x", "").await.status(), 200, "others are served");
    }
    gone(&server).await;
    assert_eq!(server.metric(r#"packhouse_connections_overdue_total{waiting_for="head"}"#).await, 8.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_trickle_and_connections_that_idle() {
    let server = start(short).await;
    let address = server.address();
    let trickled = client(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        for byte in b"GET /t/x HTTP/1.1\r\nHost: abcdefghijklmnopqrstuvwxyz\r\n".iter().cycle() {
            if stream.write_all(&[*byte]).is_err() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(40));
        }
        false
    });
    assert!(trickled.await, "each byte in time does not make the head in time");
    let (answer, _) = hold(address, b"GET /t/x HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!((answer.status(), answer.end), (200, End::Closed), "idle after a request");
    let (answer, _) = hold(address, b"GET /t/x HTTP/1.1\r\nHost: a\r\n\r\nGET /t").await;
    assert_eq!(answer.status(), 200);
    assert_ne!(answer.end, End::Silence, "half a second request");
    gone(&server).await;
    assert_eq!(server.metric(r#"packhouse_connections_overdue_total{waiting_for="idle"}"#).await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_at_work_is_not_idle() {
    let server = start(short).await;
    assert_eq!(get(server.address(), "/t/sleep?2500", "").await.body(), "awake");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stops_is_told_so() {
    let server = start(short).await;
    let half = b"PUT /t/sink HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf";
    let (answer, _) = hold(server.address(), half).await;
    assert_eq!((answer.status(), answer.end), (408, End::Closed));
    gone(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_trickles_is_taken_as_long_as_it_comes() {
    let server = start(|config| {
        short(config);
        config.limits.body_rate = Size(0);
        config.limits.body_idle_time = Span(Duration::from_millis(1500));
    })
    .await;
    let address = server.address();
    let answer = client(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .write_all(b"PUT /t/sink HTTP/1.1\r\nHost: a\r\nContent-Length: 16\r\nConnection: close\r\n\r\n")
            .unwrap();
        for _ in 0..16 {
            std::thread::sleep(Duration::from_millis(150));
            stream.write_all(b"x").unwrap();
        }
        read_all(&mut stream, Duration::from_secs(10))
    });
    assert_eq!(answer.await.body(), "16");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stalls_is_dropped() {
    let server = start(short).await;
    let address = server.address();
    let (seen, end) = client(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /t/stream?1000000000 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        stream.read_exact(&mut [0; 1000]).unwrap();
        std::thread::sleep(Duration::from_secs(3));
        let rest = read_all(&mut stream, Duration::from_secs(10));
        (rest.bytes.len(), rest.end)
    })
    .await;
    assert!(seen < 1_000_000_000, "not all of it");
    assert_ne!(end, End::Silence);
    gone(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_held_whole_share_a_part_of_the_memory() {
    let server = start(|config| config.memory.budget = Size(64 << 20)).await;
    let address = server.address();
    let stalled = client(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /t/whole?16777216 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        stream.read_exact(&mut [0; 1000]).unwrap();
        stream
    })
    .await;
    assert_eq!(get(address, "/t/hello", "").await.status(), 200, "small ones need no place");
    assert_eq!(get(address, "/t/whole?1000000", "").await.status(), 503);
    drop(stalled);
    assert_eq!(get(address, "/t/whole?1000000", "").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_slow_but_reads_gets_everything() {
    let server = start(short).await;
    let address = server.address();
    let length = client(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /t/stream?30000000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let mut seen = 0;
        let mut piece = vec![0; 1 << 20];
        loop {
            match stream.read(&mut piece).unwrap() {
                0 => return seen,
                read => seen += read,
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    assert!(length.await > 30_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_slow_clients_do_not_slow_the_others() {
    let server = start(|config| {
        short(config);
        config.limits.first_request_time = Span::seconds(5);
        config.limits.header_time = Span::seconds(5);
    })
    .await;
    let address = server.address();
    let slow = client(move || {
        let open = |bytes: &'static [u8]| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(bytes).unwrap();
            stream
        };
        let kinds: [&'static [u8]; 3] = [b"", b"GET /t/x HTTP/1.1\r\nHo", &PREFACE[..9]];
        (0..600).map(|number| open(kinds[number % 3])).collect::<Vec<_>>()
    })
    .await;
    server.until("packhouse_connections_open", 600.0).await;
    for _ in 0..20 {
        assert_eq!(get(address, "/t/x", "").await.status(), 200);
    }
    gone(&server).await;
    drop(slow);
}
