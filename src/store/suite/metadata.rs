//! The behaviour of a [`MetadataStore`].

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use tokio::task::JoinSet;

use super::{conflict, key, put, quota, suite};
use crate::store::{
    Add, Batch, CommitError, Expect, Key, MetadataRead, MetadataStore, Prefix, Space, counter, stream_key,
};

suite! {
    memory = crate::store::suite::memory_metadata();
    faulty = crate::store::suite::faulty_metadata();
    #[cfg(feature = "rocksdb")]
    rocks = crate::store::suite::rocks_metadata();
    => [
        a_refused_batch_leaves_no_trace
        values_are_compared
        prefixes_are_counted
        of_two_conflicting_batches_one_wins
        the_parts_of_a_batch_apply_in_order
        each_batch_sees_those_before_it
        appends_are_numbered_without_gaps
        numbers_are_not_given_again
        elements_that_came_otherwise_count
        counters_keep_their_limit_under_concurrency
        counters_go_below_zero_and_refuse_to_overflow
        lazy_batches_are_seen_and_ordered
        an_abandoned_commit_is_whole_or_absent
        empty_batches_only_check
    ]
}

type Store = Arc<dyn MetadataStore>;

async fn names(store: &dyn MetadataRead, prefix: &Key) -> Vec<String> {
    let entries = store.scan(prefix, None, 1000).await.unwrap();
    entries.into_iter().map(|(key, _)| String::from_utf8(key.bytes[1..].to_vec()).unwrap()).collect()
}

async fn a_refused_batch_leaves_no_trace(store: Store) {
    store.commit(put(key(Space::Meta, "kept"), "old")).await.unwrap();
    let full = || {
        let mut batch = put(key(Space::Meta, "new"), "value");
        batch.put(key(Space::Doc, "new"), "value");
        batch.put(key(Space::Meta, "kept"), "new");
        batch.delete(key(Space::Meta, "kept"));
        batch.append(key(Space::Event, "s/"), "event");
        batch.adds.push(Add { key: key(Space::Meta, "count"), amount: 1, at_most: None });
        batch
    };
    let mut refused = full();
    refused.expect_absent(key(Space::Doc, "new"));
    refused.expect_absent(key(Space::Meta, "kept"));
    assert_eq!(conflict(store.commit(refused).await), key(Space::Meta, "kept"));
    let mut refused = full();
    refused.adds.push(Add { key: key(Space::Meta, "limited"), amount: 11, at_most: Some(10) });
    assert_eq!(quota(store.commit(refused).await), key(Space::Meta, "limited"));
    for space in Space::ALL {
        let left = names(&*store, &Key::new(space, b't')).await;
        assert_eq!(left, if space == Space::Meta { vec!["kept"] } else { vec![] });
    }
    assert_eq!(store.get(&key(Space::Meta, "kept")).await.unwrap().as_deref(), Some(&b"old"[..]));
    // No number was given to the refused appends.
    let mut batch = Batch::new();
    batch.append(key(Space::Event, "s/"), "first");
    assert_eq!(store.commit(batch).await.unwrap().appended, [1]);
}

async fn values_are_compared(store: Store) {
    let at = key(Space::Meta, "k");
    let swap = |old: Option<&'static str>, new: &'static str| {
        let mut batch = put(at.clone(), new);
        batch.expect_equals(at.clone(), old.map(Bytes::from));
        batch
    };
    store.commit(swap(None, "1")).await.unwrap();
    assert_eq!(conflict(store.commit(swap(None, "x")).await), at);
    assert_eq!(conflict(store.commit(swap(Some("0"), "x")).await), at);
    assert_eq!(conflict(store.commit(swap(Some(""), "x")).await), at);
    store.commit(swap(Some("1"), "")).await.unwrap();
    // Empty is not absent.
    assert_eq!(conflict(store.commit(swap(None, "x")).await), at);
    store.commit(swap(Some(""), "2")).await.unwrap();
    assert_eq!(store.get(&at).await.unwrap().as_deref(), Some(&b"2"[..]));
}

fn expecting(prefix: &Key, holds: Prefix) -> Batch {
    let mut batch = Batch::new();
    batch.expect.push(Expect::Prefix { prefix: prefix.clone(), holds, guard: key(Space::Meta, "guard") });
    batch
}

async fn prefixes_are_counted(store: Store) {
    // Shapes of keys with and without what a filter knows: plain text, and a tag with a digest's key form.
    let digest = [vec![1], vec![0xab; 32]].concat();
    for prefix in [key(Space::Meta, "p/"), key(Space::Refs, "p/"), Key::new(Space::Refs, b'e').with(&digest)]
    {
        let (a, b) = (prefix.clone().with(b"a"), prefix.clone().with(b"b"));
        let holds = async |empty: bool, some: bool, only_a: bool| {
            for (holds, expected) in
                [(Prefix::Empty, empty), (Prefix::Some, some), (Prefix::Only(a.clone()), only_a)]
            {
                let result = store.commit(expecting(&prefix, holds)).await;
                if expected {
                    result.unwrap();
                } else {
                    assert_eq!(conflict(result), prefix);
                }
            }
        };
        // Neighbours on both sides do not count.
        let mut last = prefix.bytes.clone();
        *last.last_mut().unwrap() += 1;
        let mut around = put(Key { space: prefix.space, bytes: last }, "after");
        around.put(
            Key { space: prefix.space, bytes: prefix.bytes[..prefix.bytes.len() - 1].to_vec() },
            "before",
        );
        store.commit(around).await.unwrap();
        holds(true, false, false).await;
        store.commit(put(a.clone(), "")).await.unwrap();
        holds(false, true, true).await;
        store.commit(put(b.clone(), "")).await.unwrap();
        holds(false, true, false).await;
        let mut batch = Batch::new();
        batch.delete(a.clone());
        store.commit(batch).await.unwrap();
        holds(false, true, false).await;
        let mut batch = Batch::new();
        batch.delete(b.clone());
        batch.put(a.clone(), "");
        store.commit(batch).await.unwrap();
        holds(false, true, true).await;
        let mut batch = Batch::new();
        batch.delete(a.clone());
        store.commit(batch).await.unwrap();
        holds(true, false, false).await;
        // The prefix itself is a key that begins with it.
        store.commit(put(prefix.clone(), "")).await.unwrap();
        holds(false, true, false).await;
    }
}

/// Commits all at once, so that they meet in one group where the store has groups.
async fn at_once(
    store: &Store,
    batches: impl IntoIterator<Item = Batch>,
) -> Vec<Result<crate::store::Committed, CommitError>> {
    let mut tasks = JoinSet::new();
    for (at, batch) in batches.into_iter().enumerate() {
        let store = Arc::clone(store);
        tasks.spawn(async move { (at, store.commit(batch).await) });
    }
    let mut results: Vec<_> = tasks.join_all().await;
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

async fn of_two_conflicting_batches_one_wins(store: Store) {
    for round in 0..20 {
        let taken = key(Space::Doc, &format!("tag {round}"));
        let mut batches = Vec::new();
        for n in 0..16u8 {
            let mut batch = put(taken.clone(), vec![n]);
            match round % 3 {
                0 => batch.expect_absent(taken.clone()),
                1 => batch.expect_prefix(taken.clone(), Prefix::Empty, taken.clone()),
                _ => batch.adds.push(Add {
                    key: key(Space::Meta, &format!("q{round}")),
                    amount: 1,
                    at_most: Some(1),
                }),
            }
            batch.put(key(Space::Queue, &format!("{round} {n}")), "");
            batches.push(batch);
        }
        let results = at_once(&store, batches).await;
        let won: Vec<_> = (0..16u8).filter(|n| results[usize::from(*n)].is_ok()).collect();
        assert_eq!(won.len(), 1, "{results:?}");
        assert_eq!(store.get(&taken).await.unwrap(), Some(Bytes::from(vec![won[0]])));
        // What the losers would have written beside it is not there either.
        let beside = names(&*store, &key(Space::Queue, &format!("{round} "))).await;
        assert_eq!(beside, [format!("{round} {}", won[0])]);
    }
}

async fn the_parts_of_a_batch_apply_in_order(store: Store) {
    let (both, twice, count) =
        (key(Space::Meta, "both"), key(Space::Meta, "twice"), key(Space::Meta, "count"));
    let mut batch = Batch::new();
    batch.put(both.clone(), "put");
    batch.delete(both.clone());
    batch.put(twice.clone(), "1");
    batch.put(twice.clone(), "2");
    batch.put(count.clone(), Bytes::copy_from_slice(&40i64.to_be_bytes()));
    batch.adds.push(Add { key: count.clone(), amount: 1, at_most: Some(41) });
    batch.adds.push(Add { key: count.clone(), amount: 1, at_most: Some(42) });
    // Expectations look at what is there before the batch.
    batch.expect_absent(twice.clone());
    batch.expect_prefix(Key::new(Space::Meta, b't'), Prefix::Empty, count.clone());
    store.commit(batch).await.unwrap();
    assert_eq!(store.get(&both).await.unwrap().as_deref(), Some(&b"put"[..]));
    assert_eq!(store.get(&twice).await.unwrap().as_deref(), Some(&b"2"[..]));
    assert_eq!(counter(store.get(&count).await.unwrap().as_ref()), 42);
    let mut batch = Batch::new();
    batch.delete(count.clone());
    batch.adds.push(Add { key: count.clone(), amount: 5, at_most: None });
    store.commit(batch).await.unwrap();
    assert_eq!(counter(store.get(&count).await.unwrap().as_ref()), 5);
}

async fn each_batch_sees_those_before_it(store: Store) {
    // Sixteen tasks count by compare-and-swap: every success must have seen the one before it.
    let at = key(Space::Meta, "n");
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        let (store, at) = (Arc::clone(&store), at.clone());
        tasks.spawn(async move {
            for _ in 0..10 {
                loop {
                    let old = store.get(&at).await.unwrap();
                    let new = counter(old.as_ref()) + 1;
                    let mut batch = put(at.clone(), Bytes::copy_from_slice(&new.to_be_bytes()));
                    batch.expect_equals(at.clone(), old);
                    match store.commit(batch).await {
                        Ok(_) => {
                            // What was committed is seen by whoever committed it.
                            assert!(counter(store.get(&at).await.unwrap().as_ref()) >= new);
                            break;
                        }
                        Err(CommitError::Conflict(_)) => {}
                        Err(other) => panic!("{other:?}"),
                    }
                }
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(counter(store.get(&at).await.unwrap().as_ref()), 160);
}

async fn appends_are_numbered_without_gaps(store: Store) {
    let streams = [Key::new(Space::Event, b'p').with(&[0; 8]), Key::new(Space::Event, b'p').with(&[1; 8])];
    let reader = tokio::spawn({
        let (store, stream) = (Arc::clone(&store), streams[0].clone());
        async move {
            loop {
                let seen = store.scan(&stream, None, 1000).await.unwrap();
                for (n, (key, _)) in seen.iter().enumerate() {
                    assert_eq!(*key, stream_key(&stream, n as u64 + 1));
                }
                if seen.len() == 320 {
                    return;
                }
                tokio::task::yield_now().await;
            }
        }
    });
    let mut tasks = JoinSet::new();
    for task in 0..32u8 {
        let (store, streams) = (Arc::clone(&store), streams.clone());
        tasks.spawn(async move {
            let mut given = Vec::new();
            for _ in 0..10 {
                let mut batch = Batch::new();
                batch.append(streams[0].clone(), vec![task]);
                if task % 2 == 0 {
                    batch.append(streams[1].clone(), vec![task]);
                    batch.append(streams[1].clone(), vec![task]);
                }
                let numbers = store.commit(batch).await.unwrap().appended;
                if let [_, first, second] = numbers[..] {
                    assert_eq!(second, first + 1);
                }
                // A task's later commit comes later in the stream.
                assert!(given.last().is_none_or(|last| *last < numbers[0]));
                given.push(numbers[0]);
            }
            (task, given)
        });
    }
    let mut all = BTreeSet::new();
    for (task, given) in tasks.join_all().await {
        for number in given {
            let value = store.get(&stream_key(&streams[0], number)).await.unwrap();
            assert_eq!(value.as_deref(), Some(&[task][..]));
            assert!(all.insert(number));
        }
    }
    assert_eq!(all, (1..=320).collect());
    assert_eq!(store.scan(&streams[1], None, 1000).await.unwrap().len(), 320);
    reader.await.unwrap();
}

async fn numbers_are_not_given_again(store: Store) {
    let stream = key(Space::Event, "s");
    for expected in 1..=3 {
        let mut batch = Batch::new();
        batch.append(stream.clone(), "element");
        assert_eq!(store.commit(batch).await.unwrap().appended, [expected]);
        let mut batch = Batch::new();
        batch.delete(stream_key(&stream, expected));
        store.commit(batch).await.unwrap();
    }
    assert!(!store.any(&stream).await.unwrap());
}

async fn elements_that_came_otherwise_count(store: Store) {
    let stream = key(Space::Event, "restored");
    store.commit(put(stream_key(&stream, 41), "from a backup")).await.unwrap();
    let mut batch = Batch::new();
    batch.append(stream.clone(), "new");
    assert_eq!(store.commit(batch).await.unwrap().appended, [42]);
}

async fn counters_keep_their_limit_under_concurrency(store: Store) {
    let used = key(Space::Meta, "used");
    let mut tasks = JoinSet::new();
    for task in 0..64 {
        let (store, used) = (Arc::clone(&store), used.clone());
        tasks.spawn(async move {
            let mut taken = 0;
            for n in 0..10 {
                let mut batch = put(key(Space::Queue, &format!("{task} {n}")), "");
                batch.adds.push(Add { key: used.clone(), amount: 3, at_most: Some(1000) });
                match store.commit(batch).await {
                    Ok(_) => taken += 1,
                    Err(CommitError::Quota(key)) => assert_eq!(key, used),
                    Err(other) => panic!("{other:?}"),
                }
            }
            taken
        });
    }
    let taken: i64 = tasks.join_all().await.into_iter().sum();
    assert_eq!(taken, 333);
    assert_eq!(counter(store.get(&used).await.unwrap().as_ref()), 999);
    assert_eq!(store.scan(&Key::new(Space::Queue, b't'), None, 1000).await.unwrap().len(), 333);
    // Giving back is never refused, even where the limit was lowered meanwhile.
    let mut batch = Batch::new();
    batch.adds.push(Add { key: used.clone(), amount: -3, at_most: Some(10) });
    store.commit(batch).await.unwrap();
    assert_eq!(counter(store.get(&used).await.unwrap().as_ref()), 996);
}

async fn counters_go_below_zero_and_refuse_to_overflow(store: Store) {
    let at = key(Space::Meta, "c");
    let add = async |amount: i64, at_most: Option<i64>| {
        let mut batch = Batch::new();
        batch.adds.push(Add { key: at.clone(), amount, at_most });
        store.commit(batch).await
    };
    add(-5, None).await.unwrap();
    assert_eq!(counter(store.get(&at).await.unwrap().as_ref()), -5);
    add(3, Some(-2)).await.unwrap();
    assert_eq!(quota(add(1, Some(-2)).await), at);
    assert_eq!(quota(add(i64::MIN, None).await), at);
    add(2, Some(0)).await.unwrap();
    assert_eq!(store.get(&at).await.unwrap().as_deref(), Some(&[0; 8][..]));
    add(i64::MAX, None).await.unwrap();
    assert_eq!(quota(add(1, None).await), at);
}

async fn lazy_batches_are_seen_and_ordered(store: Store) {
    let at = key(Space::Meta, "session");
    for n in 0..50i64 {
        let mut batch = put(at.clone(), Bytes::copy_from_slice(&n.to_be_bytes()));
        batch.expect_equals(at.clone(), (n > 0).then(|| Bytes::copy_from_slice(&(n - 1).to_be_bytes())));
        batch.lazy = n % 5 != 0;
        store.commit(batch).await.unwrap();
        assert_eq!(counter(store.get(&at).await.unwrap().as_ref()), n);
    }
}

async fn an_abandoned_commit_is_whole_or_absent(store: Store) {
    for n in 0..100 {
        let mut batch = put(key(Space::Meta, &format!("{n}")), "");
        batch.put(key(Space::Doc, &format!("{n}")), "");
        let commit = store.commit(batch);
        // Polled once at most, then dropped.
        tokio::select! {
            biased;
            done = commit => { done.unwrap(); }
            () = std::future::ready(()) => {}
        }
    }
    // Everything sent before this one is applied before it.
    store.commit(put(key(Space::Queue, "last"), "")).await.unwrap();
    let (meta, doc) = (Key::new(Space::Meta, b't'), Key::new(Space::Doc, b't'));
    let found = names(&*store, &meta).await;
    assert_eq!(found, names(&*store, &doc).await);
    assert_eq!(found.len(), 100);
}

async fn empty_batches_only_check(store: Store) {
    assert!(store.commit(Batch::new()).await.unwrap().appended.is_empty());
    let mut batch = Batch::new();
    batch.expect_absent(key(Space::Meta, "a"));
    store.commit(batch.clone()).await.unwrap();
    store.commit(put(key(Space::Meta, "a"), "")).await.unwrap();
    assert_eq!(conflict(store.commit(batch).await), key(Space::Meta, "a"));
    store.health().unwrap();
}
