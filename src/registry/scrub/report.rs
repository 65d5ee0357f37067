//! What scrubbing found: for the operator, and for the metrics page.

use std::{sync::atomic::Ordering::Relaxed, time::Instant};

use tokio::sync::mpsc;

use super::{
    Scrubbed, Settled,
    round::{Round, decoded},
};
use crate::{
    auth::{Grant, Operate},
    error::{Error, Kind, Result},
    model::{Digest, Timestamp},
    registry::{
        Registry,
        records::{
            BlobRecord, Damage, Hold, Quarantine,
            blob::{holds_of, package_in},
        },
    },
    store::{Key, Space},
};

/// Most blobs in quarantine that a figure counts.
const COUNTED: usize = 1000;
/// Most packages that a report names for one blob.
const NAMED: usize = 8;
/// Keys read at once.
const PAGE: usize = 256;

/// A blob in quarantine.
#[derive(Debug, Clone)]
pub struct Quarantined {
    /// The blob.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// What was found, and when.
    pub quarantine: Quarantine,
    /// Some of the packages that have it.
    pub packages: Vec<String>,
}

/// What a round at once says while it runs.
#[derive(Debug)]
pub enum ScrubSaid {
    /// So many blobs and bytes are read.
    Progress(u64, u64),
    /// This one is damaged.
    Damaged(Digest, Damage),
}

/// How scrubbing stands.
#[derive(Debug, Clone)]
pub struct ScrubReport {
    /// Bytes per second it reads; 0 when it is off.
    pub rate: u64,
    /// The round under way and the last one.
    pub scrubbed: Scrubbed,
}

impl Registry {
    /// How scrubbing stands.
    pub async fn scrub_report(&self, _grant: &Grant<Operate>) -> Result<ScrubReport> {
        Ok(ScrubReport { rate: self.settings().scrub_rate, scrubbed: self.scrubbed().await? })
    }

    /// A page of the blobs in quarantine, those after one, at most `limit`.
    pub async fn quarantined(
        &self,
        _grant: &Grant<Operate>,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Vec<Quarantined>> {
        let index = BlobRecord::quarantined();
        let after = after.map(|digest| index.clone().with(&BlobRecord::key_of(digest).bytes[1..]));
        let mut found = Vec::new();
        for (key, _) in self.meta.scan(&index, after.as_ref(), limit).await? {
            let Some((digest, _)) = Digest::read_key(&key.bytes[1..]) else { continue };
            let Some(value) = self.meta.get(&BlobRecord::key_of(&digest)).await? else { continue };
            let BlobRecord { size, quarantine, .. } = BlobRecord::decode(digest, &value)?;
            // It may have been repaired since the index was read.
            let Some(quarantine) = quarantine else { continue };
            let packages = self.packages_with(&digest).await?;
            found.push(Quarantined { digest, size, quarantine, packages });
        }
        Ok(found)
    }

    async fn packages_with(&self, digest: &Digest) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for hold in [Hold::Live, Hold::Held, Hold::Lease] {
            for (key, _) in self.meta.scan(&holds_of(digest, hold), None, PAGE).await? {
                let Some(package) = package_in(&key, digest, hold) else { continue };
                let name = self.package_name(package).await?.map(|name| name.to_string());
                if let Some(name) = name.filter(|name| !names.contains(name)) {
                    names.push(name);
                }
                if names.len() == NAMED {
                    return Ok(names);
                }
            }
        }
        Ok(names)
    }

    /// A whole round now, as fast as the disk allows. What it finds it says to `say`.
    pub async fn scrub_now(&self, grant: &Grant<Operate>, say: mpsc::Sender<ScrubSaid>) -> Result<Round> {
        let gone = |_| Error::new(Kind::Unavailable, "nobody waits for the round any more");
        let mut round = Round { began: grant.at().0, ..Round::default() };
        let mut after: Option<Key> = None;
        let mut told = Instant::now();
        loop {
            let page = self.meta.scan(&Key::new(Space::Blob, b'b'), after.as_ref(), PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for blob in page.iter().filter_map(|(key, value)| decoded(key, value)) {
                let (damage, hashed) = self.inspect(&blob, true).await?;
                let settled = self.settle(&blob, damage, Timestamp::now()).await?;
                round.count(settled, hashed);
                self.scrubbing.count(settled, hashed);
                if let Settled::Quarantined(damage) = settled {
                    say.send(ScrubSaid::Damaged(blob.digest, damage)).await.map_err(gone)?;
                }
                if told.elapsed().as_secs() >= 1 {
                    told = Instant::now();
                    say.send(ScrubSaid::Progress(round.blobs, round.bytes)).await.map_err(gone)?;
                }
            }
        }
        round.ended = Timestamp::now().0;
        self.scrubbed_at_once(&round).await?;
        self.count_quarantined().await?;
        Ok(round)
    }

    pub(super) async fn count_quarantined(&self) -> Result<()> {
        let index = self.meta.scan(&BlobRecord::quarantined(), None, COUNTED).await?;
        self.scrubbing.quarantined.store(index.len() as u64, Relaxed);
        Ok(())
    }

    /// Figures for the metrics page: name, meaning, value.
    pub fn scrub_metrics(&self) -> [(&'static str, &'static str, u64); 7] {
        let (scrub, sweep) = (&self.scrubbing, &self.sweeping);
        let value = |counter: &std::sync::atomic::AtomicU64| counter.load(Relaxed);
        [
            ("scrub_blobs_total", "Blobs looked at by scrubbing.", value(&scrub.blobs)),
            ("scrub_bytes_total", "Bytes hashed by scrubbing.", value(&scrub.bytes)),
            ("scrub_damaged_total", "Blobs that scrubbing found damaged.", value(&scrub.damaged)),
            ("scrub_healed_total", "Blobs in quarantine found whole again.", value(&scrub.healed)),
            ("blobs_quarantined", "Blobs in quarantine, counted to 1000.", value(&scrub.quarantined)),
            ("orphan_files", "Files that nothing pointed at when it was last looked.", value(&sweep.waiting)),
            ("orphan_files_removed_total", "Files removed that nothing pointed at.", value(&sweep.removed)),
        ]
    }
}
