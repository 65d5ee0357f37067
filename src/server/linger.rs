//! The byte stream under hyper: closes politely, gives up on readers that take nothing, and watches message framing.
//!
//! *Closing.* When a server closes a socket that holds bytes it has not read, the kernel sends a reset, and a reset makes
//! the client's kernel throw away what it has received but not yet handed over: the refusal that was the last thing sent.
//! A client that writes its whole upload before it reads (many do) would see "connection reset" in place of "401, sign
//! in". So closing here is: send FIN, then read and discard what still comes until the client closes, or until it has
//! been quiet for a while, or for long enough altogether.
//!
//! *Writing.* A write that cannot move a byte for the write deadline fails, which drops the connection and the buffers
//! behind it.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

use super::{
    framing::Framing,
    pulse::Pulse,
    sendfile::{self, Sink, Spans},
    socket::Home,
};

/// A client that was sending and has been quiet for so long after our FIN is not going to send on.
const QUIET: Duration = Duration::from_secs(5);
/// The same for one that was not sending: this only covers a request that crosses our FIN.
const CROSSING: Duration = Duration::from_secs(1);
/// What is read and thrown away of a body that nobody wanted, so that the connection can go on.
pub(super) const DRAIN_BYTES: u64 = 16 << 20;
/// How long that may take.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// How patient a [`Wire`] is.
#[derive(Debug, Clone, Copy)]
pub(super) struct WirePatience {
    /// Longest wait for a write to move.
    pub(super) write: Duration,
    /// Longest reading after our FIN.
    pub(super) linger: Duration,
}

/// A client's byte stream.
#[derive(Debug)]
pub(super) struct Wire<S> {
    inner: S,
    /// Bytes read while the protocol was being told apart.
    ahead: Bytes,
    framing: Framing,
    pulse: Arc<Pulse>,
    patience: WirePatience,
    home: Home,
    /// What it sends out of files.
    spans: Option<Arc<Spans>>,
    /// Set while a write is stuck.
    stuck: Option<Pin<Box<Sleep>>>,
    /// The client has sent its last byte.
    ended: bool,
    closing: Closing,
}

#[derive(Debug)]
enum Closing {
    Open,
    Discarding { quiet: Pin<Box<Sleep>>, whole: Pin<Box<Sleep>>, scratch: Box<[u8]> },
    Closed,
}

impl<S> Wire<S> {
    pub(super) fn new(
        inner: S,
        ahead: Bytes,
        framing: Framing,
        pulse: Arc<Pulse>,
        patience: WirePatience,
        spans: Option<Arc<Spans>>,
    ) -> Self {
        let (home, stuck, ended, closing) = (Home::default(), None, false, Closing::Open);
        Self { inner, ahead, framing, pulse, patience, home, spans, stuck, ended, closing }
    }

    /// Passes on the result of a write, unless writes have been stuck for too long.
    fn watched<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stuck = None;
            return result;
        }
        let patience = self.patience.write;
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(stuck.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no bytes")))
    }
}

impl<S: Sink> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.home.follow(&mut this.inner, this.pulse.is_on_bulk())?;
        let before = buf.filled().len();
        if this.ahead.has_remaining() {
            let taken = this.ahead.len().min(buf.remaining());
            buf.put_slice(&this.ahead.split_to(taken));
        } else {
            ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
            this.ended |= buf.filled().len() == before && buf.remaining() > 0;
        }
        this.framing.observe(&buf.filled()[before..], &this.pulse);
        Poll::Ready(Ok(()))
    }
}

impl<S: Sink> AsyncWrite for Wire<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(data)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.home.follow(&mut this.inner, this.pulse.is_on_bulk())?;
        let result = match sendfile::poll_write(self.spans.as_deref(), &self.inner, data, cx) {
            Some(result) => result,
            None => Pin::new(&mut self.inner).poll_write_vectored(cx, data),
        };
        // Only here: on HTTP/2 pings are written too, and a stand-in is more than any other connection has in its queue.
        if self.spans.is_some() && matches!(result, Poll::Ready(Ok(written)) if written > 0) {
            self.pulse.wrote();
        }
        self.watched(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        sendfile::settle(self.spans.as_deref())?;
        let result = Pin::new(&mut self.inner).poll_flush(cx);
        self.watched(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            match &mut this.closing {
                Closing::Open => {
                    let result = Pin::new(&mut this.inner).poll_shutdown(cx);
                    ready!(this.watched(cx, result))?;
                    let quiet = if this.framing.is_mid_message() { QUIET } else { CROSSING };
                    this.closing = match this.ended {
                        true => Closing::Closed,
                        false => discarding(quiet, this.patience.linger),
                    };
                }
                Closing::Discarding { quiet, whole, scratch } => {
                    let mut buf = ReadBuf::new(scratch);
                    match Pin::new(&mut this.inner).poll_read(cx, &mut buf) {
                        Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                            quiet.as_mut().reset(tokio::time::Instant::now() + QUIET);
                            if whole.as_mut().poll(cx).is_ready() {
                                this.closing = Closing::Closed;
                            }
                        }
                        // The end, or an error: either way nothing is lost any more.
                        Poll::Ready(_) => this.closing = Closing::Closed,
                        Poll::Pending => {
                            if quiet.as_mut().poll(cx).is_pending() && whole.as_mut().poll(cx).is_pending() {
                                return Poll::Pending;
                            }
                            this.closing = Closing::Closed;
                        }
                    }
                }
                Closing::Closed => return Poll::Ready(Ok(())),
            }
        }
    }
}

fn discarding(quiet: Duration, linger: Duration) -> Closing {
    Closing::Discarding {
        quiet: Box::pin(tokio::time::sleep(quiet.min(linger))),
        whole: Box::pin(tokio::time::sleep(linger)),
        scratch: vec![0; 64 << 10].into(),
    }
}

/// Reads and drops what is left of a body, within bounds. When they are passed, dropping it makes hyper close.
pub(super) async fn drain(mut rest: Incoming) {
    let all = async {
        let mut seen = 0;
        while let Some(Ok(frame)) = rest.frame().await {
            seen += frame.data_ref().map_or(0, |data| data.len() as u64);
            if seen > DRAIN_BYTES {
                return;
            }
        }
    };
    // Late or done, the rest is dropped.
    let _late = tokio::time::timeout(DRAIN_TIME, all).await.is_err();
}
