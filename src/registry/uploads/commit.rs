//! From a session to a blob.

use futures_util::StreamExt;

use super::{Receiver, failed, unknown_upload};
use crate::{
    auth::{Grant, Push},
    error::{Error, Kind, Result, What},
    model::{Digest, Hasher, PhysicalKey},
    registry::{
        holds::As,
        records::{
            BlobRecord, Held, Location, UploadRecord,
            blob::{trash_key, trash_value},
        },
        revisions,
    },
    store::{Batch, CommitError, Record},
};

/// Conflicts before giving up: each means that another client made progress on the same digest.
const ATTEMPTS: usize = 16;

/// Why a session did not become a blob.
enum Unfinished {
    /// Nothing was stored.
    Refused(Error),
    /// The engine failed while storing it, and nobody knows whether the batch is there. So its bytes must stay; if it is
    /// not there, they are an orphan, which a scrub finds.
    Unknown(Error),
}

impl From<Error> for Unfinished {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl Receiver {
    /// Makes the session's bytes, all synced, the blob `digest`. `stored` is the session's row, if it has one: after a
    /// failure the client may come back to it. Bytes that no row names go at once.
    pub(super) async fn finish(
        &self,
        grant: &Grant<Push>,
        stored: Option<&UploadRecord>,
        record: &UploadRecord,
        digest: Digest,
    ) -> Result<u64> {
        match self.try_finish(grant, stored, record, digest).await {
            Ok(size) => Ok(size),
            Err(Unfinished::Refused(error)) => {
                if stored.is_none() {
                    self.discard(record).await;
                }
                Err(error)
            }
            Err(Unfinished::Unknown(error)) => Err(error),
        }
    }

    async fn try_finish(
        &self,
        grant: &Grant<Push>,
        stored: Option<&UploadRecord>,
        record: &UploadRecord,
        digest: Digest,
    ) -> Result<u64, Unfinished> {
        let found = self.digest_of(record, digest).await;
        match found {
            Ok(found) if found == digest => {}
            // The bytes may be right; they could not be read now.
            Err(error) if error.is_fault() => return Err(error.into()),
            other => {
                if let Some(row) = stored {
                    self.drop_session(row).await?;
                }
                self.discard(record).await;
                let found = other?;
                let text = format!("the bytes have the digest {found}");
                return Err(Error::invalid(What::Digest, text).into());
            }
        }
        // The order of this is what 201 promises: the bytes were synced when they were received; now their name is made
        // durable; then one synced batch makes them a blob. A crash in between leaves bytes that nothing points at.
        let location = match record.held {
            Held::Row(_) => Location::Inline,
            Held::File(key) => {
                match self.publish(key, record).await {
                    // An earlier try could not make the name durable and gave the bytes up: the client sends them again.
                    Err(error) if let (Kind::Offset { .. }, Some(row)) = (error.kind(), stored) => {
                        self.restart(row).await?;
                        return Err(error.into());
                    }
                    other => other?,
                }
                Location::Physical(key)
            }
        };
        let blob = BlobRecord { digest, size: record.offset, location, created: self.at, quarantine: None };
        let mut rights = grant.revisions().to_vec();
        for _ in 0..ATTEMPTS {
            // Only what the engine says of the batch leaves it unknown: a read that fails before it stored nothing.
            let mut batch = self.prepare(stored, record, &blob).await?;
            revisions::expect(&mut batch, &rights);
            match self.registry.meta.commit(batch).await {
                Ok(_) => {
                    if let Some(row) = stored {
                        self.registry.sessions.closed_one(row.user);
                    }
                    return Ok(blob.size);
                }
                // Somebody's rights here changed. If not the caller's, the bytes need not be sent again.
                Err(CommitError::Conflict(key)) if revisions::is_revision(&key) => {
                    rights = self.registry.policy.renew(grant).await?;
                }
                Err(CommitError::Conflict(key)) if key == record.key() => return Err(unknown_upload().into()),
                Err(CommitError::Conflict(_)) => {}
                Err(CommitError::Failed(error)) => return Err(Unfinished::Unknown(error)),
                Err(error) => return Err(failed(error).into()),
            }
        }
        let text = "too many clients are writing this blob at once; try again";
        Err(Error::new(Kind::Unavailable, text).into())
    }

    /// Gives the session's bytes their lasting name. More of them lie there than the row says if an earlier request failed
    /// and could not take back what it had written: that is cut off first.
    async fn publish(&self, key: PhysicalKey, record: &UploadRecord) -> Result<()> {
        match self.registry.blobs.publish(key, record.offset).await {
            Err(error) if error.kind() == Kind::Internal => {}
            other => return other,
        }
        let hasher = Hasher::restore(&record.hash)
            .ok_or_else(|| Error::internal("the hash state of an upload was written by another version"))?;
        self.registry.blobs.write(key, record.offset, hasher).await?.sync().await?;
        self.registry.blobs.publish(key, record.offset).await
    }

    /// The batch that makes the session's bytes a blob.
    async fn prepare(
        &self,
        stored: Option<&UploadRecord>,
        record: &UploadRecord,
        blob: &BlobRecord,
    ) -> Result<Batch> {
        let mut batch = Batch::new();
        let existing = self.registry.meta.get(&blob.key()).await?;
        match existing.map(|value| BlobRecord::decode(blob.digest, &value)).transpose()? {
            // Somebody stored these bytes before. All flushes were done all the same, so that the time taken does not
            // tell a client what others have; the second copy goes to the trash in the same batch.
            Some(old) if !self.is_broken(&old).await => {
                batch.expect_equals(old.key(), Some(old.value()));
                if let Held::File(key) = record.held {
                    batch.put(trash_key(self.at, key), trash_value(record.offset));
                }
            }
            // A first copy, or one that is damaged: these bytes repair it, in every package that has it.
            old => {
                if let Some(old) = &old {
                    tracing::info!(digest = %old.digest, "a push repairs a damaged blob");
                }
                batch.replace(old.as_ref(), Some(blob));
                if let Held::Row(bytes) = &record.held {
                    batch.put(BlobRecord::inline_key(&blob.digest), bytes.clone());
                }
                if let Some(BlobRecord { location: Location::Physical(key), size, .. }) = old {
                    batch.put(trash_key(self.at, key), trash_value(size));
                }
            }
        }
        self.registry.lease(&mut batch, &self.package, &blob.digest, self.at).await?;
        self.registry.arrive(&mut batch, &self.package, &[(blob.digest, As::Blob)]).await?;
        if let Some(row) = stored {
            batch.replace(Some(row), None);
        }
        Ok(batch)
    }

    /// Whether a blob is in quarantine, or its bytes are absent, fewer than its record says, or cannot be asked for; altered
    /// ones are only seen by who reads them all.
    async fn is_broken(&self, blob: &BlobRecord) -> bool {
        if blob.quarantine.is_some() {
            return true;
        }
        match self.registry.inspect(blob, false).await {
            Ok((damage, _)) => damage.is_some(),
            Err(error) => {
                // In doubt the bytes that were just synced are the better ones: what is acknowledged can be read.
                tracing::warn!(digest = %blob.digest, %error, "a stored blob could not be looked at");
                true
            }
        }
    }

    /// The digest of the session's bytes in the algorithm of `wanted`. Computed while they arrived, except when a client
    /// that named no algorithm closes with another than SHA-256: then they are read once more.
    async fn digest_of(&self, record: &UploadRecord, wanted: Digest) -> Result<Digest> {
        let hasher = Hasher::restore(&record.hash)
            .ok_or_else(|| Error::internal("the hash state of an upload was written by another version"))?;
        if hasher.algorithm() == wanted.algorithm() {
            return Ok(hasher.finish());
        }
        if record.hinted {
            return Err(Error::invalid(What::Digest, "the session was opened for another digest algorithm"));
        }
        match &record.held {
            Held::Row(bytes) => Ok(Digest::of(wanted.algorithm(), bytes)),
            Held::File(key) => {
                // Under its lasting name, if an earlier try came that far.
                let blob = match self.registry.blobs.reread(*key, record.offset).await {
                    Err(error) if matches!(error.kind(), Kind::Offset { .. }) => {
                        self.registry.blobs.open(*key, record.offset).await?
                    }
                    other => other?,
                };
                let mut hasher = Hasher::new(wanted.algorithm());
                let mut stream = crate::store::BlobStream::of_blob(
                    blob,
                    0..record.offset,
                    std::sync::Arc::clone(&self.registry.buffers),
                );
                while let Some(bytes) = stream.next().await {
                    hasher.update(&bytes?);
                }
                Ok(hasher.finish())
            }
        }
    }
}
