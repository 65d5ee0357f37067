//! Requests that run at once, woven into each other at every call of the store. Every state that the store comes to is
//! looked at ([`super::store::check`]), and at the end nothing of what went is left.

use futures_util::future::BoxFuture;
use packhouse::error::Result;
use proptest::prelude::*;

use super::{KEEP, LEASE, World, blobs_of, manifests, store::Records};

#[derive(Debug, Clone, Copy)]
enum Op {
    Push(usize, usize),
    Delete(usize),
    DeleteTag(usize),
    Restore(usize),
    RestoreTag(usize),
    DeletePackage,
    RestorePackage,
    Purge,
    Collect,
}

const TAGS: [&str; 3] = ["one", "two", "three"];

fn op() -> impl Strategy<Value = Op> {
    let (manifest, tag) = (0..manifests().len(), 0..TAGS.len());
    prop_oneof![
        5 => (manifest.clone(), 0..=TAGS.len()).prop_map(|(manifest, tag)| Op::Push(manifest, tag)),
        5 => manifest.clone().prop_map(Op::Delete),
        1 => tag.clone().prop_map(Op::DeleteTag),
        5 => manifest.prop_map(Op::Restore),
        1 => tag.prop_map(Op::RestoreTag),
        1 => Just(Op::DeletePackage),
        2 => Just(Op::RestorePackage),
        3 => Just(Op::Purge),
        3 => Just(Op::Collect),
    ]
}

impl Op {
    async fn run(self, world: &World) -> Result<()> {
        let manifests = manifests();
        match self {
            Self::Push(manifest, tag) => {
                for blob in blobs_of(&manifests[manifest]) {
                    world.push_blob(&blob).await?;
                }
                world.put(&manifests[manifest], &TAGS[tag.min(TAGS.len() - 1)..tag.min(TAGS.len())]).await
            }
            Self::Delete(manifest) => world.delete(&manifests[manifest]).await,
            Self::DeleteTag(tag) => world.delete_tag(TAGS[tag]).await,
            Self::Restore(manifest) => world.restore(&manifests[manifest]).await.map(|_| ()),
            Self::RestoreTag(tag) => world.restore_tag(TAGS[tag]).await.map(|_| ()),
            Self::DeletePackage => world.delete_package().await,
            Self::RestorePackage => world.restore_package().await,
            Self::Purge => {
                world.registry.purge_deleted(&world.job(), 5).await?;
                world.registry.expire_unused(world.now).await.map(|_| ())
            }
            Self::Collect => {
                world.meta.collect(world.now).await;
                Ok(())
            }
        }
    }
}

/// What went for good left nothing, and what is deleted does not stay for ever.
async fn check_end(world: &mut World) {
    if world.may::<packhouse::auth::Delete>().await.is_ok() {
        world.delete_package().await.unwrap();
    }
    for _ in 0..3 {
        world.wind(KEEP + LEASE + 1);
        world.purge().await;
        world.registry.expire_unused(world.now).await.unwrap();
    }
    world.meta.collect(world.now).await;
    let all = world.meta.everything().await;
    let records = Records::read(&all);
    assert!(records.packages.is_empty() && records.manifests.is_empty() && records.tags.is_empty());
    assert!(records.deleted_tags.is_empty() && records.blobs.is_empty());
    for key in all.keys() {
        let what = (key.space.word(), char::from(key.bytes[0]));
        // Reviews are collection's, events stay; what else there is belongs to accounts, or counts revisions.
        let stays = matches!(what, ("queue", 'q' | 't') | ("event", _))
            || matches!(what, ("meta", tag) if !"pnPNgGuUy".contains(tag));
        assert!(stays, "{what:?} is left: {}", hex::encode(&key.bytes));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_runs_at_once_breaks_nothing(
        seed in 1u64..,
        rounds in prop::collection::vec((prop::collection::vec(op(), 1..5), 0u64..60), 1..14),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new(seed).await;
            for (ops, seconds) in rounds {
                let running: Vec<BoxFuture<'_, Result<()>>> =
                    ops.iter().map(|op| Box::pin(op.run(&world)) as _).collect();
                for (op, ended) in ops.iter().zip(futures_util::future::join_all(running).await) {
                    // Refused or done; nothing here is a fault.
                    assert!(ended.as_ref().is_ok_and(|()| true) || !ended.as_ref().unwrap_err().is_fault(), "{op:?}: {ended:?}");
                }
                world.wind(seconds);
            }
            check_end(&mut world).await;
        });
    }
}

/// The two that must not pass each other: an index comes back while one of its manifests goes.
#[test]
fn an_index_never_comes_back_to_less_than_it_had() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut came_back = 0;
    for seed in 1..60 {
        runtime.block_on(async {
            let world = World::new(seed).await;
            for op in [Op::Push(0, 3), Op::Push(1, 3), Op::Push(4, 3), Op::Delete(4)] {
                op.run(&world).await.unwrap();
            }
            // The store looks at every state.
            let restored = async {
                // The deletion has more to read, and gets a start, of another length each time.
                for _ in 0..seed {
                    tokio::task::yield_now().await;
                }
                Op::Restore(4).run(&world).await
            };
            let (restored, deleted) = tokio::join!(restored, Op::Delete(1).run(&world));
            restored.unwrap();
            came_back += usize::from(deleted.is_ok());
        });
    }
    assert!((1..59).contains(&came_back), "both orders happen: {came_back}");
}
