//! Tags, links and manifests of two packages against a dull model, with up to three requests at once in every order that
//! a lot draws: what they answer and what is there afterwards is what some order of them, one after the other, would
//! have given.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock},
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use proptest::{prelude::*, test_runner::RngSeed};

use super::{
    bench::{APP, LIB, Seen, World, image, index, noise},
    invariants,
    schedule::side_by_side,
};
use crate::{
    auth::{Delete, Pull},
    error::{Kind, Reason, Result, What},
    model::{Digest, Reference, Tag},
    registry::Settings,
    store::faulty::{Fault, Plan},
};

const REPOSITORIES: [&str; 2] = [APP, LIB];
const TAGS: [&str; 3] = ["a", "b", "c"];

/// A thing that can be pushed, and what it names if it is a manifest: which thing, and whether as a child.
struct Thing {
    bytes: Bytes,
    names: Option<Vec<(usize, bool)>>,
}

static THINGS: LazyLock<Vec<Thing>> = LazyLock::new(|| {
    let blob = |seed, length| Thing { bytes: noise(seed, length), names: None };
    let mut things = vec![blob(31, 40), blob(32, 50), blob(33, 17_000)];
    let images: [&[usize]; 3] = [&[0, 1], &[0, 2], &[0]];
    for parts in images {
        let layers: Vec<&Bytes> = parts[1..].iter().map(|part| &things[*part].bytes).collect();
        let bytes = image(&things[0].bytes, &layers);
        things.push(Thing { bytes, names: Some(parts.iter().map(|part| (*part, false)).collect()) });
    }
    for children in [[3, 4], [4, 5]] {
        let bytes = index(&children.map(|child: usize| &things[child].bytes));
        things.push(Thing { bytes, names: Some(children.iter().map(|child| (*child, true)).collect()) });
    }
    things
});

#[derive(Debug, Clone, Copy)]
enum Op {
    Push { to: usize, thing: usize },
    Mount { to: usize, from: usize, thing: usize },
    Put { to: usize, thing: usize, tag: Option<usize> },
    DeleteTag { of: usize, tag: usize },
    DeleteManifest { of: usize, thing: usize },
    DeleteBlob { of: usize, thing: usize },
    ReadTag { of: usize, tag: usize },
    ReadBlob { of: usize, thing: usize },
}

/// What a request answers, as far as a client can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Done,
    Declined,
    Gone,
    Missing,
    InUse,
    Names(usize),
}

fn ops() -> impl Strategy<Value = Op> {
    let (to, thing, manifest) = (0..2usize, 0..8usize, 3..8usize);
    let tag = 0..TAGS.len();
    prop_oneof![
        5 => (to.clone(), thing.clone()).prop_map(|(to, thing)| Op::Push { to, thing }),
        2 => (to.clone(), to.clone(), thing.clone()).prop_map(|(to, from, thing)| Op::Mount { to, from, thing }),
        8 => (to.clone(), manifest.clone(), prop::option::of(tag.clone()))
            .prop_map(|(to, thing, tag)| Op::Put { to, thing, tag }),
        1 => (to.clone(), tag.clone()).prop_map(|(of, tag)| Op::DeleteTag { of, tag }),
        3 => (to.clone(), manifest).prop_map(|(of, thing)| Op::DeleteManifest { of, thing }),
        2 => (to.clone(), thing.clone()).prop_map(|(of, thing)| Op::DeleteBlob { of, thing }),
        2 => (to.clone(), tag).prop_map(|(of, tag)| Op::ReadTag { of, tag }),
        1 => (to, thing).prop_map(|(of, thing)| Op::ReadBlob { of, thing }),
    ]
}

/// How a manifest has what it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Has {
    Blob,
    Child,
    Nothing,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Repository {
    leases: BTreeSet<usize>,
    manifests: BTreeMap<usize, Vec<(usize, Has)>>,
    tags: BTreeMap<usize, usize>,
    /// Manifests that were deleted and not pushed since.
    deleted: BTreeSet<usize>,
}

impl Repository {
    /// Whether an index names it as a child, as a blob or as a manifest.
    fn is_child(&self, thing: usize) -> bool {
        let named = |names: usize| THINGS[names].names.iter().flatten().any(|named| *named == (thing, true));
        self.manifests.iter().any(|(index, targets)| {
            let has = |how| targets.contains(&(thing, how));
            named(*index) && (has(Has::Blob) || has(Has::Child))
        })
    }

    fn is_named(&self, thing: usize, how: Has) -> bool {
        self.manifests.values().flatten().any(|named| *named == (thing, how))
    }

    fn holds(&self, thing: usize) -> bool {
        self.leases.contains(&thing) || self.is_named(thing, Has::Blob)
    }

    fn arrive(&mut self, thing: usize, how: Has) {
        for named in self.manifests.values_mut().flatten().filter(|named| **named == (thing, Has::Nothing)) {
            named.1 = how;
        }
    }

    fn take_in(&mut self, thing: usize) {
        self.leases.insert(thing);
        self.arrive(thing, Has::Blob);
    }

    fn put(&mut self, thing: usize, tag: Option<usize>) -> Said {
        let mut targets = Vec::new();
        for (named, child) in THINGS[thing].names.as_ref().unwrap() {
            let has = if *child && self.manifests.contains_key(named) {
                Has::Child
            } else if self.holds(*named) {
                Has::Blob
            } else if *child && !self.deleted.contains(named) {
                Has::Nothing
            } else {
                return Said::Missing;
            };
            targets.push((*named, has));
        }
        self.manifests.insert(thing, targets);
        self.deleted.remove(&thing);
        self.arrive(thing, Has::Child);
        if let Some(tag) = tag {
            self.tags.insert(tag, thing);
        }
        Said::Done
    }

    fn delete_manifest(&mut self, thing: usize) -> Said {
        if !self.manifests.contains_key(&thing) {
            return Said::Gone;
        }
        if self.is_child(thing) {
            return Said::InUse;
        }
        let targets = self.manifests.remove(&thing).unwrap();
        self.deleted.insert(thing);
        self.leases.extend(targets.iter().filter(|(_, has)| *has == Has::Blob).map(|(named, _)| named));
        self.tags.retain(|_, named| *named != thing);
        Said::Done
    }

    fn delete_blob(&mut self, thing: usize) -> Said {
        if self.is_named(thing, Has::Blob) {
            return Said::InUse;
        }
        if self.leases.remove(&thing) { Said::Done } else { Said::Gone }
    }
}

type Model = [Repository; 2];

fn model(model: &mut Model, op: Op) -> Said {
    let or_gone = |there: bool| if there { Said::Done } else { Said::Gone };
    match op {
        Op::Push { to, thing } => {
            model[to].take_in(thing);
            Said::Done
        }
        Op::Mount { to, from, thing } => {
            if !model[from].holds(thing) {
                return Said::Declined;
            }
            model[to].take_in(thing);
            Said::Done
        }
        Op::Put { to, thing, tag } => model[to].put(thing, tag),
        Op::DeleteTag { of, tag } => or_gone(model[of].tags.remove(&tag).is_some()),
        Op::DeleteManifest { of, thing } => model[of].delete_manifest(thing),
        Op::DeleteBlob { of, thing } => model[of].delete_blob(thing),
        Op::ReadTag { of, tag } => model[of].tags.get(&tag).map_or(Said::Gone, |thing| Said::Names(*thing)),
        Op::ReadBlob { of, thing } => or_gone(model[of].holds(thing)),
    }
}

async fn request(world: &World, op: Op) -> Result<Said> {
    let registry = &world.registry;
    let digest = |thing: usize| Digest::sha256(&THINGS[thing].bytes);
    match op {
        Op::Push { to, thing } => world.push(REPOSITORIES[to], &THINGS[thing].bytes).await?,
        Op::Mount { to, from, thing } => {
            let into = world.pusher(REPOSITORIES[to]).await?;
            let Ok(from) = world.grant::<Pull>(REPOSITORIES[from]).await else { return Ok(Said::Declined) };
            let mounted = registry.mount_blob(&into, &from, &digest(thing)).await?;
            return Ok(if mounted { Said::Done } else { Said::Declined });
        }
        Op::Put { to, thing, tag } => {
            world.put(REPOSITORIES[to], &THINGS[thing].bytes, tag.map(|tag| TAGS[tag])).await?;
        }
        Op::DeleteTag { of, tag } => {
            let grant = world.grant::<Delete>(REPOSITORIES[of]).await?;
            registry.delete_tag(&grant, &Tag::parse(TAGS[tag])?).await?;
        }
        Op::DeleteManifest { of, thing } => {
            let grant = world.grant::<Delete>(REPOSITORIES[of]).await?;
            registry.delete_manifest(&grant, &digest(thing)).await?;
        }
        Op::DeleteBlob { of, thing } => {
            let grant = world.grant::<Delete>(REPOSITORIES[of]).await?;
            registry.delete_blob(&grant, &digest(thing)).await?;
        }
        Op::ReadTag { of, tag } => {
            let grant = world.grant::<Pull>(REPOSITORIES[of]).await?;
            let head = registry.stat_manifest(&grant, &Reference::Tag(Tag::parse(TAGS[tag])?)).await?;
            let named = THINGS.iter().position(|thing| Digest::sha256(&thing.bytes) == head.digest);
            return Ok(Said::Names(named.unwrap()));
        }
        Op::ReadBlob { of, thing } => {
            let grant = world.grant::<Pull>(REPOSITORIES[of]).await?;
            let blob = registry.blob(&grant, &digest(thing)).await?;
            assert_eq!(blob.size, THINGS[thing].bytes.len() as u64);
        }
    }
    Ok(Said::Done)
}

fn said(answer: Result<Said>) -> Said {
    answer.unwrap_or_else(|error| match error.kind() {
        Kind::NotFound(What::ManifestBlob) => Said::Missing,
        Kind::NotFound(_) => Said::Gone,
        Kind::Unsupported | Kind::Forbidden(Reason::InUse) => Said::InUse,
        other => panic!("{other:?}: {error}"),
    })
}

/// What the registry shows is what the model holds.
fn agrees(seen: &Seen, model: &Model) -> bool {
    REPOSITORIES.iter().zip(model).all(|(name, repository)| {
        let shown = seen[name].clone().unwrap_or_default();
        let all = |is: &dyn Fn(usize) -> bool| -> BTreeSet<Digest> {
            (0..THINGS.len())
                .filter(|thing| is(*thing))
                .map(|thing| Digest::sha256(&THINGS[thing].bytes))
                .collect()
        };
        let tags = repository
            .tags
            .iter()
            .map(|(tag, thing)| (TAGS[*tag].to_owned(), Digest::sha256(&THINGS[*thing].bytes)));
        shown.tags == tags.collect()
            && shown.manifests == all(&|thing| repository.manifests.contains_key(&thing))
            && shown.blobs.keys().copied().collect::<BTreeSet<_>>() == all(&|thing| repository.holds(thing))
    })
}

fn orders(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let shorter = orders(count - 1);
    let with = |order: &Vec<usize>, at: usize| {
        let mut order = order.clone();
        order.insert(at, count - 1);
        order
    };
    shorter.iter().flat_map(|order| (0..count).map(move |at| with(order, at))).collect()
}

/// Requests that run at once, and the lot that orders them.
type Group = (Vec<Op>, u64);

/// Runs groups of requests; each group must look like some order of its requests.
async fn check(base: &World, groups: Vec<Group>) -> std::result::Result<(), TestCaseError> {
    let world = Arc::new(base.restarted());
    let mut models: Vec<Model> = vec![Model::default()];
    for (group, seed) in groups {
        let tasks = group.iter().map(|op| {
            let (world, op) = (Arc::clone(&world), *op);
            async move { request(&world, op).await }.boxed()
        });
        let answers: Vec<Said> =
            side_by_side(&world, seed, tasks.collect()).await.into_iter().map(said).collect();
        let orphans = invariants::check(&world.stored());
        prop_assert_eq!(orphans, invariants::Orphans::default());
        let seen = world.seen().await;
        let mut possible = Vec::new();
        for before in &models {
            for order in orders(group.len()) {
                let mut after = before.clone();
                let fits = order.iter().all(|at| model(&mut after, group[*at]) == answers[*at]);
                if fits && agrees(&seen, &after) && !possible.contains(&after) {
                    possible.push(after);
                }
            }
        }
        prop_assert!(!possible.is_empty(), "{group:?} said {answers:?}\nfrom {models:?}\nto {seen:#?}");
        models = possible;
    }
    Ok(())
}

/// So many cases, always the same; more, and others each time, where `PROPTEST_CASES` says so.
pub(super) fn config(cases: u32) -> ProptestConfig {
    let longer = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let fixed = RngSeed::Fixed(0x7061_636b);
    let rng_seed = if longer.is_some() { RngSeed::Random } else { fixed };
    let cases = longer.unwrap_or(cases);
    ProptestConfig { cases, rng_seed, failure_persistence: None, ..ProptestConfig::default() }
}

fn base() -> (tokio::runtime::Runtime, World) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let base = runtime.block_on(async {
        let mut world = World::new(Settings { space_reserve: 0, ..Settings::default() }).await;
        let all: Vec<&Bytes> = THINGS.iter().map(|thing| &thing.bytes).collect();
        world.know(&all);
        world
    });
    (runtime, base)
}

/// The races worth naming, in many orders each.
#[test]
fn named_races_agree_with_the_model() {
    let (runtime, base) = base();
    let alone = |op| (vec![op], 1);
    let push = |thing| Op::Push { to: 0, thing };
    let put = |thing, tag| Op::Put { to: 0, thing, tag };
    let delete = |thing| Op::DeleteManifest { of: 0, thing };
    let images = [push(0), push(1), push(2), put(3, Some(0)), put(4, None)].map(alone).to_vec();
    let read = Op::ReadTag { of: 0, tag: 0 };
    let unused = Op::DeleteBlob { of: 0, thing: 2 };
    let races: Vec<(Vec<Group>, Vec<Op>)> = vec![
        // A tag moves away from a manifest that is deleted, while it is read.
        (images.clone(), vec![read, put(4, Some(0)), delete(3)]),
        // A tag comes to a manifest that is being deleted.
        (images.clone(), vec![put(3, Some(1)), delete(3)]),
        // A blob is deleted while a manifest comes to name it.
        ([push(0), push(2)].map(alone).to_vec(), vec![put(4, None), unused]),
        // An index is put while its child is deleted; while its child arrives.
        (images.clone(), vec![put(6, None), delete(3)]),
        (images.clone(), vec![put(7, None), put(5, None), delete(4)]),
        // What is wanted arrives as a blob and as a manifest at once.
        ([push(0), push(1)].map(alone).to_vec(), vec![put(6, None), push(3), put(3, None)]),
        // The first of a package, twice.
        (Vec::new(), vec![push(0), push(0), push(1)]),
        // A blob is mounted away while it is deleted.
        ([push(2)].map(alone).to_vec(), vec![Op::Mount { to: 1, from: 0, thing: 2 }, unused]),
    ];
    for (before, race) in races {
        for seed in 0..60u64 {
            let mut groups = before.clone();
            groups.push((race.clone(), seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
            runtime.block_on(check(&base, groups)).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        }
    }
}

/// Whatever happens between two reads of one request: a thing that was there all the time is found.
#[test]
fn a_reader_that_is_slow_finds_what_was_never_gone() {
    let (runtime, base) = base();
    runtime.block_on(async {
        for thing in [0, 1, 2] {
            base.push(APP, &THINGS[thing].bytes).await.unwrap();
        }
        base.put(APP, &THINGS[3].bytes, Some(TAGS[0])).await.unwrap();
        base.put(APP, &THINGS[4].bytes, None).await.unwrap();
        let moved = vec![Op::Put { to: 0, thing: 4, tag: Some(0) }, Op::DeleteManifest { of: 0, thing: 3 }];
        let held = vec![
            Op::DeleteManifest { of: 0, thing: 4 },
            Op::Put { to: 0, thing: 4, tag: None },
            Op::DeleteBlob { of: 0, thing: 2 },
        ];
        let stalls = [
            (Op::ReadTag { of: 0, tag: 0 }, moved, vec![Said::Names(3), Said::Names(4)]),
            (Op::ReadBlob { of: 0, thing: 2 }, held.clone(), vec![Said::Done]),
            (Op::Mount { to: 1, from: 0, thing: 2 }, held, vec![Said::Done]),
        ];
        for (read, changes, right) in stalls {
            let mut stalled = 0;
            for at in 0..40 {
                let world = Arc::new(base.restarted());
                world.faults.arm(Some(Plan { at, fault: Fault::Stall, rest: false }));
                let there = Arc::clone(&world);
                let task = tokio::spawn(async move { request(&there, read).await });
                for _ in 0..50 {
                    tokio::task::yield_now().await;
                }
                if world.faults.fired().is_none() {
                    // Over before that call, or the call does not wait; the changes must not meet the stall.
                    world.faults.arm(None);
                } else {
                    stalled += 1;
                }
                for change in &changes {
                    said(request(&world, *change).await);
                }
                world.faults.heal();
                let answer = said(task.await.unwrap());
                assert!(right.contains(&answer), "{read:?}, stalled at {at}: {answer:?}");
            }
            assert!(stalled > 3, "{read:?} was stalled {stalled} times");
        }
    });
}

#[test]
fn requests_at_once_agree_with_the_model() {
    let (runtime, base) = base();
    let groups = prop::collection::vec((prop::collection::vec(ops(), 1..4), any::<u64>()), 1..14);
    proptest!(config(150), |(groups in groups)| {
        runtime.block_on(check(&base, groups))?;
    });
}
