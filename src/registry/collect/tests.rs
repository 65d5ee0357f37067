//! Collection against a simple model, under random interleavings: every call of the metadata store yields a random number
//! of times, so operations that run at once interleave between any two reads and writes. And the single cases.

mod cases;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use world::{BLOBS, PACKAGES, Step, TTL, World, is_unknown};

use crate::model::Timestamp;

/// What is done. Numbers stand for packages and blobs.
#[derive(Debug, Clone)]
enum Op {
    Push(usize, usize),
    Mount(usize, usize, usize),
    Head(usize, usize),
    /// An image of the blobs whose bits are set.
    Put(usize, u8),
    /// An index that names an image, which may be there as a manifest, as a blob, or not at all.
    Index(usize),
    DeleteManifest(usize, u8),
    DeleteIndex(usize),
    DeleteBlob(usize, usize),
    /// So many milliseconds later than what runs at the same time: a request may take as long.
    Collect(u64),
}

impl Op {
    async fn run(&self, world: &World, at: Timestamp) -> Step {
        match *self {
            Self::Push(package, blob) => world.push(package, blob, at).await,
            Self::Mount(into, from, blob) => world.mount(into, from, blob, at).await,
            Self::Head(package, blob) => world.head(package, blob, at).await,
            Self::Put(package, mask) => world.put(package, &world::image(mask), at).await,
            Self::Index(package) => world.put(package, &world::index(), at).await,
            Self::DeleteManifest(package, mask) => world.delete(package, &world::image(mask), at).await,
            Self::DeleteIndex(package) => world.delete(package, &world::index(), at).await,
            Self::DeleteBlob(package, blob) => world.delete_blob(package, blob, at).await,
            Self::Collect(later) => world.registry.collect(Timestamp(at.0 + later)).await.map(|_| ()),
        }
    }
}

/// What was acknowledged: until when a package may rely on a blob, and which manifests it has.
#[derive(Debug, Default)]
struct Model {
    leases: BTreeMap<(usize, usize), u64>,
    live: BTreeMap<(usize, u8), bool>,
}

impl Model {
    fn holds(&self, package: usize, blob: usize, at: Timestamp) -> bool {
        let leased = self.leases.get(&(package, blob)).is_some_and(|ends| *ends > at.0);
        let named = self.live.iter().any(|((there, mask), live)| {
            *live && *there == package && world::named(*mask).any(|named| named == blob)
        });
        leased || named
    }

    /// Judges what operations said that began at `at` and ran at once until `end`, and takes it in.
    fn take(&mut self, ops: &[Op], said: &[Step], at: Timestamp, end: Timestamp) {
        let done: Vec<&Op> =
            ops.iter().zip(said).filter(|(_, said)| said.is_ok()).map(|(op, _)| op).collect();
        let dropped = |package: usize, blob: usize| {
            done.iter().any(|op| matches!(op, Op::DeleteBlob(p, b) if (*p, *b) == (package, blob)))
        };
        for (op, said) in ops.iter().zip(said) {
            // Nobody may be told that what was promised is not there.
            let relied_on: Vec<(usize, usize)> = match op {
                Op::Head(package, blob) => vec![(*package, *blob)],
                Op::Put(package, mask) => world::named(*mask).map(|blob| (*package, blob)).collect(),
                _ => continue,
            };
            let promised = relied_on.iter().all(|(p, b)| self.holds(*p, *b, end) && !dropped(*p, *b));
            assert!(!(promised && said.as_ref().is_err_and(is_unknown)), "{op:?}: {said:?}");
        }
        for op in &done {
            let (promises, ends): (Vec<_>, u64) = match op {
                Op::Push(package, blob) | Op::Mount(package, _, blob) => {
                    (vec![(*package, *blob)], TTL * 1000)
                }
                Op::Head(package, blob) => (vec![(*package, *blob)], TTL * 500),
                Op::DeleteManifest(package, mask) => {
                    (world::named(*mask).map(|blob| (*package, blob)).collect(), TTL * 1000)
                }
                _ => continue,
            };
            for promise in promises {
                let known = self.leases.entry(promise).or_default();
                *known = (*known).max(at.0 + ends);
            }
        }
        for op in &done {
            match op {
                Op::DeleteBlob(package, blob) => _ = self.leases.remove(&(*package, *blob)),
                Op::Put(package, mask) => _ = self.live.insert((*package, *mask), true),
                _ => {}
            }
        }
        for op in &done {
            // Put and deleted at once: either order is one. What it is, is not relied on.
            if let Op::DeleteManifest(package, mask) = op {
                self.live.insert((*package, *mask), false);
            }
        }
    }
}

fn op() -> impl Strategy<Value = Op> {
    let package = 0..PACKAGES;
    let blob = 0..BLOBS;
    let mask = prop_oneof![Just(1_u8), Just(3), Just(7), Just(9), Just(48), Just(56)];
    prop_oneof![
        4 => (package.clone(), blob.clone()).prop_map(|(p, b)| Op::Push(p, b)),
        2 => (package.clone(), package.clone(), blob.clone()).prop_map(|(p, from, b)| Op::Mount(p, from, b)),
        3 => (package.clone(), blob.clone()).prop_map(|(p, b)| Op::Head(p, b)),
        4 => (package.clone(), mask.clone()).prop_map(|(p, m)| Op::Put(p, m)),
        1 => package.clone().prop_map(Op::Index),
        2 => (package.clone(), mask).prop_map(|(p, m)| Op::DeleteManifest(p, m)),
        1 => package.clone().prop_map(Op::DeleteIndex),
        2 => (package, blob).prop_map(|(p, b)| Op::DeleteBlob(p, b)),
        4 => prop_oneof![Just(0), 0..TTL * 500, Just(TTL * 1000)].prop_map(Op::Collect),
    ]
}

/// Groups of operations that run at once, with the time that passes before each, in milliseconds.
fn groups() -> impl Strategy<Value = Vec<(u64, Vec<Op>)>> {
    let pause = prop_oneof![4 => 1..50_u64, 2 => Just(TTL * 1000), 2 => TTL * 500..TTL * 1000, 1 => Just(TTL * 500 + 1), 1 => Just(TTL * 2000)];
    prop::collection::vec((pause, prop::collection::vec(op(), 1..5)), 1..40)
}

async fn check(groups: &[(u64, Vec<Op>)], seed: u64, grace: u64) {
    let world = World::new(seed, grace).await;
    let mut model = Model::default();
    let mut at = world::BEGIN;
    for (pause, ops) in groups {
        at = Timestamp(at.0 + pause);
        let said = futures_util::future::join_all(ops.iter().map(|op| op.run(&world, at))).await;
        let later = ops.iter().map(|op| if let Op::Collect(later) = op { *later } else { 0 });
        let end = Timestamp(at.0 + later.max().unwrap_or(0));
        model.take(ops, &said, at, end);
        at = end;
        // Reachable is stored: every blob that a manifest's record names, live or restorable; every acknowledged one.
        for digest in world.reachable().await {
            assert!(world.stored(&digest).await, "{digest} is named and not stored");
        }
        for package in 0..PACKAGES {
            for blob in (0..BLOBS).filter(|blob| model.holds(package, *blob, at)) {
                world.read(package, blob, at).await;
            }
        }
    }
    // Stored is reachable, once every lease is over and the trash is empty.
    for _ in 0..2 {
        at = at.plus_seconds(2 * TTL + grace);
        let mut steps = 0;
        while world.registry.collect(at).await.unwrap() {
            steps += 1;
            assert!(steps < 100, "collection does not come to an end");
        }
    }
    let reachable: BTreeSet<_> = world.reachable().await.into_iter().collect();
    assert_eq!(world.records().await, reachable);
    world.assert_tidy().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, failure_persistence: None,
        max_shrink_iters: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_is_reachable_stays_and_the_rest_goes(groups in groups(), seed in any::<u64>(), grace in 0_u64..3) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(&groups, seed, grace));
    }
}
