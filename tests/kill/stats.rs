//! What a run did, in figures.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

#[derive(Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

#[derive(Default)]
pub struct Stats {
    pub kills: Count,
    pub stillborn: Count,
    pub worlds: Count,
    pub acked: Count,
    pub refused: Count,
    /// Answers of 500 and more.
    pub faults: Count,
    pub lost: Count,
    pub resolved_done: Count,
    pub resolved_undone: Count,
    pub retried: Count,
    pub checked: Count,
    pub objects: Count,
    pub bytes: Count,
    pub pushed: Count,
    pub lists: Count,
    pub sessions: Count,
    pub sessions_short: Count,
    pub sessions_gone: Count,
    pub sessions_beyond: Count,
    pub sessions_finished: Count,
    pub chains: Count,
    pub checks: Count,
    pub backups: Count,
    /// Backups that a kill cut short.
    pub backups_cut: Count,
    pub backups_restored: Count,
    /// Facts that restored backups were asked.
    pub backups_facts: Count,
    starts: Mutex<Vec<Duration>>,
    asked: Mutex<BTreeMap<&'static str, u64>>,
}

impl Stats {
    pub fn asked(&self, name: &'static str) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += 1;
    }

    /// An object was downloaded and hashed.
    pub fn verified(&self, bytes: u64) {
        self.objects.add(1);
        self.bytes.add(bytes);
    }

    /// A session said where it stands.
    pub fn session(&self, offset: u64, acked: u64) {
        self.sessions.add(1);
        self.sessions_short.add(u64::from(offset < acked));
        self.sessions_beyond.add(u64::from(offset > acked));
    }

    pub fn started(&self, took: Duration) {
        self.starts.lock().unwrap_or_else(PoisonError::into_inner).push(took);
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        starts.sort_unstable();
        let start = |percent: usize| {
            starts.get((starts.len().max(1) - 1) * percent / 100).copied().unwrap_or_default()
        };
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(
            f,
            "kills {} (of them before it was up {}), data folders {}",
            self.kills.get() + self.stillborn.get(),
            self.stillborn.get(),
            self.worlds.get(),
        )?;
        writeln!(
            f,
            "requests {}: done {}, refused {}, 5xx {}, unanswered {} (found done {}, found undone {}, tried again {})",
            asked.values().sum::<u64>(),
            self.acked.get(),
            self.refused.get(),
            self.faults.get(),
            self.lost.get(),
            self.resolved_done.get(),
            self.resolved_undone.get(),
            self.retried.get(),
        )?;
        writeln!(f, "requests by kind {:?}", *asked)?;
        writeln!(
            f,
            "facts checked {}, objects downloaded {}, bytes hashed {} MiB, bytes chosen to be pushed {} MiB, lists compared {}, \
             contended tags checked {}, fsck runs {}",
            self.checked.get(),
            self.objects.get(),
            self.bytes.get() >> 20,
            self.pushed.get() >> 20,
            self.lists.get(),
            self.chains.get(),
            self.checks.get(),
        )?;
        writeln!(
            f,
            "sessions asked {}: beyond what was acknowledged {}, short of it {}, gone {}; finished after a kill {}",
            self.sessions.get(),
            self.sessions_beyond.get(),
            self.sessions_short.get(),
            self.sessions_gone.get(),
            self.sessions_finished.get(),
        )?;
        writeln!(
            f,
            "backups {}: cut short {}, restored {}, facts of theirs checked {}",
            self.backups.get(),
            self.backups_cut.get(),
            self.backups_restored.get(),
            self.backups_facts.get(),
        )?;
        write!(f, "starts: half within {:?}, slowest {:?}", start(50), start(100))
    }
}
