//! Revisions of rights: read with every decision, counted up with every change, expected by every batch written under a
//! grant. This is what makes a revoked right end at once, and what keeps caches honest.

pub(crate) use super::records::is_revision;
use super::{Registry, records::revision_key};
use crate::{
    auth::{Action, Grant, Revision, Subject},
    error::{Error, Kind, Result},
    store::{Add, Batch, CommitError, Key, MetadataRead, counter},
};

/// How often one change is built anew because what it was built from moved. Each attempt lost to somebody else's success,
/// so this is far beyond what a busy package sees.
const ATTEMPTS: u32 = 64;

/// Counts a change of somebody's rights, in the batch of that change.
pub(crate) fn bump(batch: &mut Batch, of: Subject) {
    batch.adds.push(Add { key: revision_key(of), amount: 1, at_most: None });
}

/// Expects revisions to be what they were.
pub(crate) fn expect(batch: &mut Batch, revisions: &[Revision]) {
    for revision in revisions {
        // Absent is 0, and an absent key is not a key that holds 0.
        let value = i64::try_from(revision.number).ok().filter(|number| *number != 0);
        let bytes = value.map(|number| number.to_be_bytes().to_vec().into());
        batch.expect_equals(revision_key(revision.of), bytes);
    }
}

/// The revisions of some subjects now.
pub(crate) async fn read(view: &dyn MetadataRead, subjects: &[Subject]) -> Result<Vec<Revision>> {
    let keys: Vec<Key> = subjects.iter().map(|of| revision_key(*of)).collect();
    let values = view.multi_get(&keys).await?;
    let number = |value: &Option<bytes::Bytes>| u64::try_from(counter(value.as_ref())).unwrap_or(0);
    Ok(subjects.iter().zip(&values).map(|(of, value)| Revision { of: *of, number: number(value) }).collect())
}

/// Whether revisions are still what they were.
pub(crate) async fn hold(view: &dyn MetadataRead, revisions: &[Revision]) -> Result<bool> {
    let subjects: Vec<Subject> = revisions.iter().map(|revision| revision.of).collect();
    Ok(read(view, &subjects).await? == revisions)
}

/// How an attempt to commit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is done.
    Done,
    /// What the batch was built from has changed: read it again and build another. The rights still hold.
    Again,
}

/// A change on its way under a grant:
///
/// ```text
/// let mut under = self.under(grant);
/// loop {
///     let batch = …; // from what is stored now
///     if under.commit(batch).await? == Outcome::Done {
///         return Ok(());
///     }
/// }
/// ```
#[derive(Debug)]
pub(crate) struct Under<'a, A: Action> {
    registry: &'a Registry,
    grant: &'a Grant<A>,
    revisions: Vec<Revision>,
    attempts: u32,
}

impl<A: Action> Under<'_, A> {
    /// Commits a batch, provided the rights are what they were when the grant was made, or still allow it.
    ///
    /// # Errors
    /// [`Kind::StaleGrant`] when they do not; unavailable when others were faster too often.
    pub(crate) async fn commit(&mut self, mut batch: Batch) -> Result<Outcome> {
        expect(&mut batch, &self.revisions);
        match self.registry.meta.commit(batch).await {
            Ok(_) => Ok(Outcome::Done),
            Err(CommitError::Quota(_)) => Err(unlimited()),
            Err(CommitError::Failed(error)) => Err(error),
            Err(CommitError::Conflict(key)) => {
                self.attempts += 1;
                if self.attempts >= ATTEMPTS {
                    return Err(Error::new(Kind::Unavailable, "too many changes of the same thing at once"));
                }
                if is_revision(&key) {
                    self.revisions = self.registry.policy.renew(self.grant).await?;
                }
                Ok(Outcome::Again)
            }
        }
    }
}

impl Registry {
    /// Whether what was read under a grant may be given away: the rights must be no older than it. Somebody who was put out,
    /// and then something new was pushed, must not get that by having asked before. Costs nothing while nothing is written.
    ///
    /// # Errors
    /// [`Kind::StaleGrant`] when the right ended before, or while, this was read.
    pub(crate) async fn still<A: Action>(&self, grant: &Grant<A>) -> Result<()> {
        // Nothing at all was committed since before the revisions were read.
        if grant.stamp().is_some() && grant.stamp() == self.meta.stamp() {
            return Ok(());
        }
        if hold(self.meta.as_ref(), grant.revisions()).await? {
            return Ok(());
        }
        self.policy.renew(grant).await.map(|_| ())
    }

    /// Begins a change under a grant.
    pub(crate) fn under<'a, A: Action>(&'a self, grant: &'a Grant<A>) -> Under<'a, A> {
        Under { registry: self, grant, revisions: grant.revisions().to_vec(), attempts: 0 }
    }

    /// Commits a batch that nobody asked for: a job's.
    pub(crate) async fn commit_job(&self, batch: Batch) -> Result<Outcome> {
        match self.meta.commit(batch).await {
            Ok(_) => Ok(Outcome::Done),
            Err(CommitError::Quota(_)) => Err(unlimited()),
            Err(CommitError::Failed(error)) => Err(error),
            Err(CommitError::Conflict(_)) => Ok(Outcome::Again),
        }
    }
}

/// Changes of rights add to revisions only, which have no limit.
fn unlimited() -> Error {
    Error::internal("a change of rights met the limit of a counter")
}
