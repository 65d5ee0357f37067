//! What time is it, and may anything be deleted because of it?
//!
//! The machine's wall clock can be set, by people and by programs, to any time. Two witnesses say when that happened: the
//! machine's own running time, which nobody can set and which sleep does not stop, and a mark in the store, written every
//! minute: the time, and the running time it was read at. While the daemon runs, and between two starts of it on a machine
//! that was not restarted, they say exactly what the wall clock should show. After a restart of the machine only the mark
//! is left: the time cannot be before it, and how long the machine was off nobody knows; so a difference of up to
//! `clock.away` passes for that.
//!
//! When the wall clock disagrees, everything that deletes by time waits, until the clock agrees again by itself or the
//! operator says `packhouse clock accept`. Requests go on by the time that is known: the last that was agreed on and what
//! has passed since. Where that is unknown, because the machine was restarted and the clock is far ahead, each goes by
//! the time that loses nothing: a token that may have expired is refused, by the wall clock; a lease or an upload that may
//! still last does, by the mark. The time never goes back, so a token that has expired stays expired.

use std::sync::{Mutex, PoisonError};

use super::{
    Registry,
    records::clock::{Mark, mark_key},
    uploads::failed,
};
use crate::{
    auth::{Grant, Operate},
    error::Result,
    model::Timestamp,
    store::Batch,
};

/// What the machine's two clocks show at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The wall clock.
    pub wall: Timestamp,
    /// Milliseconds since the machine was started, sleep included.
    pub running: u64,
}

/// The machine's clocks.
pub trait Clocks: Send + Sync {
    /// Both, now.
    fn read(&self) -> Reading;

    /// A name for this start of the machine; `None` when the system does not tell.
    fn boot(&self) -> Option<String>;
}

/// Those of the machine this runs on.
#[derive(Debug, Clone, Copy)]
pub struct MachineClocks;

impl Clocks for MachineClocks {
    fn read(&self) -> Reading {
        let running = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(running.tv_sec).unwrap_or(0);
        let millis = u64::try_from(running.tv_nsec).unwrap_or(0) / 1_000_000;
        Reading { wall: Timestamp::now(), running: seconds * 1000 + millis }
    }

    fn boot(&self) -> Option<String> {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(id.trim().to_owned()).filter(|id| !id.is_empty())
    }
}

/// Whether the wall clock is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// It shows what it should.
    Steady,
    /// It shows an earlier time than it can be, by so many milliseconds.
    Behind(u64),
    /// It shows a later time than it should, by so many milliseconds.
    Ahead(u64),
}

impl std::fmt::Display for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let off = |millis: &u64| match millis / 1000 {
            seconds if seconds < 2 * 3600 => format!("{seconds} seconds"),
            seconds if seconds < 2 * 24 * 3600 => format!("{} hours", seconds / 3600),
            seconds => format!("{} days", seconds / (24 * 3600)),
        };
        match self {
            Self::Steady => f.write_str("the clock shows what it should"),
            Self::Behind(millis) => write!(f, "the clock is {} behind what it should show", off(millis)),
            Self::Ahead(millis) => write!(f, "the clock is {} ahead of what it should show", off(millis)),
        }
    }
}

/// The time, and whether it may delete.
#[derive(Debug, Clone, Copy)]
pub struct Time {
    /// Now; the latest it can be.
    pub at: Timestamp,
    /// The earliest it can be. Another time than `at` only after a restart of the machine with a clock far ahead.
    pub least: Timestamp,
    /// Whether the wall clock is believed. While it is not, nothing may be deleted because time has passed.
    pub trust: Trust,
}

/// How far the wall clock may be off, in milliseconds.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// Where it is known what it should show.
    drift: u64,
    /// Ahead of the mark, after a restart of the machine.
    away: u64,
}

struct State {
    /// A moment at which both clocks were believed. Not `known`: the wall clock's part is the mark, and the running time
    /// is that of this start, so the sum is the earliest that it can be now.
    anchor: Reading,
    known: bool,
    /// The latest time that was certain.
    high: u64,
    last: Trust,
}

impl State {
    fn at(reading: Reading) -> Self {
        Self { anchor: reading, known: true, high: reading.wall.0, last: Trust::Steady }
    }

    /// Where a stored mark leaves us.
    fn since(mark: &Mark, reading: Reading, boot: Option<&str>) -> Self {
        let same = boot.is_some_and(|boot| boot == mark.boot) && mark.running <= reading.running;
        let running = if same { mark.running } else { reading.running };
        let anchor = Reading { wall: Timestamp(mark.at), running };
        Self { anchor, known: same, high: mark.at, last: Trust::Steady }
    }

    fn judge(&mut self, reading: Reading, bounds: Bounds) -> Time {
        let passed = reading.running.saturating_sub(self.anchor.running);
        let expected = self.anchor.wall.0.saturating_add(passed);
        let wall = reading.wall.0;
        let ahead = if self.known { bounds.drift } else { bounds.away.max(bounds.drift) };
        let trust = if wall.saturating_add(bounds.drift) < expected {
            Trust::Behind(expected - wall)
        } else if wall > expected.saturating_add(ahead) {
            Trust::Ahead(wall - expected)
        } else {
            Trust::Steady
        };
        let at = match trust {
            Trust::Steady => {
                if !self.known {
                    (self.anchor, self.known) = (reading, true);
                }
                self.high = self.high.max(wall);
                self.high
            }
            // Not counted as certain: it may be wrong, and there would be no way back.
            Trust::Ahead(_) if !self.known => wall.max(self.high),
            Trust::Behind(_) | Trust::Ahead(_) => {
                self.high = self.high.max(expected);
                self.high
            }
        };
        let unknown = matches!(trust, Trust::Ahead(_)) && !self.known;
        let least = if unknown { expected.max(self.high).min(at) } else { at };
        Time { at: Timestamp(at), least: Timestamp(least), trust }
    }
}

/// Watches over the wall clock.
pub(crate) struct Clock {
    clocks: Box<dyn Clocks>,
    state: Mutex<State>,
}

impl Clock {
    pub(super) fn new(clocks: Box<dyn Clocks>) -> Self {
        let state = Mutex::new(State::at(clocks.read()));
        Self { clocks, state }
    }

    fn with<T>(&self, job: impl FnOnce(&mut State, Reading) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let reading = self.clocks.read();
        job(&mut state, reading)
    }

    fn time(&self, bounds: Bounds) -> Time {
        self.with(|state, reading| judged(state, reading, bounds))
    }

    /// The mark to store now; none while the clock is not believed. Small steps of the wall clock, as those who keep it
    /// right make them, are taken as right from here on.
    fn mark(&self, bounds: Bounds) -> Option<Mark> {
        let boot = self.clocks.boot().unwrap_or_default();
        self.with(|state, reading| {
            let time = judged(state, reading, bounds);
            if time.trust != Trust::Steady {
                return None;
            }
            state.anchor = reading;
            Some(Mark { at: time.at.0, running: reading.running, boot })
        })
    }

    fn wind(&self, mark: &Mark) {
        let boot = self.clocks.boot();
        self.with(|state, reading| *state = State::since(mark, reading, boot.as_deref()));
    }

    fn accept(&self) -> Mark {
        let boot = self.clocks.boot().unwrap_or_default();
        self.with(|state, reading| {
            *state = State::at(reading);
            Mark { at: reading.wall.0, running: reading.running, boot }
        })
    }
}

/// Judges, and tells the log of every change.
fn judged(state: &mut State, reading: Reading, bounds: Bounds) -> Time {
    let time = state.judge(reading, bounds);
    let kind = std::mem::discriminant::<Trust>;
    if kind(&time.trust) != kind(&state.last) {
        match time.trust {
            Trust::Steady => tracing::info!("the clock is right again; what waited for it goes on"),
            trust => tracing::error!(
                shows = %reading.wall,
                goes_by = %time.at,
                "{trust}: nothing is deleted by time until it is right again, or until `packhouse clock accept`"
            ),
        }
    }
    state.last = time.trust;
    time
}

impl Registry {
    fn bounds(&self) -> Bounds {
        let settings = self.settings();
        Bounds {
            drift: settings.clock_drift.saturating_mul(1000),
            away: settings.clock_away.saturating_mul(1000),
        }
    }

    /// The time, and whether it may delete.
    pub fn time(&self) -> Time {
        self.clock.time(self.bounds())
    }

    /// By when a request that began at `at` is to judge what was promised for a time: leases and uploads.
    pub(crate) fn surely(&self, at: Timestamp) -> Timestamp {
        let time = self.time();
        if time.least < time.at { at.min(time.least) } else { at }
    }

    /// The time that requests go by. It never goes back.
    pub fn now(&self) -> Timestamp {
        self.time().at
    }

    /// Compares the clock with the stored mark: to be called once, before anything else, by whoever opened the registry
    /// for real.
    pub async fn wind_clock(&self) -> Result<Time> {
        if let Some(bytes) = self.meta.get(&mark_key()).await? {
            self.clock.wind(&Mark::decode(&bytes)?);
        }
        self.keep_clock().await
    }

    /// Stores a mark, if the clock is believed. Every minute.
    pub async fn keep_clock(&self) -> Result<Time> {
        if let Some(mark) = self.clock.mark(self.bounds()) {
            let mut batch = Batch::new();
            batch.put(mark_key(), mark.encode());
            // A mark that is a minute older says the same.
            batch.lazy = true;
            self.meta.commit(batch).await.map_err(failed)?;
        }
        Ok(self.time())
    }

    /// Believes the wall clock as it is now, and says by how much it was off. What is due by it is deleted from now on.
    pub async fn accept_clock(&self, _grant: &Grant<Operate>) -> Result<Trust> {
        let before = self.time().trust;
        let mark = self.clock.accept();
        let mut batch = Batch::new();
        batch.put(mark_key(), mark.encode());
        self.meta.commit(batch).await.map_err(failed)?;
        tracing::warn!(at = %Timestamp(mark.at), "the operator accepted the clock: {before}");
        Ok(before)
    }
}

#[cfg(test)]
mod tests;
