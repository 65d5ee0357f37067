//! Deleting, restoring and purging, one after the other, against the dullest code that can say what must come of it.

use std::collections::{BTreeMap, BTreeSet};

use packhouse::{
    auth::{Pull, Restore},
    error::{Kind, Reason, Result},
};
use proptest::prelude::*;
use serde_json::Value;

use super::{KEEP, World, blobs_of, digest_of, manifests};

/// What a manifest of the world names, by its number there.
const CHILDREN: [&[usize]; 8] = [&[], &[], &[], &[], &[0, 1], &[1, 2], &[4, 3], &[]];
const TAGS: [&str; 3] = ["one", "two", "three"];

#[derive(Default)]
struct Model {
    now: u64,
    /// Deleted when, if it is.
    manifests: BTreeMap<usize, Option<u64>>,
    /// What an index has: the children that were there when it was put, or came since.
    has: BTreeSet<(usize, usize)>,
    tags: BTreeMap<usize, usize>,
    /// (tag, manifest) → deleted when, and whether with the manifest.
    gone: BTreeMap<(usize, usize), (u64, bool)>,
}

#[derive(Debug, PartialEq)]
enum Says {
    Done,
    NotFound,
    InUse,
    Taken,
}

impl Model {
    fn is_live(&self, one: usize) -> bool {
        self.manifests.get(&one) == Some(&None)
    }

    /// Something is live from now on: every index that is kept and names it has it.
    fn arrives(&mut self, one: usize) {
        self.manifests.insert(one, None);
        for index in self.manifests.keys() {
            if CHILDREN[*index].contains(&one) {
                self.has.insert((*index, one));
            }
        }
    }

    fn put(&mut self, one: usize, tags: &[usize]) {
        self.has.retain(|(index, _)| *index != one);
        for child in CHILDREN[one] {
            if self.is_live(*child) {
                self.has.insert((one, *child));
            }
        }
        self.arrives(one);
        for tag in tags {
            self.tags.insert(*tag, one);
        }
    }

    fn delete(&mut self, one: usize) -> Says {
        if !self.is_live(one) {
            return Says::NotFound;
        }
        if self.has.iter().any(|(index, child)| *child == one && self.is_live(*index)) {
            return Says::InUse;
        }
        self.manifests.insert(one, Some(self.now));
        for (tag, _) in self.tags.extract_if(.., |_, named| *named == one) {
            self.gone.insert((tag, one), (self.now, true));
        }
        Says::Done
    }

    fn delete_tag(&mut self, tag: usize) -> Says {
        let Some(one) = self.tags.remove(&tag) else { return Says::NotFound };
        self.gone.insert((tag, one), (self.now, false));
        Says::Done
    }

    fn restore(&mut self, one: usize) -> Says {
        let deleted = match self.manifests.get(&one) {
            None => return Says::NotFound,
            Some(None) => return Says::Done,
            Some(Some(deleted)) => *deleted,
        };
        self.revive(one);
        for tag in 0..TAGS.len() {
            if self.gone.get(&(tag, one)) == Some(&(deleted, true)) && !self.tags.contains_key(&tag) {
                self.gone.remove(&(tag, one));
                self.tags.insert(tag, one);
            }
        }
        Says::Done
    }

    fn revive(&mut self, one: usize) {
        for child in CHILDREN[one] {
            if self.has.contains(&(one, *child)) && !self.is_live(*child) {
                self.revive(*child);
            }
        }
        self.arrives(one);
    }

    fn restore_tag(&mut self, tag: usize) -> Says {
        let mut deletions: Vec<_> = self.gone.iter().filter(|((gone, _), _)| *gone == tag).collect();
        // Two at one moment are in the order of their digests.
        deletions.sort_by_key(|((_, one), (at, _))| (*at, digest_of(&manifests()[*one])));
        let live = deletions.iter().rev().find(|((_, one), _)| self.is_live(*one));
        let last = live.or(deletions.last()).map(|((_, one), _)| *one);
        match (self.tags.get(&tag), last) {
            (Some(named), Some(last)) if *named != last => Says::Taken,
            (Some(_), _) => Says::Done,
            (None, Some(last)) if self.is_live(last) => {
                self.gone.remove(&(tag, last));
                self.tags.insert(tag, last);
                Says::Done
            }
            (None, _) => Says::NotFound,
        }
    }

    fn purge(&mut self) {
        let due = |at: u64, now: u64| at + KEEP <= now;
        let now = self.now;
        self.gone.retain(|_, (at, _)| !due(*at, now));
        loop {
            let gone = self.manifests.iter().find(|(one, deleted)| {
                deleted.is_some_and(|at| due(at, now)) && !self.has.iter().any(|(_, child)| child == *one)
            });
            let Some(one) = gone.map(|(one, _)| *one) else { return };
            self.manifests.remove(&one);
            self.has.retain(|(index, _)| *index != one);
        }
    }
}

#[derive(Debug, Clone)]
enum Op {
    Put(usize, Vec<usize>),
    Delete(usize),
    DeleteTag(usize),
    Restore(usize),
    RestoreTag(usize),
    Purge,
    /// There and back: nothing may differ after it.
    Package,
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let (one, tag) = (0..CHILDREN.len(), 0..TAGS.len());
    prop_oneof![
        4 => (one.clone(), prop::collection::vec(tag.clone(), 0..3)).prop_map(|(one, tags)| Op::Put(one, tags)),
        4 => one.clone().prop_map(Op::Delete),
        2 => tag.clone().prop_map(Op::DeleteTag),
        4 => one.prop_map(Op::Restore),
        2 => tag.prop_map(Op::RestoreTag),
        2 => Just(Op::Purge),
        1 => Just(Op::Package),
        2 => (1u64..80).prop_map(Op::Wait),
    ]
}

fn says<T>(result: Result<T>) -> Says {
    match result.map_err(|error| error.kind()) {
        Ok(_) => Says::Done,
        Err(Kind::NotFound(_)) => Says::NotFound,
        Err(Kind::Forbidden(Reason::InUse)) => Says::InUse,
        Err(Kind::Conflict(_)) => Says::Taken,
        Err(other) => panic!("{other:?}"),
    }
}

async fn apply(world: &mut World, model: &mut Model, all: &[Value], op: &Op) {
    match op {
        Op::Put(one, tags) => {
            for blob in blobs_of(&all[*one]) {
                world.push_blob(&blob).await.unwrap();
            }
            let texts: Vec<&str> = tags.iter().map(|tag| TAGS[*tag]).collect();
            // What an index names and was deleted here is pushed again before it.
            let children = all[*one]["manifests"].as_array().into_iter().flatten();
            let is_deleted = |child: &Value| {
                let named = |other: &usize| child["digest"] == digest_of(&all[*other]).to_string();
                (0..all.len()).find(named).is_some_and(|at| matches!(model.manifests.get(&at), Some(Some(_))))
            };
            let refused = children.into_iter().any(is_deleted);
            let put = world.put(&all[*one], &texts).await;
            assert_eq!(put.is_err(), refused, "{put:?}");
            if !refused {
                model.put(*one, tags);
            }
        }
        Op::Delete(one) => assert_eq!(says(world.delete(&all[*one]).await), model.delete(*one)),
        Op::DeleteTag(tag) => assert_eq!(says(world.delete_tag(TAGS[*tag]).await), model.delete_tag(*tag)),
        Op::Restore(one) => assert_eq!(says(world.restore(&all[*one]).await), model.restore(*one)),
        Op::RestoreTag(tag) => assert_eq!(says(world.restore_tag(TAGS[*tag]).await), model.restore_tag(*tag)),
        Op::Purge => {
            world.purge().await;
            model.purge();
        }
        Op::Package => {
            world.delete_package().await.unwrap();
            assert_eq!(says(world.may::<Pull>().await), Says::NotFound);
            world.restore_package().await.unwrap();
        }
        Op::Wait(seconds) => {
            world.wind(*seconds);
            model.now += seconds;
        }
    }
}

/// The lists of versions and tags say what the model knows.
async fn compare(world: &World, model: &Model, all: &[Value]) {
    let pull = world.may::<Pull>().await.unwrap();
    let tags: Vec<&str> = model.tags.keys().map(|tag| TAGS[*tag]).collect();
    let listed: BTreeSet<String> = world.registry.tags(&pull, None, 100).await.unwrap().into_iter().collect();
    assert_eq!(listed, tags.into_iter().map(str::to_owned).collect());
    let live = world.registry.versions(&pull, None, 100).await.unwrap();
    assert!(live.next.is_none());
    let restore = world.may::<Restore>().await.unwrap();
    let deleted = world.registry.deleted_versions(&restore, None, 100).await.unwrap();
    let mut expected = BTreeMap::new();
    for (one, at) in &model.manifests {
        let of = |named: &usize| named == one;
        let mut tags: Vec<String> = match at {
            None => model.tags.iter().filter(|(_, named)| of(named)).map(|(tag, _)| *tag).collect::<Vec<_>>(),
            Some(at) => {
                let with =
                    |((_, named), gone): &(&(usize, usize), &(u64, bool))| of(named) && **gone == (*at, true);
                model.gone.iter().filter(with).map(|((tag, _), _)| *tag).collect()
            }
        }
        .into_iter()
        .map(|tag| TAGS[tag].to_owned())
        .collect();
        tags.sort();
        expected.insert(digest_of(&all[*one]), (tags, *at));
    }
    let found: BTreeMap<_, _> = live
        .list
        .into_iter()
        .chain(deleted.list)
        .map(|version| {
            let at = version.deleted.map(|(at, until)| {
                assert_eq!(until, at.plus_seconds(KEEP));
                (at.0 - super::START.0) / 1000
            });
            (version.digest, (version.tags, at))
        })
        .collect();
    assert_eq!(found, expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn deleting_and_restoring_are_what_the_model_says(ops in prop::collection::vec(op(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let all = manifests();
            let mut world = World::new(0).await;
            let mut model = Model::default();
            // The package is there from the beginning.
            apply(&mut world, &mut model, &all, &Op::Put(7, vec![])).await;
            for op in &ops {
                apply(&mut world, &mut model, &all, op).await;
                compare(&world, &model, &all).await;
            }
        });
    }
}
