//! One round over all blobs, a little at a time, going on where an earlier start of the daemon left it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::Settled;
use crate::{
    error::{Kind, Result},
    model::{Digest, Hasher, Timestamp},
    registry::{
        Registry,
        records::{BlobRecord, Location, from_json, meta, tag, to_json},
    },
    store::{Batch, Key, OpenBlob, Space},
};

/// Bytes read at once.
const CHUNK: usize = 256 << 10;
/// What a blob costs beside its bytes: a look at its record and its file.
const EACH: u64 = 4 << 10;
/// Blobs looked at in one step, at most.
const STEP: usize = 256;
/// Longest wait within a step.
const WAIT: Duration = Duration::from_secs(1);
/// How often the place is written down: what is read twice after a crash.
const SAVE: Duration = Duration::from_secs(10);

/// A round over all blobs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// When it began, in milliseconds since the epoch.
    pub began: u64,
    /// When it ended; 0 while it goes on.
    pub ended: u64,
    /// Blobs looked at.
    pub blobs: u64,
    /// Bytes hashed.
    pub bytes: u64,
    /// Blobs found damaged.
    pub damaged: u64,
    /// Blobs that were whole again.
    pub healed: u64,
}

impl Round {
    pub(super) fn count(&mut self, settled: Settled, bytes: u64) {
        self.blobs += 1;
        self.bytes += bytes;
        self.damaged += u64::from(matches!(settled, Settled::Quarantined(_)));
        self.healed += u64::from(settled == Settled::Healed);
    }
}

/// What is written down of scrubbing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scrubbed {
    /// The last blob that was looked at in the round under way.
    pub after: Option<String>,
    /// The round under way.
    pub round: Option<Round>,
    /// The last that came to its end.
    pub last: Option<Round>,
}

const VERSION: u8 = 1;

fn place() -> Key {
    meta(tag::SETTING).with_text("scrub")
}

/// Scrubbing's own state: nothing that would be missed after a restart.
#[derive(Default)]
pub(crate) struct Scrubbing {
    work: Mutex<Work>,
    pub(super) blobs: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) damaged: AtomicU64,
    pub(super) healed: AtomicU64,
    pub(super) quarantined: AtomicU64,
}

#[derive(Default)]
struct Work {
    scrubbed: Option<Scrubbed>,
    /// The blob being read, when it is too large for one step.
    open: Option<Reading>,
    /// Until when the set rate is used up.
    paid: Option<Instant>,
    saved: Option<Instant>,
}

struct Reading {
    blob: BlobRecord,
    open: Arc<dyn OpenBlob>,
    hasher: Hasher,
    offset: u64,
}

impl Scrubbing {
    pub(super) fn count(&self, settled: Settled, bytes: u64) {
        self.blobs.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
        self.damaged.fetch_add(u64::from(matches!(settled, Settled::Quarantined(_))), Relaxed);
        self.healed.fetch_add(u64::from(settled == Settled::Healed), Relaxed);
    }
}

impl Registry {
    /// What is written down of scrubbing.
    pub(crate) async fn scrubbed(&self) -> Result<Scrubbed> {
        let stored = self.meta.get(&place()).await?;
        Ok(stored.map(|bytes| from_json(VERSION, &bytes, "scrub")).transpose()?.unwrap_or_default())
    }

    /// Writes down a round that was made beside the one that goes on.
    pub(super) async fn scrubbed_at_once(&self, round: &Round) -> Result<()> {
        let mut work = self.scrubbing.work.lock().await;
        let mut scrubbed = match work.scrubbed.take() {
            Some(scrubbed) => scrubbed,
            None => self.scrubbed().await?,
        };
        scrubbed.last = Some(round.clone());
        self.save_scrubbed(&scrubbed).await?;
        work.scrubbed = Some(scrubbed);
        Ok(())
    }

    async fn save_scrubbed(&self, scrubbed: &Scrubbed) -> Result<()> {
        let mut batch = Batch::new();
        batch.put(place(), to_json(VERSION, scrubbed));
        // Lost in a power cut, some blobs are read twice.
        batch.lazy = true;
        self.commit_job(batch).await.map(|_| ())
    }

    /// One step of the job: as many bytes as the set rate allows for a moment. Says whether there is more to do soon.
    pub async fn scrub(&self, at: Timestamp) -> Result<bool> {
        self.count_quarantined().await?;
        let settings = self.settings();
        let mut work = self.scrubbing.work.lock().await;
        if settings.scrub_rate == 0 || settings.read_only {
            *work = Work::default();
            return Ok(false);
        }
        let mut scrubbed = match work.scrubbed.take() {
            Some(scrubbed) => scrubbed,
            None => self.scrubbed().await?,
        };
        if scrubbed.round.is_none() {
            let due =
                scrubbed.last.as_ref().map(|last| last.began.saturating_add(settings.scrub_every * 1000));
            if due.is_some_and(|due| due > at.0) {
                work.scrubbed = Some(scrubbed);
                return Ok(false);
            }
            scrubbed.round = Some(Round { began: at.0, ..Round::default() });
            scrubbed.after = None;
        }
        let outcome = self.scrub_some(&mut work, &mut scrubbed, at, settings.scrub_rate).await;
        let over = matches!(outcome, Ok(false));
        if over || work.saved.is_none_or(|saved| saved.elapsed() >= SAVE) {
            self.save_scrubbed(&scrubbed).await?;
            work.saved = Some(Instant::now());
        }
        work.scrubbed = Some(scrubbed);
        outcome
    }

    /// Goes on with a round. `false`: it came to its end.
    async fn scrub_some(
        &self,
        work: &mut Work,
        scrubbed: &mut Scrubbed,
        at: Timestamp,
        rate: u64,
    ) -> Result<bool> {
        // What the last step took beyond the rate is waited for first, in parts short enough for a daemon that stops.
        if let Some(wait) = work.paid.and_then(|paid| paid.checked_duration_since(Instant::now())) {
            tokio::time::sleep(wait.min(WAIT)).await;
            if wait > WAIT {
                return Ok(true);
            }
        }
        let most = (rate / 4).max(CHUNK as u64);
        let began = Instant::now();
        let mut spent = 0;
        let mut more = true;
        for _ in 0..STEP {
            let Some((settled, blob, bytes)) = self.scrub_next(work, scrubbed, at, most, &mut spent).await?
            else {
                more = work.open.is_some();
                break;
            };
            if let Some(round) = &mut scrubbed.round {
                round.count(settled, bytes);
            }
            scrubbed.after = Some(blob.digest.to_string());
            self.scrubbing.count(settled, bytes);
            spent += EACH;
            if spent >= most {
                break;
            }
        }
        let paid = Duration::from_secs_f64(spent as f64 / rate as f64);
        work.paid = Some(began + paid);
        if !more {
            scrubbed.last = scrubbed.round.take().map(|round| Round { ended: Timestamp::now().0, ..round });
            scrubbed.after = None;
        }
        Ok(more)
    }

    /// Looks at the next blob, or at a part of it, until `spent` reaches `most`. `None`: there is none, or it goes on with
    /// the next step. Else what became of it, and how many bytes it has.
    async fn scrub_next(
        &self,
        work: &mut Work,
        scrubbed: &Scrubbed,
        at: Timestamp,
        most: u64,
        spent: &mut u64,
    ) -> Result<Option<(Settled, BlobRecord, u64)>> {
        let mut reading = match work.open.take() {
            Some(reading) => reading,
            None => {
                let Some(blob) = self.blob_after(scrubbed.after.as_deref()).await? else { return Ok(None) };
                let (damage, hashed) = self.inspect(&blob, false).await?;
                let key = match (damage, blob.location) {
                    (None, Location::Physical(key)) => key,
                    // Inline bytes are hashed by any look at them.
                    _ => {
                        *spent += hashed;
                        return Ok(Some((self.settle(&blob, damage, at).await?, blob, hashed)));
                    }
                };
                let open = match self.blobs.inspect(key).await {
                    Ok(open) => open,
                    Err(_) => return self.look_again(blob, at).await.map(Some),
                };
                let hasher = Hasher::new(blob.digest.algorithm());
                Reading { blob, open, hasher, offset: 0 }
            }
        };
        while reading.offset < reading.blob.size {
            if *spent >= most {
                work.open = Some(reading);
                return Ok(None);
            }
            let bytes = match reading.open.read(reading.offset, CHUNK).await {
                Ok(bytes) if !bytes.is_empty() => bytes,
                Ok(_) | Err(_) => return self.look_again(reading.blob, at).await.map(Some),
            };
            reading.hasher.update(&bytes);
            reading.offset += bytes.len() as u64;
            *spent += bytes.len() as u64;
            tokio::task::yield_now().await;
        }
        let Reading { blob, hasher, offset, .. } = reading;
        if hasher.finish() != blob.digest || offset != blob.size {
            return self.look_again(blob, at).await.map(Some);
        }
        Ok(Some((self.settle(&blob, None, at).await?, blob, offset)))
    }

    /// A second look at what seems damaged, from the beginning: what a moment's failure spoiled is not damaged.
    async fn look_again(&self, blob: BlobRecord, at: Timestamp) -> Result<(Settled, BlobRecord, u64)> {
        let (damage, hashed) = self.inspect(&blob, true).await?;
        Ok((self.settle(&blob, damage, at).await?, blob, hashed))
    }

    /// The blob after one, by digest. A record that cannot be read is passed by: a check finds it.
    async fn blob_after(&self, after: Option<&str>) -> Result<Option<BlobRecord>> {
        let mut after = match after.map(Digest::parse) {
            Some(Ok(digest)) => Some(BlobRecord::key_of(&digest)),
            Some(Err(error)) if error.kind() == Kind::Internal => return Err(error),
            Some(Err(_)) | None => None,
        };
        loop {
            let page = self.meta.scan(&Key::new(Space::Blob, b'b'), after.as_ref(), 1).await?;
            let Some((key, value)) = page.into_iter().next() else { return Ok(None) };
            if let Some(blob) = decoded(&key, &value) {
                return Ok(Some(blob));
            }
            after = Some(key);
        }
    }
}

/// The blob of a stored record, if it can be read.
pub(super) fn decoded(key: &Key, value: &Bytes) -> Option<BlobRecord> {
    let (digest, _) = Digest::read_key(key.bytes.get(1..)?)?;
    BlobRecord::decode(digest, value).ok()
}
