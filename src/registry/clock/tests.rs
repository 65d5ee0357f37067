//! Clocks that jump.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{
    auth::{Actor, Caller, Publish},
    model::{Digest, PackageName, Scope, Scopes},
    registry::{Chunk, FIRST_USER, Settings, accounts, generated_password},
    store::memory::{MemoryBlobs, MemoryStore},
};

const MINUTE: u64 = 60_000;
const DAY: u64 = 24 * 60 * MINUTE;
const YEAR: u64 = 365 * DAY;
const BOUNDS: Bounds = Bounds { drift: 10 * MINUTE, away: 7 * DAY };
/// Some day in 2026.
const START: u64 = 1_780_000_000_000;

/// A machine whose clocks a test turns.
#[derive(Clone)]
struct Machine {
    wall: Arc<AtomicU64>,
    running: Arc<AtomicU64>,
    boot: Arc<Mutex<Option<String>>>,
}

impl Machine {
    fn new() -> Self {
        let boot = Arc::new(Mutex::new(Some("first".into())));
        Self { wall: Arc::new(START.into()), running: Arc::new(1000.into()), boot }
    }

    fn pass(&self, millis: u64) {
        self.wall.fetch_add(millis, SeqCst);
        self.running.fetch_add(millis, SeqCst);
    }

    fn set(&self, wall: u64) {
        self.wall.store(wall, SeqCst);
    }

    /// Another start of the machine, after some time off.
    fn restart(&self, name: &str, off: u64) {
        self.wall.fetch_add(off, SeqCst);
        self.running.store(500, SeqCst);
        *self.boot.lock().unwrap() = Some(name.into());
    }
}

impl Clocks for Machine {
    fn read(&self) -> Reading {
        Reading { wall: Timestamp(self.wall.load(SeqCst)), running: self.running.load(SeqCst) }
    }

    fn boot(&self) -> Option<String> {
        self.boot.lock().unwrap().clone()
    }
}

/// A registry over a store that outlives it.
async fn open(machine: &Machine, store: &Arc<MemoryStore>) -> Registry {
    let (clocks, settings) = (Box::new(machine.clone()), Settings::default());
    let registry =
        Registry::with_clocks(Arc::clone(store) as _, Arc::new(MemoryBlobs::new()), settings, clocks)
            .unwrap();
    registry.wind_clock().await.unwrap();
    registry
}

async fn accept(registry: &Registry) -> Trust {
    let caller = Caller::operator(registry.now(), "x".into());
    registry.accept_clock(&registry.policy().authorize_system(&caller).unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_jump_while_running_is_seen_at_once_and_waits_for_somebody() {
    for (to, expected) in
        [(START + YEAR, Trust::Ahead(YEAR - MINUTE)), (START - YEAR, Trust::Behind(YEAR + MINUTE))]
    {
        let (machine, store) = (Machine::new(), Arc::new(MemoryStore::new()));
        let registry = open(&machine, &store).await;
        machine.pass(MINUTE);
        assert_eq!(registry.time().trust, Trust::Steady);
        machine.set(to);
        assert_eq!(registry.time().trust, expected);
        // Requests go by what is known.
        assert_eq!(registry.now().0, START + MINUTE);
        machine.pass(MINUTE);
        registry.keep_clock().await.unwrap();
        assert_eq!(registry.now().0, START + 2 * MINUTE);
        // Another start of the daemon does not forget it, nor does one of the machine.
        let registry = open(&machine, &store).await;
        assert_eq!((registry.time().trust, registry.now().0), (expected, START + 2 * MINUTE));
        machine.restart("second", MINUTE);
        let registry = open(&machine, &store).await;
        assert_ne!(registry.time().trust, Trust::Steady);
        assert!(registry.now().0 >= START);

        assert_ne!(accept(&registry).await, Trust::Steady);
        assert_eq!(registry.time().trust, Trust::Steady);
        assert_eq!(registry.now().0, to + 2 * MINUTE);
        machine.pass(MINUTE);
        let registry = open(&machine, &store).await;
        assert_eq!((registry.time().trust, registry.now().0), (Trust::Steady, to + 3 * MINUTE));
        assert_eq!(accept(&registry).await, Trust::Steady);
    }
}

#[tokio::test]
async fn a_clock_that_is_put_right_needs_nobody() {
    let (machine, store) = (Machine::new(), Arc::new(MemoryStore::new()));
    let registry = open(&machine, &store).await;
    machine.set(START + YEAR);
    assert_ne!(registry.time().trust, Trust::Steady);
    machine.set(START);
    machine.pass(5 * MINUTE);
    assert_eq!((registry.time().trust, registry.now().0), (Trust::Steady, START + 5 * MINUTE));
    registry.keep_clock().await.unwrap();
    // A machine without a clock of its own begins in the past, until the network tells it.
    machine.restart("second", 0);
    machine.set(START - YEAR);
    let registry = open(&machine, &store).await;
    assert_eq!(registry.time().trust, Trust::Behind(YEAR + 5 * MINUTE));
    assert_eq!(registry.now().0, START + 5 * MINUTE, "what has expired stays expired");
    machine.set(START + DAY);
    assert_eq!((registry.time().trust, registry.now().0), (Trust::Steady, START + DAY));
    machine.set(START + 2 * DAY);
    assert_eq!(registry.time().trust, Trust::Ahead(DAY), "from then on it is known");
}

#[tokio::test]
async fn time_off_is_known_while_the_machine_runs_and_bounded_when_it_does_not() {
    let (machine, store) = (Machine::new(), Arc::new(MemoryStore::new()));
    open(&machine, &store).await;
    // The daemon was stopped for two months; the machine was not.
    machine.pass(60 * DAY);
    assert_eq!(open(&machine, &store).await.time().trust, Trust::Steady);
    machine.restart("second", 7 * DAY);
    assert_eq!(open(&machine, &store).await.time().trust, Trust::Steady);
    machine.restart("third", 7 * DAY + MINUTE);
    let registry = open(&machine, &store).await;
    assert_eq!(registry.time().trust, Trust::Ahead(7 * DAY + MINUTE));
    // It may be that late: then whoever has a token that ended must not come in.
    assert_eq!(registry.now().0, START + 74 * DAY + MINUTE);
    // Or not.
    machine.set(START + 68 * DAY);
    assert_eq!((registry.time().trust, registry.now().0), (Trust::Steady, START + 68 * DAY));
    // A system that does not name its starts is one that was restarted.
    *machine.boot.lock().unwrap() = None;
    registry.keep_clock().await.unwrap();
    machine.pass(8 * DAY);
    assert_eq!(open(&machine, &store).await.time().trust, Trust::Ahead(8 * DAY));
}

#[test]
fn small_steps_are_followed_and_time_stands_rather_than_going_back() {
    let clock = |machine: &Machine| Clock::new(Box::new(machine.clone()));
    let machine = Machine::new();
    let clock = clock(&machine);
    for step in 0..100 {
        machine.pass(MINUTE);
        machine.set(machine.wall.load(SeqCst) - 30_000);
        assert_eq!(clock.time(BOUNDS).trust, Trust::Steady, "{step}");
        assert!(clock.mark(BOUNDS).is_some());
    }
    let before = clock.time(BOUNDS).at;
    machine.set(before.0 - 9 * MINUTE);
    assert_eq!(clock.time(BOUNDS).at, before);
    machine.pass(9 * MINUTE + 1);
    assert_eq!(clock.time(BOUNDS).at.0, before.0 + 1);
}

#[tokio::test]
async fn a_token_that_has_ended_does_not_come_back_with_the_clock() {
    let (machine, store) = (Machine::new(), Arc::new(MemoryStore::new()));
    let registry = open(&machine, &store).await;
    registry.initialize(registry.now(), &generated_password().unwrap()).await.unwrap();
    let caller = Caller::operator(registry.now(), "x".into());
    let owner = registry.policy().authorize_owner(&caller, FIRST_USER).await.unwrap();
    let day = 24 * 3600;
    let token = registry.issue_token(&owner, Scopes::of(&[Scope::ReadPackages]), day).await.unwrap();
    let mut headers = http::HeaderMap::new();
    let value = format!("Bearer {}", token.secret.reveal());
    headers.insert(http::header::AUTHORIZATION, value.parse().unwrap());
    let comes_in = async |registry: &Registry| {
        registry
            .authenticator()
            .authenticate(&headers, Caller::anonymous(registry.now(), "x".into()))
            .await
            .is_ok()
    };
    assert!(comes_in(&registry).await);
    // A clock that is wrong ends nothing early either, where it is known to be wrong.
    machine.set(START + YEAR);
    assert!(comes_in(&registry).await);
    machine.set(START);
    machine.pass(DAY);
    assert!(!comes_in(&registry).await);
    registry.keep_clock().await.unwrap();
    machine.set(START - YEAR);
    assert!(!comes_in(&registry).await);
    machine.restart("second", 0);
    assert!(!comes_in(&open(&machine, &store).await).await);
    // Far ahead after a restart of the machine: perhaps it is that late.
    machine.set(START + YEAR);
    assert!(!comes_in(&open(&machine, &store).await).await);
}

/// Whoever was told that a blob is here for a day, and whoever is in the middle of an upload, goes on after the machine was
/// restarted with a clock that is a year ahead: it may be wrong.
#[tokio::test]
async fn leases_and_uploads_last_while_nobody_knows_how_late_it_is() {
    let (machine, store) = (Machine::new(), Arc::new(MemoryStore::new()));
    let registry = open(&machine, &store).await;
    registry.initialize(registry.now(), &generated_password().unwrap()).await.unwrap();
    let name: PackageName = "admin/app".parse().unwrap();
    let admin = accounts::by_name(store.as_ref(), FIRST_USER).await.unwrap().unwrap().id;
    let by = |registry: &Registry| Caller {
        actor: Actor::User(admin),
        sign_in: Some(0),
        ..Caller::anonymous(registry.now(), "x".into())
    };
    let Publish::New(publish) = registry.policy().authorize_publish(&by(&registry), &name).await.unwrap()
    else {
        panic!("the package is new")
    };
    registry.allocate(&publish, &name).await.unwrap();
    let pusher = async |registry: &Registry| registry.policy().authorize(&by(registry), &name).await.unwrap();
    let chunk = |bytes: &'static [u8], at| Chunk {
        at,
        length: None,
        bytes: Box::pin(futures_util::stream::iter([Ok(Bytes::from_static(bytes))])),
    };
    let digest = Digest::sha256(b"bytes");
    registry.put_blob(pusher(&registry).await, chunk(b"bytes", None), digest).await.unwrap();
    let session = registry.begin_upload(&pusher(&registry).await, None).await.unwrap();
    registry.append(&pusher(&registry).await, session, chunk(b"by", Some(0))).await.unwrap();

    machine.restart("second", YEAR);
    let registry = open(&machine, &store).await;
    assert_eq!(registry.time().trust, Trust::Ahead(YEAR));
    assert_eq!(registry.keep_blob(&pusher(&registry).await, &digest).await.unwrap().size, 5);
    registry.append(&pusher(&registry).await, session, chunk(b"tes", Some(2))).await.unwrap();
    // It was right: then the day was over long ago. What was promised just now still holds.
    machine.pass(MINUTE);
    accept(&registry).await;
    assert!(registry.keep_blob(&pusher(&registry).await, &digest).await.is_ok());
    machine.pass(8 * DAY);
    assert!(registry.keep_blob(&pusher(&registry).await, &digest).await.is_err());
}

proptest! {
    /// Whatever the wall clock does, and however often daemon and machine are restarted: the time never goes back while
    /// the daemon runs; and while the clock is believed, the time is not further ahead of the true time than small steps
    /// and time off explain. So nothing is deleted early by more than that.
    #[test]
    fn nothing_is_early(
        steps in prop::collection::vec((0u8..5, 0u64..3 * DAY, 0i64..8), 1..40),
    ) {
        let machine = Machine::new();
        let mut clock = Clock::new(Box::new(machine.clone()));
        let mut mark = clock.mark(BOUNDS).unwrap();
        // The true time, and how far the clock may rightly be ahead of it: what was let pass so far.
        let (mut truth, mut allowed) = (START, 0);
        let mut last = 0;
        for (kind, millis, jump) in steps {
            match kind {
                0 | 1 => {
                    machine.pass(millis);
                    truth += millis;
                }
                2 => machine.set(truth + [0, MINUTE, 5 * MINUTE, DAY, 30 * DAY, YEAR, 10 * YEAR, 0][jump as usize]),
                3 => machine.set(truth - [0, MINUTE, 5 * MINUTE, DAY, 30 * DAY, YEAR, 10 * YEAR, 0][jump as usize]),
                _ => {
                    // Off for a while, at a wrong clock perhaps.
                    machine.restart(&format!("{truth}-{millis}"), millis / 3);
                    truth += millis / 3;
                    clock = Clock::new(Box::new(machine.clone()));
                    clock.wind(&mark);
                    (last, allowed) = (0, allowed + BOUNDS.away);
                }
            }
            let time = clock.time(BOUNDS);
            prop_assert!(time.least.0 <= truth + allowed + BOUNDS.drift && time.least <= time.at, "{} ahead at least", time.least.0);
            if let Some(new) = clock.mark(BOUNDS) {
                mark = new;
                allowed += BOUNDS.drift;
            }
            if time.trust == Trust::Steady {
                prop_assert!(time.at.0 <= truth + allowed, "{} ahead", time.at.0 - truth);
                prop_assert!(time.at.0 >= last);
                last = time.at.0;
            }
        }
    }
}
