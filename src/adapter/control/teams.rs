//! Teams, and what an organization gives its members.

use serde::{Deserialize, Serialize};

use super::{
    Answer, done,
    execute::{Desk, table},
};
use crate::{
    auth::{Grant, ManageTeam},
    error::{Error, Result, What},
    model::{RepositoryName, Role, TeamName},
    registry::{permissions::GroupName, records::AccountKind},
};

/// What can be asked of teams. A team is named `ORGANIZATION/TEAM`, the team it is in by its own name alone.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum TeamCommand {
    /// Adds a team.
    Add {
        /// Which.
        team: String,
        /// The team it is in.
        parent: Option<String>,
    },
    /// Removes one that has no teams in it.
    Remove {
        /// Which.
        team: String,
    },
    /// Puts it into another, or at the top.
    Nest {
        /// Which.
        team: String,
        /// The team it is to be in.
        parent: Option<String>,
    },
    /// Lists the teams of an organization.
    List {
        /// Whose.
        org: String,
    },
    /// Shows where a team is, who is in it, and its roles.
    Show {
        /// Which.
        team: String,
    },
    /// Makes a user a maintainer, a member, or neither.
    Member {
        /// Of which.
        team: String,
        /// The user.
        user: String,
        /// `Some(true)` a maintainer, `Some(false)` a member, `None` neither.
        maintainer: Option<bool>,
    },
    /// Lists who is in a team.
    Members {
        /// Which.
        team: String,
    },
}

/// What else can be asked of organizations.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum OrgCommand {
    /// Removes one that owns nothing, with its teams.
    Remove {
        /// Which.
        org: String,
    },
    /// Shows its settings.
    Show {
        /// Which.
        org: String,
    },
    /// Gives its members a role on all its packages, or none.
    BaseRole {
        /// Which.
        org: String,
        /// The role.
        role: Option<Role>,
    },
}

/// To whom a role is given.
pub(super) enum Principal {
    User(String),
    Group(GroupName),
    /// The workflows of a source repository.
    Repository(RepositoryName),
}

impl Principal {
    /// Reads `NAME` or `KIND:NAME`.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let (kind, name) = text.split_once(':').unwrap_or(("user", text));
        match kind {
            "user" | "robot" => Ok(Self::User(name.to_owned())),
            "team" => Ok(Self::Group(GroupName::Team(TeamName::parse(name)?))),
            "org" => Ok(Self::Group(GroupName::Organization(name.to_owned()))),
            "repo" => Ok(Self::Repository(RepositoryName::parse(name)?)),
            _ => {
                let text = format!(
                    "{kind} is no kind of principal; write NAME, user:NAME, robot:OWNER+NAME, team:ORGANIZATION/TEAM, org:NAME or repo:OWNER/REPO"
                );
                Err(Error::invalid(What::Request, text))
            }
        }
    }
}

impl Desk<'_> {
    pub(super) async fn team(&self, command: TeamCommand) -> Result<Answer> {
        match command {
            TeamCommand::Add { team, parent } => {
                let name = TeamName::parse(&team)?;
                let owner = self.owner(name.organization()).await?;
                self.registry.create_team(&owner, &name, parent.as_deref()).await?;
                done(format!("{name} is a team{}", below(parent.as_deref())))
            }
            TeamCommand::Remove { team } => {
                let name = TeamName::parse(&team)?;
                let owner = self.owner(name.organization()).await?;
                self.registry.remove_team(&owner, name.team()).await?;
                done(format!("{name} is removed"))
            }
            TeamCommand::Nest { team, parent } => {
                let name = TeamName::parse(&team)?;
                let owner = self.owner(name.organization()).await?;
                self.registry.nest_team(&owner, name.team(), parent.as_deref()).await?;
                done(match parent {
                    Some(_) => format!("{name} is{}", below(parent.as_deref())),
                    None => format!("{name} is in no other team"),
                })
            }
            TeamCommand::List { org } => self.teams(&org).await,
            TeamCommand::Show { team } => self.show_team(&TeamName::parse(&team)?).await,
            TeamCommand::Member { team, user, maintainer } => {
                let name = TeamName::parse(&team)?;
                self.registry.set_team_member(&self.led(&name).await?, &user, maintainer).await?;
                done(match maintainer {
                    Some(true) => format!("{user} maintains {name}"),
                    Some(false) => format!("{user} is in {name}"),
                    None => format!("{user} is not in {name}"),
                })
            }
            TeamCommand::Members { team } => {
                let members = self.registry.team_members(&self.led(&TeamName::parse(&team)?).await?).await?;
                let rows = members.into_iter().map(|member| [member.user, role_in(member.maintainer)]);
                table(["user", "role"], rows.collect())
            }
        }
    }

    pub(super) async fn org(&self, command: OrgCommand) -> Result<Answer> {
        match command {
            OrgCommand::Remove { org } => {
                self.registry.remove_account(&self.system()?, &org, AccountKind::Organization).await?;
                done(format!("{org} is removed"))
            }
            OrgCommand::Show { org } => {
                let owner = self.owner(&org).await?;
                let account = self.registry.organization(&owner).await?;
                let row = [
                    account.name,
                    account.base_role.map_or("none", Role::word).to_owned(),
                    if account.anonymous_reads { "on" } else { "off" }.to_owned(),
                    self.registry.members(&owner).await?.len().to_string(),
                    self.registry.teams(&owner).await?.len().to_string(),
                ];
                table(["name", "base role", "anonymous reads", "members", "teams"], vec![row])
            }
            OrgCommand::BaseRole { org, role } => {
                self.registry.set_base_role(&self.owner(&org).await?, role).await?;
                done(match role {
                    Some(role) => format!("members of {org} have the role {role} on all its packages"),
                    None => format!("members of {org} have the roles they are given"),
                })
            }
        }
    }

    async fn led(&self, name: &TeamName) -> Result<Grant<ManageTeam>> {
        self.registry.policy().authorize_team(&self.caller, name.organization(), name.team()).await
    }

    async fn teams(&self, org: &str) -> Result<Answer> {
        let owner = self.owner(org).await?;
        // A user has no teams, and asking for them is a mistake.
        self.registry.organization(&owner).await?;
        let rows = self.registry.teams(&owner).await?.into_iter().map(|team| {
            [team.name, team.parent.unwrap_or_default(), team.members.to_string(), team.packages.to_string()]
        });
        table(["team", "in", "members", "packages"], rows.collect())
    }

    async fn show_team(&self, name: &TeamName) -> Result<Answer> {
        let grant = self.led(name).await?;
        let mut rows: Vec<[String; 3]> = Vec::new();
        for above in self.registry.teams_above(&grant).await? {
            rows.push(["in".to_owned(), above, String::new()]);
        }
        for member in self.registry.team_members(&grant).await? {
            rows.push(["member".to_owned(), member.user, role_in(member.maintainer)]);
        }
        for (package, role) in self.registry.team_packages(&grant).await? {
            rows.push(["package".to_owned(), package, role.word().to_owned()]);
        }
        table(["what", "name", "role"], rows)
    }
}

fn role_in(maintainer: bool) -> String {
    if maintainer { "maintainer" } else { "member" }.to_owned()
}

fn below(parent: Option<&str>) -> String {
    parent.map(|parent| format!(" in {parent}")).unwrap_or_default()
}
