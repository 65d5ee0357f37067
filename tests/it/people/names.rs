//! Another name for an account: who reads what by the old one and by the new one, and what nobody inherits.

use std::collections::BTreeMap;

use packhouse::{
    auth::{Caller, Delete, Manage, Pull, Push},
    error::{Kind, Reason, Result, What},
    model::{OwnerName, Role, Visibility},
    registry::{
        accounts::NewUser,
        fsck::FsckOptions,
        permissions::GroupName,
        records::{AccountKind, Membership},
    },
};

use super::{READ, World, kind, name, words};
use crate::support::{Server, content};

const ORG: AccountKind = AccountKind::Organization;

fn owner(text: &str) -> OwnerName {
    OwnerName::parse(text).unwrap()
}

impl World {
    async fn rename(&self, from: &str, kind: AccountKind, to: &str) -> Result<()> {
        self.registry.rename_account(&self.manage_owner(from).await, kind, &owner(to)).await
    }

    async fn sound(&self) {
        let found = self.registry.findings(&self.operate(), FsckOptions { deep: false, repair: false }).await;
        assert!(found.as_ref().is_ok_and(Vec::is_empty), "{found:#?}");
    }
}

/// An organization with what it can have, and everybody who has to do with it.
async fn town() -> (World, Vec<Caller>) {
    let world = World::new().await;
    for user in ["ada", "bob", "carl", "dora", "eve", "fay"] {
        world.user(user).await;
    }
    world.organization("acme", "ada").await;
    world.organization("beta", "fay").await;
    world.member("acme", "bob", Some(Membership::Member)).await;
    world.member("acme", "eve", Some(Membership::Member)).await;
    let ada = world.caller("ada").await;
    for package in ["acme/open", "acme/shut", "npm/acme/left-pad", "acme/gone", "bob/own", "beta/its"] {
        let pushes = match package {
            "bob/own" => world.caller("bob").await,
            "beta/its" => world.caller("fay").await,
            _ => ada.clone(),
        };
        world.push(&pushes, package).await.unwrap();
    }
    world.visibility("acme/open", Visibility::Public).await;
    world.visibility("beta/its", Visibility::Public).await;
    world.role("acme/shut", "carl", Some(Role::Write)).await;
    let team = packhouse::model::TeamName::parse("acme/core").unwrap();
    world.registry.create_team(&world.manage_owner("acme").await, &team, None).await.unwrap();
    let grant = world.registry.policy().authorize_team(&world.operator(), "acme", "core").await.unwrap();
    world.registry.set_team_member(&grant, "eve", Some(false)).await.unwrap();
    let shut = world.manage("acme/shut").await;
    world.registry.set_group_role(&shut, &GroupName::Team(team), Some(Role::Admin)).await.unwrap();
    let its = world.manage("beta/its").await;
    let acme = GroupName::Organization("acme".into());
    world.registry.set_group_role(&its, &acme, Some(Role::Write)).await.unwrap();
    // One that waits for its manifest, and one that is in the trash.
    world.publish(&world.caller("bob").await, "acme/begun").await.unwrap();
    let gone = world.may::<Delete>(&ada, "acme/gone").await.unwrap();
    world.registry.delete_package(&gone).await.unwrap();
    let mut callers = vec![world.anonymous(), world.operator()];
    for user in ["ada", "bob", "carl", "dora", "eve", "fay"] {
        callers.push(world.caller(user).await);
    }
    callers.push(world.caller_for("ada", READ).await);
    (world, callers)
}

/// Every decision about these paths, as words.
async fn decisions(
    world: &World,
    callers: &[Caller],
    paths: &[String],
) -> BTreeMap<(usize, usize, u8), String> {
    let mut all = BTreeMap::new();
    for (who, caller) in callers.iter().enumerate() {
        for (at, path) in paths.iter().enumerate() {
            let said = [
                world.may::<Pull>(caller, path).await.err(),
                world.may::<Push>(caller, path).await.err(),
                world.may::<Delete>(caller, path).await.err(),
                world.may::<Manage>(caller, path).await.err(),
                world.registry.policy().authorize_publish(caller, &name(path)).await.err(),
            ];
            for (action, refusal) in (0..).zip(said) {
                let words = refusal.map_or_else(|| "may".to_owned(), |error| format!("{:?}", words(&error)));
                all.insert((who, at, action), words);
            }
        }
        let listed = world.registry.catalog(caller, None, 100).await.unwrap_or_default();
        all.insert((who, usize::MAX, 0), format!("{} listed", listed.len()));
    }
    all
}

fn paths(org: &str, bob: &str) -> Vec<String> {
    let mut paths: Vec<String> =
        ["open", "shut", "begun", "gone", "none"].iter().map(|package| format!("{org}/{package}")).collect();
    paths.extend([
        format!("npm/{org}/left-pad"),
        format!("{bob}/own"),
        format!("{bob}/none"),
        "beta/its".into(),
    ]);
    paths
}

/// P9: decisions go by what things are, never by what they are called.
#[tokio::test]
async fn another_name_changes_no_decision() {
    let (world, callers) = town().await;
    let before = decisions(&world, &callers, &paths("acme", "bob")).await;
    // Callers who signed in before go on as they are.
    world.rename("acme", ORG, "Zeta").await.unwrap();
    world.rename("bob", AccountKind::User, "robert").await.unwrap();
    let after = decisions(&world, &callers, &paths("zeta", "robert")).await;
    assert_eq!(before, after);
    assert!(before.values().any(|said| said == "may") && before.values().any(|said| said.contains("Role")));
    world.sound().await;
    // Back again, and again no decision.
    world.rename("ZETA", ORG, "acme").await.unwrap();
    world.rename("robert", AccountKind::User, "bob").await.unwrap();
    assert_eq!(decisions(&world, &callers, &paths("acme", "bob")).await, before);
    world.sound().await;
}

#[tokio::test]
async fn by_the_old_name_one_reads_and_nothing_else() {
    let (world, callers) = town().await;
    let before = decisions(&world, &callers, &paths("acme", "bob")).await;
    let absent = decisions(&world, &callers, &paths("nobody", "nobody")).await;
    world.rename("acme", ORG, "zeta").await.unwrap();
    let old = decisions(&world, &callers, &paths("acme", "bob")).await;
    for ((who, at, action), said) in &old {
        let (had, none) = (&before[&(*who, *at, *action)], &absent[&(*who, *at, *action)]);
        let reads = before[&(*who, *at, 0)] == "may";
        // bob/own, bob/none and beta/its are what they were; so are lists, which have the new paths.
        if *at >= 6 {
            assert_eq!(said, had);
        } else if *at == 2 {
            // What holds nothing yet is nobody's to pull.
            assert_eq!(said, none, "{who} {action}");
        } else if *action == 0 || !reads {
            assert_eq!(said, if reads { had } else { none }, "{who} {at} {action}");
        } else if callers[*who].is_anonymous() {
            assert_eq!(said, had);
        } else {
            assert!(said.contains("Policy") && said.contains("zeta/"), "{who} {at} {action}: {said}");
        }
    }
    let listed = world.registry.catalog(&world.operator(), None, 100).await.unwrap();
    assert_eq!(listed, ["beta/its", "bob/own", "npm/zeta/left-pad", "zeta/open", "zeta/shut"]);
    // What was deleted comes back under the new name.
    let policy = world.registry.policy();
    let gone = policy.authorize_deleted(&world.operator(), &name("zeta/gone"), None).await.unwrap();
    world.registry.restore_package(&gone).await.unwrap();
    world.may::<Pull>(&callers[2], "acme/gone").await.unwrap();
    assert!(policy.authorize_owner::<packhouse::auth::ManageOwner>(&callers[2], "acme").await.is_err());
    world.sound().await;
}

#[tokio::test]
async fn a_name_that_leads_somewhere_is_nobody_elses() {
    let (world, callers) = town().await;
    world.rename("acme", ORG, "zeta").await.unwrap();
    let new = |name: &'static str| async move {
        let name = owner(name);
        (name.clone(), NewUser { name: Box::leak(Box::new(name)), administrator: false, password: None })
    };
    for taken in ["acme", "ACME", "zeta", "beta"] {
        let (parsed, user) = new(taken).await;
        let grant = world.operate();
        assert_eq!(
            kind(world.registry.create_user(&grant, user).await),
            Kind::Conflict(What::Owner),
            "{taken}"
        );
        let org = world.registry.create_organization(&grant, &parsed, "dora").await;
        assert_eq!(kind(org), Kind::Conflict(What::Owner), "{taken}");
        let other = world.rename("dora", AccountKind::User, taken).await;
        assert_eq!(kind(other), Kind::Conflict(What::Owner), "{taken}");
    }
    // Neither words of ours, nor letters that look like others, nor the wrong kind.
    for wrong in
        ["npm", "V2", "аcme", "acme\u{200b}", "ac_me", "-acme", "ac--me", "ａcme", "acme ", "", "acmé"]
    {
        assert!(
            matches!(OwnerName::parse(wrong).map_err(|e| e.kind()), Err(Kind::Invalid(What::Name))),
            "{wrong}"
        );
    }
    assert!(matches!(kind(world.rename("zeta", AccountKind::User, "eta").await), Kind::Invalid(_)));
    // Freed by an administrator: it leads nowhere, and its next holder has nothing of the last one's.
    assert!(matches!(kind(world.registry.free_name(&world.operate(), "zeta").await), Kind::NotFound(_)));
    let reader = &callers[4];
    world.may::<Pull>(reader, "acme/shut").await.unwrap();
    world.registry.free_name(&world.operate(), "Acme").await.unwrap();
    assert!(matches!(kind(world.may::<Pull>(reader, "acme/shut").await), Kind::NotFound(_)));
    world.organization("acme", "dora").await;
    for caller in &callers {
        if caller.actor != packhouse::auth::Actor::Operator {
            assert!(world.may::<Pull>(caller, "acme/shut").await.is_err());
        }
    }
    let dora = world.caller("dora").await;
    world.push(&dora, "acme/shut").await.unwrap();
    assert!(world.may::<Pull>(&dora, "zeta/shut").await.is_err());
    for caller in callers.iter().filter(|caller| caller.user().is_some_and(|id| Some(id) != dora.user())) {
        assert!(world.may::<Pull>(caller, "acme/shut").await.is_err(), "{:?}", caller.actor);
    }
    let said = kind(world.rename("zeta", ORG, "acme").await);
    assert_eq!(said, Kind::Conflict(What::Owner), "who gave it up does not get it back");
    // Another case is no other name.
    world.rename("zeta", ORG, "ZeTa").await.unwrap();
    assert!(world.registry.held_names(&world.operate()).await.unwrap().is_empty());
    world.may::<Pull>(&callers[2], "zeta/shut").await.unwrap();
    // Whoever does not rule it gives it no name.
    let denied = world.registry.policy().authorize_owner::<packhouse::auth::ManageOwner>(&dora, "zeta").await;
    assert_eq!(kind(denied), Kind::Forbidden(Reason::Role));
    world.sound().await;
}

#[test]
fn clients_pull_by_the_old_name_and_push_by_the_new_one() {
    let mut server = Server::start();
    let ada = server.signed_in("ada");
    server.admin_ok(&["org", "add", "acme", "--owner", "ada"]);
    let image = ada.push_image("acme/app", "v1", 1);
    let body = content::bytes(&image);
    let said = server.admin_ok(&["org", "rename", "acme", "zeta"]);
    assert!(said.is_empty());
    let token = |name: &str| {
        let answer = ada.get(&format!("/token?scope=repository:{name}:pull,push")).expect(200);
        server.anonymous().bearer(answer.json()["token"].as_str().unwrap())
    };
    for name in ["acme/app", "zeta/app"] {
        for client in [&ada, &token(name)] {
            assert_eq!(client.get(&format!("/v2/{name}/manifests/v1")).expect(200).body, body);
            let layer = image["layers"][0]["digest"].as_str().unwrap();
            client.get(&format!("/v2/{name}/blobs/{layer}")).expect(200);
            client.get(&format!("/v2/{name}/tags/list")).expect(200);
        }
    }
    let media = ("content-type", content::OCI_MANIFEST);
    let refused = ada.send("PUT", "/v2/acme/app/manifests/v2", &[media], &body).refuses(403, "DENIED");
    assert!(refused.text().contains("zeta/app"), "{}", refused.text());
    ada.post("/v2/acme/app/blobs/uploads/", b"").refuses(403, "DENIED");
    ada.post("/v2/acme/other/blobs/uploads/", b"").expect(404);
    token("zeta/app").send("PUT", "/v2/zeta/app/manifests/v2", &[media], &body).expect(201);
    ada.get("/v2/acme/app/manifests/v2").expect(200);
    server.crash_and_restart();
    let ada = ada.at(server.anonymous().address());
    ada.get("/v2/acme/app/manifests/v2").expect(200);
    let names = server.admin_ok(&["owner", "names", "--json"]);
    assert!(names.contains("\"acme\"") && names.contains("\"zeta\""), "{names}");
    assert!(!server.admin(&["user", "add", "acme"]).status.success());
    server.admin_ok(&["owner", "free-name", "acme"]);
    ada.get("/v2/acme/app/manifests/v2").expect(404);
    let log = server.admin_ok(&["audit", "list", "--owner", "zeta", "--action", "account.rename", "--json"]);
    assert!(log.contains("acme zeta"), "{log}");
    server.is_sound();
}
