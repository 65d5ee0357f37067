//! Receiving a body into a session: a few bytes stay in the row, more go to the blob store.

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

use super::{Chunk, INLINE_MAX, Receiver};
use crate::{
    error::{Error, Kind, Result, What},
    model::{Hasher, PhysicalKey, Timestamp},
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

impl Receiver {
    /// Takes a chunk in. The session as it stands then, synced, its hash state, and what the client is to be told: a body
    /// that broke off keeps what arrived of it.
    ///
    /// # Errors
    /// Only those after which the session stands as it stood before.
    pub(super) async fn receive(
        &self,
        old: &UploadRecord,
        mut chunk: Chunk,
    ) -> Result<(UploadRecord, Hasher, Result<u64>)> {
        if chunk.at.is_some_and(|at| at != old.offset) {
            return Err(out_of_order(old.offset));
        }
        let mut sink = self.open(old).await?;
        match self.fill(&mut sink, old, &mut chunk).await {
            Ok(outcome) => {
                let (new, hasher) = settle(old, sink).await?;
                let offset = new.offset;
                Ok((new, hasher, outcome.map(|()| offset)))
            }
            Err(error) => {
                // The row still says where this chunk began: what is beyond is cut off by the next write, and a file
                // that no row knows yet goes at once.
                if let Sink::File(key, writer) = sink {
                    drop(writer);
                    if old.held != Held::File(key) {
                        self.discard(&UploadRecord { held: Held::File(key), ..old.clone() }).await;
                    }
                }
                Err(error)
            }
        }
    }

    /// Moves the body into the sink. The inner result is that of the body: what arrived before it broke off is kept.
    async fn fill(&self, sink: &mut Sink, old: &UploadRecord, chunk: &mut Chunk) -> Result<Result<()>> {
        let mut offset = old.offset;
        let mut synced = offset;
        while let Some(bytes) = chunk.bytes.next().await {
            let bytes = match bytes {
                Ok(bytes) => bytes,
                Err(error) => return Ok(Err(error)),
            };
            offset += bytes.len() as u64;
            self.check_limits(old, offset)?;
            self.take(sink, bytes).await?;
            if let Sink::File(_, writer) = sink
                && offset - synced >= SYNC_EVERY
            {
                writer.sync().await?;
                synced = offset;
            }
        }
        if chunk.length.is_some_and(|length| old.offset + length != offset) {
            return Err(Error::invalid(What::Size, "the chunk is not as long as it says"));
        }
        Ok(Ok(()))
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
        let settings = &self.registry.settings;
        if offset > settings.max_blob {
            let text = format!("a blob may have at most {} bytes here", settings.max_blob);
            return Err(Error::new(Kind::TooLarge(What::Blob), text));
        }
        if Timestamp::now() > old.opened.plus_seconds(settings.max_upload_time) {
            return Err(Error::new(
                Kind::Timeout,
                "the upload took longer than is allowed from its first byte on",
            ));
        }
        Ok(())
    }
}

/// Waits until all that arrived is synced; what the row may claim from then on.
async fn settle(old: &UploadRecord, sink: Sink) -> Result<(UploadRecord, Hasher)> {
    let mut new = old.clone();
    match sink {
        Sink::Row(bytes, hasher) => {
            new.offset = bytes.len() as u64;
            new.held = Held::Row(bytes.freeze());
            Ok((new, *hasher))
        }
        Sink::File(key, mut writer) => {
            let written = writer.sync().await?;
            new.offset = written.offset;
            new.held = Held::File(key);
            Ok((new, written.hasher))
        }
    }
}

fn out_of_order(stored: u64) -> Error {
    Error::new(
        Kind::Offset { stored },
        format!("the chunk does not begin at {stored}, where the upload ends"),
    )
}
