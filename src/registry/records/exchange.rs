//! Tokens of workflows, what is trusted to get them, and which tokens of issuers were exchanged already.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{corrupt, from_json, meta, tag, to_json};
use crate::{
    auth::TokenHash,
    error::Result,
    model::{RepositoryId, TokenId, TrustId},
    store::{Key, Record},
};

const VERSION: u8 = 1;

/// What a key of the tag `K` holds, and what one of the tag `I` points at.
pub(crate) mod kept {
    pub(crate) const TOKEN: u8 = 1;
    pub(crate) const TRUST: u8 = 2;
    pub(crate) const USED: u8 = 3;
}

fn record(kind: u8) -> Key {
    meta(tag::EXCHANGE).with(&[kind])
}

fn index(kind: u8) -> Key {
    meta(tag::EXCHANGE_INDEX).with(&[kind])
}

/// A token of a repository's workflows: everything but the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkflowTokenRecord {
    /// Its name in listings and for revocation.
    pub id: TokenId,
    /// The repository whose workflow it is.
    pub repository: RepositoryId,
    /// The hash of the secret, in hexadecimal.
    pub hash: String,
    /// Whether it may write, or reads alone.
    pub write: bool,
    /// Milliseconds since the epoch.
    pub created: u64,
    /// Milliseconds since the epoch.
    pub expires: u64,
    /// Who got it: an issuer's subject, or who minted it.
    pub by: String,
}

impl WorkflowTokenRecord {
    /// Where a token is stored.
    pub fn key_of(id: TokenId) -> Key {
        Self::all().with(&id.bytes())
    }

    /// The prefix of all of them.
    pub fn all() -> Key {
        record(kept::TOKEN)
    }

    /// The prefix of a hash's index entry: what follows is the token's id.
    pub fn hash_prefix(hash: &TokenHash) -> Key {
        meta(tag::EXCHANGE_HASH).with(&hash.0)
    }

    /// The prefix of a repository's tokens, oldest first.
    pub fn of(repository: RepositoryId) -> Key {
        index(kept::TOKEN).with(&repository.bytes())
    }

    /// The token's id at the end of an index entry.
    pub fn id_in(key: &Key) -> Option<TokenId> {
        key.bytes.last_chunk::<8>().map(|id| TokenId(u64::from_be_bytes(*id)))
    }

    /// Reads a stored record.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        from_json(VERSION, bytes, "token of a workflow")
    }
}

impl Record for WorkflowTokenRecord {
    fn key(&self) -> Key {
        Self::key_of(self.id)
    }

    fn value(&self) -> Bytes {
        to_json(VERSION, self)
    }

    fn index(&self) -> BTreeSet<Key> {
        // A hash that is not 32 bytes was never written; it leads nowhere, so the token is good for nothing.
        let hash = hex::decode(&self.hash).unwrap_or_default();
        BTreeSet::from([
            meta(tag::EXCHANGE_HASH).with(&hash).with(&self.id.bytes()),
            Self::of(self.repository).with(&self.created.to_be_bytes()).with(&self.id.bytes()),
        ])
    }
}

/// Which jobs of an issuer get tokens of a repository. What it names must be so, exactly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustRecord {
    /// Its name in listings.
    pub id: TrustId,
    /// The repository.
    pub repository: RepositoryId,
    /// The issuer's address.
    pub issuer: String,
    /// The id of the source repository there, which never changes nor comes again.
    pub source: String,
    /// The id of its owner there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The branch or tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The workflow's file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// The environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// What may have started the job; when it is empty, what the kind of issuer lets in by itself.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub events: BTreeSet<String>,
    /// Whether its tokens may write.
    pub write: bool,
    /// Milliseconds since the epoch.
    pub created: u64,
}

impl TrustRecord {
    /// Where a trust is stored.
    pub fn key_of(repository: RepositoryId, id: TrustId) -> Key {
        Self::of(repository).with(&id.bytes())
    }

    /// The prefix of a repository's.
    pub fn of(repository: RepositoryId) -> Key {
        record(kept::TRUST).with(&repository.bytes())
    }

    /// Reads a stored record.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        from_json(VERSION, bytes, "trust")
    }
}

impl Record for TrustRecord {
    fn key(&self) -> Key {
        Self::key_of(self.repository, self.id)
    }

    fn value(&self) -> Bytes {
        to_json(VERSION, self)
    }

    fn index(&self) -> BTreeSet<Key> {
        BTreeSet::new()
    }
}

/// A token of an issuer's that was exchanged: it counts once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsedTokenRecord {
    /// What names it: [`Self::name`].
    pub name: [u8; 32],
    /// Until when it must be remembered, in seconds since the epoch.
    pub until: u64,
}

impl UsedTokenRecord {
    /// The name of an issuer's token of this id: no two of them, of whatever issuers, have the same.
    pub fn name(issuer: &str, id: &str) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update(b"packhouse exchanged token v1\0");
        for part in [issuer, id] {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        hasher.finalize().into()
    }

    /// Where one is stored.
    pub fn key_of(name: &[u8; 32]) -> Key {
        record(kept::USED).with(name)
    }

    /// The prefix of the index by time: the second until which each is remembered, and its name.
    pub fn by_time() -> Key {
        index(kept::USED)
    }

    /// The second and the name in an index entry.
    pub fn in_entry(key: &Key) -> Option<(u64, [u8; 32])> {
        let (rest, name) = key.bytes.split_last_chunk::<32>()?;
        Some((u64::from_be_bytes(*rest.last_chunk::<8>()?), *name))
    }

    /// Reads a stored record.
    pub fn decode(name: [u8; 32], bytes: &[u8]) -> Result<Self> {
        match bytes {
            [VERSION, until @ ..] if until.len() == 8 => {
                let mut number = [0; 8];
                number.copy_from_slice(until);
                Ok(Self { name, until: u64::from_be_bytes(number) })
            }
            _ => Err(corrupt("exchanged token", "malformed")),
        }
    }
}

impl Record for UsedTokenRecord {
    fn key(&self) -> Key {
        Self::key_of(&self.name)
    }

    fn value(&self) -> Bytes {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.until.to_be_bytes());
        bytes.into()
    }

    fn index(&self) -> BTreeSet<Key> {
        BTreeSet::from([Self::by_time().with(&self.until.to_be_bytes()).with(&self.name)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(record: &impl Record) -> Vec<Vec<u8>> {
        record.index().into_iter().map(|key| key.bytes).collect()
    }

    #[test]
    fn the_stored_forms_are_these_bytes() {
        let token = WorkflowTokenRecord {
            id: TokenId(1),
            repository: RepositoryId(2),
            hash: "ab".repeat(32),
            write: true,
            created: 3,
            expires: 4,
            by: "x".into(),
        };
        let golden = format!(
            "\x01{{\"id\":1,\"repository\":2,\"hash\":\"{}\",\"write\":true,\"created\":3,\"expires\":4,\"by\":\"x\"}}",
            "ab".repeat(32)
        );
        assert_eq!(token.value().as_ref(), golden.as_bytes());
        assert_eq!(WorkflowTokenRecord::decode(golden.as_bytes()).unwrap(), token);
        assert_eq!(token.key().bytes, b"K\x01\0\0\0\0\0\0\0\x01");
        let by_hash = [b"H".as_slice(), &[0xab; 32], b"\0\0\0\0\0\0\0\x01"].concat();
        let of = b"I\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x01".to_vec();
        assert_eq!(keys(&token), [by_hash, of]);

        let trust = TrustRecord {
            id: TrustId(1),
            repository: RepositoryId(2),
            issuer: "https://ci".into(),
            source: "7".into(),
            owner: Some("8".into()),
            reference: None,
            workflow: None,
            environment: Some("live".into()),
            events: BTreeSet::from(["push".into()]),
            write: false,
            created: 3,
        };
        let golden =
            b"\x01{\"id\":1,\"repository\":2,\"issuer\":\"https://ci\",\"source\":\"7\",\"owner\":\"8\",\
            \"environment\":\"live\",\"events\":[\"push\"],\"write\":false,\"created\":3}";
        assert_eq!(trust.value().as_ref(), golden);
        assert_eq!(TrustRecord::decode(golden).unwrap(), trust);
        assert_eq!(trust.key().bytes, b"K\x02\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x01");
        assert!(TrustRecord::decode(&[b"\x02", &golden[1..]].concat()).is_err());
        let more = String::from_utf8_lossy(golden).replace("\"write\"", "\"actor\":\"9\",\"write\"");
        assert!(TrustRecord::decode(more.as_bytes()).is_err(), "a condition that is not understood");

        let used = UsedTokenRecord { name: [9; 32], until: 5 };
        assert_eq!(used.value().as_ref(), b"\x01\0\0\0\0\0\0\0\x05");
        assert_eq!(UsedTokenRecord::decode([9; 32], &used.value()).unwrap(), used);
        assert_eq!(used.key().bytes, [b"K\x03".as_slice(), &[9; 32]].concat());
        assert_eq!(keys(&used), [[b"I\x03\0\0\0\0\0\0\0\x05".as_slice(), &[9; 32]].concat()]);
        assert_eq!(UsedTokenRecord::in_entry(used.index().first().unwrap()), Some((5, [9; 32])));
        assert!(UsedTokenRecord::decode([9; 32], b"\x01").is_err());
    }

    #[test]
    fn no_two_tokens_have_one_name() {
        assert_ne!(UsedTokenRecord::name("ab", "c"), UsedTokenRecord::name("a", "bc"));
        assert_ne!(UsedTokenRecord::name("a", "b"), UsedTokenRecord::name("b", "a"));
    }
}
