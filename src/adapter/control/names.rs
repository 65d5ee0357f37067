//! Names of accounts.

use serde::{Deserialize, Serialize};

use super::{
    Answer, done,
    execute::{Desk, table},
};
use crate::{
    error::Result,
    model::{OwnerName, Timestamp},
    registry::records::AccountKind,
};

/// What can be asked of names.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum NameCommand {
    /// Gives a user another name.
    User {
        /// The name it has.
        name: String,
        /// The name it is to have.
        to: String,
    },
    /// Gives an organization another name.
    Organization {
        /// The name it has.
        name: String,
        /// The name it is to have.
        to: String,
    },
    /// Lists the held names.
    Held,
    /// Frees a held name.
    Free {
        /// Which.
        name: String,
    },
}

impl Desk<'_> {
    pub(super) async fn name(&self, command: NameCommand) -> Result<Answer> {
        match command {
            NameCommand::User { name, to } => self.rename(&name, AccountKind::User, &to).await,
            NameCommand::Organization { name, to } => {
                self.rename(&name, AccountKind::Organization, &to).await
            }
            NameCommand::Held => {
                let held = self.registry.held_names(&self.system()?).await?.into_iter();
                let rows = held
                    .map(|held| [held.name, held.now.unwrap_or_default(), Timestamp(held.since).to_string()]);
                table(["name", "now", "since"], rows.collect())
            }
            NameCommand::Free { name } => {
                self.registry.free_name(&self.system()?, &name).await?;
                done(format!("{name} is free: whoever takes it gets what is meant for that name from now on"))
            }
        }
    }

    async fn rename(&self, name: &str, kind: AccountKind, to: &str) -> Result<Answer> {
        let parsed = OwnerName::parse(to)?;
        self.registry.rename_account(&self.owner(name).await?, kind, &parsed).await?;
        done(format!(
            "{name} is {to} now; its packages are pushed to under {to}, and still pulled under {name}"
        ))
    }
}
