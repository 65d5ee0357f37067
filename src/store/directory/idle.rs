//! A thread for reads that must be in nobody's way: walking over all that is stored to see whether it is well.
//!
//! The kernel's idle scheduling class gives it the processor when nobody else wants it, and reads of such a thread are in
//! the idle class of disk schedulers that know one (`ioprio_set(2)`).

use std::{
    sync::{
        OnceLock,
        mpsc::{Sender, channel},
    },
    thread,
};

use thread_priority::{NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, unix};

use crate::error::{Error, Result};

type Job = Box<dyn FnOnce() + Send>;

/// Runs a job on the idle thread, after those before it.
pub(super) async fn idle<T: Send + 'static>(job: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let (answer, answered) = tokio::sync::oneshot::channel();
    let job: Job = Box::new(move || {
        // Nobody waits any more: then nobody is told.
        let _ = answer.send(job());
    });
    thread()?.send(job).map_err(|_| Error::internal("the idle thread is gone"))?;
    answered.await.map_err(Error::internal)?
}

/// The thread, begun when it is first needed.
fn thread() -> Result<&'static Sender<Job>> {
    static THREAD: OnceLock<Sender<Job>> = OnceLock::new();
    if let Some(jobs) = THREAD.get() {
        return Ok(jobs);
    }
    let (sender, jobs) = channel::<Job>();
    let work = move || {
        step_back();
        for job in jobs {
            // A job that panics drops its end of the answer, which tells who waits.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
        }
    };
    thread::Builder::new().name("idle-reads".into()).spawn(work).map_err(Error::internal)?;
    // Of two who begin it at once one wins; the other's thread ends with its sender.
    Ok(THREAD.get_or_init(|| sender))
}

fn step_back() {
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    if let Err(cause) =
        unix::set_thread_priority_and_policy(unix::thread_native_id(), ThreadPriority::Min, idle)
    {
        tracing::warn!(?cause, "the thread that checks stored bytes runs like any other");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn its_jobs_run_when_nobody_else_wants_to() {
        let policy = || unix::thread_schedule_policy().map_err(|cause| Error::internal(format!("{cause:?}")));
        let there = idle(policy).await.unwrap();
        assert_eq!(there, ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle));
        assert_ne!(policy().unwrap(), there, "only that thread");
        // What goes wrong there is told, and the next job runs.
        assert!(idle::<()>(|| panic!("a job goes wrong")).await.is_err());
        assert_eq!(idle(|| Ok(7)).await.unwrap(), 7);
    }
}
