//! Blobs as a package sees them: open, stat, mount, delete.

use bytes::Bytes;

use super::{
    ByteStream, Registry,
    holds::{As, Holding, expect_held, review},
    records::{
        BlobRecord, Hold, Location, Quarantine,
        blob::{edges_in, holds_of, lease_ends, lease_key, package_in},
    },
    revisions::{self, Outcome},
    scrub::{Verified, inline_damage},
    uploads::failed,
};
use crate::{
    auth::{Delete, Grant, PackageTarget, Pull, Push},
    error::{Error, Kind, Result, What},
    model::{Digest, PackageId, PackageName, Timestamp},
    store::{Batch, CommitError, OpenBlob, Prefix, Record},
};

/// A blob without its bytes.
#[derive(Debug, Clone, Copy)]
pub struct BlobHead {
    /// Its size in bytes.
    pub size: u64,
    /// Whether only a lease holds it that is more than half over: who may push asks [`Registry::keep_blob`].
    pub waning: bool,
}

/// A blob, open for reading.
#[derive(Clone)]
pub struct Blob {
    /// Its name.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    registry: Registry,
    source: Source,
}

#[derive(Clone)]
enum Source {
    Memory(Bytes),
    Store(std::sync::Arc<dyn OpenBlob>),
}

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Blob({}, {})", self.digest, self.size)
    }
}

impl Blob {
    /// Its bytes from `first` on, `length` of them, for a connection, which lets go of each chunk before it needs the next.
    /// The caller has checked that they lie in the blob.
    pub fn send(&self, first: u64, length: u64) -> ByteStream {
        self.bytes(first, length, true)
    }

    /// The same, for who may collect chunks.
    pub fn stream(&self, first: u64, length: u64) -> ByteStream {
        self.bytes(first, length, false)
    }

    fn bytes(&self, first: u64, length: u64, sent: bool) -> ByteStream {
        match &self.source {
            Source::Memory(bytes) => {
                let range = slice(bytes, first, length);
                Box::pin(futures_util::stream::once(async move { Ok(range) }))
            }
            Source::Store(blob) => {
                let stream = crate::store::BlobStream::of_blob(
                    std::sync::Arc::clone(blob),
                    first..first + length,
                    std::sync::Arc::clone(&self.registry.buffers),
                );
                if self.registry.settings().verify_reads && (first, length) == (0, self.size) {
                    return Box::pin(Verified::new(self.registry.clone(), stream, self.digest));
                }
                if sent { Box::pin(stream.as_taken()) } else { Box::pin(stream) }
            }
        }
    }

    /// The file that holds it, if the kernel may send it from there unread.
    pub fn file(&self) -> Option<std::sync::Arc<std::fs::File>> {
        match &self.source {
            Source::Store(blob) if !self.registry.settings().verify_reads => blob.file(),
            _ => None,
        }
    }

    /// The same bytes at once, if they are in memory.
    pub fn in_memory(&self, first: u64, length: u64) -> Option<Bytes> {
        match &self.source {
            Source::Memory(bytes) => Some(slice(bytes, first, length)),
            Source::Store(_) => None,
        }
    }
}

fn slice(bytes: &Bytes, first: u64, length: u64) -> Bytes {
    let first = usize::try_from(first).unwrap_or(usize::MAX).min(bytes.len());
    let last = first.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)).min(bytes.len());
    bytes.slice(first..last)
}

fn unknown_blob(digest: &Digest) -> Error {
    Error::not_found(What::Blob, format!("this repository holds no blob {digest}"))
}

impl Registry {
    /// Opens a blob of the grant's package.
    pub async fn blob(&self, grant: &Grant<Pull>, digest: &Digest) -> Result<Blob> {
        loop {
            let found = self.held_blob(grant.target(), digest, grant.at()).await?;
            let (record, _) = found.ok_or_else(|| unknown_blob(digest))?;
            match self.source(&record).await {
                Ok(source) => {
                    return Ok(Blob { digest: *digest, size: record.size, registry: self.clone(), source });
                }
                // Between the two reads its last hold may have ended and its bytes gone, or a push may have mended it:
                // then the record says so. Each further look is at another record.
                Err(error) => {
                    let now = self.meta.get(&record.key()).await?;
                    if now.is_some_and(|now| now == record.value()) {
                        return Err(error);
                    }
                }
            }
        }
    }

    async fn source(&self, record: &BlobRecord) -> Result<Source> {
        if let Some(Quarantine { damage, since }) = record.quarantine {
            // Never damaged bytes: who asks is told that something is wrong here, and the log says what.
            let text =
                format!("blob {} was found {} at {since} and is in quarantine", record.digest, damage.word());
            return Err(Error::internal(text));
        }
        Ok(match record.location {
            Location::Physical(key) => Source::Store(self.blobs.open(key, record.size).await?),
            Location::Inline => Source::Memory(self.inline(record).await?),
        })
    }

    async fn inline(&self, record: &BlobRecord) -> Result<Bytes> {
        let digest = &record.digest;
        if let Some(bytes) = self.hot.get(digest) {
            return Ok(bytes);
        }
        let stored = self.meta.get(&BlobRecord::inline_key(digest)).await?;
        // What is kept in memory by digest must be of that digest.
        let good = stored.filter(|bytes| inline_damage(record, Some(bytes)).is_none());
        let bytes = good.ok_or_else(|| {
            Error::internal(format!(
                "blob {digest} is recorded as inline, and its bytes are missing or altered"
            ))
        })?;
        self.hot.insert(digest, &bytes);
        Ok(bytes)
    }

    /// A blob without its bytes. Who only reads is promised nothing by it, and keeps nothing from being collected.
    pub async fn stat_blob(&self, grant: &Grant<Pull>, digest: &Digest) -> Result<BlobHead> {
        self.stat(grant.target(), digest, grant.at()).await.map(|(head, ..)| head)
    }

    async fn stat(
        &self,
        package: &PackageTarget,
        digest: &Digest,
        at: Timestamp,
    ) -> Result<(BlobHead, BlobRecord, Holding)> {
        let found = self.held_blob(package, digest, at).await?;
        // Of one in quarantine the client is to send the bytes again, which repairs it.
        let found = found.filter(|(record, _)| record.quarantine.is_none());
        let (record, holding) = found.ok_or_else(|| unknown_blob(digest))?;
        let half = Timestamp(at.0.saturating_add(self.settings().lease_ttl.saturating_mul(500)));
        let waning = match &holding {
            Holding::Lease(value) => lease_ends(value).is_some_and(|ends| ends < half),
            Holding::Edge => false,
        };
        Ok((BlobHead { size: record.size, waning }, record, holding))
    }

    /// The same for who may push. "It is here" is then a promise that it stays for the manifest to come: a lease that is
    /// more than half over is renewed, and the renewal synced, since the promise outlives the old end.
    pub async fn keep_blob(&self, grant: &Grant<Push>, digest: &Digest) -> Result<BlobHead> {
        // Each conflict: another request changed the lease or a review ended it. So it is not said to be here unseen.
        for _ in 0..16 {
            let (head, record, holding) = self.stat(grant.target(), digest, grant.at()).await?;
            let Holding::Lease(value) = holding else { return Ok(head) };
            if !head.waning {
                return Ok(head);
            }
            let mut batch = Batch::new();
            batch.expect_equals(lease_key(digest, grant.target().id), Some(value));
            batch.expect_equals(record.key(), Some(record.value()));
            self.lease(&mut batch, grant.target(), digest, grant.at()).await?;
            match self.meta.commit(batch).await {
                Ok(_) => return Ok(head),
                Err(CommitError::Conflict(_)) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Err(Error::new(Kind::Unavailable, "the blob is being changed by many clients at once; try again"))
    }

    /// Lets a package use a blob of another. `false` when the other does not hold it.
    pub async fn mount_blob(&self, into: &Grant<Push>, from: &Grant<Pull>, digest: &Digest) -> Result<bool> {
        let mut rights = [into.revisions(), from.revisions()].concat();
        for _ in 0..16 {
            let found = self.held_blob(from.target(), digest, from.at()).await?;
            // From a damaged one nothing is to be had; the client sends the bytes instead, which repairs it.
            let Some((record, holding)) = found.filter(|(record, _)| record.quarantine.is_none()) else {
                return Ok(false);
            };
            let mut batch = Batch::new();
            let value = record.value();
            batch.expect_equals(BlobRecord::key_of(digest), Some(value));
            expect_held(&mut batch, from.target(), digest, &holding);
            self.lease(&mut batch, into.target(), digest, into.at()).await?;
            self.arrive(&mut batch, into.target(), &[(*digest, As::Blob)]).await?;
            revisions::expect(&mut batch, &rights);
            match self.meta.commit(batch).await {
                Ok(_) => return Ok(true),
                Err(CommitError::Conflict(key)) if revisions::is_revision(&key) => {
                    rights = self.policy.renew(into).await?;
                    rights.extend(self.policy.renew(from).await?);
                }
                Err(CommitError::Conflict(_)) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        // A mount may always be declined; the client uploads instead.
        Ok(false)
    }

    /// Packages that hold a blob, for a mount that names no source: the owner's own first, 64 holds at most. Names only;
    /// whoever asks must be allowed to pull from one before it may be mounted, and must not be told of the others.
    pub async fn mount_sources(&self, into: &Grant<Push>, digest: &Digest) -> Result<Vec<PackageName>> {
        const PROBES: usize = 64;
        let own = holds_of(digest, Hold::Live).with(&into.target().owner.bytes());
        let mut found: Vec<PackageId> = Vec::new();
        for (prefix, hold) in [
            (own, Hold::Live),
            (holds_of(digest, Hold::Live), Hold::Live),
            (holds_of(digest, Hold::Lease), Hold::Lease),
        ] {
            for (key, _) in self.meta.scan(&prefix, None, PROBES).await? {
                if let Some(package) = package_in(&key, digest, hold)
                    && package != into.target().id
                    && !found.contains(&package)
                {
                    found.push(package);
                }
            }
        }
        found.truncate(PROBES);
        let mut names = Vec::new();
        for package in found {
            names.extend(self.package_name(package).await?);
        }
        Ok(names)
    }

    /// Takes a blob from a package. Its bytes go later, when nothing holds them.
    ///
    /// # Errors
    /// Unsupported, with the reason, while a manifest of the package names it.
    pub async fn delete_blob(&self, grant: &Grant<Delete>, digest: &Digest) -> Result<()> {
        let package: &PackageTarget = grant.target();
        let mut under = self.under(grant);
        loop {
            let value = match self.holding(package, digest, grant.at()).await? {
                None => return Err(unknown_blob(digest)),
                Some(Holding::Edge) => {
                    return Err(Error::new(
                        Kind::Unsupported,
                        "a manifest of this repository names this blob; delete the manifest first",
                    ));
                }
                Some(Holding::Lease(value)) => value,
            };
            let mut batch = Batch::new();
            batch.expect_equals(lease_key(digest, package.id), Some(value));
            let edges = edges_in(digest, Hold::Live, package.owner, package.id);
            batch.expect_prefix(edges, Prefix::Empty, BlobRecord::key_of(digest));
            batch.delete(lease_key(digest, package.id));
            review(&mut batch, digest, grant.at());
            // A conflict: somebody else deleted it, or it came into use. Look again.
            if under.commit(batch).await? == Outcome::Done {
                return Ok(());
            }
        }
    }
}
