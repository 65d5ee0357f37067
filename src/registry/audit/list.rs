//! Reading the audit log: newest first, in pages, at the cost of what is shown. A filter that leaves much out looks at so
//! many rows a page and no further; the page then says where the next one goes on.

use std::collections::HashMap;

use super::super::{
    Registry, accounts, packages, permissions,
    records::{
        AuditRecord, Log,
        audit::{entry_in, everything, moment, of_installation, of_owner, of_package},
    },
};
use crate::{
    auth::{Actor, Grant, Operate, ReadAudit},
    error::{Error, Kind, Reason, Result, What},
    model::{Deed, Entry, Group, OwnerId, PackageId, PackageName, TeamId, Timestamp},
    store::{Key, MetadataRead, stream_key},
};

/// Rows looked at for one page.
const LOOKED: usize = 10_000;
/// Rows read at once.
const STRIDE: usize = 256;
/// What is asked of the log.
#[derive(Debug, Clone, Default)]
pub struct AuditQuery {
    /// Only what one did: a user's name, `user:ID`, `operator`, `anonymous`, `job:NAME`.
    pub actor: Option<String>,
    /// Only actions that begin so.
    pub action: Option<String>,
    /// Only what concerns one package; if there is none of the name, the one that was deleted last.
    pub package: Option<PackageName>,
    /// Nothing older.
    pub since: Option<Timestamp>,
    /// Nothing younger.
    pub until: Option<Timestamp>,
    /// Only what was refused.
    pub denied: bool,
    /// Where the last page ended.
    pub after: Option<String>,
    /// Most rows.
    pub limit: usize,
}

/// A line of the log, with the names that things have now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// The row it is of, in this installation. One request's deeds on one thing are lines of one row.
    pub row: String,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// What was done, or refused.
    pub action: String,
    /// To what.
    pub object: String,
    /// What else there is to say.
    pub detail: String,
    /// The reason code, if it was refused.
    pub denied: Option<String>,
    /// By which credential; empty for none.
    pub credential: String,
    /// From where; empty for this machine's command line, and for jobs.
    pub address: String,
    /// The request.
    pub request: String,
}

/// A page of the log.
#[derive(Debug, Clone, Default)]
pub struct AuditPage {
    /// Its lines, newest first.
    pub rows: Vec<AuditRow>,
    /// Of how many rows they are.
    pub count: usize,
    /// Where the next page begins; `None` at the end.
    pub next: Option<String>,
}

/// A page's rows before their names are looked up, and where the next begins.
type Rows = (Vec<AuditRecord>, Option<String>);

impl Registry {
    /// What happened to an owner and its packages while they were its own.
    ///
    /// # Errors
    /// Not found when the query names a package that the owner has not; invalid for a cursor that is none.
    pub async fn audit_of_owner(&self, grant: &Grant<ReadAudit>, query: &AuditQuery) -> Result<AuditPage> {
        let view = self.meta.snapshot()?;
        let view = view.as_ref();
        let owner = grant.target().id;
        let filter = Filter::read(view, query).await?;
        let rows = match &query.package {
            Some(name) => {
                let id = package_of(view, owner, name).await?;
                filter.list(view, of_package(owner, id)).await?
            }
            None => filter.list(view, of_owner(owner)).await?,
        };
        page(view, &filter, rows).await
    }

    /// What concerns the installation itself: accounts that come and go, what was refused to whom where no owner is.
    pub async fn audit_of_installation(
        &self,
        _grant: &Grant<Operate>,
        query: &AuditQuery,
    ) -> Result<AuditPage> {
        let view = self.meta.snapshot()?;
        let filter = Filter::read(view.as_ref(), query).await?;
        let rows = filter.list(view.as_ref(), of_installation()).await?;
        page(view.as_ref(), &filter, rows).await
    }

    /// Everything.
    ///
    /// # Errors
    /// Forbidden to all but the operator: an administrator of the installation has no role on anybody's packages.
    pub async fn audit_of_everything(&self, grant: &Grant<Operate>, query: &AuditQuery) -> Result<AuditPage> {
        if grant.caller().actor != Actor::Operator {
            let text = "only the machine's administrator reads what happens to all packages";
            return Err(Error::new(Kind::Forbidden(Reason::Role), text));
        }
        let view = self.meta.snapshot()?;
        let filter = Filter::read(view.as_ref(), query).await?;
        let rows = filter.list(view.as_ref(), everything()).await?;
        page(view.as_ref(), &filter, rows).await
    }
}

/// The package of a name below an owner, deleted or not.
async fn package_of(view: &dyn MetadataRead, owner: OwnerId, name: &PackageName) -> Result<PackageId> {
    let live = packages::by_name(view, name).await?;
    let found = match live {
        Some(package) => Some(package),
        None => packages::deleted_by_name(view, name, None).await?,
    };
    let found = found.filter(|package| package.owner == owner).map(|package| package.id);
    found.ok_or_else(|| Error::not_found(What::Package, format!("there is no package {name}")))
}

/// What is shown.
struct Filter<'a> {
    query: &'a AuditQuery,
    actor: Option<String>,
}

impl<'a> Filter<'a> {
    async fn read(view: &dyn MetadataRead, query: &'a AuditQuery) -> Result<Self> {
        let actor = match query.actor.as_deref() {
            None => None,
            Some(word) if matches!(word, "operator" | "anonymous") || word.contains(':') => {
                Some(word.to_owned())
            }
            Some(name) => match accounts::by_name(view, name).await? {
                Some(account) => Some(Actor::User(account.id).to_string()),
                None => {
                    return Err(Error::not_found(What::Owner, format!("there is no user named {name}")));
                }
            },
        };
        Ok(Self { query, actor })
    }

    fn does(&self, deed: &Deed) -> bool {
        self.query.action.as_ref().is_none_or(|action| deed.action.starts_with(action))
    }

    fn shows(&self, entry: &Entry) -> bool {
        let at = Timestamp(entry.at);
        self.query.since.is_none_or(|since| at >= since)
            && self.query.until.is_none_or(|until| at <= until)
            && (!self.query.denied || entry.denied.is_some())
            && self.actor.as_ref().is_none_or(|actor| *actor == entry.by)
            && entry.did.iter().any(|deed| self.does(deed))
    }

    /// A page of a list.
    async fn list(&self, view: &dyn MetadataRead, prefix: Key) -> Result<Rows> {
        let mut after = match (&self.query.after, self.query.until) {
            (Some(cursor), _) => Some(prefix.clone().with(&bytes_of(cursor, 8 + Log::LENGTH + 8)?)),
            (None, Some(until)) => Some(prefix.clone().with(&moment(until))),
            (None, None) => None,
        };
        let (mut rows, mut looked) = (Vec::new(), 0);
        while rows.len() < self.query.limit && looked < LOOKED {
            let missing = (self.query.limit - rows.len()).clamp(16, STRIDE);
            let keys = view.scan(&prefix, after.as_ref(), missing).await?;
            if keys.is_empty() {
                return Ok((rows, None));
            }
            let places: Vec<_> = keys.iter().filter_map(|(key, _)| entry_in(key, &prefix)).collect();
            let stored: Vec<Key> =
                places.iter().map(|(_, log, number)| stream_key(&log.stream(), *number)).collect();
            let values = view.multi_get(&stored).await?;
            for (((key, _), (at, log, number)), value) in keys.iter().zip(places).zip(values) {
                if self.query.since.is_some_and(|since| at < since) {
                    return Ok((rows, None));
                }
                if rows.len() == self.query.limit {
                    break;
                }
                looked += 1;
                after = Some(key.clone());
                let Some(value) = value else { continue };
                let row = AuditRecord::decode(log, number, &value)?;
                if self.shows(&row.entry) {
                    rows.push(row);
                }
            }
        }
        let next = after.map(|key| hex::encode(&key.bytes[prefix.bytes.len()..]));
        Ok((rows, next))
    }
}

fn bytes_of(cursor: &str, length: usize) -> Result<Vec<u8>> {
    let bytes = hex::decode(cursor).ok().filter(|bytes| bytes.len() == length);
    bytes.ok_or_else(|| Error::invalid(What::Page, "no page of this list ended there"))
}

/// Puts rows into words.
async fn page(view: &dyn MetadataRead, filter: &Filter<'_>, (rows, next): Rows) -> Result<AuditPage> {
    let mut names = Names { view, known: HashMap::new() };
    let mut page = AuditPage { rows: Vec::new(), count: rows.len(), next };
    for AuditRecord { log, number, entry } in rows {
        let place = match (log, entry.package) {
            (Log::Package(id), _) | (_, Some(id)) => names.of(&format!("package:{id}")).await?,
            (Log::Owner(OwnerId::INSTALLATION), _) => "installation".to_owned(),
            (Log::Owner(id), _) => names.of(&format!("user:{id}")).await?,
        };
        let actor = names.of(&entry.by).await?;
        for deed in entry.did.iter().filter(|deed| filter.does(deed)) {
            let tag = deed.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
            let digest = deed.digest.as_ref().map(|digest| format!("@{digest}")).unwrap_or_default();
            let mut detail = names.text(deed.detail.as_deref().unwrap_or_default()).await?;
            if let Some(asked) = &entry.object {
                detail = if detail.is_empty() { asked.clone() } else { format!("{asked} {detail}") };
            }
            page.rows.push(AuditRow {
                row: hex::encode(stream_key(&log.stream(), number).bytes),
                at: Timestamp(entry.at),
                actor: actor.clone(),
                action: deed.action.clone(),
                object: format!("{place}{tag}{digest}"),
                detail,
                denied: entry.denied.clone(),
                credential: entry.via.clone().unwrap_or_default(),
                address: entry.from.clone().unwrap_or_default(),
                request: entry.request.clone(),
            });
        }
    }
    Ok(page)
}

/// The names that ids have now.
struct Names<'a> {
    view: &'a dyn MetadataRead,
    known: HashMap<String, String>,
}

impl Names<'_> {
    /// The name behind `KIND:ID`; the word itself when there is none.
    async fn of(&mut self, word: &str) -> Result<String> {
        if let Some(known) = self.known.get(word) {
            return Ok(known.clone());
        }
        let name = self.look(word).await?.unwrap_or_else(|| word.to_owned());
        self.known.insert(word.to_owned(), name.clone());
        Ok(name)
    }

    async fn look(&self, word: &str) -> Result<Option<String>> {
        let Some((kind, id)) = word.split_once(':') else { return Ok(None) };
        let Ok(number) = u64::from_str_radix(id, 16) else { return Ok(None) };
        Ok(match kind {
            "user" => accounts::by_id(self.view, OwnerId(number)).await?.map(|account| account.name),
            "team" => Some(permissions::shown(self.view, Group::Team(TeamId(number))).await?),
            "org" => Some(permissions::shown(self.view, Group::Organization(OwnerId(number))).await?),
            "package" => match packages::by_id(self.view, PackageId(number)).await? {
                Some(package) => Some(package.package_name()?.to_string()),
                None => None,
            },
            _ => None,
        })
    }

    /// A detail with its ids put into words.
    async fn text(&mut self, text: &str) -> Result<String> {
        let mut words = Vec::new();
        for word in text.split(' ') {
            let is_id = word.split_once(':').is_some_and(|(_, id)| id.len() == 16);
            words.push(if is_id { self.of(word).await? } else { word.to_owned() });
        }
        Ok(words.join(" "))
    }
}
