//! A serial worker that occupies a blocking thread only while it has something to do, so that a thousand slow uploads
//! do not hold a thousand threads.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, oneshot},
};

use crate::error::{Error, Kind, Result};

/// Bytes that one step takes at most, so that a revoked worker stops soon.
const STEP: usize = 1 << 20;

/// Bytes on their way through one or more lanes. What they take of the writer's allowance is given back when the last
/// lane has dealt with them.
#[derive(Clone)]
pub(super) struct Chunk {
    pub(super) bytes: Bytes,
    pub(super) _room: Arc<OwnedSemaphorePermit>,
}

/// What a lane does with bytes.
pub(super) trait Work: Send + 'static {
    /// What a mark answers.
    type Mark: Send + 'static;

    /// Takes bytes in order.
    fn take(&mut self, chunks: &[Chunk]) -> Result<()>;

    /// Answers for everything taken so far.
    fn mark(&mut self) -> Result<Self::Mark>;
}

enum Item<M> {
    Chunk(Chunk),
    Mark(oneshot::Sender<Result<M>>),
}

struct State<W: Work> {
    queue: VecDeque<Item<W::Mark>>,
    /// Absent while a thread has it, and for ever once it failed.
    work: Option<W>,
    running: bool,
    /// Why nothing more is taken.
    failed: Option<(Kind, String)>,
    /// Told when the thread has left a failed lane.
    gone: Vec<oneshot::Sender<()>>,
}

/// A queue of bytes and the worker behind it.
pub(super) struct Lane<W: Work> {
    state: Mutex<State<W>>,
    threads: Handle,
}

impl<W: Work> Lane<W> {
    /// A lane whose steps are done on these threads.
    pub(super) fn new(work: W, threads: Handle) -> Arc<Self> {
        let state = State {
            queue: VecDeque::new(),
            work: Some(work),
            running: false,
            failed: None,
            gone: Vec::new(),
        };
        Arc::new(Self { state: Mutex::new(state), threads })
    }

    fn state(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a chunk.
    ///
    /// # Errors
    /// The lane's failure, if it has failed already; a later one shows at the next mark.
    pub(super) fn give(self: &Arc<Self>, chunk: Chunk) -> Result<()> {
        self.enqueue(Item::Chunk(chunk))
    }

    /// Waits for everything given so far.
    pub(super) async fn mark(self: &Arc<Self>) -> Result<W::Mark> {
        let (answer, marked) = oneshot::channel();
        self.enqueue(Item::Mark(answer))?;
        marked.await.map_err(|_| self.failure())?
    }

    /// Stops the lane: nothing queued is done any more.
    pub(super) fn revoke(&self, kind: Kind, why: &str) {
        let mut state = self.state();
        if state.failed.is_none() {
            state.failed = Some((kind, why.to_owned()));
        }
        // Dropping a mark's sender makes its receiver ask for the failure.
        state.queue.clear();
        state.work = None;
    }

    /// Waits until no thread works for a revoked lane any more.
    pub(super) async fn left(&self) {
        let gone = {
            let mut state = self.state();
            if !state.running {
                return;
            }
            let (sender, gone) = oneshot::channel();
            state.gone.push(sender);
            gone
        };
        // Told or dropped, both mean that the thread has left.
        let _ = gone.await;
    }

    fn failure(&self) -> Error {
        match &self.state().failed {
            Some((kind, why)) => refusal(*kind, why),
            None => Error::internal("an upload's worker has vanished"),
        }
    }

    fn enqueue(self: &Arc<Self>, item: Item<W::Mark>) -> Result<()> {
        let mut state = self.state();
        if let Some((kind, why)) = &state.failed {
            return Err(refusal(*kind, why));
        }
        state.queue.push_back(item);
        if let Some(work) = state.work.take() {
            state.running = true;
            self.step_later(work);
        }
        Ok(())
    }

    fn step_later(self: &Arc<Self>, work: W) {
        let lane = Arc::clone(self);
        self.threads.spawn_blocking(move || lane.step(work));
    }

    /// Does one step, and the next one after those of the other lanes that wait for a thread.
    fn step(self: &Arc<Self>, mut work: W) {
        let (chunks, mark) = {
            let mut state = self.state();
            if state.failed.is_some() {
                drop(state);
                return self.leave(work);
            }
            next(&mut state.queue)
        };
        let done = if chunks.is_empty() { Ok(()) } else { work.take(&chunks) };
        // The allowance is free again before anybody hears of it.
        drop(chunks);
        let done = match (done, &mark) {
            (Ok(()), Some(_)) => work.mark().map(Some),
            (done, _) => done.map(|()| None),
        };
        match (done, mark) {
            (Ok(Some(answer)), Some(mark)) => {
                // A writer that went away does not matter.
                let _ = mark.send(Ok(answer));
            }
            (Ok(_), _) => {}
            (Err(error), _mark) => {
                let why = error.cause().map_or_else(String::new, ToString::to_string);
                // Noted before the mark is dropped, which makes its receiver ask.
                self.revoke(error.kind(), &why);
                return self.leave(work);
            }
        }
        let mut state = self.state();
        if state.failed.is_some() {
            // Stopped meanwhile: whoever waits for it does not wait for the others' steps too.
            drop(state);
            return self.leave(work);
        }
        if state.queue.is_empty() {
            state.work = Some(work);
            state.running = false;
            return;
        }
        drop(state);
        self.step_later(work);
    }

    /// Closes the file, which is never synced again after a failure.
    fn leave(&self, work: W) {
        drop(work);
        let mut state = self.state();
        state.running = false;
        state.gone.clear();
    }
}

/// The chunks at the front, up to a step's worth, and the mark behind them if that comes next.
#[allow(clippy::type_complexity)]
fn next<M>(queue: &mut VecDeque<Item<M>>) -> (Vec<Chunk>, Option<oneshot::Sender<Result<M>>>) {
    let mut chunks = Vec::new();
    let mut bytes = 0;
    while bytes < STEP {
        match queue.pop_front() {
            Some(Item::Chunk(chunk)) => {
                bytes += chunk.bytes.len();
                chunks.push(chunk);
            }
            Some(Item::Mark(answer)) => return (chunks, Some(answer)),
            None => break,
        }
    }
    (chunks, None)
}

fn refusal(kind: Kind, why: &str) -> Error {
    let public = match kind {
        Kind::NoSpace => "there is no space for uploads",
        Kind::Conflict(_) => "another request continues this upload",
        _ => "the blob store cannot be written now",
    };
    Error::new(kind, public).because(why.to_owned())
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        sync::mpsc::{Receiver, Sender, channel},
    };

    use tokio::sync::Semaphore;

    use super::*;

    /// Works when it is told to, and fails when told so.
    struct Told {
        begun: Sender<usize>,
        go_on: Receiver<bool>,
    }

    impl Work for Told {
        type Mark = ();

        fn take(&mut self, chunks: &[Chunk]) -> Result<()> {
            self.begun.send(chunks.iter().map(|chunk| chunk.bytes.len()).sum()).unwrap();
            match self.go_on.recv().unwrap() {
                true => Ok(()),
                false => Err(Error::new(Kind::NoSpace, "full").because("told so")),
            }
        }

        fn mark(&mut self) -> Result<()> {
            Ok(())
        }
    }

    fn told() -> (Arc<Lane<Told>>, Receiver<usize>, Sender<bool>) {
        let (begun, has_begun) = channel();
        let (tell, go_on) = channel();
        (Lane::new(Told { begun, go_on }, Handle::current()), has_begun, tell)
    }

    fn chunk(room: &Arc<Semaphore>, length: usize) -> Chunk {
        let room = Arc::clone(room).try_acquire_owned().unwrap();
        Chunk { bytes: vec![0; length].into(), _room: Arc::new(room) }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_waits_is_taken_together_up_to_a_step() {
        let room = Arc::new(Semaphore::new(10));
        let (lane, begun, tell) = told();
        lane.give(chunk(&room, 1)).unwrap();
        assert_eq!(begun.recv().unwrap(), 1);
        for _ in 0..4 {
            lane.give(chunk(&room, STEP / 2)).unwrap();
        }
        tell.send(true).unwrap();
        for _ in 0..2 {
            assert_eq!(begun.recv().unwrap(), STEP);
            tell.send(true).unwrap();
        }
        lane.mark().await.unwrap();
        assert_eq!(room.available_permits(), 10);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_takes_over_waits_until_the_thread_has_left() {
        let room = Arc::new(Semaphore::new(10));
        let (lane, begun, tell) = told();
        lane.give(chunk(&room, 1)).unwrap();
        begun.recv().unwrap();
        lane.give(chunk(&room, 1)).unwrap();
        lane.revoke(Kind::Unavailable, "taken over");
        assert_eq!(lane.give(chunk(&room, 1)).unwrap_err().kind(), Kind::Unavailable);
        let mut left = pin!(lane.left());
        assert!(futures_util::FutureExt::now_or_never(left.as_mut()).is_none());
        tell.send(true).unwrap();
        left.await;
        // What was queued was not begun, and its allowance is back.
        assert!(begun.try_recv().is_err());
        assert_eq!(room.available_permits(), 10);
        lane.left().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_failure_is_heard_by_every_mark() {
        for _ in 0..50 {
            let room = Arc::new(Semaphore::new(10));
            let (lane, begun, tell) = told();
            lane.give(chunk(&room, 1)).unwrap();
            begun.recv().unwrap();
            lane.give(chunk(&room, 1)).unwrap();
            let (first, second, ()) = tokio::join!(lane.mark(), lane.mark(), async {
                tell.send(true).unwrap();
                tell.send(false).unwrap();
            });
            for error in [first.unwrap_err(), second.unwrap_err(), lane.mark().await.unwrap_err()] {
                assert_eq!(error.kind(), Kind::NoSpace);
                assert!(error.to_string().contains("told so"));
            }
            lane.left().await;
            assert_eq!(room.available_permits(), 10);
        }
    }
}
