//! Roles given directly.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{from_json, meta, tag, to_json};
use crate::{
    error::Result,
    model::{OwnerId, PackageId, Role},
    store::{Key, Record},
};

/// A user's role on a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleRecord {
    /// The package.
    pub package: PackageId,
    /// The user.
    pub user: OwnerId,
    /// Whose the package is: so that somebody who leaves an organization loses the roles there.
    pub owner: OwnerId,
    /// The role.
    pub role: Role,
    /// Milliseconds since the epoch.
    pub since: u64,
}

const VERSION: u8 = 1;

impl RoleRecord {
    /// Where a role is stored.
    pub fn key_of(package: PackageId, user: OwnerId) -> Key {
        Self::on(package).with(&user.bytes())
    }

    /// The prefix of the roles on a package.
    pub fn on(package: PackageId) -> Key {
        meta(tag::ROLE).with(&package.bytes())
    }

    /// The prefix of a user's roles: what follows is the owner's id and the package's.
    pub fn of_user(user: OwnerId) -> Key {
        meta(tag::ROLE_OF).with(&user.bytes())
    }

    /// The prefix of a user's roles on the packages of one owner.
    pub fn of_user_at(user: OwnerId, owner: OwnerId) -> Key {
        Self::of_user(user).with(&owner.bytes())
    }

    /// The package's id at the end of an index entry.
    pub fn package_in(key: &Key) -> Option<PackageId> {
        key.bytes.last_chunk::<8>().map(|id| PackageId(u64::from_be_bytes(*id)))
    }

    /// Reads a stored record.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        from_json(VERSION, bytes, "role")
    }
}

impl Record for RoleRecord {
    fn key(&self) -> Key {
        Self::key_of(self.package, self.user)
    }

    fn value(&self) -> Bytes {
        to_json(VERSION, self)
    }

    fn index(&self) -> BTreeSet<Key> {
        BTreeSet::from([Self::of_user_at(self.user, self.owner).with(&self.package.bytes())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_form_is_these_bytes() {
        let role = RoleRecord {
            package: PackageId(1),
            user: OwnerId(2),
            owner: OwnerId(3),
            role: Role::Write,
            since: 4,
        };
        let golden = b"\x01{\"package\":1,\"user\":2,\"owner\":3,\"role\":\"write\",\"since\":4}";
        assert_eq!(role.value().as_ref(), golden);
        assert_eq!(RoleRecord::decode(golden).unwrap(), role);
        assert_eq!(role.key().bytes, b"g\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02");
        let index: Vec<_> = role.index().into_iter().map(|key| key.bytes).collect();
        assert_eq!(index, [b"G\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x01".to_vec()]);
    }
}
