//! What a package links to, and whether it inherits its roles from there.

use serde::{Deserialize, Serialize};

use super::{
    Answer, done,
    execute::{Desk, table},
};
use crate::{
    auth::{Grant, LinkRepository, Manage, Pull, ReadRepository},
    error::Result,
    model::{PackageName, RepositoryName, Role},
};

/// What can be asked of a package's link.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum LinkCommand {
    /// Shows a package.
    Show {
        /// Which.
        package: String,
    },
    /// Links it to a repository of its owner.
    Link {
        /// Which.
        package: String,
        /// The repository, `OWNER/REPO`.
        repo: String,
        /// Whether it inherits its roles from there at once.
        inherit: bool,
    },
    /// Ends its link.
    Unlink {
        /// Which.
        package: String,
    },
    /// Makes it inherit its roles, or not.
    Inherit {
        /// Which.
        package: String,
        /// Inherit them, or not.
        on: bool,
    },
}

impl Desk<'_> {
    pub(super) async fn link(&self, command: LinkCommand) -> Result<Answer> {
        match command {
            LinkCommand::Show { package } => self.show_package(&package).await,
            LinkCommand::Link { package, repo, inherit } => {
                let to: Grant<LinkRepository> = self.repository(&repo).await?;
                self.registry.link_package(&self.package(&package).await?, &to).await?;
                if inherit {
                    self.registry.set_inherits(&self.package(&package).await?, true).await?;
                }
                let how = if inherit { " and inherits its roles from there" } else { "" };
                done(format!("{package} is linked to {repo}{how}"))
            }
            LinkCommand::Unlink { package } => {
                self.registry.unlink_package(&self.package(&package).await?).await?;
                done(format!("{package} is linked to no source repository"))
            }
            LinkCommand::Inherit { package, on } => {
                self.registry.set_inherits(&self.package(&package).await?, on).await?;
                done(match on {
                    true => format!("{package} has the roles of its source repository, and none of its own"),
                    false => format!("{package} has roles of its own, and none is given yet"),
                })
            }
        }
    }

    /// Gives the workflows of a repository a role on a package, or takes it away.
    pub(super) async fn workflow_grant(
        &self,
        grant: &Grant<Manage>,
        name: &RepositoryName,
        role: Option<Role>,
    ) -> Result<()> {
        match role {
            Some(role) => {
                let to: Grant<ReadRepository> = self.repository(&name.to_string()).await?;
                self.registry.give_workflow(grant, &to, role).await
            }
            None => self.registry.end_workflow(grant, name).await,
        }
    }

    async fn show_package(&self, package: &str) -> Result<Answer> {
        let name = PackageName::parse(package)?;
        let grant: Grant<Pull> = self.registry.policy().authorize(&self.caller, &name).await?;
        let linked = self.registry.linked(&grant).await?;
        let (repository, inherits) = match linked {
            Some(linked) => {
                (format!("{}/{}", linked.repository.owner_name, linked.repository.name), linked.inherits)
            }
            None => (String::new(), false),
        };
        let rows = [
            ("name", name.to_string()),
            ("type", name.ecosystem().word().to_owned()),
            ("visibility", grant.target().visibility.to_string()),
            ("repository", repository),
            ("roles", if inherits { "the repository's" } else { "its own" }.to_owned()),
        ];
        table(["what", "value"], rows.into_iter().map(|(what, value)| [what.to_owned(), value]).collect())
    }
}
