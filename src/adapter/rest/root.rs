//! The way in: where things are, and what this is.

use http::{Method, StatusCode, header};
use serde_json::json;

use super::{Asked, Cx};
use crate::{error::Result, http::Reply};

/// The names of its routes.
pub(super) const ROUTES: &[&str] = &["api_root", "api_meta", "api_description"];

#[derive(Debug, Clone, Copy)]
pub(super) enum Ask {
    /// `GET /`.
    Root,
    /// `GET /meta`.
    Meta,
    /// `GET /openapi.json`.
    Description,
}

/// What this API is, for machines. `tests/it/rest` compares every answer with it, `tests.rs` every path.
pub(super) const DESCRIPTION: &str = include_str!("openapi.json");

impl Ask {
    pub(super) fn parse(method: &Method, path: &[&str]) -> Option<Self> {
        match path {
            [""] if method == Method::GET => Some(Self::Root),
            ["meta"] if method == Method::GET => Some(Self::Meta),
            ["openapi.json"] if method == Method::GET => Some(Self::Description),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Root => "api_root",
            Self::Meta => "api_meta",
            Self::Description => "api_description",
        }
    }

    pub(super) fn handle(self, cx: Cx<'_>, asked: &Asked) -> Result<Reply> {
        let pen = asked.pen(cx);
        let mut shape = match self {
            Self::Root => json!({
                "current_user_url": pen.api("user"),
                "user_url": pen.api("users/{user}"),
                "user_organizations_url": pen.api("user/orgs"),
                "organization_url": pen.api("orgs/{org}"),
                "description_url": pen.api("openapi.json"),
            }),
            Self::Meta => json!({ "verifiable_password_authentication": false }),
            Self::Description => {
                let reply = Reply::new(StatusCode::OK).header(header::CONTENT_TYPE, "application/json");
                return Ok(reply.bytes(DESCRIPTION));
            }
        };
        // Which release runs here helps whoever looks for one with a hole.
        if let (Self::Meta, false, Some(shape)) = (self, cx.caller.is_anonymous(), shape.as_object_mut()) {
            shape.insert("installed_version".into(), env!("CARGO_PKG_VERSION").into());
        }
        Ok(Reply::json(StatusCode::OK, &shape))
    }
}
