//! One connection: TLS, which protocol, hyper with every bound set, deadlines, and an orderly end.

use std::{
    convert::Infallible,
    io,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulConnection,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::TcpStream,
    time::{Instant, timeout_at},
};

use super::{
    framing::Framing,
    lanes::Lanes,
    linger::{Wire, WirePatience},
    metrics::Metrics,
    pipeline::{Link, Serve},
    pulse::{Overdue, Patience, Pulse},
    sendfile::Sink,
    socket::Socket,
    stall::Streams,
    tasks::{Phase, Stop},
    tls::Tls,
};
use crate::config::{Limits, Size};

/// What begins an HTTP/2 connection (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Largest read buffer of an HTTP/1 connection; a fast upload arrives in pieces of it.
const BUFFER: usize = 128 << 10;

/// What all connections of a listener share.
pub(super) struct Shared<H> {
    pub(super) handler: H,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) metrics: Arc<Metrics>,
    http1: http1::Builder,
    http2: http2::Builder<Streams>,
    patience: Patience,
    wire: WirePatience,
    handshake: Duration,
    /// Where large bodies move; `None` where there are none.
    lanes: Option<Lanes>,
}

impl<H: Serve> Shared<H> {
    pub(super) fn new(
        handler: H,
        tls: Option<Arc<Tls>>,
        metrics: Arc<Metrics>,
        limits: &Limits,
        lanes: Option<Lanes>,
    ) -> Self {
        let patience = Patience {
            first_request: limits.first_request_time.0,
            header: limits.header_time.0,
            idle: limits.idle_time.0,
        };
        let wire = WirePatience { write: limits.write_idle_time.0, linger: limits.linger_time.0 };
        let handshake = limits.handshake_time.0;
        let (http1, http2) = (http1(limits), http2(limits));
        Self { handler, tls, metrics, http1, http2, patience, wire, handshake, lanes }
    }

    /// Serves a connection to its end.
    pub(super) async fn serve(self: Arc<Self>, stream: TcpStream, link: Link, mut stop: Stop) {
        // Answers are written whole; waiting for more to send would only delay them.
        if let Err(cause) = stream.set_nodelay(true) {
            tracing::debug!(%cause, "TCP_NODELAY");
        }
        let stream = Socket::new(stream);
        // Each stage is boxed when it is reached: a connection costs what it does, not the most it could ever do.
        let Some(tls) = self.tls.clone() else { return self.drive(stream, link, stop).await };
        let accepted = tokio::select! {
            accepted = tokio::time::timeout(self.handshake, Box::pin(tls.accept(stream))) => accepted,
            () = stop.reached(Phase::Draining) => return,
        };
        let good = matches!(accepted, Ok(Ok(_)));
        self.metrics.handshake(good);
        match accepted {
            Ok(Ok(stream)) => Box::pin(self.drive(stream, link, stop)).await,
            Ok(Err(cause)) => tracing::debug!(%cause, peer = %link.peer, "TLS handshake failed"),
            Err(_elapsed) => tracing::debug!(peer = %link.peer, "TLS handshake took too long"),
        }
    }

    /// Finds out the protocol and speaks it.
    async fn drive<S>(self: Arc<Self>, mut stream: S, mut link: Link, mut stop: Stop)
    where
        S: Sink + Send + 'static,
    {
        let deadline = Instant::now() + self.patience.first_request;
        let told = tokio::select! {
            told = timeout_at(deadline, tell_protocol(&mut stream)) => told,
            () = stop.reached(Phase::Draining) => return,
        };
        let (is_http2, ahead) = match told {
            Ok(Ok(told)) => told,
            // It closed or broke before it said anything.
            Ok(Err(_)) => return,
            Err(_elapsed) => return self.metrics.overdue("head"),
        };
        let framing = if is_http2 { Framing::http2() } else { Framing::http1() };
        // HTTP/2 puts its frames around every piece, and many answers side by side.
        link.spans = (S::SENDS_FILES && !is_http2).then(Arc::default);
        let wire = Wire::new(stream, ahead, framing, link.pulse.clone(), self.wire, link.spans.clone());
        let link = Arc::new(link);
        let pulse = link.pulse.clone();
        // The service owns what its requests need: HTTP/2 streams run in tasks of their own.
        let shared = self.clone();
        let service = service_fn(move |request| {
            let (shared, link) = (shared.clone(), link.clone());
            async move { Ok::<_, Infallible>(shared.handler.answer(request, &link).await) }
        });

        let wire = TokioIo::new(wire);
        if is_http2 {
            // Its streams are tasks of their own, large and small beside each other.
            Box::pin(self.clone().supervise(self.http2.serve_connection(wire, service), pulse, stop)).await;
        } else {
            let connection = self.http1.serve_connection(wire, service);
            let served = Box::pin(self.clone().supervise(connection, pulse.clone(), stop));
            match &self.lanes {
                Some(lanes) => lanes.run(served, &pulse).await,
                None => served.await,
            }
        }
    }

    /// Runs a connection until it ends, is overdue, or the daemon stops.
    async fn supervise<C: GracefulConnection>(
        self: Arc<Self>,
        connection: C,
        pulse: Arc<Pulse>,
        mut stop: Stop,
    ) {
        let mut connection = pin!(connection);
        let mut clock = Clock::new(self.patience);
        let mut closing = stop.clone();
        let overdue = tokio::select! {
            // In this order: the connection moves first, then its deadlines are judged by what it did.
            biased;
            _ended = connection.as_mut() => return,
            overdue = std::future::poll_fn(|cx| clock.poll_overdue(&pulse, cx)) => Some(overdue),
            () = stop.reached(Phase::Draining) => None,
        };
        match overdue {
            // Nothing was asked, so nothing needs an answer.
            Some(Overdue::Head) => return self.metrics.overdue("head"),
            Some(Overdue::Idle) => self.metrics.overdue("idle"),
            None => {}
        }
        connection.as_mut().graceful_shutdown();
        // An idle connection has nothing to finish but its farewell; a draining one has its requests.
        let farewell = self.wire.linger + Duration::from_secs(5);
        tokio::select! {
            biased;
            _ended = connection => {}
            () = closing.reached(Phase::Closing) => {}
            () = tokio::time::sleep(farewell), if overdue.is_some() => {}
        }
    }
}

/// The timer of a connection's deadlines. Deadlines move with every byte; the timer moves only when it must.
struct Clock {
    patience: Patience,
    sleep: std::pin::Pin<Box<tokio::time::Sleep>>,
}

impl Clock {
    fn new(patience: Patience) -> Self {
        Self { patience, sleep: Box::pin(tokio::time::sleep(patience.first_request)) }
    }

    fn poll_overdue(&mut self, pulse: &Pulse, cx: &mut Context<'_>) -> Poll<Overdue> {
        loop {
            let overdue = pulse.overdue(&self.patience);
            // With requests in flight: look again when the connection could have become overdue.
            let at = overdue.map_or_else(|| Instant::now() + self.patience.idle, |(at, _)| at);
            if let Some((at, what)) = overdue
                && at <= Instant::now()
            {
                return Poll::Ready(what);
            }
            let armed = self.sleep.deadline();
            if at < armed {
                self.sleep.as_mut().reset(at);
            }
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.sleep.as_mut().reset(at);
        }
    }
}

/// Whether a connection begins as HTTP/2 does, and the bytes read to know.
async fn tell_protocol<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<(bool, Bytes)> {
    let mut ahead = Vec::with_capacity(PREFACE.len());
    loop {
        // Never more than the preface, so that everything after it is hyper's.
        let wanted = PREFACE.len() - ahead.len();
        if stream.take(wanted as u64).read_buf(&mut ahead).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if ahead == PREFACE {
            return Ok((true, ahead.into()));
        }
        if !PREFACE.starts_with(&ahead) {
            return Ok((false, ahead.into()));
        }
    }
}

fn http1(limits: &Limits) -> http1::Builder {
    let mut http1 = http1::Builder::new();
    http1
        .timer(TokioTimer::new())
        // Behind our own deadlines, which tell an idle connection from a half-sent head.
        .header_read_timeout(limits.idle_time.0.max(limits.header_time.0) + Duration::from_secs(5))
        .max_headers(limits.headers)
        .max_header_size(to_usize(limits.header_bytes))
        .max_buf_size(BUFFER.max(to_usize(limits.header_bytes)));
    http1
}

fn http2(limits: &Limits) -> http2::Builder<Streams> {
    let mut http2 = http2::Builder::new(Streams { limit: limits.write_idle_time.0 });
    http2
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20))
        .max_concurrent_streams(limits.http2_streams)
        .initial_stream_window_size(to_u32(limits.http2_stream_window))
        .initial_connection_window_size(to_u32(limits.http2_connection_window))
        .max_frame_size(to_u32(limits.http2_frame))
        .max_header_list_size(to_u32(limits.header_bytes));
    http2
}

fn to_usize(size: Size) -> usize {
    usize::try_from(size.0).unwrap_or(usize::MAX)
}

fn to_u32(size: Size) -> u32 {
    u32::try_from(size.0).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn protocols_are_told_apart_by_their_first_bytes() {
        for (input, http2, ahead) in [
            (&b"GET / HTTP/1.1\r\n"[..], false, 16),
            (b"PRI * HTTP/1.1\r\n\r\n", false, 18),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nmore", true, 24),
            (b"\r\n", false, 2),
        ] {
            let mut input = input;
            let (is_http2, bytes) = tell_protocol(&mut input).await.unwrap();
            assert_eq!((is_http2, bytes.len()), (http2, ahead));
        }
        assert!(tell_protocol(&mut &b"PRI *"[..]).await.is_err());
    }
}
