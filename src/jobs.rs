//! Timers: collection, expiry, retention. A job is a step that is bounded in itself, repeated; it holds nothing between
//! steps, so a daemon may stop at any moment.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::time::Instant;

use crate::{
    auth::Caller,
    error::{Error, Result},
    model::Timestamp,
    registry::Registry,
};

/// Whether a step found more than it may do at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Go on soon.
    More,
    /// Nothing is left for now.
    Idle,
}

/// One step. It is told who it is and what time it is.
pub type Step = fn(Arc<Registry>, Caller) -> BoxFuture<'static, Result<Progress>>;

/// Something done again and again.
#[derive(Debug, Clone, Copy)]
pub struct Job {
    /// Its name in the log, the metrics and events.
    pub name: &'static str,
    /// The pause after a step that found nothing more to do, or failed.
    pub every: Duration,
    /// What is done.
    pub step: Step,
}

/// The pause after a step that left work behind, so that jobs never take a core from requests.
const BREATH: Duration = Duration::from_millis(20);
/// Jobs begin after the daemon has begun to answer.
const FIRST: Duration = Duration::from_secs(5);

/// Repeats a job until `stop`. A step under way is finished. `report` hears of every step: whether it succeeded, how long
/// it took.
pub async fn run(
    job: Job,
    registry: Arc<Registry>,
    report: impl Fn(bool, Duration),
    stop: impl Future<Output = ()>,
) {
    let mut stop = std::pin::pin!(stop);
    let mut pause = FIRST.min(job.every);
    loop {
        tokio::select! {
            biased;
            () = &mut stop => return,
            () = tokio::time::sleep(pause) => {}
        }
        let began = Instant::now();
        let caller = Caller::job(job.name, Timestamp::now(), job.name.into());
        let outcome = AssertUnwindSafe((job.step)(registry.clone(), caller)).catch_unwind().await;
        let outcome = outcome.unwrap_or_else(|_| Err(Error::internal("a job's step panicked")));
        report(outcome.is_ok(), began.elapsed());
        pause = match outcome {
            Ok(Progress::More) => BREATH,
            Ok(Progress::Idle) => job.every,
            Err(error) => {
                tracing::error!(job = job.name, %error, "a background job failed; it will try again");
                job.every
            }
        };
    }
}

/// The jobs of the daemon.
pub fn standard() -> Vec<Job> {
    const MINUTE: Duration = Duration::from_secs(60);
    vec![
        Job { name: "expire-uploads", every: MINUTE, step: |registry, caller| Box::pin(expire_uploads(registry, caller)) },
        Job { name: "purge-trash", every: MINUTE, step: |registry, caller| Box::pin(purge_trash(registry, caller)) },
        Job { name: "expire-pending", every: 10 * MINUTE, step: |registry, caller| Box::pin(expire_pending(registry, caller)) },
        Job { name: "expire-tokens", every: 60 * MINUTE, step: |registry, caller| Box::pin(expire_tokens(registry, caller)) },
        Job { name: "rotate-keys", every: 60 * MINUTE, step: |registry, caller| Box::pin(rotate_keys(registry, caller)) },
    ]
}

/// What one step takes on at most.
const STEP: usize = 256;

fn progress(done: usize) -> Progress {
    if done >= STEP { Progress::More } else { Progress::Idle }
}

async fn expire_uploads(registry: Arc<Registry>, caller: Caller) -> Result<Progress> {
    registry.expire_uploads(caller.at, STEP).await.map(progress)
}

async fn purge_trash(registry: Arc<Registry>, caller: Caller) -> Result<Progress> {
    registry.purge_trash(caller.at, STEP).await.map(progress)
}

async fn expire_pending(registry: Arc<Registry>, caller: Caller) -> Result<Progress> {
    registry.expire_unused(caller.at).await.map(progress)
}

async fn expire_tokens(registry: Arc<Registry>, caller: Caller) -> Result<Progress> {
    registry.expire_tokens(caller.at).await.map(|_| Progress::Idle)
}

async fn rotate_keys(registry: Arc<Registry>, caller: Caller) -> Result<Progress> {
    registry.rotate_keys(caller.at).await.map(|_| Progress::Idle)
}
