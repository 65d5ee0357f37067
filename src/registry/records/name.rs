//! Names that are not free though no account has them.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{from_json, meta, tag, to_json};
use crate::{
    error::Result,
    model::OwnerId,
    store::{Key, Record},
};

/// A name that somebody had. While it is here, nobody else takes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameRecord {
    /// The name, folded.
    pub name: String,
    /// Who had it and has another one now: packages are read under it still. `None`: the account is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<OwnerId>,
    /// Since when it is not the name of an account, in milliseconds since the epoch.
    pub since: u64,
}

const VERSION: u8 = 1;

impl NameRecord {
    /// Where a name is stored. Names are found in any case.
    pub fn key_of(name: &str) -> Key {
        meta(tag::HELD_NAME).with_text(&name.to_ascii_lowercase())
    }

    /// The prefix of all held names, in order.
    pub fn all() -> Key {
        meta(tag::HELD_NAME)
    }

    /// The prefix of the names an account had: what follows is the name.
    pub fn of(owner: OwnerId) -> Key {
        meta(tag::HELD_NAME_OF).with(&owner.bytes())
    }

    /// The name in such an entry.
    pub fn name_in(key: &Key) -> Option<&str> {
        std::str::from_utf8(key.bytes.get(1 + 8..)?.strip_suffix(&[0])?).ok()
    }

    /// That an account has, or had, packages that everybody could read.
    pub fn was_public(owner: OwnerId) -> Key {
        meta(tag::WAS_PUBLIC).with(&owner.bytes())
    }

    /// Reads a stored record.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        from_json(VERSION, bytes, "held name")
    }
}

impl Record for NameRecord {
    fn key(&self) -> Key {
        Self::key_of(&self.name)
    }

    fn value(&self) -> Bytes {
        to_json(VERSION, self)
    }

    fn index(&self) -> BTreeSet<Key> {
        self.owner.map(|owner| Self::of(owner).with_text(&self.name)).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_form_is_these_bytes() {
        let held = NameRecord { name: "acme".into(), owner: Some(OwnerId(2)), since: 3 };
        let golden = b"\x01{\"name\":\"acme\",\"owner\":2,\"since\":3}";
        assert_eq!(held.value().as_ref(), golden);
        assert_eq!(NameRecord::decode(golden).unwrap(), held);
        assert_eq!(held.key().bytes, b"zacme\0");
        assert_eq!(NameRecord::key_of("ACME"), held.key());
        let index: Vec<_> = held.index().into_iter().collect();
        assert_eq!(index[0].bytes, b"Z\0\0\0\0\0\0\0\x02acme\0");
        assert_eq!((index.len(), NameRecord::name_in(&index[0])), (1, Some("acme")));
        let gone = NameRecord { owner: None, ..held };
        assert_eq!(gone.value().as_ref(), b"\x01{\"name\":\"acme\",\"since\":3}");
        assert_eq!(NameRecord::decode(&gone.value()).unwrap(), gone);
        assert!(gone.index().is_empty());
        assert!(NameRecord::decode(b"\x02{}").is_err() && NameRecord::decode(b"").is_err());
    }
}
