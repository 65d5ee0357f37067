//! What comes after pushing, with a fault at every step: restoring, deleting whole packages, the end of what was deleted,
//! collection, retention, policies, files that nothing points at. A request is all or nothing. A job goes step by step:
//! wherever it is stopped, what shows lies between before and after, what is listed as restorable is whole, a check finds
//! nothing, and running it again finishes it.

use std::{rc::Rc, time::Duration};

use bytes::Bytes;
use tokio::task::LocalSet;

use super::{
    bench::{APP, LIB, NEW, OLD, Shown, World, is_gone},
    cancel::dropped,
    invariants::{self, Orphans},
    sight::{
        HOUR, Sight, can_be_restored, finds_nothing, in_the_end, lies_between, restore_package, shown, sight,
        tag, until_idle,
    },
    steps::{Content, delete_manifest},
};
use crate::{
    auth::{Caller, Delete, Manage, Restore},
    error::Result,
    model::{Digest, PhysicalKey, TagPatterns, Timestamp},
    registry::{Rules, Settings, records::Retention},
    store::faulty::{Fault, Plan},
};

/// Bytes that nothing points at.
const STRAY: PhysicalKey = PhysicalKey([0x5a; 16]);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    RestoreManifest,
    RestoreTag,
    RestoreIndex,
    DeletePackage,
    RestorePackage,
    SetPolicy,
    LiftPolicy,
    SetOwnerPolicy,
    Retain,
    Purge,
    Collect,
    SweepOrphans,
}

const OPS: [Op; 12] = [
    Op::RestoreManifest,
    Op::RestoreTag,
    Op::RestoreIndex,
    Op::DeletePackage,
    Op::RestorePackage,
    Op::SetPolicy,
    Op::LiftPolicy,
    Op::SetOwnerPolicy,
    Op::Retain,
    Op::Purge,
    Op::Collect,
    Op::SweepOrphans,
];

/// A registry that was used for a while.
struct Base {
    world: World,
    content: Content,
    /// What the deleted package showed.
    old: Shown,
}

fn immutable(pattern: &str) -> Rules {
    Rules { immutable: TagPatterns::parse(&[pattern.to_owned()], &[]).unwrap(), retention: None }
}

async fn set_policy(world: &World, name: &str, rules: Option<Rules>) -> Result<()> {
    let grant = world.grant::<Manage>(name).await?;
    world.registry.set_package_policy(&grant, rules).await
}

async fn delete_tag(world: &World, name: &str, text: &str) {
    let grant = world.grant::<Delete>(name).await.unwrap();
    world.registry.delete_tag(&grant, &tag(text)).await.unwrap();
}

impl Base {
    async fn new() -> Self {
        let settings = Settings {
            space_reserve: 0,
            collect_rate: 0,
            trash_grace: HOUR,
            orphan_grace: HOUR,
            ..Settings::default()
        };
        let mut world = World::new(settings).await;
        let content = Content::new();
        let c = &content;
        world.know(&[&c.config, &c.layer, &c.other, &c.small, &c.spare, &c.image, &c.second]);
        world.know(&[&c.absent, &c.index, &c.sparse, &c.signature, &c.lone]);
        for name in [APP, LIB, NEW, OLD] {
            for bytes in [&c.config, &c.layer, &c.other] {
                world.push(name, bytes).await.unwrap();
            }
        }
        let put = async |name, puts: &[(&Bytes, Option<&str>)]| {
            for (bytes, tag) in puts {
                world.put(name, bytes, *tag).await.unwrap();
            }
        };
        // A deleted tag; a deleted image with two tags, one of which names another by now; bytes that only leases hold.
        let second = &c.second;
        put(APP, &[(&c.image, Some("one")), (&c.image, Some("moves")), (second, Some("two"))]).await;
        put(APP, &[(second, Some("both")), (&c.signature, None)]).await;
        delete_tag(&world, APP, "moves").await;
        delete_manifest(&world, APP, second).await.unwrap();
        put(APP, &[(&c.absent, Some("both"))]).await;
        for (name, bytes) in [(APP, &c.small), (APP, &c.spare), (LIB, &c.spare)] {
            world.push(name, bytes).await.unwrap();
        }
        // A deleted index with all it names.
        put(LIB, &[(&c.lone, Some("one")), (&c.image, Some("first")), (second, None)]).await;
        put(LIB, &[(&c.index, Some("all"))]).await;
        for bytes in [&c.index, &c.image, second] {
            delete_manifest(&world, LIB, bytes).await.unwrap();
        }
        // What retention is to thin out.
        put(NEW, &[(&c.lone, Some("v1")), (&c.image, Some("v2")), (second, Some("v3"))]).await;
        put(NEW, &[(&c.index, Some("v4")), (&c.signature, None)]).await;
        let keep_tags = immutable("v1").immutable;
        let retention = Some(Retention { keep_last: Some(0), keep_tags, ..Retention::default() });
        let rules = Rules { immutable: TagPatterns::default(), retention };
        set_policy(&world, NEW, Some(rules)).await.unwrap();
        // A deleted package.
        put(OLD, &[(&c.image, Some("v1")), (&c.image, Some("v2")), (second, Some("v3"))]).await;
        put(OLD, &[(&c.index, Some("all")), (&c.sparse, None), (&c.lone, Some("gone"))]).await;
        delete_tag(&world, OLD, "v2").await;
        delete_manifest(&world, OLD, &c.lone).await.unwrap();
        set_policy(&world, OLD, Some(immutable("x*"))).await.unwrap();
        let old = shown(&world, OLD).await;
        let grant = world.grant::<Delete>(OLD).await.unwrap();
        world.registry.delete_package(&grant).await.unwrap();
        assert_eq!(invariants::check(&world.stored()), Orphans::default());
        Self { world, content, old }
    }

    /// Where an operation begins.
    fn start(&self, op: Op) -> World {
        let world = self.world.restarted();
        if op == Op::SweepOrphans {
            world.blobs.rot(STRAY, Some(Bytes::from_static(b"stray")));
            world.blobs.age(Duration::from_secs(HOUR + HOUR / 2));
        }
        world
    }
}

impl Op {
    /// When it is done.
    fn at(self, world: &World) -> Timestamp {
        let long = matches!(self, Self::Purge | Self::Collect);
        world.at.plus_seconds(if long { 31 * 24 * HOUR } else { 0 })
    }

    async fn attempt(self, base: &Base, world: &World) -> Result<()> {
        let (c, registry, at) = (&base.content, &world.registry, self.at(world));
        let job = Caller::job("test", at, "test".into());
        match self {
            Self::RestoreManifest => {
                let grant = world.grant::<Restore>(APP).await?;
                registry.restore_manifest(&grant, &Digest::sha256(&c.second)).await.map(|_| ())
            }
            Self::RestoreTag => {
                let grant = world.grant::<Restore>(APP).await?;
                registry.restore_tag(&grant, &tag("moves")).await.map(|_| ())
            }
            Self::RestoreIndex => {
                let grant = world.grant::<Restore>(LIB).await?;
                registry.restore_manifest(&grant, &Digest::sha256(&c.index)).await.map(|_| ())
            }
            Self::DeletePackage => {
                let grant = world.grant::<Delete>(NEW).await?;
                registry.delete_package(&grant).await
            }
            Self::RestorePackage => restore_package(world, OLD).await,
            Self::SetPolicy => set_policy(world, APP, Some(immutable("one"))).await,
            Self::LiftPolicy => set_policy(world, NEW, None).await,
            Self::SetOwnerPolicy => {
                let grant = registry.policy().authorize_owner(&world.ada(), "acme").await?;
                registry.set_owner_policy(&grant, Some(immutable("two"))).await
            }
            Self::Retain => until_idle(async || registry.retain_all(&job, 100).await).await,
            Self::Purge => {
                until_idle(async || registry.purge_deleted(&job, 100).await.map(|gone| gone > 0)).await
            }
            // What could not be reviewed or deleted comes an hour later.
            Self::Collect => {
                for round in 0..4 {
                    let at = at.plus_seconds(2 * HOUR * round);
                    until_idle(async || registry.collect(at).await).await?;
                }
                Ok(())
            }
            Self::SweepOrphans => {
                for _ in 0..2 {
                    registry.sweep_watched(at, Duration::from_secs(2 * HOUR)).await?;
                }
                Ok(())
            }
        }
    }

    fn is_job(self) -> bool {
        matches!(self, Self::Retain | Self::Purge | Self::Collect | Self::SweepOrphans)
    }

    /// Whether it is done in one batch; the others in several.
    fn is_one(self) -> bool {
        !self.is_job() && self != Self::RestoreIndex
    }

    /// Whether a second run finds it done and says so.
    fn is_once(self) -> bool {
        matches!(self, Self::DeletePackage | Self::RestorePackage)
    }
}

struct Case<'a> {
    base: &'a Base,
    start: &'a World,
    op: Op,
    before: &'a Sight,
    wanted: &'a Sight,
}

impl Case<'_> {
    /// One operation with one fault; how many ends it had, none if the fault found nothing to do.
    async fn run(&self, plan: Plan) -> usize {
        let world = self.start.restarted();
        world.faults.arm(Some(plan));
        let done = self.op.attempt(self.base, &world).await.is_ok();
        let unsynced = world.unsynced();
        let Some(call) = world.faults.heal() else { return 0 };
        let what = format!("{:?} at {} ({call}, {:?})", self.op, plan.at, plan.fault);
        if !plan.rest {
            self.judge(world, done, &what).await;
            return 1;
        }
        // The daemon died there. What was not synced may be gone, if the power went with it.
        let mut losses = vec![0, 1, unsynced];
        losses.retain(|lost| *lost <= unsynced);
        losses.dedup();
        for lost in &losses {
            let after = world.after_a_power_cut(self.start, *lost, false).await;
            self.judge(after, done && *lost == 0, &format!("{what}, {lost} of {unsynced} lost")).await;
        }
        losses.len()
    }

    fn is_legal(&self, seen: &Sight) -> bool {
        if self.op.is_one() {
            seen == self.before || seen == self.wanted
        } else {
            lies_between(seen, self.before, self.wanted)
        }
    }

    async fn judge(&self, world: World, done: bool, what: &str) {
        let seen = sight(&world).await;
        invariants::check(&world.stored());
        assert!(!done || seen == *self.wanted, "{what}: acknowledged: {seen:#?}");
        assert!(self.is_legal(&seen), "{what}: neither nor: {seen:#?}");
        finds_nothing(&world, self.op.at(&world), what).await;
        if seen != *self.before && seen != *self.wanted {
            can_be_restored(&self.base.old, &world, what).await;
        }
        match self.op.attempt(self.base, &world).await {
            Ok(()) => {}
            Err(error) if self.op.is_once() && is_gone(&error) && seen == *self.wanted => {}
            Err(error) => panic!("{what}: the retry failed: {error}"),
        }
        assert_eq!(sight(&world).await, *self.wanted, "{what}: after the retry");
        in_the_end(&world.restarted(), what).await;
    }
}

/// Runs an operation with every fault at every step.
async fn every_step(base: &Base, op: Op, rest: bool) -> usize {
    let start = base.start(op);
    let before = sight(&start).await;
    let world = start.restarted();
    world.faults.arm(None);
    op.attempt(base, &world).await.unwrap_or_else(|error| panic!("{op:?}: {error}"));
    let calls = world.faults.calls().len();
    let wanted = sight(&world).await;
    assert_eq!(invariants::check(&world.stored()), Orphans::default(), "{op:?}");
    can_be_restored(&base.old, &world, "without a fault").await;
    let end = world.restarted();
    in_the_end(&end, "without a fault").await;
    finds_nothing(&end, world.at.plus_seconds(12 * 365 * 24 * HOUR), "without a fault").await;
    assert!(before != wanted || op == Op::SweepOrphans, "{op:?} does nothing");
    let case = Case { base, start: &start, op, before: &before, wanted: &wanted };
    let mut cases = 0;
    // To die after a step is to die before the next one.
    for fault in [Fault::Before, Fault::After].into_iter().take(if rest { 1 } else { 2 }) {
        for at in 0..calls {
            let ends = case.run(Plan { at, fault, rest }).await;
            assert!(ends > 0 || fault != Fault::Before, "{op:?} has no step {at} of {calls}");
            cases += ends;
        }
    }
    println!("{op:?}: {calls} steps, {cases} cases");
    cases
}

async fn every_operation(rest: bool) {
    let base = Base::new().await;
    let mut cases = 0;
    for op in OPS {
        cases += every_step(&base, op, rest).await;
    }
    println!("{cases} cases");
    assert!(cases > 600, "{cases}");
}

#[tokio::test]
async fn what_comes_after_with_a_fault_at_every_step() {
    every_operation(false).await;
}

#[tokio::test]
async fn what_comes_after_with_the_daemon_dying_at_every_step() {
    every_operation(true).await;
}

#[tokio::test]
async fn what_comes_after_dropped_at_every_await() {
    let base = Base::new().await;
    let mut cases = 0;
    // A job is dropped only with the process: see above.
    for op in OPS.into_iter().filter(|op| !op.is_job()) {
        let start = base.start(op);
        let before = sight(&start).await;
        let world = start.restarted();
        op.attempt(&base, &world).await.unwrap();
        let wanted = sight(&world).await;
        let case = Case { base: &base, start: &start, op, before: &before, wanted: &wanted };
        for at in 0.. {
            let operation = async |world: &World| op.attempt(&base, world).await;
            let Some(world) = dropped(&start, at, operation).await else { break };
            case.judge(world, false, &format!("{op:?} dropped at {at}")).await;
            cases += 1;
        }
    }
    println!("{cases} cases");
    assert!(cases > 150, "{cases}");
}

/// A call that hangs holds up nobody else, and the operation ends well when it comes back.
#[tokio::test]
async fn what_comes_after_stalled_holds_up_nobody_else() {
    let base = Rc::new(Base::new().await);
    for op in [Op::RestoreManifest, Op::RestorePackage, Op::Retain, Op::Purge, Op::Collect, Op::SweepOrphans]
    {
        let start = base.start(op);
        let before = sight(&start).await;
        let world = start.restarted();
        world.faults.arm(None);
        op.attempt(&base, &world).await.unwrap();
        let (calls, wanted) = (world.faults.calls().len(), sight(&world).await);
        for at in (0..calls).step_by(3) {
            let world = Rc::new(start.restarted());
            world.faults.arm(Some(Plan { at, fault: Fault::Stall, rest: false }));
            let stalled = stalled(&base, &world, op, &before, &wanted);
            LocalSet::new().run_until(stalled).await;
            assert_eq!(sight(&world).await, wanted, "{op:?} at {at}");
        }
    }
}

async fn stalled(base: &Rc<Base>, world: &Rc<World>, op: Op, before: &Sight, wanted: &Sight) {
    let (here, there) = (Rc::clone(base), Rc::clone(world));
    let task = tokio::task::spawn_local(async move { op.attempt(&here, &there).await });
    while !task.is_finished() && world.faults.fired().is_none() {
        tokio::task::yield_now().await;
    }
    // A call that does not wait cannot hang.
    if world.faults.fired().is_some() {
        let seen = sight(world).await;
        assert!(lies_between(&seen, before, wanted), "{op:?}: {seen:#?}");
        world.push("acme/else", &base.content.small).await.unwrap();
        assert!(!task.is_finished());
    }
    world.faults.heal();
    task.await.unwrap().unwrap_or_else(|error| panic!("{op:?}: {error}"));
}

/// However little a step of a purge does, what is left after it is legal.
#[tokio::test]
async fn packages_are_purged_in_small_steps() {
    let base = Base::new().await;
    for limit in 1..4 {
        let world = base.world.restarted();
        world.put(NEW, &base.content.sparse, None).await.unwrap();
        for name in [APP, LIB, NEW] {
            let grant = world.grant::<Delete>(name).await.unwrap();
            world.registry.delete_package(&grant).await.unwrap();
        }
        let at = Op::Purge.at(&world);
        let job = Caller::job("test", at, "test".into());
        let mut steps = 0;
        while world.registry.purge_deleted(&job, limit).await.unwrap() > 0 {
            let what = format!("step {steps} of at most {limit}");
            invariants::check(&world.stored());
            finds_nothing(&world, at, &what).await;
            can_be_restored(&base.old, &world, &what).await;
            steps += 1;
            assert!(steps < 200, "the purge does not come to an end");
        }
        assert!(steps > 10, "{steps}");
        in_the_end(&world, "after a purge").await;
    }
}
