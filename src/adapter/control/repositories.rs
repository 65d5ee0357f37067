//! Source repositories: what describes them, who has which role on them.

use serde::{Deserialize, Serialize};

use super::{
    Answer, done,
    execute::{Desk, table},
    teams::Principal,
};
use crate::{
    auth::{Action, Grant, ManageRepository, ReadRepository, RepositoryTarget},
    error::{Error, Result, What},
    model::{RepositoryName, RepositoryRole, Timestamp},
    registry::{
        permissions::GroupName,
        repositories::{CollaboratorName, RepositoryEdit},
    },
};

/// What can be asked of source repositories, which are named `OWNER/REPO`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum RepoCommand {
    /// Adds one.
    Create {
        /// Which.
        repo: String,
        /// What is said of it.
        about: RepositoryEdit,
    },
    /// Shows one.
    Show {
        /// Which.
        repo: String,
    },
    /// Lists them.
    List {
        /// Of one owner.
        owner: Option<String>,
    },
    /// Says something else of one.
    Edit {
        /// Which.
        repo: String,
        /// What is said of it.
        about: RepositoryEdit,
    },
    /// Gives it another name.
    Rename {
        /// Which.
        repo: String,
        /// Its new name, without the owner's.
        name: String,
    },
    /// Hands it over to another owner.
    Transfer {
        /// Which.
        repo: String,
        /// To whom.
        owner: String,
    },
    /// Removes it.
    Delete {
        /// Which.
        repo: String,
    },
    /// Gives somebody a role on it, or takes it away.
    Grant {
        /// Which.
        repo: String,
        /// To whom: `NAME`, `user:NAME` or `team:ORGANIZATION/TEAM`.
        principal: String,
        /// The role; `None` takes it away.
        role: Option<RepositoryRole>,
    },
    /// Lists the roles given on it.
    Roles {
        /// Which.
        repo: String,
    },
}

impl Desk<'_> {
    pub(super) async fn repo(&self, command: RepoCommand) -> Result<Answer> {
        match command {
            RepoCommand::Create { repo, about } => {
                let name = RepositoryName::parse(&repo)?;
                let owner = self.owner(name.owner()).await?;
                self.registry.create_repository(&owner, &name, &about).await?;
                done(format!("{name} is a source repository"))
            }
            RepoCommand::Show { repo } => self.show_repo(&repo).await,
            RepoCommand::List { owner } => self.repos(owner.as_deref()).await,
            RepoCommand::Edit { repo, about } => {
                let grant = self.repository::<ManageRepository>(&repo).await?;
                self.registry.edit_repository(&grant, &about).await?;
                done(format!("{repo} is changed"))
            }
            RepoCommand::Rename { repo, name } => {
                let grant = self.repository::<ManageRepository>(&repo).await?;
                self.registry.rename_repository(&grant, &name).await?;
                done(format!("{repo} is {}/{name} now", grant.target().owner_name))
            }
            RepoCommand::Transfer { repo, owner } => {
                let grant = self.repository::<ManageRepository>(&repo).await?;
                self.registry.transfer_repository(&grant, &self.owner(&owner).await?).await?;
                done(format!("{repo} is {owner}/{} now, and nobody kept a role on it", grant.target().name))
            }
            RepoCommand::Delete { repo } => {
                let grant = self.repository::<ManageRepository>(&repo).await?;
                self.registry.delete_repository(&grant).await?;
                done(format!("{repo} is removed"))
            }
            RepoCommand::Grant { repo, principal, role } => self.repo_grant(&repo, &principal, role).await,
            RepoCommand::Roles { repo } => {
                let grant = self.repository::<ManageRepository>(&repo).await?;
                let roles = self.registry.repository_roles(&grant).await?.into_iter();
                table(["principal", "role"], roles.map(|on| [on.principal, on.role.to_string()]).collect())
            }
        }
    }

    pub(super) async fn repository<A>(&self, name: &str) -> Result<Grant<A>>
    where
        A: Action<Target = RepositoryTarget>,
    {
        let name = RepositoryName::parse(name)?;
        self.registry.policy().authorize_repository(&self.caller, name.owner(), name.repository()).await
    }

    async fn show_repo(&self, repo: &str) -> Result<Answer> {
        let grant = self.repository::<ReadRepository>(repo).await?;
        let repository = self.registry.repository(&grant).await?;
        let readme = self.registry.readme(&grant).await?.map_or(0, |text| text.len());
        let synced = repository.synced.map_or_else(|| "never".to_owned(), |at| Timestamp(at).to_string());
        let rows = [
            ("name", format!("{}/{}", grant.target().owner_name, repository.name)),
            ("visibility", repository.visibility.to_string()),
            ("description", repository.description),
            ("url", repository.url),
            ("topics", repository.topics.join(" ")),
            ("license", repository.license),
            ("readme", format!("{readme} bytes")),
            ("created", Timestamp(repository.created).to_string()),
            ("synchronized", synced),
        ];
        table(["what", "value"], rows.into_iter().map(|(what, value)| [what.to_owned(), value]).collect())
    }

    async fn repos(&self, owner: Option<&str>) -> Result<Answer> {
        if let Some(owner) = owner {
            // A name that nobody has is a mistake, not an owner without repositories.
            self.owner(owner).await?;
        }
        let mut rows = Vec::new();
        let mut last: Option<(String, String)> = None;
        loop {
            let after = last.as_ref().map(|(owner, name)| (owner.as_str(), name.as_str()));
            let (page, more) = self.registry.repositories_of(&self.caller, owner, after, 256).await?;
            last = page.last().map(|repository| (repository.owner_name.clone(), repository.name.clone()));
            rows.extend(page.into_iter().map(|repository| {
                [format!("{}/{}", repository.owner_name, repository.name), repository.visibility.to_string()]
            }));
            if !more {
                return table(["repository", "visibility"], rows);
            }
        }
    }

    async fn repo_grant(&self, repo: &str, principal: &str, role: Option<RepositoryRole>) -> Result<Answer> {
        let who = match Principal::parse(principal)? {
            Principal::User(name) => CollaboratorName::User(name),
            Principal::Group(GroupName::Team(team)) => CollaboratorName::Team(team),
            Principal::Repository(_) => {
                let text = "roles on repositories are given to users and teams; a repository is given one on packages \
                            (packhouse package grant PACKAGE repo:OWNER/REPO ROLE)";
                return Err(Error::invalid(What::Request, text));
            }
            Principal::Group(GroupName::Organization(name)) => {
                let text = format!(
                    "roles on repositories are given to users and teams; all members of an organization have its base \
                     role (packhouse org base-role {name} read)"
                );
                return Err(Error::invalid(What::Request, text));
            }
        };
        let grant = self.repository::<ManageRepository>(repo).await?;
        self.registry.set_repository_role(&grant, &who, role).await?;
        done(match role {
            Some(role) => format!("{principal} has the role {role} on {repo}"),
            None => format!("{principal} has no role of its own on {repo}"),
        })
    }
}
