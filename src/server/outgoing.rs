//! The body of an answer on its way out, and what is written down about a request when it is done.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::{
    flight::Flight,
    sendfile::{self, SPAN, Spans},
    stall::Stall,
};
use crate::{
    error::{Error, Result},
    http::{ByteStream, Content, FilePart},
};

/// Shorter parts of files are read: two calls more cost more than one copy.
const SENT_FROM: u64 = 64 << 10;

/// What is read in one go where a part is not in memory. More than a piece: each reading begins with small chunks.
const READ: u64 = 4 << 20;

/// Bytes after which others have their turn; hyper, which asks once more in the same poll, comes to twice as many. A reader that keeps up would else hold a worker for
/// milliseconds, with small answers waiting behind it.
const TURN: u64 = 4 << 20;

/// An answer's body. When the last byte was handed over, or it is dropped before that, the request's [`Flight`] ends.
#[derive(Default)]
pub struct Outgoing {
    content: Rest,
    flight: Option<Flight>,
    stall: Option<Stall>,
    /// Bytes moved since others had their turn.
    turn: u64,
}

#[derive(Default)]
enum Rest {
    #[default]
    Done,
    Bytes(Bytes),
    Stream(u64, ByteStream),
    File(Box<Sending>),
}

/// A part of a file on its way.
struct Sending {
    part: FilePart,
    spans: Arc<Spans>,
    /// A piece that is not in memory, being read, and how much of it is still to come.
    reading: Option<(u64, ByteStream)>,
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Outgoing({})", self.left())
    }
}

impl Outgoing {
    /// A body of this content, ending this flight.
    pub(super) fn new(content: Content, flight: Option<Flight>, spans: Option<&Arc<Spans>>) -> Self {
        let content = match content {
            Content::Empty | Content::Stream(0, _) => Rest::Done,
            Content::Bytes(bytes) if bytes.is_empty() => Rest::Done,
            Content::Bytes(bytes) => Rest::Bytes(bytes),
            Content::Stream(length, stream) => Rest::Stream(length, stream),
            Content::File(part) => match spans.filter(|_| part.length >= SENT_FROM) {
                Some(spans) => {
                    let spans = Arc::clone(spans);
                    Rest::File(Box::new(Sending { part, spans, reading: None }))
                }
                None => Rest::Stream(part.length, (part.read)(part.first, part.length)),
            },
        };
        Self { stall: Stall::current(), content, flight, turn: 0 }
    }

    fn left(&self) -> u64 {
        match &self.content {
            Rest::Done => 0,
            Rest::Bytes(bytes) => bytes.len() as u64,
            Rest::Stream(left, _) => *left,
            Rest::File(sending) => sending.part.length,
        }
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        match &mut self.content {
            Rest::Done => Poll::Ready(None),
            Rest::Bytes(bytes) => {
                let bytes = std::mem::take(bytes);
                self.content = Rest::Done;
                Poll::Ready(Some(Ok(bytes)))
            }
            Rest::Stream(left, stream) => {
                let next = ready!(stream.as_mut().poll_next(cx));
                let result = within(left, next);
                if *left == 0 || result.is_err() {
                    self.content = Rest::Done;
                }
                Poll::Ready(Some(result))
            }
            Rest::File(sending) => {
                let result = ready!(sending.poll(cx));
                if sending.part.length == 0 || result.is_err() {
                    self.content = Rest::Done;
                }
                Poll::Ready(Some(result))
            }
        }
    }

    /// Whether others have their turn first.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.turn < TURN {
            return Poll::Ready(());
        }
        self.turn = 0;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Counts what a stream gave against what was announced.
fn within(left: &mut u64, next: Option<Result<Bytes>>) -> Result<Bytes> {
    match next {
        Some(Ok(bytes)) => match left.checked_sub(bytes.len() as u64) {
            Some(rest) => {
                *left = rest;
                Ok(bytes)
            }
            None => Err(Error::internal("a body is longer than announced")),
        },
        Some(Err(error)) => Err(error),
        // The announced length was already sent. Ending here in peace would be a short success.
        None => Err(Error::internal(format!("a body ended {left} bytes early"))),
    }
}

impl Sending {
    /// The next piece: a stand-in for what the kernel has in memory, bytes that were waited for otherwise.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes>> {
        let Self { part, spans, reading } = self;
        if reading.is_none() {
            let length = usize::try_from(part.length).unwrap_or(SPAN).min(SPAN);
            if sendfile::is_resident(&part.file, part.first, length) {
                let piece = spans.stand_in(&part.file, part.first, length);
                self.advance(length as u64);
                return Poll::Ready(Ok(piece));
            }
        }
        let length = part.length.min(READ);
        let (left, stream) = reading.get_or_insert_with(|| (length, (part.read)(part.first, length)));
        let piece = within(left, ready!(stream.as_mut().poll_next(cx)))?;
        if *left == 0 {
            *reading = None;
        }
        self.advance(piece.len() as u64);
        Poll::Ready(Ok(piece))
    }

    fn advance(&mut self, sent: u64) {
        self.part.first += sent;
        self.part.length -= sent;
    }
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let this = &mut *self;
        if let Some(stall) = &this.stall {
            stall.moved();
        }
        ready!(this.poll_turn(cx));
        let next = ready!(this.poll_bytes(cx));
        if let Some(Ok(bytes)) = &next {
            this.turn += bytes.len() as u64;
        }
        if let Some(flight) = &mut this.flight {
            match &next {
                Some(Ok(bytes)) => flight.sent(bytes.len() as u64),
                Some(Err(error)) => flight.failed(error),
                None => {}
            }
        }
        if matches!(this.content, Rest::Done) && !matches!(next, Some(Err(_))) {
            this.flight.iter_mut().for_each(Flight::complete);
        }
        Poll::Ready(next.map(|result| result.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.content, Rest::Done)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left())
    }
}
