//! The commands of `packhouse gc`.

use serde::{Deserialize, Serialize};

use super::{Answer, execute::table};
use crate::{
    auth::{Caller, Grant, Operate},
    error::Result,
    model::Timestamp,
    registry::{CollectionFigures, CollectionState, Registry},
};

/// What can be asked of collection.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Gc {
    /// How it stands.
    State,
    /// What would go.
    DryRun,
    /// Collects a slice of what was due at `until`, in milliseconds since the epoch. The command line repeats it with the
    /// same `until` while the figure `more` is 1, and adds up the other figures.
    Now {
        /// The moment.
        until: u64,
    },
    /// Pauses it, or resumes it.
    Pause {
        /// Which of the two.
        paused: bool,
    },
}

/// Entries of each queue in one slice: a second or so of work.
const SLICE: usize = 1000;
/// Blobs that a dry run lists by name.
const SHOWN: usize = 10_000;

/// Does it.
pub(super) async fn execute(registry: &Registry, caller: &Caller, command: Gc) -> Result<Answer> {
    let grant: Grant<Operate> = registry.policy().authorize_system(caller)?;
    match command {
        Gc::State => state(&registry.collection_figures(&grant).await?, grant.at()),
        Gc::DryRun => dry_run(registry, &grant).await,
        Gc::Now { until } => now(registry, &grant, Timestamp(until)).await,
        Gc::Pause { paused } => {
            registry.set_collection_paused(&grant, paused).await?;
            let note = if paused {
                "collection is paused, also after a restart, until packhouse gc --resume"
            } else {
                "collection goes on"
            };
            Ok(Answer { note: Some(note.to_owned()), ..Answer::default() })
        }
    }
}

async fn now(registry: &Registry, grant: &Grant<Operate>, until: Timestamp) -> Result<Answer> {
    let slice = registry.collect_now(grant, until, SLICE).await?;
    let left = registry.collection_figures(grant).await?;
    let figures = [
        ("more", u64::from(slice.more)),
        ("reviewed", slice.done.reviewed),
        ("postponed", slice.done.postponed),
        ("collected", slice.done.collected),
        ("collected_bytes", slice.done.collected_bytes),
        ("deleted", slice.done.deleted),
        ("freed_bytes", slice.done.freed_bytes),
        ("left_due", left.due),
        ("left_trash", left.trash),
        ("left_trash_bytes", left.trash_bytes),
    ];
    let figures = figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Ok(Answer { figures, ..Answer::default() })
}

async fn dry_run(registry: &Registry, grant: &Grant<Operate>) -> Result<Answer> {
    let run = registry.collection_dry_run(grant, SHOWN).await?;
    let rows = run.blobs.iter().map(|blob| [blob.digest.to_string(), blob.size.to_string()]).collect();
    let listed = run.blobs.len() as u64;
    let mut note = format!(
        "{} blobs of {} bytes would be collected now, and {} files of {} bytes deleted from the trash; nothing was changed",
        run.count, run.bytes, run.files, run.file_bytes
    );
    if listed < run.count {
        note.push_str(&format!("; the first {listed} are listed"));
    }
    if run.cut {
        note.push_str("; the queue is longer than a dry run looks, so there may be more");
    }
    Ok(Answer { note: Some(note), ..table(["digest", "bytes"], rows)? })
}

fn state(figures: &CollectionFigures, at: Timestamp) -> Result<Answer> {
    let done = figures.done;
    let row = [
        figures.state.word().to_owned(),
        figures.due.to_string(),
        figures.oldest.map_or_else(|| "-".to_owned(), |due| seconds_between(due, at)),
        figures.trash.to_string(),
        figures.trash_bytes.to_string(),
        done.collected.to_string(),
        done.collected_bytes.to_string(),
        done.deleted.to_string(),
        done.freed_bytes.to_string(),
    ];
    let columns = [
        "state",
        "due",
        "oldest due s",
        "trash files",
        "trash bytes",
        "collected",
        "collected bytes",
        "deleted",
        "freed bytes",
    ];
    let mut note = match figures.state {
        CollectionState::Running => "blobs that nothing holds are collected by themselves".to_owned(),
        CollectionState::Paused => "collection is paused: packhouse gc --resume lets it go on".to_owned(),
        CollectionState::Off => "gc.enabled is false: only packhouse gc --now collects".to_owned(),
        CollectionState::ReadOnly => "the registry is read-only and collects nothing".to_owned(),
    };
    if let Some(until) = figures.trash_until {
        note.push_str(&format!("; the trash can be empty after {until}"));
    }
    Ok(Answer { note: Some(note), ..table(columns, vec![row])? })
}

fn seconds_between(from: Timestamp, to: Timestamp) -> String {
    to.seconds().saturating_sub(from.seconds()).to_string()
}
