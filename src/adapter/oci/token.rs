//! `/token`: a name and a password, or a token, for a short bearer token (Docker Registry v2 token authentication, and
//! its OAuth 2 form).
//!
//! Asking for more than one may do is no error: the answer holds the part that is allowed, and a client finds out at the
//! registry what that lacks. Bad credentials are an error always, also when nothing is asked for: that is how
//! `docker login` tells a wrong password. Nothing is written, except a refresh token when one is asked for.

use http::{StatusCode, header};
use serde_json::{Value, json};

use super::{super::Cx, Body, Reply};
use crate::{
    auth::{Access, Caller, Issued, Presented, Secret, Verb},
    error::{Error, Result, What},
    http::query::Query,
    model::PackageName,
};

/// Largest form, in bytes.
const MAX_FORM: u64 = 64 << 10;
/// Most scopes in one request: the token that answers them must still fit in a header.
const MAX_SCOPES: usize = 100;
/// Longest of all scopes together, in bytes.
const MAX_ASKED: usize = 12 << 10;

/// `GET /token?service=…&scope=…&offline_token=true`, with Basic credentials or none.
pub(super) async fn get(cx: Cx<'_>, query: &Query) -> Result<Reply> {
    let asked = asked(query)?;
    let presented = Presented::read(cx.headers)?;
    let signed_in = sign_in(cx, presented).await?;
    let offline = query.get("offline_token") == Some("true");
    answer(cx, signed_in, &asked, offline, false).await
}

/// `POST /token` with a form: `grant_type=password` or `refresh_token`.
pub(super) async fn post(cx: Cx<'_>, body: Body) -> Result<Reply> {
    let body = body.small(MAX_FORM, What::Request).await?;
    let form =
        std::str::from_utf8(&body).map_err(|_| Error::invalid(What::Request, "the form is not text"))?;
    exchange(cx, &Query::parse(form)?).await
}

async fn exchange(cx: Cx<'_>, form: &Query) -> Result<Reply> {
    let asked = asked(form)?;
    // Two places for credentials would be two credentials that may differ.
    if Presented::read(cx.headers)? != Presented::Nothing {
        return Err(Error::invalid(
            What::Request,
            "this form carries the credentials; send no Authorization header",
        ));
    }
    let presented = match one(form, "grant_type")? {
        Some("password") => {
            let user = one(form, "username")?.unwrap_or_default().to_owned();
            let secret = one(form, "password")?.ok_or_else(|| missing("password"))?;
            Presented::Basic { user, secret: Secret::new(secret) }
        }
        Some("refresh_token") => Presented::Bearer(Secret::new(
            one(form, "refresh_token")?.ok_or_else(|| missing("refresh_token"))?,
        )),
        _ => return Err(Error::invalid(What::Request, "grant_type is neither password nor refresh_token")),
    };
    let signed_in = sign_in(cx, presented).await?;
    let offline = one(form, "access_type")? == Some("offline");
    answer(cx, signed_in, &asked, offline, true).await
}

/// Who signed in, and with what.
struct SignedIn {
    caller: Caller,
    secret: Option<Secret>,
}

async fn sign_in(cx: Cx<'_>, presented: Presented) -> Result<SignedIn> {
    let authenticator = cx.registry.authenticator();
    let caller = authenticator.sign_in(&presented, cx.caller.clone()).await?;
    let secret = match presented {
        Presented::Nothing => None,
        Presented::Basic { secret, .. } | Presented::Bearer(secret) => Some(secret),
    };
    Ok(SignedIn { caller, secret })
}

async fn answer(
    cx: Cx<'_>,
    signed_in: SignedIn,
    asked: &[Asked],
    offline: bool,
    oauth: bool,
) -> Result<Reply> {
    let SignedIn { caller, secret } = signed_in;
    let access = granted(cx, &caller, asked).await?;
    let scope = access.iter().map(written).collect::<Vec<_>>().join(" ");
    let Issued { token, at, lifetime } = cx.registry.authenticator().issue(&caller, access).await?;
    let mut body = json!({
        "token": token.reveal(),
        "access_token": token.reveal(),
        "expires_in": lifetime,
        "issued_at": at.to_string(),
    });
    let mut say = |name: &str, value: String| {
        if let Some(body) = body.as_object_mut() {
            body.insert(name.to_owned(), Value::String(value));
        }
    };
    if oauth {
        say("scope", scope);
    }
    if offline && !caller.is_anonymous() {
        // A token is its own refresh token: it can be revoked and it expires. Only a password needs a stand-in, so that
        // it need not be kept in a client's file.
        let refresh = match secret {
            Some(secret) if caller.credential.is_some() => secret,
            Some(_) | None => Secret::new(cx.registry.issue_refresh(&caller).await?.secret.reveal()),
        };
        say("refresh_token", refresh.reveal().to_owned());
    }
    Ok(Reply::json(StatusCode::OK, &body).header(header::CACHE_CONTROL, "no-store"))
}

/// The one value of a name; twice is an error, since which one counts must not depend on who reads it.
fn one<'a>(form: &'a Query, name: &'a str) -> Result<Option<&'a str>> {
    let mut values = form.all(name);
    let value = values.next();
    match values.next() {
        None => Ok(value),
        Some(_) => Err(Error::invalid(What::Request, format!("{name} is given twice"))),
    }
}

fn missing(name: &str) -> Error {
    Error::invalid(What::Request, format!("the form lacks {name}"))
}

/// Something asked for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Repository(PackageName, Vec<Verb>),
    Catalog,
}

/// Every scope of a request: repeated, or separated by spaces. What cannot be granted to anybody is left out.
fn asked(query: &Query) -> Result<Vec<Asked>> {
    let too_many = || Error::invalid(What::Request, "too many scopes for one token");
    let mut length = 0;
    let mut asked: Vec<Asked> = Vec::new();
    for text in query.all("scope").flat_map(|scopes| scopes.split(' ')).filter(|text| !text.is_empty()) {
        length += text.len();
        if length > MAX_ASKED {
            return Err(too_many());
        }
        let Some(next) = read_scope(text) else { continue };
        match (&next, asked.iter_mut().find(|known| same(known, &next))) {
            (Asked::Repository(_, more), Some(Asked::Repository(_, verbs))) => verbs.extend(more),
            (_, Some(_)) => {}
            (_, None) => asked.push(next),
        }
    }
    if asked.len() > MAX_SCOPES { Err(too_many()) } else { Ok(asked) }
}

fn same(one: &Asked, other: &Asked) -> bool {
    match (one, other) {
        (Asked::Repository(one, _), Asked::Repository(other, _)) => one == other,
        (Asked::Catalog, Asked::Catalog) => true,
        (Asked::Repository(..), Asked::Catalog) | (Asked::Catalog, Asked::Repository(..)) => false,
    }
}

/// Reads `type[(class)]:name:action[,action]`. The name may hold a colon (a host's port), so the first and the last one
/// count.
fn read_scope(text: &str) -> Option<Asked> {
    let (kind, rest) = text.split_once(':')?;
    let (name, actions) = rest.rsplit_once(':')?;
    let kind = match kind.split_once('(') {
        Some((kind, class)) => class.ends_with(')').then_some(kind)?,
        None => kind,
    };
    match kind {
        "repository" => {
            let name = PackageName::parse(name).ok()?;
            let mut verbs = Vec::new();
            for action in actions.split(',') {
                match action {
                    "*" => verbs.extend([Verb::Pull, Verb::Push, Verb::Delete]),
                    word => verbs.extend(Verb::parse(word)),
                }
            }
            Some(Asked::Repository(name, verbs))
        }
        "registry" => {
            (name == "catalog" && actions.split(',').any(|action| action == "*")).then_some(Asked::Catalog)
        }
        _ => None,
    }
}

/// What is asked for and allowed.
async fn granted(cx: Cx<'_>, caller: &Caller, asked: &[Asked]) -> Result<Vec<Access>> {
    let mut granted = Vec::new();
    for asked in asked {
        match asked {
            Asked::Repository(name, wanted) => {
                let mut verbs = cx.policy().verbs(caller, name).await?;
                verbs.retain(|verb| wanted.contains(verb));
                if !verbs.is_empty() {
                    granted.push(Access { name: name.to_string(), verbs });
                }
            }
            // The catalog shows each viewer what that viewer may read.
            Asked::Catalog if !caller.is_anonymous() || cx.registry.anonymous_reads() => {
                granted.push(Access { name: "*".to_owned(), verbs: vec![Verb::Pull] });
            }
            Asked::Catalog => {}
        }
    }
    Ok(granted)
}

/// An access as a scope.
fn written(access: &Access) -> String {
    if access.name == "*" {
        return "registry:catalog:*".to_owned();
    }
    let verbs: Vec<&str> = access.verbs.iter().map(|verb| verb.word()).collect();
    format!("repository:{}:{}", access.name, verbs.join(","))
}

#[cfg(test)]
mod tests;
