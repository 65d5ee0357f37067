//! The mark that the clock is compared with.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{from_json, meta, tag, to_json};
use crate::{error::Result, store::Key};

/// A time that was certain, and what else was read at that moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// Milliseconds since the epoch.
    pub(crate) at: u64,
    /// Milliseconds since the machine was started.
    pub(crate) running: u64,
    /// The name of that start of the machine; empty where the system does not tell.
    pub(crate) boot: String,
}

const VERSION: u8 = 1;

/// Where the mark is stored.
pub(crate) fn mark_key() -> Key {
    meta(tag::SETTING).with_text("clock")
}

impl Mark {
    /// The stored form.
    pub(crate) fn encode(&self) -> Bytes {
        to_json(VERSION, self)
    }

    /// Reads the stored form.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        from_json(VERSION, bytes, "mark of the clock")
    }
}
