//! Whoever reads about accounts: no package is at stake, so a sign-in is all it takes.

use super::refuse;
use crate::{
    auth::{Action as _, Caller, Facts, Pull},
    error::Result,
    model::OwnerId,
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
