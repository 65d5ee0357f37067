//! The store with faults does what it is armed with, at the call it was armed for and at no other.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};

use super::{key, put};
use crate::{
    error::Kind,
    model::{Algorithm, Hasher, PhysicalKey},
    store::{
        BlobStore, CommitError, MetadataRead, MetadataStore, Space,
        faulty::{Call, Fault, Faults, FaultyBlobs, FaultyMeta, Gate, Plan},
        memory::{MemoryBlobs, MemoryStore},
    },
};

fn plan(at: usize, fault: Fault, rest: bool) -> Option<Plan> {
    Some(Plan { at, fault, rest })
}

#[tokio::test]
async fn a_commit_fails_before_or_after_it_counts() {
    for (fault, there) in [(Fault::Before, false), (Fault::After, true)] {
        let (inner, faults) = (Arc::new(MemoryStore::new()), Arc::new(Faults::default()));
        let store = FaultyMeta::new(Arc::clone(&inner) as _, Arc::clone(&faults));
        let key = key(Space::Meta, "k");
        faults.arm(plan(1, fault, false));
        assert_eq!(store.get(&key).await.unwrap(), None);
        let failed = store.commit(put(key.clone(), "v")).await.unwrap_err();
        assert!(matches!(failed, CommitError::Failed(error) if error.kind() == Kind::Unavailable));
        assert_eq!(inner.get(&key).await.unwrap().is_some(), there);
        assert_eq!((faults.fired(), faults.history().len()), (Some("commit"), usize::from(there)));
        assert_eq!(store.get(&key).await.unwrap().is_some(), there);
        assert_eq!(faults.calls(), ["get", "commit", "get"]);
        assert_eq!(faults.heal(), Some("commit"));
    }
}

#[tokio::test]
async fn the_rest_fails_too_until_it_is_healed() {
    let faults = Arc::new(Faults::default());
    let store = FaultyMeta::new(Arc::new(MemoryStore::new()), Arc::clone(&faults));
    let key = key(Space::Meta, "k");
    faults.arm(plan(0, Fault::After, true));
    for _ in 0..3 {
        store.get(&key).await.unwrap_err();
    }
    assert!(store.snapshot().is_err());
    faults.heal();
    store.get(&key).await.unwrap();
    store.snapshot().unwrap().get(&key).await.unwrap();
}

#[tokio::test]
async fn a_torn_write_leaves_half_and_ends_the_writer() {
    let (inner, faults) = (Arc::new(MemoryBlobs::new()), Arc::new(Faults::default()));
    let store = FaultyBlobs::new(Arc::clone(&inner) as _, Arc::clone(&faults));
    let key = PhysicalKey::random().unwrap();
    // A call that has no bytes to tear is left alone.
    faults.arm(plan(0, Fault::Tear, true));
    let mut writer = store.write(key, 0, Hasher::new(Algorithm::Sha256)).await.unwrap();
    assert_eq!(faults.fired(), None);
    faults.arm(plan(0, Fault::Tear, false));
    writer.push(Bytes::from_static(b"abcdef")).await.unwrap_err();
    assert_eq!(inner.everything().0[&key], "abc");
    writer.push(Bytes::from_static(b"g")).await.unwrap_err();
    writer.sync().await.unwrap_err();
    assert_eq!(inner.fork().everything(), inner.everything());
    inner.lose_uploads();
    assert!(inner.everything().0.is_empty());
}

#[tokio::test]
async fn a_stalled_call_goes_on_when_it_is_healed() {
    let (inner, faults) = (Arc::new(MemoryStore::new()), Arc::new(Faults::default()));
    let store = FaultyMeta::new(Arc::clone(&inner) as _, Arc::clone(&faults));
    let key = key(Space::Meta, "k");
    faults.arm(plan(0, Fault::Stall, false));
    let mut commit = std::pin::pin!(store.commit(put(key.clone(), "v")));
    assert!(commit.as_mut().now_or_never().is_none());
    // Others are not held up by it, and it did nothing yet.
    assert_eq!(store.get(&key).await.unwrap(), None);
    faults.heal();
    commit.await.unwrap();
    let fork = inner.fork();
    fork.commit(put(key.clone(), "w")).await.unwrap();
    assert_eq!(inner.get(&key).await.unwrap().unwrap(), "v");
}

/// Lets nothing pass.
struct Shut;

impl Gate for Shut {
    fn pass(&self, _: Call) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn calls_give_way_and_ask_their_gate() {
    let faults = Arc::new(Faults::default());
    let store = FaultyMeta::new(Arc::new(MemoryStore::new()), Arc::clone(&faults));
    let key = key(Space::Meta, "k");
    faults.give_way(true);
    {
        let mut get = std::pin::pin!(store.get(&key));
        assert!(get.as_mut().now_or_never().is_none() && get.as_mut().now_or_never().is_none());
        get.await.unwrap();
    }
    faults.give_way(false);
    assert!(store.get(&key).now_or_never().is_some());
    faults.schedule(Some(Arc::new(Shut)));
    assert!(store.get(&key).now_or_never().is_none());
    faults.schedule(None);
    assert!(store.get(&key).now_or_never().is_some());
}
