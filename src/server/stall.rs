//! Ends HTTP/2 streams whose client takes nothing. On HTTP/1 a reader that stalls blocks the socket, and the write
//! deadline sees it; on HTTP/2 it withholds window for one stream only, and hyper then waits without ever asking the
//! body again. So each stream's task runs beside a watch that its answer's body keeps awake.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::tasks;

tokio::task_local! {
    static STALL: Stall;
}

/// When a stream's body was last asked for bytes.
#[derive(Debug, Clone)]
pub(super) struct Stall {
    began: Instant,
    /// Milliseconds after `began`; 0 until the body was first asked.
    moved: Arc<AtomicU64>,
}

impl Stall {
    fn new() -> Self {
        Self { began: Instant::now(), moved: Arc::new(AtomicU64::new(0)) }
    }

    /// The present HTTP/2 stream's, if this is one.
    pub(super) fn current() -> Option<Self> {
        STALL.try_with(Self::clone).ok()
    }

    /// The body was asked for bytes: the client took what came before.
    pub(super) fn moved(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved.store(now.max(1), Relaxed);
    }

    /// Waits until the body has not been asked for so long. Before its first bytes the handler is at work, and this
    /// waits for ever.
    async fn stuck(self, limit: Duration) {
        loop {
            let seen = self.moved.load(Relaxed);
            let since = if seen == 0 { Instant::now() } else { self.began + Duration::from_millis(seen) };
            tokio::time::sleep_until(since + limit).await;
            if seen != 0 && self.moved.load(Relaxed) == seen {
                return;
            }
        }
    }
}

/// Runs hyper's HTTP/2 stream tasks.
#[derive(Debug, Clone)]
pub(super) struct Streams {
    /// Longest wait for a client that takes nothing.
    pub(super) limit: Duration,
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let stall = Stall::new();
        let watch = stall.clone().stuck(self.limit);
        tasks::spawn(STALL.scope(stall, async move {
            tokio::select! {
                _ = stream => {}
                // Dropping the stream resets it; the connection and its other streams go on.
                () = watch => tracing::debug!("an HTTP/2 stream was reset: its client takes no bytes"),
            }
        }));
    }
}
