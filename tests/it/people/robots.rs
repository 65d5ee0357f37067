//! Robots: whose they are, what they may, how they end.

use packhouse::{
    adapter::control::{self, AskedLimits, Command, RobotCommand, TokenCommand},
    auth::{Delete, Limits, ManageOwner, Presented, Pull, Push, Secret},
    error::{Challenge, Kind, Reason, What},
    model::{OwnerName, RobotName, Role, Scope, Scopes},
    registry::{
        Question,
        accounts::NewUser,
        records::{AccountKind, Membership},
    },
};

use super::{ALL, NOW, READ, World, basic, headers, kind, name};

const INVALID: Kind = Kind::Unauthenticated(Challenge::Invalid);

impl World {
    pub(crate) async fn robot(&self, robot: &str) {
        let robot = RobotName::parse(robot).unwrap();
        let owner = self.manage_owner(robot.owner()).await;
        self.registry.create_robot(&owner, robot.robot()).await.unwrap();
    }

    /// A robot's token.
    pub(crate) async fn robot_token(&self, robot: &str, scopes: &[Scope]) -> String {
        let robot = RobotName::parse(robot).unwrap();
        let owner = self.manage_owner(robot.owner()).await;
        let (scopes, limits) = (Scopes::of(scopes), Limits::default());
        let made = self.registry.issue_robot_token(&owner, robot.robot(), scopes, 3600, limits).await;
        made.unwrap().secret.reveal().to_owned()
    }
}

/// ada owns acme, where acme/app is; acme+ci may write to it.
async fn world() -> World {
    let world = World::new().await;
    for user in ["ada", "bob"] {
        world.user(user).await;
    }
    world.organization("acme", "ada").await;
    world.push(&world.caller("ada").await, "acme/app").await.unwrap();
    world.robot("acme+ci").await;
    world.role("acme/app", "Acme+CI", Some(Role::Write)).await;
    world
}

#[tokio::test]
async fn a_robot_does_what_it_is_given_and_nothing_else() {
    let world = world().await;
    world.push(&world.caller("bob").await, "bob/one").await.unwrap();
    let token = world.robot_token("acme+ci", ALL).await;
    assert!(token.starts_with("phs_"));
    let robot = world.who(&basic("acme+ci", &token)).await.unwrap();
    for spelled in ["ACME+ci", "", "token", "nobody"] {
        assert!(world.who(&basic(spelled, &token)).await.is_ok(), "{spelled}");
    }
    for other in ["ada", "acme+other"] {
        if other.contains('+') {
            world.robot(other).await;
        }
        assert_eq!(kind(world.who(&basic(other, &token)).await), INVALID, "{other}");
    }
    assert!(world.may::<Push>(&robot, "acme/app").await.is_ok());
    assert_eq!(kind(world.may::<Delete>(&robot, "acme/app").await), Kind::Forbidden(Reason::Role));
    assert_eq!(kind(world.may::<Pull>(&robot, "bob/one").await), Kind::NotFound(What::Package));
    assert_eq!(kind(world.publish(&robot, "acme/new").await), Kind::NotFound(What::Package));
    let policy = world.registry.policy();
    for owner in ["acme", "ada"] {
        let refused = policy.authorize_owner::<ManageOwner>(&robot, owner).await;
        assert_eq!(kind(refused), Kind::Forbidden(Reason::Role));
    }
    assert_eq!(
        kind(policy.authorize_owner::<ManageOwner>(&world.operator(), "acme+ci").await),
        Kind::NotFound(What::Owner)
    );
    assert_eq!(world.registry.catalog(&robot, None, 9).await.unwrap(), ["acme/app"]);
    // Whoever administers a package elsewhere may let it in; an organization's members do not include it.
    world.role("bob/one", "acme+ci", Some(Role::Read)).await;
    assert!(world.may::<Pull>(&robot, "bob/one").await.is_ok());
    let acme = world.manage_owner("acme").await;
    world.registry.set_base_role(&acme, Some(Role::Write)).await.unwrap();
    assert_eq!(kind(world.may::<Delete>(&robot, "acme/app").await), Kind::Forbidden(Reason::Role));
    world.push(&world.caller("ada").await, "acme/second").await.unwrap();
    assert!(world.may::<Pull>(&robot, "acme/second").await.is_err());
    assert!(world.registry.set_member(&acme, "acme+ci", Some(Membership::Member)).await.is_err());
    assert!(
        world
            .registry
            .create_organization(&world.operate(), &OwnerName::parse("x").unwrap(), "acme+ci")
            .await
            .is_err()
    );

    let (user, asked) = (Some("acme+ci"), name("acme/app"));
    let verb = packhouse::auth::Verb::Push;
    let question = Question { user, token: None, from: None, scopes: Scopes::ALL, verb, name: &asked };
    let explained = world.registry.explain(&world.operate(), question).await.unwrap();
    assert!(explained.allowed && explained.because.contains("acme+ci"), "{explained:?}");
}

#[tokio::test]
async fn a_robot_has_no_password_and_no_refresh_token() {
    let world = world().await;
    let token = world.robot_token("acme+ci", READ).await;
    let authenticator = world.registry.authenticator();
    let present = |secret: &str| Presented::read(&headers(&basic("acme+ci", secret))).unwrap();
    let signed_in = authenticator.sign_in(&present(&token), world.anonymous()).await.unwrap();
    assert!(world.registry.issue_refresh(&signed_in).await.is_err());
    for wrong in ["correct horse battery", "", "acme+ci"] {
        assert_eq!(kind(authenticator.sign_in(&present(wrong), world.anonymous()).await), INVALID);
    }
    let missing = world.registry.policy().authorize_owner::<ManageOwner>(&world.operator(), "acme+ci").await;
    assert!(missing.is_err(), "so there is nothing to set a password of");
    let bearer = authenticator.issue(&signed_in, Vec::new()).await.unwrap();
    assert!(world.who(&format!("Bearer {}", bearer.token.reveal())).await.is_ok());
}

#[tokio::test]
async fn whoever_rules_the_owner_makes_the_tokens() {
    let world = world().await;
    world.member("acme", "bob", Some(Membership::Member)).await;
    let policy = world.registry.policy();
    let mint = |grant: packhouse::auth::Grant<ManageOwner>, scopes: &'static [Scope]| {
        let world = &world;
        async move {
            let (scopes, limits) = (Scopes::of(scopes), Limits::default());
            world.registry.issue_robot_token(&grant, "ci", scopes, 60, limits).await.map(|made| made.id)
        }
    };
    let ada = world.caller("ada").await;
    let made = mint(policy.authorize_owner(&ada, "acme").await.unwrap(), ALL).await.unwrap();
    assert!(policy.authorize_owner::<ManageOwner>(&world.caller("bob").await, "acme").await.is_err());
    // Who administers the installation manages owners, and would have the robot's roles by its token.
    let admin = world.caller("admin").await;
    let managed = policy.authorize_owner(&admin, "acme").await.unwrap();
    assert_eq!(kind(mint(managed, READ).await), Kind::Forbidden(Reason::Role));
    let weak = world.caller_for("ada", &[Scope::Admin, Scope::ReadPackages]).await;
    let weak = policy.authorize_owner(&weak, "acme").await.unwrap();
    assert_eq!(kind(mint(weak, ALL).await), Kind::Forbidden(Reason::Scope));

    let acme = world.manage_owner("acme").await;
    let bobs = world.manage_owner("bob").await;
    assert_eq!(world.registry.robot_tokens(&acme, "ci").await.unwrap().len(), 1);
    assert_eq!(kind(world.registry.revoke_token(&bobs, made).await), Kind::NotFound(What::Token));
    world.registry.revoke_token(&acme, made).await.unwrap();
    assert!(world.registry.robot_tokens(&acme, "ci").await.unwrap().is_empty());
    assert_eq!(kind(world.registry.robot_tokens(&bobs, "ci").await), Kind::NotFound(What::Owner));
}

#[tokio::test]
async fn a_robot_is_what_its_owner_is() {
    let world = world().await;
    world.robot("bob+bot").await;
    world.role("acme/app", "bob+bot", Some(Role::Write)).await;
    let robot = world.who(&basic("bob+bot", &world.robot_token("bob+bot", ALL).await)).await.unwrap();
    let token = world.robot_token("bob+bot", ALL).await;
    let grant = world.may::<Push>(&robot, "acme/app").await.unwrap();
    let operate = world.operate();
    let bob = world.manage_owner("bob").await;
    for _ in 0..2 {
        for suspended in [true, false] {
            world.registry.set_suspended(&operate, "bob", suspended).await.unwrap();
            assert_eq!(world.who(&basic("bob+bot", &token)).await.is_err(), suspended);
            assert_eq!(world.may::<Push>(&robot, "acme/app").await.is_err(), suspended);
            assert_eq!(world.registry.policy().renew(&grant).await.is_err(), suspended);
        }
        for suspended in [true, false] {
            world.registry.set_robot_suspended(&bob, "bot", suspended).await.unwrap();
            assert_eq!(world.who(&basic("bob+bot", &token)).await.is_err(), suspended);
            assert_eq!(world.may::<Push>(&robot, "acme/app").await.is_err(), suspended);
        }
    }
    world.registry.set_suspended(&operate, "bob", true).await.unwrap();
    world.registry.set_robot_suspended(&bob, "bot", true).await.unwrap();
    world.registry.set_suspended(&operate, "bob", false).await.unwrap();
    assert_eq!(kind(world.who(&basic("bob+bot", &token)).await), INVALID, "each for itself");
    world.registry.set_robot_suspended(&bob, "bot", false).await.unwrap();

    world.registry.remove_account(&operate, "bob", AccountKind::User).await.unwrap();
    assert_eq!(kind(world.who(&basic("bob+bot", &token)).await), INVALID);
    world.user("bob").await;
    world.robot("bob+bot").await;
    let heir = world.who(&basic("bob+bot", &world.robot_token("bob+bot", ALL).await)).await.unwrap();
    assert_eq!(kind(world.may::<Pull>(&heir, "acme/app").await), Kind::NotFound(What::Package));
    assert_eq!(kind(world.who(&basic("bob+bot", &token)).await), INVALID);
    let roles = world.registry.roles(&world.manage("acme/app").await).await.unwrap();
    assert!(roles.iter().all(|granted| granted.user != "bob+bot"), "{roles:?}");
}

#[tokio::test]
async fn a_removed_robot_leaves_nothing_behind() {
    let world = world().await;
    let token = world.robot_token("acme+ci", ALL).await;
    let robot = world.who(&basic("acme+ci", &token)).await.unwrap();
    let acme = world.manage_owner("acme").await;
    world.registry.remove_robot(&acme, "CI").await.unwrap();
    assert_eq!(kind(world.registry.remove_robot(&acme, "ci").await), Kind::NotFound(What::Owner));
    assert_eq!(kind(world.may::<Push>(&robot, "acme/app").await), INVALID);
    world.robot("acme+ci").await;
    let heir = world.who(&basic("acme+ci", &world.robot_token("acme+ci", ALL).await)).await.unwrap();
    assert!(world.may::<Pull>(&heir, "acme/app").await.is_err());
}

#[tokio::test]
async fn names_of_robots() {
    let world = world().await;
    let acme = world.manage_owner("acme").await;
    assert_eq!(kind(world.registry.create_robot(&acme, "CI").await), Kind::Conflict(What::Owner));
    for bad in ["", "-a", "a-", "a--b", "a+b", "a/b", "ä", &"x".repeat(40), "a b", "a\0"] {
        assert_eq!(kind(world.registry.create_robot(&acme, bad).await), Kind::Invalid(What::Name), "{bad:?}");
        assert!(RobotName::parse(&format!("acme+{bad}")).is_err());
    }
    for bad in ["acme", "acme+", "+ci", "a+b+c", "v2+ci", "acme ci"] {
        assert!(RobotName::parse(bad).is_err(), "{bad}");
    }
    assert!(OwnerName::parse("acme+ci").is_err(), "so no owner has a robot's name");
    let taken = NewUser { name: &OwnerName::parse("ci").unwrap(), administrator: false, password: None };
    assert!(world.registry.create_user(&world.operate(), taken).await.is_ok());
    // The same name of another owner's is another robot.
    world.robot("bob+ci").await;
    let other = world.who(&basic("bob+ci", &world.robot_token("bob+ci", ALL).await)).await.unwrap();
    assert!(world.may::<Pull>(&other, "acme/app").await.is_err());
}

#[tokio::test]
async fn an_owner_has_so_many_robots() {
    let world = world().await;
    let acme = world.manage_owner("acme").await;
    for number in 1..100 {
        world.registry.create_robot(&acme, &format!("r{number}")).await.unwrap();
    }
    assert_eq!(kind(world.registry.create_robot(&acme, "more").await), Kind::Forbidden(Reason::Policy));
    assert_eq!(world.registry.robots(&acme).await.unwrap().len(), 100);
    world.registry.remove_robot(&acme, "r7").await.unwrap();
    // Several at once for the one place that is left.
    let tasks = ["one", "two", "three"].map(|name| {
        let registry = world.registry.clone();
        async move {
            let at = packhouse::auth::Caller::operator(NOW, "test".into());
            let grant = registry.policy().authorize_owner(&at, "acme").await.unwrap();
            registry.create_robot(&grant, name).await.is_ok()
        }
    });
    let made = futures_util::future::join_all(tasks).await;
    assert_eq!(made.iter().filter(|made| **made).count(), 1, "{made:?}");
}

#[tokio::test]
async fn the_commands() {
    let world = world().await;
    let run = |command| {
        let (feed, _) = tokio::sync::mpsc::channel(1);
        control::execute(&world.registry, command, feed)
    };
    let robot = |name: &str| name.to_owned();
    assert!(run(Command::Robot(RobotCommand::Create { robot: robot("acme+web") })).await.is_ok());
    assert!(run(Command::Robot(RobotCommand::Create { robot: robot("nobody+web") })).await.is_err());
    assert!(run(Command::Robot(RobotCommand::Create { robot: robot("web") })).await.is_err());
    let token = RobotCommand::Token {
        robot: robot("acme+web"),
        scopes: vec![Scope::WritePackages],
        lifetime: 3600,
        limits: AskedLimits { owners: vec!["acme".into()], ..AskedLimits::default() },
    };
    let made = run(Command::Robot(token)).await.unwrap();
    let now = packhouse::model::Timestamp::now();
    let secret = Secret::new(made.value.unwrap());
    assert!(world.who_at(&basic("acme+web", secret.reveal()), now).await.is_ok());
    let list = |user: &str| Command::Token(TokenCommand::List { user: user.into() });
    let listed = run(list("acme+web")).await.unwrap().table.unwrap().1;
    assert_eq!((listed.len(), listed[0][1].as_str(), listed[0][3].as_str()), (1, "robot", "owner:acme"));
    let grant = |principal: &str| Command::PackageGrant {
        package: "acme/app".into(),
        principal: principal.into(),
        role: Some(Role::Read),
    };
    assert!(run(grant("robot:acme+web")).await.is_ok());
    assert!(run(grant("acme+none")).await.unwrap_err().contains("acme+none"));
    let roles = run(Command::PackageRoles { package: "acme/app".into() }).await.unwrap().table.unwrap().1;
    assert!(roles.contains(&vec!["user:acme+web".to_owned(), "read".to_owned()]), "{roles:?}");
    let robots =
        run(Command::Robot(RobotCommand::List { owner: "acme".into() })).await.unwrap().table.unwrap().1;
    assert_eq!(robots.iter().map(|row| row[0].as_str()).collect::<Vec<_>>(), ["acme+ci", "acme+web"]);
    run(Command::Token(TokenCommand::Revoke { id: listed[0][0].clone() })).await.unwrap();
    assert!(world.who_at(&basic("acme+web", secret.reveal()), now).await.is_err());
    assert!(
        run(Command::Robot(RobotCommand::Suspend { robot: robot("acme+web"), suspended: true }))
            .await
            .is_ok()
    );
    assert!(run(Command::Robot(RobotCommand::Remove { robot: robot("acme+web") })).await.is_ok());
    assert!(run(list("acme+web")).await.is_err());
}
