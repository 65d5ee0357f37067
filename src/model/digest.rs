//! Digests, and the hasher that makes them while bytes stream past.

use std::fmt;

use sha2::{Digest as _, Sha256, Sha512, digest::common::hazmat::SerializableState};

use crate::error::{Error, Result, What};

/// A registered digest algorithm of the OCI image specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256: what everything uses.
    Sha256 = 1,
    /// SHA-512.
    Sha512 = 2,
}

impl Algorithm {
    /// Reads `sha256` or `sha512`.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            _ => Err(Error::invalid(What::Digest, "the digest algorithm is neither sha256 nor sha512")),
        }
    }

    /// The word in front of the colon.
    pub fn word(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Length of the hash in bytes.
    pub fn size(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

/// The name of content: `sha256:` and 64, or `sha512:` and 128, lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    hash: [u8; 64],
}

impl Digest {
    /// Reads a digest; anything but the canonical spelling is an error.
    pub fn parse(text: &str) -> Result<Self> {
        let malformed = || {
            Error::invalid(
                What::Digest,
                "a digest is sha256: and 64, or sha512: and 128, lower-case hex digits",
            )
        };
        let (word, encoded) = text.split_once(':').ok_or_else(malformed)?;
        let algorithm = Algorithm::parse(word)?;
        let canonical = encoded.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if encoded.len() != algorithm.size() * 2 || !canonical {
            return Err(malformed());
        }
        let mut hash = [0; 64];
        hex::decode_to_slice(encoded, &mut hash[..algorithm.size()]).map_err(|_| malformed())?;
        Ok(Self { algorithm, hash })
    }

    /// The digest of bytes in memory.
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::from_hash(algorithm, &Sha256::digest(bytes)),
            Algorithm::Sha512 => Self::from_hash(algorithm, &Sha512::digest(bytes)),
        }
    }

    /// The SHA-256 of bytes in memory.
    pub fn sha256(bytes: &[u8]) -> Self {
        Self::of(Algorithm::Sha256, bytes)
    }

    fn from_hash(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut hash = [0; 64];
        hash[..algorithm.size()].copy_from_slice(&bytes[..algorithm.size()]);
        Self { algorithm, hash }
    }

    /// Which algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The raw hash.
    pub fn hash(&self) -> &[u8] {
        &self.hash[..self.algorithm.size()]
    }

    /// The hash in hexadecimal.
    pub fn encoded(&self) -> String {
        hex::encode(self.hash())
    }

    /// Its form in keys: one byte for the algorithm, then the hash. No digest's form is a prefix of another's.
    pub fn write_key(&self, key: &mut Vec<u8>) {
        key.push(self.algorithm as u8);
        key.extend_from_slice(self.hash());
    }

    /// Reads the form of [`Self::write_key`] from the front of bytes; also says what follows it.
    pub fn read_key(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (first, rest) = bytes.split_first()?;
        let algorithm = match first {
            1 => Algorithm::Sha256,
            2 => Algorithm::Sha512,
            _ => return None,
        };
        let (hash, rest) = rest.split_at_checked(algorithm.size())?;
        Some((Self::from_hash(algorithm, hash), rest))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.word(), self.encoded())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// Hashes a stream once, as it passes. SHA-256 and SHA-512 states can be saved and continued after a restart.
#[derive(Clone)]
pub enum Hasher {
    /// SHA-256 under way.
    Sha256(Sha256),
    /// SHA-512 under way.
    Sha512(Sha512),
}

/// Version byte in front of a saved state: sha2 promises its form only within one 0.x line.
const STATE_V1: u8 = 1;

impl Hasher {
    /// A hasher that has seen nothing.
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    /// Which algorithm.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// Takes in bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// The digest of all bytes so far.
    pub fn finish(self) -> Digest {
        match self {
            Self::Sha256(hasher) => Digest::from_hash(Algorithm::Sha256, &hasher.finalize()),
            Self::Sha512(hasher) => Digest::from_hash(Algorithm::Sha512, &hasher.finalize()),
        }
    }

    /// The state, to be continued by [`Self::restore`].
    pub fn save(&self) -> Vec<u8> {
        let (algorithm, state) = match self {
            Self::Sha256(hasher) => (Algorithm::Sha256, hasher.serialize().to_vec()),
            Self::Sha512(hasher) => (Algorithm::Sha512, hasher.serialize().to_vec()),
        };
        let mut saved = vec![STATE_V1, algorithm as u8];
        saved.extend_from_slice(&state);
        saved
    }

    /// Continues a saved state; `None` if another version wrote it, in which case the bytes must be hashed again.
    pub fn restore(saved: &[u8]) -> Option<Self> {
        let [STATE_V1, algorithm, state @ ..] = saved else { return None };
        match algorithm {
            1 => Sha256::deserialize(state.try_into().ok()?).ok().map(Self::Sha256),
            2 => Sha512::deserialize(state.try_into().ok()?).ok().map(Self::Sha512),
            _ => None,
        }
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hasher({})", self.algorithm().word())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_canonical_spelling_is_a_digest() {
        let good = format!("sha256:{}", "a1".repeat(32));
        assert_eq!(Digest::parse(&good).unwrap().to_string(), good);
        let good = format!("sha512:{}", "0f".repeat(64));
        assert_eq!(Digest::parse(&good).unwrap().to_string(), good);
        for bad in [
            "",
            ":",
            "sha256:",
            "sha256:baddigeststring",
            &format!("sha256:{}", "A1".repeat(32)),
            &format!("sha256:{}", "a".repeat(63)),
            &format!("sha256:{}", "a".repeat(65)),
            &format!("sha512:{}", "a".repeat(64)),
            &format!("md5:{}", "a".repeat(32)),
            &format!("SHA256:{}", "a".repeat(64)),
            &format!("sha256:{}", "\u{0661}".repeat(32)),
            &format!(" sha256:{}", "a".repeat(64)),
        ] {
            assert!(Digest::parse(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_saved_state_continues_where_it_stopped(bytes in prop::collection::vec(any::<u8>(), 0..4096), cut in 0usize..4096) {
            let cut = cut.min(bytes.len());
            for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
                let mut first = Hasher::new(algorithm);
                first.update(&bytes[..cut]);
                let mut second = Hasher::restore(&first.save()).unwrap();
                second.update(&bytes[cut..]);
                prop_assert_eq!(second.finish(), Digest::of(algorithm, &bytes));
            }
        }

        #[test]
        fn a_digest_in_a_key_reads_back(bytes: Vec<u8>, tail: Vec<u8>) {
            for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
                let digest = Digest::of(algorithm, &bytes);
                let mut key = Vec::new();
                digest.write_key(&mut key);
                key.extend_from_slice(&tail);
                prop_assert_eq!(Digest::read_key(&key), Some((digest, tail.as_slice())));
                prop_assert_eq!(Digest::parse(&digest.to_string()).unwrap(), digest);
            }
        }

        #[test]
        fn a_damaged_state_is_refused_or_hashes(saved: Vec<u8>) {
            if let Some(hasher) = Hasher::restore(&saved) {
                hasher.finish();
            }
        }
    }
}
