//! Failures as management clients read them: `{"message", "status", "reason"?, "documentation_url"}`.

use http::{HeaderName, StatusCode, header};
use serde_json::json;

use super::Route;
use crate::{
    error::{Challenge, Error, Kind, Reason, What},
    http::{Reply, Site, reply},
};

/// The status of a failure: what is well-formed and cannot be is 422 here, and so is a name that is taken.
fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::Invalid(What::Page | What::Target) => StatusCode::BAD_REQUEST,
        Kind::Invalid(_) | Kind::Conflict(What::Owner) => StatusCode::UNPROCESSABLE_ENTITY,
        other => reply::status(other),
    }
}

/// The machine-readable half of a refusal.
fn reason(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Forbidden(Reason::Role) => Some("role"),
        Kind::Forbidden(Reason::Scope) => Some("scope"),
        Kind::Forbidden(Reason::TokenLimit) => Some("token-limit"),
        Kind::Forbidden(Reason::Policy) => Some("policy"),
        Kind::Forbidden(Reason::InUse) => Some("in-use"),
        Kind::Conflict(_) => Some("taken"),
        Kind::Invalid(_) => Some("invalid"),
        Kind::TooLarge(_) | Kind::TooMany { .. } => Some("limit"),
        Kind::NoSpace => Some("space"),
        _ => None,
    }
}

/// The answer for a failure.
pub(super) fn render(error: &Error, _route: Option<&Route>, site: &Site) -> Reply {
    let kind = error.kind();
    let status = status(kind);
    let mut body = json!({
        "message": error.public(),
        "status": status.as_u16().to_string(),
        "documentation_url": format!("{}/api/v3/openapi.json", site.base),
    });
    if let (Some(reason), Some(body)) = (reason(kind), body.as_object_mut()) {
        body.insert("reason".into(), reason.into());
    }
    let mut reply = Reply::json(status, &body);
    match kind {
        Kind::Unauthenticated(challenge) => {
            const AUTHENTICATE: HeaderName = header::WWW_AUTHENTICATE;
            let error = match challenge {
                Challenge::Missing => "",
                Challenge::Invalid => ", error=\"invalid_token\"",
                Challenge::Insufficient => ", error=\"insufficient_scope\"",
            };
            reply = reply.header(AUTHENTICATE, format!("Bearer realm=\"packhouse\"{error}"));
        }
        Kind::TooMany { retry_after } => reply = reply.header(header::RETRY_AFTER, retry_after.to_string()),
        Kind::NoSpace | Kind::Unavailable | Kind::StaleGrant => {
            reply = reply.header(header::RETRY_AFTER, "5")
        }
        _ => {}
    }
    reply
}
