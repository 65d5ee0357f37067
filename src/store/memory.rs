//! Both traits in memory: the reference that tests compare the real stores with, and a quick store for tests above.
//! No configuration leads here.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    Batch, BlobStore, BlobWriter, CommitError, Committed, Entry, Expect, Key, MetadataRead, MetadataStore,
    OpenBlob, Prefix, Published, Written, counter, stream_key,
};
use crate::{
    error::{Error, Kind, Result, What},
    model::{Hasher, PhysicalKey, Stamp},
};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Metadata in a map.
#[derive(Default)]
pub struct MemoryStore(Mutex<Keys>);

#[derive(Default, Clone)]
struct Keys {
    /// Shared with snapshots, copied when one of them is alive.
    map: Arc<BTreeMap<Key, Bytes>>,
    streams: HashMap<Key, u64>,
    commits: u64,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Another store with the same keys; what is written to one does not show in the other.
    #[cfg(test)]
    pub(crate) fn fork(&self) -> Self {
        Self(Mutex::new(lock(&self.0).clone()))
    }

    /// Every key and its value.
    #[cfg(test)]
    pub(crate) fn everything(&self) -> BTreeMap<Key, Bytes> {
        lock(&self.0).map.as_ref().clone()
    }

    fn view(&self) -> View {
        View(Arc::clone(&lock(&self.0).map))
    }
}

/// The keys that begin with a prefix, in order.
fn under<'a>(map: &'a BTreeMap<Key, Bytes>, prefix: &Key) -> impl Iterator<Item = (&'a Key, &'a Bytes)> {
    let (space, bytes) = (prefix.space, prefix.bytes.clone());
    map.range(prefix.clone()..)
        .take_while(move |(key, _)| key.space == space && key.bytes.starts_with(&bytes))
}

fn holds(map: &BTreeMap<Key, Bytes>, expect: &Expect) -> Result<(), CommitError> {
    let (key, holds) = match expect {
        Expect::Equals(key, value) => (key, map.get(key) == value.as_ref()),
        Expect::Prefix { prefix, holds, .. } => {
            let first: Vec<_> = under(map, prefix).take(2).map(|(key, _)| key).collect();
            let holds = match holds {
                Prefix::Empty => first.is_empty(),
                Prefix::Some => !first.is_empty(),
                Prefix::Only(only) => first == [only],
            };
            (prefix, holds)
        }
    };
    if holds { Ok(()) } else { Err(CommitError::Conflict(key.clone())) }
}

impl Keys {
    fn apply(&mut self, batch: Batch) -> Result<Committed, CommitError> {
        for expect in &batch.expect {
            holds(&self.map, expect)?;
        }
        let map = Arc::make_mut(&mut self.map);
        for key in &batch.deletes {
            map.remove(key);
        }
        map.extend(batch.puts);
        for add in batch.adds {
            let sum = counter(map.get(&add.key)).checked_add(add.amount);
            let most = if add.amount > 0 { add.at_most.unwrap_or(i64::MAX) } else { i64::MAX };
            match sum.filter(|sum| *sum <= most) {
                Some(sum) => map.insert(add.key, Bytes::copy_from_slice(&sum.to_be_bytes())),
                None => return Err(CommitError::Quota(add.key)),
            };
        }
        let mut committed = Committed::default();
        for append in batch.appends {
            let number = match self.streams.get(&append.stream) {
                Some(last) => last + 1,
                None => last_stored(map, &append.stream) + 1,
            };
            map.insert(stream_key(&append.stream, number), append.value);
            map.extend(append.index.iter().map(|entry| (stream_key(entry, number), Bytes::new())));
            self.streams.insert(append.stream, number);
            committed.appended.push(number);
        }
        Ok(committed)
    }
}

fn last_stored(map: &BTreeMap<Key, Bytes>, stream: &Key) -> u64 {
    let numbers = under(map, stream).filter_map(|(key, _)| key.bytes[stream.bytes.len()..].try_into().ok());
    numbers.map(u64::from_be_bytes).max().unwrap_or(0)
}

#[async_trait]
impl MetadataRead for MemoryStore {
    async fn get(&self, key: &Key) -> Result<Option<Bytes>> {
        self.view().get(key).await
    }

    async fn multi_get(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        self.view().multi_get(keys).await
    }

    async fn scan(&self, prefix: &Key, after: Option<&Key>, limit: usize) -> Result<Vec<Entry>> {
        self.view().scan(prefix, after, limit).await
    }
}

#[async_trait]
impl MetadataStore for MemoryStore {
    fn snapshot(&self) -> Result<Arc<dyn MetadataRead>> {
        Ok(Arc::new(self.view()))
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, CommitError> {
        let mut keys = lock(&self.0);
        // Dull on purpose: change a copy, keep it if nothing was refused.
        let mut changed = keys.clone();
        let committed = changed.apply(batch)?;
        changed.commits += 1;
        *keys = changed;
        Ok(committed)
    }

    fn stamp(&self) -> Option<Stamp> {
        Some(Stamp { opened: 0, committed: lock(&self.0).commits })
    }

    fn health(&self) -> Result<()> {
        Ok(())
    }

    fn figures(&self) -> Vec<(&'static str, u64)> {
        vec![("keys_estimated", lock(&self.0).map.len() as u64)]
    }
}

/// One moment of the map.
struct View(Arc<BTreeMap<Key, Bytes>>);

#[async_trait]
impl MetadataRead for View {
    async fn get(&self, key: &Key) -> Result<Option<Bytes>> {
        Ok(self.0.get(key).cloned())
    }

    async fn multi_get(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        Ok(keys.iter().map(|key| self.0.get(key).cloned()).collect())
    }

    async fn scan(&self, prefix: &Key, after: Option<&Key>, limit: usize) -> Result<Vec<Entry>> {
        let found = under(&self.0, prefix).filter(|(key, _)| after.is_none_or(|after| *key > after));
        Ok(found.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

/// Blobs in maps.
#[derive(Default)]
pub struct MemoryBlobs(Arc<Mutex<Blobs>>);

#[derive(Default)]
struct Blobs {
    /// Synced bytes, and which writer may add to them.
    uploads: HashMap<PhysicalKey, (Vec<u8>, u64)>,
    published: BTreeMap<PhysicalKey, (Bytes, Instant)>,
    writers: u64,
    /// Uploads that were there when the store was opened, as it is after a fork.
    leftovers: BTreeSet<PhysicalKey>,
    /// By how much everything is older than it is, for tests.
    aged: Duration,
}

impl MemoryBlobs {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Another store with what is durable in this one: nobody writes to it yet.
    #[cfg(test)]
    pub(crate) fn fork(&self) -> Self {
        let blobs = lock(&self.0);
        let (uploads, published) = (blobs.uploads.clone(), blobs.published.clone());
        let leftovers = uploads.keys().copied().collect();
        let (writers, aged) = (blobs.writers + 1, blobs.aged);
        Self(Arc::new(Mutex::new(Blobs { uploads, published, writers, leftovers, aged })))
    }

    /// Loses an upload's name, as a power cut may.
    #[cfg(test)]
    pub(crate) fn lose_uploads(&self) {
        let mut blobs = lock(&self.0);
        blobs.uploads.clear();
        blobs.leftovers.clear();
    }

    /// Everything durable: the unpublished uploads, the published blobs.
    #[cfg(test)]
    pub(crate) fn everything(&self) -> (BTreeMap<PhysicalKey, Bytes>, BTreeMap<PhysicalKey, Bytes>) {
        let blobs = lock(&self.0);
        let uploads = blobs.uploads.iter().map(|(key, (bytes, _))| (*key, bytes.clone().into())).collect();
        let published = blobs.published.iter().map(|(key, (bytes, _))| (*key, bytes.clone())).collect();
        (uploads, published)
    }

    /// Lets everything grow older at once.
    #[cfg(test)]
    pub(crate) fn age(&self, by: Duration) {
        lock(&self.0).aged += by;
    }

    /// Damages what is stored under a key, as a disk does; `None` loses it. A key that nothing is under gets these bytes.
    #[cfg(test)]
    pub(crate) fn rot(&self, key: PhysicalKey, bytes: Option<Bytes>) {
        let mut blobs = lock(&self.0);
        match bytes {
            Some(bytes) => blobs.published.insert(key, (bytes, Instant::now())),
            None => blobs.published.remove(&key),
        };
    }
}

#[async_trait]
impl BlobStore for MemoryBlobs {
    async fn write(&self, key: PhysicalKey, offset: u64, hasher: Hasher) -> Result<Box<dyn BlobWriter>> {
        let mut blobs = lock(&self.0);
        blobs.writers += 1;
        let writer = blobs.writers;
        if offset == 0 {
            blobs.uploads.entry(key).or_default();
        }
        let stored = blobs.uploads.get(&key).map_or(0, |(bytes, _)| bytes.len() as u64);
        if stored < offset {
            return Err(Error::new(Kind::Offset { stored }, "the upload holds fewer bytes than that"));
        }
        if let Some((bytes, owner)) = blobs.uploads.get_mut(&key) {
            bytes.truncate(usize::try_from(offset).map_err(Error::internal)?);
            *owner = writer;
        }
        Ok(Box::new(Writer { blobs: Arc::clone(&self.0), key, writer, hasher, tail: Vec::new() }))
    }

    async fn publish(&self, key: PhysicalKey, size: u64) -> Result<()> {
        let mut blobs = lock(&self.0);
        let held = match (blobs.uploads.get(&key), blobs.published.get(&key)) {
            (Some((bytes, _)), _) => bytes.len(),
            (None, Some((bytes, _))) => bytes.len(),
            (None, None) => return Err(Error::new(Kind::Offset { stored: 0 }, "the upload holds no bytes")),
        };
        if held as u64 != size {
            return Err(Error::internal(format!(
                "upload {key} holds {held} bytes, not the {size} to be published"
            )));
        }
        if let Some((bytes, _)) = blobs.uploads.remove(&key) {
            blobs.published.insert(key, (bytes.into(), Instant::now()));
            blobs.leftovers.remove(&key);
        }
        Ok(())
    }

    async fn discard(&self, key: PhysicalKey) -> Result<()> {
        let mut blobs = lock(&self.0);
        blobs.uploads.remove(&key);
        blobs.leftovers.remove(&key);
        Ok(())
    }

    async fn leftovers(&self) -> Result<Vec<PhysicalKey>> {
        Ok(lock(&self.0).leftovers.iter().copied().collect())
    }

    async fn open(&self, key: PhysicalKey, size: u64) -> Result<Arc<dyn OpenBlob>> {
        match lock(&self.0).published.get(&key) {
            Some((bytes, _)) if bytes.len() as u64 == size => Ok(Arc::new(Open(bytes.clone()))),
            _ => Err(Error::internal(format!("blob {key} is not there, or not {size} bytes long"))),
        }
    }

    async fn inspect(&self, key: PhysicalKey) -> Result<Arc<dyn OpenBlob>> {
        match lock(&self.0).published.get(&key) {
            Some((bytes, _)) => Ok(Arc::new(Open(bytes.clone()))),
            None => Err(Error::not_found(What::Blob, format!("blob {key} is not there"))),
        }
    }

    async fn stat(&self, key: PhysicalKey) -> Result<Option<Published>> {
        let blobs = lock(&self.0);
        let stat = |(bytes, since): &(Bytes, Instant)| Published {
            size: bytes.len() as u64,
            age: since.elapsed() + blobs.aged,
        };
        Ok(blobs.published.get(&key).map(stat))
    }

    async fn reread(&self, key: PhysicalKey, size: u64) -> Result<Arc<dyn OpenBlob>> {
        let blobs = lock(&self.0);
        let bytes = blobs.uploads.get(&key).map_or(&[][..], |(bytes, _)| bytes);
        let cut = usize::try_from(size)
            .ok()
            .and_then(|size| bytes.get(..size))
            .filter(|_| blobs.uploads.contains_key(&key));
        match cut {
            Some(bytes) => Ok(Arc::new(Open(Bytes::copy_from_slice(bytes)))),
            None => {
                let stored = bytes.len() as u64;
                Err(Error::new(Kind::Offset { stored }, "the upload holds fewer bytes than that"))
            }
        }
    }

    async fn delete(&self, key: PhysicalKey) -> Result<()> {
        lock(&self.0).published.remove(&key);
        Ok(())
    }

    async fn list(&self, after: Option<PhysicalKey>, limit: usize) -> Result<Vec<PhysicalKey>> {
        let blobs = lock(&self.0);
        Ok(blobs
            .published
            .keys()
            .filter(|key| after.is_none_or(|after| **key > after))
            .take(limit)
            .copied()
            .collect())
    }

    fn space(&self) -> Result<u64> {
        Ok(u64::MAX)
    }
}

struct Writer {
    blobs: Arc<Mutex<Blobs>>,
    key: PhysicalKey,
    writer: u64,
    hasher: Hasher,
    /// Taken, not synced.
    tail: Vec<u8>,
}

impl Writer {
    /// The upload, unless another writer took over.
    fn with<T>(&mut self, job: impl FnOnce(&mut Vec<u8>, &mut Vec<u8>) -> T) -> Result<T> {
        match lock(&self.blobs).uploads.get_mut(&self.key) {
            Some((bytes, owner)) if *owner == self.writer => Ok(job(bytes, &mut self.tail)),
            _ => Err(Error::new(Kind::Conflict(What::Upload), "another request continues this upload")),
        }
    }
}

#[async_trait]
impl BlobWriter for Writer {
    async fn push(&mut self, bytes: Bytes) -> Result<()> {
        self.hasher.update(&bytes);
        self.with(|_, tail| tail.extend_from_slice(&bytes))
    }

    async fn sync(&mut self) -> Result<Written> {
        let offset = self.with(|bytes, tail| {
            bytes.append(tail);
            bytes.len() as u64
        })?;
        Ok(Written { offset, hasher: self.hasher.clone() })
    }
}

struct Open(Bytes);

#[async_trait]
impl OpenBlob for Open {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn try_read(&self, offset: u64, into: &mut [u8]) -> Result<Option<usize>> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.0.get(offset..)).unwrap_or_default();
        let length = rest.len().min(into.len());
        into[..length].copy_from_slice(&rest[..length]);
        Ok(Some(length))
    }

    async fn read(&self, offset: u64, length: usize) -> Result<Bytes> {
        let size = self.0.len();
        let start = usize::try_from(offset).unwrap_or(size).min(size);
        Ok(self.0.slice(start..start.saturating_add(length).min(size)))
    }
}
