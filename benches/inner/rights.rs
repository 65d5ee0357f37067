//! Who asks, and may they: over 10 and over 100,000 users with a package each. The first figure is of one caller who
//! comes again and again, the second of callers who come in turn, more of them than the caches keep.

use std::{cell::Cell, sync::OnceLock};

use criterion::{BenchmarkId, Criterion};
use http::HeaderMap;
use packhouse::{
    auth::{Authenticator, Caller, Grant, Pull},
    model::PackageName,
};

use crate::world::{World, name};

/// Callers who come in turn.
const TURNS: usize = 20_000;
/// Entries of each list, of which one is for the same caller.
type Askers = Vec<(Caller, PackageName, HeaderMap)>;

async fn check(authenticator: &Authenticator, headers: &HeaderMap, caller: &Caller) -> Caller {
    let found = authenticator.authenticate(headers, caller.at, caller.request.clone()).await;
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

criterion::criterion_group!(group, rights);
