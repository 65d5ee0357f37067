//! The embedded metadata store: RocksDB behind one committer.
//!
//! Readers go straight to the database ([`engine`]). Batches go to one thread ([`committer`]) that gathers those that
//! wait, judges each against the database and the batches before it ([`group`]), and writes them with one sync. After a
//! write that failed nothing more is acknowledged until the database was closed and opened again ([`slot`]).

mod committer;
mod engine;
mod group;
mod known;
mod mark;
mod options;
mod slot;
#[cfg(test)]
mod tests;

use std::{
    fs::File,
    path::Path,
    sync::{Arc, atomic::Ordering::Relaxed, mpsc},
    thread::JoinHandle,
};

use async_trait::async_trait;
use bytes::Bytes;
use rocksdb::{properties as property, statistics::Ticker};
use tokio::sync::{Semaphore, oneshot};

pub use options::RocksOptions;

use self::{
    committer::{Committer, Request, State},
    engine::{Engine, Moment, failure},
    options::Setup,
    slot::{Slot, View},
};
use super::{Batch, CommitError, Committed, Entry, Key, MetadataRead, MetadataStore, Space};
use crate::{
    error::{Error, Kind, Result},
    model::Stamp,
};

/// Bytes of small blobs that are still in use: RocksDB has the property, its wrapper no name for it.
const INLINE_BYTES: &str = "rocksdb.live-blob-file-size";

/// A scan of more than this many keys leaves the caller's worker.
const SCAN_HERE: usize = 256;

/// Metadata in a RocksDB database in one folder. Closes it when dropped, after the batches that were sent.
pub struct RocksStore {
    slot: Arc<Slot>,
    state: Arc<State>,
    /// One permit for each batch that may wait, and how many there are.
    room: Arc<Semaphore>,
    most: usize,
    sender: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
    /// The lock on the data folder; given back after everything else, when the database is closed.
    _lock: Option<Arc<File>>,
}

impl RocksStore {
    /// Opens the database in a folder that exists, or makes one there.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] when another process has it open.
    pub fn open(path: &Path, options: RocksOptions) -> Result<Self> {
        let slot = Arc::new(Slot::open(Setup::new(path.to_owned(), options.memory))?);
        let state = Arc::new(State::default());
        let most = options.waiting.max(1);
        let room = Arc::new(Semaphore::new(most));
        let (sender, inbox) = mpsc::channel();
        let committer = Committer::new(Arc::clone(&slot), Arc::clone(&state), inbox, options);
        let thread = std::thread::Builder::new()
            .name("committer".into())
            .spawn(|| committer.run())
            .map_err(Error::internal)?;
        Ok(Self { slot, state, room, most, sender: Some(sender), thread: Some(thread), _lock: None })
    }

    /// While it is locked, the committer takes no group.
    #[cfg(test)]
    pub(super) fn gate(&self) -> Arc<std::sync::Mutex<()>> {
        Arc::clone(&self.state.gate)
    }

    /// Keeps a lock as long as the database may be open.
    #[must_use]
    pub(super) fn keeping(mut self, lock: Arc<File>) -> Self {
        self._lock = Some(lock);
        self
    }
}

impl Drop for RocksStore {
    fn drop(&mut self) {
        drop(self.sender.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the committer ended with a panic");
        }
        if let Err(error) = self.slot.close() {
            tracing::warn!(%error, "the metadata store closes when its last reader leaves");
        }
    }
}

fn stopped() -> Error {
    Error::new(Kind::Unavailable, "the metadata store has stopped")
}

/// Runs a long read off the async workers.
async fn blocking<T: Send + 'static>(job: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(job).await.map_err(Error::internal)?
}

#[async_trait]
impl MetadataRead for RocksStore {
    async fn get(&self, key: &Key) -> Result<Option<Bytes>> {
        self.slot.engine().await?.get(Moment::Now, key)
    }

    async fn multi_get(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        self.slot.engine().await?.multi_get(Moment::Now, keys)
    }

    async fn scan(&self, prefix: &Key, after: Option<&Key>, limit: usize) -> Result<Vec<Entry>> {
        let engine = self.slot.engine().await?;
        if limit <= SCAN_HERE {
            return engine.scan(Moment::Now, prefix, after, limit);
        }
        let (prefix, after) = (prefix.clone(), after.cloned());
        blocking(move || engine.scan(Moment::Now, &prefix, after.as_ref(), limit)).await
    }
}

#[async_trait]
impl MetadataStore for RocksStore {
    fn snapshot(&self) -> Result<Arc<dyn MetadataRead>> {
        Ok(Arc::new(Moments(self.slot.view()?)))
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, CommitError> {
        let failed = || CommitError::Failed(stopped());
        let room = Arc::clone(&self.room).acquire_owned().await.map_err(|_| failed())?;
        let (answer, verdict) = oneshot::channel();
        let sender = self.sender.as_ref().ok_or_else(failed)?;
        sender.send(Request { batch, answer, _room: room }).map_err(|_| failed())?;
        // From here on the batch is applied whether or not somebody waits for the answer.
        verdict.await.map_err(|_| failed())?
    }

    async fn backup(&self, into: &Path) -> Result<Arc<dyn MetadataRead>> {
        /// Enough to walk a copy once.
        const MEMORY: usize = 16 << 20;
        let (engine, into) = (self.slot.engine().await?, into.to_owned());
        blocking(move || {
            engine.copy(&into)?;
            drop(engine);
            let copy = Engine::open_copy(&Setup::new(into, MEMORY))?;
            Ok(Arc::new(Copied(Arc::new(copy))) as Arc<dyn MetadataRead>)
        })
        .await
    }

    fn stamp(&self) -> Option<Stamp> {
        self.slot.now().map(|engine| engine.stamp())
    }

    fn health(&self) -> Result<()> {
        if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
            return Err(stopped());
        }
        self.state.health()
    }

    fn figures(&self) -> Vec<(&'static str, u64)> {
        let own = &self.state.figures;
        let setup = self.slot.setup();
        let mut all = vec![
            ("commits", own.committed.load(Relaxed)),
            ("commits_refused", own.refused.load(Relaxed)),
            ("commits_failed", own.failed.load(Relaxed)),
            ("commit_groups", own.groups.load(Relaxed)),
            ("commit_group_largest", own.largest_group.load(Relaxed)),
            ("commits_waiting", self.most.saturating_sub(self.room.available_permits()) as u64),
            ("sync_count", own.syncs.load(Relaxed)),
            ("sync_micros_sum", own.sync_micros.load(Relaxed)),
            ("sync_micros_max", own.slowest_sync_micros.load(Relaxed)),
            ("reopened", own.reopened.load(Relaxed)),
            ("block_cache_bytes", setup.cache_bytes()),
            ("memtable_bytes", setup.memtable_bytes()),
            // What batches brought, and what that made RocksDB write: together, how much each byte is written.
            ("batch_bytes", setup.counted(Ticker::BytesWritten)),
            ("log_bytes", setup.counted(Ticker::WalFileBytes)),
            ("flushed_bytes", setup.counted(Ticker::FlushWriteBytes)),
            ("compacted_bytes", setup.counted(Ticker::CompactWriteBytes)),
            ("inline_written_bytes", setup.counted(Ticker::BlobDbBlobFileBytesWritten)),
            // Time that writes were slowed down or stopped because compaction is behind.
            ("stall_micros_sum", setup.counted(Ticker::StallMicros)),
            ("cache_hits", setup.counted(Ticker::BlockCacheHit)),
            ("cache_misses", setup.counted(Ticker::BlockCacheMiss)),
        ];
        if let Some(engine) = self.slot.now() {
            all.extend(engine_figures(&engine));
        }
        all
    }
}

/// The size of a part's tables, by name.
fn tables_of(space: Space) -> &'static str {
    match space {
        Space::Meta => "table_bytes_meta",
        Space::Blob => "table_bytes_blob",
        Space::Refs => "table_bytes_refs",
        Space::Doc => "table_bytes_doc",
        Space::Inline => "table_bytes_inline",
        Space::Queue => "table_bytes_queue",
        Space::Event => "table_bytes_event",
    }
}

/// Figures that RocksDB keeps. One it cannot tell is left out of the sum.
fn engine_figures(engine: &Engine) -> Vec<(&'static str, u64)> {
    let of = |space, name: &property::PropName| {
        let family = engine.family(space).ok()?;
        engine.db().property_int_value_cf(family, name).ok()?
    };
    let sum =
        |name: &property::PropName| Space::ALL.into_iter().filter_map(|space| of(space, name)).sum::<u64>();
    let tables = |space| Some((tables_of(space), of(space, property::LIVE_SST_FILES_SIZE)?));
    // These are of the whole database, whichever family is asked.
    let whole = |name: &property::PropName| engine.db().property_int_value(name).ok().flatten().unwrap_or(0);
    let mut all: Vec<_> = Space::ALL.into_iter().filter_map(tables).collect();
    all.extend([
        ("keys_estimated", sum(property::ESTIMATE_NUM_KEYS)),
        ("table_bytes", sum(property::TOTAL_SST_FILES_SIZE)),
        ("table_reader_bytes", sum(property::ESTIMATE_TABLE_READERS_MEM)),
        ("compaction_pending_bytes", sum(property::ESTIMATE_PENDING_COMPACTION_BYTES)),
        ("compactions_running", whole(property::NUM_RUNNING_COMPACTIONS)),
        ("flushes_running", whole(property::NUM_RUNNING_FLUSHES)),
        ("writes_stopped", whole(property::IS_WRITE_STOPPED)),
        ("write_rate_limit", whole(property::ACTUAL_DELAYED_WRITE_RATE)),
        ("background_errors", whole(property::BACKGROUND_ERRORS)),
        ("snapshots", whole(property::NUM_SNAPSHOTS)),
    ]);
    if let Ok(Some(bytes)) = engine
        .family(Space::Inline)
        .and_then(|family| engine.db().property_int_value_cf(family, INLINE_BYTES).map_err(failure))
    {
        all.push(("inline_bytes", bytes));
    }
    all
}

/// Reads of one moment.
struct Moments(Arc<View>);

#[async_trait]
impl MetadataRead for Moments {
    async fn get(&self, key: &Key) -> Result<Option<Bytes>> {
        self.0.read(|engine, moment| engine.get(moment, key))
    }

    async fn multi_get(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        self.0.read(|engine, moment| engine.multi_get(moment, keys))
    }

    async fn scan(&self, prefix: &Key, after: Option<&Key>, limit: usize) -> Result<Vec<Entry>> {
        if limit <= SCAN_HERE {
            return self.0.read(|engine, moment| engine.scan(moment, prefix, after, limit));
        }
        let (view, prefix, after) = (Arc::clone(&self.0), prefix.clone(), after.cloned());
        blocking(move || view.read(|engine, moment| engine.scan(moment, &prefix, after.as_ref(), limit)))
            .await
    }
}

/// Reads of a copy, which nobody writes.
struct Copied(Arc<Engine>);

#[async_trait]
impl MetadataRead for Copied {
    async fn get(&self, key: &Key) -> Result<Option<Bytes>> {
        self.0.get(Moment::Now, key)
    }

    async fn multi_get(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        self.0.multi_get(Moment::Now, keys)
    }

    async fn scan(&self, prefix: &Key, after: Option<&Key>, limit: usize) -> Result<Vec<Entry>> {
        let (engine, prefix, after) = (Arc::clone(&self.0), prefix.clone(), after.cloned());
        blocking(move || engine.scan(Moment::Now, &prefix, after.as_ref(), limit)).await
    }
}
