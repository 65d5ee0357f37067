//! Issuers as they are configured.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, What};

/// In whose words an issuer's tokens speak of jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IssuerKind {
    /// GitHub Actions.
    #[default]
    Github,
    /// GitLab CI.
    Gitlab,
    /// Gitea and Forgejo Actions.
    Gitea,
    /// Any other; the claim that names the repository is given.
    Custom,
}

/// The names of the claims that say which job a token is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimNames<'a> {
    /// The repository's id, which never changes nor comes again.
    pub repository: &'a str,
    /// Its owner's id.
    pub owner: Option<&'a str>,
    /// The branch or tag.
    pub reference: Option<&'a str>,
    /// The workflow's file.
    pub workflow: Option<&'a str>,
    /// The environment that the job was let into.
    pub environment: Option<&'a str>,
    /// What started the job.
    pub event: Option<&'a str>,
    /// Events that are let in where a trust does not list them: none that runs with what a stranger wrote.
    pub events: &'a [&'a str],
}

/// An issuer whose tokens can be exchanged.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Issuer {
    /// Its address, exactly as its tokens write it (`iss`). Over https, or on loopback.
    pub url: String,
    /// What its tokens must be for (`aud`), exactly: an address of this registry.
    pub audience: String,
    /// In whose words its tokens speak.
    pub kind: IssuerKind,
    /// For a custom one: the claim that holds the repository's immutable id.
    pub repository_claim: String,
}

impl Issuer {
    /// What its claims are named.
    pub fn names(&self) -> ClaimNames<'_> {
        match self.kind {
            IssuerKind::Github | IssuerKind::Gitea => ClaimNames {
                repository: "repository_id",
                owner: Some("repository_owner_id"),
                reference: Some("ref"),
                workflow: Some("workflow_ref"),
                environment: Some("environment"),
                event: Some("event_name"),
                events: &["push", "release", "schedule", "workflow_dispatch"],
            },
            IssuerKind::Gitlab => ClaimNames {
                repository: "project_id",
                owner: Some("namespace_id"),
                reference: Some("ref"),
                workflow: Some("ci_config_ref_uri"),
                environment: Some("environment"),
                event: Some("pipeline_source"),
                events: &["push", "schedule", "web"],
            },
            IssuerKind::Custom => ClaimNames {
                repository: &self.repository_claim,
                owner: None,
                reference: Some("ref"),
                workflow: None,
                environment: Some("environment"),
                event: None,
                events: &[],
            },
        }
    }

    /// Whether it can be used.
    ///
    /// # Errors
    /// Invalid, saying what is wrong.
    pub fn check(&self) -> Result<()> {
        let refuse =
            |why: &str| Err(Error::invalid(What::Request, format!("the OIDC issuer {:?} {why}", self.url)));
        let Some(url) = Address::parse(&self.url) else {
            return refuse("is no address like https://HOST[:PORT][/PATH]");
        };
        if !url.tls && !url.is_loopback() {
            return refuse("is neither https nor on loopback");
        }
        if self.audience.is_empty() {
            return refuse("needs an audience: what its tokens must be for");
        }
        if (self.kind == IssuerKind::Custom) == self.repository_claim.is_empty() {
            return refuse("needs repository_claim if its kind is custom, and takes none otherwise");
        }
        Ok(())
    }
}

/// An address of an issuer: `http[s]://HOST[:PORT][/PATH]`, nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Encrypted.
    pub tls: bool,
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The path, with the query if there is one.
    pub path: String,
}

impl Address {
    /// Reads an address.
    pub fn parse(text: &str) -> Option<Self> {
        let uri: http::Uri = text.parse().ok()?;
        let tls = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = uri.authority()?;
        // Nobody signs in by an address, and a fragment is not sent.
        if authority.as_str().contains('@') || text.contains('#') {
            return None;
        }
        let host = authority.host().to_ascii_lowercase();
        let port = match authority.port_u16() {
            Some(port) => port,
            None if authority.as_str().ends_with(']') || !authority.as_str().contains(':') => {
                if tls {
                    443
                } else {
                    80
                }
            }
            None => return None,
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        (!host.is_empty()).then_some(Self { tls, host, port, path })
    }

    /// Whether it is this machine.
    pub fn is_loopback(&self) -> bool {
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// Whether another is served by the same: same encryption, host and port.
    pub fn same_origin(&self, other: &Self) -> bool {
        (self.tls, &self.host, self.port) == (other.tls, &other.host, other.port)
    }
}
