//! What happened, to what, by whom: written in the same batch as the change, read in order later.

use serde::{Deserialize, Serialize};

use super::{OwnerId, PackageId};

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

/// One thing done; a request may do several in one batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deed {
    /// What was done, e.g. `manifest.put`.
    pub action: String,
    /// The manifest's digest, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The tag, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Anything else worth keeping: ids and words, never a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// A row of the audit log: what one request did to one thing, or was refused. Who, by which credential, from where, when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Milliseconds since the epoch.
    pub at: u64,
    /// Who: the principal in words, as in [`Event`].
    pub by: String,
    /// The request.
    pub request: String,
    /// In whose log it is: the owner of the thing at that time, or [`OwnerId::INSTALLATION`].
    pub owner: OwnerId,
    /// The package it is about, where the row is in another stream than the package's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<PackageId>,
    /// By which credential: `token:<id>`, `password`, `bearer` before it when a short token made from it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// The client's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The reason code, if it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied: Option<String>,
    /// What was asked for, where that has no id: the method and the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// Whether it is the installation's own business too: accounts made, suspended, removed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub system: bool,
    /// What was done, in order; never empty.
    pub did: Vec<Deed>,
}

impl Entry {
    /// What was done, each thing alone.
    pub fn events(&self) -> impl Iterator<Item = Event> + '_ {
        self.did.iter().map(|deed| Event {
            action: deed.action.clone(),
            at: self.at,
            by: self.by.clone(),
            request: self.request.clone(),
            digest: deed.digest.clone(),
            tag: deed.tag.clone(),
            detail: deed.detail.clone(),
        })
    }

    /// The action of a read that is on record, where reads are.
    pub const PULL: &'static str = "package.pull";
}
