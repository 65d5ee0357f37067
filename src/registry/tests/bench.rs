//! A registry over stores with faults, that can be restarted, cut off from power, and looked at through its doors.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use futures_util::TryStreamExt as _;

use crate::{
    auth::{Action, Actor, Caller, Grant, Operate, PackageTarget, Publish, Pull, Push},
    error::{Error, Kind, Result},
    model::{Digest, OwnerId, OwnerName, PackageName, PhysicalKey, Reference, Tag, Timestamp},
    registry::{
        BlobHead, Chunk, Collected, PutManifest, Registry, Settings, accounts::NewUser, generated_password,
    },
    store::{
        Key, MetadataStore as _,
        faulty::{Faults, FaultyBlobs, FaultyMeta},
        memory::{MemoryBlobs, MemoryStore},
    },
};

/// The packages of the tests.
pub(super) const APP: &str = "acme/app";
pub(super) const LIB: &str = "acme/lib";
pub(super) const NEW: &str = "acme/new";
pub(super) const OLD: &str = "acme/old";

/// Bytes that differ for each seed.
pub(super) fn noise(seed: u64, length: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}

/// Bytes in pieces, as a connection gives them.
pub(super) fn chunk(bytes: &Bytes, at: Option<u64>) -> Chunk {
    let half = bytes.len() / 2;
    let pieces = [bytes.slice(..half), bytes.slice(half..)].map(Ok);
    let length = Some(bytes.len() as u64);
    Chunk { at, length, bytes: Box::pin(futures_util::stream::iter(pieces)) }
}

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn descriptor(media_type: &str, bytes: &Bytes) -> serde_json::Value {
    serde_json::json!({"mediaType": media_type, "digest": Digest::sha256(bytes).to_string(), "size": bytes.len()})
}

/// An image over a config and layers.
pub(super) fn image(config: &Bytes, layers: &[&Bytes]) -> Bytes {
    let layer = |bytes: &&Bytes| descriptor("application/vnd.oci.image.layer.v1.tar", bytes);
    let json = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "config": descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": layers.iter().map(layer).collect::<Vec<_>>(),
    });
    serde_json::to_vec(&json).unwrap().into()
}

/// An index over images.
pub(super) fn index(children: &[&Bytes]) -> Bytes {
    let children: Vec<_> = children.iter().map(|child| descriptor(IMAGE, child)).collect();
    let json = serde_json::json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": children});
    serde_json::to_vec(&json).unwrap().into()
}

/// A signature of something: an image with a subject.
pub(super) fn referrer(subject: &Bytes, config: &Bytes) -> Bytes {
    let mut json: serde_json::Value = serde_json::from_slice(&image(config, &[])).unwrap();
    json["subject"] = descriptor(IMAGE, subject);
    json["artifactType"] = "application/vnd.test.signature".into();
    json["annotations"] = serde_json::json!({"by": "ada"});
    serde_json::to_vec(&json).unwrap().into()
}

/// A put under a tag or, without one, under the digest.
pub(super) fn put(bytes: &Bytes, tag: Option<&str>) -> PutManifest {
    let reference = match tag {
        Some(tag) => Reference::Tag(Tag::parse(tag).unwrap()),
        None => Reference::Digest(Digest::sha256(bytes)),
    };
    let is_index = std::str::from_utf8(bytes).is_ok_and(|text| text.contains(r#""manifests""#));
    let content_type = Some(if is_index { INDEX } else { IMAGE }.to_owned());
    PutManifest {
        reference,
        tags: Vec::new(),
        content_type,
        condition: Default::default(),
        bytes: bytes.clone(),
    }
}

/// One installation: the organization acme, and ada who may do everything in it.
pub(super) struct World {
    pub(super) registry: Registry,
    pub(super) meta: Arc<MemoryStore>,
    pub(super) blobs: Arc<MemoryBlobs>,
    pub(super) faults: Arc<Faults>,
    pub(super) at: Timestamp,
    ada: OwnerId,
    pub(super) settings: Settings,
    /// Everything that was ever pushed or named.
    pub(super) known: BTreeSet<Digest>,
}

/// What a package shows through its doors. No times, no numbers that are drawn by lot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Shown {
    pub(super) tags: BTreeMap<String, Digest>,
    pub(super) manifests: BTreeSet<Digest>,
    pub(super) blobs: BTreeMap<Digest, u64>,
    pub(super) referrers: BTreeSet<(Digest, Digest)>,
    pub(super) events: Vec<(String, Option<String>, Option<String>)>,
}

/// What the registry shows: its packages by name.
pub(super) type Seen = BTreeMap<&'static str, Option<Shown>>;

impl World {
    pub(super) async fn new(settings: Settings) -> Self {
        let (meta, blobs) = (Arc::new(MemoryStore::new()), Arc::new(MemoryBlobs::new()));
        let at = Timestamp::now();
        let mut world = Self::over(meta, blobs, settings, at, OwnerId(0));
        let registry = &world.registry;
        registry.initialize(at, &generated_password().unwrap()).await.unwrap();
        let operator = Caller::operator(at, "test".into());
        let operate = registry.policy().authorize_system::<Operate>(&operator).unwrap();
        let name = OwnerName::parse("ada").unwrap();
        let user = NewUser { name: &name, administrator: false, password: None };
        let ada = registry.create_user(&operate, user).await.unwrap();
        registry.create_organization(&operate, &OwnerName::parse("acme").unwrap(), "ada").await.unwrap();
        world.ada = ada;
        world
    }

    fn over(
        meta: Arc<MemoryStore>,
        blobs: Arc<MemoryBlobs>,
        settings: Settings,
        at: Timestamp,
        ada: OwnerId,
    ) -> Self {
        let faults = Arc::new(Faults::default());
        let with_faults = FaultyMeta::new(Arc::clone(&meta) as _, Arc::clone(&faults));
        let bytes_with_faults = FaultyBlobs::new(Arc::clone(&blobs) as _, Arc::clone(&faults));
        let registry =
            Registry::open(Arc::new(with_faults), Arc::new(bytes_with_faults), settings.clone()).unwrap();
        Self { registry, meta, blobs, faults, at, ada, settings, known: BTreeSet::new() }
    }

    /// Says that a digest may show from now on.
    pub(super) fn know(&mut self, bytes: &[&Bytes]) {
        self.known.extend(bytes.iter().map(|bytes| Digest::sha256(bytes)));
    }

    fn fork_of(&self, meta: MemoryStore, blobs: MemoryBlobs) -> Self {
        let mut fork = Self::over(Arc::new(meta), Arc::new(blobs), self.settings.clone(), self.at, self.ada);
        fork.known.clone_from(&self.known);
        fork
    }

    /// Another start of the daemon over a copy of what is stored; what this one does later does not show there.
    pub(super) fn restarted(&self) -> Self {
        self.fork_of(self.meta.fork(), self.blobs.fork())
    }

    /// The next start after a power cut that took the last `lost` batches, none of which was synced, and perhaps the
    /// names of unpublished uploads. `base` is what was stored when the faults began to count.
    pub(super) async fn after_a_power_cut(&self, base: &Self, lost: usize, names: bool) -> Self {
        let history = self.faults.history();
        let meta = base.meta.fork();
        for batch in &history[..history.len() - lost] {
            meta.commit(batch.clone()).await.unwrap();
        }
        let blobs = self.blobs.fork();
        if names {
            blobs.lose_uploads();
        }
        self.fork_of(meta, blobs)
    }

    /// How many of the last batches a power cut may take.
    pub(super) fn unsynced(&self) -> usize {
        self.faults.history().iter().rev().take_while(|batch| batch.lazy).count()
    }

    pub(super) fn ada(&self) -> Caller {
        let caller = Caller::anonymous(self.at, "test".into());
        Caller { actor: Actor::User(self.ada), sign_in: Some(0), ..caller }
    }

    pub(super) async fn grant<A: Action<Target = PackageTarget>>(&self, name: &str) -> Result<Grant<A>> {
        self.registry.policy().authorize(&self.ada(), &PackageName::parse(name)?).await
    }

    /// The right to push, allocating the package if need be.
    pub(super) async fn pusher(&self, name: &str) -> Result<Grant<Push>> {
        let parsed = PackageName::parse(name)?;
        match self.registry.policy().authorize_publish(&self.ada(), &parsed).await? {
            Publish::Existing(grant) => Ok(grant),
            Publish::New(grant) => {
                self.registry.allocate(&grant, &parsed).await?;
                self.grant(name).await
            }
        }
    }

    pub(super) async fn push(&self, name: &str, bytes: &Bytes) -> Result<()> {
        let grant = self.pusher(name).await?;
        self.registry.put_blob(grant, chunk(bytes, None), Digest::sha256(bytes)).await.map(|_| ())
    }

    pub(super) async fn put(&self, name: &str, bytes: &Bytes, tag: Option<&str>) -> Result<()> {
        let grant = self.pusher(name).await?;
        self.registry.put_manifest(&grant, put(bytes, tag)).await.map(|_| ())
    }

    /// Everything that can be seen through the doors; what is read is hashed.
    pub(super) async fn seen(&self) -> Seen {
        let mut seen = Seen::new();
        for name in [APP, LIB, NEW, OLD] {
            let shown = match self.grant::<Pull>(name).await {
                Ok(grant) => Some(self.shown(&grant).await.unwrap()),
                Err(error) if matches!(error.kind(), Kind::NotFound(_)) => None,
                Err(error) => panic!("{name}: {error}"),
            };
            // A package without a manifest that nobody lists is as good as none.
            seen.insert(name, shown.filter(|shown| *shown != Shown::default()));
        }
        seen
    }

    pub(super) async fn shown(&self, grant: &Grant<Pull>) -> Result<Shown> {
        let mut shown = Shown::default();
        for tag in self.registry.tags(grant, None, 1000).await? {
            let head = self.registry.stat_manifest(grant, &Reference::Tag(Tag::parse(&tag)?)).await?;
            assert!(self.known.contains(&head.digest), "{tag} names {} that nobody pushed", head.digest);
            shown.tags.insert(tag, head.digest);
        }
        for digest in &self.known {
            match self.registry.stat_manifest(grant, &Reference::Digest(*digest)).await {
                Ok(head) => {
                    let bytes = self.registry.manifest_bytes(grant, &head).await?;
                    assert_eq!((Digest::sha256(&bytes), bytes.len() as u64), (*digest, head.size));
                    shown.manifests.insert(*digest);
                }
                Err(error) => assert!(matches!(error.kind(), Kind::NotFound(_)), "{error}"),
            }
            match self.registry.stat_blob(grant, digest).await {
                Ok(BlobHead { size, .. }) => {
                    let blob = self.registry.blob(grant, digest).await?;
                    let bytes: Vec<Bytes> = blob.stream(0, size).try_collect().await?;
                    assert_eq!(Digest::sha256(&bytes.concat()), *digest);
                    shown.blobs.insert(*digest, size);
                }
                Err(error) => assert!(matches!(error.kind(), Kind::NotFound(_)), "{error}"),
            }
            let referrers = self.registry.referrers(grant, digest, &[], None).await?;
            shown.referrers.extend(referrers.list.iter().map(|referrer| (*digest, referrer.digest)));
        }
        for (_, event) in self.registry.events(grant, 0, 1000).await? {
            shown.events.push((event.action, event.digest, event.tag));
        }
        Ok(shown)
    }

    /// Everything stored, under the doors.
    pub(super) fn stored(&self) -> Stored {
        let (uploads, published) = self.blobs.everything();
        Stored { keys: self.meta.everything(), uploads, published }
    }

    /// Ends what is open and forgets what is due, some years later. Leases are over then.
    pub(super) async fn years_later(&self) -> Result<()> {
        self.registry.sweep_uploads().await?;
        let later = self.at.plus_seconds(10 * 365 * 24 * 3600);
        self.registry.expire_uploads(later, 1000).await?;
        self.registry.expire_unused(later).await?;
        self.registry.purge(later, None, 1000, &mut Collected::default()).await?;
        Ok(())
    }
}

/// Raw keys and raw bytes.
pub(super) struct Stored {
    pub(super) keys: BTreeMap<Key, Bytes>,
    pub(super) uploads: BTreeMap<PhysicalKey, Bytes>,
    pub(super) published: BTreeMap<PhysicalKey, Bytes>,
}

/// Whether a failure says that the thing was not there.
pub(super) fn is_gone(error: &Error) -> bool {
    matches!(error.kind(), Kind::NotFound(_))
}
