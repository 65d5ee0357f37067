//! A fault at every step: each operation is run with its first call to the stores failing, its second, and so on until
//! none is left, in every way a call can fail, and with the daemon dying there. It is all or nothing each time, what was
//! acknowledged stays, a retry succeeds, and nothing stays behind for ever.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    bench::{APP, LIB, NEW, Seen, World, chunk, image, index, is_gone, noise, referrer},
    invariants::{self, Orphans},
};
use crate::{
    auth::{Delete, Pull, Push},
    error::{Kind, Result},
    model::{Algorithm, Digest, Tag, UploadId},
    registry::Settings,
    store::faulty::{Fault, Plan},
};

/// What the tests push, by a name.
#[derive(Clone)]
pub(super) struct Content {
    pub(super) config: Bytes,
    pub(super) layer: Bytes,
    pub(super) other: Bytes,
    pub(super) small: Bytes,
    pub(super) large: Bytes,
    pub(super) spare: Bytes,
    pub(super) image: Bytes,
    pub(super) second: Bytes,
    pub(super) absent: Bytes,
    pub(super) index: Bytes,
    pub(super) sparse: Bytes,
    pub(super) signature: Bytes,
    pub(super) lone: Bytes,
}

impl Content {
    pub(super) fn new() -> Self {
        let (config, layer, other) = (noise(1, 200), noise(2, 18_000), noise(3, 17_000));
        let (small, large, spare) = (noise(4, 300), noise(5, 34_000), noise(6, 17_500));
        let image_of = |layers: &[&Bytes]| image(&config, layers);
        let (first, second) = (image_of(&[&layer]), image_of(&[&other]));
        let absent = image_of(&[&layer, &other]);
        Self {
            index: index(&[&first, &second]),
            sparse: index(&[&first, &absent]),
            signature: referrer(&first, &config),
            lone: image_of(&[]),
            image: first,
            second,
            absent,
            config,
            layer,
            other,
            small,
            large,
            spare,
        }
    }
}

/// What is done, each a request or a few.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    PushInline,
    PushFile,
    PushAgain,
    PushToNew,
    Chunked,
    ChunkedSmall,
    OtherDigest,
    Resume,
    Cancel,
    Mount,
    PutFirst,
    PutImage,
    PutIndex,
    PutSparse,
    PutWanted,
    PutReferrer,
    Revive,
    MoveTag,
    DeleteTag,
    DeleteManifest,
    DeleteIndex,
    DeleteBlob,
    ExpireUploads,
    ExpirePending,
    PurgeTrash,
    Sweep,
}

pub(super) const OPS: [Op; 26] = [
    Op::PushInline,
    Op::PushFile,
    Op::PushAgain,
    Op::PushToNew,
    Op::Chunked,
    Op::ChunkedSmall,
    Op::OtherDigest,
    Op::Resume,
    Op::Cancel,
    Op::Mount,
    Op::PutFirst,
    Op::PutImage,
    Op::PutIndex,
    Op::PutSparse,
    Op::PutWanted,
    Op::PutReferrer,
    Op::Revive,
    Op::MoveTag,
    Op::DeleteTag,
    Op::DeleteManifest,
    Op::DeleteIndex,
    Op::DeleteBlob,
    Op::ExpireUploads,
    Op::ExpirePending,
    Op::PurgeTrash,
    Op::Sweep,
];

/// The world before each operation, with everything in it that one of them needs.
pub(super) struct Base {
    pub(super) world: World,
    pub(super) content: Content,
    /// A session of the base that holds a part of `large`.
    pub(super) session: UploadId,
}

const PART: usize = 18_000;

impl Base {
    pub(super) async fn new() -> Self {
        let settings = Settings { max_sessions: 50, space_reserve: 0, ..Settings::default() };
        let mut world = World::new(settings).await;
        let content = Content::new();
        let c = &content;
        world.know(&[&c.config, &c.layer, &c.other, &c.small, &c.large, &c.spare, &c.image, &c.second]);
        world.know(&[&c.absent, &c.index, &c.sparse, &c.signature, &c.lone]);
        for bytes in [&c.config, &c.layer, &c.other] {
            world.push(APP, bytes).await.unwrap();
        }
        for (bytes, tag) in [(&c.image, Some("one")), (&c.image, Some("moves")), (&c.second, None)] {
            world.put(APP, bytes, tag).await.unwrap();
        }
        // An index that is there, one that wants what is not, an image that was deleted.
        world.push(LIB, &c.config).await.unwrap();
        world.put(LIB, &c.lone, Some("lone")).await.unwrap();
        for bytes in [&c.layer, &c.other, &c.spare] {
            world.push(LIB, bytes).await.unwrap();
        }
        for (bytes, tag) in [(&c.image, None), (&c.second, Some("gone")), (&c.sparse, Some("sparse"))] {
            world.put(LIB, bytes, tag).await.unwrap();
        }
        delete_manifest(&world, LIB, &c.second).await.unwrap();
        // The second copy of a blob lies in the trash.
        world.push(LIB, &c.spare).await.unwrap();
        world.push(NEW, &c.config).await.unwrap();
        let grant = world.pusher(APP).await.unwrap();
        let session = world.registry.begin_upload(&grant, None).await.unwrap();
        world.registry.append(&grant, session, chunk(&c.large.slice(..PART), Some(0))).await.unwrap();
        assert_eq!(invariants::check(&world.stored()), Orphans::default());
        Self { world, content, session }
    }
}

pub(super) async fn delete_manifest(world: &World, name: &str, bytes: &Bytes) -> Result<()> {
    let grant = world.grant::<Delete>(name).await?;
    world.registry.delete_manifest(&grant, &Digest::sha256(bytes)).await
}

/// The protocol's way to send a blob in chunks over a connection that breaks: ask where it stands, begin anew if the
/// session is gone, send the rest. One attempt.
async fn send(world: &World, name: &str, session: &mut Option<UploadId>, bytes: &Bytes) -> Result<()> {
    let registry = &world.registry;
    let grant = world.pusher(name).await?;
    let (id, mut at) = match *session {
        Some(id) => (id, registry.upload_offset(&grant, id).await),
        None => (registry.begin_upload(&grant, Some(Algorithm::Sha256)).await?, Ok(0)),
    };
    *session = Some(id);
    if let Err(error) = &at
        && is_gone(error)
    {
        let id = registry.begin_upload(&grant, None).await?;
        (*session, at) = (Some(id), Ok(0));
    }
    let (id, mut at) = (session.unwrap_or(id), usize::try_from(at?).unwrap());
    let last = bytes.len() - bytes.len() / 8;
    while at < last {
        let to = (at + bytes.len() / 2).min(last);
        let sent = registry.append(&grant, id, chunk(&bytes.slice(at..to), Some(at as u64))).await?;
        assert_eq!(sent, to as u64, "what was acknowledged is what was sent");
        at = to;
    }
    let rest = (at < bytes.len()).then(|| chunk(&bytes.slice(at..), Some(at as u64)));
    registry.finish_upload(grant, id, rest, Digest::sha256(bytes)).await.map(|_| ())
}

impl Op {
    /// One attempt. `session` outlives it: what the client knows of its upload.
    pub(super) async fn attempt(
        self,
        base: &Base,
        world: &World,
        session: &mut Option<UploadId>,
    ) -> Result<()> {
        let c = &base.content;
        let registry = &world.registry;
        let later = world.at.plus_seconds(48 * 3600);
        match self {
            Self::PushInline => world.push(APP, &c.small).await,
            Self::PushFile => world.push(APP, &c.large).await,
            Self::PushAgain => world.push(APP, &c.spare).await,
            Self::PushToNew => world.push(NEW, &c.large).await,
            Self::Chunked => send(world, APP, session, &c.large).await,
            Self::ChunkedSmall => send(world, APP, session, &c.small).await,
            Self::OtherDigest => {
                let grant = world.pusher(APP).await?;
                let id = registry.begin_upload(&grant, None).await?;
                registry.append(&grant, id, chunk(&c.large, None)).await?;
                let digest = Digest::of(Algorithm::Sha512, &c.large);
                registry.finish_upload(grant, id, None, digest).await.map(|_| ())
            }
            Self::Resume => {
                session.get_or_insert(base.session);
                send(world, APP, session, &c.large).await
            }
            Self::Cancel => {
                let grant = world.grant::<Push>(APP).await?;
                registry.cancel_upload(&grant, base.session).await
            }
            Self::Mount => {
                let from = world.grant::<Pull>(LIB).await?;
                let into = world.pusher(APP).await?;
                let digest = Digest::sha256(&c.spare);
                assert!(registry.mount_blob(&into, &from, &digest).await?);
                Ok(())
            }
            Self::PutFirst => world.put(NEW, &c.lone, Some("first")).await,
            Self::PutImage => world.put(APP, &c.absent, Some("two")).await,
            Self::PutIndex => world.put(APP, &c.index, Some("all")).await,
            Self::PutSparse => world.put(APP, &c.sparse, Some("all")).await,
            Self::PutWanted => world.put(LIB, &c.absent, Some("came")).await,
            Self::PutReferrer => world.put(APP, &c.signature, None).await,
            Self::Revive => world.put(LIB, &c.second, Some("back")).await,
            Self::MoveTag => world.put(APP, &c.second, Some("moves")).await,
            Self::DeleteTag => {
                let grant = world.grant::<Delete>(APP).await?;
                registry.delete_tag(&grant, &Tag::parse("one")?).await
            }
            Self::DeleteManifest => delete_manifest(world, APP, &c.image).await,
            Self::DeleteIndex => delete_manifest(world, LIB, &c.sparse).await,
            Self::DeleteBlob => {
                let grant = world.grant::<Delete>(LIB).await?;
                registry.delete_blob(&grant, &Digest::sha256(&c.spare)).await
            }
            Self::ExpireUploads => registry.expire_uploads(later, 100).await.map(|_| ()),
            Self::ExpirePending => registry.expire_unused(later).await.map(|_| ()),
            Self::PurgeTrash => {
                registry.purge(later, None, 100, &mut crate::registry::Collected::default()).await.map(|_| ())
            }
            Self::Sweep => registry.sweep_uploads().await.map(|_| ()),
        }
    }

    /// Whether a job does it: a step of one is dropped only with the process.
    pub(super) fn is_job(self) -> bool {
        matches!(self, Self::ExpireUploads | Self::ExpirePending | Self::PurgeTrash | Self::Sweep)
    }

    /// Whether a second run finds it done and says so.
    fn is_once(self) -> bool {
        matches!(
            self,
            Self::Cancel | Self::DeleteTag | Self::DeleteManifest | Self::DeleteIndex | Self::DeleteBlob
        )
    }

    /// Whether its call may leave bytes that only a scrub finds, when this call failed: nobody knows whether a commit is
    /// there, so its bytes stay; bytes that could not be removed stay.
    fn may_orphan(call: &str) -> bool {
        matches!(call, "commit" | "discard" | "delete")
    }
}

/// The whole of one operation with one fault.
struct Case<'a> {
    base: &'a Base,
    op: Op,
    before: &'a Seen,
    wanted: &'a Seen,
    plan: Plan,
}

impl Case<'_> {
    /// Runs it; `false` when the fault found nothing to do.
    async fn run(&self) -> bool {
        let world = self.base.world.restarted();
        let mut session = None;
        world.faults.arm(Some(self.plan));
        let done = self.op.attempt(self.base, &world, &mut session).await;
        let lost = world.unsynced();
        let Some(call) = world.faults.heal() else { return false };
        let what = format!("{:?} at {} ({call})", self.op, self.plan.at);
        if self.plan.rest {
            // The daemon died there. What was not synced may be gone, if the power went with it.
            for (lost, names) in (0..=lost).flat_map(|lost| [(lost, false), (lost, true)]) {
                let after = world.after_a_power_cut(&self.base.world, lost, names).await;
                let what = format!("{what}, {lost} lost, names too: {names}");
                let hollow = invariants::check(&after.stored()).lost;
                assert!(hollow.is_empty() || names || lost > 0, "{what}: a session names what is not there");
                self.judge(after, done.is_ok() && lost == 0, call, session, &what).await;
            }
            return true;
        }
        let hollow = invariants::check(&world.stored()).lost;
        assert!(hollow.is_empty(), "{what}: a session names what is not there");
        self.judge(world, done.is_ok(), call, session, &what).await;
        true
    }

    async fn judge(&self, world: World, done: bool, call: &str, mut session: Option<UploadId>, what: &str) {
        invariants::check(&world.stored());
        let seen = world.seen().await;
        if done {
            assert_eq!(seen, *self.wanted, "{what}: acknowledged");
        } else {
            assert!(seen == *self.before || seen == *self.wanted, "{what}: neither nor: {seen:#?}");
        }
        match self.op.attempt(self.base, &world, &mut session).await {
            Ok(()) => {}
            Err(error) if self.op.is_once() && is_gone(&error) && seen == *self.wanted => {}
            // A session that the store could not keep begins again, and says so.
            Err(error) if matches!(error.kind(), Kind::Offset { stored: 0 }) => {
                self.op
                    .attempt(self.base, &world, &mut session)
                    .await
                    .unwrap_or_else(|e| panic!("{what}: {e}"));
            }
            Err(error) => panic!("{what}: the retry failed: {error}"),
        }
        assert_eq!(world.seen().await, *self.wanted, "{what}: after the retry");
        invariants::check(&world.stored());
        // Nothing stays for ever but what only a scrub may judge.
        let next = world.restarted();
        next.years_later().await.unwrap();
        let orphans = invariants::check(&next.stored());
        assert!(orphans.uploads.is_empty(), "{what}: {orphans:?}");
        assert!(
            orphans.published.is_empty() || self.plan.rest || Op::may_orphan(call),
            "{what}: {orphans:?}"
        );
    }
}

/// Runs an operation with every fault at every step; says how many there were.
async fn every_step(base: &Base, op: Op, rest: bool) -> usize {
    let before = base.world.restarted().seen().await;
    let wanted = {
        let world = base.world.restarted();
        op.attempt(base, &world, &mut None).await.unwrap_or_else(|error| panic!("{op:?}: {error}"));
        assert_eq!(invariants::check(&world.stored()), Orphans::default(), "{op:?}");
        world.seen().await
    };
    let mut cases = 0;
    for fault in [Fault::Before, Fault::After, Fault::Tear] {
        let calls = {
            let world = base.world.restarted();
            world.faults.arm(None);
            op.attempt(base, &world, &mut None).await.unwrap();
            world.faults.calls().len()
        };
        let mut fired = 0;
        for at in 0..calls {
            let case = Case { base, op, before: &before, wanted: &wanted, plan: Plan { at, fault, rest } };
            fired += usize::from(case.run().await);
        }
        assert!(fired == calls || fault != Fault::Before, "{op:?}: {fired} of {calls} steps");
        cases += fired;
    }
    cases
}

async fn every_operation(rest: bool) {
    let base = Base::new().await;
    let mut cases = 0;
    for op in OPS {
        let here = every_step(&base, op, rest).await;
        println!("{op:?}: {here} cases");
        cases += here;
    }
    println!("{cases} cases");
    assert!(cases > 900, "{cases}");
}

#[tokio::test]
async fn every_operation_with_a_fault_at_every_step() {
    every_operation(false).await;
}

#[tokio::test]
async fn every_operation_with_the_daemon_dying_at_every_step() {
    every_operation(true).await;
}

/// A call that hangs holds up nobody else, and the operation ends well when it comes back.
#[tokio::test]
async fn a_stalled_step_holds_up_nobody_else() {
    let base = Arc::new(Base::new().await);
    for op in
        [Op::PushFile, Op::Chunked, Op::PutFirst, Op::MoveTag, Op::DeleteManifest, Op::Mount, Op::PurgeTrash]
    {
        let world = base.world.restarted();
        let before = world.seen().await;
        world.faults.arm(None);
        op.attempt(&base, &world, &mut None).await.unwrap();
        let calls = world.faults.calls().len();
        let wanted = world.seen().await;
        let mut stalled = 0;
        for at in 0..calls {
            let world = Arc::new(base.world.restarted());
            world.faults.arm(Some(Plan { at, fault: Fault::Stall, rest: false }));
            let (here, there) = (Arc::clone(&base), Arc::clone(&world));
            let task = tokio::spawn(async move { op.attempt(&here, &there, &mut None).await });
            while !task.is_finished() && world.faults.fired().is_none() {
                tokio::task::yield_now().await;
            }
            // A call that does not wait cannot hang.
            if world.faults.fired().is_none() {
                continue;
            }
            stalled += 1;
            let seen = world.seen().await;
            assert!(seen == before || seen == wanted, "{op:?} at {at}");
            world.push("acme/else", &base.content.small).await.unwrap();
            assert!(!task.is_finished());
            world.faults.heal();
            task.await.unwrap().unwrap_or_else(|error| panic!("{op:?} at {at}: {error}"));
            assert_eq!(world.seen().await, wanted, "{op:?} at {at}");
            assert_eq!(invariants::check(&world.stored()), Orphans::default());
        }
        assert!(stalled > 5, "{op:?} was stalled {stalled} times");
    }
}

#[tokio::test]
async fn the_base_holds_what_the_operations_need() {
    let base = Base::new().await;
    for op in OPS {
        let world = base.world.restarted();
        let before = (world.seen().await, world.stored().keys);
        op.attempt(&base, &world, &mut None).await.unwrap_or_else(|error| panic!("{op:?}: {error}"));
        let changed = before != (world.seen().await, world.stored().keys);
        assert!(changed || op == Op::Sweep, "{op:?} does nothing");
    }
}
