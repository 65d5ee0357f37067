//! Files of the blob store that nothing points at: what an upload leaves when the machine goes down between its lasting
//! name and its record.
//!
//! No index leads from a file to its record, so all records are walked for many files at once. A file goes only after it
//! was found without a record or trash entry for as long as the grace period by this program's own watching, which a
//! clock that jumps does not shorten, and is that old by its own time too. When half of all files seem to be such, the
//! records are what is missing (an older backup of them was put back), and nothing goes.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    Registry,
    records::{
        BlobRecord, Held, Location, UploadRecord,
        blob::{trash, trash_in},
        codec,
    },
};
use crate::{
    error::Result,
    model::{Digest, PhysicalKey, Timestamp},
    store::{Batch, Key, MetadataRead, Space},
};

/// Files of one run: 17 bytes each.
const RUN: usize = 1 << 20;
/// Names of files read at once.
const NAMES: usize = 4096;
/// Keys read at once.
const PAGE: usize = 256;
/// Fewer files than this without a record are never taken for missing records.
const FEW: u64 = 100;
/// Longest watch that one sweep adds: what passed while the machine slept was no watching.
const WATCH: Duration = Duration::from_secs(24 * 3600);

/// What is known of a file that nothing points at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// When it was first found so.
    pub(crate) first: Timestamp,
    /// For how long it was watched since, in milliseconds of running time.
    pub(crate) watched: u64,
}

const VERSION: u8 = 1;

impl Seen {
    pub(crate) fn encode(self) -> Bytes {
        codec::Writer::new(VERSION).u64(self.first.0).u64(self.watched).finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let (version, mut reader) = codec::Reader::new(bytes, "orphan")?;
        if version != VERSION {
            return Err(reader.broken("written by a newer version"));
        }
        let seen = Self { first: Timestamp(reader.u64()?), watched: reader.u64()? };
        reader.end()?;
        Ok(seen)
    }
}

fn seen_all() -> Key {
    Key::new(Space::Queue, b'o')
}

fn seen_key(file: PhysicalKey) -> Key {
    seen_all().with(&file.0)
}

/// What sweeping did since the start.
#[derive(Default)]
pub(crate) struct Sweeping {
    last: std::sync::Mutex<Option<Instant>>,
    /// Files without a record at the last sweep, and files removed since the start.
    pub(super) waiting: AtomicU64,
    pub(super) removed: AtomicU64,
}

impl Registry {
    /// Looks for files that nothing points at and removes those whose time is over; says how many went.
    pub async fn sweep_orphans(&self, at: Timestamp) -> Result<u64> {
        let now = Instant::now();
        let last = self.sweeping.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner).replace(now);
        let watched = last.map_or(Duration::ZERO, |last| now.duration_since(last)).min(WATCH);
        self.sweep_watched(at, watched).await
    }

    /// The same, when the last sweep was so long ago.
    pub(crate) async fn sweep_watched(&self, at: Timestamp, watched: Duration) -> Result<u64> {
        let (mut files, mut waiting, mut removed) = (0, 0, 0);
        let mut after = None;
        let mut last = false;
        while !last {
            let mut run = Vec::new();
            let from = after;
            while run.len() < RUN && !last {
                let page = self.blobs.list(after, NAMES).await?;
                last = page.len() < NAMES;
                after = page.last().copied().or(after);
                run.extend(page);
            }
            files += run.len() as u64;
            let orphans = self.unpointed(run).await?;
            let many = orphans.len() as u64;
            self.forget_others(&orphans, from, after.filter(|_| !last)).await?;
            // Judged by what was seen so far; keys are random, so a part is like the whole.
            if many > FEW && many * 2 > files {
                tracing::error!(
                    orphans = many,
                    files,
                    "half of all stored files have no record: an older state of the records may have been put back; \
                     nothing is removed"
                );
                waiting += many;
                continue;
            }
            for file in orphans {
                let gone = self.sweep_one(file, at, watched).await?;
                removed += u64::from(gone);
                waiting += u64::from(!gone);
            }
        }
        self.sweeping.waiting.store(waiting, Relaxed);
        self.sweeping.removed.fetch_add(removed, Relaxed);
        Ok(removed)
    }

    /// Those of some files, in order, that neither a session, nor a record, nor the trash points at. The records are walked after the
    /// files were listed; one that stood all the while is not missed.
    async fn unpointed(&self, files: Vec<PhysicalKey>) -> Result<Vec<PhysicalKey>> {
        if files.is_empty() {
            return Ok(files);
        }
        let mut pointed = vec![false; files.len()];
        let mut mark = |file: PhysicalKey| {
            if let Ok(at) = files.binary_search(&file) {
                pointed[at] = true;
            }
        };
        let view: &dyn MetadataRead = self.meta.as_ref();
        // Sessions first: one whose commit was cut off names bytes that have their lasting name already, and may be closed
        // again. The batch that ends it writes the record, so who is not seen here any more is seen there.
        let mut after: Option<Key> = None;
        loop {
            let page = view.scan(&UploadRecord::all(), after.as_ref(), PAGE).await?;
            for (key, value) in &page {
                if let Held::File(file) = UploadRecord::decode_at(key, value)?.held {
                    mark(file);
                }
            }
            match page.last() {
                Some((key, _)) => after = Some(key.clone()),
                None => break,
            }
        }
        let records = Key::new(Space::Blob, b'b');
        let mut after: Option<Key> = None;
        loop {
            let page = view.scan(&records, after.as_ref(), PAGE).await?;
            for (key, value) in &page {
                let Some((digest, _)) = Digest::read_key(&key.bytes[1..]) else { continue };
                // A record that cannot be read may point at anything: then nothing is removed.
                if let Location::Physical(file) = BlobRecord::decode(digest, value)?.location {
                    mark(file);
                }
            }
            match page.last() {
                Some((key, _)) => after = Some(key.clone()),
                None => break,
            }
            tokio::task::yield_now().await;
        }
        let mut after: Option<Key> = None;
        loop {
            let page = view.scan(&trash(), after.as_ref(), PAGE).await?;
            page.iter().filter_map(|(key, _)| trash_in(key)).for_each(|(_, file)| mark(file));
            match page.last() {
                Some((key, _)) => after = Some(key.clone()),
                None => break,
            }
        }
        Ok(files.into_iter().zip(pointed).filter(|(_, pointed)| !pointed).map(|(file, _)| file).collect())
    }

    /// Forgets what was watched and is gone, or is pointed at now.
    async fn forget_others(
        &self,
        orphans: &[PhysicalKey],
        from: Option<PhysicalKey>,
        to: Option<PhysicalKey>,
    ) -> Result<()> {
        let mut after = from.map(seen_key);
        loop {
            let page = self.meta.scan(&seen_all(), after.as_ref(), PAGE).await?;
            let mut batch = Batch::new();
            for (key, _) in &page {
                let file = key.bytes.get(1..).and_then(|file| file.try_into().ok()).map(PhysicalKey);
                let beyond = file.zip(to).is_some_and(|(file, to)| file > to);
                if !beyond && file.is_none_or(|file| orphans.binary_search(&file).is_err()) {
                    batch.delete(key.clone());
                }
            }
            if !batch.is_empty() {
                batch.lazy = true;
                self.commit_job(batch).await?;
            }
            match page.last() {
                Some((key, _)) => after = Some(key.clone()),
                None => return Ok(()),
            }
        }
    }

    /// Watches one file for another while; removes it when that was long enough. Says whether it went.
    async fn sweep_one(&self, file: PhysicalKey, at: Timestamp, watched: Duration) -> Result<bool> {
        let grace = self.settings().orphan_grace;
        let key = seen_key(file);
        let known = self.meta.get(&key).await?.map(|value| Seen::decode(&value)).transpose()?;
        let mut batch = Batch::new();
        batch.lazy = true;
        let more = u64::try_from(watched.as_millis()).unwrap_or(u64::MAX);
        let seen = match known {
            None => Seen { first: at, watched: 0 },
            Some(seen) => Seen { watched: seen.watched.saturating_add(more), ..seen },
        };
        // It may have gone since it was listed.
        let Some(stat) = self.blobs.stat(file).await? else { return Ok(false) };
        let over = known.is_some() && seen.watched >= grace.saturating_mul(1000);
        if over && stat.age.as_secs() >= grace {
            // Bytes first: a crash in between finds the entry without its file, and forgets it.
            self.blobs.delete(file).await?;
            batch.delete(key);
            self.commit_job(batch).await?;
            tracing::info!(%file, "removed a file that nothing pointed at");
            return Ok(true);
        }
        batch.put(key, seen.encode());
        self.commit_job(batch).await?;
        Ok(false)
    }
}

#[cfg(test)]
mod tests;
