//! Who has which role on a package, and why somebody may do something to it.

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Asked, Cx, input,
    packages::{Address, below},
    page::Page,
    shapes::{Pen, segment},
};
use crate::{
    auth::{Grant, Manage, Pull, Verb},
    error::{Error, Result, What},
    http::{Body, Reply, query::Query},
    model::{Role, TeamName},
    registry::permissions::GroupName,
};

/// The names of its routes.
pub(super) const ROUTES: &[&str] =
    &["access", "access_get", "access_put", "access_delete", "permission", "permission_of"];

/// To whom a role is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Grantee {
    User(String),
    /// A team of the package's owner.
    Team(String),
    Organization(String),
}

#[derive(Debug, Clone)]
pub(super) enum Ask {
    /// `GET …/access`.
    List(Address, Page),
    /// `GET …/access/{users|teams|orgs}/{name}`.
    Get(Address, Grantee),
    /// `PUT` of the same.
    Put(Address, Grantee),
    /// `DELETE` of the same.
    Delete(Address, Grantee),
    /// `GET …/permission`: one's own.
    Own(Address),
    /// `GET …/permission/{username}`: somebody's.
    Of(Address, String, Verb),
}

/// What is said of a role that is given.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    role: Role,
}

/// A role as it is listed.
struct Entry {
    to: Grantee,
    /// The name as it is shown.
    name: String,
    role: Role,
}

impl Grantee {
    fn parse(kind: &str, name: &str) -> Option<Self> {
        Some(match kind {
            "users" => Self::User(name.to_owned()),
            "teams" => Self::Team(name.to_owned()),
            "orgs" => Self::Organization(name.to_owned()),
            _ => return None,
        })
    }

    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::User(one), Self::User(other))
            | (Self::Team(one), Self::Team(other))
            | (Self::Organization(one), Self::Organization(other)) => one.eq_ignore_ascii_case(other),
            _ => false,
        }
    }

    /// The words of its kind: as it is shown, as it is addressed.
    fn kind(&self) -> (&'static str, &'static str) {
        match self {
            Self::User(_) => ("user", "users"),
            Self::Team(_) => ("team", "teams"),
            Self::Organization(_) => ("organization", "orgs"),
        }
    }
}

impl Ask {
    pub(super) fn parse(method: &Method, path: &[&str], query: &Query) -> Result<Option<Self>> {
        let Some((address, rest)) = below(path)? else { return Ok(None) };
        Ok(match (method.as_str(), rest) {
            ("GET", ["access"]) => Some(Self::List(address, Page::read(query)?)),
            (_, ["access", kind, name]) => match (method.as_str(), Grantee::parse(kind, name)) {
                ("GET", Some(to)) => Some(Self::Get(address, to)),
                ("PUT", Some(to)) => Some(Self::Put(address, to)),
                ("DELETE", Some(to)) => Some(Self::Delete(address, to)),
                _ => None,
            },
            ("GET", ["permission"]) => Some(Self::Own(address)),
            ("GET", ["permission", user]) => {
                Some(Self::Of(address, (*user).to_owned(), verb(query.get("action"))?))
            }
            _ => None,
        })
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::List(..) => "access",
            Self::Get(..) => "access_get",
            Self::Put(..) => "access_put",
            Self::Delete(..) => "access_delete",
            Self::Own(_) => "permission",
            Self::Of(..) => "permission_of",
        }
    }

    pub(super) async fn handle(&self, cx: Cx<'_>, asked: &Asked, body: Body) -> Result<Reply> {
        let pen = asked.pen(cx);
        match self {
            Self::List(address, page) => {
                let grant = address.authorize::<Manage>(cx).await?;
                let (some, more) = page.window().of(entries(cx, &grant).await?);
                let shapes: Vec<Value> = some.iter().map(|entry| shape(pen, &grant, entry)).collect();
                Ok(asked.list(cx, *page, &shapes, more))
            }
            Self::Get(address, to) => {
                let grant = address.authorize::<Manage>(cx).await?;
                let entry = find(cx, &grant, to).await?;
                Ok(Reply::json(StatusCode::OK, &shape(pen, &grant, &entry)))
            }
            Self::Put(address, to) => {
                let grant = address.authorize::<Manage>(cx).await?;
                let given: Given = input::read(body).await?;
                set(cx, &grant, to, Some(given.role)).await?;
                let entry = find(cx, &grant, to).await?;
                Ok(Reply::json(StatusCode::OK, &shape(pen, &grant, &entry)))
            }
            Self::Delete(address, to) => {
                let grant = address.authorize::<Manage>(cx).await?;
                find(cx, &grant, to).await?;
                set(cx, &grant, to, None).await?;
                Ok(Reply::new(StatusCode::NO_CONTENT))
            }
            Self::Own(address) => own(cx, address).await,
            Self::Of(address, user, verb) => of(cx, address, user, *verb).await,
        }
    }
}

async fn entries(cx: Cx<'_>, grant: &Grant<Manage>) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for granted in cx.registry.roles(grant).await? {
        entries.push(Entry {
            to: Grantee::User(granted.user.clone()),
            name: granted.user,
            role: granted.role,
        });
    }
    for granted in cx.registry.group_roles(grant).await? {
        let (to, name) = match granted.group.split_once(':') {
            Some(("team", name)) => {
                let team = name.split_once('/').map_or(name, |(_, team)| team);
                (Grantee::Team(team.to_owned()), name)
            }
            Some((_, name)) => (Grantee::Organization(name.to_owned()), name),
            None => continue,
        };
        entries.push(Entry { to, name: name.to_owned(), role: granted.role });
    }
    Ok(entries)
}

async fn find(cx: Cx<'_>, grant: &Grant<Manage>, to: &Grantee) -> Result<Entry> {
    let found = entries(cx, grant).await?.into_iter().find(|entry| entry.to.is(to));
    found.ok_or_else(|| Error::not_found(What::Owner, "no role was given to them on this package"))
}

async fn set(cx: Cx<'_>, grant: &Grant<Manage>, to: &Grantee, role: Option<Role>) -> Result<()> {
    let group = match to {
        Grantee::User(name) => return cx.registry.set_role(grant, name, role).await,
        Grantee::Team(name) => {
            // The owner of a package is a user, perhaps, and then there is no such team.
            GroupName::Team(TeamName::parse(&format!("{}/{name}", grant.target().name.owner()))?)
        }
        Grantee::Organization(name) => GroupName::Organization(name.clone()),
    };
    cx.registry.set_group_role(grant, &group, role).await
}

fn shape(pen: Pen<'_>, grant: &Grant<Manage>, entry: &Entry) -> Value {
    let name = &grant.target().name;
    let (kind, kinds) = entry.to.kind();
    let (Grantee::User(own) | Grantee::Team(own) | Grantee::Organization(own)) = &entry.to;
    let path = format!(
        "users/{}/packages/{}/{}/access/{kinds}/{}",
        segment(name.owner()),
        name.ecosystem().word(),
        segment(name.rest()),
        segment(own)
    );
    json!({ "type": kind, "name": entry.name, "role": entry.role.word(), "url": pen.api(&path) })
}

fn verb(word: Option<&str>) -> Result<Verb> {
    match word {
        None | Some("" | "pull") => Ok(Verb::Pull),
        Some("push") => Ok(Verb::Push),
        Some("delete") => Ok(Verb::Delete),
        Some("manage") => Ok(Verb::Manage),
        Some(_) => Err(Error::invalid(What::Request, "action is one of: pull, push, delete, manage")),
    }
}

/// What the caller itself may do, with this very credential.
async fn own(cx: Cx<'_>, address: &Address) -> Result<Reply> {
    let grant = address.authorize::<Pull>(cx).await?;
    let (role, verbs) = cx.registry.own_permission(&grant).await?;
    let actions: Vec<&str> = verbs.into_iter().map(Verb::word).collect();
    let shape = json!({
        "role": role.map_or("none", Role::word),
        "actions": actions,
        "visibility": grant.target().visibility.word(),
    });
    Ok(Reply::json(StatusCode::OK, &shape))
}

/// What somebody may do with a credential of every scope, and by which rule.
async fn of(cx: Cx<'_>, address: &Address, user: &str, verb: Verb) -> Result<Reply> {
    let grant = address.authorize::<Manage>(cx).await?;
    let explained = cx.registry.explain_package(&grant, user, verb).await?;
    let roles: Vec<Value> =
        explained.roles.iter().map(|(from, role)| json!({ "from": from, "role": role.word() })).collect();
    let shape = json!({
        "user": user,
        "action": verb.word(),
        "allowed": explained.allowed,
        "code": explained.code,
        "because": explained.because,
        "roles": roles,
    });
    Ok(Reply::json(StatusCode::OK, &shape))
}
