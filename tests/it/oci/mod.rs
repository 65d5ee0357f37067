//! The OCI protocol over the wire, against a real daemon.
//!
//! Behaviours of a registry (the list this was built to), and the tests that hold them. A test's name begins with the
//! number of its behaviour.
//!
//! | behaviour | tests |
//! | --- | --- |
//! | 1 every group of the conformance suite | `kinds`, `uploads`, `chunks`, `ranges`, `mount`, `tags`; `restart::b01_*` |
//! | 2 the base address, unknown paths | `errors::b02_*` |
//! | 3 the shape of refusals | `errors::b03_*` |
//! | 4 names | `names::b04_*` |
//! | 5 tags | `tags::b05_*` |
//! | 6 digests | `names::b06_*` |
//! | 7 bytes of manifests | `manifests::b07_*` |
//! | 8 media types | `manifests::b08_*` |
//! | 9 kinds of manifests | `manifests::b09_*`, `kinds` |
//! | 10 limits of manifests | `manifests::b10_*`, `limits::b10_*` |
//! | 11 HEAD is GET without its body | `blobs::b11_*` |
//! | 12 conditions | `conditions::b12_*` |
//! | 13 caching | `blobs::b13_*` |
//! | 14 Accept | `manifests::b14_*` |
//! | 15 the list of tags | `tags::b15_*` |
//! | 16 the catalog | `catalog::b16_*` |
//! | 17 referrers | `referrers::b17_*` |
//! | 18 `OCI-Subject` | `referrers::b18_*`, `kinds` |
//! | 19 deleting | `deletes::b19_*` |
//! | 20 `Warning` | `errors::b20_*` |
//! | 21 `ns` | `errors::b21_*`: ignored, for nothing is copied from other registries yet |
//! | 22 redirects | none: the daemon sends every byte itself until there is a store that clients can reach |
//! | 23 extensions | `errors::b23_*`: discovery and the catalog; there is no history of tags and no search yet |
//! | 24 ways of uploading, lengths | `uploads::b24_*`, `chunks::b24_*`, `limits::b24_*` |
//! | 25 order of chunks | `chunks::b25_*`, `model` |
//! | 26 replays | `chunks::b26_*` |
//! | 27 uploads after a kill | `restart::b27_*` |
//! | 28 uploads on another replica | none: one process has the data folder |
//! | 29 connections that break | `chunks::b29_*`; slow ones: `server::slow` |
//! | 30 wrong digests | `uploads::b30_*` |
//! | 31 the same blob from many | `concurrency::b31_*` |
//! | 32 leases | `leases::b32_*` |
//! | 33 mounts | `mount::b33_*` |
//! | 34 addresses in answers | `uploads::b34_*`, `auth::b34_*` |
//! | 35 cancelling, expiry, limits of sessions | `sessions::b35_*`, `limits::b35_*` |
//! | 36 SHA-512 | `uploads::b36_*` |
//! | 40 tags are linear | `tags::b40_*`, `conditions::b12_*` |
//! | 58 ranges | `ranges::b58_*` |
//! | 59 no content encoding | `ranges::b59_*` |
//! | 60 signing in | `auth::b60_*`, `tokens::b60_*`; real clients: `conformance/` |
//! | 61 challenges and tokens | `auth::b61_*`, `tokens::b61_*` |
//! | 70 reloading | `operations::b70_*`, `server::tls::a_new_certificate_is_taken_up_and_a_bad_one_is_not` |
//! | 71 draining | `operations::b71_*`, `server::stop` |
//! | 72 metrics | `operations::b72_*`, `server::pipeline::what_is_counted` |
//! | 73 health | `operations::b73_*`, `server::pipeline::health_is_told_to_everybody` |
//!
//! What each client needs (docker, containerd, podman, …) is in `clients` and `clients_more`; who may do what, route by
//! route, in `crate::authz`.

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
mod findings;
mod kinds;
mod lanes;
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
pub(crate) fn eventually(what: &str, so: impl Fn() -> bool) {
    for _ in 0..600 {
        if so() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("not within a minute: {what}");
}
