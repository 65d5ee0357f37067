//! What one client knows of its own repositories. Nobody else changes them, and a client does one thing at a time; so all
//! that can be in doubt after a kill is the one request that got no answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::AtomicU64},
};

use crate::{
    content::{Content, Digest},
    history::{Grave, History, IMMUTABLE, Mark},
};

/// Something the registry remembers for us.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Reg {
    Blob(usize, Digest),
    Manifest(usize, Digest),
    Tag(usize, String),
    /// An upload session, by its id.
    Session(String),
    /// A token, by its id.
    Token(String),
    /// Whether a repository is public.
    Public(usize),
    /// Whether the guest has a role on it.
    Guest(usize),
    /// Whether it has a policy of its own.
    Policy(usize),
}

/// Its value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Val {
    Absent,
    Present,
    Names(Digest),
}

/// A manifest or an index.
pub struct Doc {
    pub digest: Digest,
    pub bytes: Vec<u8>,
    pub media: &'static str,
    pub blobs: Vec<Digest>,
    pub children: Vec<Digest>,
    pub subject: Option<Digest>,
}

impl std::fmt::Debug for Doc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.digest, String::from_utf8_lossy(&self.bytes))
    }
}

/// An upload under way.
#[derive(Clone, Debug)]
pub struct Session {
    pub id: String,
    pub repo: usize,
    pub content: Content,
    /// Where it goes on.
    pub location: String,
    /// Bytes the daemon said it holds.
    pub acked: u64,
    /// Bytes it may hold: those that were ever sent.
    pub sent: u64,
    /// A close that carried bytes was sent, and not answered.
    pub closing: bool,
}

/// What must be true of a tag before a put.
#[derive(Clone, Debug)]
pub enum Cond {
    None,
    Absent,
    Is(Digest),
}

/// One request.
#[derive(Clone, Debug)]
pub enum Op {
    Post {
        repo: usize,
        content: Content,
    },
    Begin {
        repo: usize,
        content: Content,
    },
    Append {
        session: String,
        to: u64,
        chunked: bool,
    },
    Finish {
        session: String,
        lie: bool,
    },
    Cancel {
        session: String,
    },
    Mount {
        repo: usize,
        from: String,
        digest: Digest,
    },
    Put {
        repo: usize,
        doc: Arc<Doc>,
        tags: Vec<String>,
        by_digest: bool,
        cond: Cond,
    },
    DeleteTag {
        repo: usize,
        tag: String,
    },
    DeleteManifest {
        repo: usize,
        digest: Digest,
    },
    DeleteBlob {
        repo: usize,
        digest: Digest,
    },
    Revoke {
        id: String,
    },
    Visibility {
        repo: usize,
        public: bool,
    },
    Grant {
        repo: usize,
        role: bool,
    },
    DeletePackage {
        repo: usize,
    },
    RestorePackage {
        repo: usize,
    },
    RestoreManifest {
        repo: usize,
        digest: Digest,
    },
    RestoreTag {
        repo: usize,
        tag: String,
    },
    Policy {
        repo: usize,
        set: bool,
    },
    /// Retention, now.
    Retain {
        repo: usize,
    },
    /// Collection, now.
    Collect,
}

impl Op {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Post { .. } => "post",
            Self::Begin { .. } => "begin",
            Self::Append { .. } => "append",
            Self::Finish { .. } => "finish",
            Self::Cancel { .. } => "cancel",
            Self::Mount { .. } => "mount",
            Self::Put { .. } => "put",
            Self::DeleteTag { .. } => "delete-tag",
            Self::DeleteManifest { .. } => "delete-manifest",
            Self::DeleteBlob { .. } => "delete-blob",
            Self::Revoke { .. } => "revoke",
            Self::Visibility { .. } => "visibility",
            Self::Grant { .. } => "grant",
            Self::DeletePackage { .. } => "delete-package",
            Self::RestorePackage { .. } => "restore-package",
            Self::RestoreManifest { .. } => "restore-manifest",
            Self::RestoreTag { .. } => "restore-tag",
            Self::Policy { .. } => "policy",
            Self::Retain { .. } => "retain",
            Self::Collect => "collect",
        }
    }

    /// Whether it is done in several batches: cut short, a part of it may be done. All others are done whole or not at all.
    pub fn has_steps(&self) -> bool {
        matches!(self, Self::Retain { .. } | Self::RestoreManifest { .. })
    }
}

/// What a request will be answered.
#[derive(Debug)]
pub enum Expect {
    Yes(u16),
    No(&'static [u16]),
    /// Done with the first, or declined with the second: both are right.
    Either(u16, u16),
}

/// A request without an answer.
pub struct Pending {
    pub op: Op,
    pub effects: Vec<(Reg, Val)>,
}

#[derive(Default)]
pub struct Model {
    pub regs: BTreeMap<Reg, Val>,
    pub docs: BTreeMap<Digest, Arc<Doc>>,
    pub contents: BTreeMap<Digest, Content>,
    pub sessions: BTreeMap<String, Session>,
    /// The secrets of tokens.
    pub tokens: BTreeMap<String, String>,
    /// Changed since the last check.
    pub dirty: BTreeSet<Reg>,
    pub pending: Option<Pending>,
    /// Where the rotating check goes on.
    pub cursor: Option<Reg>,
    /// What is deleted stays restorable for longer than this run.
    pub keeps: bool,
    pub history: BTreeMap<usize, History>,
    /// Packages deleted under a repository's name, the last one last.
    pub graves: BTreeMap<usize, Vec<Grave>>,
    /// Counts beginnings and ends of backups.
    pub epoch: Arc<AtomicU64>,
    /// What it was when the last request was sent.
    pub began: u64,
    /// What changed since a backup began, and which one.
    pub marks: (u64, BTreeMap<Reg, Mark>),
}

impl Model {
    pub fn get(&self, reg: &Reg) -> Val {
        self.regs.get(reg).cloned().unwrap_or(Val::Absent)
    }

    fn has(&self, reg: &Reg) -> bool {
        self.get(reg) != Val::Absent
    }

    pub fn has_blob(&self, repo: usize, digest: &Digest) -> bool {
        self.has(&Reg::Blob(repo, digest.clone()))
    }

    pub fn has_manifest(&self, repo: usize, digest: &Digest) -> bool {
        self.has(&Reg::Manifest(repo, digest.clone()))
    }

    pub fn tag(&self, repo: usize, tag: &str) -> Option<Digest> {
        match self.get(&Reg::Tag(repo, tag.to_owned())) {
            Val::Names(digest) => Some(digest),
            _ => None,
        }
    }

    pub fn apply(&mut self, effects: Vec<(Reg, Val)>) {
        for (reg, val) in effects {
            if let (Reg::Session(id), Val::Absent) = (&reg, &val) {
                self.sessions.remove(id);
            }
            self.mark(&reg);
            if let (Reg::Manifest(repo, digest), Val::Present) = (&reg, &val) {
                self.came_back(*repo, digest);
            }
            self.dirty.insert(reg.clone());
            // What is gone is kept in mind: it must not come back.
            self.regs.insert(reg, val);
        }
    }

    pub fn blobs_of(&self, repo: usize) -> Vec<Digest> {
        let named = self.regs.iter().filter(|(_, val)| **val != Val::Absent);
        named
            .filter_map(|(reg, _)| match reg {
                Reg::Blob(of, digest) if *of == repo => Some(digest.clone()),
                _ => None,
            })
            .collect()
    }

    pub fn manifests_of(&self, repo: usize) -> Vec<Digest> {
        let named = self.regs.iter().filter(|(_, val)| **val != Val::Absent);
        named
            .filter_map(|(reg, _)| match reg {
                Reg::Manifest(of, digest) if *of == repo => Some(digest.clone()),
                _ => None,
            })
            .collect()
    }

    pub fn tags_of(&self, repo: usize) -> Vec<(String, Digest)> {
        self.regs
            .iter()
            .filter_map(|(reg, val)| match (reg, val) {
                (Reg::Tag(of, tag), Val::Names(digest)) if *of == repo => Some((tag.clone(), digest.clone())),
                _ => None,
            })
            .collect()
    }

    /// Manifests of the repository that say something about `subject`.
    pub fn referrers_of(&self, repo: usize, subject: &Digest) -> BTreeSet<String> {
        let here = self.manifests_of(repo).into_iter();
        let refers =
            |digest: &Digest| self.docs.get(digest).is_some_and(|doc| doc.subject.as_ref() == Some(subject));
        here.filter(refers).map(|digest| digest.to_string()).collect()
    }

    fn named_by(&self, repo: usize, named: impl Fn(&Doc) -> bool) -> bool {
        self.manifests_of(repo).iter().filter_map(|digest| self.docs.get(digest)).any(|doc| named(doc))
    }

    /// What becomes of what, if the request is done.
    pub fn effects(&self, op: &Op) -> Vec<(Reg, Val)> {
        match op {
            Op::Post { repo, content } => vec![(Reg::Blob(*repo, content.digest.clone()), Val::Present)],
            Op::Finish { session, lie } => {
                let mut effects = vec![(Reg::Session(session.clone()), Val::Absent)];
                if let Some(session) = self.sessions.get(session).filter(|_| !lie) {
                    effects.push((Reg::Blob(session.repo, session.content.digest.clone()), Val::Present));
                }
                effects
            }
            Op::Cancel { session } => vec![(Reg::Session(session.clone()), Val::Absent)],
            Op::Mount { repo, digest, .. } => vec![(Reg::Blob(*repo, digest.clone()), Val::Present)],
            Op::Put { repo, doc, tags, .. } => {
                let mut effects = vec![(Reg::Manifest(*repo, doc.digest.clone()), Val::Present)];
                let tagged = |tag: &String| (Reg::Tag(*repo, tag.clone()), Val::Names(doc.digest.clone()));
                effects.extend(tags.iter().map(tagged));
                effects
            }
            Op::DeleteTag { repo, tag } => vec![(Reg::Tag(*repo, tag.clone()), Val::Absent)],
            Op::DeleteManifest { repo, digest } => {
                let tags = self.tags_of(*repo).into_iter().filter(|(_, named)| named == digest);
                let mut effects: Vec<_> = tags.map(|(tag, _)| (Reg::Tag(*repo, tag), Val::Absent)).collect();
                effects.push((Reg::Manifest(*repo, digest.clone()), Val::Absent));
                effects
            }
            Op::DeleteBlob { repo, digest } => vec![(Reg::Blob(*repo, digest.clone()), Val::Absent)],
            Op::Revoke { id } => vec![(Reg::Token(id.clone()), Val::Absent)],
            Op::Visibility { repo, public } => vec![(Reg::Public(*repo), given(*public))],
            Op::Grant { repo, role } => vec![(Reg::Guest(*repo), given(*role))],
            Op::Begin { .. } | Op::Append { .. } => Vec::new(),
            _ => self.effects_of_past(op),
        }
    }

    pub fn expect(&self, op: &Op) -> Expect {
        match op {
            Op::Post { .. } => Expect::Yes(201),
            Op::Begin { .. } => Expect::Yes(202),
            Op::Append { session, .. } | Op::Finish { session, .. } | Op::Cancel { session }
                if !self.sessions.contains_key(session) =>
            {
                Expect::No(&[404])
            }
            Op::Append { .. } => Expect::Yes(202),
            Op::Finish { lie: true, .. } => Expect::No(&[400]),
            Op::Finish { .. } => Expect::Yes(201),
            Op::Cancel { .. } => Expect::Yes(204),
            Op::Mount { .. } => Expect::Either(201, 202),
            Op::Put { repo, doc, tags, by_digest, cond } => {
                let before = if *by_digest {
                    Some(doc.digest.clone()).filter(|digest| self.has_manifest(*repo, digest))
                } else {
                    tags.first().and_then(|tag| self.tag(*repo, tag))
                };
                let holds = match cond {
                    Cond::None => true,
                    Cond::Absent => before.is_none(),
                    Cond::Is(digest) => before.as_ref() == Some(digest),
                };
                // What is deleted here must be pushed again before an index names it.
                let deleted = self.names_deleted(*repo, &doc.children);
                let whole = doc.blobs.iter().all(|blob| self.has_blob(*repo, blob));
                let whole = whole && !(deleted && self.keeps);
                let moves = |tag: &&String| self.tag(*repo, tag).is_some_and(|named| named != doc.digest);
                let kept = tags.iter().filter(moves).any(|tag| self.is_immutable(*repo, tag));
                match (holds, whole) {
                    (true, true) if kept && deleted => Expect::No(&[403, 404]),
                    (true, true) if kept => Expect::No(&[403]),
                    (true, true) if deleted => Expect::Either(201, 404),
                    (true, true) => Expect::Yes(201),
                    (true, false) => Expect::No(&[404]),
                    (false, true) => Expect::No(&[412]),
                    (false, false) => Expect::No(&[404, 412]),
                }
            }
            Op::DeleteTag { repo, tag } if self.tag(*repo, tag).is_none() => Expect::No(&[404]),
            Op::DeleteManifest { repo, digest } if !self.has_manifest(*repo, digest) => Expect::No(&[404]),
            Op::DeleteTag { repo, tag } if self.is_immutable(*repo, tag) => Expect::No(&[403]),
            Op::DeleteManifest { repo, digest }
                if self.tag(*repo, IMMUTABLE).as_ref() == Some(digest)
                    && self.is_immutable(*repo, IMMUTABLE) =>
            {
                Expect::No(&[403])
            }
            Op::DeleteManifest { repo, digest }
                if self.named_by(*repo, |doc| doc.children.contains(digest)) =>
            {
                Expect::No(&[403])
            }
            Op::DeleteBlob { repo, digest } if !self.has_blob(*repo, digest) => Expect::No(&[404]),
            Op::DeleteBlob { repo, digest } if self.named_by(*repo, |doc| doc.blobs.contains(digest)) => {
                Expect::No(&[405])
            }
            Op::DeleteTag { .. } | Op::DeleteManifest { .. } | Op::DeleteBlob { .. } => Expect::Yes(202),
            // Of the command line: 0 for done, 1 for refused.
            Op::Revoke { id } if !self.has(&Reg::Token(id.clone())) => Expect::No(&[1]),
            Op::Revoke { .. } | Op::Visibility { .. } | Op::Grant { .. } => Expect::Yes(0),
            _ => self.expect_of_past(op),
        }
    }
}

fn given(is: bool) -> Val {
    if is { Val::Present } else { Val::Absent }
}
