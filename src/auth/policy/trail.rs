//! What the policy notes for the audit log.

use super::{Facts, within_limits};
use crate::auth::{Caller, Need, Note, Place, Verb};

/// Notes what was granted.
pub(super) fn granted(caller: &Caller, need: Need, place: Place<'_>) {
    let Some(trail) = &caller.trail else { return };
    let (owner, package) = match place {
        Place::Package(target) => (Some(target.owner), Some(target.id)),
        Place::Owner(target) => (Some(target.id), None),
        Place::Team(target) => (Some(target.organization), None),
        Place::Repository(target) => (Some(target.owner), None),
        Place::System => (None, None),
    };
    trail.note(Note { action: need.name, writes: need.verb != Verb::Pull, owner, package, denied: None });
}

/// Notes what was refused, and why: the true reason, which the caller may not be told.
pub(super) fn refused(caller: &Caller, facts: &Facts, need: Need, enough: bool) {
    let Some(trail) = &caller.trail else { return };
    let denied = match (caller.is_anonymous(), &caller.bound) {
        // A question, no denial: clients send the first request without credentials, and the next with what is asked for.
        (true, None) => return,
        (false, Some(_)) if enough => return,
        (true, Some(_)) => "credentials",
        (false, _) if !caller.scopes.has(need.scope) => "scope",
        (false, _) if !within_limits(caller, facts, need) => "token-limit",
        // Whoever rules the name space was denied nothing: there is nothing.
        (false, _) if facts.package.is_none() && facts.owner_role.is_some() => return,
        (false, _) if facts.renamed.is_some() => "policy",
        (false, _) => "role",
    };
    let owner = facts.owner.as_ref().map(|owner| owner.id);
    let package = facts.package.as_ref().map(|package| package.id);
    let writes = need.verb != Verb::Pull;
    trail.note(Note { action: need.name, writes, owner, package, denied: Some(denied) });
}
