//! Running the installation: accounts made, suspended, removed. For its administrators.

use http::{Method, StatusCode};
use serde::Deserialize;

use super::{Asked, Cx, accounts::no_organization, input};
use crate::{
    auth::{Grant, Operate, Secret},
    error::Result,
    http::{Body, Reply},
    model::OwnerName,
    registry::{accounts::NewUser, records::AccountKind},
};

/// The names of its routes.
pub(super) const ROUTES: &[&str] = &[
    "organization_create",
    "organization_delete",
    "user_create",
    "user_delete",
    "user_suspend",
    "user_resume",
];

#[derive(Debug, Clone)]
pub(super) enum Ask {
    /// `POST /admin/organizations`.
    CreateOrganization,
    /// `DELETE /orgs/{org}`.
    DeleteOrganization(String),
    /// `POST /admin/users`.
    CreateUser,
    /// `DELETE /admin/users/{username}`.
    DeleteUser(String),
    /// `PUT /users/{username}/suspended`.
    Suspend(String),
    /// `DELETE` of the same.
    Resume(String),
}

/// Clients send a profile name too, which an account here does not have.
#[derive(Debug, Deserialize)]
struct NewOrganization {
    login: String,
    /// The user who owns it.
    admin: String,
}

/// Never an administrator: that is for the operator's command line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewAccount {
    login: String,
    /// Kept nowhere; clients send it.
    #[serde(default, rename = "email")]
    _email: Option<String>,
    #[serde(default)]
    suspended: bool,
    #[serde(default)]
    password: Option<String>,
}

impl Ask {
    pub(super) fn parse(method: &Method, path: &[&str]) -> Option<Self> {
        Some(match (method.as_str(), path) {
            ("POST", ["admin", "organizations"]) => Self::CreateOrganization,
            ("DELETE", ["orgs", org]) => Self::DeleteOrganization((*org).to_owned()),
            ("POST", ["admin", "users"]) => Self::CreateUser,
            ("DELETE", ["admin", "users", user]) => Self::DeleteUser((*user).to_owned()),
            ("PUT", ["users", user, "suspended"]) => Self::Suspend((*user).to_owned()),
            ("DELETE", ["users", user, "suspended"]) => Self::Resume((*user).to_owned()),
            _ => return None,
        })
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::CreateOrganization => "organization_create",
            Self::DeleteOrganization(_) => "organization_delete",
            Self::CreateUser => "user_create",
            Self::DeleteUser(_) => "user_delete",
            Self::Suspend(_) => "user_suspend",
            Self::Resume(_) => "user_resume",
        }
    }

    pub(super) async fn handle(&self, cx: Cx<'_>, asked: &Asked, body: Body) -> Result<Reply> {
        let grant: Grant<Operate> = cx.policy().authorize_system(cx.caller)?;
        cx.writable()?;
        match self {
            Self::CreateOrganization => {
                let new: NewOrganization = input::read(body).await?;
                let name = OwnerName::parse(&new.login)?;
                cx.registry.create_organization(&grant, &name, &new.admin).await?;
                let made = cx.registry.profile(cx.caller, name.as_str()).await?;
                Ok(Reply::json(StatusCode::CREATED, &asked.pen(cx).organization_whole(&made)))
            }
            Self::CreateUser => create_user(cx, asked, &grant, body).await,
            Self::DeleteOrganization(org) => {
                if !cx.registry.profile(cx.caller, org).await?.is_organization() {
                    return Err(no_organization(org));
                }
                cx.registry.remove_account(&grant, org, AccountKind::Organization).await?;
                Ok(Reply::new(StatusCode::NO_CONTENT))
            }
            Self::DeleteUser(user) => {
                cx.registry.remove_account(&grant, user, AccountKind::User).await?;
                Ok(Reply::new(StatusCode::NO_CONTENT))
            }
            Self::Suspend(user) => suspend(cx, &grant, user, true).await,
            Self::Resume(user) => suspend(cx, &grant, user, false).await,
        }
    }
}

async fn create_user(cx: Cx<'_>, asked: &Asked, grant: &Grant<Operate>, body: Body) -> Result<Reply> {
    let new: NewAccount = input::read(body).await?;
    let name = OwnerName::parse(&new.login)?;
    let password = new.password.map(Secret::new);
    let user = NewUser { name: &name, administrator: false, password: password.as_ref() };
    cx.registry.create_user(grant, user).await?;
    if new.suspended {
        cx.registry.set_suspended(grant, name.as_str(), true).await?;
    }
    let made = cx.registry.profile(cx.caller, name.as_str()).await?;
    Ok(Reply::json(StatusCode::CREATED, &asked.pen(cx).user(&made)))
}

async fn suspend(cx: Cx<'_>, grant: &Grant<Operate>, user: &str, suspended: bool) -> Result<Reply> {
    cx.registry.set_suspended(grant, user, suspended).await?;
    Ok(Reply::new(StatusCode::NO_CONTENT))
}
