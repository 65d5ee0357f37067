//! Bytes that no record points at any more. Their keys are never used again, so deleting one late, twice, or after a crash
//! in between hits nothing else.

use super::{Registry, uploads::failed};
use crate::{
    error::Result,
    model::{PhysicalKey, Timestamp},
    store::{Batch, Key, Space},
};

impl Registry {
    /// Removes the bytes whose time in the trash is over, at most `limit`; says how many.
    pub async fn purge_trash(&self, at: Timestamp, limit: usize) -> Result<usize> {
        let mut gone = 0;
        for (key, _) in self.meta.scan(&all(), None, limit).await? {
            let Some((due, physical)) = entry(&key) else { continue };
            if due > at {
                break;
            }
            // Bytes first, then the entry: a crash in between repeats the delete, which is harmless.
            self.blobs.delete(physical).await?;
            let mut batch = Batch::new();
            batch.delete(key);
            batch.lazy = true;
            self.meta.commit(batch).await.map_err(failed)?;
            gone += 1;
        }
        Ok(gone)
    }
}

/// All of the trash, in order of time.
pub(crate) fn all() -> Key {
    Key::new(Space::Queue, b't')
}

/// When bytes in the trash may go, and which.
pub(crate) fn entry(key: &Key) -> Option<(Timestamp, PhysicalKey)> {
    let (due, physical) = key.bytes.get(1..)?.split_at_checked(8)?;
    Some((Timestamp(u64::from_be_bytes(due.try_into().ok()?)), PhysicalKey(physical.try_into().ok()?)))
}
