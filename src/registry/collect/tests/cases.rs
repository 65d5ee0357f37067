//! Single cases of collection.

use super::world::{BEGIN, TTL, World, digest, image, index};
use crate::{
    auth::{Caller, Grant, Operate},
    model::{Digest, Timestamp},
    registry::{
        CollectionState,
        records::{
            BlobRecord, ManifestRecord,
            blob::{review_key, trash, trash_size},
            pin::{pin_key, pin_value},
        },
    },
    store::{Batch, Key, MetadataRead as _, MetadataStore as _, Space},
};

fn operator(world: &World, at: Timestamp) -> Grant<Operate> {
    world.registry.policy().authorize_system(&Caller::operator(at, "test".into())).unwrap()
}

async fn collect(world: &World, at: Timestamp) {
    for _ in 0..100 {
        if !world.registry.collect(at).await.unwrap() {
            return;
        }
    }
    panic!("collection does not come to an end");
}

#[tokio::test]
async fn the_bytes_of_a_collected_blob_stay_for_the_grace_period() {
    let world = World::new(1, 60).await;
    world.push(0, 1, BEGIN).await.unwrap();
    let over = BEGIN.plus_seconds(TTL);
    collect(&world, Timestamp(over.0 - 1)).await;
    assert!(world.stored(&digest(1)).await);
    let record = world.meta.get(&BlobRecord::key_of(&digest(1))).await.unwrap();
    collect(&world, over).await;
    assert!(world.records().await.is_empty());
    // Pushed again, it lies under another key; the old bytes go in their time, these stay.
    world.push(0, 1, over).await.unwrap();
    assert_ne!(world.meta.get(&BlobRecord::key_of(&digest(1))).await.unwrap(), record);
    let waiting = world.meta.scan(&trash(), None, 10).await.unwrap();
    assert_eq!(waiting.iter().map(|(_, value)| trash_size(value)).collect::<Vec<_>>(), [17_000]);
    let held = over.plus_seconds(TTL - 1);
    world.put(0, &image(2), held).await.unwrap();
    collect(&world, over.plus_seconds(60)).await;
    world.read(0, 1, over.plus_seconds(60)).await;
    world.assert_tidy().await;
}

#[tokio::test]
async fn untagged_manifests_children_and_referrers_stay() {
    let world = World::new(2, 0).await;
    let subject = Digest::sha256(&image(1));
    let referrer = serde_json::to_vec(&serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "a/b", "digest": digest(4).to_string(), "size": 10}, "layers": [],
        "subject": {"mediaType": "a/b", "digest": subject.to_string(), "size": image(1).len()},
    }))
    .unwrap();
    for blob in [0, 4] {
        world.push(0, blob, BEGIN).await.unwrap();
    }
    for document in [&image(1), &index(), &referrer] {
        world.put(0, document, BEGIN).await.unwrap();
    }
    let later = BEGIN.plus_seconds(1000 * TTL);
    collect(&world, later).await;
    for blob in [0, 4] {
        world.read(0, blob, later).await;
    }
    // The index keeps its child: it cannot be deleted first.
    world.delete(0, &image(1), later).await.unwrap_err();
    world.delete(0, &index(), later).await.unwrap();
    // The referrer outlives its subject, and what a deleted manifest names can still be restored.
    world.delete(0, &image(1), later).await.unwrap();
    let last = later.plus_seconds(1000 * TTL);
    collect(&world, last).await;
    world.read(0, 4, last).await;
    assert!(world.stored(&digest(0)).await);
    world.assert_tidy().await;
}

/// A package that named a digest as a blob names it as a manifest when it is pushed again: the blob loses its edge, and
/// somebody may have been told that it is here.
#[tokio::test]
async fn a_child_that_becomes_a_manifest_lets_its_blob_go() {
    let world = World::new(3, 0).await;
    world.push(0, 6, BEGIN).await.unwrap();
    world.put(0, &index(), BEGIN).await.unwrap();
    let later = BEGIN.plus_seconds(TTL);
    collect(&world, later).await;
    assert!(world.stored(&digest(6)).await, "the index names it as a blob");
    world.push(0, 0, later).await.unwrap();
    world.put(0, &image(1), later).await.unwrap();
    world.put(0, &index(), later).await.unwrap();
    collect(&world, Timestamp(later.0 + TTL * 1000 - 1)).await;
    world.read(0, 6, later).await;
    collect(&world, later.plus_seconds(TTL)).await;
    assert!(!world.stored(&digest(6)).await);
    world.assert_tidy().await;
}

#[tokio::test]
async fn what_cannot_be_read_is_put_off_and_keeps_nothing_else_waiting() {
    let world = World::new(4, 0).await;
    world.push(0, 1, BEGIN).await.unwrap();
    world.delete_blob(0, 1, BEGIN).await.unwrap();
    let broken = Digest::sha256(b"broken");
    let mut batch = Batch::new();
    batch.put(BlobRecord::key_of(&broken), vec![255]);
    batch.put(review_key(Timestamp(1), &broken), Vec::new());
    world.meta.commit(batch).await.unwrap();
    collect(&world, BEGIN).await;
    assert!(!world.stored(&digest(1)).await);
    let left = world.meta.scan(&Key::new(Space::Queue, b'q'), None, 10).await.unwrap();
    let left: Vec<_> = left.into_iter().map(|(key, _)| key).collect();
    assert!(left.contains(&review_key(BEGIN.plus_seconds(3600), &broken)), "{left:?}");
    assert!(world.meta.get(&BlobRecord::key_of(&broken)).await.unwrap().is_some());
}

#[tokio::test]
async fn many_leases_that_are_over_are_removed_first() {
    let world = World::new(5, 0).await;
    for package in 0..3 {
        world.push(package, 0, BEGIN).await.unwrap();
    }
    world.put(1, &image(1), BEGIN).await.unwrap();
    let over = BEGIN.plus_seconds(TTL);
    collect(&world, over).await;
    world.read(1, 0, over).await;
    world.assert_tidy().await;
    for package in [0, 2] {
        world.push(package, 2, over).await.unwrap();
    }
    collect(&world, over.plus_seconds(TTL)).await;
    assert!(!world.stored(&digest(2)).await);
    world.assert_tidy().await;
}

#[tokio::test]
async fn paused_nothing_goes_until_it_is_resumed() {
    let world = World::new(6, 0).await;
    world.push(0, 1, BEGIN).await.unwrap();
    world.delete_blob(0, 1, BEGIN).await.unwrap();
    let grant = operator(&world, BEGIN);
    world.registry.set_collection_paused(&grant, true).await.unwrap();
    collect(&world, BEGIN).await;
    assert!(world.stored(&digest(1)).await);
    let figures = world.registry.collection_figures(&grant).await.unwrap();
    assert_eq!((figures.state, figures.due, figures.oldest), (CollectionState::Paused, 1, Some(BEGIN)));
    assert!(world.registry.collect_now(&grant, BEGIN, 10).await.is_err());
    let run = world.registry.collection_dry_run(&grant, 10).await.unwrap();
    assert_eq!((run.count, run.bytes, run.blobs[0].digest), (1, 17_000, digest(1)));
    world.registry.set_collection_paused(&grant, false).await.unwrap();
    // A step empties the trash first: what this one puts there goes in the next.
    collect(&world, BEGIN).await;
    assert!(!world.stored(&digest(1)).await);
    collect(&world, BEGIN).await;
    let done = world.registry.collection_figures(&grant).await.unwrap().done;
    assert_eq!(
        (done.collected, done.collected_bytes, done.deleted, done.freed_bytes),
        (1, 17_000, 1, 17_000)
    );
}

#[tokio::test]
async fn while_the_trash_is_kept_reviews_go_on_and_files_stay() {
    let world = World::new(7, 0).await;
    world.push(0, 1, BEGIN).await.unwrap();
    world.delete_blob(0, 1, BEGIN).await.unwrap();
    let pin = pin_key([7; 16]);
    let mut batch = Batch::new();
    batch.put(pin.clone(), pin_value(BEGIN.plus_seconds(60)));
    world.meta.commit(batch).await.unwrap();
    collect(&world, BEGIN).await;
    assert!(world.records().await.is_empty());
    assert_eq!(world.meta.scan(&trash(), None, 10).await.unwrap().len(), 1);
    let mut batch = Batch::new();
    batch.delete(pin);
    world.meta.commit(batch).await.unwrap();
    collect(&world, BEGIN).await;
    assert!(world.meta.scan(&trash(), None, 10).await.unwrap().is_empty());
}

/// A lease gives a manifest nothing to stand on when the blob's record is not there.
#[tokio::test]
async fn a_manifest_expects_the_bytes_and_not_only_the_lease() {
    let world = World::new(8, 0).await;
    world.push(0, 0, BEGIN).await.unwrap();
    let mut batch = Batch::new();
    batch.delete(BlobRecord::key_of(&digest(0)));
    world.meta.commit(batch).await.unwrap();
    assert!(super::is_unknown(&world.put(0, &image(1), BEGIN).await.unwrap_err()));
    let key = ManifestRecord::key_of(world.id(0), &Digest::sha256(&image(1)));
    assert!(world.meta.get(&key).await.unwrap().is_none());
}

/// HEAD finds a lease about to end, and a review finds it over, at the same time: one of the two is right.
#[tokio::test]
async fn what_is_said_to_be_here_stays() {
    let mut stayed = 0;
    for seed in 0..60 {
        let world = World::new(seed, 0).await;
        world.push(0, 1, BEGIN).await.unwrap();
        let asked = Timestamp(BEGIN.0 + TTL * 900);
        let (said, collected) =
            tokio::join!(world.head(0, 1, asked), world.registry.collect(BEGIN.plus_seconds(TTL)));
        collected.unwrap();
        if said.is_ok() {
            stayed += 1;
            world.read(0, 1, Timestamp(asked.0 + TTL * 500)).await;
        }
    }
    assert!((1..60).contains(&stayed), "the two meet in either order: {stayed}");
}

/// A lease that was given is not cut short by a request that began before it, or under another setting.
#[tokio::test]
async fn a_lease_never_gets_shorter() {
    let world = World::new(9, 0).await;
    let later = BEGIN.plus_seconds(TTL / 2);
    world.push(0, 1, later).await.unwrap();
    world.mount(0, 0, 1, BEGIN).await.unwrap();
    let end = later.plus_seconds(TTL);
    collect(&world, Timestamp(end.0 - 1)).await;
    assert!(world.stored(&digest(1)).await);
    collect(&world, end).await;
    assert!(!world.stored(&digest(1)).await);
}
