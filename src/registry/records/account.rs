//! Users, organizations, their members, passwords.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{corrupt, from_json, meta, tag, to_json};
use crate::{
    error::Result,
    model::{OwnerId, RobotName, Role},
    store::{Key, Record},
};

/// What kind of owner an account is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccountKind {
    /// A person or a machine: signs in, owns packages.
    User,
    /// Owns packages; users act for it.
    Organization,
    /// Acts for its owner by the roles it is given; signs in with tokens alone, owns nothing.
    Robot,
}

impl AccountKind {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::User => "a user",
            Self::Robot => "a robot",
            Self::Organization => "an organization",
        }
    }
}

/// A user or an organization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRecord {
    /// Its identity.
    pub id: OwnerId,
    /// Its name as registered.
    pub name: String,
    /// User or organization.
    pub kind: AccountKind,
    /// Whether it administers the installation.
    pub administrator: bool,
    /// Whether it may not sign in.
    pub suspended: bool,
    /// Whether anonymous callers may read its public packages.
    pub anonymous_reads: bool,
    /// How many times its password has changed; what was signed in with an earlier one is void.
    pub sign_in: u64,
    /// Milliseconds since the epoch.
    pub created: u64,
    /// The role that the members of an organization have on all its packages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_role: Option<Role>,
    /// Whose robot it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub robot_of: Option<OwnerId>,
}

const VERSION: u8 = 1;
/// The form of an account with a base role. One without keeps the first form, byte for byte.
const WITH_BASE_ROLE: u8 = 2;
/// The form of a robot.
const ROBOT: u8 = 3;

impl AccountRecord {
    /// Where an account is stored.
    pub fn key_of(id: OwnerId) -> Key {
        meta(tag::OWNER).with(&id.bytes())
    }

    /// The prefix of a name's index entry: what follows is the account's id. Names are found in any case.
    pub fn name_prefix(name: &str) -> Key {
        meta(tag::OWNER_NAME).with_text(&name.to_ascii_lowercase())
    }

    /// The prefix of the index entry of an owner's robot, by its own name. Under the owner's id: renaming the owner renames it.
    pub fn robot_prefix(owner: OwnerId, robot: &str) -> Key {
        Self::robots_of(owner).with_text(&robot.to_ascii_lowercase())
    }

    /// The prefix of an owner's robots, in order of their names.
    pub fn robots_of(owner: OwnerId) -> Key {
        meta(tag::ROBOT).with(&owner.bytes())
    }

    /// The prefix of all names.
    pub fn names() -> Key {
        meta(tag::OWNER_NAME)
    }

    /// The account's id at the end of an index entry.
    pub fn id_in(key: &Key) -> Option<OwnerId> {
        key.bytes.last_chunk::<8>().map(|id| OwnerId(u64::from_be_bytes(*id)))
    }

    /// Where an account's password hash is stored. Apart from the account, so that listings never carry it.
    pub fn password_key(id: OwnerId) -> Key {
        meta(tag::PASSWORD).with(&id.bytes())
    }

    /// Reads a stored record.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let version =
            bytes.first().copied().filter(|form| (VERSION..=ROBOT).contains(form)).unwrap_or(VERSION);
        let account: Self = from_json(version, bytes, "account")?;
        let robot = (account.kind == AccountKind::Robot, account.robot_of.is_some());
        match account.form() == version && robot.0 == robot.1 && !(robot.0 && account.base_role.is_some()) {
            true => Ok(account),
            false => Err(corrupt("account", "its form and what it holds do not go together")),
        }
    }

    fn form(&self) -> u8 {
        match (self.robot_of, self.base_role) {
            (Some(_), _) => ROBOT,
            (None, Some(_)) => WITH_BASE_ROLE,
            (None, None) => VERSION,
        }
    }

    /// Its name as it stands in repository paths.
    pub fn folded(&self) -> String {
        self.name.to_ascii_lowercase()
    }
}

impl Record for AccountRecord {
    fn key(&self) -> Key {
        Self::key_of(self.id)
    }

    fn value(&self) -> Bytes {
        to_json(self.form(), self)
    }

    fn index(&self) -> BTreeSet<Key> {
        let name = match self.robot_of {
            Some(owner) => {
                Self::robot_prefix(owner, self.name.split_once(RobotName::SIGN).map_or("", |(_, own)| own))
            }
            None => Self::name_prefix(&self.name),
        };
        BTreeSet::from([name.with(&self.id.bytes())])
    }
}

/// A password hash, as stored.
#[derive(Serialize, Deserialize)]
struct Password {
    hash: String,
}

/// The stored form of a password hash.
pub(crate) fn encode_password(hash: &str) -> Bytes {
    to_json(VERSION, &Password { hash: hash.to_owned() })
}

/// Reads a stored password hash.
pub(crate) fn decode_password(bytes: &[u8]) -> Result<String> {
    from_json::<Password>(VERSION, bytes, "password").map(|password| password.hash)
}

/// What somebody is in an organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Membership {
    /// May create packages.
    Member,
    /// Rules the organization and all its packages.
    Owner,
}

/// A user's membership of an organization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRecord {
    /// The organization.
    pub organization: OwnerId,
    /// The user.
    pub user: OwnerId,
    /// What the user is there.
    pub membership: Membership,
    /// Milliseconds since the epoch.
    pub since: u64,
}

impl MemberRecord {
    /// Where a membership is stored.
    pub fn key_of(organization: OwnerId, user: OwnerId) -> Key {
        Self::of(organization).with(&user.bytes())
    }

    /// The prefix of an organization's members.
    pub fn of(organization: OwnerId) -> Key {
        meta(tag::MEMBER).with(&organization.bytes())
    }

    /// The prefix of a user's memberships: what follows is the organization's id.
    pub fn of_user(user: OwnerId) -> Key {
        meta(tag::MEMBER_OF).with(&user.bytes())
    }

    /// Reads a stored record.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        from_json(VERSION, bytes, "member")
    }
}

impl Record for MemberRecord {
    fn key(&self) -> Key {
        Self::key_of(self.organization, self.user)
    }

    fn value(&self) -> Bytes {
        to_json(VERSION, self)
    }

    fn index(&self) -> BTreeSet<Key> {
        BTreeSet::from([Self::of_user(self.user).with(&self.organization.bytes())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_forms_are_these_bytes() {
        let account = AccountRecord {
            id: OwnerId(0x0102),
            name: "Ada".into(),
            kind: AccountKind::User,
            administrator: true,
            suspended: false,
            anonymous_reads: true,
            sign_in: 3,
            created: 4,
            base_role: None,
            robot_of: None,
        };
        let golden =
            b"\x01{\"id\":258,\"name\":\"Ada\",\"kind\":\"user\",\"administrator\":true,\"suspended\":false,\
            \"anonymous_reads\":true,\"sign_in\":3,\"created\":4}";
        assert_eq!(account.value().as_ref(), golden);
        assert_eq!(AccountRecord::decode(golden).unwrap(), account);
        assert_eq!(account.key().bytes, b"o\0\0\0\0\0\0\x01\x02");
        let index: Vec<_> = account.index().into_iter().map(|key| key.bytes).collect();
        assert_eq!(index, [b"Oada\0\0\0\0\0\0\0\x01\x02".to_vec()]);

        let base_role = AccountRecord {
            kind: AccountKind::Organization,
            administrator: false,
            sign_in: 0,
            base_role: Some(Role::Write),
            ..account
        };
        let golden =
            b"\x02{\"id\":258,\"name\":\"Ada\",\"kind\":\"organization\",\"administrator\":false,\"suspended\":false,\
            \"anonymous_reads\":true,\"sign_in\":0,\"created\":4,\"base_role\":\"write\"}";
        assert_eq!(base_role.value().as_ref(), golden);
        assert_eq!(AccountRecord::decode(golden).unwrap(), base_role);
        let first = [b"\x01", &golden[1..]].concat();
        assert!(AccountRecord::decode(&first).is_err(), "a base role in the first form");

        let golden = b"\x01{\"hash\":\"$argon2id$\"}";
        assert_eq!(encode_password("$argon2id$").as_ref(), golden);
        assert_eq!(decode_password(golden).unwrap(), "$argon2id$");

        let member = MemberRecord {
            organization: OwnerId(1),
            user: OwnerId(2),
            membership: Membership::Owner,
            since: 3,
        };
        let golden = b"\x01{\"organization\":1,\"user\":2,\"membership\":\"owner\",\"since\":3}";
        assert_eq!(member.value().as_ref(), golden);
        assert_eq!(MemberRecord::decode(golden).unwrap(), member);
        assert_eq!(member.key().bytes, b"m\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02");
        let index: Vec<_> = member.index().into_iter().map(|key| key.bytes).collect();
        assert_eq!(index, [b"M\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x01".to_vec()]);
    }

    #[test]
    fn a_robots_stored_form_is_these_bytes() {
        let robot = AccountRecord {
            name: "Ada+CI".into(),
            kind: AccountKind::Robot,
            administrator: false,
            sign_in: 0,
            id: OwnerId(0x0102),
            suspended: false,
            anonymous_reads: true,
            created: 4,
            base_role: None,
            robot_of: Some(OwnerId(7)),
        };
        let golden =
            b"\x03{\"id\":258,\"name\":\"Ada+CI\",\"kind\":\"robot\",\"administrator\":false,\"suspended\":false,\
            \"anonymous_reads\":true,\"sign_in\":0,\"created\":4,\"robot_of\":7}";
        assert_eq!(robot.value().as_ref(), golden);
        assert_eq!(AccountRecord::decode(golden).unwrap(), robot);
        let index: Vec<_> = robot.index().into_iter().map(|key| key.bytes).collect();
        assert_eq!(index, [b"B\0\0\0\0\0\0\0\x07ci\0\0\0\0\0\0\0\x01\x02".to_vec()]);
        for form in [1, 2, 4] {
            assert!(
                AccountRecord::decode(&[&[form], &golden[1..]].concat()).is_err(),
                "a robot in form {form}"
            );
        }
        let user = String::from_utf8_lossy(golden).replace("robot\"", "user\"");
        assert!(AccountRecord::decode(user.as_bytes()).is_err(), "a user that is somebody's robot");
    }

    #[test]
    fn a_newer_version_is_refused() {
        assert!(AccountRecord::decode(b"\x02{}").is_err());
        assert!(AccountRecord::decode(b"").is_err());
    }
}
