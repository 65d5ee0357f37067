//! Background jobs: they go on after failures, and stop when told.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use packhouse::{
    auth::{Actor, Caller},
    error::{Error, Result},
    jobs::{Job, Progress, run, standard},
    model::Timestamp,
    registry::{Registry, Settings},
    store::memory::{MemoryBlobs, MemoryStore},
};

fn registry() -> Arc<Registry> {
    let (meta, blobs) = (Arc::new(MemoryStore::new()), Arc::new(MemoryBlobs::new()));
    Arc::new(Registry::open(meta, blobs, Settings::default()).unwrap())
}

static STEPS: AtomicU32 = AtomicU32::new(0);

/// Fails, panics, leaves work, then idles.
fn step(_registry: Arc<Registry>, caller: Caller) -> BoxFuture<'static, Result<Progress>> {
    assert_eq!(caller.actor, Actor::Job("test"));
    Box::pin(async {
        match STEPS.fetch_add(1, Relaxed) {
            0 => Err(Error::internal("told to")),
            1 => panic!("told to"),
            2 => Ok(Progress::More),
            _ => Ok(Progress::Idle),
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_job_goes_on_after_failures_and_stops_when_told() {
    let job = Job { name: "test", every: Duration::from_secs(60), step };
    let reports = Mutex::new(Vec::new());
    let report = |good, _took| reports.lock().unwrap().push(good);
    // At 5 s, 65 s, 125 s, at once after that, 185 s and no more.
    run(job, registry(), report, tokio::time::sleep(Duration::from_secs(200))).await;
    assert_eq!(*reports.lock().unwrap(), [false, false, true, true, true]);
}

#[tokio::test]
async fn an_empty_registry_leaves_nothing_to_do() {
    let registry = registry();
    for job in standard(&registry) {
        let caller = Caller::job(job.name, Timestamp::now(), "x".into());
        assert_eq!((job.step)(registry.clone(), caller).await.unwrap(), Progress::Idle, "{}", job.name);
    }
}
