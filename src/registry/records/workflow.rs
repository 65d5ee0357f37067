//! What the workflows of source repositories may do with packages.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{from_json, meta, tag, to_json};
use crate::{
    error::Result,
    model::{PackageId, RepositoryId, Role},
    store::{Key, Record},
};

const VERSION: u8 = 1;

/// The role that the workflows of a repository have on a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowRoleRecord {
    /// The package.
    pub package: PackageId,
    /// The repository.
    pub repository: RepositoryId,
    /// The role.
    pub role: Role,
    /// Milliseconds since the epoch.
    pub since: u64,
    /// The package's repository path, under which lists find the role. Whoever gives a package another name writes its
    /// roles again.
    pub path: String,
}

impl WorkflowRoleRecord {
    /// Where a role is stored.
    pub fn key_of(package: PackageId, repository: RepositoryId) -> Key {
        Self::on(package).with(&repository.bytes())
    }

    /// The prefix of the roles of repositories on a package.
    pub fn on(package: PackageId) -> Key {
        meta(tag::WORKFLOW_ROLE).with(&package.bytes())
    }

    /// The prefix of a repository's roles on packages whose paths begin so: they sort as the paths do, and end in the
    /// package's id.
    pub fn paths_of(repository: RepositoryId, beginning: &str) -> Key {
        meta(tag::WORKFLOW_ROLE_OF).with(&repository.bytes()).with(beginning.as_bytes())
    }

    /// Reads a stored record.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        from_json(VERSION, bytes, "role of a repository")
    }
}

impl Record for WorkflowRoleRecord {
    fn key(&self) -> Key {
        Self::key_of(self.package, self.repository)
    }

    fn value(&self) -> Bytes {
        to_json(VERSION, self)
    }

    fn index(&self) -> BTreeSet<Key> {
        let path = Self::paths_of(self.repository, "").with_text(&self.path);
        BTreeSet::from([path.with(&self.package.bytes())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_of_a_repository_is_these_bytes() {
        let role = WorkflowRoleRecord {
            package: PackageId(1),
            repository: RepositoryId(2),
            role: Role::Write,
            since: 3,
            path: "acme/app".into(),
        };
        let golden =
            b"\x01{\"package\":1,\"repository\":2,\"role\":\"write\",\"since\":3,\"path\":\"acme/app\"}";
        assert_eq!(role.value().as_ref(), golden);
        assert_eq!(WorkflowRoleRecord::decode(golden).unwrap(), role);
        assert_eq!(role.key().bytes, b"D\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02");
        let index: Vec<_> = role.index().into_iter().map(|key| key.bytes).collect();
        assert_eq!(index, [b"Y\0\0\0\0\0\0\0\x02acme/app\0\0\0\0\0\0\0\0\x01".to_vec()]);
        assert!(WorkflowRoleRecord::decode(b"\x02{}").is_err());
    }
}
