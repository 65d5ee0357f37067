//! Organizations, members, teams, and who runs the installation.

use serde_json::{Value, json};

use super::{Api as _, SCOPES, World, names, push, words};
use crate::support::Client;

fn put(who: &Client, path: &str, body: Value) -> u16 {
    who.api("PUT", path, body).status
}

impl World {
    /// Acme, which ada owns.
    fn acme(&self) -> Client {
        let ada = self.user("ada");
        self.server.admin_ok(&["org", "add", "acme", "--owner", "ada"]);
        ada
    }

    fn administrator(&self) -> Client {
        self.token("admin", &SCOPES)
    }
}

#[test]
fn an_organization_is_set_up_by_its_owner() {
    let world = World::new();
    let (root, ada, bob) = (world.administrator(), world.user("ada"), world.user("bob"));
    ada.api("POST", "/admin/organizations", json!({"login": "acme", "admin": "ada"})).expect(403);
    let made = root.api("POST", "/admin/organizations", json!({"login": "Acme", "admin": "ada"})).expect(201);
    assert_eq!(made.json()["login"], "Acme");
    for (login, status) in [("acme", 422), ("bob", 422), ("api", 422), ("a--b", 422), ("p\u{430}ypal", 422)] {
        let refused = root.api("POST", "/admin/organizations", json!({"login": login, "admin": "ada"}));
        assert_eq!(refused.status, status, "{login}");
    }
    root.api("POST", "/admin/organizations", json!({"login": "beta", "admin": "nobody"})).expect(404);

    let membership =
        ada.api("PUT", "/orgs/acme/memberships/bob", json!({"role": "member"})).expect(200).json();
    assert_eq!((&membership["role"], &membership["state"]), (&json!("member"), &json!("active")));
    assert_eq!(names(&bob.read("/orgs/acme/members"), "login"), ["ada", "bob"]);
    assert_eq!(names(&bob.read("/orgs/acme/members?role=admin"), "login"), ["ada"]);
    bob.read("/orgs/acme/members/ada").expect(204);
    bob.read("/orgs/acme/members/eve").expect(404);
    assert_eq!(bob.read("/user/memberships/orgs/ACME").expect(200).json(), {
        let mut own = membership.clone();
        own["organization"] = bob.read("/user/memberships/orgs/acme").json()["organization"].clone();
        own
    });
    assert_eq!(put(&bob, "/orgs/acme/memberships/eve", json!({})), 403);
    assert_eq!(put(&ada, "/orgs/acme/memberships/ada", json!({"role": "member"})), 403, "the last owner");
    assert_eq!(put(&ada, "/orgs/acme/memberships/bob", json!({"role": "boss"})), 422);
    assert_eq!(put(&ada, "/orgs/acme/memberships/bob", json!({"role": "admin", "owner": 1})), 422);
    assert_eq!(put(&ada, "/orgs/acme/memberships/nobody", json!({})), 404);

    push(&ada, "acme/app", "1", "one");
    assert_eq!(bob.read("/orgs/acme/packages/container/app").status, 404);
    let changed =
        ada.api("PATCH", "/orgs/acme", json!({"default_repository_permission": "read"})).expect(200);
    assert_eq!(changed.json()["default_repository_permission"], "read");
    bob.read("/orgs/acme/packages/container/app").expect(200);
    bob.api("PATCH", "/orgs/acme", json!({"default_repository_permission": "write"})).expect(403);
    for bad in [
        json!({"default_repository_permission": "admin"}),
        json!({"default_repository_permission": "all"}),
        json!({"members_can_create_repositories": false}),
        json!({"name": "x"}),
    ] {
        ada.api("PATCH", "/orgs/acme", bad).expect(422);
    }
    ada.api("DELETE", "/orgs/acme/memberships/bob", Value::Null).expect(204);
    assert_eq!(bob.read("/orgs/acme/packages/container/app").status, 404, "at once");
    ada.api("DELETE", "/orgs/acme/memberships/bob", Value::Null).expect(404);
    assert_eq!(bob.read("/orgs/acme/members").expect(403).json()["reason"], "role");

    ada.api("PUT", "/orgs/acme/packages/container/app/access/users/bob", json!({"role": "read"})).expect(200);
    assert_eq!(names(&ada.read("/orgs/acme/outside_collaborators"), "login"), ["bob"]);
    world.server.is_sound();
}

#[test]
fn teams_are_made_nested_filled_and_renamed() {
    let world = World::new();
    let (ada, bob, eve) = (world.acme(), world.user("bob"), world.user("eve"));
    for user in ["bob", "eve"] {
        assert_eq!(put(&ada, &format!("/orgs/acme/memberships/{user}"), json!({})), 200);
    }
    let body = json!({"name": "Eng", "description": "engineers", "permission": "push", "privacy": "closed"});
    let eng = ada.api("POST", "/orgs/acme/teams", body).expect(201).json();
    assert_eq!(
        (&eng["slug"], &eng["parent"], &eng["members_count"]),
        (&json!("Eng"), &Value::Null, &json!(0))
    );
    let core = json!({"name": "core", "parent_team_id": eng["id"]});
    let core = ada.api("POST", "/orgs/acme/teams", core).expect(201).json();
    assert_eq!(core["parent"]["slug"], "Eng");
    assert_eq!(names(&bob.read("/orgs/acme/teams"), "name"), ["core", "Eng"]);
    assert_eq!(names(&bob.read("/orgs/acme/teams/eng/teams"), "name"), ["core"]);
    for bad in [
        json!({"name": "eng"}),
        json!({"name": "a b"}),
        json!({"name": "x", "parent_team_id": 5}),
        json!({"name": "x", "privacy": "secret"}),
        json!({}),
    ] {
        ada.api("POST", "/orgs/acme/teams", bad).expect(422);
    }
    bob.api("POST", "/orgs/acme/teams", json!({"name": "own"})).expect(403);

    let maintainer = json!({"role": "maintainer"});
    let is = ada.api("PUT", "/orgs/acme/teams/eng/memberships/bob", maintainer).expect(200).json();
    assert_eq!(is["role"], "maintainer");
    assert_eq!(put(&bob, "/orgs/acme/teams/core/memberships/eve", json!({})), 200, "a team below his");
    assert_eq!(put(&eve, "/orgs/acme/teams/core/memberships/bob", json!({})), 403);
    assert_eq!(names(&eve.read("/user/teams"), "name"), ["core"]);
    assert_eq!(names(&eve.read("/orgs/acme/teams/eng/members?role=maintainer"), "login"), ["bob"]);
    world.user("zoe");
    let stranger = put(&ada, "/orgs/acme/teams/core/memberships/zoe", json!({}));
    assert_eq!(stranger, 403, "who is no member of the organization is in none of its teams");

    push(&ada, "acme/app", "1", "one");
    let access = "/orgs/acme/packages/container/app/access/teams/Eng";
    ada.api("PUT", access, json!({"role": "write"})).expect(200);
    push(&eve, "acme/app", "2", "two");
    assert_eq!(names(&bob.read("/orgs/acme/teams/eng/packages"), "name"), ["app"]);
    let renamed = ada.api("PATCH", "/orgs/acme/teams/eng", json!({"name": "platform"})).expect(200).json();
    assert_eq!((&renamed["slug"], &renamed["id"]), (&json!("platform"), &eng["id"]));
    push(&eve, "acme/app", "3", "three");
    ada.api("PATCH", "/orgs/acme/teams/core", json!({"name": "platform"})).expect(422);
    let circle = json!({"parent_team_id": core["id"]});
    assert_eq!(ada.api("PATCH", "/orgs/acme/teams/platform", circle).expect(403).json()["reason"], "in-use");
    let both = json!({"name": "kernel", "parent_team_id": null});
    ada.api("PATCH", "/orgs/acme/teams/core", both).expect(422);
    assert_eq!(ada.read("/orgs/acme/teams/core").expect(200).json()["parent"]["slug"], "platform");
    let top = json!({"name": "core", "parent_team_id": null});
    let top = ada.api("PATCH", "/orgs/acme/teams/core", top).expect(200).json();
    assert_eq!(top["parent"], Value::Null);
    assert_eq!(eve.read("/orgs/acme/packages/container/app").status, 404, "she is not below it any more");

    // Whoever does not belong may not know which teams there are.
    let zoe = world.token("zoe", &SCOPES);
    for path in ["", "/members", "/teams", "/memberships/bob"] {
        let there = zoe.read(&format!("/orgs/acme/teams/core{path}")).expect(404);
        let absent = zoe.read(&format!("/orgs/acme/teams/none{path}"));
        assert_eq!(words(&there).replace("core", "none"), words(&absent).replace("core", "none"));
    }
    ada.api("DELETE", "/orgs/acme/teams/core/memberships/eve", Value::Null).expect(204);
    ada.api("DELETE", "/orgs/acme/teams/core/memberships/eve", Value::Null).expect(404);
    ada.api("DELETE", "/orgs/acme/teams/core", Value::Null).expect(204);
    ada.read("/orgs/acme/teams/core").expect(404);
    world.server.is_sound();
}

#[test]
fn whoever_runs_the_installation_manages_accounts_and_reads_no_packages() {
    let world = World::new();
    let (root, ada) = (world.administrator(), world.acme());
    let made = root.api("POST", "/admin/users", json!({"login": "Kim", "email": "kim@example.com"}));
    assert_eq!(made.expect(201).json()["login"], "Kim");
    for bad in [
        json!({"login": "kim"}),
        json!({"login": "x", "administrator": true}),
        json!({"login": "x", "site_admin": true}),
        json!({"login": "x", "password": "short"}),
        json!({"login": "v2"}),
        json!({}),
    ] {
        root.api("POST", "/admin/users", bad).expect(422);
    }
    let kim = world.token("kim", &SCOPES);
    kim.read("/user").expect(200);
    ada.api("PUT", "/users/kim/suspended", Value::Null).expect(403);
    root.api("PUT", "/users/kim/suspended", Value::Null).expect(204);
    kim.read("/user").expect(401);
    assert_eq!(root.read("/users/kim").expect(200).json()["suspended"], true);
    assert!(ada.read("/users/kim").expect(200).json().get("suspended").is_none());
    root.api("DELETE", "/users/kim/suspended", Value::Null).expect(204);
    kim.read("/user").expect(200);
    root.api("DELETE", "/admin/users/kim", Value::Null).expect(204);
    kim.read("/user").expect(401);
    root.api("DELETE", "/admin/users/acme", Value::Null).expect(404);

    push(&ada, "acme/app", "1", "one");
    assert_eq!(root.read("/orgs/acme/packages/container/app").status, 404);
    assert_eq!(root.api("DELETE", "/orgs/acme", Value::Null).expect(403).json()["reason"], "in-use");
    root.api("DELETE", "/orgs/ada", Value::Null).expect(404);
    let owned = root.api("POST", "/admin/organizations", json!({"login": "empty", "admin": "ada"}));
    owned.expect(201);
    ada.api("DELETE", "/orgs/empty", Value::Null).expect(403);
    root.api("DELETE", "/orgs/empty", Value::Null).expect(204);
    world.server.is_sound();
}

/// T074: an id or a name of somebody else's never opens anything below one's own.
#[test]
fn what_is_below_one_owner_is_not_found_below_another() {
    let world = World::new();
    let ada = world.acme();
    let bob = world.user("bob");
    world.server.admin_ok(&["org", "add", "beta", "--owner", "bob"]);
    bob.api("POST", "/orgs/beta/teams", json!({"name": "eng"})).expect(201);
    let theirs = bob.read("/orgs/beta/teams/eng").expect(200).json()["id"].clone();
    ada.api("POST", "/orgs/acme/teams", json!({"name": "x", "parent_team_id": theirs})).expect(422);
    push(&bob, "bob/app", "1", "bob's");
    push(&ada, "ada/app", "1", "ada's");
    let number = bob.read("/user/packages/container/app/versions").json()[0]["id"].to_string();
    for method in ["GET", "DELETE"] {
        let path = format!("/user/packages/container/app/versions/{number}");
        ada.api(method, &path, Value::Null).expect(404);
    }
    bob.get("/v2/bob/app/manifests/1").expect(200);
    let token = bob.read("/user/tokens").expect(200).json()[0]["id"].as_str().unwrap().to_owned();
    ada.api("DELETE", &format!("/user/tokens/{token}"), Value::Null).expect(404);
    bob.read("/user").expect(200);
}

#[test]
fn owners_read_what_was_done_and_refused() {
    let world = World::new();
    let (ada, eve) = (world.acme(), world.user("eve"));
    ada.api("POST", "/orgs/acme/teams", json!({"name": "eng"})).expect(201);
    ada.api("POST", "/orgs/acme/teams", json!({"name": "web"})).expect(201);
    let (mut seen, mut target) = (Vec::new(), "/orgs/acme/audit-log?action=team&per_page=1".to_owned());
    loop {
        let answer = ada.read(&target).expect(200);
        for row in answer.json().as_array().unwrap() {
            assert_eq!((&row["action"], &row["actor_ip"]), (&json!("team.create"), &json!("127.0.0.1")));
            assert!(row["actor"].as_str().unwrap().contains("ada"));
            seen.push(row["_document_id"].clone());
        }
        let Some(link) = answer.header("link") else { break };
        let next = link.trim_start_matches('<').split('>').next().unwrap();
        target = next.split_once("/api/v3").unwrap().1.to_owned();
    }
    assert_eq!(seen.len(), 2);
    eve.read("/orgs/acme/audit-log").expect(403);
    world.administrator().read("/orgs/acme/audit-log").expect(403);
    world.administrator().read("/admin/audit-log").expect(200);
    ada.read("/admin/audit-log").expect(403);
    ada.read("/orgs/acme/audit-log?per_page=0").expect(400);
}
