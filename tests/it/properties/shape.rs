//! What shape things are in decides nothing: P11, P17.

use packhouse::{
    auth::{CreatePackage, Delete, Manage, ManageOwner, ManageTeam, Operate, Push},
    error::{Kind, Reason, What},
    model::{Role, Visibility},
    registry::{permissions::GroupName, records::Membership},
};
use proptest::prelude::*;

use super::{
    town::{Deed, PATHS, Town, USERS},
    wait,
};
use crate::people::{World, kind};

/// A tree of teams, who is in which, and which has what on one package.
#[derive(Debug, Clone)]
struct Forest {
    /// The team above each; always one of those before it.
    above: Vec<Option<usize>>,
    members: Vec<(usize, usize)>,
    roles: Vec<(usize, u8)>,
}

fn forest() -> impl Strategy<Value = Forest> {
    let above = prop::collection::vec(prop::option::weighted(0.8, any::<prop::sample::Index>()), 7);
    let members = prop::collection::vec((0..7usize, 0..4usize), 0..12);
    let roles = prop::collection::btree_map(0..7usize, 1..4u8, 0..4);
    (above, members, roles).prop_map(|(above, members, roles)| Forest {
        above: above
            .into_iter()
            .enumerate()
            .map(|(team, above)| above.filter(|_| team > 0).map(|above| above.index(team)))
            .collect(),
        members,
        roles: roles.into_iter().collect(),
    })
}

/// Plants it in this order of steps; says who has which role.
async fn planted(forest: &Forest, order: &[prop::sample::Index]) -> Vec<Option<Role>> {
    let town = Town::new().await;
    let (world, registry) = (&town.world, &town.world.registry);
    world.member("acme", "dora", Some(Membership::Owner)).await;
    for user in ["ada", "bob", "carl"] {
        world.member("acme", user, Some(Membership::Member)).await;
    }
    let team = |number: usize| format!("t{number}");
    for number in 0..forest.above.len() {
        let name = town.team_name("acme", &team(number));
        registry.create_team(&world.manage_owner("acme").await, &name, None).await.unwrap();
    }
    let mut steps: Vec<(u8, usize)> = Vec::new();
    steps.extend((0..forest.above.len()).map(|n| (0, n)));
    steps.extend((0..forest.members.len()).map(|n| (1, n)));
    steps.extend((0..forest.roles.len()).map(|n| (2, n)));
    for index in order {
        let last = steps.len() - 1;
        steps.swap(index.index(last + 1), last);
    }
    for (step, n) in steps {
        match step {
            0 => {
                let above = forest.above[n].map(team);
                let grant = world.manage_owner("acme").await;
                registry.nest_team(&grant, &team(n), above.as_deref()).await.unwrap();
            }
            1 => {
                let (of, user) = forest.members[n];
                let operator = world.operator();
                let grant = registry.policy().authorize_team(&operator, "acme", &team(of)).await.unwrap();
                registry.set_team_member(&grant, USERS[user], Some(false)).await.unwrap();
            }
            _ => {
                let (of, role) = forest.roles[n];
                let group = GroupName::Team(town.team_name("acme", &team(of)));
                let grant = world.manage("acme/one").await;
                registry.set_group_role(&grant, &group, Role::from_code(role)).await.unwrap();
            }
        }
    }
    // Asked with nothing in memory and everything in it: twice.
    assert_eq!(town.rights().await, town.rights_afresh().await);
    let rights = town.rights().await;
    let may = |user: &str, action| rights.contains(&(user.to_owned(), action, "acme/one"));
    let role = |user| match (may(user, "manage"), may(user, "push"), may(user, "pull")) {
        (true, ..) => Some(Role::Admin),
        (_, true, _) => Some(Role::Write),
        (_, _, true) => Some(Role::Read),
        _ => None,
    };
    ["ada", "bob", "carl"].map(role).to_vec()
}

/// The same by walking up from each team that a user is in.
fn expected(forest: &Forest) -> Vec<Option<Role>> {
    let role_of = |user: usize| {
        let mut best = 0;
        for (team, _) in forest.members.iter().filter(|(_, member)| *member == user) {
            let mut next = Some(*team);
            while let Some(team) = next {
                best = best.max(forest.roles.iter().find(|(of, _)| *of == team).map_or(0, |(_, role)| *role));
                next = forest.above[team];
            }
        }
        Role::from_code(best)
    };
    (0..3).map(role_of).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn p11_a_tree_of_teams_means_the_same_however_it_was_made(
        forest in forest(),
        one in prop::collection::vec(any::<prop::sample::Index>(), 30),
        other in prop::collection::vec(any::<prop::sample::Index>(), 30),
    ) {
        wait(async {
            let says = planted(&forest, &one).await;
            assert_eq!(says, expected(&forest), "{forest:?}");
            assert_eq!(planted(&forest, &other).await, says, "{forest:?}");
        });
    }
}

/// A circle of teams is refused however it is begun, whatever two ask at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p11_no_order_of_changes_makes_a_circle() {
    let town = std::sync::Arc::new(Town::new().await);
    for _ in 0..30 {
        let nest = |team: &'static str, into: &'static str| {
            let town = std::sync::Arc::clone(&town);
            tokio::spawn(async move {
                let grant = town.world.manage_owner("acme").await;
                town.world.registry.nest_team(&grant, team, Some(into)).await
            })
        };
        let [a, b, c] = [nest("core", "ops"), nest("ops", "web"), nest("web", "core")];
        let done = [a.await.unwrap(), b.await.unwrap(), c.await.unwrap()];
        assert_eq!(done.iter().filter(|done| done.is_err()).count(), 1, "{done:?}");
        for refused in done.into_iter().filter(Result::is_err) {
            assert_eq!(kind(refused), Kind::Forbidden(Reason::InUse));
        }
        for team in ["core", "ops", "web"] {
            let grant = town.world.manage_owner("acme").await;
            town.world.registry.nest_team(&grant, team, None).await.unwrap();
        }
    }
}

/// Who administers one thing administers that and nothing beside, above or below it.
#[tokio::test]
async fn p17_administering_one_thing_is_administering_that() {
    let mut town = Town::new().await;
    town.does(Deed::Role(1, 2, 3)).await;
    town.does(Deed::Member(0, 3, 1)).await;
    town.does(Deed::Team(0, 0, 3, 2)).await;
    let world: &World = &town.world;
    let policy = world.registry.policy();

    // Carl administers acme/one, and that is all.
    let carl = town.caller("carl").await.unwrap();
    world.may::<Manage>(&carl, "acme/one").await.unwrap();
    for path in PATHS.into_iter().filter(|path| *path != "acme/one") {
        assert_eq!(kind(world.may::<Manage>(&carl, path).await), Kind::NotFound(What::Package), "{path}");
        assert_eq!(kind(world.may::<Delete>(&carl, path).await), Kind::NotFound(What::Package), "{path}");
    }
    let role = Kind::Forbidden(Reason::Role);
    assert_eq!(kind(policy.authorize_owner::<ManageOwner>(&carl, "acme").await), role);
    assert_eq!(
        kind(policy.authorize_team::<ManageTeam>(&carl, "acme", "core").await),
        Kind::NotFound(What::Owner)
    );
    assert_eq!(kind(policy.authorize_system::<Operate>(&carl)), role);
    let create = policy.authorize_owner::<CreatePackage>(&carl, "acme").await;
    assert!(create.is_err(), "{create:?}");
    assert!(world.publish(&carl, "acme/new").await.is_err());

    // Dora says who is in acme/core and the teams below, and nothing else.
    let dora = town.caller("dora").await.unwrap();
    policy.authorize_team::<ManageTeam>(&dora, "acme", "core").await.unwrap();
    assert!(policy.authorize_team::<ManageTeam>(&dora, "acme", "ops").await.is_err());
    assert!(policy.authorize_owner::<ManageOwner>(&dora, "acme").await.is_err());
    assert!(world.may::<Manage>(&dora, "acme/one").await.is_err());

    // Ada owns acme: everything of it, and nothing of beta or the installation.
    let ada = town.caller("ada").await.unwrap();
    policy.authorize_owner::<ManageOwner>(&ada, "acme").await.unwrap();
    policy.authorize_team::<ManageTeam>(&ada, "acme", "core").await.unwrap();
    assert_eq!(kind(policy.authorize_owner::<ManageOwner>(&ada, "beta").await), role);
    assert_eq!(kind(policy.authorize_owner::<ManageOwner>(&ada, "dora").await), role);
    assert_eq!(kind(policy.authorize_system::<Operate>(&ada)), role);
    assert!(policy.authorize_team::<ManageTeam>(&ada, "beta", "core").await.is_err());
    assert!(world.may::<Push>(&ada, "beta/one").await.is_err());

    // The installation's administrator manages accounts, and is nobody on packages, were they ever so public.
    world.visibility("beta/one", Visibility::Public).await;
    let admin = world.caller("admin").await;
    policy.authorize_system::<Operate>(&admin).unwrap();
    for path in PATHS {
        assert!(world.may::<Push>(&admin, path).await.is_err(), "{path}");
        assert!(world.may::<Manage>(&admin, path).await.is_err(), "{path}");
    }
}
