//! Teams, who is in them, and the roles given to groups.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{from_json, meta, tag, to_json};
use crate::{
    error::Result,
    model::{Group, OwnerId, PackageId, Role, TeamId},
    store::{Key, Record},
};

const VERSION: u8 = 1;

/// A team of an organization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TeamRecord {
    /// Its identity.
    pub id: TeamId,
    /// Whose it is.
    pub organization: OwnerId,
    /// Its name as given.
    pub name: String,
    /// The team it is in: its members have what that one is given, too.
    pub parent: Option<TeamId>,
    /// Milliseconds since the epoch.
    pub created: u64,
}

impl TeamRecord {
    /// Where a team is stored.
    pub fn key_of(id: TeamId) -> Key {
        meta(tag::TEAM).with(&id.bytes())
    }

    /// The prefix of the names of an organization's teams, in order: what follows is a name and the team's id.
    pub fn names(organization: OwnerId) -> Key {
        meta(tag::TEAM_NAME).with(&organization.bytes())
    }

    /// The prefix of a name's index entry. Names are found in any case.
    pub fn name_prefix(organization: OwnerId, name: &str) -> Key {
        Self::names(organization).with_text(&name.to_ascii_lowercase())
    }

    /// The prefix of the teams right below one.
    pub fn below(parent: TeamId) -> Key {
        meta(tag::TEAM_BELOW).with(&parent.bytes())
    }

    /// The team's id at the end of an index entry.
    pub fn id_in(key: &Key) -> Option<TeamId> {
        key.bytes.last_chunk::<8>().map(|id| TeamId(u64::from_be_bytes(*id)))
    }

    /// Reads a stored record.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        from_json(VERSION, bytes, "team")
    }
}

impl Record for TeamRecord {
    fn key(&self) -> Key {
        Self::key_of(self.id)
    }

    fn value(&self) -> Bytes {
        to_json(VERSION, self)
    }

    fn index(&self) -> BTreeSet<Key> {
        let id = self.id.bytes();
        let mut keys = BTreeSet::from([Self::name_prefix(self.organization, &self.name).with(&id)]);
        keys.extend(self.parent.map(|parent| Self::below(parent).with(&id)));
        keys
    }
}

/// That a user is in a team.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TeamMemberRecord {
    /// The team.
    pub team: TeamId,
    /// The user.
    pub user: OwnerId,
    /// Whose the team is: so that somebody who leaves an organization leaves its teams.
    pub organization: OwnerId,
    /// Whether the user says who else is in it, and in the teams below it.
    pub maintainer: bool,
    /// Milliseconds since the epoch.
    pub since: u64,
}

impl TeamMemberRecord {
    /// Where it is stored.
    pub fn key_of(team: TeamId, user: OwnerId) -> Key {
        Self::of(team).with(&user.bytes())
    }

    /// The prefix of those in a team.
    pub fn of(team: TeamId) -> Key {
        meta(tag::TEAM_MEMBER).with(&team.bytes())
    }

    /// The prefix of the teams of an organization that a user is in: what follows is the team's id.
    pub fn of_user_at(user: OwnerId, organization: OwnerId) -> Key {
        meta(tag::TEAM_MEMBER_OF).with(&user.bytes()).with(&organization.bytes())
    }

    /// Reads a stored record.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        from_json(VERSION, bytes, "team member")
    }
}

impl Record for TeamMemberRecord {
    fn key(&self) -> Key {
        Self::key_of(self.team, self.user)
    }

    fn value(&self) -> Bytes {
        to_json(VERSION, self)
    }

    fn index(&self) -> BTreeSet<Key> {
        BTreeSet::from([Self::of_user_at(self.user, self.organization).with(&self.team.bytes())])
    }
}

/// A group's role on a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRoleRecord {
    /// The package.
    pub package: PackageId,
    /// The group.
    pub group: Group,
    /// Whose the package is.
    pub owner: OwnerId,
    /// The role.
    pub role: Role,
    /// Milliseconds since the epoch.
    pub since: u64,
    /// The package's repository path, under which lists find the role. Whoever gives a package another name writes its
    /// roles again.
    pub path: String,
}

impl GroupRoleRecord {
    /// Where a role is stored.
    pub fn key_of(package: PackageId, group: Group) -> Key {
        Self::on(package).with(&group.bytes())
    }

    /// The prefix of the roles of groups on a package.
    pub fn on(package: PackageId) -> Key {
        meta(tag::GROUP_ROLE).with(&package.bytes())
    }

    /// The prefix of a group's roles on packages whose paths begin so: they sort as the paths do, and end in the package's
    /// id.
    pub fn paths_of(group: Group, beginning: &str) -> Key {
        meta(tag::GROUP_ROLE_OF).with(&group.bytes()).with(beginning.as_bytes())
    }

    /// Reads a stored record.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        from_json(VERSION, bytes, "role of a group")
    }
}

impl Record for GroupRoleRecord {
    fn key(&self) -> Key {
        Self::key_of(self.package, self.group)
    }

    fn value(&self) -> Bytes {
        to_json(VERSION, self)
    }

    fn index(&self) -> BTreeSet<Key> {
        let path = Self::paths_of(self.group, "").with_text(&self.path);
        BTreeSet::from([path.with(&self.package.bytes())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(record: &impl Record) -> Vec<Vec<u8>> {
        record.index().into_iter().map(|key| key.bytes).collect()
    }

    #[test]
    fn a_team_is_these_bytes() {
        let team = TeamRecord {
            id: TeamId(1),
            organization: OwnerId(2),
            name: "Core".into(),
            parent: None,
            created: 3,
        };
        let golden = b"\x01{\"id\":1,\"organization\":2,\"name\":\"Core\",\"parent\":null,\"created\":3}";
        assert_eq!(team.value().as_ref(), golden);
        assert_eq!(TeamRecord::decode(golden).unwrap(), team);
        assert_eq!(team.key().bytes, b"e\0\0\0\0\0\0\0\x01");
        let name = b"E\0\0\0\0\0\0\0\x02core\0\0\0\0\0\0\0\0\x01".to_vec();
        assert_eq!(keys(&team), std::slice::from_ref(&name));
        let below = TeamRecord { parent: Some(TeamId(4)), ..team };
        assert_eq!(TeamRecord::decode(&below.value()).unwrap(), below);
        assert!(below.value().ends_with(b"\"parent\":4,\"created\":3}"));
        assert_eq!(keys(&below), [name, b"f\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\x01".to_vec()]);
        assert!(TeamRecord::decode(b"\x02{}").is_err());
    }

    #[test]
    fn a_team_member_is_these_bytes() {
        let member = TeamMemberRecord {
            team: TeamId(1),
            user: OwnerId(2),
            organization: OwnerId(3),
            maintainer: true,
            since: 4,
        };
        let golden = b"\x01{\"team\":1,\"user\":2,\"organization\":3,\"maintainer\":true,\"since\":4}";
        assert_eq!(member.value().as_ref(), golden);
        assert_eq!(TeamMemberRecord::decode(golden).unwrap(), member);
        assert_eq!(member.key().bytes, b"x\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02");
        assert_eq!(keys(&member), [b"X\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x01".to_vec()]);
        assert!(TeamMemberRecord::decode(b"\x02{}").is_err());
    }

    #[test]
    fn a_role_of_a_group_is_these_bytes() {
        let team = GroupRoleRecord {
            package: PackageId(1),
            group: Group::Team(TeamId(2)),
            owner: OwnerId(3),
            role: Role::Write,
            since: 4,
            path: "acme/app".into(),
        };
        let golden =
            b"\x01{\"package\":1,\"group\":{\"team\":2},\"owner\":3,\"role\":\"write\",\"since\":4,\"path\":\"acme/app\"}";
        assert_eq!(team.value().as_ref(), golden);
        assert_eq!(GroupRoleRecord::decode(golden).unwrap(), team);
        assert_eq!(team.key().bytes, b"a\0\0\0\0\0\0\0\x01\x01\0\0\0\0\0\0\0\x02");
        assert_eq!(keys(&team), [b"A\x01\0\0\0\0\0\0\0\x02acme/app\0\0\0\0\0\0\0\0\x01".to_vec()]);
        let organization = GroupRoleRecord { group: Group::Organization(OwnerId(2)), ..team };
        let golden =
            b"\x01{\"package\":1,\"group\":{\"org\":2},\"owner\":3,\"role\":\"write\",\"since\":4,\"path\":\"acme/app\"}";
        assert_eq!(organization.value().as_ref(), golden);
        assert_eq!(GroupRoleRecord::decode(golden).unwrap(), organization);
        assert_eq!(organization.key().bytes, b"a\0\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0\x02");
        assert!(GroupRoleRecord::decode(b"\x02{}").is_err());
    }
}
