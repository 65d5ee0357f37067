//! What happened, in the batch in which it happened: the audit log's rows of changes. What one request does to one thing
//! is one row.

use super::{
    Registry,
    records::{
        AuditRecord, Log, PackageRecord,
        audit::{encode, lists},
    },
};
use crate::{
    auth::{Action, Caller, Grant, PackageTarget, Pull},
    error::{Error, Result},
    model::{Deed, Digest, Entry, Event, OwnerId, PackageId, Tag},
    store::{Append, Batch},
};

/// Where a row goes, and in whose list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stream {
    log: Log,
    owner: OwnerId,
    system: bool,
}

impl Stream {
    /// The same, as the installation's business too.
    pub(crate) fn of_installation(self) -> Self {
        Self { system: true, ..self }
    }
}

/// The stream of a package's events, and whose package it is.
pub(crate) fn stream_of(owner: OwnerId, package: PackageId) -> Stream {
    Stream { log: Log::Package(package), owner, system: false }
}

/// The stream of an account's events.
pub(crate) fn stream_of_owner(owner: OwnerId) -> Stream {
    Stream { log: Log::Owner(owner), owner, system: false }
}

/// By which credential somebody acts: ids and words, never the credential.
fn credential(caller: &Caller) -> Option<String> {
    let means = match (caller.credential, caller.sign_in) {
        (Some(token), _) => format!("token:{token}"),
        (None, Some(_)) => "password".to_owned(),
        (None, None) => String::new(),
    };
    let means = match (&caller.bound, means.is_empty()) {
        (Some(_), true) => "bearer".to_owned(),
        (Some(_), false) => format!("bearer {means}"),
        (None, _) => means,
    };
    (!means.is_empty()).then_some(means)
}

/// A row about nothing done yet.
pub(crate) fn row(stream: Stream, caller: &Caller, did: Vec<Deed>) -> Entry {
    Entry {
        at: caller.at.0,
        by: caller.actor.to_string(),
        request: caller.request.to_string(),
        owner: stream.owner,
        package: None,
        via: credential(caller),
        from: caller.address.map(|address| address.to_string()),
        denied: None,
        object: None,
        system: stream.system,
        did,
    }
}

/// Adds a row.
pub(crate) fn append_to(batch: &mut Batch, log: Log, entry: &Entry) {
    let (value, index) = (encode(entry), lists(log, entry));
    batch.appends.push(Append { stream: log.stream(), value, index });
}

/// Longest row that is added to, in bytes: each addition reads and writes it whole, and a list loads it.
const ROW: usize = 16 << 10;

/// Adds what was done to the last row that the batch has for this stream, or begins another.
fn write(batch: &mut Batch, stream: Stream, caller: &Caller, deed: Deed) {
    let name = stream.log.stream();
    if let Some(begun) = batch.appends.iter_mut().rev().find(|append| append.stream == name)
        && begun.value.len() < ROW
        && let Ok(AuditRecord { mut entry, .. }) = AuditRecord::decode(stream.log, 0, &begun.value)
    {
        entry.did.push(deed);
        begun.value = encode(&entry);
        return;
    }
    append_to(batch, stream.log, &row(stream, caller, vec![deed]));
}

/// Adds an event about rights: what was done, to which stream's thing, and a detail of ids and words, never a secret.
pub(crate) fn rights(batch: &mut Batch, stream: Stream, caller: &Caller, action: &str, detail: String) {
    let detail = (!detail.is_empty()).then_some(detail);
    write(batch, stream, caller, Deed { action: action.to_owned(), digest: None, tag: None, detail });
}

/// Adds an event to the stream of the grant's package.
pub(crate) fn record<A>(
    batch: &mut Batch,
    grant: &Grant<A>,
    action: &str,
    digest: Option<&Digest>,
    tag: Option<&Tag>,
) where
    A: Action<Target = PackageTarget>,
{
    let target = grant.target();
    let what = What { action, digest, tag, detail: None };
    of_package(batch, stream_of(target.owner, target.id), grant.caller(), &what);
}

/// What was done, as [`of_package`] writes it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct What<'a> {
    pub(crate) action: &'a str,
    pub(crate) digest: Option<&'a Digest>,
    pub(crate) tag: Option<&'a Tag>,
    pub(crate) detail: Option<&'a str>,
}

/// Adds an event to a package's stream.
pub(crate) fn of_package(batch: &mut Batch, stream: Stream, caller: &Caller, what: &What<'_>) {
    let deed = Deed {
        action: what.action.to_owned(),
        digest: what.digest.map(ToString::to_string),
        tag: what.tag.map(ToString::to_string),
        detail: what.detail.map(str::to_owned),
    };
    write(batch, stream, caller, deed);
}

/// Adds an event about a whole package, which says what its name was.
pub(crate) fn of_whole(
    batch: &mut Batch,
    package: &PackageRecord,
    caller: &Caller,
    action: &str,
) -> Result<()> {
    let detail = package.package_name()?.to_string();
    rights(batch, stream_of(package.owner, package.id), caller, action, detail);
    Ok(())
}

impl Registry {
    /// What changed a package, in order: of the rows after number `after`, at most `limit`, with their numbers. A row that
    /// changed several things gives several events of one number.
    pub async fn events(&self, grant: &Grant<Pull>, after: u64, limit: usize) -> Result<Vec<(u64, Event)>> {
        let stream = Log::Package(grant.target().id).stream();
        let from = stream.clone().with(&after.to_be_bytes());
        let mut events = Vec::new();
        for (key, value) in self.meta.scan(&stream, Some(&from), limit).await? {
            let (log, number) = AuditRecord::place(&key)
                .ok_or_else(|| Error::internal("the key of an audit row cannot be read"))?;
            let entry = AuditRecord::decode(log, number, &value)?.entry;
            events.extend(entry.events().map(|event| (number, event)));
        }
        self.still(grant).await?;
        Ok(events)
    }
}
