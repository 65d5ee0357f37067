//! Installations made of records alone, over a store that counts the keys it is asked for.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    auth::{Actor, Caller, Limits, Pull, Verb},
    error::Result,
    model::{
        Collaborator, Digest, Group, OwnerId, PackageId, RepositoryId, RepositoryRole, Role, Scope, Scopes,
        TeamId, Timestamp, Visibility,
    },
    registry::{
        Registry, Settings,
        records::{
            AccountKind, AccountRecord, GroupRoleRecord, Link, ManifestRecord, MemberRecord, Membership,
            PackageRecord, RepositoryRecord, RepositoryRoleRecord, RoleRecord, State, TeamMemberRecord,
            TeamRecord,
        },
    },
    store::{
        Batch, CommitError, Committed, Entry, Key, MetadataRead, MetadataStore, Record as _,
        memory::{MemoryBlobs, MemoryStore},
    },
};

/// The owners: two users, two organizations, a user.
pub(super) const NAMES: [&str; 5] = ["a", "npz", "a-b", "mid", "zoe"];
const ORGANIZATIONS: std::ops::Range<usize> = 2..4;
const AT: Timestamp = Timestamp(1_700_000_000_000);

/// A store that counts the keys that reads give, or look for in vain.
struct Counting<R: ?Sized> {
    inner: Arc<R>,
    visited: Arc<AtomicU64>,
}

#[async_trait]
impl<R: MetadataRead + ?Sized> MetadataRead for Counting<R> {
    async fn get(&self, key: &Key) -> Result<Option<Bytes>> {
        self.visited.fetch_add(1, Relaxed);
        self.inner.get(key).await
    }

    async fn multi_get(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        self.visited.fetch_add(keys.len() as u64, Relaxed);
        self.inner.multi_get(keys).await
    }

    async fn scan(&self, prefix: &Key, after: Option<&Key>, limit: usize) -> Result<Vec<Entry>> {
        let entries = self.inner.scan(prefix, after, limit).await?;
        self.visited.fetch_add(entries.len().max(1) as u64, Relaxed);
        Ok(entries)
    }
}

#[async_trait]
impl MetadataStore for Counting<MemoryStore> {
    fn snapshot(&self) -> Result<Arc<dyn MetadataRead>> {
        Ok(Arc::new(Counting { inner: self.inner.snapshot()?, visited: Arc::clone(&self.visited) }))
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, CommitError> {
        self.inner.commit(batch).await
    }

    async fn backup(&self, into: &Path) -> Result<Arc<dyn MetadataRead>> {
        self.inner.backup(into).await
    }

    fn health(&self) -> Result<()> {
        self.inner.health()
    }

    fn figures(&self) -> Vec<(&'static str, u64)> {
        self.inner.figures()
    }
}

/// What a random world is made of. Owners and users by their place in [`NAMES`].
#[derive(Debug, Clone)]
pub(super) struct Sketch {
    /// Owner, ecosystem, name, what it is, public, with manifests.
    pub(super) packages: Vec<(usize, usize, usize, u8, bool, bool)>,
    pub(super) roles: Vec<(usize, proptest::sample::Index, u8)>,
    /// Organization, user, as its owner.
    pub(super) members: Vec<(usize, usize, bool)>,
    pub(super) suspended: Vec<bool>,
    pub(super) closed: Vec<bool>,
    /// The base roles of the organizations: none, read, write.
    pub(super) bases: Vec<u8>,
    /// Teams: the organization, and another team to be in.
    pub(super) teams: Vec<(usize, Option<proptest::sample::Index>)>,
    /// Who is in a team, though perhaps not in its organization.
    pub(super) in_teams: Vec<(proptest::sample::Index, usize)>,
    /// Roles of a team or an organization on a package.
    pub(super) group_roles: Vec<(Option<proptest::sample::Index>, usize, proptest::sample::Index, u8)>,
    /// Whose repositories there are.
    pub(super) repositories: Vec<usize>,
    /// For each package one of its owner's repositories to link to, and whether it inherits.
    pub(super) links: Vec<Option<(proptest::sample::Index, bool)>>,
    /// Roles of a team or a user on a repository.
    pub(super) repository_roles: Vec<(Option<proptest::sample::Index>, usize, proptest::sample::Index, u8)>,
    pub(super) anonymous: bool,
}

pub(super) struct World {
    pub(super) registry: Registry,
    visited: Arc<AtomicU64>,
}

/// Which users there are: the last of [`NAMES`] is the third.
fn user(number: usize) -> usize {
    if number == 2 { 4 } else { number }
}

impl World {
    pub(super) fn id(owner: usize) -> OwnerId {
        OwnerId(owner as u64 + 1)
    }

    fn account(owner: usize) -> AccountRecord {
        let kind = if ORGANIZATIONS.contains(&owner) { AccountKind::Organization } else { AccountKind::User };
        AccountRecord {
            id: Self::id(owner),
            name: NAMES[owner].to_owned(),
            kind,
            administrator: false,
            suspended: false,
            anonymous_reads: true,
            sign_in: 0,
            created: 0,
            base_role: None,
            robot_of: None,
        }
    }

    pub(super) fn package(owner: usize, ecosystem: usize, name: &str) -> PackageRecord {
        PackageRecord {
            id: PackageId::random().unwrap(),
            owner: Self::id(owner),
            ecosystem: crate::model::Ecosystem::ALL[ecosystem] as u8,
            owner_name: NAMES[owner].to_owned(),
            name: name.to_owned(),
            visibility: Visibility::Private,
            state: State::Visible,
            created: 0,
            creator: None,
            deleted: None,
            purging: false,
            link: None,
        }
    }

    /// The owners of [`NAMES`], and nothing else.
    pub(super) async fn empty(anonymous_reads: bool) -> Self {
        let visited = Arc::new(AtomicU64::new(0));
        let meta = Counting { inner: Arc::new(MemoryStore::new()), visited: Arc::clone(&visited) };
        let settings = Settings { anonymous_reads, ..Settings::default() };
        let registry = Registry::open(Arc::new(meta), Arc::new(MemoryBlobs::new()), settings).unwrap();
        let world = Self { registry, visited };
        let mut batch = Batch::new();
        for owner in 0..NAMES.len() {
            batch.replace(None, Some(&Self::account(owner)));
        }
        world.write(batch).await;
        world
    }

    pub(super) async fn of(sketch: &Sketch) -> Self {
        let world = Self::empty(sketch.anonymous).await;
        let mut batch = Batch::new();
        let mut packages: Vec<PackageRecord> = Vec::new();
        for (number, (owner, ecosystem, name, what, public, full)) in sketch.packages.iter().enumerate() {
            let mut package = Self::package(*owner, *ecosystem, ["x", "x-y", "x0", "z"][*name]);
            package.visibility = if *public { Visibility::Public } else { Visibility::Private };
            let own: Vec<usize> =
                (0..sketch.repositories.len()).filter(|at| sketch.repositories[*at] == *owner).collect();
            let link = sketch.links[number].filter(|_| !own.is_empty());
            package.link = link.map(|(which, inherits)| Link {
                repository: RepositoryId(own[which.index(own.len())] as u64),
                inherits,
            });
            package.creator = (number % 2 == 0).then(|| Self::id(0));
            let path = package.package_name().unwrap();
            let taken =
                |other: &PackageRecord| other.deleted.is_none() && other.package_name().unwrap() == path;
            if *what == 0 || packages.iter().any(taken) {
                package.deleted = Some(1);
            } else if *what == 1 {
                package.state = State::Pending;
            }
            Self::store(&mut batch, &package, *full);
            packages.push(package);
        }
        let mut given = std::collections::BTreeSet::new();
        for (who, on, role) in &sketch.roles {
            if packages.is_empty() || !given.insert((who, on.index(packages.len()))) {
                continue;
            }
            let role = [Role::Read, Role::Write, Role::Admin][usize::from(*role) - 1];
            world.give(&mut batch, &packages[on.index(packages.len())], user(*who), role);
        }
        let mut members = std::collections::BTreeSet::new();
        for (organization, who, owner) in &sketch.members {
            if members.insert((organization, who)) {
                world.member(&mut batch, *organization, user(*who), *owner);
            }
        }
        world.groups(&mut batch, sketch, &packages);
        world.repositories(&mut batch, sketch);
        for owner in 0..NAMES.len() {
            let suspended = (0..3).any(|who| user(who) == owner && sketch.suspended[who]);
            let account = Self::account(owner);
            let base_role = if ORGANIZATIONS.contains(&owner) { sketch.bases[owner - 2] } else { 0 };
            let base_role = Role::from_code(base_role);
            let anonymous_reads = !sketch.closed[owner];
            let new = AccountRecord { suspended, anonymous_reads, base_role, ..account.clone() };
            batch.puts.push((account.key(), new.value()));
        }
        world.write(batch).await;
        world
    }

    /// Teams, who is in them, roles of groups.
    fn groups(&self, batch: &mut Batch, sketch: &Sketch, packages: &[PackageRecord]) {
        let mut teams: Vec<TeamRecord> = Vec::new();
        for (number, (owner, parent)) in sketch.teams.iter().enumerate() {
            let organization = Self::id(*owner);
            let own: Vec<TeamId> =
                teams.iter().filter(|team| team.organization == organization).map(|team| team.id).collect();
            let parent = parent.filter(|_| !own.is_empty()).map(|parent| own[parent.index(own.len())]);
            let (id, name) = (TeamId(number as u64), format!("t{number}"));
            teams.push(TeamRecord { id, organization, name, parent, created: 0 });
        }
        teams.iter().for_each(|team| batch.replace(None, Some(team)));
        let mut given = std::collections::BTreeSet::new();
        for (team, who) in &sketch.in_teams {
            let Some(team) = teams.get(team.index(teams.len().max(1))) else { continue };
            let (team, organization, user) = (team.id, team.organization, Self::id(user(*who)));
            if given.insert((team, user)) {
                let member = TeamMemberRecord { team, user, organization, maintainer: false, since: 0 };
                batch.replace(None, Some(&member));
            }
        }
        let mut given = std::collections::BTreeSet::new();
        for (team, organization, on, role) in &sketch.group_roles {
            let Some(package) = packages.get(on.index(packages.len().max(1))) else { continue };
            let group = match team {
                Some(_) if teams.is_empty() => continue,
                Some(team) => Group::Team(teams[team.index(teams.len())].id),
                None => Group::Organization(Self::id(*organization)),
            };
            if given.insert((package.id, group)) {
                let path = package.package_name().unwrap().to_string();
                let (package, owner, role) = (package.id, package.owner, Role::from_code(*role).unwrap());
                let role = GroupRoleRecord { package, group, owner, role, since: 0, path };
                batch.replace(None, Some(&role));
            }
        }
    }

    /// Repositories, and the roles on them.
    fn repositories(&self, batch: &mut Batch, sketch: &Sketch) {
        for (number, owner) in sketch.repositories.iter().enumerate() {
            self.repository(batch, *owner, number as u64);
        }
        let mut given = std::collections::BTreeSet::new();
        for (team, who, on, role) in &sketch.repository_roles {
            let Some(owner) = sketch.repositories.get(on.index(sketch.repositories.len().max(1))) else {
                continue;
            };
            let repository = RepositoryId(on.index(sketch.repositories.len()) as u64);
            let of = match team {
                Some(_) if sketch.teams.is_empty() => continue,
                Some(team) => Collaborator::Team(TeamId(team.index(sketch.teams.len()) as u64)),
                None => Collaborator::User(Self::id(user(*who))),
            };
            if given.insert((repository, of)) {
                let (owner, role) = (Self::id(*owner), RepositoryRole::from_code(*role).unwrap());
                batch.replace(None, Some(&RepositoryRoleRecord { repository, of, owner, role, since: 0 }));
            }
        }
    }

    /// A repository of this number.
    pub(super) fn repository(&self, batch: &mut Batch, owner: usize, number: u64) {
        let repository = RepositoryRecord {
            id: RepositoryId(number),
            owner: Self::id(owner),
            name: format!("r{number}"),
            visibility: Visibility::Private,
            description: String::new(),
            url: String::new(),
            topics: Vec::new(),
            license: String::new(),
            created: 0,
            synced: None,
        };
        batch.replace(None, Some(&repository));
    }

    fn store(batch: &mut Batch, package: &PackageRecord, full: bool) {
        batch.replace(None, Some(package));
        if full {
            let mut live = ManifestRecord::live(package.id);
            Digest::sha256(b"manifest").write_key(&mut live.bytes);
            batch.put(live, Bytes::new());
        }
    }

    /// Adds a private package with a manifest, changed like this.
    pub(super) fn add(
        &self,
        batch: &mut Batch,
        owner: usize,
        ecosystem: usize,
        name: &str,
        change: impl FnOnce(&mut PackageRecord),
    ) -> PackageRecord {
        let mut package = Self::package(owner, ecosystem, name);
        change(&mut package);
        Self::store(batch, &package, true);
        package
    }

    pub(super) fn give(&self, batch: &mut Batch, package: &PackageRecord, user: usize, role: Role) {
        let path = package.package_name().unwrap().to_string();
        let (user, owner) = (Self::id(user), package.owner);
        let role = RoleRecord { package: package.id, user, owner, role, since: 0, path };
        batch.replace(None, Some(&role));
    }

    pub(super) fn member(&self, batch: &mut Batch, organization: usize, user: usize, owner: bool) {
        let membership = if owner { Membership::Owner } else { Membership::Member };
        let (organization, user) = (Self::id(organization), Self::id(user));
        batch.replace(None, Some(&MemberRecord { organization, user, membership, since: 0 }));
    }

    /// A team of this number.
    pub(super) fn team(&self, batch: &mut Batch, organization: usize, number: u64, parent: Option<u64>) {
        let (organization, name) = (Self::id(organization), format!("t{number}"));
        let (id, parent) = (TeamId(number), parent.map(TeamId));
        batch.replace(None, Some(&TeamRecord { id, organization, name, parent, created: 0 }));
    }

    pub(super) fn in_team(&self, batch: &mut Batch, organization: usize, team: u64, user: OwnerId) {
        let (team, organization) = (TeamId(team), Self::id(organization));
        let member = TeamMemberRecord { team, user, organization, maintainer: false, since: 0 };
        batch.replace(None, Some(&member));
    }

    pub(super) fn give_group(&self, batch: &mut Batch, package: &PackageRecord, group: Group, role: Role) {
        let path = package.package_name().unwrap().to_string();
        let (package, owner) = (package.id, package.owner);
        let role = GroupRoleRecord { package, group, owner, role, since: 0, path };
        batch.replace(None, Some(&role));
    }

    /// Closes an owner to anonymous callers.
    pub(super) fn close(&self, batch: &mut Batch, owner: usize) {
        let account = Self::account(owner);
        let closed = AccountRecord { anonymous_reads: false, ..account.clone() };
        batch.replace(Some(&account), Some(&closed));
    }

    pub(super) async fn write(&self, batch: Batch) {
        self.registry.meta.commit(batch).await.unwrap();
    }

    /// Keys that were read so far.
    pub(super) fn visited(&self) -> u64 {
        self.visited.load(Relaxed)
    }

    pub(super) fn anonymous(&self) -> Caller {
        Caller::anonymous(AT, "test".into())
    }

    /// One of each kind.
    pub(super) async fn viewers(&self) -> Vec<Caller> {
        let mut viewers = vec![
            self.anonymous(),
            Caller::operator(AT, "test".into()),
            Caller::job("test", AT, "test".into()),
            Caller { actor: Actor::User(OwnerId(99)), ..self.anonymous() },
            Caller { actor: Actor::User(Self::id(0)), administrator: true, ..self.anonymous() },
        ];
        for who in 0..3 {
            let caller = Caller { actor: Actor::User(Self::id(user(who))), ..self.anonymous() };
            viewers.push(Caller { scopes: Scopes::of(&[Scope::ReadPackages]), ..caller.clone() });
            viewers.push(Caller { scopes: Scopes::of(&[Scope::Admin]), ..caller.clone() });
            let owners = BTreeSet::from([Self::id(2), Self::id(user(who))]);
            let of_two = Limits { owners: owners.clone(), ..Limits::default() };
            let pushes = Limits { actions: BTreeSet::from([Verb::Push]), owners, ..Limits::default() };
            for limits in [of_two, pushes] {
                viewers.push(Caller { limits: Some(Arc::new(limits)), ..caller.clone() });
            }
        }
        // Limited to some packages, whatever their state, and to an owner.
        let mut packages = BTreeSet::new();
        for (_, bytes) in self.registry.meta.scan(&PackageRecord::all(), None, 10_000).await.unwrap() {
            let package = PackageRecord::decode(&bytes).unwrap();
            packages.extend((package.name == "x-y").then_some(package.id));
        }
        let limits = Limits { packages, owners: BTreeSet::from([Self::id(3)]), ..Limits::default() };
        let limits = Some(Arc::new(limits));
        for who in 0..3 {
            let actor = Actor::User(Self::id(user(who)));
            viewers.push(Caller { actor, limits: limits.clone(), ..self.anonymous() });
        }
        viewers
    }

    /// All packages that a viewer may pull from by the policy, asked for one by one, and whether they hold a manifest. What
    /// is pending is in no list.
    pub(super) async fn readable(&self, viewer: &Caller) -> Vec<(String, bool)> {
        let mut readable = Vec::new();
        for (_, bytes) in self.registry.meta.scan(&PackageRecord::all(), None, 10_000).await.unwrap() {
            let package = PackageRecord::decode(&bytes).unwrap();
            if package.deleted.is_some() || package.state == State::Pending {
                continue;
            }
            let name = package.package_name().unwrap();
            if self.registry.policy().authorize::<Pull>(viewer, &name).await.is_ok() {
                let full = self.registry.meta.any(&ManifestRecord::live(package.id)).await.unwrap();
                readable.push((name.to_string(), full));
            }
        }
        readable
    }
}
