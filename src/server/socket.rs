//! A client's socket, which waits for its readiness where its connection runs.
//!
//! A socket is registered with the runtime it was accepted on. If its connection moves to another lane and the socket does
//! not, each event wakes a thread of the old lane, only to wake one of the new: with a transfer that waits for room a few
//! thousand times a second, that is a tenth of what the transfer costs.

use std::{
    fs::File,
    io,
    os::fd::AsFd,
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustix::net::SendFlags;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};

use super::sendfile::Sink;

/// A TCP connection that can move from runtime to runtime.
#[derive(Debug)]
pub(super) struct Socket(Option<TcpStream>);

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self(Some(stream))
    }

    fn stream(&self) -> io::Result<&TcpStream> {
        self.0.as_ref().ok_or_else(lost)
    }
}

/// A move failed, and with it the connection was closed.
fn lost() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

/// Does something to a socket when it has room.
fn poll_do(
    socket: &Socket,
    cx: &mut Context<'_>,
    mut call: impl FnMut(&TcpStream) -> rustix::io::Result<usize>,
) -> Poll<io::Result<usize>> {
    let stream = socket.stream()?;
    loop {
        ready!(stream.poll_write_ready(cx))?;
        match stream.try_io(Interest::WRITABLE, || call(stream).map_err(io::Error::from)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return Poll::Ready(done),
        }
    }
}

impl Sink for Socket {
    const SENDS_FILES: bool = true;

    fn poll_send_more(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
        poll_do(self, cx, |stream| rustix::net::send(stream.as_fd(), bytes, flags))
    }

    fn poll_send_file(
        &self,
        cx: &mut Context<'_>,
        file: &File,
        offset: u64,
        length: usize,
    ) -> Poll<io::Result<usize>> {
        poll_do(self, cx, |stream| {
            let mut from = offset;
            rustix::fs::sendfile(stream.as_fd(), file, Some(&mut from), length)
        })
    }

    fn move_here(&mut self) -> io::Result<()> {
        let stream = self.0.take().ok_or_else(lost)?;
        // Registering tells at once what it is ready for, so that nothing that came meanwhile is missed.
        self.0 = Some(TcpStream::from_std(stream.into_std()?)?);
        Ok(())
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(stream) = &mut self.0 else { return Poll::Ready(Err(lost())) };
        Pin::new(stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let Some(stream) = &mut self.0 else { return Poll::Ready(Err(lost())) };
        Pin::new(stream).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Some(stream) = &mut self.0 else { return Poll::Ready(Err(lost())) };
        Pin::new(stream).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(stream) = &mut self.0 else { return Poll::Ready(Err(lost())) };
        Pin::new(stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(stream) = &mut self.0 else { return Poll::Ready(Err(lost())) };
        Pin::new(stream).poll_shutdown(cx)
    }
}

/// Where a connection is polled, and whether its socket knows.
#[derive(Debug, Default)]
pub(super) struct Home {
    bulk: bool,
}

impl Home {
    /// Moves the socket after its connection, which is on the bulk lane or not.
    pub(super) fn follow<S: Sink>(&mut self, socket: &mut S, bulk: bool) -> io::Result<()> {
        if self.bulk == bulk {
            return Ok(());
        }
        self.bulk = bulk;
        socket.move_here()
    }
}
