//! Who may do what to owners and to the installation, and who may read about accounts.

use super::{good_for, refuse};
use crate::{
    auth::{Action as _, Caller, Facts, Need, Pull, ReadAudit},
    error::Result,
    model::{OwnerId, Role},
};

/// The user that a caller is, for what every user may know. That an account exists is no secret among those who sign in; nor
/// is it told to anybody else, since names are half of a password.
///
/// # Errors
/// Unauthenticated for nobody in particular, and for a bearer token: it was issued for packages.
pub fn signed_in(caller: &Caller) -> Result<OwnerId> {
    match (caller.user(), &caller.bound) {
        (Some(user), None) => Ok(user),
        _ => Err(refuse(caller, &Facts::default(), Pull::NEED, false, true)),
    }
}

/// Whether the caller may do this to the owner; who belongs to it may look. An administrator manages every owner, which gives
/// no role on packages, and shows nothing of what happens there.
pub(super) fn rules(caller: &Caller, facts: &Facts, need: Need) -> bool {
    let belongs = facts.belongs.then_some(Role::Read);
    let manages = caller.administrator && need.name != ReadAudit::NAME;
    let role = if manages { Some(Role::Admin) } else { facts.owner_role.or(belongs) };
    role >= Some(need.role) && good_for(caller, facts, need) && caller.bound.is_none()
}

/// Whether the caller may run the installation.
pub(super) fn operates(caller: &Caller, need: Need) -> bool {
    caller.administrator && good_for(caller, &Facts::default(), need) && caller.bound.is_none()
}
