//! What a connection is doing, shared between the bytes below hyper and the requests above it.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tokio::time::Instant;

/// One connection's signs of life. Moments are milliseconds since it began, 0 for none.
///
/// Everything is written by the connection's own task or under its lock on order (HTTP/1 is one request after another);
/// a deadline read a moment late is a deadline a moment late.
#[derive(Debug)]
pub struct Pulse {
    began: Instant,
    head_since: AtomicU64,
    /// Number of the head that had both lengths, from 1.
    mixed: AtomicU32,
    requests: AtomicU32,
    flying: AtomicU32,
    bulk: AtomicU32,
    on_bulk: AtomicBool,
    idle_since: AtomicU64,
}

/// The deadlines of a connection that has no request in flight.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) first_request: Duration,
    pub(super) header: Duration,
    pub(super) idle: Duration,
}

/// What a connection waited too long for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// Its first request, or the rest of a request's head.
    Head,
    /// Another request.
    Idle,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            head_since: AtomicU64::new(0),
            mixed: AtomicU32::new(0),
            requests: AtomicU32::new(0),
            flying: AtomicU32::new(0),
            bulk: AtomicU32::new(0),
            on_bulk: AtomicBool::new(false),
            idle_since: AtomicU64::new(0),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }

    /// Bytes left for the client. An answer that was handed over whole may still be on its way: as long as its client takes
    /// of it, the connection is not idle.
    pub(super) fn wrote(&self) {
        if self.idle_since.load(Relaxed) != 0 {
            self.idle_since.store(self.now(), Relaxed);
        }
    }

    /// A large body is under way.
    pub(super) fn bulk_began(&self) {
        self.bulk.fetch_add(1, Relaxed);
    }

    /// It ended.
    pub(super) fn bulk_ended(&self) {
        self.bulk.fetch_sub(1, Relaxed);
    }

    /// Whether a large body is under way.
    pub(super) fn is_bulk(&self) -> bool {
        self.bulk.load(Relaxed) > 0
    }

    /// The connection runs on the bulk lane now, or not.
    pub(super) fn runs_on_bulk(&self, bulk: bool) {
        self.on_bulk.store(bulk, Relaxed);
    }

    /// Whether it does.
    pub(super) fn is_on_bulk(&self) -> bool {
        self.on_bulk.load(Relaxed)
    }

    /// Part of a head is there, or not.
    pub(super) fn head_pending(&self, pending: bool) {
        if !pending {
            self.head_since.store(0, Relaxed);
        } else if self.head_since.load(Relaxed) == 0 {
            self.head_since.store(self.now(), Relaxed);
        }
    }

    /// The head of this number, from 1, had both lengths.
    pub(super) fn mixed_head(&self, number: u32) {
        self.mixed.store(number, Relaxed);
    }

    /// A request begins. Says whether its head had both lengths.
    pub(super) fn request_began(&self) -> bool {
        let number = self.requests.fetch_add(1, Relaxed) + 1;
        self.flying.fetch_add(1, Relaxed);
        let mixed = self.mixed.load(Relaxed);
        mixed != 0 && number >= mixed
    }

    /// A request has ended, its answer's body included.
    pub(super) fn request_ended(&self) {
        self.idle_since.store(self.now(), Relaxed);
        self.flying.fetch_sub(1, Relaxed);
    }

    /// When the connection has waited too long, if nothing happens, and for what. `None` while requests are in flight.
    pub(super) fn overdue(&self, patience: &Patience) -> Option<(Instant, Overdue)> {
        if self.flying.load(Relaxed) > 0 {
            return None;
        }
        let after = |since: u64, patience| self.began + Duration::from_millis(since) + patience;
        let first = self.requests.load(Relaxed) == 0;
        let silence = match first {
            true => (after(0, patience.first_request), Overdue::Head),
            false => (after(self.idle_since.load(Relaxed), patience.idle), Overdue::Idle),
        };
        match self.head_since.load(Relaxed) {
            0 => Some(silence),
            since => {
                let head = after(since, patience.header);
                Some((if first { head.min(silence.0) } else { head }, Overdue::Head))
            }
        }
    }

    #[cfg(test)]
    pub(super) fn mixed(&self) -> Option<u32> {
        Some(self.mixed.load(Relaxed)).filter(|number| *number > 0)
    }

    #[cfg(test)]
    pub(super) fn is_head_pending(&self) -> bool {
        self.head_since.load(Relaxed) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_takes_the_rest_of_an_answer_is_not_idle() {
        let minute = Duration::from_secs(60);
        let patience = Patience { first_request: minute, header: minute, idle: minute };
        let pulse = Pulse::new();
        pulse.wrote();
        pulse.request_began();
        pulse.request_ended();
        let (ended, what) = pulse.overdue(&patience).unwrap();
        assert_eq!(what, Overdue::Idle);
        tokio::time::advance(minute / 2).await;
        pulse.wrote();
        let (moved, _) = pulse.overdue(&patience).unwrap();
        assert!(moved >= ended + Duration::from_secs(29));
    }
}
