//! The order of pin, copy and purge.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use async_trait::async_trait;
use tokio::sync::Notify;

use super::*;
use crate::{
    auth::Caller,
    model::{Hasher, PhysicalKey},
    registry::{Collected, Settings, generated_password, records::blob::trash_key},
    store::{
        BlobStore, BlobWriter, OpenBlob, Published, RocksOptions,
        backup::{Saved, check},
        open_directory,
    },
};

/// Blobs of a folder, whose first `save` waits to be let go.
struct Gated {
    blobs: Arc<dyn BlobStore>,
    waiting: Notify,
    go: Notify,
    open: AtomicBool,
}

#[async_trait]
impl BlobStore for Gated {
    async fn write(&self, key: PhysicalKey, offset: u64, hasher: Hasher) -> Result<Box<dyn BlobWriter>> {
        self.blobs.write(key, offset, hasher).await
    }

    async fn publish(&self, key: PhysicalKey, size: u64) -> Result<()> {
        self.blobs.publish(key, size).await
    }

    async fn discard(&self, key: PhysicalKey) -> Result<()> {
        self.blobs.discard(key).await
    }

    async fn leftovers(&self) -> Result<Vec<PhysicalKey>> {
        self.blobs.leftovers().await
    }

    async fn open(&self, key: PhysicalKey, size: u64) -> Result<Arc<dyn OpenBlob>> {
        self.blobs.open(key, size).await
    }

    async fn reread(&self, key: PhysicalKey, size: u64) -> Result<Arc<dyn OpenBlob>> {
        self.blobs.reread(key, size).await
    }

    async fn delete(&self, key: PhysicalKey) -> Result<()> {
        self.blobs.delete(key).await
    }

    async fn list(&self, after: Option<PhysicalKey>, limit: usize) -> Result<Vec<PhysicalKey>> {
        self.blobs.list(after, limit).await
    }

    async fn save(&self, key: PhysicalKey, size: u64, to: &Path) -> Result<Saved> {
        if !self.open.load(SeqCst) {
            self.waiting.notify_one();
            self.go.notified().await;
        }
        self.blobs.save(key, size, to).await
    }

    async fn stat(&self, key: PhysicalKey) -> Result<Option<Published>> {
        self.blobs.stat(key).await
    }

    async fn inspect(&self, key: PhysicalKey) -> Result<Arc<dyn OpenBlob>> {
        self.blobs.inspect(key).await
    }

    fn space(&self) -> Result<u64> {
        self.blobs.space()
    }
}

struct World {
    registry: Registry,
    gate: Arc<Gated>,
    folder: tempfile::TempDir,
}

async fn world(at: Timestamp) -> World {
    let folder = tempfile::tempdir().unwrap();
    let (meta, blobs) = open_directory(&folder.path().join("data"), RocksOptions::default()).unwrap();
    let gate =
        Arc::new(Gated { blobs, waiting: Notify::new(), go: Notify::new(), open: AtomicBool::new(false) });
    let registry = Registry::open(meta, Arc::clone(&gate) as _, Settings::default()).unwrap();
    registry.initialize(at, &generated_password().unwrap()).await.unwrap();
    World { registry, gate, folder }
}

/// Bytes with a file of their own, recorded as a blob.
async fn blob(registry: &Registry, bytes: &'static [u8], at: Timestamp) -> BlobRecord {
    let key = PhysicalKey::random().unwrap();
    let mut writer =
        registry.blobs.write(key, 0, Hasher::new(crate::model::Algorithm::Sha256)).await.unwrap();
    writer.push(Bytes::from_static(bytes)).await.unwrap();
    writer.sync().await.unwrap();
    let size = bytes.len() as u64;
    registry.blobs.publish(key, size).await.unwrap();
    let digest = Digest::sha256(bytes);
    let record =
        BlobRecord { digest, size, location: Location::Physical(key), created: at, quarantine: None };
    let mut batch = Batch::new();
    batch.replace(None, Some(&record));
    registry.meta.commit(batch).await.unwrap();
    record
}

/// The batch of a collection: the record goes, the bytes are trash from now on.
async fn collect(registry: &Registry, record: &BlobRecord, due: Timestamp) {
    let Location::Physical(key) = record.location else { panic!() };
    let mut batch = Batch::new();
    batch.replace(Some(record), None);
    batch.put(trash_key(due, key), Bytes::new());
    registry.meta.commit(batch).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_collected_and_purged_during_a_backup_is_in_it() {
    let at = Timestamp::now();
    let World { registry, gate, folder } = world(at).await;
    let record = blob(&registry, b"what is about to go", at).await;
    let into = folder.path().join("backups");
    let running = tokio::spawn({
        let (registry, into) = (registry.clone(), into.clone());
        async move {
            let caller = Caller::operator(Timestamp::now(), "x".into());
            let grant = registry.policy().authorize_system(&caller).unwrap();
            registry.backup(&grant, into, &|_| ()).await.unwrap()
        }
    });
    // The metadata is copied; no blob is.
    gate.waiting.notified().await;
    collect(&registry, &record, at).await;
    let now = Timestamp::now();
    assert_eq!(purged(&registry, now).await, 0, "the pin holds it");
    gate.open.store(true, SeqCst);
    gate.go.notify_one();
    let done = running.await.unwrap();
    assert_eq!((done.made.totals.blobs, done.absent.len()), (1, 0));
    check(&into, &|_| ()).unwrap();
    // And then it goes.
    assert_eq!(purged(&registry, now).await, 1);
    assert!(registry.blobs.list(None, 10).await.unwrap().is_empty());
    check(&into, &|_| ()).unwrap();
}

/// Empties the trash of what is due; how many files went.
async fn purged(registry: &Registry, at: Timestamp) -> u64 {
    let mut done = Collected::default();
    registry.purge(at, None, 100, &mut done).await.unwrap();
    done.deleted
}

#[tokio::test]
async fn a_pin_that_a_crash_left_behind_ends_by_itself() {
    let at = Timestamp::now();
    let World { registry, folder: _folder, .. } = world(at).await;
    let record = blob(&registry, b"x", at).await;
    collect(&registry, &record, at).await;
    let pin = registry.pin(at).await.unwrap();
    assert_eq!(purged(&registry, at).await, 0);
    assert_eq!(purged(&registry, Timestamp(pin.ends.0 - 1)).await, 0);
    // One from a time far ahead was written under a wrong clock, and does not hold until then.
    assert!(!registry.pinned(Timestamp(at.0 - 3 * PIN * 1000)).await.unwrap());
    assert_eq!(purged(&registry, pin.ends).await, 1);
    // The next backup sweeps it away.
    registry.pin(pin.ends).await.unwrap();
    assert_eq!(registry.meta.scan(&pins(), None, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_backup_whose_pin_ended_gives_up() {
    let at = Timestamp::now();
    let World { registry, folder: _folder, .. } = world(at).await;
    let mut pin = registry.pin(at).await.unwrap();
    // Not due yet.
    registry.renew(&mut pin, at, RENEW).await.unwrap();
    let old = Instant::now().checked_sub(RENEW).unwrap();
    pin.renewed = old;
    registry.renew(&mut pin, at.plus_seconds(10), RENEW).await.unwrap();
    assert_eq!(pin.ends, at.plus_seconds(10 + PIN));
    pin.renewed = old;
    let late = registry.renew(&mut pin, at.plus_seconds(11 + PIN), RENEW).await.unwrap_err();
    assert!(late.public().contains("stood still"), "{late}");
    // Swept away by somebody else's backup, who thought it dead.
    let mut batch = Batch::new();
    batch.delete(pin.key.clone());
    registry.meta.commit(batch).await.unwrap();
    assert!(registry.renew(&mut pin, at.plus_seconds(20), RENEW).await.is_err());
}
