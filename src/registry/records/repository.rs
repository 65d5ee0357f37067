//! Source repositories, their READMEs, the roles given on them.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{from_json, meta, tag, to_json};
use crate::{
    auth::RepositoryTarget,
    error::Result,
    model::{Collaborator, OwnerId, RepositoryId, RepositoryRole, Visibility, repository::place_of},
    store::{Key, Record},
};

const VERSION: u8 = 1;

/// A source repository. Its source is elsewhere; this is what permissions are inherited from and what packages link to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryRecord {
    /// Its identity.
    pub id: RepositoryId,
    /// Whose it is.
    pub owner: OwnerId,
    /// Its name as given.
    pub name: String,
    /// Who may see it without a role.
    pub visibility: Visibility,
    /// What it is, in a sentence.
    pub description: String,
    /// Where its source is; empty when nobody said.
    pub url: String,
    /// Words to find it by.
    pub topics: Vec<String>,
    /// Its licence, as an SPDX expression; empty when nobody said.
    pub license: String,
    /// Milliseconds since the epoch.
    pub created: u64,
    /// When what is recorded here was last brought in line with the source, in milliseconds since the epoch.
    pub synced: Option<u64>,
}

impl RepositoryRecord {
    /// Where a repository is stored.
    pub fn key_of(id: RepositoryId) -> Key {
        meta(tag::REPOSITORY).with(&id.bytes())
    }

    /// The prefix of the names of an owner's repositories, in order: what follows is a name and the repository's id.
    pub fn names(owner: OwnerId) -> Key {
        meta(tag::REPOSITORY_NAME).with(&owner.bytes())
    }

    /// The prefix of a name's index entry. Names are found in any case.
    pub fn name_prefix(owner: OwnerId, name: &str) -> Key {
        Self::names(owner).with_text(&name.to_ascii_lowercase())
    }

    /// The prefix of the repositories of an owner whose source is in one place, as [`place_of`] spells it.
    pub fn at_place(owner: OwnerId, place: &str) -> Key {
        meta(tag::REPOSITORY_PLACE).with(&owner.bytes()).with_text(place)
    }

    /// The repository's id at the end of an index entry.
    pub fn id_in(key: &Key) -> Option<RepositoryId> {
        key.bytes.last_chunk::<8>().map(|id| RepositoryId(u64::from_be_bytes(*id)))
    }

    /// Reads a stored record.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        from_json(VERSION, bytes, "repository")
    }

    /// As an address, below its owner's name.
    pub fn target(&self, owner: &str) -> RepositoryTarget {
        RepositoryTarget {
            id: self.id,
            owner: self.owner,
            owner_name: owner.to_owned(),
            name: self.name.clone(),
            visibility: self.visibility,
        }
    }
}

impl Record for RepositoryRecord {
    fn key(&self) -> Key {
        Self::key_of(self.id)
    }

    fn value(&self) -> Bytes {
        to_json(VERSION, self)
    }

    fn index(&self) -> BTreeSet<Key> {
        let id = self.id.bytes();
        let mut keys = BTreeSet::from([Self::name_prefix(self.owner, &self.name).with(&id)]);
        keys.extend(place_of(&self.url).map(|place| Self::at_place(self.owner, &place).with(&id)));
        keys
    }
}

/// A repository's README. Apart from the repository, so that no decision reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadmeRecord {
    /// The repository.
    pub repository: RepositoryId,
    /// The text.
    pub text: String,
}

impl ReadmeRecord {
    /// Where it is stored.
    pub fn key_of(repository: RepositoryId) -> Key {
        meta(tag::README).with(&repository.bytes())
    }

    /// Reads a stored record.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        from_json(VERSION, bytes, "README")
    }
}

impl Record for ReadmeRecord {
    fn key(&self) -> Key {
        Self::key_of(self.repository)
    }

    fn value(&self) -> Bytes {
        to_json(VERSION, self)
    }

    fn index(&self) -> BTreeSet<Key> {
        BTreeSet::new()
    }
}

/// A role on a source repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryRoleRecord {
    /// The repository.
    pub repository: RepositoryId,
    /// Whose role it is.
    pub of: Collaborator,
    /// Whose the repository is: so that somebody who leaves an organization loses the roles there.
    pub owner: OwnerId,
    /// The role.
    pub role: RepositoryRole,
    /// Milliseconds since the epoch.
    pub since: u64,
}

impl RepositoryRoleRecord {
    /// Where a role is stored.
    pub fn key_of(repository: RepositoryId, of: Collaborator) -> Key {
        Self::on(repository).with(&of.bytes())
    }

    /// The prefix of the roles on a repository.
    pub fn on(repository: RepositoryId) -> Key {
        meta(tag::REPOSITORY_ROLE).with(&repository.bytes())
    }

    /// The prefix of the roles of one kind of collaborator on a repository.
    pub fn on_of(repository: RepositoryId, kind: u8) -> Key {
        Self::on(repository).with(&[kind])
    }

    /// The prefix of a collaborator's roles: what follows is the owner's id and the repository's.
    pub fn of(who: Collaborator) -> Key {
        meta(tag::REPOSITORY_ROLE_OF).with(&who.bytes())
    }

    /// The prefix of a collaborator's roles on the repositories of one owner.
    pub fn of_at(who: Collaborator, owner: OwnerId) -> Key {
        Self::of(who).with(&owner.bytes())
    }

    /// Reads a stored record.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        from_json(VERSION, bytes, "role on a repository")
    }
}

impl Record for RepositoryRoleRecord {
    fn key(&self) -> Key {
        Self::key_of(self.repository, self.of)
    }

    fn value(&self) -> Bytes {
        to_json(VERSION, self)
    }

    fn index(&self) -> BTreeSet<Key> {
        BTreeSet::from([Self::of_at(self.of, self.owner).with(&self.repository.bytes())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TeamId;

    fn keys(record: &impl Record) -> Vec<Vec<u8>> {
        record.index().into_iter().map(|key| key.bytes).collect()
    }

    #[test]
    fn a_repository_is_these_bytes() {
        let repository = RepositoryRecord {
            id: RepositoryId(1),
            owner: OwnerId(2),
            name: "App".into(),
            visibility: Visibility::Internal,
            description: "an app".into(),
            url: String::new(),
            topics: vec!["web".into()],
            license: "MIT".into(),
            created: 3,
            synced: None,
        };
        let golden = b"\x01{\"id\":1,\"owner\":2,\"name\":\"App\",\"visibility\":\"internal\",\"description\":\"an app\",\
            \"url\":\"\",\"topics\":[\"web\"],\"license\":\"MIT\",\"created\":3,\"synced\":null}";
        assert_eq!(repository.value().as_ref(), golden);
        assert_eq!(RepositoryRecord::decode(golden).unwrap(), repository);
        assert_eq!(repository.key().bytes, b"R\0\0\0\0\0\0\0\x01");
        let name = b"d\0\0\0\0\0\0\0\x02app\0\0\0\0\0\0\0\0\x01".to_vec();
        assert_eq!(keys(&repository), std::slice::from_ref(&name));
        let repository = RepositoryRecord { url: "https://Git.example/acme/App".into(), ..repository };
        let place = b"v\0\0\0\0\0\0\0\x02git.example/acme/app\0\0\0\0\0\0\0\0\x01".to_vec();
        assert_eq!(keys(&repository), [name, place]);
        assert!(RepositoryRecord::decode(b"\x02{}").is_err());
    }

    #[test]
    fn a_readme_is_these_bytes() {
        let readme = ReadmeRecord { repository: RepositoryId(1), text: "# App".into() };
        let golden = b"\x01{\"repository\":1,\"text\":\"# App\"}";
        assert_eq!(readme.value().as_ref(), golden);
        assert_eq!(ReadmeRecord::decode(golden).unwrap(), readme);
        assert_eq!(readme.key().bytes, b"V\0\0\0\0\0\0\0\x01");
        assert!(readme.index().is_empty());
        assert!(ReadmeRecord::decode(b"\x02{}").is_err());
    }

    #[test]
    fn a_role_on_a_repository_is_these_bytes() {
        let role = RepositoryRoleRecord {
            repository: RepositoryId(1),
            of: Collaborator::User(OwnerId(2)),
            owner: OwnerId(3),
            role: RepositoryRole::Maintain,
            since: 4,
        };
        let golden =
            b"\x01{\"repository\":1,\"of\":{\"user\":2},\"owner\":3,\"role\":\"maintain\",\"since\":4}";
        assert_eq!(role.value().as_ref(), golden);
        assert_eq!(RepositoryRoleRecord::decode(golden).unwrap(), role);
        assert_eq!(role.key().bytes, b"c\0\0\0\0\0\0\0\x01\x01\0\0\0\0\0\0\0\x02");
        let index = b"C\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x01".to_vec();
        assert_eq!(keys(&role), [index]);
        let team = RepositoryRoleRecord { of: Collaborator::Team(TeamId(2)), ..role };
        assert_eq!(RepositoryRoleRecord::decode(&team.value()).unwrap(), team);
        assert!(team.value().starts_with(b"\x01{\"repository\":1,\"of\":{\"team\":2},"));
        assert!(RepositoryRoleRecord::decode(b"\x02{}").is_err());
    }
}
