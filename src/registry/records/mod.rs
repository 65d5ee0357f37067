//! What is stored, under which key, which index entries follow. Keys hold ids, never names (a name's own index entry
//! excepted). Every record begins with a version byte; a decoder for each version that was ever written stays.
//!
//! | space | key | value |
//! | --- | --- | --- |
//! | meta | `p` package | [`PackageRecord`] |
//! | meta | `n` path, package | index of packages by repository path |
//! | meta | `P` owner, package | index of packages without a manifest |
//! | meta | `l` visibility, path, package | index of the others, by who may read them |
//! | meta | `L` repository, package; `W` repository, path, package | index of packages that link to it; that inherit from it |
//! | meta | `N` path, package | index of deleted packages by repository path |
//! | meta | `o` owner | [`AccountRecord`]; `O` name, owner: index; `w` owner: password hash; `2` owner: [`FactorRecord`] |
//! | meta | `m` organization, user | [`MemberRecord`]; `M` user, organization: index |
//! | meta | `g` package, user | [`RoleRecord`]; `G` user, owner, package and `h` user, path, package: index |
//! | meta | `e` team | [`TeamRecord`]; `E` organization, name, team and `f` parent, team: index |
//! | meta | `x` team, user | [`TeamMemberRecord`]; `X` user, organization, team: index |
//! | meta | `a` package, group | [`GroupRoleRecord`]; `A` group, path, package: index |
//! | meta | `R` repository | [`RepositoryRecord`]; `d` owner, name, repository and `v` owner, place, repository: index |
//! | meta | `V` repository | [`ReadmeRecord`] |
//! | meta | `c` repository, collaborator | [`RepositoryRoleRecord`]; `C` collaborator, owner, repository: index |
//! | meta | `D` package, repository | [`WorkflowRoleRecord`]; `Y` repository, path, package: index |
//! | meta | `t` token | [`TokenRecord`]; `i` hash, token and `T` user, kind, time, token: index |
//! | meta | `k` number | a signing key |
//! | meta | `r` kind, id | a revision of rights |
//! | meta | `s` word | what the installation is; a pause of collection; when the trash was last emptied; the mark of the clock |
//! | meta | `u` session | [`UploadRecord`]; `U` user, session: index |
//! | meta | `y` `o`/`p` id | [`PolicyRecord`] of an owner or a package |
//! | meta | `z` name | [`NameRecord`]; `Z` owner, name: index; `Q` owner: that it has had public packages |
//! | meta | `b` id | a pin: until when a backup holds back the purge of the trash |
//! | meta | `q` digest | index of blobs whose bytes are damaged |
//! | blob | `b` digest | [`BlobRecord`] |
//! | inline | `i` digest | a small blob's bytes |
//! | refs | `r` digest 0 package | a lease: when it ends |
//! | refs | `l` package | when its last lease ends; `u` package session: index of sessions |
//! | refs | `r` digest 1/2 owner package manifest | index: an edge, live or held |
//! | refs | `w` package digest manifest | index: named and not here; `W` package digest: how often it came to be |
//! | doc | `m` package digest | [`ManifestRecord`] |
//! | doc | `c` package digest | a manifest's bytes; `v` package digest: index of those not deleted |
//! | doc | `s` package subject type digest | index of referrers |
//! | doc | `t` package tag | [`TagRecord`] |
//! | doc | `d` package digest tag | index of a manifest's tags; `a` package digest: how often a tag came to it |
//! | doc | `x` package digest tag | [`DeletedTag`]; `y` package tag 0 time digest: index |
//! | queue | `o` file | since when nothing points at a file, and how long that was watched |
//! | queue | `q` due digest | a review; `t` due key: trash; `u` due session: index of expiry |
//! | queue | `d` time kind package … | index of what was deleted then: [`Due`]; `z` package: index of those being purged |
//! | event | `e` package number | [`AuditRecord`]: what happened to a package |
//! | event | `o` owner number | the same of an account; owner 0 is the installation |
//! | event | `w` owner time stream number | index of all that concerns an owner and its packages, newest first |
//! | event | `p` owner package time stream number | index of what concerns a package while it was that owner's |
//! | event | `t` time stream number | index of everything; `s` time stream number: of what concerns the installation |

mod account;
pub(crate) mod audit;
pub mod blob;
pub(crate) mod clock;
pub(crate) mod codec;
mod deleted;
mod exchange;
mod factor;
mod manifest;
mod name;
mod package;
pub(crate) mod pin;
mod policy;
mod repository;
mod revision;
mod role;
mod team;
#[cfg(test)]
mod tests;
mod token;
mod upload;
mod workflow;

pub use account::{AccountKind, AccountRecord, MemberRecord, Membership};
pub(crate) use account::{decode_password, encode_password};
pub use audit::{AuditRecord, Log};
pub use blob::{BlobRecord, Damage, Hold, Location, Quarantine};
pub use deleted::{DeletedTag, Due};
pub(crate) use exchange::kept;
pub use exchange::{TrustRecord, UsedTokenRecord, WorkflowTokenRecord};
pub use factor::FactorRecord;
pub use manifest::{ManifestRecord, TagRecord, Target};
pub use name::NameRecord;
pub use package::{Link, PackageRecord, State};
pub use policy::{PolicyOf, PolicyRecord, Retention};
pub use repository::{ReadmeRecord, RepositoryRecord, RepositoryRoleRecord};
pub(crate) use revision::{is_revision, revision_key};
pub use role::RoleRecord;
pub use team::{GroupRoleRecord, TeamMemberRecord, TeamRecord};
pub use token::TokenRecord;
pub(crate) use token::{decode_signing_key, encode_signing_key, signing_key, signing_keys};
pub use upload::{Held, UploadRecord};
pub use workflow::WorkflowRoleRecord;

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    error::{Error, Result},
    model::{Digest, PackageId},
    store::{Key, Space},
};

/// The tag bytes of the meta space. One list, so that no two records share a prefix.
pub(crate) mod tag {
    pub(crate) const OWNER: u8 = b'o';
    pub(crate) const OWNER_NAME: u8 = b'O';
    pub(crate) const ROBOT: u8 = b'B';
    pub(crate) const EXCHANGE: u8 = b'K';
    pub(crate) const EXCHANGE_HASH: u8 = b'H';
    pub(crate) const EXCHANGE_INDEX: u8 = b'I';
    pub(crate) const MEMBER: u8 = b'm';
    pub(crate) const MEMBER_OF: u8 = b'M';
    pub(crate) const PASSWORD: u8 = b'w';
    pub(crate) const FACTOR: u8 = b'2';
    pub(crate) const PACKAGE: u8 = b'p';
    pub(crate) const PACKAGE_NAME: u8 = b'n';
    pub(crate) const PENDING: u8 = b'P';
    pub(crate) const LISTED: u8 = b'l';
    pub(crate) const DELETED_NAME: u8 = b'N';
    pub(crate) const LINKED: u8 = b'L';
    pub(crate) const INHERITING: u8 = b'W';
    pub(crate) const ROLE: u8 = b'g';
    pub(crate) const ROLE_OF: u8 = b'G';
    pub(crate) const ROLE_PATH: u8 = b'h';
    pub(crate) const TEAM: u8 = b'e';
    pub(crate) const TEAM_NAME: u8 = b'E';
    pub(crate) const TEAM_BELOW: u8 = b'f';
    pub(crate) const TEAM_MEMBER: u8 = b'x';
    pub(crate) const TEAM_MEMBER_OF: u8 = b'X';
    pub(crate) const GROUP_ROLE: u8 = b'a';
    pub(crate) const GROUP_ROLE_OF: u8 = b'A';
    pub(crate) const REPOSITORY: u8 = b'R';
    pub(crate) const REPOSITORY_NAME: u8 = b'd';
    pub(crate) const REPOSITORY_PLACE: u8 = b'v';
    pub(crate) const README: u8 = b'V';
    pub(crate) const REPOSITORY_ROLE: u8 = b'c';
    pub(crate) const REPOSITORY_ROLE_OF: u8 = b'C';
    pub(crate) const WORKFLOW_ROLE: u8 = b'D';
    pub(crate) const WORKFLOW_ROLE_OF: u8 = b'Y';
    pub(crate) const TOKEN: u8 = b't';
    pub(crate) const TOKEN_OF: u8 = b'T';
    pub(crate) const TOKEN_HASH: u8 = b'i';
    pub(crate) const REVISION: u8 = b'r';
    pub(crate) const SIGNING_KEY: u8 = b'k';
    pub(crate) const UPLOAD: u8 = b'u';
    pub(crate) const UPLOAD_OF: u8 = b'U';
    pub(crate) const SETTING: u8 = b's';
    pub(crate) const POLICY: u8 = b'y';
    pub(crate) const HELD_NAME: u8 = b'z';
    pub(crate) const HELD_NAME_OF: u8 = b'Z';
    pub(crate) const WAS_PUBLIC: u8 = b'Q';
    pub(crate) const PIN: u8 = b'b';
    pub(crate) const QUARANTINE: u8 = b'q';
}

/// A key that goes on with a digest.
fn with_digest(mut key: Key, digest: &Digest) -> Key {
    digest.write_key(&mut key.bytes);
    key
}

/// A key of the doc space, of one package.
fn doc(tag: u8, package: PackageId) -> Key {
    Key::new(Space::Doc, tag).with(&package.bytes())
}

/// A key of the meta space.
pub(crate) fn meta(tag: u8) -> Key {
    Key::new(Space::Meta, tag)
}

/// A record as JSON behind a version byte: for what is small, rare and worth reading by eye (accounts, tokens). Hot
/// records have a compact form of their own.
pub(crate) fn to_json(version: u8, value: &impl Serialize) -> Bytes {
    let mut bytes = vec![version];
    // Writing to memory cannot fail, and the types written have only text keys.
    let written = serde_json::to_writer(&mut bytes, value);
    debug_assert!(written.is_ok());
    bytes.into()
}

/// Reads what [`to_json`] wrote, of this version.
pub(crate) fn from_json<T: DeserializeOwned>(version: u8, bytes: &[u8], what: &'static str) -> Result<T> {
    match bytes.split_first() {
        Some((found, json)) if *found == version => {
            serde_json::from_slice(json).map_err(|cause| corrupt(what, &cause.to_string()))
        }
        Some((found, _)) => Err(corrupt(what, &format!("version {found}, this program reads {version}"))),
        None => Err(corrupt(what, "empty")),
    }
}

/// A stored record that cannot be read: written by a newer version, or damaged.
pub(crate) fn corrupt(what: &'static str, why: &str) -> Error {
    Error::internal(format!("stored {what} cannot be read: {why}"))
}
