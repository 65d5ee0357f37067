//! Why somebody may do something: the answer requests get, and the rule behind it.

use packhouse::{
    adapter::control::{self, Act, Command, Explain},
    auth::{Caller, Delete, Manage, Pull, Verb},
    error::{Kind, What},
    model::{Role, Scope, Scopes, TeamName, Visibility},
    registry::{Explained, Question, permissions::GroupName, records::Membership},
};

use super::{ALL, READ, World, kind, name};

const VERBS: [Verb; 4] = [Verb::Pull, Verb::Push, Verb::Delete, Verb::Manage];

/// ada owns acme; bob is a member and in a team that may write; carl was given read; dora has nothing. acme/app is private,
/// acme/open public.
async fn acme() -> World {
    let world = World::new().await;
    for user in ["ada", "bob", "carl", "dora", "sue"] {
        world.user(user).await;
    }
    world.organization("acme", "ada").await;
    world.member("acme", "bob", Some(Membership::Member)).await;
    let ada = world.caller("ada").await;
    for path in ["acme/app", "acme/open"] {
        world.push(&ada, path).await.unwrap();
    }
    world.visibility("acme/open", Visibility::Public).await;
    world.role("acme/app", "carl", Some(Role::Read)).await;
    world.role("acme/app", "sue", Some(Role::Admin)).await;
    world.team("acme/core", None).await;
    world.team("acme/web", Some("core")).await;
    world.in_team("acme/web", "bob", Some(false)).await;
    let core = GroupName::Team(TeamName::parse("acme/core").unwrap());
    world.group_role("acme/app", &core, Some(Role::Write)).await;
    world.registry.set_base_role(&world.manage_owner("acme").await, Some(Role::Read)).await.unwrap();
    world
}

async fn why(world: &World, user: Option<&str>, scopes: Scopes, verb: Verb, path: &str) -> Explained {
    let name = name(path);
    let question = Question { user, token: None, from: None, scopes, verb, name: &name };
    world.registry.explain(&world.operate(), question).await.unwrap()
}

/// What a request gets.
async fn asked(world: &World, caller: &Caller, verb: Verb, path: &str) -> Option<String> {
    let refusal = match verb {
        Verb::Pull => world.may::<Pull>(caller, path).await.err(),
        Verb::Push => world.registry.policy().authorize_publish(caller, &name(path)).await.err(),
        Verb::Delete => world.may::<Delete>(caller, path).await.err(),
        Verb::Manage => world.may::<Manage>(caller, path).await.err(),
    };
    refusal.map(|refusal| refusal.public().to_owned())
}

#[tokio::test]
async fn what_is_explained_is_what_a_request_gets() {
    let world = acme().await;
    let mut said = [0, 0];
    for path in ["acme/app", "acme/open", "acme/none", "ada/new", "nobody/x"] {
        for verb in VERBS {
            let told = asked(&world, &world.anonymous(), verb, path).await;
            let explained = why(&world, None, Scopes::ALL, verb, path).await;
            assert_eq!((explained.allowed, explained.told), (told.is_none(), told), "nobody {verb:?} {path}");
            for user in ["ada", "bob", "carl", "dora", "admin"] {
                for scopes in [ALL, READ, &[Scope::Admin], &[Scope::WritePackages]] {
                    let caller = world.caller_for(user, scopes).await;
                    let told = asked(&world, &caller, verb, path).await;
                    let explained = why(&world, Some(user), Scopes::of(scopes), verb, path).await;
                    let what = format!("{user} {scopes:?} {verb:?} {path}");
                    said[usize::from(explained.allowed)] += 1;
                    assert_eq!((explained.allowed, &explained.told), (told.is_none(), &told), "{what}");
                }
            }
        }
    }
    assert!(said[0] > 100 && said[1] > 40, "{said:?}");
}

#[tokio::test]
async fn the_rule_is_named() {
    let world = acme().await;
    let read = Scopes::of(READ);
    for (user, scopes, verb, path, allowed, code, word) in [
        (Some("ada"), Scopes::ALL, Verb::Manage, "acme/app", true, "role", "owner of acme"),
        (Some("bob"), Scopes::ALL, Verb::Push, "acme/app", true, "role", "team:acme/core"),
        (Some("bob"), Scopes::ALL, Verb::Pull, "acme/open", true, "role", "base role of acme"),
        (Some("bob"), Scopes::ALL, Verb::Push, "acme/new", true, "create", "members of acme"),
        (Some("bob"), Scopes::ALL, Verb::Delete, "acme/app", false, "role", "you have write"),
        (Some("bob"), read, Verb::Push, "acme/app", false, "scope", "write:packages"),
        (Some("carl"), Scopes::ALL, Verb::Pull, "acme/app", true, "role", "user:carl"),
        (Some("carl"), Scopes::of(&[Scope::Admin]), Verb::Pull, "acme/app", false, "scope", "read:packages"),
        (Some("dora"), Scopes::ALL, Verb::Pull, "acme/open", true, "visibility", "public"),
        (Some("dora"), Scopes::ALL, Verb::Pull, "acme/app", false, "visibility", "private"),
        (Some("dora"), Scopes::ALL, Verb::Push, "acme/new", false, "create", "acme and its members"),
        (Some("dora"), Scopes::ALL, Verb::Pull, "acme/none", false, "absent", "no such package"),
        (Some("dora"), Scopes::ALL, Verb::Pull, "nobody/x", false, "absent", "nobody"),
        (None, Scopes::ALL, Verb::Pull, "acme/open", true, "visibility", "public"),
        (None, Scopes::ALL, Verb::Push, "acme/open", false, "credentials", "signs in"),
        (None, Scopes::ALL, Verb::Pull, "acme/app", false, "visibility", "private"),
    ] {
        let explained = why(&world, user, scopes, verb, path).await;
        let what = format!("{user:?} {verb:?} {path}: {explained:?}");
        assert_eq!((explained.allowed, explained.code), (allowed, code), "{what}");
        assert!(explained.because.contains(word), "{what}");
    }
    let bob = why(&world, Some("bob"), Scopes::ALL, Verb::Pull, "acme/app").await;
    let roles = [("team:acme/core".to_owned(), Role::Write), ("base role of acme".to_owned(), Role::Read)];
    assert_eq!(bob.roles, roles, "all of them, not only the greatest");

    world.registry.set_suspended(&world.operate(), "sue", true).await.unwrap();
    for path in ["acme/app", "acme/open"] {
        let sue = why(&world, Some("sue"), Scopes::ALL, Verb::Pull, path).await;
        assert_eq!((sue.allowed, sue.code), (false, "suspended"));
    }
    let (user, name) = (Some("nobody"), name("acme/app"));
    let question =
        Question { user, token: None, from: None, scopes: Scopes::ALL, verb: Verb::Pull, name: &name };
    let nobody = world.registry.explain(&world.operate(), question).await;
    assert_eq!(kind(nobody), Kind::NotFound(What::Owner));
}

#[tokio::test]
async fn the_command_says_it_and_fails_when_it_is_denied() {
    let world = acme().await;
    for (user, action, failed, code) in [
        ("bob", Act::Push, false, "role"),
        ("bob", Act::Manage, true, "role"),
        ("dora", Act::Pull, true, "visibility"),
    ] {
        let asked = Explain {
            package: "acme/app".into(),
            user: Some(user.into()),
            action,
            scopes: Vec::new(),
            token: None,
            from: None,
        };
        let (feed, _) = tokio::sync::mpsc::channel(1);
        let answer = control::execute(&world.registry, Command::Explain(asked), feed).await.unwrap();
        assert_eq!(answer.failed, failed);
        let rows = answer.table.unwrap().1;
        let value = |what: &str| rows.iter().find(|row| row[0] == what).unwrap()[1].clone();
        assert_eq!(value("answer"), if failed { "denied" } else { "allowed" });
        assert_eq!((value("rule").as_str(), value("visibility").as_str()), (code, "private"));
    }
}
