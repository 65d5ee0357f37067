//! Workflow access: the role that the jobs of a source repository have on a package. It says which jobs may push, not which
//! people; so it has nothing to do with what the package links to or inherits, and no switch of that touches it.

use super::{by_name, known};
use crate::{
    auth::{Facts, Grant, Manage, PackageTarget, ReadRepository, Subject, sees},
    error::{Error, Result, What},
    model::{PackageId, RepositoryId, RepositoryName, Role},
    registry::{
        Registry, accounts, events,
        records::{PackageRecord, WorkflowRoleRecord},
        revisions::{self, Outcome},
        teams::over,
    },
    store::{Batch, MetadataRead},
};

/// Most repositories with a role on one package, and most packages on which one repository has a role: they all lose it in
/// one batch when the one or the other is removed.
pub const MAX_WORKFLOWS: usize = 5000;

/// The role that a repository's workflows have on a package.
pub(crate) async fn workflow_role(
    view: &dyn MetadataRead,
    package: PackageId,
    repository: RepositoryId,
) -> Result<Option<WorkflowRoleRecord>> {
    let found = view.get(&WorkflowRoleRecord::key_of(package, repository)).await?;
    found.map(|bytes| WorkflowRoleRecord::decode(&bytes)).transpose()
}

/// Gives a repository's workflows a role on a package, in a batch: another one, or none.
pub(crate) fn put_workflow_role(
    batch: &mut Batch,
    caller: &crate::auth::Caller,
    package: &PackageTarget,
    repository: RepositoryId,
    old: Option<&WorkflowRoleRecord>,
    new: Option<&WorkflowRoleRecord>,
) {
    batch.replace(old, new);
    revisions::bump(batch, Subject::Package(package.id));
    revisions::bump(batch, Subject::Repository(repository));
    let role = new.map_or("none", |record| record.role.word());
    let detail = format!("repository:{repository} {role}");
    events::rights(batch, events::stream_of(package.owner, package.id), caller, "package.workflow", detail);
}

impl Registry {
    /// Gives the workflows of a repository a role on a package, or another one. The repository may be anybody's that the
    /// caller sees.
    ///
    /// # Errors
    /// Forbidden by policy over a limit.
    pub async fn give_workflow(
        &self,
        grant: &Grant<Manage>,
        to: &Grant<ReadRepository>,
        role: Role,
    ) -> Result<()> {
        let mut under = self.under(grant);
        let mut given = to.revisions().to_vec();
        loop {
            let package = self.package(grant.target()).await?;
            let repository = self.repository_record(to.target()).await?.id;
            let old = workflow_role(self.meta.as_ref(), package.id, repository).await?;
            if old.as_ref().is_some_and(|old| old.role == role) {
                return Ok(());
            }
            if old.is_none() {
                // Each counts under both revisions: nobody comes between.
                let on = self.meta.scan(&WorkflowRoleRecord::on(package.id), None, MAX_WORKFLOWS).await?;
                let of = WorkflowRoleRecord::paths_of(repository, "");
                let of = self.meta.scan(&of, None, MAX_WORKFLOWS).await?;
                if on.len().max(of.len()) >= MAX_WORKFLOWS {
                    return Err(over(MAX_WORKFLOWS, "there is no room for the role of another repository"));
                }
            }
            let path = package.package_name()?.to_string();
            let (package, since) = (package.id, grant.at().0);
            let new = WorkflowRoleRecord { package, repository, role, since, path };
            let mut batch = Batch::new();
            revisions::expect(&mut batch, &given);
            put_workflow_role(
                &mut batch,
                grant.caller(),
                grant.target(),
                repository,
                old.as_ref(),
                Some(&new),
            );
            if under.commit(batch).await? == Outcome::Done {
                return Ok(());
            }
            given = self.policy.renew(to).await?;
        }
    }

    /// Takes the role of a repository's workflows away, whoever may see that by now.
    ///
    /// # Errors
    /// Not found when it has none, and alike when there is no such repository.
    pub async fn end_workflow(&self, grant: &Grant<Manage>, name: &RepositoryName) -> Result<()> {
        let mut under = self.under(grant);
        loop {
            let (view, package) = (self.meta.as_ref(), grant.target().id);
            let old = match accounts::by_name(view, name.owner()).await? {
                Some(owner) => match by_name(view, owner.id, name.repository()).await? {
                    Some(repository) => workflow_role(view, package, repository.id).await?,
                    None => None,
                },
                None => None,
            };
            let Some(old) = old else {
                let text = format!("no source repository {name} has a role on the package");
                return Err(Error::not_found(What::Repository, text));
            };
            let mut batch = Batch::new();
            put_workflow_role(&mut batch, grant.caller(), grant.target(), old.repository, Some(&old), None);
            if under.commit(batch).await? == Outcome::Done {
                return Ok(());
            }
        }
    }

    /// The repositories whose workflows have a role on a package, by name; those that the caller may not see by their number.
    pub async fn workflows(&self, grant: &Grant<Manage>) -> Result<Vec<(String, Role)>> {
        let view = self.meta.snapshot()?;
        let view = view.as_ref();
        let mut roles = Vec::new();
        for (_, bytes) in accounts::walk(view, &WorkflowRoleRecord::on(grant.target().id)).await? {
            let record = WorkflowRoleRecord::decode(&bytes)?;
            let Some(repository) = super::by_id(view, record.repository).await? else { continue };
            let Some(owner) = accounts::by_id(view, repository.owner).await? else { continue };
            let facts = Facts {
                anonymous_reads: self.anonymous_reads() && owner.anonymous_reads,
                ..Facts::default()
            };
            let seen = known(view, grant.caller().actor, &owner, &repository, facts).await?;
            let name = match sees(grant.caller(), &seen) {
                true => format!("{}/{}", owner.name, repository.name),
                false => format!("repository:{}", repository.id),
            };
            roles.push((name, record.role));
        }
        roles.sort_by_key(|(name, _)| name.to_ascii_lowercase());
        Ok(roles)
    }

    /// Takes away what a repository's workflows were given, in the batch that removes it or hands it over.
    pub(super) async fn end_workflows_of(&self, batch: &mut Batch, repository: RepositoryId) -> Result<()> {
        let prefix = WorkflowRoleRecord::paths_of(repository, "");
        for (key, _) in accounts::walk(self.meta.as_ref(), &prefix).await? {
            let Some(package) = PackageRecord::id_in(&key) else { continue };
            if let Some(old) = workflow_role(self.meta.as_ref(), package, repository).await? {
                batch.replace(Some(&old), None);
                revisions::bump(batch, Subject::Package(package));
            }
        }
        Ok(())
    }
}

/// Takes away what workflows were given on a package, in the batch that removes it.
pub(crate) async fn take_workflows(
    view: &dyn MetadataRead,
    batch: &mut Batch,
    package: PackageId,
) -> Result<()> {
    for (_, bytes) in accounts::walk(view, &WorkflowRoleRecord::on(package)).await? {
        let old = WorkflowRoleRecord::decode(&bytes)?;
        batch.replace(Some(&old), None);
        revisions::bump(batch, Subject::Repository(old.repository));
    }
    Ok(())
}
