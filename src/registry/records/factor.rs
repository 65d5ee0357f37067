//! What a user shows besides its password.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{corrupt, from_json, meta, tag, to_json};
use crate::{
    auth::TotpKey,
    error::Result,
    model::OwnerId,
    store::{Key, Record},
};

const VERSION: u8 = 1;

/// A user's second factor: an authenticator app, and recovery codes for when it is lost.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FactorRecord {
    /// Whose.
    pub user: OwnerId,
    /// What the app shares, in hex. It must be had again to check a code, so it is stored as it is.
    pub(crate) key: String,
    /// Whether a first code came. Until then nothing asks for it.
    pub confirmed: bool,
    /// The last step whose code was used; none of it or before it is good again.
    pub step: u64,
    /// Hashes of the recovery codes that are left.
    pub recovery: Vec<String>,
    /// Milliseconds since the epoch.
    pub since: u64,
}

/// Without the key: whoever has that makes codes.
impl std::fmt::Debug for FactorRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FactorRecord({} {})", self.user, self.confirmed)
    }
}

impl FactorRecord {
    /// One that waits for its first code.
    pub fn new(user: OwnerId, key: &TotpKey, recovery: Vec<String>, since: u64) -> Self {
        Self { user, key: hex::encode(key.bytes()), confirmed: false, step: 0, recovery, since }
    }

    /// Where a user's is stored.
    pub fn key_of(user: OwnerId) -> Key {
        meta(tag::FACTOR).with(&user.bytes())
    }

    /// What the app shares.
    pub fn totp(&self) -> Result<TotpKey> {
        let mut bytes = [0; 20];
        hex::decode_to_slice(&self.key, &mut bytes).map_err(|_| corrupt("second factor", "malformed key"))?;
        Ok(TotpKey::from_bytes(bytes))
    }

    /// Reads a stored record.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        from_json(VERSION, bytes, "second factor")
    }
}

impl Record for FactorRecord {
    fn key(&self) -> Key {
        Self::key_of(self.user)
    }

    fn value(&self) -> Bytes {
        to_json(VERSION, self)
    }

    fn index(&self) -> BTreeSet<Key> {
        BTreeSet::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_form_is_these_bytes() {
        let key = TotpKey::from_bytes([0xab; 20]);
        let factor = FactorRecord {
            confirmed: true,
            step: 7,
            ..FactorRecord::new(OwnerId(1), &key, vec!["cd".into()], 9)
        };
        let golden = format!(
            "\x01{{\"user\":1,\"key\":\"{}\",\"confirmed\":true,\"step\":7,\"recovery\":[\"cd\"],\"since\":9}}",
            "ab".repeat(20)
        );
        assert_eq!(factor.value().as_ref(), golden.as_bytes());
        assert_eq!(FactorRecord::decode(golden.as_bytes()).unwrap(), factor);
        assert_eq!(factor.totp().unwrap(), key);
        assert_eq!(factor.key().bytes, b"2\0\0\0\0\0\0\0\x01");
    }
}
