//! What a package holds. An edge or a lease is the right to read a digest there; a digest by itself is the right to
//! nothing. Everything here answers for one package.

use std::collections::{BTreeMap, btree_map::Entry};

use bytes::Bytes;

use super::{
    Registry,
    manifests::WANTING,
    records::{
        BlobRecord, Hold, ManifestRecord, UploadRecord,
        blob::{
            edges_in, last_lease_key, lease_ends, lease_key, lease_value, review_key, wanted_in, wanting,
        },
    },
};
use crate::{
    auth::PackageTarget,
    error::{Error, Result, What},
    model::{Digest, PackageId, Timestamp},
    store::{Add, Batch, Key, Prefix},
};

/// As what a digest arrives in a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum As {
    /// Bytes that any manifest may name.
    Blob,
    /// A manifest, which an index may name.
    Manifest,
}

/// Most manifests that change in one batch because something they want arrives.
const ARRIVALS: usize = 1000;

/// How a package holds a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Holding {
    /// By a lease, stored with this value.
    Lease(Bytes),
    /// By an edge from one of its manifests.
    Edge,
}

impl Registry {
    /// Whether, and how, a package holds a blob.
    pub(crate) async fn holding(
        &self,
        package: &PackageTarget,
        digest: &Digest,
        at: Timestamp,
    ) -> Result<Option<Holding>> {
        if self.meta.any(&edges_in(digest, Hold::Live, package.owner, package.id)).await? {
            return Ok(Some(Holding::Edge));
        }
        let lease = self.meta.get(&lease_key(digest, package.id)).await?;
        Ok(lease.filter(|value| is_open(value, self.surely(at))).map(Holding::Lease))
    }

    /// A blob's record, if this package holds the blob.
    pub(crate) async fn held_blob(
        &self,
        package: &PackageTarget,
        digest: &Digest,
        at: Timestamp,
    ) -> Result<Option<(BlobRecord, Holding)>> {
        let Some(holding) = self.holding(package, digest, at).await? else { return Ok(None) };
        let Some(value) = self.meta.get(&BlobRecord::key_of(digest)).await? else { return Ok(None) };
        Ok(Some((BlobRecord::decode(*digest, &value)?, holding)))
    }

    /// Leases a digest to a package, in the batch that makes it present there; an entry of the review queue follows, for
    /// the case that no manifest ever names it. It counts from now on, when the batch is made, and not from when the request
    /// began, which may be long ago; and a lease that ends later than that stays: nobody's promise is cut short by another
    /// request. The batch expects the lease it found, so that two at once do not both count from the same.
    pub(crate) async fn lease(
        &self,
        batch: &mut Batch,
        package: &PackageTarget,
        digest: &Digest,
        at: Timestamp,
    ) -> Result<()> {
        let key = lease_key(digest, package.id);
        let known = self.meta.get(&key).await?;
        let ends = self.now().max(at).plus_seconds(self.settings().lease_ttl);
        let ends = known.as_ref().and_then(|value| lease_ends(value)).map_or(ends, |known| ends.max(known));
        batch.expect_equals(key.clone(), known);
        batch.put(key, lease_value(ends));
        // Never earlier than a lease given before, whatever the settings were then.
        let last = self.meta.get(&last_lease_key(package.id)).await?;
        let last = last.as_ref().and_then(|value| lease_ends(value)).map_or(ends, |last| ends.max(last));
        batch.put(last_lease_key(package.id), lease_value(last));
        batch.put(review_key(ends, digest), Bytes::new());
        Ok(())
    }

    /// Deletes packages that never got a manifest and whose last lease and sessions are over; says how many.
    pub async fn expire_unused(&self, at: Timestamp) -> Result<usize> {
        let before = Timestamp(at.0.saturating_sub(self.settings().lease_ttl.saturating_mul(1000)));
        self.expire_pending(before, at).await
    }

    /// Adds to a batch that deletes a pending package what must be true of it: no session, and no lease that holds. A
    /// lease given from here on changes the key that says when the last one ends, and makes the batch fail. `None`: a
    /// lease holds now.
    pub(crate) async fn expect_unused(
        &self,
        batch: &mut Batch,
        package: PackageId,
        at: Timestamp,
    ) -> Result<Option<()>> {
        let last = self.meta.get(&last_lease_key(package)).await?;
        if last.as_ref().is_some_and(|value| is_open(value, at)) {
            return Ok(None);
        }
        batch.expect_equals(last_lease_key(package), last);
        batch.delete(last_lease_key(package));
        let sessions = UploadRecord::of_package(package);
        batch.expect_prefix(sessions.clone(), Prefix::Empty, sessions);
        Ok(Some(()))
    }

    /// Expects, in a batch, that a package still does not hold a digest, and counts that one more manifest wants it there:
    /// `by`, unless it does already. `lease` is the lease that is over, if there is one.
    ///
    /// # Errors
    /// Invalid when too many want it: all of them change in the batch in which it arrives.
    pub(crate) async fn want(
        &self,
        batch: &mut Batch,
        package: &PackageTarget,
        by: &Digest,
        digest: &Digest,
        lease: Option<Bytes>,
    ) -> Result<()> {
        batch.expect_equals(lease_key(digest, package.id), lease);
        let edges = edges_in(digest, Hold::Live, package.owner, package.id);
        batch.expect_prefix(edges, Prefix::Empty, BlobRecord::key_of(digest));
        let wanted = wanted_in(package.id, digest);
        let mut own = wanted.clone();
        by.write_key(&mut own.bytes);
        if self.meta.get(&own).await?.is_some() {
            return Ok(());
        }
        if self.meta.scan(&wanted, None, WANTING).await?.len() >= WANTING {
            let text =
                format!("more than {WANTING} manifests here name one thing that is not here; push it first");
            return Err(Error::invalid(What::Manifest, text));
        }
        batch.adds.push(Add { key: wanting(package.id, digest), amount: 1, at_most: None });
        Ok(())
    }

    /// Turns the wanted keys of digests that arrive in a package into edges, in the batch in which they arrive. What wants
    /// several of them is rewritten once. A manifest is what indexes wait for: a layer of that digest stays wanted.
    ///
    /// # Errors
    /// Invalid when too many manifests would change in one batch; several digests arrive with a restore only.
    pub(crate) async fn arrive(
        &self,
        batch: &mut Batch,
        package: &PackageTarget,
        arrived: &[(Digest, As)],
    ) -> Result<()> {
        let counters: Vec<_> = arrived.iter().map(|(digest, _)| wanting(package.id, digest)).collect();
        let counted = self.meta.multi_get(&counters).await?;
        let mut changed: BTreeMap<Digest, (ManifestRecord, ManifestRecord)> = BTreeMap::new();
        for (((digest, how), counter), counted) in arrived.iter().zip(counters).zip(counted) {
            let was_wanted = counted.is_some();
            batch.expect_equals(counter, counted);
            if !was_wanted {
                continue;
            }
            for by in self.wanters(package.id, digest).await? {
                let (old, new) = match changed.entry(by) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(free) => {
                        let Some(old) = self.manifest_record(package.id, &by).await? else { continue };
                        free.insert((old.clone(), old))
                    }
                };
                for target in new.targets.iter_mut().filter(|target| target.digest == *digest) {
                    target.child = old.is_child(target);
                    target.present = *how == As::Blob || target.child;
                    target.manifest = *how == As::Manifest && target.child;
                }
            }
            if changed.len() > ARRIVALS {
                let text = format!(
                    "more than {ARRIVALS} manifests of this repository wait for what this one holds; \
                     push its blobs again first"
                );
                return Err(Error::invalid(What::Manifest, text));
            }
        }
        changed.values().for_each(|(old, new)| batch.replace(Some(old), Some(new)));
        Ok(())
    }

    /// The manifests of a package that want a digest: some hundred at most.
    async fn wanters(&self, package: PackageId, digest: &Digest) -> Result<Vec<Digest>> {
        let prefix = wanted_in(package, digest);
        let mut wanters = Vec::new();
        let mut after = None;
        loop {
            let page = self.meta.scan(&prefix, after.as_ref(), 256).await?;
            let read = |key: &Key| Digest::read_key(key.bytes.get(prefix.bytes.len()..)?).map(|(by, _)| by);
            wanters.extend(page.iter().filter_map(|(key, _)| read(key)));
            if page.len() < 256 {
                return Ok(wanters);
            }
            after = page.last().map(|(key, _)| key.clone());
        }
    }
}

/// Queues a look at a digest, in the batch that takes a hold from it: an edge, live or held, or a lease.
pub(crate) fn review(batch: &mut Batch, digest: &Digest, at: Timestamp) {
    batch.put(review_key(at, digest), Bytes::new());
}

/// Whether a lease's value is of a lease that still holds.
pub(crate) fn is_open(value: &[u8], at: Timestamp) -> bool {
    lease_ends(value).is_some_and(|ends| ends > at)
}

/// Expects, in a batch, that a package still holds a digest the way it was found to.
pub(crate) fn expect_held(batch: &mut Batch, package: &PackageTarget, digest: &Digest, holding: &Holding) {
    match holding {
        Holding::Lease(value) => batch.expect_equals(lease_key(digest, package.id), Some(value.clone())),
        Holding::Edge => batch.expect_prefix(
            edges_in(digest, Hold::Live, package.owner, package.id),
            Prefix::Some,
            BlobRecord::key_of(digest),
        ),
    }
}
