//! Identities that keys are made of. Random, so that no allocator must be shared; a batch that creates a thing expects
//! its key to be absent, so a collision is a conflict and never an overwrite.

use std::fmt;

use crate::error::{Error, Result};

/// Fills a buffer from the operating system's random source.
pub fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(Error::internal)?;
    Ok(bytes)
}

macro_rules! id64 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// A fresh random identity.
            pub fn random() -> Result<Self> {
                Ok(Self(u64::from_be_bytes(random()?)))
            }

            /// The bytes it has in a key; they sort as the number does.
            pub fn bytes(self) -> [u8; 8] {
                self.0.to_be_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }
    };
}

id64! {
    /// A user or an organization.
    OwnerId
}
id64! {
    /// A package.
    PackageId
}
id64! {
    /// A team of an organization.
    TeamId
}
id64! {
    /// A source repository: what packages link to.
    RepositoryId
}
id64! {
    /// Which jobs of an issuer a source repository trusts.
    TrustId
}
id64! {
    /// A token, whatever its kind; names it in listings and for revocation, and is no secret.
    TokenId
}

impl OwnerId {
    /// Stands for the installation itself where an owner is wanted. No account has it.
    pub const INSTALLATION: Self = Self(0);
}

macro_rules! id128 {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// A fresh random one.
            pub fn random() -> Result<Self> {
                Ok(Self(random()?))
            }

            /// Reads 32 lower-case hexadecimal digits and nothing else.
            pub fn parse(text: &str) -> Option<Self> {
                if text.len() != 32 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                    return None;
                }
                let mut bytes = [0; 16];
                hex::decode_to_slice(text, &mut bytes).ok()?;
                Some(Self(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($what, "({})"), self)
            }
        }
    };
}

id128! {
    /// An upload session. Unguessable, but never enough by itself: every use also names the package it belongs to.
    UploadId, "UploadId"
}
id128! {
    /// Where bytes lie. Chosen at random when an upload begins and never used again, so that a late or repeated delete
    /// of an old key cannot hit bytes that were uploaded since.
    PhysicalKey, "PhysicalKey"
}
