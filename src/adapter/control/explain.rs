//! Why somebody may do something to a package, or may not.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{
    Answer,
    execute::{Desk, table},
    tokens::token_id,
};
use crate::{
    auth::Verb,
    error::Result,
    model::{PackageName, Scope, Scopes},
    registry::Question,
};

/// What is asked about.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// Download.
    Pull,
    /// Upload, or create.
    Push,
    /// Delete.
    Delete,
    /// Change visibility and roles.
    Manage,
}

/// A question about a right.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explain {
    /// Which package.
    pub package: String,
    /// Who; nobody in particular without a name.
    pub user: Option<String>,
    /// Doing what.
    pub action: Act,
    /// With a token of these scopes; of all without any.
    pub scopes: Vec<Scope>,
    /// With this token, which says who and what for.
    #[serde(default)]
    pub token: Option<String>,
    /// From this address; without one, from where the token may be used.
    #[serde(default)]
    pub from: Option<IpAddr>,
}

impl Act {
    pub(super) fn verb(self) -> Verb {
        match self {
            Self::Pull => Verb::Pull,
            Self::Push => Verb::Push,
            Self::Delete => Verb::Delete,
            Self::Manage => Verb::Manage,
        }
    }
}

impl Desk<'_> {
    /// Fails, as a check that found something does, when it is denied.
    pub(super) async fn explain(&self, asked: Explain) -> Result<Answer> {
        let scopes = if asked.scopes.is_empty() { Scopes::ALL } else { Scopes::of(&asked.scopes) };
        let name = PackageName::parse(&asked.package)?;
        let token = asked.token.as_deref().map(token_id).transpose()?;
        let (user, verb, from) = (asked.user.as_deref(), asked.action.verb(), asked.from);
        let question = Question { user, token, from, scopes, verb, name: &name };
        let explained = self.registry.explain(&self.system()?, question).await?;
        let answer = if explained.allowed { "allowed" } else { "denied" };
        let mut rows = vec![
            ["answer".to_owned(), answer.to_owned()],
            ["rule".to_owned(), explained.code.to_owned()],
            ["because".to_owned(), explained.because],
        ];
        rows.extend(explained.told.map(|told| ["the caller is told".to_owned(), told]));
        rows.extend(explained.visibility.map(|visibility| ["visibility".to_owned(), visibility.to_string()]));
        let roles = explained.roles.into_iter();
        rows.extend(roles.map(|(from, role)| [format!("role from {from}"), role.word().to_owned()]));
        Ok(Answer { failed: !explained.allowed, ..table(["what", "value"], rows)? })
    }
}
