//! A backup with a fault at every step: there is a whole one or none, the next one into the same folder succeeds, and what
//! is restored from it is all that was acknowledged, with nothing for a check to find.

use std::{path::Path, sync::Arc};

use super::{
    bench::{chunk, noise, put},
    steps::Content,
};
use crate::{
    auth::{Caller, Operate, Publish, Pull, Push},
    error::Result,
    model::{Digest, PackageName, Reference, Tag, Timestamp},
    registry::{
        BackedUp, Registry, Settings, check_backup, fsck::FsckOptions, generated_password, records::pin::pins,
    },
    store::{
        BlobStore, MetadataStore, RocksOptions,
        backup::{Damaged, restore},
        faulty::{Call, Fault, Faults, FaultyBlobs, FaultyMeta, Plan},
        open_directory,
    },
};

/// Blobs with files of their own.
const FILES: u64 = 3;

struct Source {
    meta: Arc<dyn MetadataStore>,
    blobs: Arc<dyn BlobStore>,
    content: Content,
    folder: tempfile::TempDir,
}

fn operator() -> Caller {
    Caller::operator(Timestamp::now(), "test".into())
}

fn name() -> PackageName {
    PackageName::parse("root/app").unwrap()
}

fn settings() -> Settings {
    Settings { space_reserve: 0, ..Settings::default() }
}

/// In memory where that can be: every case writes hundreds of folders and syncs them.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

impl Source {
    async fn new() -> Self {
        let folder = folder();
        let (meta, blobs) = open_directory(&folder.path().join("data"), RocksOptions::default()).unwrap();
        let source = Self { meta, blobs, content: Content::new(), folder };
        let registry = Registry::open(source.meta.clone(), source.blobs.clone(), settings()).unwrap();
        registry.initialize(Timestamp::now(), &generated_password().unwrap()).await.unwrap();
        let c = &source.content;
        let owner = crate::model::OwnerName::parse("root").unwrap();
        let operate = registry.policy().authorize_system::<Operate>(&operator()).unwrap();
        let user = crate::registry::accounts::NewUser { name: &owner, administrator: false, password: None };
        registry.create_user(&operate, user).await.unwrap();
        let Publish::New(grant) = registry.policy().authorize_publish(&operator(), &name()).await.unwrap()
        else {
            panic!()
        };
        registry.allocate(&grant, &name()).await.unwrap();
        for bytes in [&c.config, &c.layer, &c.other, &noise(9, 20_000)] {
            let push = registry.policy().authorize::<Push>(&operator(), &name()).await.unwrap();
            registry.put_blob(push, chunk(bytes, None), Digest::sha256(bytes)).await.unwrap();
        }
        let push = registry.policy().authorize::<Push>(&operator(), &name()).await.unwrap();
        registry.put_manifest(&push, put(&c.image, Some("one"))).await.unwrap();
        source
    }

    /// A start of the daemon over what is stored.
    fn start(&self) -> (Registry, Arc<Faults>) {
        let faults = Arc::new(Faults::default());
        let meta = FaultyMeta::new(Arc::clone(&self.meta), Arc::clone(&faults));
        let blobs = FaultyBlobs::new(Arc::clone(&self.blobs), Arc::clone(&faults));
        (Registry::open(Arc::new(meta), Arc::new(blobs), settings()).unwrap(), faults)
    }

    async fn pins(&self) -> usize {
        self.meta.scan(&pins(), None, 100).await.unwrap().len()
    }

    /// One backup with a fault; the call that failed.
    async fn case(&self, plan: Plan) -> Option<Call> {
        let case = tempfile::tempdir_in(self.folder.path()).unwrap();
        let into = case.path().join("backups");
        let (registry, faults) = self.start();
        let before = self.pins().await;
        faults.arm(Some(plan));
        let done = backup(&registry, &into).await;
        let call = faults.heal()?;
        let what = format!("{plan:?}: {call}");
        match check_backup(&into, &|_| ()) {
            Ok(found) => assert_eq!((found.totals.blobs, found.absent.len()), (FILES, 0), "{what}"),
            Err(error) => {
                assert!(done.is_err(), "{what}: acknowledged, and {error}");
                let none = !into.exists() || error.public().contains("holds no finished backup");
                assert!(none, "{what}: {error}");
            }
        }
        let pinned = self.pins().await;
        assert!(pinned <= before || plan.rest || call == "commit", "{what}: its pin is still there");
        // One that a failure left holds nothing for longer than it says.
        assert!(!registry.pinned(Timestamp::now().plus_seconds(3601)).await.unwrap(), "{what}");

        let registry = if plan.rest { self.start().0 } else { registry };
        let again =
            backup(&registry, &into).await.unwrap_or_else(|error| panic!("{what}: the retry: {error}"));
        assert_eq!((again.made.totals.blobs, again.absent.len()), (FILES, 0), "{what}");
        check_backup(&into, &|_| ()).unwrap_or_else(|error| panic!("{what}: the retry: {error}"));
        let partial: Vec<_> = into.read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        let partial = partial.iter().filter(|name| name.to_string_lossy().ends_with(".partial")).count();
        assert_eq!(partial, 0, "{what}: something unfinished stayed");
        self.restored(&into, &case.path().join("data"), &what).await;
        Some(call)
    }

    /// What is restored is whole.
    async fn restored(&self, from: &Path, data: &Path, what: &str) {
        restore(from, data, Damaged::Refuse, &|_| ()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let (meta, blobs) = open_directory(data, RocksOptions::default()).unwrap();
        let registry = Registry::open(meta, blobs, settings()).unwrap();
        let operate = registry.policy().authorize_system::<Operate>(&operator()).unwrap();
        let options = FsckOptions { deep: true, repair: false };
        let found = registry.findings(&operate, options).await.unwrap();
        assert!(found.is_empty(), "{what}: {found:#?}");
        let pull = registry.policy().authorize::<Pull>(&operator(), &name()).await.unwrap();
        let one = Reference::Tag(Tag::parse("one").unwrap());
        let head = registry.stat_manifest(&pull, &one).await.unwrap();
        assert_eq!(registry.manifest_bytes(&pull, &head).await.unwrap(), self.content.image, "{what}");
        for bytes in [&self.content.layer, &self.content.other, &self.content.config] {
            let size = registry.stat_blob(&pull, &Digest::sha256(bytes)).await.unwrap().size;
            assert_eq!(size, bytes.len() as u64, "{what}");
        }
    }
}

async fn backup(registry: &Registry, into: &Path) -> Result<BackedUp> {
    let grant = registry.policy().authorize_system::<Operate>(&operator()).unwrap();
    registry.backup(&grant, into.to_owned(), &|_| ()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_with_a_fault_at_every_step() {
    let source = Source::new().await;
    let (mut cases, mut torn) = (0, Vec::new());
    for (fault, rest) in
        [(Fault::Before, false), (Fault::After, false), (Fault::Tear, false), (Fault::Before, true)]
    {
        let into = source.folder.path().join("once");
        let (registry, faults) = source.start();
        faults.arm(None);
        backup(&registry, &into).await.unwrap();
        let calls = faults.calls().len();
        std::fs::remove_dir_all(&into).unwrap();
        for at in 0..calls {
            let call = source.case(Plan { at, fault, rest }).await;
            assert!(call.is_some() || fault != Fault::Before, "no step {at} of {calls}");
            cases += usize::from(call.is_some());
            torn.extend(call.filter(|_| fault == Fault::Tear));
        }
    }
    println!("{cases} cases");
    assert!(torn.contains(&"save") && torn.contains(&"backup"), "{torn:?}");
    assert!(cases > 30, "{cases}");
}
