//! Looking at one digest: is anything holding it?
//!
//! The answer and what follows from it are one batch. It expects what the answer rests on, so a hold that comes or goes
//! between reading and writing makes it fail, and the digest is looked at again. There is no state in between: a daemon
//! that stops at any moment leaves the digest as it was, with its entry in the queue, or collected.
//!
//! Why no hold is overlooked. Whoever adds one changes or expects a key that the batch here expects too: an upload and a
//! mount expect the blob's record (or that it is absent, and write it); a manifest expects the record and the lease or
//! edge by which its package holds the blob; HEAD expects the record and the lease it renews; a manifest's deletion and
//! restoration turn edges of one kind into edges of the other, and each is expected to be none here.
//!
//! Why no digest is forgotten. An entry is dropped when something holds the digest. If that is an edge, whoever removes
//! it queues an entry in the same batch. If it is a lease, the batch that wrote the lease queued an entry for its end;
//! entries go only when a review at or after their time is done with them, and a review removes every lease that is over
//! by then: so as long as a lease stands, so does its entry.

use super::Collected;
use crate::{
    error::Result,
    model::{Digest, Timestamp},
    registry::{
        Registry,
        holds::is_open,
        records::{
            BlobRecord, Hold, Location,
            blob::{holds_of, review_key, trash_key, trash_value},
        },
        revisions::Outcome,
    },
    store::{Batch, Key, Prefix},
};

/// Leases looked at in one batch.
const LEASES: usize = 256;
/// Conflicts before an entry is left for the next step: each means that somebody changed what holds the digest.
const ATTEMPTS: usize = 16;
/// How long an entry waits that could not be reviewed, in seconds: it must not keep the queue's front busy.
const POSTPONE: u64 = 3600;

/// What a review would do.
struct Judgement {
    batch: Batch,
    verdict: Verdict,
}

/// What a review found.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    /// Something holds the digest, or there is no such blob: its entry is dropped.
    Stays,
    /// Nothing holds it: the record goes.
    Goes(BlobRecord),
    /// Leases that are over are in the way of an answer: they are removed first.
    Prune,
}

impl Registry {
    /// Reviews one entry of the queue. `false`: it is still there, because others were faster every time.
    pub(super) async fn review_entry(
        &self,
        entry: &Key,
        digest: &Digest,
        at: Timestamp,
        done: &mut Collected,
    ) -> Result<bool> {
        for _ in 0..ATTEMPTS {
            let Judgement { mut batch, verdict } = match self.judge(digest, at).await {
                Ok(judgement) => judgement,
                Err(error) => {
                    self.postpone(entry, digest, at).await?;
                    done.postponed += 1;
                    tracing::warn!(%digest, %error, "a blob could not be reviewed; it stays for now");
                    return Ok(true);
                }
            };
            if verdict != Verdict::Prune {
                batch.delete(entry.clone());
            }
            // Losing a review in a power cut costs its repetition. Purging waits until it is durable.
            batch.lazy = true;
            match (self.commit_job(batch).await?, verdict) {
                (Outcome::Again, _) | (Outcome::Done, Verdict::Prune) => {}
                (Outcome::Done, Verdict::Stays) => {
                    done.reviewed += 1;
                    return Ok(true);
                }
                (Outcome::Done, Verdict::Goes(record)) => {
                    done.reviewed += 1;
                    done.collected += 1;
                    done.collected_bytes += record.size;
                    tracing::debug!(%digest, size = record.size, "collected");
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    async fn judge(&self, digest: &Digest, at: Timestamp) -> Result<Judgement> {
        let guard = BlobRecord::key_of(digest);
        let mut batch = Batch::new();
        let all_leases = holds_of(digest, Hold::Lease);
        let leases = self.meta.scan(&all_leases, None, LEASES).await?;
        let mut over = Vec::new();
        let mut held = false;
        for (key, value) in &leases {
            if is_open(value, at) {
                held = true;
            } else {
                over.push(key);
                batch.delete(key.clone());
            }
            batch.expect_equals(key.clone(), Some(value.clone()));
        }
        for hold in [Hold::Live, Hold::Held] {
            let edges = holds_of(digest, hold);
            // One reason is enough: when it goes, that brings an entry of its own.
            if !held && self.meta.any(&edges).await? {
                batch.expect_prefix(edges, Prefix::Some, guard.clone());
                held = true;
            }
        }
        let Some(value) = self.meta.get(&guard).await?.filter(|_| !held) else {
            if !held {
                batch.expect_absent(guard);
            }
            let verdict = if leases.len() < LEASES || held { Verdict::Stays } else { Verdict::Prune };
            return Ok(Judgement { batch, verdict });
        };
        let record = BlobRecord::decode(*digest, &value)?;
        let none = match over.as_slice() {
            [] => Prefix::Empty,
            [one] => Prefix::Only((*one).clone()),
            // Only one can be expected to be alone.
            _ => return Ok(Judgement { batch, verdict: Verdict::Prune }),
        };
        batch.expect_prefix(all_leases, none, guard.clone());
        for hold in [Hold::Live, Hold::Held] {
            batch.expect_prefix(holds_of(digest, hold), Prefix::Empty, guard.clone());
        }
        batch.replace(Some(&record), None);
        match record.location {
            Location::Inline => batch.delete(BlobRecord::inline_key(digest)),
            Location::Physical(key) => {
                let due = at.plus_seconds(self.settings().trash_grace);
                batch.put(trash_key(due, key), trash_value(record.size));
            }
        }
        Ok(Judgement { batch, verdict: Verdict::Goes(record) })
    }

    async fn postpone(&self, entry: &Key, digest: &Digest, at: Timestamp) -> Result<()> {
        let mut batch = Batch::new();
        batch.delete(entry.clone());
        batch.put(review_key(at.plus_seconds(POSTPONE), digest), bytes::Bytes::new());
        self.commit_job(batch).await.map(|_| ())
    }
}
