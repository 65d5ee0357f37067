//! What a [`MetadataStore`] answers to reads.

use std::sync::Arc;

use bytes::Bytes;

use super::{key, put, suite};
use crate::store::{Batch, Key, MetadataStore, Space};

suite! {
    memory = crate::store::suite::memory_metadata();
    faulty = crate::store::suite::faulty_metadata();
    #[cfg(feature = "rocksdb")]
    rocks = crate::store::suite::rocks_metadata();
    => [
        what_was_put_is_read
        scans_are_ordered_and_paged
        scans_stay_in_their_prefix
        digests_are_found_by_any_prefix
        a_snapshot_sees_one_moment
    ]
}

type Store = Arc<dyn MetadataStore>;

async fn what_was_put_is_read(store: Store) {
    let mut batch = Batch::new();
    for space in Space::ALL {
        batch.put(key(space, "a"), format!("in {}", space.word()));
        batch.put(key(space, "empty"), "");
        batch.put(key(space, "large"), vec![7; 100_000]);
    }
    store.commit(batch).await.unwrap();
    for space in Space::ALL {
        let keys = [key(space, "a"), key(space, "absent"), key(space, "empty"), key(space, "large")];
        let values = store.multi_get(&keys).await.unwrap();
        let expected = [
            Some(Bytes::from(format!("in {}", space.word()))),
            None,
            Some(Bytes::new()),
            Some(vec![7; 100_000].into()),
        ];
        assert_eq!(values, expected);
        for (key, value) in keys.iter().zip(expected) {
            assert_eq!(store.get(key).await.unwrap(), value);
        }
    }
    // Across spaces in one call, in the order asked for.
    let keys: Vec<_> = Space::ALL.into_iter().rev().map(|space| key(space, "a")).collect();
    let values = store.multi_get(&keys).await.unwrap();
    assert_eq!(values[0].as_deref(), Some(&b"in event"[..]));
    assert_eq!(values[6].as_deref(), Some(&b"in meta"[..]));
    let mut batch = Batch::new();
    batch.delete(key(Space::Meta, "a"));
    batch.delete(key(Space::Meta, "never there"));
    store.commit(batch).await.unwrap();
    assert_eq!(store.get(&key(Space::Meta, "a")).await.unwrap(), None);
    assert!(store.get(&key(Space::Blob, "a")).await.unwrap().is_some());
}

async fn scans_are_ordered_and_paged(store: Store) {
    for space in [Space::Meta, Space::Refs, Space::Queue] {
        let mut batch = Batch::new();
        let mut expected: Vec<_> = (0..600).map(|n| key(space, &format!("s/{:04}", n * 7 % 600))).collect();
        for key in &expected {
            batch.put(key.clone(), key.bytes.clone());
        }
        store.commit(batch).await.unwrap();
        expected.sort();
        let prefix = key(space, "s/");
        for page in [1, 7, 256, 257, 600, 1000] {
            let mut seen = Vec::new();
            loop {
                let found = store.scan(&prefix, seen.last(), page).await.unwrap();
                assert!(found.len() <= page);
                assert!(found.iter().all(|(key, value)| key.bytes == *value));
                let last = found.len() < page;
                seen.extend(found.into_iter().map(|(key, _)| key));
                if last {
                    break;
                }
            }
            assert_eq!(seen, expected);
        }
        assert!(store.scan(&prefix, None, 0).await.unwrap().is_empty());
        // A cursor need not be a key that is there.
        let found = store.scan(&prefix, Some(&key(space, "s/0003x")), 1).await.unwrap();
        assert_eq!(found[0].0, key(space, "s/0004"));
        assert!(store.any(&prefix).await.unwrap());
        assert!(!store.any(&key(space, "s/9")).await.unwrap());
    }
}

async fn scans_stay_in_their_prefix(store: Store) {
    let raw = |space, bytes: &[u8]| Key { space, bytes: bytes.to_vec() };
    let all: [&[u8]; 8] =
        [&[1], &[1, 0], &[1, 0xff], &[1, 0xff, 0xff], &[2], &[0xff], &[0xff, 0xff], &[0xff, 0xff, 1]];
    for space in Space::ALL {
        let mut batch = Batch::new();
        for bytes in all {
            batch.put(raw(space, bytes), "");
        }
        store.commit(batch).await.unwrap();
        for prefix in all.into_iter().chain([&[][..], &[0], &[3], &[1, 0xff, 0xff, 0xff]]) {
            let found = store.scan(&raw(space, prefix), None, 100).await.unwrap();
            let found: Vec<_> = found.into_iter().map(|(key, _)| key).collect();
            let expected: Vec<_> = all
                .into_iter()
                .filter(|key| key.starts_with(prefix))
                .map(|bytes| raw(space, bytes))
                .collect();
            assert_eq!(found, expected, "{space:?} {prefix:?}");
        }
    }
}

async fn digests_are_found_by_any_prefix(store: Store) {
    // Both lengths of digests, with neighbours that share all but their last byte.
    let mut batch = Batch::new();
    let mut all = Vec::new();
    for (algorithm, length) in [(1u8, 32), (2, 64)] {
        for last in 0..4u8 {
            let mut digest = vec![0x55; length];
            digest[length - 1] = last;
            for owner in 0..3u8 {
                let key = Key::new(Space::Refs, b'e').with(&[algorithm]).with(&digest).with(&[1, owner]);
                batch.put(key.clone(), "");
                all.push(key);
            }
        }
    }
    store.commit(batch).await.unwrap();
    all.sort();
    for key in &all {
        for length in 0..=key.bytes.len() {
            let prefix = Key { space: Space::Refs, bytes: key.bytes[..length].to_vec() };
            let found: Vec<_> =
                store.scan(&prefix, None, 100).await.unwrap().into_iter().map(|(key, _)| key).collect();
            let expected: Vec<_> =
                all.iter().filter(|key| key.bytes.starts_with(&prefix.bytes)).cloned().collect();
            assert_eq!(found, expected);
        }
    }
}

async fn a_snapshot_sees_one_moment(store: Store) {
    let stream = key(Space::Event, "s/");
    let mut batch = put(key(Space::Meta, "a"), "1");
    batch.put(key(Space::Doc, "a"), "1");
    store.commit(batch).await.unwrap();
    let before = store.snapshot().unwrap();
    let mut batch = put(key(Space::Meta, "a"), "2");
    batch.delete(key(Space::Doc, "a"));
    batch.append(stream.clone(), "x");
    store.commit(batch).await.unwrap();
    let keys = [key(Space::Meta, "a"), key(Space::Doc, "a")];
    let old = [Some(Bytes::from("1")), Some(Bytes::from("1"))];
    assert_eq!(before.multi_get(&keys).await.unwrap(), old);
    assert_eq!(before.get(&keys[0]).await.unwrap(), old[0]);
    assert!(!before.any(&stream).await.unwrap());
    for limit in [10, 1000] {
        assert_eq!(before.scan(&Key::new(Space::Doc, b't'), None, limit).await.unwrap().len(), 1);
    }
    let after = store.snapshot().unwrap();
    assert_eq!(after.multi_get(&keys).await.unwrap(), [Some(Bytes::from("2")), None]);
    assert_eq!(store.multi_get(&keys).await.unwrap(), [Some(Bytes::from("2")), None]);
    assert!(after.any(&stream).await.unwrap());
}
