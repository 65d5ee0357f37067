//! What every implementation of the two traits must do, run on each of them.

mod blobs;
mod faults;
mod metadata;
mod model;
mod reads;
mod stream;

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::{Batch, CommitError, Key, MetadataStore, Space};

/// A store under test, and what must outlive it.
struct Bench<T: ?Sized> {
    store: Arc<T>,
    /// Where the store works in groups: while this is locked, what is sent gathers in one.
    gate: Option<Arc<Mutex<()>>>,
    _folder: Option<tempfile::TempDir>,
}

/// Runs each function of a suite on each implementation, as tests of their own.
macro_rules! suite {
    ($($(#[$gate:meta])* $name:ident = $make:expr;)* => $cases:tt) => {
        $(suite!(@one $(#[$gate])* $name, $make, $cases);)*
    };
    (@one $(#[$gate:meta])* $name:ident, $make:expr, [$($case:ident)*]) => {
        $(#[$gate])*
        mod $name {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let bench = $make;
                    super::$case(std::sync::Arc::clone(&bench.store)).await;
                }
            )*
        }
    };
}
use suite;

fn memory_metadata() -> Bench<dyn MetadataStore> {
    Bench { store: Arc::new(super::memory::MemoryStore::new()), gate: None, _folder: None }
}

#[cfg(feature = "rocksdb")]
fn rocks_metadata() -> Bench<dyn MetadataStore> {
    let folder = tempfile::tempdir().unwrap();
    let store = super::RocksStore::open(folder.path(), super::RocksOptions::default()).unwrap();
    let gate = Some(store.gate());
    Bench { store: Arc::new(store), gate, _folder: Some(folder) }
}

/// Armed with nothing, the store with faults is the store below it.
fn faulty_metadata() -> Bench<dyn MetadataStore> {
    let inner = memory_metadata().store;
    Bench {
        store: Arc::new(super::faulty::FaultyMeta::new(inner, Arc::default())),
        gate: None,
        _folder: None,
    }
}

fn key(space: Space, text: &str) -> Key {
    Key::new(space, b't').with(text.as_bytes())
}

fn put(key: Key, value: impl Into<Bytes>) -> Batch {
    let mut batch = Batch::new();
    batch.put(key, value);
    batch
}

fn conflict<T>(result: Result<T, CommitError>) -> Key {
    match result {
        Err(CommitError::Conflict(key)) => key,
        Err(other) => panic!("another refusal: {other:?}"),
        Ok(_) => panic!("not refused"),
    }
}

fn quota<T>(result: Result<T, CommitError>) -> Key {
    match result {
        Err(CommitError::Quota(key)) => key,
        Err(other) => panic!("another refusal: {other:?}"),
        Ok(_) => panic!("not refused"),
    }
}
