//! Bodies that the kernel sends out of files by itself, without a copy through this process: `sendfile(2)`.
//!
//! hyper knows only bytes. So a body hands it a *stand-in*: a piece of a block of memory that is there for its address
//! alone. Below hyper the connection knows a stand-in by that address, and sends what it stands for, which was queued when
//! the stand-in was made: answers of one HTTP/1 connection, and the pieces of each, go out in the order in which they were
//! made. No stand-in's own bytes ever reach a client: one that nothing is queued for, and one that hyper took out of the
//! queue's order or copied, break the connection.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, IoSlice, IoSliceMut},
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use rustix::io::{Errno, ReadWriteFlags};
use tokio::io::{AsyncRead, AsyncWrite};

/// Most that one stand-in stands for.
pub(super) const SPAN: usize = 1 << 20;

/// How far apart a file is looked at to see whether it is in memory.
const STRIDE: usize = 256 << 10;

/// Zeros that nobody reads, so that they take addresses and no memory.
static STAND_IN: LazyLock<Vec<u8>> = LazyLock::new(|| vec![0; SPAN]);

/// What the stand-ins of one connection stand for, in their order.
#[derive(Debug, Default)]
pub(super) struct Spans(Mutex<VecDeque<Span>>);

#[derive(Debug)]
struct Span {
    file: Arc<File>,
    offset: u64,
    left: usize,
}

impl Spans {
    fn queue(&self) -> MutexGuard<'_, VecDeque<Span>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stand-in for bytes of a file, at most [`SPAN`] of them.
    pub(super) fn stand_in(&self, file: &Arc<File>, offset: u64, length: usize) -> Bytes {
        let length = length.min(SPAN);
        self.queue().push_back(Span { file: Arc::clone(file), offset, left: length });
        Bytes::from_static(&STAND_IN[..length])
    }

    /// After everything was written, nothing may be left.
    fn settled(&self) -> io::Result<()> {
        if self.queue().is_empty() { Ok(()) } else { Err(out_of_order()) }
    }

    /// Sends what stands at the front, which this many bytes must be left of.
    fn poll_send<S: Sink>(&self, sink: &S, left: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut queue = self.queue();
        let Some(span) = queue.front_mut().filter(|span| span.left == left) else {
            return Poll::Ready(Err(out_of_order()));
        };
        let sent = match ready!(sink.poll_send_file(cx, &span.file, span.offset, span.left)) {
            Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a file ended early")),
            Ok(sent) => Ok(sent.min(span.left)),
            Err(cause) => Err(cause),
        };
        if let Ok(sent) = sent {
            span.offset += sent as u64;
            span.left -= sent;
            if span.left == 0 {
                queue.pop_front();
            }
        }
        Poll::Ready(sent)
    }
}

fn out_of_order() -> io::Error {
    io::Error::other("a part of a file would have been sent out of its order")
}

fn is_stand_in(bytes: &[u8]) -> bool {
    !bytes.is_empty() && STAND_IN.as_ptr_range().contains(&bytes.as_ptr())
}

/// What bytes are written to, and perhaps files.
pub(super) trait Sink: AsyncRead + AsyncWrite + Unpin {
    /// Whether this can send files.
    const SENDS_FILES: bool;

    /// Writes bytes that more will follow right away.
    fn poll_send_more(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// Sends bytes of a file, fewer than asked for if there is room for fewer; 0 where the file has ended.
    fn poll_send_file(
        &self,
        cx: &mut Context<'_>,
        file: &File,
        offset: u64,
        length: usize,
    ) -> Poll<io::Result<usize>>;

    /// Waits for its readiness with the runtime that this is called on from now on.
    ///
    /// # Errors
    /// When the system refuses, which closes the connection.
    fn move_here(&mut self) -> io::Result<()>;
}

/// Encrypted bytes come from this process.
impl<S: Sink> Sink for tokio_rustls::server::TlsStream<S> {
    const SENDS_FILES: bool = false;

    fn poll_send_more(&self, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }

    fn poll_send_file(&self, _: &mut Context<'_>, _: &File, _: u64, _: usize) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }

    fn move_here(&mut self) -> io::Result<()> {
        self.get_mut().0.move_here()
    }
}

/// Writes as much as one call can of slices that may be stand-ins; `None` when none of them is.
pub(super) fn poll_write<S: Sink>(
    spans: Option<&Spans>,
    sink: &S,
    slices: &[IoSlice<'_>],
    cx: &mut Context<'_>,
) -> Option<Poll<io::Result<usize>>> {
    let first = slices.iter().position(|slice| is_stand_in(slice))?;
    let Some(spans) = spans else { return Some(Poll::Ready(Err(out_of_order()))) };
    // What comes before it is an answer's head, as a rule: it leaves in one packet with the file's first bytes.
    let written = match slices[..first].iter().find(|slice| !slice.is_empty()) {
        Some(ahead) => sink.poll_send_more(cx, ahead),
        None => spans.poll_send(sink, slices[first].len(), cx),
    };
    if let Poll::Ready(Err(cause)) = &written
        && !matches!(cause.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
    {
        tracing::error!(%cause, "an answer broke off: its file could not be sent");
    }
    Some(written)
}

/// Everything was written: no stand-in may be left over.
pub(super) fn settle(spans: Option<&Spans>) -> io::Result<()> {
    spans.map_or(Ok(()), Spans::settled)
}

/// Whether the kernel has these bytes of a file in memory, as far as looking at some of them tells. Sending what is not
/// there would have a worker wait for the disk.
pub(super) fn is_resident(file: &File, offset: u64, length: usize) -> bool {
    let last = length.saturating_sub(1);
    (0..last).step_by(STRIDE).chain([last]).all(|at| {
        let mut byte = [0];
        let mut into = [IoSliceMut::new(&mut byte)];
        loop {
            match rustix::io::preadv2(file, &mut into, offset + at as u64, ReadWriteFlags::NOWAIT) {
                Err(Errno::INTR) => {}
                read => return read == Ok(1),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, io::Write as _};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::server::socket::Socket;

    async fn pair() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        (Socket::new(accepted.unwrap().0), client.unwrap())
    }

    fn file(bytes: &[u8]) -> Arc<File> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Arc::new(file)
    }

    /// Writes everything as hyper does: advances by what was taken, and asks again.
    async fn write(spans: &Spans, sink: &mut Socket, pieces: &[Bytes]) -> io::Result<()> {
        let mut pieces: VecDeque<Bytes> = pieces.iter().cloned().collect();
        while let Some(first) = pieces.front() {
            let slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
            let sent = match poll_fn(|cx| match poll_write(Some(spans), sink, &slices, cx) {
                Some(Poll::Pending) => Poll::Pending,
                Some(Poll::Ready(sent)) => Poll::Ready(Some(sent)),
                None => Poll::Ready(None),
            })
            .await
            {
                Some(sent) => sent?,
                None => sink.write(first).await?,
            };
            let rest = first.slice(sent.min(first.len())..);
            pieces.pop_front();
            if !rest.is_empty() {
                pieces.push_front(rest);
            }
        }
        settle(Some(spans))
    }

    #[tokio::test]
    async fn heads_and_parts_of_files_arrive_in_their_order() {
        let bytes: Vec<u8> = (0..3 * SPAN as u32 + 7).map(|n| (n % 251) as u8).collect();
        let (file, spans) = (file(&bytes), Spans::default());
        let (mut server, mut client) = pair().await;
        let reader = tokio::spawn(async move {
            let mut all = Vec::new();
            client.read_to_end(&mut all).await.map(|_| all)
        });
        let pieces = [
            Bytes::from_static(b"head"),
            spans.stand_in(&file, 5, SPAN),
            spans.stand_in(&file, 0, 3),
            Bytes::from_static(b"another"),
            spans.stand_in(&file, SPAN as u64, SPAN),
            Bytes::from_static(b"end"),
        ];
        write(&spans, &mut server, &pieces).await.unwrap();
        drop(server);
        let wanted =
            [b"head", &bytes[5..5 + SPAN], &bytes[..3], b"another", &bytes[SPAN..2 * SPAN], b"end"].concat();
        assert!(reader.await.unwrap().unwrap() == wanted);
    }

    #[tokio::test]
    async fn no_stand_in_reaches_a_client() {
        let (file, spans) = (file(b"0123456789"), Spans::default());
        let (mut server, _client) = pair().await;
        // One that nothing is queued for.
        let strayed = spans.stand_in(&file, 0, 10);
        spans.queue().clear();
        assert!(write(&spans, &mut server, &[strayed]).await.is_err());
        // One before another that was made earlier.
        let (earlier, later) = (spans.stand_in(&file, 0, 9), spans.stand_in(&file, 2, 8));
        assert!(write(&spans, &mut server, &[later, earlier]).await.is_err());
        spans.queue().clear();
        // One whose bytes were copied: it is left over when everything was written.
        let copied = Bytes::copy_from_slice(&spans.stand_in(&file, 0, 10));
        assert!(write(&spans, &mut server, &[copied]).await.is_err());
        spans.queue().clear();
        // One on a connection that sends no files.
        let other = spans.stand_in(&file, 0, 10);
        let slices = [IoSlice::new(&other)];
        let refused = poll_fn(|cx| poll_write(None, &server, &slices, cx).unwrap()).await;
        assert!(refused.is_err());
    }

    #[tokio::test]
    async fn a_file_that_ends_early_breaks_the_answer() {
        let (file, spans) = (file(b"0123456789"), Spans::default());
        assert!(is_resident(&file, 0, 10) && !is_resident(&file, 5, 6), "what is not there is not in memory");
        let (mut server, _client) = pair().await;
        let stand_in = spans.stand_in(&file, 5, 6);
        let broken = write(&spans, &mut server, &[stand_in]).await.unwrap_err();
        assert_eq!(broken.kind(), io::ErrorKind::UnexpectedEof);
    }
}
