//! Bytes on their way out: pooled buffers within one budget, and the stream that fills them from an open blob.

use std::{
    future::Future,
    ops::Range,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{Stream, task::AtomicWaker};

use super::OpenBlob;
use crate::error::{Error, Kind, Result};

/// The smallest buffer, which every transfer gets whatever the budget says.
const SMALLEST: usize = 16 << 10;

/// The largest.
const LARGEST: usize = 256 << 10;

/// Sizes there are: 16, 32, 64, 128, 256 KiB.
const CLASSES: usize = 5;

/// A peer that takes a buffer within this time drains.
const DRAINS: Duration = Duration::from_millis(100);

/// Transfer buffers of all connections, within one budget of bytes.
pub struct Buffers {
    budget: usize,
    /// Bytes given out, and bytes kept for the next one.
    used: AtomicUsize,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    bytes: usize,
    classes: [Vec<Box<[u8]>>; CLASSES],
}

impl Buffers {
    /// A pool with a budget; 40 MiB is what the default memory setting gives it.
    pub fn new(budget: usize) -> Arc<Self> {
        Arc::new(Self { budget, used: AtomicUsize::new(0), idle: Mutex::default() })
    }

    /// Bytes given out now. May be beyond the budget when more transfers run than it has smallest buffers.
    pub fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    /// Bytes kept for the next transfer.
    pub fn idle(&self) -> usize {
        self.idles().bytes
    }

    fn idles(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A buffer for `length` bytes: that large if the budget allows, smaller if not, never none.
    pub fn take(self: &Arc<Self>, length: usize) -> Buffer {
        let share = self.reserve(class_for(length));
        let kept = {
            let mut idle = self.idles();
            let kept = idle.classes[share.class].pop();
            idle.bytes -= kept.as_ref().map_or(0, |memory| memory.len());
            kept
        };
        let bytes = kept.unwrap_or_else(|| vec![0; SMALLEST << share.class].into_boxed_slice());
        let memory = Memory { bytes, class: share.class, pool: Arc::clone(self) };
        Buffer { length: 0, share, memory, _taken: None }
    }

    fn reserve(self: &Arc<Self>, wanted: usize) -> Share {
        for class in (0..=wanted).rev() {
            let size = SMALLEST << class;
            let fits = |used: usize| Some(used + size).filter(|sum| class == 0 || *sum <= self.budget);
            if self.used.fetch_update(Relaxed, Relaxed, fits).is_ok() {
                return Share { pool: Arc::clone(self), class };
            }
        }
        // The smallest class always fits above.
        self.used.fetch_add(SMALLEST, Relaxed);
        Share { pool: Arc::clone(self), class: 0 }
    }

    /// Keeps memory for later, as long as given out and kept stay within the budget together.
    fn keep(&self, memory: Box<[u8]>, class: usize) {
        let mut idle = self.idles();
        if self.used() + idle.bytes + memory.len() <= self.budget {
            idle.bytes += memory.len();
            idle.classes[class].push(memory);
        }
    }
}

/// The class whose buffers hold `length` bytes, or the largest.
fn class_for(length: usize) -> usize {
    (0..CLASSES - 1).find(|class| SMALLEST << class >= length).unwrap_or(CLASSES - 1)
}

/// A part of the budget, given back when dropped.
struct Share {
    pool: Arc<Buffers>,
    class: usize,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.pool.used.fetch_sub(SMALLEST << self.class, Relaxed);
    }
}

/// A buffer's memory, kept for the next transfer when dropped.
struct Memory {
    bytes: Box<[u8]>,
    class: usize,
    pool: Arc<Buffers>,
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.pool.keep(std::mem::take(&mut self.bytes), self.class);
    }
}

/// A pooled buffer; its bytes are those that were filled.
pub struct Buffer {
    length: usize,
    // Dropped in this order: what is given back here makes room for keeping the memory.
    share: Share,
    memory: Memory,
    /// Last, so that who waits for it finds the rest given back.
    _taken: Option<Taken>,
}

impl Buffer {
    /// Bytes it can hold.
    pub fn capacity(&self) -> usize {
        self.memory.bytes.len()
    }

    /// All of it, to be filled.
    pub fn space(&mut self) -> &mut [u8] {
        &mut self.memory.bytes
    }

    /// Turns the first `length` bytes into a chunk; the buffer goes back to the pool when the chunk is dropped.
    #[must_use]
    pub fn filled(mut self, length: usize) -> Bytes {
        self.length = length.min(self.capacity());
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.memory.bytes[..self.length]
    }
}

/// Bytes that came from the blocking pool, counted as a buffer while they live.
struct Counted {
    bytes: Bytes,
    _share: Share,
    _taken: Option<Taken>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// What a transfer has given out and its reader has not let go of.
#[derive(Default)]
struct Window {
    out: AtomicUsize,
    waiting: AtomicWaker,
}

impl Window {
    /// Whether a chunk may follow: the first always; more, up to the largest there is, while half of the budget is free.
    fn admits(&self, chunk: usize, buffers: &Buffers) -> bool {
        let out = self.out.load(Acquire);
        out == 0 || (out + chunk <= LARGEST && buffers.used() + chunk <= buffers.budget / 2)
    }

    fn give(self: &Arc<Self>, bytes: usize) -> Taken {
        self.out.fetch_add(bytes, Relaxed);
        Taken { window: Arc::clone(self), bytes }
    }
}

/// A chunk that is out.
struct Taken {
    window: Arc<Window>,
    bytes: usize,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.window.out.fetch_sub(self.bytes, Release);
        self.window.waiting.wake();
    }
}

type Reading = Pin<Box<dyn Future<Output = Result<Bytes>> + Send>>;

/// A range of a blob as a stream of chunks. The first is 16 KiB; while the peer drains they double up to 256 KiB.
pub struct BlobStream(Source);

enum Source {
    Memory(Option<Bytes>),
    Blob(Box<Transfer>),
}

struct Transfer {
    blob: Arc<dyn OpenBlob>,
    buffers: Arc<Buffers>,
    offset: u64,
    end: u64,
    step: usize,
    given: Option<Instant>,
    patience: Duration,
    waiting: Option<(Reading, Share)>,
    window: Option<Arc<Window>>,
}

impl BlobStream {
    /// Bytes that are in memory already.
    pub fn of_bytes(bytes: Bytes) -> Self {
        Self(Source::Memory(Some(bytes).filter(|bytes| !bytes.is_empty())))
    }

    /// The bytes of an open blob in a range, which must lie within it.
    pub fn of_blob(blob: Arc<dyn OpenBlob>, range: Range<u64>, buffers: Arc<Buffers>) -> Self {
        let transfer = Transfer {
            blob,
            buffers,
            offset: range.start,
            end: range.end.max(range.start),
            step: SMALLEST,
            given: None,
            patience: DRAINS,
            waiting: None,
            window: None,
        };
        Self(Source::Blob(Box::new(transfer)))
    }

    /// For a reader that lets go of each chunk when it is on its way, as a connection does: the next one comes only then,
    /// so that a peer that takes nothing holds one chunk and not as many as the connection would queue. A reader that
    /// collects chunks would wait for ever.
    #[must_use]
    pub fn as_taken(mut self) -> Self {
        if let Source::Blob(transfer) = &mut self.0 {
            transfer.window = Some(Arc::default());
        }
        self
    }

    /// How quick a peer must be to get larger chunks: tests cannot depend on a clock.
    #[cfg(test)]
    pub(super) fn patient(mut self, patience: Duration) -> Self {
        if let Source::Blob(transfer) = &mut self.0 {
            transfer.patience = patience;
        }
        self
    }

    /// Bytes still to come.
    pub fn remaining(&self) -> u64 {
        match &self.0 {
            Source::Memory(bytes) => bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            Source::Blob(transfer) => transfer.end - transfer.offset,
        }
    }
}

impl Stream for BlobStream {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match &mut self.0 {
            Source::Memory(bytes) => Poll::Ready(bytes.take().map(Ok)),
            Source::Blob(transfer) => {
                let chunk = ready!(transfer.poll(context));
                if let Some(Err(_)) = &chunk {
                    // Nothing may follow a failure: the connection is to break, not to end early.
                    transfer.offset = transfer.end;
                }
                Poll::Ready(chunk)
            }
        }
    }
}

impl Transfer {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if let Some((reading, _)) = &mut self.waiting {
            let read = ready!(reading.as_mut().poll(context));
            let share = self.waiting.take().map(|(_, share)| share);
            return Poll::Ready(Some(read.and_then(|bytes| {
                self.advance(bytes.len())?;
                let _taken = self.window.as_ref().map(|window| window.give(bytes.len()));
                Ok(match share {
                    Some(_share) => Bytes::from_owner(Counted { bytes, _share, _taken }),
                    None => bytes,
                })
            })));
        }
        if self.offset == self.end {
            return Poll::Ready(None);
        }
        if self.is_full(context) {
            return Poll::Pending;
        }
        self.pace();
        let rest = usize::try_from(self.end - self.offset).unwrap_or(usize::MAX);
        let mut buffer = self.buffers.take(self.step.min(rest));
        let want = buffer.capacity().min(self.step).min(rest);
        match self.blob.try_read(self.offset, &mut buffer.space()[..want]) {
            Err(error) => Poll::Ready(Some(Err(error))),
            Ok(Some(read)) => {
                buffer._taken = self.window.as_ref().map(|window| window.give(read));
                Poll::Ready(Some(self.advance(read).map(|()| buffer.filled(read))))
            }
            Ok(None) => {
                let (blob, offset) = (Arc::clone(&self.blob), self.offset);
                let reading = Box::pin(async move { blob.read(offset, want).await });
                // The memory may serve others meanwhile; the share of the budget stays ours.
                self.waiting = Some((reading, buffer.share));
                self.poll(context)
            }
        }
    }

    /// Whether the reader has to let go of something first.
    fn is_full(&self, context: &Context<'_>) -> bool {
        let Some(window) = &self.window else { return false };
        let rest = usize::try_from(self.end - self.offset).unwrap_or(usize::MAX);
        let full = || !window.admits(self.step.min(rest), &self.buffers);
        if !full() {
            return false;
        }
        // Asked again: what was let go before the waker was there woke nobody.
        window.waiting.register(context.waker());
        full()
    }

    /// Larger chunks for a peer that drains, smaller ones for one that does not: a slow peer's buffers wait long.
    fn pace(&mut self) {
        let Some(given) = self.given else { return };
        self.step = if given.elapsed() <= self.patience { self.step * 2 } else { self.step / 2 };
        self.step = self.step.clamp(SMALLEST, LARGEST);
    }

    fn advance(&mut self, read: usize) -> Result<()> {
        if read == 0 {
            let text = format!("a blob ended at {}, {} bytes early", self.offset, self.end - self.offset);
            return Err(Error::new(Kind::Internal, "the blob could not be read to its end").because(text));
        }
        self.offset += read as u64;
        self.given = Some(Instant::now());
        Ok(())
    }
}
