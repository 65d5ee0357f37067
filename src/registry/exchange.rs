//! Tokens of workflows: got for a token of an issuer that a repository trusts, or minted by who rules the repository.
//!
//! A workflow token is its repository's, and no person's. It does what the repository was given ([`super::repositories`]), reads what
//! the repository's organization may read, and publishes what its owner lets it publish.

mod trust;

pub use trust::{MAX_TRUSTS, NewTrust};

use super::{
    Registry, accounts, events,
    records::{RepositoryRecord, TrustRecord, UsedTokenRecord, WorkflowTokenRecord},
    repositories,
    revisions::{self, Outcome},
    tokens::NewToken,
};
use crate::{
    auth::{
        Caller, Facts, Grant, Issuers, ManageRepository, Subject, TokenHash, TokenKind, TokenSecret, Verified,
    },
    error::{Challenge, Error, Kind, Reason, Result, What},
    model::{RepositoryId, RepositoryName, Role, Scope, Scopes, Timestamp, TokenId},
    store::{Batch, CommitError, MetadataRead, Record as _},
};

/// How long a token lives that was exchanged, in seconds; a minted one when nobody says otherwise.
pub const LIFETIME: u64 = 3600;
/// Longest life of a workflow token, in seconds.
pub const MAX_LIFETIME: u64 = 24 * 3600;
/// How often an exchange is tried anew when something else moved.
const ATTEMPTS: usize = 16;

/// The token of an id.
pub(crate) async fn by_id(view: &dyn MetadataRead, id: TokenId) -> Result<Option<WorkflowTokenRecord>> {
    let found = view.get(&WorkflowTokenRecord::key_of(id)).await?;
    found.map(|bytes| WorkflowTokenRecord::decode(&bytes)).transpose()
}

/// The id of the token with a hash.
pub(crate) async fn id_by_hash(view: &dyn MetadataRead, hash: &TokenHash) -> Result<Option<TokenId>> {
    let found = view.scan(&WorkflowTokenRecord::hash_prefix(hash), None, 1).await?;
    Ok(found.first().and_then(|(key, _)| WorkflowTokenRecord::id_in(key)))
}

/// What a workflow token is good for.
pub(crate) fn scopes(token: &WorkflowTokenRecord) -> Scopes {
    match token.write {
        true => Scopes::of(&[Scope::WritePackages, Scope::DeletePackages]),
        false => Scopes::of(&[Scope::ReadPackages]),
    }
}

/// The same for a repository that is not there and for one that does not trust the job: who is not trusted learns nothing.
fn not_trusted() -> Error {
    let text =
        "there is no such source repository here, or it does not trust this job (packhouse repo trust)";
    Error::new(Kind::Forbidden(Reason::Policy), text)
}

fn used() -> Error {
    let text = "this token was exchanged already; each is good once, so ask the issuer for another";
    Error::new(Kind::Unauthenticated(Challenge::Invalid), text)
}

fn made(
    repository: RepositoryId,
    write: bool,
    at: Timestamp,
    lifetime: u64,
    by: String,
) -> Result<(NewToken, WorkflowTokenRecord)> {
    let secret = TokenSecret::generate(TokenKind::Workflow)?;
    let token = NewToken { id: TokenId::random()?, secret, expires: at.plus_seconds(lifetime) };
    let record = WorkflowTokenRecord {
        id: token.id,
        repository,
        hash: hex::encode(token.secret.hash().0),
        write,
        created: at.0,
        expires: token.expires.0,
        by,
    };
    Ok((token, record))
}

impl Registry {
    /// Whose tokens can be exchanged here.
    pub fn issuers(&self) -> Option<&Issuers> {
        self.issuers.get()
    }

    /// Says whose tokens can be exchanged, once.
    pub fn set_issuers(&self, issuers: Issuers) {
        drop(self.issuers.set(issuers));
    }

    /// A workflow token of a repository, for a token of an issuer.
    ///
    /// # Errors
    /// Unauthenticated when that was exchanged before, forbidden when the repository does not trust it, or not to write.
    pub async fn exchange(
        &self,
        caller: &Caller,
        verified: &Verified,
        name: &RepositoryName,
        write: bool,
    ) -> Result<NewToken> {
        let by = format!("{} {}", verified.issuer.url, verified.claims.subject);
        let known = UsedTokenRecord {
            name: UsedTokenRecord::name(&verified.issuer.url, &verified.claims.id),
            until: verified.claims.taken_until,
        };
        for _ in 0..ATTEMPTS {
            let view = self.meta.snapshot()?;
            if view.get(&known.key()).await?.is_some() {
                return Err(used());
            }
            let repository = self.trusting(view.as_ref(), verified, name, write).await?;
            let counted = revisions::read(view.as_ref(), &[Subject::Repository(repository.id)]).await?;
            let (token, record) = made(repository.id, write, caller.at, LIFETIME, by.clone())?;
            let mut batch = Batch::new();
            // Whoever removes the trust or the repository meanwhile counts a change of it.
            revisions::expect(&mut batch, &counted);
            // One insert decides which of many at once is the one.
            batch.replace(None, Some(&known));
            batch.replace(None, Some(&record));
            let detail = format!("token:{} repository:{} by {by}", record.id, repository.id);
            let stream = events::stream_of_owner(repository.owner);
            events::rights(&mut batch, stream, caller, "workflow.token", detail);
            match self.meta.commit(batch).await {
                Ok(_) => return Ok(token),
                Err(CommitError::Failed(error)) => return Err(error),
                Err(CommitError::Conflict(_) | CommitError::Quota(_)) => {}
            }
        }
        Err(Error::new(Kind::Unavailable, "too many changes of the same thing at once"))
    }

    /// The repository of a name, if it trusts a token, and as far as this.
    async fn trusting(
        &self,
        view: &dyn MetadataRead,
        verified: &Verified,
        name: &RepositoryName,
        write: bool,
    ) -> Result<RepositoryRecord> {
        let owner = accounts::by_name(view, name.owner()).await?.ok_or_else(not_trusted)?;
        let repository = repositories::by_name(view, owner.id, name.repository()).await?;
        let repository = repository.filter(|_| !owner.suspended).ok_or_else(not_trusted)?;
        let mut trusted = false;
        for (_, bytes) in accounts::walk(view, &TrustRecord::of(repository.id)).await? {
            let trust = TrustRecord::decode(&bytes)?;
            if trust::holds(&trust, verified) {
                if trust.write || !write {
                    return Ok(repository);
                }
                trusted = true;
            }
        }
        if trusted {
            let text = "the repository trusts this job to read packages, and not to write them";
            return Err(Error::new(Kind::Forbidden(Reason::Scope), text));
        }
        Err(not_trusted())
    }

    /// Mints a workflow token of a repository, for CI without tokens of an issuer.
    ///
    /// # Errors
    /// Forbidden when the caller has not the role admin on the repository itself (who administers the installation manages it and
    /// has none), or signed in with what is good for less than the token.
    pub async fn mint_workflow_token(
        &self,
        grant: &Grant<ManageRepository>,
        write: bool,
        lifetime: u64,
    ) -> Result<NewToken> {
        let caller = grant.caller();
        if lifetime == 0 || lifetime > MAX_LIFETIME {
            return Err(Error::invalid(What::Token, "a workflow token lives 24 hours at most"));
        }
        let by = format!("minted by {}", caller.actor);
        let (token, record) = made(grant.target().id, write, grant.at(), lifetime, by)?;
        let good = scopes(&record);
        if good.and(caller.scopes) != good {
            let text = "a token cannot make one that may do more than itself";
            return Err(Error::new(Kind::Forbidden(Reason::Scope), text));
        }
        let limited = caller.limits.as_ref().is_some_and(|limits| !limits.are_none());
        if limited || caller.expires.is_some_and(|end| end < token.expires) {
            let text = "a token that is limited, or that ends earlier, cannot make a workflow token";
            return Err(Error::new(Kind::Forbidden(Reason::TokenLimit), text));
        }
        let mut under = self.under(grant);
        loop {
            let repository = self.administered(grant).await?;
            let mut batch = Batch::new();
            batch.expect_equals(repository.key(), Some(repository.value()));
            batch.replace(None, Some(&record));
            let detail = format!("token:{} repository:{}", record.id, repository.id);
            let stream = events::stream_of_owner(repository.owner);
            events::rights(&mut batch, stream, caller, "workflow.token", detail);
            if under.commit(batch).await? == Outcome::Done {
                return Ok(token);
            }
        }
    }

    /// The repository of a grant, on which its caller has the role admin: not by administering the installation.
    ///
    /// # Errors
    /// Forbidden.
    async fn administered(&self, grant: &Grant<ManageRepository>) -> Result<RepositoryRecord> {
        let repository = self.repository_record(grant.target()).await?;
        let view = self.meta.as_ref();
        let owner = accounts::by_id(view, repository.owner).await?;
        let owner = owner.ok_or_else(|| Error::new(Kind::StaleGrant, "the owner was removed meanwhile"))?;
        let actor = grant.caller().actor;
        let known = repositories::known(view, actor, &owner, &repository, Facts::default()).await?;
        match known.role.map(|role| role.on_packages()) {
            Some(Role::Admin) => Ok(repository),
            _ => {
                let text = "this gives a job the repository's rights: it needs the role admin on the repository itself";
                Err(Error::new(Kind::Forbidden(Reason::Role), text))
            }
        }
    }

    /// A repository's workflow tokens that are still good, oldest first.
    pub async fn workflow_tokens(&self, grant: &Grant<ManageRepository>) -> Result<Vec<WorkflowTokenRecord>> {
        let view = self.meta.snapshot()?;
        let mut tokens = Vec::new();
        for (key, _) in accounts::walk(view.as_ref(), &WorkflowTokenRecord::of(grant.target().id)).await? {
            let Some(id) = WorkflowTokenRecord::id_in(&key) else { continue };
            tokens.extend(by_id(view.as_ref(), id).await?.filter(|token| token.expires > grant.at().0));
        }
        Ok(tokens)
    }

    /// Ends a workflow token of a repository.
    ///
    /// # Errors
    /// Not found when the repository has no such token.
    pub async fn revoke_workflow_token(&self, grant: &Grant<ManageRepository>, id: TokenId) -> Result<()> {
        let mut under = self.under(grant);
        loop {
            let old = by_id(self.meta.as_ref(), id).await?;
            let old = old.filter(|token| token.repository == grant.target().id);
            let old = old.ok_or_else(|| Error::not_found(What::Token, format!("there is no token {id}")))?;
            let mut batch = Batch::new();
            batch.replace(Some(&old), None);
            revisions::bump(&mut batch, Subject::Credential(id));
            let stream = events::stream_of_owner(grant.target().owner);
            events::rights(&mut batch, stream, grant.caller(), "workflow.revoke", format!("token:{id}"));
            if under.commit(batch).await? == Outcome::Done {
                return Ok(());
            }
        }
    }

    /// Ends the workflow token that a caller signed in with, at the end of its job. Says whether there was one.
    pub async fn end_own_workflow_token(&self, caller: &Caller) -> Result<bool> {
        let Some(id) = caller.credential else { return Ok(false) };
        let Some(old) = by_id(self.meta.as_ref(), id).await? else { return Ok(false) };
        let mut batch = Batch::new();
        batch.replace(Some(&old), None);
        revisions::bump(&mut batch, Subject::Credential(id));
        // Met by another that ends it: then it has ended.
        Ok(self.commit_job(batch).await? == Outcome::Done)
    }

    /// Deletes workflow tokens that have expired, and forgets exchanged tokens that nobody could use again: at most so many of each.
    /// Says how many went.
    pub async fn expire_exchanges(&self, at: Timestamp, most: usize) -> Result<usize> {
        let mut gone = 0;
        for (key, _) in self.meta.scan(&UsedTokenRecord::by_time(), None, most).await? {
            let Some((until, name)) = UsedTokenRecord::in_entry(&key) else { continue };
            if until >= at.seconds() {
                break;
            }
            let mut batch = Batch::new();
            batch.replace(Some(&UsedTokenRecord { name, until }), None);
            gone += usize::from(self.commit_job(batch).await? == Outcome::Done);
        }
        for (_, bytes) in accounts::walk(self.meta.as_ref(), &WorkflowTokenRecord::all()).await? {
            let Ok(token) = WorkflowTokenRecord::decode(&bytes) else { continue };
            if token.expires <= at.0 && gone < most {
                let mut batch = Batch::new();
                batch.replace(Some(&token), None);
                gone += usize::from(self.commit_job(batch).await? == Outcome::Done);
            }
        }
        Ok(gone)
    }
}
