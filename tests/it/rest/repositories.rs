//! Source repositories, roles on them, and packages that inherit these.

use serde_json::{Value, json};

use super::{Api as _, World, names, push, words};

#[test]
fn a_repository_is_made_described_renamed_and_removed() {
    let world = World::new();
    let (ada, eve) = (world.user("ada"), world.user("eve"));
    world.server.admin_ok(&["org", "add", "acme", "--owner", "ada"]);
    let body = json!({"name": "Web", "private": true, "description": "pages", "has_wiki": false});
    let made = ada.api("POST", "/orgs/acme/repos", body).expect(201).json();
    assert_eq!((&made["full_name"], &made["visibility"]), (&json!("acme/Web"), &json!("private")));
    ada.api("POST", "/user/repos", json!({"name": "own"})).expect(201);
    for bad in [json!({"name": "web"}), json!({"name": "a b"}), json!({}), json!({"name": "x", "private": 1})]
    {
        let status = ada.api("POST", "/orgs/acme/repos", bad).status;
        assert!(matches!(status, 409 | 422), "{status}");
    }
    eve.api("POST", "/orgs/acme/repos", json!({"name": "x"})).expect(403);
    assert_eq!(names(&ada.read("/user/repos"), "full_name"), ["ada/own", "acme/Web"]);
    assert_eq!(names(&ada.read("/user/repos?per_page=1&page=2"), "full_name"), ["acme/Web"]);
    assert_eq!(eve.read("/orgs/acme/repos").expect(200).json(), json!([]));
    let there = words(&eve.read("/repos/acme/web").expect(404));
    assert_eq!(there.replace("web", "xyz"), words(&eve.read("/repos/acme/xyz")));

    let open = json!({"visibility": "public", "homepage": "https://example.com/web", "topics": ["site"]});
    assert_eq!(ada.api("PATCH", "/repos/acme/web", open).expect(200).json()["topics"], json!(["site"]));
    eve.read("/repos/acme/web").expect(200);
    world.server.anonymous().read("/repos/acme/web").expect(200);
    eve.api("PATCH", "/repos/acme/web", json!({"description": "mine"})).expect(403);
    ada.api("PATCH", "/repos/acme/web", json!({"name": "site", "description": "both"})).expect(422);
    ada.api("PATCH", "/repos/acme/web", json!({"name": "a b"})).expect(422);
    // A token that may manage and not read is answered all the same: what is refused did not happen.
    let manager = world.token("ada", &["admin"]);
    manager.api("POST", "/user/repos", json!({"name": "other"})).expect(201);
    manager.api("PATCH", "/repos/ada/other", json!({"description": "x"})).expect(200);
    let renamed = ada.api("PATCH", "/repos/acme/web", json!({"name": "site"})).expect(200).json();
    assert_eq!((&renamed["full_name"], &renamed["id"]), (&json!("acme/site"), &made["id"]));
    eve.api("POST", "/repos/acme/site/transfer", json!({"new_owner": "eve"})).expect(403);
    ada.api("POST", "/repos/acme/site/transfer", json!({"new_owner": "eve"})).expect(403);
    let moved = ada.api("POST", "/repos/acme/site/transfer", json!({"new_owner": "ada"})).expect(202).json();
    assert_eq!(moved["full_name"], "ada/site");
    ada.api("DELETE", "/repos/ada/site", Value::Null).expect(204);
    ada.read("/repos/ada/site").expect(404);
    world.server.is_sound();
}

#[test]
fn a_package_inherits_the_roles_of_its_repository() {
    let world = World::new();
    let (ada, bob, eve) = (world.user("ada"), world.user("bob"), world.user("eve"));
    world.server.admin_ok(&["org", "add", "acme", "--owner", "ada"]);
    world.server.admin_ok(&["org", "member", "add", "acme", "bob"]);
    ada.api("POST", "/orgs/acme/teams", json!({"name": "eng"})).expect(201);
    ada.api("PUT", "/orgs/acme/teams/eng/memberships/bob", json!({})).expect(200);
    ada.api("POST", "/orgs/acme/repos", json!({"name": "web", "private": true})).expect(201);
    push(&ada, "acme/app", "1", "one");
    let app = "/orgs/acme/packages/container/app";
    ada.read(&format!("{app}/link")).expect(404);
    let link = json!({"repository": "acme/web", "inherit": true});
    eve.api("PUT", &format!("{app}/link"), link.clone()).expect(404);
    ada.api("PUT", &format!("{app}/link"), json!({"repository": "acme/none"})).expect(404);
    ada.api("PUT", &format!("{app}/link"), link).expect(204);
    let shown = ada.read(&format!("{app}/link")).expect(200).json();
    assert_eq!(shown, json!({"repository": "acme/web", "inherits": true}));

    let put = |path: &str, permission: &str| ada.api("PUT", path, json!({"permission": permission}));
    put("/repos/acme/web/collaborators/eve", "pull").expect(204);
    put("/orgs/acme/teams/eng/repos/acme/web", "push").expect(204);
    eve.read(app).expect(200);
    push(&bob, "acme/app", "2", "two");
    assert_eq!(names(&ada.read("/repos/acme/web/collaborators"), "login"), ["eve"]);
    assert_eq!(names(&ada.read("/repos/acme/web/teams"), "slug"), ["eng"]);
    let own = eve.read("/repos/acme/web/collaborators/eve/permission").expect(200).json();
    assert_eq!((&own["permission"], &own["role_name"]), (&json!("read"), &json!("read")));
    eve.read("/repos/acme/web/collaborators/bob/permission").expect(403);
    put("/repos/acme/web/collaborators/eve", "boss").expect(422);
    put("/repos/acme/web/collaborators/nobody", "pull").expect(404);
    ada.read("/repos/acme/web/collaborators/bob").expect(404);
    ada.read("/orgs/acme/teams/eng/repos/acme/web").expect(204);

    ada.api("PUT", &format!("{app}/access/workflows/acme/web"), json!({"role": "write"})).expect(204);
    let workflows = ada.read(&format!("{app}/access/workflows")).expect(200).json();
    assert_eq!(workflows, json!([{"repository": "acme/web", "role": "write"}]));
    eve.read(&format!("{app}/access/workflows")).expect(403);
    ada.api("DELETE", &format!("{app}/access/workflows/acme/web"), Value::Null).expect(204);

    ada.api("DELETE", "/repos/acme/web/collaborators/eve", Value::Null).expect(204);
    assert_eq!(eve.read(app).status, 404, "at once");
    ada.api("DELETE", &format!("{app}/link"), Value::Null).expect(204);
    assert_eq!(bob.read(app).status, 404, "what was inherited is gone with the link");
    world.server.is_sound();
}
