//! The behaviour of a [`BlobStore`].

use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::{Bench, suite};
use crate::{
    error::{Error, Kind},
    model::{Algorithm, Digest, Hasher, PhysicalKey},
    store::{BlobStore, BlobWriter, OpenBlob, memory::MemoryBlobs},
};

suite! {
    memory = super::in_memory();
    directory = super::in_directory();
    faulty = super::with_faults();
    => [
        what_was_written_is_read
        an_upload_is_resumed_where_it_stopped
        what_lies_beyond_the_offset_is_cut_off
        a_short_upload_says_what_it_holds
        publishing_is_repeatable
        only_whole_uploads_are_published
        discarding_and_deleting_are_repeatable
        an_open_reader_survives_deletion
        the_size_is_compared_at_open
        an_upload_is_reread
        keys_are_listed_in_order
        the_hash_continues_over_restarts
        writers_of_different_uploads_do_not_meet
        a_later_writer_stops_the_earlier_one
        a_published_blob_takes_no_more_bytes
        chunks_of_any_size_are_taken
        reads_end_with_the_blob
        an_inspection_sees_what_is_stored_now
    ]
}

type Store = Arc<dyn BlobStore>;

fn in_memory() -> Bench<dyn BlobStore> {
    Bench { store: Arc::new(MemoryBlobs::new()), gate: None, _folder: None }
}

fn with_faults() -> Bench<dyn BlobStore> {
    let store = crate::store::faulty::FaultyBlobs::new(in_memory().store, Arc::default());
    Bench { store: Arc::new(store), gate: None, _folder: None }
}

fn in_directory() -> Bench<dyn BlobStore> {
    let folder = tempfile::tempdir().unwrap();
    let store = crate::store::DirectoryBlobs::open(folder.path()).unwrap();
    Bench { store: Arc::new(store), gate: None, _folder: Some(folder) }
}

fn fresh() -> Hasher {
    Hasher::new(Algorithm::Sha256)
}

fn key() -> PhysicalKey {
    PhysicalKey::random().unwrap()
}

/// Bytes that differ at every place.
fn sample(length: usize) -> Bytes {
    (0..length).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

async fn write(store: &Store, key: PhysicalKey, bytes: &Bytes) -> Digest {
    let mut writer = store.write(key, 0, fresh()).await.unwrap();
    writer.push(bytes.clone()).await.unwrap();
    let written = writer.sync().await.unwrap();
    assert_eq!(written.offset, bytes.len() as u64);
    written.hasher.finish()
}

async fn published(store: &Store, bytes: &Bytes) -> PhysicalKey {
    let key = key();
    write(store, key, bytes).await;
    store.publish(key, bytes.len() as u64).await.unwrap();
    key
}

async fn whole(blob: &dyn OpenBlob) -> Bytes {
    blob.read(0, usize::try_from(blob.size()).unwrap()).await.unwrap()
}

fn error<T>(result: crate::error::Result<T>) -> Error {
    result.err().expect("refused")
}

async fn what_was_written_is_read(store: Store) {
    for length in [0, 1, 4096, 300_000, 3 << 20] {
        let (bytes, key) = (sample(length), key());
        assert_eq!(write(&store, key, &bytes).await, Digest::sha256(&bytes));
        store.publish(key, length as u64).await.unwrap();
        let blob = store.open(key, length as u64).await.unwrap();
        assert_eq!(blob.size(), length as u64);
        assert_eq!(whole(&*blob).await, bytes);
        // Opened again, from the cache of open files where there is one.
        let blob = store.open(key, length as u64).await.unwrap();
        let half = length / 2;
        assert_eq!(blob.read(half as u64, length).await.unwrap(), bytes.slice(half..));
        let mut into = vec![0; 100];
        if let Some(read) = blob.try_read(half as u64, &mut into).unwrap() {
            assert!(read > 0 || half == length);
            assert_eq!(into[..read], bytes[half..half + read]);
        }
    }
    assert!(store.space().unwrap() > 0);
}

async fn an_upload_is_resumed_where_it_stopped(store: Store) {
    let (bytes, key) = (sample(200_000), key());
    let mut hasher = fresh();
    let mut offset = 0;
    for end in [1, 70_000, 70_001, 200_000] {
        let mut writer = store.write(key, offset, hasher).await.unwrap();
        writer.push(bytes.slice(usize::try_from(offset).unwrap()..end)).await.unwrap();
        let written = writer.sync().await.unwrap();
        (offset, hasher) = (written.offset, written.hasher);
        assert_eq!(offset, end as u64);
    }
    assert_eq!(hasher.finish(), Digest::sha256(&bytes));
    store.publish(key, offset).await.unwrap();
    assert_eq!(whole(&*store.open(key, offset).await.unwrap()).await, bytes);
}

async fn what_lies_beyond_the_offset_is_cut_off(store: Store) {
    let key = key();
    let mut writer = store.write(key, 0, fresh()).await.unwrap();
    writer.push(Bytes::from_static(b"kept")).await.unwrap();
    let kept = writer.sync().await.unwrap();
    writer.push(Bytes::from_static(b" and this is cut off")).await.unwrap();
    writer.sync().await.unwrap();
    let mut writer = store.write(key, 4, kept.hasher).await.unwrap();
    writer.push(Bytes::from_static(b"!")).await.unwrap();
    let written = writer.sync().await.unwrap();
    assert_eq!(written.offset, 5);
    assert_eq!(written.hasher.finish(), Digest::sha256(b"kept!"));
    store.publish(key, 5).await.unwrap();
    assert_eq!(whole(&*store.open(key, 5).await.unwrap()).await, "kept!");
    // From the beginning again, as a client does that lost its state.
    let key = self::key();
    write(&store, key, &sample(1000)).await;
    let mut writer = store.write(key, 0, fresh()).await.unwrap();
    assert_eq!(writer.sync().await.unwrap().offset, 0);
    store.publish(key, 0).await.unwrap();
}

async fn a_short_upload_says_what_it_holds(store: Store) {
    let key = key();
    assert_eq!(error(store.write(key, 1, fresh()).await.map(drop)).kind(), Kind::Offset { stored: 0 });
    write(&store, key, &sample(10)).await;
    assert_eq!(error(store.write(key, 11, fresh()).await.map(drop)).kind(), Kind::Offset { stored: 10 });
    // Asking did no harm.
    store.publish(key, 10).await.unwrap();
}

async fn publishing_is_repeatable(store: Store) {
    let bytes = sample(5000);
    let key = published(&store, &bytes).await;
    for _ in 0..2 {
        store.publish(key, 5000).await.unwrap();
    }
    assert_eq!(error(store.publish(key, 4999).await).kind(), Kind::Internal);
    assert_eq!(whole(&*store.open(key, 5000).await.unwrap()).await, bytes);
}

async fn only_whole_uploads_are_published(store: Store) {
    let key = key();
    assert_eq!(error(store.publish(key, 0).await).kind(), Kind::Offset { stored: 0 });
    write(&store, key, &sample(10)).await;
    assert_eq!(error(store.publish(key, 11).await).kind(), Kind::Internal);
    assert_eq!(error(store.publish(key, 9).await).kind(), Kind::Internal);
    assert!(store.open(key, 10).await.is_err());
    assert!(store.list(None, 10).await.unwrap().is_empty());
    store.publish(key, 10).await.unwrap();
}

async fn discarding_and_deleting_are_repeatable(store: Store) {
    let key = key();
    store.discard(key).await.unwrap();
    store.delete(key).await.unwrap();
    write(&store, key, &sample(10)).await;
    store.delete(key).await.unwrap();
    store.reread(key, 10).await.unwrap();
    store.discard(key).await.unwrap();
    store.discard(key).await.unwrap();
    assert_eq!(error(store.reread(key, 10).await.map(drop)).kind(), Kind::Offset { stored: 0 });
    let key = published(&store, &sample(10)).await;
    store.discard(key).await.unwrap();
    store.open(key, 10).await.unwrap();
    store.delete(key).await.unwrap();
    store.delete(key).await.unwrap();
    assert_eq!(error(store.open(key, 10).await.map(drop)).kind(), Kind::Internal);
}

async fn an_open_reader_survives_deletion(store: Store) {
    let bytes = sample(100_000);
    let key = published(&store, &bytes).await;
    let blob = store.open(key, 100_000).await.unwrap();
    store.delete(key).await.unwrap();
    assert_eq!(whole(&*blob).await, bytes);
    // But nobody opens it any more, whatever is cached.
    assert!(store.open(key, 100_000).await.is_err());
}

async fn the_size_is_compared_at_open(store: Store) {
    let key = published(&store, &sample(100)).await;
    for _ in 0..2 {
        for wrong in [0, 99, 101] {
            let error = error(store.open(key, wrong).await.map(drop));
            assert_eq!(error.kind(), Kind::Internal);
            assert!(error.cause().is_some());
        }
        store.open(key, 100).await.unwrap();
    }
}

async fn an_upload_is_reread(store: Store) {
    let (bytes, key) = (sample(1000), key());
    write(&store, key, &bytes).await;
    let held = store.reread(key, 600).await.unwrap();
    assert_eq!(held.size(), 600);
    assert_eq!(held.read(0, 1000).await.unwrap(), bytes.slice(..600));
    let mut into = [0; 1000];
    if let Some(read) = held.try_read(500, &mut into).unwrap() {
        assert!(read <= 100);
        assert_eq!(into[..read], bytes[500..500 + read]);
    }
    assert_eq!(error(store.reread(key, 1001).await.map(drop)).kind(), Kind::Offset { stored: 1000 });
}

async fn keys_are_listed_in_order(store: Store) {
    let mut keys = Vec::new();
    for n in 0..40u8 {
        // Several in one folder, folders apart.
        let key = PhysicalKey([[n / 4 * 28].as_slice(), &[n; 15]].concat().try_into().unwrap());
        write(&store, key, &sample(1)).await;
        if n % 8 == 7 {
            continue;
        }
        store.publish(key, 1).await.unwrap();
        keys.push(key);
    }
    keys.sort();
    for page in [1, 3, 35, 100] {
        let mut seen: Vec<PhysicalKey> = Vec::new();
        loop {
            let found = store.list(seen.last().copied(), page).await.unwrap();
            assert!(found.len() <= page);
            let last = found.len() < page;
            seen.extend(found);
            if last {
                break;
            }
        }
        assert_eq!(seen, keys);
    }
    assert!(store.list(None, 0).await.unwrap().is_empty());
    assert!(store.list(Some(PhysicalKey([0xff; 16])), 10).await.unwrap().is_empty());
}

async fn the_hash_continues_over_restarts(store: Store) {
    let bytes = sample(100_000);
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let key = key();
        let mut writer = store.write(key, 0, Hasher::new(algorithm)).await.unwrap();
        writer.push(bytes.slice(..33_333)).await.unwrap();
        let written = writer.sync().await.unwrap();
        let saved = written.hasher.save();
        drop(writer);
        let hasher = Hasher::restore(&saved).unwrap();
        let mut writer = store.write(key, written.offset, hasher).await.unwrap();
        writer.push(bytes.slice(33_333..)).await.unwrap();
        assert_eq!(writer.sync().await.unwrap().hasher.finish(), Digest::of(algorithm, &bytes));
    }
}

async fn writers_of_different_uploads_do_not_meet(store: Store) {
    let mut tasks = JoinSet::new();
    for n in 0..12usize {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let (bytes, key) = (sample(300_000 + n).slice(n..), key());
            let mut writer = store.write(key, 0, fresh()).await.unwrap();
            for chunk in bytes.chunks(10_000) {
                writer.push(bytes.slice_ref(chunk)).await.unwrap();
            }
            let written = writer.sync().await.unwrap();
            assert_eq!(written.hasher.finish(), Digest::sha256(&bytes));
            store.publish(key, written.offset).await.unwrap();
            assert_eq!(whole(&*store.open(key, written.offset).await.unwrap()).await, bytes);
        });
    }
    tasks.join_all().await;
    assert_eq!(store.list(None, 100).await.unwrap().len(), 12);
}

async fn refused(writer: &mut Box<dyn BlobWriter>) -> Error {
    match writer.push(Bytes::from_static(b"late")).await {
        Err(error) => error,
        Ok(()) => error(writer.sync().await),
    }
}

async fn a_later_writer_stops_the_earlier_one(store: Store) {
    let key = key();
    let bytes = sample(2 << 20);
    let mut earlier = store.write(key, 0, fresh()).await.unwrap();
    // Much of it is still under way when the client comes again on another connection.
    for chunk in bytes.chunks(64 << 10) {
        earlier.push(bytes.slice_ref(chunk)).await.unwrap();
    }
    let mut later = store.write(key, 0, fresh()).await.unwrap();
    later.push(Bytes::from_static(b"later")).await.unwrap();
    assert!(matches!(refused(&mut earlier).await.kind(), Kind::Conflict(_)));
    drop(earlier);
    let written = later.sync().await.unwrap();
    assert_eq!((written.offset, written.hasher.finish()), (5, Digest::sha256(b"later")));
    store.publish(key, 5).await.unwrap();
    assert_eq!(whole(&*store.open(key, 5).await.unwrap()).await, "later");
}

async fn a_published_blob_takes_no_more_bytes(store: Store) {
    for discard in [false, true] {
        let key = key();
        let mut writer = store.write(key, 0, fresh()).await.unwrap();
        writer.push(Bytes::from_static(b"bytes")).await.unwrap();
        writer.sync().await.unwrap();
        if discard {
            store.discard(key).await.unwrap();
        } else {
            store.publish(key, 5).await.unwrap();
        }
        assert!(matches!(refused(&mut writer).await.kind(), Kind::Conflict(_)));
        drop(writer);
        if !discard {
            assert_eq!(whole(&*store.open(key, 5).await.unwrap()).await, "bytes");
        }
    }
}

async fn chunks_of_any_size_are_taken(store: Store) {
    let bytes = sample(6 << 20);
    let key = key();
    let mut writer = store.write(key, 0, fresh()).await.unwrap();
    let mut rest = bytes.clone();
    for size in [0, 1, 2, 0, 3 << 20, 17, 1 << 20, 100_000].into_iter().chain([3; 2000]) {
        writer.push(rest.split_to(size)).await.unwrap();
    }
    writer.push(rest).await.unwrap();
    let written = writer.sync().await.unwrap();
    assert_eq!(written.offset, 6 << 20);
    assert_eq!(written.hasher.finish(), Digest::sha256(&bytes));
    store.publish(key, 6 << 20).await.unwrap();
    assert_eq!(whole(&*store.open(key, 6 << 20).await.unwrap()).await, bytes);
}

async fn reads_end_with_the_blob(store: Store) {
    let bytes = sample(10_000);
    let key = published(&store, &bytes).await;
    let blob = store.open(key, 10_000).await.unwrap();
    assert_eq!(blob.read(9_990, 100).await.unwrap(), bytes.slice(9_990..));
    assert!(blob.read(10_000, 100).await.unwrap().is_empty());
    assert!(blob.read(u64::MAX / 2, 100).await.unwrap().is_empty());
    assert!(blob.read(5, 0).await.unwrap().is_empty());
    let mut into = [0; 100];
    assert!(matches!(blob.try_read(10_000, &mut into).unwrap(), None | Some(0)));
    assert!(matches!(blob.try_read(5, &mut []).unwrap(), None | Some(0)));
}

async fn an_inspection_sees_what_is_stored_now(store: Store) {
    let bytes = sample(100_000);
    let key = published(&store, &bytes).await;
    let stat = store.stat(key).await.unwrap().expect("published");
    assert_eq!(stat.size, 100_000);
    // Of any size: what is to be checked may be the size itself.
    let open = store.inspect(key).await.unwrap();
    assert_eq!(open.size(), 100_000);
    assert_eq!(whole(&*open).await, bytes);
    let mut into = [0; 100];
    if let Some(read) = open.try_read(50, &mut into).unwrap() {
        assert_eq!(into[..read], bytes[50..50 + read]);
    }
    // An upload is not published, whatever it holds; and a reader that has the bytes open hides nothing.
    let upload = self::key();
    write(&store, upload, &bytes).await;
    let reader = store.open(key, 100_000).await.unwrap();
    store.delete(key).await.unwrap();
    for absent in [key, upload] {
        assert_eq!(store.stat(absent).await.unwrap(), None);
        let kind = error(store.inspect(absent).await.map(drop)).kind();
        assert_eq!(kind, Kind::NotFound(crate::error::What::Blob));
    }
    drop(reader);
}
