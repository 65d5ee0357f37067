//! How far collection is behind, and what it did since the start.

use std::sync::atomic::Ordering::Relaxed;

use super::{Collected, Collection};
use crate::{
    error::Result,
    model::Timestamp,
    registry::{
        Registry,
        records::blob::{review_in, reviews, trash, trash_in, trash_size},
    },
    store::Key,
};

/// Entries counted at most, so that a figure never costs a walk over a long queue.
const COUNTED: usize = 10_000;
/// How often the backlog is counted, in milliseconds.
const COUNT_EVERY: u64 = 10_000;

/// Whether collection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CollectionState {
    /// It does.
    Running,
    /// An operator paused it.
    Paused,
    /// The setting says that it does not run by itself.
    Off,
    /// The registry takes no changes now.
    ReadOnly,
}

impl CollectionState {
    /// A word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Off => "off",
            Self::ReadOnly => "read-only",
        }
    }
}

/// Figures of collection. Queues are counted to 10,000.
#[derive(Debug, Clone, Copy)]
pub struct CollectionFigures {
    /// Whether it goes on.
    pub state: CollectionState,
    /// Reviews due.
    pub due: u64,
    /// When the oldest of them was due.
    pub oldest: Option<Timestamp>,
    /// Files in the trash, due or not.
    pub trash: u64,
    /// Their bytes, as far as known.
    pub trash_bytes: u64,
    /// When the last of those counted may be deleted.
    pub trash_until: Option<Timestamp>,
    /// What was done since the daemon started.
    pub done: Collected,
}

impl Collection {
    pub(super) fn count(&self, done: &Collected) {
        self.reviewed.fetch_add(done.reviewed, Relaxed);
        self.postponed.fetch_add(done.postponed, Relaxed);
        self.collected.fetch_add(done.collected, Relaxed);
        self.collected_bytes.fetch_add(done.collected_bytes, Relaxed);
        self.deleted.fetch_add(done.deleted, Relaxed);
        self.freed_bytes.fetch_add(done.freed_bytes, Relaxed);
    }

    fn done(&self) -> Collected {
        Collected {
            reviewed: self.reviewed.load(Relaxed),
            postponed: self.postponed.load(Relaxed),
            collected: self.collected.load(Relaxed),
            collected_bytes: self.collected_bytes.load(Relaxed),
            deleted: self.deleted.load(Relaxed),
            freed_bytes: self.freed_bytes.load(Relaxed),
        }
    }
}

impl Registry {
    /// Notes how far the review queue is behind, for the metrics page: the oldest entry each time, the count now and then.
    pub(super) async fn measure(&self, at: Timestamp) -> Result<()> {
        // Behind what the job has just removed, which the engine would have to walk over.
        let after = self.collection.reviewed_to();
        let front = self.due_reviews(at, after.as_ref(), 1).await?;
        let oldest = front.first().and_then(|(key, _)| review_in(key)).map_or(0, |(due, _)| due.0);
        self.collection.oldest.store(oldest, Relaxed);
        let counted_at = self.collection.counted_at.load(Relaxed);
        if oldest == 0 {
            self.collection.backlog.store(0, Relaxed);
        } else if at.0.saturating_sub(counted_at) >= COUNT_EVERY {
            self.collection.counted_at.store(at.0, Relaxed);
            let due = self.due_reviews(at, after.as_ref(), COUNTED).await?;
            self.collection.backlog.store(due.len() as u64, Relaxed);
        }
        Ok(())
    }

    /// How collection stands.
    pub(super) async fn figures_of_collection(&self, at: Timestamp) -> Result<CollectionFigures> {
        let front = self.meta.scan(&reviews(), None, 1).await?;
        let oldest = front.first().and_then(|(key, _)| review_in(key)).map(|(due, _)| due);
        let trashed = self.meta.scan(&trash(), None, COUNTED).await?;
        let last = |(key, _): &(Key, bytes::Bytes)| trash_in(key).map(|(due, _)| due);
        Ok(CollectionFigures {
            state: self.collection_state().await?,
            due: self.due_reviews(at, None, COUNTED).await?.len() as u64,
            oldest: oldest.filter(|due| *due <= at),
            trash: trashed.len() as u64,
            trash_bytes: trashed.iter().map(|(_, value)| trash_size(value)).sum(),
            trash_until: trashed.last().and_then(last),
            done: self.collection.done(),
        })
    }

    /// The same for the metrics page, as last seen by the job: name, what it is, value.
    pub fn collection_metrics(&self, now: Timestamp) -> Vec<(&'static str, &'static str, f64)> {
        let state = &self.collection;
        let done = state.done();
        let oldest = state.oldest.load(Relaxed);
        let age = if oldest == 0 { 0 } else { now.0.saturating_sub(oldest) };
        let paused = state.paused.load(Relaxed);
        vec![
            (
                "gc_due",
                "Digests that may have lost their last hold and are due for a look; counted to 10000.",
                state.backlog.load(Relaxed) as f64,
            ),
            ("gc_oldest_due_seconds", "How long the oldest of them is due.", age as f64 / 1000.0),
            ("gc_paused", "Whether an operator paused collection.", f64::from(u8::from(paused))),
            ("gc_reviews_total", "Digests looked at.", done.reviewed as f64),
            ("gc_postponed_total", "Digests that could not be looked at.", done.postponed as f64),
            ("gc_collected_blobs_total", "Blobs that nothing held any more.", done.collected as f64),
            ("gc_collected_bytes_total", "Their bytes.", done.collected_bytes as f64),
            ("gc_deleted_files_total", "Files deleted from the trash.", done.deleted as f64),
            ("gc_freed_bytes_total", "Their bytes.", done.freed_bytes as f64),
        ]
    }
}
