//! Who asks, and may they: over 10 and over 100,000 users with a package each. The first figure is of one caller who
//! comes again and again, the second of callers who come in turn, more of them than the caches keep. And in an organization
//! of 100 teams with 1,000 roles on its packages.

use std::{cell::Cell, sync::OnceLock};

use criterion::{BenchmarkId, Criterion};
use http::HeaderMap;
use packhouse::{
    auth::{Authenticator, Caller, Grant, Manage, Pull},
    model::{OwnerName, PackageName, Role, TeamName},
    registry::{permissions::GroupName, records::Membership},
};

use crate::world::{World, name};

/// Callers who come in turn.
const TURNS: usize = 20_000;
/// Entries of each list, of which one is for the same caller.
type Askers = Vec<(Caller, PackageName, HeaderMap)>;

async fn check(authenticator: &Authenticator, headers: &HeaderMap, caller: &Caller) -> Caller {
    let found =
        authenticator.authenticate(headers, Caller::anonymous(caller.at, caller.request.clone())).await;
    found.expect("a good token")
}

async fn authorize(world: &World, caller: &Caller, name: &PackageName) -> Grant<Pull> {
    world.grant(caller, name).await
}

/// An installation of so many users, each with a package of its own, and those who ask.
fn installation(users: usize) -> (World, Askers) {
    let world = World::new();
    let askers: Vec<OnceLock<_>> = (0..TURNS.min(users)).map(|_| OnceLock::new()).collect();
    world.many(users, async |number| {
        let caller = world.user(&format!("user{number:06}")).await;
        let name = name(&format!("user{number:06}/app"));
        world.package(&caller, &name).await;
        // Those who ask are spread over all of them.
        let stride = (users / askers.len()).max(1);
        if number.is_multiple_of(stride)
            && let Some(place) = askers.get(number / stride)
        {
            let headers = world.headers(&caller, &name).await;
            place.get_or_init(|| (caller, name, headers));
        }
    });
    (world, askers.into_iter().filter_map(OnceLock::into_inner).collect())
}

const TEAMS: usize = 100;
const PACKAGES: usize = 100;
/// Teams with a role on each package.
const ROLES: usize = 10;

fn team(number: usize) -> TeamName {
    TeamName::parse(&format!("acme/team{number:03}")).expect("a name")
}

/// An organization whose teams are five deep, with roles on its packages, and a member of the lowest of the first five.
fn organization() -> (World, Caller, PackageName) {
    let world = World::new();
    let member = world.runtime.block_on(async {
        let (_, member) = (world.user("owner").await, world.user("member").await);
        let operator = Caller::operator(world.registry.now(), "bench".into());
        let system = world.registry.policy().authorize_system(&operator).expect("the operator");
        let acme = OwnerName::parse("acme").expect("a name");
        world.registry.create_organization(&system, &acme, "owner").await.expect("an organization");
        let acme = world.registry.policy().authorize_owner(&operator, "acme").await.expect("the operator");
        world.registry.set_member(&acme, "member", Some(Membership::Member)).await.expect("a member");
        for number in 0..TEAMS {
            let above = (number % 5 != 0).then(|| team(number - 1));
            let above = above.as_ref().map(TeamName::team);
            world.registry.create_team(&acme, &team(number), above).await.expect("a team");
        }
        let lowest = team(4);
        let lead = world.registry.policy().authorize_team(&operator, "acme", lowest.team()).await;
        let lead = lead.expect("the operator");
        world.registry.set_team_member(&lead, "member", Some(false)).await.expect("a member");
        member
    });
    world.many(PACKAGES, async |number| {
        let operator = Caller::operator(world.registry.now(), "bench".into());
        let name = name(&format!("acme/app{number:03}"));
        world.package(&operator, &name).await;
        let manage = world.grant::<Manage>(&operator, &name).await;
        for role in 0..ROLES {
            let group = GroupName::Team(team((number + 10 * role) % TEAMS));
            let given = world.registry.set_group_role(&manage, &group, Some(Role::Read)).await;
            given.expect("a role");
        }
    });
    // The uppermost of the member's teams has a role on it.
    (world, member, name("acme/app000"))
}

fn teams(criterion: &mut Criterion) {
    let (world, caller, package) = organization();
    criterion.bench_function("rights/authorize_by_team", |bencher| {
        bencher.to_async(&world.runtime).iter(|| authorize(&world, &caller, &package));
    });
    criterion.bench_function("rights/catalog_by_team", |bencher| {
        bencher.to_async(&world.runtime).iter(|| world.registry.catalog(&caller, None, 100));
    });
}

fn rights(criterion: &mut Criterion) {
    for users in [10, 100_000] {
        let (world, askers) = installation(users);
        let (world, askers) = (&world, &askers);
        let authenticator = world.registry.authenticator();
        let (caller, package, headers) = &askers[0];
        let mut group = criterion.benchmark_group("rights");
        group.bench_function(BenchmarkId::new("token_check", users), |bencher| {
            bencher.to_async(&world.runtime).iter(|| check(&authenticator, headers, caller));
        });
        group.bench_function(BenchmarkId::new("authorize", users), |bencher| {
            bencher.to_async(&world.runtime).iter(|| authorize(world, caller, package));
        });
        group.bench_function(BenchmarkId::new("both", users), |bencher| {
            bencher.to_async(&world.runtime).iter(async || {
                authorize(world, &check(&authenticator, headers, caller).await, package).await
            });
        });
        let turn = Cell::new(0);
        group.bench_function(BenchmarkId::new("both_in_turn", users), |bencher| {
            bencher.to_async(&world.runtime).iter(|| {
                let (caller, package, headers) = &askers[turn.get() % askers.len()];
                turn.set(turn.get() + 1);
                let authenticator = &authenticator;
                async move { authorize(world, &check(authenticator, headers, caller).await, package).await }
            });
        });
        // One who sees one package of all: what a page of the catalog costs then.
        group.sample_size(10).bench_function(BenchmarkId::new("catalog_of_one", users), |bencher| {
            bencher.to_async(&world.runtime).iter(|| world.registry.catalog(caller, None, 100));
        });
        group.finish();
    }
}

criterion::criterion_group!(group, rights, teams);
