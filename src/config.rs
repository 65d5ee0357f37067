//! What an operator sets. Every setting has a default that is safe in production; `config/example.toml` lists them all.
//!
//! Three sources, later ones winning: the file, environment variables (`PACKHOUSE_` + section + `_` + setting, in capitals:
//! `PACKHOUSE_LIMITS_LAYER_SIZE`; short: `PACKHOUSE_LISTEN`, `PACKHOUSE_EXTERNAL_URL`, `PACKHOUSE_DATA`), flags.
//! No setting is a secret: keys are named by the files that hold them.

mod check;
mod load;
mod oidc;
mod scrub;
mod value;

use std::{net::SocketAddr, path::PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use load::Overrides;
pub use oidc::Oidc;
pub use scrub::Scrub;
pub use value::{Rate, Size, Span, Speed};

use crate::registry::{Settings, Sparse};

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Addresses, TLS, log.
    pub server: Server,
    /// How callers prove who they are.
    pub auth: Auth,
    /// Issuers whose tokens can be exchanged for workflow tokens.
    pub oidc: Oidc,
    /// The OCI adapter.
    pub oci: Oci,
    /// Memory of caches and transfers.
    pub memory: Memory,
    /// Disk space.
    pub space: Space,
    /// Collection of what nothing holds.
    pub gc: Gc,
    /// Looking after stored bytes.
    pub scrub: Scrub,
    /// What was deleted.
    pub trash: Trash,
    /// The audit log.
    pub audit: Audit,
    /// The machine's clock.
    pub clock: Clock,
    /// Sizes, counts, deadlines, rates.
    pub limits: Limits,
}

/// Addresses, TLS, log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Addresses to listen on, `IP:PORT`; port 0 takes a free one. Default: loopback, port 5000.
    #[serde(with = "value::list")]
    pub listen: Vec<SocketAddr>,
    /// The address clients use, `http[s]://HOST[:PORT][/PREFIX]`. May be unset only while every listener is on loopback.
    #[serde(with = "value::unset")]
    pub external_url: Option<String>,
    /// PEM file with the certificate chain; with `tls_key` it turns TLS on for every listener. Read again when it changes.
    #[serde(with = "value::unset")]
    pub tls_cert: Option<String>,
    /// PEM file with the certificate's private key.
    #[serde(with = "value::unset")]
    pub tls_key: Option<String>,
    /// Networks of proxies whose `X-Forwarded-For` counts.
    #[serde(with = "value::list")]
    pub trusted_proxies: Vec<IpNet>,
    /// Address of the metrics page, or `off`. It has no access control: keep it inside.
    #[serde(with = "value::off")]
    pub metrics: Option<SocketAddr>,
    /// Folder of everything stored.
    pub data: PathBuf,
    /// Whether pushes and deletes are refused, for maintenance; reads go on.
    pub read_only: bool,
    /// Log lines as `text` or `json`, on standard error.
    pub log_format: LogFormat,
    /// What is logged: `error`, `warn`, `info`, `debug`, `trace`, or per module (`info,packhouse::server=debug`).
    pub log_level: String,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How callers prove who they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// What a 401 asks for: a `bearer` token from `/token`, or `basic` credentials.
    pub challenge: Challenge,
    /// Whether callers without credentials may read public packages.
    pub anonymous_reads: bool,
}

/// What a 401 asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Challenge {
    /// A token from `/token`.
    Bearer,
    /// User name and token.
    Basic,
}

/// The OCI adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Oci {
    /// Which missing children a manifest may name: `off` none, `indexes` an index may name absent manifests, `all`.
    pub sparse: Sparse,
}

/// Memory of caches and transfers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Memory {
    /// Bytes, divided 64 : 24 : 40 between the metadata engine, hot blobs and documents, and transfer buffers.
    pub budget: Size,
}

impl Memory {
    /// Bytes for the metadata engine's block cache and memtables.
    pub fn metadata(&self) -> u64 {
        self.budget.0 / 128 * 64
    }

    /// Bytes for hot blobs and documents.
    pub fn hot(&self) -> u64 {
        self.budget.0 / 128 * 24
    }

    /// Bytes for transfer buffers.
    pub fn transfers(&self) -> u64 {
        self.budget.0 / 128 * 40
    }
}

/// Disk space.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Space {
    /// Free bytes below which uploads are refused (507), so that metadata never meets a full disk.
    pub reserve: Size,
}

/// Collection of what nothing holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gc {
    /// Whether it runs by itself. `packhouse gc --now` collects in any case.
    pub enabled: bool,
    /// How often it looks for work while it has none. Read at the start.
    pub interval: Span,
    /// How long the bytes of a collected blob stay on disk: longer than any copy of the data folder takes.
    pub grace: Span,
    /// Blobs looked at and files deleted per second; 0 for no limit.
    pub rate: u32,
}

/// What was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Trash {
    /// How long deleted tags, versions and packages can be restored; a change counts for what is deleted already too.
    pub keep: Span,
}

/// The audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// How long its rows are kept; 0 for ever.
    pub keep: Span,
    /// Whether downloads and denied reads are on record, beside changes and denied writes.
    pub reads: bool,
}

/// The machine's clock. While it is off by more, nothing is deleted by time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Clock {
    /// How far it may be from what it should show.
    pub drift: Span,
    /// How long the machine may have been off: a clock further ahead after its restart waits for `packhouse clock accept`.
    pub away: Span,
}

/// Sizes, counts, deadlines, rates. A real client meets none of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Largest blob.
    pub layer_size: Size,
    /// Largest manifest.
    pub manifest_size: Size,
    /// Most descriptors in one manifest.
    pub descriptors: usize,
    /// Longest time from the first to the last byte of one upload.
    pub upload_time: Span,
    /// How long an upload session lives after its last chunk.
    pub session_ttl: Span,
    /// How long an uploaded blob is kept for the manifest that will name it.
    pub lease_ttl: Span,
    /// Open upload sessions of one caller.
    pub sessions_per_caller: u64,
    /// Packages without a manifest in one owner's name space.
    pub pending_per_owner: u64,

    /// Open connections; fewer where the system allows fewer files (a quarter of them, at most 512, stays with the store).
    pub connections: u32,
    /// Open connections of one client address; trusted proxies are exempt.
    pub connections_per_address: u32,
    /// Requests at once on one HTTP/2 connection, at most 128.
    pub http2_streams: u32,
    /// Bytes one HTTP/2 request may send ahead of its reader.
    pub http2_stream_window: Size,
    /// Bytes all requests of one HTTP/2 connection may send ahead of their readers.
    pub http2_connection_window: Size,
    /// Largest HTTP/2 frame a client may send.
    pub http2_frame: Size,
    /// Headers of one request; more get 431.
    pub headers: usize,
    /// Bytes of one request's line and headers; more get 431.
    pub header_bytes: Size,

    /// Longest TLS handshake.
    pub handshake_time: Span,
    /// Longest wait for the first request of a connection.
    pub first_request_time: Span,
    /// Longest time from the first to the last byte of a request's headers.
    pub header_time: Span,
    /// How long a connection may be idle between requests.
    pub idle_time: Span,
    /// Longest wait for the next bytes of a body.
    pub body_idle_time: Span,
    /// Bytes per second a body must bring on average, counted after a minute of waiting; 0 turns it off.
    pub body_rate: Size,
    /// Longest wait for a client that takes no bytes of an answer.
    pub write_idle_time: Span,
    /// How long a closed connection is still read, so that a client that writes everything first reads its answer.
    pub linger_time: Span,
    /// How long requests may go on after the signal to stop.
    pub drain_time: Span,

    /// Reads of one signed-in caller.
    pub identity_reads: Rate,
    /// Writes of one signed-in caller.
    pub identity_writes: Rate,
    /// Sign-ins (`/token`) with one credential.
    pub identity_sign_ins: Rate,
    /// Reads from one client address (IPv6: one /64). Loopback is exempt from this and the two below.
    pub address_reads: Rate,
    /// Writes from one client address.
    pub address_writes: Rate,
    /// Sign-ins and refused credentials from one client address.
    pub address_sign_ins: Rate,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 5000))],
            external_url: None,
            tls_cert: None,
            tls_key: None,
            trusted_proxies: Vec::new(),
            metrics: Some(SocketAddr::from(([127, 0, 0, 1], 9464))),
            data: PathBuf::from("data"),
            read_only: false,
            log_format: LogFormat::Text,
            log_level: "info".to_owned(),
        }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self { challenge: Challenge::Bearer, anonymous_reads: true }
    }
}

impl Default for Oci {
    fn default() -> Self {
        Self { sparse: Sparse::Indexes }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self { budget: Size(128 << 20) }
    }
}

impl Default for Space {
    fn default() -> Self {
        Self { reserve: Size(2 << 30) }
    }
}

impl Default for Gc {
    fn default() -> Self {
        Self { enabled: true, interval: Span::seconds(5), grace: Span::seconds(3600), rate: 1000 }
    }
}

impl Default for Trash {
    fn default() -> Self {
        Self { keep: Span::seconds(30 * 24 * 3600) }
    }
}

impl Default for Audit {
    fn default() -> Self {
        Self { keep: Span::seconds(180 * 24 * 3600), reads: false }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self { drift: Span::seconds(600), away: Span::seconds(7 * 24 * 3600) }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            layer_size: Size(10_000_000_000),
            manifest_size: Size(4 << 20),
            descriptors: 8192,
            upload_time: Span::seconds(24 * 3600),
            session_ttl: Span::seconds(24 * 3600),
            lease_ttl: Span::seconds(24 * 3600),
            sessions_per_caller: 256,
            pending_per_owner: 1000,
            connections: 8192,
            connections_per_address: 1024,
            http2_streams: 128,
            http2_stream_window: Size(4 << 20),
            http2_connection_window: Size(16 << 20),
            http2_frame: Size(256 << 10),
            headers: 100,
            header_bytes: Size(32 << 10),
            handshake_time: Span::seconds(10),
            first_request_time: Span::seconds(15),
            header_time: Span::seconds(15),
            idle_time: Span::seconds(120),
            body_idle_time: Span::seconds(60),
            body_rate: Size(1 << 10),
            write_idle_time: Span::seconds(120),
            linger_time: Span::seconds(30),
            drain_time: Span::seconds(30),
            identity_reads: Rate::Limit { per_second: 100_000, burst: 200_000 },
            identity_writes: Rate::Limit { per_second: 20_000, burst: 100_000 },
            identity_sign_ins: Rate::Limit { per_second: 100, burst: 1000 },
            address_reads: Rate::Limit { per_second: 5000, burst: 20_000 },
            address_writes: Rate::Limit { per_second: 2000, burst: 10_000 },
            address_sign_ins: Rate::Limit { per_second: 50, burst: 500 },
        }
    }
}

impl Config {
    /// The settings of the domain.
    pub fn settings(&self) -> Settings {
        Settings {
            sparse: self.oci.sparse,
            anonymous_reads: self.auth.anonymous_reads,
            read_only: self.server.read_only,
            max_blob: self.limits.layer_size.0,
            max_manifest: self.limits.manifest_size.0,
            max_descriptors: self.limits.descriptors,
            max_sessions: self.limits.sessions_per_caller,
            max_pending: self.limits.pending_per_owner,
            session_ttl: self.limits.session_ttl.0.as_secs(),
            max_upload_time: self.limits.upload_time.0.as_secs(),
            lease_ttl: self.limits.lease_ttl.0.as_secs(),
            collect: self.gc.enabled,
            collect_every: self.gc.interval.0,
            collect_rate: self.gc.rate,
            trash_grace: self.gc.grace.0.as_secs(),
            keep_deleted: self.trash.keep.0.as_secs(),
            space_reserve: self.space.reserve.0,
            scrub_rate: self.scrub.rate.0,
            scrub_every: self.scrub.every.0.as_secs(),
            verify_reads: self.scrub.verify_reads,
            orphan_grace: self.scrub.orphan_grace.0.as_secs(),
            audit_keep: self.audit.keep.0.as_secs(),
            audit_reads: self.audit.reads,
            clock_drift: self.clock.drift.0.as_secs(),
            clock_away: self.clock.away.0.as_secs(),
            hot_memory: self.memory.hot(),
            transfer_memory: self.memory.transfers(),
        }
    }

    /// The effective configuration, as a file that would give it. Nothing in it is secret.
    pub fn show(&self) -> crate::error::Result<String> {
        toml::to_string_pretty(self).map_err(crate::error::Error::internal)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use super::*;

    /// Every setting's name, with its section.
    fn names(table: &toml::Table) -> BTreeSet<String> {
        let section = |(name, value): (&String, &toml::Value)| {
            let name = name.clone();
            let settings = value.as_table().unwrap().keys().cloned();
            settings.map(move |setting| format!("{name}.{setting}")).collect::<Vec<_>>()
        };
        table.iter().flat_map(section).collect()
    }

    #[test]
    fn the_example_is_the_defaults_and_names_every_setting() {
        let example = include_str!("../config/example.toml");
        assert_eq!(toml::from_str::<Config>(example).unwrap(), Config::default());
        let defaults = toml::Table::try_from(Config::default()).unwrap();
        assert_eq!(names(&example.parse().unwrap()), names(&defaults));
    }

    #[test]
    fn the_files_we_ship_are_good() {
        for name in ["example.toml", "conformance.toml"] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
            Config::load(Some(&path), &Overrides::default()).unwrap();
        }
    }

    #[test]
    fn memory_is_divided_whole() {
        let memory = Memory { budget: Size(128 << 20) };
        let parts = [memory.metadata(), memory.hot(), memory.transfers()];
        assert_eq!(parts, [64 << 20, 24 << 20, 40 << 20]);
        assert_eq!(Config::default().settings().hot_memory, 24 << 20);
    }
}
