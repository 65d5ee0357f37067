//! Tokens of people.

use std::collections::BTreeSet;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{
    Act, Answer, done,
    execute::{Desk, table},
};
use crate::{
    auth::Verb,
    error::{Error, Result, What},
    model::{PackageName, RobotName, Scope, Scopes, Timestamp, TokenId},
    registry::NamedLimits,
};

/// What can be asked of tokens.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum TokenCommand {
    /// Makes one.
    Create {
        /// Whose.
        user: String,
        /// What for.
        scopes: Vec<Scope>,
        /// Seconds it lives.
        lifetime: u64,
        /// What it is limited to besides.
        limits: AskedLimits,
    },
    /// Lists a user's.
    List {
        /// Whose.
        user: String,
    },
    /// Ends one.
    Revoke {
        /// Its id in the list.
        id: String,
    },
}

/// Limits of a token, by names. Each list that is empty limits nothing.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskedLimits {
    /// Packages.
    pub packages: Vec<String>,
    /// Users and organizations.
    pub owners: Vec<String>,
    /// Actions.
    pub actions: Vec<Act>,
    /// Networks.
    pub networks: Vec<IpNet>,
}

impl AskedLimits {
    pub(super) fn named(&self) -> Result<NamedLimits> {
        let packages: Result<Vec<_>> = self.packages.iter().map(|name| PackageName::parse(name)).collect();
        let actions: BTreeSet<Verb> = self.actions.iter().map(|act| act.verb()).collect();
        let (owners, networks) = (self.owners.clone(), self.networks.clone());
        Ok(NamedLimits { packages: packages?, owners, actions, networks })
    }
}

/// Reads the id of a token as lists show it.
pub(super) fn token_id(text: &str) -> Result<TokenId> {
    let parsed = u64::from_str_radix(text, 16).ok().filter(|_| text.len() == 16).map(TokenId);
    parsed.ok_or_else(|| {
        Error::invalid(What::Token, "a token is named by its id, as `packhouse token list` shows it")
    })
}

impl Desk<'_> {
    pub(super) async fn token(&self, command: TokenCommand) -> Result<Answer> {
        match command {
            TokenCommand::Create { user, scopes, lifetime, limits } => {
                self.token_create(&user, Scopes::of(&scopes), lifetime, &limits).await
            }
            TokenCommand::List { user } => self.token_list(&user).await,
            TokenCommand::Revoke { id } => self.token_revoke(&id).await,
        }
    }

    async fn token_create(
        &self,
        user: &str,
        scopes: Scopes,
        lifetime: u64,
        limits: &AskedLimits,
    ) -> Result<Answer> {
        if user.contains(RobotName::SIGN) {
            return self.robot_token(&RobotName::parse(user)?, scopes, lifetime, limits).await;
        }
        let grant = self.owner(user).await?;
        let limits = self.registry.limits_named(&self.caller, &limits.named()?).await?;
        let token = self.registry.issue_limited_token(&grant, scopes, lifetime, limits).await?;
        let note = format!("token {} of {user}, good until {}; it is shown once", token.id, token.expires);
        Ok(Answer { value: Some(token.secret.reveal().to_owned()), note: Some(note), ..Answer::default() })
    }

    async fn token_list(&self, user: &str) -> Result<Answer> {
        let mut rows = Vec::new();
        let tokens = match RobotName::parse(user) {
            Ok(name) => self.registry.robot_tokens(&self.owner(name.owner()).await?, name.robot()).await?,
            Err(_) => self.registry.tokens(&self.owner(user).await?).await?,
        };
        for token in tokens {
            let kind = token.kind()?.word();
            rows.push([
                token.id.to_string(),
                kind.to_owned(),
                Scopes::from_bits(token.scopes).to_string(),
                self.registry.limits_shown(&token).await?.join(" "),
                Timestamp(token.created).to_string(),
                Timestamp(token.expires).to_string(),
                format!("…{}", token.tail),
            ]);
        }
        table(["id", "kind", "scopes", "limits", "created", "expires", "ends in"], rows)
    }

    async fn token_revoke(&self, id: &str) -> Result<Answer> {
        let parsed = token_id(id)?;
        let (user, ruler) = self.registry.token_user(&self.system()?, parsed).await?;
        self.registry.revoke_token(&self.owner(&ruler).await?, parsed).await?;
        done(format!("token {id} of {user} is revoked"))
    }
}
