//! One request at a time works on a session. The row's own expectations keep two processes apart; this keeps two
//! requests of one process from writing into one file. And how many sessions an account has open, so that opening one
//! needs not walk over all that it had.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use crate::{
    error::{Error, Kind, Result},
    model::{OwnerId, UploadId},
};

/// How long a second request waits for the first: long enough for a client's own overlap, short enough to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The sessions being worked on.
#[derive(Default)]
pub(crate) struct Sessions {
    busy: Mutex<HashMap<UploadId, Weak<AsyncMutex<()>>>>,
    open: Mutex<HashMap<OwnerId, usize>>,
}

/// Accounts whose sessions are counted; beyond that those with none are forgotten.
const COUNTED: usize = 10_000;

/// The right to work on a session; ends when dropped.
pub(crate) struct Claim {
    _guard: OwnedMutexGuard<()>,
}

impl Sessions {
    /// Waits for a session.
    pub(crate) async fn claim(&self, id: UploadId) -> Result<Claim> {
        let lock = self.lock_of(id);
        let guard = tokio::time::timeout(PATIENCE, lock.lock_owned()).await.map_err(|_| {
            // Not 429: docker gives up on that, and tries again after 503.
            Error::new(
                Kind::Unavailable,
                "another request is still writing to this upload session; try again",
            )
        })?;
        Ok(Claim { _guard: guard })
    }

    /// A session nobody works on now.
    pub(crate) fn try_claim(&self, id: UploadId) -> Option<Claim> {
        self.lock_of(id).try_lock_owned().ok().map(|guard| Claim { _guard: guard })
    }

    /// Sessions that a request is at work on now.
    pub(crate) fn at_work(&self) -> usize {
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.values().filter(|lock| lock.strong_count() > 0).count()
    }

    /// Counts one more session of an account; not beyond `most`, and not before they were counted.
    pub(crate) fn open_one(&self, user: OwnerId, most: usize) -> bool {
        match self.open().get_mut(&user) {
            Some(open) if *open < most => {
                *open += 1;
                true
            }
            _ => false,
        }
    }

    /// Counts one fewer: its row is gone, or was never written.
    pub(crate) fn closed_one(&self, user: OwnerId) {
        if let Some(open) = self.open().get_mut(&user) {
            *open = open.saturating_sub(1);
        }
    }

    /// What is stored is the truth: whose end nobody saw, because the engine failed or another start of the daemon opened
    /// it, is in the count until it is taken anew.
    pub(crate) fn counted(&self, user: OwnerId, stored: usize) {
        let mut open = self.open();
        if open.len() >= COUNTED {
            open.retain(|_, open| *open > 0);
        }
        open.insert(user, stored);
    }

    fn open(&self) -> MutexGuard<'_, HashMap<OwnerId, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_of(&self, id: UploadId) -> Arc<AsyncMutex<()>> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = busy.get(&id).and_then(Weak::upgrade) {
            return lock;
        }
        // Entries of finished requests are swept when the map has doubled, so a claim stays cheap.
        if busy.len() >= 64 && busy.len().is_power_of_two() {
            busy.retain(|_, lock| lock.strong_count() > 0);
        }
        let lock = Arc::new(AsyncMutex::new(()));
        busy.insert(id, Arc::downgrade(&lock));
        lock
    }
}
