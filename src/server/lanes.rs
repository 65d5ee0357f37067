//! Two lanes for connections: the one everything begins on, and one for those that move large bodies.
//!
//! A connection that sends or takes a large blob as fast as it can is always ready to go on. Between such connections a
//! small request waits twice: for its turn among the tasks of a worker, and, where clients and daemon want more cores than
//! there are, for the worker itself, which the system puts aside like everybody who has used up his share. So a connection
//! moves over while it has a large body under way: to threads that stand back behind the others. Its socket follows it
//! ([`super::socket`]); moving costs some microseconds for each large body.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::JoinHandle,
};

use super::pulse::Pulse;
use crate::error::{Error, Result};

/// Bodies from this size on are large, in bytes.
pub(super) const LARGE: u64 = 4 << 20;

/// By how much the threads stand back, in steps of nice(2). As far as those that write and hash uploads.
const NICE: i32 = 5;

/// After how many turns a thread of either lane that is never idle looks for what arrived. Connections that move large blobs
/// are always ready to go on, a tenth of a millisecond at a time. At tokio's own interval of 61 turns a small request would
/// wait for several milliseconds until somebody looks whether it came.
pub const LOOK_EVERY: u32 = 5;

type Connection = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The lane of large bodies.
#[derive(Debug)]
pub(super) struct Lanes {
    threads: Handle,
    /// There until the end.
    runtime: Option<Runtime>,
}

impl Lanes {
    /// Starts the threads.
    ///
    /// # Errors
    /// Internal when the system gives none.
    pub(super) fn start() -> Result<Self> {
        let base = rustix::process::getpriority_process(None).unwrap_or(0);
        let runtime = Builder::new_multi_thread()
            .thread_name("bulk")
            .event_interval(LOOK_EVERY)
            .enable_all()
            .on_thread_start(move || {
                // On Linux this is the thread's own. Refused, it works all the same, only not as politely.
                if let Err(cause) = rustix::process::setpriority_process(None, base + NICE) {
                    tracing::debug!(%cause, "a thread of the bulk lane keeps its priority");
                }
            })
            .build()
            .map_err(Error::internal)?;
        Ok(Self { threads: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// Runs a connection to its end, on the lane that its pulse says it belongs to.
    pub(super) async fn run(&self, mut connection: Connection, pulse: &Arc<Pulse>) {
        loop {
            let here = Stay { connection: Some(connection), pulse: pulse.clone(), bulk: false };
            let Some(moves) = here.await else { return };
            let there = Stay { connection: Some(moves), pulse: pulse.clone(), bulk: true };
            // An error is a panic over there, which has been reported, or the end of the daemon.
            let Ok(Some(back)) = Abandoned(self.threads.spawn(there)).await else { return };
            connection = back;
        }
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        // Dropped wherever the server is, also inside another runtime, where waiting is not allowed.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A connection while it belongs here. Gives it back when it does not any more, nothing when it ended.
struct Stay {
    connection: Option<Connection>,
    pulse: Arc<Pulse>,
    bulk: bool,
}

impl Future for Stay {
    type Output = Option<Connection>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Connection>> {
        let this = &mut *self;
        let Some(connection) = &mut this.connection else { return Poll::Ready(None) };
        this.pulse.runs_on_bulk(this.bulk);
        if connection.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        if this.pulse.is_bulk() == this.bulk {
            return Poll::Pending;
        }
        // Whoever has it next polls it at once, so what would have woken this task wakes that one.
        Poll::Ready(this.connection.take())
    }
}

/// A task that ends when nobody waits for it any more.
struct Abandoned<T>(JoinHandle<T>);

impl<T> Future for Abandoned<T> {
    type Output = std::result::Result<T, tokio::task::JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<T> Drop for Abandoned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_connection_moves_over_and_back_and_goes_when_it_is_abandoned() {
        let lanes = Lanes::start().unwrap();
        let pulse = Arc::new(Pulse::new());
        let name = || std::thread::current().name().unwrap_or_default().to_owned();
        let (told, seen) = std::sync::mpsc::channel();
        let its = pulse.clone();
        let connection = Box::pin(async move {
            for bulk in [false, true, true, false] {
                if bulk != its.is_bulk() {
                    if bulk { its.bulk_began() } else { its.bulk_ended() }
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
                told.send(name()).unwrap();
            }
        });
        lanes.run(connection, &pulse).await;
        let seen: Vec<bool> = seen.iter().map(|name| name == "bulk").collect();
        assert_eq!(seen, [false, true, true, false]);

        pulse.bulk_began();
        let (held, gone) = tokio::sync::oneshot::channel::<()>();
        let endless = Box::pin(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        let run = lanes.run(endless, &pulse);
        assert!(tokio::time::timeout(Duration::from_millis(20), run).await.is_err());
        assert!(gone.await.is_err(), "dropped over there too");
    }
}
