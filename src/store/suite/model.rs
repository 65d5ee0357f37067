//! Random batches against a plain map: both stores must say and hold the same as it.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use proptest::{prelude::*, sample::Index};

use super::Bench;
use crate::store::{
    Add, Append, Batch, CommitError, Expect, Key, MetadataRead, MetadataStore, Prefix, Space, stream_key,
};

const SPACES: [Space; 2] = [Space::Meta, Space::Refs];

/// Few and short keys, so that batches meet. Some of them look like keys with a digest in them.
fn keys() -> impl Strategy<Value = Key> {
    let short = prop::collection::vec(prop::sample::select(vec![1u8, 0xff]), 1..3);
    let digest = (0u8..2, 0u8..2).prop_map(|(last, owner)| {
        let mut bytes = vec![b'e', 1];
        bytes.extend_from_slice(&[9; 31]);
        bytes.extend_from_slice(&[last, owner]);
        bytes
    });
    (prop::sample::select(SPACES.to_vec()), prop_oneof![2 => short, 1 => digest])
        .prop_map(|(space, bytes)| Key { space, bytes })
}

/// Streams have keys of their own, as the trait asks.
fn streams() -> impl Strategy<Value = Key> {
    prop::sample::select(vec![b"sa", b"sb"])
        .prop_map(|name| Key { space: Space::Event, bytes: name.to_vec() })
}

fn counters() -> impl Strategy<Value = Key> {
    prop::sample::select(vec![b"ca", b"cb"]).prop_map(|name| Key { space: Space::Meta, bytes: name.to_vec() })
}

fn values() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["", "1", "22"]).prop_map(Bytes::from)
}

#[derive(Debug, Clone)]
enum Check {
    /// The value a store has now, or another.
    Equals(Key, Option<Option<Bytes>>),
    Prefix(Key, u8, Index),
}

fn checks() -> impl Strategy<Value = Check> {
    let key = prop_oneof![4 => keys(), 1 => counters()];
    prop_oneof![
        (key, prop::option::weighted(0.3, prop::option::of(values())))
            .prop_map(|(key, value)| Check::Equals(key, value)),
        (keys(), 0u8..3, any::<Index>(), 0usize..3).prop_map(|(mut key, kind, pick, cut)| {
            key.bytes.truncate(key.bytes.len().saturating_sub(cut).max(1));
            Check::Prefix(key, kind, pick)
        }),
    ]
}

#[derive(Debug, Clone)]
struct Planned {
    checks: Vec<Check>,
    puts: Vec<(Key, Bytes)>,
    deletes: Vec<Key>,
    adds: Vec<(Key, i64, Option<i64>)>,
    appends: Vec<(Key, Bytes, Vec<Key>)>,
    lazy: bool,
}

fn plans() -> impl Strategy<Value = Planned> {
    (
        prop::collection::vec(checks(), 0..3),
        prop::collection::vec((keys(), values()), 0..4),
        prop::collection::vec(keys(), 0..4),
        prop::collection::vec((counters(), -3i64..6, prop::option::of(0i64..10)), 0..3),
        prop::collection::vec((streams(), values(), prop::collection::vec(keys(), 0..3)), 0..3),
        any::<bool>(),
    )
        .prop_map(|(checks, puts, deletes, adds, appends, lazy)| Planned {
            checks,
            puts,
            deletes,
            adds,
            appends,
            lazy,
        })
}

/// The plain map.
#[derive(Default, Clone)]
struct Model {
    map: BTreeMap<Key, Bytes>,
    last: BTreeMap<Key, u64>,
}

#[derive(Debug, PartialEq)]
enum Said {
    Done(Vec<u64>),
    Conflict(Key),
    Quota(Key),
}

impl Model {
    fn under(&self, prefix: &Key) -> Vec<Key> {
        let begins = |key: &&Key| key.space == prefix.space && key.bytes.starts_with(&prefix.bytes);
        self.map.keys().filter(begins).cloned().collect()
    }

    /// Makes a plan concrete: what it leaves open is taken from what is there, so that expectations often hold.
    fn batch(&self, plan: &Planned) -> Batch {
        let mut batch =
            Batch { puts: plan.puts.clone(), deletes: plan.deletes.clone(), lazy: plan.lazy, ..Batch::new() };
        for check in &plan.checks {
            batch.expect.push(match check {
                Check::Equals(key, value) => {
                    let value = value.clone().unwrap_or_else(|| self.map.get(key).cloned());
                    Expect::Equals(key.clone(), value)
                }
                Check::Prefix(prefix, kind, pick) => {
                    let there = self.under(prefix);
                    let holds = match kind {
                        0 => Prefix::Empty,
                        1 => Prefix::Some,
                        _ if there.is_empty() => Prefix::Only(prefix.clone()),
                        _ => Prefix::Only(pick.get(&there).clone()),
                    };
                    Expect::Prefix { prefix: prefix.clone(), holds, guard: prefix.clone() }
                }
            });
        }
        let adds = plan.adds.iter().cloned();
        batch.adds = adds.map(|(key, amount, at_most)| Add { key, amount, at_most }).collect();
        let appends = plan.appends.iter().cloned();
        batch.appends = appends.map(|(stream, value, index)| Append { stream, value, index }).collect();
        batch
    }

    fn apply(&mut self, batch: &Batch) -> Said {
        for expect in &batch.expect {
            let (key, holds) = match expect {
                Expect::Equals(key, value) => (key, self.map.get(key).cloned() == *value),
                Expect::Prefix { prefix, holds, .. } => {
                    let there = self.under(prefix);
                    let holds = match holds {
                        Prefix::Empty => there.is_empty(),
                        Prefix::Some => !there.is_empty(),
                        Prefix::Only(only) => there == std::slice::from_ref(only),
                    };
                    (prefix, holds)
                }
            };
            if !holds {
                return Said::Conflict(key.clone());
            }
        }
        let mut next = self.clone();
        for key in &batch.deletes {
            next.map.remove(key);
        }
        for (key, value) in &batch.puts {
            next.map.insert(key.clone(), value.clone());
        }
        for add in &batch.adds {
            let old = next.map.get(&add.key).map_or(0, |old| i64::from_be_bytes(old[..].try_into().unwrap()));
            let sum = old + add.amount;
            if add.amount > 0 && add.at_most.is_some_and(|most| sum > most) {
                return Said::Quota(add.key.clone());
            }
            next.map.insert(add.key.clone(), Bytes::copy_from_slice(&sum.to_be_bytes()));
        }
        let mut numbers = Vec::new();
        for append in &batch.appends {
            let last = next.last.entry(append.stream.clone()).or_default();
            *last += 1;
            numbers.push(*last);
            next.map.insert(stream_key(&append.stream, *last), append.value.clone());
            for entry in &append.index {
                next.map.insert(stream_key(entry, *last), Bytes::new());
            }
        }
        *self = next;
        Said::Done(numbers)
    }
}

async fn contents(store: &dyn MetadataRead) -> BTreeMap<Key, Bytes> {
    let mut all = BTreeMap::new();
    for space in Space::ALL {
        let everything = Key { space, bytes: Vec::new() };
        all.extend(store.scan(&everything, None, usize::MAX).await.unwrap());
    }
    all
}

/// Sends batches together, in order, and hears what the store says to each.
async fn commit_all(bench: &Bench<dyn MetadataStore>, batches: Vec<Batch>) -> Vec<Said> {
    let mut commits: Vec<_> = batches.into_iter().map(|batch| bench.store.commit(batch)).collect();
    let mut results: Vec<_> = commits.iter().map(|_| None).collect();
    // The first poll sends a batch. With the gate shut meanwhile, all of them are in one group.
    let mut send = |context: &mut Context<'_>| {
        let _shut = bench.gate.as_ref().map(|gate| gate.lock().unwrap());
        for (commit, result) in commits.iter_mut().zip(&mut results) {
            if let Poll::Ready(ready) = commit.as_mut().poll(context) {
                *result = Some(ready);
            }
        }
        Poll::Ready(())
    };
    std::future::poll_fn(&mut send).await;
    let mut said = Vec::new();
    for (commit, result) in commits.into_iter().zip(results) {
        let result = match result {
            Some(result) => result,
            None => commit.await,
        };
        said.push(match result {
            Ok(committed) => Said::Done(committed.appended),
            Err(CommitError::Conflict(key)) => Said::Conflict(key),
            Err(CommitError::Quota(key)) => Said::Quota(key),
            Err(CommitError::Failed(error)) => panic!("{error}"),
        });
    }
    said
}

/// Sends groups of batches to a store, which the model describes before and after.
async fn check(bench: &Bench<dyn MetadataStore>, model: &mut Model, groups: Vec<Vec<Planned>>) {
    // What an earlier case left; opening a database for each would take most of the time.
    let clear = Batch { deletes: std::mem::take(&mut model.map).into_keys().collect(), ..Batch::new() };
    bench.store.commit(clear).await.unwrap();
    for group in groups {
        let mut expected = Vec::new();
        let mut batches = Vec::new();
        for plan in &group {
            let batch = model.batch(plan);
            expected.push(model.apply(&batch));
            batches.push(batch);
        }
        assert_eq!(commit_all(bench, batches).await, expected);
        assert_eq!(contents(&*bench.store).await, model.map);
    }
}

fn run(bench: &Bench<dyn MetadataStore>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let model = Mutex::new(Model::default());
    let strategy = prop::collection::vec(prop::collection::vec(plans(), 1..10), 1..12);
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    let result = proptest::test_runner::TestRunner::new(config).run(&strategy, |groups| {
        let mut model = model.lock().unwrap_or_else(PoisonError::into_inner);
        runtime.block_on(check(bench, &mut model, groups));
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn random_batches_in_memory() {
    run(&super::memory_metadata());
}

#[cfg(feature = "rocksdb")]
#[test]
fn random_batches_in_rocksdb() {
    run(&super::rocks_metadata());
}
