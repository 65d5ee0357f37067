//! Which jobs of which issuers get a repository's tokens.

use std::collections::BTreeSet;

use crate::{
    auth::{Grant, ManageRepository, Subject, Verified},
    error::{Error, Kind, Reason, Result, What},
    model::{RepositoryId, TrustId},
    registry::{
        Registry, accounts, events,
        records::TrustRecord,
        revisions::{self, Outcome},
    },
    store::Batch,
};

/// Most trusts of a repository: an exchange reads them all, and they go with it in one batch.
pub const MAX_TRUSTS: usize = 100;
/// Longest value of a condition, in bytes, and most events.
const MAX_TEXT: usize = 512;
const MAX_EVENTS: usize = 20;

/// A trust to be made. Every value that is given must be the token's, exactly.
#[derive(Debug, Clone, Default)]
pub struct NewTrust {
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
    /// What may start the job; when it is empty, what the kind of issuer lets in by itself.
    pub events: BTreeSet<String>,
    /// Whether its tokens may write.
    pub write: bool,
}

impl NewTrust {
    fn check(&self) -> Result<()> {
        let given = [&self.owner, &self.reference, &self.workflow, &self.environment];
        let mut texts =
            [&self.issuer, &self.source].into_iter().chain(given.into_iter().flatten()).chain(&self.events);
        if texts.any(|text| text.is_empty() || text.len() > MAX_TEXT) || self.events.len() > MAX_EVENTS {
            let text =
                format!("each value has 1 to {MAX_TEXT} bytes, and there are {MAX_EVENTS} events at most");
            return Err(Error::invalid(What::Repository, text));
        }
        Ok(())
    }
}

/// Whether a token is of a job that is trusted: all that is named must be there and the same.
pub(super) fn holds(trust: &TrustRecord, verified: &Verified) -> bool {
    let names = verified.issuer.names();
    let claims = &verified.claims;
    let is = |name: Option<&str>, wanted: &str| name.and_then(|name| claims.text(name)) == Some(wanted);
    let given =
        |name: Option<&str>, wanted: &Option<String>| wanted.as_ref().is_none_or(|wanted| is(name, wanted));
    let event = match names.event {
        None => trust.events.is_empty(),
        Some(name) => claims.text(name).is_some_and(|event| match trust.events.is_empty() {
            true => names.events.contains(&event),
            false => trust.events.contains(event),
        }),
    };
    trust.issuer == verified.issuer.url
        && is(Some(names.repository), &trust.source)
        && given(names.owner, &trust.owner)
        && given(names.reference, &trust.reference)
        && given(names.workflow, &trust.workflow)
        && given(names.environment, &trust.environment)
        && event
}

impl Registry {
    /// Makes a repository trust jobs of an issuer.
    ///
    /// # Errors
    /// Forbidden when the caller has not the role admin on the repository itself, and over the limit; invalid when a value is
    /// empty or too long.
    pub async fn add_trust(&self, grant: &Grant<ManageRepository>, new: &NewTrust) -> Result<TrustId> {
        new.check()?;
        let caller = grant.caller();
        if caller.limits.as_ref().is_some_and(|limits| !limits.are_none()) {
            let text = "a limited token cannot say which jobs are trusted";
            return Err(Error::new(Kind::Forbidden(Reason::TokenLimit), text));
        }
        let id = TrustId::random()?;
        let mut under = self.under(grant);
        loop {
            let repository = self.administered(grant).await?;
            if self.trusts(grant).await?.len() >= MAX_TRUSTS {
                let text = format!("a repository trusts {MAX_TRUSTS} kinds of jobs at most");
                return Err(Error::new(Kind::Forbidden(Reason::Policy), text));
            }
            let new = new.clone();
            let record = TrustRecord {
                id,
                repository: repository.id,
                issuer: new.issuer,
                source: new.source,
                owner: new.owner,
                reference: new.reference,
                workflow: new.workflow,
                environment: new.environment,
                events: new.events,
                write: new.write,
                created: grant.at().0,
            };
            let mut batch = Batch::new();
            batch.replace(None, Some(&record));
            // What the grant expects: so there are not too many, and none outlives the repository.
            revisions::bump(&mut batch, Subject::Repository(repository.id));
            let detail =
                format!("trust:{id} repository:{} {} {}", repository.id, record.issuer, record.source);
            let stream = events::stream_of_owner(repository.owner);
            events::rights(&mut batch, stream, caller, "repository.trust", detail);
            if under.commit(batch).await? == Outcome::Done {
                return Ok(id);
            }
        }
    }

    /// Which jobs a repository trusts.
    pub async fn trusts(&self, grant: &Grant<ManageRepository>) -> Result<Vec<TrustRecord>> {
        let stored = accounts::walk(self.meta.as_ref(), &TrustRecord::of(grant.target().id)).await?;
        stored.iter().map(|(_, bytes)| TrustRecord::decode(bytes)).collect()
    }

    /// Ends a trust. Tokens that were got by it live on for their hour: end them by their own ids.
    ///
    /// # Errors
    /// Not found.
    pub async fn end_trust(&self, grant: &Grant<ManageRepository>, id: TrustId) -> Result<()> {
        let mut under = self.under(grant);
        loop {
            let old = self.trusts(grant).await?.into_iter().find(|trust| trust.id == id);
            let old = old.ok_or_else(|| {
                Error::not_found(What::Repository, format!("the repository has no trust {id}"))
            })?;
            let mut batch = Batch::new();
            batch.replace(Some(&old), None);
            revisions::bump(&mut batch, Subject::Repository(old.repository));
            let stream = events::stream_of_owner(grant.target().owner);
            events::rights(&mut batch, stream, grant.caller(), "repository.distrust", format!("trust:{id}"));
            if under.commit(batch).await? == Outcome::Done {
                return Ok(());
            }
        }
    }

    /// Ends all trusts of a repository, in the batch that removes it or hands it over.
    pub(in crate::registry) async fn end_trusts_of(
        &self,
        batch: &mut Batch,
        repository: RepositoryId,
    ) -> Result<()> {
        for (_, bytes) in accounts::walk(self.meta.as_ref(), &TrustRecord::of(repository)).await? {
            batch.replace(Some(&TrustRecord::decode(&bytes)?), None);
        }
        Ok(())
    }
}
