//! Checking every promise of the design over all that is stored, while the daemon runs or without it.
//!
//! A check walks the key space once, a page at a time. Each page is read from a snapshot of its own and every key is
//! judged by that snapshot: batches are whole in it, so what disagrees there disagrees. What is judged is local: a record
//! asks for its index entries, an index entry for its record; so incremental and rebuilt index are compared both ways, and
//! memory does not grow with what is stored. A finding is judged again by a fresh snapshot before it is told. What is not
//! in the key space (files) is looked at between two readings of the record that promises it.
//!
//! Repairs are conditional batches on what was found, and none can lose anything: index entries follow from records,
//! reviews are queued, damaged blobs are quarantined. There is no other way to rebuild an index: this is it.

mod blobs;
mod events;
mod exchange;
mod fields;
mod finding;
mod holds;
mod index;
mod leaks;
mod manifests;
mod meta;
mod names;
mod people;
mod queue;
mod repositories;
mod stored;
mod teams;
#[cfg(test)]
pub(super) mod tests;

use bytes::Bytes;
use finding::Found;
pub use finding::{Code, Finding, Repair, Severity};
use tokio::sync::mpsc;

use super::Registry;
use crate::{
    auth::{Grant, Operate},
    error::{Error, Kind, Result},
    model::{Digest, Timestamp},
    store::{Batch, CommitError, Key, MetadataRead, Space},
};

/// How a check is done.
#[derive(Debug, Clone, Copy, Default)]
pub struct FsckOptions {
    /// Read and hash all bytes, too.
    pub deep: bool,
    /// Repair what can be repaired without losing anything.
    pub repair: bool,
}

/// What a check says while it runs.
#[derive(Debug)]
pub enum Said {
    /// How far it is: where, and how many keys and files it has seen.
    Progress(&'static str, u64),
    /// Something is not as promised.
    Finding(Finding),
}

/// What a check came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checked {
    /// Keys seen.
    pub keys: u64,
    /// Files of the blob store seen.
    pub files: u64,
    /// Bytes hashed.
    pub hashed: u64,
    /// Findings told.
    pub found: u64,
    /// Those of them that were repaired.
    pub repaired: u64,
    /// Files that nothing points at, younger than their grace period: no finding, since they go by themselves.
    pub waiting: u64,
}

impl Checked {
    /// Findings that are still there.
    pub fn left(&self) -> u64 {
        self.found - self.repaired
    }
}

/// Most findings that [`Registry::findings`] gathers.
const GATHERED: usize = 10_000;
/// Keys between two words about progress.
const STEP: u64 = 50_000;

impl Registry {
    /// Checks everything. What it finds it says at once, to `say`; nothing is kept.
    ///
    /// # Errors
    /// When the stores cannot be read, or nobody listens any more.
    pub async fn fsck(
        &self,
        grant: &Grant<Operate>,
        options: FsckOptions,
        say: mpsc::Sender<Said>,
    ) -> Result<Checked> {
        let mut run = Run {
            registry: self,
            options,
            at: grant.at(),
            say,
            checked: Checked::default(),
            unheld: Vec::new(),
            told: 0,
        };
        for space in Space::ALL {
            run.space(space).await?;
        }
        run.leaks().await?;
        run.files().await?;
        Ok(run.checked)
    }

    /// The same for those who want the findings at once, at most 10,000.
    pub async fn findings(&self, grant: &Grant<Operate>, options: FsckOptions) -> Result<Vec<Finding>> {
        let (say, mut heard) = mpsc::channel(64);
        let gather = async {
            let mut findings = Vec::new();
            while let Some(said) = heard.recv().await {
                if let Said::Finding(finding) = said
                    && findings.len() < GATHERED
                {
                    findings.push(finding);
                }
            }
            findings
        };
        let (checked, findings) = tokio::join!(self.fsck(grant, options, say), gather);
        checked.map(|_| findings)
    }
}

/// A check under way.
struct Run<'a> {
    registry: &'a Registry,
    options: FsckOptions,
    at: Timestamp,
    say: mpsc::Sender<Said>,
    checked: Checked,
    /// Blobs that nothing holds, for which a review must be due.
    unheld: Vec<Digest>,
    told: u64,
}

/// One key being judged, by one view.
struct Check<'a> {
    registry: &'a Registry,
    view: &'a dyn MetadataRead,
    at: Timestamp,
    deep: bool,
    /// The key before it in the walk.
    before: Option<&'a Key>,
    found: Vec<Found>,
    unheld: bool,
    hashed: u64,
}

/// Keys read at once: fewer where values are large (manifests have up to 4 MiB).
fn page(space: Space) -> usize {
    if space == Space::Doc { 16 } else { 256 }
}

impl<'a> Run<'a> {
    /// Walks one part of the key space.
    async fn space(&mut self, space: Space) -> Result<()> {
        let all = Key { space, bytes: Vec::new() };
        let mut after: Option<Key> = None;
        loop {
            let view = self.registry.meta.snapshot()?;
            let entries = view.scan(&all, after.as_ref(), page(space)).await?;
            let last = entries.len() < page(space);
            for (key, value) in entries {
                self.key(view.as_ref(), after.as_ref(), &key, &value).await?;
                after = Some(key);
            }
            self.progress(space.word()).await?;
            if last {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
    }

    async fn key(
        &mut self,
        view: &dyn MetadataRead,
        before: Option<&Key>,
        key: &Key,
        value: &Bytes,
    ) -> Result<()> {
        self.checked.keys += 1;
        let mut check = self.check(view, before);
        check.judge(key, value).await?;
        let Check { found, hashed, unheld, .. } = check;
        self.checked.hashed += hashed;
        if unheld {
            self.unheld.extend(Digest::read_key(&key.bytes[1..]).map(|(digest, _)| digest));
            if self.unheld.len() >= leaks::GATHERED {
                self.leaks().await?;
            }
        }
        if found.is_empty() {
            return Ok(());
        }
        // Judged again by what is there now: what changed meanwhile is no finding.
        let fresh = self.registry.meta.snapshot()?;
        let Some(value) = fresh.get(key).await? else { return Ok(()) };
        let mut again = self.check(fresh.as_ref(), before);
        again.judge(key, &value).await?;
        let Check { found, .. } = again;
        for found in found {
            self.tell(found).await?;
        }
        Ok(())
    }

    fn check<'b>(&self, view: &'b dyn MetadataRead, before: Option<&'b Key>) -> Check<'b>
    where
        'a: 'b,
    {
        Check {
            registry: self.registry,
            view,
            at: self.at,
            deep: self.options.deep,
            before,
            found: Vec::new(),
            unheld: false,
            hashed: 0,
        }
    }

    /// Repairs a finding, if that is asked for, and says it.
    async fn tell(&mut self, found: Found) -> Result<()> {
        let Found { mut finding, mend } = found;
        if self.options.repair
            && let Some(batch) = mend
        {
            finding.repair = match self.registry.meta.commit(batch).await {
                Ok(_) => Repair::Done,
                Err(CommitError::Conflict(_) | CommitError::Quota(_)) => Repair::Changed,
                Err(CommitError::Failed(error)) => return Err(error),
            };
        }
        self.checked.found += 1;
        self.checked.repaired += u64::from(finding.repair == Repair::Done);
        self.say(Said::Finding(finding)).await
    }

    async fn say(&self, said: Said) -> Result<()> {
        let gone = |_| Error::new(Kind::Unavailable, "nobody waits for the check any more");
        self.say.send(said).await.map_err(gone)
    }

    async fn progress(&mut self, place: &'static str) -> Result<()> {
        let seen = self.checked.keys + self.checked.files;
        if seen - self.told < STEP {
            return Ok(());
        }
        self.told = seen;
        self.say(Said::Progress(place, seen)).await
    }
}

impl Check<'_> {
    /// Judges one key: which record or index it is, and whether all that follows from it is there.
    async fn judge(&mut self, key: &Key, value: &Bytes) -> Result<()> {
        match key.space {
            Space::Meta => self.meta(key, value).await,
            Space::Blob => self.blob(key, value).await,
            Space::Refs => self.refs(key, value).await,
            Space::Doc => self.doc(key, value).await,
            Space::Inline => self.inline(key, value).await,
            Space::Queue => self.queue(key, value).await,
            Space::Event => self.event(key, value).await,
        }
    }

    fn add(&mut self, found: Found) {
        self.found.push(found);
    }

    fn find(&mut self, code: Code, object: impl Into<String>, message: impl Into<String>) {
        self.add(Found::new(code, object, message));
    }

    /// A key that this program writes nowhere. Left alone: a newer program may have.
    fn unknown(&mut self, key: &Key) {
        self.find(Code::KeyUnknown, shown(key), "no record or index has such a key");
    }
}

/// A key for people.
fn shown(key: &Key) -> String {
    match key.bytes.split_first() {
        Some((tag, rest)) => {
            format!("key {}/{}:{}", key.space.word(), char::from(*tag).escape_default(), hex::encode(rest))
        }
        None => format!("key {}/", key.space.word()),
    }
}

/// A batch that changes something only while a key is as it was found.
fn only_if(key: &Key, value: Option<&Bytes>) -> Batch {
    let mut batch = Batch::new();
    batch.expect_equals(key.clone(), value.cloned());
    batch
}
