//! Who is asking, and may they. The only maker of a [`Grant`] is [`Policy::authorize`].
//!
//! This layer does not know the store: roles and credentials reach it through two small traits, [`Acl`] and
//! [`Identities`], that the registry implements. Of HTTP it knows the header map, in `credentials` alone.

mod action;
mod authenticator;
mod bearer;
mod caller;
mod credentials;
mod limits;
mod lockout;
pub mod oidc;
mod password;
mod policy;
mod token;
mod totp;
mod trail;

pub use action::{
    Action, CreatePackage, Delete, LinkRepository, Manage, ManageOwner, ManageRepository, ManageTeam, Need,
    Operate, Place, Pull, Push, ReadAudit, ReadOwner, ReadRepository, ReadTeam, Restore, Target, Verb,
};
pub use authenticator::{Authenticator, Credential, Identities, Identity, Issued, recheck};
pub use bearer::{Claims, Keyring, LIFETIME, Means, SigningKey};
pub use caller::{Access, Actor, Bound, Caller};
pub use credentials::{Presented, Secret};
pub use limits::Limits;
pub use oidc::{Address, Fetch, Issuer, IssuerKind, Issuers, Verified};
pub use password::Passwords;
pub(crate) use policy::sees;
pub use policy::{
    Acl, Decided, Facts, Given, OwnerTarget, PackageTarget, Policy, Publish, RepositoryFacts,
    RepositoryTarget, Revision, Rule, Subject, System, TeamFacts, TeamTarget, may_read, signed_in,
};
pub(crate) use token::random_text;
pub use token::{TokenHash, TokenKind, TokenSecret};
pub use totp::{RECOVERY_CODES, TotpKey, recovery_code, recovery_hash};
pub use trail::{Note, Trail};

use crate::model::{Stamp, Timestamp};

/// Proof that one caller may do `A` to one target, and the address of that target. Doors of the registry take their
/// address from it and from nowhere else.
///
/// It cannot be forged, copied or turned into another:
///
/// ```compile_fail
/// use packhouse::auth::{Grant, Pull};
/// fn copy(grant: &Grant<Pull>) -> Grant<Pull> { grant.clone() }
/// ```
/// ```compile_fail
/// use packhouse::auth::{Grant, Pull, Push};
/// fn raise(grant: Grant<Pull>) -> Grant<Push> { grant }
/// ```
/// ```compile_fail
/// use packhouse::auth::{Caller, Grant, PackageTarget, Pull};
/// fn forge(caller: Caller, target: PackageTarget) -> Grant<Pull> { Grant { caller, target, revisions: vec![], stamp: None } }
/// ```
#[derive(Debug)]
pub struct Grant<A: Action> {
    caller: Caller,
    target: A::Target,
    revisions: Vec<Revision>,
    stamp: Option<Stamp>,
}

impl<A: Action> Grant<A> {
    /// What may be acted on.
    pub fn target(&self) -> &A::Target {
        &self.target
    }

    /// Who acts.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The moment of the request.
    pub fn at(&self) -> Timestamp {
        self.caller.at
    }

    /// The revisions of rights it was decided at; a batch written under it expects them.
    pub fn revisions(&self) -> &[Revision] {
        &self.revisions
    }

    /// What the key space stood at before these were read.
    pub fn stamp(&self) -> Option<Stamp> {
        self.stamp
    }
}
