//! Blobs in quarantine whose file could not be had: looked at again, since a disk may come back long before the next round.

use crate::{
    error::{Kind, Result},
    model::{Digest, Timestamp},
    registry::{
        Registry,
        records::{BlobRecord, Damage},
        scrub::Settled,
    },
};

/// Entries read at once.
const PAGE: usize = 64;

impl Registry {
    /// Lifts the quarantine of blobs whose bytes were missing or could not be read and are good again; says of how many.
    /// Bytes that were read and were others do not become right by themselves, and wait for the round.
    pub async fn heal(&self, at: Timestamp) -> Result<usize> {
        let prefix = BlobRecord::quarantined();
        let (mut healed, mut after) = (0, None);
        loop {
            let page = self.meta.scan(&prefix, after.as_ref(), PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for (key, _) in &page {
                let digest = key.bytes.get(prefix.bytes.len()..).and_then(Digest::read_key);
                let Some((digest, _)) = digest else { continue };
                let Some(value) = self.meta.get(&BlobRecord::key_of(&digest)).await? else { continue };
                let blob = match BlobRecord::decode(digest, &value) {
                    // For a check to tell of.
                    Err(error) if error.kind() == Kind::Internal => continue,
                    decoded => decoded?,
                };
                let away = [Damage::Missing, Damage::Unreadable];
                if !blob.quarantine.is_some_and(|quarantine| away.contains(&quarantine.damage)) {
                    continue;
                }
                let (damage, bytes) = self.inspect(&blob, true).await?;
                let settled = self.settle(&blob, damage, at).await?;
                self.scrubbing.count(settled, bytes);
                healed += usize::from(settled == Settled::Healed);
            }
        }
        self.count_quarantined().await?;
        Ok(healed)
    }
}
