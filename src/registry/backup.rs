//! A backup while everything goes on: the metadata of one moment first, then the blobs that this very copy names.
//!
//! Why it is whole: what was acknowledged before the backup began is in the metadata, and so in its copy. A blob that the
//! copy names was published before its record was written, and goes only by way of the trash: the batch that deletes the
//! record puts the bytes there, and [`Registry::purge`] removes them later. A pin holds the purge back. It is
//! written, synced, before the copy is made; and a purge looks for pins *after* it has read which entries it will remove.
//! So if it saw no pin, it read its entries before the pin was written, their records were gone by then, and the later
//! copy names none of them.
//!
//! A pin says when it ends and is renewed while blobs are taken. So one that a crash leaves behind holds nothing for
//! longer than an hour, and a backup that stands still for so long gives up rather than being one with holes.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    Registry, bootstrap,
    records::{
        BlobRecord, Location,
        pin::{pin_ends, pin_key, pin_value, pins},
    },
    uploads::failed,
};
use crate::{
    auth::{Grant, Operate},
    error::{Error, Kind, Result},
    model::{Digest, Timestamp, id},
    store::{
        Batch, CommitError, Key, Space,
        backup::{BackupFolder, Draft, Made, Notes},
    },
};

/// How long a pin holds without being renewed, in seconds.
const PIN: u64 = 3600;
/// How old a pin is when it is renewed.
const RENEW: Duration = Duration::from_secs(300);
/// Records read at once.
const PAGE: usize = 512;

/// Holds back the purge of the trash.
struct Pin {
    key: Key,
    ends: Timestamp,
    renewed: Instant,
}

/// What became of a backup.
#[derive(Debug)]
pub struct BackedUp {
    /// The backup.
    pub made: Made,
    /// Digests of blobs that are recorded and could not be read, the first few of them.
    pub absent: Vec<Digest>,
}

impl Registry {
    /// Makes a backup into a folder of backups. Says now and then how far it came.
    ///
    /// # Errors
    /// Invalid when the folder is none for it; unsupported when the metadata store is backed up by means of its own.
    pub async fn backup(&self, grant: &Grant<Operate>, into: PathBuf, notes: Notes<'_>) -> Result<BackedUp> {
        let installation = bootstrap::installation(self.meta.as_ref()).await?;
        let id = installation.ok_or_else(|| Error::internal("the store holds no installation"))?.id;
        let (at, owned) = (grant.at(), id.clone());
        let opened = blocking(move || {
            let folder = BackupFolder::open(&into, &owned)?;
            let draft = folder.begin(at, &owned)?;
            Ok((folder, draft))
        });
        // Held until the end: one backup at a time into one folder.
        let (folder, mut draft) = opened.await?;
        let mut pin = self.pin(self.now()).await?;
        let taken = self.take(&mut draft, &mut pin, notes).await;
        // Also when it failed. What cannot be removed ends by itself.
        let mut batch = Batch::new();
        batch.delete(pin.key.clone());
        let released = self.meta.commit(batch).await;
        let absent = taken?;
        released.map_err(failed)?;
        notes("making it durable");
        let made = blocking(move || draft.finish()).await?;
        drop(folder);
        Ok(BackedUp { made, absent })
    }

    /// Copies the metadata, then takes what the copy names.
    async fn take(&self, draft: &mut Draft, pin: &mut Pin, notes: Notes<'_>) -> Result<Vec<Digest>> {
        let copy = self.meta.backup(&draft.meta()).await?;
        let prefix = Key::new(Space::Blob, b'b');
        let mut absent = Vec::new();
        let mut after = None;
        let mut said = Instant::now();
        loop {
            let page = copy.scan(&prefix, after.as_ref(), PAGE).await?;
            for (key, value) in &page {
                let (digest, _) = Digest::read_key(&key.bytes[1..])
                    .ok_or_else(|| Error::internal("a blob's record has a key that is no digest"))?;
                let record = BlobRecord::decode(digest, value)?;
                let Location::Physical(physical) = record.location else { continue };
                self.renew(pin, self.now(), RENEW).await?;
                // Known to be damaged: its bytes are no use to whoever restores.
                if record.quarantine.is_some() {
                    draft.absent(physical, record.size, &digest)?;
                    note(&mut absent, digest);
                    continue;
                }
                match draft.blob(self.blobs.as_ref(), physical, record.size, &digest).await {
                    Ok(()) => {}
                    // Lost or cut short long before: no reason to leave the rest without a backup.
                    Err(error) if error.kind() == Kind::Internal => {
                        tracing::error!(%digest, %error, "a blob cannot be backed up");
                        draft.absent(physical, record.size, &digest)?;
                        note(&mut absent, digest);
                    }
                    Err(error) => return Err(error),
                }
                if said.elapsed() >= Duration::from_secs(2) {
                    said = Instant::now();
                    let totals = draft.totals();
                    notes(&format!("{} blobs, {} bytes", totals.blobs, totals.bytes));
                }
            }
            if page.len() < PAGE {
                // All of it was taken while the pin held; that it is there to be renewed proves it.
                self.renew(pin, self.now(), Duration::ZERO).await?;
                return Ok(absent);
            }
            after = page.last().map(|(key, _)| key.clone());
        }
    }

    /// Holds back the purge from now on; also removes pins that a crash left behind.
    async fn pin(&self, at: Timestamp) -> Result<Pin> {
        let ends = at.plus_seconds(PIN);
        let key = pin_key(id::random()?);
        let mut batch = Batch::new();
        for (old, value) in self.meta.scan(&pins(), None, 64).await? {
            if !holds(&value, at) {
                batch.delete(old);
            }
        }
        batch.put(key.clone(), pin_value(ends));
        // Synced: were it lost in a power cut, so would be the backup it is for.
        self.meta.commit(batch).await.map_err(failed)?;
        Ok(Pin { key, ends, renewed: Instant::now() })
    }

    /// Renews a pin that is as old as that.
    async fn renew(&self, pin: &mut Pin, at: Timestamp, age: Duration) -> Result<()> {
        if pin.renewed.elapsed() < age {
            return Ok(());
        }
        let lapsed = || {
            let text = "the backup stood still for an hour, and what it still had to take may be gone; begin it again";
            Error::new(Kind::Unavailable, text)
        };
        if pin.renewed.elapsed() >= Duration::from_secs(PIN) || pin.ends <= at {
            return Err(lapsed());
        }
        let ends = at.plus_seconds(PIN);
        let mut batch = Batch::new();
        batch.expect_equals(pin.key.clone(), Some(pin_value(pin.ends)));
        batch.put(pin.key.clone(), pin_value(ends));
        match self.meta.commit(batch).await {
            Ok(_) => {
                (pin.ends, pin.renewed) = (ends, Instant::now());
                Ok(())
            }
            Err(CommitError::Conflict(_)) => Err(lapsed()),
            Err(error) => Err(failed(error)),
        }
    }

    /// Whether a backup holds back the purge of the trash. To be asked after the entries to purge were read.
    pub(crate) async fn pinned(&self, at: Timestamp) -> Result<bool> {
        let pins = self.meta.scan(&pins(), None, 64).await?;
        Ok(pins.iter().any(|(_, value)| holds(value, at)))
    }
}

/// Keeps the first few.
fn note(absent: &mut Vec<Digest>, digest: Digest) {
    if absent.len() < 100 {
        absent.push(digest);
    }
}

/// Whether a pin with this value holds. One from a time to come was written under a clock that was wrong.
fn holds(value: &Bytes, at: Timestamp) -> bool {
    pin_ends(value).is_some_and(|ends| ends > at && ends <= at.plus_seconds(2 * PIN))
}

async fn blocking<T: Send + 'static>(job: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(job).await.map_err(Error::internal)?
}

#[cfg(test)]
mod tests;
