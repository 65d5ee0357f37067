//! What is known of workflows, and of their tokens.

use super::{Directory, Standing, one};
use crate::{
    auth::{Actor, Credential, Given, Identity, Rule, Subject, TokenKind},
    error::Result,
    model::{RepositoryId, TokenId},
    registry::{
        accounts, exchange,
        records::{AccountRecord, PackageRecord},
        repositories,
    },
    store::MetadataRead,
};

impl Directory {
    /// A workflow's token. Its repository's revision counts whatever becomes of that.
    pub(super) async fn load_workflow(
        &self,
        view: &dyn MetadataRead,
        id: TokenId,
    ) -> Result<Option<(Identity, Credential)>> {
        let Some(token) = exchange::by_id(view, id).await? else { return Ok(None) };
        let Some(repository) = repositories::by_id(view, token.repository).await? else { return Ok(None) };
        let identity = Identity {
            actor: Actor::Repository(repository.id),
            name: repository.name.to_ascii_lowercase(),
            // Whether its owner is suspended, which counts a revision of the owner's, is decided with the facts.
            active: true,
            administrator: false,
            sign_in: 0,
            second_factor: false,
            revision: one(view, Subject::Repository(repository.id)).await?,
        };
        let credential = Credential {
            id,
            kind: TokenKind::Workflow,
            scopes: exchange::scopes(&token),
            limits: None,
            expires: crate::model::Timestamp(token.expires),
            sign_in: None,
            revision: one(view, Subject::Credential(id)).await?,
        };
        Ok(Some((identity, credential)))
    }
}

/// A workflow belongs to whoever its repository belongs to: it reads what is internal there, and creates packages there. What it may do
/// with those that exist is what its repository was given.
pub(super) async fn workflow_standing(
    view: &dyn MetadataRead,
    id: RepositoryId,
    owner: &AccountRecord,
) -> Result<Standing> {
    let Some(repository) = repositories::by_id(view, id).await? else { return Ok(Standing::default()) };
    let own = repository.owner == owner.id;
    let account = match own {
        true => Some(owner.clone()),
        false => accounts::by_id(view, repository.owner).await?,
    };
    if account.is_none_or(|account| account.suspended) {
        return Ok(Standing::default());
    }
    Ok(Standing { active: true, belongs: own, may_create: own, ..Standing::default() })
}

/// The role that was given to the workflows of a repository.
pub(crate) async fn workflow_given(
    view: &dyn MetadataRead,
    actor: Actor,
    package: &PackageRecord,
) -> Result<Option<Given>> {
    let Actor::Repository(id) = actor else { return Ok(None) };
    let found = repositories::workflow_role(view, package.id, id).await?;
    Ok(found.map(|found| Given { role: found.role, rule: Rule::Workflow(id) }))
}
