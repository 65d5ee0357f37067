//! Which jobs a source repository trusts, and tokens of its workflows.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    Answer, done,
    execute::{Desk, table},
    tokens::token_id,
};
use crate::{
    auth::ManageRepository,
    error::{Error, Result, What},
    model::{Timestamp, TrustId},
    registry::exchange::NewTrust,
};

/// What can be asked of workflows. Each repository is named `OWNER/REPO`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum WorkflowCommand {
    /// Mints a token.
    Mint {
        /// Whose.
        repo: String,
        /// Whether it may write.
        write: bool,
        /// Seconds it lives.
        lifetime: u64,
    },
    /// Lists the tokens that are still good.
    Tokens {
        /// Whose.
        repo: String,
    },
    /// Ends a token.
    Revoke {
        /// Whose.
        repo: String,
        /// Its id in the list.
        id: String,
    },
    /// Trusts jobs of an issuer.
    Trust(AskedTrust),
    /// Lists what is trusted.
    Trusts {
        /// By which.
        repo: String,
    },
    /// Ends a trust.
    Distrust {
        /// Whose.
        repo: String,
        /// Its id in the list.
        id: String,
    },
}

/// A trust to be made.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskedTrust {
    /// The repository that trusts.
    pub repo: String,
    /// The issuer's address.
    pub issuer: String,
    /// The id of the source repository there.
    pub source: String,
    /// The id of its owner there.
    pub owner: Option<String>,
    /// The branch or tag.
    pub reference: Option<String>,
    /// The workflow's file.
    pub workflow: Option<String>,
    /// The environment.
    pub environment: Option<String>,
    /// What may start the job.
    pub events: BTreeSet<String>,
    /// Whether its tokens may write.
    pub write: bool,
}

fn packages(write: bool) -> &'static str {
    if write { "write" } else { "read" }
}

impl Desk<'_> {
    pub(super) async fn workflow(&self, command: WorkflowCommand) -> Result<Answer> {
        match command {
            WorkflowCommand::Mint { repo, write, lifetime } => {
                let grant = self.repository::<ManageRepository>(&repo).await?;
                let token = self.registry.mint_workflow_token(&grant, write, lifetime).await?;
                let note = format!("workflow token {} of {repo}, good until {}", token.id, token.expires);
                let value = Some(token.secret.reveal().to_owned());
                Ok(Answer { value, note: Some(note), ..Answer::default() })
            }
            WorkflowCommand::Tokens { repo } => {
                let grant = self.repository::<ManageRepository>(&repo).await?;
                let tokens = self.registry.workflow_tokens(&grant).await?.into_iter();
                let rows = tokens.map(|token| {
                    let expires = Timestamp(token.expires).to_string();
                    [token.id.to_string(), packages(token.write).to_owned(), expires, token.by]
                });
                table(["id", "packages", "expires", "by"], rows.collect())
            }
            WorkflowCommand::Revoke { repo, id } => {
                let grant = self.repository::<ManageRepository>(&repo).await?;
                self.registry.revoke_workflow_token(&grant, token_id(&id)?).await?;
                done(format!("workflow token {id} of {repo} is revoked"))
            }
            WorkflowCommand::Trust(asked) => self.trust(asked).await,
            WorkflowCommand::Trusts { repo } => self.trusts(&repo).await,
            WorkflowCommand::Distrust { repo, id } => {
                let parsed = u64::from_str_radix(&id, 16).ok().filter(|_| id.len() == 16).map(TrustId);
                let parsed = parsed.ok_or_else(|| {
                    let text = "a trust is named by its id, as `packhouse repo trusts` shows it";
                    Error::invalid(What::Repository, text)
                })?;
                let grant = self.repository::<ManageRepository>(&repo).await?;
                self.registry.end_trust(&grant, parsed).await?;
                done(format!("{repo} does not trust {id} any more"))
            }
        }
    }

    async fn trust(&self, asked: AskedTrust) -> Result<Answer> {
        let AskedTrust { repo, issuer, source, owner, reference, workflow, environment, events, write } =
            asked;
        let grant = self.repository::<ManageRepository>(&repo).await?;
        // Offline nobody knows the issuers: they are the daemon's.
        let unknown = self.registry.issuers().is_some_and(|issuers| issuers.get(&issuer).is_none());
        let new = NewTrust { issuer, source, owner, reference, workflow, environment, events, write };
        let id = self.registry.add_trust(&grant, &new).await?;
        let hint = match unknown {
            true => {
                "; no issuer of this address is configured, so nothing comes of it until one is ([[oidc.issuers]])"
            }
            false => "",
        };
        done(format!(
            "{repo} trusts repository {} of {} to {} packages: {id}{hint}",
            new.source,
            new.issuer,
            packages(write)
        ))
    }

    async fn trusts(&self, repo: &str) -> Result<Answer> {
        let grant = self.repository::<ManageRepository>(repo).await?;
        let trusts = self.registry.trusts(&grant).await?.into_iter().map(|trust| {
            let named = [
                ("owner", trust.owner),
                ("ref", trust.reference),
                ("workflow", trust.workflow),
                ("environment", trust.environment),
            ];
            let mut only: Vec<String> =
                named.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?))).collect();
            only.extend(trust.events.iter().map(|event| format!("event={event}")));
            [
                trust.id.to_string(),
                trust.issuer,
                trust.source,
                only.join(" "),
                packages(trust.write).to_owned(),
            ]
        });
        table(["id", "issuer", "repository", "only", "packages"], trusts.collect())
    }
}
