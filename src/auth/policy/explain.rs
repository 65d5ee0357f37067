//! The same decision with what it was made from.

use super::{Delete, Facts, Policy, Pull, Verb, to_package, to_publish};
use crate::{
    auth::{Caller, Manage},
    error::{Error, Result},
    model::PackageName,
};

/// A decision, and the facts it was made from.
#[derive(Debug)]
pub struct Decided {
    /// The facts.
    pub facts: Facts,
    /// What the caller would be told, if it is a refusal.
    pub refusal: Option<Error>,
}

impl Policy {
    /// What is decided when `caller` does this to the package of this name: by the very functions that requests are judged
    /// by, from one reading of the facts.
    ///
    /// # Errors
    /// Unauthenticated when the caller's credentials are no longer good.
    pub async fn decide(&self, caller: &Caller, name: &PackageName, verb: Verb) -> Result<Decided> {
        let (caller, facts) = self.facts_of_package(caller, name).await?;
        let caller = caller.as_ref();
        let from = facts.clone();
        let refusal = match verb {
            Verb::Pull => to_package::<Pull>(caller, name, from).err(),
            Verb::Push => to_publish(caller, name, from).err(),
            Verb::Delete => to_package::<Delete>(caller, name, from).err(),
            Verb::Manage => to_package::<Manage>(caller, name, from).err(),
        };
        Ok(Decided { facts, refusal })
    }
}
