//! What a digest is that a manifest names: a blob, a manifest, or both, whichever came first.

use bytes::Bytes;

use super::{
    bench::{APP, World, image, index, noise},
    invariants,
};
use crate::{
    auth::{Caller, Delete, Pull, Restore},
    error::{Kind, Reason, Result},
    model::{Digest, Reference},
    registry::{Settings, Sparse},
};

async fn world(sparse: Sparse, all: &[&Bytes]) -> World {
    let mut world = World::new(Settings { sparse, space_reserve: 0, ..Settings::default() }).await;
    world.know(all);
    world
}

async fn delete(world: &World, bytes: &Bytes) -> Result<()> {
    let grant = world.grant::<Delete>(APP).await?;
    world.registry.delete_manifest(&grant, &Digest::sha256(bytes)).await
}

async fn restore(world: &World, bytes: &Bytes) {
    let grant = world.grant::<Restore>(APP).await.unwrap();
    world.registry.restore_manifest(&grant, &Digest::sha256(bytes)).await.unwrap();
}

async fn reads_blob(world: &World, bytes: &Bytes) -> bool {
    let grant = world.grant::<Pull>(APP).await.unwrap();
    world.registry.stat_blob(&grant, &Digest::sha256(bytes)).await.is_ok()
}

fn tidy(world: &World) {
    assert_eq!(invariants::check(&world.stored()), invariants::Orphans::default());
}

/// A client that pushes a manifest's bytes as a blob, an index that names them, and then the manifest.
#[tokio::test]
async fn a_child_known_as_a_blob_first_is_not_deleted_under_its_index() {
    let config = noise(1, 40);
    let child = image(&config, &[]);
    let index = index(&[&child]);
    for deleted_between in [false, true] {
        let world = world(Sparse::Indexes, &[&config, &child, &index]).await;
        world.push(APP, &config).await.unwrap();
        world.push(APP, &child).await.unwrap();
        if deleted_between {
            world.put(APP, &child, None).await.unwrap();
            delete(&world, &child).await.unwrap();
        }
        world.put(APP, &index, Some("all")).await.unwrap();
        if deleted_between {
            restore(&world, &child).await;
        } else {
            world.put(APP, &child, None).await.unwrap();
        }
        let refused = delete(&world, &child).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::Forbidden(Reason::InUse), "{refused}");
        let grant = world.grant::<Pull>(APP).await.unwrap();
        let there = Reference::Digest(Digest::sha256(&child));
        world.registry.stat_manifest(&grant, &there).await.unwrap();
        tidy(&world);
        // With the index it may go, and come back with it.
        delete(&world, &index).await.unwrap();
        delete(&world, &child).await.unwrap();
        restore(&world, &index).await;
        tidy(&world);
        assert!(reads_blob(&world, &child).await);
    }
}

/// A manifest that was deleted before an index named its bytes goes when its time is over, the index or not.
#[tokio::test]
async fn a_deleted_manifest_goes_though_a_live_index_has_its_bytes() {
    let config = noise(1, 40);
    let child = image(&config, &[]);
    let index = index(&[&child]);
    let world = world(Sparse::Indexes, &[&config, &child, &index]).await;
    world.push(APP, &config).await.unwrap();
    world.put(APP, &child, None).await.unwrap();
    delete(&world, &child).await.unwrap();
    world.push(APP, &child).await.unwrap();
    world.put(APP, &index, Some("all")).await.unwrap();
    let later = world.at.plus_seconds(world.settings.keep_deleted + 1);
    let job = Caller::operator(later, "test".into());
    assert_eq!(world.registry.purge_deleted(&job, 100).await.unwrap(), 1);
    let grant = world.grant::<Restore>(APP).await.unwrap();
    let gone = world.registry.restore_manifest(&grant, &Digest::sha256(&child)).await.unwrap_err();
    assert!(matches!(gone.kind(), Kind::NotFound(_)), "{gone}");
    assert!(reads_blob(&world, &child).await);
    tidy(&world);
}

/// What waits for a blob has it when a manifest that holds it is restored, also who waits for two of them.
#[tokio::test]
async fn what_a_restored_manifest_holds_arrives_for_who_waits_for_it() {
    let [config, one, two] = [(1, 40), (2, 20_000), (3, 50)].map(|(seed, length)| noise(seed, length));
    let held = image(&config, &[&one, &two]);
    let waits = image(&config, &[&two, &one]);
    let mut world = world(Sparse::All, &[&config, &one, &two, &held, &waits]).await;
    for blob in [&config, &one, &two] {
        world.push(APP, blob).await.unwrap();
    }
    world.put(APP, &held, None).await.unwrap();
    delete(&world, &held).await.unwrap();
    // Until the leases that a deletion leaves are over.
    world.at = world.at.plus_seconds(world.settings.lease_ttl + 1);
    world.put(APP, &waits, None).await.unwrap();
    assert!(!reads_blob(&world, &one).await, "it waits for what nobody holds");
    restore(&world, &held).await;
    tidy(&world);
    delete(&world, &held).await.unwrap();
    world.at = world.at.plus_seconds(world.settings.lease_ttl + 1);
    for blob in [&config, &one, &two] {
        assert!(reads_blob(&world, blob).await, "the other image holds it now");
    }
    tidy(&world);
}

/// A layer is bytes: a manifest of the same digest is not what an image waits for.
#[tokio::test]
async fn a_layer_that_is_waited_for_arrives_as_a_blob_only() {
    let config = noise(1, 40);
    let twofold = image(&config, &[]);
    let waits = image(&config, &[&twofold]);
    let world = world(Sparse::All, &[&config, &twofold, &waits]).await;
    world.push(APP, &config).await.unwrap();
    world.put(APP, &waits, Some("waits")).await.unwrap();
    world.put(APP, &twofold, None).await.unwrap();
    assert!(!reads_blob(&world, &twofold).await);
    tidy(&world);
    delete(&world, &twofold).await.unwrap();
    world.push(APP, &twofold).await.unwrap();
    let grant = world.grant::<Delete>(APP).await.unwrap();
    let refused = world.registry.delete_blob(&grant, &Digest::sha256(&twofold)).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Unsupported, "the image holds it: {refused}");
    tidy(&world);
}
