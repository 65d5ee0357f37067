//! The blob half of the store: immutable bytes under opaque physical keys.

use std::{fs::File, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    error::Result,
    model::{Hasher, PhysicalKey},
};

use super::backup::{self, Saved};

/// What a writer has made durable.
#[derive(Debug)]
pub struct Written {
    /// Bytes the upload holds.
    pub offset: u64,
    /// The hash state after them.
    pub hasher: Hasher,
}

/// What a store says of published bytes without reading them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// How many there are.
    pub size: u64,
    /// How long ago they got their lasting name, or were touched otherwise, by the clock. A time to come counts as now.
    pub age: Duration,
}

/// Immutable bytes under opaque keys. Knows digests only as something to compute while writing.
///
/// An upload's bytes are private to the upload until [`BlobStore::publish`]; after it they never change.
#[async_trait]
pub trait BlobStore: Send + Sync {
    /// Continues an upload at `offset`, first cutting off anything stored beyond it. Offset 0 creates the upload.
    /// An earlier writer of the same upload in this process is stopped before the first byte is touched; it answers
    /// [`crate::error::Kind::Conflict`] from then on. So do writers of an upload that is published or discarded.
    ///
    /// # Errors
    /// [`crate::error::Kind::Offset`] with the bytes really held, when fewer than `offset` are there.
    async fn write(&self, key: PhysicalKey, offset: u64, hasher: Hasher) -> Result<Box<dyn BlobWriter>>;

    /// Gives an upload of exactly `size` bytes, all of them synced, its lasting name. When it returns, the name survives
    /// a power cut. Repeating it after success succeeds; after a failure the upload may be gone.
    ///
    /// # Errors
    /// [`crate::error::Kind::Offset`] when there is no upload of that key.
    async fn publish(&self, key: PhysicalKey, size: u64) -> Result<()>;

    /// Removes an upload that was not published; absent is fine.
    async fn discard(&self, key: PhysicalKey) -> Result<()>;

    /// Unpublished uploads that were here when the store was opened: an earlier process began them and nobody writes them
    /// now, unless a session continued one since. Never an upload begun after that, so that whoever finds one that no
    /// session names may discard it.
    async fn leftovers(&self) -> Result<Vec<PhysicalKey>>;

    /// Opens published bytes.
    ///
    /// # Errors
    /// Internal when they are absent or not `size` bytes long: the caller holds a record that says otherwise.
    async fn open(&self, key: PhysicalKey, size: u64) -> Result<Arc<dyn OpenBlob>>;

    /// Opens published bytes to be checked: as they are stored now, past every cache that can be gone around, and without
    /// pushing out of memory what others read. Of any size.
    ///
    /// # Errors
    /// [`crate::error::Kind::NotFound`] of a blob when they are absent.
    /// Internal, also of the reads, when the medium says that it lost these bytes. Any other error says nothing of them.
    async fn inspect(&self, key: PhysicalKey) -> Result<Arc<dyn OpenBlob>>;

    /// What is stored under a key now, past every cache; `None` when nothing is.
    async fn stat(&self, key: PhysicalKey) -> Result<Option<Published>>;

    /// Reads an upload's unpublished bytes, for hashing them again.
    async fn reread(&self, key: PhysicalKey, size: u64) -> Result<Arc<dyn OpenBlob>>;

    /// Removes published bytes; absent is fine.
    async fn delete(&self, key: PhysicalKey) -> Result<()>;

    /// Published keys after one, in order, at most `limit`.
    async fn list(&self, after: Option<PhysicalKey>, limit: usize) -> Result<Vec<PhysicalKey>>;

    /// Puts published bytes into a file that is not there yet, for a backup: by another name for the same file where that
    /// can be, else by a copy, which is synced. The name itself is the caller's to make durable.
    ///
    /// # Errors
    /// Internal when the bytes are absent or not `size` long.
    async fn save(&self, key: PhysicalKey, size: u64, to: &Path) -> Result<Saved> {
        backup::copy(self.open(key, size).await?.as_ref(), to).await?;
        Ok(Saved::Copied)
    }

    /// Bytes free for uploads, and whether the store can be written.
    fn space(&self) -> Result<u64>;
}

/// Takes an upload's bytes in order. Writing and hashing happen on a worker beside the caller; the queue between them is
/// bounded in bytes. Dropping it abandons what was not synced.
#[async_trait]
pub trait BlobWriter: Send {
    /// Takes bytes; waits while the worker is behind.
    async fn push(&mut self, bytes: Bytes) -> Result<()>;

    /// Waits until all bytes taken are synced, then says how many the upload holds. A failed sync is final: the
    /// upload cannot be continued from here.
    async fn sync(&mut self) -> Result<Written>;
}

/// Published bytes, open for reading. Deleting them does not disturb an open reader.
#[async_trait]
pub trait OpenBlob: Send + Sync {
    /// Size in bytes.
    fn size(&self) -> u64;

    /// Fills `into` with bytes from `offset` on if that needs no waiting (the bytes are in memory). `None` when it does.
    fn try_read(&self, offset: u64, into: &mut [u8]) -> Result<Option<usize>>;

    /// Reads at most `length` bytes from `offset` on, waiting for the disk on the blocking pool.
    async fn read(&self, offset: u64, length: usize) -> Result<Bytes>;

    /// The file that holds exactly these bytes, where there is one that the kernel may send by itself.
    fn file(&self) -> Option<Arc<File>> {
        None
    }
}
