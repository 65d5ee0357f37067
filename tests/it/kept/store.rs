//! A store in memory that weaves requests into each other and looks at every state it comes to.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use packhouse::{
    error::Result,
    model::{Digest, PackageId, Tag},
    registry::records::{
        BlobRecord, DeletedTag, ManifestRecord, PackageRecord, TagRecord,
        blob::{lease_ends, refs_of},
    },
    store::{
        Batch, CommitError, Committed, Entry, Key, MetadataRead, MetadataStore, Prefix, Record, Space,
        memory::MemoryStore,
    },
};

pub struct Watched {
    inner: MemoryStore,
    seed: AtomicU64,
    weaves: bool,
}

impl Watched {
    pub fn new(seed: u64) -> Self {
        Self { inner: MemoryStore::new(), seed: AtomicU64::new(seed | 1), weaves: seed != 0 }
    }

    /// Lets the others go on for a while, some more than others.
    async fn pause(&self) {
        if !self.weaves {
            return;
        }
        let mut state = self.seed.load(SeqCst);
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.seed.store(state, SeqCst);
        for _ in 0..state % 5 {
            tokio::task::yield_now().await;
        }
    }

    pub async fn everything(&self) -> BTreeMap<Key, Bytes> {
        let mut all = BTreeMap::new();
        for space in Space::ALL {
            let prefix = Key { space, bytes: Vec::new() };
            all.extend(self.inner.scan(&prefix, None, usize::MAX).await.unwrap());
        }
        all
    }

    /// What collection does, said dully: blobs that nothing holds and no lease keeps lose their record.
    pub async fn collect(&self, now: packhouse::model::Timestamp) -> usize {
        let mut gone = 0;
        for (key, _) in self.everything().await {
            let Some(digest) = digest_at(&key, Space::Blob, b'b') else { continue };
            let mut batch = Batch::new();
            let holds = self.inner.scan(&refs_of(&digest), None, usize::MAX).await.unwrap();
            let leases = holds.iter().filter(|(key, _)| key.bytes[refs_of(&digest).bytes.len()] == 0);
            let over: Vec<_> =
                leases.filter(|(_, value)| lease_ends(value).unwrap() <= now).cloned().collect();
            if over.len() < holds.len() {
                continue;
            }
            for (lease, value) in over {
                batch.expect_equals(lease.clone(), Some(value));
                batch.delete(lease);
            }
            for hold in 1..=4 {
                let held = refs_of(&digest).with(&[hold]);
                batch.expect_prefix(held.clone(), Prefix::Empty, held);
            }
            batch.delete(key);
            batch.delete(BlobRecord::inline_key(&digest));
            gone += usize::from(self.commit(batch).await.is_ok());
        }
        gone
    }
}

fn digest_at(key: &Key, space: Space, tag: u8) -> Option<Digest> {
    let rest = (key.space == space).then(|| key.bytes.strip_prefix(&[tag])).flatten()?;
    Some(Digest::read_key(rest)?.0)
}

/// What the records of a store say.
#[derive(Default)]
pub struct Records {
    pub packages: BTreeMap<PackageId, PackageRecord>,
    pub manifests: BTreeMap<(PackageId, Digest), ManifestRecord>,
    pub tags: Vec<TagRecord>,
    pub deleted_tags: Vec<DeletedTag>,
    pub blobs: BTreeSet<Digest>,
}

impl Records {
    pub fn read(all: &BTreeMap<Key, Bytes>) -> Self {
        let mut records = Self::default();
        for (key, value) in all {
            let id = |at: usize| PackageId(u64::from_be_bytes(key.bytes[at..at + 8].try_into().unwrap()));
            match (key.space, key.bytes[0]) {
                (Space::Meta, b'p') => {
                    records.packages.insert(id(1), PackageRecord::decode(value).unwrap());
                }
                (Space::Doc, b'm') => {
                    let digest = Digest::read_key(&key.bytes[9..]).unwrap().0;
                    let record = ManifestRecord::decode(id(1), digest, value).unwrap();
                    records.manifests.insert((id(1), digest), record);
                }
                (Space::Doc, b't') => {
                    let tag = Tag::parse(std::str::from_utf8(&key.bytes[9..]).unwrap()).unwrap();
                    records.tags.push(TagRecord::decode(id(1), tag, value).unwrap());
                }
                (Space::Doc, b'x') => records.deleted_tags.push(DeletedTag::read(id(1), key, value).unwrap()),
                (Space::Blob, b'b') => {
                    records.blobs.insert(Digest::read_key(&key.bytes[1..]).unwrap().0);
                }
                _ => {}
            }
        }
        records
    }

    /// All index entries that follow from these records.
    fn index(&self) -> BTreeSet<Key> {
        let mut keys: BTreeSet<Key> = self.packages.values().flat_map(Record::index).collect();
        keys.extend(self.manifests.values().flat_map(Record::index));
        keys.extend(self.tags.iter().flat_map(Record::index));
        keys.extend(self.deleted_tags.iter().flat_map(Record::index));
        keys
    }
}

/// Whether a key is an entry of an index of packages, manifests or tags.
fn is_index(key: &Key) -> bool {
    match key.space {
        Space::Meta => [b'n', b'l', b'P', b'N'].contains(&key.bytes[0]),
        Space::Doc => [b'v', b's', b'd', b'y'].contains(&key.bytes[0]),
        Space::Queue => [b'd', b'z'].contains(&key.bytes[0]),
        // An edge is what is no lease.
        Space::Refs => {
            let digest = digest_at(key, Space::Refs, b'r');
            key.bytes[0] == b'w' || digest.is_some_and(|digest| key.bytes[refs_of(&digest).bytes.len()] != 0)
        }
        _ => false,
    }
}

/// What must be true at every moment. A package that is being purged is in pieces, and nobody sees it.
pub fn check(all: &BTreeMap<Key, Bytes>) {
    let records = Records::read(all);
    let entries: BTreeSet<Key> = all.keys().filter(|key| is_index(key)).cloned().collect();
    assert_eq!(entries, records.index(), "the index is what follows from the records");
    for ((package, digest), manifest) in &records.manifests {
        let purging = records.packages.get(package).expect("a manifest's package is there").purging;
        let body = &all[&ManifestRecord::body_key(*package, digest)];
        assert_eq!(Digest::of(digest.algorithm(), body), *digest);
        for target in manifest.targets.iter().filter(|target| target.present) {
            if target.manifest {
                let child = records.manifests.get(&(*package, target.digest));
                assert!(purging || child.is_some(), "{digest} names {}, which is gone", target.digest);
                let broken = manifest.deleted.is_none() && child.is_some_and(|child| child.deleted.is_some());
                assert!(purging || !broken, "{digest} is live and names {}, deleted", target.digest);
            } else {
                assert!(records.blobs.contains(&target.digest), "{digest} names {}", target.digest);
            }
        }
        for target in manifest.targets.iter().filter(|target| !target.present) {
            let there = records.manifests.get(&(*package, target.digest));
            let there = there.is_some_and(|there| there.deleted.is_none());
            assert!(purging || !there, "{digest} wants {}, which is there", target.digest);
        }
    }
    for tag in &records.tags {
        let purging = records.packages[&tag.package].purging;
        let named = records.manifests.get(&(tag.package, tag.digest));
        assert!(purging || named.is_some_and(|named| named.deleted.is_none()), "{} dangles", tag.tag);
    }
    for key in all.keys().filter(|key| key.space == Space::Doc && key.bytes[0] == b'c') {
        let package = PackageId(u64::from_be_bytes(key.bytes[1..9].try_into().unwrap()));
        let digest = Digest::read_key(&key.bytes[9..]).unwrap().0;
        assert!(records.manifests.contains_key(&(package, digest)), "bytes of no manifest");
    }
}

#[async_trait]
impl MetadataRead for Watched {
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
impl MetadataStore for Watched {
    fn snapshot(&self) -> Result<Arc<dyn MetadataRead>> {
        self.inner.snapshot()
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, CommitError> {
        self.pause().await;
        let committed = self.inner.commit(batch).await;
        if committed.is_ok() {
            check(&self.everything().await);
        }
        committed
    }

    fn health(&self) -> Result<()> {
        self.inner.health()
    }

    fn figures(&self) -> Vec<(&'static str, u64)> {
        self.inner.figures()
    }
}
