//! What the past of a repository decides: what can be brought back, what a policy keeps, what goes by itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering::SeqCst,
};

use crate::{
    content::Digest,
    model::{Expect, Model, Op, Reg, Session, Val},
};

/// The repository of each client where retention is at work; the others are before it.
pub const RETAINED: usize = 3;
/// How many versions retention leaves there.
pub const KEPT: usize = 3;
/// The tag that a policy makes immutable.
pub const IMMUTABLE: &str = "t0";

/// One life of a repository.
#[derive(Default, Clone)]
pub struct History {
    /// It has, or had, a manifest.
    pub visible: bool,
    /// Something was sent to it that may have made it.
    pub touched: bool,
    /// Tells deletions apart.
    clock: u64,
    /// Deleted manifests, and the tags that went with each.
    went: BTreeMap<Digest, Vec<String>>,
    /// What each tag named when it was deleted, and which deletion that was.
    tags: BTreeMap<String, BTreeMap<Digest, u64>>,
    /// Indexes whose manifests were all here when they were put.
    linked: BTreeSet<Digest>,
    /// Manifests in the order in which they were put last.
    order: Vec<Digest>,
    /// What retention was free to take at some time, and may have taken.
    lapsed: BTreeSet<Reg>,
}

/// A deleted package.
pub struct Grave {
    regs: Vec<(Reg, Val)>,
    sessions: Vec<Session>,
    history: History,
}

/// What is known of something at the moment when the last backup began, where it changed since.
#[derive(Clone)]
pub enum Mark {
    Was(Val),
    /// It changed while the backup was made: both are right.
    Doubt,
}

impl Reg {
    /// The repository it is about.
    fn repo(&self) -> Option<usize> {
        match self {
            Self::Blob(repo, _) | Self::Manifest(repo, _) | Self::Tag(repo, _) => Some(*repo),
            Self::Public(repo) | Self::Guest(repo) | Self::Policy(repo) => Some(*repo),
            Self::Session(_) | Self::Token(_) => None,
        }
    }
}

impl Model {
    pub fn history(&self, repo: usize) -> History {
        self.history.get(&repo).cloned().unwrap_or_default()
    }

    pub fn visible(&self, repo: usize) -> bool {
        self.history.get(&repo).is_some_and(|history| history.visible)
    }

    pub fn touch(&mut self, repo: usize) {
        self.history.entry(repo).or_default().touched = true;
    }

    /// Whether it is deleted, and nothing was sent to its name since.
    pub fn is_buried(&self, repo: usize) -> bool {
        let empty = self.history.get(&repo).is_none_or(|history| !history.visible && !history.touched);
        empty && self.graves.get(&repo).is_some_and(|graves| !graves.is_empty())
    }

    /// Whether a package of the name is there.
    fn is_taken(&self, repo: usize) -> bool {
        self.visible(repo) || !self.of_repo(repo).is_empty()
    }

    /// Whether a policy keeps the tag from being moved or deleted.
    pub fn is_immutable(&self, repo: usize, tag: &str) -> bool {
        tag == IMMUTABLE && self.get(&Reg::Policy(repo)) != Val::Absent && self.tag(repo, tag).is_some()
    }

    /// Whether an index names what was deleted here.
    pub fn names_deleted(&self, repo: usize, children: &[Digest]) -> bool {
        let went = |child: &Digest| self.history.get(&repo).is_some_and(|it| it.went.contains_key(child));
        children.iter().any(|child| went(child) && !self.has_manifest(repo, child))
    }

    /// Deleted manifests whose restoring brings back what is known.
    pub fn restorable(&self, repo: usize) -> Vec<Digest> {
        let history = self.history(repo);
        let known = |digest: &&Digest| self.returning(repo, digest).is_some();
        history.went.keys().filter(known).cloned().collect()
    }

    /// What comes back with a manifest, itself last; `None` when that is not known.
    fn returning(&self, repo: usize, digest: &Digest) -> Option<Vec<Digest>> {
        if self.has_manifest(repo, digest) {
            return Some(Vec::new());
        }
        let doc = self.docs.get(digest)?;
        let history = self.history.get(&repo)?;
        if !history.went.contains_key(digest)
            || (!doc.children.is_empty() && !history.linked.contains(digest))
        {
            return None;
        }
        let mut all = Vec::new();
        for child in &doc.children {
            all.extend(self.returning(repo, child)?);
        }
        all.push(digest.clone());
        Some(all)
    }

    /// The regs of the repository that retention may have taken, at any moment since they were not among the last.
    pub fn lapsing(&mut self, repo: usize) -> BTreeSet<Reg> {
        if repo != RETAINED {
            return BTreeSet::new();
        }
        let beyond = if self.get(&Reg::Policy(repo)) == Val::Absent { Vec::new() } else { self.beyond(repo) };
        let history = self.history.entry(repo).or_default();
        history.lapsed.extend(beyond.into_iter().map(|(reg, _)| reg));
        history.lapsed.clone()
    }

    /// What is not among the last versions.
    fn beyond(&self, repo: usize) -> Vec<(Reg, Val)> {
        let history = self.history(repo);
        let here: Vec<_> = history.order.iter().filter(|digest| self.has_manifest(repo, digest)).collect();
        let mut gone = Vec::new();
        for digest in here.iter().take(here.len().saturating_sub(KEPT)) {
            let tags = self.tags_of(repo).into_iter().filter(|(_, named)| named == *digest);
            gone.extend(tags.map(|(tag, _)| (Reg::Tag(repo, tag), Val::Absent)));
            gone.push((Reg::Manifest(repo, (*digest).clone()), Val::Absent));
        }
        gone
    }

    /// What the last tag of this name came to, of the manifests that are here; or whether there is any.
    fn last_deleted(&self, repo: usize, tag: &str) -> Option<(Digest, bool)> {
        let history = self.history.get(&repo)?;
        let mut all: Vec<_> = history.tags.get(tag)?.iter().collect();
        all.sort_by_key(|(_, place)| **place);
        let live = all.iter().rev().find(|(digest, _)| self.has_manifest(repo, digest));
        live.or(all.last()).map(|(digest, _)| ((*digest).clone(), self.has_manifest(repo, digest)))
    }

    /// What becomes of what, for requests that delete and restore whole packages, restore, or follow policies.
    pub fn effects_of_past(&self, op: &Op) -> Vec<(Reg, Val)> {
        match op {
            Op::DeletePackage { repo } => {
                let mut effects: Vec<_> =
                    self.of_repo(*repo).into_iter().map(|(reg, _)| (reg, Val::Absent)).collect();
                let sessions = self.sessions.values().filter(|session| session.repo == *repo);
                effects.extend(sessions.map(|session| (Reg::Session(session.id.clone()), Val::Absent)));
                effects
            }
            Op::RestorePackage { repo } if !self.is_taken(*repo) => {
                let last = self.graves.get(repo).and_then(|graves| graves.last());
                last.map(|grave| grave.regs.clone()).unwrap_or_default()
            }
            Op::RestoreManifest { repo, digest } => {
                let Some(back) = self.returning(*repo, digest).filter(|back| !back.is_empty()) else {
                    return Vec::new();
                };
                let mut effects = Vec::new();
                for one in &back {
                    let blobs = self.docs.get(one).map(|doc| doc.blobs.clone()).unwrap_or_default();
                    effects.extend(blobs.into_iter().map(|blob| (Reg::Blob(*repo, blob), Val::Present)));
                    effects.push((Reg::Manifest(*repo, one.clone()), Val::Present));
                }
                for tag in self.history(*repo).went.get(digest).into_iter().flatten() {
                    if self.tag(*repo, tag).is_none() {
                        effects.push((Reg::Tag(*repo, tag.clone()), Val::Names(digest.clone())));
                    }
                }
                effects
            }
            Op::RestoreTag { repo, tag } => match (self.tag(*repo, tag), self.last_deleted(*repo, tag)) {
                (None, Some((digest, true))) => vec![(Reg::Tag(*repo, tag.clone()), Val::Names(digest))],
                _ => Vec::new(),
            },
            Op::Policy { repo, set } => {
                vec![(Reg::Policy(*repo), if *set { Val::Present } else { Val::Absent })]
            }
            Op::Retain { repo } if self.get(&Reg::Policy(*repo)) != Val::Absent => self.beyond(*repo),
            _ => Vec::new(),
        }
    }

    fn of_repo(&self, repo: usize) -> Vec<(Reg, Val)> {
        let here = |(reg, val): &(&Reg, &Val)| reg.repo() == Some(repo) && **val != Val::Absent;
        self.regs.iter().filter(here).map(|(reg, val)| (reg.clone(), val.clone())).collect()
    }

    pub fn expect_of_past(&self, op: &Op) -> Expect {
        match op {
            Op::DeletePackage { repo } if self.is_immutable(*repo, IMMUTABLE) => Expect::No(&[1]),
            Op::DeletePackage { repo } if !self.visible(*repo) && !self.keeps => Expect::Either(0, 1),
            Op::RestorePackage { repo } => {
                let deleted = self.graves.get(repo).is_some_and(|graves| !graves.is_empty());
                match (self.is_taken(*repo), deleted) {
                    // There is nothing to restore.
                    (true, false) => Expect::Yes(0),
                    (true, true) if self.keeps => Expect::No(&[1]),
                    (false, true) if self.keeps && self.is_buried(*repo) => Expect::Yes(0),
                    // Uploads that nobody finished may have the name; or what was deleted is gone for good.
                    _ => Expect::Either(0, 1),
                }
            }
            Op::RestoreManifest { repo, digest }
                if !self.has_manifest(*repo, digest) && self.returning(*repo, digest).is_none() =>
            {
                Expect::No(&[1])
            }
            Op::RestoreTag { repo, tag } => match (self.tag(*repo, tag), self.last_deleted(*repo, tag)) {
                (Some(_), None) | (None, Some((_, true))) => Expect::Yes(0),
                (Some(live), Some((last, _))) if live == last => Expect::Yes(0),
                _ => Expect::No(&[1]),
            },
            _ => Expect::Yes(0),
        }
    }

    /// Takes note of a request that was done.
    pub fn done(&mut self, op: &Op, effects: Vec<(Reg, Val)>) {
        let taken = matches!(op, Op::RestorePackage { repo } if self.is_taken(*repo));
        self.remember(op);
        self.apply(effects);
        if let Op::RestorePackage { repo } = op
            && !taken
            && let Some(grave) = self.graves.get_mut(repo).and_then(Vec::pop)
        {
            self.history.insert(*repo, grave.history);
            for session in grave.sessions {
                self.regs.insert(Reg::Session(session.id.clone()), Val::Present);
                self.sessions.insert(session.id.clone(), session);
            }
        }
    }

    /// What the past is to know of a request, from how things are before it.
    fn remember(&mut self, op: &Op) {
        match op {
            Op::Policy { repo, set: false } => {
                self.lapsing(*repo);
            }
            Op::Put { repo, doc, .. } => {
                let whole = doc.children.iter().all(|child| self.has_manifest(*repo, child));
                let history = self.history.entry(*repo).or_default();
                history.visible = true;
                if whole {
                    history.linked.insert(doc.digest.clone());
                } else {
                    history.linked.remove(&doc.digest);
                }
                history.order.retain(|digest| *digest != doc.digest);
                history.order.push(doc.digest.clone());
            }
            Op::DeleteTag { repo, tag } => {
                let named = self.tag(*repo, tag);
                self.history.entry(*repo).or_default().deleted(tag, named);
            }
            Op::DeleteManifest { repo, digest } => {
                let tags = self.tags_of(*repo).into_iter().filter(|(_, named)| named == digest);
                let tags: Vec<String> = tags.map(|(tag, _)| tag).collect();
                let history = self.history.entry(*repo).or_default();
                tags.iter().for_each(|tag| history.deleted(tag, Some(digest.clone())));
                history.went.insert(digest.clone(), tags);
            }
            Op::RestoreManifest { repo, .. } | Op::RestoreTag { repo, .. } => {
                let history = self.history(*repo);
                for (reg, val) in self.effects(op) {
                    if let (Reg::Tag(_, tag), Val::Names(digest)) = (&reg, &val) {
                        let kept = self.history.entry(*repo).or_insert_with(|| history.clone());
                        kept.tags.entry(tag.clone()).or_default().remove(digest);
                    }
                }
            }
            // Asked for again, it is done already.
            Op::DeletePackage { repo } if self.visible(*repo) => {
                let sessions = self.sessions.values().filter(|session| session.repo == *repo);
                let (sessions, regs) = (sessions.cloned().collect(), self.of_repo(*repo));
                let history = self.history.remove(repo).unwrap_or_default();
                self.graves.entry(*repo).or_default().push(Grave { regs, sessions, history });
            }
            _ => {}
        }
    }

    /// What came back may be deleted anew.
    pub fn came_back(&mut self, repo: usize, digest: &Digest) {
        if let Some(history) = self.history.get_mut(&repo) {
            history.went.remove(digest);
        }
    }

    /// Keeps in mind how something was when the last backup began; to be called before it changes, or may have changed.
    pub fn mark(&mut self, reg: &Reg) {
        // Odd while a backup is made.
        let (began, now) = (self.began, self.epoch.load(SeqCst));
        let base = now.saturating_sub(u64::from(now.is_multiple_of(2)));
        if self.marks.0 != base {
            self.marks = (base, BTreeMap::new());
        }
        let mark = if began == now && now.is_multiple_of(2) { Mark::Was(self.get(reg)) } else { Mark::Doubt };
        self.marks.1.entry(reg.clone()).or_insert(mark);
    }

    /// What the last backup must hold, and what it must not.
    pub fn backed_up(&self) -> Vec<(Reg, Val)> {
        let now = self.epoch.load(SeqCst);
        let base = now.saturating_sub(u64::from(now.is_multiple_of(2)));
        let kept = |reg: &&Reg| match reg {
            // Uploads under way are in no backup; what is about to go by itself may be gone.
            Reg::Session(_) | Reg::Policy(_) => false,
            Reg::Manifest(repo, _) | Reg::Tag(repo, _) => *repo != RETAINED,
            _ => true,
        };
        let known = |reg: &Reg| match self.marks.1.get(reg).filter(|_| self.marks.0 == base) {
            Some(Mark::Doubt) => None,
            Some(Mark::Was(val)) => Some((reg.clone(), val.clone())),
            None => Some((reg.clone(), self.get(reg))),
        };
        self.regs.keys().filter(kept).filter_map(known).collect()
    }
}

impl History {
    fn deleted(&mut self, tag: &str, named: Option<Digest>) {
        let Some(digest) = named else { return };
        self.clock += 1;
        self.tags.entry(tag.to_owned()).or_default().insert(digest, self.clock);
    }
}
