//! Roles on repositories: of users, and of teams of the owner.

use super::{by_id, gone};
use crate::{
    auth::{Grant, ManageRepository, ManageTeam, ReadRepository, Subject},
    error::{Error, Kind, Reason, Result},
    model::{Collaborator, Group, OwnerId, RepositoryId, RepositoryRole, TeamName},
    registry::{
        Registry, accounts, events,
        facts::{self, Standing},
        groups::Groups,
        permissions::shown,
        records::{RepositoryRecord, RepositoryRoleRecord},
        revisions::{self, Outcome},
        teams::over,
    },
    store::{Batch, Record},
};

/// Most users with a role on one repository: they all lose it in one batch when it is removed.
pub const MAX_COLLABORATORS: usize = 5000;
/// Most teams with a role on one repository: a decision about it reads them all.
pub const MAX_TEAMS_ON: usize = 1000;

/// Who is given a role, by name.
#[derive(Debug, Clone)]
pub enum CollaboratorName {
    /// A user, be it a member of the owner or not, or a robot.
    User(String),
    /// A team of the organization that owns the repository.
    Team(TeamName),
}

/// A role on a repository as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnRepository {
    /// Whose: `user:NAME` or `team:ORGANIZATION/TEAM`.
    pub principal: String,
    /// The role.
    pub role: RepositoryRole,
}

/// The roles on a repository that were given to a user, or to teams it is in or below.
pub(crate) async fn given_on(
    groups: &mut Groups<'_>,
    repository: RepositoryId,
    owner: OwnerId,
) -> Result<Vec<RepositoryRoleRecord>> {
    let view = groups.view();
    let own = RepositoryRoleRecord::key_of(repository, Collaborator::User(groups.user()));
    let mut given = Vec::new();
    if let Some(bytes) = view.get(&own).await? {
        given.push(RepositoryRoleRecord::decode(&bytes)?);
    }
    // A team has rights in its own organization alone, whatever is written elsewhere.
    let teams = groups.teams(owner).await?;
    if teams.is_empty() {
        return Ok(given);
    }
    let prefix = RepositoryRoleRecord::on_of(repository, Collaborator::TEAM);
    for (_, bytes) in accounts::walk(view, &prefix).await? {
        let record = RepositoryRoleRecord::decode(&bytes)?;
        if matches!(record.of, Collaborator::Team(team) if teams.contains(&team)) {
            given.push(record);
        }
    }
    Ok(given)
}

/// The role that somebody has on a repository: the greatest of ownership, what was given, the organization's base role.
pub(crate) async fn role_on(
    groups: Option<&mut Groups<'_>>,
    repository: &RepositoryRecord,
    standing: &Standing,
) -> Result<Option<RepositoryRole>> {
    if !standing.active {
        return Ok(None);
    }
    if standing.rules.is_some() {
        return Ok(Some(RepositoryRole::Admin));
    }
    let base = standing.base_role.map(RepositoryRole::from);
    let given = match groups {
        Some(groups) => given_on(groups, repository.id, repository.owner).await?,
        None => Vec::new(),
    };
    Ok(given.into_iter().map(|record| record.role).chain(base).max())
}

impl Registry {
    /// Gives a user or a team a role on a repository, another one, or none.
    ///
    /// # Errors
    /// Not found when there is no such user or team; forbidden by policy for a team of another organization than the
    /// repository's, and over a limit.
    pub async fn set_repository_role(
        &self,
        grant: &Grant<ManageRepository>,
        who: &CollaboratorName,
        role: Option<RepositoryRole>,
    ) -> Result<()> {
        let mut under = self.under(grant);
        loop {
            let repository = self.repository_record(grant.target()).await?;
            let mut batch = Batch::new();
            let of = self.collaborator(&mut batch, &repository, who).await?;
            let old = self.meta.get(&RepositoryRoleRecord::key_of(repository.id, of)).await?;
            let old = old.map(|bytes| RepositoryRoleRecord::decode(&bytes)).transpose()?;
            if old.as_ref().map(|record| record.role) == role {
                return Ok(());
            }
            if old.is_none() {
                // Every role on a repository counts under its revision, which the grant carries: nobody comes between.
                self.room_on(repository.id, of).await?;
            }
            let (id, owner, since) = (repository.id, repository.owner, grant.at().0);
            let new = role.map(|role| RepositoryRoleRecord { repository: id, of, owner, role, since });
            batch.replace(old.as_ref(), new.as_ref());
            revisions::bump(&mut batch, Subject::Repository(id));
            revisions::bump(
                &mut batch,
                match of {
                    Collaborator::User(user) => Subject::RolesAt { user, owner },
                    Collaborator::Team(team) => Subject::Group(Group::Team(team)),
                },
            );
            let detail = format!("repository:{id} {of} {}", role.map_or("none", RepositoryRole::word));
            let stream = events::stream_of_owner(owner);
            events::rights(&mut batch, stream, grant.caller(), "repository.role", detail);
            if under.commit(batch).await? == Outcome::Done {
                return Ok(());
            }
        }
    }

    /// The user or team of a name. It must still be there when the batch is applied: its removal takes its roles along.
    async fn collaborator(
        &self,
        batch: &mut Batch,
        repository: &RepositoryRecord,
        who: &CollaboratorName,
    ) -> Result<Collaborator> {
        match who {
            CollaboratorName::User(name) => {
                let user = self.principal_account(name).await?;
                batch.expect_equals(user.key(), Some(user.value()));
                if user.robot_of.is_some() {
                    // Whoever removes the robot expects it, and takes this role along.
                    revisions::bump(batch, Subject::Principal(user.id));
                }
                Ok(Collaborator::User(user.id))
            }
            CollaboratorName::Team(name) => {
                let organization = self.organization_named(name.organization()).await?;
                if organization.id != repository.owner {
                    let text = "a team has roles on repositories of its own organization";
                    return Err(Error::new(Kind::Forbidden(Reason::Policy), text));
                }
                let team = self.team_named(&organization, name.team()).await?;
                batch.expect_equals(team.key(), Some(team.value()));
                Ok(Collaborator::Team(team.id))
            }
        }
    }

    async fn room_on(&self, repository: RepositoryId, of: Collaborator) -> Result<()> {
        let (limit, text) = match of {
            Collaborator::User(_) => {
                (MAX_COLLABORATORS, "the repository has no room for the role of another user")
            }
            Collaborator::Team(_) => {
                (MAX_TEAMS_ON, "the repository has no room for the role of another team")
            }
        };
        let prefix = RepositoryRoleRecord::on_of(repository, of.kind());
        match self.meta.scan(&prefix, None, limit).await?.len() < limit {
            true => Ok(()),
            false => Err(over(limit, text)),
        }
    }

    /// Takes all roles on a repository away, in a batch that counts a change of it.
    pub(super) async fn end_roles_on(&self, batch: &mut Batch, repository: RepositoryId) -> Result<()> {
        for (_, bytes) in accounts::walk(self.meta.as_ref(), &RepositoryRoleRecord::on(repository)).await? {
            batch.replace(Some(&RepositoryRoleRecord::decode(&bytes)?), None);
        }
        Ok(())
    }

    /// Takes a collaborator's roles on repositories away, all or those of one owner: in the batch that removes it, or in
    /// which it leaves. Whoever calls this expects what counts such roles ([`Subject::RolesAt`], [`Subject::Group`]) or the
    /// collaborator's own record.
    pub(crate) async fn end_roles_of(
        &self,
        batch: &mut Batch,
        who: Collaborator,
        owner: Option<OwnerId>,
    ) -> Result<()> {
        let prefix = match owner {
            Some(owner) => RepositoryRoleRecord::of_at(who, owner),
            None => RepositoryRoleRecord::of(who),
        };
        for (key, _) in accounts::walk(self.meta.as_ref(), &prefix).await? {
            let Some(repository) = RepositoryRecord::id_in(&key) else { continue };
            if let Some(bytes) = self.meta.get(&RepositoryRoleRecord::key_of(repository, who)).await? {
                batch.replace(Some(&RepositoryRoleRecord::decode(&bytes)?), None);
                revisions::bump(batch, Subject::Repository(repository));
            }
        }
        Ok(())
    }

    /// The roles given on a repository: users first, each kind by name.
    pub async fn repository_roles(&self, grant: &Grant<ManageRepository>) -> Result<Vec<OnRepository>> {
        let view = self.meta.snapshot()?;
        let view = view.as_ref();
        let mut roles = Vec::new();
        for (_, bytes) in accounts::walk(view, &RepositoryRoleRecord::on(grant.target().id)).await? {
            let record = RepositoryRoleRecord::decode(&bytes)?;
            let principal = match record.of {
                Collaborator::User(user) => match accounts::by_id(view, user).await? {
                    Some(account) => format!("user:{}", account.name),
                    None => continue,
                },
                Collaborator::Team(team) => shown(view, Group::Team(team)).await?,
            };
            roles.push((record.of.kind(), OnRepository { principal, role: record.role }));
        }
        roles.sort_by_key(|(kind, role)| (*kind, role.principal.to_ascii_lowercase()));
        Ok(roles.into_iter().map(|(_, role)| role).collect())
    }

    /// The role that a user comes to on a repository, from wherever it comes.
    ///
    /// # Errors
    /// Not found when there is no such user.
    pub async fn repository_role_of(
        &self,
        grant: &Grant<ReadRepository>,
        user: &str,
    ) -> Result<Option<RepositoryRole>> {
        let view = self.meta.snapshot()?;
        let view = view.as_ref();
        let user = self.user_account(user).await?;
        let repository = by_id(view, grant.target().id).await?.ok_or_else(gone)?;
        let owner = accounts::by_id(view, repository.owner).await?.ok_or_else(gone)?;
        let standing = facts::standing(view, crate::auth::Actor::User(user.id), &owner).await?;
        role_on(Some(&mut Groups::of(view, user.id)), &repository, &standing).await
    }

    /// The repositories on which a team itself has a role, by name.
    pub async fn team_repositories(
        &self,
        grant: &Grant<ManageTeam>,
    ) -> Result<Vec<(String, RepositoryRole)>> {
        let view = self.meta.snapshot()?;
        let team = Collaborator::Team(grant.target().id);
        let mut found = Vec::new();
        for (key, _) in accounts::walk(view.as_ref(), &RepositoryRoleRecord::of(team)).await? {
            let Some(id) = RepositoryRecord::id_in(&key) else { continue };
            let Some(repository) = by_id(view.as_ref(), id).await? else { continue };
            if let Some(bytes) = view.get(&RepositoryRoleRecord::key_of(id, team)).await? {
                found.push((repository.name, RepositoryRoleRecord::decode(&bytes)?.role));
            }
        }
        found.sort_by_key(|(name, _)| name.to_ascii_lowercase());
        Ok(found)
    }
}
