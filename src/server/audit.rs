//! What the audit log is told of a request that changed nothing: refusals, and reads where they are on record.

use super::{
    pipeline::{Ask, Pipeline},
    tasks,
};
use crate::{
    auth::{Caller, Note},
    error::{Challenge, Error, Kind, Result},
    http::Reply,
    model::Entry,
    registry::Told,
};

/// Tells the log of a request that was answered, if it is to know. `downloads`: whether its route is a download.
pub(super) fn answered(
    pipeline: &Pipeline,
    ask: &Ask,
    caller: &Caller,
    downloads: bool,
    outcome: &Result<Reply>,
) {
    match outcome {
        Err(error) if is_sign_in(error) => refused_sign_in(pipeline, ask),
        Err(error) => {
            if let Some(told) = Told::refusal(caller, error, "") {
                tell(pipeline, ask, told);
            }
        }
        Ok(reply) if downloads && reply.status.is_success() => {
            let note = caller.trail.as_ref().and_then(|trail| trail.last());
            if let Some(Note { owner, package, .. }) = note {
                let told = told(caller, Entry::PULL);
                tell(pipeline, ask, Told { owner, package, writes: false, ..told });
            }
        }
        Ok(_) => {}
    }
}

/// Tells the log of credentials that are no good. Whose they were meant to be is not said: a name that was typed may be
/// a password.
pub(super) fn refused_sign_in(pipeline: &Pipeline, ask: &Ask) {
    let caller = ask.caller();
    tell(pipeline, ask, Told { denied: Some("credentials"), ..told(&caller, "sign-in") });
}

/// Whether a refusal says that credentials are no good.
pub(super) fn is_sign_in(error: &Error) -> bool {
    error.kind() == Kind::Unauthenticated(Challenge::Invalid)
}

fn told<'a>(caller: &'a Caller, action: &'a str) -> Told<'a> {
    Told { caller, action, owner: None, package: None, asked: "", denied: None, writes: true }
}

fn tell(pipeline: &Pipeline, ask: &Ask, told: Told<'_>) {
    let method = ask.method.as_str();
    // A method may be any token, as long as the head may be. The query is left out: credentials have been seen there.
    let asked = format!("{} {}", method.get(..32).unwrap_or(method), ask.uri.path());
    let registry = pipeline.registry();
    if registry.tell(Told { asked: &asked, ..told }) {
        let registry = registry.clone();
        tasks::spawn(async move {
            if let Err(error) = registry.write_told().await {
                tracing::warn!(%error, "denials could not be written to the audit log");
            }
        });
    }
}
