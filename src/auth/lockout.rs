//! How often wrong passwords may be tried for one name. A name that nobody has is slowed down alike, so that it cannot be
//! told.
//!
//! Two counts: of a name from one place, whose waits are long, and of a name from everywhere, whose waits are short. So whoever
//! guesses from many places gets few guesses, and cannot keep the name's owner out for long from where that one is.
//! Kept in memory: a guess must not cost a write. A restart forgets it.

use std::net::IpAddr;

use quick_cache::sync::Cache;
use sha2::{Digest as _, Sha256};

use crate::{
    error::{Error, Kind, Result},
    model::Timestamp,
};

/// Attempts in a row that cost nothing, and the longest wait after a wrong one in seconds: from one place.
const HERE: (u32, u64) = (10, 300);
/// The same from all places together.
const ANYWHERE: (u32, u64) = (100, 20);
/// Names and places that are remembered.
const KEPT: usize = 16 << 10;

#[derive(Debug, Clone, Copy, Default)]
struct Tries {
    count: u32,
    until: u64,
}

/// Counts attempts by name and place.
pub(super) struct Lockout(Cache<[u8; 32], Tries>);

/// A place: an address, or the network of 64 bits that one host has of IPv6.
pub(super) fn place(from: Option<IpAddr>) -> [u8; 9] {
    let mut place = [0; 9];
    match from.map(|from| from.to_canonical()) {
        None => {}
        Some(IpAddr::V4(address)) => {
            place[0] = 4;
            place[1..5].copy_from_slice(&address.octets());
        }
        Some(IpAddr::V6(address)) => {
            place[0] = 6;
            place[1..].copy_from_slice(&address.octets()[..8]);
        }
    }
    place
}

fn key(name: &str, place: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(place);
    hash.update([0]);
    hash.update(name.to_ascii_lowercase().as_bytes());
    hash.finalize().into()
}

impl Lockout {
    pub(super) fn new() -> Self {
        Self(Cache::new(KEPT))
    }

    /// Counts an attempt before it is made, so that many at once are many.
    ///
    /// # Errors
    /// Too many, with the seconds to wait.
    pub(super) fn attempt(&self, name: &str, from: Option<IpAddr>, at: Timestamp) -> Result<()> {
        self.count(key(name, &place(from)), HERE, at)?;
        self.count(key(name, &[]), ANYWHERE, at)
    }

    fn count(&self, key: [u8; 32], (free, longest): (u32, u64), at: Timestamp) -> Result<()> {
        let tries = self.0.get(&key).unwrap_or_default();
        if at.0 < tries.until {
            let retry_after = u32::try_from((tries.until - at.0).div_ceil(1000)).unwrap_or(u32::MAX);
            let text = "too many wrong passwords for this name; wait a little, or use a token";
            return Err(Error::new(Kind::TooMany { retry_after }, text));
        }
        let count = tries.count.saturating_add(1);
        let wait = match count.checked_sub(free + 1) {
            None => 0,
            Some(over) => 1u64.checked_shl(over).unwrap_or(longest).min(longest),
        };
        self.0.insert(key, Tries { count, until: at.0 + wait * 1000 });
        Ok(())
    }

    /// Forgets the attempts before one that was right.
    pub(super) fn right(&self, name: &str, from: Option<IpAddr>) {
        self.0.remove(&key(name, &place(from)));
        self.0.remove(&key(name, &[]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_a_right_password_ends_them() {
        let lockout = Lockout::new();
        let here: Option<IpAddr> = Some("2001:db8:1:2:3::4".parse().unwrap());
        let neighbour: Option<IpAddr> = Some("2001:db8:1:2:ffff::".parse().unwrap());
        let mut at = Timestamp(1_000_000);
        let mut waits = Vec::new();
        for _ in 0..22 {
            lockout.attempt("Ada", here, at).unwrap();
            let wait = match lockout.attempt("ada", neighbour, at) {
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
        assert!(waits[15..].iter().all(|wait| *wait == HERE.1));
        let (before, elsewhere) = (Timestamp(at.0 - 1), Some("192.0.2.1".parse().unwrap()));
        assert!(lockout.attempt("ada", here, before).is_err());
        lockout.attempt("ada", elsewhere, before).unwrap();
        lockout.attempt("bob", here, at).unwrap();
        lockout.right("ADA", here);
        lockout.attempt("ada", here, before).unwrap();
    }

    /// From ever new places: what is left is a guess in twenty seconds.
    #[test]
    fn many_places_together_get_few_guesses() {
        let lockout = Lockout::new();
        let at = Timestamp(1_000_000);
        let mut made = 0;
        for second in 0..600u32 {
            for n in 0..50u32 {
                let from = Some(IpAddr::V4((second * 50 + n).into()));
                made += u32::from(lockout.attempt("ada", from, at.plus_seconds(second.into())).is_ok());
            }
        }
        assert!((100..140).contains(&made), "{made}");
    }
}
