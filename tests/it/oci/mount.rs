//! Mounts across repositories: a short cut for those who may read the source, and nothing at all for anybody else.

use std::collections::BTreeMap;

use super::{DAEMON, alice, and, blob, bob, fresh_bytes, location, uploads};
use crate::support::{
    Client, Response,
    content::{self, sha256, sha512},
};

fn mount(client: &Client, into: &str, digest: &str, from: Option<&str>) -> Response {
    let from = from.map(|from| format!("&from={from}")).unwrap_or_default();
    client.post(&format!("{}?mount={digest}{from}", uploads(into)), b"")
}

#[track_caller]
fn is_mounted(client: &Client, into: &str, answer: Response, bytes: &[u8], digest: &str) {
    let answer = answer.expect(201);
    assert_eq!(location(&answer), blob(into, digest));
    assert_eq!(answer.header("docker-content-digest"), Some(digest), "oras compares it");
    assert!(client.get(&blob(into, digest)).expect(200).body == bytes);
}

/// A mount that cannot be is a session that takes the blob.
#[track_caller]
fn is_a_session(client: &Client, into: &str, answer: Response, bytes: &[u8]) {
    let answer = answer.expect(202);
    let digest = sha256(bytes);
    client.head(&blob(into, &digest)).expect(404);
    client.put(&and(&location(&answer), &format!("digest={digest}")), bytes).expect(201);
    assert!(client.get(&blob(into, &digest)).expect(200).body == bytes);
}

#[test]
fn b33_a_blob_is_mounted_from_a_repository_one_may_read() {
    let (client, from) = alice();
    for size in [0, 100, 50_000] {
        let bytes = fresh_bytes(size);
        for digest in [client.push_blob(&from, &bytes), push_sha512(&client, &from, &bytes)] {
            let into = DAEMON.repository("alice");
            is_mounted(&client, &into, mount(&client, &into, &digest, Some(&from)), &bytes, &digest);
            // Both go their own ways afterwards.
            client.delete(&blob(&into, &digest)).expect(202);
            client.get(&blob(&from, &digest)).expect(200);
        }
    }
}

fn push_sha512(client: &Client, repository: &str, bytes: &[u8]) -> String {
    let digest = sha512(bytes);
    client.put(&and(&client.begin(repository), &format!("digest={digest}")), bytes).expect(201);
    digest
}

#[test]
fn b33_without_a_source_it_is_found_among_those_one_may_read() {
    let (client, from) = alice();
    for size in [100, 50_000] {
        let bytes = fresh_bytes(size);
        for digest in [client.push_blob(&from, &bytes), push_sha512(&client, &from, &bytes)] {
            let into = DAEMON.repository("alice");
            is_mounted(&client, &into, mount(&client, &into, &digest, None), &bytes, &digest);
        }
    }
    // What a manifest holds is found as well as what only a lease holds.
    let image = client.push_image(&from, "latest", 33);
    let layer = image["layers"][0]["digest"].as_str().unwrap();
    let into = DAEMON.repository("alice");
    mount(&client, &into, layer, None).expect(201);
}

#[test]
fn b33_what_cannot_be_mounted_becomes_an_upload() {
    let (client, from) = alice();
    let into = DAEMON.repository("alice");
    client.push_image(&from, "latest", 1);
    let absent = DAEMON.repository("alice");
    let sources =
        [Some(from.as_str()), Some(absent.as_str()), Some("nobody-here/app"), Some("one-component"), None];
    for source in
        sources.into_iter().chain([Some("UPPER/CASE"), Some("a//b"), Some("..%2f..%2fetc"), Some("")])
    {
        let bytes = fresh_bytes(64);
        let answer = mount(&client, &into, &sha256(&bytes), source);
        is_a_session(&client, &into, answer, &bytes);
    }
    for digest in ["sha256:x", "x", "md5:00"] {
        mount(&client, &into, digest, Some(&from)).refuses(400, "DIGEST_INVALID");
        mount(&client, &into, digest, None).refuses(400, "DIGEST_INVALID");
    }
}

/// The headers of an answer, without what differs from one session to the next.
fn shape(answer: &Response, digest: &str) -> (u16, BTreeMap<String, String>, Vec<u8>) {
    let id = answer.header("docker-upload-uuid").unwrap_or("none").to_owned();
    let shown = |value: &String| value.replace(&id, "ID").replace(digest, "DIGEST");
    let kept = answer
        .headers
        .iter()
        .filter(|(name, _)| !matches!(name.to_lowercase().as_str(), "date" | "x-request-id"));
    (
        answer.status,
        kept.map(|(name, value)| (name.to_lowercase(), shown(value))).collect(),
        answer.body.clone(),
    )
}

/// zot's CVE-2024-39897 and its like: no mount tells, or gives, what others have (T010, T011).
#[test]
fn b33_what_one_may_not_read_answers_like_what_does_not_exist() {
    let (alice, secret) = alice();
    let (bob, into) = bob();
    bob.push_image(&into, "latest", 1);
    let bearer =
        DAEMON.anonymous().bearer(&super::auth::token(&bob, &format!("repository:{into}:pull,push")));
    for (bob, size) in [(&bob, 100), (&bob, 50_000), (&bearer, 100), (&bearer, 50_000)] {
        let canary = fresh_bytes(size);
        let digest = alice.push_blob(&secret, &canary);
        let never = sha256(&fresh_bytes(size));
        let absent = DAEMON.repository("alice");
        for source in [Some(secret.as_str()), None] {
            let private = mount(bob, &into, &digest, source);
            let random = mount(bob, &into, &never, source);
            let nowhere = mount(bob, &into, &digest, source.map(|_| absent.as_str()));
            assert_eq!(shape(&private, &digest), shape(&random, &never));
            assert_eq!(shape(&private, &digest), shape(&nowhere, &digest));
            assert_eq!(private.status, 202);
            bob.head(&blob(&into, &digest)).expect(404);
            bob.get(&blob(&into, &digest)).refuses(404, "BLOB_UNKNOWN");
            for answer in [private, random, nowhere] {
                bob.delete(&location(&answer)).expect(204);
            }
        }
    }
}

#[test]
fn b33_rights_on_the_source_are_those_of_the_moment() {
    let (alice, from) = alice();
    let (bob, into) = bob();
    let image = alice.push_image(&from, "latest", 34);
    let layers: Vec<Vec<u8>> = (0..3).map(|_| fresh_bytes(100)).collect();
    for layer in &layers {
        alice.push_blob(&from, layer);
    }
    let server = DAEMON.server();
    mount(&bob, &into, &sha256(&layers[0]), Some(&from)).expect(202);
    server.admin_ok(&["package", "grant", &from, "bob", "read"]);
    mount(&bob, &into, &sha256(&layers[0]), Some(&from)).expect(201);
    mount(&bob, &into, &sha256(&layers[1]), None).expect(201);
    server.admin_ok(&["package", "grant", &from, "bob", "none"]);
    mount(&bob, &into, &sha256(&layers[2]), Some(&from)).expect(202);
    // What was mounted stays.
    bob.get(&blob(&into, &sha256(&layers[0]))).expect(200);
    server.admin_ok(&["package", "visibility", &from, "public"]);
    mount(&bob, &into, &sha256(&layers[2]), Some(&from)).expect(201);
    let layer = image["layers"][0]["digest"].as_str().unwrap();
    mount(&bob, &into, layer, None).expect(201);
}

/// The source must hold the blob; that it exists somewhere is not enough.
#[test]
fn b33_a_readable_source_that_does_not_hold_it_gives_nothing() {
    let (client, first) = alice();
    let (_, second) = alice();
    client.push_image(&second, "latest", 1);
    let bytes = fresh_bytes(100);
    let digest = client.push_blob(&first, &bytes);
    let into = DAEMON.repository("alice");
    mount(&client, &into, &digest, Some(&second)).expect(202);
    client.head(&blob(&into, &digest)).expect(404);
    client.delete(&blob(&first, &digest)).expect(202);
    mount(&client, &into, &digest, Some(&first)).expect(202);
    mount(&client, &into, &digest, None).expect(202);
}

#[test]
fn b33_a_mounted_blob_is_as_good_as_a_pushed_one() {
    let (client, from) = alice();
    let image = client.push_image(&from, "latest", 35);
    let into = DAEMON.repository("alice");
    for descriptor in [&image["config"], &image["layers"][0]] {
        mount(&client, &into, descriptor["digest"].as_str().unwrap(), Some(&from)).expect(201);
    }
    client.put_manifest(&into, "copy", &image).expect(201);
    // The source goes; the copy does not.
    client.delete(&super::manifest(&from, &sha256(&content::bytes(&image)))).expect(202);
    for descriptor in [&image["config"], &image["layers"][0]] {
        let digest = descriptor["digest"].as_str().unwrap();
        client.delete(&blob(&from, digest)).expect(202);
        client.get(&blob(&into, digest)).expect(200);
    }
}

/// Writing is asked for where it is mounted into, before anything is said of the source.
#[test]
fn b33_mounting_into_what_one_may_not_write_is_refused() {
    let (alice, repository) = alice();
    let (bob, from) = bob();
    alice.push_image(&repository, "latest", 1);
    let digest = bob.push_blob(&from, &fresh_bytes(10));
    mount(&bob, &repository, &digest, Some(&from)).refuses(404, "NAME_UNKNOWN");
    DAEMON.server().admin_ok(&["package", "visibility", &repository, "public"]);
    mount(&bob, &repository, &digest, Some(&from)).refuses(403, "DENIED");
    mount(&bob, &repository, &digest, None).refuses(403, "DENIED");
    mount(&DAEMON.anonymous(), &repository, &digest, None).refuses(401, "UNAUTHORIZED");
}
