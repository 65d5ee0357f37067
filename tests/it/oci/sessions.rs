//! Upload sessions: whose they are, how they end.

use super::{DAEMON, alice, and, bare, blob, bob, location, uploads};
use crate::support::content::sha256;

#[test]
fn b35_a_cancelled_session_is_gone() {
    let (client, repository) = alice();
    for size in [0, 10, 40_000] {
        let bytes = super::fresh_bytes(size);
        let place = location(&client.patch(&client.begin(&repository), &[], &bytes).expect(202));
        let cancelled = client.delete(&place).expect(204);
        assert!(cancelled.body.is_empty());
        client.get(&place).refuses(404, "BLOB_UPLOAD_UNKNOWN");
        client.patch(&place, &[], b"x").refuses(404, "BLOB_UPLOAD_UNKNOWN");
        client
            .put(&and(&place, &format!("digest={}", sha256(&bytes))), b"")
            .refuses(404, "BLOB_UPLOAD_UNKNOWN");
        client.delete(&place).refuses(404, "BLOB_UPLOAD_UNKNOWN");
        client.head(&blob(&repository, &sha256(&bytes))).expect(404);
    }
}

/// docker and podman cancel with the token they push with: no right to delete is asked for.
#[test]
fn b35_cancelling_needs_no_more_than_pushing() {
    let (alice, repository) = alice();
    let token = DAEMON.server().token("alice", &["write:packages"]);
    let pusher = alice.basic("alice", &token);
    let place = pusher.begin(&repository);
    pusher.delete(&place).expect(204);
}

#[test]
fn a_finished_session_is_gone() {
    let (client, repository) = alice();
    let place = client.begin(&repository);
    let close = and(&place, &format!("digest={}", sha256(b"x")));
    client.put(&close, b"x").expect(201);
    client.get(&place).refuses(404, "BLOB_UPLOAD_UNKNOWN");
    client.patch(&place, &[], b"y").refuses(404, "BLOB_UPLOAD_UNKNOWN");
    client.put(&close, b"x").refuses(404, "BLOB_UPLOAD_UNKNOWN");
    client.delete(&place).refuses(404, "BLOB_UPLOAD_UNKNOWN");
    client.head(&blob(&repository, &sha256(b"x"))).expect(200);
}

/// Quay CVE-2026-32589: another user's session, read, continued, closed, cancelled.
#[test]
fn a_session_is_its_users_alone_even_among_those_who_may_push() {
    let (alice, repository) = alice();
    let (bob, _) = bob();
    alice.push_image(&repository, "latest", 1);
    DAEMON.server().admin_ok(&["package", "grant", &repository, "bob", "admin"]);
    bob.push_blob(&repository, b"bob may push");
    let place = location(&alice.patch(&alice.begin(&repository), &[], b"ab").expect(202));
    bob.get(&place).refuses(404, "BLOB_UPLOAD_UNKNOWN");
    bob.patch(&place, &[], b"c").refuses(404, "BLOB_UPLOAD_UNKNOWN");
    bob.put(&and(&place, &format!("digest={}", sha256(b"ab"))), b"").refuses(404, "BLOB_UPLOAD_UNKNOWN");
    bob.delete(&place).refuses(404, "BLOB_UPLOAD_UNKNOWN");
    alice.put(&and(&place, &format!("digest={}", sha256(b"ab"))), b"").expect(201);
}

#[test]
fn a_session_belongs_to_its_repository() {
    let (client, repository) = alice();
    let other = DAEMON.repository("alice");
    client.push_image(&other, "latest", 1);
    let place = location(&client.patch(&client.begin(&repository), &[], b"ab").expect(202));
    let elsewhere = place.replace(&repository, &other);
    assert_ne!(place, elsewhere);
    client.get(&elsewhere).refuses(404, "BLOB_UPLOAD_UNKNOWN");
    client.patch(&elsewhere, &[], b"c").refuses(404, "BLOB_UPLOAD_UNKNOWN");
    client
        .put(&and(&elsewhere, &format!("digest={}", sha256(b"ab"))), b"")
        .refuses(404, "BLOB_UPLOAD_UNKNOWN");
    client.delete(&elsewhere).refuses(404, "BLOB_UPLOAD_UNKNOWN");
    client.put(&and(&place, &format!("digest={}", sha256(b"ab"))), b"").expect(201);
}

/// A session goes on with another token of the same user: tokens are renewed in the middle of long pushes.
#[test]
fn a_session_outlives_the_token_it_was_opened_with() {
    let (alice, repository) = alice();
    let server = DAEMON.server();
    let first = alice.basic("alice", &server.token("alice", &["write:packages"]));
    let place = location(&first.patch(&first.begin(&repository), &[], b"ab").expect(202));
    let second = alice.bearer(&server.token("alice", &["write:packages"]));
    second.put(&and(&place, &format!("digest={}", sha256(b"abc"))), b"c").expect(201);
}

#[test]
fn an_id_that_was_never_given_out_is_unknown_however_it_is_spelled() {
    let (client, repository) = alice();
    let place = client.begin(&repository);
    let id = bare(&place).rsplit('/').next().unwrap().to_owned();
    let long = "a".repeat(10_000);
    let upper = id.to_uppercase();
    let extended = format!("{id}0");
    let ids =
        ["0", &id[1..], &extended, &upper, "..", "%2e%2e", "%00", &long, "0123456789abcdef0123456789abcdef"];
    for id in ids.into_iter().filter(|other| **other != *id) {
        let target = format!("{}{id}", uploads(&repository));
        let answers = [
            client.get(&target),
            client.patch(&target, &[], b"x"),
            client.put(&and(&target, &format!("digest={}", sha256(b"x"))), b"x"),
            client.delete(&target),
        ];
        for answer in answers {
            answer.refuses(404, "BLOB_UPLOAD_UNKNOWN");
        }
    }
    client.get(&place).expect(204);
}

#[test]
fn ids_are_long_and_differ() {
    let (client, repository) = alice();
    let ids: std::collections::BTreeSet<String> =
        (0..20).map(|_| bare(&client.begin(&repository)).rsplit('/').next().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 20);
    assert!(ids.iter().all(|id| id.len() >= 32), "128 bits cannot be guessed");
}

#[test]
fn only_post_opens_a_session_and_only_at_the_collection() {
    let (client, repository) = alice();
    for method in ["GET", "HEAD", "PUT", "PATCH", "DELETE"] {
        let answer = client.send(method, &uploads(&repository), &[], b"");
        assert_eq!(answer.status, 405, "{method}");
    }
    // Both spellings of the collection's address.
    client.post(uploads(&repository).trim_end_matches('/'), b"").expect(202);
    let place = client.begin(&repository);
    client.post(&place, b"x").refuses(405, "UNSUPPORTED");
    client.get(&place).expect(204);
}
