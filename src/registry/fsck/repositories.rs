//! Source repositories, their READMEs and roles.

use bytes::Bytes;

use super::{Check, Code, Found, fields::Fields};
use crate::{
    auth::Subject,
    error::Result,
    model::{Collaborator, RepositoryId},
    registry::{
        packages,
        records::{
            GroupRoleRecord, PackageRecord, ReadmeRecord, RepositoryRecord, RepositoryRoleRecord, RoleRecord,
            WorkflowRoleRecord, tag,
        },
        repositories, revisions, teams,
    },
    store::{Batch, Key, Record as _},
};

impl Check<'_> {
    /// Whether a repository is there. One that cannot be read is, and is a finding of its own.
    pub(super) async fn repository_exists(&self, id: RepositoryId) -> Result<bool> {
        Ok(self.view.get(&RepositoryRecord::key_of(id)).await?.is_some())
    }

    /// Everything about repositories that is no index.
    pub(super) async fn on_repositories(&mut self, tag: u8, key: &Key, value: &Bytes) -> Result<()> {
        match tag {
            tag::REPOSITORY => self.repository(key, value).await,
            tag::README => self.readme(key, value).await,
            tag::WORKFLOW_ROLE => self.workflow_role(key, value).await,
            _ => self.repository_role(key, value).await,
        }
    }

    async fn repository(&mut self, key: &Key, value: &Bytes) -> Result<()> {
        let Some(repository) = self.read(key, RepositoryRecord::decode(value)) else { return Ok(()) };
        let object = format!("repository {} of {}", repository.name, repository.owner);
        self.record(key, value, &repository, &object).await?;
        if !self.account_exists(repository.owner).await? {
            self.find(Code::AccountMissing, &object, format!("its owner {} is not there", repository.owner));
        }
        Ok(())
    }

    async fn readme(&mut self, key: &Key, value: &Bytes) -> Result<()> {
        let Some(readme) = self.read(key, ReadmeRecord::decode(value)) else { return Ok(()) };
        let object = format!("README of repository {}", readme.repository);
        self.record(key, value, &readme, &object).await?;
        if !self.repository_exists(readme.repository).await? {
            self.useless(Code::RepositoryMissing, &object, "there is no such repository".into(), &readme);
        }
        Ok(())
    }

    async fn repository_role(&mut self, key: &Key, value: &Bytes) -> Result<()> {
        let Some(role) = self.read(key, RepositoryRoleRecord::decode(value)) else { return Ok(()) };
        let object = format!("role of {} on repository {}", role.of, role.repository);
        self.record(key, value, &role, &object).await?;
        let gone = match role.of {
            Collaborator::User(user) => (!self.account_exists(user).await?).then_some(Code::AccountMissing),
            Collaborator::Team(team) => (!self.team_exists(team).await?).then_some(Code::TeamMissing),
        };
        if !self.repository_exists(role.repository).await? {
            self.useless(Code::RepositoryMissing, &object, "there is no such repository".into(), &role);
        } else if let Some(code) = gone {
            self.useless(code, &object, "whose role it is, is not there".into(), &role);
        } else if let Ok(Some(repository)) = repositories::by_id(self.view, role.repository).await {
            let foreign = match role.of {
                Collaborator::User(_) => false,
                // One that cannot be read is a finding of its own.
                Collaborator::Team(team) => teams::by_id(self.view, team)
                    .await
                    .ok()
                    .flatten()
                    .is_some_and(|team| team.organization != repository.owner),
            };
            if foreign {
                let text = "the team is of another organization than the repository";
                self.find(Code::OwnerWrong, &object, text);
            } else if repository.owner != role.owner {
                let (says, is) = (role.owner, repository.owner);
                self.find(
                    Code::OwnerWrong,
                    &object,
                    format!("it says that {says} owns the repository, and {is} does"),
                );
            }
        }
        Ok(())
    }

    /// The repository that a package links to, and that what inherits has no roles of its own.
    pub(super) async fn link(&mut self, package: &PackageRecord, object: &str) -> Result<()> {
        let Some(link) = package.link else { return Ok(()) };
        if !self.repository_exists(link.repository).await? {
            let mut batch = Batch::new();
            batch.expect_absent(RepositoryRecord::key_of(link.repository));
            batch.replace(Some(package), Some(&PackageRecord { link: None, ..package.clone() }));
            revisions::bump(&mut batch, Subject::Package(package.id));
            let text = format!("it links to the repository {}, which is not there", link.repository);
            self.add(Found::new(Code::RepositoryMissing, object, text).mended_by(batch));
            return Ok(());
        }
        // One that cannot be read is a finding of its own.
        let repository = repositories::by_id(self.view, link.repository).await.ok().flatten();
        if repository.is_some_and(|repository| repository.owner != package.owner) {
            self.find(Code::OwnerWrong, object, "it links to a repository of another owner");
        }
        let own = [RoleRecord::on(package.id), GroupRoleRecord::on(package.id)];
        for prefix in own.iter().filter(|_| link.inherits) {
            if self.view.any(prefix).await? {
                self.find(
                    Code::RoleIdle,
                    object,
                    "it inherits its roles, and has some of its own, which count for nothing",
                );
                break;
            }
        }
        Ok(())
    }

    async fn workflow_role(&mut self, key: &Key, value: &Bytes) -> Result<()> {
        let Some(role) = self.read(key, WorkflowRoleRecord::decode(value)) else { return Ok(()) };
        let object = format!("role of repository {} on {}", role.repository, self.place(role.package).await);
        self.record(key, value, &role, &object).await?;
        if !self.package_exists(role.package).await? {
            self.useless(Code::PackageMissing, &object, "there is no such package".into(), &role);
        } else if !self.repository_exists(role.repository).await? {
            self.useless(Code::RepositoryMissing, &object, "there is no such repository".into(), &role);
        } else if let Ok(Some(package)) = packages::by_id(self.view, role.package).await
            && let Ok(path) = package.package_name().map(|name| name.to_string())
            && path != role.path
        {
            let text = format!("it says that the package is {:?}, so lists leave it out", role.path);
            let mut batch = Batch::new();
            batch.expect_equals(package.key(), Some(package.value()));
            batch.replace(Some(&role), Some(&WorkflowRoleRecord { path, ..role.clone() }));
            self.add(Found::new(Code::PathWrong, &object, text).mended_by(batch));
        }
        Ok(())
    }

    /// An index entry of workflow access. `None`: it is no such key.
    pub(super) async fn workflow_entry(
        &mut self,
        key: &Key,
        value: &Bytes,
        mut f: Fields<'_>,
    ) -> Result<Option<()>> {
        let repository = f.u64().map(RepositoryId);
        let path = f.text();
        let (Some(repository), Some(_), Some(package), Some(())) = (repository, path, f.package(), f.end())
        else {
            return Ok(None);
        };
        let at = WorkflowRoleRecord::key_of(package, repository);
        self.entry(key, value, at, WorkflowRoleRecord::decode).await?;
        Ok(Some(()))
    }

    /// Index entries of repositories and their roles. `None`: it is no such key.
    pub(super) async fn repository_entry(
        &mut self,
        tag: u8,
        key: &Key,
        value: &Bytes,
        mut f: Fields<'_>,
    ) -> Result<Option<()>> {
        let of = if tag == tag::REPOSITORY_ROLE_OF { f.collaborator() } else { None };
        let owner = f.skip(8);
        let text = if tag == tag::REPOSITORY_ROLE_OF { owner } else { owner.and(f.text()).map(|_| ()) };
        let id = text.and_then(|()| f.u64()).map(RepositoryId);
        let (Some(id), Some(())) = (id, f.end()) else { return Ok(None) };
        match (tag, of) {
            (tag::REPOSITORY_ROLE_OF, Some(of)) => {
                let at = RepositoryRoleRecord::key_of(id, of);
                self.entry(key, value, at, RepositoryRoleRecord::decode).await?;
            }
            (tag::REPOSITORY_ROLE_OF, None) => return Ok(None),
            _ => self.entry(key, value, RepositoryRecord::key_of(id), RepositoryRecord::decode).await?,
        }
        Ok(Some(()))
    }
}
