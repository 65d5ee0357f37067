//! Only what nothing points at goes, and only in its time.

use super::*;
use crate::{
    registry::{
        Settings,
        fsck::tests::world::{World, now, sample},
        records::blob::{trash_key, trash_value},
    },
    store::{BlobStore as _, MetadataStore as _},
};

const MINUTE: Duration = Duration::from_secs(60);

fn with_grace(world: &World, grace: Duration) {
    world.registry().set_settings(Settings { orphan_grace: grace.as_secs(), ..Settings::default() });
}

fn stray(world: &World) -> PhysicalKey {
    let key = PhysicalKey::random().unwrap();
    world.memory.blobs.rot(key, Some(Bytes::from_static(b"stray")));
    key
}

async fn is_there(world: &World, key: PhysicalKey) -> bool {
    world.memory.blobs.stat(key).await.unwrap().is_some()
}

async fn watched(world: &World) -> usize {
    world.memory.meta.scan(&seen_all(), None, 1000).await.unwrap().len()
}

#[test]
fn the_stored_form_is_these_bytes() {
    let seen = Seen { first: Timestamp(0x0102), watched: 3 };
    let golden = b"\x01\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0\x03";
    assert_eq!(seen.encode().as_ref(), golden);
    assert_eq!(Seen::decode(golden).unwrap(), seen);
    assert!(Seen::decode(&golden[..16]).is_err() && Seen::decode(b"\x02").is_err());
    assert_eq!(seen_key(PhysicalKey([7; 16])).bytes, [b"o".as_slice(), &[7; 16]].concat());
}

#[tokio::test]
async fn a_file_goes_when_it_was_watched_and_is_old() {
    let world = World::new().await;
    with_grace(&world, 10 * MINUTE);
    let file = stray(&world);
    let sweep = async |watched| world.registry().sweep_watched(now(), watched).await.unwrap();
    // Not at first sight, however long the program ran before; nor while it is young, however long it was watched.
    assert_eq!(sweep(60 * MINUTE).await, 0);
    assert_eq!(sweep(60 * MINUTE).await, 0);
    world.memory.blobs.age(11 * MINUTE);
    let other = stray(&world);
    assert_eq!(sweep(Duration::ZERO).await, 1);
    assert!(!is_there(&world, file).await);
    // Old, and not watched for long; the clock does not count.
    for _ in 0..9 {
        let later = Timestamp(now().0 * 2);
        assert_eq!(world.registry().sweep_watched(later, MINUTE).await.unwrap(), 0);
    }
    assert!(is_there(&world, other).await);
    assert_eq!(watched(&world).await, 1);
    assert_eq!(sweep(MINUTE).await, 1);
    assert!(!is_there(&world, other).await);
    assert_eq!(watched(&world).await, 0);
    assert!(world.check(true, false).await.is_empty());
    world.whole().await;
}

#[tokio::test]
async fn what_is_pointed_at_stays() {
    let world = World::new().await;
    with_grace(&world, Duration::ZERO);
    world.memory.blobs.age(MINUTE);
    let file = stray(&world);
    assert_eq!(world.registry().sweep_watched(now(), MINUTE).await.unwrap(), 0);
    let mut batch = Batch::new();
    batch.put(trash_key(now().plus_seconds(9), file), trash_value(5));
    world.memory.meta.commit(batch).await.unwrap();
    for _ in 0..3 {
        assert_eq!(world.registry().sweep_watched(now(), MINUTE).await.unwrap(), 0);
    }
    assert!(is_there(&world, file).await);
    assert_eq!(watched(&world).await, 0, "it is forgotten once something points at it");
    world.whole().await;
    // What leaves by itself is forgotten, too.
    let gone = stray(&world);
    world.registry().sweep_watched(now(), MINUTE).await.unwrap();
    world.memory.blobs.delete(gone).await.unwrap();
    world.registry().sweep_watched(now(), MINUTE).await.unwrap();
    assert_eq!(watched(&world).await, 0);
}

/// A kill between the lasting name and the record leaves a session whose bytes are among the blobs.
#[tokio::test]
async fn what_a_session_may_still_become_stays() {
    let world = World::new().await;
    with_grace(&world, Duration::ZERO);
    let session = world.session().await;
    let Held::File(file) = session.held else { panic!("a session with a file") };
    world.memory.blobs.publish(file, session.offset).await.unwrap();
    world.memory.blobs.age(MINUTE);
    for _ in 0..3 {
        assert_eq!(world.registry().sweep_watched(now(), MINUTE).await.unwrap(), 0);
    }
    assert!(is_there(&world, file).await);
    // When the session is gone nothing points at them.
    let mut batch = Batch::new();
    batch.replace(Some(&session), None);
    world.memory.meta.commit(batch).await.unwrap();
    for _ in 0..2 {
        world.registry().sweep_watched(now(), MINUTE).await.unwrap();
    }
    assert!(!is_there(&world, file).await);
}

#[tokio::test]
async fn when_records_seem_to_be_missing_nothing_goes() {
    let world = World::new().await;
    with_grace(&world, Duration::ZERO);
    world.memory.blobs.age(MINUTE);
    let strays: Vec<_> = (0..=FEW).map(|_| stray(&world)).collect();
    for _ in 0..3 {
        assert_eq!(world.registry().sweep_watched(now(), MINUTE).await.unwrap(), 0);
    }
    for file in strays {
        assert!(is_there(&world, file).await);
    }
    // As many beside twice as many that are known are what they seem.
    for seed in 0..100 {
        let bytes: Bytes = sample(17_000, seed);
        world.push(&bytes).await;
    }
    for _ in 0..2 {
        world.registry().sweep_watched(now(), MINUTE).await.unwrap();
    }
    assert_eq!(world.memory.blobs.list(None, 1000).await.unwrap().len(), 101);
}

#[tokio::test]
async fn when_a_record_cannot_be_read_nothing_goes() {
    let world = World::new().await;
    with_grace(&world, Duration::ZERO);
    let file = stray(&world);
    world.edit(|batch| batch.put(BlobRecord::key_of(&world.layer), "?")).await;
    for _ in 0..3 {
        assert!(world.registry().sweep_watched(now(), MINUTE).await.is_err());
    }
    assert!(is_there(&world, file).await);
}
