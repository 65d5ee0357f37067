//! The body of an answer on its way out, and what is written down about a request when it is done.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::{flight::Flight, stall::Stall};
use crate::{
    error::{Error, Result},
    http::{ByteStream, Content},
};

/// An answer's body. When the last byte was handed over, or it is dropped before that, the request's [`Flight`] ends.
#[derive(Default)]
pub struct Outgoing {
    content: Rest,
    flight: Option<Flight>,
    stall: Option<Stall>,
}

#[derive(Default)]
enum Rest {
    #[default]
    Done,
    Bytes(Bytes),
    Stream(u64, ByteStream),
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Outgoing({})", self.left())
    }
}

impl Outgoing {
    /// A body of this content, ending this flight.
    pub(super) fn new(content: Content, flight: Option<Flight>) -> Self {
        let content = match content {
            Content::Empty | Content::Stream(0, _) => Rest::Done,
            Content::Bytes(bytes) if bytes.is_empty() => Rest::Done,
            Content::Bytes(bytes) => Rest::Bytes(bytes),
            Content::Stream(length, stream) => Rest::Stream(length, stream),
        };
        Self { stall: Stall::current(), content, flight }
    }

    fn left(&self) -> u64 {
        match &self.content {
            Rest::Done => 0,
            Rest::Bytes(bytes) => bytes.len() as u64,
            Rest::Stream(left, _) => *left,
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
                let result = match next {
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
                };
                if *left == 0 || result.is_err() {
                    self.content = Rest::Done;
                }
                Poll::Ready(Some(result))
            }
        }
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
        let next = ready!(this.poll_bytes(cx));
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
