//! Both traits over any store, for tests: every call is counted and may be made to fail before it did anything, to fail
//! after it did, to tear the bytes it was given, or to hang. Armed with nothing, they are the stores below them.
//!
//! One [`Faults`] stands behind both halves, so that the steps of an operation have one order.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use super::{
    Batch, BlobStore, BlobWriter, CommitError, Committed, Entry, Key, MetadataRead, MetadataStore, OpenBlob,
    Published, Written, backup::Saved,
};
use crate::{
    error::{Error, Kind, Result},
    model::{Hasher, PhysicalKey},
};

/// A call of one of the two traits, by name.
pub(crate) type Call = &'static str;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The call does nothing and fails.
    Before,
    /// The call does its work and fails all the same: whoever made it cannot know.
    After,
    /// A part of the bytes becomes durable, then the call fails. Only bytes can be torn: a batch is atomic.
    Tear,
    /// The call does not come back until [`Faults::heal`]; then it does its work.
    Stall,
}

/// When it goes wrong.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// At which call, counted from 0 since [`Faults::arm`].
    pub(crate) at: usize,
    /// How.
    pub(crate) fault: Fault,
    /// Whether every call after it fails before it does anything: the process died there, or the disk did.
    pub(crate) rest: bool,
}

/// Lets a scheduler decide when a call may go on. Asked before and after each.
pub(crate) trait Gate: Send + Sync {
    /// Waits for the turn.
    fn pass(&self, call: Call) -> BoxFuture<'static, ()>;
}

#[derive(Default)]
struct State {
    calls: Vec<Call>,
    plan: Option<Plan>,
    fired: Option<Call>,
    gate: Option<Arc<dyn Gate>>,
    /// The batches that were applied, in their order, for playing them again.
    history: Vec<Batch>,
}

/// The plan, the count and the record of what was called.
#[derive(Default)]
pub(crate) struct Faults {
    state: Mutex<State>,
    healed: Notify,
    yielding: AtomicBool,
}

/// What a call is to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Pass,
    FailBefore,
    FailAfter,
    Tear,
    Stall,
}

impl Faults {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts from 0 again, and makes a call go wrong when its turn comes.
    pub(crate) fn arm(&self, plan: Option<Plan>) {
        let mut state = self.state();
        (state.plan, state.fired) = (plan, None);
        state.calls.clear();
    }

    /// Lets everything succeed from now on, and what hangs go on. Says which call went wrong, if one did.
    pub(crate) fn heal(&self) -> Option<Call> {
        let fired = {
            let mut state = self.state();
            state.plan = None;
            state.fired.take()
        };
        self.healed.notify_waiters();
        fired
    }

    /// Which call went wrong so far.
    pub(crate) fn fired(&self) -> Option<Call> {
        self.state().fired
    }

    /// The calls made since [`Self::arm`].
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// Makes each call give way to other tasks, once before it works and once after.
    pub(crate) fn give_way(&self, yes: bool) {
        self.yielding.store(yes, SeqCst);
    }

    /// Asks a gate around each call.
    pub(crate) fn schedule(&self, gate: Option<Arc<dyn Gate>>) {
        self.state().gate = gate;
    }

    /// The batches applied so far.
    pub(crate) fn history(&self) -> Vec<Batch> {
        self.state().history.clone()
    }

    fn count(&self, call: Call, tears: bool, waits: bool) -> Turn {
        let mut state = self.state();
        let number = state.calls.len();
        state.calls.push(call);
        let turn = match state.plan {
            Some(plan) if plan.at == number => match plan.fault {
                Fault::Before => Turn::FailBefore,
                Fault::After => Turn::FailAfter,
                Fault::Tear if tears => Turn::Tear,
                Fault::Tear => Turn::Pass,
                Fault::Stall if waits => Turn::Stall,
                Fault::Stall => Turn::Pass,
            },
            // The rest goes with the fault: one that did not fire takes nothing with it.
            Some(plan) if plan.rest && plan.at < number && state.fired.is_some() => return Turn::FailBefore,
            _ => Turn::Pass,
        };
        if turn != Turn::Pass {
            state.fired = Some(call);
        }
        turn
    }

    async fn way(&self, call: Call) {
        if self.yielding.load(SeqCst) {
            tokio::task::yield_now().await;
        }
        let gate = self.state().gate.clone();
        if let Some(gate) = gate {
            gate.pass(call).await;
        }
    }

    /// Before the work of a call that cannot tear.
    async fn begin(&self, call: Call, tears: bool) -> Result<Turn> {
        self.way(call).await;
        match self.count(call, tears, true) {
            Turn::FailBefore => Err(injected(call, "before")),
            Turn::Stall => {
                while self.state().plan.is_some() {
                    let healed = self.healed.notified();
                    let mut healed = std::pin::pin!(healed);
                    healed.as_mut().enable();
                    if self.state().plan.is_some() {
                        healed.await;
                    }
                }
                Ok(Turn::Pass)
            }
            turn => Ok(turn),
        }
    }

    /// The same for a call that does not wait.
    fn begin_now(&self, call: Call) -> Result<()> {
        match self.count(call, false, false) {
            Turn::FailBefore | Turn::FailAfter => Err(injected(call, "before")),
            _ => Ok(()),
        }
    }

    async fn around<T>(&self, call: Call, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let turn = self.begin(call, false).await?;
        let done = work.await;
        self.way(call).await;
        if turn == Turn::FailAfter { done.and(Err(injected(call, "after"))) } else { done }
    }
}

fn injected(call: Call, when: &str) -> Error {
    Error::new(Kind::Unavailable, "injected by a test").because(format!("{call}, {when} it did its work"))
}

/// Metadata with faults.
pub(crate) struct FaultyMeta {
    inner: Arc<dyn MetadataStore>,
    faults: Arc<Faults>,
}

impl FaultyMeta {
    pub(crate) fn new(inner: Arc<dyn MetadataStore>, faults: Arc<Faults>) -> Self {
        Self { inner, faults }
    }
}

struct FaultyView {
    inner: Arc<dyn MetadataRead>,
    faults: Arc<Faults>,
}

macro_rules! reads {
    ($($name:ty)*) => {$(
        #[async_trait]
        impl MetadataRead for $name {
            async fn get(&self, key: &Key) -> Result<Option<Bytes>> {
                self.faults.around("get", self.inner.get(key)).await
            }

            async fn multi_get(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
                self.faults.around("multi_get", self.inner.multi_get(keys)).await
            }

            async fn scan(&self, prefix: &Key, after: Option<&Key>, limit: usize) -> Result<Vec<Entry>> {
                self.faults.around("scan", self.inner.scan(prefix, after, limit)).await
            }

            async fn any(&self, prefix: &Key) -> Result<bool> {
                self.faults.around("any", self.inner.any(prefix)).await
            }
        }
    )*};
}

reads! { FaultyMeta FaultyView }

#[async_trait]
impl MetadataStore for FaultyMeta {
    fn snapshot(&self) -> Result<Arc<dyn MetadataRead>> {
        self.faults.begin_now("snapshot")?;
        Ok(Arc::new(FaultyView { inner: self.inner.snapshot()?, faults: Arc::clone(&self.faults) }))
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, CommitError> {
        let turn = self.faults.begin("commit", false).await.map_err(CommitError::Failed)?;
        let kept = batch.clone();
        let done = self.inner.commit(batch).await;
        if done.is_ok() {
            self.faults.state().history.push(kept);
        }
        self.faults.way("commit").await;
        match turn {
            // Not even a refusal is told: whoever asked cannot know.
            Turn::FailAfter => Err(CommitError::Failed(injected("commit", "after"))),
            _ => done,
        }
    }

    async fn backup(&self, into: &Path) -> Result<Arc<dyn MetadataRead>> {
        let turn = self.faults.begin("backup", true).await?;
        if turn == Turn::Tear {
            std::fs::create_dir(into).map_err(Error::internal)?;
            std::fs::write(into.join("CURRENT"), "MANI").map_err(Error::internal)?;
            return Err(injected("backup", "in the middle of what"));
        }
        let inner = self.inner.backup(into).await?;
        self.faults.way("backup").await;
        match turn {
            Turn::FailAfter => Err(injected("backup", "after")),
            _ => Ok(Arc::new(FaultyView { inner, faults: Arc::clone(&self.faults) })),
        }
    }

    fn health(&self) -> Result<()> {
        self.inner.health()
    }

    fn figures(&self) -> Vec<(&'static str, u64)> {
        self.inner.figures()
    }
}

/// Blobs with faults.
pub(crate) struct FaultyBlobs {
    inner: Arc<dyn BlobStore>,
    faults: Arc<Faults>,
}

impl FaultyBlobs {
    pub(crate) fn new(inner: Arc<dyn BlobStore>, faults: Arc<Faults>) -> Self {
        Self { inner, faults }
    }

    fn opened(&self, inner: Arc<dyn OpenBlob>) -> Arc<dyn OpenBlob> {
        Arc::new(FaultyOpen { inner, faults: Arc::clone(&self.faults) })
    }
}

#[async_trait]
impl BlobStore for FaultyBlobs {
    async fn write(&self, key: PhysicalKey, offset: u64, hasher: Hasher) -> Result<Box<dyn BlobWriter>> {
        let inner = self.faults.around("write", self.inner.write(key, offset, hasher)).await?;
        Ok(Box::new(FaultyWriter { inner, faults: Arc::clone(&self.faults), dead: false }))
    }

    async fn publish(&self, key: PhysicalKey, size: u64) -> Result<()> {
        self.faults.around("publish", self.inner.publish(key, size)).await
    }

    async fn discard(&self, key: PhysicalKey) -> Result<()> {
        self.faults.around("discard", self.inner.discard(key)).await
    }

    async fn leftovers(&self) -> Result<Vec<PhysicalKey>> {
        self.faults.around("leftovers", self.inner.leftovers()).await
    }

    async fn open(&self, key: PhysicalKey, size: u64) -> Result<Arc<dyn OpenBlob>> {
        self.faults.around("open", self.inner.open(key, size)).await.map(|blob| self.opened(blob))
    }

    async fn reread(&self, key: PhysicalKey, size: u64) -> Result<Arc<dyn OpenBlob>> {
        self.faults.around("reread", self.inner.reread(key, size)).await.map(|blob| self.opened(blob))
    }

    async fn stat(&self, key: PhysicalKey) -> Result<Option<Published>> {
        self.faults.around("stat", self.inner.stat(key)).await
    }

    async fn inspect(&self, key: PhysicalKey) -> Result<Arc<dyn OpenBlob>> {
        self.faults.around("inspect", self.inner.inspect(key)).await.map(|blob| self.opened(blob))
    }

    async fn delete(&self, key: PhysicalKey) -> Result<()> {
        self.faults.around("delete", self.inner.delete(key)).await
    }

    async fn list(&self, after: Option<PhysicalKey>, limit: usize) -> Result<Vec<PhysicalKey>> {
        self.faults.around("list", self.inner.list(after, limit)).await
    }

    async fn save(&self, key: PhysicalKey, size: u64, to: &Path) -> Result<Saved> {
        let turn = self.faults.begin("save", true).await?;
        if turn == Turn::Tear {
            // A part of a copy. Not by cutting what was saved, which may be a second name of the blob itself.
            let half =
                self.inner.open(key, size).await?.read(0, usize::try_from(size / 2).unwrap_or(1)).await?;
            std::fs::write(to, &half).map_err(Error::internal)?;
            return Err(injected("save", "in the middle of what"));
        }
        let saved = self.inner.save(key, size, to).await?;
        self.faults.way("save").await;
        if turn == Turn::FailAfter { Err(injected("save", "after")) } else { Ok(saved) }
    }

    fn space(&self) -> Result<u64> {
        self.faults.begin_now("space")?;
        self.inner.space()
    }
}

struct FaultyWriter {
    inner: Box<dyn BlobWriter>,
    faults: Arc<Faults>,
    /// A failed write or sync is final.
    dead: bool,
}

impl FaultyWriter {
    fn alive(&self, call: Call) -> Result<()> {
        if self.dead { Err(injected(call, "long before")) } else { Ok(()) }
    }
}

#[async_trait]
impl BlobWriter for FaultyWriter {
    async fn push(&mut self, bytes: Bytes) -> Result<()> {
        self.alive("push")?;
        let turn = self.faults.begin("push", true).await.inspect_err(|_| self.dead = true)?;
        self.dead = matches!(turn, Turn::FailAfter | Turn::Tear);
        let part = if turn == Turn::Tear { bytes.slice(..bytes.len() / 2) } else { bytes };
        self.inner.push(part).await?;
        if turn == Turn::Tear {
            self.inner.sync().await?;
        }
        self.faults.way("push").await;
        self.alive("push")
    }

    async fn sync(&mut self) -> Result<Written> {
        self.alive("sync")?;
        let turn = self.faults.begin("sync", false).await.inspect_err(|_| self.dead = true)?;
        self.dead = turn == Turn::FailAfter;
        let written = self.inner.sync().await?;
        self.faults.way("sync").await;
        self.alive("sync").map(|()| written)
    }
}

struct FaultyOpen {
    inner: Arc<dyn OpenBlob>,
    faults: Arc<Faults>,
}

#[async_trait]
impl OpenBlob for FaultyOpen {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn try_read(&self, offset: u64, into: &mut [u8]) -> Result<Option<usize>> {
        self.faults.begin_now("try_read")?;
        self.inner.try_read(offset, into)
    }

    async fn read(&self, offset: u64, length: usize) -> Result<Bytes> {
        self.faults.around("read", self.inner.read(offset, length)).await
    }
}
