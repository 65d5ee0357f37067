//! HTTP/2 connections that abuse the protocol end with GOAWAY, and nobody else notices. Frames as of RFC 9113 §4.

use std::{io::Write, net::TcpStream, time::Duration};

use super::harness::{End, client, get, read_all, start};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const GO_AWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `GET /`, or `POST /t/sink`, of authority `a`, in HPACK (RFC 7541).
fn head(method: &str) -> Vec<u8> {
    let target: &[u8] = if method == "GET" {
        &[0x82, 0x84]
    } else {
        &[0x83, 0x04, 7, b'/', b't', b'/', b's', b'i', b'n', b'k']
    };
    [target, &[0x86, 0x41, 1, b'a']].concat()
}

/// The error codes of the GOAWAY frames in what a server sent.
fn farewells(mut bytes: &[u8]) -> Vec<u32> {
    let mut codes = Vec::new();
    while let Some((head, rest)) = bytes.split_at_checked(9) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let Some((payload, rest)) = rest.split_at_checked(length) else { break };
        if head[3] == GO_AWAY {
            codes.push(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
        bytes = rest;
    }
    codes
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_end_with_go_away() {
    let server = start(|_| ()).await;
    let address = server.address();
    let resets = |number: u32| {
        let stream = 2 * number + 1;
        [
            frame(HEADERS, END_HEADERS | END_STREAM, stream, &head("GET")),
            frame(RESET, 0, stream, &[0, 0, 0, 8]),
        ]
        .concat()
    };
    let rapid_reset: Vec<u8> = (0..20_000).flat_map(resets).collect();
    let more = frame(CONTINUATION, 0, 1, &[0; 1000]);
    let continuations = [frame(HEADERS, 0, 1, &head("GET")), more.repeat(20_000)].concat();
    let empty =
        [frame(HEADERS, END_HEADERS, 1, &head("POST")), frame(DATA, 0, 1, &[]).repeat(200_000)].concat();
    let settings = frame(SETTINGS, 0, 0, &[]).repeat(200_000);
    for (kind, flood, wanted) in [
        ("rapid reset", rapid_reset, true),
        ("continuation", continuations, true),
        ("empty data", empty, true),
        // Each is answered; what ends it is that nobody reads the answers.
        ("settings", settings, false),
    ] {
        let answer = client(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
            // The server may close before all is written.
            let _sent = stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[]), &flood].concat());
            read_all(&mut stream, Duration::from_secs(2))
        })
        .await;
        let calm = farewells(&answer.bytes).iter().any(|code| *code != 0);
        assert!(!wanted || calm || answer.end == End::Reset, "{kind}: {:?}", farewells(&answer.bytes));
        assert_eq!(get(address, "/t/x", "").await.status(), 200, "{kind}");
    }
    server.until("packhouse_connections_open", 0.0).await;
    server.until("packhouse_http_requests_in_flight", 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_streams_than_allowed_are_refused() {
    let server = start(|config| config.limits.http2_streams = 5).await;
    let address = server.address();
    let open = |number: u32| frame(HEADERS, END_HEADERS, 2 * number + 1, &head("POST"));
    let answer = client(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        let streams: Vec<u8> = (0..6).flat_map(open).collect();
        stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[]), &streams].concat()).unwrap();
        read_all(&mut stream, Duration::from_secs(1))
    })
    .await;
    // REFUSED_STREAM for the sixth alone.
    assert!(answer.bytes.windows(13).any(|bytes| bytes == frame(RESET, 0, 11, &[0, 0, 0, 7])), "{answer:?}");
    server.until("packhouse_http_requests_in_flight", 0.0).await;
}
