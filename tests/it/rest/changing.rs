//! Changing packages: deleting, restoring, visibility, roles.

use serde_json::{Value, json};

use super::{Api as _, World, names, push, words};

const APP: &str = "/users/ada/packages/container/app";

#[test]
fn packages_and_versions_go_and_come_back() {
    let world = World::new();
    let (ada, eve) = (world.user("ada"), world.user("eve"));
    let first = push(&ada, "ada/app", "1", "one");
    push(&ada, "ada/app", "2", "two");
    let number = ada.read(&format!("{APP}/versions/{first}")).expect(200).json()["id"].to_string();

    eve.api("DELETE", &format!("{APP}/versions/{number}"), Value::Null).expect(404);
    ada.api("DELETE", &format!("{APP}/versions/{number}"), Value::Null).expect(204);
    ada.api("DELETE", &format!("{APP}/versions/{number}"), Value::Null).expect(404);
    assert_eq!(ada.get(&format!("/v2/ada/app/manifests/{first}")).status, 404);
    ada.api("POST", &format!("{APP}/versions/{number}/restore"), Value::Null).expect(204);
    ada.get("/v2/ada/app/manifests/1").expect(200);
    ada.api("POST", &format!("{APP}/versions/{number}/restore"), Value::Null).expect(404);

    ada.api("DELETE", APP, Value::Null).expect(204);
    ada.read(APP).expect(404);
    let gone = ada.read("/user/packages?state=deleted").expect(200);
    assert_eq!(names(&gone, "name"), ["app"]);
    assert!(gone.json()[0]["restorable_until"].is_string());
    assert_eq!(eve.read("/users/ada/packages?state=deleted").expect(200).json(), json!([]));
    eve.api("POST", &format!("{APP}/restore"), Value::Null).expect(404);
    push(&ada, "ada/app", "1", "another");
    let taken = ada.api("POST", &format!("{APP}/restore"), Value::Null).expect(409);
    assert_eq!(taken.json()["reason"], "taken");
    ada.api("DELETE", APP, Value::Null).expect(204);
    ada.api("POST", &format!("{APP}/restore"), Value::Null).expect(204);
    assert_eq!(ada.read(APP).expect(200).json()["version_count"], 1, "the one deleted last");
    world.server.is_sound();
}

#[test]
fn who_may_read_changes_with_the_name_typed() {
    let world = World::new();
    let (ada, eve) = (world.user("ada"), world.user("eve"));
    push(&ada, "ada/app", "1", "one");
    for body in [json!({"visibility": "public"}), json!({"visibility": "public", "confirm": "app"})] {
        let refused = ada.api("PATCH", APP, body).expect(422).json();
        assert!(refused["message"].as_str().unwrap().contains("\"confirm\": \"ada/app\""), "{refused}");
    }
    assert_eq!(eve.read(APP).status, 404);
    let to = |word: &str| json!({"visibility": word, "confirm": "ada/app"});
    let public = ada.api("PATCH", APP, to("public")).expect(200);
    assert_eq!(public.json()["visibility"], "public");
    eve.read(APP).expect(200);
    let refused = eve.api("PATCH", APP, to("private")).expect(403).json();
    assert_eq!((&refused["reason"], &refused["status"]), (&json!("role"), &json!("403")));
    ada.api("PATCH", APP, to("private")).expect(200);
    assert_eq!(eve.read(APP).status, 404);
    ada.api("PATCH", APP, json!({"visibility": "private"})).expect(200);
    for bad in [
        json!({"visibility": "secret"}),
        json!({"visibility": 1}),
        json!({"owner": "eve"}),
        json!({"id": 1, "visibility": "public", "confirm": "ada/app"}),
        json!([]),
    ] {
        ada.api("PATCH", APP, bad).expect(422);
    }
    ada.send("PATCH", &format!("/api/v3{APP}"), &[], b"{").expect(400);
    let long = vec![b' '; (64 << 10) + 1];
    ada.send("PATCH", &format!("/api/v3{APP}"), &[], &long).expect(413);
    assert_eq!(ada.read(APP).expect(200).json()["visibility"], "private");
}

#[test]
fn roles_are_given_and_taken_by_whoever_administers() {
    let world = World::new();
    let (ada, bob, eve) = (world.user("ada"), world.user("bob"), world.user("eve"));
    world.server.admin_ok(&["org", "add", "acme", "--owner", "ada"]);
    world.server.admin_ok(&["org", "member", "add", "acme", "bob"]);
    world.server.admin_ok(&["team", "add", "acme/Eng"]);
    world.server.admin_ok(&["team", "member", "add", "acme/eng", "bob"]);
    push(&ada, "acme/app", "1", "one");
    let app = "/orgs/acme/packages/container/app";
    let put = |who: &crate::support::Client, to: &str, role: &str| {
        who.api("PUT", &format!("{app}/access/{to}"), json!({"role": role}))
    };
    assert_eq!(bob.read(app).status, 404);
    let given = put(&ada, "teams/ENG", "write").expect(200).json();
    assert_eq!((&given["type"], &given["name"]), (&json!("team"), &json!("acme/Eng")));
    assert_eq!(bob.read(app).expect(200).json()["version_count"], 1);
    push(&bob, "acme/app", "2", "two");
    put(&ada, "users/eve", "read").expect(200);
    put(&ada, "orgs/acme", "read").expect(200);
    eve.read(app).expect(200);
    let all = ada.read(&format!("{app}/access")).expect(200);
    assert_eq!(names(&all, "type"), ["user", "user", "organization", "team"]);
    assert_eq!(names(&all, "name"), ["ada", "eve", "acme", "acme/Eng"]);
    for one in all.json().as_array().unwrap() {
        let url = one["url"].as_str().unwrap();
        let path = url.split_once("/api/v3").unwrap().1;
        assert_eq!(ada.read(path).expect(200).json(), *one, "what is listed is there");
    }

    // Whoever may not administer learns nothing and changes nothing.
    for who in [&bob, &eve] {
        assert_eq!(put(who, "users/eve", "admin").expect(403).json()["reason"], "role");
        who.read(&format!("{app}/access")).expect(403);
        who.api("DELETE", &format!("{app}/access/users/eve"), Value::Null).expect(403);
        who.read(&format!("{app}/permission/ada")).expect(403);
    }
    for (to, role, status) in [
        ("users/nobody", "read", 404),
        ("teams/nobody", "read", 404),
        ("orgs/nobody", "read", 404),
        ("users/acme", "read", 404),
        ("users/eve", "owner", 422),
        ("teams/a%00b", "read", 404),
        ("teams/a%2Fb", "read", 422),
        ("groups/eve", "read", 404),
    ] {
        assert_eq!(put(&ada, to, role).status, status, "{to} {role}");
    }
    assert_eq!(ada.read(&format!("{app}/access")).expect(200).json().as_array().unwrap().len(), 4);

    ada.api("DELETE", &format!("{app}/access/users/eve"), Value::Null).expect(204);
    assert_eq!(words(&eve.read(app)), words(&eve.read("/orgs/acme/packages/container/absent")));
    ada.api("DELETE", &format!("{app}/access/users/eve"), Value::Null).expect(404);
}

#[test]
fn the_reason_is_told_to_those_who_may_know() {
    let world = World::new();
    let (ada, bob) = (world.user("ada"), world.user("bob"));
    push(&ada, "ada/app", "1", "one");
    let why = |action: &str| ada.read(&format!("{APP}/permission/bob?action={action}")).expect(200).json();
    assert_eq!(why("pull")["code"], "visibility");
    ada.api("PUT", &format!("{APP}/access/users/bob"), json!({"role": "write"})).expect(200);
    let push = why("push");
    assert_eq!((&push["allowed"], &push["code"]), (&json!(true), &json!("role")));
    assert_eq!(push["roles"], json!([{"from": "user:bob", "role": "write"}]));
    assert_eq!(why("delete")["code"], "role");
    ada.read(&format!("{APP}/permission/nobody")).expect(404);
    ada.read(&format!("{APP}/permission/bob?action=eat")).expect(422);

    let own = bob.read(&format!("{APP}/permission")).expect(200).json();
    assert_eq!(own, json!({"role": "write", "actions": ["pull", "push"], "visibility": "private"}));
    let reader = world.token("bob", &["read:packages"]);
    let own = reader.read(&format!("{APP}/permission")).expect(200).json();
    assert_eq!(own["actions"], json!(["pull"]), "what this credential is good for");
    let own = ada.read(&format!("{APP}/permission")).expect(200).json();
    assert_eq!(own["actions"], json!(["pull", "push", "delete", "manage"]));
    world.user("eve").read(&format!("{APP}/permission")).expect(404);
}
