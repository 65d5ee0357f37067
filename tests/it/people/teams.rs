//! Teams, base roles and roles of organizations: what they give, and that it ends at once.

use packhouse::{
    auth::{Caller, Delete, Grant, ManageTeam, Pull, Push},
    error::{Challenge, Kind, Reason, What},
    model::{Group, Role, TeamId, TeamName},
    registry::{
        permissions::GroupName,
        records::{AccountKind, GroupRoleRecord, Membership, TeamMemberRecord, TeamRecord},
        teams::{MAX_DEPTH, MAX_GROUPS, MAX_MEMBERS, MAX_TEAMS, Team},
    },
    store::{Batch, MetadataStore as _},
};

use super::{ALL, NOW, READ, World, kind, words};

impl World {
    pub(super) async fn team(&self, name: &str, parent: Option<&str>) -> TeamId {
        let name = TeamName::parse(name).unwrap();
        let grant = self.manage_owner(name.organization()).await;
        self.registry.create_team(&grant, &name, parent).await.unwrap()
    }

    pub(super) async fn lead(&self, name: &str) -> Grant<ManageTeam> {
        let (organization, team) = name.split_once('/').unwrap();
        self.registry.policy().authorize_team(&self.operator(), organization, team).await.unwrap()
    }

    pub(super) async fn in_team(&self, name: &str, user: &str, maintainer: Option<bool>) {
        self.registry.set_team_member(&self.lead(name).await, user, maintainer).await.unwrap();
    }

    pub(super) async fn group_role(&self, package: &str, group: &GroupName, role: Option<Role>) {
        self.registry.set_group_role(&self.manage(package).await, group, role).await.unwrap();
    }
}

fn team(name: &str) -> GroupName {
    GroupName::Team(TeamName::parse(name).unwrap())
}

fn org(name: &str) -> GroupName {
    GroupName::Organization(name.to_owned())
}

/// ada owns acme, bob and carl are members, dora is not; acme/app is private and pushed by ada.
async fn acme() -> World {
    let world = World::new().await;
    for user in ["ada", "bob", "carl", "dora"] {
        world.user(user).await;
    }
    world.organization("acme", "ada").await;
    for user in ["bob", "carl"] {
        world.member("acme", user, Some(Membership::Member)).await;
    }
    world.push(&world.caller("ada").await, "acme/app").await.unwrap();
    world
}

async fn role(world: &World, caller: &Caller) -> Option<Role> {
    let may = [
        (Role::Admin, world.may::<Delete>(caller, "acme/app").await.is_ok()),
        (Role::Write, world.may::<Push>(caller, "acme/app").await.is_ok()),
        (Role::Read, world.may::<Pull>(caller, "acme/app").await.is_ok()),
    ];
    let listed = world.registry.catalog(caller, None, 10).await.unwrap();
    assert_eq!(listed == ["acme/app"], may[2].1, "the list shows what may be pulled");
    may.into_iter().find(|(_, may)| *may).map(|(role, _)| role)
}

#[tokio::test]
async fn a_base_role_is_every_members_and_ends_at_once() {
    let world = acme().await;
    let (bob, dora) = (world.caller("bob").await, world.caller("dora").await);
    for base in [Some(Role::Read), Some(Role::Write), None, Some(Role::Write)] {
        let acme = world.manage_owner("acme").await;
        world.registry.set_base_role(&acme, base).await.unwrap();
        assert_eq!(role(&world, &bob).await, base);
        assert_eq!(role(&world, &dora).await, None, "who is no member has nothing of it");
    }
    let grant = world.may::<Push>(&bob, "acme/app").await.unwrap();
    world.put(&grant, "1").await.unwrap();
    world.registry.set_base_role(&world.manage_owner("acme").await, Some(Role::Read)).await.unwrap();
    assert_eq!(kind(world.put(&grant, "2").await), Kind::StaleGrant, "asked again at commit");
    world.member("acme", "bob", None).await;
    assert_eq!(role(&world, &bob).await, None, "who leaves loses it");

    let admin = world.registry.set_base_role(&world.manage_owner("acme").await, Some(Role::Admin)).await;
    assert_eq!(kind(admin), Kind::Invalid(What::Request));
    let user = world.registry.set_base_role(&world.manage_owner("ada").await, Some(Role::Read)).await;
    assert_eq!(kind(user), Kind::Invalid(What::Owner));
}

#[tokio::test]
async fn a_team_has_its_roles_and_those_of_the_teams_above() {
    let world = acme().await;
    world.team("acme/core", None).await;
    world.team("acme/web", Some("core")).await;
    world.team("acme/css", Some("WEB")).await;
    let (bob, carl) = (world.caller("bob").await, world.caller("carl").await);
    world.in_team("acme/css", "bob", Some(false)).await;
    world.in_team("acme/core", "carl", Some(false)).await;
    world.group_role("acme/app", &team("acme/web"), Some(Role::Read)).await;
    assert_eq!(role(&world, &bob).await, Some(Role::Read), "from the team above");
    assert_eq!(role(&world, &carl).await, None, "not from the team below");
    world.group_role("acme/app", &team("acme/core"), Some(Role::Write)).await;
    assert_eq!((role(&world, &bob).await, role(&world, &carl).await), (Some(Role::Write), Some(Role::Write)));

    let acme = world.manage_owner("acme").await;
    world.registry.nest_team(&acme, "web", None).await.unwrap();
    assert_eq!(role(&world, &bob).await, Some(Role::Read), "core is above no more");
    let grant = world.may::<Push>(&carl, "acme/app").await.unwrap();
    world.put(&grant, "1").await.unwrap();
    world.in_team("acme/core", "carl", None).await;
    assert_eq!(kind(world.put(&grant, "2").await), Kind::StaleGrant, "asked again at commit");
    assert_eq!(role(&world, &carl).await, None);
    world.group_role("acme/app", &team("acme/web"), None).await;
    assert_eq!(role(&world, &bob).await, None);
}

#[tokio::test]
async fn no_team_is_in_itself_and_none_is_too_deep() {
    let world = acme().await;
    let acme = world.manage_owner("acme").await;
    let mut above: Option<String> = None;
    for depth in 1..=MAX_DEPTH {
        let name = format!("t{depth}");
        world.team(&format!("acme/{name}"), above.as_deref()).await;
        above = Some(name);
    }
    let deeper = TeamName::parse("acme/deeper").unwrap();
    let refused = world.registry.create_team(&acme, &deeper, above.as_deref()).await;
    assert_eq!(kind(refused), Kind::Forbidden(Reason::Policy));
    world.team("acme/deeper", None).await;
    let nested = world.registry.nest_team(&acme, "t1", Some("deeper")).await;
    assert_eq!(kind(nested), Kind::Forbidden(Reason::Policy), "what is in it goes along");
    world.registry.nest_team(&acme, "t2", Some("deeper")).await.unwrap();
    world.team("acme/a", None).await;
    world.team("acme/b", Some("a")).await;
    for (team, into) in [("a", "a"), ("a", "b")] {
        let circle = world.registry.nest_team(&acme, team, Some(into)).await;
        assert_eq!(kind(circle), Kind::Forbidden(Reason::InUse), "{team} into {into}");
    }
    for _ in 0..10 {
        for team in ["a", "b"] {
            world.registry.nest_team(&world.manage_owner("acme").await, team, None).await.unwrap();
        }
        let (one, two) = (world.manage_owner("acme").await, world.manage_owner("acme").await);
        let (one, two) = tokio::join!(
            world.registry.nest_team(&one, "a", Some("b")),
            world.registry.nest_team(&two, "b", Some("a")),
        );
        assert_eq!(one.is_ok() as u8 + two.is_ok() as u8, 1, "of two at once one comes first");
    }
    let holds = world.registry.remove_team(&world.manage_owner("acme").await, "deeper").await;
    assert_eq!(kind(holds), Kind::Forbidden(Reason::InUse), "there is a team in it");
}

#[tokio::test]
async fn limits_are_kept() {
    let world = acme().await;
    let acme = world.manage_owner("acme").await.target().id;
    let id = world.team("acme/full", None).await;
    let package = world.manage("acme/app").await.target().id;
    let mut batch = Batch::new();
    for n in 0..MAX_MEMBERS as u64 {
        let user = packhouse::model::OwnerId(n);
        let member = TeamMemberRecord { team: id, user, organization: acme, maintainer: false, since: NOW.0 };
        batch.replace(None, Some(&member));
    }
    for n in 1..MAX_TEAMS as u64 {
        let id = TeamId(n);
        let team = TeamRecord { id, organization: acme, name: format!("t{n}"), parent: None, created: NOW.0 };
        batch.replace(None, Some(&team));
    }
    for n in 1..=MAX_GROUPS as u64 {
        let (group, path) = (Group::Team(TeamId(n)), "acme/app".to_owned());
        let (owner, role, since) = (acme, Role::Read, NOW.0);
        batch.replace(None, Some(&GroupRoleRecord { package, group, owner, role, since, path }));
    }
    world.meta.commit(batch).await.unwrap();

    let policy = Kind::Forbidden(Reason::Policy);
    let another = world.registry.set_team_member(&world.lead("acme/full").await, "bob", Some(false)).await;
    assert_eq!(kind(another), policy);
    let name = TeamName::parse("acme/another").unwrap();
    let another = world.registry.create_team(&world.manage_owner("acme").await, &name, None).await;
    assert_eq!(kind(another), policy);
    let manage = world.manage("acme/app").await;
    let another = world.registry.set_group_role(&manage, &team("acme/full"), Some(Role::Read)).await;
    assert_eq!(kind(another), policy);
    // What is there can be changed all the same, and one that goes makes room.
    world.group_role("acme/app", &team("acme/t5"), Some(Role::Write)).await;
    world.group_role("acme/app", &team("acme/t5"), None).await;
    world.group_role("acme/app", &team("acme/full"), Some(Role::Read)).await;
    world.registry.remove_team(&world.manage_owner("acme").await, "t6").await.unwrap();
    world.team("acme/another", None).await;
}

#[tokio::test]
async fn an_organization_is_given_roles_as_one() {
    let world = acme().await;
    world.organization("beta", "dora").await;
    let (bob, dora) = (world.caller("bob").await, world.caller("dora").await);
    world.group_role("acme/app", &org("beta"), Some(Role::Read)).await;
    assert_eq!((role(&world, &bob).await, role(&world, &dora).await), (None, Some(Role::Read)));
    world.group_role("acme/app", &org("ACME"), Some(Role::Write)).await;
    assert_eq!(role(&world, &bob).await, Some(Role::Write));
    world.member("beta", "bob", Some(Membership::Owner)).await;
    world.member("beta", "dora", None).await;
    assert_eq!(role(&world, &dora).await, None, "who left it has it no more");

    let roles = world.registry.group_roles(&world.manage("acme/app").await).await.unwrap();
    let roles: Vec<_> = roles.iter().map(|granted| (granted.group.as_str(), granted.role)).collect();
    assert_eq!(roles, [("org:acme", Role::Write), ("org:beta", Role::Read)]);
    world.registry.remove_account(&world.operate(), "beta", AccountKind::Organization).await.unwrap();
    world.organization("beta", "dora").await;
    assert_eq!(role(&world, &dora).await, None, "a new holder of the name inherits nothing");
    let roles = world.registry.group_roles(&world.manage("acme/app").await).await.unwrap();
    assert_eq!(roles.len(), 1);

    let manage = world.manage("acme/app").await;
    for nobody in [org("bob"), org("nobody"), team("nobody/core"), team("acme/none"), team("bob/core")] {
        let refused = world.registry.set_group_role(&manage, &nobody, Some(Role::Read)).await;
        assert_eq!(kind(refused), Kind::NotFound(What::Owner), "{nobody:?}");
    }
    // Whether another organization has such a team is not for this package's administrators to find out.
    world.team("beta/core", None).await;
    for foreign in [team("beta/core"), team("beta/none")] {
        let refused = world.registry.set_group_role(&manage, &foreign, Some(Role::Read)).await;
        let (kind, text) = words(&refused.unwrap_err());
        assert_eq!(kind, Kind::Forbidden(Reason::Policy));
        assert!(text.contains("org:beta") && !text.contains("core"), "{text}");
    }
}

#[tokio::test]
async fn who_leaves_an_organization_leaves_its_teams() {
    let world = acme().await;
    world.team("acme/core", None).await;
    world.group_role("acme/app", &team("acme/core"), Some(Role::Write)).await;
    let refused = world.registry.set_team_member(&world.lead("acme/core").await, "dora", Some(false)).await;
    assert_eq!(kind(refused), Kind::Forbidden(Reason::Policy), "only members of the organization");
    let bob = world.caller("bob").await;
    world.in_team("acme/core", "bob", Some(false)).await;
    assert_eq!(role(&world, &bob).await, Some(Role::Write));
    world.member("acme", "bob", None).await;
    world.member("acme", "bob", Some(Membership::Member)).await;
    assert_eq!(role(&world, &bob).await, None, "and does not find them again");

    world.in_team("acme/core", "bob", Some(true)).await;
    world.registry.remove_account(&world.operate(), "bob", AccountKind::User).await.unwrap();
    assert!(world.registry.team_members(&world.lead("acme/core").await).await.unwrap().is_empty());
    world.user("bob").await;
    world.member("acme", "bob", Some(Membership::Member)).await;
    let again = world.caller("bob").await;
    assert_eq!(role(&world, &again).await, None, "who takes the name inherits nothing");

    for _ in 0..10 {
        world.member("acme", "carl", Some(Membership::Member)).await;
        let (lead, acme) = (world.lead("acme/core").await, world.manage_owner("acme").await);
        let (_, left) = tokio::join!(
            world.registry.set_team_member(&lead, "carl", Some(false)),
            world.registry.set_member(&acme, "carl", None),
        );
        left.unwrap();
        let members = world.registry.team_members(&world.lead("acme/core").await).await.unwrap();
        assert!(members.is_empty(), "whichever came first");
    }
}

#[tokio::test]
async fn a_removed_team_leaves_nothing_to_a_new_one_of_its_name() {
    let world = acme().await;
    let carl = world.caller("carl").await;
    world.team("acme/core", None).await;
    world.in_team("acme/core", "carl", Some(true)).await;
    world.group_role("acme/app", &team("acme/core"), Some(Role::Admin)).await;
    assert_eq!(role(&world, &carl).await, Some(Role::Admin));
    let grant = world.may::<Push>(&carl, "acme/app").await.unwrap();
    let name = TeamName::parse("acme/CORE").unwrap();
    let taken = world.registry.create_team(&world.manage_owner("acme").await, &name, None).await;
    assert_eq!(kind(taken), Kind::Conflict(What::Owner), "in any case");
    let lead = world.lead("acme/core").await;
    world.registry.remove_team(&world.manage_owner("acme").await, "Core").await.unwrap();
    assert_eq!(role(&world, &carl).await, None);
    assert_eq!(kind(world.put(&grant, "1").await), Kind::StaleGrant);
    assert!(world.registry.set_team_member(&lead, "bob", Some(false)).await.is_err());
    world.team("acme/core", None).await;
    assert_eq!(role(&world, &carl).await, None);
    assert!(world.registry.set_team_member(&lead, "bob", Some(false)).await.is_err(), "another team now");
    let listed = world.registry.teams(&world.manage_owner("acme").await).await.unwrap();
    assert_eq!(listed, [Team { name: "core".into(), parent: None, members: 0, packages: 0 }]);
}

#[tokio::test]
async fn maintainers_say_who_is_in_their_team_and_those_below() {
    let world = acme().await;
    world.team("acme/core", None).await;
    world.team("acme/web", Some("core")).await;
    world.in_team("acme/web", "bob", Some(true)).await;
    let (bob, policy) = (world.caller("bob").await, world.registry.policy());
    let may = async |caller: &Caller, team: &str| {
        policy
            .authorize_team::<ManageTeam>(caller, "acme", team)
            .await
            .map(drop)
            .map_err(|error| error.kind())
    };
    let (role, missing) = (Kind::Forbidden(Reason::Role), Kind::NotFound(What::Owner));
    assert_eq!((may(&bob, "web").await, may(&bob, "core").await), (Ok(()), Err(role)));
    let web = policy.authorize_team::<ManageTeam>(&bob, "acme", "web").await.unwrap();
    world.registry.set_team_member(&web, "carl", Some(false)).await.unwrap();
    assert_eq!(may(&world.caller("carl").await, "web").await, Err(role), "a member does not");
    world.in_team("acme/core", "carl", Some(true)).await;
    assert_eq!(may(&world.caller("carl").await, "web").await, Ok(()), "a maintainer above does");
    assert_eq!(may(&world.caller("ada").await, "core").await, Ok(()), "an owner of the organization does");
    assert_eq!(may(&world.caller("admin").await, "core").await, Ok(()), "so does an administrator");
    assert_eq!(may(&world.caller_for("ada", READ).await, "core").await, Err(Kind::Forbidden(Reason::Scope)));

    world.in_team("acme/web", "bob", Some(false)).await;
    let late = world.registry.set_team_member(&web, "ada", Some(false)).await;
    assert_eq!(kind(late), Kind::StaleGrant, "a grant does not outlive it");
    // Outsiders do not learn which teams there are.
    let dora = world.caller_for("dora", ALL).await;
    for name in ["core", "none"] {
        assert_eq!(may(&dora, name).await, Err(missing));
        let anonymous = Kind::Unauthenticated(Challenge::Missing);
        assert_eq!(may(&world.anonymous(), name).await, Err(anonymous));
    }
}
