//! One's own tokens, and the policies of owners and packages.

use serde_json::{Value, json};

use super::{Api as _, World, push};

#[test]
fn a_token_makes_none_that_may_do_more_than_itself() {
    let world = World::new();
    let ada = world.user("ada");
    let made = ada.api("POST", "/user/tokens", json!({"scopes": ["write:packages"], "expires_in": 3600}));
    let made = made.expect(201).json();
    assert_eq!(made["scopes"], json!(["read:packages", "write:packages"]));
    let child = world.server.anonymous().bearer(made["token"].as_str().unwrap());
    push(&child, "ada/app", "1", "one");
    child.read("/user/tokens").expect(403);

    let manager = world.token("ada", &["admin"]);
    let more = manager.api("POST", "/user/tokens", json!({"scopes": ["read:packages"]})).expect(403).json();
    assert_eq!(more["reason"], "scope");
    let limited = json!({"scopes": ["admin", "read:packages"], "packages": ["ada/app"], "expires_in": 600});
    let limited = ada.api("POST", "/user/tokens", limited).expect(201).json();
    let limited = world.server.anonymous().bearer(limited["token"].as_str().unwrap());
    limited.read("/user/packages/container/app").expect(200);
    limited.read("/user/tokens").expect(403);
    push(&ada, "ada/other", "1", "other");
    limited.read("/user/packages/container/other").expect(404);
    for bad in [
        json!({"scopes": []}),
        json!({"scopes": ["everything"]}),
        json!({"scopes": ["admin"], "expires_in": 0}),
        json!({"scopes": ["admin"], "expires_in": 400 * 24 * 3600}),
        json!({"scopes": ["admin"], "actions": ["eat"]}),
        json!({"scopes": ["admin"], "networks": ["here"]}),
        json!({"scopes": ["admin"], "user": "eve"}),
        json!({}),
    ] {
        ada.api("POST", "/user/tokens", bad.clone()).expect(422);
    }

    let all = ada.read("/user/tokens").expect(200);
    let id = made["id"].as_str().unwrap();
    let listed = all.json();
    let found = listed.as_array().unwrap().iter().find(|token| token["id"] == id).unwrap();
    assert_eq!(found["type"], "personal");
    assert!(!all.text().contains(made["token"].as_str().unwrap()), "a secret is shown once");
    ada.api("DELETE", &format!("/user/tokens/{id}"), Value::Null).expect(204);
    child.read("/user").expect(401);
    ada.api("DELETE", &format!("/user/tokens/{id}"), Value::Null).expect(404);
}

#[test]
fn policies_are_set_by_whoever_rules_what_they_are_about() {
    let world = World::new();
    let (ada, bob) = (world.user("ada"), world.user("bob"));
    push(&ada, "ada/app", "v1", "one");
    let of_package = "/user/packages/container/app/policy";
    ada.read(of_package).expect(404);
    let set = ada.api("PUT", of_package, json!({"immutable": ["v*"], "keep_last": 3})).expect(200).json();
    assert_eq!((&set["immutable"], &set["keep_last"]), (&json!(["v*"]), &json!(3)));
    assert_eq!(ada.read(of_package).expect(200).json(), set);
    let refused = ada.api("DELETE", "/user/packages/container/app", Value::Null).expect(403).json();
    assert_eq!(refused["reason"], "policy");
    ada.api("DELETE", of_package, Value::Null).expect(204);
    ada.read(of_package).expect(404);

    ada.api("PUT", "/users/ada/policy", json!({"immutable": ["*"], "immutable_except": ["latest"]}))
        .expect(200);
    bob.read("/users/ada/policy").expect(403);
    bob.api("PUT", "/users/ada/policy", json!({"keep_last": 1})).expect(403);
    for bad in
        [json!({}), json!({"immutable": ["a b"]}), json!({"immutable_except": ["x"]}), json!({"keep": 1})]
    {
        ada.api("PUT", "/users/ada/policy", bad).expect(422);
    }
    assert_eq!(ada.read("/users/ada/policy").expect(200).json()["immutable_except"], json!(["latest"]));
}
