//! Looking after stored bytes.

use serde::{Deserialize, Serialize};

use super::value::{Span, Speed};

/// Looking after stored bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scrub {
    /// Bytes per second that are read and hashed in the background, to find what the disk has damaged; 0 turns it off.
    pub rate: Speed,
    /// How often everything is read. A round that takes longer is followed by the next at once.
    pub every: Span,
    /// Whether a download of a whole blob is hashed on its way, and broken off before its end if it is damaged.
    pub verify_reads: bool,
    /// How long bytes that nothing points at are kept: what an upload left behind when the machine went down.
    pub orphan_grace: Span,
}

impl Default for Scrub {
    fn default() -> Self {
        Self {
            rate: Speed(4 << 20),
            every: Span::seconds(7 * 24 * 3600),
            verify_reads: false,
            orphan_grace: Span::seconds(24 * 3600),
        }
    }
}
