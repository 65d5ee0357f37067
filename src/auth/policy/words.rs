//! What refusals say.

use crate::{
    auth::{Facts, Need},
    error::{Error, Kind, Reason, What},
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

/// The answer to who may read a package and writes to it by a name that its owner had.
pub(super) fn renamed(facts: &Facts) -> Error {
    let name = facts.renamed.as_ref().map(ToString::to_string).unwrap_or_default();
    let text =
        format!("this package is called {name} now; by its old name it can be pulled and nothing else");
    Error::new(Kind::Forbidden(Reason::Policy), text)
}
