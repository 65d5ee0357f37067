//! Users and organizations: who is who.

use http::{Method, StatusCode};
use serde_json::Value;

use super::{Asked, Cx, page::Page};
use crate::{
    error::{Error, Result, What},
    http::{Reply, query::Query},
};

/// The names of its routes.
pub(super) const ROUTES: &[&str] = &["me", "my_organizations", "my_memberships", "user", "organization"];

#[derive(Debug, Clone)]
pub(super) enum Ask {
    /// `GET /user`.
    Me,
    /// `GET /user/orgs`.
    MyOrganizations(Page),
    /// `GET /user/memberships/orgs`.
    MyMemberships(Page),
    /// `GET /users/{username}`: users and organizations alike.
    User(String),
    /// `GET /orgs/{org}`.
    Organization(String),
}

impl Ask {
    pub(super) fn parse(method: &Method, path: &[&str], query: &Query) -> Result<Option<Self>> {
        if method != Method::GET {
            return Ok(None);
        }
        Ok(Some(match path {
            ["user"] => Self::Me,
            ["user", "orgs"] => Self::MyOrganizations(Page::read(query)?),
            ["user", "memberships", "orgs"] => Self::MyMemberships(Page::read(query)?),
            ["users", name] => Self::User((*name).to_owned()),
            ["orgs", name] => Self::Organization((*name).to_owned()),
            _ => return Ok(None),
        }))
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Me => "me",
            Self::MyOrganizations(_) => "my_organizations",
            Self::MyMemberships(_) => "my_memberships",
            Self::User(_) => "user",
            Self::Organization(_) => "organization",
        }
    }

    pub(super) async fn handle(&self, cx: Cx<'_>, asked: &Asked) -> Result<Reply> {
        let pen = asked.pen(cx);
        let shape = match self {
            Self::Me => pen.user(&cx.registry.own_profile(cx.caller).await?),
            Self::User(name) => pen.user(&cx.registry.profile(cx.caller, name).await?),
            Self::Organization(name) => {
                let account = cx.registry.profile(cx.caller, name).await?;
                if !account.is_organization() {
                    return Err(no_organization(name));
                }
                pen.organization_whole(&account)
            }
            Self::MyOrganizations(page) => {
                let all = cx.registry.own_organizations(cx.caller).await?;
                let (some, more) = page.window().of(all);
                let shapes: Vec<Value> = some.iter().map(|(account, _)| pen.organization(account)).collect();
                return Ok(asked.list(cx, *page, &shapes, more));
            }
            Self::MyMemberships(page) => {
                let own = cx.registry.own_profile(cx.caller).await?;
                let all = cx.registry.own_organizations(cx.caller).await?;
                let (some, more) = page.window().of(all);
                let shapes: Vec<Value> =
                    some.iter().map(|(account, is)| pen.membership(account, &own, *is)).collect();
                return Ok(asked.list(cx, *page, &shapes, more));
            }
        };
        Ok(Reply::json(StatusCode::OK, &shape))
    }
}

/// What is said of an organization that is not there, and of a user of that name.
pub(super) fn no_organization(name: &str) -> Error {
    Error::not_found(What::Owner, format!("there is no organization named {name}"))
}
