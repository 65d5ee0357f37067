//! The OCI protocol over the wire, against a real daemon.

mod auth;
mod blobs;
mod catalog;
mod chunks;
mod clients;
mod clients_more;
mod concurrency;
mod conditions;
mod deletes;
mod errors;
mod kinds;
mod leases;
mod limits;
mod manifests;
mod model;
mod mount;
mod names;
mod operations;
mod ranges;
mod referrers;
mod restart;
mod sessions;
mod sparse;
mod tags;
mod tokens;
mod uploads;

use std::{io::Write, net::TcpStream};

use crate::support::{Client, Response, Shared, content, http};

/// The daemon of most tests here. So many share it that the limits for one caller would be theirs together.
static DAEMON: Shared = Shared::new(&[
    ("PACKHOUSE_LIMITS_SESSIONS_PER_CALLER", "1000000"),
    ("PACKHOUSE_LIMITS_PENDING_PER_OWNER", "1000000"),
]);

/// A user, and a repository of hers that no other test uses.
fn alice() -> (Client, String) {
    (DAEMON.signed_in("alice"), DAEMON.repository("alice"))
}

/// Another user, with nothing to do with alice.
fn bob() -> (Client, String) {
    (DAEMON.signed_in("bob"), DAEMON.repository("bob"))
}

/// Bytes that no other call gives.
fn fresh_bytes(length: usize) -> Vec<u8> {
    content::noise(1_000_000 + DAEMON.number(), length)
}

/// Where an answer says that something is, or goes on.
#[track_caller]
fn location(answer: &Response) -> String {
    answer.header("location").expect("a Location").to_owned()
}

/// An address with one more pair in its query.
fn and(location: &str, pair: &str) -> String {
    let mark = if location.contains('?') { '&' } else { '?' };
    format!("{location}{mark}{pair}")
}

/// An address without its query.
fn bare(location: &str) -> &str {
    location.split('?').next().unwrap()
}

fn blob(repository: &str, digest: &str) -> String {
    format!("/v2/{repository}/blobs/{digest}")
}

fn manifest(repository: &str, reference: &str) -> String {
    format!("/v2/{repository}/manifests/{reference}")
}

fn uploads(repository: &str) -> String {
    format!("/v2/{repository}/blobs/uploads/")
}

/// A request exactly as written, on a connection of its own.
fn raw(client: &Client, request: &[u8]) -> Response {
    let mut stream = TcpStream::connect(client.address()).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
    // A server that refuses early closes its reading side; the answer is what counts.
    let _ = stream.write_all(request);
    http::read(&mut stream, request.starts_with(b"HEAD"))
}

/// Runs something in as many threads at once; says what each gave, in order.
fn at_once<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let work = &work;
    let barrier = &std::sync::Barrier::new(count);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|index| {
                scope.spawn(move || {
                    barrier.wait();
                    work(index)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Asks again and again until it is so, and gives up after a minute.
#[track_caller]
fn eventually(what: &str, so: impl Fn() -> bool) {
    for _ in 0..600 {
        if so() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("not within a minute: {what}");
}
