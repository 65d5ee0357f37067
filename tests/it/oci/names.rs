//! Names of repositories and digests, in every spelling.

use super::{DAEMON, alice, and, blob, bob, manifest, raw, uploads};
use crate::support::{
    Client,
    content::{self, OCI_INDEX, sha256},
};

/// Pushes and pulls one image under a name.
#[track_caller]
fn works(client: &Client, repository: &str) {
    let image = client.push_image(repository, "latest", 4);
    let layer = image["layers"][0]["digest"].as_str().unwrap();
    assert_eq!(client.get(&manifest(repository, "latest")).expect(200).body, content::bytes(&image));
    client.get(&blob(repository, layer)).expect(200);
    let list = client.get(&format!("/v2/{repository}/tags/list")).expect(200).json();
    assert_eq!(list, serde_json::json!({"name": repository, "tags": ["latest"]}));
    client.get(&format!("/v2/{repository}/referrers/{layer}")).expect(200);
    let place = client.begin(repository);
    client.get(&place).expect(204);
    client.delete(&place).expect(204);
    client.delete(&manifest(repository, "latest")).expect(202);
    client.delete(&manifest(repository, &sha256(&content::bytes(&image)))).expect(202);
}

#[test]
fn b04_names_of_every_grammatical_form_work() {
    let client = DAEMON.signed_in("alice");
    let deep = format!("alice/{}", vec!["a"; 100].join("/"));
    let long = format!("alice/{}", "n".repeat(249));
    assert_eq!(long.len(), 255);
    for name in [
        "alice/a",
        "alice/0",
        "alice/a.b",
        "alice/a_b",
        "alice/a__b",
        "alice/a---b",
        "alice/a-b_c.d/e",
        &deep,
        &long,
    ] {
        works(&client, name);
    }
}

/// Paths are read from the right: a name may hold every word of the protocol.
#[test]
fn b04_names_made_of_the_protocols_own_words_work() {
    let client = DAEMON.signed_in("alice");
    for name in [
        "alice/blobs",
        "alice/uploads",
        "alice/manifests",
        "alice/tags",
        "alice/referrers",
        "alice/blobs/uploads",
        "alice/blobs/uploads/blobs/uploads",
        "alice/tags/list",
        "alice/manifests/latest",
        "alice/referrers/sha256",
        "alice/v2",
        "alice/token",
        "alice/catalog",
        "alice/ext/discover",
    ] {
        works(&client, name);
    }
}

#[test]
fn b04_what_is_no_name_is_400_and_touches_nothing() {
    let client = DAEMON.signed_in("alice");
    let over = format!("alice/{}", "n".repeat(250));
    let names = [
        "alice/A",
        "Alice/a",
        "alice/a.",
        "alice/.a",
        "alice/-a",
        "alice/a-",
        "alice/a..b",
        "alice/a___b",
        "alice/a._b",
        "alice/_oci",
        "alice//a",
        "alice/",
        "/alice/a",
        "alice/./a",
        "alice/..",
        "alice/../bob/a",
        "../alice/a",
        "alice/a%2fb",
        "alice%2fa",
        "alice/%61",
        "alice/%2e%2e/a",
        "alice/a%00",
        "alice/a%20b",
        "alice/a+b",
        "alice/a~b",
        "alice/a:b",
        "alice/a@b",
        "alice/a\\b",
        "a_b/c",
        "a--b/c",
        "-a/b",
        &over,
    ];
    let digest = sha256(b"x");
    for name in names {
        let targets = [
            ("GET", manifest(name, "latest")),
            ("PUT", manifest(name, "latest")),
            ("GET", blob(name, &digest)),
            ("POST", uploads(name)),
            ("GET", format!("/v2/{name}/tags/list")),
            ("GET", format!("/v2/{name}/referrers/{digest}")),
        ];
        for (method, target) in targets {
            let answer = client.send(method, &target, &[("Content-Type", OCI_INDEX)], b"");
            assert_eq!((answer.status, answer.code().as_str()), (400, "NAME_INVALID"), "{method} {target}");
        }
    }
}

/// Reserved words belong to protocols and pages: such an owner cannot be, and saying so tells nothing.
#[test]
fn b04_reserved_owners_own_nothing() {
    let client = DAEMON.signed_in("alice");
    for owner in ["v2", "token", "api", "orgs", "metrics", "healthz", "readyz"] {
        let answer = client.post(&uploads(&format!("{owner}/app")), b"");
        assert!(matches!(answer.status, 400 | 404), "{owner}: {}", answer.status);
        assert!(matches!(answer.code().as_str(), "NAME_INVALID" | "NAME_UNKNOWN"), "{owner}");
    }
}

#[test]
fn b04_a_name_of_one_component_is_unknown_and_the_answer_says_what_to_write() {
    let client = DAEMON.signed_in("alice");
    for (method, target) in [
        ("POST", uploads("alpine")),
        ("PUT", manifest("alpine", "latest")),
        ("GET", manifest("alpine", "latest")),
        ("GET", "/v2/alpine/tags/list".into()),
    ] {
        let answer =
            client.send(method, &target, &[("Content-Type", OCI_INDEX)], b"").refuses(404, "NAME_UNKNOWN");
        assert!(answer.text().contains("/alpine"), "{}", answer.text());
    }
}

/// An owner that does not exist answers like one where one may not create.
#[test]
fn b04_an_unknown_owner_is_like_one_where_one_may_not_create() {
    let (alice, _) = alice();
    let (bob, _) = bob();
    bob.push_image(&DAEMON.repository("bob"), "latest", 1);
    let absent = DAEMON.number();
    for method_and_path in
        ["POST blobs/uploads/", "PUT manifests/latest", "GET manifests/latest", "GET tags/list"]
    {
        let (method, path) = method_and_path.split_once(' ').unwrap();
        let answers = ["bob", "nobody-here"].map(|owner| {
            let target = format!("/v2/{owner}/absent{absent}/{path}");
            alice.send(method, &target, &[("Content-Type", OCI_INDEX)], b"").refuses(404, "NAME_UNKNOWN")
        });
        assert_eq!(
            answers[0].text().replace("bob", "OWNER"),
            answers[1].text().replace("nobody-here", "OWNER")
        );
        let anonymous = ["bob", "nobody-here"].map(|owner| {
            let target = format!("/v2/{owner}/absent{absent}/{path}");
            let answer = DAEMON.anonymous().send(method, &target, &[("Content-Type", OCI_INDEX)], b"");
            answer.refuses(401, "UNAUTHORIZED").text().replace(owner, "OWNER")
        });
        assert_eq!(anonymous[0], anonymous[1]);
    }
    let answer = alice.post(&uploads("nobody-here/app"), b"").refuses(404, "NAME_UNKNOWN");
    assert!(answer.text().contains("packhouse org add"), "it names the command: {}", answer.text());
}

#[test]
fn b06_what_is_no_digest_is_400_everywhere() {
    let (client, repository) = alice();
    client.push_image(&repository, "latest", 6);
    let hex = "a".repeat(64);
    let digests = [
        "sha256:baddigeststring".to_owned(),
        format!("sha256:{}", hex.to_uppercase()),
        format!("sha256:{}", &hex[1..]),
        format!("sha256:{hex}a"),
        format!("sha512:{hex}"),
        format!("SHA256:{hex}"),
        format!("md5:{}", &hex[..32]),
        format!("sha384:{}", "a".repeat(96)),
        format!("sha256:{}g", &hex[1..]),
        format!("sha256:%61{}", &hex[1..]),
        format!("sha256%3a{hex}"),
        format!("sha256::{hex}"),
        "sha256:".to_owned(),
        ":".to_owned(),
        format!("sha256:{hex}/.."),
    ];
    for digest in digests.iter().filter(|digest| !digest.ends_with("/..")) {
        for (method, target) in [
            ("GET", blob(&repository, digest)),
            ("HEAD", blob(&repository, digest)),
            ("DELETE", blob(&repository, digest)),
            ("GET", format!("/v2/{repository}/referrers/{digest}")),
        ] {
            let answer = client.send(method, &target, &[], b"");
            assert_eq!(answer.status, 400, "{method} {target}");
            assert!(method == "HEAD" || answer.code() == "DIGEST_INVALID", "{method} {target}");
        }
        if digest.contains(':') {
            for method in ["GET", "PUT", "DELETE"] {
                let answer = client.send(
                    method,
                    &manifest(&repository, digest),
                    &[("Content-Type", OCI_INDEX)],
                    b"{}",
                );
                assert_eq!(
                    (answer.status, answer.code().as_str()),
                    (400, "DIGEST_INVALID"),
                    "{method} {digest}"
                );
            }
        }
    }
    // A query is decoded, a path is not.
    let place = and(&client.begin(&repository), &format!("digest={}", sha256(b"x").replace(':', "%3A")));
    client.put(&place, b"x").expect(201);
}

#[test]
fn b06_bytes_that_are_no_text_are_400() {
    let (client, repository) = alice();
    let head = |target: &str| {
        format!("{target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", client.address())
    };
    for target in [
        format!("GET /v2/{repository}/manifests/\u{e9}"),
        format!("GET /v2/{repository}/blobs/sha256:\u{661}"),
        format!("GET /v2/{repository}/tags/list?last=%ff"),
        format!("GET /v2/{repository}/tags/list?n=%00"),
        "GET /v2/\u{e9}/tags/list".to_owned(),
    ] {
        let answer = raw(&client, head(&target).as_bytes());
        assert!(matches!(answer.status, 400 | 401), "{target}: {}", answer.status);
    }
}
