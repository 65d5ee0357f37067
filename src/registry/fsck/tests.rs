//! Every kind of damage, planted one at a time: found, found alone, and gone after a repair where one is safe.

mod random;
mod repositories;
pub(in crate::registry) mod world;

use super::*;
use crate::{
    auth::Caller,
    model::{Group, OwnerId, PackageId, PhysicalKey, Tag, TeamId},
    registry::{
        Collected, Settings,
        records::{
            AccountRecord, AuditRecord, BlobRecord, Damage, GroupRoleRecord, Held, Hold, ManifestRecord,
            MemberRecord, PackageRecord, RoleRecord, State, TagRecord, TeamRecord, UploadRecord,
            blob::{holds_of, lease_key, lease_value, trash_key, wanting},
        },
        teams,
    },
    store::{BlobStore as _, MetadataRead as _, Record as _},
};
use world::{World, chunk, now, sample};

#[tokio::test]
async fn what_nobody_damaged_is_clean() {
    let world = World::new().await;
    World::expect(&world.check(true, false).await, &[]);
    let before = world.memory.everything().await;
    World::expect(&world.check(true, true).await, &[]);
    assert_eq!(world.memory.everything().await, before, "a repair of nothing changes nothing");
}

#[tokio::test]
async fn every_index_entry_that_is_lost_is_found_and_made_again() {
    let world = World::new().await;
    let all = world.memory.everything().await;
    // Keys without a value are index entries; reviews and purges are no index.
    let entries: Vec<Key> = all
        .iter()
        .filter(|(key, value)| {
            value.is_empty() && !(key.space == Space::Queue && b"qm".contains(&key.bytes[0]))
        })
        .map(|(key, _)| key.clone())
        .collect();
    assert!(entries.len() > 25, "{}", entries.len());
    for entry in entries {
        world.drop_key(entry).await;
        world.finds_and_mends(&[Code::IndexMissing]).await;
    }
    assert_eq!(world.memory.everything().await, all);
}

#[tokio::test]
async fn index_entries_of_nothing_are_found_and_dropped() {
    let world = World::new().await;
    let other = Digest::sha256(b"other");
    let tag = TagRecord::of_manifest(world.package, &world.image);
    let edge = |hold, by: &Digest| {
        let mut key = holds_of(&world.layer, hold).with(&world.owner.bytes()).with(&world.package.bytes());
        by.write_key(&mut key.bytes);
        key
    };
    let stray = [
        AccountRecord::name_prefix("nobody").with(&[9; 8]),
        AccountRecord::name_prefix("ADA").with(&world.owner.bytes()),
        PackageRecord::pending_of(world.owner).with(&world.package.bytes()),
        edge(Hold::Live, &other),
        edge(Hold::Held, &world.image),
        UploadRecord::by_expiry().with(&[0; 8]).with(&world.upload.0),
        UploadRecord::of_user(OwnerId(7)).with(&world.upload.0),
        BlobRecord::quarantined().with(&BlobRecord::key_of(&world.layer).bytes[1..]),
    ];
    for key in stray {
        world.edit(|batch| batch.put(key, Bytes::new())).await;
        world.finds_and_mends(&[Code::IndexStray]).await;
    }
    world.edit(|batch| batch.put(tag.with(b"never"), Bytes::new())).await;
    // It counts as a tag of the image, too.
    world.finds_and_mends(&[Code::IndexStray, Code::CounterLow]).await;
}

#[tokio::test]
async fn an_edge_is_kept_while_its_manifests_bytes_are_there() {
    let world = World::new().await;
    let record = ManifestRecord::key_of(world.package, &world.image);
    let value = world.get(&record).await;
    world.drop_key(record.clone()).await;
    let found = world.check(false, true).await;
    let codes: Vec<Code> = found.iter().map(|finding| finding.code).collect();
    assert!(codes.contains(&Code::BodyStray) && codes.contains(&Code::TagDangling), "{found:#?}");
    let edge = |finding: &&Finding| finding.code == Code::IndexStray && finding.object.starts_with("edge");
    assert!(found.iter().filter(edge).all(|finding| finding.repair == Repair::None));
    assert_eq!(found.iter().filter(edge).count(), 2);
    // So that whoever brings the record back has lost nothing.
    world.edit(|batch| batch.put(record, value)).await;
    world.check(false, true).await;
    World::expect(&world.check(true, false).await, &[]);
    world.whole().await;
}

/// A repair takes a stray edge as a deletion takes one: the blob's bytes stay for as long as a lease.
#[tokio::test]
async fn what_only_a_stray_edge_held_does_not_go_at_once() {
    let world = World::new().await;
    let digest = world.push(&sample(20_000, 60)).await;
    let mut edge = holds_of(&digest, Hold::Live).with(&world.owner.bytes()).with(&world.package.bytes());
    Digest::sha256(b"lost").write_key(&mut edge.bytes);
    world.drop_key(lease_key(&digest, world.package)).await;
    world.edit(|batch| batch.put(edge, Bytes::new())).await;
    world.finds_and_mends(&[Code::IndexStray]).await;

    let collected = async |at| {
        while world.registry().collect(at).await.unwrap() {}
        world.memory.meta.get(&BlobRecord::key_of(&digest)).await.unwrap().is_none()
    };
    let lease = Settings::default().lease_ttl;
    assert!(!collected(now()).await, "its record is not there any more");
    assert!(!collected(now().plus_seconds(lease - 1)).await);
    assert!(collected(now().plus_seconds(2 * lease)).await, "it leaks");
}

#[tokio::test]
async fn damaged_blobs_are_told_apart() {
    let world = World::new().await;
    let bytes = sample(20_000, 1);
    let key = world.file_of(&world.layer).await;
    let mut flipped = bytes.to_vec();
    flipped[12_345] ^= 1;
    let cases = [
        (None, Code::BlobMissing, false, Damage::Missing),
        (Some(bytes.slice(..19_999)), Code::BlobSize, false, Damage::Size),
        (Some(Bytes::from(flipped)), Code::BlobAltered, true, Damage::Altered),
    ];
    for (stored, code, deep, damage) in cases {
        world.memory.blobs.rot(key, stored);
        World::expect(&world.check(deep, false).await, &[code]);
        let mended = world.check(deep, true).await;
        assert_eq!(mended.len(), 1);
        assert_eq!(mended[0].repair, Repair::Done);
        assert_eq!(world.blob(&world.layer).await.quarantine.unwrap().damage, damage);
        World::expect(&world.check(false, false).await, &[Code::BlobQuarantined]);
        // The disk gave them back: a deep check sees that, and lifts it.
        world.memory.blobs.rot(key, Some(bytes.clone()));
        let lifted = world.check(true, true).await;
        World::expect(&lifted, &[Code::BlobQuarantined]);
        assert_eq!(lifted[0].repair, Repair::Done);
        World::expect(&world.check(true, false).await, &[]);
    }
    let other = world.push(&sample(20_000, 9)).await;
    let second = world.file_of(&other).await;
    world.memory.blobs.rot(key, Some(sample(20_000, 9)));
    world.memory.blobs.rot(second, Some(bytes));
    world.finds(&[]).await;
    let swapped = world.check(true, false).await;
    World::expect(&swapped, &[Code::BlobAltered]);
    assert_eq!(swapped.len(), 2);
}

#[tokio::test]
async fn damaged_bytes_in_metadata_are_found_without_asking_for_all() {
    let world = World::new().await;
    let inline = BlobRecord::inline_key(&world.config);
    world.edit(|batch| batch.put(inline.clone(), sample(200, 3))).await;
    world.finds(&[Code::BlobAltered]).await;
    world.drop_key(inline.clone()).await;
    world.finds(&[Code::BlobMissing]).await;
    world.edit(|batch| batch.put(inline, sample(200, 2))).await;
    let stray = BlobRecord::inline_key(&Digest::sha256(b"stray"));
    world.edit(|batch| batch.put(stray.clone(), "stray")).await;
    world.finds(&[Code::InlineStray]).await;
    world.drop_key(stray).await;

    let body = ManifestRecord::body_key(world.package, &world.image);
    let bytes = world.get(&body).await;
    for wrong in [Some(bytes.slice(1..)), Some(Bytes::from(bytes.to_ascii_uppercase())), None] {
        match wrong {
            Some(wrong) => world.edit(|batch| batch.put(body.clone(), wrong)).await,
            None => world.drop_key(body.clone()).await,
        }
        world.finds(&[Code::ManifestBody]).await;
    }
    world.edit(|batch| batch.put(body, bytes)).await;
    world.finds(&[]).await;
}

#[tokio::test]
async fn what_dangles_is_found() {
    let world = World::new().await;
    let blob = BlobRecord::key_of(&world.layer);
    let value = world.get(&blob).await;
    world.drop_key(blob.clone()).await;
    let found = world.check(false, false).await;
    // Three manifests name it, one deleted; a lease promised it; its file has no owner.
    World::expect(&found, &[Code::EdgeDangling, Code::LeaseDangling, Code::BytesOrphan]);
    assert_eq!(found.iter().filter(|finding| finding.code == Code::EdgeDangling).count(), 3);
    world.edit(|batch| batch.put(blob, value)).await;
    world.finds(&[]).await;

    let nothing = Digest::sha256(b"nothing");
    let ends = lease_value(now().plus_seconds(60));
    world.edit(|batch| batch.put(lease_key(&nothing, world.package), ends.clone())).await;
    world.finds_and_mends(&[Code::LeaseDangling]).await;
    world.edit(|batch| batch.put(lease_key(&world.layer, PackageId(9)), ends)).await;
    world.finds_and_mends(&[Code::LeaseDangling]).await;
    world.edit(|batch| batch.put(lease_key(&nothing, world.package), lease_value(Timestamp(1)))).await;
    world.finds(&[]).await;

    let tag = TagRecord {
        package: world.package,
        tag: Tag::parse("dangling").unwrap(),
        digest: nothing,
        moved: now(),
    };
    world.edit(|batch| batch.replace(None, Some(&tag))).await;
    world.finds(&[Code::CounterLow, Code::TagDangling]).await;
    let found = world.check(false, true).await;
    // Nobody knows what it is to name, so it stays until somebody says.
    assert!(found.iter().any(|finding| finding.code == Code::TagDangling && finding.repair == Repair::None));
    world.finds(&[Code::TagDangling]).await;
}

#[tokio::test]
async fn what_nothing_will_ever_collect_is_found() {
    let world = World::new().await;
    let digest = world.push(&sample(18_000, 5)).await;
    world.finds(&[]).await;
    world.drop_key(lease_key(&digest, world.package)).await;
    // A review is due still.
    world.finds(&[]).await;
    let reviews = Key::new(Space::Queue, b'q');
    for (key, _) in world.memory.meta.scan(&reviews, None, 1000).await.unwrap() {
        if Digest::read_key(&key.bytes[9..]).unwrap().0 == digest {
            world.drop_key(key).await;
        }
    }
    world.finds_and_mends(&[Code::BlobLeak]).await;
    let reviewed = |(key, _): &(Key, Bytes)| Digest::read_key(&key.bytes[9..]).unwrap().0 == digest;
    assert!(world.memory.meta.scan(&reviews, None, 1000).await.unwrap().iter().any(reviewed));

    let stray = PhysicalKey::random().unwrap();
    world.memory.blobs.rot(stray, Some(Bytes::from_static(b"stray")));
    world.finds(&[Code::BytesOrphan]).await;
    // In the trash it will go.
    world.edit(|batch| batch.put(trash_key(now(), stray), Bytes::new())).await;
    world.finds(&[]).await;
    let trash = trash_key(now(), world.file_of(&world.layer).await);
    world.edit(|batch| batch.put(trash, Bytes::new())).await;
    world.finds_and_mends(&[Code::TrashLive]).await;
    world.registry().purge(now().plus_seconds(9), None, 10, &mut Collected::default()).await.unwrap();
    world.whole().await;
    assert_eq!(world.memory.blobs.stat(stray).await.unwrap(), None);

    let other = world.blob(&digest).await;
    let layer = world.blob(&world.layer).await;
    world
        .edit(|batch| {
            batch.replace(Some(&other), Some(&BlobRecord { location: layer.location, ..other.clone() }))
        })
        .await;
    let found: Vec<Code> = world.check(false, false).await.iter().map(|finding| finding.code).collect();
    assert!(found.contains(&Code::BytesShared), "{found:?}");
}

#[tokio::test]
async fn a_file_on_its_way_is_no_finding() {
    let world = World::new().await;
    world.registry().set_settings(Settings { orphan_grace: 60, ..Settings::default() });
    world.memory.blobs.rot(PhysicalKey::random().unwrap(), Some(Bytes::from_static(b"young")));
    let operator = Caller::operator(now(), "test".into());
    let system = world.registry().policy().authorize_system(&operator).unwrap();
    let (say, mut heard) = mpsc::channel(64);
    let checked = world.registry().fsck(&system, FsckOptions::default(), say).await.unwrap();
    assert_eq!((checked.found, checked.waiting), (0, 1));
    assert!(heard.recv().await.is_none());
}

#[tokio::test]
async fn a_session_that_claims_too_much_is_found_and_begun_again() {
    let world = World::new().await;
    let session = world.session().await;
    let Held::File(file) = session.held else { panic!() };
    world.memory.blobs.discard(file).await.unwrap();
    world.finds_and_mends(&[Code::UploadShort]).await;
    let grant = world.grant().await;
    assert_eq!(world.registry().upload_offset(&grant, world.upload).await.unwrap(), 0);
    world.registry().append(&grant, world.upload, chunk(&sample(100, 1))).await.unwrap();

    let session = world.session().await;
    let lie = UploadRecord { offset: 101, ..session.clone() };
    world.edit(|batch| batch.replace(Some(&session), Some(&lie))).await;
    world.finds_and_mends(&[Code::UploadShort]).await;
    let session = world.session().await;
    let broken = UploadRecord { hash: Bytes::from_static(b"?"), ..session.clone() };
    world.edit(|batch| batch.replace(Some(&session), Some(&broken))).await;
    world.finds(&[Code::UploadState]).await;
}

#[tokio::test]
async fn records_about_what_is_gone_are_found() {
    let world = World::new().await;
    let package = world.package().await;
    let ada = crate::registry::accounts::by_name(world.memory.meta.as_ref(), "ada").await.unwrap().unwrap();
    world.edit(|batch| batch.replace(Some(&ada), None)).await;
    // Her membership and her token.
    world.finds_and_mends(&[Code::AccountMissing]).await;

    let moved = PackageRecord { owner_name: "other".into(), ..package.clone() };
    world.edit(|batch| batch.replace(Some(&package), Some(&moved))).await;
    world.finds(&[Code::OwnerWrong, Code::PathWrong]).await;
    let pending = PackageRecord { state: State::Pending, ..package.clone() };
    world.edit(|batch| batch.replace(Some(&moved), Some(&pending))).await;
    world.finds_and_mends(&[Code::PackageState]).await;
    world.edit(|batch| batch.replace(Some(&package), None)).await;
    let found = world.check(false, false).await;
    World::expect(&found, &[Code::LeaseDangling, Code::PackageMissing]);
}

#[tokio::test]
async fn a_role_that_lists_would_not_find_is_corrected() {
    let world = World::new().await;
    let meta = world.memory.meta.as_ref();
    let roles = meta.scan(&RoleRecord::all(), None, 100).await.unwrap();
    assert!(!roles.is_empty());
    for (_, bytes) in &roles {
        let role = RoleRecord::decode(bytes).unwrap();
        for path in ["", "acme/elsewhere"] {
            let moved = RoleRecord { path: path.to_owned(), ..role.clone() };
            world.edit(|batch| batch.replace(Some(&role), Some(&moved))).await;
            world.finds_and_mends(&[Code::PathWrong]).await;
            assert_eq!(meta.scan(&RoleRecord::all(), None, 100).await.unwrap(), roles);
        }
    }
}

#[tokio::test]
async fn teams_and_roles_of_groups_that_do_not_hold_together_are_found() {
    let world = World::new().await;
    let meta = world.memory.meta.as_ref();
    let named = async |name| teams::by_name(meta, world.owner, name).await.unwrap().unwrap();
    let (core, web) = (named("core").await, named("web").await);
    let before = world.memory.everything().await;
    let lost = TeamRecord { parent: Some(TeamId(7)), ..core.clone() };
    world.edit(|batch| batch.replace(Some(&core), Some(&lost))).await;
    world.finds_and_mends(&[Code::TeamMissing]).await;
    assert_eq!(world.memory.everything().await, before);

    let circle = TeamRecord { parent: Some(web.id), ..core.clone() };
    world.edit(|batch| batch.replace(Some(&core), Some(&circle))).await;
    world.finds(&[Code::TeamTree]).await;
    world.edit(|batch| batch.replace(Some(&circle), Some(&core))).await;

    let bob = crate::registry::accounts::by_name(meta, "bob").await.unwrap().unwrap();
    let member = MemberRecord::decode(&world.get(&MemberRecord::key_of(world.owner, bob.id)).await).unwrap();
    world.edit(|batch| batch.replace(Some(&member), None)).await;
    world.finds_and_mends(&[Code::TeamStray]).await;

    for group in [Group::Team(core.id), Group::Organization(world.owner)] {
        let at = GroupRoleRecord::key_of(world.package, group);
        let role = GroupRoleRecord::decode(&world.get(&at).await).unwrap();
        let moved = GroupRoleRecord { path: "acme/elsewhere".into(), ..role.clone() };
        world.edit(|batch| batch.replace(Some(&role), Some(&moved))).await;
        world.finds_and_mends(&[Code::PathWrong]).await;
    }
    let dead = TeamRecord { parent: None, ..web.clone() };
    world.edit(|batch| batch.replace(Some(&web), Some(&dead))).await;
    world.edit(|batch| batch.replace(Some(&core), None)).await;
    // Its role on the package.
    world.finds_and_mends(&[Code::TeamMissing]).await;
}

#[tokio::test]
async fn what_cannot_be_read_is_found_and_nothing_else_suffers() {
    let world = World::new().await;
    let all = world.memory.everything().await;
    for (key, value) in all.iter().filter(|(key, value)| !value.is_empty() && key.space != Space::Inline) {
        // Counters and leases have no version; a body is judged by its digest, a setting by who reads it.
        let plain =
            value.len() == 8 || (key.space == Space::Doc && key.bytes[0] == b'c') || key.bytes[0] == b's';
        if plain {
            continue;
        }
        for broken in [Bytes::new(), Bytes::from([&[0xee], &value[1..]].concat())] {
            world.edit(|batch| batch.put(key.clone(), broken)).await;
            let found = world.check(false, true).await;
            assert!(found.iter().any(|finding| finding.code == Code::RecordBroken), "{key:?} {found:#?}");
            world.edit(|batch| batch.put(key.clone(), value.clone())).await;
            world.check(false, true).await;
            World::expect(&world.check(true, false).await, &[]);
        }
    }
    world.whole().await;
}

#[tokio::test]
async fn foreign_keys_and_values_are_found_and_left() {
    let world = World::new().await;
    for space in Space::ALL {
        let key = Key::new(space, 0x7f).with(b"unheard of");
        world.edit(|batch| batch.put(key.clone(), "value")).await;
        world.finds(&[Code::KeyUnknown]).await;
        world.check(false, true).await;
        world.drop_key(key).await;
    }
    let account = world.get(&AccountRecord::key_of(world.owner)).await;
    let elsewhere = AccountRecord::key_of(OwnerId(1));
    world.edit(|batch| batch.put(elsewhere.clone(), account.clone())).await;
    world.finds(&[Code::RecordMisplaced]).await;
    world.drop_key(elsewhere).await;
    let spaced = Bytes::from(String::from_utf8_lossy(&account).replacen(':', ": ", 1));
    world.edit(|batch| batch.put(AccountRecord::key_of(world.owner), spaced)).await;
    world.finds(&[Code::RecordForm]).await;
    world.edit(|batch| batch.put(AccountRecord::key_of(world.owner), account)).await;
    let revision = crate::registry::records::revision_key(crate::auth::Subject::Owner(world.owner));
    let counted = world.get(&revision).await;
    world.edit(|batch| batch.put(revision.clone(), "short")).await;
    world.finds(&[Code::ValueBroken]).await;
    world.edit(|batch| batch.put(revision, counted)).await;
    world.finds(&[]).await;
}

#[tokio::test]
async fn counts_and_streams_are_compared_with_what_they_count() {
    let world = World::new().await;
    let wanted = wanting(world.package, &Digest::sha256(b"?"));
    world.drop_key(wanted.clone()).await;
    world.finds_and_mends(&[Code::CounterLow]).await;
    world.edit(|batch| batch.put(wanted, 0i64.to_be_bytes().to_vec())).await;
    world.finds_and_mends(&[Code::CounterLow]).await;
    let arrivals = TagRecord::arrivals(world.package, &world.image);
    world.drop_key(arrivals).await;
    world.finds_and_mends(&[Code::CounterLow]).await;

    // Bytes that came without whoever wanted them being told.
    let digest = world.push(&sample(500, 7)).await;
    let manifest = world.manifest(&world.image).await;
    let mut blind = manifest.clone();
    blind.targets.push(crate::registry::records::Target {
        digest,
        present: false,
        manifest: false,
        child: true,
    });
    world
        .edit(|batch| {
            batch.replace(Some(&manifest), Some(&blind));
            batch.put(wanting(world.package, &digest), 1i64.to_be_bytes().to_vec());
        })
        .await;
    world.finds(&[Code::WantedHeld]).await;
    world.edit(|batch| batch.replace(Some(&blind), Some(&manifest))).await;

    let stream = crate::registry::records::Log::Package(world.package).stream();
    let events = world.memory.meta.scan(&stream, None, 100).await.unwrap();
    assert!(events.len() > 4);
    // The first of a stream may go, and takes its place in the lists along; none in the middle may.
    let row = |at: usize| {
        let (log, number) = AuditRecord::place(&events[at].0).unwrap();
        AuditRecord::decode(log, number, &events[at].1).unwrap()
    };
    world.edit(|batch| batch.replace(Some(&row(0)), None)).await;
    world.finds(&[]).await;
    world.edit(|batch| batch.replace(Some(&row(2)), None)).await;
    world.finds(&[Code::EventGap]).await;
    world.edit(|batch| batch.replace(None, Some(&row(2)))).await;
    let list = row(1).index().into_iter().next().unwrap();
    world.drop_key(list).await;
    world.finds_and_mends(&[Code::IndexMissing]).await;
    let stray = AuditRecord { number: 1 << 40, ..row(1) }.index().into_iter().next().unwrap();
    world.edit(|batch| batch.put(stray, Bytes::new())).await;
    world.finds_and_mends(&[Code::IndexStray]).await;
}
