//! What is told to the log without a change: refusals and reads. Held in memory for a moment, bounded, then written.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::super::{Registry, events, records::Log, revisions::Outcome};
use crate::{
    auth::{Actor, Caller},
    error::{Error, Kind, Result},
    model::{Deed, Entry, OwnerId, PackageId, Timestamp},
    store::Batch,
};

/// Refusals of one caller that are written at once, and how many milliseconds bring one more.
const BURST: u64 = 50;
const EVERY: u64 = 10_000;
/// The same of all callers together: about 100 MB a day at most.
const BURST_OF_ALL: u64 = 1000;
const EVERY_OF_ALL: u64 = 250;
/// Callers whose rate is remembered.
const CALLERS: usize = 4096;
/// Rows that wait to be written.
const WAITING: usize = 16 << 10;
/// Rows in one batch.
const STEP: usize = 256;
/// Longest text of what was asked for, in bytes.
const ASKED: usize = 512;
/// Milliseconds between two rows that say how many were not written.
const SUMMARY: u64 = 60_000;

/// What is to be written down.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// Who.
    pub caller: &'a Caller,
    /// The name of the action.
    pub action: &'a str,
    /// Whose log it belongs to; `None` is the installation's.
    pub owner: Option<OwnerId>,
    /// The package, if there is one.
    pub package: Option<PackageId>,
    /// What was asked for: the method and the path.
    pub asked: &'a str,
    /// The reason code of a refusal; `None` is a read.
    pub denied: Option<&'a str>,
    /// Whether it is more than a read: reads are written only where a setting wants them.
    pub writes: bool,
}

impl<'a> Told<'a> {
    /// What is to be written of a request that failed: if it was for want of a right, which one the policy noted, or what
    /// came after it had agreed.
    pub fn refusal(caller: &'a Caller, error: &Error, asked: &'a str) -> Option<Self> {
        let note = caller.trail.as_ref()?.last()?;
        let denied = match error.kind() {
            Kind::Forbidden(reason) => Some(note.denied.unwrap_or(reason.word())),
            Kind::NotFound(_) | Kind::Unauthenticated(_) => note.denied,
            _ => None,
        };
        let (action, owner, package) = (note.action, note.owner, note.package);
        Some(Self { caller, action, owner, package, asked, denied: Some(denied?), writes: note.writes })
    }
}

/// Whose rate it is. Who did not sign in is an address; of IPv6 one /64, which is what one client has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Who {
    Actor(Actor),
    Address(IpAddr),
}

impl Who {
    fn of(caller: &Caller) -> Self {
        match (caller.actor, caller.address) {
            (Actor::Anonymous, Some(IpAddr::V6(address))) => {
                let network = u128::from(address) & !u128::from(u64::MAX);
                Self::Address(IpAddr::V6(network.into()))
            }
            (Actor::Anonymous, Some(address)) => Self::Address(address),
            (actor, _) => Self::Actor(actor),
        }
    }
}

/// So many at once, and one more every so often.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// When it will be full again.
    full: u64,
}

impl Bucket {
    /// Whether one more fits now.
    fn take(&mut self, now: u64, burst: u64, every: u64) -> bool {
        let full = self.full.max(now) + every;
        let fits = full <= now + burst * every;
        if fits {
            self.full = full;
        }
        fits
    }
}

#[derive(Debug, Default)]
struct Held {
    rows: VecDeque<(Log, Entry)>,
    callers: HashMap<Who, Bucket>,
    all: Option<Bucket>,
    /// Somebody is writing.
    writing: bool,
    /// Refusals that were not written and not told of yet, and when such were told of last.
    dropped: u64,
    summed: u64,
}

/// What waits to be written.
#[derive(Debug, Default)]
pub(crate) struct Teller {
    held: Mutex<Held>,
    denied: AtomicU64,
    dropped: AtomicU64,
    reads_dropped: AtomicU64,
}

impl Teller {
    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Whether a refusal of this caller is written.
    fn takes(&mut self, who: Who, now: u64) -> bool {
        if self.callers.len() >= CALLERS {
            // Who has used nothing lately is as good as new. Are there still too many, all share the common rate alone.
            self.callers.retain(|_, bucket| bucket.full > now);
            if self.callers.len() >= CALLERS {
                self.callers.clear();
            }
        }
        let own = self.callers.entry(who).or_insert(Bucket { full: 0 });
        own.take(now, BURST, EVERY)
            && self.all.get_or_insert(Bucket { full: 0 }).take(now, BURST_OF_ALL, EVERY_OF_ALL)
    }

    /// The row that says how many were not written, at most one a minute.
    fn summary(&mut self, at: Timestamp) -> Option<(Log, Entry)> {
        if self.dropped == 0 || self.summed + SUMMARY > at.0 {
            return None;
        }
        let caller = Caller::job("audit", at, "audit".into());
        let detail = Some(format!("{} denials", self.dropped));
        let deed = Deed { action: "audit.dropped".to_owned(), digest: None, tag: None, detail };
        (self.dropped, self.summed) = (0, at.0);
        let stream = events::stream_of_owner(OwnerId::INSTALLATION);
        Some((Log::Owner(OwnerId::INSTALLATION), events::row(stream, &caller, vec![deed])))
    }
}

/// What a client asked for, short enough and without what could disguise a line.
fn plain(asked: &str) -> String {
    let cut = &asked[..asked.floor_char_boundary(ASKED)];
    cut.chars().map(|letter| if matches!(letter, ' '..='~') { letter } else { '?' }).collect()
}

impl Registry {
    /// Takes down a refusal or a read. Says whether somebody has to write it ([`Self::write_told`]): nobody is at it.
    pub fn tell(&self, told: Told<'_>) -> bool {
        if !told.writes && !self.settings().audit_reads {
            return false;
        }
        let (teller, now) = (&self.teller, told.caller.at.0);
        let mut held = teller.held();
        let room = held.rows.len() < WAITING;
        if told.denied.is_some() {
            teller.denied.fetch_add(1, Relaxed);
            if !room || !held.takes(Who::of(told.caller), now) {
                teller.dropped.fetch_add(1, Relaxed);
                held.dropped += 1;
                return false;
            }
        } else if !room {
            teller.reads_dropped.fetch_add(1, Relaxed);
            return false;
        }
        let owner = told.owner.unwrap_or(OwnerId::INSTALLATION);
        let deed = Deed { action: told.action.to_owned(), digest: None, tag: None, detail: None };
        let mut entry = events::row(events::stream_of_owner(owner), told.caller, vec![deed]);
        entry.denied = told.denied.map(str::to_owned);
        entry.object = Some(plain(told.asked));
        // Not in the package's own stream, which says what changed it.
        entry.package = told.package;
        held.rows.push_back((Log::Owner(owner), entry));
        !std::mem::replace(&mut held.writing, true)
    }

    /// Writes what was told until nothing is left. What cannot be written is counted among what was not.
    ///
    /// # Errors
    /// When the store takes nothing.
    pub async fn write_told(&self) -> Result<()> {
        loop {
            let mut rows: Vec<_> = {
                let mut held = self.teller.held();
                let many = held.rows.len().min(STEP);
                let mut rows: Vec<_> = held.rows.drain(..many).collect();
                rows.extend(held.summary(self.now()));
                if rows.is_empty() {
                    held.writing = false;
                    return Ok(());
                }
                rows
            };
            let written = self.write_rows(&mut rows).await;
            if let Err(error) = written {
                let mut held = self.teller.held();
                held.writing = false;
                let denials = rows.iter().filter(|(_, row)| row.denied.is_some()).count() as u64;
                held.dropped += denials;
                self.teller.dropped.fetch_add(denials, Relaxed);
                return Err(error);
            }
        }
    }

    async fn write_rows(&self, rows: &mut [(Log, Entry)]) -> Result<()> {
        // What was refused must not fill the disk that the rest is kept from filling.
        if self.space()? < self.settings().space_reserve {
            return Err(Error::new(Kind::NoSpace, "below the space reserve"));
        }
        let mut batch = Batch::new();
        for (log, entry) in rows {
            events::append_to(&mut batch, *log, entry);
        }
        // Nobody was promised it; a crash may take the last of it.
        batch.lazy = true;
        match self.commit_job(batch).await? {
            Outcome::Done => Ok(()),
            Outcome::Again => Err(Error::internal("rows of the audit log met a conflict")),
        }
    }

    /// Writes how many refusals were not written, if that was not said yet.
    pub(crate) async fn sum_up_told(&self) -> Result<()> {
        let summary = self.teller.held().summary(self.now());
        match summary {
            Some(row) => self.write_rows(&mut [row]).await,
            None => Ok(()),
        }
    }

    /// Figures of the audit log: name, meaning, value.
    pub fn audit_metrics(&self) -> [(&'static str, &'static str, u64); 3] {
        let value = |counter: &AtomicU64| counter.load(Relaxed);
        [
            ("audit_denials_total", "Writes refused, and sign-ins.", value(&self.teller.denied)),
            (
                "audit_denials_dropped_total",
                "Of them, those over the rate of the log.",
                value(&self.teller.dropped),
            ),
            (
                "audit_reads_dropped_total",
                "Reads that the log had no room for.",
                value(&self.teller.reads_dropped),
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_one_at_a_time() {
        let mut bucket = Bucket { full: 0 };
        let now = 1_000_000;
        let at_once = (0..100).filter(|_| bucket.take(now, 50, 10)).count();
        assert_eq!(at_once, 50);
        assert!(!bucket.take(now + 9, 50, 10) && bucket.take(now + 10, 50, 10));
        assert!(!bucket.take(now + 10, 50, 10));
        assert_eq!((0..100).filter(|_| bucket.take(now + 10_000, 50, 10)).count(), 50);
    }

    #[test]
    fn callers_without_number_share_what_all_have() {
        let mut held = Held::default();
        let address = |n: u32| Who::Address(IpAddr::V4(n.into()));
        let taken = (0..20_000u32).filter(|n| held.takes(address(*n), 5)).count();
        assert_eq!(taken as u64, BURST_OF_ALL);
        assert!(held.callers.len() <= CALLERS);
    }

    #[test]
    fn what_was_asked_is_one_short_line() {
        assert_eq!(plain("PUT /v2/a\n\u{202e}b"), "PUT /v2/a??b");
        assert_eq!(plain(&"ü".repeat(1000)).len(), ASKED / 2);
    }
}
