//! What is damaged is found, kept from everybody, and repaired by whoever pushes it again.

use std::{collections::BTreeMap, time::Duration};

use futures_util::StreamExt;

use super::*;
use crate::{
    auth::{Caller, Grant, Operate, Publish, Pull, Push},
    error::What,
    model::{PackageName, PhysicalKey},
    registry::{
        Settings,
        fsck::tests::world::{World, chunk, now, sample},
        scrub::round::{Round, Scrubbed},
    },
};

const FAST: u64 = 1 << 40;

fn set(world: &World, change: impl FnOnce(&mut Settings)) {
    let mut settings = Settings { scrub_rate: FAST, ..Settings::default() };
    change(&mut settings);
    world.registry().set_settings(settings);
}

fn operator() -> Caller {
    Caller::operator(now(), "test".into())
}

fn system(world: &World) -> Grant<Operate> {
    world.registry().policy().authorize_system(&operator()).unwrap()
}

async fn pull(world: &World, path: &str) -> Grant<Pull> {
    world.registry().policy().authorize(&operator(), &PackageName::parse(path).unwrap()).await.unwrap()
}

/// Another package, to which blobs are mounted.
async fn other(world: &World) -> Grant<Push> {
    let name = PackageName::parse("acme/other").unwrap();
    let policy = world.registry().policy();
    if let Publish::New(grant) = policy.authorize_publish(&operator(), &name).await.unwrap() {
        world.registry().allocate(&grant, &name).await.unwrap();
    }
    policy.authorize(&operator(), &name).await.unwrap()
}

/// Steps until a round has ended.
async fn round(world: &World) -> Round {
    for _ in 0..1000 {
        if !world.registry().scrub(now()).await.unwrap() {
            return world.registry().scrubbed().await.unwrap().last.unwrap();
        }
    }
    panic!("the round does not end");
}

async fn quarantined(world: &World) -> BTreeMap<Digest, Damage> {
    let page = world.registry().quarantined(&system(world), None, 1000).await.unwrap();
    page.into_iter().map(|blob| (blob.digest, blob.quarantine.damage)).collect()
}

async fn read(world: &World, path: &str, digest: &Digest) -> Result<Vec<u8>> {
    let blob = world.registry().blob(&pull(world, path).await, digest).await?;
    let mut stream = blob.stream(0, blob.size);
    let mut all = Vec::new();
    while let Some(bytes) = stream.next().await {
        all.extend_from_slice(&bytes?);
    }
    Ok(all)
}

fn flipped(bytes: &Bytes) -> Bytes {
    let mut other = bytes.to_vec();
    let middle = other.len() / 2;
    other[middle] ^= 0x10;
    other.into()
}

#[tokio::test]
async fn a_round_finds_all_that_is_damaged_and_nothing_else() {
    let world = World::new().await;
    set(&world, |_| ());
    let (mut files, mut planted) = (Vec::new(), BTreeMap::new());
    for seed in 10..50 {
        let bytes = sample(17_000 + usize::from(seed), seed);
        let digest = world.push(&bytes).await;
        files.push((digest, world.file_of(&digest).await, bytes));
    }
    let rot = |key: PhysicalKey, bytes: Option<Bytes>| world.memory.blobs.rot(key, bytes);
    for (at, (digest, key, bytes)) in files.iter().enumerate() {
        let (stored, damage) = match at % 8 {
            0 => (Some(flipped(bytes)), Damage::Altered),
            1 => (Some(bytes.slice(..bytes.len() - 1)), Damage::Size),
            2 => (None, Damage::Missing),
            3 => (Some([bytes, b"more".as_slice()].concat().into()), Damage::Size),
            4 => (Some(Bytes::from(vec![0; bytes.len()])), Damage::Altered),
            _ => continue,
        };
        rot(*key, stored);
        planted.insert(*digest, damage);
    }
    // Two of one size that lie in each other's place.
    let (first, second) = (sample(20_000, 90), sample(20_000, 91));
    for (bytes, in_place) in [(&first, &second), (&second, &first)] {
        let digest = world.push(bytes).await;
        rot(world.file_of(&digest).await, Some(in_place.clone()));
        planted.insert(digest, Damage::Altered);
    }
    let small = sample(100, 92);
    let digest = world.push(&small).await;
    world.edit(|batch| batch.put(BlobRecord::inline_key(&digest), flipped(&small))).await;
    planted.insert(digest, Damage::Altered);

    let made = round(&world).await;
    assert_eq!(quarantined(&world).await, planted);
    assert_eq!((made.damaged, made.healed), (planted.len() as u64, 0));
    assert_eq!(made.blobs, 2 + 40 + 2 + 1);
    world.whole().await;
    // The next round is not due before its time.
    assert!(!world.registry().scrub(now()).await.unwrap());
    assert_eq!(world.registry().scrubbed().await.unwrap().round, None);
    // A round at once finds nothing new; and what the disk gives back comes out.
    for (_, key, bytes) in &files {
        rot(*key, Some(bytes.clone()));
    }
    let (say, mut heard) = tokio::sync::mpsc::channel(1);
    let operate = system(&world);
    let (made, ()) = tokio::join!(world.registry().scrub_now(&operate, say), async {
        while heard.recv().await.is_some() {}
    });
    let made = made.unwrap();
    assert_eq!((made.damaged, made.healed), (0, 25));
    assert_eq!(quarantined(&world).await.len(), 3);
}

/// A disk that was away and is back: what it has is served again long before the next round.
#[tokio::test]
async fn what_comes_back_is_let_out_without_a_round() {
    let world = World::new().await;
    let mut files = Vec::new();
    for seed in 80..83 {
        let bytes = sample(20_000, seed);
        let digest = world.push(&bytes).await;
        files.push((digest, world.file_of(&digest).await, bytes));
    }
    let rot = |at: usize, bytes: Option<Bytes>| world.memory.blobs.rot(files[at].1, bytes);
    let heal = async || world.registry().heal(now()).await.unwrap();
    rot(0, None);
    rot(1, None);
    rot(2, Some(flipped(&files[2].2)));
    for (digest, ..) in &files {
        world.registry().suspect(*digest).await;
    }
    assert_eq!((heal().await, quarantined(&world).await.len()), (0, 3));
    rot(0, Some(files[0].2.clone()));
    // There again, and not what it was.
    rot(1, Some(flipped(&files[1].2)));
    assert_eq!(heal().await, 1);
    assert_eq!(read(&world, "acme/app", &files[0].0).await.unwrap(), files[0].2);
    let left = quarantined(&world).await;
    assert_eq!(left, BTreeMap::from([(files[1].0, Damage::Altered), (files[2].0, Damage::Altered)]));
}

#[tokio::test]
async fn what_is_in_quarantine_is_promised_to_nobody_and_repaired_for_everybody() {
    let world = World::new().await;
    set(&world, |_| ());
    let into = other(&world).await;
    let cases = [(sample(30_000, 70), false), (sample(300, 71), true)];
    for (bytes, inline) in cases {
        let digest = world.push(&bytes).await;
        let from = pull(&world, "acme/app").await;
        assert!(world.registry().mount_blob(&into, &from, &digest).await.unwrap());
        if inline {
            world.edit(|batch| batch.put(BlobRecord::inline_key(&digest), flipped(&bytes))).await;
        } else {
            world.memory.blobs.rot(world.file_of(&digest).await, Some(flipped(&bytes)));
        }
        world.registry().suspect(digest).await;
        assert_eq!(quarantined(&world).await.get(&digest), Some(&Damage::Altered));
        for path in ["acme/app", "acme/other"] {
            assert_eq!(read(&world, path, &digest).await.unwrap_err().kind(), Kind::Internal);
            let head = world.registry().stat_blob(&pull(&world, path).await, &digest).await;
            assert_eq!(head.unwrap_err().kind(), Kind::NotFound(What::Blob));
        }
        assert!(!world.registry().mount_blob(&into, &from, &digest).await.unwrap());
        assert_eq!(
            world.put_naming(&digest, bytes.len()).await.unwrap_err().kind(),
            Kind::NotFound(What::ManifestBlob)
        );

        // Whoever has it may push it; all who had it have it again.
        let again = world.registry().put_blob(other(&world).await, chunk(&bytes), digest).await.unwrap();
        assert_eq!(again, bytes.len() as u64);
        for path in ["acme/app", "acme/other"] {
            assert_eq!(read(&world, path, &digest).await.unwrap(), bytes);
            world.registry().stat_blob(&pull(&world, path).await, &digest).await.unwrap();
        }
        world.put_naming(&digest, bytes.len()).await.unwrap();
        assert!(quarantined(&world).await.is_empty());
        assert!(world.check(true, false).await.is_empty());
    }
}

#[tokio::test]
async fn a_push_repairs_what_nobody_had_noticed() {
    let world = World::new().await;
    let bytes = sample(30_000, 70);
    let digest = world.push(&bytes).await;
    for stored in [None, Some(bytes.slice(..100))] {
        world.memory.blobs.rot(world.file_of(&digest).await, stored);
        world.push(&bytes).await;
        assert_eq!(read(&world, "acme/app", &digest).await.unwrap(), bytes);
    }
    let small = sample(300, 71);
    let digest = world.push(&small).await;
    for wrong in ["", "other"] {
        world.edit(|batch| batch.put(BlobRecord::inline_key(&digest), wrong)).await;
        assert_eq!(read(&world, "acme/app", &digest).await.unwrap_err().kind(), Kind::Internal);
        world.push(&small).await;
        assert_eq!(world.registry().inspect(&world.blob(&digest).await, true).await.unwrap().0, None);
    }
    assert_eq!(read(&world, "acme/app", &digest).await.unwrap(), small);
    assert!(world.check(true, false).await.is_empty());
}

#[tokio::test]
async fn a_round_goes_on_after_a_restart() {
    let world = World::new().await;
    for seed in 0..20 {
        world.push(&sample(60_000, seed)).await;
    }
    // Four blobs or so a step.
    set(&world, |settings| settings.scrub_rate = 1 << 20);
    assert!(world.registry().scrub(now()).await.unwrap());
    let begun = world.registry().scrubbed().await.unwrap();
    let (before, place) = (begun.round.unwrap(), begun.after.unwrap());
    assert!((1..20).contains(&before.blobs), "{before:?}");
    let settings = Settings { scrub_rate: FAST, ..Settings::default() };
    let (meta, blobs) = (world.memory.meta.clone(), world.memory.blobs.clone());
    let second = Registry::open(meta as _, blobs as _, settings).unwrap();
    assert!(!second.scrub(now()).await.unwrap());
    let ended = second.scrubbed().await.unwrap();
    let made = ended.last.unwrap();
    assert_eq!((made.began, made.blobs), (before.began, 22));
    assert!(Digest::parse(&place).is_ok() && ended.after.is_none());
}

#[tokio::test]
async fn a_large_blob_is_read_in_parts() {
    let world = World::new().await;
    let bytes = sample(3 << 20, 5);
    let digest = world.push(&bytes).await;
    world.memory.blobs.rot(world.file_of(&digest).await, Some(flipped(&bytes)));
    set(&world, |settings| settings.scrub_rate = 8 << 20);
    let mut steps = 1;
    while world.registry().scrub(now()).await.unwrap() {
        steps += 1;
        assert!(steps < 100);
    }
    assert!(steps >= 2, "{steps}");
    assert_eq!(quarantined(&world).await.len(), 1);
}

#[tokio::test]
async fn it_can_be_off() {
    let world = World::new().await;
    for change in [
        |settings: &mut Settings| settings.scrub_rate = 0,
        |settings: &mut Settings| settings.read_only = true,
    ] {
        set(&world, change);
        assert!(!world.registry().scrub(now()).await.unwrap());
        assert_eq!(world.registry().scrubbed().await.unwrap(), Scrubbed::default());
    }
}

#[tokio::test]
async fn a_verified_read_never_ends_well_with_damaged_bytes() {
    let world = World::new().await;
    let bytes = sample(700_000, 5);
    let digest = world.push(&bytes).await;
    set(&world, |settings| settings.verify_reads = true);
    assert_eq!(read(&world, "acme/app", &digest).await.unwrap(), bytes);
    world.memory.blobs.rot(world.file_of(&digest).await, Some(flipped(&bytes)));
    let blob = world.registry().blob(&pull(&world, "acme/app").await, &digest).await.unwrap();
    let mut stream = blob.stream(0, blob.size);
    let mut came = 0;
    let error = loop {
        match stream.next().await.expect("an error before the end") {
            Ok(bytes) => came += bytes.len(),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), Kind::Internal);
    assert!(came < bytes.len(), "the last chunk stays here");
    assert!(stream.next().await.is_none());
    // Whoever comes next is refused at once.
    for _ in 0..1000 {
        if !quarantined(&world).await.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(read(&world, "acme/app", &digest).await.unwrap_err().kind(), Kind::Internal);
    assert_eq!(quarantined(&world).await.get(&digest), Some(&Damage::Altered));
}

#[test]
fn the_stored_form_is_these_bytes() {
    use crate::registry::records::{from_json, to_json};
    let round = Round { began: 1, ended: 0, blobs: 2, bytes: 3, damaged: 4, healed: 5 };
    let scrubbed = Scrubbed { after: Some("a".into()), round: Some(round), last: None };
    let golden =
        b"\x01{\"after\":\"a\",\"round\":{\"began\":1,\"ended\":0,\"blobs\":2,\"bytes\":3,\"damaged\":4,\
        \"healed\":5},\"last\":null}";
    assert_eq!(to_json(1, &scrubbed).as_ref(), golden);
    assert_eq!(from_json::<Scrubbed>(1, golden, "scrub").unwrap(), scrubbed);
}
