//! What an owner or a package's administrators decided about tags and versions.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{from_json, meta, tag, to_json};
use crate::{
    error::Result,
    model::{OwnerId, PackageId, TagPatterns},
    store::{Key, Record},
};

/// Whose policy it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PolicyOf {
    /// Of all packages of an owner.
    Owner(OwnerId),
    /// Of one package.
    Package(PackageId),
}

/// Which versions stay, and so which go. Nothing goes that no rule names.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Retention {
    /// Of the versions with tags so many stay, the last ones.
    pub keep_last: Option<u32>,
    /// Versions with tags stay so long, in seconds, after they were pushed or tagged last.
    pub keep_younger: Option<u64>,
    /// Versions with such tags stay.
    pub keep_tags: TagPatterns,
    /// Versions without a tag, that nothing here names either, go so long after they were pushed, in seconds.
    pub untagged_older: Option<u64>,
}

impl Retention {
    /// Whether it lets anything go.
    pub fn is_idle(&self) -> bool {
        self.keep_last.is_none() && self.keep_younger.is_none() && self.untagged_older.is_none()
    }
}

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRecord {
    /// Whose.
    pub of: PolicyOf,
    /// Tags that are never moved or deleted once they are there.
    pub immutable: TagPatterns,
    /// What goes; `None`: a package leaves that to its owner's policy.
    pub retention: Option<Retention>,
    /// Milliseconds since the epoch.
    pub set: u64,
}

const VERSION: u8 = 1;

impl PolicyRecord {
    /// All policies.
    pub fn all() -> Key {
        meta(tag::POLICY)
    }

    /// Where one is stored.
    pub fn key_of(of: PolicyOf) -> Key {
        match of {
            PolicyOf::Owner(owner) => Self::all().with(b"o").with(&owner.bytes()),
            PolicyOf::Package(package) => Self::all().with(b"p").with(&package.bytes()),
        }
    }

    /// Reads a stored record.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        from_json(VERSION, bytes, "policy")
    }
}

impl Record for PolicyRecord {
    fn key(&self) -> Key {
        Self::key_of(self.of)
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
        let patterns = |tags: &[&str], except: &[&str]| {
            let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
            TagPatterns::parse(&own(tags), &own(except)).unwrap()
        };
        let policy = PolicyRecord {
            of: PolicyOf::Package(PackageId(1)),
            immutable: patterns(&["v*"], &["latest"]),
            retention: Some(Retention {
                keep_last: Some(2),
                keep_younger: Some(3),
                keep_tags: patterns(&["r"], &[]),
                untagged_older: None,
            }),
            set: 4,
        };
        let golden =
            b"\x01{\"of\":{\"package\":1},\"immutable\":{\"tags\":[\"v*\"],\"except\":[\"latest\"]},\
            \"retention\":{\"keep_last\":2,\"keep_younger\":3,\"keep_tags\":{\"tags\":[\"r\"],\"except\":[]},\
            \"untagged_older\":null},\"set\":4}";
        assert_eq!(policy.value().as_ref(), golden);
        assert_eq!(PolicyRecord::decode(golden).unwrap(), policy);
        assert_eq!(policy.key().bytes, b"yp\0\0\0\0\0\0\0\x01");
        let owner = PolicyRecord { of: PolicyOf::Owner(OwnerId(2)), retention: None, ..policy };
        assert_eq!(owner.key().bytes, b"yo\0\0\0\0\0\0\0\x02");
        assert_eq!(PolicyRecord::decode(&owner.value()).unwrap(), owner);
    }
}
