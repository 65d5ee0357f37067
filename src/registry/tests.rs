//! A registry in memory, for tests of the layers above, which may not know the stores.

mod aftermath;
mod backups;
mod bench;
mod cancel;
mod invariants;
mod links;
mod model;
mod schedule;
mod scrubs;
mod sessions;
mod sight;
mod steps;

use std::sync::Arc;

use bytes::Bytes;

use super::{Registry, Settings, generated_password, packages};
use crate::{
    auth::{Caller, Publish, Push},
    model::{PackageName, Timestamp, Visibility},
    store::{
        Batch, Key, MetadataRead as _, MetadataStore as _, Space,
        memory::{MemoryBlobs, MemoryStore},
    },
};

/// A registry, and a look at all it stores.
pub(crate) struct InMemory {
    pub(crate) registry: Registry,
    pub(crate) meta: Arc<MemoryStore>,
    pub(crate) blobs: Arc<MemoryBlobs>,
}

impl InMemory {
    /// An installation made at a moment.
    pub(crate) async fn new(settings: Settings, at: Timestamp) -> Self {
        let meta = Arc::new(MemoryStore::new());
        let blobs = Arc::new(MemoryBlobs::new());
        let registry = Registry::open(Arc::clone(&meta) as _, Arc::clone(&blobs) as _, settings).unwrap();
        registry.initialize(at, &generated_password().unwrap()).await.unwrap();
        Self { registry, meta, blobs }
    }

    /// Makes a visible package without a manifest.
    pub(crate) async fn package(&self, operator: &Caller, path: &str, visibility: Visibility) {
        let name = PackageName::parse(path).unwrap();
        let policy = self.registry.policy();
        let Publish::New(grant) = policy.authorize_publish(operator, &name).await.unwrap() else { panic!() };
        self.registry.allocate(&grant, &name).await.unwrap();
        let push = policy.authorize::<Push>(operator, &name).await.unwrap();
        let mut batch = Batch::new();
        packages::reveal(&self.registry, &mut batch, &push).await.unwrap();
        self.meta.commit(batch).await.unwrap();
        let manage = policy.authorize(operator, &name).await.unwrap();
        self.registry.set_visibility(&manage, visibility).await.unwrap();
    }

    /// Everything stored.
    pub(crate) async fn everything(&self) -> Vec<(Key, Bytes)> {
        let mut all = Vec::new();
        for space in Space::ALL {
            for tag in 0..=255 {
                all.extend(self.meta.scan(&Key::new(space, tag), None, 10_000).await.unwrap());
            }
        }
        all
    }

    /// How many tokens of every kind there are.
    pub(crate) async fn tokens(&self) -> usize {
        self.meta.scan(&super::records::TokenRecord::all(), None, 10_000).await.unwrap().len()
    }
}
