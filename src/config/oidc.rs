//! Issuers whose tokens can be exchanged for workflow tokens.

use serde::{Deserialize, Serialize};

use super::value;
use crate::auth::Issuer;

/// Issuers whose tokens can be exchanged for workflow tokens.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Oidc {
    /// PEM file of the certificates that issuers' servers are trusted by; without one the system's.
    #[serde(with = "value::unset")]
    pub ca_file: Option<String>,
    /// The issuers.
    pub issuers: Vec<Issuer>,
}
