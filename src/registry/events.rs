//! What happened, in the batch in which it happened.

use super::Registry;
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
    let caller = grant.caller();
    let event = Event {
        action: action.to_owned(),
        at: caller.at.0,
        by: caller.actor.to_string(),
        request: caller.request.to_string(),
        digest: digest.map(ToString::to_string),
        tag: tag.map(ToString::to_string),
        detail: None,
    };
    batch.append(stream_of(grant.target().id), super::records::to_json(1, &event));
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
            events.push((number, super::records::from_json(1, &value, "event")?));
        }
        Ok(events)
    }
}
