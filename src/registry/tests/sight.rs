//! All that shows of a registry through its doors, restorable things and policies included, and how it is judged: whether
//! it lies between two others, whether what is restorable comes back, what is left in the end.

use std::{collections::BTreeMap, time::Duration};

use super::{
    bench::{APP, LIB, NEW, OLD, Shown, World, is_gone},
    invariants::{self, Orphans},
};
use crate::{
    auth::{Caller, Manage, Operate, Restore},
    error::Result,
    model::{Digest, PackageName, Reference, Tag, Timestamp},
    registry::fsck::FsckOptions,
    store::Space,
};

pub(super) const HOUR: u64 = 3600;
/// The tags of the tests.
const TAGS: [&str; 11] = ["one", "moves", "two", "both", "all", "first", "v1", "v2", "v3", "v4", "gone"];

pub(super) fn tag(text: &str) -> Tag {
    Tag::parse(text).unwrap()
}

/// What a package shows, without how it came to it.
pub(super) async fn shown(world: &World, name: &str) -> Shown {
    let grant = world.grant(name).await.unwrap();
    Shown { events: Vec::new(), ..world.shown(&grant).await.unwrap() }
}

pub(super) async fn restore_package(world: &World, name: &str) -> Result<()> {
    let name = PackageName::parse(name)?;
    let grant = world.registry.policy().authorize_deleted::<Restore>(&world.ada(), &name, None).await?;
    world.registry.restore_package(&grant).await
}

pub(super) async fn until_idle(step: impl AsyncFn() -> Result<bool>) -> Result<()> {
    for _ in 0..50 {
        if !step().await? {
            return Ok(());
        }
    }
    panic!("the job does not come to an end");
}

/// Something that can be restored.
#[derive(Debug, Clone)]
enum Kept {
    Package(String),
    Version(&'static str, Digest),
    Tag(&'static str, &'static str),
}

/// All that shows, and how often: what packages show, what is restorable, what the policies say.
pub(super) type Sight = BTreeMap<String, usize>;

async fn kept(world: &World) -> Vec<Kept> {
    let mut kept = Vec::new();
    for name in [APP, LIB, NEW, OLD] {
        let Ok(grant) = world.grant::<Restore>(name).await else { continue };
        for digest in &world.known {
            let deleted = world.registry.when_deleted(&grant, &Reference::Digest(*digest)).await.unwrap();
            kept.extend(deleted.map(|_| Kept::Version(name, *digest)));
        }
        for text in TAGS {
            let deleted = world.registry.when_deleted(&grant, &Reference::Tag(tag(text))).await.unwrap();
            kept.extend(deleted.map(|_| Kept::Tag(name, text)));
        }
    }
    let packages = world.registry.deleted_packages(&world.ada(), None, None, 100).await.unwrap();
    kept.extend(packages.iter().map(|package| Kept::Package(package.name.to_string())));
    kept
}

pub(super) async fn sight(world: &World) -> Sight {
    let mut facts = Vec::new();
    for (name, shown) in world.seen().await {
        let Some(shown) = shown else { continue };
        facts.extend(shown.tags.iter().map(|tag| format!("{name}: {tag:?}")));
        facts.extend(shown.manifests.iter().map(|digest| format!("{name}: manifest {digest}")));
        facts.extend(shown.blobs.iter().map(|blob| format!("{name}: blob {blob:?}")));
        facts.extend(shown.referrers.iter().map(|pair| format!("{name}: refers {pair:?}")));
        facts.extend(shown.events.iter().map(|event| format!("{name}: event {event:?}")));
        let grant = world.grant::<Manage>(name).await.unwrap();
        facts.push(format!("{name}: {:?}", world.registry.package_policy(&grant).await.unwrap()));
    }
    let owner = world.registry.policy().authorize_owner(&world.ada(), "acme").await.unwrap();
    facts.push(format!("acme: {:?}", world.registry.owner_policy(&owner).await.unwrap()));
    facts.extend(kept(world).await.iter().map(|kept| format!("{kept:?}")));
    let mut sight = Sight::new();
    for fact in facts {
        *sight.entry(fact).or_default() += 1;
    }
    sight
}

/// Nothing is lost that stays, nothing shows that never was.
pub(super) fn lies_between(seen: &Sight, before: &Sight, wanted: &Sight) -> bool {
    let count = |sight: &Sight, fact| sight.get(fact).copied().unwrap_or(0);
    seen.keys().chain(before.keys()).chain(wanted.keys()).all(|fact| {
        let (one, other) = (count(before, fact), count(wanted, fact));
        (one.min(other)..=one.max(other)).contains(&count(seen, fact))
    })
}

/// Whatever is listed as restorable comes back whole.
pub(super) async fn can_be_restored(old: &Shown, world: &World, what: &str) {
    for kept in kept(world).await {
        let world = world.restarted();
        let restored = match &kept {
            Kept::Package(name) => restore_package(&world, name).await,
            Kept::Version(name, digest) => {
                let grant = world.grant::<Restore>(name).await.unwrap();
                world.registry.restore_manifest(&grant, digest).await.map(|_| ())
            }
            Kept::Tag(name, text) => {
                let grant = world.grant::<Restore>(name).await.unwrap();
                match world.registry.restore_tag(&grant, &tag(text)).await {
                    // Its manifest is deleted, too, and comes first.
                    Err(error) if is_gone(&error) => Ok(()),
                    done => done.map(|_| ()),
                }
            }
        };
        restored.unwrap_or_else(|error| panic!("{what}: {kept:?}: {error}"));
        assert_eq!(invariants::check(&world.stored()).lost, [].into(), "{what}: {kept:?}");
        match &kept {
            Kept::Package(name) if name == OLD => {
                assert_eq!(shown(&world, OLD).await, *old, "{what}: not the whole package came back");
            }
            Kept::Package(_) => {}
            Kept::Version(name, digest) => assert!(shown(&world, name).await.manifests.contains(digest)),
            Kept::Tag(name, _) => drop(shown(&world, name).await),
        }
    }
}

/// A check at a moment finds nothing.
pub(super) async fn finds_nothing(world: &World, at: Timestamp, what: &str) {
    let operator = Caller::operator(at, "test".into());
    let grant = world.registry.policy().authorize_system::<Operate>(&operator).unwrap();
    let options = FsckOptions { deep: true, repair: false };
    let found = world.registry.findings(&grant, options).await.unwrap();
    assert!(found.is_empty(), "{what}: {found:#?}");
}

/// Everything that is due happens, years later: what nothing holds is gone then, and nothing waits.
pub(super) async fn in_the_end(world: &World, what: &str) {
    world.years_later().await.unwrap();
    let at = world.at.plus_seconds(11 * 365 * 24 * HOUR);
    let job = Caller::job("test", at, "test".into());
    let registry = &world.registry;
    until_idle(async || registry.purge_deleted(&job, 100).await.map(|gone| gone > 0)).await.unwrap();
    for round in 0..3 {
        let at = at.plus_seconds(2 * HOUR * round);
        until_idle(async || registry.collect(at).await).await.unwrap();
        registry.sweep_watched(at, Duration::from_secs(2 * HOUR)).await.unwrap();
    }
    let stored = world.stored();
    assert_eq!(invariants::check(&stored), Orphans::default(), "{what}: in the end");
    let waiting: Vec<_> = stored.keys.keys().filter(|key| key.space == Space::Queue).collect();
    assert!(waiting.is_empty(), "{what}: in the end {waiting:?}");
}
