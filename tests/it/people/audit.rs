//! The audit log: a row for each change and none without, refusals, who may read it, and no secret in it.

use std::{collections::BTreeMap, net::IpAddr};

use packhouse::{
    auth::{Caller, Delete, Grant, Manage, ManageOwner, ManageTeam, ReadAudit},
    error::{Error, Kind, Reason, Result},
    model::{OwnerName, Reference, Role, Scope, Scopes, Tag, TeamName, Visibility},
    registry::{
        AuditQuery, AuditRow, PutManifest,
        accounts::NewUser,
        permissions::GroupName,
        records::{AccountKind, AuditRecord, Membership},
    },
    store::{Key, MetadataRead as _, Space},
};
use serde_json::Value;

use super::{ALL, NOW, PASSWORD, World, name};
use crate::support::{Server, content};

const USERS: [&str; 4] = ["ada", "bob", "carl", "dora"];
const ROLES: [Option<Role>; 4] = [None, Some(Role::Read), Some(Role::Write), Some(Role::Admin)];
const PATHS: [&str; 4] = ["ada/one", "acme/one", "acme/two", "bob/one"];

/// Numbers that look random and come again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % below
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len())]
    }
}

/// Everything stored but the audit log; and the log's rows.
async fn stored(world: &World) -> (BTreeMap<Key, Vec<u8>>, Vec<AuditRecord>) {
    let (mut all, mut rows) = (BTreeMap::new(), Vec::new());
    for space in Space::ALL {
        let entries = world.meta.scan(&Key { space, bytes: Vec::new() }, None, usize::MAX).await.unwrap();
        for (key, value) in entries {
            if space != Space::Event {
                all.insert(key, value.to_vec());
            } else if let Some((log, number)) = AuditRecord::place(&key) {
                rows.push(AuditRecord::decode(log, number, &value).unwrap());
            }
        }
    }
    (all, rows)
}

/// What a request came to, and the actions that its row may hold.
type Came = (Result<()>, &'static str);

/// A push or the deletion of a tag.
async fn content(world: &World, dice: &mut Dice, caller: &Caller, path: &str) -> Came {
    let tag = Tag::parse(dice.pick(&["v1", "v2"])).unwrap();
    if dice.roll(4) == 0 {
        let delete = async || {
            let grant = world.registry.policy().authorize::<Delete>(caller, &name(path)).await?;
            world.registry.delete_tag(&grant, &tag).await
        };
        return (delete().await, "tag.delete");
    }
    let index = serde_json::json!({
        "schemaVersion": 2, "mediaType": content::OCI_INDEX, "manifests": [],
        "annotations": {"n": dice.roll(3).to_string()}
    });
    let put = PutManifest {
        reference: Reference::Tag(tag),
        tags: Vec::new(),
        content_type: Some(content::OCI_INDEX.into()),
        bytes: content::bytes(&index).into(),
        condition: Default::default(),
    };
    let push = async || {
        let grant = world.publish(caller, path).await?;
        world.registry.put_manifest(&grant, put).await.map(|_| ())
    };
    (push().await, "manifest.put tag.put package.create")
}

/// A change of a package's rights.
async fn package_rights(world: &World, dice: &mut Dice, caller: &Caller, path: &str) -> Came {
    let (user, role) = (dice.pick(&USERS), dice.pick(&ROLES));
    let manage = async || world.may::<Manage>(caller, path).await;
    match dice.roll(4) {
        0 => {
            let visibility = dice.pick(&[Visibility::Public, Visibility::Private]);
            let set = async || world.registry.set_visibility(&manage().await?, visibility).await;
            (set().await, "package.visibility")
        }
        1 => {
            let group = match dice.roll(2) {
                0 => GroupName::Organization("acme".into()),
                _ => GroupName::Team(TeamName::parse("acme/core").unwrap()),
            };
            let set = async || world.registry.set_group_role(&manage().await?, &group, role).await;
            (set().await, "package.role")
        }
        _ => {
            let set = async || world.registry.set_role(&manage().await?, user, role).await;
            (set().await, "package.role")
        }
    }
}

/// A change of an owner's.
async fn owner_rights(world: &World, dice: &mut Dice, caller: &Caller, secrets: &mut Vec<String>) -> Came {
    let policy = world.registry.policy();
    let (user, owner) = (dice.pick(&USERS), dice.pick(&["acme", "ada", "bob"]));
    let organization = async || policy.authorize_owner::<ManageOwner>(caller, "acme").await;
    match dice.roll(5) {
        0 => {
            let membership = dice.pick(&[None, Some(Membership::Member), Some(Membership::Owner)]);
            let set = async || world.registry.set_member(&organization().await?, user, membership).await;
            (set().await, "org.member")
        }
        1 => {
            let maintainer = dice.pick(&[None, Some(false), Some(true)]);
            let set = async || {
                let grant: Grant<ManageTeam> = policy.authorize_team(caller, "acme", "core").await?;
                world.registry.set_team_member(&grant, user, maintainer).await
            };
            (set().await, "team.member")
        }
        2 => {
            let allowed = dice.roll(2) == 0;
            let set = async || {
                let grant = policy.authorize_owner(caller, owner).await?;
                world.registry.set_anonymous_reads(&grant, allowed).await
            };
            (set().await, "owner.anonymous-reads")
        }
        3 => {
            let base = dice.pick(&[None, Some(Role::Read), Some(Role::Admin)]);
            let set = async || world.registry.set_base_role(&organization().await?, base).await;
            (set().await, "org.base-role")
        }
        _ => {
            let issue = async || {
                let grant = policy.authorize_owner(caller, user).await?;
                world.registry.issue_token(&grant, Scopes::of(&[Scope::ReadPackages]), 60).await
            };
            let issued = issue().await;
            secrets.extend(issued.as_ref().ok().map(|token| token.secret.reveal().to_owned()));
            (issued.map(|_| ()), "token.create")
        }
    }
}

/// Any of these.
async fn request(world: &World, dice: &mut Dice, caller: &Caller, secrets: &mut Vec<String>) -> Came {
    let path = dice.pick(&PATHS);
    match dice.roll(3) {
        0 => content(world, dice, caller, path).await,
        1 => package_rights(world, dice, caller, path).await,
        _ => owner_rights(world, dice, caller, secrets).await,
    }
}

/// P19: as many rows as requests that changed something, each saying who, by which credential, from where, in which request.
#[tokio::test]
async fn every_change_has_its_row_and_nothing_else_has_one() {
    let (mut changed, mut unchanged) = (0, 0);
    for seed in 0..4 {
        let world = World::new().await;
        for user in USERS {
            world.user(user).await;
        }
        world.organization("acme", "ada").await;
        let team = TeamName::parse("acme/core").unwrap();
        world.registry.create_team(&world.manage_owner("acme").await, &team, None).await.unwrap();
        let mut dice = Dice(seed);
        let mut secrets = Vec::new();
        let mut callers = vec![world.operator()];
        for user in USERS {
            let secret = world.token(user, ALL).await;
            callers.push(world.who(&format!("Bearer {secret}")).await.unwrap());
            secrets.push(secret);
        }
        let (mut before, mut rows) = stored(&world).await;
        for n in 0..150 {
            let address: IpAddr = format!("10.0.0.{n}").parse().unwrap();
            let who = dice.roll(callers.len());
            let caller = Caller {
                request: format!("request-{n}").into(),
                address: Some(address),
                ..callers[who].clone()
            };
            // Rights move on; what a request begins with is of now.
            let (outcome, actions) = request(&world, &mut dice, &caller, &mut secrets).await;
            let (after, all) = stored(&world).await;
            let fresh: Vec<_> = all.iter().filter(|row| !rows.contains(row)).collect();
            if after == before {
                unchanged += 1;
                assert!(fresh.is_empty(), "{actions}: {fresh:?}");
            } else if outcome.is_ok() {
                changed += 1;
                let [row] = fresh[..] else { panic!("{actions}: {} rows", fresh.len()) };
                let entry = &row.entry;
                assert_eq!((entry.by.clone(), &*entry.request), (caller.actor.to_string(), &*caller.request));
                assert_eq!(entry.from, Some(address.to_string()));
                assert_eq!(entry.via, caller.credential.map(|token| format!("token:{token}")));
                assert_eq!((entry.at, &entry.denied), (NOW.0, &None));
                assert!(entry.did.iter().all(|deed| actions.contains(&deed.action)), "{actions}: {entry:?}");
            } else {
                // A push that failed after it began may leave a package that is pending: no change of content.
                panic!("{actions} was refused and changed something: {outcome:?}");
            }
            (before, rows) = (after, all);
        }
        let told = format!("{rows:?}");
        assert!(secrets.len() > 4);
        for secret in &secrets {
            assert!(!told.contains(secret.as_str()), "a secret is on record");
        }
    }
    assert!(changed > 100 && unchanged > 100, "{changed} {unchanged}");
}

async fn all_of_owner(
    world: &World,
    caller: &Caller,
    owner: &str,
    query: AuditQuery,
) -> Result<Vec<AuditRow>> {
    let grant: Grant<ReadAudit> = world.registry.policy().authorize_owner(caller, owner).await?;
    Ok(world.registry.audit_of_owner(&grant, &AuditQuery { limit: 1000, ..query }).await?.rows)
}

fn reason(result: Result<Vec<AuditRow>>) -> Kind {
    result.as_ref().map_err(Error::kind).unwrap_err()
}

#[tokio::test]
async fn the_log_is_read_by_whose_it_is() {
    let world = World::new().await;
    for user in USERS {
        world.user(user).await;
    }
    world.organization("acme", "ada").await;
    world.member("acme", "bob", Some(Membership::Member)).await;
    world.push(&world.caller("bob").await, "acme/one").await.unwrap();
    world.push(&world.caller("carl").await, "carl/one").await.unwrap();
    world.role("acme/one", "carl", Some(Role::Admin)).await;

    let ada = world.caller("ada").await;
    let rows = all_of_owner(&world, &ada, "acme", AuditQuery::default()).await.unwrap();
    let digest = rows.iter().find(|row| row.action == "manifest.put").unwrap().object.clone();
    let tag = digest.replace('@', ":latest@");
    let mut said: Vec<_> = rows.iter().map(|row| (&*row.action, &*row.actor, &*row.object)).collect();
    said.sort_unstable();
    assert_eq!(
        said,
        [
            ("manifest.put", "bob", &*digest),
            ("org.create", "operator", "acme"),
            ("org.member", "operator", "acme"),
            ("package.create", "bob", "acme/one"),
            ("package.role", "operator", "acme/one"),
            ("tag.put", "bob", &*tag),
        ]
    );
    let role = rows.iter().find(|row| row.action == "package.role").unwrap();
    assert_eq!(role.detail, "carl admin", "with the names that ids have now");
    let by = |query| all_of_owner(&world, &ada, "acme", query);
    let bob = by(AuditQuery { actor: Some("BOB".into()), ..AuditQuery::default() }).await.unwrap();
    assert_eq!(bob.len(), 3);
    let one = by(AuditQuery { package: Some(name("acme/one")), ..AuditQuery::default() }).await.unwrap();
    assert_eq!(one.len(), 4);
    let tags = by(AuditQuery { action: Some("tag.".into()), ..AuditQuery::default() }).await.unwrap();
    assert_eq!(tags.len(), 1);
    let nobody = by(AuditQuery { actor: Some("nobody".into()), ..AuditQuery::default() }).await;
    assert!(matches!(reason(nobody), Kind::NotFound(_)));
    let foreign = by(AuditQuery { package: Some(name("carl/one")), ..AuditQuery::default() }).await;
    assert!(matches!(reason(foreign), Kind::NotFound(_)));

    // Not members, nor who administers a package there, nor who administers the installation.
    let admin = NewUser { name: &OwnerName::parse("root").unwrap(), administrator: true, password: None };
    world.registry.create_user(&world.operate(), admin).await.unwrap();
    for user in ["bob", "carl", "dora", "root"] {
        let denied = all_of_owner(&world, &world.caller(user).await, "acme", AuditQuery::default()).await;
        assert_eq!(reason(denied), Kind::Forbidden(Reason::Role), "{user}");
    }
    let narrow = world.caller_for("ada", &[Scope::ReadPackages]).await;
    let denied = all_of_owner(&world, &narrow, "acme", AuditQuery::default()).await;
    assert_eq!(reason(denied), Kind::Forbidden(Reason::Scope));
    assert!(all_of_owner(&world, &world.anonymous(), "acme", AuditQuery::default()).await.is_err());

    // The installation's own is for its administrators; everything is for the operator.
    let root = world.caller("root").await;
    let query = AuditQuery { limit: 1000, ..AuditQuery::default() };
    let grant = world.registry.policy().authorize_system(&root).unwrap();
    let own = world.registry.audit_of_installation(&grant, &query).await.unwrap();
    assert!(own.rows.iter().all(|row| matches!(&*row.action, "user.create" | "org.create")), "{own:?}");
    assert_eq!(own.rows.len(), 1 + USERS.len() + 1 + 1);
    let everything = world.registry.audit_of_everything(&grant, &query).await;
    assert_eq!(everything.unwrap_err().kind(), Kind::Forbidden(Reason::Role));
    let everything = world.registry.audit_of_everything(&world.operate(), &query).await.unwrap();
    assert_eq!(everything.count, stored(&world).await.1.len());
    assert!(world.registry.policy().authorize_system::<packhouse::auth::Operate>(&ada).is_err());
}

#[tokio::test]
async fn who_is_gone_stays_on_record() {
    let world = World::new().await;
    let id = world.user_with_password("bob").await;
    let token = world.token("bob", ALL).await;
    world.registry.remove_account(&world.operate(), "bob", AccountKind::User).await.unwrap();
    world.user("bob").await;
    let query = AuditQuery { actor: None, limit: 100, ..AuditQuery::default() };
    let rows = world.registry.audit_of_everything(&world.operate(), &query).await.unwrap().rows;
    let gone = rows.iter().find(|row| row.action == "account.remove").unwrap();
    assert_eq!((&*gone.detail, &*gone.object), ("bob", &*format!("user:{id}")));
    // The new bob sees nothing of the old one's.
    let bob = world.caller("bob").await;
    let own = all_of_owner(&world, &bob, "bob", AuditQuery::default()).await.unwrap();
    let actions: Vec<_> = own.iter().map(|row| &*row.action).collect();
    assert_eq!(actions.len(), 2, "{actions:?}");
    let told = format!("{:?} {rows:?}", stored(&world).await.1);
    for secret in [PASSWORD, token.as_str(), "$argon2"] {
        assert!(!told.contains(secret));
    }
}

fn listed(server: &Server, args: &[&str]) -> Vec<Value> {
    let args = [&["audit", "list", "--json"], args].concat();
    serde_json::from_str::<Value>(&server.admin_ok(&args)).unwrap().as_array().unwrap().clone()
}

/// Waits until the log has so many rows like this: refusals are written a moment later.
fn wait(server: &Server, args: &[&str], count: usize) -> Vec<Value> {
    for _ in 0..200 {
        let rows = listed(server, args);
        if rows.len() >= count {
            assert_eq!(rows.len(), count, "{rows:#?}");
            return rows;
        }
        std::thread::sleep(std::time::Duration::from_millis(25));
    }
    panic!("{args:?}: {:#?}", listed(server, args));
}

#[test]
fn what_is_refused_is_on_record_with_its_reason() {
    let server = Server::start();
    let ada = server.signed_in("ada");
    let bob = server.signed_in("bob");
    let image = ada.push_image("ada/app", "v1", 1);
    server.admin_ok(&["package", "visibility", "ada/app", "public"]);
    let body = content::bytes(&image);
    let media = ("content-type", content::OCI_MANIFEST);
    let denied = bob.send("PUT", "/v2/ada/app/manifests/v2?token=secret", &[media], &body).expect(403);
    let request = denied.header("x-request-id").unwrap().to_owned();
    let rows = wait(&server, &["--owner", "ada", "--denied"], 1);
    let row = |field: &str| rows[0][field].as_str().unwrap().to_owned();
    assert_eq!((row("actor"), row("action")), ("bob".into(), "package:push".into()));
    assert_eq!((row("object"), row("outcome")), ("ada/app".into(), "denied: role".into()));
    assert_eq!((row("detail"), row("address")), ("PUT /v2/ada/app/manifests/v2".into(), "127.0.0.1".into()));
    assert_eq!(row("request"), request);
    assert!(row("credential").starts_with("token:"), "{}", row("credential"));

    // What a private package says is 404; the log knows better. Nothing is said of a question without credentials.
    server.admin_ok(&["package", "visibility", "ada/app", "private"]);
    bob.delete("/v2/ada/app/manifests/v1").expect(404);
    server.anonymous().delete("/v2/ada/app/manifests/v1").expect(401);
    bob.get("/v2/ada/app/manifests/v1").expect(404);
    bob.put("/v2/ada/else/manifests/v1", &body).expect(404);
    let rows = wait(&server, &["--actor", "bob", "--denied"], 3);
    let actions: Vec<_> = rows.iter().map(|row| row["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["owner:create-package", "package:delete", "package:push"]);
    // By what came after the right was there.
    server.admin_ok(&["policy", "set", "ada/app", "--immutable", "v*"]);
    let other = content::bytes(&content::image(b"{}", &[]));
    ada.push_blob("ada/app", b"{}");
    ada.send("PUT", "/v2/ada/app/manifests/v1", &[media], &other).refuses(403, "DENIED");
    let rows = wait(&server, &["--package", "ada/app", "--actor", "ada", "--denied"], 1);
    assert_eq!(rows[0]["outcome"], "denied: policy");
    assert!(!server.admin(&["org", "member", "remove", "nobody", "bob"]).status.success());

    // Sign-ins are the installation's; whose name was given is not said.
    server.anonymous().basic("ada", "hunter22hunter22").get("/token").expect(401);
    server.anonymous().basic("hunter22hunter22", "x").get("/v2/").expect(401);
    let rows = wait(&server, &["--installation", "--denied"], 2);
    assert!(rows.iter().all(|row| row["action"] == "sign-in" && row["outcome"] == "denied: credentials"));
    let everything = format!("{:?}", listed(&server, &["--limit", "1000"]));
    assert!(!everything.contains("hunter22") && !everything.contains("secret"), "{everything}");
    server.is_sound();
}

#[test]
fn downloads_are_on_record_where_they_are_to_be() {
    let server = Server::with(&[("PACKHOUSE_AUDIT_READS", "true")]);
    let ada = server.signed_in("ada");
    ada.push_image("ada/app", "v1", 1);
    ada.get("/v2/ada/app/manifests/v1").expect(200);
    ada.head("/v2/ada/app/manifests/v1").expect(200);
    ada.get("/v2/ada/app/tags/list").expect(200);
    server.signed_in("bob").get("/v2/ada/app/manifests/v1").expect(404);
    let rows = wait(&server, &["--owner", "ada", "--action", "package.pull"], 1);
    assert_eq!((&rows[0]["actor"], &rows[0]["outcome"]), (&"ada".into(), &"done".into()));
    assert_eq!(rows[0]["detail"], "GET /v2/ada/app/manifests/v1");
    let rows = wait(&server, &["--owner", "ada", "--action", "package:pull"], 1);
    assert_eq!((&rows[0]["actor"], &rows[0]["outcome"]), (&"bob".into(), &"denied: role".into()));
    // Pages go on where they ended.
    let first = server.admin(&["audit", "list", "--owner", "ada", "--limit", "2"]);
    let more = String::from_utf8(first.stderr).unwrap();
    let after = more.trim().rsplit(' ').next().unwrap();
    let all = listed(&server, &["--owner", "ada"]);
    let rest = listed(&server, &["--owner", "ada", "--after", after]);
    assert!(!rest.is_empty() && all.ends_with(&rest) && all.len() > rest.len());
}

#[test]
fn denials_do_not_fill_the_disk() {
    let server = Server::with(&[("PACKHOUSE_SPACE_RESERVE", "100000000GB")]);
    server.user("bob", PASSWORD);
    let token = server.token("bob", &["read:packages", "write:packages"]);
    server.anonymous().basic("bob", &token).put("/v2/admin/app/manifests/v1", b"{}").expect(404);
    let log = || server.log().contains("denials could not be written");
    for _ in 0..200 {
        if log() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(25));
    }
    assert!(log(), "{}", server.log());
    assert!(listed(&server, &["--denied"]).is_empty());
}

/// A version with very many tags goes in rows that are each read and written at once, whatever their number.
#[tokio::test]
async fn what_touches_very_much_is_several_rows() {
    let world = World::new().await;
    world.user("ada").await;
    let ada = world.caller("ada").await;
    let push = world.publish(&ada, "ada/many").await.unwrap();
    for number in 0..2000 {
        world.put(&push, &format!("tag-{number}")).await.unwrap();
    }
    let pull = world.may::<packhouse::auth::Pull>(&ada, "ada/many").await.unwrap();
    let reference = packhouse::model::Reference::Tag(packhouse::model::Tag::parse("tag-7").unwrap());
    let digest = world.registry.stat_manifest(&pull, &reference).await.unwrap().digest;
    let before = world.registry.events(&pull, 0, 10_000).await.unwrap().last().unwrap().0;
    let delete = world.may(&ada, "ada/many").await.unwrap();
    world.registry.delete_manifest(&delete, &digest).await.unwrap();
    let events = world.registry.events(&pull, before, 10_000).await.unwrap();
    let tags = events.iter().filter(|(_, event)| event.action == "tag.delete").count();
    let rows: std::collections::BTreeSet<u64> = events.iter().map(|(number, _)| *number).collect();
    assert_eq!(tags, 2000);
    assert!((5..100).contains(&rows.len()), "{}", rows.len());
}

/// A team and a source repository are as good as absent to a stranger, and its try at changing one is on record all the same.
#[test]
fn what_a_stranger_tries_on_teams_and_repositories_is_on_record() {
    let server = Server::start();
    server.user("ada", PASSWORD);
    server.user("zoe", PASSWORD);
    server.admin_ok(&["org", "add", "acme", "--owner", "ada"]);
    server.admin_ok(&["team", "add", "acme/core"]);
    server.admin_ok(&["repo", "create", "acme/src"]);
    let zoe = server.anonymous().bearer(&server.token("zoe", &["admin"]));
    zoe.put("/api/v3/orgs/acme/teams/core/memberships/zoe", b"{}").expect(404);
    zoe.delete("/api/v3/repos/acme/src").expect(404);
    let rows = wait(&server, &["--owner", "acme", "--actor", "zoe", "--denied"], 2);
    assert!(rows.iter().all(|row| row["outcome"] == "denied: role"), "{rows:?}");
}
