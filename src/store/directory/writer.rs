//! Writes and hashes an upload's bytes, each on a thread of its own beside the caller.

use std::{
    fs::File,
    io::{self, IoSlice},
    num::NonZeroU64,
    sync::{Arc, Weak},
};

use async_trait::async_trait;
use bytes::Bytes;
use rustix::{fs::Advice, io::Errno};
use tokio::{runtime::Handle, sync::Semaphore};

use super::{
    Health,
    lane::{Chunk, Lane, Work},
};
use crate::{
    error::{Error, Kind, Result, What},
    model::Hasher,
    store::{BlobWriter, Written},
};

/// Bytes that may wait between the caller and the workers of one upload.
const IN_FLIGHT: usize = 1 << 20;

/// Bytes after which the kernel is asked to begin with the disk's part.
const WRITE_BACK: u64 = 8 << 20;

/// Slices that one system call takes.
const SLICES: usize = 256;

/// The half that writes. Its mark syncs and says how many bytes the file holds.
pub(super) struct Disk {
    pub(super) file: File,
    pub(super) offset: u64,
    /// Up to where the kernel was asked to write back.
    pub(super) begun: u64,
    pub(super) health: Arc<Health>,
}

impl Work for Disk {
    type Mark = u64;

    fn take(&mut self, chunks: &[Chunk]) -> Result<()> {
        self.write(chunks).map_err(|cause| self.health.bad(cause))
    }

    fn mark(&mut self) -> Result<u64> {
        // The size of the file is data in this respect: fdatasync writes it.
        rustix::fs::fdatasync(&self.file).map_err(|cause| self.health.bad(cause.into()))?;
        self.health.good();
        Ok(self.offset)
    }
}

impl Disk {
    fn write(&mut self, chunks: &[Chunk]) -> io::Result<()> {
        for chunks in chunks.chunks(SLICES) {
            let mut slices: Vec<_> = chunks.iter().map(|chunk| IoSlice::new(&chunk.bytes)).collect();
            let mut rest = slices.as_mut_slice();
            while !rest.is_empty() {
                match rustix::io::pwritev(&self.file, rest, self.offset) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(written) => {
                        self.offset += written as u64;
                        IoSlice::advance_slices(&mut rest, written);
                    }
                    Err(Errno::INTR) => {}
                    Err(cause) => return Err(cause.into()),
                }
            }
        }
        self.write_back();
        Ok(())
    }

    /// Lets the disk work while bytes still arrive, so that the sync at the end finds little left to do. This advice
    /// begins write-back without waiting; pages under write-back are not dropped, so the blob stays in memory. (The
    /// call made for it, sync_file_range, has no safe wrapper.)
    fn write_back(&mut self) {
        let length = self.offset - self.begun;
        if length >= WRITE_BACK {
            // A hint only: what it cannot do, the sync does.
            let _ = rustix::fs::fadvise(&self.file, self.begun, NonZeroU64::new(length), Advice::DontNeed);
            self.begun = self.offset;
        }
    }
}

/// The half that hashes. Its mark is the state so far.
struct Hash(Hasher);

impl Work for Hash {
    type Mark = Hasher;

    fn take(&mut self, chunks: &[Chunk]) -> Result<()> {
        for chunk in chunks {
            self.0.update(&chunk.bytes);
        }
        Ok(())
    }

    fn mark(&mut self) -> Result<Hasher> {
        Ok(self.0.clone())
    }
}

/// The worker behind an upload, for those who must stop it.
pub(super) type Active = Weak<Lane<Disk>>;

/// An upload being written.
pub(super) struct Writer {
    disk: Arc<Lane<Disk>>,
    hash: Arc<Lane<Hash>>,
    room: Arc<Semaphore>,
}

impl Writer {
    pub(super) fn new(disk: Arc<Lane<Disk>>, hasher: Hasher, threads: Handle) -> Self {
        Self { disk, hash: Lane::new(Hash(hasher), threads), room: Arc::new(Semaphore::new(IN_FLIGHT)) }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let why = "the writer was dropped";
        self.disk.revoke(Kind::Conflict(What::Upload), why);
        self.hash.revoke(Kind::Conflict(What::Upload), why);
    }
}

#[async_trait]
impl BlobWriter for Writer {
    async fn push(&mut self, bytes: Bytes) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        // One chunk larger than the whole allowance passes alone.
        let need = u32::try_from(bytes.len().min(IN_FLIGHT)).map_err(Error::internal)?;
        let room = Arc::clone(&self.room).acquire_many_owned(need).await.map_err(Error::internal)?;
        let chunk = Chunk { bytes, _room: Arc::new(room) };
        self.disk.give(chunk.clone())?;
        self.hash.give(chunk)
    }

    async fn sync(&mut self) -> Result<Written> {
        // Both at once: the hash of the last bytes is made while they are being synced.
        let (offset, hasher) = futures_util::future::try_join(self.disk.mark(), self.hash.mark()).await?;
        Ok(Written { offset, hasher })
    }
}
