//! Refusals, and the addresses that are not about content.

use serde_json::{Value, json};

use super::{DAEMON, alice, blob, bob, manifest, raw, uploads};
use crate::support::{
    Response,
    content::{OCI_INDEX, sha256},
};

/// The specification's codes, and Docker's.
const CODES: [&str; 20] = [
    "BLOB_UNKNOWN",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
    "DIGEST_INVALID",
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNKNOWN",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "SIZE_INVALID",
    "UNAUTHORIZED",
    "DENIED",
    "UNSUPPORTED",
    "TOOMANYREQUESTS",
    "UNKNOWN",
    "UNAVAILABLE",
    "RANGE_INVALID",
    "TAG_INVALID",
    "PAGINATION_NUMBER_INVALID",
    "MANIFEST_UNVERIFIED",
];

/// The shape of the specification, a listed code, a sentence, and nothing of the inside.
#[track_caller]
fn is_an_error(what: &str, answer: &Response) {
    assert!(answer.status >= 400, "{what}: {}", answer.status);
    assert_eq!(answer.header("content-type"), Some("application/json"), "{what}: {}", answer.text());
    let value = answer.json();
    assert_eq!(value.as_object().unwrap().len(), 1, "{what}: {value}");
    let errors = value["errors"].as_array().unwrap_or_else(|| panic!("{what}: {value}"));
    assert!(!errors.is_empty(), "{what}");
    for error in errors {
        let code = error["code"].as_str().unwrap();
        assert!(CODES.contains(&code), "{what}: {code}");
        assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{what}: {value}");
        let allowed = ["code", "message", "detail"];
        assert!(
            error.as_object().unwrap().keys().all(|key| allowed.contains(&key.as_str())),
            "{what}: {value}"
        );
    }
    let text = answer.text();
    for inside in ["panicked", "src/", ".rs:", "RocksDB", "rocksdb", "/data/", "stack backtrace"] {
        assert!(!text.contains(inside), "{what}: {text}");
    }
}

#[test]
fn b03_every_refusal_has_the_specified_shape() {
    let (client, repository) = alice();
    client.push_image(&repository, "latest", 3);
    let digest = sha256(b"never pushed");
    let typed: &[(&str, &str)] = &[("Content-Type", OCI_INDEX)];
    let requests: Vec<(&str, String, &[(&str, &str)], &[u8])> = vec![
        ("GET", blob(&repository, &digest), &[], b""),
        ("GET", blob(&repository, "sha256:x"), &[], b""),
        ("POST", blob(&repository, &digest), &[], b""),
        ("DELETE", blob(&repository, &digest), &[], b""),
        ("GET", manifest(&repository, "absent"), &[], b""),
        ("GET", manifest(&repository, ".bad"), &[], b""),
        ("PUT", manifest(&repository, "latest"), typed, b"{"),
        ("PUT", manifest(&repository, &digest), typed, b"{}"),
        ("DELETE", manifest(&repository, "absent"), &[], b""),
        ("PATCH", manifest(&repository, "latest"), &[], b""),
        ("POST", format!("{}?digest={digest}", uploads(&repository)), &[], b"other"),
        ("POST", format!("{}?mount=x", uploads(&repository)), &[], b""),
        ("GET", uploads(&repository), &[], b""),
        ("GET", format!("{}x", uploads(&repository)), &[], b""),
        ("PUT", format!("{}x", uploads(&repository)), &[], b""),
        ("GET", format!("/v2/{repository}/tags/list?n=x"), &[], b""),
        ("POST", format!("/v2/{repository}/tags/list"), &[], b""),
        ("GET", format!("/v2/{repository}/tags"), &[], b""),
        ("GET", format!("/v2/{repository}/referrers/x"), &[], b""),
        ("DELETE", format!("/v2/{repository}/referrers/{digest}"), &[], b""),
        ("GET", "/v2/nobody-here/app/tags/list".into(), &[], b""),
        ("GET", "/v2/alpine/tags/list".into(), &[], b""),
        ("GET", "/v2/UPPER/app/tags/list".into(), &[], b""),
        ("GET", "/v2/_catalog?n=x".into(), &[], b""),
        ("POST", "/v2/".into(), &[], b""),
        ("GET", "/v2/_oci/ext/other".into(), &[], b""),
        ("GET", "/v2/%ff".into(), &[], b""),
        ("OPTIONS", format!("/v2/{repository}/tags/list"), &[], b""),
        ("BREW", manifest(&repository, "latest"), &[], b""),
    ];
    for (method, target, headers, body) in requests {
        let what = format!("{method} {target}");
        let answer = client.send(method, &target, headers, body);
        assert!(answer.status < 500, "{what}: {}", answer.status);
        is_an_error(&what, &answer);
        assert_eq!(answer.header("docker-distribution-api-version"), Some("registry/2.0"), "{what}");
        let anonymous = DAEMON.anonymous().send(method, &target, headers, body);
        is_an_error(&format!("anonymous {what}"), &anonymous);
    }
}

#[test]
fn b03_a_refused_head_has_no_body() {
    let (client, repository) = alice();
    client.push_blob(&repository, b"x");
    for target in [
        blob(&repository, &sha256(b"never")),
        blob(&repository, "sha256:x"),
        manifest(&repository, "absent"),
        manifest(&repository, ".bad"),
        "/v2/nobody-here/app/tags/list".into(),
        "/v2/x".into(),
    ] {
        for caller in [&client, &DAEMON.anonymous()] {
            let answer = caller.head(&target);
            assert!(answer.status >= 400, "{target}: {}", answer.status);
            assert!(answer.body.is_empty(), "{target}");
        }
    }
}

/// RFC 9110 §15.5.6: who says 405 says what is allowed.
#[test]
fn b03_a_refused_method_comes_with_those_allowed() {
    let (client, repository) = alice();
    client.push_image(&repository, "latest", 3);
    for (method, target, allowed) in [
        ("POST", manifest(&repository, "latest"), "PUT"),
        ("PUT", blob(&repository, &sha256(b"x")), "GET"),
        ("GET", uploads(&repository), "POST"),
        ("POST", format!("/v2/{repository}/tags/list"), "GET"),
        ("POST", "/v2/".into(), "GET"),
    ] {
        let answer = client.send(method, &target, &[], b"").refuses(405, "UNSUPPORTED");
        let allow = answer.header("allow").unwrap_or_else(|| panic!("{method} {target}: no Allow"));
        assert!(allow.split(',').any(|method| method.trim() == allowed), "{method} {target}: {allow}");
    }
}

#[test]
fn b02_the_base_address_answers_at_once_with_and_without_its_slash() {
    let client = DAEMON.signed_in("alice");
    for target in ["/v2/", "/v2"] {
        let answer = client.get(target).expect(200);
        assert_eq!(answer.json(), json!({}));
        assert_eq!(answer.header("docker-distribution-api-version"), Some("registry/2.0"));
        let head = client.head(target).expect(200);
        assert!(head.body.is_empty());
        assert_eq!(head.header("content-length"), answer.header("content-length"));
        DAEMON.anonymous().get(target).refuses(401, "UNAUTHORIZED");
        DAEMON.anonymous().head(target).expect(401);
    }
}

#[test]
fn b02_what_is_not_there_is_404_in_json() {
    let client = DAEMON.signed_in("alice");
    for target in ["/v2/x", "/v2/alice/app/nothing", "/v2/_nothing", "/v1/", "/v3", "/nothing", "/v2x/"] {
        let answer = client.get(target).expect(404);
        assert_eq!(answer.header("content-type"), Some("application/json"), "{target}");
        assert!(answer.json()["errors"][0]["code"].is_string(), "{target}");
    }
}

/// What b20 asks for: a token that is about to end says so on every answer, in the one form that clients print.
#[test]
fn b20_a_token_that_ends_soon_is_warned_of() {
    let (client, repository) = alice();
    client.push_image(&repository, "latest", 20);
    let server = DAEMON.server();
    let token = |days: &str| {
        let args = ["token", "create", "--user", "alice", "--scope", "read:packages", "--expires", days];
        client.basic("alice", &server.admin_ok(&args))
    };
    let warnings = |answer: &Response| -> Vec<String> {
        let all = answer.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("warning"));
        all.map(|(_, value)| value.clone()).collect()
    };
    for target in [manifest(&repository, "latest"), format!("/v2/{repository}/tags/list"), "/v2/".into()] {
        let soon = warnings(&token("2d").get(&target).expect(200));
        assert_eq!(soon.len(), 1, "{target}: a warning");
        let text = soon[0].strip_prefix("299 - \"").and_then(|rest| rest.strip_suffix('"')).expect(&soon[0]);
        assert!(!text.is_empty() && soon[0].len() <= 4096 && !text.contains(['"', '\\']));
        assert!(warnings(&token("90d").get(&target).expect(200)).is_empty(), "{target}: nothing to warn of");
    }
}

/// `ns` is for those who keep copies of other registries: containerd sends it to whatever it is told to ask first.
#[test]
fn b21_a_namespace_is_ignored_where_nothing_is_copied_from_elsewhere() {
    let (client, repository) = alice();
    let image = client.push_image(&repository, "latest", 21);
    let layer = image["layers"][0]["digest"].as_str().unwrap();
    for target in
        [manifest(&repository, "latest"), blob(&repository, layer), format!("/v2/{repository}/tags/list")]
    {
        let plain = client.get(&target).expect(200);
        let answer = client.get(&format!("{target}?ns=docker.io")).expect(200);
        assert!(answer.body == plain.body);
        assert_eq!(answer.header("oci-namespace"), None, "the answer is not about another registry");
    }
    client.get(&(manifest(&repository, "absent") + "?ns=docker.io")).refuses(404, "MANIFEST_UNKNOWN");
}

#[test]
fn b23_extensions_are_discovered_under_their_reserved_names() {
    let (client, repository) = alice();
    client.push_image(&repository, "latest", 23);
    for target in ["/v2/_oci/ext/discover".to_owned(), format!("/v2/{repository}/_oci/ext/discover")] {
        let answer = client.get(&target).expect(200);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        for extension in answer.json()["extensions"].as_array().unwrap() {
            let text = |field: &str| extension[field].as_str().unwrap_or_default().to_owned();
            assert!(text("name").starts_with('_') && !text("url").is_empty(), "{extension}");
            assert!(!text("description").is_empty() && extension["endpoints"].is_array(), "{extension}");
        }
    }
    let (bob, _) = bob();
    bob.get(&format!("/v2/{repository}/_oci/ext/discover")).refuses(404, "NAME_UNKNOWN");
}

/// Anybody can send a `Host` (T026). What this installation is called is nobody else's to say.
#[test]
fn no_header_of_a_client_decides_where_others_are_sent() {
    let (client, repository) = alice();
    let digest = client.push_blob(&repository, b"x");
    for (host, forwarded) in [
        ("evil.example", ""),
        ("evil.example:80", "X-Forwarded-Host: worse.example\r\nX-Forwarded-Proto: https\r\n"),
        ("localhost", "Forwarded: host=worse.example;proto=https\r\nX-Forwarded-Prefix: /evil\r\n"),
    ] {
        for target in [blob(&repository, &digest), "/v2/".into(), "/v2/_catalog".into()] {
            let head =
                format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{forwarded}Connection: close\r\n\r\n");
            let answer = raw(&client, head.as_bytes()).expect(401);
            let challenge = answer.header("www-authenticate").unwrap();
            assert!(!challenge.contains("evil") && !challenge.contains("worse"), "{challenge}");
            assert!(challenge.contains("realm=\"http://"), "{challenge}");
        }
    }
}

/// What a client writes into a request is never a header of an answer.
#[test]
fn nothing_that_is_sent_becomes_a_header() {
    let (client, repository) = alice();
    client.push_image(&repository, "latest", 1);
    let crlf = "%0d%0aX-Injected:%201";
    for target in [
        format!("/v2/{repository}/tags/list?n=1&last={crlf}"),
        format!("/v2/{repository}/referrers/{}?artifactType={crlf}", sha256(b"x")),
        format!("{}?mount={}&from={crlf}", uploads(&repository), sha256(b"x")),
        format!("/v2/_catalog?n=1&last={crlf}"),
    ] {
        for method in ["GET", "POST"] {
            let answer = client.send(method, &target, &[], b"");
            assert!(answer.status < 500, "{method} {target}");
            assert_eq!(answer.header("x-injected"), None, "{method} {target}");
        }
    }
}

#[test]
fn a_refusal_says_in_words_for_machines_why() {
    let (alice, repository) = alice();
    let (bob, _) = bob();
    alice.push_image(&repository, "latest", 1);
    let server = DAEMON.server();
    server.admin_ok(&["package", "grant", &repository, "bob", "read"]);
    let reason = |answer: &Response| answer.json()["errors"][0]["detail"]["reason"].clone();
    let role = bob.post(&uploads(&repository), b"").refuses(403, "DENIED");
    assert_eq!(reason(&role), Value::from("role"));
    let reader = alice.basic("alice", &server.token("alice", &["read:packages"]));
    let scope = reader.post(&uploads(&repository), b"").refuses(403, "DENIED");
    assert_eq!(reason(&scope), Value::from("scope"));
    let scope = reader.delete(&manifest(&repository, "latest")).refuses(403, "DENIED");
    assert_eq!(reason(&scope), Value::from("scope"));
}
