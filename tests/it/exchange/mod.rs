//! A CI job's way to a workflow token, against an issuer on loopback with keys of its own: found by discovery, over HTTP.

mod issuer;

use serde_json::{Value, json};

use self::issuer::{Issuer, now};
use crate::support::{Client, Response, Server};

const AUDIENCE: &str = "https://registry.example";

struct World {
    server: Server,
    issuer: Issuer,
    _folder: tempfile::TempDir,
}

/// acme/src trusts repository 17 of owner 18 on main, for pushes to production, to write.
fn world() -> World {
    let issuer = Issuer::start();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("packhouse.toml");
    let text =
        format!("[[oidc.issuers]]\nurl = \"{}\"\naudience = \"{AUDIENCE}\"\nkind = \"github\"\n", issuer.url);
    std::fs::write(&config, text).unwrap();
    let server = Server::with(&[("PACKHOUSE_CONFIG", config.to_str().unwrap())]);
    server.user("ada", "correct horse battery");
    server.admin_ok(&["org", "add", "acme", "--owner", "ada"]);
    for repo in ["acme/src", "acme/other"] {
        server.admin_ok(&["repo", "create", repo]);
    }
    let trust = [
        "repo",
        "trust",
        "acme/src",
        "--issuer",
        &issuer.url,
        "--repository-id",
        "17",
        "--owner-id",
        "18",
        "--ref",
        "refs/heads/main",
        "--environment",
        "production",
        "--event",
        "push",
        "--packages",
        "write",
    ];
    server.admin_ok(&trust);
    World { server, issuer, _folder: folder }
}

impl World {
    fn claims(&self) -> Value {
        json!({
            "iss": self.issuer.url, "aud": AUDIENCE, "sub": "repo:acme/app:environment:production",
            "jti": self.issuer.unique(), "iat": now() - 5, "exp": now() + 300, "repository_id": "17",
            "repository_owner_id": "18", "ref": "refs/heads/main", "environment": "production", "event_name": "push",
        })
    }

    fn send(&self, token: &str, repository: &str, packages: &str) -> Response {
        let body = json!({"token": token, "repository": repository, "packages": packages}).to_string();
        let json = [("Content-Type", "application/json")];
        self.server.anonymous().send("POST", "/-/oidc/exchange", &json, body.as_bytes())
    }

    fn exchange(&self, claims: &Value) -> Response {
        self.send(&self.issuer.sign(claims), "acme/src", "write")
    }
}

#[test]
fn a_job_gets_a_token_pushes_and_ends_it() {
    let world = world();
    let answer = world.exchange(&world.claims()).expect(200);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let answer = answer.json();
    assert_eq!((&answer["repository"], &answer["packages"]), (&json!("acme/src"), &json!("write")));
    let token = answer["token"].as_str().unwrap();
    assert!(token.starts_with("phw_"));
    // As docker does: a user name that may be anybody's, a bearer token, a push.
    let job = world.server.anonymous().basic("ada", token);
    let scope = "/token?scope=repository:acme/app:pull,push";
    let bearer = job.get(scope).expect(200).json()["token"].as_str().unwrap().to_owned();
    let pushes = world.server.anonymous().bearer(&bearer);
    pushes.push_image("acme/app", "latest", 1);
    pushes.get("/v2/acme/app/manifests/latest").expect(200);
    assert_eq!(
        world.server.anonymous().get("/v2/acme/app/manifests/latest").status,
        401,
        "as private as the repository"
    );

    // Read alone, for another job of the same.
    let read = world.send(&world.issuer.sign(&world.claims()), "acme/src", "read").expect(200).json();
    let reads = world.server.anonymous().basic("x", read["token"].as_str().unwrap());
    reads.get("/v2/acme/app/manifests/latest").expect(200);
    assert_eq!(reads.delete("/v2/acme/app/manifests/latest").status, 403);

    for end in [204, 401] {
        assert_eq!(job.delete("/-/oidc/token").status, end);
    }
    assert_eq!(pushes.get("/v2/acme/app/manifests/latest").status, 401, "what was made from it ends with it");
    world.server.is_sound();
}

#[test]
fn a_token_counts_once_however_many_send_it() {
    let world = world();
    let token = world.issuer.sign(&world.claims());
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let all: Vec<_> =
            (0..64).map(|_| scope.spawn(|| world.send(&token, "acme/src", "write").status)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 200 | 401)), "{statuses:?}");
    // A refused one is not used up: whoever fixes the trust may send it again.
    let refused = world.issuer.sign(&world.claims());
    assert_eq!(world.send(&refused, "acme/other", "write").status, 403);
    world.send(&refused, "acme/src", "write").expect(200);
}

#[test]
fn every_claim_that_is_named_must_be_so() {
    let world = world();
    let untrusted = world.send(&world.issuer.sign(&world.claims()), "acme/other", "write").expect(403);
    for (repository, why) in [("acme/none", "absent"), ("nobody/src", "no owner"), ("acme/other", "no trust")]
    {
        let answer = world.send(&world.issuer.sign(&world.claims()), repository, "write").expect(403);
        assert_eq!(answer.text(), untrusted.text(), "{why}: nothing is learned");
    }
    let mut tried = 0;
    for (claim, values) in [
        (
            "repository_id",
            vec![json!("18"), json!("017"), json!(" 17"), json!(17.5), json!(["17"]), Value::Null],
        ),
        ("repository_owner_id", vec![json!("17"), json!(true), Value::Null]),
        (
            "ref",
            vec![json!("refs/heads/Main"), json!("refs/heads/main2"), json!("refs/tags/main"), Value::Null],
        ),
        ("environment", vec![json!("staging"), Value::Null]),
        (
            "event_name",
            vec![json!("pull_request_target"), json!("workflow_run"), json!("pull_request"), Value::Null],
        ),
    ] {
        for value in values {
            let mut claims = world.claims();
            match &value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(claim)),
                value => claims[claim] = value.clone(),
            }
            let answer = world.exchange(&claims).expect(403);
            assert_eq!(answer.text(), untrusted.text(), "{claim} {value}");
            tried += 1;
        }
    }
    for (claim, value) in [
        ("aud", json!("https://other.example")),
        ("iss", json!("https://evil.example")),
        ("exp", json!(now() - 60)),
    ] {
        let mut claims = world.claims();
        claims[claim] = value;
        assert_eq!(world.exchange(&claims).status, 401, "{claim}");
    }
    assert!(tried > 15);
    let mut numbers = world.claims();
    numbers["repository_id"] = json!(17);
    world.exchange(&numbers).expect(200);
}

#[test]
fn keys_of_somebody_else_and_bodies_that_are_none() {
    let world = world();
    let stranger = Issuer::start();
    assert_eq!(world.send(&stranger.sign(&world.claims()), "acme/src", "write").status, 401);
    let good = world.issuer.sign(&world.claims());
    let client: Client = world.server.anonymous();
    for body in [
        String::new(),
        "{}".into(),
        "[]".into(),
        json!({"token": good}).to_string(),
        json!({"token": good, "repository": "acme/src", "packages": "admin"}).to_string(),
        json!({"token": good, "repository": "acme/src", "actor": "ada"}).to_string(),
        json!({"token": good, "repository": "../x"}).to_string(),
        json!({"token": [good], "repository": "acme/src"}).to_string(),
    ] {
        let answer = client.send("POST", "/-/oidc/exchange", &[], body.as_bytes());
        assert_eq!(answer.status, 400, "{body} {}", answer.text());
        assert!(!answer.text().contains(&good[..20]), "no secret comes back");
    }
    assert_eq!(client.get("/-/oidc/exchange").status, 405);
    assert_eq!(client.get("/-/other").status, 404);
    assert_eq!(client.delete("/-/oidc/token").status, 401);
    let ada = client.basic("ada", &world.server.token("ada", &["read:packages"]));
    assert_eq!(ada.delete("/-/oidc/token").status, 403);
    assert_eq!(world.send(&good, "acme/src", "write").status, 200);
}
