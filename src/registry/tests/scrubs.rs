//! Looking for damage, and repairing it, with a fault at every step: what is damaged is found, never what is whole, and
//! whoever pushes it again repairs it or does nothing.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{
    bench::{APP, LIB, Seen, World},
    invariants::{self, Orphans},
    steps::Content,
};
use crate::{
    auth::{Caller, Operate},
    error::Result,
    model::{Digest, PhysicalKey},
    registry::{
        Settings,
        fsck::{Code, FsckOptions},
        records::{BlobRecord, Location},
    },
    store::{
        MetadataRead as _,
        faulty::{Fault, Plan},
    },
};

/// Two packages with a blob in a file, which is damaged, and others that are not.
struct Base {
    world: World,
    content: Content,
    file: PhysicalKey,
    /// What shows without the damage.
    whole: Seen,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    /// A round over all blobs finds what is damaged.
    Scrub,
    /// A round finds that what was damaged is whole again: the disk came back.
    Heal,
    /// A push of what is in quarantine.
    Repair,
    /// A push of what is damaged and was not noticed.
    RepairUnnoticed,
}

impl Base {
    async fn new() -> Self {
        let mut world =
            World::new(Settings { space_reserve: 0, scrub_rate: 1 << 40, ..Settings::default() }).await;
        let content = Content::new();
        let c = &content;
        world.know(&[&c.config, &c.layer, &c.other, &c.image]);
        for bytes in [&c.config, &c.layer, &c.other] {
            world.push(APP, bytes).await.unwrap();
        }
        world.put(APP, &c.image, Some("one")).await.unwrap();
        world.push(LIB, &c.layer).await.unwrap();
        let digest = Digest::sha256(&c.layer);
        let record = world.meta.get(&BlobRecord::key_of(&digest)).await.unwrap().unwrap();
        let Location::Physical(file) = BlobRecord::decode(digest, &record).unwrap().location else {
            panic!()
        };
        let whole = world.seen().await;
        Self { world, content, file, whole }
    }

    fn altered(&self) -> Bytes {
        let mut bytes = self.content.layer.to_vec();
        bytes[100] ^= 1;
        bytes.into()
    }

    /// Where an operation begins.
    async fn start(&self, op: Op) -> World {
        let world = self.world.restarted();
        // A push notices bytes that are missing, and a round those that are others.
        let stored = if op == Op::RepairUnnoticed { None } else { Some(self.altered()) };
        world.blobs.rot(self.file, stored);
        if matches!(op, Op::Heal | Op::Repair) {
            scrub(&world).await.unwrap();
        }
        if op == Op::Heal {
            world.blobs.rot(self.file, Some(self.content.layer.clone()));
        }
        world.restarted()
    }

    /// The rules hold but for the damage, which is where it was made and nowhere else.
    fn check(&self, world: &World, what: &str) {
        let mut stored = world.stored();
        // Bytes in the trash are no business of this.
        stored.published.entry(self.file).and_modify(|bytes| *bytes = self.content.layer.clone());
        if !stored.published.contains_key(&self.file) && self.in_use(world) {
            stored.published.insert(self.file, self.content.layer.clone());
        }
        assert!(invariants::check(&stored).lost.is_empty(), "{what}: a session names what is not there");
    }

    fn in_use(&self, world: &World) -> bool {
        let digest = Digest::sha256(&self.content.layer);
        let stored = &world.stored().keys;
        let record = BlobRecord::decode(digest, &stored[&BlobRecord::key_of(&digest)]).unwrap();
        record.location == Location::Physical(self.file)
    }
}

/// A whole round.
async fn scrub(world: &World) -> Result<()> {
    for _ in 0..20 {
        if !world.registry.scrub(world.at).await? {
            return Ok(());
        }
    }
    panic!("the round does not end");
}

async fn findings(world: &World) -> BTreeSet<(Code, String)> {
    let operator = Caller::operator(world.at, "test".into());
    let grant = world.registry.policy().authorize_system::<Operate>(&operator).unwrap();
    let options = FsckOptions { deep: true, repair: false };
    let found = world.registry.findings(&grant, options).await.unwrap();
    found.into_iter().map(|finding| (finding.code, finding.object)).collect()
}

async fn quarantined(world: &World) -> BTreeSet<Digest> {
    let operator = Caller::operator(world.at, "test".into());
    let grant = world.registry.policy().authorize_system::<Operate>(&operator).unwrap();
    let page = world.registry.quarantined(&grant, None, 100).await.unwrap();
    page.into_iter().map(|blob| blob.digest).collect()
}

impl Op {
    async fn attempt(self, base: &Base, world: &World) -> Result<()> {
        match self {
            Self::Scrub | Self::Heal => scrub(world).await,
            Self::Repair | Self::RepairUnnoticed => world.push(APP, &base.content.layer).await,
        }
    }

    async fn case(self, base: &Base, start: &World, plan: Plan) -> usize {
        let world = start.restarted();
        world.faults.arm(Some(plan));
        let done = self.attempt(base, &world).await.is_ok();
        let Some(call) = world.faults.heal() else { return 0 };
        let what = format!("{self:?}, {plan:?}: {call}");
        let world = if plan.rest { world.restarted() } else { world };
        let damaged = Digest::sha256(&base.content.layer);
        base.check(&world, &what);
        let marked = quarantined(&world).await;
        assert!(marked.iter().all(|digest| *digest == damaged), "{what}: what is whole is in quarantine");
        let told = findings(&world).await;
        let object = format!("blob {damaged}");
        assert!(told.iter().all(|(_, of)| *of == object), "{what}: {told:?}");
        if done && self == Self::Scrub {
            assert_eq!(marked, [damaged].into(), "{what}: the round ended and found nothing");
        } else if done {
            assert_eq!(world.seen().await, base.whole, "{what}: acknowledged");
        }
        // The next round is due a week later; one that was stopped goes on now.
        match self {
            Self::Scrub => {
                self.attempt(base, &world).await.unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!(quarantined(&world).await, [damaged].into(), "{what}: not found");
                assert_eq!(findings(&world).await, [(Code::BlobQuarantined, object)].into(), "{what}");
                world.push(LIB, &base.content.layer).await.unwrap();
            }
            Self::Heal => {
                let mut later = world.restarted();
                later.at = world.at.plus_seconds(8 * 24 * 3600);
                scrub(&later).await.unwrap();
                assert!(quarantined(&later).await.is_empty(), "{what}: not healed");
                return 1;
            }
            Self::Repair | Self::RepairUnnoticed => {
                self.attempt(base, &world).await.unwrap_or_else(|error| panic!("{what}: {error}"));
            }
        }
        assert_eq!(world.seen().await, base.whole, "{what}: after the repair");
        assert!(quarantined(&world).await.is_empty(), "{what}: after the repair");
        assert!(findings(&world).await.is_empty(), "{what}: after the repair");
        // Bytes of which nobody knows whether a record names them stay for the sweep.
        let next = world.restarted();
        next.years_later().await.unwrap();
        let orphans = invariants::check(&next.stored());
        let may_stay = plan.rest || matches!(call, "commit" | "discard" | "delete");
        assert!(
            orphans == Orphans::default() || (orphans.uploads.is_empty() && may_stay),
            "{what}: {orphans:?}"
        );
        1
    }
}

#[tokio::test]
async fn damage_is_found_and_repaired_with_a_fault_at_every_step() {
    let base = Base::new().await;
    let mut cases = 0;
    for op in [Op::Scrub, Op::Heal, Op::Repair, Op::RepairUnnoticed] {
        let start = base.start(op).await;
        let world = start.restarted();
        world.faults.arm(None);
        op.attempt(&base, &world).await.unwrap();
        let calls = world.faults.calls().len();
        for (fault, rest) in
            [(Fault::Before, false), (Fault::After, false), (Fault::Tear, false), (Fault::Before, true)]
        {
            for at in 0..calls {
                cases += op.case(&base, &start, Plan { at, fault, rest }).await;
            }
        }
    }
    println!("{cases} cases");
    assert!(cases > 150, "{cases}");
}
