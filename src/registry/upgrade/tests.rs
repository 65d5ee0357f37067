use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use async_trait::async_trait;

use super::*;
use crate::{
    auth::Caller,
    model::Visibility,
    registry::{Settings, fsck::tests::world::World, tests::InMemory},
    store::{
        CommitError, Committed, Entry, MetadataRead, MetadataStore,
        memory::{MemoryBlobs, MemoryStore},
    },
};

/// A store that takes so many batches and then no more, as if the power went.
struct Ends {
    inner: Arc<MemoryStore>,
    left: AtomicUsize,
}

#[async_trait]
impl MetadataRead for Ends {
    async fn get(&self, key: &Key) -> Result<Option<Bytes>> {
        self.inner.get(key).await
    }

    async fn multi_get(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        self.inner.multi_get(keys).await
    }

    async fn scan(&self, prefix: &Key, after: Option<&Key>, limit: usize) -> Result<Vec<Entry>> {
        self.inner.scan(prefix, after, limit).await
    }
}

#[async_trait]
impl MetadataStore for Ends {
    fn snapshot(&self) -> Result<Arc<dyn MetadataRead>> {
        self.inner.snapshot()
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, CommitError> {
        if self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_err() {
            return Err(CommitError::Failed(Error::new(Kind::Unavailable, "the power is gone")));
        }
        self.inner.commit(batch).await
    }

    fn health(&self) -> Result<()> {
        Ok(())
    }

    fn figures(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

/// The keys as a release would have left them that knew neither the lists nor paths in roles.
async fn older(memory: &InMemory) {
    let mut batch = Batch::new();
    for (key, value) in memory.everything().await {
        if key.space != crate::store::Space::Meta {
            continue;
        }
        match key.bytes[0] {
            tag::LISTED | tag::ROLE_PATH => batch.delete(key),
            tag::ROLE => {
                let old = RoleRecord { path: String::new(), ..RoleRecord::decode(&value).unwrap() };
                batch.put(key, old.value());
            }
            _ if key == super::key() => batch.delete(key),
            _ => {}
        }
    }
    memory.meta.commit(batch).await.unwrap();
}

fn registry(meta: Arc<dyn MetadataStore>) -> Registry {
    Registry::open(meta, Arc::new(MemoryBlobs::new()), Settings::default()).unwrap()
}

/// Whether both hold the same keys; the mark says when.
async fn same(memory: &InMemory, before: &[(Key, Bytes)]) -> bool {
    let unmarked = |all: &[(Key, Bytes)]| -> Vec<(Key, Bytes)> {
        all.iter().filter(|(key, _)| *key != super::key()).cloned().collect()
    };
    unmarked(&memory.everything().await) == unmarked(before)
}

#[tokio::test]
async fn what_an_older_release_stored_is_made_whole_wherever_it_was_broken_off() {
    let world = World::new().await;
    let memory = &world.memory;
    let operator = Caller::operator(memory.registry.now(), "test".into());
    for n in 0..600 {
        let visibility = if n % 2 == 0 { Visibility::Public } else { Visibility::Private };
        let path = format!("acme/more{n:03}");
        let id = crate::model::PackageId::random().unwrap();
        let package = PackageRecord {
            id,
            name: path[5..].to_owned(),
            visibility,
            creator: None,
            ..packages::by_id(memory.meta.as_ref(), world.package).await.unwrap().unwrap()
        };
        let mut batch = Batch::new();
        batch.replace(None, Some(&package));
        let owner = package.owner;
        let role = crate::model::Role::Read;
        let role = RoleRecord { package: id, user: world.owner, owner, role, since: 1, path };
        batch.replace(None, Some(&role));
        memory.meta.commit(batch).await.unwrap();
    }
    let whole = memory.everything().await;
    older(memory).await;
    assert!(!same(memory, &whole).await);
    let listed = registry(Arc::clone(&memory.meta) as _).catalog(&operator, None, 1000).await.unwrap();
    assert!(listed.is_empty(), "the lists are gone, so the upgrade has something to do");

    // Three batches of packages, three of roles, the mark.
    let mut ends = 0;
    loop {
        let left = AtomicUsize::new(ends);
        let short = registry(Arc::new(Ends { inner: Arc::clone(&memory.meta), left }));
        match short.upgrade().await {
            Ok(()) => break,
            Err(error) => assert_eq!(error.kind(), Kind::Unavailable),
        }
        assert!(memory.meta.get(&super::key()).await.unwrap().is_none(), "it says that it is done");
        ends += 1;
    }
    assert_eq!(ends, 7);
    assert!(same(memory, &whole).await);

    // Done once: nothing is written by the next start.
    let left = AtomicUsize::new(0);
    registry(Arc::new(Ends { inner: Arc::clone(&memory.meta), left })).upgrade().await.unwrap();
    // And a first start has nothing to do.
    let fresh = InMemory::new(Settings::default(), crate::model::Timestamp(1)).await;
    assert!(fresh.meta.get(&super::key()).await.unwrap().is_some());
}

#[test]
fn the_stored_form_is_these_bytes() {
    let golden = b"\x01{\"lists\":7}";
    assert_eq!(to_json(VERSION, &Upgraded { lists: 7 }).as_ref(), golden);
    assert_eq!(from_json::<Upgraded>(VERSION, golden, "x").unwrap(), Upgraded { lists: 7 });
    assert_eq!(super::key().bytes, b"supgraded\0");
}
