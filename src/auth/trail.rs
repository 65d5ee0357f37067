//! What was decided in the course of a request. The policy notes it with the caller; whoever answers the request tells the
//! audit log of what was refused.

use std::sync::{Mutex, PoisonError};

use crate::model::{OwnerId, PackageId};

/// A decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    /// The action's name.
    pub action: &'static str,
    /// Whether it is more than a read.
    pub writes: bool,
    /// The owner it was about, if there is one of that name.
    pub owner: Option<OwnerId>,
    /// The package it was about, if there is one of that name.
    pub package: Option<PackageId>,
    /// The reason code, if it was refused.
    pub denied: Option<&'static str>,
}

/// The last decision of a request. One about a read counts for less than one about a write: a push that also asks
/// whether it may mount from elsewhere is a push.
#[derive(Debug, Default)]
pub struct Trail(Mutex<Option<Note>>);

impl Trail {
    /// Notes a decision.
    pub fn note(&self, note: Note) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if note.writes || last.is_none_or(|last| !last.writes) {
            *last = Some(note);
        }
    }

    /// The last one.
    pub fn last(&self) -> Option<Note> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_write_counts_or_else_the_last_read() {
        let note = |action, writes| Note { action, writes, owner: None, package: None, denied: None };
        let trail = Trail::default();
        assert_eq!(trail.last(), None);
        for (action, writes, last) in
            [("a", false, "a"), ("b", false, "b"), ("c", true, "c"), ("d", false, "c"), ("e", true, "e")]
        {
            trail.note(note(action, writes));
            assert_eq!(trail.last().unwrap().action, last);
        }
    }
}
