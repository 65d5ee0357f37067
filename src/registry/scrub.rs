//! Whether stored bytes are still what they were stored as.
//!
//! A round reads and hashes every blob, a little at a time (`round.rs`). One that is damaged goes into quarantine: its
//! bytes are never served again, HEAD says that it is not here, and whoever pushes it repairs it, for every package that
//! has it. One whose bytes are good again (a disk that came back) comes out by itself.
//!
//! The bytes are read with no better a right to the disk than any other reading: the class for idle input and output is a
//! system call that only unsafe code can make. What is read is dropped from the page cache before and after.

mod heal;
mod report;
mod round;
#[cfg(test)]
mod tests;
mod verified;

pub use report::{Quarantined, ScrubReport, ScrubSaid};
pub(crate) use round::Scrubbing;
pub use round::{Round, Scrubbed};
pub(crate) use verified::Verified;

use bytes::Bytes;

use super::{
    Registry,
    records::{BlobRecord, Damage, Location, Quarantine},
    revisions::Outcome,
};
use crate::{
    error::{Error, Kind, Result},
    model::{Digest, Hasher, Timestamp},
    store::{Batch, OpenBlob},
};

/// Bytes read at once.
const CHUNK: usize = 256 << 10;

impl Registry {
    /// What is wrong with a blob's bytes as they are stored now, if anything, and how many were hashed to find out.
    /// `deep`: not only whether they are there and how many, but each of them.
    ///
    /// # Errors
    /// When the store as a whole cannot be asked.
    pub(crate) async fn inspect(&self, blob: &BlobRecord, deep: bool) -> Result<(Option<Damage>, u64)> {
        let key = match blob.location {
            Location::Inline => {
                let bytes = self.meta.get(&BlobRecord::inline_key(&blob.digest)).await?;
                return Ok((inline_damage(blob, bytes.as_ref()), blob.size));
            }
            Location::Physical(key) => key,
        };
        match self.blobs.stat(key).await? {
            None => return Ok((Some(Damage::Missing), 0)),
            Some(file) if file.size != blob.size => return Ok((Some(Damage::Size), 0)),
            Some(_) if !deep => return Ok((None, 0)),
            Some(_) => {}
        }
        let open = match self.blobs.inspect(key).await {
            Ok(open) => open,
            Err(error) if matches!(error.kind(), Kind::NotFound(_)) => return Ok((Some(Damage::Missing), 0)),
            Err(error) if error.kind() == Kind::Internal => return unreadable(blob, &error),
            Err(error) => return Err(error),
        };
        match hash(open.as_ref(), Hasher::new(blob.digest.algorithm())).await {
            Ok((found, hashed)) if hashed != blob.size || found != blob.digest => {
                let damage = if hashed == blob.size { Damage::Altered } else { Damage::Size };
                Ok((Some(damage), hashed))
            }
            Ok((_, hashed)) => Ok((None, hashed)),
            Err(error) if error.kind() == Kind::Internal => unreadable(blob, &error),
            // Not the blob is at fault: no descriptors, no memory, a file system that is gone. It is looked at later.
            Err(error) => Err(error),
        }
    }
}

/// What became of a blob that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Its record says what is so.
    Same,
    /// It went into quarantine.
    Quarantined(Damage),
    /// It came out of it.
    Healed,
}

impl Registry {
    /// Writes down what was found out about a blob. A record that changed meanwhile is about other bytes, or none.
    pub(crate) async fn settle(
        &self,
        blob: &BlobRecord,
        damage: Option<Damage>,
        at: Timestamp,
    ) -> Result<Settled> {
        let (quarantine, settled) = match (damage, blob.quarantine) {
            (None, None) => return Ok(Settled::Same),
            (Some(damage), Some(known)) if damage == known.damage => return Ok(Settled::Same),
            (Some(damage), Some(known)) => (Some(Quarantine { damage, ..known }), Settled::Same),
            (Some(damage), None) => (Some(Quarantine { since: at, damage }), Settled::Quarantined(damage)),
            (None, Some(_)) => (None, Settled::Healed),
        };
        let mut batch = Batch::new();
        batch.replace(Some(blob), Some(&BlobRecord { quarantine, ..blob.clone() }));
        if self.commit_job(batch).await? == Outcome::Again {
            return Ok(Settled::Same);
        }
        match damage {
            Some(damage) => {
                let damage = damage.word();
                tracing::error!(digest = %blob.digest, damage, "a blob is damaged and is served no more; push it again");
            }
            None => tracing::info!(digest = %blob.digest, "a blob in quarantine is whole again"),
        }
        Ok(settled)
    }

    /// Looks at a blob once more that a reader found damaged, and writes down what is so. For whoever has nobody to tell.
    pub(crate) async fn suspect(&self, digest: Digest) {
        let looked = async {
            let Some(value) = self.meta.get(&BlobRecord::key_of(&digest)).await? else { return Ok(()) };
            let blob = BlobRecord::decode(digest, &value)?;
            let (damage, _) = self.inspect(&blob, true).await?;
            self.settle(&blob, damage, Timestamp::now()).await.map(|_| ())
        };
        let outcome: Result<()> = looked.await;
        if let Err(error) = outcome {
            tracing::warn!(%digest, %error, "a blob that was read damaged could not be looked at");
        }
    }
}

fn unreadable(blob: &BlobRecord, error: &Error) -> Result<(Option<Damage>, u64)> {
    tracing::error!(digest = %blob.digest, %error, "a blob cannot be read");
    Ok((Some(Damage::Unreadable), 0))
}

/// What is wrong with bytes that lie in metadata.
pub(crate) fn inline_damage(blob: &BlobRecord, bytes: Option<&Bytes>) -> Option<Damage> {
    match bytes {
        None => Some(Damage::Missing),
        Some(bytes) if bytes.len() as u64 != blob.size => Some(Damage::Size),
        Some(bytes) if Digest::of(blob.digest.algorithm(), bytes) != blob.digest => Some(Damage::Altered),
        Some(_) => None,
    }
}

/// The digest of all bytes of an open blob, and how many there are.
async fn hash(open: &dyn OpenBlob, mut hasher: Hasher) -> Result<(Digest, u64)> {
    let mut offset = 0;
    while offset < open.size() {
        let bytes = open.read(offset, CHUNK).await?;
        if bytes.is_empty() {
            break;
        }
        hasher.update(&bytes);
        offset += bytes.len() as u64;
        tokio::task::yield_now().await;
    }
    Ok((hasher.finish(), offset))
}
