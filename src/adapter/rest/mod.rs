//! The management API: packages, people and rights by the paths and shapes that management clients know, and in the same
//! style where those have none.
//!
//! A folder of endpoints each has its own file: what it is asked (`Ask::parse`, pure), what it does (`Ask::handle`, with
//! grants). Each endpoint has input of its own shape; nobody sets what it does not name.

mod access;
mod accounts;
mod admin;
mod audit;
mod changes;
mod collaborators;
mod error;
mod input;
mod links;
mod members;
mod packages;
mod page;
mod policy;
mod repositories;
mod root;
mod shapes;
mod teams;
#[cfg(test)]
mod tests;
mod tokens;

use http::{HeaderName, Method, StatusCode, header};
use percent_encoding::percent_decode_str;
use serde_json::Value;

use self::{page::Page, shapes::Pen};
use super::{Adapter, Cx, Head};
use crate::{
    error::{Error, Kind, Result, What},
    http::{Body, Content, Reply, Site, conditional, query::Query},
    model::{Algorithm, Digest, Scope},
};

/// The scopes of the token used, which some clients ask for before they go on.
const SCOPES: HeaderName = HeaderName::from_static("x-oauth-scopes");

/// The adapter.
#[derive(Debug)]
pub struct Rest;

/// A request, understood.
#[derive(Debug)]
pub struct Route {
    ask: Ask,
    asked: Asked,
}

/// The request's own words, for the links of an answer.
#[derive(Debug)]
struct Asked {
    path: String,
    query: Query,
    /// It changes nothing.
    reads: bool,
}

#[derive(Debug)]
enum Ask {
    Root(root::Ask),
    Accounts(accounts::Ask),
    Packages(packages::Ask),
    Changes(changes::Ask),
    Access(access::Ask),
    Members(members::Ask),
    Teams(teams::Ask),
    Admin(admin::Ask),
    Tokens(tokens::Ask),
    Policy(policy::Ask),
    Repositories(repositories::Ask),
    Collaborators(collaborators::Ask),
    Links(links::Ask),
    Audit(audit::Ask),
}

/// The names of routes, by the file they are in.
const PARTS: [&[&str]; 14] = [
    root::ROUTES,
    accounts::ROUTES,
    packages::ROUTES,
    changes::ROUTES,
    access::ROUTES,
    members::ROUTES,
    teams::ROUTES,
    admin::ROUTES,
    tokens::ROUTES,
    policy::ROUTES,
    repositories::ROUTES,
    collaborators::ROUTES,
    links::ROUTES,
    audit::ROUTES,
];

const COUNT: usize = {
    let (mut count, mut part) = (0, 0);
    while part < PARTS.len() {
        count += PARTS[part].len();
        part += 1;
    }
    count
};

/// All of them.
const NAMES: [&str; COUNT] = {
    let mut names = [""; COUNT];
    let (mut at, mut part) = (0, 0);
    while part < PARTS.len() {
        let mut name = 0;
        while name < PARTS[part].len() {
            names[at] = PARTS[part][name];
            at += 1;
            name += 1;
        }
        part += 1;
    }
    names
};

impl Adapter for Rest {
    const NAME: &'static str = "rest";
    const ROUTES: &'static [&'static str] = &NAMES;
    type Route = Route;

    fn parse(head: Head<'_>) -> Result<Route> {
        let asked = Asked {
            path: head.uri.path().to_owned(),
            query: Query::parse(head.uri.query().unwrap_or_default())?,
            reads: head.method.is_safe(),
        };
        Ok(Route { ask: parse(head, &asked.query)?, asked })
    }

    fn name(route: &Route) -> &'static str {
        match &route.ask {
            Ask::Root(ask) => ask.name(),
            Ask::Accounts(ask) => ask.name(),
            Ask::Packages(ask) => ask.name(),
            Ask::Changes(ask) => ask.name(),
            Ask::Access(ask) => ask.name(),
            Ask::Members(ask) => ask.name(),
            Ask::Teams(ask) => ask.name(),
            Ask::Admin(ask) => ask.name(),
            Ask::Tokens(ask) => ask.name(),
            Ask::Policy(ask) => ask.name(),
            Ask::Repositories(ask) => ask.name(),
            Ask::Collaborators(ask) => ask.name(),
            Ask::Links(ask) => ask.name(),
            Ask::Audit(ask) => ask.name(),
        }
    }

    async fn handle(cx: Cx<'_>, route: &Route, body: Body) -> Result<Reply> {
        let asked = &route.asked;
        let reply = match &route.ask {
            Ask::Root(ask) => ask.handle(cx, asked),
            Ask::Accounts(ask) => ask.handle(cx, asked).await,
            Ask::Packages(ask) => match ask.handle(cx, asked).await {
                // The rights changed between the decision and what was read: it is taken once more.
                Err(error) if error.kind() == Kind::StaleGrant => ask.handle(cx, asked).await,
                result => result,
            },
            Ask::Changes(ask) => ask.handle(cx, asked, body).await,
            Ask::Access(ask) => ask.handle(cx, asked, body).await,
            Ask::Members(ask) => ask.handle(cx, asked, body).await,
            Ask::Teams(ask) => ask.handle(cx, asked, body).await,
            Ask::Admin(ask) => ask.handle(cx, asked, body).await,
            Ask::Tokens(ask) => ask.handle(cx, asked, body).await,
            Ask::Policy(ask) => ask.handle(cx, asked, body).await,
            Ask::Repositories(ask) => ask.handle(cx, asked, body).await,
            Ask::Collaborators(ask) => ask.handle(cx, asked, body).await,
            Ask::Links(ask) => ask.handle(cx, asked, body).await,
            Ask::Audit(ask) => ask.handle(cx, asked).await,
        };
        Ok(finished(cx, asked.reads, reply?))
    }

    fn render(error: &Error, route: Option<&Route>, site: &Site) -> Reply {
        error::render(error, route, site)
    }
}

/// Reads what is asked. A path that is there answers another method as one that is not: clients of this API expect 404.
fn parse(head: Head<'_>, query: &Query) -> Result<Ask> {
    let no_such_path = || Error::not_found(What::Request, "there is nothing at this path");
    let path = head.uri.path();
    let rest = path.strip_prefix("/api/v3").ok_or_else(no_such_path)?;
    let segments = rest.strip_prefix('/').unwrap_or(rest).split('/');
    let segments = segments.map(decoded).collect::<Option<Vec<String>>>().ok_or_else(no_such_path)?;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let method = if head.method == Method::HEAD { &Method::GET } else { head.method };
    let path = segments.as_slice();
    let found = [
        root::Ask::parse(method, path).map(Ask::Root),
        accounts::Ask::parse(method, path, query)?.map(Ask::Accounts),
        packages::Ask::parse(method, path, query)?.map(Ask::Packages),
        changes::Ask::parse(method, path)?.map(Ask::Changes),
        access::Ask::parse(method, path, query)?.map(Ask::Access),
        members::Ask::parse(method, path, query)?.map(Ask::Members),
        teams::Ask::parse(method, path, query)?.map(Ask::Teams),
        admin::Ask::parse(method, path).map(Ask::Admin),
        tokens::Ask::parse(method, path, query)?.map(Ask::Tokens),
        policy::Ask::parse(method, path)?.map(Ask::Policy),
        repositories::Ask::parse(method, path, query)?.map(Ask::Repositories),
        collaborators::Ask::parse(method, path, query)?.map(Ask::Collaborators),
        links::Ask::parse(method, path, query)?.map(Ask::Links),
        audit::Ask::parse(method, path, query)?.map(Ask::Audit),
    ];
    found.into_iter().flatten().next().ok_or_else(no_such_path)
}

/// A segment of a path; `None` for what no name is made of.
fn decoded(segment: &str) -> Option<String> {
    let text = percent_decode_str(segment).decode_utf8().ok()?;
    (!text.contains('\0')).then(|| text.into_owned())
}

impl Asked {
    fn pen<'a>(&self, cx: Cx<'a>) -> Pen<'a> {
        Pen { site: cx.site, caller: cx.caller }
    }

    /// A page of a list.
    fn list(&self, cx: Cx<'_>, page: Page, shapes: &[Value], more: bool) -> Reply {
        page.link(Reply::json(StatusCode::OK, &shapes), cx.site, &self.path, &self.query, more)
    }
}

/// What every answer says besides: the scopes, and what keeps a copy of it honest.
fn finished(cx: Cx<'_>, reads: bool, reply: Reply) -> Reply {
    let mut reply =
        reply.header(header::CACHE_CONTROL, "private, no-cache").header(header::VARY, "Authorization");
    if !cx.caller.is_anonymous() {
        reply = reply.header(SCOPES, scopes(cx));
    }
    let Content::Bytes(bytes) = &reply.content else { return reply };
    // What was changed was changed, whatever the client has of it already.
    if reply.status != StatusCode::OK || !reads {
        return reply;
    }
    let tag = Digest::of(Algorithm::Sha256, bytes).encoded();
    let known = cx.headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    if known.is_some_and(|known| conditional::names(known, &tag)) {
        reply.status = StatusCode::NOT_MODIFIED;
        reply.content = Content::Empty;
        reply.headers.remove(header::CONTENT_TYPE);
    }
    reply.header(header::ETAG, format!("W/\"{tag}\""))
}

/// Our scopes, and beside them those under whose names clients look for the same rights.
fn scopes(cx: Cx<'_>) -> String {
    let mut words: Vec<&str> = Vec::new();
    for scope in cx.caller.scopes.iter() {
        match scope {
            Scope::ReadPackages => words.push("read:packages"),
            Scope::WritePackages => words.push("write:packages"),
            Scope::DeletePackages => words.push("delete:packages"),
            Scope::Admin => words.extend(["admin", "admin:org", "repo", "user"]),
        }
    }
    if cx.caller.administrator && cx.caller.scopes.has(Scope::Admin) {
        words.push("site_admin");
    }
    words.join(", ")
}
