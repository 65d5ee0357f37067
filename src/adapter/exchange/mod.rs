//! The exchange: a CI job gives a token of its issuer and gets a workflow token of a source repository.
//!
//! `POST /-/oidc/exchange` with `{"token": …, "repository": "OWNER/REPO", "packages": "read" | "write"}`; the answer's `token` is the
//! password of `docker login`, whatever the user name. `DELETE /-/oidc/token`, signed in with it, ends it with the job.

use http::{Method, StatusCode, header};
use serde::Deserialize;
use serde_json::json;

use super::{Adapter, Cx, Head};
use crate::{
    auth::Secret,
    error::{Challenge, Error, Kind, Reason, Result, What},
    http::{Body, Reply, Site, reply},
    model::RepositoryName,
    registry::exchange::LIFETIME,
};

/// Largest body, in bytes.
const MAX_BODY: u64 = 32 << 10;

/// The adapter.
#[derive(Debug)]
pub struct Exchange;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// A workflow token for a token of an issuer.
    Get,
    /// The end of one.
    End,
}

/// What a job sends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    token: String,
    repository: String,
    #[serde(default)]
    packages: Packages,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Packages {
    #[default]
    Read,
    Write,
}

impl Adapter for Exchange {
    const NAME: &'static str = "exchange";
    const ROUTES: &'static [&'static str] = &["exchange", "exchange_end"];
    type Route = Route;

    fn parse(head: Head<'_>) -> Result<Route> {
        let (route, method) = match head.uri.path() {
            "/-/oidc/exchange" => (Route::Get, Method::POST),
            "/-/oidc/token" => (Route::End, Method::DELETE),
            _ => return Err(Error::not_found(What::Target, "nothing is served at this path")),
        };
        match *head.method == method {
            true => Ok(route),
            false if route == Route::Get => Err(Error::new(Kind::Method("POST"), "this takes a POST")),
            false => Err(Error::new(Kind::Method("DELETE"), "this takes a DELETE")),
        }
    }

    fn name(route: &Route) -> &'static str {
        match route {
            Route::Get => "exchange",
            Route::End => "exchange_end",
        }
    }

    /// What is exchanged signs in: it has the rate of sign-ins, and no credentials of ours beside it.
    fn signs_in(route: &Route) -> bool {
        *route == Route::Get
    }

    async fn handle(cx: Cx<'_>, route: &Route, body: Body) -> Result<Reply> {
        match route {
            Route::Get => exchange(cx, body).await,
            Route::End => end(cx).await,
        }
    }

    fn render(error: &Error, _route: Option<&Route>, _site: &Site) -> Reply {
        render(error)
    }
}

async fn exchange(cx: Cx<'_>, body: Body) -> Result<Reply> {
    let body = body.small(MAX_BODY, What::Request).await?;
    // What cannot be read may hold a token: the reason says where, and never what.
    let ask: Ask = serde_json::from_slice(&body).map_err(|cause| {
        let text = format!("the body is no {{token, repository, packages}} at line {}", cause.line());
        Error::invalid(What::Request, text)
    })?;
    let name = RepositoryName::parse(&ask.repository)?;
    let issuers = cx.registry.issuers().ok_or_else(|| {
        Error::new(Kind::Unauthenticated(Challenge::Invalid), "no issuer is configured here")
    })?;
    let write = matches!(ask.packages, Packages::Write);
    let verified = issuers.verify(&Secret::new(ask.token), cx.caller.at).await?;
    let token = cx.registry.exchange(cx.caller, &verified, &name, write).await?;
    let answer = json!({
        "token": token.secret.reveal(),
        "expires_in": LIFETIME,
        "expires_at": token.expires.to_string(),
        "repository": name.to_string(),
        "packages": if write { "write" } else { "read" },
    });
    Ok(Reply::json(StatusCode::OK, &answer).header(header::CACHE_CONTROL, "no-store"))
}

async fn end(cx: Cx<'_>) -> Result<Reply> {
    if cx.caller.is_anonymous() {
        return Err(Error::new(Kind::Unauthenticated(Challenge::Missing), "authentication required"));
    }
    if cx.caller.repository().is_none() || cx.caller.bound.is_some() {
        return Err(Error::new(
            Kind::Forbidden(Reason::Role),
            "only a workflow's own token ends itself here",
        ));
    }
    cx.registry.end_own_workflow_token(cx.caller).await?;
    Ok(Reply::new(StatusCode::NO_CONTENT))
}

fn render(error: &Error) -> Reply {
    let kind = error.kind();
    let (code, reason) = match kind {
        Kind::Unauthenticated(_) => ("UNAUTHORIZED", None),
        Kind::Forbidden(Reason::Role) => ("DENIED", Some("role")),
        Kind::Forbidden(Reason::Scope) => ("DENIED", Some("scope")),
        Kind::Forbidden(Reason::TokenLimit) => ("DENIED", Some("token-limit")),
        Kind::Forbidden(_) => ("DENIED", Some("policy")),
        Kind::NotFound(_) => ("NOT_FOUND", None),
        Kind::TooMany { .. } => ("TOOMANYREQUESTS", Some("limit")),
        Kind::Unavailable => ("UNAVAILABLE", None),
        Kind::Invalid(_) | Kind::Method(_) | Kind::TooLarge(_) => ("INVALID", None),
        _ => ("UNKNOWN", None),
    };
    let mut entry = json!({ "code": code, "message": error.public() });
    if let (Some(reason), Some(entry)) = (reason, entry.as_object_mut()) {
        entry.insert("detail".into(), json!({ "reason": reason }));
    }
    let mut answer = Reply::json(reply::status(kind), &json!({ "errors": [entry] }));
    match kind {
        Kind::Unauthenticated(_) => answer = answer.header(header::WWW_AUTHENTICATE, "Bearer"),
        Kind::Method(allow) => answer = answer.header(header::ALLOW, allow),
        Kind::TooMany { retry_after } => {
            answer = answer.header(header::RETRY_AFTER, retry_after.to_string());
        }
        _ => {}
    }
    answer.header(header::CACHE_CONTROL, "no-store")
}
