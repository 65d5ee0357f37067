//! Showing the audit log.

use serde::{Deserialize, Serialize};

use super::{
    Answer,
    execute::{Desk, table},
};
use crate::{
    error::{Error, Result, What},
    model::{PackageName, Timestamp},
    registry::{AuditQuery, AuditRow},
};

/// What is asked of the audit log.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AuditCommand {
    /// Of one owner and its packages.
    pub owner: Option<String>,
    /// Of one package.
    pub package: Option<String>,
    /// Of the installation itself.
    pub installation: bool,
    /// By one actor.
    pub actor: Option<String>,
    /// Actions that begin so.
    pub action: Option<String>,
    /// Nothing older, in milliseconds since the epoch.
    pub since: Option<u64>,
    /// Nothing younger.
    pub until: Option<u64>,
    /// Only what was refused.
    pub denied: bool,
    /// Where the last page ended.
    pub after: Option<String>,
    /// Most rows.
    pub limit: usize,
}

/// The columns.
const COLUMNS: [&str; 9] =
    ["time", "actor", "action", "object", "outcome", "detail", "credential", "address", "request"];

impl Desk<'_> {
    pub(super) async fn audit(&self, asked: AuditCommand) -> Result<Answer> {
        let package = asked.package.as_deref().map(PackageName::parse).transpose()?;
        let owner = match (&asked.owner, &package) {
            (Some(owner), Some(package)) if !owner.eq_ignore_ascii_case(package.owner()) => {
                return Err(Error::invalid(What::Request, format!("{package} is not a package of {owner}")));
            }
            (Some(owner), _) => Some(owner.clone()),
            (None, package) => package.as_ref().map(|package| package.owner().to_owned()),
        };
        let mut query = AuditQuery {
            actor: asked.actor,
            action: asked.action,
            package,
            since: asked.since.map(Timestamp),
            until: asked.until.map(Timestamp),
            denied: asked.denied,
            after: asked.after,
            limit: asked.limit,
        };
        let mut rows: Vec<AuditRow> = Vec::new();
        loop {
            let page = match (&owner, asked.installation) {
                (Some(owner), _) => {
                    let grant = self.registry.policy().authorize_owner(&self.caller, owner).await?;
                    self.registry.audit_of_owner(&grant, &query).await?
                }
                (None, true) => self.registry.audit_of_installation(&self.system()?, &query).await?,
                (None, false) => self.registry.audit_of_everything(&self.system()?, &query).await?,
            };
            query.limit = query.limit.saturating_sub(page.count);
            rows.extend(page.rows);
            query.after = page.next;
            if query.after.is_none() || query.limit == 0 {
                break;
            }
        }
        let answer = table(COLUMNS, rows.into_iter().map(columns).collect())?;
        let note = query.after.map(|after| format!("there is more: --after {after}"));
        Ok(Answer { note, ..answer })
    }
}

fn columns(row: AuditRow) -> [String; 9] {
    let outcome = row.denied.map_or_else(|| "done".to_owned(), |reason| format!("denied: {reason}"));
    [
        row.at.to_string(),
        row.actor,
        row.action,
        row.object,
        outcome,
        row.detail,
        row.credential,
        row.address,
        row.request,
    ]
}
