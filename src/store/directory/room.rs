//! How much room the disk has. Every push asks.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::io::Errno;

use super::read_failure;
use crate::error::{Error, Kind, Result};

/// How long an answer is good while there is plenty.
const GOOD_FOR: Duration = Duration::from_millis(100);

/// More free bytes than are written in that time; with fewer, the system is asked each time.
const PLENTY: u64 = 16 << 30;

/// The room of one folder's file system.
pub(super) struct Room {
    folder: PathBuf,
    plenty: Mutex<Option<(Instant, u64)>>,
}

impl Room {
    pub(super) fn of(folder: PathBuf) -> Self {
        Self { folder, plenty: Mutex::new(None) }
    }

    /// Bytes that are free.
    pub(super) fn free(&self) -> Result<u64> {
        let mut plenty = self.plenty.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, free)) = plenty.filter(|(seen, _)| seen.elapsed() < GOOD_FOR) {
            return Ok(free);
        }
        let free = self.ask()?;
        *plenty = (free > PLENTY).then(|| (Instant::now(), free));
        Ok(free)
    }

    fn ask(&self) -> Result<u64> {
        let found = rustix::fs::statvfs(&self.folder).map_err(|cause: Errno| read_failure(cause.into()))?;
        if found.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
            return Err(Error::new(Kind::Unavailable, "the blob store is mounted read-only"));
        }
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }
}
