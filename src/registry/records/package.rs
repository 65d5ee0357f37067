//! Packages.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{corrupt, from_json, meta, tag, to_json};
use crate::{
    auth::PackageTarget,
    error::Result,
    model::{Ecosystem, OwnerId, PackageId, PackageName, Visibility},
    store::{Key, Record},
};

/// Where a package stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Allocated by an upload, without a manifest: unlisted.
    Pending,
    /// Holds, or held, a manifest.
    Visible,
}

/// A package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageRecord {
    /// Its identity.
    pub id: PackageId,
    /// Whose it is.
    pub owner: OwnerId,
    /// The byte of its [`Ecosystem`].
    pub ecosystem: u8,
    /// Its name below the owner.
    pub name: String,
    /// Who may read it.
    pub visibility: Visibility,
    /// Where it stands.
    pub state: State,
    /// Milliseconds since the epoch.
    pub created: u64,
    /// The user who pushed first; `None` for the operator.
    pub creator: Option<OwnerId>,
}

const VERSION: u8 = 1;

impl PackageRecord {
    /// Where a package is stored.
    pub fn key_of(id: PackageId) -> Key {
        meta(tag::PACKAGE).with(&id.bytes())
    }

    /// The index entry's prefix for a name: what follows is the package's id.
    pub fn name_prefix(owner: OwnerId, ecosystem: Ecosystem, name: &str) -> Key {
        Self::names_of(owner, ecosystem).with_text(name)
    }

    /// The prefix of all names of an owner in an ecosystem.
    pub fn names_of(owner: OwnerId, ecosystem: Ecosystem) -> Key {
        meta(tag::PACKAGE_NAME).with(&owner.bytes()).with(&[ecosystem as u8])
    }

    /// The prefix of an owner's pending packages.
    pub fn pending_of(owner: OwnerId) -> Key {
        meta(tag::PENDING).with(&owner.bytes())
    }

    /// The package's id at the end of an index entry.
    pub fn id_in(key: &Key) -> Option<PackageId> {
        key.bytes.last_chunk::<8>().map(|id| PackageId(u64::from_be_bytes(*id)))
    }

    /// Reads a stored record.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        from_json(VERSION, bytes, "package")
    }

    /// As an address, under its owner's name.
    pub fn target(&self, owner_name: &str) -> Result<PackageTarget> {
        let ecosystem =
            Ecosystem::from_code(self.ecosystem).ok_or_else(|| corrupt("package", "unknown ecosystem"))?;
        Ok(PackageTarget {
            id: self.id,
            owner: self.owner,
            name: PackageName::from_parts(ecosystem, owner_name, &self.name),
            visibility: self.visibility,
            pending: self.state == State::Pending,
        })
    }
}

impl Record for PackageRecord {
    fn key(&self) -> Key {
        Self::key_of(self.id)
    }

    fn value(&self) -> Bytes {
        to_json(VERSION, self)
    }

    fn index(&self) -> BTreeSet<Key> {
        let named = meta(tag::PACKAGE_NAME)
            .with(&self.owner.bytes())
            .with(&[self.ecosystem])
            .with_text(&self.name)
            .with(&self.id.bytes());
        let mut keys = BTreeSet::from([named]);
        if self.state == State::Pending {
            keys.insert(Self::pending_of(self.owner).with(&self.id.bytes()));
        }
        keys
    }
}
