//! Links of packages to repositories, and the switch by which a package inherits its roles.
//!
//! A package links to one repository of its owner at most, by id. What it inherits is stored nowhere: decisions read the roles on the
//! repository, and its revision. So unlinking takes away what was inherited by ending the link, and nothing else.

use super::{by_id, known};
use crate::{
    auth::{Caller, Grant, LinkRepository, Manage, Pull, RepositoryTarget, Subject, sees},
    error::{Error, Kind, Reason, Result, What},
    model::{PackageId, RepositoryId},
    registry::{
        Registry, accounts, events, groups, packages,
        permissions::take_all,
        records::{Link, PackageRecord, RoleRecord},
        revisions::{self, Outcome},
        teams::over,
    },
    store::Batch,
};

/// Most packages that link to one repository: they all lose the link in one batch when it is removed or handed over.
pub const MAX_LINKED: usize = 5000;
/// Roles that one event lists.
const LISTED: usize = 200;

/// The repository that a package links to, as one viewer may know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linked {
    /// The repository.
    pub repository: RepositoryTarget,
    /// Whether the package's roles are the repository's.
    pub inherits: bool,
}

/// Links a package in a batch. Counts for the repository too: whoever removes that meanwhile knows of it.
pub(crate) fn link(
    batch: &mut Batch,
    caller: &Caller,
    old: &PackageRecord,
    link: Option<Link>,
) -> PackageRecord {
    let new = PackageRecord { link, ..old.clone() };
    batch.replace(Some(old), Some(&new));
    revisions::bump(batch, Subject::Package(old.id));
    let (action, detail) = match (link, old.link) {
        (Some(link), _) => {
            revisions::bump(batch, Subject::Repository(link.repository));
            ("package.link", format!("repository:{}", link.repository))
        }
        (None, Some(link)) => ("package.unlink", format!("repository:{}", link.repository)),
        (None, None) => ("package.unlink", String::new()),
    };
    events::rights(batch, events::stream_of(old.owner, old.id), caller, action, detail);
    new
}

impl Registry {
    /// Links a package to a repository of its owner. Its roles stay its own; if it inherited them from another repository, it
    /// has none then.
    ///
    /// # Errors
    /// Forbidden by policy when the repository is another owner's, and over the limit of links.
    pub async fn link_package(&self, grant: &Grant<Manage>, to: &Grant<LinkRepository>) -> Result<()> {
        let mut under = self.under(grant);
        let mut linking = to.revisions().to_vec();
        loop {
            let old = self.package(grant.target()).await?;
            let repository = self.repository_record(to.target()).await?;
            if old.link.is_some_and(|link| link.repository == repository.id) {
                return Ok(());
            }
            if repository.owner != old.owner {
                let text = "a package links to a source repository of its own owner";
                return Err(Error::new(Kind::Forbidden(Reason::Policy), text));
            }
            self.room_for_link(repository.id).await?;
            let mut batch = Batch::new();
            revisions::expect(&mut batch, &linking);
            let new = Link { repository: repository.id, inherits: false };
            link(&mut batch, grant.caller(), &old, Some(new));
            if under.commit(batch).await? == Outcome::Done {
                return Ok(());
            }
            linking = self.policy.renew(to).await?;
        }
    }

    /// Whether a repository has room for another link. Each counts under the repository's revision.
    pub(crate) async fn room_for_link(&self, repository: RepositoryId) -> Result<()> {
        let linked = self.meta.scan(&PackageRecord::linked_to(repository), None, MAX_LINKED).await?;
        if linked.len() < MAX_LINKED {
            return Ok(());
        }
        Err(over(MAX_LINKED, "the source repository has no room for the link of another package"))
    }

    /// Ends a package's link, and with it what it inherited.
    pub async fn unlink_package(&self, grant: &Grant<Manage>) -> Result<()> {
        let mut under = self.under(grant);
        loop {
            let old = self.package(grant.target()).await?;
            if old.link.is_none() {
                return Ok(());
            }
            let mut batch = Batch::new();
            link(&mut batch, grant.caller(), &old, None);
            if under.commit(batch).await? == Outcome::Done {
                return Ok(());
            }
        }
    }

    /// Makes a linked package inherit its roles from the repository, or not. Either way the roles it had end: those of its own
    /// are dropped, and the events of the change say which they were.
    ///
    /// # Errors
    /// Invalid when it links to no repository.
    pub async fn set_inherits(&self, grant: &Grant<Manage>, inherits: bool) -> Result<()> {
        let mut under = self.under(grant);
        loop {
            let old = self.package(grant.target()).await?;
            let Some(known) = old.link else {
                if !inherits {
                    return Ok(());
                }
                let text =
                    "the package links to no source repository (packhouse package link PACKAGE OWNER/REPO)";
                return Err(Error::invalid(What::Package, text));
            };
            if known.inherits == inherits {
                return Ok(());
            }
            let mut batch = Batch::new();
            let new = PackageRecord { link: Some(Link { inherits, ..known }), ..old.clone() };
            batch.replace(Some(&old), Some(&new));
            revisions::bump(&mut batch, Subject::Package(old.id));
            let dropped = self.drop_own(&mut batch, old.id).await?;
            let word = if inherits { "on" } else { "off" };
            let stream = events::stream_of(old.owner, old.id);
            let detail = format!("repository:{} {word}", known.repository);
            events::rights(&mut batch, stream, grant.caller(), "package.inherit", detail);
            for some in dropped.chunks(LISTED) {
                let detail = some.join(" ");
                events::rights(&mut batch, stream, grant.caller(), "package.inherit.dropped", detail);
            }
            if under.commit(batch).await? == Outcome::Done {
                return Ok(());
            }
        }
    }

    /// Drops a package's own roles, and says which they were: `user:ID=role`.
    async fn drop_own(&self, batch: &mut Batch, package: PackageId) -> Result<Vec<String>> {
        let view = self.meta.as_ref();
        let mut dropped = Vec::new();
        for (_, bytes) in accounts::walk(view, &RoleRecord::on(package)).await? {
            let role = RoleRecord::decode(&bytes)?;
            dropped.push(format!("user:{}={}", role.user, role.role));
        }
        for role in groups::roles_on(view, package).await? {
            dropped.push(format!("{}={}", role.group, role.role));
        }
        take_all(view, batch, package).await?;
        Ok(dropped)
    }

    /// Ends all links to a repository, in the batch that removes it or hands it over.
    pub(super) async fn end_links_to(
        &self,
        batch: &mut Batch,
        caller: &Caller,
        repository: RepositoryId,
    ) -> Result<()> {
        for (key, _) in accounts::walk(self.meta.as_ref(), &PackageRecord::linked_to(repository)).await? {
            let Some(id) = PackageRecord::id_in(&key) else { continue };
            if let Some(package) = packages::by_id(self.meta.as_ref(), id).await? {
                link(batch, caller, &package, None);
            }
        }
        Ok(())
    }

    /// The repository that a package links to; nothing for whoever may not see that.
    pub async fn linked(&self, grant: &Grant<Pull>) -> Result<Option<Linked>> {
        let view = self.meta.snapshot()?;
        self.still(grant).await?;
        let view = view.as_ref();
        let package = packages::by_id(view, grant.target().id).await?;
        let Some(Link { repository, inherits }) = package.and_then(|package| package.link) else {
            return Ok(None);
        };
        let Some(repository) = by_id(view, repository).await? else { return Ok(None) };
        let Some(owner) = accounts::by_id(view, repository.owner).await? else { return Ok(None) };
        let anonymous_reads = self.anonymous_reads() && owner.anonymous_reads;
        let facts = crate::auth::Facts { anonymous_reads, ..Default::default() };
        // A bearer token is good for packages; what its user may see is seen by it.
        let caller = Caller { bound: None, ..grant.caller().clone() };
        let known = known(view, caller.actor, &owner, &repository, facts).await?;
        let seen = sees(&caller, &known).then_some(known.repository).flatten();
        Ok(seen.map(|repository| Linked { repository, inherits }))
    }
}
