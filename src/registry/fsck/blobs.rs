//! Blobs and their bytes.

use bytes::Bytes;

use super::{Check, Code, Found, fields::Fields, shown};
use crate::{
    error::Result,
    model::{Digest, Timestamp},
    registry::records::{
        BlobRecord, Damage, Hold, Location, Quarantine,
        blob::{holds_of, lease_ends},
    },
    store::{Batch, Key, MetadataRead},
};

/// Whether anything holds a blob: an edge from a manifest that is live or can be restored, or a lease that is not over.
pub(super) async fn is_held(view: &dyn MetadataRead, digest: &Digest, at: Timestamp) -> Result<bool> {
    for hold in [Hold::Live, Hold::Held] {
        if view.any(&holds_of(digest, hold)).await? {
            return Ok(true);
        }
    }
    let leases = holds_of(digest, Hold::Lease);
    let mut after = None;
    loop {
        let page = view.scan(&leases, after.as_ref(), 256).await?;
        if page.iter().any(|(_, value)| lease_ends(value).is_some_and(|ends| ends > at)) {
            return Ok(true);
        }
        match page.last() {
            Some((key, _)) => after = Some(key.clone()),
            None => return Ok(false),
        }
    }
}

impl Check<'_> {
    pub(super) async fn blob(&mut self, key: &Key, value: &Bytes) -> Result<()> {
        let mut f = Fields(&key.bytes);
        let (Some(b'b'), Some(digest), Some(())) = (f.u8(), f.digest(), f.end()) else {
            self.unknown(key);
            return Ok(());
        };
        let Some(blob) = self.read(key, BlobRecord::decode(digest, value)) else { return Ok(()) };
        self.record(key, value, &blob, &format!("blob {digest}")).await?;
        self.unheld = !is_held(self.view, &digest, self.at).await?;
        let (damage, hashed) = self.registry.inspect(&blob, self.deep).await?;
        self.hashed += hashed;
        // What was looked at is outside of the view: it counts only if the record stood all the while. Records let go
        // of bytes before the bytes go.
        if self.registry.meta.get(key).await?.as_ref() != Some(value) {
            return Ok(());
        }
        self.verdict(&blob, damage);
        Ok(())
    }

    fn verdict(&mut self, blob: &BlobRecord, damage: Option<Damage>) {
        let object = format!("blob {}", blob.digest);
        let change = |quarantine| {
            let mut batch = Batch::new();
            batch.replace(Some(blob), Some(&BlobRecord { quarantine, ..blob.clone() }));
            batch
        };
        match (damage, blob.quarantine) {
            (None, None) => {}
            (Some(damage), None) => {
                let (code, text) = words(damage);
                let batch = change(Some(Quarantine { since: self.at, damage }));
                let text = format!("{text}; in quarantine it is not served, and a push of it repairs it");
                self.add(Found::new(code, object, text).mended_by(batch));
            }
            (None, Some(quarantine)) if self.deep => {
                let text = format!(
                    "found {} at {}; now its bytes are whole",
                    quarantine.damage.word(),
                    quarantine.since
                );
                self.add(Found::new(Code::BlobQuarantined, object, text).mended_by(change(None)));
            }
            (_, Some(quarantine)) => {
                let text = format!(
                    "found {} at {}; a push of it repairs it",
                    quarantine.damage.word(),
                    quarantine.since
                );
                self.find(Code::BlobQuarantined, object, text);
            }
        }
    }

    pub(super) async fn inline(&mut self, key: &Key, _: &Bytes) -> Result<()> {
        let mut f = Fields(&key.bytes);
        let (Some(b'i'), Some(digest), Some(())) = (f.u8(), f.digest(), f.end()) else {
            self.unknown(key);
            return Ok(());
        };
        let of = match self.view.get(&BlobRecord::key_of(&digest)).await? {
            None => None,
            Some(value) => match BlobRecord::decode(digest, &value) {
                Ok(blob) => Some(blob),
                // The record is a finding of its own.
                Err(_) => return Ok(()),
            },
        };
        if of.is_none_or(|blob| blob.location != Location::Inline) {
            self.find(Code::InlineStray, shown(key), format!("{digest} is no blob that lies here"));
        }
        Ok(())
    }
}

fn words(damage: Damage) -> (Code, &'static str) {
    match damage {
        Damage::Missing => (Code::BlobMissing, "its bytes are not there"),
        Damage::Size => (Code::BlobSize, "its bytes are fewer or more than recorded"),
        Damage::Altered => (Code::BlobAltered, "its bytes do not have its digest"),
        Damage::Unreadable => (Code::BlobUnreadable, "the disk does not give its bytes"),
    }
}
