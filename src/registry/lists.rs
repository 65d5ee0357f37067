//! Lists across packages: each viewer's own, in order of the paths, at the cost of the page and not of what is left out.
//!
//! Whoever may read a package found one of five ways to it, and each has an index in order of the paths: the package is
//! public, the viewer rules its owner or has its base role, the viewer was given a role on it, or a group was that the
//! viewer belongs to; or it inherits from a repository on which one of them was. A workflow's way is what its repository was given. A list merges these. What they lead to is then judged like every other request, by `auth::may_read`: a way too many would cost time and show nothing.

mod walk;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};

use self::walk::{Merge, Walk};
use super::{
    Registry, accounts,
    facts::{self, Standing},
    groups::Groups,
    packages::{self, beginning, beginnings},
    records::{
        AccountRecord, GroupRoleRecord, ManifestRecord, MemberRecord, Membership, PackageRecord,
        RepositoryRecord, RepositoryRoleRecord, RoleRecord, WorkflowRoleRecord,
    },
};
use crate::{
    auth::{self, Actor, Caller, Facts, Given, PackageTarget, Verb},
    error::{Challenge, Error, Kind, Result},
    model::{Collaborator, Group, OwnerId, PackageId, RepositoryId, Role, Scope, Visibility},
    store::{Key, MetadataRead},
};

/// A page of a list across packages.
#[derive(Debug)]
pub struct Packages {
    /// Those the viewer may read, in bytewise order of their repository paths.
    pub packages: Vec<PackageTarget>,
    /// Whether there are more.
    pub more: bool,
}

impl Registry {
    /// The catalog of the registry as one viewer may see it: at most `limit` repository paths that sort after `after`.
    ///
    /// # Errors
    /// Unauthenticated when the bearer token was not issued for the catalog.
    pub async fn catalog(&self, viewer: &Caller, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        if !viewer.bound_allows("*", Verb::Pull) {
            let kind = Kind::Unauthenticated(Challenge::Insufficient);
            return Err(Error::new(kind, "this bearer token was not issued for the catalog"));
        }
        let page = self.list(viewer, None, after, limit, false).await?;
        Ok(page.packages.iter().map(|package| package.name.to_string()).collect())
    }

    /// The packages of one owner, or of all, that a viewer may read: at most `limit` whose paths sort after `after`.
    pub async fn packages_of(
        &self,
        viewer: &Caller,
        owner: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Packages> {
        self.list(viewer, owner, after, limit, true).await
    }

    /// `empty`: whether packages whose manifests were all deleted are listed.
    async fn list(
        &self,
        viewer: &Caller,
        owner: Option<&str>,
        after: Option<&str>,
        limit: usize,
        empty: bool,
    ) -> Result<Packages> {
        // No path holds a NUL, and index entries use it: what a client writes behind one changes nothing in the order.
        let after = after.map(|path| path.split('\0').next().unwrap_or_default());
        let view = self.meta.snapshot()?;
        let mut eyes = Eyes { empty, ..Eyes::new(self, view.as_ref(), viewer) };
        let mut ways = Merge::new(eyes.ways(owner, after).await?);
        let mut packages = Vec::new();
        // Mostly all that the ways lead to may be read, and one round is a page.
        let mut least = 1;
        loop {
            let missing = limit.saturating_add(1) - packages.len();
            let ids = ways.next(view.as_ref(), missing.clamp(least, STRIDE)).await?;
            if ids.is_empty() {
                return Ok(Packages { packages, more: false });
            }
            packages.extend(eyes.readable(&ids).await?);
            if packages.len() > limit {
                packages.truncate(limit);
                return Ok(Packages { packages, more: true });
            }
            if let Some(beginning) = eyes.shut.take() {
                ways.pass_over(&beginning);
            }
            least = (least * 2).min(STRIDE);
        }
    }
}

/// The ranges of paths that lie in one of these and in one of those: in order, none a part of another.
fn common(these: &[String], those: &[String]) -> Vec<String> {
    let narrower = |one: &String, other: &String| match (one.starts_with(other), other.starts_with(one)) {
        (true, _) => Some(one.clone()),
        (false, true) => Some(other.clone()),
        (false, false) => None,
    };
    let mut both: Vec<String> =
        these.iter().flat_map(|one| those.iter().filter_map(move |other| narrower(one, other))).collect();
    both.sort();
    both.dedup_by(|later, earlier| later.starts_with(earlier.as_str()));
    both
}

/// Index entries read at once at most.
const STRIDE: usize = 256;

/// What one viewer sees at one moment.
pub(crate) struct Eyes<'a> {
    registry: &'a Registry,
    view: &'a dyn MetadataRead,
    viewer: &'a Caller,
    owners: HashMap<OwnerId, (Standing, bool)>,
    groups: Option<Groups<'a>>,
    empty: bool,
    /// How the paths begin among which the last one looked at is, if their owner shows none of them to this viewer.
    shut: Option<String>,
}

impl<'a> Eyes<'a> {
    pub(crate) fn new(registry: &'a Registry, view: &'a dyn MetadataRead, viewer: &'a Caller) -> Self {
        let groups = viewer.user().map(|user| Groups::of(view, user));
        Self { registry, view, viewer, owners: HashMap::new(), groups, empty: true, shut: None }
    }

    /// Every way by which this viewer may come to read a package: see [`auth::may_read`] and [`facts::roles`]. What is
    /// pending is in none of them.
    async fn ways(&mut self, owner: Option<&str>, after: Option<&str>) -> Result<Vec<Walk>> {
        if self.viewer.is_anonymous() && !self.registry.anonymous_reads() {
            return Ok(Vec::new());
        }
        let all = beginnings(owner);
        let public = PackageRecord::listed(Visibility::Public, "");
        let mut ways = vec![Walk::new(public, all.clone(), after)];
        let limits = self.viewer.limits.as_ref();
        if !self.viewer.scopes.has(Scope::ReadPackages)
            || limits.is_some_and(|limits| !limits.allow(Verb::Pull))
        {
            return Ok(ways);
        }
        let all = self.limited(all).await?;
        let private = PackageRecord::listed(Visibility::Private, "");
        match self.viewer.actor {
            Actor::Anonymous | Actor::Job(_) => {}
            Actor::Operator => ways.push(Walk::new(private, all, after)),
            Actor::Repository(id) => {
                ways.push(Walk::new(WorkflowRoleRecord::paths_of(id, ""), all, after));
            }
            Actor::User(user) => {
                let whole = match owner {
                    Some(owner) => self.whole_of(owner).await?,
                    None => self.whole(user).await?,
                };
                let ranges = whole.iter().flat_map(|name| beginnings(Some(name))).collect();
                let ranges = self.limited(ranges).await?;
                ways.push(Walk::new(private, ranges, after));
                for group in self.groups(owner).await? {
                    ways.push(Walk::new(GroupRoleRecord::paths_of(group, ""), all.clone(), after));
                }
                for repository in self.repositories(user, owner).await? {
                    ways.push(Walk::new(PackageRecord::inheriting(repository, ""), all.clone(), after));
                }
                ways.push(Walk::new(RoleRecord::paths_of(user, ""), all, after));
            }
        }
        Ok(ways)
    }

    /// Of these ranges of paths what the viewer's token is limited to.
    async fn limited(&self, ranges: Vec<String>) -> Result<Vec<String>> {
        let Some(limits) = self.viewer.limits.as_ref().filter(|limits| !limits.everywhere()) else {
            return Ok(ranges);
        };
        let mut only = Vec::new();
        for owner in &limits.owners {
            let account = accounts::by_id(self.view, *owner).await?;
            only.extend(account.iter().flat_map(|account| beginnings(Some(&account.folded()))));
        }
        for package in &limits.packages {
            if let Some(package) = packages::by_id(self.view, *package).await? {
                only.push(package.package_name()?.to_string());
            }
        }
        Ok(common(&ranges, &only))
    }

    /// The owner of this name, if the viewer may read all it has.
    async fn whole_of(&mut self, name: &str) -> Result<Vec<String>> {
        let Some(account) = accounts::by_name(self.view, name).await? else { return Ok(Vec::new()) };
        let whole = self.towards(account.id).await?.is_some_and(|(standing, _)| standing.reads_all());
        Ok(if whole { vec![account.folded()] } else { Vec::new() })
    }

    /// The names of all owners of which a user may read all they have: itself, the organizations it owns, those that give
    /// their members a base role.
    async fn whole(&mut self, user: OwnerId) -> Result<Vec<String>> {
        let memberships = accounts::walk(self.view, &MemberRecord::of_user(user)).await?;
        let organizations: Vec<_> =
            memberships.iter().filter_map(|(key, _)| AccountRecord::id_in(key)).collect();
        let keys: Vec<Key> = organizations.iter().map(|id| MemberRecord::key_of(*id, user)).collect();
        let members = self.view.multi_get(&keys).await?;
        let keys: Vec<Key> = organizations.iter().map(|id| AccountRecord::key_of(*id)).collect();
        let accounts = self.view.multi_get(&keys).await?;
        let mut names = Vec::new();
        for (member, account) in members.iter().zip(&accounts) {
            let (Some(member), Some(account)) = (member, account) else { continue };
            let account = AccountRecord::decode(account)?;
            let owns = MemberRecord::decode(member)?.membership == Membership::Owner;
            if owns || account.base_role.is_some() {
                names.push(account.folded());
            }
        }
        let own = accounts::by_id(self.view, user).await?;
        names.extend(own.map(|account| account.folded()));
        Ok(names)
    }

    /// The groups of the viewer that may have roles on packages of this owner, or of any.
    async fn groups(&mut self, owner: Option<&str>) -> Result<Vec<Group>> {
        let Some(groups) = &mut self.groups else { return Ok(Vec::new()) };
        let organizations = groups.organizations().await?;
        let only = match owner {
            Some(owner) => Some(accounts::by_name(self.view, owner).await?.map(|account| account.id)),
            None => None,
        };
        let mut found: Vec<Group> = organizations.iter().map(|id| Group::Organization(*id)).collect();
        // A team has roles in its own organization alone.
        for organization in organizations.into_iter().filter(|id| only.is_none_or(|only| only == Some(*id))) {
            found.extend(groups.teams(organization).await?.iter().map(|team| Group::Team(*team)));
        }
        Ok(found)
    }

    /// The repositories, of this owner or of any, on which the viewer or a team of its was given a role.
    async fn repositories(&mut self, user: OwnerId, owner: Option<&str>) -> Result<BTreeSet<RepositoryId>> {
        let Some(groups) = &mut self.groups else { return Ok(BTreeSet::new()) };
        let only = match owner {
            Some(owner) => match accounts::by_name(self.view, owner).await? {
                Some(account) => Some(account.id),
                None => return Ok(BTreeSet::new()),
            },
            None => None,
        };
        let mut prefixes = vec![match only {
            Some(owner) => RepositoryRoleRecord::of_at(Collaborator::User(user), owner),
            None => RepositoryRoleRecord::of(Collaborator::User(user)),
        }];
        for organization in groups.organizations().await? {
            if only.is_none_or(|only| only == organization) {
                let teams = groups.teams(organization).await?.iter();
                prefixes.extend(teams.map(|team| RepositoryRoleRecord::of(Collaborator::Team(*team))));
            }
        }
        let mut found = BTreeSet::new();
        for prefix in prefixes {
            let entries = accounts::walk(self.view, &prefix).await?;
            found.extend(entries.iter().filter_map(|(key, _)| RepositoryRecord::id_in(key)));
        }
        Ok(found)
    }

    /// The viewer's role on a package.
    pub(crate) async fn role(&mut self, package: &PackageRecord) -> Result<Option<Role>> {
        let Some((standing, _)) = self.towards(package.owner).await? else { return Ok(None) };
        let given = match &mut self.groups {
            Some(groups) => groups.given(package).await?,
            None => facts::workflow_given(self.view, self.viewer.actor, package).await?.into_iter().collect(),
        };
        let roles = facts::roles(self.viewer.actor, package, &standing, &given);
        Ok(Given::greatest(&roles).map(|given| given.role))
    }

    /// Those of some packages that the viewer may read, in their order. What is pending is not listed.
    async fn readable(&mut self, ids: &[PackageId]) -> Result<Vec<PackageTarget>> {
        let keys: Vec<Key> = ids.iter().map(|id| PackageRecord::key_of(*id)).collect();
        let direct: Vec<Key> = match self.viewer.actor {
            Actor::User(user) => ids.iter().map(|id| RoleRecord::key_of(*id, user)).collect(),
            Actor::Anonymous | Actor::Repository(_) | Actor::Operator | Actor::Job(_) => Vec::new(),
        };
        let records = self.view.multi_get(&keys).await?;
        let roles = self.view.multi_get(&direct).await?;
        let mut readable = Vec::new();
        for (index, bytes) in records.into_iter().enumerate() {
            let Some(bytes) = bytes else { continue };
            let package = PackageRecord::decode(&bytes)?;
            // A role stays with what was deleted, for a restore.
            if package.deleted.is_some() {
                continue;
            }
            let Some((standing, anonymous_reads)) = self.towards(package.owner).await? else { continue };
            let direct = match roles.get(index) {
                Some(Some(bytes)) => Some(RoleRecord::decode(bytes)?.role),
                Some(None) | None => None,
            };
            let target = package.target()?;
            let shut = self.viewer.is_anonymous() && !anonymous_reads;
            self.shut = shut.then(|| beginning(target.name.ecosystem(), target.name.owner()));
            let given = match &mut self.groups {
                Some(groups) => groups.given_beside(direct, &package).await?,
                None => {
                    let given = facts::workflow_given(self.view, self.viewer.actor, &package).await?;
                    given.into_iter().collect()
                }
            };
            let greatest = Given::greatest(&facts::roles(self.viewer.actor, &package, &standing, &given));
            let facts = Facts {
                role: greatest.map(|given| given.role),
                rule: greatest.map(|given| given.rule),
                package: Some(target.clone()),
                anonymous_reads,
                ..Facts::default()
            };
            let listed = !target.pending && auth::may_read(self.viewer, &facts);
            if listed && (self.empty || self.view.any(&ManifestRecord::live(target.id)).await?) {
                readable.push(target);
            }
        }
        Ok(readable)
    }

    async fn towards(&mut self, owner: OwnerId) -> Result<Option<(Standing, bool)>> {
        if let Some(known) = self.owners.get(&owner) {
            return Ok(Some(*known));
        }
        let Some(account) = accounts::by_id(self.view, owner).await? else { return Ok(None) };
        let standing = facts::standing(self.view, self.viewer.actor, &account).await?;
        let anonymous_reads = self.registry.anonymous_reads() && account.anonymous_reads;
        self.owners.insert(owner, (standing, anonymous_reads));
        Ok(Some((standing, anonymous_reads)))
    }
}
