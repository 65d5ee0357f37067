//! What only the embedded engine has: groups, reopening, one owner of a folder, and the path of a failed write.

mod expected;
mod recycled;

use std::{path::Path, pin::Pin, sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;

use super::{RocksOptions, RocksStore, committer::Inject, slot::lock};
use crate::{
    error::{Error, Kind},
    store::{
        Add, Batch, CommitError, Committed, Key, MetadataRead, MetadataStore, Prefix, Space, counter,
        open_directory, stream_key,
    },
};

fn open(path: &Path) -> RocksStore {
    RocksStore::open(path, RocksOptions::default()).unwrap()
}

fn key(text: &str) -> Key {
    Key::new(Space::Meta, b't').with(text.as_bytes())
}

fn put(text: &str) -> Batch {
    let mut batch = Batch::new();
    batch.put(key(text), text.to_owned());
    batch
}

fn figure(store: &RocksStore, name: &str) -> u64 {
    store.figures().into_iter().find(|(found, _)| *found == name).unwrap().1
}

fn failure<T: std::fmt::Debug>(result: Result<T, CommitError>) -> Error {
    match result {
        Err(CommitError::Failed(error)) => error,
        other => panic!("no failure: {other:?}"),
    }
}

type Commit<'a> = Pin<Box<dyn Future<Output = Result<Committed, CommitError>> + Send + 'a>>;

/// Sends batches so that they meet in one group, as far as its bounds allow.
async fn send<'a>(store: &'a RocksStore, batches: impl IntoIterator<Item = Batch>) -> Vec<Commit<'a>> {
    let mut commits: Vec<Commit<'a>> = batches.into_iter().map(|batch| store.commit(batch)).collect();
    let gate = store.gate();
    std::future::poll_fn(|context| {
        let _shut = lock(&gate);
        for commit in &mut commits {
            assert!(commit.as_mut().poll(context).is_pending());
        }
        Poll::Ready(())
    })
    .await;
    commits
}

/// Waits until the engine is open again; a test that hangs here has failed.
async fn healed(store: &RocksStore) {
    while store.health().is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_waits_shares_one_sync() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for commit in send(&store, (0..100).map(|n| put(&format!("{n}")))).await {
        commit.await.unwrap();
    }
    assert_eq!(figure(&store, "commits"), 100);
    assert_eq!(figure(&store, "commit_groups"), 1);
    assert_eq!(figure(&store, "commit_group_largest"), 100);
    assert_eq!(figure(&store, "sync_count"), 1);
    assert!(figure(&store, "sync_micros_sum") > 0);
}

#[tokio::test]
async fn a_batch_is_judged_by_those_before_it_in_its_group() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let (a, b, prefix) = (key("p/a"), key("p/b"), key("p/"));
    store.commit(put("p/a")).await.unwrap();
    store.commit(put("p/b")).await.unwrap();
    let expecting = |holds| {
        let mut batch = Batch::new();
        batch.expect_prefix(prefix.clone(), holds, prefix.clone());
        batch
    };
    let delete = |key: &Key| {
        let mut batch = Batch::new();
        batch.delete(key.clone());
        batch
    };
    let only = |key: &Key| expecting(Prefix::Only(key.clone()));
    let empty = || expecting(Prefix::Empty);
    let some = || expecting(Prefix::Some);
    // What is in the database, what the group hides of it, and what the group adds to it.
    let steps = [
        (only(&a), false),
        (delete(&b), true),
        (only(&a), true),
        (only(&b), false),
        (some(), true),
        (delete(&a), true),
        (empty(), true),
        (some(), false),
        (only(&a), false),
        (put("p/b"), true),
        (only(&b), true),
        (empty(), false),
        (put("p/c"), true),
        (only(&b), false),
        (delete(&b), true),
        (only(&key("p/c")), true),
    ];
    let expected: Vec<_> = steps.iter().map(|(_, holds)| *holds).collect();
    let mut said = Vec::new();
    for commit in send(&store, steps.map(|(batch, _)| batch)).await {
        said.push(commit.await.is_ok());
    }
    assert_eq!(said, expected);
    assert_eq!(figure(&store, "commit_groups"), 3);
    let left = store.scan(&prefix, None, 10).await.unwrap();
    assert_eq!(left.into_iter().map(|(key, _)| key).collect::<Vec<_>>(), [key("p/c")]);
}

#[tokio::test]
async fn a_group_is_bounded_in_count_and_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let options = RocksOptions { group_batches: 10, group_bytes: 1000, ..RocksOptions::default() };
    let store = RocksStore::open(folder.path(), options).unwrap();
    for (value, expected) in [(1, 10), (400, 3)] {
        let before = figure(&store, "commit_groups");
        let batches = (0..30).map(|n| {
            let mut batch = Batch::new();
            batch.put(key(&format!("{n}")), vec![0; value]);
            batch
        });
        for commit in send(&store, batches).await {
            commit.await.unwrap();
        }
        assert_eq!(figure(&store, "commit_groups") - before, 30 / expected);
    }
}

#[tokio::test]
async fn lazy_batches_do_not_sync() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let lazy = |text| Batch { lazy: true, ..put(text) };
    store.commit(lazy("a")).await.unwrap();
    store.commit(lazy("b")).await.unwrap();
    assert_eq!(figure(&store, "sync_count"), 0);
    store.commit(put("c")).await.unwrap();
    assert_eq!(figure(&store, "sync_count"), 1);
    // A refused batch needs no sync either.
    let mut refused = put("a");
    refused.expect_absent(key("a"));
    store.commit(refused).await.unwrap_err();
    assert_eq!(figure(&store, "sync_count"), 1);
    store.commit(lazy("d")).await.unwrap();
    drop(store);
    // Closing in order keeps what was lazy, too.
    let store = open(folder.path());
    for text in ["a", "b", "c", "d"] {
        assert!(store.get(&key(text)).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let stream = Key::new(Space::Event, b's');
    for round in 1..=3u64 {
        let store = open(folder.path());
        assert_eq!(store.scan(&stream, None, 100).await.unwrap().len(), usize::try_from(round).unwrap() - 1);
        let mut batch = Batch::new();
        for space in Space::ALL {
            batch.put(Key::new(space, b'k').with(&[u8::try_from(round).unwrap()]), vec![1; 1000]);
        }
        batch.append(stream.clone(), "element");
        batch.adds.push(Add { key: key("count"), amount: 1, at_most: None });
        assert_eq!(store.commit(batch).await.unwrap().appended, [round]);
        for space in Space::ALL {
            let found = store.scan(&Key::new(space, b'k'), None, 100).await.unwrap();
            assert_eq!(found.len() as u64, round);
        }
        assert_eq!(counter(store.get(&key("count")).await.unwrap().as_ref()), i64::try_from(round).unwrap());
    }
    // Numbers go on although the newest element is gone.
    let store = open(folder.path());
    let mut batch = Batch::new();
    batch.delete(stream_key(&stream, 3));
    store.commit(batch).await.unwrap();
    drop(store);
    let store = open(folder.path());
    let mut batch = Batch::new();
    batch.append(stream, "element");
    assert_eq!(store.commit(batch).await.unwrap().appended, [4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushed_tables_answer_as_memory_does() {
    // Filters exist in tables only: the same questions again, after all was flushed and compacted.
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut batch = Batch::new();
    let edge =
        |digest: u8, owner: u8| Key::new(Space::Refs, b'e').with(&[1]).with(&[digest; 32]).with(&[1, owner]);
    for digest in 0..50 {
        for owner in 0..3 {
            batch.put(edge(digest, owner), "");
        }
        for space in Space::ALL {
            batch.put(Key::new(space, b'k').with(&[digest]), vec![digest; 600]);
        }
    }
    store.commit(batch).await.unwrap();
    let engine = store.slot.now().unwrap();
    for space in Space::ALL {
        let family = engine.family(space).unwrap();
        engine.db().flush_cf(family).unwrap();
        engine.db().compact_range_cf(family, None::<&[u8]>, None::<&[u8]>);
    }
    drop(engine);
    for digest in 0..50u8 {
        for space in Space::ALL {
            let found = store.get(&Key::new(space, b'k').with(&[digest])).await.unwrap();
            assert_eq!(found, Some(Bytes::from(vec![digest; 600])));
        }
        let mut prefix = edge(digest, 0);
        for length in (0..=prefix.bytes.len()).rev() {
            prefix.bytes.truncate(length);
            let found = store.scan(&prefix, None, 1000).await.unwrap();
            let expected = match length {
                36 => 1,
                3..=35 => 3,
                1..=2 => 150,
                _ => 200,
            };
            assert_eq!(found.len(), expected, "{length}");
            assert!(found.iter().all(|(key, _)| key.bytes.starts_with(&prefix.bytes)));
        }
        // A page that begins at a digest that is not there goes on to the next one that is.
        let mut between = edge(digest, 0);
        between.bytes[33] = 0xff;
        for length in 1..=2 {
            let prefix = Key { space: Space::Refs, bytes: between.bytes[..length].to_vec() };
            let page = store.scan(&prefix, Some(&between), 1).await.unwrap();
            let next = (digest < 49).then(|| edge(digest + 1, 0));
            assert_eq!(page.into_iter().next().map(|(key, _)| key), next);
        }
        assert!(store.get(&edge(digest, 9)).await.unwrap().is_none());
        assert!(store.get(&edge(digest, 2)).await.unwrap().is_some());
    }
    assert!(!store.any(&edge(200, 0)).await.unwrap());
}

#[tokio::test]
async fn a_folder_has_one_owner() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let stores = open_directory(&data, RocksOptions::default()).unwrap();
    let error = open_directory(&data, RocksOptions::default()).map(drop).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.public().contains("another packhouse uses the data folder"), "{error}");
    // The engine's own lock says the same.
    let error = RocksStore::open(&data.join("meta"), RocksOptions::default()).map(drop).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.public().contains("another packhouse uses"), "{error}");
    drop(stores);
    open_directory(&data, RocksOptions::default()).map(drop).unwrap();
}

#[tokio::test]
async fn only_the_owner_may_look_into_the_folder() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("deep/data");
    let stores = open_directory(&data, RocksOptions::default()).unwrap();
    for inside in ["", "meta", "blobs", "blobs/00", "blobs/ff", "uploads"] {
        let mode = data.join(inside).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{inside}");
    }
    drop(stores);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_write_acknowledges_nothing_and_heals() {
    for inject in [Inject::BeforeWrite, Inject::AfterWrite] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        let stream = Key::new(Space::Event, b's');
        let mut batch = put("before");
        batch.append(stream.clone(), "before");
        store.commit(batch).await.unwrap();

        // A group of two that change something and one that is refused because of the first.
        let mut first = put("first");
        first.put(key("beside"), "first");
        first.append(stream.clone(), "first");
        let mut refused = put("refused");
        refused.expect_absent(key("first"));
        *lock(&store.state.inject) = Some(inject);
        for commit in send(&store, [first, put("second"), refused]).await {
            // Not even the refusal is told: what it rests on may not be there.
            assert!(failure(commit.await).is_fault());
        }
        healed(&store).await;
        assert_eq!(figure(&store, "reopened"), 1);
        assert_eq!(figure(&store, "commits_failed"), 3);

        // What was acknowledged is there; what was not is there wholly or not at all.
        assert!(store.get(&key("before")).await.unwrap().is_some());
        let there = store.multi_get(&[key("first"), key("beside"), key("second")]).await.unwrap();
        let expected = inject == Inject::AfterWrite;
        assert!(there.iter().all(|value| value.is_some() == expected), "{there:?}");
        let mut batch = put("after");
        batch.append(stream.clone(), "after");
        let next = if expected { 3 } else { 2 };
        assert_eq!(store.commit(batch).await.unwrap().appended, [next]);
        assert_eq!(store.scan(&stream, None, 10).await.unwrap().len() as u64, next);
        drop(store);
        let store = open(folder.path());
        for text in ["before", "after"] {
            assert!(store.get(&key(text)).await.unwrap().is_some());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_it_is_broken_nothing_is_written_but_read() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.commit(put("before")).await.unwrap();
    // Opening again must not have a chance: the folder is gone from where it was.
    let aside = folder.path().with_extension("aside");
    std::fs::rename(folder.path(), &aside).unwrap();
    *lock(&store.state.inject) = Some(Inject::BeforeWrite);
    let error = failure(store.commit(put("lost")).await);
    assert_eq!(error.kind(), Kind::NoSpace);
    for _ in 0..3 {
        assert!(failure(store.commit(put("turned away")).await).is_fault());
        assert!(store.health().unwrap_err().cause().is_some());
    }
    // The database that cannot be written is not given up while it can be read.
    assert!(store.get(&key("before")).await.unwrap().is_some());
    let view = store.snapshot().unwrap();
    assert!(view.get(&key("before")).await.unwrap().is_some());
    std::fs::rename(&aside, folder.path()).unwrap();
    healed(&store).await;
    // A view of the old handle ended with it, and says so.
    assert_eq!(view.get(&key("before")).await.unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(view.scan(&key(""), None, 1000).await.unwrap_err().kind(), Kind::Unavailable);
    assert!(store.get(&key("lost")).await.unwrap().is_none());
    assert!(store.get(&key("turned away")).await.unwrap().is_none());
    store.commit(put("after")).await.unwrap();
    assert!(store.snapshot().unwrap().get(&key("after")).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_survive_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open(folder.path()));
    store.commit(put("before")).await.unwrap();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let readers: Vec<_> = (0..4)
        .map(|n| {
            let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut reads = 0u64;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let found = match n % 2 {
                        0 => store.get(&key("before")).await.map(|value| value.is_some()),
                        _ => store.scan(&key("before"), None, 500).await.map(|found| found.len() == 1),
                    };
                    match found {
                        Ok(found) => assert!(found),
                        // It may have taken longer to open than a reader waits.
                        Err(error) => assert_eq!(error.kind(), Kind::Unavailable),
                    }
                    reads += 1;
                    tokio::task::yield_now().await;
                }
                reads
            })
        })
        .collect();
    for n in 1..=5 {
        *lock(&store.state.inject) = Some(Inject::AfterWrite);
        failure(store.commit(put(&format!("{n}"))).await);
        healed(&store).await;
        assert_eq!(figure(&store, "reopened"), n);
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for reader in readers {
        assert!(reader.await.unwrap() > 0);
    }
}

#[tokio::test]
async fn a_damaged_counter_is_a_fault_of_one_batch() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.commit(put("text")).await.unwrap();
    let mut batch = Batch::new();
    batch.adds.push(Add { key: key("text"), amount: 1, at_most: None });
    assert_eq!(failure(store.commit(batch).await).kind(), Kind::Internal);
    store.health().unwrap();
    store.commit(put("other")).await.unwrap();
}

#[tokio::test]
async fn a_commit_dropped_while_it_waits_is_applied() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    drop(send(&store, [put("sent")]).await);
    store.commit(put("next")).await.unwrap();
    assert!(store.get(&key("sent")).await.unwrap().is_some());
}

/// Copies a closed database's folder, as a disk would give it back: with the bytes that `change` leaves of its log.
fn with_log(from: &Path, change: impl Fn(&mut Vec<u8>)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in from.read_dir().unwrap().map(Result::unwrap) {
        let mut bytes = std::fs::read(entry.path()).unwrap();
        if entry.path().extension().is_some_and(|ending| ending == "log") && !bytes.is_empty() {
            change(&mut bytes);
        }
        std::fs::write(folder.path().join(entry.file_name()), bytes).unwrap();
    }
    folder
}

#[tokio::test]
async fn a_log_damaged_before_what_was_synced_is_refused_and_a_torn_end_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let note = folder.path().join("packhouse.synced");
    let store = open(folder.path());
    let mut early = None;
    for round in 0..100 {
        store.commit(put(&format!("{round:03}"))).await.unwrap();
        early = early.or_else(|| std::fs::read(&note).ok());
    }
    drop(store);
    let whole = with_log(folder.path(), |_| {});
    assert_eq!(open(whole.path()).scan(&key(""), None, 1000).await.unwrap().len(), 100);

    let torn = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 3);
    let rotten = |bytes: &mut Vec<u8>| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    };
    for damage in [&torn as &dyn Fn(&mut Vec<u8>), &rotten] {
        let damaged = with_log(folder.path(), damage);
        for _ in 0..2 {
            let error = RocksStore::open(damaged.path(), RocksOptions::default()).err().unwrap();
            assert_eq!(error.kind(), Kind::Unavailable);
            assert!(error.public().contains("before what was acknowledged"), "{error}");
        }
        // The operator says to go on without.
        std::fs::remove_file(damaged.path().join("packhouse.synced")).unwrap();
        let left = open(damaged.path()).scan(&key(""), None, 1000).await.unwrap().len();
        assert!((40..100).contains(&left), "{left}");
    }

    // A power cut leaves an older note and a log whose end was never synced.
    std::fs::write(&note, early.unwrap()).unwrap();
    let cut = with_log(folder.path(), torn);
    assert_eq!(open(cut.path()).scan(&key(""), None, 1000).await.unwrap().len(), 99);
}
