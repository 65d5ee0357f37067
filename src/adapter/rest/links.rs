//! The source repository that a package belongs with, and the workflows that may use a package.

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Asked, Cx, input,
    packages::{self, below},
    page::Page,
    repositories,
};
use crate::{
    auth::{LinkRepository, Manage, Pull, ReadRepository},
    error::{Error, Result, What},
    http::{Body, Reply, query::Query},
    model::{RepositoryName, Role},
};

/// The names of its routes.
pub(super) const ROUTES: &[&str] =
    &["link", "link_put", "link_delete", "workflows", "workflow_put", "workflow_delete"];

#[derive(Debug, Clone)]
pub(super) enum Ask {
    /// `GET {root}/packages/{type}/{name}/link`.
    Get(packages::Address),
    /// `PUT` of the same.
    Put(packages::Address),
    /// `DELETE` of the same.
    Delete(packages::Address),
    /// `GET {root}/packages/{type}/{name}/access/workflows`.
    Workflows(packages::Address, Page),
    /// `PUT …/access/workflows/{owner}/{repo}`.
    Give(packages::Address, repositories::Address),
    /// `DELETE` of the same.
    End(packages::Address, repositories::Address),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Link {
    /// `OWNER/REPO`.
    repository: String,
    /// Whether the package has the repository's roles and none of its own; it drops those that it has.
    #[serde(default)]
    inherit: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    role: Role,
}

impl Ask {
    pub(super) fn parse(method: &Method, path: &[&str], query: &Query) -> Result<Option<Self>> {
        let Some((package, rest)) = below(path)? else { return Ok(None) };
        let repository = |owner: &str, name: &str| repositories::Address {
            owner: owner.to_owned(),
            name: name.to_owned(),
        };
        Ok(match (method.as_str(), rest) {
            ("GET", ["link"]) => Some(Self::Get(package)),
            ("PUT", ["link"]) => Some(Self::Put(package)),
            ("DELETE", ["link"]) => Some(Self::Delete(package)),
            ("GET", ["access", "workflows"]) => Some(Self::Workflows(package, Page::read(query)?)),
            ("PUT", ["access", "workflows", owner, name]) => {
                Some(Self::Give(package, repository(owner, name)))
            }
            ("DELETE", ["access", "workflows", owner, name]) => {
                Some(Self::End(package, repository(owner, name)))
            }
            _ => None,
        })
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Get(_) => "link",
            Self::Put(_) => "link_put",
            Self::Delete(_) => "link_delete",
            Self::Workflows(..) => "workflows",
            Self::Give(..) => "workflow_put",
            Self::End(..) => "workflow_delete",
        }
    }

    pub(super) async fn handle(&self, cx: Cx<'_>, asked: &Asked, body: Body) -> Result<Reply> {
        match self {
            Self::Get(package) => {
                let grant = package.authorize::<Pull>(cx).await?;
                let linked = cx.registry.linked(&grant).await?;
                let none = || {
                    Error::not_found(What::Repository, "it is linked to no source repository that you see")
                };
                let linked = linked.ok_or_else(none)?;
                let (owner, name) = (&linked.repository.owner_name, &linked.repository.name);
                let shape = json!({ "repository": format!("{owner}/{name}"), "inherits": linked.inherits });
                Ok(Reply::json(StatusCode::OK, &shape))
            }
            Self::Put(package) => put(cx, package, body).await,
            Self::Delete(package) => {
                let grant = package.authorize::<Manage>(cx).await?;
                cx.registry.unlink_package(&grant).await?;
                Ok(Reply::new(StatusCode::NO_CONTENT))
            }
            Self::Workflows(package, page) => {
                let grant = package.authorize::<Manage>(cx).await?;
                let (some, more) = page.window().of(cx.registry.workflows(&grant).await?);
                let shape =
                    |(name, role): &(String, Role)| json!({ "repository": name, "role": role.word() });
                let shapes: Vec<Value> = some.iter().map(shape).collect();
                Ok(asked.list(cx, *page, &shapes, more))
            }
            Self::Give(package, repository) => {
                let grant = package.authorize::<Manage>(cx).await?;
                let given: Given = input::read(body).await?;
                let to = repository.authorize::<ReadRepository>(cx).await?;
                cx.registry.give_workflow(&grant, &to, given.role).await?;
                Ok(Reply::new(StatusCode::NO_CONTENT))
            }
            Self::End(package, repository) => {
                let grant = package.authorize::<Manage>(cx).await?;
                let name = RepositoryName::parse(&format!("{}/{}", repository.owner, repository.name))?;
                cx.registry.end_workflow(&grant, &name).await?;
                Ok(Reply::new(StatusCode::NO_CONTENT))
            }
        }
    }
}

async fn put(cx: Cx<'_>, package: &packages::Address, body: Body) -> Result<Reply> {
    let grant = package.authorize::<Manage>(cx).await?;
    let link: Link = input::read(body).await?;
    let name = RepositoryName::parse(&link.repository)?;
    let to = cx
        .policy()
        .authorize_repository::<LinkRepository>(cx.caller, name.owner(), name.repository())
        .await?;
    cx.registry.link_package(&grant, &to).await?;
    if let Some(inherit) = link.inherit {
        // The link counted for the package, so this asks for the right once more.
        let grant = package.authorize::<Manage>(cx).await?;
        cx.registry.set_inherits(&grant, inherit).await?;
    }
    Ok(Reply::new(StatusCode::NO_CONTENT))
}
