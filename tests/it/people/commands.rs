//! Administration commands: what each does, and that no command is more than its grants.

use std::sync::Arc;

use packhouse::{
    adapter::control::{self, Answer, AskedLimits, Command, OrgCommand, Outcome, TeamCommand, TokenCommand},
    auth::{Presented, Pull},
    model::{Role, Scope, Visibility},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

use super::{World, basic, headers};

pub(super) async fn run(world: &World, command: Command) -> Outcome {
    // Nothing it says before its outcome is waited for.
    let (feed, _) = tokio::sync::mpsc::channel(1);
    control::execute(&world.registry, command, feed).await
}

pub(super) async fn done(world: &World, command: Command) -> Answer {
    run(world, command).await.unwrap()
}

fn user_add(name: &str, password: Option<&str>) -> Command {
    Command::UserAdd { name: name.into(), admin: false, password: password.map(str::to_owned) }
}

pub(super) fn rows(answer: &Answer) -> Vec<Vec<String>> {
    answer.table.as_ref().unwrap().1.clone()
}

async fn signs_in(world: &World, user: &str, password: &str) -> bool {
    let presented = Presented::read(&headers(&basic(user, password))).unwrap();
    world.registry.authenticator().sign_in(&presented, world.anonymous()).await.is_ok()
}

#[tokio::test]
async fn users_from_the_first_to_the_last() {
    let world = World::new().await;
    let made = done(&world, user_add("Ada", None)).await;
    assert!(signs_in(&world, "ada", made.value.as_deref().unwrap()).await, "a made password is shown once");
    let chosen = done(&world, user_add("bob", Some("a password of bob's"))).await;
    assert!(chosen.value.is_none(), "a chosen one never");
    assert!(signs_in(&world, "bob", "a password of bob's").await);
    assert!(run(&world, user_add("ADA", None)).await.unwrap_err().contains("already"));
    assert!(run(&world, user_add("npm", None)).await.unwrap_err().contains("reserved"));
    assert!(run(&world, user_add("carl", Some("short"))).await.unwrap_err().contains("8 characters"));

    let password = Command::UserPassword { name: "bob".into(), password: "another of bob's".into() };
    done(&world, password).await;
    assert!(!signs_in(&world, "bob", "a password of bob's").await);
    assert!(signs_in(&world, "bob", "another of bob's").await);

    done(&world, Command::UserSuspend { name: "bob".into(), suspended: true }).await;
    assert!(!signs_in(&world, "bob", "another of bob's").await);
    let listed = rows(&done(&world, Command::UserList).await);
    let states: Vec<_> =
        listed.iter().map(|row| (row[0].as_str(), row[1].as_str(), row[2].as_str())).collect();
    assert_eq!(states, [("Ada", "active", ""), ("admin", "active", "admin"), ("bob", "suspended", "")]);
    done(&world, Command::UserSuspend { name: "bob".into(), suspended: false }).await;
    assert!(signs_in(&world, "bob", "another of bob's").await);
    done(&world, Command::UserRemove { name: "bob".into() }).await;
    assert!(
        run(&world, Command::UserRemove { name: "bob".into() })
            .await
            .unwrap_err()
            .contains("no user named bob")
    );
}

#[tokio::test]
async fn organizations_and_their_members() {
    let world = World::new().await;
    for user in ["ada", "bob"] {
        world.user(user).await;
    }
    let add = |name: &str, owner: &str| Command::OrgAdd { name: name.into(), owner: owner.into() };
    assert!(run(&world, add("acme", "nobody")).await.unwrap_err().contains("nobody"));
    done(&world, add("acme", "ada")).await;
    let member = |user: &str, owner| Command::OrgMember { org: "acme".into(), user: user.into(), owner };
    done(&world, member("bob", Some(false))).await;
    let members = rows(&done(&world, Command::OrgMembers { org: "acme".into() }).await);
    assert_eq!(members, [["ada", "owner"], ["bob", "member"]]);
    assert!(run(&world, member("ada", None)).await.unwrap_err().contains("last owner"));
    done(&world, member("bob", None)).await;
    let listed = rows(&done(&world, Command::OrgList).await);
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0][0], "acme");
}

#[tokio::test]
async fn teams_from_the_first_to_the_last() {
    let world = World::new().await;
    for user in ["ada", "bob"] {
        world.user(user).await;
    }
    world.organization("acme", "ada").await;
    world.push(&world.caller("ada").await, "acme/app").await.unwrap();
    let team = |command| Command::Team(command);
    let add = |team: &str, parent: Option<&str>| {
        Command::Team(TeamCommand::Add { team: team.into(), parent: parent.map(str::to_owned) })
    };
    for (wrong, word) in [
        ("core", "ORGANIZATION/TEAM"),
        ("acme/a_b", "letters"),
        ("nobody/core", "nobody"),
        ("ada/core", "not an organization"),
    ] {
        let refusal = run(&world, add(wrong, None)).await.unwrap_err();
        assert!(refusal.contains(word), "{wrong}: {refusal}");
    }
    done(&world, add("acme/core", None)).await;
    done(&world, add("acme/web", Some("core"))).await;
    let member = |maintainer| {
        Command::Team(TeamCommand::Member { team: "acme/web".into(), user: "bob".into(), maintainer })
    };
    assert!(run(&world, member(Some(false))).await.unwrap_err().contains("org member add acme bob"));
    done(&world, Command::OrgMember { org: "acme".into(), user: "bob".into(), owner: Some(false) }).await;
    done(&world, member(Some(true))).await;
    let members = rows(&done(&world, team(TeamCommand::Members { team: "acme/web".into() })).await);
    assert_eq!(members, [["bob", "maintainer"]]);
    let grant = |principal: &str, role| Command::PackageGrant {
        package: "acme/app".into(),
        principal: principal.into(),
        role,
    };
    let bob = world.caller("bob").await;
    done(&world, grant("team:acme/core", Some(Role::Write))).await;
    assert!(world.may::<Pull>(&bob, "acme/app").await.is_ok());
    let listed = rows(&done(&world, team(TeamCommand::List { org: "acme".into() })).await);
    assert_eq!(listed, [["core", "", "0", "1"], ["web", "core", "1", "0"]]);
    let shown = rows(&done(&world, team(TeamCommand::Show { team: "acme/web".into() })).await);
    assert_eq!(shown, [["in", "core", ""], ["member", "bob", "maintainer"]]);
    let shown = rows(&done(&world, team(TeamCommand::Show { team: "acme/core".into() })).await);
    assert_eq!(shown, [["package", "acme/app", "write"]]);
    let roles = rows(&done(&world, Command::PackageRoles { package: "acme/app".into() }).await);
    assert_eq!(roles, [["user:ada", "admin"], ["team:acme/core", "write"]]);

    done(&world, team(TeamCommand::Nest { team: "acme/web".into(), parent: None })).await;
    assert!(world.may::<Pull>(&bob, "acme/app").await.is_err());
    done(&world, grant("org:acme", Some(Role::Read))).await;
    assert!(world.may::<Pull>(&bob, "acme/app").await.is_ok());
    done(&world, grant("org:acme", None)).await;
    let base = |role| Command::Org(OrgCommand::BaseRole { org: "acme".into(), role });
    done(&world, base(Some(Role::Read))).await;
    assert!(world.may::<Pull>(&bob, "acme/app").await.is_ok());
    let shown = rows(&done(&world, Command::Org(OrgCommand::Show { org: "acme".into() })).await);
    assert_eq!(shown, [["acme", "read", "on", "2", "2"]]);
    done(&world, base(None)).await;
    assert!(world.may::<Pull>(&bob, "acme/app").await.is_err());
    done(&world, team(TeamCommand::Remove { team: "acme/web".into() })).await;
    let gone = run(&world, team(TeamCommand::Show { team: "acme/web".into() })).await.unwrap_err();
    assert!(gone.contains("no team acme/web"), "{gone}");
    let refused = run(&world, Command::Org(OrgCommand::Remove { org: "acme".into() })).await.unwrap_err();
    assert!(refused.contains("owns packages"), "{refused}");
}

#[tokio::test]
async fn tokens_are_made_listed_and_revoked() {
    let world = World::new().await;
    world.user("ada").await;
    let create = |user: &str, lifetime| {
        let (user, scopes, limits) = (user.into(), vec![Scope::WritePackages], AskedLimits::default());
        Command::Token(TokenCommand::Create { user, scopes, lifetime, limits })
    };
    let made = done(&world, create("ada", 3600)).await;
    let secret = made.value.unwrap();
    assert!(!made.note.unwrap().contains(&secret));
    let now = packhouse::model::Timestamp::now();
    assert!(world.who_at(&format!("Bearer {secret}"), now).await.is_ok());
    assert!(run(&world, create("nobody", 3600)).await.is_err());
    assert!(run(&world, create("ada", 400 * 24 * 3600)).await.unwrap_err().contains("366 days"));
    let listed = rows(&done(&world, Command::Token(TokenCommand::List { user: "ada".into() })).await);
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0][2], "read:packages write:packages");
    assert!(listed.iter().flatten().all(|cell| !cell.contains(&secret[4..36])));
    let revoke = |id: &str| Command::Token(TokenCommand::Revoke { id: id.into() });
    done(&world, revoke(&listed[0][0])).await;
    assert!(world.who_at(&format!("Bearer {secret}"), now).await.is_err());
    for unknown in [listed[0][0].as_str(), "", "xyz", secret.as_str(), "0000000000000000"] {
        assert!(run(&world, revoke(unknown)).await.is_err(), "{unknown}");
    }
}

#[tokio::test]
async fn packages_are_listed_shown_and_shared() {
    let world = World::new().await;
    for user in ["ada", "bob"] {
        world.user(user).await;
    }
    let (ada, bob) = (world.caller("ada").await, world.caller("bob").await);
    for path in ["ada/app", "npm/ada/left-pad"] {
        world.push(&ada, path).await.unwrap();
    }
    let list = |owner: Option<&str>| Command::PackageList { owner: owner.map(str::to_owned) };
    let all = rows(&done(&world, list(None)).await);
    assert_eq!(all, [["ada/app", "container", "private"], ["npm/ada/left-pad", "npm", "private"]]);
    assert_eq!(rows(&done(&world, list(Some("ADA"))).await), all);
    assert!(rows(&done(&world, list(Some("bob"))).await).is_empty());
    assert!(run(&world, list(Some("nobody"))).await.is_err());

    let visibility =
        |package: &str, visibility| Command::PackageVisibility { package: package.into(), visibility };
    done(&world, visibility("ada/app", Visibility::Public)).await;
    assert!(world.may::<Pull>(&world.anonymous(), "ada/app").await.is_ok());
    let reads = |allowed| Command::OwnerAnonymousReads { name: "ada".into(), allowed };
    done(&world, reads(false)).await;
    assert!(world.may::<Pull>(&world.anonymous(), "ada/app").await.is_err());
    assert!(world.may::<Pull>(&bob, "ada/app").await.is_ok());
    done(&world, reads(true)).await;
    assert!(world.may::<Pull>(&world.anonymous(), "ada/app").await.is_ok());
    assert!(run(&world, visibility("ada/none", Visibility::Public)).await.is_err());
    assert!(run(&world, visibility("alpine", Visibility::Public)).await.unwrap_err().contains("OWNER/NAME"));

    let grant = |principal: &str, role| Command::PackageGrant {
        package: "npm/ada/left-pad".into(),
        principal: principal.into(),
        role,
    };
    assert!(world.may::<Pull>(&bob, "npm/ada/left-pad").await.is_err());
    for principal in ["bob", "user:bob"] {
        done(&world, grant(principal, Some(Role::Read))).await;
        assert!(world.may::<Pull>(&bob, "npm/ada/left-pad").await.is_ok());
        done(&world, grant(principal, None)).await;
        assert!(world.may::<Pull>(&bob, "npm/ada/left-pad").await.is_err());
    }
    for (principal, word) in [
        ("team:x", "ORGANIZATION/TEAM"),
        ("team:x/y", "named x"),
        ("org:bob", "named bob"),
        ("repo:x", "OWNER/REPO"),
        ("robot:x", "named x"),
    ] {
        let refusal = run(&world, grant(principal, Some(Role::Read))).await.unwrap_err();
        assert!(refusal.contains(word), "{refusal}");
    }
    assert!(run(&world, grant("group:x", Some(Role::Read))).await.unwrap_err().contains("no kind"));
}

/// What a connection to the socket answers.
async fn converse(world: &World, line: &str) -> String {
    let (mut client, server) = UnixStream::pair().unwrap();
    let serving = tokio::spawn(control::serve(server, Arc::new(world.registry.clone())));
    client.write_all(line.as_bytes()).await.unwrap();
    client.shutdown().await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    serving.await.unwrap();
    answer
}

#[tokio::test]
async fn a_connection_carries_one_command_and_one_answer() {
    let world = World::new().await;
    let mut command = serde_json::to_string(&user_add("ada", Some("a password of ada's"))).unwrap();
    command.push('\n');
    let answer = converse(&world, &command).await;
    assert!(answer.ends_with('\n'));
    assert!(serde_json::from_str::<Outcome>(&answer).unwrap().is_ok());
    assert!(!answer.contains("a password of ada's"));
    let again = converse(&world, &command).await;
    assert!(serde_json::from_str::<Outcome>(&again).unwrap().is_err());
    for wrong in
        ["", "\n", "{}\n", "\"user-list\"x\n", "{\"user-frob\":{}}\n", "{\"user-add\":{\"name\":\"x\"}}\n"]
    {
        let answer = converse(&world, wrong).await;
        let refusal = serde_json::from_str::<Outcome>(&answer).unwrap().unwrap_err();
        assert!(refusal.contains("does not know"), "{wrong:?}: {refusal}");
    }
    let surplus = r#"{"user-add":{"name":"x","admin":false,"password":null,"owner":true}}"#;
    let refusal = serde_json::from_str::<Outcome>(&converse(&world, surplus).await).unwrap();
    assert!(refusal.is_err(), "a field too many is no command of this version");
}
