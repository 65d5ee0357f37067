//! The audit log: what was done and what was refused, newest first.

use http::{Method, StatusCode, header};
use serde_json::{Value, json};

use super::{Asked, Cx, shapes::time};
use crate::{
    auth::{Operate, ReadAudit},
    error::{Error, Result, What},
    http::{
        Reply,
        query::{Query, encode},
    },
    registry::{AuditPage, AuditQuery, AuditRow},
};

/// The names of its routes.
pub(super) const ROUTES: &[&str] = &["audit_log", "audit_log_of_installation"];

#[derive(Debug, Clone)]
pub(super) enum Ask {
    /// `GET /orgs/{org}/audit-log`, `/users/{username}/audit-log`.
    Owner(String, Filter),
    /// `GET /admin/audit-log`: accounts that come and go, what was refused where no owner is.
    Installation(Filter),
}

/// Which rows.
#[derive(Debug, Clone)]
pub(super) struct Filter {
    actor: Option<String>,
    action: Option<String>,
    denied: bool,
    after: Option<String>,
    limit: usize,
}

impl Filter {
    fn read(query: &Query) -> Result<Self> {
        let word = |name: &str| query.get(name).filter(|word| !word.is_empty()).map(str::to_owned);
        let limit = match query.get("per_page") {
            None | Some("") => 30,
            Some(text) => text
                .parse::<usize>()
                .ok()
                .filter(|limit| *limit > 0)
                .ok_or_else(|| Error::invalid(What::Page, "per_page is a whole number from 1 on"))?,
        };
        Ok(Self {
            actor: word("actor"),
            action: word("action"),
            denied: query.get("denied").is_some_and(|word| word != "false"),
            after: word("after"),
            limit: limit.min(100),
        })
    }

    fn query(&self) -> AuditQuery {
        AuditQuery {
            actor: self.actor.clone(),
            action: self.action.clone(),
            denied: self.denied,
            after: self.after.clone(),
            limit: self.limit,
            ..AuditQuery::default()
        }
    }
}

impl Ask {
    pub(super) fn parse(method: &Method, path: &[&str], query: &Query) -> Result<Option<Self>> {
        if method != Method::GET {
            return Ok(None);
        }
        Ok(Some(match path {
            ["orgs" | "users", name, "audit-log"] => Self::Owner((*name).to_owned(), Filter::read(query)?),
            ["admin", "audit-log"] => Self::Installation(Filter::read(query)?),
            _ => return Ok(None),
        }))
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Owner(..) => "audit_log",
            Self::Installation(_) => "audit_log_of_installation",
        }
    }

    pub(super) async fn handle(&self, cx: Cx<'_>, asked: &Asked) -> Result<Reply> {
        let (page, filter) = match self {
            Self::Owner(name, filter) => {
                let grant = cx.authorize_owner::<ReadAudit>(name).await?;
                (cx.registry.audit_of_owner(&grant, &filter.query()).await?, filter)
            }
            Self::Installation(filter) => {
                let grant = cx.policy().authorize_system::<Operate>(cx.caller)?;
                (cx.registry.audit_of_installation(&grant, &filter.query()).await?, filter)
            }
        };
        Ok(listed(cx, asked, filter, &page))
    }
}

/// A page, and where the next one is: it goes on from a row, so that what is written meanwhile shifts nothing.
fn listed(cx: Cx<'_>, asked: &Asked, filter: &Filter, page: &AuditPage) -> Reply {
    let shapes: Vec<Value> = page.rows.iter().map(shape).collect();
    let reply = Reply::json(StatusCode::OK, &shapes);
    let Some(next) = &page.next else { return reply };
    let mut target = format!("{}{}?per_page={}", cx.site.base, asked.path, filter.limit);
    let kept = asked.query.pairs().filter(|(name, _)| !matches!(*name, "after" | "per_page"));
    for (name, value) in kept.chain([("after", next.as_str())]) {
        target.push_str(&format!("&{}={}", encode(name), encode(value)));
    }
    reply.header(header::LINK, format!("<{target}>; rel=\"next\""))
}

fn shape(row: &AuditRow) -> Value {
    json!({
        "_document_id": row.row,
        "@timestamp": row.at.0,
        "created_at": time(row.at),
        "actor": row.actor,
        "action": row.action,
        "object": row.object,
        "detail": row.detail,
        "denied": row.denied,
        "credential": row.credential,
        "actor_ip": row.address,
        "request": row.request,
    })
}
