//! Connections that move to the lane of large bodies and back.

use std::{net::TcpStream, time::Duration};

use crate::support::{
    Server,
    content::{noise, sha256},
};

const REPOSITORY: &str = "ada/app";

#[test]
fn one_connection_takes_and_gives_large_and_small_in_turn() {
    let server = Server::start();
    let client = server.signed_in("ada");
    let mut stream = TcpStream::connect(client.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    // Around the size from which a body is large, inline and in files, and one of several turns.
    for (seed, length) in
        [300, (4 << 20) - 1, 50_000, 4 << 20, 20_000, (9 << 20) + 7, 16_384].into_iter().enumerate()
    {
        let bytes = noise(seed as u64, length);
        let digest = sha256(&bytes);
        let blob = format!("/v2/{REPOSITORY}/blobs/{digest}");
        client.ask(&mut stream, "HEAD", &blob, b"").expect(404);
        let upload = format!("/v2/{REPOSITORY}/blobs/uploads/?digest={digest}");
        client.ask(&mut stream, "POST", &upload, &bytes).expect(201);
        for _ in 0..3 {
            assert!(client.ask(&mut stream, "GET", &blob, b"").expect(200).body == bytes, "{length}");
            client.ask(&mut stream, "HEAD", &blob, b"").expect(200);
        }
    }
}
