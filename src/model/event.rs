//! What happened, to what, by whom: written in the same batch as the change, read in order later.

use serde::{Deserialize, Serialize};

/// One immutable fact. Ids, not names: a renamed thing keeps its history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What was done, e.g. `manifest.put`.
    pub action: String,
    /// Milliseconds since the epoch.
    pub at: u64,
    /// Who did it: the principal in words (`user:<id>`, `operator`, `job:<name>`).
    pub by: String,
    /// The request it came from.
    pub request: String,
    /// The manifest's digest, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The tag, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Anything else worth keeping (a role, a visibility).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
