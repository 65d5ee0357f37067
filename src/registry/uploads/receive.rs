//! Receiving a body into a session: a few bytes stay in the row, more go to the blob store.

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

use super::{Chunk, INLINE_MAX, Receiver};
use crate::{
    error::{Error, Kind, Result, What},
    model::{Hasher, PhysicalKey},
    registry::records::{Held, UploadRecord},
    store::BlobWriter,
};

/// How many bytes a power cut may cost a running upload.
const SYNC_EVERY: u64 = 64 << 20;

/// Where bytes go while they arrive.
enum Sink {
    Row(BytesMut, Box<Hasher>),
    File(PhysicalKey, Box<dyn BlobWriter>),
}

/// A session at work.
struct Intake {
    sink: Sink,
    row: UploadRecord,
    stored: bool,
}

/// A session after a chunk.
pub(super) struct Received {
    /// Its row as stored now.
    pub(super) row: UploadRecord,
    /// What the row is to become: all that arrived, synced.
    pub(super) new: UploadRecord,
    /// What the client is to be told: how many bytes there are, or why the body broke off.
    pub(super) outcome: Result<u64>,
}

impl Receiver {
    /// Takes a chunk in. A body that broke off keeps what arrived of it. `stored`: whether `row` is in the store, to be
    /// brought up to date on the way, so that a crash costs 64 MiB and not the whole chunk.
    ///
    /// # Errors
    /// Only those after which the session stands as its row says.
    pub(super) async fn receive(
        &self,
        row: UploadRecord,
        stored: bool,
        mut chunk: Chunk,
    ) -> Result<Received> {
        if chunk.at.is_some_and(|at| at != row.offset) {
            return Err(out_of_order(row.offset));
        }
        let mut intake = Intake { sink: self.open(&row).await?, row, stored };
        let settled = match self.fill(&mut intake, &mut chunk).await {
            Ok(outcome) => settle(&intake.row, &mut intake.sink).await.map(|new| (new, outcome)),
            Err(error) => Err(error),
        };
        match settled {
            Ok((new, outcome)) => {
                let offset = new.offset;
                Ok(Received { row: intake.row, new, outcome: outcome.map(|()| offset) })
            }
            Err(error) => {
                self.withdraw(intake).await;
                Err(error)
            }
        }
    }

    /// Takes back what arrived beyond the row: a file that the row names is cut, one that no row knows goes at once.
    async fn withdraw(&self, intake: Intake) {
        let Sink::File(key, writer) = intake.sink else { return };
        drop(writer);
        if intake.row.held != Held::File(key) {
            return self.discard(&UploadRecord { held: Held::File(key), ..intake.row }).await;
        }
        let Some(hasher) = Hasher::restore(&intake.row.hash) else { return };
        if let Err(error) = self.registry.blobs.write(key, intake.row.offset, hasher).await {
            tracing::warn!(upload = %intake.row.id, %error, "an upload could not be cut to what its row says");
        }
    }

    /// Moves the body into the sink. The inner result is that of the body: what arrived before it broke off is kept.
    async fn fill(&self, intake: &mut Intake, chunk: &mut Chunk) -> Result<Result<()>> {
        let begin = intake.row.offset;
        let (mut offset, mut synced) = (begin, begin);
        while let Some(bytes) = chunk.bytes.next().await {
            let bytes = match bytes {
                Ok(bytes) => bytes,
                Err(error) => return Ok(Err(error)),
            };
            offset += bytes.len() as u64;
            self.check_limits(&intake.row, offset)?;
            self.take(&mut intake.sink, bytes).await?;
            if offset - synced >= SYNC_EVERY {
                self.checkpoint(intake).await?;
                synced = offset;
                if let Err(full) = self.registry.check_space() {
                    return Ok(Err(full));
                }
            }
        }
        if chunk.length.is_some_and(|length| begin + length != offset) {
            // What a checkpoint recorded stays: those bytes did arrive, and the session says how many.
            return Err(Error::invalid(What::Size, "the chunk is not as long as it says"));
        }
        Ok(Ok(()))
    }

    /// Syncs what arrived and lets the row claim it.
    async fn checkpoint(&self, intake: &mut Intake) -> Result<()> {
        let Sink::File(key, writer) = &mut intake.sink else { return Ok(()) };
        let written = writer.sync().await?;
        if intake.stored {
            let new = UploadRecord {
                held: Held::File(*key),
                offset: written.offset,
                hash: written.hasher.save().into(),
                ..intake.row.clone()
            };
            intake.row = self.save(&intake.row, new).await?;
        }
        Ok(())
    }

    async fn open(&self, old: &UploadRecord) -> Result<Sink> {
        let hasher = Hasher::restore(&old.hash)
            .ok_or_else(|| Error::internal("the hash state of an upload was written by another version"))?;
        Ok(match &old.held {
            Held::Row(bytes) => Sink::Row(BytesMut::from(bytes.as_ref()), Box::new(hasher)),
            Held::File(key) => match self.registry.blobs.write(*key, old.offset, hasher).await {
                Ok(writer) => Sink::File(*key, writer),
                // The row is right about its bytes, except after a commit that failed half-way: they were published
                // and nothing points at them. The client is told to begin again.
                Err(error) if matches!(error.kind(), Kind::Offset { .. }) => {
                    self.restart(old).await?;
                    return Err(out_of_order(0));
                }
                Err(error) => return Err(error),
            },
        })
    }

    /// Adds bytes; a row that grows beyond what metadata should carry becomes a file.
    async fn take(&self, sink: &mut Sink, bytes: Bytes) -> Result<()> {
        match sink {
            Sink::Row(row, hasher) if (row.len() + bytes.len()) as u64 <= INLINE_MAX => {
                hasher.update(&bytes);
                row.extend_from_slice(&bytes);
            }
            Sink::Row(row, hasher) => {
                let key = PhysicalKey::random()?;
                let mut writer = self.registry.blobs.write(key, 0, Hasher::new(hasher.algorithm())).await?;
                writer.push(row.split().freeze()).await?;
                *sink = Sink::File(key, writer);
                if let Sink::File(_, writer) = sink {
                    writer.push(bytes).await?;
                }
            }
            Sink::File(_, writer) => writer.push(bytes).await?,
        }
        Ok(())
    }

    fn check_limits(&self, old: &UploadRecord, offset: u64) -> Result<()> {
        let settings = self.registry.settings();
        if offset > settings.max_blob {
            let text = format!("a blob may have at most {} bytes here", settings.max_blob);
            return Err(Error::new(Kind::TooLarge(What::Blob), text));
        }
        let now = self.registry.now();
        if self.registry.surely(now) > old.opened.plus_seconds(settings.max_upload_time) {
            return Err(Error::new(
                Kind::Timeout,
                "the upload took longer than is allowed from its first byte on",
            ));
        }
        Ok(())
    }
}

/// Waits until all that arrived is synced; what the row may claim from then on.
async fn settle(old: &UploadRecord, sink: &mut Sink) -> Result<UploadRecord> {
    let mut new = old.clone();
    match sink {
        Sink::Row(bytes, hasher) => {
            new.offset = bytes.len() as u64;
            new.held = Held::Row(bytes.split().freeze());
            new.hash = hasher.save().into();
        }
        Sink::File(key, writer) => {
            let written = writer.sync().await?;
            new.offset = written.offset;
            new.held = Held::File(*key);
            new.hash = written.hasher.save().into();
        }
    }
    Ok(new)
}

fn out_of_order(stored: u64) -> Error {
    Error::new(
        Kind::Offset { stored },
        format!("the chunk does not begin at {stored}, where the upload ends"),
    )
}
