//! What changed rights, by whom: appended in the batch of the change.

use crate::{
    auth::Caller,
    model::{Event, OwnerId, PackageId},
    store::{Batch, Key, Space},
};

/// A package's stream of events.
pub(crate) fn of_package(package: PackageId) -> Key {
    Key::new(Space::Event, b'e').with(&package.bytes())
}

/// An account's stream of events.
pub(crate) fn of_owner(owner: OwnerId) -> Key {
    Key::new(Space::Event, b'o').with(&owner.bytes())
}

/// Appends what a caller did. `detail` names ids and words, never a secret.
pub(crate) fn record(batch: &mut Batch, stream: Key, caller: &Caller, action: &str, detail: String) {
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
