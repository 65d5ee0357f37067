//! Tokens and signing keys.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{corrupt, from_json, meta, tag, to_json};
use crate::{
    auth::{Limits, SigningKey, TokenHash, TokenKind},
    error::Result,
    model::{OwnerId, Scopes, Timestamp, TokenId},
    store::{Key, Record},
};

/// A token: everything but the secret, of which only the hash is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Its name in listings and for revocation.
    pub id: TokenId,
    /// The byte of its [`TokenKind`].
    pub kind: u8,
    /// Whose it is.
    pub user: OwnerId,
    /// The hash of the secret, in hexadecimal.
    pub hash: String,
    /// The last four characters of the secret, which are checksum.
    pub tail: String,
    /// What it may be used for: the bits of a [`Scopes`].
    pub scopes: u8,
    /// Milliseconds since the epoch.
    pub created: u64,
    /// Milliseconds since the epoch.
    pub expires: u64,
    /// For a refresh token: the change of password it stands for.
    pub sign_in: Option<u64>,
    /// What it is limited to besides its scopes; `None` without limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
}

const VERSION: u8 = 1;
/// The form of a token with limits: a program that knows none must not read it. One without keeps the first form, byte for byte.
const WITH_LIMITS: u8 = 2;

impl TokenRecord {
    /// Where a token is stored.
    pub fn key_of(id: TokenId) -> Key {
        meta(tag::TOKEN).with(&id.bytes())
    }

    /// The prefix of all tokens.
    pub fn all() -> Key {
        meta(tag::TOKEN)
    }

    /// The prefix of a hash's index entry: what follows is the token's id.
    pub fn hash_prefix(hash: &TokenHash) -> Key {
        meta(tag::TOKEN_HASH).with(&hash.0)
    }

    /// The prefix of a user's tokens.
    pub fn of_user(user: OwnerId) -> Key {
        meta(tag::TOKEN_OF).with(&user.bytes())
    }

    /// The prefix of a user's tokens of a kind, oldest first.
    pub fn of_user_kind(user: OwnerId, kind: TokenKind) -> Key {
        Self::of_user(user).with(&[kind as u8])
    }

    /// The token's id at the end of an index entry.
    pub fn id_in(key: &Key) -> Option<TokenId> {
        key.bytes.last_chunk::<8>().map(|id| TokenId(u64::from_be_bytes(*id)))
    }

    /// Its kind.
    pub fn kind(&self) -> Result<TokenKind> {
        TokenKind::from_code(self.kind).ok_or_else(|| corrupt("token", "unknown kind"))
    }

    /// Its scopes.
    pub fn scopes(&self) -> Scopes {
        Scopes::from_bits(self.scopes)
    }

    /// Reads a stored record.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let version = if bytes.first() == Some(&WITH_LIMITS) { WITH_LIMITS } else { VERSION };
        let token: Self = from_json(version, bytes, "token")?;
        match token.limits.is_some() == (version == WITH_LIMITS) {
            true => Ok(token),
            false => Err(corrupt("token", "its form and its limits do not go together")),
        }
    }
}

impl Record for TokenRecord {
    fn key(&self) -> Key {
        Self::key_of(self.id)
    }

    fn value(&self) -> Bytes {
        to_json(if self.limits.is_some() { WITH_LIMITS } else { VERSION }, self)
    }

    fn index(&self) -> BTreeSet<Key> {
        // A hash that is not 32 bytes was never written; it leads nowhere, so the token is good for nothing.
        let hash = hex::decode(&self.hash).unwrap_or_default();
        BTreeSet::from([
            meta(tag::TOKEN_HASH).with(&hash).with(&self.id.bytes()),
            Self::of_user(self.user)
                .with(&[self.kind])
                .with(&self.created.to_be_bytes())
                .with(&self.id.bytes()),
        ])
    }
}

/// A signing key, as stored.
#[derive(Serialize, Deserialize)]
struct StoredKey {
    created: u64,
    secret: String,
}

/// Where a signing key is stored.
pub(crate) fn signing_key(id: u32) -> Key {
    signing_keys().with(&id.to_be_bytes())
}

/// The prefix of all signing keys.
pub(crate) fn signing_keys() -> Key {
    meta(tag::SIGNING_KEY)
}

/// The stored form of a signing key.
pub(crate) fn encode_signing_key(key: &SigningKey) -> Bytes {
    to_json(VERSION, &StoredKey { created: key.created.0, secret: hex::encode(key.secret) })
}

/// Reads a stored signing key.
pub(crate) fn decode_signing_key(key: &Key, bytes: &[u8]) -> Result<SigningKey> {
    let broken = || corrupt("signing key", "malformed");
    let id = key.bytes.last_chunk::<4>().map(|id| u32::from_be_bytes(*id)).ok_or_else(broken)?;
    let stored: StoredKey = from_json(VERSION, bytes, "signing key")?;
    let mut secret = [0; 32];
    hex::decode_to_slice(&stored.secret, &mut secret).map_err(|_| broken())?;
    Ok(SigningKey { id, created: Timestamp(stored.created), secret })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_forms_are_these_bytes() {
        let token = TokenRecord {
            id: TokenId(1),
            kind: 2,
            user: OwnerId(3),
            hash: "ab".repeat(32),
            tail: "wxyz".into(),
            scopes: 5,
            created: 6,
            expires: 7,
            sign_in: Some(8),
            limits: None,
        };
        let golden = format!(
            "\x01{{\"id\":1,\"kind\":2,\"user\":3,\"hash\":\"{}\",\"tail\":\"wxyz\",\"scopes\":5,\"created\":6,\
             \"expires\":7,\"sign_in\":8}}",
            "ab".repeat(32)
        );
        assert_eq!(token.value().as_ref(), golden.as_bytes());
        assert_eq!(TokenRecord::decode(golden.as_bytes()).unwrap(), token);
        assert_eq!(token.key().bytes, b"t\0\0\0\0\0\0\0\x01");
        let index: Vec<_> = token.index().into_iter().map(|key| key.bytes).collect();
        let of_user = b"T\0\0\0\0\0\0\0\x03\x02\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0\x01".to_vec();
        let by_hash = [b"i".as_slice(), &[0xab; 32], b"\0\0\0\0\0\0\0\x01"].concat();
        assert_eq!(index, [of_user, by_hash]);

        let limits = Limits { owners: BTreeSet::from([OwnerId(9)]), ..Limits::default() };
        let limited = TokenRecord { sign_in: None, limits: Some(limits), ..token };
        let with = golden.replace(":8}", ":null,\"limits\":{\"owners\":[9]}}").replace('\x01', "\x02");
        assert_eq!(limited.value().as_ref(), with.as_bytes());
        assert_eq!(TokenRecord::decode(with.as_bytes()).unwrap(), limited);
        for mixed in
            [with.replace('\x02', "\x01"), golden.replace('\x01', "\x02"), golden.replace('\x01', "\x03")]
        {
            assert!(TokenRecord::decode(mixed.as_bytes()).is_err(), "{mixed:?}");
        }

        let key = SigningKey { id: 9, created: Timestamp(1), secret: [0xcd; 32] };
        let golden = format!("\x01{{\"created\":1,\"secret\":\"{}\"}}", "cd".repeat(32));
        assert_eq!(encode_signing_key(&key).as_ref(), golden.as_bytes());
        assert_eq!(decode_signing_key(&signing_key(9), golden.as_bytes()).unwrap(), key);
        assert_eq!(signing_key(9).bytes, b"k\0\0\0\x09");
    }
}
