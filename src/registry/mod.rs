//! The domain: packages, manifests, tags, uploads, people, permissions. Every door asks for a grant and takes its
//! address from it; lists take a caller and filter inside. Knows no HTTP and no protocol's words.

pub mod accounts;
mod audit;
mod backup;
mod blobs;
pub mod bootstrap;
mod clock;
mod collect;
mod directory_views;
mod events;
pub mod exchange;
mod explain;
pub mod factors;
mod facts;
pub mod fsck;
mod groups;
mod holds;
mod hot;
mod limits;
mod lists;
mod manifests;
pub mod names;
mod orphans;
mod overview;
pub(crate) mod packages;
pub mod permissions;
mod policies;
mod profiles;
mod purge;
pub mod records;
mod referrers;
mod removal;
pub mod repositories;
mod repository_views;
mod restore;
pub mod retention;
pub(crate) mod revisions;
pub mod robots;
pub mod scrub;
mod status;
pub mod teams;
#[cfg(test)]
pub(crate) mod tests;
pub mod tokens;
mod upgrade;
mod uploads;
mod versions;

use std::{
    pin::Pin,
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::Duration,
};

use bytes::Bytes;
use futures_util::Stream;

pub use crate::store::backup::{Notes, check as check_backup};
pub use audit::{AuditPage, AuditQuery, AuditRow, Told};
pub use backup::BackedUp;
pub use blobs::{Blob, BlobHead};
pub use bootstrap::{FIRST_USER, FirstUser, generated_password};
pub use clock::{Clocks, MachineClocks, Reading, Time, Trust};
pub use collect::{Collected, CollectionFigures, CollectionState, Doomed, DryRun, Slice};
pub use directory_views::TeamView;
pub use explain::{Explained, Question};
pub use facts::Directory;
pub use limits::NamedLimits;
pub use lists::Packages;
pub use manifests::{Condition, ManifestHead, PutManifest, Stored};
pub use overview::{PackageView, Shelf, Window};
pub use policies::Rules;
pub use profiles::{OwnerSettings, Profile};
pub use referrers::{Referrer, Referrers};
pub use repository_views::RepositoryView;
pub use restore::Restored;
pub use uploads::{Chunk, INLINE_MAX};
pub use versions::{DeletedPackage, Version, Versions};

use crate::{
    auth::{Authenticator, Issuers, Passwords, Policy},
    error::Result,
    model::id,
    store::{BlobStore, Buffers, MetadataStore},
};

/// Bytes as they come.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>;

/// The registry over its two stores. Cheap to clone: every clone is the same registry.
#[derive(Clone)]
pub struct Registry {
    pub(crate) meta: Arc<dyn MetadataStore>,
    pub(crate) blobs: Arc<dyn BlobStore>,
    settings: Arc<RwLock<Arc<Settings>>>,
    anonymous_reads: bool,
    pub(crate) directory: Arc<Directory>,
    pub(crate) policy: Policy,
    pub(crate) passwords: Arc<Passwords>,
    /// Told apart from earlier starts of the daemon, whose unsynced bytes may be gone.
    pub(crate) start: u64,
    pub(crate) sessions: Arc<uploads::Sessions>,
    pub(crate) hot: Arc<hot::Hot>,
    pub(crate) buffers: Arc<Buffers>,
    retained: Arc<retention::Cursor>,
    pub(crate) counted: overview::Counted,
    pub(crate) collection: Arc<collect::Collection>,
    pub(crate) scrubbing: Arc<scrub::Scrubbing>,
    pub(crate) sweeping: Arc<orphans::Sweeping>,
    clock: Arc<clock::Clock>,
    teller: Arc<audit::Teller>,
    /// Whose tokens can be exchanged; set once, when the daemon starts.
    issuers: Arc<OnceLock<Issuers>>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Registry")
    }
}

impl Registry {
    /// Opens the registry over its stores.
    pub fn open(meta: Arc<dyn MetadataStore>, blobs: Arc<dyn BlobStore>, settings: Settings) -> Result<Self> {
        Self::with_clocks(meta, blobs, settings, Box::new(MachineClocks))
    }

    /// The same, by other clocks.
    pub fn with_clocks(
        meta: Arc<dyn MetadataStore>,
        blobs: Arc<dyn BlobStore>,
        settings: Settings,
        clocks: Box<dyn Clocks>,
    ) -> Result<Self> {
        let directory = Arc::new(Directory::new(Arc::clone(&meta), settings.anonymous_reads));
        Ok(Self {
            meta,
            blobs,
            policy: Policy::new(Arc::clone(&directory) as _),
            directory,
            passwords: Arc::new(Passwords::new()?),
            start: u64::from_be_bytes(id::random()?),
            sessions: Arc::default(),
            retained: Arc::default(),
            counted: overview::Counted::default(),
            hot: Arc::new(hot::Hot::new(settings.hot_memory)),
            buffers: Buffers::new(usize::try_from(settings.transfer_memory).unwrap_or(usize::MAX)),
            collection: Arc::default(),
            scrubbing: Arc::default(),
            sweeping: Arc::default(),
            teller: Arc::default(),
            clock: Arc::new(clock::Clock::new(clocks)),
            issuers: Arc::default(),
            anonymous_reads: settings.anonymous_reads,
            settings: Arc::new(RwLock::new(Arc::new(settings))),
        })
    }

    /// Who may do what here.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Who is who here.
    pub fn authenticator(&self) -> Authenticator {
        Authenticator::new(Arc::clone(&self.directory) as _, Arc::clone(&self.passwords))
    }

    /// Whether anonymous callers may read public packages at all.
    pub fn anonymous_reads(&self) -> bool {
        self.anonymous_reads
    }

    /// The settings in force.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts other settings in force, for what begins from now on. The memory budgets and anonymous reading, which caches
    /// were built on, stay what they were when the registry was opened.
    pub fn set_settings(&self, settings: Settings) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    /// How often collection looks for work while it has none.
    pub fn collect_every(&self) -> Duration {
        self.settings().collect_every
    }

    /// Whether the registry takes no changes now.
    pub fn read_only(&self) -> bool {
        self.settings().read_only
    }

    /// Largest blob taken, in bytes.
    pub fn max_blob(&self) -> u64 {
        self.settings().max_blob
    }

    /// Largest manifest taken, in bytes.
    pub fn max_manifest(&self) -> u64 {
        self.settings().max_manifest
    }
}

/// Which missing children an index may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sparse {
    /// None.
    Off,
    /// An index may name manifests that are not here.
    Indexes,
    /// Any manifest may name anything that is not here.
    All,
}

/// Settings and limits of the domain.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which missing children an index may name.
    pub sparse: Sparse,
    /// Whether anonymous callers may read public packages at all.
    pub anonymous_reads: bool,
    /// Whether pushes and deletes are refused, for maintenance.
    pub read_only: bool,
    /// Largest blob, in bytes.
    pub max_blob: u64,
    /// Largest manifest, in bytes.
    pub max_manifest: u64,
    /// Most descriptors in one manifest.
    pub max_descriptors: usize,
    /// Open upload sessions a caller may have.
    pub max_sessions: u64,
    /// Packages without a manifest an owner may have.
    pub max_pending: u64,
    /// How long an upload session lives after its last chunk, in seconds.
    pub session_ttl: u64,
    /// Longest time from the first to the last byte of one upload, in seconds.
    pub max_upload_time: u64,
    /// How long an uploaded or mounted blob is kept for the manifest that will name it, in seconds.
    pub lease_ttl: u64,
    /// Whether what nothing holds is collected by itself.
    pub collect: bool,
    /// How often collection looks for work while it has none.
    pub collect_every: Duration,
    /// Reviews and deletions of files a second; 0 for no limit.
    pub collect_rate: u32,
    /// How long a collected blob's bytes stay in the trash, in seconds.
    pub trash_grace: u64,
    /// How long what was deleted can be restored, in seconds.
    pub keep_deleted: u64,
    /// Free bytes below which uploads are refused.
    pub space_reserve: u64,
    /// Bytes per second that are hashed in the background; 0 for none.
    pub scrub_rate: u64,
    /// How often all of them are, in seconds.
    pub scrub_every: u64,
    /// Whether whole blobs are hashed while they are read.
    pub verify_reads: bool,
    /// How long bytes that nothing points at are kept, in seconds.
    pub orphan_grace: u64,
    /// How long rows of the audit log are kept, in seconds; 0 for ever.
    pub audit_keep: u64,
    /// Whether reads are on record too.
    pub audit_reads: bool,
    /// How far the clock may be from what it should show, in seconds.
    pub clock_drift: u64,
    /// How long the machine may have been off, in seconds; a clock further ahead after its restart is not believed.
    pub clock_away: u64,
    /// Bytes of memory for hot blobs and manifests.
    pub hot_memory: u64,
    /// Bytes of memory for transfer buffers.
    pub transfer_memory: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sparse: Sparse::Indexes,
            anonymous_reads: true,
            read_only: false,
            max_blob: 10_000_000_000,
            max_manifest: 4 << 20,
            max_descriptors: 8192,
            max_sessions: 256,
            max_pending: 1000,
            session_ttl: 24 * 3600,
            max_upload_time: 24 * 3600,
            lease_ttl: 24 * 3600,
            collect: true,
            collect_every: Duration::from_secs(5),
            collect_rate: 1000,
            trash_grace: 3600,
            keep_deleted: 30 * 24 * 3600,
            space_reserve: 2 << 30,
            scrub_rate: 4 << 20,
            scrub_every: 7 * 24 * 3600,
            verify_reads: false,
            orphan_grace: 24 * 3600,
            audit_keep: 180 * 24 * 3600,
            audit_reads: false,
            clock_drift: 600,
            clock_away: 7 * 24 * 3600,
            hot_memory: 24 << 20,
            transfer_memory: 40 << 20,
        }
    }
}
