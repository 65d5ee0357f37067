//! What must be true of the stored keys and bytes at every moment, judged without the registry's own code: each rule is
//! written again here, as dull as can be, over raw keys.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::bench::Stored;
use crate::{
    model::{
        Collaborator, Digest, Entry, Group, Hasher, OwnerId, PackageId, PhysicalKey, RepositoryId, Tag,
        TeamId,
    },
    registry::records::{
        AccountRecord, AuditRecord, BlobRecord, DeletedTag, GroupRoleRecord, Held, Location, Log,
        ManifestRecord, MemberRecord, NameRecord, PackageRecord, PolicyOf, PolicyRecord, ReadmeRecord,
        RepositoryRecord, RepositoryRoleRecord, RoleRecord, State, TagRecord, TeamMemberRecord, TeamRecord,
        TokenRecord, UploadRecord, WorkflowRoleRecord,
    },
    store::{Key, Record, Space},
};

/// The records and what else was found, taken apart.
#[derive(Default)]
struct Parts {
    accounts: BTreeSet<OwnerId>,
    packages: BTreeMap<PackageId, PackageRecord>,
    roles: Vec<RoleRecord>,
    members: BTreeSet<(OwnerId, OwnerId)>,
    teams: BTreeMap<TeamId, TeamRecord>,
    team_members: Vec<TeamMemberRecord>,
    repositories: BTreeMap<RepositoryId, RepositoryRecord>,
    repository_roles: Vec<RepositoryRoleRecord>,
    readmes: Vec<RepositoryId>,
    workflows: Vec<WorkflowRoleRecord>,
    group_roles: Vec<GroupRoleRecord>,
    policies: Vec<PolicyRecord>,
    uploads: Vec<UploadRecord>,
    blobs: BTreeMap<Digest, BlobRecord>,
    inline: BTreeMap<Digest, Bytes>,
    leases: BTreeMap<(Digest, PackageId), u64>,
    last_leases: BTreeSet<PackageId>,
    manifests: BTreeMap<(PackageId, Digest), ManifestRecord>,
    bodies: BTreeMap<(PackageId, Digest), Bytes>,
    tags: Vec<TagRecord>,
    reviews: BTreeSet<(u64, Digest)>,
    trash: BTreeSet<PhysicalKey>,
    wants: BTreeMap<(PackageId, Digest), i64>,
    events: BTreeMap<Log, Vec<(u64, Entry)>>,
    /// Index entries as stored, and as they follow from the records.
    index: BTreeSet<Key>,
    follows: BTreeSet<Key>,
}

fn bytes_of(key: &Key) -> usize {
    key.bytes.len()
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn digest_at(bytes: &[u8], at: usize) -> (Digest, &[u8]) {
    Digest::read_key(&bytes[at..]).unwrap()
}

impl Parts {
    /// Whether a package is on its way out for good, so that parts of it are missing.
    fn is_purging(&self, package: PackageId) -> bool {
        self.packages.get(&package).is_some_and(|package| package.purging)
    }

    fn record<R: Record>(&mut self, key: &Key, record: R) -> R {
        assert_eq!(record.key(), *key, "a record lies where it says");
        self.follows.extend(record.index());
        record
    }

    fn entry(&mut self, key: &Key) {
        self.index.insert(key.clone());
    }

    fn take(&mut self, key: &Key, value: &Bytes) {
        let bytes = key.bytes.as_slice();
        match key.space {
            Space::Meta => self.take_meta(key, value),
            Space::Blob => {
                let digest = digest_at(bytes, 1).0;
                let record = self.record(key, BlobRecord::decode(digest, value).unwrap());
                self.blobs.insert(digest, record);
            }
            Space::Inline => drop(self.inline.insert(digest_at(bytes, 1).0, value.clone())),
            Space::Refs => self.take_ref(key, value),
            Space::Doc => self.take_doc(key, value),
            Space::Queue => match bytes[0] {
                b'q' => drop(self.reviews.insert((u64_at(bytes, 1), digest_at(bytes, 9).0))),
                b't' => {
                    assert!(self.trash.insert(PhysicalKey(bytes[9..25].try_into().unwrap())), "trash twice")
                }
                b'u' | b'd' | b'z' => self.entry(key),
                b'o' => assert_eq!((bytes_of(key), value.len()), (17, 17), "a watched file, and since when"),
                other => panic!("queue {}", other as char),
            },
            Space::Event => {
                let Some((log, number)) = AuditRecord::place(key) else { return self.entry(key) };
                let row = self.record(key, AuditRecord::decode(log, number, value).unwrap());
                self.events.entry(log).or_default().push((number, row.entry));
            }
        }
    }

    fn take_meta(&mut self, key: &Key, value: &Bytes) {
        match key.bytes[0] {
            b'o' => {
                let account = self.record(key, AccountRecord::decode(value).unwrap());
                self.accounts.insert(account.id);
            }
            b'z' => drop(self.record(key, NameRecord::decode(value).unwrap())),
            b'Q' => assert_eq!((key.bytes.len(), value.len()), (9, 1), "a mark of an account"),
            b'm' => {
                let member = self.record(key, MemberRecord::decode(value).unwrap());
                self.members.insert((member.organization, member.user));
            }
            b'p' => {
                let package = self.record(key, PackageRecord::decode(value).unwrap());
                self.packages.insert(package.id, package);
            }
            b'g' => {
                let role = self.record(key, RoleRecord::decode(value).unwrap());
                self.roles.push(role);
            }
            b'e' => {
                let team = self.record(key, TeamRecord::decode(value).unwrap());
                self.teams.insert(team.id, team);
            }
            b'x' => {
                let member = self.record(key, TeamMemberRecord::decode(value).unwrap());
                self.team_members.push(member);
            }
            b'a' => {
                let role = self.record(key, GroupRoleRecord::decode(value).unwrap());
                self.group_roles.push(role);
            }
            b'R' => {
                let repository = self.record(key, RepositoryRecord::decode(value).unwrap());
                self.repositories.insert(repository.id, repository);
            }
            b'D' => {
                let role = self.record(key, WorkflowRoleRecord::decode(value).unwrap());
                self.workflows.push(role);
            }
            b'V' => {
                let readme = self.record(key, ReadmeRecord::decode(value).unwrap());
                self.readmes.push(readme.repository);
            }
            b'c' => {
                let role = self.record(key, RepositoryRoleRecord::decode(value).unwrap());
                self.repository_roles.push(role);
            }
            b't' => drop(self.record(key, TokenRecord::decode(value).unwrap())),
            b'u' => {
                let upload = self.record(key, UploadRecord::decode_at(key, value).unwrap());
                self.uploads.push(upload);
            }
            b'y' => {
                let policy = self.record(key, PolicyRecord::decode(value).unwrap());
                self.policies.push(policy);
            }
            b'O' | b'M' | b'n' | b'N' | b'P' | b'l' | b'G' | b'h' | b'T' | b'U' | b'i' | b'q' | b'E'
            | b'f' | b'X' | b'A' | b'd' | b'v' | b'C' | b'L' | b'W' | b'Y' | b'Z' => self.entry(key),
            b'b' => assert_eq!((bytes_of(key), value.len()), (17, 8), "a pin says until when"),
            b'w' | b'k' | b'r' | b's' => {}
            other => panic!("meta {}", other as char),
        }
    }

    fn take_ref(&mut self, key: &Key, value: &Bytes) {
        let bytes = key.bytes.as_slice();
        match bytes[0] {
            b'r' => {
                let (digest, rest) = digest_at(bytes, 1);
                if rest[0] == 0 {
                    self.leases.insert((digest, PackageId(u64_at(rest, 1))), u64_at(value, 0));
                } else {
                    self.index.insert(key.clone());
                }
            }
            b'l' => drop(self.last_leases.insert(PackageId(u64_at(bytes, 1)))),
            b'u' | b'w' => self.entry(key),
            b'W' => {
                let wanted = (PackageId(u64_at(bytes, 1)), digest_at(bytes, 9).0);
                self.wants.insert(wanted, i64::from_be_bytes(value.as_ref().try_into().unwrap()));
            }
            other => panic!("refs {}", other as char),
        }
    }

    fn take_doc(&mut self, key: &Key, value: &Bytes) {
        let bytes = key.bytes.as_slice();
        let package = PackageId(u64_at(bytes, 1));
        match bytes[0] {
            b'm' => {
                let digest = digest_at(bytes, 9).0;
                let record = self.record(key, ManifestRecord::decode(package, digest, value).unwrap());
                self.manifests.insert((package, digest), record);
            }
            b'c' => drop(self.bodies.insert((package, digest_at(bytes, 9).0), value.clone())),
            b't' => {
                let tag = Tag::parse(std::str::from_utf8(&bytes[9..]).unwrap()).unwrap();
                let record = self.record(key, TagRecord::decode(package, tag, value).unwrap());
                self.tags.push(record);
            }
            b'x' => drop(self.record(key, DeletedTag::read(package, key, value).unwrap())),
            b'v' | b's' | b'd' | b'y' => self.entry(key),
            b'a' => {}
            other => panic!("doc {}", other as char),
        }
    }
}

/// Bytes and names that do not fit. Of bytes that nothing points at: after a crash there may be some, for a scrub; while a process runs, none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Orphans {
    pub(super) uploads: BTreeSet<PhysicalKey>,
    pub(super) published: BTreeSet<PhysicalKey>,
    /// What sessions name and is not there: a power cut may take the name of an upload, and nothing else may.
    pub(super) lost: BTreeSet<PhysicalKey>,
}

/// Checks every rule; says what nothing points at.
#[track_caller]
pub(super) fn check(stored: &Stored) -> Orphans {
    let mut parts = Parts::default();
    for (key, value) in &stored.keys {
        parts.take(key, value);
    }
    let missing: Vec<_> = parts.follows.difference(&parts.index).collect();
    let stale: Vec<_> = parts.index.difference(&parts.follows).collect();
    assert!(missing.is_empty() && stale.is_empty(), "index: missing {missing:?}, stale {stale:?}");
    accounts_and_packages(&parts);
    blobs(&parts, stored);
    manifests(&parts);
    events(&parts);
    let named = sessions(&parts, stored);
    let records = parts.blobs.values().filter_map(|blob| match blob.location {
        Location::Physical(key) => Some(key),
        Location::Inline => None,
    });
    let known: BTreeSet<_> = records.chain(parts.trash.iter().copied()).collect();
    let mut orphans = Orphans::default();
    let is_there = |key: &PhysicalKey| stored.uploads.contains_key(key) || stored.published.contains_key(key);
    orphans.lost.extend(named.iter().filter(|key| !is_there(key)));
    orphans.uploads.extend(stored.uploads.keys().filter(|key| !named.contains(key)));
    // A session whose commit failed may still name bytes that have their lasting name.
    orphans
        .published
        .extend(stored.published.keys().filter(|key| !known.contains(key) && !named.contains(key)));
    orphans
}

fn accounts_and_packages(parts: &Parts) {
    let mut names = BTreeSet::new();
    for package in parts.packages.values() {
        assert!(parts.accounts.contains(&package.owner), "{package:?} has an owner");
        assert!(!package.purging || package.deleted.is_some(), "{package:?} goes and was not deleted");
        let name = package.package_name().unwrap().to_string();
        assert!(package.deleted.is_some() || names.insert(name), "two packages named {}", package.name);
        let has = parts.manifests.keys().any(|(of, _)| *of == package.id);
        assert!(!(has && package.state == State::Pending), "{package:?} has a manifest and is not visible");
    }
    for role in &parts.roles {
        assert!(
            parts.accounts.contains(&role.user) && parts.packages.contains_key(&role.package),
            "{role:?}"
        );
    }
    teams(parts);
    repositories(parts);
    for policy in &parts.policies {
        let there = match policy.of {
            PolicyOf::Owner(owner) => parts.accounts.contains(&owner),
            PolicyOf::Package(package) => parts.packages.contains_key(&package),
        };
        assert!(there, "a policy of nobody: {policy:?}");
    }
    let of =
        parts.manifests.keys().map(|(package, _)| package).chain(parts.tags.iter().map(|tag| &tag.package));
    for package in of.chain(parts.uploads.iter().map(|upload| &upload.package)) {
        assert!(parts.packages.contains_key(package), "something belongs to no package");
    }
}

fn teams(parts: &Parts) {
    for team in parts.teams.values() {
        assert!(parts.accounts.contains(&team.organization), "{team:?} is of nobody");
        let (mut at, mut depth) = (team, 1);
        while let Some(parent) = at.parent {
            at = parts.teams.get(&parent).expect("a team is in one that is there");
            assert_eq!(at.organization, team.organization, "a team is in its own organization's");
            depth += 1;
            assert!(depth <= 8, "{team:?} is too deep, or in itself");
        }
    }
    for member in &parts.team_members {
        assert_eq!(parts.teams[&member.team].organization, member.organization);
        assert!(parts.members.contains(&(member.organization, member.user)), "{member:?} is not in it");
    }
    for role in &parts.group_roles {
        let package = &parts.packages[&role.package];
        assert_eq!(
            (package.owner, package.package_name().unwrap().to_string()),
            (role.owner, role.path.clone())
        );
        match role.group {
            Group::Team(team) => assert_eq!(parts.teams[&team].organization, package.owner),
            Group::Organization(id) => assert!(parts.accounts.contains(&id), "{role:?}"),
        }
    }
}

fn repositories(parts: &Parts) {
    let mut names = BTreeSet::new();
    for repository in parts.repositories.values() {
        assert!(parts.accounts.contains(&repository.owner), "{repository:?} is of nobody");
        let name = (repository.owner, repository.name.to_ascii_lowercase());
        assert!(names.insert(name), "two repositories named {}", repository.name);
    }
    for role in &parts.repository_roles {
        assert_eq!(parts.repositories[&role.repository].owner, role.owner, "{role:?}");
        match role.of {
            Collaborator::User(user) => assert!(parts.accounts.contains(&user), "{role:?}"),
            Collaborator::Team(team) => assert_eq!(parts.teams[&team].organization, role.owner),
        }
    }
    for package in parts.packages.values() {
        if let Some(link) = package.link {
            assert_eq!(
                parts.repositories[&link.repository].owner, package.owner,
                "{package:?} links elsewhere"
            );
        }
        let own = parts.roles.iter().map(|role| role.package);
        let mut own = own.chain(parts.group_roles.iter().map(|role| role.package));
        assert!(
            package.inherits().is_none() || own.all(|of| of != package.id),
            "{package:?} has roles of its own"
        );
    }
    for role in &parts.workflows {
        assert!(parts.repositories.contains_key(&role.repository), "{role:?}");
        assert_eq!(parts.packages[&role.package].package_name().unwrap().to_string(), role.path);
    }
    assert!(parts.readmes.iter().all(|of| parts.repositories.contains_key(of)));
}

fn blobs(parts: &Parts, stored: &Stored) {
    let mut physical = BTreeSet::new();
    let edges: BTreeSet<Digest> = parts
        .index
        .iter()
        .filter(|key| key.space == Space::Refs && key.bytes[0] == b'r')
        .map(|key| digest_at(&key.bytes, 1).0)
        .collect();
    for (digest, blob) in &parts.blobs {
        let bytes = match blob.location {
            Location::Inline => parts.inline.get(digest).expect("an inline blob has its bytes"),
            Location::Physical(key) => {
                assert!(physical.insert(key), "two blobs in one file");
                assert!(!parts.trash.contains(&key), "{digest} lies in the trash");
                stored.published.get(&key).unwrap_or_else(|| panic!("{digest} has no file"))
            }
        };
        assert_eq!((Digest::of(digest.algorithm(), bytes), bytes.len() as u64), (*digest, blob.size));
        let queued = parts.reviews.iter().any(|(_, of)| of == digest);
        assert!(queued || edges.contains(digest), "{digest} is held by nothing and will never be looked at");
    }
    for digest in parts.inline.keys() {
        let record = parts.blobs.get(digest).expect("inline bytes have a record");
        assert_eq!(record.location, Location::Inline, "bytes in two places");
    }
    for ((digest, package), ends) in &parts.leases {
        assert!(parts.reviews.contains(&(*ends, *digest)), "a lease of {digest} ends and nobody will look");
        // A lease that is over may outlive its blob; one of a package that is there is counted by it.
        let counted = parts.last_leases.contains(package) || !parts.packages.contains_key(package);
        assert!(counted, "a package has a lease and does not know");
    }
}

fn manifests(parts: &Parts) {
    for ((package, digest), record) in &parts.manifests {
        let body = parts.bodies.get(&(*package, *digest)).expect("a manifest has its bytes");
        assert_eq!((Digest::of(digest.algorithm(), body), body.len() as u64), (*digest, record.size));
        let queued = record.deleted.is_none_or(|at| {
            let mut key = Key::new(Space::Queue, b'd').with(&at.0.to_be_bytes()).with(&[1]);
            key = key.with(&package.bytes());
            digest.write_key(&mut key.bytes);
            parts.index.contains(&key)
        });
        assert!(queued, "{digest} is deleted and will never go");
        for target in &record.targets {
            let there = (*package, target.digest);
            if target.present && target.manifest && parts.is_purging(*package) {
                // Piece by piece, in any order; nobody can reach it any more.
            } else if target.present && target.manifest {
                let child = parts.manifests.get(&there).expect("a child has a record");
                let whole = record.deleted.is_some() || child.deleted.is_none();
                assert!(whole, "a live index names {}, which is deleted", target.digest);
            } else if target.present {
                assert!(parts.blobs.contains_key(&target.digest), "{} is named and gone", target.digest);
            } else {
                assert!(parts.wants.contains_key(&there), "{} is wanted and not counted", target.digest);
                let alive = parts.manifests.get(&there).is_some_and(|found| found.deleted.is_none());
                assert!(
                    !alive || !record.is_child(target),
                    "{} is wanted and there as a manifest",
                    target.digest
                );
                let held = parts.manifests.values().any(|other| {
                    other.package == *package
                        && other.deleted.is_none()
                        && other.targets.iter().any(|t| t.digest == target.digest && t.present && !t.manifest)
                });
                assert!(!held, "{} is wanted and held by another manifest", target.digest);
            }
        }
    }
    for there in parts.bodies.keys() {
        assert!(parts.manifests.contains_key(there), "a manifest's bytes have a record");
    }
    for tag in parts.tags.iter().filter(|tag| !parts.is_purging(tag.package)) {
        let named = parts.manifests.get(&(tag.package, tag.digest));
        assert!(named.is_some_and(|named| named.deleted.is_none()), "the tag {} dangles", tag.tag);
    }
}

/// The events of a package, played in order, lead to what it shows; none is told without its change, and none is missing.
fn events(parts: &Parts) {
    for (stream, events) in &parts.events {
        for (at, (number, _)) in events.iter().enumerate() {
            assert_eq!(*number, at as u64 + 1, "the events of {stream:?} have no gap");
        }
        let Log::Package(package) = *stream else { continue };
        let (mut manifests, mut tags) = (BTreeSet::new(), BTreeMap::new());
        for event in events.iter().flat_map(|(_, entry)| entry.events()) {
            let (digest, tag) =
                (event.digest.clone().unwrap_or_default(), event.tag.clone().unwrap_or_default());
            match event.action.as_str() {
                "manifest.put" => drop(manifests.insert(digest)),
                "manifest.restore" => assert!(manifests.insert(digest), "{event:?}"),
                "manifest.purge" => assert!(!manifests.contains(&digest), "{event:?}"),
                "tag.restore" => assert_eq!(tags.insert(tag, digest), None, "{event:?}"),
                "manifest.delete" => assert!(manifests.remove(&digest), "{event:?}"),
                "tag.put" => drop(tags.insert(tag, digest)),
                "tag.delete" => assert_eq!(tags.remove(&tag), Some(digest)),
                _ => {}
            }
        }
        // What happened in a package stays on record when it is gone.
        if parts.is_purging(package) || !parts.packages.contains_key(&package) {
            continue;
        }
        let live = parts.manifests.values().filter(|m| m.package == package && m.deleted.is_none());
        assert_eq!(manifests, live.map(|manifest| manifest.digest.to_string()).collect());
        let named = parts.tags.iter().filter(|tag| tag.package == package);
        assert_eq!(tags, named.map(|tag| (tag.tag.to_string(), tag.digest.to_string())).collect());
    }
}

/// Sessions claim only what is there. Says which files they name.
fn sessions(parts: &Parts, stored: &Stored) -> BTreeSet<PhysicalKey> {
    let mut named = BTreeSet::new();
    for upload in &parts.uploads {
        let hasher = Hasher::restore(&upload.hash).expect("the state of the hash can be read");
        let bytes = match &upload.held {
            Held::Row(bytes) => Some(bytes),
            Held::File(key) => {
                assert!(named.insert(*key), "two sessions write one file");
                // Gone after a power cut or a failed publish: the session begins again.
                stored.uploads.get(key).or_else(|| stored.published.get(key))
            }
        };
        if let Some(bytes) = bytes {
            let claimed = bytes.get(..usize::try_from(upload.offset).unwrap());
            let claimed = claimed.expect("a session claims no more than it holds");
            assert_eq!(
                Digest::of(hasher.algorithm(), claimed),
                hasher.finish(),
                "a session claims other bytes"
            );
        }
    }
    named
}
