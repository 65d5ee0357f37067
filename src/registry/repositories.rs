//! Source repositories: made, described, named, handed over, taken away. Packhouse keeps no source: a repository is what
//! permissions are inherited from and what packages link to.
//!
//! Whatever changes who may do what on a repository counts for the repository, under whose revision decisions about it are
//! made; so roles cannot pass their limit, nor outlive it, whatever happens at once.

mod describe;
mod links;
mod roles;
mod workflows;

pub use describe::{MAX_README, RepositoryEdit};
pub use links::{Linked, MAX_LINKED};
pub use roles::{CollaboratorName, MAX_COLLABORATORS, MAX_TEAMS_ON, OnRepository};
pub(crate) use roles::{given_on, role_on};
pub use workflows::MAX_WORKFLOWS;
pub(crate) use workflows::{put_workflow_role, take_workflows, workflow_role};

use super::{
    Registry, accounts, events,
    facts::{self, Standing},
    groups::Groups,
    records::{AccountKind, AccountRecord, ReadmeRecord, RepositoryRecord},
    revisions::{self, Outcome},
};
use crate::{
    auth::{
        Actor, Caller, Facts, Grant, ManageOwner, ManageRepository, ReadRepository, RepositoryFacts,
        RepositoryTarget, Subject, sees,
    },
    error::{Error, Kind, Result, What},
    model::{OwnerId, RepositoryId, RepositoryName, Visibility},
    store::{Batch, MetadataRead, Prefix},
};

/// Index entries read at once.
const STRIDE: usize = 256;

/// The repository of an id.
pub(crate) async fn by_id(view: &dyn MetadataRead, id: RepositoryId) -> Result<Option<RepositoryRecord>> {
    view.get(&RepositoryRecord::key_of(id)).await?.map(|bytes| RepositoryRecord::decode(&bytes)).transpose()
}

/// The repository of a name, in any case.
pub(crate) async fn by_name(
    view: &dyn MetadataRead,
    owner: OwnerId,
    name: &str,
) -> Result<Option<RepositoryRecord>> {
    // What cannot be a name is no repository's, and must not meet the terminators of keys.
    if RepositoryName::check(name).is_err() {
        return Ok(None);
    }
    let found = view.scan(&RepositoryRecord::name_prefix(owner, name), None, 1).await?;
    match found.first().and_then(|(key, _)| RepositoryRecord::id_in(key)) {
        Some(id) => by_id(view, id).await,
        None => Ok(None),
    }
}

/// What is known about an actor and a repository of an owner.
pub(crate) async fn known(
    view: &dyn MetadataRead,
    actor: Actor,
    owner: &AccountRecord,
    repository: &RepositoryRecord,
    facts: Facts,
) -> Result<RepositoryFacts> {
    let standing = facts::standing(view, actor, owner).await?;
    let mut groups = match actor {
        Actor::User(user) => Some(Groups::of(view, user)),
        _ => None,
    };
    known_beside(groups.as_mut(), &standing, owner, repository, facts).await
}

async fn known_beside(
    groups: Option<&mut Groups<'_>>,
    standing: &Standing,
    owner: &AccountRecord,
    repository: &RepositoryRecord,
    facts: Facts,
) -> Result<RepositoryFacts> {
    Ok(RepositoryFacts {
        facts,
        role: role_on(groups, repository, standing).await?,
        belongs: standing.belongs,
        repository: Some(repository.target(&owner.name)),
    })
}

fn taken(owner: &str, name: &str) -> Error {
    let text = format!("there is a source repository {owner}/{name} already");
    Error::new(Kind::Conflict(What::Repository), text)
}

fn gone() -> Error {
    Error::new(Kind::StaleGrant, "the source repository was removed meanwhile; try again")
}

/// Expects a name to be free among an owner's repositories.
fn expect_free(batch: &mut Batch, owner: OwnerId, name: &str) {
    let named = RepositoryRecord::name_prefix(owner, name);
    batch.expect_prefix(named.clone(), Prefix::Empty, named);
}

/// What is internal is seen by the members of an organization; a user has none.
fn check_visibility(visibility: Visibility, owner: &AccountRecord) -> Result<()> {
    if visibility == Visibility::Internal && owner.kind == AccountKind::User {
        let text = format!("internal is what members of an organization see; {} is a user", owner.name);
        return Err(Error::invalid(What::Repository, text));
    }
    Ok(())
}

impl Registry {
    /// Makes a repository; it is private unless it is described otherwise.
    ///
    /// # Errors
    /// Conflict when the owner has one of the name, in any case; invalid when what describes it is too long or misspelled.
    pub async fn create_repository(
        &self,
        grant: &Grant<ManageOwner>,
        name: &RepositoryName,
        about: &RepositoryEdit,
    ) -> Result<RepositoryId> {
        about.check()?;
        let id = RepositoryId::random()?;
        let mut under = self.under(grant);
        loop {
            let owner = self.account(grant).await?;
            if by_name(self.meta.as_ref(), owner.id, name.repository()).await?.is_some() {
                return Err(taken(&owner.name, name.repository()));
            }
            let blank = RepositoryRecord {
                id,
                owner: owner.id,
                name: name.repository().to_owned(),
                visibility: Visibility::Private,
                description: String::new(),
                url: String::new(),
                topics: Vec::new(),
                license: String::new(),
                created: grant.at().0,
                synced: None,
            };
            let repository = about.applied(&blank, grant.at());
            check_visibility(repository.visibility, &owner)?;
            let mut batch = Batch::new();
            expect_free(&mut batch, owner.id, &repository.name);
            batch.replace(None, Some(&repository));
            about.write_readme(&mut batch, id, None);
            let detail = format!("repository:{id} {} {}", repository.name, repository.visibility);
            events::rights(
                &mut batch,
                events::stream_of_owner(owner.id),
                grant.caller(),
                "repository.create",
                detail,
            );
            if under.commit(batch).await? == Outcome::Done {
                return Ok(id);
            }
        }
    }

    /// Gives a repository another name. Whatever links to it goes on linking to it.
    ///
    /// # Errors
    /// Conflict when the owner has another one of the name.
    pub async fn rename_repository(&self, grant: &Grant<ManageRepository>, name: &str) -> Result<()> {
        RepositoryName::check(name)?;
        let mut under = self.under(grant);
        loop {
            let old = self.repository_record(grant.target()).await?;
            if old.name == name {
                return Ok(());
            }
            let new = RepositoryRecord { name: name.to_owned(), ..old.clone() };
            let mut batch = Batch::new();
            // Another spelling of the same name is its own.
            if !old.name.eq_ignore_ascii_case(name) {
                if by_name(self.meta.as_ref(), old.owner, name).await?.is_some() {
                    return Err(taken(&grant.target().owner_name, name));
                }
                expect_free(&mut batch, old.owner, name);
            }
            batch.replace(Some(&old), Some(&new));
            revisions::bump(&mut batch, Subject::Repository(old.id));
            let detail = format!("repository:{} {} {name}", old.id, old.name);
            let stream = events::stream_of_owner(old.owner);
            events::rights(&mut batch, stream, grant.caller(), "repository.rename", detail);
            if under.commit(batch).await? == Outcome::Done {
                return Ok(());
            }
        }
    }

    /// Hands a repository over to another owner. Nobody keeps a role on it, no package its link and its workflows
    /// none: whose it is now says who has one. What is
    /// internal becomes private where there are no members to see it.
    ///
    /// # Errors
    /// Conflict when the new owner has one of its name.
    pub async fn transfer_repository(
        &self,
        grant: &Grant<ManageRepository>,
        to: &Grant<ManageOwner>,
    ) -> Result<()> {
        let mut under = self.under(grant);
        let mut receiving = to.revisions().to_vec();
        loop {
            let old = self.repository_record(grant.target()).await?;
            let owner = self.account(to).await?;
            if old.owner == owner.id {
                return Ok(());
            }
            if by_name(self.meta.as_ref(), owner.id, &old.name).await?.is_some() {
                return Err(taken(&owner.name, &old.name));
            }
            let visibility = match (old.visibility, owner.kind) {
                (Visibility::Internal, AccountKind::User) => Visibility::Private,
                (visibility, _) => visibility,
            };
            let new = RepositoryRecord { owner: owner.id, visibility, ..old.clone() };
            let mut batch = Batch::new();
            revisions::expect(&mut batch, &receiving);
            expect_free(&mut batch, owner.id, &old.name);
            self.end_roles_on(&mut batch, old.id).await?;
            self.end_links_to(&mut batch, grant.caller(), old.id).await?;
            self.end_workflows_of(&mut batch, old.id).await?;
            self.end_trusts_of(&mut batch, old.id).await?;
            batch.replace(Some(&old), Some(&new));
            revisions::bump(&mut batch, Subject::Repository(old.id));
            let detail = format!("repository:{} {} owner:{} owner:{}", old.id, old.name, old.owner, owner.id);
            for stream in [old.owner, owner.id].map(events::stream_of_owner) {
                events::rights(&mut batch, stream, grant.caller(), "repository.transfer", detail.clone());
            }
            if under.commit(batch).await? == Outcome::Done {
                return Ok(());
            }
            receiving = self.policy.renew(to).await?;
        }
    }

    /// Removes a repository with its roles; packages that link to it stay, without the link and what they inherited. Its name is free again, and who takes it inherits nothing.
    pub async fn delete_repository(&self, grant: &Grant<ManageRepository>) -> Result<()> {
        let mut under = self.under(grant);
        loop {
            let old = self.repository_record(grant.target()).await?;
            let mut batch = Batch::new();
            self.end_roles_on(&mut batch, old.id).await?;
            self.end_links_to(&mut batch, grant.caller(), old.id).await?;
            self.end_workflows_of(&mut batch, old.id).await?;
            self.end_trusts_of(&mut batch, old.id).await?;
            if let Some(readme) = self.readme_record(old.id).await? {
                batch.replace(Some(&readme), None);
            }
            batch.replace(Some(&old), None);
            revisions::bump(&mut batch, Subject::Repository(old.id));
            let detail = format!("repository:{} {}", old.id, old.name);
            let stream = events::stream_of_owner(old.owner);
            events::rights(&mut batch, stream, grant.caller(), "repository.delete", detail);
            if under.commit(batch).await? == Outcome::Done {
                return Ok(());
            }
        }
    }

    /// A repository as it is recorded.
    pub async fn repository(&self, grant: &Grant<ReadRepository>) -> Result<RepositoryRecord> {
        self.repository_record(grant.target()).await
    }

    /// A repository's README.
    pub async fn readme(&self, grant: &Grant<ReadRepository>) -> Result<Option<String>> {
        Ok(self.readme_record(grant.target().id).await?.map(|readme| readme.text))
    }

    async fn readme_record(&self, id: RepositoryId) -> Result<Option<ReadmeRecord>> {
        let found = self.meta.get(&ReadmeRecord::key_of(id)).await?;
        found.map(|bytes| ReadmeRecord::decode(&bytes)).transpose()
    }

    /// The repositories of one owner, or of all, that a viewer may see: at most `limit` behind the one named by `after`
    /// (its owner's name and its own), in order of owners and names, and whether there are more.
    pub async fn repositories_of(
        &self,
        viewer: &Caller,
        owner: Option<&str>,
        after: Option<(&str, &str)>,
        limit: usize,
    ) -> Result<(Vec<RepositoryTarget>, bool)> {
        let view = self.meta.snapshot()?;
        let view = view.as_ref();
        let mut found = Vec::new();
        if let Some(owner) = owner {
            if let Some(account) = accounts::by_name(view, owner).await? {
                let behind = after.map(|(_, name)| name);
                self.repositories_at(view, viewer, &account, behind, limit, &mut found).await?;
            }
            let more = found.len() > limit;
            found.truncate(limit);
            return Ok((found, more));
        }
        let mut from = None;
        if let Some((owner, name)) = after {
            if let Some(account) = accounts::by_name(view, owner).await? {
                self.repositories_at(view, viewer, &account, Some(name), limit, &mut found).await?;
            }
            from = Some(AccountRecord::name_prefix(owner).with(&[0xff; 8]));
        }
        while found.len() <= limit {
            let page = view.scan(&AccountRecord::names(), from.as_ref(), STRIDE).await?;
            let Some((last, _)) = page.last() else { break };
            from = Some(last.clone());
            for id in page.iter().filter_map(|(key, _)| AccountRecord::id_in(key)) {
                if let Some(account) = accounts::by_id(view, id).await? {
                    self.repositories_at(view, viewer, &account, None, limit, &mut found).await?;
                }
            }
        }
        let more = found.len() > limit;
        found.truncate(limit);
        Ok((found, more))
    }

    /// Those of one owner, until there is one more than `limit`.
    async fn repositories_at(
        &self,
        view: &dyn MetadataRead,
        viewer: &Caller,
        owner: &AccountRecord,
        after: Option<&str>,
        limit: usize,
        found: &mut Vec<RepositoryTarget>,
    ) -> Result<()> {
        let standing = facts::standing(view, viewer.actor, owner).await?;
        let mut groups = viewer.user().map(|user| Groups::of(view, user));
        let anonymous_reads = self.anonymous_reads() && owner.anonymous_reads;
        let behind = |name: &str| RepositoryRecord::name_prefix(owner.id, name).with(&[0xff; 8]);
        let mut after = after.filter(|name| RepositoryName::check(name).is_ok()).map(behind);
        while found.len() <= limit {
            let page = view.scan(&RepositoryRecord::names(owner.id), after.as_ref(), STRIDE).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            let ids = page.iter().filter_map(|(key, _)| RepositoryRecord::id_in(key));
            let keys: Vec<_> = ids.map(RepositoryRecord::key_of).collect();
            for bytes in view.multi_get(&keys).await?.iter().flatten() {
                let repository = RepositoryRecord::decode(bytes)?;
                let facts = Facts { anonymous_reads, ..Facts::default() };
                let known = known_beside(groups.as_mut(), &standing, owner, &repository, facts).await?;
                if sees(viewer, &known) {
                    found.extend(known.repository);
                }
            }
        }
        Ok(())
    }

    /// The record of a repository that was there when a grant was made.
    pub(crate) async fn repository_record(&self, target: &RepositoryTarget) -> Result<RepositoryRecord> {
        by_id(self.meta.as_ref(), target.id).await?.ok_or_else(gone)
    }
}
