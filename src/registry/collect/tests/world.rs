//! A registry over a store whose every call yields at random.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_json::json;

use crate::{
    auth::{Action, Caller, Delete, Grant, PackageTarget, Publish, Pull, Push},
    error::{Error, Kind, Result, What},
    model::{Digest, Manifest, PackageId, PackageName, Reference, Timestamp},
    registry::{
        Chunk, PutManifest, Registry, Settings, generated_password, packages,
        records::{
            BlobRecord, Location, ManifestRecord,
            blob::{reviews, trash},
        },
    },
    store::{
        Batch, BlobStore as _, CommitError, Committed, Entry, Key, MetadataRead, MetadataStore, Space,
        memory::{MemoryBlobs, MemoryStore},
    },
};

/// What an operation said.
pub(super) type Step = Result<()>;

pub(super) const PACKAGES: usize = 3;
pub(super) const BLOBS: usize = 7;
/// Seconds a lease lives.
pub(super) const TTL: u64 = 10;
/// Far ahead of the machine's clock, which `lease` also looks at.
pub(super) const BEGIN: Timestamp = Timestamp(4_102_444_800_000);

/// A store that lets others run before each call.
pub(super) struct Yielding {
    inner: MemoryStore,
    state: Mutex<u64>,
}

impl Yielding {
    async fn pause(&self) {
        let turns = {
            let mut state = self.state.lock().unwrap();
            *state ^= *state << 13;
            *state ^= *state >> 7;
            *state ^= *state << 17;
            *state % 4
        };
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    }
}

#[async_trait]
impl MetadataRead for Yielding {
    async fn get(&self, key: &Key) -> Result<Option<Bytes>> {
        self.pause().await;
        self.inner.get(key).await
    }

    async fn multi_get(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        self.pause().await;
        self.inner.multi_get(keys).await
    }

    async fn scan(&self, prefix: &Key, after: Option<&Key>, limit: usize) -> Result<Vec<Entry>> {
        self.pause().await;
        self.inner.scan(prefix, after, limit).await
    }
}

#[async_trait]
impl MetadataStore for Yielding {
    fn snapshot(&self) -> Result<Arc<dyn MetadataRead>> {
        self.inner.snapshot()
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, CommitError> {
        self.pause().await;
        self.inner.commit(batch).await
    }

    fn health(&self) -> Result<()> {
        Ok(())
    }

    fn figures(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

/// A manifest's bytes.
pub(super) type Document = Vec<u8>;

/// The blobs: some small enough to lie in metadata, some not; the last is an image, pushed as a blob.
pub(super) fn blob(number: usize) -> Vec<u8> {
    match number {
        6 => image(1),
        even if even % 2 == 0 => vec![b'a' + u8::try_from(even).unwrap(); 10],
        odd => vec![b'a' + u8::try_from(odd).unwrap(); 17_000],
    }
}

pub(super) fn digest(number: usize) -> Digest {
    Digest::sha256(&blob(number))
}

/// The blobs whose bits are set.
pub(super) fn named(mask: u8) -> impl Iterator<Item = usize> {
    (0..6).filter(move |bit| mask & (1 << bit) != 0)
}

fn descriptor(bytes: &[u8], media_type: &str) -> serde_json::Value {
    json!({"mediaType": media_type, "digest": Digest::sha256(bytes).to_string(), "size": bytes.len()})
}

pub(super) fn image(mask: u8) -> Document {
    let mut parts = named(mask).map(|number| descriptor(&blob(number), "application/octet-stream"));
    let config = parts.next().unwrap();
    let layers: Vec<_> = parts.collect();
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    serde_json::to_vec(
        &json!({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers}),
    )
    .unwrap()
}

pub(super) fn index() -> Document {
    let children = [descriptor(&image(1), "application/vnd.oci.image.manifest.v1+json")];
    let media_type = "application/vnd.oci.image.index.v1+json";
    serde_json::to_vec(&json!({"schemaVersion": 2, "mediaType": media_type, "manifests": children})).unwrap()
}

/// Whether an answer says that a blob is not there.
pub(super) fn is_unknown(error: &Error) -> bool {
    matches!(error.kind(), Kind::NotFound(What::Blob | What::ManifestBlob))
}

pub(super) struct World {
    pub(super) registry: Registry,
    pub(super) meta: Arc<Yielding>,
    blobs: Arc<MemoryBlobs>,
    packages: Vec<PackageTarget>,
}

impl World {
    pub(super) async fn new(seed: u64, grace: u64) -> Self {
        let meta = Arc::new(Yielding { inner: MemoryStore::new(), state: Mutex::new(seed | 1) });
        let blobs = Arc::new(MemoryBlobs::new());
        let settings = Settings {
            lease_ttl: TTL,
            trash_grace: grace,
            collect_rate: 0,
            space_reserve: 0,
            ..Settings::default()
        };
        let registry = Registry::open(Arc::clone(&meta) as _, Arc::clone(&blobs) as _, settings).unwrap();
        registry.initialize(BEGIN, &generated_password().unwrap()).await.unwrap();
        let mut world = Self { registry, meta, blobs, packages: Vec::new() };
        for number in 0..PACKAGES {
            let operator = Caller::operator(BEGIN, "test".into());
            let name = name(number);
            let Publish::New(grant) =
                world.registry.policy().authorize_publish(&operator, &name).await.unwrap()
            else {
                panic!()
            };
            world.registry.allocate(&grant, &name).await.unwrap();
            let push: Grant<Push> = world.grant(number, BEGIN).await;
            let mut batch = Batch::new();
            packages::reveal(&world.registry, &mut batch, &push).await.unwrap();
            world.meta.commit(batch).await.unwrap();
            let pull: Grant<Pull> = world.grant(number, BEGIN).await;
            world.packages.push(pull.target().clone());
        }
        world
    }

    pub(super) async fn grant<A: Action<Target = PackageTarget>>(
        &self,
        package: usize,
        at: Timestamp,
    ) -> Grant<A> {
        let operator = Caller::operator(at, "test".into());
        self.registry.policy().authorize(&operator, &name(package)).await.unwrap()
    }

    pub(super) fn id(&self, package: usize) -> PackageId {
        self.packages[package].id
    }

    pub(super) async fn push(&self, package: usize, number: usize, at: Timestamp) -> Step {
        let bytes = Bytes::from(blob(number));
        let chunk = Chunk {
            at: None,
            length: None,
            bytes: Box::pin(futures_util::stream::once(async move { Ok(bytes) })),
        };
        let grant = self.grant(package, at).await;
        self.registry.put_blob(grant, chunk, digest(number)).await.map(|_| ())
    }

    pub(super) async fn mount(&self, into: usize, from: usize, number: usize, at: Timestamp) -> Step {
        let (into, from) = (self.grant(into, at).await, self.grant(from, at).await);
        let mounted = self.registry.mount_blob(&into, &from, &digest(number)).await?;
        if mounted { Ok(()) } else { Err(Error::not_found(What::Package, "not mounted")) }
    }

    pub(super) async fn head(&self, package: usize, number: usize, at: Timestamp) -> Step {
        self.registry.keep_blob(&self.grant(package, at).await, &digest(number)).await.map(|_| ())
    }

    pub(super) async fn put(&self, package: usize, document: &Document, at: Timestamp) -> Step {
        let put = PutManifest {
            reference: Reference::Digest(Digest::sha256(document)),
            tags: Vec::new(),
            content_type: None,
            condition: crate::registry::Condition::None,
            bytes: document.clone().into(),
        };
        self.registry.put_manifest(&self.grant(package, at).await, put).await.map(|_| ())
    }

    pub(super) async fn delete(&self, package: usize, document: &Document, at: Timestamp) -> Step {
        let grant: Grant<Delete> = self.grant(package, at).await;
        self.registry.delete_manifest(&grant, &Digest::sha256(document)).await
    }

    pub(super) async fn delete_blob(&self, package: usize, number: usize, at: Timestamp) -> Step {
        self.registry.delete_blob(&self.grant(package, at).await, &digest(number)).await
    }

    /// Reads a blob that must be there.
    pub(super) async fn read(&self, package: usize, number: usize, at: Timestamp) {
        let grant = self.grant(package, at).await;
        let found = self.registry.blob(&grant, &digest(number)).await.unwrap();
        let mut stream = found.stream(0, found.size);
        let mut bytes = Vec::new();
        while let Some(part) = stream.next().await {
            bytes.extend_from_slice(&part.unwrap());
        }
        assert!(bytes == blob(number));
    }

    /// Every blob that a manifest's record names, live or deleted.
    pub(super) async fn reachable(&self) -> Vec<Digest> {
        let mut named = Vec::new();
        for package in &self.packages {
            let all = ManifestRecord::all(package.id);
            for (key, value) in self.meta.inner.scan(&all, None, 1000).await.unwrap() {
                let (digest, _) = Digest::read_key(&key.bytes[all.bytes.len()..]).unwrap();
                let record = ManifestRecord::decode(package.id, digest, &value).unwrap();
                let blobs = record.targets.iter().filter(|target| target.present && !target.manifest);
                named.extend(blobs.map(|target| target.digest));
                // Parsed again: the record must not have forgotten one.
                let body = ManifestRecord::body_key(package.id, &digest);
                let body = self.meta.inner.get(&body).await.unwrap().unwrap();
                assert_eq!(Manifest::parse(&body, None, 100).unwrap().links.len(), record.targets.len());
            }
        }
        named
    }

    /// Whether a blob has its record and its bytes.
    pub(super) async fn stored(&self, digest: &Digest) -> bool {
        let value = self.meta.inner.get(&BlobRecord::key_of(digest)).await.unwrap();
        let Some(value) = value else { return false };
        match BlobRecord::decode(*digest, &value).unwrap().location {
            Location::Inline => self.meta.inner.get(&BlobRecord::inline_key(digest)).await.unwrap().is_some(),
            Location::Physical(key) => self.files().await.contains(&key.0),
        }
    }

    async fn files(&self) -> BTreeSet<[u8; 16]> {
        self.blobs.list(None, 10_000).await.unwrap().into_iter().map(|key| key.0).collect()
    }

    async fn keys(&self, space: Space, tag: u8) -> Vec<Entry> {
        self.meta.inner.scan(&Key::new(space, tag), None, 10_000).await.unwrap()
    }

    /// The blobs that have a record.
    pub(super) async fn records(&self) -> BTreeSet<Digest> {
        let all = self.keys(Space::Blob, b'b').await;
        all.iter().map(|(key, _)| Digest::read_key(&key.bytes[1..]).unwrap().0).collect()
    }

    /// Nothing is stored but what records point at, and nothing is left to do.
    pub(super) async fn assert_tidy(&self) {
        let mut files = BTreeSet::new();
        let mut inline = BTreeSet::new();
        for (key, value) in self.keys(Space::Blob, b'b').await {
            let (digest, _) = Digest::read_key(&key.bytes[1..]).unwrap();
            match BlobRecord::decode(digest, &value).unwrap().location {
                Location::Inline => _ = inline.insert(BlobRecord::inline_key(&digest)),
                Location::Physical(key) => _ = files.insert(key.0),
            }
        }
        assert_eq!(self.files().await, files);
        let stored: BTreeSet<_> =
            self.keys(Space::Inline, b'i').await.into_iter().map(|(key, _)| key).collect();
        assert_eq!(stored, inline);
        for queue in [reviews(), trash()] {
            assert!(self.meta.inner.scan(&queue, None, 10).await.unwrap().is_empty(), "{queue:?}");
        }
        let leases: Vec<_> =
            self.keys(Space::Refs, b'r').await.into_iter().filter(|(key, _)| key.bytes[34] == 0).collect();
        assert!(leases.is_empty(), "{leases:?}");
    }
}

fn name(package: usize) -> PackageName {
    PackageName::parse(&format!("admin/p{package}")).unwrap()
}
