//! Names and values. Pure: no I/O, no clock, no async. Each type is parsed once, at the edge, and valid for ever after.

pub mod access;
pub mod digest;
pub mod event;
pub mod id;
pub mod manifest;
pub mod name;
pub mod number;
pub mod pattern;
pub mod reference;
pub mod repository;
pub mod stamp;
pub mod time;

pub use access::{Group, RepositoryRole, Role, Scope, Scopes, Visibility};
pub use digest::{Algorithm, Digest, Hasher};
pub use event::{Deed, Entry, Event};
pub use id::{OwnerId, PackageId, PhysicalKey, RepositoryId, TeamId, TokenId, TrustId, UploadId};
pub use manifest::Manifest;
pub use name::{Ecosystem, OwnerName, PackageName, RobotName, TeamName};
pub use number::Numbered;
pub use pattern::{TagPattern, TagPatterns};
pub use reference::{Reference, Tag};
pub use repository::{Collaborator, RepositoryName};
pub use stamp::Stamp;
pub use time::Timestamp;
