//! The daemon as its operators see it, with the OCI protocol going on. The server's own tests (`server::…`) have the
//! rest: certificates that change, drains that end, every counter.

use std::{io::Write, time::Duration};

use super::{DAEMON, alice, and, blob, fresh_bytes, location, manifest, uploads};
use crate::support::{
    Client, Server,
    content::{self, sha256},
    http,
};

/// What was begun before the signal is finished after it.
#[test]
fn b71_an_upload_under_way_is_finished_while_the_daemon_ends() {
    let mut server = Server::start();
    let client = server.signed_in("alice");
    let bytes = fresh_bytes(200_000);
    let place = client.begin("alice/app");
    let close = and(&place, &format!("digest={}", sha256(&bytes)));
    let mut stream = client.open("PUT", &close, &[], Some(bytes.len() as u64));
    stream.write_all(&bytes[..100_000]).unwrap();
    // It has been taken up once its bytes are being held.
    super::eventually("the body is being read", || {
        let metrics = Client::new(&server.metrics).get("/metrics").expect(200).text();
        metrics
            .lines()
            .any(|line| line.starts_with("packhouse_http_requests_in_flight ") && !line.ends_with(" 0"))
    });
    server.signal("TERM");
    super::eventually("nobody is let in any more", || {
        std::net::TcpStream::connect_timeout(&server.address.parse().unwrap(), Duration::from_secs(1))
            .is_err()
    });
    stream.write_all(&bytes[100_000..]).unwrap();
    http::read(&mut stream, false).expect(201);
    assert!(server.ended().success());
    server.crash_and_restart();
    let client = client.at(&server.address);
    assert!(client.get(&blob("alice/app", &sha256(&bytes))).expect(200).body == bytes);
}

/// By route, never by name: a private repository must not show on a page that has no access control.
#[test]
fn b72_requests_are_counted_by_route_and_no_name_shows() {
    let (client, repository) = alice();
    let image = client.push_image(&repository, "very-secret-tag", 72);
    client.get(&manifest(&repository, "very-secret-tag")).expect(200);
    client.get(&blob(&repository, image["layers"][0]["digest"].as_str().unwrap())).expect(200);
    let metrics = Client::new(&DAEMON.server().metrics);
    for route in ["manifest_put", "manifest_get", "blob_get", "upload_begin", "upload_put"] {
        super::eventually("it is counted", || {
            let page = metrics.get("/metrics").expect(200).text();
            let counted = page.lines().any(|line| {
                line.starts_with("packhouse_http_requests_total{")
                    && line.contains(&format!("route=\"{route}\""))
            });
            let timed = page.lines().any(|line| {
                line.starts_with("packhouse_http_request_duration_seconds_bucket{")
                    && line.contains(&format!("route=\"{route}\""))
            });
            counted && timed
        });
    }
    let page = metrics.get("/metrics").expect(200).text();
    for name in [repository.as_str(), "very-secret-tag", "alice", "sha256:"] {
        assert!(!page.contains(name), "{name}");
    }
}

#[test]
fn b73_health_is_told_to_everybody_and_to_nobody_more_than_that() {
    for caller in [DAEMON.anonymous(), DAEMON.signed_in("alice"), DAEMON.anonymous().bearer("no token")] {
        for target in ["/healthz", "/readyz"] {
            let answer = caller.get(target).expect(200);
            assert!(answer.body.len() < 64, "{}", answer.text());
            assert!(caller.head(target).expect(200).body.is_empty());
        }
    }
}

/// Below the reserve nothing is taken, everything is still given, and a balancer is told.
#[test]
fn b73_readiness_ends_below_the_space_reserve_and_reading_goes_on() {
    let mut server = Server::start();
    let client = server.signed_in("alice");
    client.push_image("alice/app", "latest", 73);
    let half = location(&client.patch(&client.begin("alice/app"), &[], b"half").expect(202));

    server.crash_and_restart_with(&[("PACKHOUSE_SPACE_RESERVE", "1000000000000000")]);
    let client = client.at(&server.address);
    client.get("/healthz").expect(200);
    client.get("/readyz").expect(503);
    client.get(&manifest("alice/app", "latest")).expect(200);
    let refused = client.post(&uploads("alice/app"), b"").refuses(507, "UNAVAILABLE");
    assert!(refused.header("retry-after").is_some());
    let single = format!("{}?digest={}", uploads("alice/app"), sha256(b"x"));
    client.post(&single, b"x").refuses(507, "UNAVAILABLE");
    client.put_manifest("alice/app", "other", &content::index(&[])).refuses(507, "UNAVAILABLE");
    client.delete(&half).expect(204);
    client.delete(&manifest("alice/app", "latest")).expect(202);
}
