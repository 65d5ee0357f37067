//! Rows of release 0.1.0, which said nothing of their owners, are put into the lists: once.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::super::{
    Registry, packages,
    records::{AuditRecord, Log, from_json, meta, tag, to_json},
    revisions::Outcome,
};
use crate::{
    error::{Error, Result},
    model::{OwnerId, Timestamp},
    store::{Batch, Key, Record as _},
};

/// That all rows are in the lists.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Upgraded {
    /// Since when, in milliseconds since the epoch.
    audit: u64,
}

const VERSION: u8 = 1;

pub(super) fn key() -> Key {
    meta(tag::SETTING).with_text("audit")
}

/// Notes in a batch that no row of the older form is left.
pub(crate) fn done(batch: &mut Batch, at: Timestamp) {
    batch.put(key(), to_json(VERSION, &Upgraded { audit: at.0 }));
}

/// What an older release wrote of accounts that is the installation's business.
const OF_INSTALLATION: [&str; 5] =
    ["user.create", "user.suspend", "user.resume", "org.create", "account.remove"];

impl Registry {
    /// Puts the rows of an older release into the lists. Costs one read when that was done.
    pub(crate) async fn upgrade_audit(&self) -> Result<()> {
        if let Some(bytes) = self.meta.get(&key()).await? {
            return from_json::<Upgraded>(VERSION, &bytes, "mark of the audit log").map(|_| ());
        }
        let mut rows = 0;
        for streams in AuditRecord::streams() {
            let change =
                async |batch: &mut Batch, key: &Key, value: &Bytes| self.listed(batch, key, value).await;
            rows += self.each(&streams, change).await?;
        }
        let mut batch = Batch::new();
        done(&mut batch, self.now());
        if self.commit_job(batch).await? != Outcome::Done {
            return Err(Error::internal("the mark of the audit log met a conflict"));
        }
        tracing::info!(rows, "the audit log is indexed");
        Ok(())
    }

    /// A row in its newer form, with its lists.
    async fn listed(&self, batch: &mut Batch, key: &Key, value: &Bytes) -> Result<()> {
        if !AuditRecord::is_first(value) {
            return Ok(());
        }
        let (log, number) = AuditRecord::place(key)
            .ok_or_else(|| Error::internal("the key of an audit row cannot be read"))?;
        let mut row = AuditRecord::decode(log, number, value)?;
        if let Log::Package(id) = log {
            // Whose package it was that is gone for good, nobody knows any more.
            let package = packages::by_id(self.meta.as_ref(), id).await?;
            row.entry.owner = package.map_or(OwnerId::INSTALLATION, |package| package.owner);
        }
        row.entry.system = row.entry.did.iter().any(|deed| OF_INSTALLATION.contains(&deed.action.as_str()));
        batch.expect_equals(key.clone(), Some(value.clone()));
        batch.put(key.clone(), row.value());
        row.index().into_iter().for_each(|entry| batch.put(entry, Bytes::new()));
        Ok(())
    }
}
