//! Roles given directly.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{corrupt, from_json, meta, tag, to_json};
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
    /// The package's repository path, under which lists find the role. Whoever gives a package another name writes its
    /// roles again. Empty in the first form, which an upgrade replaces.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
}

/// Without the path.
const FIRST: u8 = 1;
const VERSION: u8 = 2;

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

    /// The prefix of a user's roles on packages whose paths begin so: they sort as the paths do, and end in the package's
    /// id.
    pub fn paths_of(user: OwnerId, beginning: &str) -> Key {
        meta(tag::ROLE_PATH).with(&user.bytes()).with(beginning.as_bytes())
    }

    /// The prefix of all roles.
    pub fn all() -> Key {
        meta(tag::ROLE)
    }

    /// The package's id at the end of an index entry.
    pub fn package_in(key: &Key) -> Option<PackageId> {
        key.bytes.last_chunk::<8>().map(|id| PackageId(u64::from_be_bytes(*id)))
    }

    /// Reads a stored record.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let version = if bytes.first() == Some(&FIRST) { FIRST } else { VERSION };
        let role: Self = from_json(version, bytes, "role")?;
        match role.path.is_empty() == (version == FIRST) {
            true => Ok(role),
            false => Err(corrupt("role", "its form and its path do not go together")),
        }
    }
}

impl Record for RoleRecord {
    fn key(&self) -> Key {
        Self::key_of(self.package, self.user)
    }

    fn value(&self) -> Bytes {
        to_json(if self.path.is_empty() { FIRST } else { VERSION }, self)
    }

    fn index(&self) -> BTreeSet<Key> {
        let id = self.package.bytes();
        let mut keys = BTreeSet::from([Self::of_user_at(self.user, self.owner).with(&id)]);
        if !self.path.is_empty() {
            keys.insert(Self::paths_of(self.user, "").with_text(&self.path).with(&id));
        }
        keys
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
            path: String::new(),
        };
        let golden = b"\x01{\"package\":1,\"user\":2,\"owner\":3,\"role\":\"write\",\"since\":4}";
        assert_eq!(role.value().as_ref(), golden);
        assert_eq!(RoleRecord::decode(golden).unwrap(), role);
        assert_eq!(role.key().bytes, b"g\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02");
        let index: Vec<_> = role.index().into_iter().map(|key| key.bytes).collect();
        let of_user = b"G\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x01".to_vec();
        assert_eq!(index, std::slice::from_ref(&of_user));

        let role = RoleRecord { path: "acme/app".into(), ..role };
        let golden =
            b"\x02{\"package\":1,\"user\":2,\"owner\":3,\"role\":\"write\",\"since\":4,\"path\":\"acme/app\"}";
        assert_eq!(role.value().as_ref(), golden);
        assert_eq!(RoleRecord::decode(golden).unwrap(), role);
        let index: Vec<_> = role.index().into_iter().map(|key| key.bytes).collect();
        let by_path = b"h\0\0\0\0\0\0\0\x02acme/app\0\0\0\0\0\0\0\0\x01".to_vec();
        assert_eq!(index, [of_user, by_path]);
        for other in
            [&b"\x02{\"package\":1,\"user\":2,\"owner\":3,\"role\":\"write\",\"since\":4}"[..], b"\x03{}"]
        {
            assert!(RoleRecord::decode(other).is_err());
        }
    }
}
