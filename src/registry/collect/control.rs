//! What an operator asks of collection: how it stands, what would go, go now, stop, go on.

use std::{collections::HashSet, sync::atomic::Ordering::Relaxed};

use serde::{Deserialize, Serialize};

use super::{Collected, CollectionFigures, CollectionState};
use crate::{
    auth::{Caller, Grant, Operate},
    error::{Error, Kind, Result},
    model::{Digest, Timestamp},
    registry::{
        Registry, Trust,
        holds::is_open,
        records::{
            BlobRecord, Hold,
            blob::{holds_of, trash, trash_in, trash_size},
            from_json, meta, tag, to_json,
        },
        revisions::Outcome,
    },
    store::{Batch, Key},
};

/// That collection is paused: kept, so that a restart does not undo what an operator asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Pause {
    /// Milliseconds since the epoch.
    since: u64,
    /// Who asked for it.
    by: String,
}

const VERSION: u8 = 1;

fn pause_key() -> Key {
    meta(tag::SETTING).with_text("collection-paused")
}

/// A blob that nothing holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doomed {
    /// Which.
    pub digest: Digest,
    /// Size in bytes.
    pub size: u64,
}

/// What a collection would do now.
#[derive(Debug, Clone, Default)]
pub struct DryRun {
    /// Blobs that would be collected; as many as were asked for.
    pub blobs: Vec<Doomed>,
    /// How many there are.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files in the trash that would be deleted.
    pub files: u64,
    /// Their bytes, as far as known.
    pub file_bytes: u64,
    /// Whether there is more than was looked at.
    pub cut: bool,
}

/// Entries of each queue that a dry run looks at.
const LOOKED_AT: usize = 200_000;
/// Entries read at once.
const STRIDE: usize = 1000;

/// What a slice of an immediate collection did, and whether more is due.
#[derive(Debug, Clone, Copy)]
pub struct Slice {
    /// What it did.
    pub done: Collected,
    /// Whether another one has something to do.
    pub more: bool,
}

impl Registry {
    /// Whether collection goes on by itself.
    pub(super) async fn collection_state(&self) -> Result<CollectionState> {
        let settings = self.settings();
        if settings.read_only {
            return Ok(CollectionState::ReadOnly);
        }
        if self.pause().await?.is_some() {
            return Ok(CollectionState::Paused);
        }
        Ok(if settings.collect { CollectionState::Running } else { CollectionState::Off })
    }

    async fn pause(&self) -> Result<Option<Pause>> {
        let value = self.meta.get(&pause_key()).await?;
        value.map(|bytes| from_json(VERSION, &bytes, "pause of collection")).transpose()
    }

    /// Pauses collection until it is resumed, also across restarts, or resumes it. A step under way is finished.
    pub async fn set_collection_paused(&self, grant: &Grant<Operate>, paused: bool) -> Result<()> {
        let caller: &Caller = grant.caller();
        let mut under = self.under(grant);
        loop {
            let mut batch = Batch::new();
            match (paused, self.pause().await?) {
                (true, None) => {
                    let pause = Pause { since: caller.at.0, by: caller.actor.to_string() };
                    batch.put(pause_key(), to_json(VERSION, &pause));
                }
                (false, Some(_)) => batch.delete(pause_key()),
                (true, Some(_)) | (false, None) => {}
            }
            if under.commit(batch).await? == Outcome::Done {
                tracing::info!(paused, by = %caller.actor, "collection");
                self.collection.paused.store(paused, Relaxed);
                return Ok(());
            }
        }
    }

    /// How collection stands.
    pub async fn collection_figures(&self, grant: &Grant<Operate>) -> Result<CollectionFigures> {
        self.figures_of_collection(grant.at()).await
    }

    /// Collects what was due at `until`, at once and at full speed, at most `most` entries of each queue. For a caller that
    /// repeats it until there is no more, with one `until` for all of it, so that it comes to an end.
    ///
    /// # Errors
    /// Unavailable while collection is paused, the registry takes no changes, or the clock is not believed.
    pub async fn collect_now(&self, _: &Grant<Operate>, until: Timestamp, most: usize) -> Result<Slice> {
        let refuse = |text: &'static str| Err(Error::new(Kind::Unavailable, text));
        match self.collection_state().await? {
            CollectionState::Running | CollectionState::Off => {}
            CollectionState::Paused => return refuse("collection is paused: packhouse gc --resume"),
            CollectionState::ReadOnly => return refuse("the registry is read-only and collects nothing"),
        }
        let time = self.time();
        if time.trust != Trust::Steady {
            let text = format!("{}: nothing is collected before `packhouse clock accept`", time.trust);
            return Err(Error::new(Kind::Unavailable, text));
        }
        let until = until.min(time.at);
        let mut done = Collected::default();
        let reviewed = self.review_some(until, None, most, &mut done).await;
        self.collection.count(&done);
        reviewed?;
        // Not only whether the queue was longer: an entry also stays while others keep changing what it is about.
        let mut more = !self.due_reviews(until, None, 1).await?.is_empty();
        let mut purged = Collected::default();
        let next = self.purge(until, None, most, &mut purged).await;
        self.collection.count(&purged);
        done.add(&purged);
        more |= next?.is_some();
        Ok(Slice { done, more })
    }

    /// What a collection would do now, with the first `shown` blobs by name. Changes nothing.
    pub async fn collection_dry_run(&self, grant: &Grant<Operate>, shown: usize) -> Result<DryRun> {
        let at = grant.at();
        let mut run = DryRun::default();
        let mut seen = HashSet::new();
        let mut after = None;
        let mut looked_at = 0;
        loop {
            let page = self.due_reviews(at, after.as_ref(), STRIDE).await?;
            looked_at += page.len();
            for (_, digest) in &page {
                if !seen.insert(*digest) {
                    continue;
                }
                if let Some(blob) = self.unheld(digest, at).await? {
                    run.count += 1;
                    run.bytes += blob.size;
                    if run.blobs.len() < shown {
                        run.blobs.push(Doomed { digest: *digest, size: blob.size });
                    }
                }
            }
            after = page.last().map(|(key, _)| key.clone());
            run.cut = looked_at >= LOOKED_AT && page.len() == STRIDE;
            if page.len() < STRIDE || run.cut {
                break;
            }
        }
        self.due_trash(at, &mut run).await?;
        Ok(run)
    }

    /// A blob, if nothing holds it now. Advice: a review finds out for itself.
    async fn unheld(&self, digest: &Digest, at: Timestamp) -> Result<Option<BlobRecord>> {
        let Some(value) = self.meta.get(&BlobRecord::key_of(digest)).await? else { return Ok(None) };
        for hold in [Hold::Live, Hold::Held] {
            if self.meta.any(&holds_of(digest, hold)).await? {
                return Ok(None);
            }
        }
        let mut after = None;
        loop {
            let leases = self.meta.scan(&holds_of(digest, Hold::Lease), after.as_ref(), STRIDE).await?;
            if leases.iter().any(|(_, value)| is_open(value, at)) {
                return Ok(None);
            }
            match leases.last() {
                Some((key, _)) if leases.len() == STRIDE => after = Some(key.clone()),
                _ => return BlobRecord::decode(*digest, &value).map(Some),
            }
        }
    }

    async fn due_trash(&self, at: Timestamp, run: &mut DryRun) -> Result<()> {
        let mut after = None;
        for _ in 0..LOOKED_AT / STRIDE {
            let page = self.meta.scan(&trash(), after.as_ref(), STRIDE).await?;
            for (key, value) in &page {
                if trash_in(key).is_none_or(|(due, _)| due > at) {
                    return Ok(());
                }
                run.files += 1;
                run.file_bytes += trash_size(value);
            }
            match page.last() {
                Some((key, _)) if page.len() == STRIDE => after = Some(key.clone()),
                _ => return Ok(()),
            }
        }
        run.cut = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_form_of_a_pause_is_these_bytes() {
        let pause = Pause { since: 1, by: "operator".into() };
        let golden = b"\x01{\"since\":1,\"by\":\"operator\"}";
        assert_eq!(to_json(VERSION, &pause).as_ref(), golden);
        assert_eq!(from_json::<Pause>(VERSION, golden, "x").unwrap(), pause);
        assert_eq!(pause_key().bytes, b"scollection-paused\0");
    }
}
