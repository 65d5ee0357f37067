//! A request's body: bounded, with a deadline for progress, and never lost: what a handler leaves unread goes back to the
//! pipeline, which drains a bounded rest so that a client that writes everything first still reads the answer.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::room::Room;
use crate::error::{Error, Kind, Result, What};

/// Bytes that are read at most before other connections have their turn: a client that writes faster than they are used
/// would else hold a worker for milliseconds.
const TURN: u64 = 4 << 20;

/// Bytes as they arrive.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>;

/// Where a body goes when a handler lets go of it, and how much of it was read. The pipeline keeps one end.
#[derive(Debug, Clone, Default)]
pub struct Leftover(Arc<Rest>);

#[derive(Debug, Default)]
struct Rest {
    incoming: Mutex<Option<Incoming>>,
    asked: AtomicBool,
    bytes: AtomicU64,
}

impl Leftover {
    /// What was left unread, once.
    pub fn take(&self) -> Option<Incoming> {
        self.0.incoming.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether anybody began to read. Until then a client that sent `Expect: 100-continue` holds its body back.
    pub fn asked(&self) -> bool {
        self.0.asked.load(Relaxed)
    }

    /// Bytes read so far.
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Relaxed)
    }
}

/// How slowly a body may come. Only time spent waiting for the client counts, never time the handler takes.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Longest wait for the next bytes.
    pub idle: Duration,
    /// Bytes per second on average, judged after [`Pace::GRACE`] of waiting; 0 for none.
    pub rate: u64,
}

impl Pace {
    /// Waiting that is free: a slow start, a pause, a retransmission.
    pub const GRACE: Duration = Duration::from_secs(60);

    /// Whether so many bytes in so much waiting are too few.
    fn too_slow(self, bytes: u64, waited: Duration) -> bool {
        waited > Self::GRACE && (bytes as f64) < (waited - Self::GRACE).as_secs_f64() * self.rate as f64
    }
}

/// A request's body, unread.
pub struct Body {
    incoming: Option<Incoming>,
    length: Option<u64>,
    pace: Pace,
    /// When the present wait began.
    since: Option<Instant>,
    /// All waits before it.
    waited: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
    /// Bytes read since others had their turn.
    turn: u64,
    /// It broke: nothing more comes, and nobody waits for the rest.
    failed: bool,
    leftover: Leftover,
    room: Option<Room>,
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Body({:?})", self.length)
    }
}

impl Body {
    /// Wraps what hyper gives. `length` is the declared one.
    pub fn new(incoming: Incoming, length: Option<u64>, pace: Pace, leftover: Leftover) -> Self {
        let (since, waited, deadline) = (None, Duration::ZERO, None);
        Self {
            incoming: Some(incoming),
            length,
            pace,
            since,
            waited,
            deadline,
            turn: 0,
            failed: false,
            leftover,
            room: None,
        }
    }

    /// The same, held in this room while it is collected and used.
    #[must_use]
    pub fn within(mut self, room: Room) -> Self {
        self.room = Some(room);
        self
    }

    /// The declared length; `None` when the client streams.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Whether there is certainly nothing to read.
    pub fn is_empty(&self) -> bool {
        self.length == Some(0) || self.incoming.as_ref().is_none_or(|incoming| incoming.is_end_stream())
    }

    /// Reads a short body whole.
    ///
    /// # Errors
    /// Too large as soon as more than `limit` bytes are announced or seen.
    pub async fn small(self, limit: u64, what: What) -> Result<Bytes> {
        let late = || Error::new(Kind::Timeout, "the body took too long to arrive");
        tokio::time::timeout(Self::SMALL_WITHIN, self.collect(limit, what)).await.map_err(|_| late())?
    }

    /// Longest time for the whole of a body that is held in memory until it is complete.
    const SMALL_WITHIN: Duration = Duration::from_secs(120);

    async fn collect(mut self, limit: u64, what: What) -> Result<Bytes> {
        let too_large = || Error::new(Kind::TooLarge(what), format!("the body is larger than {limit} bytes"));
        if self.length.is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        let place = match &self.room {
            Some(room) => Some(room.take(self.length.unwrap_or(limit).min(limit)).await?),
            None => None,
        };
        let held = |bytes: Bytes| match place {
            Some(place) => place.keep(bytes),
            None => bytes,
        };
        let mut whole = Vec::new();
        while let Some(chunk) = self.next().await {
            let chunk = chunk?;
            if whole.len() as u64 + chunk.len() as u64 > limit {
                return Err(too_large());
            }
            // The common case, one frame, is not copied.
            if whole.is_empty() && self.is_empty() {
                return Ok(held(chunk));
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(held(whole.into()))
    }

    /// The body as a stream. It ends with an error once more than `limit` bytes are seen.
    ///
    /// # Errors
    /// Too large at once when more than `limit` bytes are announced.
    pub fn stream(self, limit: u64, what: What) -> Result<ByteStream> {
        let too_large =
            move || Error::new(Kind::TooLarge(what), format!("the body is larger than {limit} bytes"));
        if self.length.is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        let mut seen = 0u64;
        Ok(Box::pin(self.map(move |chunk| {
            let chunk = chunk?;
            seen += chunk.len() as u64;
            if seen > limit { Err(too_large()) } else { Ok(chunk) }
        })))
    }
}

impl Body {
    /// Waits for the client, but not for ever.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let now = Instant::now();
        let idle = self.pace.idle;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
        if self.since.is_none() {
            self.since = Some(now);
            deadline.as_mut().reset(now + idle);
        }
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Error::new(Kind::Timeout, "the body stopped arriving"))
    }

    /// Counts what came, and the wait for it.
    fn arrived(&mut self, bytes: usize) -> Result<()> {
        let total = self.leftover.0.bytes.fetch_add(bytes as u64, Relaxed) + bytes as u64;
        if let Some(since) = self.since.take() {
            self.waited += since.elapsed();
            if self.pace.too_slow(total, self.waited) {
                return Err(Error::new(Kind::Timeout, "the body arrives too slowly"));
            }
        }
        Ok(())
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if self.turn >= TURN {
            self.turn = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            let Some(incoming) = self.incoming.as_mut() else { return Poll::Ready(None) };
            match Pin::new(incoming).poll_frame(cx) {
                Poll::Pending => {
                    self.turn = 0;
                    return self.poll_deadline(cx).map(|error| Some(Err(error)));
                }
                Poll::Ready(None) => return Poll::Ready(None),
                // A connection that breaks in the middle of a body: the client is gone, nobody reads the answer.
                Poll::Ready(Some(Err(cause))) => {
                    return Poll::Ready(Some(Err(Error::invalid(
                        What::Size,
                        "the body ended before its announced length",
                    )
                    .because(cause))));
                }
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.turn += data.len() as u64;
                        return Poll::Ready(Some(self.arrived(data.len()).map(|()| data)));
                    }
                }
            }
        }
    }
}

impl Stream for Body {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        self.leftover.0.asked.store(true, Relaxed);
        // A broken body must not look like one that ended, however often it is asked.
        if self.failed {
            return Poll::Ready(Some(Err(Error::invalid(What::Size, "the body broke off"))));
        }
        let next = ready!(self.poll_data(cx));
        self.failed = matches!(next, Some(Err(_)));
        Poll::Ready(next)
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let rest = self.incoming.take().filter(|incoming| !self.failed && !incoming.is_end_stream());
        *self.leftover.0.incoming.lock().unwrap_or_else(PoisonError::into_inner) = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_may_be_slow_but_not_for_ever() {
        let pace = Pace { idle: Duration::from_secs(10), rate: 1024 };
        assert!(!pace.too_slow(0, Duration::from_secs(60)), "the grace");
        assert!(pace.too_slow(1023, Duration::from_secs(61)));
        assert!(!pace.too_slow(1024, Duration::from_secs(61)));
        assert!(!Pace { rate: 0, ..pace }.too_slow(0, Duration::from_secs(9999)), "off");
    }
}
