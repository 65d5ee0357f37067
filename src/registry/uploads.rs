//! Uploads: begin, append, finish, cancel, expire. Bytes first, then one batch.
//!
//! A session's row claims only bytes that are synced; the row itself need not be, since losing it loses nothing that was
//! acknowledged as stored. A body is received by a task of its own, so that a client that goes away leaves a row that
//! tells the truth about what arrived.

mod commit;
mod receive;
mod sessions;

pub(crate) use sessions::Sessions;

use std::collections::BTreeSet;

use receive::Received;

use super::{
    ByteStream, Registry,
    records::{Held, UploadRecord},
    revisions::Outcome,
};
use crate::{
    auth::{Actor, Grant, Push},
    error::{Error, Kind, Result, What},
    model::{Algorithm, Digest, Hasher, OwnerId, PhysicalKey, Timestamp, UploadId},
    store::{Batch, CommitError, Record},
};

/// Largest blob that is kept in metadata: one flush instead of three.
pub const INLINE_MAX: u64 = 16 << 10;

/// Bytes to be added to a session.
pub struct Chunk {
    /// Where they belong, if the client said so.
    pub at: Option<u64>,
    /// How many there are, if the client said so.
    pub length: Option<u64>,
    /// The bytes.
    pub bytes: ByteStream,
}

impl std::fmt::Debug for Chunk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Chunk({:?}, {:?})", self.at, self.length)
    }
}

/// What a task that receives a body needs of a grant, which cannot move into it.
#[derive(Clone)]
struct Receiver {
    registry: Registry,
    package: crate::auth::PackageTarget,
    user: OwnerId,
    at: Timestamp,
}

fn unknown_upload() -> Error {
    Error::not_found(
        What::Upload,
        "there is no such upload session here: it was finished, cancelled or has expired",
    )
}

impl Registry {
    fn receiver(&self, grant: &Grant<Push>) -> Receiver {
        Receiver {
            registry: self.clone(),
            package: grant.target().clone(),
            // The operator and jobs have no account; they share one number that no account has.
            // A workflow's are counted for its repository: ids are random, so it meets no user's.
            user: match grant.caller().actor {
                Actor::User(user) => user,
                Actor::Repository(repository) => OwnerId(repository.0),
                Actor::Anonymous | Actor::Operator | Actor::Job(_) => OwnerId(0),
            },
            at: grant.at(),
        }
    }

    /// Refuses an upload while the disk is below its reserve, so that metadata never meets a full disk.
    pub(crate) fn check_space(&self) -> Result<()> {
        if self.blobs.space()? < self.settings().space_reserve {
            return Err(Error::new(Kind::NoSpace, "the registry is low on disk space and takes no uploads"));
        }
        Ok(())
    }

    /// Opens a session. The algorithm, if named, is the one it must be closed with.
    ///
    /// # Errors
    /// Too many when the caller has as many open sessions as allowed; no space below the reserve.
    pub async fn begin_upload(&self, grant: &Grant<Push>, algorithm: Option<Algorithm>) -> Result<UploadId> {
        self.check_space()?;
        let receiver = self.receiver(grant);
        let most = usize::try_from(self.settings().max_sessions).unwrap_or(usize::MAX);
        let record = receiver.fresh(algorithm)?;
        if !self.sessions.open_one(receiver.user, most) {
            // Only now are they looked at one by one: the engine walks over all that ended lately, too.
            let open = self.meta.scan(&UploadRecord::of_user(receiver.user), None, most).await?;
            self.sessions.counted(receiver.user, open.len());
            if !self.sessions.open_one(receiver.user, most) {
                return Err(Error::new(
                    Kind::TooMany { retry_after: 60 },
                    format!("you have {most} upload sessions open; finish or cancel some"),
                ));
            }
        }
        // Under the grant, for the package may be gone by now: nothing would end a session of one that is.
        let mut under = self.under(grant);
        loop {
            let mut batch = Batch::new();
            batch.replace(None, Some(&record));
            // Losing this row in a power cut costs the client one retry of an empty session.
            batch.lazy = true;
            match under.commit(batch).await {
                Ok(Outcome::Done) => return Ok(record.id),
                Ok(Outcome::Again) => {}
                Err(error) => {
                    self.sessions.closed_one(receiver.user);
                    return Err(error);
                }
            }
        }
    }

    /// How many bytes a session holds.
    pub async fn upload_offset(&self, grant: &Grant<Push>, id: UploadId) -> Result<u64> {
        let receiver = self.receiver(grant);
        let row = receiver.row(id).await?;
        if row.start == self.start {
            return Ok(row.offset);
        }
        // A session of an earlier start is looked after first, which writes: never beside a request that works on it.
        detached(async move {
            let _claim = receiver.registry.sessions.claim(id).await?;
            Ok(receiver.load(id).await?.offset)
        })
        .await
    }

    /// Adds bytes to a session; says how many it holds then.
    ///
    /// # Errors
    /// [`Kind::Offset`] when they do not begin where the session ends; the session is unchanged.
    pub async fn append(&self, grant: &Grant<Push>, id: UploadId, chunk: Chunk) -> Result<u64> {
        let receiver = self.receiver(grant);
        detached(async move {
            let _claim = receiver.registry.sessions.claim(id).await?;
            receiver.registry.check_space()?;
            let row = receiver.load(id).await?;
            let Received { row, new, outcome } = receiver.receive(row, true, chunk).await?;
            receiver.save(&row, new).await?;
            outcome
        })
        .await
    }

    /// Adds the last bytes, if any, to a session and makes it a blob; says its size.
    ///
    /// # Errors
    /// [`What::Digest`] invalid when the bytes are not what the digest says; the session and its bytes are gone then.
    pub async fn finish_upload(
        &self,
        grant: Grant<Push>,
        id: UploadId,
        chunk: Option<Chunk>,
        digest: Digest,
    ) -> Result<u64> {
        let receiver = self.receiver(&grant);
        detached(async move {
            let _claim = receiver.registry.sessions.claim(id).await?;
            let mut row = receiver.load(id).await?;
            let mut new = row.clone();
            if let Some(chunk) = chunk {
                receiver.registry.check_space()?;
                let received = receiver.receive(row, true, chunk).await?;
                (row, new) = (received.row, received.new);
                if let Err(error) = received.outcome {
                    receiver.save(&row, new).await?;
                    return Err(error);
                }
            }
            match receiver.finish(&grant, Some(&row), &new, digest).await {
                // The decision is to be taken again: recorded like this, it can be without the bytes.
                Err(error) if error.kind() == Kind::StaleGrant => {
                    receiver.save(&row, new).await?;
                    Err(error)
                }
                other => other,
            }
        })
        .await
    }

    /// Uploads a whole blob in one request, without a session that others could see.
    pub async fn put_blob(&self, grant: Grant<Push>, chunk: Chunk, digest: Digest) -> Result<u64> {
        self.check_space()?;
        let receiver = self.receiver(&grant);
        detached(async move {
            let fresh = receiver.fresh(Some(digest.algorithm()))?;
            let Received { new, outcome, .. } = receiver.receive(fresh, false, chunk).await?;
            if let Err(error) = outcome {
                receiver.discard(&new).await;
                return Err(error);
            }
            receiver.finish(&grant, None, &new, digest).await
        })
        .await
    }

    /// Gives a session up.
    pub async fn cancel_upload(&self, grant: &Grant<Push>, id: UploadId) -> Result<()> {
        let receiver = self.receiver(grant);
        // The row first, then the bytes: whoever stops in between leaves bytes that no row names.
        detached(async move {
            let _claim = receiver.registry.sessions.claim(id).await?;
            let old = receiver.load(id).await?;
            receiver.drop_session(&old).await
        })
        .await
    }

    /// Gives up the sessions that expired before `at`, at most `limit`; says how many there were.
    pub async fn expire_uploads(&self, at: Timestamp, limit: usize) -> Result<usize> {
        let due = self.meta.scan(&UploadRecord::by_expiry(), None, limit).await?;
        let mut gone = 0;
        for (key, _) in due {
            let Some((expires, id)) = UploadRecord::expiring_in(&key) else { continue };
            if expires > at {
                break;
            }
            let Ok(_claim) = self.sessions.claim(id).await else { continue };
            let Some(value) = self.meta.get(&UploadRecord::key_of(id)).await? else { continue };
            let record = match UploadRecord::decode(id, &value) {
                Ok(record) => record,
                Err(error) => {
                    tracing::error!(upload = %id, %error, "an upload session cannot be read, and stays");
                    continue;
                }
            };
            if record.expires > at {
                continue;
            }
            let mut batch = Batch::new();
            batch.replace(Some(&record), None);
            self.meta.commit(batch).await.map_err(failed)?;
            self.sessions.closed_one(record.user);
            self.discard_held(&record).await;
            gone += 1;
        }
        Ok(gone)
    }

    /// How many of a session's bytes are in its file, for a check; `None` while a request is at work on it or has changed
    /// it. A file that got its lasting name counts too: its commit failed, and the next request begins again.
    pub(crate) async fn upload_holds(&self, key: PhysicalKey, record: &UploadRecord) -> Result<Option<u64>> {
        let Some(_claim) = self.sessions.try_claim(record.id) else { return Ok(None) };
        let stored = self.meta.get(&UploadRecord::key_of(record.id)).await?;
        if stored.as_ref() != Some(&record.value()) {
            return Ok(None);
        }
        match self.blobs.reread(key, record.offset).await {
            Ok(_) => Ok(Some(record.offset)),
            Err(error) => match error.kind() {
                Kind::Offset { stored } => {
                    let published = self.blobs.stat(key).await?.map_or(0, |file| file.size);
                    Ok(Some(stored.max(published)))
                }
                _ => Err(error),
            },
        }
    }

    /// Removes the bytes of a session whose row is gone and that became no blob. They may have their lasting name: a
    /// commit that was refused comes after it. A failure leaves garbage that a later sweep finds; it is logged.
    async fn discard_held(&self, record: &UploadRecord) {
        let Held::File(key) = record.held else { return };
        let gone = self.blobs.discard(key).await;
        if let Err(error) = gone.and(self.blobs.delete(key).await) {
            tracing::warn!(upload = %record.id, %error, "the bytes of a dropped upload stay behind");
        }
    }

    /// Discards what an earlier process received and no session names: of uploads in one request that were cut off, of
    /// commits that failed. Says how many there were.
    pub async fn sweep_uploads(&self) -> Result<usize> {
        // Uploads begun since the start are not among them, so nothing here can be in use. A session that names one may
        // end at any moment: it then discards or publishes its bytes itself, and discarding twice is harmless.
        let mut leftovers: BTreeSet<PhysicalKey> = self.blobs.leftovers().await?.into_iter().collect();
        let mut after = None;
        while !leftovers.is_empty() {
            let page = self.meta.scan(&UploadRecord::all(), after.as_ref(), 256).await?;
            for (key, value) in &page {
                if let Held::File(named) = UploadRecord::decode_at(key, value)?.held {
                    leftovers.remove(&named);
                }
            }
            after = page.last().map(|(key, _)| key.clone());
            if page.len() < 256 {
                break;
            }
        }
        for key in &leftovers {
            self.blobs.discard(*key).await?;
        }
        Ok(leftovers.len())
    }

    /// Begins the sessions again whose bytes are not there, as the next request on each would: of a folder that was just
    /// restored, since no backup holds what was still being uploaded. Says how many there were.
    pub async fn restart_lost_uploads(&self) -> Result<usize> {
        let mut lost = 0;
        let mut after = None;
        loop {
            let page = self.meta.scan(&UploadRecord::all(), after.as_ref(), 256).await?;
            for (key, value) in &page {
                let record = UploadRecord::decode_at(key, value)?;
                let Held::File(file) = record.held else { continue };
                if self.upload_holds(file, &record).await?.is_some_and(|held| held < record.offset) {
                    let mut batch = Batch::new();
                    batch.replace(Some(&record), Some(&record.begun_again()));
                    self.meta.commit(batch).await.map_err(failed)?;
                    lost += 1;
                }
            }
            if page.len() < 256 {
                return Ok(lost);
            }
            after = page.last().map(|(key, _)| key.clone());
        }
    }
}

impl Receiver {
    /// A session that holds nothing.
    fn fresh(&self, algorithm: Option<Algorithm>) -> Result<UploadRecord> {
        Ok(UploadRecord {
            id: UploadId::random()?,
            package: self.package.id,
            user: self.user,
            offset: 0,
            hash: Hasher::new(algorithm.unwrap_or(Algorithm::Sha256)).save().into(),
            hinted: algorithm.is_some(),
            held: Held::Row(bytes::Bytes::new()),
            start: self.registry.start,
            opened: self.at,
            expires: self.at.plus_seconds(self.registry.settings().session_ttl),
        })
    }

    /// The session as stored, if it is this caller's and of this package.
    async fn row(&self, id: UploadId) -> Result<UploadRecord> {
        let value = self.registry.meta.get(&UploadRecord::key_of(id)).await?.ok_or_else(unknown_upload)?;
        let row = UploadRecord::decode(id, &value)?;
        let over = row.expires <= self.registry.surely(self.at);
        if row.package != self.package.id || row.user != self.user || over {
            return Err(unknown_upload());
        }
        Ok(row)
    }

    /// The same, for a request that has claimed it and works on it. A session of an earlier start of the daemon
    /// whose bytes did not survive begins again at 0.
    async fn load(&self, id: UploadId) -> Result<UploadRecord> {
        let old = self.row(id).await?;
        if old.start == self.registry.start {
            return Ok(old);
        }
        if let Held::File(key) = old.held
            && !self.registry.still_there(key, &old).await?
        {
            return self.restart(&old).await;
        }
        let new = UploadRecord { start: self.registry.start, ..old.clone() };
        self.save(&old, new).await
    }

    /// Begins a session again whose bytes are gone. Under a new key: the old one may have become a blob's.
    async fn restart(&self, old: &UploadRecord) -> Result<UploadRecord> {
        let new = UploadRecord { start: self.registry.start, ..old.begun_again() };
        let new = self.save(old, new).await?;
        self.discard(old).await;
        Ok(new)
    }

    /// Records how far a session came.
    async fn save(&self, old: &UploadRecord, mut new: UploadRecord) -> Result<UploadRecord> {
        let last = old.opened.plus_seconds(self.registry.settings().max_upload_time);
        new.expires = self.registry.now().plus_seconds(self.registry.settings().session_ttl).min(last);
        let mut batch = Batch::new();
        batch.replace(Some(old), Some(&new));
        batch.lazy = true;
        self.registry.meta.commit(batch).await.map_err(failed)?;
        Ok(new)
    }

    async fn drop_session(&self, old: &UploadRecord) -> Result<()> {
        let mut batch = Batch::new();
        batch.replace(Some(old), None);
        self.registry.meta.commit(batch).await.map_err(failed)?;
        self.registry.sessions.closed_one(old.user);
        self.registry.discard_held(old).await;
        Ok(())
    }

    async fn discard(&self, record: &UploadRecord) {
        self.registry.discard_held(record).await;
    }
}

impl Registry {
    /// Whether an upload's bytes survived a restart, as far as its row claims; a longer file is cut.
    async fn still_there(&self, key: PhysicalKey, record: &UploadRecord) -> Result<bool> {
        let Some(hasher) = Hasher::restore(&record.hash) else { return Ok(false) };
        match self.blobs.write(key, record.offset, hasher).await {
            Ok(_) => return Ok(true),
            Err(error) if matches!(error.kind(), Kind::Offset { .. }) => {}
            Err(error) => return Err(error),
        }
        // Killed between the lasting name and the batch: the bytes are whole, and whoever closes the session again must
        // find them.
        match self.blobs.open(key, record.offset).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == Kind::Internal => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Runs to its end even when the client goes away: the caller's future may be dropped at any await, this one not.
async fn detached<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    tokio::spawn(work).await.map_err(Error::internal)?
}

/// A batch that nobody else can be in the way of failed all the same.
pub(crate) fn failed(error: CommitError) -> Error {
    match error {
        CommitError::Failed(error) => error,
        CommitError::Conflict(key) | CommitError::Quota(key) => Error::new(
            Kind::Conflict(What::Upload),
            "the upload session was changed by another request; try again",
        )
        .because(format!("{key:?}")),
    }
}
