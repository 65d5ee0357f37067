//! Packages: found, allocated, listed.

use std::collections::HashMap;

use super::{
    Registry, accounts, events, permissions,
    records::{ManifestRecord, PackageRecord, PolicyOf, PolicyRecord, RoleRecord, State},
    revisions::{self, Outcome},
};
use crate::{
    auth::{self, Actor, Caller, CreatePackage, Facts, Grant, PackageTarget, Push, Subject, Verb},
    error::{Challenge, Error, Kind, Reason, Result},
    model::{Ecosystem, OwnerId, PackageId, PackageName, Role, Timestamp, Visibility},
    store::{Batch, Key, MetadataRead, Prefix},
};

/// The package of an id, deleted or not.
pub(crate) async fn by_id(view: &dyn MetadataRead, id: PackageId) -> Result<Option<PackageRecord>> {
    view.get(&PackageRecord::key_of(id)).await?.map(|bytes| PackageRecord::decode(&bytes)).transpose()
}

/// The package of a name.
pub(crate) async fn by_name(view: &dyn MetadataRead, name: &PackageName) -> Result<Option<PackageRecord>> {
    let found = view.scan(&PackageRecord::name_prefix(name), None, 1).await?;
    match found.first().and_then(|(key, _)| PackageRecord::id_in(key)) {
        Some(id) => by_id(view, id).await,
        None => Ok(None),
    }
}

/// The deleted package of an id, if it had this name; without an id the one of this name that was deleted last. None that
/// is on its way out for good.
pub(crate) async fn deleted_by_name(
    view: &dyn MetadataRead,
    name: &PackageName,
    id: Option<PackageId>,
) -> Result<Option<PackageRecord>> {
    let prefix = PackageRecord::deleted_prefix(name);
    let mut last: Option<PackageRecord> = None;
    let mut after = None;
    loop {
        let page = view.scan(&prefix, after.as_ref(), STRIDE).await?;
        let Some((key, _)) = page.last() else { return Ok(last) };
        after = Some(key.clone());
        for found in page.iter().filter_map(|(key, _)| PackageRecord::id_in(key)) {
            if id.is_some_and(|id| id != found) {
                continue;
            }
            let Some(package) = by_id(view, found).await? else { continue };
            let later = last.as_ref().is_none_or(|last| last.deleted <= package.deleted);
            if package.deleted.is_some() && !package.purging && later {
                last = Some(package);
            }
        }
    }
}

/// Makes the grant's package visible and its pusher its administrator: part of the batch that stores its first manifest.
/// Nothing, if somebody else's first manifest was faster.
pub(crate) async fn reveal(registry: &Registry, batch: &mut Batch, grant: &Grant<Push>) -> Result<()> {
    let package = registry.package(grant.target()).await?;
    if package.state == State::Visible {
        return Ok(());
    }
    let visible = PackageRecord { state: State::Visible, ..package.clone() };
    batch.replace(Some(&package), Some(&visible));
    // Who owns the name space needs no role in it.
    if let Some(user) = grant.caller().user().filter(|user| *user != package.owner) {
        permissions::give_admin(batch, &package, user, grant.at());
    }
    revisions::bump(batch, Subject::Package(package.id));
    let stream = events::stream_of(package.id);
    events::rights(batch, stream, grant.caller(), "package.create", package.visibility.word().to_owned());
    Ok(())
}

/// A page of a list across packages.
#[derive(Debug)]
pub struct Packages {
    /// Those the viewer may read, in bytewise order of their repository paths.
    pub packages: Vec<PackageTarget>,
    /// Whether there are more.
    pub more: bool,
}

/// Index entries read at once while looking for those the viewer may read.
const STRIDE: usize = 256;

impl Registry {
    /// Allocates a package without a manifest, for the first upload into it; it is private until somebody says otherwise.
    /// Two who allocate the same name at once both get the same package.
    ///
    /// # Errors
    /// Forbidden by policy when the owner has too many packages that never got a manifest.
    pub async fn allocate(&self, grant: &Grant<CreatePackage>, name: &PackageName) -> Result<PackageTarget> {
        let owner = grant.target();
        if name.owner() != owner.name {
            return Err(Error::internal("a package was to be allocated outside the owner it was granted at"));
        }
        let mut under = self.under(grant);
        loop {
            if let Some(existing) = by_name(self.meta.as_ref(), name).await? {
                return existing.target();
            }
            self.room_for_pending(owner.id).await?;
            let package = PackageRecord {
                id: PackageId::random()?,
                owner: owner.id,
                ecosystem: name.ecosystem() as u8,
                owner_name: owner.name.clone(),
                name: name.rest().to_owned(),
                visibility: Visibility::Private,
                state: State::Pending,
                created: grant.at().0,
                creator: grant.caller().user(),
                deleted: None,
                purging: false,
            };
            let mut batch = Batch::new();
            let named = PackageRecord::name_prefix(name);
            batch.expect_prefix(named.clone(), Prefix::Empty, named);
            batch.replace(None, Some(&package));
            // Nothing is lost with it: a package without a manifest may vanish in a crash as it does by itself later.
            batch.lazy = true;
            if under.commit(batch).await? == Outcome::Done {
                return package.target();
            }
        }
    }

    /// The limit is soft: as many as upload at the same moment may pass it together. A count would have to be kept right
    /// by everything that ends a pending package; this asks the index that cannot be wrong.
    async fn room_for_pending(&self, owner: OwnerId) -> Result<()> {
        let limit = usize::try_from(self.settings().max_pending).unwrap_or(usize::MAX);
        let pending = self.meta.scan(&PackageRecord::pending_of(owner), None, limit).await?;
        if pending.len() < limit {
            return Ok(());
        }
        Err(Error::new(
            Kind::Forbidden(Reason::Policy),
            format!(
                "{limit} new packages of this owner have uploads and no manifest; push their manifests first, or wait until they expire"
            ),
        ))
    }

    /// Deletes packages that were allocated before `before` and hold neither a manifest nor anything on its way to one.
    /// Says how many went.
    pub(crate) async fn expire_pending(&self, before: Timestamp, at: Timestamp) -> Result<usize> {
        let mut gone = 0;
        let (mut unread, mut unreadable) = (0, None);
        let mut after: Option<Key> = None;
        loop {
            let page = self.meta.scan(&PackageRecord::pending(), after.as_ref(), STRIDE).await?;
            let Some((last, _)) = page.last() else {
                if let Some(error) = unreadable {
                    tracing::error!(unread, %error, "pending packages cannot be read, and stay");
                }
                return Ok(gone);
            };
            after = Some(last.clone());
            for id in page.iter().filter_map(|(key, _)| PackageRecord::id_in(key)) {
                match self.expire_one(id, before, at).await {
                    Ok(done) => gone += usize::from(done),
                    // What cannot be read stays, and keeps nothing behind it waiting. A check tells of it.
                    Err(error) if error.kind() == Kind::Internal => {
                        unread += 1;
                        unreadable.get_or_insert(error);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }

    async fn expire_one(&self, id: PackageId, before: Timestamp, at: Timestamp) -> Result<bool> {
        let Some(package) = by_id(self.meta.as_ref(), id).await? else { return Ok(false) };
        if package.created >= before.0 || package.state != State::Pending {
            return Ok(false);
        }
        let mut batch = Batch::new();
        // Its revision first: a role given from here on makes the batch fail rather than outlive the package.
        let known = revisions::read(self.meta.as_ref(), &[Subject::Package(id)]).await?;
        revisions::expect(&mut batch, &known);
        if self.expect_unused(&mut batch, id, at).await?.is_none() {
            return Ok(false);
        }
        permissions::take_all(self.meta.as_ref(), &mut batch, id).await?;
        // One that is set meanwhile goes as well, whenever it was read; one that is set later meets the revision.
        batch.delete(PolicyRecord::key_of(PolicyOf::Package(id)));
        batch.replace(Some(&package), None);
        revisions::bump(&mut batch, Subject::Package(id));
        // A conflict: it is in use, or became visible meanwhile. Another time, perhaps.
        Ok(self.commit_job(batch).await? == Outcome::Done)
    }

    /// The name of a package, if it is there and not deleted.
    pub(crate) async fn package_name(&self, id: PackageId) -> Result<Option<PackageName>> {
        // A deleted one's name may be another package's by now.
        let package = by_id(self.meta.as_ref(), id).await?.filter(|package| package.deleted.is_none());
        package.map(|package| package.package_name()).transpose()
    }

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
        let mut packages = Vec::new();
        // For a viewer who sees everything one stride is a page; for others longer ones soon cost less.
        let mut stride = STRIDE.min(limit.saturating_add(1));
        for beginning in beginnings(owner) {
            let prefix = PackageRecord::paths(&beginning);
            // The index entry of `after` itself ends in an id; a byte behind its terminator that no id exceeds skips it.
            let mut from = match after {
                Some(path) if *path >= *beginning && !path.starts_with(beginning.as_str()) => continue,
                Some(path) if path.starts_with(beginning.as_str()) => {
                    Some(PackageRecord::paths("").with_text(path).with(&[0xff; 8]))
                }
                Some(_) | None => None,
            };
            loop {
                let entries = view.scan(&prefix, from.as_ref(), stride).await?;
                stride = STRIDE.min(stride * 2);
                let Some((last, _)) = entries.last() else { break };
                from = Some(last.clone());
                let ids: Vec<_> = entries.iter().filter_map(|(key, _)| PackageRecord::id_in(key)).collect();
                packages.extend(eyes.readable(&ids).await?);
                if packages.len() > limit {
                    packages.truncate(limit);
                    return Ok(Packages { packages, more: true });
                }
            }
        }
        Ok(Packages { packages, more: false })
    }
}

/// The beginnings of an owner's repository paths, in order.
pub(crate) fn beginnings(owner: Option<&str>) -> Vec<String> {
    let Some(owner) = owner else { return vec![String::new()] };
    let owner = owner.to_ascii_lowercase();
    let mut all: Vec<String> =
        Ecosystem::ALL.into_iter().map(|ecosystem| beginning(ecosystem, &owner)).collect();
    all.sort();
    all
}

/// How the repository paths of an owner begin in an ecosystem.
pub(crate) fn beginning(ecosystem: Ecosystem, owner: &str) -> String {
    match ecosystem {
        Ecosystem::Container => format!("{owner}/"),
        other => format!("{}/{owner}/", other.word()),
    }
}

/// What one viewer sees at one moment.
pub(crate) struct Eyes<'a> {
    registry: &'a Registry,
    view: &'a dyn MetadataRead,
    viewer: &'a Caller,
    owners: HashMap<OwnerId, (super::facts::Standing, bool)>,
    empty: bool,
}

impl<'a> Eyes<'a> {
    pub(crate) fn new(registry: &'a Registry, view: &'a dyn MetadataRead, viewer: &'a Caller) -> Self {
        Self { registry, view, viewer, owners: HashMap::new(), empty: true }
    }

    /// The viewer's role on a package.
    pub(crate) async fn role(&mut self, package: &PackageRecord) -> Result<Option<Role>> {
        let direct = match self.viewer.actor {
            Actor::User(user) => permissions::role_of(self.view, package.id, user).await?,
            Actor::Anonymous | Actor::Operator | Actor::Job(_) => None,
        };
        let Some((standing, _)) = self.towards(package.owner).await? else { return Ok(None) };
        Ok(super::facts::role(self.viewer.actor, package, &standing, direct))
    }

    /// Those of some packages that the viewer may read, in their order. What is pending is not listed.
    async fn readable(&mut self, ids: &[PackageId]) -> Result<Vec<PackageTarget>> {
        let keys: Vec<Key> = ids.iter().map(|id| PackageRecord::key_of(*id)).collect();
        let direct: Vec<Key> = match self.viewer.actor {
            Actor::User(user) => ids.iter().map(|id| RoleRecord::key_of(*id, user)).collect(),
            Actor::Anonymous | Actor::Operator | Actor::Job(_) => Vec::new(),
        };
        let records = self.view.multi_get(&keys).await?;
        let roles = self.view.multi_get(&direct).await?;
        let mut readable = Vec::new();
        for (index, bytes) in records.into_iter().enumerate() {
            let Some(bytes) = bytes else { continue };
            let package = PackageRecord::decode(&bytes)?;
            let Some((standing, anonymous_reads)) = self.towards(package.owner).await? else { continue };
            let direct = match roles.get(index) {
                Some(Some(bytes)) => Some(RoleRecord::decode(bytes)?.role),
                Some(None) | None => None,
            };
            let target = package.target()?;
            let facts = Facts {
                role: super::facts::role(self.viewer.actor, &package, &standing, direct),
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

    async fn towards(&mut self, owner: OwnerId) -> Result<Option<(super::facts::Standing, bool)>> {
        if let Some(known) = self.owners.get(&owner) {
            return Ok(Some(*known));
        }
        let Some(account) = accounts::by_id(self.view, owner).await? else { return Ok(None) };
        let standing = super::facts::standing(self.view, self.viewer.actor, &account).await?;
        let anonymous_reads = self.registry.anonymous_reads() && account.anonymous_reads;
        self.owners.insert(owner, (standing, anonymous_reads));
        Ok(Some((standing, anonymous_reads)))
    }
}
