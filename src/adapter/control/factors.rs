//! Second factors of users.

use serde::{Deserialize, Serialize};

use super::{Answer, done, execute::Desk};
use crate::{auth::Secret, error::Result};

/// What can be asked of second factors. Not `Debug`: codes pass through it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum FactorCommand {
    /// Begins one: says the key for an app, and recovery codes.
    Begin {
        /// Whose.
        user: String,
        /// What the app shows beside the user's name.
        issuer: String,
    },
    /// Makes it count.
    Confirm {
        /// Whose.
        user: String,
        /// A first code of the app.
        code: String,
    },
    /// Takes it away.
    Remove {
        /// Whose.
        user: String,
    },
}

impl Desk<'_> {
    pub(super) async fn factor(&self, command: FactorCommand) -> Result<Answer> {
        match command {
            FactorCommand::Begin { user, issuer } => {
                let begun = self.registry.begin_factor(&self.owner(&user).await?, &issuer).await?;
                let codes: Vec<&str> = begun.recovery.iter().map(Secret::reveal).collect();
                done(format!(
                    "key      {}\naddress  {}\n\nRecovery codes, each good once; they are not shown again:\n  {}\n\n\
                     Nothing asks for a code before: packhouse user second-factor confirm {user} CODE",
                    begun.key.reveal(),
                    begun.address.reveal(),
                    codes.join("\n  ")
                ))
            }
            FactorCommand::Confirm { user, code } => {
                let code = Secret::new(code);
                self.registry.confirm_factor(&self.owner(&user).await?, &code).await?;
                done(format!("{user} signs in with PASSWORD,CODE from now on; tokens stay good"))
            }
            FactorCommand::Remove { user } => {
                self.registry.remove_factor(&self.owner(&user).await?, None).await?;
                done(format!("{user} signs in with the password alone"))
            }
        }
    }
}
