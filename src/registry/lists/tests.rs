//! What is listed is what may be read, on random worlds; and a page costs what it shows, counted in keys, not in time.

mod world;

use proptest::prelude::*;
use world::{NAMES, Sketch, World};

use crate::{
    auth::{Actor, Caller},
    model::{Group, Role, Scope, Scopes, TeamId, Visibility},
    registry::{packages, records::PackageRecord},
};

/// Walks a list to its end in pages of one size.
async fn walk(world: &World, viewer: &Caller, owner: Option<&str>, limit: usize) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    loop {
        let after = all.last().cloned();
        let page = world.registry.packages_of(viewer, owner, after.as_deref(), limit).await.unwrap();
        assert!(page.packages.len() <= limit);
        all.extend(page.packages.iter().map(|package| package.name.to_string()));
        if !page.more {
            return all;
        }
        assert_eq!(page.packages.len(), limit, "only the last page is short");
    }
}

async fn catalog(world: &World, viewer: &Caller, limit: usize) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    loop {
        let after = all.last().cloned();
        let page = world.registry.catalog(viewer, after.as_deref(), limit).await.unwrap();
        all.extend(page.iter().cloned());
        if page.len() < limit {
            return all;
        }
    }
}

fn sketch() -> impl Strategy<Value = Sketch> {
    let package = (0..NAMES.len(), 0..5usize, 0..4usize, 0..10u8, any::<bool>(), any::<bool>());
    let packages = prop::collection::vec(package, 0..40);
    let roles = prop::collection::vec((0..3usize, any::<prop::sample::Index>(), 1..4u8), 0..25);
    let members = prop::collection::vec((2..4usize, 0..3usize, any::<bool>()), 0..6);
    let suspended = prop::collection::vec(prop::bool::weighted(0.2), 3);
    let closed = prop::collection::vec(prop::bool::weighted(0.3), 5);
    let index = any::<prop::sample::Index>;
    let bases = prop::collection::vec(0..3u8, 2);
    let teams = prop::collection::vec((2..4usize, prop::option::of(index())), 0..5);
    let in_teams = prop::collection::vec((index(), 0..3usize), 0..6);
    let group_role = (prop::option::weighted(0.7, index()), 2..4usize, index(), 1..4u8);
    let groups = (bases, teams, in_teams, prop::collection::vec(group_role, 0..15));
    let links = prop::collection::vec(prop::option::of((index(), any::<bool>())), 40);
    let repository_role = (prop::option::weighted(0.5, index()), 0..3usize, index(), 1..6u8);
    let repositories = prop::collection::vec(0..NAMES.len(), 0..6);
    let repositories = (repositories, links, prop::collection::vec(repository_role, 0..10));
    (packages, roles, members, suspended, closed, prop::bool::weighted(0.8), groups, repositories).prop_map(
        |(packages, roles, members, suspended, closed, anonymous, groups, repositories)| {
            let (bases, teams, in_teams, group_roles) = groups;
            let (repositories, links, repository_roles) = repositories;
            Sketch {
                packages,
                roles,
                members,
                suspended,
                closed,
                anonymous,
                bases,
                teams,
                in_teams,
                group_roles,
                repositories,
                links,
                repository_roles,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]
    /// A list is a filter over everything by what the policy says of each package.
    #[test]
    fn a_list_is_a_filter_over_everything(sketch in sketch(), limit in 1usize..12, cut in any::<prop::sample::Index>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let world = World::of(&sketch).await;
            for viewer in world.viewers().await {
                let mut readable = world.readable(&viewer).await;
                readable.sort();
                let paths: Vec<_> = readable.iter().map(|(path, _)| path.clone()).collect();
                for limit in [limit, 1, 100] {
                    assert_eq!(walk(&world, &viewer, None, limit).await, paths, "{:?} by {limit}", viewer.actor);
                }
                let full: Vec<_> =
                    readable.iter().filter(|(_, full)| *full).map(|(path, _)| path.clone()).collect();
                assert_eq!(catalog(&world, &viewer, limit).await, full, "{:?}", viewer.actor);
                for owner in NAMES {
                    let beginnings = packages::beginnings(Some(owner));
                    let of_owner = |path: &&String| beginnings.iter().any(|beginning| path.starts_with(beginning));
                    let expected: Vec<_> = paths.iter().filter(of_owner).cloned().collect();
                    assert_eq!(walk(&world, &viewer, Some(owner), limit).await, expected, "of {owner}");
                }
                if !paths.is_empty() {
                    // What a page begins behind need not be a path that is there, or one the viewer may know of.
                    for after in [paths[cut.index(paths.len())].clone(), NAMES[cut.index(NAMES.len())].to_owned()] {
                        let page = world.registry.packages_of(&viewer, None, Some(&after), limit).await.unwrap();
                        let got: Vec<_> = page.packages.iter().map(|package| package.name.to_string()).collect();
                        let rest: Vec<_> = paths.iter().filter(|path| **path > after).cloned().collect();
                        assert_eq!(got, rest[..limit.min(rest.len())], "after {after}");
                        assert_eq!(page.more, rest.len() > limit);
                    }
                }
            }
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]
    /// A role given to a group takes nothing from anybody; and where nothing is given, only owners read.
    #[test]
    fn roles_add_up_and_nothing_is_given_by_itself(sketch in sketch()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut fewer = sketch.clone();
            fewer.group_roles.pop();
            fewer.repository_roles.pop();
            let (with, without) = (World::of(&sketch).await, World::of(&fewer).await);
            for (one, other) in with.viewers().await.iter().zip(without.viewers().await) {
                let all = with.readable(one).await;
                let few = without.readable(&other).await;
                assert!(few.iter().all(|path| all.contains(path)), "{few:?} of {all:?} as {:?}", one.actor);
            }

            let mut none = Sketch {
                roles: Vec::new(),
                group_roles: Vec::new(),
                repository_roles: Vec::new(),
                bases: vec![0, 0],
                ..sketch.clone()
            };
            none.packages.iter_mut().for_each(|package| package.4 = false);
            none.members.retain(|(_, _, owner)| !owner);
            let world = World::of(&none).await;
            for viewer in world.viewers().await {
                let rules = |path: &str| match viewer.actor {
                    Actor::Operator => true,
                    Actor::User(user) => NAMES.iter().enumerate().any(|(number, name)| {
                        let beginnings = packages::beginnings(Some(*name));
                        World::id(number) == user && beginnings.iter().any(|begins| path.starts_with(begins))
                    }),
                    Actor::Anonymous | Actor::Repository(_) | Actor::Job(_) => false,
                };
                let readable = world.readable(&viewer).await;
                assert!(readable.iter().all(|(path, _)| rules(path)), "{readable:?} as {:?}", viewer.actor);
            }
        });
    }
}

/// Twelve packages that each viewer sees some of, and among them, in order of the paths, so many others: private,
/// without a manifest, deleted.
async fn among(others: usize) -> World {
    let world = World::empty(true).await;
    let mut batch = crate::store::Batch::new();
    for n in 0..12 {
        let shown = world.add(&mut batch, 4, 0, &format!("p{n:02}0000-shown"), |package| {
            package.visibility = if n % 2 == 0 { Visibility::Public } else { Visibility::Private };
        });
        if n % 2 == 1 {
            world.give(&mut batch, &shown, 0, Role::Read);
        }
        world.add(&mut batch, 2, 0, &format!("p{n:02}0000-of-the-organization"), |_| {});
        for other in 0..others / 12 {
            for (owner, name) in [(4, "other"), (3, "other")] {
                world.add(&mut batch, owner, 0, &format!("p{n:02}{:04}-{name}", other + 1), |package| {
                    match other % 3 {
                        0 => package.state = crate::registry::records::State::Pending,
                        1 if owner == 4 => package.deleted = Some(1),
                        _ => {}
                    }
                });
            }
        }
    }
    world.member(&mut batch, 2, 1, true);
    world.member(&mut batch, 3, 1, false);
    world.write(batch).await;
    world
}

#[tokio::test]
async fn a_page_visits_what_it_shows_and_not_what_it_leaves_out() {
    let (few, many) = (among(24).await, among(4000).await);
    let stranger = Scopes::of(&[Scope::Admin]);
    let mut pages = 0;
    for (who, actor, scopes) in [
        ("anonymous", Actor::Anonymous, Scopes::ALL),
        ("with roles", Actor::User(World::id(0)), Scopes::ALL),
        ("owner of an organization", Actor::User(World::id(1)), Scopes::ALL),
        ("with no role", Actor::User(crate::model::OwnerId(99)), Scopes::ALL),
        ("by a token that does not read", Actor::User(World::id(0)), stranger),
    ] {
        for limit in [1, 3, 100] {
            for after in [None, Some("zoe/p05"), Some("zzz")] {
                let mut costs = Vec::new();
                for world in [&few, &many] {
                    let viewer = Caller { actor, scopes, ..world.anonymous() };
                    let before = world.visited();
                    let page = world.registry.catalog(&viewer, after, limit).await.unwrap();
                    costs.push((page, world.visited() - before));
                }
                assert_eq!(costs[0], costs[1], "{who}, {limit} after {after:?}");
                // The ways at most three times the page and one more; of each candidate its record, a role, its owner's account
                // and membership, a manifest.
                assert!(costs[0].1 <= 10 * (costs[0].0.len() as u64 + 2) + 20, "{who} {limit}: {costs:?}");
                pages += costs[0].0.len();
            }
        }
    }
    assert!(pages > 100, "{pages}");
}

#[tokio::test]
async fn owners_closed_to_anonymous_callers_are_passed_over() {
    let mut costs = Vec::new();
    for others in [300, 3000] {
        let world = World::empty(true).await;
        let mut batch = crate::store::Batch::new();
        for n in 0..others {
            world.add(&mut batch, 2, 0, &format!("p{n:04}"), |package| {
                package.visibility = Visibility::Public
            });
        }
        world.add(&mut batch, 4, 0, "shown", |package| package.visibility = Visibility::Public);
        world.close(&mut batch, 2);
        world.write(batch).await;
        let before = world.visited();
        assert_eq!(world.registry.catalog(&world.anonymous(), None, 5).await.unwrap(), ["zoe/shown"]);
        costs.push(world.visited() - before);
    }
    assert_eq!(costs[0], costs[1]);
}

#[test]
fn the_walk_reads_paths_as_they_were_written() {
    let package = World::package(4, 0, "a/b");
    let listed = PackageRecord::listed(Visibility::Private, "");
    let found =
        crate::store::Record::index(&package).into_iter().find(|key| key.bytes.starts_with(&listed.bytes));
    assert_eq!(found.unwrap().bytes[listed.bytes.len()..], [b"zoe/a/b\0", &package.id.bytes()[..]].concat());
}

/// A package that five groups have roles on, two of them the viewer's: a team above its own, and another organization. In
/// the organization there are so many other teams, members and packages.
async fn organization_of(others: u64) -> World {
    let world = World::empty(true).await;
    let mut batch = crate::store::Batch::new();
    let app = world.add(&mut batch, 2, 0, "app", |_| {});
    world.member(&mut batch, 2, 0, false);
    world.member(&mut batch, 3, 0, false);
    for (team, parent) in [(1, None), (2, Some(1)), (3, Some(2)), (4, None), (5, None)] {
        world.team(&mut batch, 2, team, parent);
    }
    world.in_team(&mut batch, 2, 3, World::id(0));
    for group in [1, 4, 5].map(|team| Group::Team(TeamId(team))) {
        world.give_group(&mut batch, &app, group, Role::Read);
    }
    for owner in [2, 3] {
        world.give_group(&mut batch, &app, Group::Organization(World::id(owner)), Role::Write);
    }
    for n in 0..others {
        let parent = (n % 2 == 0).then_some(1 + n % 5);
        world.team(&mut batch, 2, 100 + n, parent);
        world.in_team(&mut batch, 2, 1 + n % 5, crate::model::OwnerId(100 + n));
        let package = world.add(&mut batch, 2, 0, &format!("other{n}"), |_| {});
        world.give_group(&mut batch, &package, Group::Team(TeamId(1 + n % 5)), Role::Write);
    }
    world.write(batch).await;
    world
}

#[tokio::test]
async fn a_decision_visits_what_its_user_belongs_to_and_not_what_there_is() {
    let mut costs = Vec::new();
    for others in [0, 900] {
        let world = organization_of(others).await;
        let viewer = Caller { actor: Actor::User(World::id(0)), ..world.anonymous() };
        let name = crate::model::PackageName::parse("a-b/app").unwrap();
        let before = world.visited();
        world.registry.policy().authorize::<crate::auth::Push>(&viewer, &name).await.unwrap();
        costs.push(world.visited() - before);
        // From then on the revisions of owner, package and user, and nothing else.
        let before = world.visited();
        world.registry.policy().authorize::<crate::auth::Push>(&viewer, &name).await.unwrap();
        assert_eq!(world.visited() - before, 3);
    }
    assert_eq!(costs[0], costs[1]);
    assert!(costs[0] < 40, "{costs:?}");
}
