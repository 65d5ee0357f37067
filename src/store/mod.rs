//! Bytes and keys. Two traits, each with more than one implementation and one behaviour suite (`suite`).
//!
//! This layer knows no package, no user and no HTTP. Nothing above it may know which engine runs, nor depend on there
//! being one process.

pub mod backup;
mod batch;
mod blobs;
mod directory;
#[cfg(test)]
pub(crate) mod faulty;
#[cfg_attr(not(feature = "rocksdb"), expect(dead_code, reason = "the engine's opening asks it"))]
mod format;
pub mod memory;
#[cfg(feature = "rocksdb")]
mod open;
#[cfg(feature = "rocksdb")]
mod rocks;
mod stream;
#[cfg(test)]
mod suite;

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;

pub use batch::{Add, Append, Batch, CommitError, Committed, Expect, Prefix, Record, counter, stream_key};
pub use blobs::{BlobStore, BlobWriter, OpenBlob, Published, Written};
pub use directory::DirectoryBlobs;
pub use stream::{BlobStream, Buffers};

#[cfg(feature = "rocksdb")]
pub use open::open_directory;
#[cfg(feature = "rocksdb")]
pub use rocks::{RocksOptions, RocksStore};

use crate::{
    error::{Error, Kind, Result},
    model::Stamp,
};

/// A part of the key space with its own shape of keys, and so its own engine options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// Owners, packages, roles, tokens, sessions, revisions: short keys, point reads and short scans.
    Meta = 1,
    /// Blob records by digest: point reads only.
    Blob = 2,
    /// Edges, leases and wanted keys: "does this prefix hold anything" questions.
    Refs = 3,
    /// Manifest records and bodies, tags, referrers.
    Doc = 4,
    /// Bytes of small blobs.
    Inline = 5,
    /// Review queue and trash: short-lived keys in order of time.
    Queue = 6,
    /// Event streams: appended, read in order.
    Event = 7,
}

impl Space {
    /// Every part.
    pub const ALL: [Self; 7] =
        [Self::Meta, Self::Blob, Self::Refs, Self::Doc, Self::Inline, Self::Queue, Self::Event];

    /// Its name on disk.
    pub fn word(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Blob => "blob",
            Self::Refs => "refs",
            Self::Doc => "doc",
            Self::Inline => "inline",
            Self::Queue => "queue",
            Self::Event => "event",
        }
    }
}

/// A key: which part of the key space, and the bytes in it. Keys of one part sort bytewise.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The part.
    pub space: Space,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Key {
    /// A key that begins with a tag byte; more is added by the caller.
    pub fn new(space: Space, tag: u8) -> Self {
        // The longest that are written often, edges, have 84 bytes.
        let mut bytes = Vec::with_capacity(96);
        bytes.push(tag);
        Self { space, bytes }
    }

    /// Adds bytes of fixed length, or the last field.
    #[must_use]
    pub fn with(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Adds text and a terminator, so that what follows cannot be taken for more of it. The text must hold no NUL:
    /// names do not.
    #[must_use]
    pub fn with_text(mut self, text: &str) -> Self {
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
        self
    }
}

/// A key and its value.
pub type Entry = (Key, Bytes);

/// Reads of the ordered key space. Each call sees whole batches; calls on one snapshot all see the same moment.
#[async_trait]
pub trait MetadataRead: Send + Sync {
    /// The value of a key.
    async fn get(&self, key: &Key) -> Result<Option<Bytes>>;

    /// The values of several keys, in their order.
    async fn multi_get(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>>;

    /// Keys that begin with `prefix` and sort after `after` (which, when given, begins with it too), in order, at most
    /// `limit`.
    async fn scan(&self, prefix: &Key, after: Option<&Key>, limit: usize) -> Result<Vec<Entry>>;

    /// Whether any key begins with the prefix.
    async fn any(&self, prefix: &Key) -> Result<bool> {
        Ok(!self.scan(prefix, None, 1).await?.is_empty())
    }
}

/// One ordered key space with atomic conditional batches.
#[async_trait]
pub trait MetadataStore: MetadataRead {
    /// A view of one moment, for walks that take longer than a request. Must be short-lived.
    fn snapshot(&self) -> Result<Arc<dyn MetadataRead>>;

    /// Applies a batch whole or not at all. When it returns, a synced batch survives a power cut.
    ///
    /// # Errors
    /// [`CommitError::Conflict`] when an expectation does not hold, [`CommitError::Quota`] when an addition would pass
    /// its limit; both leave no trace and are decided one batch at a time. [`CommitError::Failed`] when the engine could
    /// not write: the batch is wholly there or wholly absent, and after a failed sync nothing is acknowledged until the
    /// engine was opened anew.
    async fn commit(&self, batch: Batch) -> Result<Committed, CommitError>;

    /// Copies one moment of the key space, after this call began, into the folder `into`, which is not there and whose
    /// parent is; gives reads of that very copy. Batches go on meanwhile. The same kind of store opens the folder.
    ///
    /// # Errors
    /// Unsupported by a store that has means of its own for it: a database server, a store in memory.
    async fn backup(&self, into: &Path) -> Result<Arc<dyn MetadataRead>> {
        let text = format!("this metadata store cannot be copied to {}", into.display());
        Err(Error::new(Kind::Unsupported, text))
    }

    /// What the key space stands at, where the engine can tell at no cost. It is read before the keys that it is to be
    /// compared for: while two of them are equal, no batch was committed that a read between them could have seen.
    fn stamp(&self) -> Option<Stamp> {
        None
    }

    /// Whether writes can succeed now; says why not.
    fn health(&self) -> Result<()>;

    /// Figures of the engine for the metrics page: name, value.
    fn figures(&self) -> Vec<(&'static str, u64)>;
}
