//! Who may: challenges, credentials, the status of a refusal.

use std::io::Write;

use super::{DAEMON, alice, blob, bob, manifest, uploads};
use crate::support::{
    Client, Response, Shared,
    content::{self, OCI_INDEX, sha256},
    http,
};

/// Clients that want no tokens.
static BASIC: Shared = Shared::new(&[("PACKHOUSE_AUTH_CHALLENGE", "basic")]);
/// Nothing for anybody who does not sign in.
static CLOSED: Shared = Shared::new(&[("PACKHOUSE_AUTH_ANONYMOUS_READS", "false")]);
/// Behind a proxy that clients know by another name.
static BEHIND: Shared = Shared::new(&[("PACKHOUSE_EXTERNAL_URL", "https://packages.example.org:8443/")]);

/// The parameters of a Bearer challenge, by the rule the suite reads them with: names, and values in quotes.
#[track_caller]
pub(super) fn challenge(answer: &Response) -> std::collections::BTreeMap<String, String> {
    let text = answer.header("www-authenticate").expect("a challenge");
    let mut rest = text.strip_prefix("Bearer ").expect(text);
    let mut found = std::collections::BTreeMap::new();
    while let Some((name, after)) = rest.split_once("=\"") {
        let (value, after) = after.split_once('"').unwrap();
        found.insert(name.trim_start_matches([',', ' ']).to_owned(), value.to_owned());
        rest = after;
    }
    found
}

/// A token for a scope, if `/token` gives this caller one.
pub(super) fn try_token(client: &Client, scope: &str) -> Option<String> {
    let answer =
        client.get(&format!("/token?service={}&scope={}", client.address(), scope.replace(' ', "&scope=")));
    if answer.status != 200 {
        answer.refuses(401, "UNAUTHORIZED");
        return None;
    }
    let value = answer.json();
    Some(value["token"].as_str().or_else(|| value["access_token"].as_str()).unwrap().to_owned())
}

#[track_caller]
pub(super) fn token(client: &Client, scope: &str) -> String {
    try_token(client, scope).unwrap_or_else(|| panic!("no token for {scope}"))
}

#[test]
fn b61_the_challenge_names_exactly_what_the_request_needs() {
    let anonymous = DAEMON.anonymous();
    let name = DAEMON.repository("alice");
    let digest = sha256(b"x");
    let id = "0123456789abcdef0123456789abcdef";
    let pull = format!("repository:{name}:pull");
    let push = format!("repository:{name}:pull,push");
    let delete = format!("repository:{name}:delete");
    for (method, target, scope) in [
        ("GET", manifest(&name, "latest"), Some(&pull)),
        ("HEAD", manifest(&name, "latest"), Some(&pull)),
        ("GET", blob(&name, &digest), Some(&pull)),
        ("HEAD", blob(&name, &digest), Some(&pull)),
        ("GET", format!("/v2/{name}/tags/list"), Some(&pull)),
        ("GET", format!("/v2/{name}/referrers/{digest}"), Some(&pull)),
        ("GET", format!("/v2/{name}/_oci/ext/discover"), Some(&pull)),
        ("PUT", manifest(&name, "latest"), Some(&push)),
        ("POST", uploads(&name), Some(&push)),
        ("POST", format!("{}?digest={digest}", uploads(&name)), Some(&push)),
        ("POST", format!("{}?mount={digest}", uploads(&name)), Some(&push)),
        ("GET", format!("{}{id}", uploads(&name)), Some(&push)),
        ("PATCH", format!("{}{id}", uploads(&name)), Some(&push)),
        ("PUT", format!("{}{id}?digest={digest}", uploads(&name)), Some(&push)),
        // Cancelling is part of pushing: podman holds no more than that.
        ("DELETE", format!("{}{id}", uploads(&name)), Some(&push)),
        ("DELETE", manifest(&name, "latest"), Some(&delete)),
        ("DELETE", manifest(&name, &digest), Some(&delete)),
        ("DELETE", blob(&name, &digest), Some(&delete)),
        ("GET", "/v2/".into(), None),
    ] {
        let answer = anonymous.send(method, &target, &[("Content-Type", OCI_INDEX)], b"").expect(401);
        let found = challenge(&answer);
        assert_eq!(found.get("scope"), scope, "{method} {target}");
        assert_eq!(found["realm"], format!("http://{}/token", anonymous.address()), "absolute");
        assert!(!found["service"].is_empty());
        assert_eq!(found.get("error"), None, "nothing was wrong with what was not sent");
    }
    let target = format!("{}?mount={digest}&from=bob/other", uploads(&name));
    let found = challenge(&anonymous.post(&target, b"").expect(401));
    assert_eq!(found["scope"], format!("{push} repository:bob/other:pull"));
}

#[test]
fn b61_a_bad_credential_is_invalid_and_a_narrow_one_insufficient() {
    let (alice, repository) = alice();
    alice.push_image(&repository, "latest", 61);
    let anonymous = DAEMON.anonymous();
    let place = uploads(&repository);
    for bad in ["Bearer x", "Bearer ", "Basic eDp5", "Basic !", "Digest x", "x", "Bearer a.b.c"] {
        let found = challenge(
            &anonymous.authorized(bad).get(&manifest(&repository, "latest")).refuses(401, "UNAUTHORIZED"),
        );
        assert_eq!(found.get("error").map(String::as_str), Some("invalid_token"), "{bad}");
    }
    let pull = anonymous.bearer(&token(&alice, &format!("repository:{repository}:pull")));
    pull.get(&manifest(&repository, "latest")).expect(200);
    for (method, target, scope) in [
        ("POST", place.clone(), format!("repository:{repository}:pull,push")),
        ("DELETE", manifest(&repository, "latest"), format!("repository:{repository}:delete")),
    ] {
        let found = challenge(&pull.send(method, &target, &[], b"").refuses(401, "UNAUTHORIZED"));
        assert_eq!(found.get("error").map(String::as_str), Some("insufficient_scope"), "{method}");
        assert_eq!(found["scope"], scope, "what to ask for instead");
    }
    // Anonymous tokens too: there is more to be had for who signs in.
    let nobody = anonymous.bearer(&token(&anonymous, &format!("repository:{repository}:pull")));
    let found = challenge(&nobody.get(&manifest(&repository, "latest")).refuses(401, "UNAUTHORIZED"));
    assert_eq!(found.get("error").map(String::as_str), Some("insufficient_scope"));
}

/// Clients choose how to sign in from this answer alone: 200 would keep them from ever sending credentials.
#[test]
fn b60_the_ping_trap_is_not_laid() {
    let (alice, repository) = alice();
    alice.push_image(&repository, "latest", 60);
    DAEMON.server().admin_ok(&["package", "visibility", &repository, "public"]);
    let anonymous = DAEMON.anonymous();
    for method in ["GET", "HEAD"] {
        for target in ["/v2/", "/v2"] {
            challenge(&anonymous.send(method, target, &[], b"").expect(401));
        }
    }
    // And pulling what is public needs no account all the same: without any token, and with an anonymous one.
    anonymous.get(&manifest(&repository, "latest")).expect(200);
    let pulled = anonymous.bearer(&token(&anonymous, &format!("repository:{repository}:pull")));
    pulled.get("/v2/").expect(200);
    pulled.get(&manifest(&repository, "latest")).expect(200);
}

#[test]
fn b60_what_is_public_is_pulled_by_anybody_and_written_by_nobody_else() {
    let (alice, repository) = alice();
    let (bob, _) = bob();
    let image = alice.push_image(&repository, "latest", 60);
    let layer = image["layers"][0]["digest"].as_str().unwrap().to_owned();
    let digest = sha256(&content::bytes(&image));
    let reads = [
        manifest(&repository, "latest"),
        manifest(&repository, &digest),
        blob(&repository, &layer),
        format!("/v2/{repository}/tags/list"),
        format!("/v2/{repository}/referrers/{digest}"),
    ];
    for (visibility, stranger, nobody) in [("private", 404, 401), ("public", 200, 200), ("private", 404, 401)]
    {
        DAEMON.server().admin_ok(&["package", "visibility", &repository, visibility]);
        for target in &reads {
            let theirs = if target.contains("/referrers/") { 200 } else { stranger };
            bob.get(target).expect(theirs);
            DAEMON.anonymous().get(target).expect(nobody);
        }
    }
    DAEMON.server().admin_ok(&["package", "visibility", &repository, "public"]);
    bob.put_manifest(&repository, "latest", &image).refuses(403, "DENIED");
    bob.post(&uploads(&repository), b"").refuses(403, "DENIED");
    bob.delete(&manifest(&repository, "latest")).refuses(403, "DENIED");
    DAEMON.anonymous().put_manifest(&repository, "latest", &image).refuses(401, "UNAUTHORIZED");
    DAEMON.anonymous().delete(&manifest(&repository, "latest")).refuses(401, "UNAUTHORIZED");
}

#[test]
fn b60_where_anonymous_reads_are_off_everybody_signs_in() {
    let alice = CLOSED.signed_in("alice");
    let repository = CLOSED.repository("alice");
    alice.push_image(&repository, "latest", 60);
    CLOSED.server().admin_ok(&["package", "visibility", &repository, "public"]);
    let anonymous = CLOSED.anonymous();
    anonymous.get(&manifest(&repository, "latest")).refuses(401, "UNAUTHORIZED");
    if let Some(token) = try_token(&anonymous, &format!("repository:{repository}:pull")) {
        anonymous.bearer(&token).get(&manifest(&repository, "latest")).refuses(401, "UNAUTHORIZED");
    }
    // Public still means: everybody with an account.
    CLOSED.signed_in("bob").get(&manifest(&repository, "latest")).expect(200);
}

#[test]
fn b60_basic_challenges_where_no_tokens_are_wanted() {
    let anonymous = BASIC.anonymous();
    let alice = BASIC.signed_in("alice");
    let repository = BASIC.repository("alice");
    alice.push_image(&repository, "latest", 60);
    let targets =
        ["/v2/".to_owned(), manifest(&repository, "latest"), "/v2/_catalog".into(), uploads(&repository)];
    for target in targets {
        let method = if target.ends_with("uploads/") { "POST" } else { "GET" };
        let answer = anonymous.send(method, &target, &[], b"").refuses(401, "UNAUTHORIZED");
        let text = answer.header("www-authenticate").unwrap();
        assert!(text.starts_with("Basic realm=\""), "{text}");
        assert!(alice.send(method, &target, &[], b"").status < 300, "{target}");
    }
    BASIC.server().admin_ok(&["package", "visibility", &repository, "public"]);
    anonymous.get(&manifest(&repository, "latest")).expect(200);
    anonymous.get("/v2/").expect(401);
}

#[test]
fn b34_absolute_addresses_come_from_the_configuration_alone() {
    let alice = BEHIND.signed_in("alice");
    let repository = BEHIND.repository("alice");
    let forwarded =
        [("X-Forwarded-Host", "evil.example"), ("X-Forwarded-Proto", "gopher"), ("X-Forwarded-Port", "1")];
    let answer = BEHIND.anonymous().send("GET", "/v2/", &forwarded, b"").expect(401);
    let found = challenge(&answer);
    assert_eq!(found["realm"], "https://packages.example.org:8443/token");
    // What is relative is right behind every proxy.
    let begun = alice.send("POST", &uploads(&repository), &forwarded, b"").expect(202);
    assert!(super::location(&begun).starts_with("/v2/"));
    alice.push_image(&repository, "a", 1);
    alice.push_image(&repository, "b", 2);
    let listed = alice.get(&format!("/v2/{repository}/tags/list?n=1")).expect(200);
    assert!(listed.header("link").unwrap().starts_with("</v2/"));
    let image = alice.push_image(&repository, "c", 3);
    let stored = alice.put_manifest(&repository, "c", &image).expect(201);
    assert!(super::location(&stored).starts_with("/v2/"));
}

/// Every way in gives the same rights: no scheme knows more or less than another (T067).
#[test]
fn one_token_is_the_same_by_every_scheme() {
    let (alice, repository) = alice();
    alice.push_image(&repository, "latest", 67);
    let secret = DAEMON.server().token("alice", &["read:packages"]);
    let anonymous = DAEMON.anonymous();
    let schemes = [
        anonymous.bearer(&secret),
        anonymous.basic("alice", &secret),
        anonymous.basic("ALICE", &secret),
        anonymous.basic("", &secret),
        anonymous.basic("x-access-token", &secret),
        anonymous.bearer(&token(
            &anonymous.basic("alice", &secret),
            &format!("repository:{repository}:pull,push"),
        )),
    ];
    for (index, client) in schemes.iter().enumerate() {
        client.get("/v2/").expect(200);
        client.get(&manifest(&repository, "latest")).expect(200);
        let refused = client.post(&uploads(&repository), b"");
        assert!(matches!(refused.status, 401 | 403), "scheme {index}: {}", refused.status);
        if index < 5 {
            assert_eq!(refused.refuses(403, "DENIED").json()["errors"][0]["detail"]["reason"], "scope");
        }
    }
    // Another's name beside it is a mix-up; in the address it is nothing at all.
    DAEMON.signed_in("bob");
    anonymous.basic("bob", &secret).get("/v2/").refuses(401, "UNAUTHORIZED");
    for name in ["token", "access_token", "private_token"] {
        let target = format!("{}?{name}={secret}", manifest(&repository, "latest"));
        anonymous.get(&target).refuses(401, "UNAUTHORIZED");
    }
}

#[test]
fn a_password_is_taken_where_one_signs_in_and_nowhere_else() {
    let (alice, repository) = alice();
    alice.push_image(&repository, "latest", 1);
    let password = DAEMON.anonymous().basic("alice", "correct horse battery");
    let refused = password.get(&manifest(&repository, "latest")).refuses(401, "UNAUTHORIZED");
    assert!(refused.text().contains("/token"), "it says where: {}", refused.text());
    password.get("/v2/").refuses(401, "UNAUTHORIZED");
    let bearer =
        DAEMON.anonymous().bearer(&token(&password, &format!("repository:{repository}:pull,push,delete")));
    bearer.get(&manifest(&repository, "latest")).expect(200);
    bearer.push_image(&repository, "by-password", 2);
    bearer.delete(&manifest(&repository, "by-password")).expect(202);
}

#[test]
fn rights_end_when_they_are_taken() {
    let (alice, repository) = alice();
    alice.push_image(&repository, "latest", 1);
    let server = DAEMON.server();
    server.user("leaver", "correct horse battery");
    server.admin_ok(&["package", "grant", &repository, "leaver", "write"]);
    let secret = server.token("leaver", &["write:packages"]);
    let leaver = DAEMON.anonymous().basic("leaver", &secret);
    let bearer = DAEMON.anonymous().bearer(&token(&leaver, &format!("repository:{repository}:pull,push")));
    let place = leaver.begin(&repository);
    bearer.push_blob(&repository, b"while it lasts");
    server.admin_ok(&["package", "grant", &repository, "leaver", "none"]);
    for client in [&leaver, &bearer] {
        client.get(&manifest(&repository, "latest")).refuses(404, "NAME_UNKNOWN");
        client.patch(&place, &[], b"x").refuses(404, "NAME_UNKNOWN");
    }
    server.admin_ok(&["package", "grant", &repository, "leaver", "write"]);
    for client in [&leaver, &bearer] {
        client.get(&manifest(&repository, "latest")).expect(200);
    }
    server.admin_ok(&["user", "suspend", "leaver"]);
    for client in [&leaver, &bearer] {
        client.get(&manifest(&repository, "latest")).refuses(401, "UNAUTHORIZED");
    }
}

/// Who may is judged when the bytes are in, not only when they begin to arrive.
#[test]
fn rights_are_judged_again_when_a_body_has_arrived() {
    let (alice, repository) = alice();
    alice.push_image(&repository, "latest", 1);
    let server = DAEMON.server();
    let (bob, _) = bob();
    let index = br#"{"schemaVersion":2,"manifests":[]}"#;
    for (before, after, kept) in
        [("write", "none", false), ("write", "read", false), ("write", "admin", true)]
    {
        server.admin_ok(&["package", "grant", &repository, "bob", before]);
        let bytes = super::fresh_bytes(40_000);
        let close = super::and(&bob.begin(&repository), &format!("digest={}", sha256(&bytes)));
        let tag = format!("from-{before}-to-{after}");
        let targets = [
            (close, bytes.as_slice(), "application/octet-stream"),
            (manifest(&repository, &tag), index, OCI_INDEX),
        ];
        let streams = targets.each_ref().map(|(target, body, kind)| {
            let mut stream = bob.open("PUT", target, &[("Content-Type", *kind)], Some(body.len() as u64));
            stream.write_all(&body[..10]).unwrap();
            stream
        });
        server.admin_ok(&["package", "grant", &repository, "bob", after]);
        for (mut stream, (target, body, _)) in streams.into_iter().zip(&targets) {
            stream.write_all(&body[10..]).unwrap();
            let answer = http::read(&mut stream, false);
            let expected = if kept { vec![201] } else { vec![403, 404] };
            assert!(expected.contains(&answer.status), "{target}: {} {}", answer.status, answer.text());
        }
        let there = if kept { 200 } else { 404 };
        alice.head(&blob(&repository, &sha256(&bytes))).expect(there);
        alice.head(&manifest(&repository, &tag)).expect(there);
    }
}
