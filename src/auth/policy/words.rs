//! What refusals say.

use crate::{
    auth::Need,
    error::{Error, What},
    model::Role,
};

/// The answer for what is absent, and, word for word, for what the caller may not know of.
pub(super) fn unknown(need: Need) -> Error {
    let text = match need.role {
        Role::Read => "there is no such repository, or you may not read it",
        Role::Write | Role::Admin => {
            "there is no such repository, or you may not write to it; packages are named OWNER/NAME, where OWNER is \
             you or an organization you belong to (created by: packhouse org add OWNER --owner YOU)"
        }
    };
    Error::not_found(What::Package, text)
}
