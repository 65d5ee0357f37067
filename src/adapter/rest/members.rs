//! Organizations: who is in them, and what they decided.

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::{Asked, Cx, accounts::no_organization, input, page::Page};
use crate::{
    auth::{Action, Grant, ManageOwner, OwnerTarget, ReadOwner},
    error::{Error, Result, What},
    http::{Body, Reply, query::Query},
    model::Role,
    registry::records::Membership,
};

/// The names of its routes.
pub(super) const ROUTES: &[&str] = &[
    "organization_change",
    "members",
    "member_check",
    "member_remove",
    "membership",
    "membership_put",
    "membership_remove",
    "my_membership",
    "outside_collaborators",
];

#[derive(Debug, Clone)]
pub(super) enum Ask {
    /// `PATCH /orgs/{org}`.
    Change(String),
    /// `GET /orgs/{org}/members`.
    Members(String, Option<Membership>, Page),
    /// `GET /orgs/{org}/members/{username}`.
    Check(String, String),
    /// `DELETE /orgs/{org}/members/{username}`.
    RemoveMember(String, String),
    /// `GET /orgs/{org}/memberships/{username}`.
    Membership(String, String),
    /// `PUT` of the same.
    Put(String, String),
    /// `DELETE` of the same.
    Remove(String, String),
    /// `GET /user/memberships/orgs/{org}`.
    Mine(String),
    /// `GET /orgs/{org}/outside_collaborators`.
    Outside(String, Page),
}

/// What an organization decides. Unlike elsewhere nothing unknown passes: a setting that is not there must not look made.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    default_repository_permission: Option<String>,
    anonymous_reads: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Put {
    role: Option<String>,
}

fn role_of(query: &Query) -> Result<Option<Membership>> {
    match query.get("role") {
        None | Some("" | "all") => Ok(None),
        Some(word) => membership(word).map(Some),
    }
}

fn membership(word: &str) -> Result<Membership> {
    match word {
        "admin" => Ok(Membership::Owner),
        "member" => Ok(Membership::Member),
        _ => Err(Error::invalid(What::Request, "a role in an organization is admin or member")),
    }
}

impl Ask {
    pub(super) fn parse(method: &Method, path: &[&str], query: &Query) -> Result<Option<Self>> {
        let own = |text: &str| text.to_owned();
        Ok(Some(match (method.as_str(), path) {
            ("PATCH", ["orgs", org]) => Self::Change(own(org)),
            ("GET", ["orgs", org, "members"]) => Self::Members(own(org), role_of(query)?, Page::read(query)?),
            ("GET", ["orgs", org, "members", user]) => Self::Check(own(org), own(user)),
            ("DELETE", ["orgs", org, "members", user]) => Self::RemoveMember(own(org), own(user)),
            ("GET", ["orgs", org, "memberships", user]) => Self::Membership(own(org), own(user)),
            ("PUT", ["orgs", org, "memberships", user]) => Self::Put(own(org), own(user)),
            ("DELETE", ["orgs", org, "memberships", user]) => Self::Remove(own(org), own(user)),
            ("GET", ["user", "memberships", "orgs", org]) => Self::Mine(own(org)),
            ("GET", ["orgs", org, "outside_collaborators"]) => Self::Outside(own(org), Page::read(query)?),
            _ => return Ok(None),
        }))
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Change(_) => "organization_change",
            Self::Members(..) => "members",
            Self::Check(..) => "member_check",
            Self::RemoveMember(..) => "member_remove",
            Self::Membership(..) => "membership",
            Self::Put(..) => "membership_put",
            Self::Remove(..) => "membership_remove",
            Self::Mine(_) => "my_membership",
            Self::Outside(..) => "outside_collaborators",
        }
    }

    pub(super) async fn handle(&self, cx: Cx<'_>, asked: &Asked, body: Body) -> Result<Reply> {
        let pen = asked.pen(cx);
        match self {
            Self::Change(org) => change(cx, asked, org, body).await,
            Self::Members(org, role, page) => {
                let grant = authorize::<ReadOwner>(cx, org).await?;
                let mut all = cx.registry.member_profiles(&grant).await?;
                all.retain(|(_, is)| role.is_none_or(|role| role == *is));
                let (some, more) = page.window().of(all);
                let shapes: Vec<Value> = some.iter().map(|(member, _)| pen.account(member)).collect();
                Ok(asked.list(cx, *page, &shapes, more))
            }
            Self::Check(org, user) => {
                let grant = authorize::<ReadOwner>(cx, org).await?;
                cx.registry.member_profile(&grant, user).await?;
                Ok(Reply::new(StatusCode::NO_CONTENT))
            }
            Self::RemoveMember(org, user) | Self::Remove(org, user) => {
                let grant = authorize::<ManageOwner>(cx, org).await?;
                cx.writable()?;
                let read = authorize::<ReadOwner>(cx, org).await?;
                cx.registry.member_profile(&read, user).await?;
                cx.registry.set_member(&grant, user, None).await?;
                Ok(Reply::new(StatusCode::NO_CONTENT))
            }
            Self::Membership(org, user) => shown(cx, asked, org, user).await,
            Self::Put(org, user) => {
                let grant = authorize::<ManageOwner>(cx, org).await?;
                cx.writable()?;
                let put: Put = input::read(body).await?;
                let role = membership(put.role.as_deref().unwrap_or("member"))?;
                cx.registry.set_member(&grant, user, Some(role)).await?;
                shown(cx, asked, org, user).await
            }
            Self::Mine(org) => {
                let own = cx.registry.own_profile(cx.caller).await?;
                let all = cx.registry.own_organizations(cx.caller).await?;
                let found = all.iter().find(|(account, _)| account.name.eq_ignore_ascii_case(org));
                let (account, is) = found.ok_or_else(|| no_organization(org))?;
                Ok(Reply::json(StatusCode::OK, &pen.membership(account, &own, *is)))
            }
            Self::Outside(org, page) => {
                let grant = authorize::<ManageOwner>(cx, org).await?;
                let (some, more) = page.window().of(cx.registry.outside_collaborators(&grant).await?);
                let shapes: Vec<Value> = some.iter().map(|user| pen.account(user)).collect();
                Ok(asked.list(cx, *page, &shapes, more))
            }
        }
    }
}

/// The right to do something to an organization.
pub(super) async fn authorize<A>(cx: Cx<'_>, org: &str) -> Result<Grant<A>>
where
    A: Action<Target = OwnerTarget>,
{
    let grant = cx.authorize_owner::<A>(org).await?;
    match cx.registry.profile(cx.caller, org).await?.is_organization() {
        true => Ok(grant),
        false => Err(no_organization(org)),
    }
}

async fn shown(cx: Cx<'_>, asked: &Asked, org: &str, user: &str) -> Result<Reply> {
    let grant = authorize::<ReadOwner>(cx, org).await?;
    let (member, is) = cx.registry.member_profile(&grant, user).await?;
    let organization = cx.registry.profile(cx.caller, org).await?;
    Ok(Reply::json(StatusCode::OK, &asked.pen(cx).membership(&organization, &member, is)))
}

async fn change(cx: Cx<'_>, asked: &Asked, org: &str, body: Body) -> Result<Reply> {
    let grant = authorize::<ManageOwner>(cx, org).await?;
    cx.writable()?;
    let change: Change = input::read(body).await?;
    if let Some(word) = change.default_repository_permission {
        let role = match word.as_str() {
            "none" => None,
            word => Some(word.parse::<Role>()?),
        };
        cx.registry.set_base_role(&grant, role).await?;
    }
    if let Some(allowed) = change.anonymous_reads {
        cx.registry.set_anonymous_reads(&grant, allowed).await?;
    }
    let shown = cx.registry.profile(cx.caller, org).await?;
    Ok(Reply::json(StatusCode::OK, &asked.pen(cx).organization_whole(&shown)))
}
