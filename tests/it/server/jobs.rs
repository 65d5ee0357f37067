//! Background jobs: they go on after failures, and stop when told.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use packhouse::{
    auth::{Actor, Caller},
    error::{Error, Result},
    jobs::{Job, Progress, run, standard},
    model::Timestamp,
    registry::{Clocks, Reading, Registry, Settings},
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
    let job = Job { name: "test", every: Duration::from_secs(60), by_time: true, read_only: false, step };
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

/// Clocks of which the wall clock is set by the test.
struct Set(Arc<AtomicU64>);

impl Clocks for Set {
    fn read(&self) -> Reading {
        Reading { wall: Timestamp(self.0.load(Relaxed)), running: 1 }
    }

    fn boot(&self) -> Option<String> {
        Some("one".into())
    }
}

static HELD: AtomicU32 = AtomicU32::new(0);
static FREE: AtomicU32 = AtomicU32::new(0);

fn held(_: Arc<Registry>, _: Caller) -> BoxFuture<'static, Result<Progress>> {
    HELD.fetch_add(1, Relaxed);
    Box::pin(async { Ok(Progress::Idle) })
}

fn free(_: Arc<Registry>, _: Caller) -> BoxFuture<'static, Result<Progress>> {
    FREE.fetch_add(1, Relaxed);
    Box::pin(async { Ok(Progress::Idle) })
}

#[tokio::test(start_paused = true)]
async fn what_deletes_by_time_waits_while_the_clock_is_wrong() {
    const YEAR: u64 = 365 * 24 * 3_600_000;
    let wall = Arc::new(AtomicU64::new(1_780_000_000_000));
    let (meta, blobs) = (Arc::new(MemoryStore::new()), Arc::new(MemoryBlobs::new()));
    let clocks = Box::new(Set(Arc::clone(&wall)));
    let registry = Registry::with_clocks(meta, blobs, Settings::default(), clocks).unwrap();
    let registry = Arc::new(registry);
    let minute = Duration::from_secs(60);
    let steps = async |by_time: bool, counter: &AtomicU32| {
        let before = counter.load(Relaxed);
        let job = Job {
            name: "test",
            every: minute,
            by_time,
            read_only: false,
            step: if by_time { held } else { free },
        };
        run(job, registry.clone(), |_, _| (), tokio::time::sleep(minute * 3)).await;
        counter.load(Relaxed) - before
    };
    assert_eq!((steps(true, &HELD).await, steps(false, &FREE).await), (3, 3));
    for off in [wall.load(Relaxed) + YEAR, wall.load(Relaxed) - YEAR] {
        let right = wall.swap(off, Relaxed);
        assert_eq!((steps(true, &HELD).await, steps(false, &FREE).await), (0, 3));
        wall.store(right, Relaxed);
        assert_eq!(steps(true, &HELD).await, 3);
    }
    // All that this program has, except the one that watches the clock.
    let free: Vec<_> =
        standard(&registry).into_iter().filter(|job| !job.by_time).map(|job| job.name).collect();
    assert_eq!(free, ["keep-clock"]);
}
