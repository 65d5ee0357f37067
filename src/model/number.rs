//! Numbers of things, for clients that want integers where we have ids and digests.
//!
//! A number is the first 53 bits: what a double holds exactly, since half of all clients read every number as one. It follows
//! from the id or the digest and nothing else, so it stays what it is through renames, restarts, deletion and restore. Two
//! things may share one: an id's bits are random, so that takes millions of things; but whoever pushes can make two manifests
//! whose digests begin alike. So a number shows and looks up, and never decides: what finds two of them refuses both.

use super::{Algorithm, Digest, OwnerId, PackageId, RepositoryId, TeamId, TokenId};

/// Bits that a double does not hold.
const DROPPED: u32 = 64 - 53;

/// What has a number.
pub trait Numbered {
    /// It.
    fn number(&self) -> u64;
}

macro_rules! numbered {
    ($($id:ty),+) => {$(
        impl Numbered for $id {
            fn number(&self) -> u64 {
                self.0 >> DROPPED
            }
        }
    )+};
}

numbered!(OwnerId, PackageId, RepositoryId, TeamId, TokenId);

impl Numbered for Digest {
    fn number(&self) -> u64 {
        let first = self.hash().first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        first >> DROPPED
    }
}

/// How the keys of all digests of a number begin: an algorithm and whole bytes. Some of other numbers begin so, too.
pub fn beginnings(number: u64) -> [[u8; 7]; 2] {
    let bytes = (number << DROPPED).to_be_bytes();
    [Algorithm::Sha256, Algorithm::Sha512].map(|algorithm| {
        let mut beginning = [algorithm as u8; 7];
        beginning[1..].copy_from_slice(&bytes[..6]);
        beginning
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_stays_what_it_is() {
        assert_eq!(OwnerId(u64::MAX).number(), (1 << 53) - 1, "the greatest that every client reads");
        assert_eq!(PackageId(0x0123_4567_89ab_cdef).number(), 0x0123_4567_89ab_cdef >> 11);
        let digest =
            Digest::parse("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855").unwrap();
        assert_eq!(digest.number(), 0xe3b0_c442_98fc_1c14 >> 11);
        assert_eq!(digest.number(), 8_011_147_086_339_971);
    }

    proptest! {
        #[test]
        fn the_key_of_a_digest_begins_as_its_number_says(bytes: Vec<u8>) {
            for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
                let digest = Digest::of(algorithm, &bytes);
                let mut key = Vec::new();
                digest.write_key(&mut key);
                prop_assert!(digest.number() < 1 << 53);
                prop_assert!(beginnings(digest.number()).iter().any(|beginning| key.starts_with(beginning)));
            }
        }
    }
}
