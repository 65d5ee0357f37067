//! Failures as the distribution specification wants them: `{"errors":[{"code","message","detail"}]}`.

use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::json;

use super::Route;
use crate::{
    error::{Challenge, Error, Kind, Reason, What},
    http::{
        Reply, Site,
        reply::{self, Content},
    },
};

/// The code of a failure (distribution-spec, "Error Codes"; the last few are Docker's).
fn code(kind: Kind) -> &'static str {
    match kind {
        Kind::NotFound(What::Blob) => "BLOB_UNKNOWN",
        Kind::NotFound(What::Manifest | What::Tag) => "MANIFEST_UNKNOWN",
        Kind::NotFound(What::ManifestBlob) => "MANIFEST_BLOB_UNKNOWN",
        Kind::NotFound(What::Upload) => "BLOB_UPLOAD_UNKNOWN",
        Kind::NotFound(What::Request) | Kind::Unsupported | Kind::Method(_) => "UNSUPPORTED",
        Kind::NotFound(_) => "NAME_UNKNOWN",
        Kind::Unauthenticated(_) => "UNAUTHORIZED",
        Kind::Forbidden(_) => "DENIED",
        Kind::Invalid(What::Name | What::Package | What::Owner | What::Repository) => "NAME_INVALID",
        Kind::Invalid(What::Tag) => "TAG_INVALID",
        Kind::Invalid(What::Digest) => "DIGEST_INVALID",
        Kind::Invalid(What::Size) => "SIZE_INVALID",
        Kind::Invalid(What::Manifest | What::ManifestBlob) | Kind::TooLarge(What::Manifest) => {
            "MANIFEST_INVALID"
        }
        Kind::Invalid(What::Page) => "PAGINATION_NUMBER_INVALID",
        Kind::Invalid(What::Blob | What::Upload | What::Range) | Kind::Offset { .. } => "BLOB_UPLOAD_INVALID",
        Kind::Invalid(What::Token | What::Request | What::Target) => "UNSUPPORTED",
        Kind::TooLarge(_) => "SIZE_INVALID",
        Kind::Conflict(_) | Kind::Precondition => "DENIED",
        Kind::Unsatisfiable { .. } => "RANGE_INVALID",
        Kind::TooMany { .. } => "TOOMANYREQUESTS",
        Kind::Timeout => "BLOB_UPLOAD_INVALID",
        Kind::NoSpace | Kind::Unavailable | Kind::StaleGrant => "UNAVAILABLE",
        Kind::Internal => "UNKNOWN",
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
        Kind::TooLarge(_) | Kind::TooMany { .. } => Some("limit"),
        Kind::NoSpace => Some("space"),
        _ => None,
    }
}

/// The answer for a failure.
pub(super) fn render(error: &Error, route: Option<&Route>, site: &Site) -> Reply {
    let kind = error.kind();
    let detail = reason(kind).map(|reason| json!({ "reason": reason }));
    let mut entry = json!({ "code": code(kind), "message": error.public() });
    if let (Some(detail), Some(entry)) = (detail, entry.as_object_mut()) {
        entry.insert("detail".into(), detail);
    }
    let mut reply = Reply::json(reply::status(kind), &json!({ "errors": [entry] }));
    match kind {
        Kind::Unauthenticated(challenge) => reply = challenge_for(reply, challenge, route, site),
        Kind::TooMany { retry_after } => reply = reply.header(header::RETRY_AFTER, retry_after.to_string()),
        Kind::NoSpace | Kind::Unavailable | Kind::StaleGrant => {
            reply = reply.header(header::RETRY_AFTER, "5")
        }
        Kind::Unsatisfiable { size } => {
            reply = reply.header(header::CONTENT_RANGE, format!("bytes */{size}"))
        }
        Kind::Offset { stored } => reply = offset(reply, stored, route),
        Kind::Method(allowed) => reply = reply.header(header::ALLOW, allowed),
        Kind::Unsupported => reply = reply.header(header::ALLOW, "GET, HEAD"),
        _ => {}
    }
    // Whoever asks with HEAD gets no body, and no length of one that a GET would not have either.
    if matches!(route, Some(Route::BlobHead(..) | Route::ManifestHead(..))) {
        reply.content = Content::Empty;
        reply.headers.remove(header::CONTENT_TYPE);
    }
    reply
}

/// Where the upload stands, so that a client can go on without asking.
fn offset(reply: Reply, stored: u64, route: Option<&Route>) -> Reply {
    let (Some(Route::UploadPatch(name, id, _)) | Some(Route::UploadPut(name, id, ..))) = route else {
        return reply;
    };
    super::uploads::place(reply, name, *id, stored)
}

fn challenge_for(reply: Reply, challenge: Challenge, route: Option<&Route>, site: &Site) -> Reply {
    const AUTHENTICATE: HeaderName = header::WWW_AUTHENTICATE;
    // The token endpoint itself, and registries that want no tokens, ask for a name and a secret.
    if !site.bearer || matches!(route, Some(Route::TokenGet(_) | Route::TokenPost)) {
        return reply.header(AUTHENTICATE, "Basic realm=\"packhouse\"");
    }
    let service = site.base.split_once("://").map_or(site.base.as_str(), |(_, rest)| rest);
    let mut text = format!("Bearer realm=\"{}/token\",service=\"{service}\"", site.base);
    if let Some(scope) = route.and_then(Route::scope) {
        text.push_str(&format!(",scope=\"{scope}\""));
    }
    match challenge {
        Challenge::Missing => {}
        Challenge::Invalid => text.push_str(",error=\"invalid_token\""),
        Challenge::Insufficient => text.push_str(",error=\"insufficient_scope\""),
    }
    match HeaderValue::from_str(&text) {
        Ok(_) => reply.header(AUTHENTICATE, text),
        // A base that no header can hold cannot come from a checked configuration or a loopback Host.
        Err(_) => Reply::new(StatusCode::INTERNAL_SERVER_ERROR),
    }
}
