//! Where the open database lies, so that it can be closed and opened again under its readers.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak},
    time::{Duration, Instant},
};

use rocksdb::Snapshot;
use self_cell::self_cell;

use super::{
    engine::{Engine, Moment},
    options::Setup,
};
use crate::error::{Error, Kind, Result};

/// How long a reader waits for a database that is being opened again.
const READER_WAITS: Duration = Duration::from_millis(500);

/// How long closing waits for readers that are still inside.
const CLOSE_WAITS: Duration = Duration::from_secs(5);

type SnapshotOf<'a> = Snapshot<'a>;

self_cell!(
    /// A snapshot together with the database it is of.
    struct Held {
        owner: Arc<Engine>,
        #[covariant]
        dependent: SnapshotOf,
    }
);

/// A view of one moment. Empty once the database it was of is closed.
pub(super) struct View(RwLock<Option<Held>>);

impl View {
    /// Reads from it.
    pub(super) fn read<T>(&self, job: impl FnOnce(&Engine, Moment<'_>) -> Result<T>) -> Result<T> {
        let held = read(&self.0);
        let Some(held) = held.as_ref() else {
            return Err(Error::new(
                Kind::Unavailable,
                "the metadata store was opened anew during a long read; begin it again",
            ));
        };
        held.with_dependent(|engine, snapshot| job(engine, Moment::At(snapshot)))
    }

    fn retire(&self) {
        *write(&self.0) = None;
    }
}

/// The database, or nothing while it is being opened again.
pub(super) struct Slot {
    setup: Setup,
    engine: RwLock<Option<Arc<Engine>>>,
    views: Mutex<Vec<Weak<View>>>,
}

impl Slot {
    pub(super) fn open(setup: Setup) -> Result<Self> {
        let engine = Arc::new(Engine::open(&setup)?);
        Ok(Self { setup, engine: RwLock::new(Some(engine)), views: Mutex::new(Vec::new()) })
    }

    pub(super) fn setup(&self) -> &Setup {
        &self.setup
    }

    /// The database if it is there now.
    pub(super) fn now(&self) -> Option<Arc<Engine>> {
        read(&self.engine).clone()
    }

    /// The database, waiting a little while it is being opened again.
    pub(super) async fn engine(&self) -> Result<Arc<Engine>> {
        if let Some(engine) = self.now() {
            return Ok(engine);
        }
        let until = Instant::now() + READER_WAITS;
        while Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(10)).await;
            if let Some(engine) = self.now() {
                return Ok(engine);
            }
        }
        Err(closed())
    }

    pub(super) fn view(&self) -> Result<Arc<View>> {
        let engine = self.now().ok_or_else(closed)?;
        let held = Held::new(engine, |engine| engine.db().snapshot());
        let view = Arc::new(View(RwLock::new(Some(held))));
        let mut views = lock(&self.views);
        views.retain(|view| view.strong_count() > 0);
        views.push(Arc::downgrade(&view));
        Ok(view)
    }

    /// Closes the database and opens it again. Where readers do not leave in time it stays as it is; where opening
    /// fails the slot stays empty.
    pub(super) fn reopen(&self) -> Result<()> {
        self.close()?;
        // The old handle is gone at this point: what RocksDB had in memory and did not write is gone with it, and
        // the new one knows only what the log gives back.
        let engine = Arc::new(Engine::open(&self.setup)?);
        *write(&self.engine) = Some(engine);
        Ok(())
    }

    /// Drops the database once nobody is inside.
    pub(super) fn close(&self) -> Result<()> {
        let taken = write(&self.engine).take();
        let Some(mut engine) = taken else { return Ok(()) };
        for view in lock(&self.views).drain(..).filter_map(|view| view.upgrade()) {
            view.retire();
        }
        let until = Instant::now() + CLOSE_WAITS;
        loop {
            match Arc::try_unwrap(engine) {
                Ok(engine) => {
                    drop(engine);
                    return Ok(());
                }
                Err(shared) if Instant::now() >= until => {
                    *write(&self.engine) = Some(shared);
                    return Err(Error::new(Kind::Unavailable, "the metadata store is still being read"));
                }
                Err(shared) => engine = shared,
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn closed() -> Error {
    Error::new(Kind::Unavailable, "the metadata store is being opened anew")
}

// A thread that panicked while it held one of these locks left a whole value behind: they guard single assignments.

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
