//! How often wrong passwords may be tried for one name. Rates by address are the server's; this holds whoever guesses from
//! many of them. A name that nobody has is slowed down alike, so that it cannot be told.
//!
//! Kept in memory: a guess must not cost a write. A restart forgets it, and a rate by address is there all the same.

use quick_cache::sync::Cache;
use sha2::{Digest as _, Sha256};

use crate::{
    error::{Error, Kind, Result},
    model::Timestamp,
};

/// Attempts in a row that cost nothing.
const FREE: u32 = 10;
/// Longest wait after a wrong attempt, in seconds. Whoever guesses can make a name's owner wait as long, and no longer; its
/// tokens stay good meanwhile.
const LONGEST: u64 = 300;
/// Names that are remembered.
const NAMES: usize = 8192;

#[derive(Debug, Clone, Copy, Default)]
struct Tries {
    count: u32,
    until: u64,
}

/// Counts attempts by name.
pub(super) struct Lockout(Cache<[u8; 32], Tries>);

impl Lockout {
    pub(super) fn new() -> Self {
        Self(Cache::new(NAMES))
    }

    fn key(name: &str) -> [u8; 32] {
        Sha256::digest(name.to_ascii_lowercase().as_bytes()).into()
    }

    /// Counts an attempt before it is made, so that many at once are many.
    ///
    /// # Errors
    /// Too many, with the seconds to wait.
    pub(super) fn attempt(&self, name: &str, at: Timestamp) -> Result<()> {
        let key = Self::key(name);
        let tries = self.0.get(&key).unwrap_or_default();
        if at.0 < tries.until {
            let retry_after = u32::try_from((tries.until - at.0).div_ceil(1000)).unwrap_or(u32::MAX);
            let text = "too many wrong passwords for this name; wait a little, or use a token";
            return Err(Error::new(Kind::TooMany { retry_after }, text));
        }
        let count = tries.count.saturating_add(1);
        let wait = match count.checked_sub(FREE + 1) {
            None => 0,
            Some(over) => 1u64.checked_shl(over).unwrap_or(LONGEST).min(LONGEST),
        };
        self.0.insert(key, Tries { count, until: at.0 + wait * 1000 });
        Ok(())
    }

    /// Forgets the attempts before one that was right.
    pub(super) fn right(&self, name: &str) {
        self.0.remove(&Self::key(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_a_right_password_ends_them() {
        let lockout = Lockout::new();
        let mut at = Timestamp(1_000_000);
        let mut waits = Vec::new();
        for _ in 0..22 {
            lockout.attempt("Ada", at).unwrap();
            let wait = match lockout.attempt("ada", at) {
                Err(error) => match error.kind() {
                    Kind::TooMany { retry_after } => u64::from(retry_after),
                    other => panic!("{other:?}"),
                },
                // Not yet: that was another one that cost nothing.
                Ok(()) => 0,
            };
            waits.push(wait);
            at = at.plus_seconds(wait);
        }
        assert_eq!(waits[..5], [0; 5]);
        assert_eq!(waits[5..15], [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
        assert!(waits[15..].iter().all(|wait| *wait == LONGEST));
        lockout.attempt("bob", at).unwrap();
        lockout.right("ADA");
        lockout.attempt("ada", at).unwrap();
        lockout.attempt("ada", at).unwrap();
    }
}
