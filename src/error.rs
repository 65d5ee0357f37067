//! Failure in the registry's own words.
//!
//! An [`Error`] says what went wrong (`kind`), what the client may be told (`public`) and what only the log may know
//! (`source`). It knows no HTTP: `http::reply` maps a kind to a status, and each adapter renders its own shape.

use std::{borrow::Cow, fmt};

/// The result of everything that can fail here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The thing a failure is about, so that a protocol can choose its own word without parsing text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    /// An owner, repository or package name.
    Name,
    /// A package (an OCI repository).
    Package,
    /// A blob.
    Blob,
    /// A manifest.
    Manifest,
    /// Something a manifest names that its repository does not hold.
    ManifestBlob,
    /// A tag.
    Tag,
    /// An upload session.
    Upload,
    /// A digest.
    Digest,
    /// A length that is not what was announced.
    Size,
    /// A byte range.
    Range,
    /// A page size or cursor.
    Page,
    /// A user or organization.
    Owner,
    /// A source repository.
    Repository,
    /// A token or its scopes.
    Token,
    /// A request's target: its path and query.
    Target,
    /// A request that follows no rule of its protocol.
    Request,
}

/// Why credentials were not enough, for the challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge {
    /// None were sent.
    Missing,
    /// They are unknown, expired or revoked.
    Invalid,
    /// They are good, but the token was issued for less than this needs.
    Insufficient,
}

/// Why a signed-in caller is refused; the machine-readable half of every refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The caller's role is too low.
    Role,
    /// The token lacks a scope.
    Scope,
    /// The token is limited to other packages, owners or actions.
    TokenLimit,
    /// A setting of the owner or the installation forbids it.
    Policy,
    /// The thing is in use.
    InUse,
}

impl Reason {
    /// Its code.
    pub fn word(self) -> &'static str {
        match self {
            Self::Role => "role",
            Self::Scope => "scope",
            Self::TokenLimit => "token-limit",
            Self::Policy => "policy",
            Self::InUse => "in-use",
        }
    }
}

/// The meaning of a failure. Each protocol gives it its own code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It is not there, or the caller may not know that it is.
    NotFound(What),
    /// Credentials are needed.
    Unauthenticated(Challenge),
    /// Credentials are good and do not suffice.
    Forbidden(Reason),
    /// The request is malformed.
    Invalid(What),
    /// Over a limit of size.
    TooLarge(What),
    /// A well-formed request for something that is not offered.
    Unsupported,
    /// A method that cannot be used here; those that can, as the header `Allow` lists them.
    Method(&'static str),
    /// It exists already, or changed meanwhile.
    Conflict(What),
    /// A condition of the request (`If-Match`, `If-None-Match`) does not hold.
    Precondition,
    /// A chunk does not begin where the upload ends; `stored` bytes are held.
    Offset {
        /// Bytes the session holds.
        stored: u64,
    },
    /// No part of the requested range lies in the blob of this size.
    Unsatisfiable {
        /// Size of the blob in bytes.
        size: u64,
    },
    /// A rate or count is exceeded; try again after so many seconds.
    TooMany {
        /// Seconds to wait.
        retry_after: u32,
    },
    /// The client did not send or take bytes in time.
    Timeout,
    /// Below the space reserve.
    NoSpace,
    /// The store cannot be written or read now; trying again later may help.
    Unavailable,
    /// The rights under which a change was prepared are no longer current.
    StaleGrant,
    /// A fault of ours.
    Internal,
}

/// A failure: its meaning, a sentence for the client, a cause for the log.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    public: Cow<'static, str>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// A failure with a sentence that any client may read. It must not name anything the caller may not know of.
    pub fn new(kind: Kind, public: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, public: public.into(), source: None }
    }

    /// A fault of ours; the cause goes to the log only.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new(Kind::Internal, "internal error; the server's log has the cause").because(cause)
    }

    /// A malformed request.
    pub fn invalid(what: What, public: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Invalid(what), public)
    }

    /// A thing that is absent, or that the caller may not know of.
    pub fn not_found(what: What, public: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::NotFound(what), public)
    }

    /// Adds the cause, for the log.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(cause.into());
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The sentence for the client.
    pub fn public(&self) -> &str {
        &self.public
    }

    /// The cause, for the log alone.
    pub fn cause(&self) -> Option<&(dyn std::error::Error + Send + Sync)> {
        self.source.as_deref()
    }

    /// Whether this is a fault of ours or of the machine, not of the request.
    pub fn is_fault(&self) -> bool {
        matches!(self.kind, Kind::Internal | Kind::Unavailable | Kind::NoSpace)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.public)?;
        if let Some(cause) = &self.source {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
