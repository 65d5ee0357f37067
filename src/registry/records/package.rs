//! Packages.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Due, corrupt, from_json, meta, tag, to_json};
use crate::{
    auth::PackageTarget,
    error::Result,
    model::{Ecosystem, OwnerId, PackageId, PackageName, RepositoryId, Timestamp, Visibility},
    store::{Key, Record, Space},
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
    /// Its owner's name, folded: part of the repository path, under which it is found. Whoever gives an owner another
    /// name writes its packages again.
    pub owner_name: String,
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
    /// Since when it is deleted, in milliseconds since the epoch. Its name is free; all else of it stays, for a restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<u64>,
    /// Whether it is on its way out for good: from here on parts of it are missing, and it cannot be restored.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub purging: bool,
    /// The source repository it links to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<Link>,
}

/// A package's link to a source repository of its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The repository.
    pub repository: RepositoryId,
    /// Whether the roles on the package are those on the repository. Then it has none of its own.
    pub inherits: bool,
}

const VERSION: u8 = 1;
/// The form of a deleted package. One that is not deleted keeps the first form, byte for byte: a batch expects the bytes
/// that were read, so what is read must be written again the same.
const DELETED: u8 = 2;
/// The form of a package that links to a repository, deleted or not.
const LINKED: u8 = 3;

impl PackageRecord {
    /// Where a package is stored.
    pub fn key_of(id: PackageId) -> Key {
        meta(tag::PACKAGE).with(&id.bytes())
    }

    /// The prefix of all packages.
    pub fn all() -> Key {
        meta(tag::PACKAGE)
    }

    /// The prefix of a repository path's index entry: what follows is the package's id.
    pub fn name_prefix(name: &PackageName) -> Key {
        meta(tag::PACKAGE_NAME).with_text(&name.to_string())
    }

    /// The prefix of the index entries of all repository paths that begin so; empty text for all. The entries sort as
    /// the paths do, so that a list across owners is one walk and costs what its page does.
    pub fn paths(beginning: &str) -> Key {
        meta(tag::PACKAGE_NAME).with(beginning.as_bytes())
    }

    /// The repository path in such an entry.
    pub fn path_in(key: &Key) -> Option<&str> {
        let path = key.bytes.get(1..key.bytes.len().checked_sub(9)?)?;
        std::str::from_utf8(path).ok()
    }

    /// The prefix of the index entries of packages of one visibility that are neither pending nor deleted, whose paths
    /// begin so. They sort as the paths do: a page of those a viewer may read costs what it shows, not what it leaves out.
    pub fn listed(visibility: Visibility, beginning: &str) -> Key {
        meta(tag::LISTED).with(visibility.word().as_bytes()).with(&[0]).with(beginning.as_bytes())
    }

    /// The prefix of all pending packages.
    pub fn pending() -> Key {
        meta(tag::PENDING)
    }

    /// The prefix of an owner's pending packages.
    pub fn pending_of(owner: OwnerId) -> Key {
        meta(tag::PENDING).with(&owner.bytes())
    }

    /// The prefix of the index entries of deleted packages whose paths begin so. A name may be there more than once.
    pub fn deleted_paths(beginning: &str) -> Key {
        meta(tag::DELETED_NAME).with(beginning.as_bytes())
    }

    /// The same of one path.
    pub fn deleted_prefix(name: &PackageName) -> Key {
        meta(tag::DELETED_NAME).with_text(&name.to_string())
    }

    /// The prefix of the packages on their way out.
    pub fn purging() -> Key {
        Key::new(Space::Queue, b'z')
    }

    /// The package's id at the end of an index entry.
    pub fn id_in(key: &Key) -> Option<PackageId> {
        key.bytes.last_chunk::<8>().map(|id| PackageId(u64::from_be_bytes(*id)))
    }

    /// Reads a stored record.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let version = match bytes.first() {
            Some(&known @ (DELETED | LINKED)) => known,
            _ => VERSION,
        };
        let package: Self = from_json(version, bytes, "package")?;
        match package.link.is_some() == (version == LINKED) {
            true => Ok(package),
            false => Err(corrupt("package", "its form and its link do not go together")),
        }
    }

    fn form(&self) -> u8 {
        match (&self.link, self.deleted) {
            (Some(_), _) => LINKED,
            (None, Some(_)) => DELETED,
            (None, None) => VERSION,
        }
    }

    /// The repository whose roles it inherits.
    pub fn inherits(&self) -> Option<RepositoryId> {
        self.link.filter(|link| link.inherits).map(|link| link.repository)
    }

    /// The prefix of the packages that link to a repository, deleted and pending ones too.
    pub fn linked_to(repository: RepositoryId) -> Key {
        meta(tag::LINKED).with(&repository.bytes())
    }

    /// The prefix of the packages that inherit from a repository, neither pending nor deleted, whose paths begin so.
    pub fn inheriting(repository: RepositoryId, beginning: &str) -> Key {
        meta(tag::INHERITING).with(&repository.bytes()).with(beginning.as_bytes())
    }

    /// Its name.
    pub fn package_name(&self) -> Result<PackageName> {
        let ecosystem =
            Ecosystem::from_code(self.ecosystem).ok_or_else(|| corrupt("package", "unknown ecosystem"))?;
        Ok(PackageName::from_parts(ecosystem, &self.owner_name, &self.name))
    }

    /// As an address.
    pub fn target(&self) -> Result<PackageTarget> {
        Ok(PackageTarget {
            id: self.id,
            owner: self.owner,
            name: self.package_name()?,
            visibility: self.visibility,
            pending: self.state == State::Pending,
            deleted: self.deleted.is_some(),
        })
    }
}

impl Record for PackageRecord {
    fn key(&self) -> Key {
        Self::key_of(self.id)
    }

    fn value(&self) -> Bytes {
        to_json(self.form(), self)
    }

    fn index(&self) -> BTreeSet<Key> {
        let mut keys = BTreeSet::new();
        keys.extend(self.link.map(|link| Self::linked_to(link.repository).with(&self.id.bytes())));
        if let Some(deleted) = self.deleted {
            if let Ok(name) = self.package_name() {
                keys.insert(Self::deleted_prefix(&name).with(&self.id.bytes()));
            }
            keys.insert(match self.purging {
                true => Self::purging().with(&self.id.bytes()),
                false => Due::Package(self.id).key(Timestamp(deleted)),
            });
            return keys;
        }
        // A record of an ecosystem this program does not know cannot be read, so it is never written either.
        if let Ok(name) = self.package_name() {
            keys.insert(Self::name_prefix(&name).with(&self.id.bytes()));
        }
        match (self.state, self.package_name()) {
            (State::Pending, _) => {
                keys.insert(Self::pending_of(self.owner).with(&self.id.bytes()));
            }
            (State::Visible, Ok(name)) => {
                let listed = Self::listed(self.visibility, "").with_text(&name.to_string());
                keys.insert(listed.with(&self.id.bytes()));
                keys.extend(self.inherits().map(|repository| {
                    Self::inheriting(repository, "").with_text(&name.to_string()).with(&self.id.bytes())
                }));
            }
            (State::Visible, Err(_)) => {}
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_form_is_these_bytes() {
        let package = PackageRecord {
            id: PackageId(1),
            owner: OwnerId(2),
            ecosystem: 2,
            owner_name: "acme".into(),
            name: "left-pad".into(),
            visibility: Visibility::Private,
            state: State::Pending,
            created: 3,
            creator: Some(OwnerId(4)),
            deleted: None,
            purging: false,
            link: None,
        };
        let golden =
            b"\x01{\"id\":1,\"owner\":2,\"ecosystem\":2,\"owner_name\":\"acme\",\"name\":\"left-pad\",\
            \"visibility\":\"private\",\"state\":\"pending\",\"created\":3,\"creator\":4}";
        assert_eq!(package.value().as_ref(), golden);
        assert_eq!(PackageRecord::decode(golden).unwrap(), package);
        assert_eq!(package.key().bytes, b"p\0\0\0\0\0\0\0\x01");
        let index: Vec<_> = package.index().into_iter().collect();
        assert_eq!(index[0].bytes, b"P\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x01");
        assert_eq!(index[1].bytes, b"nnpm/acme/left-pad\0\0\0\0\0\0\0\0\x01");
        assert_eq!(PackageRecord::path_in(&index[1]), Some("npm/acme/left-pad"));
        assert_eq!(PackageRecord::id_in(&index[1]), Some(PackageId(1)));
        let visible = PackageRecord { state: State::Visible, ..package };
        let index: Vec<_> = visible.index().into_iter().map(|key| key.bytes).collect();
        assert_eq!(index[0], b"lprivate\0npm/acme/left-pad\0\0\0\0\0\0\0\0\x01");
        assert_eq!((index[1][0], index.len()), (b'n', 2));

        let link = Some(Link { repository: RepositoryId(9), inherits: true });
        let linked = PackageRecord { link, ..visible.clone() };
        let golden =
            b"\x03{\"id\":1,\"owner\":2,\"ecosystem\":2,\"owner_name\":\"acme\",\"name\":\"left-pad\",\
            \"visibility\":\"private\",\"state\":\"visible\",\"created\":3,\"creator\":4,\
            \"link\":{\"repository\":9,\"inherits\":true}}";
        assert_eq!(linked.value().as_ref(), golden);
        assert_eq!(PackageRecord::decode(golden).unwrap(), linked);
        let index: Vec<_> = linked.index().into_iter().map(|key| key.bytes).collect();
        assert_eq!(index[0], b"L\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x01");
        assert_eq!(index[1], b"W\0\0\0\0\0\0\0\x09npm/acme/left-pad\0\0\0\0\0\0\0\0\x01");
        assert_eq!((index[2][0], index[3][0], index.len()), (b'l', b'n', 4));
        let link = Some(Link { repository: RepositoryId(9), inherits: false });
        let linked = PackageRecord { link, deleted: Some(5), ..linked };
        assert_eq!(PackageRecord::decode(&linked.value()).unwrap(), linked);
        let index: Vec<_> = linked.index().into_iter().map(|key| key.bytes[0]).collect();
        assert_eq!(index, b"LNd", "what is deleted stays linked, and is listed nowhere");
        let first = [b"\x01", &golden[1..]].concat();
        assert!(PackageRecord::decode(&first).is_err(), "a link in the first form");

        let deleted = PackageRecord { deleted: Some(5), ..visible };
        let golden =
            b"\x02{\"id\":1,\"owner\":2,\"ecosystem\":2,\"owner_name\":\"acme\",\"name\":\"left-pad\",\
            \"visibility\":\"private\",\"state\":\"visible\",\"created\":3,\"creator\":4,\"deleted\":5}";
        assert_eq!(deleted.value().as_ref(), golden);
        assert_eq!(PackageRecord::decode(golden).unwrap(), deleted);
        let index: Vec<_> = deleted.index().into_iter().map(|key| (key.space, key.bytes)).collect();
        let name = (Space::Meta, b"Nnpm/acme/left-pad\0\0\0\0\0\0\0\0\x01".to_vec());
        let due = (Space::Queue, b"d\0\0\0\0\0\0\0\x05\x02\0\0\0\0\0\0\0\x01".to_vec());
        assert_eq!(index, [name.clone(), due]);
        let purging = PackageRecord { purging: true, ..deleted };
        assert!(purging.value().ends_with(b"\"deleted\":5,\"purging\":true}"));
        assert_eq!(PackageRecord::decode(&purging.value()).unwrap(), purging);
        let index: Vec<_> = purging.index().into_iter().map(|key| (key.space, key.bytes)).collect();
        assert_eq!(index, [name, (Space::Queue, b"z\0\0\0\0\0\0\0\x01".to_vec())]);
    }
}
