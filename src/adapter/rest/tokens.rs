//! One's own tokens. A token makes none that may do more, or lives longer, than itself.

use std::collections::BTreeSet;

use http::{Method, StatusCode};
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Asked, Cx, input, page::Page, shapes::time};
use crate::{
    auth::{Grant, ManageOwner, Verb},
    error::{Error, Result, What},
    http::{Body, Reply, query::Query},
    model::{PackageName, Scope, Scopes, Timestamp, TokenId},
    registry::{NamedLimits, records::TokenRecord, tokens},
};

/// The names of its routes.
pub(super) const ROUTES: &[&str] = &["my_tokens", "my_token_create", "my_token_revoke"];

#[derive(Debug, Clone)]
pub(super) enum Ask {
    /// `GET /user/tokens`.
    List(Page),
    /// `POST /user/tokens`.
    Create,
    /// `DELETE /user/tokens/{id}`.
    Revoke(TokenId),
}

/// A token to be made.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    scopes: Vec<String>,
    /// In seconds.
    #[serde(default)]
    expires_in: Option<u64>,
    /// `OWNER/NAME`, to which it is limited.
    #[serde(default)]
    packages: Vec<String>,
    /// Owners to which it is limited.
    #[serde(default)]
    owners: Vec<String>,
    /// `pull`, `push`, `delete`, `manage`.
    #[serde(default)]
    actions: Vec<String>,
    /// From which it may be used.
    #[serde(default)]
    networks: Vec<String>,
}

fn unknown() -> Error {
    Error::not_found(What::Token, "you have no such token")
}

impl Ask {
    pub(super) fn parse(method: &Method, path: &[&str], query: &Query) -> Result<Option<Self>> {
        Ok(Some(match (method.as_str(), path) {
            ("GET", ["user", "tokens"]) => Self::List(Page::read(query)?),
            ("POST", ["user", "tokens"]) => Self::Create,
            ("DELETE", ["user", "tokens", id]) => {
                let hex = id.len() == 16 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
                let id = u64::from_str_radix(id, 16).ok().filter(|_| hex).ok_or_else(unknown)?;
                Self::Revoke(TokenId(id))
            }
            _ => return Ok(None),
        }))
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::List(_) => "my_tokens",
            Self::Create => "my_token_create",
            Self::Revoke(_) => "my_token_revoke",
        }
    }

    pub(super) async fn handle(&self, cx: Cx<'_>, asked: &Asked, body: Body) -> Result<Reply> {
        let own = cx.registry.own_profile(cx.caller).await?;
        let grant = cx.authorize_owner::<ManageOwner>(&own.name).await?;
        match self {
            Self::List(page) => {
                let (some, more) = page.window().of(cx.registry.tokens(&grant).await?);
                let mut shapes = Vec::new();
                for token in &some {
                    shapes.push(shape(cx, token).await?);
                }
                Ok(asked.list(cx, *page, &shapes, more))
            }
            Self::Create => create(cx, &grant, body).await,
            Self::Revoke(id) => {
                cx.writable()?;
                cx.registry.revoke_token(&grant, *id).await?;
                Ok(Reply::new(StatusCode::NO_CONTENT))
            }
        }
    }
}

async fn shape(cx: Cx<'_>, token: &TokenRecord) -> Result<Value> {
    let kind = token.kind()?.word();
    let scopes: Vec<String> = token.scopes().iter().map(|scope| scope.to_string()).collect();
    Ok(json!({
        "id": token.id.to_string(),
        "type": kind,
        "tail": token.tail,
        "scopes": scopes,
        "limits": cx.registry.limits_shown(token).await?,
        "created_at": time(Timestamp(token.created)),
        "expires_at": time(Timestamp(token.expires)),
    }))
}

async fn create(cx: Cx<'_>, grant: &Grant<ManageOwner>, body: Body) -> Result<Reply> {
    cx.writable()?;
    let new: Create = input::read(body).await?;
    let scopes = new.scopes.iter().map(|word| word.parse::<Scope>()).collect::<Result<Vec<_>>>()?;
    let actions = new.actions.iter().map(|word| verb(word)).collect::<Result<BTreeSet<_>>>()?;
    let network = |text: &String| {
        let alone = text.parse::<std::net::IpAddr>().map(IpNet::from);
        alone
            .or_else(|_| text.parse::<IpNet>())
            .map_err(|_| Error::invalid(What::Token, "networks are addresses, or as 192.0.2.0/24"))
    };
    let named = NamedLimits {
        packages: new.packages.iter().map(|name| PackageName::parse(name)).collect::<Result<_>>()?,
        owners: new.owners,
        actions,
        networks: new.networks.iter().map(network).collect::<Result<_>>()?,
    };
    let limits = cx.registry.limits_named(cx.caller, &named).await?;
    let lifetime = new.expires_in.unwrap_or(tokens::DEFAULT_LIFETIME);
    let made = cx.registry.issue_limited_token(grant, Scopes::of(&scopes), lifetime, limits).await?;
    let scopes: Vec<String> = Scopes::of(&scopes).iter().map(|scope| scope.to_string()).collect();
    let shape = json!({
        "id": made.id.to_string(),
        "token": made.secret.reveal(),
        "scopes": scopes,
        "expires_at": time(made.expires),
    });
    Ok(Reply::json(StatusCode::CREATED, &shape))
}

fn verb(word: &str) -> Result<Verb> {
    [Verb::Pull, Verb::Push, Verb::Delete, Verb::Manage]
        .into_iter()
        .find(|verb| verb.word() == word)
        .ok_or_else(|| Error::invalid(What::Token, "actions are pull, push, delete, manage"))
}
