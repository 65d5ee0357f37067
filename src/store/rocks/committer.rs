//! The one writer: takes what waits, judges each batch, makes the rest durable with one synced write, answers all.

use std::{
    io::Write as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, TryRecvError},
    },
    time::{Duration, Instant},
};

use rocksdb::{WriteBatch, WriteOptions};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    RocksOptions,
    engine::{Engine, failure},
    group::{Group, Numbers, Written},
    known::Known,
    mark,
    slot::{Slot, lock},
};
use crate::{
    error::{Error, Kind, Result},
    store::{Batch, CommitError, Committed},
};

/// Time between two attempts to open the database again.
const REOPEN_EVERY: Duration = Duration::from_secs(1);

/// A write that takes longer is reported: the disk hangs, or compaction is far behind.
const HANGS: Duration = Duration::from_secs(10);

type Verdict = Result<Committed, CommitError>;

/// A batch on its way to the committer.
pub(super) struct Request {
    pub(super) batch: Batch,
    pub(super) answer: oneshot::Sender<Verdict>,
    /// Bounds how many wait; given back when the request is answered.
    pub(super) _room: OwnedSemaphorePermit,
}

/// What others may see of the committer.
#[derive(Default)]
pub(super) struct State {
    /// Set after a failed write: why nothing can be written.
    broken: Mutex<Option<(Kind, String)>>,
    /// When the write under way began.
    writing: Mutex<Option<Instant>>,
    pub(super) figures: Figures,
    #[cfg(test)]
    pub(super) inject: Mutex<Option<Inject>>,
    /// While a test holds this, what is sent gathers in one group.
    #[cfg(test)]
    pub(super) gate: Arc<Mutex<()>>,
}

/// Counts since the start.
#[derive(Default)]
pub(super) struct Figures {
    pub(super) committed: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) groups: AtomicU64,
    pub(super) largest_group: AtomicU64,
    pub(super) syncs: AtomicU64,
    pub(super) sync_micros: AtomicU64,
    pub(super) slowest_sync_micros: AtomicU64,
    pub(super) reopened: AtomicU64,
}

/// A fault that a test puts in the way of the next write.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inject {
    /// Nothing reaches the log.
    BeforeWrite,
    /// The bytes are in the log, but its sync is said to have failed.
    AfterWrite,
}

impl State {
    /// Why nothing can be written, if so.
    pub(super) fn health(&self) -> Result<()> {
        let sick = |kind, why| Err(Error::new(kind, "the metadata store cannot be written now").because(why));
        if let Some((kind, why)) = &*lock(&self.broken) {
            return sick(*kind, why.clone());
        }
        match lock(&self.writing).map(|begun| begun.elapsed()) {
            Some(since) if since > HANGS => sick(
                Kind::Unavailable,
                format!("a write waits for the disk since {} seconds", since.as_secs()),
            ),
            _ => Ok(()),
        }
    }
}

/// The committer's own state; lives on its thread.
pub(super) struct Committer {
    pub(super) slot: Arc<Slot>,
    pub(super) state: Arc<State>,
    pub(super) inbox: Receiver<Request>,
    pub(super) options: RocksOptions,
    numbers: Numbers,
    /// What need not be looked up again; empty while a group is under way.
    known: Known,
    /// Whether something was written without a sync since the last one.
    unsynced: bool,
    /// When it was last noted how far the log is durable.
    noted: Option<Instant>,
    /// Set while broken: not before this time is the database opened again.
    reopen_at: Option<Instant>,
}

impl Committer {
    pub(super) fn new(
        slot: Arc<Slot>,
        state: Arc<State>,
        inbox: Receiver<Request>,
        options: RocksOptions,
    ) -> Self {
        Self {
            slot,
            state,
            inbox,
            options,
            numbers: Numbers::default(),
            known: Known::default(),
            unsynced: false,
            noted: None,
            reopen_at: None,
        }
    }

    /// Works until the last sender is gone.
    pub(super) fn run(mut self) {
        loop {
            let received = match self.reopen_at {
                None => self.inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => self.inbox.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            match received {
                Ok(request) if self.reopen_at.is_some() => self.turn_away(request),
                Ok(request) => {
                    #[cfg(test)]
                    drop(lock(&self.state.gate));
                    let group = self.collect(request);
                    self.commit(group);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.reopen_at.is_some_and(|at| Instant::now() >= at) {
                self.reopen();
            }
        }
        self.last_sync();
    }

    /// Takes what waits, up to a bounded count and size.
    fn collect(&self, first: Request) -> Vec<Request> {
        let mut bytes = first.batch.size();
        let mut group = vec![first];
        while group.len() < self.options.group_batches && bytes < self.options.group_bytes {
            match self.inbox.try_recv() {
                Ok(request) => {
                    bytes += request.batch.size();
                    group.push(request);
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        group
    }

    fn commit(&mut self, requests: Vec<Request>) {
        let Some(engine) = self.slot.now() else {
            self.fail(
                requests.into_iter().map(|request| request.answer),
                &Error::internal("the slot is empty"),
            );
            return;
        };
        // Put back when the group is written, and not before: what a failed write left behind nobody knows.
        let known = std::mem::take(&mut self.known);
        let mut group = Group::new(&engine, &self.numbers, known);
        let mut waiting = Vec::with_capacity(requests.len());
        let mut sync = false;
        for Request { batch, answer, _room } in requests {
            let lazy = batch.lazy;
            let verdict = group.add(batch);
            sync |= verdict.is_ok() && !lazy;
            waiting.push((answer, verdict, _room));
        }
        self.count_group(waiting.len());
        let written = match group.into_write() {
            Ok((None, left)) => Ok(left),
            Ok((Some(write), left)) => self.write(&engine, write, sync).map(|()| left),
            Err(error) => Err(error),
        };
        // Nobody may hold the engine when it is opened again.
        drop(engine);
        match written {
            Ok(Written { known, given }) => {
                self.known = known;
                self.numbers.learn(given);
                for (answer, verdict, _room) in waiting {
                    self.count(&verdict);
                    // A caller that went away does not matter: its batch is applied all the same.
                    let _ = answer.send(verdict);
                }
            }
            // Not even a refusal is told: it may rest on a batch of this group that is not there.
            Err(error) => self.fail(waiting.into_iter().map(|(answer, ..)| answer), &error),
        }
    }

    fn write(&mut self, engine: &Engine, write: WriteBatch, sync: bool) -> Result<()> {
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        #[cfg(test)]
        let inject = lock(&self.state.inject).take();
        #[cfg(test)]
        if inject == Some(Inject::BeforeWrite) {
            return Err(Error::new(Kind::NoSpace, "injected before the write"));
        }
        let begun = Instant::now();
        *lock(&self.state.writing) = Some(begun);
        let written = engine.db().write_opt(write, &options);
        *lock(&self.state.writing) = None;
        written.map_err(failure)?;
        #[cfg(test)]
        if inject == Some(Inject::AfterWrite) {
            return Err(Error::new(Kind::Unavailable, "injected after the write"));
        }
        self.unsynced = !sync;
        if sync {
            let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
            let figures = &self.state.figures;
            figures.syncs.fetch_add(1, Relaxed);
            figures.sync_micros.fetch_add(micros, Relaxed);
            figures.slowest_sync_micros.fetch_max(micros, Relaxed);
            if self.noted.is_none_or(|noted| noted.elapsed() >= self.options.note_every) {
                self.note(engine);
                self.noted = Some(Instant::now());
            }
        }
        Ok(())
    }

    /// Notes how far the log is durable, right after a sync. A note that fails costs a check at the next start only.
    fn note(&self, engine: &Engine) {
        if let Err(error) = mark::note(&self.slot.setup().path, engine) {
            tracing::warn!(%error, "the next start cannot see whether the log is whole");
        }
    }

    /// Answers all with a failure and lets nothing be written until the database was opened again: after a failed
    /// sync the kernel may have dropped the bytes and call the next sync a success.
    fn fail(&mut self, answers: impl Iterator<Item = oneshot::Sender<Verdict>>, error: &Error) {
        tracing::error!(%error, "a metadata write failed; nothing is acknowledged until the database is open again");
        *lock(&self.state.broken) = Some((error.kind(), error.to_string()));
        self.reopen_at = Some(Instant::now());
        self.numbers.forget();
        self.known = Known::default();
        for answer in answers {
            self.state.figures.failed.fetch_add(1, Relaxed);
            let error = Error::new(error.kind(), error.public().to_owned()).because(error.to_string());
            let _ = answer.send(Err(CommitError::Failed(error)));
        }
    }

    fn turn_away(&self, request: Request) {
        self.state.figures.failed.fetch_add(1, Relaxed);
        let error = self.state.health().err();
        let error =
            error.unwrap_or_else(|| Error::new(Kind::Unavailable, "the metadata store is being opened anew"));
        let _ = request.answer.send(Err(CommitError::Failed(error)));
    }

    fn reopen(&mut self) {
        // Closing gives up a database that can still be read, so first see whether opening has a chance.
        match self.writable().and_then(|()| self.slot.reopen()) {
            Ok(()) => {
                tracing::warn!("the metadata store is open again");
                self.state.figures.reopened.fetch_add(1, Relaxed);
                self.unsynced = false;
                self.reopen_at = None;
                *lock(&self.state.broken) = None;
            }
            Err(error) => {
                tracing::error!(%error, "the metadata store could not be opened again");
                *lock(&self.state.broken) = Some((error.kind(), error.to_string()));
                self.reopen_at = Some(Instant::now() + REOPEN_EVERY);
            }
        }
    }

    /// Whether the folder takes and keeps a file, and has room for what opening flushes.
    fn writable(&self) -> Result<()> {
        let setup = self.slot.setup();
        let unavailable = |cause: std::io::Error| {
            Error::new(Kind::Unavailable, "the metadata folder cannot be written").because(cause)
        };
        let space = rustix::fs::statvfs(&setup.path).map_err(|cause| unavailable(cause.into()))?;
        let needed = setup.memory as u64;
        if space.f_bavail.saturating_mul(space.f_frsize) < needed {
            let text = format!("the disk of the metadata store has less than {needed} bytes free");
            return Err(Error::new(Kind::NoSpace, text));
        }
        let path = setup.path.join("packhouse.probe");
        let probe = || {
            let mut file = std::fs::File::create(&path)?;
            file.write_all(&[0; 4096])?;
            file.sync_all()?;
            std::fs::remove_file(&path)
        };
        probe().map_err(unavailable)
    }

    fn last_sync(&self) {
        if self.reopen_at.is_some() {
            return;
        }
        let Some(engine) = self.slot.now() else { return };
        if self.unsynced
            && let Err(error) = engine.db().flush_wal(true)
        {
            tracing::error!(%error, "the last batches, none of them promised durable, could not be synced");
            return;
        }
        self.note(&engine);
    }

    fn count_group(&self, batches: usize) {
        self.state.figures.groups.fetch_add(1, Relaxed);
        self.state.figures.largest_group.fetch_max(batches as u64, Relaxed);
    }

    fn count(&self, verdict: &Verdict) {
        let figures = &self.state.figures;
        let counter = match verdict {
            Ok(_) => &figures.committed,
            Err(CommitError::Conflict(_) | CommitError::Quota(_)) => &figures.refused,
            Err(CommitError::Failed(_)) => &figures.failed,
        };
        counter.fetch_add(1, Relaxed);
    }
}
