//! What owners and packages decide about tags and versions: which are immutable, which go by themselves.

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Asked, Cx, input,
    packages::{Address, below},
};
use crate::{
    auth::{Manage, ManageOwner},
    error::{Error, Result, What},
    http::{Body, Reply},
    model::TagPatterns,
    registry::{Rules, records::Retention},
};

/// The names of its routes.
pub(super) const ROUTES: &[&str] = &["policy", "policy_put", "policy_delete"];

/// Whose it is.
#[derive(Debug, Clone)]
enum Of {
    Owner(String),
    Package(Address),
}

#[derive(Debug, Clone, Copy)]
enum Do {
    Get,
    Put,
    Delete,
}

/// `GET`, `PUT`, `DELETE` of `/users/{username}/policy`, `/orgs/{org}/policy` and `{root}/packages/{type}/{name}/policy`.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    of: Of,
    what: Do,
}

/// A policy whole; what is not said is not in it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default)]
    immutable: Vec<String>,
    #[serde(default)]
    immutable_except: Vec<String>,
    #[serde(default)]
    keep_all: bool,
    keep_last: Option<u32>,
    /// In seconds.
    keep_younger: Option<u64>,
    #[serde(default)]
    keep_tags: Vec<String>,
    /// In seconds.
    untagged_older: Option<u64>,
}

impl Ask {
    pub(super) fn parse(method: &Method, path: &[&str]) -> Result<Option<Self>> {
        let of = match path {
            ["users" | "orgs", name, "policy"] => Of::Owner((*name).to_owned()),
            _ => match below(path)? {
                Some((address, ["policy"])) => Of::Package(address),
                _ => return Ok(None),
            },
        };
        let what = match *method {
            Method::GET => Do::Get,
            Method::PUT => Do::Put,
            Method::DELETE => Do::Delete,
            _ => return Ok(None),
        };
        Ok(Some(Self { of, what }))
    }

    pub(super) fn name(&self) -> &'static str {
        match self.what {
            Do::Get => "policy",
            Do::Put => "policy_put",
            Do::Delete => "policy_delete",
        }
    }

    pub(super) async fn handle(&self, cx: Cx<'_>, _asked: &Asked, body: Body) -> Result<Reply> {
        match &self.of {
            Of::Owner(name) => {
                let grant = cx.authorize_owner::<ManageOwner>(name).await?;
                if let Some(rules) = self.wanted(cx, body).await? {
                    cx.registry.set_owner_policy(&grant, rules).await?;
                }
                self.shown(cx.registry.owner_policy(&grant).await?)
            }
            Of::Package(address) => {
                let grant = address.authorize::<Manage>(cx).await?;
                if let Some(rules) = self.wanted(cx, body).await? {
                    cx.registry.set_package_policy(&grant, rules).await?;
                }
                self.shown(cx.registry.package_policy(&grant).await?)
            }
        }
    }

    /// What is to be set, if anything is.
    async fn wanted(&self, cx: Cx<'_>, body: Body) -> Result<Option<Option<Rules>>> {
        if !matches!(self.what, Do::Get) {
            cx.writable()?;
        }
        Ok(match self.what {
            Do::Get => None,
            Do::Delete => Some(None),
            Do::Put => Some(Some(input::read::<Wanted>(body).await?.rules()?)),
        })
    }

    fn shown(&self, rules: Option<Rules>) -> Result<Reply> {
        match (self.what, rules) {
            (Do::Delete, _) => Ok(Reply::new(StatusCode::NO_CONTENT)),
            (_, None) => Err(Error::not_found(What::Request, "there is no policy of its own")),
            (_, Some(rules)) => Ok(Reply::json(StatusCode::OK, &shape(&rules))),
        }
    }
}

impl Wanted {
    fn rules(self) -> Result<Rules> {
        let retention = Retention {
            keep_last: self.keep_last,
            keep_younger: self.keep_younger,
            keep_tags: TagPatterns::parse(&self.keep_tags, &[])?,
            untagged_older: self.untagged_older,
        };
        Rules::checked(&self.immutable, &self.immutable_except, self.keep_all, retention)
    }
}

fn shape(rules: &Rules) -> Value {
    let retention = rules.retention.clone();
    let idle = retention.as_ref().is_some_and(Retention::is_idle);
    let retention = retention.unwrap_or_default();
    json!({
        "immutable": rules.immutable.tags,
        "immutable_except": rules.immutable.except,
        "keep_all": idle,
        "keep_last": retention.keep_last,
        "keep_younger": retention.keep_younger,
        "keep_tags": retention.keep_tags.tags,
        "untagged_older": retention.untagged_older,
    })
}
