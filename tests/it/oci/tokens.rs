//! The token endpoint: both its forms, what it grants, what its tokens are good for.

use serde_json::Value;

use super::{
    DAEMON, alice,
    auth::{challenge, token},
    bob, manifest, uploads,
};
use crate::support::{Client, Response, content};

const PASSWORD: &str = "correct horse battery";

fn form(client: &Client, fields: &[(&str, &str)]) -> Response {
    let encode = |text: &str| -> String {
        text.bytes()
            .map(|byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            })
            .collect()
    };
    let body: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    let kind = [("Content-Type", "application/x-www-form-urlencoded")];
    client.send("POST", "/token", &kind, body.join("&").as_bytes())
}

/// The scope that a token is granted, by the form that says it.
#[track_caller]
fn granted(user: &str, secret: &str, scope: &str) -> Vec<String> {
    let fields = [
        ("grant_type", "password"),
        ("service", "x"),
        ("client_id", "test"),
        ("username", user),
        ("password", secret),
        ("scope", scope),
    ];
    let scope = form(&DAEMON.anonymous(), &fields).expect(200).json()["scope"].as_str().unwrap().to_owned();
    scope.split_whitespace().map(str::to_owned).collect()
}

#[track_caller]
fn is_a_token(answer: &Response) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert!(answer.header("cache-control").is_some_and(|text| text.contains("no-store")), "it is a secret");
    let value = answer.json();
    assert!(value["token"].as_str().is_some_and(|text| !text.is_empty()));
    assert_eq!(value["token"], value["access_token"]);
    assert!(value["expires_in"].as_u64().unwrap() >= 60, "clients take anything below for a minute");
    assert!(
        value["issued_at"].as_str().is_some_and(|text| text.len() >= 20 && text.contains('T')),
        "{value}"
    );
    value
}

/// `docker login`: no scope, and a wrong password must fail all the same.
#[test]
fn b60_login_by_get_gives_a_token_that_the_base_address_takes() {
    let (alice, repository) = alice();
    alice.push_image(&repository, "latest", 60);
    let anonymous = DAEMON.anonymous();
    let service = challenge(&anonymous.get("/v2/").expect(401))["service"].clone();
    let target = format!("/token?account=alice&client_id=docker&offline_token=true&service={service}");
    let value = is_a_token(&anonymous.basic("alice", PASSWORD).get(&target));
    anonymous.bearer(value["token"].as_str().unwrap()).get("/v2/").expect(200);
    assert!(value["refresh_token"].as_str().is_some(), "docker keeps it in place of the password");
    for (user, secret) in [("alice", "wrong"), ("alice", ""), ("nobody-here", PASSWORD), ("", PASSWORD)] {
        anonymous.basic(user, secret).get(&target).refuses(401, "UNAUTHORIZED");
    }
    // Without being asked for one it gives none.
    let value = is_a_token(&anonymous.basic("alice", PASSWORD).get("/token?account=alice"));
    assert_eq!(value.get("refresh_token"), None);
}

/// containerd with a secret asks by POST first; docker does with an identity token.
#[test]
fn b60_a_form_gives_the_same_and_says_the_scope() {
    let (alice, repository) = alice();
    alice.push_image(&repository, "latest", 60);
    let anonymous = DAEMON.anonymous();
    let scope = format!("repository:{repository}:pull,push");
    let fields = [
        ("grant_type", "password"),
        ("service", "x"),
        ("client_id", "containerd-client"),
        ("username", "alice"),
        ("password", PASSWORD),
        ("scope", scope.as_str()),
        ("access_type", "offline"),
    ];
    let value = is_a_token(&form(&anonymous, &fields));
    assert_eq!(value["scope"], scope.as_str());
    anonymous.bearer(value["access_token"].as_str().unwrap()).push_image(&repository, "form", 61);
    let refresh = value["refresh_token"].as_str().unwrap();
    assert_ne!(refresh, PASSWORD);
    let fields =
        [("grant_type", "refresh_token"), ("service", "x"), ("refresh_token", refresh), ("scope", &scope)];
    let value = is_a_token(&form(&anonymous, &fields));
    assert_eq!(value["scope"], scope.as_str());
    let again = anonymous.bearer(value["access_token"].as_str().unwrap());
    again.get(&manifest(&repository, "form")).expect(200);
    // A refresh token is for asking, not for pulling.
    anonymous.bearer(refresh).get("/v2/").refuses(401, "UNAUTHORIZED");
    anonymous.basic("alice", refresh).get("/v2/").refuses(401, "UNAUTHORIZED");
}

#[test]
fn b60_forms_without_sense_or_right_are_refused() {
    let anonymous = DAEMON.anonymous();
    DAEMON.signed_in("alice");
    for fields in [
        vec![],
        vec![("grant_type", "password")],
        vec![("grant_type", "client_credentials"), ("username", "alice"), ("password", PASSWORD)],
        vec![("grant_type", "refresh_token")],
    ] {
        assert_eq!(form(&anonymous, &fields).status, 400, "{fields:?}");
    }
    for fields in [
        vec![("grant_type", "password"), ("username", "alice"), ("password", "wrong")],
        vec![("grant_type", "password"), ("username", "nobody-here"), ("password", PASSWORD)],
        vec![("grant_type", "refresh_token"), ("refresh_token", "phr_x")],
        vec![("grant_type", "refresh_token"), ("refresh_token", PASSWORD)],
    ] {
        form(&anonymous, &fields).refuses(401, "UNAUTHORIZED");
    }
}

#[test]
fn b61_a_token_is_granted_what_is_asked_for_and_allowed() {
    let (alice, repository) = alice();
    let (bob, theirs) = bob();
    alice.push_image(&repository, "latest", 61);
    bob.push_image(&theirs, "latest", 61);
    let server = DAEMON.server();
    let scope = |name: &str, actions: &str| format!("repository:{name}:{actions}");
    let all = |name: &str| scope(name, "pull,push,delete");
    let none: [String; 0] = [];
    assert_eq!(granted("alice", PASSWORD, &all(&repository)), [all(&repository)]);
    assert_eq!(granted("alice", PASSWORD, &scope(&repository, "*")), [all(&repository)]);
    assert_eq!(granted("alice", PASSWORD, &scope(&repository, "push")), [scope(&repository, "push")]);
    assert_eq!(granted("bob", PASSWORD, &all(&repository)), none, "private: as if it were not there");
    assert_eq!(granted("bob", PASSWORD, &all(&DAEMON.repository("alice"))), none);
    server.admin_ok(&["package", "grant", &repository, "bob", "read"]);
    assert_eq!(granted("bob", PASSWORD, &all(&repository)), [scope(&repository, "pull")]);
    server.admin_ok(&["package", "grant", &repository, "bob", "write"]);
    assert_eq!(granted("bob", PASSWORD, &all(&repository)), [scope(&repository, "pull,push")]);
    server.admin_ok(&["package", "grant", &repository, "bob", "none"]);
    server.admin_ok(&["package", "visibility", &repository, "public"]);
    assert_eq!(granted("bob", PASSWORD, &all(&repository)), [scope(&repository, "pull")]);
    // A name that is free where one may create.
    let free = DAEMON.repository("alice");
    assert!(granted("alice", PASSWORD, &all(&free))[0].contains("pull,push"));
    // Scopes of the credential bound what the role allows.
    let reader = server.token("alice", &["read:packages"]);
    assert_eq!(granted("alice", &reader, &all(&repository)), [scope(&repository, "pull")]);
    let writer = server.token("alice", &["write:packages"]);
    assert_eq!(granted("alice", &writer, &all(&repository)), [scope(&repository, "pull,push")]);
    let deleter = server.token("alice", &["delete:packages"]);
    assert_eq!(granted("alice", &deleter, &all(&repository)), [scope(&repository, "pull,delete")]);
    // Several at once, each by itself; what nobody can be granted is left out.
    let several = format!(
        "{} {} repository:UPPER:pull plugin:x/y:pull registry:other:* x",
        all(&repository),
        all(&theirs)
    );
    assert_eq!(granted("bob", PASSWORD, &several), [scope(&repository, "pull"), all(&theirs)]);
    assert_eq!(granted("bob", PASSWORD, "registry:catalog:*"), ["registry:catalog:*"]);
}

#[test]
fn b61_a_token_is_good_for_its_repository_alone() {
    let (alice, first) = alice();
    let (_, second) = super::alice();
    for repository in [&first, &second] {
        alice.push_image(repository, "latest", 61);
    }
    let anonymous = DAEMON.anonymous();
    let bearer = anonymous.bearer(&token(&alice, &format!("repository:{first}:pull,push,delete")));
    bearer.push_image(&first, "pushed", 1);
    bearer.get(&manifest(&second, "latest")).refuses(401, "UNAUTHORIZED");
    bearer.post(&uploads(&second), b"").refuses(401, "UNAUTHORIZED");
    bearer.delete(&manifest(&second, "latest")).refuses(401, "UNAUTHORIZED");
    bearer.get("/v2/_catalog").refuses(401, "UNAUTHORIZED");
    // A mount needs both; who may have both is told to ask for them, and containerd uploads instead.
    let layer = alice.push_blob(&second, b"only in the second");
    let mount = format!("{}?mount={layer}&from={second}", uploads(&first));
    let found = challenge(&bearer.post(&mount, b"").refuses(401, "UNAUTHORIZED"));
    assert_eq!(found["error"], "insufficient_scope");
    assert_eq!(found["scope"], format!("repository:{first}:pull,push repository:{second}:pull"));
    let both =
        anonymous.bearer(&token(&alice, &format!("repository:{first}:pull,push repository:{second}:pull")));
    both.post(&mount, b"").expect(201);
    let catalog = anonymous.bearer(&token(&alice, "registry:catalog:*"));
    assert!(catalog.get("/v2/_catalog?n=1000").expect(200).text().contains(&first));
    catalog.get(&manifest(&first, "latest")).refuses(401, "UNAUTHORIZED");
}

/// The bound is an upper one: what was issued under a credential ends with it.
#[test]
fn b61_a_bearer_token_outlives_neither_its_credential_nor_its_password() {
    let (alice, repository) = alice();
    alice.push_image(&repository, "latest", 61);
    let server = DAEMON.server();
    server.user("brief", PASSWORD);
    server.admin_ok(&["package", "grant", &repository, "brief", "write"]);
    let scope = format!("repository:{repository}:pull,push");
    let secret = server.token("brief", &["write:packages"]);
    let by_token = DAEMON.anonymous().bearer(&token(&DAEMON.anonymous().basic("brief", &secret), &scope));
    let by_password = DAEMON.anonymous().bearer(&token(&DAEMON.anonymous().basic("brief", PASSWORD), &scope));
    for bearer in [&by_token, &by_password] {
        bearer.get(&manifest(&repository, "latest")).expect(200);
    }
    server.revoke_tokens("brief");
    by_token.get(&manifest(&repository, "latest")).refuses(401, "UNAUTHORIZED");
    DAEMON.anonymous().basic("brief", &secret).get("/v2/").refuses(401, "UNAUTHORIZED");
    by_password.get(&manifest(&repository, "latest")).expect(200);
    let changed =
        server.admin_with(&["user", "password", "brief", "--password-stdin"], "another horse battery");
    assert!(changed.status.success(), "{}", String::from_utf8_lossy(&changed.stderr));
    by_password.get(&manifest(&repository, "latest")).refuses(401, "UNAUTHORIZED");
}

/// Changed anywhere, a token is no token (T061).
#[test]
fn b61_no_forged_token_is_taken() {
    let (alice, repository) = alice();
    alice.push_image(&repository, "latest", 61);
    let anonymous = DAEMON.anonymous();
    let good = token(&alice, &format!("repository:{repository}:pull"));
    anonymous.bearer(&good).get(&manifest(&repository, "latest")).expect(200);
    let mut forged = Vec::new();
    for at in (0..good.len()).step_by((good.len() / 60).max(1)) {
        let mut bytes = good.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        forged.push(String::from_utf8(bytes).unwrap());
        forged.push(good[..at].to_owned());
        forged.push(format!("{}{}", &good[..at], &good[(at + 1).min(good.len())..]));
    }
    forged.push(format!("{good}A"));
    forged.push(format!("{good}.{good}"));
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJhbGljZSIsImFjY2VzcyI6W119.";
    forged.push(none.to_owned());
    assert!(forged.len() >= 60);
    for token in forged.into_iter().filter(|forged| *forged != good && !forged.is_empty()) {
        let answer = anonymous.bearer(&token).get(&manifest(&repository, "latest"));
        assert_eq!(answer.status, 401, "{token}");
    }
}

/// The same secret on another installation is nothing there (T062).
#[test]
fn b61_a_token_of_another_installation_is_none() {
    let (alice, repository) = alice();
    alice.push_image(&repository, "latest", 62);
    let secret = DAEMON.server().token("alice", &["read:packages"]);
    let here = token(&alice, &format!("repository:{repository}:pull"));
    let other = crate::support::Server::start();
    let there = other.signed_in("alice");
    there.push_image(&repository, "latest", 62);
    for foreign in [
        other.anonymous().bearer(&here),
        other.anonymous().bearer(&secret),
        other.anonymous().basic("alice", &secret),
    ] {
        foreign.get(&manifest(&repository, "latest")).refuses(401, "UNAUTHORIZED");
        foreign.get("/v2/").refuses(401, "UNAUTHORIZED");
    }
}

#[test]
fn b61_a_token_cannot_prolong_itself() {
    let (alice, repository) = alice();
    alice.push_image(&repository, "latest", 61);
    let bearer = DAEMON.anonymous().bearer(&token(&alice, &format!("repository:{repository}:pull")));
    let target = format!("/token?scope=repository:{repository}:pull,push");
    bearer.get(&target).refuses(401, "UNAUTHORIZED");
}

#[test]
fn the_token_endpoint_is_bounded() {
    let (alice, _) = alice();
    let many: String = (0..3000).map(|index| format!("&scope=repository:alice/x{index}:pull")).collect();
    let answer = alice.get(&format!("/token?service=x{}", &many[..20_000]));
    assert!(matches!(answer.status, 400 | 414 | 431), "{}", answer.status);
    let body = "scope=".to_owned() + &"a".repeat(1 << 20);
    let kind = [("Content-Type", "application/x-www-form-urlencoded")];
    let answer = DAEMON.anonymous().send("POST", "/token", &kind, body.as_bytes());
    assert_eq!(answer.status, 413, "{}", answer.text());
    for method in ["PUT", "DELETE", "PATCH"] {
        assert_eq!(alice.send(method, "/token", &[], b"").status, 405, "{method}");
    }
}

/// A repository whose name holds what separates scopes elsewhere.
#[test]
fn b61_scopes_of_every_name() {
    let alice = DAEMON.signed_in("alice");
    for name in ["alice/pull", "alice/a/b/c/d", "alice/a.b__c---d"] {
        let bearer = DAEMON.anonymous().bearer(&token(&alice, &format!("repository:{name}:pull,push")));
        let image = bearer.push_image(name, "latest", 1);
        assert_eq!(bearer.get(&manifest(name, "latest")).expect(200).body, content::bytes(&image));
        // A class in parentheses is old and ignored.
        let bearer = DAEMON.anonymous().bearer(&token(&alice, &format!("repository(plugin):{name}:pull")));
        bearer.get(&manifest(name, "latest")).expect(200);
    }
}
