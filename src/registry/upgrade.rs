//! What an older release stored, made whole by this one: once, when the registry is opened for real.
//!
//! The folder's format was counted up before this begins, so no older release writes behind its back. A mark says that it
//! is done. Whatever ends it before leaves what it did so far, which is right by itself, and the next start begins again.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    Registry, audit, bootstrap, packages,
    records::{PackageRecord, RoleRecord, from_json, meta, tag, to_json},
    revisions::Outcome,
};
use crate::{
    error::{Error, Kind, Result},
    model::Timestamp,
    store::{Batch, Key, Record},
};

/// That an installation has all that this release's lists read.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Upgraded {
    /// Since when the indexes of lists are whole, in milliseconds since the epoch.
    lists: u64,
}

const VERSION: u8 = 1;
/// Records in one batch.
const STEP: usize = 256;
/// How often a page is read again because it changed meanwhile.
const ATTEMPTS: usize = 64;

fn key() -> Key {
    meta(tag::SETTING).with_text("upgraded")
}

/// Notes in a batch that nothing of an older form is left.
pub(super) fn done(batch: &mut Batch, at: Timestamp) {
    audit::done(batch, at);
    listed(batch, at);
}

fn listed(batch: &mut Batch, at: Timestamp) {
    batch.put(key(), to_json(VERSION, &Upgraded { lists: at.0 }));
}

impl Registry {
    /// Brings what an older release stored to the form of this one: to be called once, before anything is served, by
    /// whoever opened the registry for real. Costs one read when there is nothing to do.
    pub async fn upgrade(&self) -> Result<()> {
        // What is made by the first start needs none.
        if bootstrap::installation(self.meta.as_ref()).await?.is_none() {
            return Ok(());
        }
        self.upgrade_lists().await?;
        self.upgrade_audit().await
    }

    async fn upgrade_lists(&self) -> Result<()> {
        if let Some(bytes) = self.meta.get(&key()).await? {
            return from_json::<Upgraded>(VERSION, &bytes, "mark of the upgrade").map(|_| ());
        }
        tracing::info!("indexing the packages of an older release for lists");
        let packages =
            self.each(&PackageRecord::all(), async |batch, key, value| index(batch, key, value)).await?;
        let with_path = async |batch: &mut Batch, _: &Key, value: &Bytes| self.with_path(batch, value).await;
        let roles = self.each(&RoleRecord::all(), with_path).await?;
        let mut batch = Batch::new();
        listed(&mut batch, self.now());
        if self.commit_job(batch).await? != Outcome::Done {
            return Err(Error::internal("the mark of the upgrade met a conflict"));
        }
        tracing::info!(packages, roles, "the lists are indexed");
        Ok(())
    }

    /// Changes the records under a prefix, many in a batch; says how many there were. One that cannot be read stays as it
    /// is: a check tells of it.
    pub(super) async fn each(
        &self,
        prefix: &Key,
        change: impl AsyncFn(&mut Batch, &Key, &Bytes) -> Result<()>,
    ) -> Result<usize> {
        let (mut count, mut conflicts) = (0, 0);
        let mut after: Option<Key> = None;
        loop {
            let page = self.meta.scan(prefix, after.as_ref(), STEP).await?;
            let Some((last, _)) = page.last() else { return Ok(count) };
            let mut batch = Batch::new();
            for (key, value) in &page {
                match change(&mut batch, key, value).await {
                    Ok(()) => {}
                    Err(error) if error.kind() == Kind::Internal => {
                        tracing::error!(%error, "a record cannot be read, and shows in no list");
                    }
                    Err(error) => return Err(error),
                }
            }
            if self.commit_job(batch).await? == Outcome::Done {
                count += page.len();
                after = Some(last.clone());
                continue;
            }
            conflicts += 1;
            if conflicts > ATTEMPTS {
                return Err(Error::new(Kind::Unavailable, "what is to be upgraded changes all the time"));
            }
        }
    }

    /// A role that knows its package's path.
    async fn with_path(&self, batch: &mut Batch, value: &Bytes) -> Result<()> {
        let old = RoleRecord::decode(value)?;
        if old.path.is_empty()
            && let Some(package) = packages::by_id(self.meta.as_ref(), old.package).await?
        {
            let new = RoleRecord { path: package.package_name()?.to_string(), ..old.clone() };
            batch.replace(Some(&old), Some(&new));
        }
        Ok(())
    }
}

/// A package's index as it follows from its record.
fn index(batch: &mut Batch, key: &Key, value: &Bytes) -> Result<()> {
    let index = PackageRecord::decode(value)?.index();
    batch.expect_equals(key.clone(), Some(value.clone()));
    for entry in index {
        batch.put(entry, Bytes::new());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
