//! Bytes that no record points at any more. Their keys are never used again, so deleting one late, twice, or after a crash
//! in between hits nothing else.

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::Collected;
use crate::{
    error::Result,
    model::{PhysicalKey, Timestamp},
    registry::{
        Registry,
        records::{
            blob::{trash, trash_in, trash_key, trash_size},
            meta, tag,
        },
        revisions::Outcome,
    },
    store::{Batch, Key},
};

/// Files deleted at once.
const AT_ONCE: usize = 4;
/// How long bytes wait that could not be deleted, in seconds.
const POSTPONE: u64 = 3600;

/// A mark that is written only to be synced.
fn barrier() -> Key {
    meta(tag::SETTING).with_text("purged")
}

impl Registry {
    /// Removes the bytes whose time in the trash is over, at most `limit` entries of it after `after`. Says where it came
    /// to, if there may be more.
    pub(in crate::registry) async fn purge(
        &self,
        at: Timestamp,
        after: Option<&Key>,
        limit: usize,
        done: &mut Collected,
    ) -> Result<Option<Key>> {
        let page = self.meta.scan(&trash(), after, limit).await?;
        let full = page.len() >= limit;
        let due: Vec<_> = page
            .into_iter()
            .filter_map(|(key, value)| trash_in(&key).map(|(due, physical)| (due, physical, key, value)))
            .take_while(|(due, ..)| *due <= at)
            .collect();
        let Some((_, _, last, _)) = due.last() else { return Ok(None) };
        // After the entries were read, never before: see `backup`.
        if self.pinned(at).await? {
            return Ok(None);
        }
        let next = full.then(|| last.clone());
        // Reviews are not synced one by one. What they took from their records must be durable before bytes go, else a
        // power cut could bring back a record without bytes: a synced batch makes all that came before it durable.
        let mut batch = Batch::new();
        batch.put(barrier(), at.0.to_be_bytes().to_vec());
        self.commit_job(batch).await?;
        let each = due.into_iter().map(|(_, physical, key, value)| self.purge_one(at, physical, key, value));
        let mut outcomes = stream::iter(each).buffer_unordered(AT_ONCE);
        let mut failed = None;
        while let Some(outcome) = outcomes.next().await {
            match outcome {
                Ok(Some(size)) => {
                    done.deleted += 1;
                    done.freed_bytes += size;
                }
                Ok(None) => {}
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(next), Err)
    }

    /// Deletes one entry's bytes and says how many there were; `None` when another did so at the same moment.
    async fn purge_one(
        &self,
        at: Timestamp,
        physical: PhysicalKey,
        key: Key,
        value: Bytes,
    ) -> Result<Option<u64>> {
        // Bytes first, then the entry: a crash in between repeats the delete, which is harmless.
        let deleted = self.blobs.delete(physical).await;
        let mut batch = Batch::new();
        let size = trash_size(&value);
        if deleted.is_err() {
            batch.put(trash_key(at.plus_seconds(POSTPONE), physical), value.clone());
        }
        batch.expect_equals(key.clone(), Some(value));
        batch.delete(key);
        batch.lazy = true;
        let outcome = self.commit_job(batch).await?;
        deleted.map(|()| (outcome == Outcome::Done).then_some(size))
    }
}
