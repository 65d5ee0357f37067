//! A request's body: bounded, with a deadline for progress, and never lost: what a handler leaves unread goes back to the
//! pipeline, which drains a bounded rest so that a client that writes everything first still reads the answer.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use crate::error::{Error, Kind, Result, What};

/// Bytes as they arrive.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>;

/// Where a body goes when a handler lets go of it.
pub type Leftover = Arc<Mutex<Option<Incoming>>>;

/// A request's body, unread.
pub struct Body {
    incoming: Option<Incoming>,
    length: Option<u64>,
    idle: Duration,
    deadline: Pin<Box<Sleep>>,
    leftover: Leftover,
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Body({:?})", self.length)
    }
}

impl Body {
    /// Wraps what hyper gives. `length` is the declared one, `idle` the longest wait for the next bytes.
    pub fn new(incoming: Incoming, length: Option<u64>, idle: Duration, leftover: Leftover) -> Self {
        Self { incoming: Some(incoming), length, idle, deadline: Box::pin(tokio::time::sleep(idle)), leftover }
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
    pub async fn small(mut self, limit: u64, what: What) -> Result<Bytes> {
        let too_large = || Error::new(Kind::TooLarge(what), format!("the body is larger than {limit} bytes"));
        if self.length.is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        let mut whole = Vec::new();
        while let Some(chunk) = self.next().await {
            let chunk = chunk?;
            if whole.len() as u64 + chunk.len() as u64 > limit {
                return Err(too_large());
            }
            // The common case, one frame, is not copied.
            if whole.is_empty() && self.is_empty() {
                return Ok(chunk);
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.into())
    }

    /// The body as a stream. It ends with an error once more than `limit` bytes are seen.
    ///
    /// # Errors
    /// Too large at once when more than `limit` bytes are announced.
    pub fn stream(self, limit: u64, what: What) -> Result<ByteStream> {
        let too_large = move || Error::new(Kind::TooLarge(what), format!("the body is larger than {limit} bytes"));
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

impl Stream for Body {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        loop {
            let Some(incoming) = self.incoming.as_mut() else { return Poll::Ready(None) };
            match Pin::new(incoming).poll_frame(cx) {
                Poll::Pending => {
                    ready!(self.deadline.as_mut().poll(cx));
                    return Poll::Ready(Some(Err(Error::new(Kind::Timeout, "the body stopped arriving"))));
                }
                Poll::Ready(None) => return Poll::Ready(None),
                // A connection that breaks in the middle of a body: the client is gone, nobody reads the answer.
                Poll::Ready(Some(Err(cause))) => {
                    return Poll::Ready(Some(Err(
                        Error::invalid(What::Size, "the body ended before its announced length").because(cause)
                    )));
                }
                Poll::Ready(Some(Ok(frame))) => {
                    let next = Instant::now() + self.idle;
                    self.deadline.as_mut().reset(next);
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
            }
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let rest = self.incoming.take().filter(|incoming| !incoming.is_end_stream());
        *self.leftover.lock().unwrap_or_else(PoisonError::into_inner) = rest;
    }
}
