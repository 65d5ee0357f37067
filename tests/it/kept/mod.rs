//! What is deleted can be restored for a while, and what goes for good takes nothing along that is still needed.

mod commands;
mod immutable;
mod model;
mod packages;
mod races;
mod retention;
mod store;

use std::sync::Arc;

use packhouse::{
    auth::{Action, Caller, Delete, Grant, PackageTarget, Publish, Push, Restore},
    error::Result,
    model::{Digest, OwnerName, PackageName, Reference, Tag, Timestamp},
    registry::{Chunk, PutManifest, Registry, Settings, accounts::NewUser, generated_password},
    store::memory::MemoryBlobs,
};
use serde_json::Value;

use crate::support::content;
use store::Watched;

/// In a future that uploads, which look at the clock themselves, do not meet.
pub const START: Timestamp = Timestamp(4_000_000_000_000);
/// How long deleted things are kept here, and leases last, in seconds.
pub const KEEP: u64 = 100;
pub const LEASE: u64 = 10;
/// What the world's packages hold: images by their blobs, indexes by their children.
pub const PATH: &str = "ada/app";

/// An installation in memory with a user, whose clock the test winds.
pub struct World {
    pub registry: Registry,
    pub meta: Arc<Watched>,
    pub now: Timestamp,
}

impl World {
    /// `seed` chooses how requests that run at once are woven; 0 weaves nothing.
    pub async fn new(seed: u64) -> Self {
        let meta = Arc::new(Watched::new(seed));
        let settings = Settings { keep_deleted: KEEP, lease_ttl: LEASE, ..Settings::default() };
        let blobs = Arc::new(MemoryBlobs::new());
        let registry = Registry::open(Arc::clone(&meta) as _, blobs, settings).unwrap();
        registry.initialize(START, &generated_password().unwrap()).await.unwrap();
        let world = Self { registry, meta, now: START };
        let grant = world.registry.policy().authorize_system(&world.caller()).unwrap();
        let user = NewUser { name: &OwnerName::parse("ada").unwrap(), administrator: false, password: None };
        world.registry.create_user(&grant, user).await.unwrap();
        world
    }

    pub fn caller(&self) -> Caller {
        Caller::operator(self.now, "test".into())
    }

    pub fn job(&self) -> Caller {
        Caller::job("test", self.now, "test".into())
    }

    pub fn wind(&mut self, seconds: u64) {
        self.now = self.now.plus_seconds(seconds);
    }

    pub async fn may<A: Action<Target = PackageTarget>>(&self) -> Result<Grant<A>> {
        self.registry.policy().authorize(&self.caller(), &path()).await
    }

    pub async fn may_restore_package(&self) -> Result<Grant<Restore>> {
        self.registry.policy().authorize_deleted(&self.caller(), &path(), None).await
    }

    pub async fn publish(&self) -> Result<Grant<Push>> {
        match self.registry.policy().authorize_publish(&self.caller(), &path()).await? {
            Publish::Existing(grant) => Ok(grant),
            Publish::New(grant) => {
                self.registry.allocate(&grant, &path()).await?;
                self.may::<Push>().await
            }
        }
    }

    pub async fn push_blob(&self, bytes: &[u8]) -> Result<()> {
        let grant = self.publish().await?;
        let owned = bytes::Bytes::copy_from_slice(bytes);
        let stream = Box::pin(futures_util::stream::once(async move { Ok(owned) }));
        let chunk = Chunk { at: None, length: Some(bytes.len() as u64), bytes: stream };
        self.registry.put_blob(grant, chunk, Digest::sha256(bytes)).await.map(|_| ())
    }

    /// Puts a manifest under its digest, and tags.
    pub async fn put(&self, manifest: &Value, tags: &[&str]) -> Result<()> {
        let grant = self.publish().await?;
        let put = PutManifest {
            reference: Reference::Digest(digest_of(manifest)),
            tags: tags.iter().map(|tag| Tag::parse(tag).unwrap()).collect(),
            content_type: manifest["mediaType"].as_str().map(str::to_owned),
            condition: Default::default(),
            bytes: content::bytes(manifest).into(),
        };
        self.registry.put_manifest(&grant, put).await.map(|_| ())
    }

    pub async fn delete(&self, manifest: &Value) -> Result<()> {
        self.registry.delete_manifest(&self.may::<Delete>().await?, &digest_of(manifest)).await
    }

    pub async fn delete_tag(&self, tag: &str) -> Result<()> {
        self.registry.delete_tag(&self.may::<Delete>().await?, &Tag::parse(tag).unwrap()).await
    }

    pub async fn restore(&self, manifest: &Value) -> Result<packhouse::registry::Restored> {
        self.registry.restore_manifest(&self.may::<Restore>().await?, &digest_of(manifest)).await
    }

    pub async fn restore_tag(&self, tag: &str) -> Result<packhouse::registry::Restored> {
        self.registry.restore_tag(&self.may::<Restore>().await?, &Tag::parse(tag).unwrap()).await
    }

    pub async fn delete_package(&self) -> Result<()> {
        self.registry.delete_package(&self.may::<Delete>().await?).await
    }

    pub async fn restore_package(&self) -> Result<()> {
        self.registry.restore_package(&self.may_restore_package().await?).await
    }

    /// Steps of the job until nothing is left for now; a step that does a little each time must come to an end.
    pub async fn purge(&self) {
        for _ in 0..1000 {
            if self.registry.purge_deleted(&self.job(), 3).await.unwrap() == 0 {
                return;
            }
        }
        panic!("the job does not come to an end");
    }
}

pub fn path() -> PackageName {
    PackageName::parse(PATH).unwrap()
}

pub fn digest_of(manifest: &Value) -> Digest {
    Digest::sha256(&content::bytes(manifest))
}

/// A blob of the test's world.
pub fn blob(number: u8) -> Vec<u8> {
    vec![number; 30]
}

/// The manifests of the test's world: four images that share blobs, indexes over them, an index of an index, a signature.
pub fn manifests() -> Vec<Value> {
    let image = |config: u8, layers: &[u8]| {
        let layers: Vec<Vec<u8>> = layers.iter().map(|number| blob(*number)).collect();
        let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
        content::image(&blob(config), &layers)
    };
    let images = [image(0, &[1, 2]), image(0, &[2, 3]), image(3, &[1]), image(4, &[])];
    let first = content::index(&[&images[0], &images[1]]);
    let second = content::index(&[&images[1], &images[2]]);
    let outer = content::index(&[&first, &images[3]]);
    let mut signature = image(4, &[3]);
    signature["subject"] = content::descriptor(content::OCI_MANIFEST, &content::bytes(&images[0]));
    let mut all = images.to_vec();
    all.extend([first, second, outer, signature]);
    all
}

/// The blobs that a manifest of the world names.
pub fn blobs_of(manifest: &Value) -> Vec<Vec<u8>> {
    let named = manifest["layers"].as_array().into_iter().flatten().chain(manifest.get("config"));
    let digests: Vec<String> = named.map(|blob| blob["digest"].as_str().unwrap().to_owned()).collect();
    (0..8).map(blob).filter(|bytes| digests.contains(&content::sha256(bytes))).collect()
}
