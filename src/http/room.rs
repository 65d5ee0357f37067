//! Memory for bodies that are held whole: requests that must be judged as one, answers until they are read. However many
//! clients send or read one slowly, together they get no more than this.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, Kind, Result};

/// Bodies up to this many bytes take no place: the caps on connections bound them.
const FREE: u64 = 64 << 10;
/// Places are counted in pieces of so many bytes.
const PIECE: u64 = 4096;
/// How long a body waits for a place before it is told to come again.
const PATIENCE: Duration = Duration::from_secs(10);

/// So much memory, shared by all who clone it.
#[derive(Debug, Clone)]
pub struct Room {
    free: Arc<Semaphore>,
    pieces: usize,
}

/// A part of the room, given back when dropped.
#[derive(Debug)]
pub struct Place(Option<OwnedSemaphorePermit>);

impl Room {
    /// A room of so many bytes.
    pub fn new(bytes: u64) -> Self {
        let pieces = usize::try_from(bytes / PIECE).unwrap_or(usize::MAX).clamp(1, Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(pieces)), pieces }
    }

    /// Waits for a place of so many bytes; what is larger than the room waits for the whole room.
    ///
    /// # Errors
    /// Unavailable when others keep the room full.
    pub async fn take(&self, bytes: u64) -> Result<Place> {
        if bytes <= FREE {
            return Ok(Place(None));
        }
        let pieces = usize::try_from(bytes.div_ceil(PIECE)).unwrap_or(usize::MAX).min(self.pieces);
        let pieces = u32::try_from(pieces).unwrap_or(u32::MAX);
        let full =
            || Error::new(Kind::Unavailable, "the registry holds as many large bodies as it has memory for");
        let waited = tokio::time::timeout(PATIENCE, Arc::clone(&self.free).acquire_many_owned(pieces)).await;
        // The semaphore is never closed, so the inner result is always good.
        let permit = waited.map_err(|_| full())?.map_err(|_| full())?;
        Ok(Place(Some(permit)))
    }
}

impl Place {
    /// Bytes that give the place back when they are dropped.
    pub fn keep(self, bytes: Bytes) -> Bytes {
        match self {
            Self(None) => bytes,
            place => Bytes::from_owner(Kept { bytes, _place: place }),
        }
    }
}

struct Kept {
    bytes: Bytes,
    _place: Place,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_full_room_refuses_large_bodies_until_bytes_are_dropped() {
        let room = Room::new(1 << 20);
        let kept = room.take(1 << 20).await.unwrap().keep(Bytes::from_static(b"manifest"));
        assert_eq!(&kept[..], b"manifest");
        assert!(room.take(FREE).await.is_ok(), "small ones are never kept waiting");
        assert_eq!(room.take(FREE + 1).await.unwrap_err().kind(), Kind::Unavailable);
        let part = kept.slice(0..3);
        drop(kept);
        assert!(room.take(FREE + 1).await.is_err(), "a part of the bytes is still held");
        drop(part);
        assert!(room.take(1 << 20).await.is_ok());
    }
}
