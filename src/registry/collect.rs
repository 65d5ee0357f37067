//! Online collection: what nothing holds goes, while pushes and pulls go on.
//!
//! Whoever takes a hold from a digest queues a review in the same batch (`holds::review`, `Registry::lease`). A review
//! (`review.rs`) is one batch that expects no hold and deletes the blob's record, putting its bytes into the trash; the
//! trash is emptied (`purge.rs`) after a grace period. Nothing is scanned but the front of these two queues, no lock is
//! held, and what is done needs no order: a review finds the truth anew each time. Edges between manifests (an index and
//! its children) hold no blob: a manifest lies beside its record, and goes only when somebody deletes it.

mod control;
mod purge;
mod review;
mod status;
#[cfg(test)]
mod tests;
mod throttle;

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

pub use control::{Doomed, DryRun, Slice};
use futures_util::{StreamExt, stream};
pub use status::{CollectionFigures, CollectionState};
use throttle::Throttle;

use super::{
    Registry,
    records::blob::{review_in, reviews},
};
use crate::{
    error::Result,
    model::{Digest, Timestamp},
    store::Key,
};

/// Entries that one step of the job looks at, at most.
const STEP: usize = 64;
/// Reviews at once, so that they share a write.
const AT_ONCE: usize = 8;

impl Collection {
    fn place(&self) -> Place {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        place.steps += 1;
        if place.steps > ROUND {
            *place = Place::default();
        }
        place.clone()
    }

    fn reviewed_to(&self) -> Option<Key> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).reviews.clone()
    }

    fn go_on_at(&self, place: Place) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }
}

/// What collection did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Entries of the review queue that were decided.
    pub reviewed: u64,
    /// Entries that could not be decided and were put off.
    pub postponed: u64,
    /// Blobs that nothing held.
    pub collected: u64,
    /// Their bytes.
    pub collected_bytes: u64,
    /// Files deleted from the trash.
    pub deleted: u64,
    /// Their bytes, as far as known.
    pub freed_bytes: u64,
}

impl Collected {
    fn add(&mut self, more: &Self) {
        self.reviewed += more.reviewed;
        self.postponed += more.postponed;
        self.collected += more.collected;
        self.collected_bytes += more.collected_bytes;
        self.deleted += more.deleted;
        self.freed_bytes += more.freed_bytes;
    }
}

/// Collection's own state: counts since the start, and what must stop it for a while. Nothing that would be missed after
/// a restart.
#[derive(Default)]
pub(crate) struct Collection {
    reviewed: AtomicU64,
    postponed: AtomicU64,
    collected: AtomicU64,
    collected_bytes: AtomicU64,
    deleted: AtomicU64,
    freed_bytes: AtomicU64,
    /// Entries due, as last counted; when the oldest was due, 0 for none.
    backlog: AtomicU64,
    oldest: AtomicU64,
    counted_at: AtomicU64,
    paused: AtomicBool,
    throttle: Throttle,
    place: Mutex<Place>,
}

/// Where the job goes on in the two queues: behind what it has just removed, which the engine would have to walk over.
#[derive(Default, Clone)]
struct Place {
    reviews: Option<Key>,
    trash: Option<Key>,
    steps: u32,
}

/// After so many steps the job begins at the front again, where entries may have come meanwhile.
const ROUND: u32 = 100;

impl Registry {
    /// One step of the job: as many reviews and deletions as the rate allows. Says whether more are due.
    pub async fn collect(&self, at: Timestamp) -> Result<bool> {
        let state = self.collection_state().await?;
        self.collection.paused.store(state == CollectionState::Paused, Relaxed);
        let mut done = Collected::default();
        let mut more = false;
        if state == CollectionState::Running {
            let most = self.collection.throttle.take(STEP, self.settings().collect_rate);
            let mut place = self.collection.place();
            let outcome = self.collect_some(at, most, &mut place, &mut done).await;
            self.collection.go_on_at(place);
            self.collection.throttle.give_back(most as u64 - (done.reviewed + done.deleted).min(most as u64));
            self.collection.count(&done);
            more = outcome?;
        }
        self.measure(at).await?;
        Ok(more)
    }

    /// At most so many reviews and deletions, of what is due. Half are kept for deletions, so that a long queue of reviews
    /// does not keep the disk full.
    async fn collect_some(
        &self,
        at: Timestamp,
        most: usize,
        place: &mut Place,
        done: &mut Collected,
    ) -> Result<bool> {
        if most == 0 {
            return Ok(true);
        }
        place.trash = self.purge(at, place.trash.as_ref(), most.div_ceil(2), done).await?;
        let rest = most.saturating_sub(usize::try_from(done.deleted).unwrap_or(most)).max(1);
        place.reviews = self.review_some(at, place.reviews.as_ref(), rest, done).await?;
        Ok(place.trash.is_some() || place.reviews.is_some())
    }

    /// Reviews what is due, at most `limit` entries of the queue after `after`. Says where it came to, if there may be
    /// more.
    async fn review_some(
        &self,
        at: Timestamp,
        after: Option<&Key>,
        limit: usize,
        done: &mut Collected,
    ) -> Result<Option<Key>> {
        let due = self.due_reviews(at, after, limit).await?;
        let next = due.last().filter(|_| due.len() >= limit).map(|(key, _)| key.clone());
        let each = due.into_iter().map(|(key, digest)| async move {
            let mut one = Collected::default();
            let outcome = self.review_entry(&key, &digest, at, &mut one).await;
            (outcome, one)
        });
        let mut outcomes = stream::iter(each).buffer_unordered(AT_ONCE);
        let mut failed = None;
        while let Some((outcome, one)) = outcomes.next().await {
            done.add(&one);
            failed = failed.or(outcome.err());
        }
        failed.map_or(Ok(next), Err)
    }

    /// The entries of the review queue that are due: in order, those after `after`, at most `limit`.
    async fn due_reviews(
        &self,
        at: Timestamp,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<(Key, Digest)>> {
        let page = self.meta.scan(&reviews(), after, limit).await?;
        let entries = page.into_iter().filter_map(|(key, _)| review_in(&key).map(|found| (key, found)));
        let due = entries.take_while(|(_, (due, _))| *due <= at);
        Ok(due.map(|(key, (_, digest))| (key, digest)).collect())
    }
}
