//! Pins: what a backup under way keeps from being purged.

use bytes::Bytes;

use super::{meta, tag};
use crate::{model::Timestamp, store::Key};

/// The prefix of all pins.
pub(crate) fn pins() -> Key {
    meta(tag::PIN)
}

/// Where a pin is stored.
pub(crate) fn pin_key(id: [u8; 16]) -> Key {
    pins().with(&id)
}

/// A pin's value: when it ends by itself.
pub(crate) fn pin_value(ends: Timestamp) -> Bytes {
    Bytes::copy_from_slice(&ends.0.to_be_bytes())
}

/// Reads a pin's value.
pub(crate) fn pin_ends(value: &[u8]) -> Option<Timestamp> {
    value.try_into().ok().map(|bytes| Timestamp(u64::from_be_bytes(bytes)))
}
