//! The stored form of the hot records and of events, byte by byte: what is in somebody's data folder must be read for
//! ever. And: index entries kept step by step are those that follow from the records.

use std::collections::BTreeMap;

use futures_util::FutureExt as _;
use proptest::prelude::*;

use super::*;
use crate::{
    model::{Digest, Event, OwnerId, PackageId, PhysicalKey, Tag, Timestamp, UploadId},
    store::{Batch, CommitError, MetadataRead as _, MetadataStore as _, Record, memory::MemoryStore},
};

/// Bytes from hexadecimal, which may hold spaces and line ends, and from text in quotes.
fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (at, part) in text.split('\'').enumerate() {
        if at % 2 == 1 {
            bytes.extend_from_slice(part.as_bytes());
        } else {
            let digits: String = part.split_whitespace().collect();
            bytes.extend(hex::decode(digits).unwrap());
        }
    }
    bytes
}

fn sha256(byte: &str) -> Digest {
    Digest::parse(&format!("sha256:{}", byte.repeat(32))).unwrap()
}

fn sha512(byte: &str) -> Digest {
    Digest::parse(&format!("sha512:{}", byte.repeat(64))).unwrap()
}

/// These bytes and no others are this value; cut off anywhere, or of a version to come, they are none.
#[track_caller]
fn golden<T: PartialEq + std::fmt::Debug>(
    value: &T,
    stored: &[u8],
    golden: &str,
    decode: impl Fn(&[u8]) -> Result<T>,
) {
    golden_beside(value, stored, golden, &[], decode);
}

/// The same of a record that has other forms too, under these versions.
#[track_caller]
fn golden_beside<T: PartialEq + std::fmt::Debug>(
    value: &T,
    stored: &[u8],
    golden: &str,
    others: &[u8],
    decode: impl Fn(&[u8]) -> Result<T>,
) {
    let golden = bytes(golden);
    assert_eq!(hex::encode(stored), hex::encode(&golden));
    assert_eq!(decode(&golden).unwrap(), *value);
    for length in 0..golden.len() {
        assert!(decode(&golden[..length]).is_err(), "the first {length} of {} bytes", golden.len());
    }
    let none = |version: &u8| *version != golden[0] && !others.contains(version);
    for version in (0..=u8::MAX).filter(none) {
        let other = [&[version], &golden[1..]].concat();
        assert!(decode(&other).is_err(), "version {version}");
    }
}

fn keys(record: &impl Record) -> Vec<(Space, String)> {
    record.index().into_iter().map(|key| (key.space, hex::encode(key.bytes))).collect()
}

fn hex_of(texts: &[(Space, String)]) -> Vec<(Space, String)> {
    let mut keys: Vec<_> = texts.iter().map(|(space, text)| (*space, hex::encode(bytes(text)))).collect();
    keys.sort();
    keys
}

#[test]
fn a_blob_is_these_bytes() {
    let digest = sha256("a1");
    let mut blob = BlobRecord {
        digest,
        size: 0x0102_0304,
        location: Location::Inline,
        created: Timestamp(0x0506),
        quarantine: None,
    };
    let decode = |bytes: &[u8]| BlobRecord::decode(digest, bytes);
    golden_beside(&blob, &blob.value(), "01 0000000001020304 0000000000000506 00", &[2], decode);
    blob.location = Location::Physical(PhysicalKey([0xcd; 16]));
    let text = format!("01 0000000001020304 0000000000000506 01 {}", "cd".repeat(16));
    golden_beside(&blob, &blob.value(), &text, &[2], decode);
    assert!(blob.index().is_empty());

    blob.quarantine = Some(Quarantine { since: Timestamp(7), damage: Damage::Altered });
    let text = format!("02 0000000001020304 0000000000000506 01 {} 0000000000000007 03", "cd".repeat(16));
    golden_beside(&blob, &blob.value(), &text, &[1], decode);
    assert_eq!(keys(&blob), hex_of(&[(Space::Meta, format!("'q' 01 {}", "a1".repeat(32)))]));
    assert!(decode(&bytes(&text.replace("0007 03", "0007 05"))).is_err(), "a damage that is none");

    assert_eq!(blob.key().bytes, bytes(&format!("'b' 01 {}", "a1".repeat(32))));
    assert_eq!(BlobRecord::key_of(&sha512("b2")).bytes, bytes(&format!("'b' 02 {}", "b2".repeat(64))));
    // A place that this program does not know.
    assert!(decode(&bytes("01 0000000001020304 0000000000000506 02")).is_err());
}

fn manifest() -> ManifestRecord {
    ManifestRecord {
        package: PackageId(1),
        owner: OwnerId(2),
        digest: sha256("a1"),
        media_type: "a/b".into(),
        size: 3,
        pushed: Timestamp(4),
        deleted: None,
        subject: Some(sha256("b2")),
        artifact_type: "c".into(),
        annotations: "{}".into(),
        targets: vec![
            Target { digest: sha256("c3"), present: true, manifest: false, child: false },
            Target { digest: sha512("d4"), present: false, manifest: false, child: false },
            Target { digest: sha256("e5"), present: true, manifest: true, child: true },
        ],
    }
}

#[test]
fn a_manifest_is_these_bytes() {
    let full = manifest();
    let decode = |bytes: &[u8]| ManifestRecord::decode(PackageId(1), sha256("a1"), bytes);
    let text = format!(
        "01 0000000000000002 0000000000000003 0000000000000004 0000000000000000
         00000003 'a/b' 00000001 'c' 00000002 '{{}}'
         01 01 {} 0000000000000003 01 01 {} 00 02 {} 02 01 {}",
        "b2".repeat(32),
        "c3".repeat(32),
        "d4".repeat(64),
        "e5".repeat(32),
    );
    golden(&full, &full.value(), &text, decode);

    let mut index = full.clone();
    let named = |digest, present| Target { digest, present, manifest: false, child: true };
    index.targets.extend([named(sha256("f6"), true), named(sha256("a7"), false)]);
    let more = format!("{text} 03 01 {} 04 01 {}", "f6".repeat(32), "a7".repeat(32));
    let more =
        more.replacen("01 00", "02 00", 1).replacen("0000000000000003 01 01", "0000000000000005 01 01", 1);
    golden(&index, &index.value(), &more, decode);

    let bare = ManifestRecord {
        deleted: Some(Timestamp(5)),
        subject: None,
        artifact_type: String::new(),
        annotations: String::new(),
        targets: Vec::new(),
        ..full
    };
    let text = "01 0000000000000002 0000000000000003 0000000000000004 0000000000000005
                00000003 'a/b' 00000000 00000000 00 0000000000000000";
    golden(&bare, &bare.value(), text, decode);
    assert_eq!(bare.key().bytes, bytes(&format!("'m' 0000000000000001 01 {}", "a1".repeat(32))));

    // A count that the bytes cannot hold is no reason to ask for that much memory.
    let lie = bytes(&text.replace("00 0000000000000000", "00 ffffffffffffffff"));
    assert!(decode(&lie).is_err());
    assert!(decode(&bytes(&text.replace("'a/b'", "ff fe fd"))).is_err(), "text that is not UTF-8");
}

#[test]
fn a_manifests_index_is_these_keys() {
    let mut manifest = manifest();
    let (own, subject, had) = ("a1".repeat(32), "b2".repeat(32), "c3".repeat(32));
    let missing = "d4".repeat(64);
    let wanted = (Space::Refs, format!("'w' 0000000000000001 02 {missing} 01 {own}"));
    let edge =
        |hold: &str| (Space::Refs, format!("'r' 01 {had} {hold} 0000000000000002 0000000000000001 01 {own}"));
    // A manifest of an index is held by another kind of edge: one that is no right to a blob.
    let child = "e5".repeat(32);
    let child = |hold: &str| {
        (Space::Refs, format!("'r' 01 {child} {hold} 0000000000000002 0000000000000001 01 {own}"))
    };
    // The type is there as the first bytes of its hash.
    let typed = hex::encode(&Digest::sha256(b"c").hash()[..8]);
    let live = [
        (Space::Doc, format!("'v' 0000000000000001 01 {own}")),
        (Space::Doc, format!("'s' 0000000000000001 01 {subject} {typed} 01 {own}")),
        edge("01"),
        child("03"),
        wanted.clone(),
    ];
    assert_eq!(keys(&manifest), hex_of(&live));
    assert_eq!(typed, "2e7d2c03a9507ae2");
    manifest.deleted = Some(Timestamp(9));
    let due = (Space::Queue, format!("'d' 0000000000000009 01 0000000000000001 01 {own}"));
    assert_eq!(keys(&manifest), hex_of(&[edge("02"), child("04"), wanted.clone(), due]));

    // A child that is a blob: its bytes stay, and so does the manifest that it may be too.
    manifest.deleted = None;
    manifest.targets[0].child = true;
    let both = [&live[..], &[(Space::Refs, edge("03").1)]].concat();
    assert_eq!(keys(&manifest), hex_of(&both));
}

#[test]
fn a_tag_is_these_bytes() {
    let name = Tag::parse("v1").unwrap();
    let tag = TagRecord { package: PackageId(1), tag: name, digest: sha256("a1"), moved: Timestamp(2) };
    let decode = |bytes: &[u8]| TagRecord::decode(PackageId(1), Tag::parse("v1").unwrap(), bytes);
    golden(&tag, &tag.value(), &format!("01 0000000000000002 01 {}", "a1".repeat(32)), decode);
    assert_eq!(tag.key().bytes, bytes("'t' 0000000000000001 'v1'"));
    let of_manifest = format!("'d' 0000000000000001 01 {} 'v1'", "a1".repeat(32));
    assert_eq!(keys(&tag), hex_of(&[(Space::Doc, of_manifest)]));
}

#[test]
fn a_deleted_tag_is_these_bytes() {
    let (package, digest, name) = (PackageId(1), sha256("a1"), Tag::parse("v1").unwrap());
    let tag = DeletedTag {
        package,
        tag: name.clone(),
        digest,
        moved: Timestamp(2),
        deleted: Timestamp(3),
        with_manifest: true,
    };
    let decode = |bytes: &[u8]| DeletedTag::decode(package, digest, name.clone(), bytes);
    golden(&tag, &tag.value(), "01 0000000000000002 0000000000000003 01", decode);
    let own = "a1".repeat(32);
    assert_eq!(tag.key().bytes, bytes(&format!("'x' 0000000000000001 01 {own} 'v1'")));
    assert_eq!(DeletedTag::read(package, &tag.key(), &tag.value()).unwrap(), tag);
    let by_tag = format!("'y' 0000000000000001 'v1' 00 0000000000000003 01 {own}");
    let due = format!("'d' 0000000000000003 00 0000000000000001 01 {own} 'v1'");
    assert_eq!(keys(&tag), hex_of(&[(Space::Doc, by_tag), (Space::Queue, due)]));
    let prefix = DeletedTag::of_tag(package, &name);
    let entry = tag.index().into_iter().find(|key| key.space == Space::Doc).unwrap();
    assert_eq!(DeletedTag::digest_in(&entry, &prefix), Some(digest));
}

#[test]
fn what_is_due_is_read_from_its_key() {
    let (package, name) = (PackageId(7), Tag::parse("v1").unwrap());
    let all =
        [Due::Tag(package, sha512("a1"), name), Due::Manifest(package, sha256("b2")), Due::Package(package)];
    for due in all {
        let key = due.key(Timestamp(9));
        assert_eq!(Due::read(&key), Some((Timestamp(9), due)));
        let longer = key.clone().with(b"!");
        assert_eq!(Due::read(&longer), None, "nothing follows");
        for length in 0..key.bytes.len() - 2 {
            let cut = Key { space: key.space, bytes: key.bytes[..length].to_vec() };
            assert_eq!(Due::read(&cut), None);
        }
    }
}

#[test]
fn an_upload_is_these_bytes() {
    let id = UploadId([0xab; 16]);
    let mut upload = UploadRecord {
        id,
        package: PackageId(1),
        user: OwnerId(2),
        offset: 3,
        hash: Bytes::from_static(&[7, 8]),
        hinted: true,
        held: Held::Row(Bytes::from_static(b"row")),
        start: 4,
        opened: Timestamp(5),
        expires: Timestamp(6),
    };
    let decode = |bytes: &[u8]| UploadRecord::decode(id, bytes);
    let numbers = "01 0000000000000001 0000000000000002 0000000000000003 0000000000000004
                   0000000000000005 0000000000000006 00000002 0708";
    golden(&upload, &upload.value(), &format!("{numbers} 01 00 00000003 'row'"), decode);
    upload.held = Held::File(PhysicalKey([0xcd; 16]));
    upload.hinted = false;
    golden(&upload, &upload.value(), &format!("{numbers} 00 01 {}", "cd".repeat(16)), decode);
    assert!(decode(&bytes(&format!("{numbers} 00 02"))).is_err(), "a place that this program does not know");

    let session = "ab".repeat(16);
    assert_eq!(upload.key().bytes, bytes(&format!("'u' {session}")));
    let index = [
        (Space::Meta, format!("'U' 0000000000000002 {session}")),
        (Space::Refs, format!("'u' 0000000000000001 {session}")),
        (Space::Queue, format!("'u' 0000000000000006 {session}")),
    ];
    assert_eq!(keys(&upload), hex_of(&index));
}

#[test]
fn an_event_is_these_bytes() {
    let decode = |bytes: &[u8]| from_json::<Event>(1, bytes, "event");
    let mut event = Event {
        action: "manifest.put".into(),
        at: 7,
        by: "user:1".into(),
        request: "r".into(),
        digest: None,
        tag: None,
        detail: None,
    };
    let start = "{\"action\":\"manifest.put\",\"at\":7,\"by\":\"user:1\",\"request\":\"r\"";
    golden(&event, &to_json(1, &event), &format!("01 '{start}}}'"), decode);
    event.digest = Some("sha256:a".into());
    event.tag = Some("v1".into());
    event.detail = Some("d".into());
    let rest = ",\"digest\":\"sha256:a\",\"tag\":\"v1\",\"detail\":\"d\"}";
    golden(&event, &to_json(1, &event), &format!("01 '{start}{rest}'"), decode);
}

proptest! {
    /// What was damaged on a disk is refused or is some value: it never panics.
    #[test]
    fn any_bytes_are_read_or_refused(tail: Vec<u8>, versioned: bool) {
        let bytes = if versioned { [&[1], tail.as_slice()].concat() } else { tail };
        let _ = BlobRecord::decode(sha256("a1"), &bytes);
        let _ = ManifestRecord::decode(PackageId(1), sha256("a1"), &bytes);
        let _ = UploadRecord::decode(UploadId([1; 16]), &bytes);
        let _ = from_json::<Event>(1, &bytes, "event");
    }

    /// Index entries come and go with each change of a record by the difference alone. After any history they are what
    /// a rebuild from the stored records makes, no entry more or less; a change that counts from an old state does
    /// nothing.
    #[test]
    fn an_index_kept_is_the_index_rebuilt(history in prop::collection::vec((0u8..6, states()), 1..40)) {
        let store = MemoryStore::new();
        let mut current: BTreeMap<u8, ManifestRecord> = BTreeMap::new();
        for (slot, state) in history {
            let old = current.remove(&slot);
            let new = state.map(|state| ManifestRecord {
                package: PackageId(u64::from(slot % 2)),
                digest: digests(slot),
                ..state
            });
            let mut batch = Batch::new();
            batch.replace(old.as_ref(), new.as_ref());
            let again = batch.clone();
            store.commit(batch).now_or_never().unwrap().unwrap();
            if old != new {
                let refused = store.commit(again).now_or_never().unwrap();
                prop_assert!(matches!(refused, Err(CommitError::Conflict(_))));
            }
            current.extend(new.map(|new| (slot, new)));

            let stored = everything(&store);
            let mut rebuilt = BTreeMap::new();
            for record in current.values() {
                // From the stored bytes, as a rebuild would.
                let read = ManifestRecord::decode(record.package, record.digest, &stored[&record.key()]).unwrap();
                prop_assert_eq!(&read, record);
                rebuilt.insert(read.key(), read.value());
                rebuilt.extend(read.index().into_iter().map(|key| (key, Bytes::new())));
            }
            prop_assert_eq!(stored, rebuilt);
        }
    }
}

fn digests(number: u8) -> Digest {
    sha256(&format!("{number:02x}"))
}

fn everything(store: &MemoryStore) -> BTreeMap<Key, Bytes> {
    let all = |space| store.scan(&Key { space, bytes: Vec::new() }, None, usize::MAX).now_or_never().unwrap();
    Space::ALL.into_iter().flat_map(|space| all(space).unwrap()).collect()
}

/// A manifest from a small world, so that histories meet themselves: or none. Package and digest are the caller's.
fn states() -> impl Strategy<Value = Option<ManifestRecord>> {
    let kinds = (any::<bool>(), any::<bool>(), any::<bool>());
    let target = (0u8..6, kinds).prop_map(|(number, (present, manifest, child))| Target {
        digest: digests(number),
        present,
        manifest: present && manifest,
        child: child || present && manifest,
    });
    let parts = (
        prop::collection::vec(target, 0..5),
        prop::option::of(0u8..6),
        prop::option::of(1u64..3),
        prop::sample::select(vec!["", "a", "b"]),
        1u64..3,
    );
    let record = parts.prop_map(|(targets, subject, deleted, artifact_type, owner)| ManifestRecord {
        owner: OwnerId(owner),
        deleted: deleted.map(Timestamp),
        subject: subject.map(digests),
        artifact_type: artifact_type.into(),
        targets,
        ..manifest()
    });
    prop::option::weighted(0.8, record)
}

#[test]
fn the_queues_of_collection_are_these_bytes() {
    let (due, digest, physical) = (Timestamp(2), sha256("a1"), PhysicalKey([0xcd; 16]));
    let review = blob::review_key(due, &digest);
    assert_eq!(review.bytes, bytes(&format!("'q' 0000000000000002 01 {}", "a1".repeat(32))));
    assert_eq!(blob::review_in(&review), Some((due, digest)));
    let trashed = blob::trash_key(due, physical);
    assert_eq!(trashed.bytes, bytes(&format!("'t' 0000000000000002 {}", "cd".repeat(16))));
    assert_eq!(blob::trash_in(&trashed), Some((due, physical)));
    let value = blob::trash_value(5);
    assert_eq!(value.as_ref(), bytes("01 0000000000000005"));
    assert_eq!(blob::trash_size(&value), 5);
    // The first program put no size there.
    assert_eq!(blob::trash_size(b""), 0);
    for length in 1..review.bytes.len() {
        let short = crate::store::Key { space: review.space, bytes: review.bytes[..length].to_vec() };
        assert_eq!(blob::review_in(&short), None);
    }
}

/// Values that no record stands behind.
#[test]
fn numbers_and_marks_are_these_bytes() {
    let at = Timestamp(0x0102);
    for (value, read) in [
        (blob::lease_value(at), blob::lease_ends as fn(&[u8]) -> Option<Timestamp>),
        (pin::pin_value(at), pin::pin_ends),
    ] {
        assert_eq!(value.as_ref(), bytes("0000000000000102"));
        assert_eq!(read(&value), Some(at));
        assert_eq!((read(&value[1..]), read(&[])), (None, None));
    }
    let (digest, package, key) = (sha256("a1"), PackageId(1), PhysicalKey([0xcd; 16]));
    let own = format!("01 {}", "a1".repeat(32));
    for (found, space, golden) in [
        (blob::lease_key(&digest, package), Space::Refs, format!("'r' {own} 00 0000000000000001")),
        (blob::last_lease_key(package), Space::Refs, "'l' 0000000000000001".into()),
        (blob::wanting(package, &digest), Space::Refs, format!("'W' 0000000000000001 {own}")),
        (blob::review_key(at, &digest), Space::Queue, format!("'q' 0000000000000102 {own}")),
        (blob::trash_key(at, key), Space::Queue, format!("'t' 0000000000000102 {}", "cd".repeat(16))),
        (BlobRecord::inline_key(&digest), Space::Inline, format!("'i' {own}")),
        (ManifestRecord::body_key(package, &digest), Space::Doc, format!("'c' 0000000000000001 {own}")),
        (TagRecord::arrivals(package, &digest), Space::Doc, format!("'a' 0000000000000001 {own}")),
        (pin::pin_key([0xab; 16]), Space::Meta, format!("'b' {}", "ab".repeat(16))),
        (clock::mark_key(), Space::Meta, "'sclock' 00".into()),
    ] {
        assert_eq!(
            (found.space, hex::encode(&found.bytes)),
            (space, hex::encode(bytes(&golden))),
            "{golden}"
        );
    }
    // A counter, as every store writes it.
    assert_eq!(crate::store::counter(Some(&Bytes::from(bytes("0000000000000102")))), 0x0102);

    let mark = clock::Mark { at: 1, running: 2, boot: "b".into() };
    golden(&mark, &mark.encode(), "01 '{\"at\":1,\"running\":2,\"boot\":\"b\"}'", clock::Mark::decode);
}
