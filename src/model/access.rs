//! Roles, visibilities, scopes.

use std::{fmt, str::FromStr};

use super::{OwnerId, TeamId};
use crate::error::{Error, Result, What};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:expr, $list:literal { $($(#[$vdoc:meta])* $variant:ident = $word:literal = $code:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum $name { $($(#[$vdoc])* $variant = $code),+ }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word for it.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The byte it has in stored records.
            pub fn code(self) -> u8 {
                self as u8
            }

            /// Reads the byte of a stored record.
            pub fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)+ _ => None }
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(Error::invalid($what, concat!("expected one of: ", $list))),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

words! {
    /// What somebody may do with a package; each includes those before it.
    Role, What::Request, "read, write, admin" {
        /// Download, read metadata.
        Read = "read" = 1,
        /// Upload, move tags.
        Write = "write" = 2,
        /// Delete, restore, change visibility and roles.
        Admin = "admin" = 3,
    }
}

words! {
    /// What somebody may do with a source repository; each includes those before it.
    RepositoryRole, What::Request, "read, triage, write, maintain, admin" {
        /// See it.
        Read = "read" = 1,
        /// The same here; kept apart for those who keep it apart.
        Triage = "triage" = 2,
        /// Link packages to it, publish packages that name it.
        Write = "write" = 3,
        /// The same here.
        Maintain = "maintain" = 4,
        /// Change it, give roles on it.
        Admin = "admin" = 5,
    }
}

impl RepositoryRole {
    /// What it comes to on a package that inherits from the repository.
    pub fn on_packages(self) -> Role {
        match self {
            Self::Read | Self::Triage => Role::Read,
            Self::Write | Self::Maintain => Role::Write,
            Self::Admin => Role::Admin,
        }
    }
}

impl From<Role> for RepositoryRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Read => Self::Read,
            Role::Write => Self::Write,
            Role::Admin => Self::Admin,
        }
    }
}

words! {
    /// Who may read a package, or see a source repository, without a role on it.
    Visibility, What::Request, "public, internal, private" {
        /// Nobody.
        Private = "private" = 1,
        /// The members of the organization that owns it.
        Internal = "internal" = 2,
        /// Everybody, unless the owner or the installation turns anonymous reading off.
        Public = "public" = 3,
    }
}

words! {
    /// What a token may be used for; an upper bound, never a right by itself.
    Scope, What::Token, "read:packages, write:packages, delete:packages, admin" {
        /// Download packages.
        ReadPackages = "read:packages" = 1,
        /// Upload packages.
        WritePackages = "write:packages" = 2,
        /// Delete versions and packages.
        DeletePackages = "delete:packages" = 4,
        /// Manage packages, roles, owners and, for an administrator, the installation.
        Admin = "admin" = 8,
    }
}

/// Several users who are given a role as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// The members of a team, and of the teams below it.
    Team(TeamId),
    /// The members of an organization, its owners among them.
    #[serde(rename = "org")]
    Organization(OwnerId),
}

impl Group {
    /// The bytes it has in a key: its kind, its id.
    pub fn bytes(self) -> [u8; 9] {
        let (kind, id) = match self {
            Self::Team(id) => (1, id.bytes()),
            Self::Organization(id) => (2, id.bytes()),
        };
        let mut bytes = [kind; 9];
        bytes[1..].copy_from_slice(&id);
        bytes
    }

    /// Reads those bytes.
    pub fn from_bytes(bytes: [u8; 9]) -> Option<Self> {
        let [kind, id @ ..] = bytes;
        match kind {
            1 => Some(Self::Team(TeamId(u64::from_be_bytes(id)))),
            2 => Some(Self::Organization(OwnerId(u64::from_be_bytes(id)))),
            _ => None,
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Team(id) => write!(f, "team:{id}"),
            Self::Organization(id) => write!(f, "org:{id}"),
        }
    }
}

/// A set of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u8);

impl Scopes {
    /// All of them: what a password or a local administrator has.
    pub const ALL: Self = Self(1 | 2 | 4 | 8);

    /// The set of these. `write:packages` and `delete:packages` include `read:packages`, since neither can be used
    /// without reading; `admin` includes nothing: a token for managing need not move bytes.
    pub fn of(scopes: &[Scope]) -> Self {
        let mut bits = scopes.iter().fold(0, |bits, scope| bits | scope.code());
        if bits & (Scope::WritePackages.code() | Scope::DeletePackages.code()) != 0 {
            bits |= Scope::ReadPackages.code();
        }
        Self(bits)
    }

    /// Whether the scope is in the set.
    pub fn has(self, scope: Scope) -> bool {
        self.0 & scope.code() != 0
    }

    /// Those in both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The scopes, in order.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.iter().copied().filter(move |scope| self.has(*scope))
    }

    /// The byte in stored records.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// Reads the byte of a stored record; unknown bits are dropped, which can only take rights away.
    pub fn from_bits(bits: u8) -> Self {
        Self(bits & Self::ALL.0)
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.iter().enumerate() {
            write!(f, "{}{scope}", if index == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}
