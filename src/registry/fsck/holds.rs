//! Edges, leases, wanted keys: the refs space.

use bytes::Bytes;

use super::{Check, Code, Found, fields::Fields, only_if, shown};
use crate::{
    error::Result,
    model::{Digest, PackageId, Timestamp},
    registry::records::{
        BlobRecord, Hold, ManifestRecord, UploadRecord,
        blob::{
            edges_in, last_lease_key, lease_ends, lease_key, lease_value, review_key, wanted_in, wanting,
        },
    },
    store::{Batch, Key, Record, counter},
};

/// Most wanted keys of one digest in one package that are counted.
const COUNTED: usize = 1000;

impl Check<'_> {
    pub(super) async fn refs(&mut self, key: &Key, value: &Bytes) -> Result<()> {
        let mut f = Fields(&key.bytes);
        let known = match f.u8() {
            Some(b'r') => self.hold(key, value, f).await?,
            Some(b'l') => match (f.package(), f.end()) {
                (Some(_), Some(())) => {
                    self.counter(key, value);
                    Some(())
                }
                _ => None,
            },
            Some(b'u') => match (f.package(), f.upload(), f.end()) {
                (Some(_), Some(id), Some(())) => {
                    let decode = |bytes: &[u8]| UploadRecord::decode(id, bytes);
                    self.entry(key, value, UploadRecord::key_of(id), decode).await?;
                    Some(())
                }
                _ => None,
            },
            Some(b'w') => match (f.package(), f.digest(), f.digest(), f.end()) {
                (Some(package), Some(target), Some(by), Some(())) => {
                    self.wanted(key, value, package, &target, &by).await?;
                    Some(())
                }
                _ => None,
            },
            Some(b'W') => match (f.package(), f.digest(), f.end()) {
                (Some(package), Some(target), Some(())) => {
                    self.wanting(key, value, package, &target).await?;
                    Some(())
                }
                _ => None,
            },
            _ => None,
        };
        if known.is_none() {
            self.unknown(key);
        }
        Ok(())
    }

    async fn hold(&mut self, key: &Key, value: &Bytes, mut f: Fields<'_>) -> Result<Option<()>> {
        let (Some(digest), Some(hold)) = (f.digest(), f.u8()) else { return Ok(None) };
        if hold == Hold::Lease as u8 {
            return match (f.package(), f.end()) {
                (Some(package), Some(())) => self.lease(key, value, &digest, package).await.map(Some),
                _ => Ok(None),
            };
        }
        let holds = [Hold::Live, Hold::Held, Hold::Child, Hold::HeldChild];
        let Some(hold) = holds.into_iter().find(|known| *known as u8 == hold) else { return Ok(None) };
        match (f.owner(), f.package(), f.digest(), f.end()) {
            (Some(_), Some(package), Some(by), Some(())) => {
                self.edge(key, value, &digest, hold, package, &by).await.map(Some)
            }
            _ => Ok(None),
        }
    }

    async fn lease(&mut self, key: &Key, value: &Bytes, digest: &Digest, package: PackageId) -> Result<()> {
        let Some(ends) = lease_ends(value) else {
            self.find(Code::ValueBroken, shown(key), "a lease is to say when it ends");
            return Ok(());
        };
        // One that is over holds nothing and promises nothing; it goes with the blob's next review.
        if ends <= self.at {
            return Ok(());
        }
        let object = format!("lease of {} on {digest}", self.place(package).await);
        let blob = BlobRecord::key_of(digest);
        let text = if self.view.get(&blob).await?.is_none() {
            "there is no such blob"
        } else if !self.package_exists(package).await? {
            "there is no such package"
        } else {
            return Ok(());
        };
        let mut batch = only_if(key, Some(value));
        batch.delete(key.clone());
        batch.put(review_key(self.at, digest), Bytes::new());
        self.add(Found::new(Code::LeaseDangling, object, text).mended_by(batch));
        Ok(())
    }

    async fn edge(
        &mut self,
        key: &Key,
        value: &Bytes,
        digest: &Digest,
        hold: Hold,
        package: PackageId,
        by: &Digest,
    ) -> Result<()> {
        let at = ManifestRecord::key_of(package, by);
        let stored = self.view.get(&at).await?;
        let Some(record) = &stored else {
            return self
                .stray(key, value, digest, hold, package, by, None, "there is no manifest that has it")
                .await;
        };
        // A manifest that cannot be read is a finding of its own, and must not lose what it holds.
        let Ok(manifest) = ManifestRecord::decode(package, *by, record) else { return Ok(()) };
        if !manifest.index().contains(key) {
            let text = "its manifest says otherwise";
            return self.stray(key, value, digest, hold, package, by, stored, text).await;
        }
        let child = matches!(hold, Hold::Child | Hold::HeldChild);
        // A child held as a blob need not be a manifest too.
        if child && manifest.targets.iter().any(|target| target.digest == *digest && !target.manifest) {
            return Ok(());
        }
        let target = if child { ManifestRecord::key_of(package, digest) } else { BlobRecord::key_of(digest) };
        let place = self.place(package).await;
        match self.view.get(&target).await? {
            // A package on its way out for good goes piece by piece, and nobody can reach it.
            None if child && self.is_purging(package).await? => {}
            None => {
                let what = if child { "manifest" } else { "blob" };
                let text = format!("it names the {what} {digest}, which is not there");
                self.find(Code::EdgeDangling, format!("manifest {place}@{by}"), text);
            }
            Some(bytes) if hold == Hold::Child => {
                let deleted = ManifestRecord::decode(package, *digest, &bytes)
                    .is_ok_and(|child| child.deleted.is_some());
                if deleted {
                    let text = format!("it names the manifest {digest}, which was deleted");
                    self.find(Code::EdgeDangling, format!("manifest {place}@{by}"), text);
                }
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// An edge that no manifest has. If the manifest's bytes are there its record was lost, and with the edge the last
    /// that keeps its blobs would go: then it stays. Otherwise it goes as it does when a manifest is deleted: its blob is
    /// leased to the package, and looked at when that lease ends, so that there is time to find out what was lost.
    #[expect(clippy::too_many_arguments, reason = "the parts of one key")]
    async fn stray(
        &mut self,
        key: &Key,
        value: &Bytes,
        digest: &Digest,
        hold: Hold,
        package: PackageId,
        by: &Digest,
        stored: Option<Bytes>,
        why: &str,
    ) -> Result<()> {
        let object = format!("edge of {}@{by} to {digest}", self.place(package).await);
        let found = Found::new(Code::IndexStray, object, why);
        let body = ManifestRecord::body_key(package, by);
        if stored.is_none() && self.view.any(&body).await? {
            self.add(found);
            return Ok(());
        }
        let mut batch = only_if(key, Some(value));
        let lost = stored.is_none();
        batch.expect_equals(ManifestRecord::key_of(package, by), stored);
        if lost {
            batch.expect_absent(body);
        }
        batch.delete(key.clone());
        if matches!(hold, Hold::Live | Hold::Held) {
            self.let_go(&mut batch, digest, package).await?;
        } else {
            // That of a child was no right to a blob, and a lease is one.
            batch.put(review_key(self.at, digest), Bytes::new());
        }
        self.add(found.mended_by(batch));
        Ok(())
    }

    /// Leases a blob whose edge goes, as [`Registry::lease`] does; to nobody if its package is gone.
    ///
    /// [`Registry::lease`]: crate::registry::Registry::lease
    async fn let_go(&self, batch: &mut Batch, digest: &Digest, package: PackageId) -> Result<()> {
        let mut ends = self.at.plus_seconds(self.registry.settings().lease_ttl);
        let there = self.view.get(&BlobRecord::key_of(digest)).await?.is_some();
        if there && self.package_exists(package).await? {
            let longest = async |batch: &mut Batch, key: Key, ends: Timestamp| -> Result<Timestamp> {
                let known = self.view.get(&key).await?;
                let until = known.as_ref().and_then(|value| lease_ends(value));
                let ends = until.map_or(ends, |until| ends.max(until));
                batch.expect_equals(key.clone(), known);
                batch.put(key, lease_value(ends));
                Ok(ends)
            };
            ends = longest(batch, lease_key(digest, package), ends).await?;
            longest(batch, last_lease_key(package), ends).await?;
        }
        batch.put(review_key(ends, digest), Bytes::new());
        Ok(())
    }

    async fn wanted(
        &mut self,
        key: &Key,
        value: &Bytes,
        package: PackageId,
        target: &Digest,
        by: &Digest,
    ) -> Result<()> {
        let at = ManifestRecord::key_of(package, by);
        self.entry(key, value, at, |bytes| ManifestRecord::decode(package, *by, bytes)).await?;
        let object = format!("manifest {}@{by}", self.place(package).await);
        let count = wanting(package, target);
        let counted = self.view.get(&count).await?;
        if counter(counted.as_ref()) < 1 {
            let mut batch = only_if(&count, counted.as_ref());
            batch.put(count, Bytes::copy_from_slice(&1i64.to_be_bytes()));
            let text = format!("it wants {target}, and nothing is counted as wanting it");
            self.add(Found::new(Code::CounterLow, &*object, text).mended_by(batch));
        }
        if self.holds(package, target).await? {
            self.find(Code::WantedHeld, object, format!("it wants {target}, which its package holds"));
        }
        Ok(())
    }

    /// Whether a package holds a blob.
    async fn holds(&self, package: PackageId, digest: &Digest) -> Result<bool> {
        if self.view.get(&BlobRecord::key_of(digest)).await?.is_none() {
            return Ok(false);
        }
        let lease = self.view.get(&lease_key(digest, package)).await?;
        if lease.is_some_and(|value| lease_ends(&value).is_some_and(|ends| ends > self.at)) {
            return Ok(true);
        }
        let Ok(Some(record)) = crate::registry::packages::by_id(self.view, package).await else {
            return Ok(false);
        };
        self.view.any(&edges_in(digest, Hold::Live, record.owner, package)).await
    }

    async fn wanting(&mut self, key: &Key, value: &Bytes, package: PackageId, target: &Digest) -> Result<()> {
        let counted = self.counter(key, value);
        let wanted = self.view.scan(&wanted_in(package, target), None, COUNTED).await?.len();
        if counted < i64::try_from(wanted).unwrap_or(i64::MAX) {
            let mut batch = only_if(key, Some(value));
            batch.put(key.clone(), Bytes::copy_from_slice(&(wanted as i64).to_be_bytes()));
            let text = format!("{wanted} manifests want {target}, and {counted} are counted");
            self.add(Found::new(Code::CounterLow, shown(key), text).mended_by(batch));
        }
        Ok(())
    }
}
