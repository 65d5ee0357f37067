//! Reading: who is who, which packages there are, and their versions.

use serde_json::Value;

use super::{Api as _, World, names, push, words};
use crate::support::content::{OCI_INDEX, sha256};

#[test]
fn packages_and_versions_have_the_shapes_that_clients_read() {
    let world = World::new();
    let ada = world.user("Ada");
    let first = push(&ada, "ada/app/web", "1", "one");
    let second = push(&ada, "ada/app/web", "2", "two");
    let base = format!("http://{}", ada.address());

    let answer = ada.read("/users/ada/packages/container/app%2Fweb").expect(200);
    let package = answer.json();
    assert_eq!(package["name"], "app/web");
    assert_eq!(package["package_type"], "container");
    assert_eq!(package["visibility"], "private");
    assert_eq!(package["version_count"], 2);
    assert_eq!(package["owner"]["login"], "Ada");
    assert_eq!(package["owner"]["type"], "User");
    assert_eq!(package["url"], format!("{base}/api/v3/users/Ada/packages/container/app%2Fweb"));
    assert_eq!(package["html_url"], format!("{base}/ada/app/web"));
    assert!(package["updated_at"].as_str() >= package["created_at"].as_str());
    let whole = |value: &Value| value["id"].as_u64().is_some_and(|id| id > 0 && id < 1 << 53);
    assert!(whole(&package) && whole(&package["owner"]));

    for root in ["/user", "/users/ADA"] {
        assert_eq!(ada.read(&format!("{root}/packages/container/app%2Fweb")).expect(200).json(), package);
        let listed = ada.read(&format!("{root}/packages?package_type=container")).expect(200).json();
        assert_eq!(listed, Value::Array(vec![package.clone()]));
    }
    assert_eq!(ada.read("/orgs/ada/packages/container/app%2Fweb").status, 404, "a user is no organization");

    let versions = ada.read("/user/packages/container/app%2Fweb/versions").expect(200);
    assert_eq!(names(&versions, "name"), [second.clone(), first.clone()], "the newest first");
    let version = versions.json()[1].clone();
    assert!(whole(&version));
    assert_eq!(version["metadata"]["container"]["tags"][0], "1");
    let number = version["id"].as_u64().unwrap();
    let one = ada.read(&format!("/user/packages/container/app%2Fweb/versions/{number}")).expect(200);
    assert_eq!(one.json(), version);
    let one = ada.read(&format!("/user/packages/container/app%2Fweb/versions/{first}")).expect(200);
    assert_eq!(one.json(), version, "by digest too");
    assert_eq!(ada.read("/user/packages/container/app%2Fweb/versions/7").status, 404);

    ada.delete(&format!("/v2/ada/app/web/manifests/{first}")).expect(202);
    let path = format!("/user/packages/container/app%2Fweb/versions/{number}");
    assert_eq!(ada.read(&path).status, 404);
    let package = ada.read("/user/packages/container/app%2Fweb").expect(200).json();
    assert_eq!(package["version_count"], 1, "the count follows");
    let deleted = ada.read("/user/packages/container/app%2Fweb/versions?state=deleted").expect(200).json();
    assert_eq!(deleted[0]["id"], number);
    assert!(deleted[0]["deleted_at"].is_string() && deleted[0]["metadata"]["container"]["tags"][0] == "1");
    assert_eq!(deleted.as_array().unwrap().len(), 1);
    assert_eq!(ada.read("/user/docker/conflicts").expect(200).json(), Value::Array(vec![]));
}

/// Two manifests whose digests share their first 53 bits, found by trying 2^27 of them.
#[test]
fn a_number_that_two_versions_have_means_neither() {
    let world = World::new();
    let ada = world.user("ada");
    let twin = |n: &str| {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[],"annotations":{{"n":"{n}"}}}}"#
        )
    };
    let put = |tag: &str, body: &str| {
        let path = format!("/v2/ada/app/manifests/{tag}");
        ada.send("PUT", &path, &[("Content-Type", OCI_INDEX)], body.as_bytes()).expect(201);
    };
    let (one, other) = (twin("0331f7ac"), twin("0396855c"));
    let versions = "/user/packages/container/app/versions";
    let numbered = format!("{versions}/6923528098747587");
    put("one", &one);
    assert_eq!(ada.read(&numbered).expect(200).json()["name"], sha256(one.as_bytes()));
    put("other", &other);
    assert_eq!(ada.read(&numbered).expect(409).json()["reason"], "taken");
    for (tag, body) in [("one", &one), ("other", &other)] {
        let digest = sha256(body.as_bytes());
        let version = ada.read(&format!("{versions}/{digest}")).expect(200).json();
        assert_eq!(version["id"], 6_923_528_098_747_587u64);
        assert_eq!(version["metadata"]["container"]["tags"][0], tag);
    }
    ada.delete(&format!("/v2/ada/app/manifests/{}", sha256(one.as_bytes()))).expect(202);
    assert_eq!(ada.read(&numbered).expect(200).json()["name"], sha256(other.as_bytes()));
}

#[test]
fn lists_come_in_pages_that_lead_to_one_another() {
    let world = World::new();
    let ada = world.user("ada");
    for number in 0..7 {
        push(&ada, &format!("ada/p{number}"), "1", "same");
    }
    let (mut seen, mut target) =
        (Vec::new(), "/api/v3/user/packages?package_type=container&per_page=3".to_owned());
    loop {
        let answer = ada.get(&target).expect(200);
        seen.extend(names(&answer, "name"));
        let link = answer.header("link").unwrap_or_default().to_owned();
        let Some(next) = link.split(", ").find(|link| link.ends_with("rel=\"next\"")) else { break };
        let next = next.trim_start_matches('<').split('>').next().unwrap();
        let base = format!("http://{}", ada.address());
        target = next.strip_prefix(&base).expect("an absolute address of this daemon").to_owned();
        assert!(target.contains("package_type=container"));
    }
    assert_eq!(seen, ["p0", "p1", "p2", "p3", "p4", "p5", "p6"]);
    let past = ada.read("/user/packages?page=9").expect(200);
    assert_eq!(past.json(), Value::Array(vec![]));
    let deep = ada.read("/user/packages?page=101&per_page=100").expect(400);
    assert_eq!(deep.json()["status"], "400");
    for bad in ["page=0", "per_page=x"] {
        ada.read(&format!("/user/packages?{bad}")).expect(400);
    }
    ada.read("/user/packages?package_type=apk").expect(422);
    assert_eq!(ada.read("/user/packages?package_type=docker").expect(200).json(), Value::Array(vec![]));
    assert_eq!(ada.read("/user/packages?visibility=public").expect(200).json(), Value::Array(vec![]));
    assert_eq!(names(&ada.read("/user/packages?visibility=private&per_page=1"), "name"), ["p0"]);
}

#[test]
fn nobody_learns_more_here_than_by_pulling() {
    let world = World::new();
    let (ada, eve) = (world.user("ada"), world.user("eve"));
    let anonymous = world.server.anonymous();
    let digest = push(&ada, "ada/secret", "1", "secret");
    push(&ada, "ada/open", "1", "open");
    world.server.admin_ok(&["package", "visibility", "ada/open", "public"]);

    for path in ["", "/versions", "/versions/5", "/versions?state=deleted", &format!("/versions/{digest}")] {
        for who in [&eve, &anonymous, &world.token("ada", &["admin"])] {
            let private = who.read(&format!("/users/ada/packages/container/secret{path}"));
            let absent = who.read(&format!("/users/ada/packages/container/absent{path}"));
            assert_eq!(words(&private), words(&absent), "{path}");
            assert_eq!(private.status, if who.read("/user").status == 401 { 401 } else { 404 });
        }
    }
    for who in [&eve, &anonymous] {
        let listed = who.read("/users/ada/packages?package_type=container").expect(200);
        assert_eq!(names(&listed, "name"), ["open"]);
        who.read("/users/ada/packages/container/open").expect(200);
    }
    let open = anonymous.read("/users/ada/packages/container/open").expect(200).json();
    assert!(open["owner"].get("site_admin").is_none(), "who runs this is not for everybody");
    eve.read("/users/ada/packages/container/open/versions?state=deleted").expect(403);

    // Whether there is somebody of a name is for those who sign in.
    for path in ["/users/NAME", "/orgs/NAME", "/users/NAME/packages", "/orgs/NAME/packages"] {
        let there = anonymous.read(&path.replace("NAME", "eve"));
        let absent = anonymous.read(&path.replace("NAME", "nobody"));
        assert_eq!((there.status, words(&there)), (401, words(&absent)), "{path}");
        assert_eq!(eve.read(&path.replace("NAME", "nobody")).status, 404, "{path}");
    }
    eve.read("/users/ada").expect(200);
    let bearer = eve.get("/token?scope=repository:ada/open:pull").expect(200).json();
    let bearer = world.server.anonymous().bearer(bearer["token"].as_str().unwrap());
    bearer.read("/users/ada/packages/container/open").expect(200);
    for path in ["/user", "/users/ada", "/users/ada/packages"] {
        let refused = bearer.read(path).expect(401);
        assert!(refused.header("www-authenticate").unwrap().contains("insufficient_scope"));
    }
}

#[test]
fn people_see_themselves_and_what_they_belong_to() {
    let world = World::new();
    let ada = world.user("Ada");
    world.server.admin_ok(&["org", "add", "Acme", "--owner", "ada"]);
    world.server.admin_ok(&["org", "base-role", "acme", "read"]);
    let bob = world.user("bob");

    let me = ada.read("/user").expect(200);
    assert_eq!((&me.json()["login"], &me.json()["site_admin"]), (&"Ada".into(), &false.into()));
    assert_eq!(
        me.header("x-oauth-scopes").unwrap(),
        "read:packages, write:packages, delete:packages, admin, admin:org, repo, user"
    );
    assert_eq!(bob.read("/users/ADA").expect(200).json()["id"], me.json()["id"]);
    assert_eq!(names(&ada.read("/user/orgs"), "login"), ["Acme"]);
    assert_eq!(names(&bob.read("/user/orgs"), "login"), [""; 0]);
    let memberships = ada.read("/user/memberships/orgs").expect(200).json();
    assert_eq!((&memberships[0]["role"], &memberships[0]["state"]), (&"admin".into(), &"active".into()));

    let inside = ada.read("/orgs/acme").expect(200).json();
    assert_eq!(inside["default_repository_permission"], "read");
    let outside = bob.read("/orgs/acme").expect(200).json();
    assert!(outside.get("default_repository_permission").is_none(), "for its members");
    assert_eq!(bob.read("/users/acme").expect(200).json()["type"], "Organization");
    bob.read("/orgs/bob").expect(404);

    let root = world.server.anonymous().read("/").expect(200).json();
    assert!(root["current_user_url"].as_str().unwrap().ends_with("/api/v3/user"));
    assert!(world.server.anonymous().read("/meta").expect(200).json().get("installed_version").is_none());
    assert!(ada.read("/meta").expect(200).json()["installed_version"].is_string());
    let described = world.server.anonymous().read("/openapi.json").expect(200).json();
    assert_eq!(described, *super::schema::DOCUMENT);
    let scheme = ada.authorized(&format!("token {}", world.server.token("ada", &["read:packages"])));
    assert_eq!(scheme.read("/user").expect(200).header("x-oauth-scopes").unwrap(), "read:packages");
    ada.basic("ada", "correct horse battery").read("/user").expect(401);
    ada.bearer("php_nonsense").read("/").expect(401);
}

#[test]
fn what_did_not_change_is_not_sent_again() {
    let world = World::new();
    let ada = world.user("ada");
    let first = ada.read("/user").expect(200);
    let tag = first.header("etag").unwrap().to_owned();
    let again = ada.send("GET", "/api/v3/user", &[("If-None-Match", &tag)], b"").expect(304);
    assert!(again.body.is_empty());
    assert_eq!(again.header("etag"), Some(tag.as_str()));
    let head = ada.head("/api/v3/user").expect(200);
    assert_eq!(head.header("content-length"), first.header("content-length"));
    push(&ada, "ada/x", "1", "x");
    let list = ada.read("/user/packages").expect(200).header("etag").unwrap().to_owned();
    push(&ada, "ada/y", "1", "y");
    ada.send("GET", "/api/v3/user/packages", &[("If-None-Match", &list)], b"").expect(200);
}
