//! Where revisions of rights are counted.

use super::{meta, tag};
use crate::{auth::Subject, store::Key};

/// Where a revision is counted: a signed 64-bit number, big endian, absent while it is 0. It is never removed: a count
/// that began anew would make old decisions look fresh.
pub(crate) fn revision_key(of: Subject) -> Key {
    let key = |kind: u8| meta(tag::REVISION).with(&[kind]);
    match of {
        Subject::Owner(id) => key(1).with(&id.bytes()),
        Subject::Principal(id) => key(2).with(&id.bytes()),
        Subject::Credential(id) => key(3).with(&id.bytes()),
        Subject::Package(id) => key(4).with(&id.bytes()),
        Subject::RolesAt { user, owner } => key(5).with(&user.bytes()).with(&owner.bytes()),
        Subject::Group(group) => key(6).with(&group.bytes()),
        Subject::PackagesOf(id) => key(8).with(&id.bytes()),
        Subject::RolesOf(id) => key(9).with(&id.bytes()),
        Subject::Repository(id) => key(7).with(&id.bytes()),
    }
}

/// Whether a key counts a revision.
pub(crate) fn is_revision(key: &Key) -> bool {
    key.bytes.first() == Some(&tag::REVISION) && key.space == crate::store::Space::Meta
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Group, OwnerId, PackageId, RepositoryId, TeamId, TokenId};

    #[test]
    fn the_keys_are_these_bytes() {
        for (subject, kind) in [
            (Subject::Owner(OwnerId(7)), 1),
            (Subject::Principal(OwnerId(7)), 2),
            (Subject::Credential(TokenId(7)), 3),
            (Subject::Package(PackageId(7)), 4),
            (Subject::Repository(RepositoryId(7)), 7),
            (Subject::PackagesOf(OwnerId(7)), 8),
            (Subject::RolesOf(OwnerId(7)), 9),
        ] {
            let key = revision_key(subject);
            assert_eq!(key.bytes, [b'r', kind, 0, 0, 0, 0, 0, 0, 0, 7]);
            assert!(is_revision(&key));
        }
        let roles = revision_key(Subject::RolesAt { user: OwnerId(1), owner: OwnerId(2) });
        assert_eq!(roles.bytes, b"r\x05\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02");
        let groups = [Group::Team(TeamId(7)), Group::Organization(OwnerId(7))];
        for (group, kind) in groups.into_iter().zip(1..) {
            let key = revision_key(Subject::Group(group));
            assert_eq!(key.bytes, [b'r', 6, kind, 0, 0, 0, 0, 0, 0, 0, 7]);
            assert_eq!(Group::from_bytes(group.bytes()), Some(group));
        }
        assert_eq!(Group::from_bytes([3; 9]), None);
        assert!(!is_revision(&meta(tag::PACKAGE)));
    }
}
