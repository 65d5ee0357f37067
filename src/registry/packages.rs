//! Packages: found, allocated.

use super::{
    Registry, events, permissions,
    records::{Link, PackageRecord, PolicyOf, PolicyRecord, State, WorkflowRoleRecord},
    repositories::{self, take_workflows},
    revisions::{self, Outcome},
};
use crate::{
    auth::{CreatePackage, Grant, PackageTarget, Push, Subject},
    error::{Error, Kind, Reason, Result},
    model::{Ecosystem, OwnerId, PackageId, PackageName, RepositoryId, Role, Timestamp, Visibility},
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
    // Who owns the name space needs no role in it; what inherits has none of its own.
    let pusher = grant.caller().user().filter(|user| *user != package.owner);
    if let Some(user) = pusher.filter(|_| package.inherits().is_none()) {
        permissions::give_admin(batch, &package, user, grant.at())?;
    }
    revisions::bump(batch, Subject::Package(package.id));
    let stream = events::stream_of(package.owner, package.id);
    events::rights(batch, stream, grant.caller(), "package.create", package.visibility.word().to_owned());
    Ok(())
}

/// Index entries read at once.
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
                link: None,
            };
            let mut batch = Batch::new();
            let named = PackageRecord::name_prefix(name);
            batch.expect_prefix(named.clone(), Prefix::Empty, named);
            let package = match grant.caller().repository() {
                Some(repository) => self.of_workflow(&mut batch, grant, package, repository).await?,
                None => package,
            };
            batch.replace(None, Some(&package));
            revisions::bump(&mut batch, Subject::PackagesOf(owner.id));
            // Nothing is lost with it: a package without a manifest may vanish in a crash as it does by itself later.
            batch.lazy = true;
            if under.commit(batch).await? == Outcome::Done {
                return package.target();
            }
        }
    }

    /// A package that a workflow begins: linked to its repository, whose roles and visibility it has, and whose workflows
    /// administer it.
    async fn of_workflow(
        &self,
        batch: &mut Batch,
        grant: &Grant<CreatePackage>,
        package: PackageRecord,
        id: RepositoryId,
    ) -> Result<PackageRecord> {
        let repository = repositories::by_id(self.meta.as_ref(), id).await?;
        let repository =
            repository.filter(|repository| repository.owner == package.owner).ok_or_else(|| {
                Error::new(Kind::StaleGrant, "the source repository was removed or handed over meanwhile")
            })?;
        self.room_for_link(id).await?;
        let given = WorkflowRoleRecord::paths_of(id, "");
        if self.meta.scan(&given, None, repositories::MAX_WORKFLOWS).await?.len()
            >= repositories::MAX_WORKFLOWS
        {
            let text = "the repository has roles on as many packages as it may";
            return Err(Error::new(Kind::Forbidden(Reason::Policy), text));
        }
        let path = package.package_name()?.to_string();
        let (since, role) = (grant.at().0, Role::Admin);
        let role = WorkflowRoleRecord { package: package.id, repository: id, role, since, path };
        let target = package.target()?;
        repositories::put_workflow_role(batch, grant.caller(), &target, id, None, Some(&role));
        let visibility = match repository.visibility {
            Visibility::Public => Visibility::Public,
            Visibility::Internal | Visibility::Private => Visibility::Private,
        };
        let link = Some(Link { repository: id, inherits: true });
        Ok(PackageRecord { visibility, link, ..package })
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
        take_workflows(self.meta.as_ref(), &mut batch, id).await?;
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
