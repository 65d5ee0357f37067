//! What happened, in the batch in which it happened.

use super::{Registry, records::PackageRecord};
use crate::{
    auth::{Action, Caller, Grant, PackageTarget, Pull},
    error::{Error, Result},
    model::{Digest, Event, OwnerId, PackageId, Tag},
    store::{Batch, Key, Space},
};

/// The stream of a package's events.
pub(crate) fn stream_of(package: PackageId) -> Key {
    Key::new(Space::Event, b'e').with(&package.bytes())
}

/// The stream of an account's events.
pub(crate) fn stream_of_owner(owner: OwnerId) -> Key {
    Key::new(Space::Event, b'o').with(&owner.bytes())
}

/// Reads a stored event.
pub(crate) fn read(value: &[u8]) -> Result<Event> {
    super::records::from_json(1, value, "event")
}

/// Adds an event about rights: what was done, to which stream's thing, and a detail of ids and words, never a secret.
pub(crate) fn rights(batch: &mut Batch, stream: Key, caller: &Caller, action: &str, detail: String) {
    let event = Event {
        action: action.to_owned(),
        at: caller.at.0,
        by: caller.actor.to_string(),
        request: caller.request.to_string(),
        digest: None,
        tag: None,
        detail: (!detail.is_empty()).then_some(detail),
    };
    batch.append(stream, super::records::to_json(1, &event));
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
    of_package(batch, grant.target().id, grant.caller(), &What { action, digest, tag, detail: None });
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
pub(crate) fn of_package(batch: &mut Batch, package: PackageId, caller: &Caller, what: &What<'_>) {
    let event = Event {
        action: what.action.to_owned(),
        at: caller.at.0,
        by: caller.actor.to_string(),
        request: caller.request.to_string(),
        digest: what.digest.map(ToString::to_string),
        tag: what.tag.map(ToString::to_string),
        detail: what.detail.map(str::to_owned),
    };
    batch.append(stream_of(package), super::records::to_json(1, &event));
}

/// Adds an event about a whole package to its owner's stream, where it stays when the package is gone for good.
pub(crate) fn of_packages(
    batch: &mut Batch,
    package: &PackageRecord,
    caller: &Caller,
    action: &str,
) -> Result<()> {
    let detail = format!("{} {}", package.package_name()?, package.id);
    rights(batch, stream_of_owner(package.owner), caller, action, detail);
    Ok(())
}

impl Registry {
    /// A package's events in order, those after number `after` and at most `limit`, with their numbers.
    pub async fn events(&self, grant: &Grant<Pull>, after: u64, limit: usize) -> Result<Vec<(u64, Event)>> {
        let stream = stream_of(grant.target().id);
        let from = stream.clone().with(&after.to_be_bytes());
        let mut events = Vec::new();
        for (key, value) in self.meta.scan(&stream, Some(&from), limit).await? {
            let number = key.bytes.last_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes));
            let number = number.ok_or_else(|| Error::internal("an event's key has no number"))?;
            events.push((number, read(&value)?));
        }
        self.still(grant).await?;
        Ok(events)
    }
}
