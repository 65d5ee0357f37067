//! The end of old rows.

use std::collections::BTreeSet;

use super::super::{
    Registry,
    records::{
        AuditRecord, Log,
        audit::{entry_in, everything, moment},
    },
    revisions::Outcome,
};
use crate::{error::Result, model::Timestamp, store::Batch};

/// Rows read at once.
const STRIDE: usize = 256;

impl Registry {
    /// Deletes rows of the audit log that are older than it keeps, about `limit`; says how many. A stream goes from its
    /// beginning on, so what is left of it is whole; a row behind one that is younger waits for that.
    pub async fn expire_audit(&self, at: Timestamp, limit: usize) -> Result<usize> {
        self.sum_up_told().await?;
        let keep = self.settings().audit_keep;
        if keep == 0 {
            return Ok(0);
        }
        let before = Timestamp(at.0.saturating_sub(keep.saturating_mul(1000)));
        let all = everything();
        let start = all.clone().with(&moment(before));
        let mut after = start.clone();
        let mut done = 0;
        while done < limit {
            let page = self.meta.scan(&all, Some(&after), STRIDE).await?;
            let Some((last, _)) = page.last() else { break };
            let logs: BTreeSet<Log> =
                page.iter().filter_map(|(key, _)| Some(entry_in(key, &all)?.1)).collect();
            let mut gone = 0;
            for log in logs {
                gone += self.shorten(log, before).await?;
            }
            done += gone;
            // What was in this page may be gone, and what came behind it is next.
            after = if gone == 0 { last.clone() } else { start.clone() };
        }
        Ok(done)
    }

    /// Deletes the beginning of a stream, as far as it is older than this.
    async fn shorten(&self, log: Log, before: Timestamp) -> Result<usize> {
        let mut batch = Batch::new();
        let mut gone = 0;
        for (key, value) in self.meta.scan(&log.stream(), None, STRIDE).await? {
            let Some((log, number)) = AuditRecord::place(&key) else { break };
            let row = match AuditRecord::decode(log, number, &value) {
                Ok(row) => row,
                // What cannot be read stays, and what is behind it too. A check tells of it.
                Err(error) => {
                    tracing::error!(%error, "a row of the audit log cannot be read, and stays");
                    break;
                }
            };
            if row.entry.at > before.0 {
                break;
            }
            batch.replace(Some(&row), None);
            gone += 1;
        }
        batch.lazy = true;
        Ok(if self.commit_job(batch).await? == Outcome::Done { gone } else { 0 })
    }
}
