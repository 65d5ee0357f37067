//! Timers: collection, expiry, retention. A job is a step that is bounded in itself, repeated; it holds nothing between
//! steps, so a daemon may stop at any moment.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::time::Instant;

use crate::{
    auth::Caller,
    error::{Error, Result},
    registry::{Registry, Trust},
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
    /// Whether it deletes because time has passed: then it waits while the clock is not believed.
    pub by_time: bool,
    /// Whether it goes on while the registry takes no changes.
    pub read_only: bool,
    /// What is done.
    pub step: Step,
}

/// How much one step does at most.
const STEP: usize = 256;

/// The jobs of this program.
pub fn standard(registry: &Registry) -> Vec<Job> {
    const MINUTE: Duration = Duration::from_secs(60);
    let job = |name, every, step| Job { name, every, by_time: true, read_only: false, step };
    vec![
        Job {
            by_time: false,
            read_only: true,
            ..job("keep-clock", MINUTE, |registry, _| {
                Box::pin(async move { registry.keep_clock().await.map(|_| Progress::Idle) })
            })
        },
        job("expire-uploads", MINUTE, |registry, caller| {
            Box::pin(async move { registry.expire_uploads(caller.at, STEP).await.map(Progress::of) })
        }),
        job("sweep-uploads", 60 * MINUTE, |registry, _| {
            Box::pin(async move { registry.sweep_uploads().await.map(|_| Progress::Idle) })
        }),
        job("collect", registry.collect_every(), |registry, caller| {
            Box::pin(async move { registry.collect(caller.at).await.map(Progress::if_more) })
        }),
        job("purge-deleted", registry.collect_every(), |registry, caller| {
            Box::pin(async move { registry.purge_deleted(&caller, STEP).await.map(Progress::of) })
        }),
        job("scrub", MINUTE / 6, |registry, caller| {
            Box::pin(async move { registry.scrub(caller.at).await.map(Progress::if_more) })
        }),
        job("heal", 60 * MINUTE, |registry, caller| {
            Box::pin(async move { registry.heal(caller.at).await.map(|_| Progress::Idle) })
        }),
        job("sweep-orphans", 60 * MINUTE, |registry, caller| {
            Box::pin(async move { registry.sweep_orphans(caller.at).await.map(|_| Progress::Idle) })
        }),
        job("retention", 60 * MINUTE, |registry, caller| {
            Box::pin(async move { registry.retain_all(&caller, STEP).await.map(Progress::if_more) })
        }),
        job("expire-pending", 10 * MINUTE, |registry, caller| {
            Box::pin(async move { registry.expire_unused(caller.at).await.map(Progress::of) })
        }),
        job("expire-tokens", 60 * MINUTE, |registry, caller| {
            Box::pin(async move { registry.expire_tokens(caller.at).await.map(|_| Progress::Idle) })
        }),
        job("expire-audit", 10 * MINUTE, |registry, caller| {
            Box::pin(async move { registry.expire_audit(caller.at, STEP).await.map(Progress::of) })
        }),
        job("expire-exchanges", 10 * MINUTE, |registry, caller| {
            Box::pin(async move { registry.expire_exchanges(caller.at, STEP).await.map(Progress::of) })
        }),
        // Without a good key nobody could sign in to read.
        Job {
            read_only: true,
            ..job("rotate-keys", 60 * MINUTE, |registry, caller| {
                Box::pin(async move { registry.rotate_keys(caller.at).await.map(|_| Progress::Idle) })
            })
        },
    ]
}

impl Progress {
    /// What a step that knows says.
    fn if_more(more: bool) -> Self {
        if more { Self::More } else { Self::Idle }
    }

    /// What a step that did so much thinks is left.
    fn of(done: usize) -> Self {
        if done < STEP { Self::Idle } else { Self::More }
    }
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
        let time = registry.time();
        if (job.by_time && time.trust != Trust::Steady) || (registry.read_only() && !job.read_only) {
            pause = job.every;
            continue;
        }
        let began = Instant::now();
        let caller = Caller::job(job.name, time.at, job.name.into());
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
