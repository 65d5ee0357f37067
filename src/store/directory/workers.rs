//! The threads that write and hash uploads: few, and behind those that answer.
//!
//! Hashing takes a core for as long as somebody pushes as fast as he can. On threads of the same standing as the workers
//! that read requests, each small read then waits for its turn among them; so these step back. They take turns among
//! themselves: a lane gives its thread up after each step.

use tokio::runtime::{Builder, Handle, Runtime};

use crate::error::{Error, Result};

/// How many there are: as many syncs as are worth doing at once on one disk.
const THREADS: usize = 32;

/// By how much they step back behind the thread that starts them, in steps of nice(2).
const NICE: i32 = 5;

/// The threads. They start when they are needed and go when they are not.
pub(super) struct Workers {
    threads: Handle,
    /// There until the end.
    runtime: Option<Runtime>,
}

impl Workers {
    pub(super) fn start() -> Result<Self> {
        // Read once: a thread begins as nice as the one that starts it, which may be one of these.
        let base = rustix::process::getpriority_process(None).unwrap_or(0);
        let runtime = Builder::new_current_thread()
            .max_blocking_threads(THREADS)
            .thread_name("upload")
            .on_thread_start(move || {
                // On Linux this is the thread's own. Refused, it works all the same, only not as politely.
                if let Err(cause) = rustix::process::setpriority_process(None, base + NICE) {
                    tracing::debug!(%cause, "an upload thread keeps its priority");
                }
            })
            .build()
            .map_err(Error::internal)?;
        Ok(Self { threads: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// What spawns on them.
    pub(super) fn threads(&self) -> Handle {
        self.threads.clone()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // Dropped wherever the store is, also inside another runtime, where waiting is not allowed.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
