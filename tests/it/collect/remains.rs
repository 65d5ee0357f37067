//! What a stopped daemon left on disk, read without it: is everything there that manifests name, and nothing else?

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use packhouse::{
    model::{Digest, PackageId},
    registry::records::{
        BlobRecord, Location, ManifestRecord,
        blob::{reviews, trash},
    },
    store::{Entry, Key, MetadataRead, RocksOptions, Space, open_directory},
};

use crate::support::content::sha256;

/// What was found.
#[derive(Debug, Default)]
pub struct Remains {
    /// Blobs that have a record.
    pub blobs: usize,
    /// Bytes of them that were hashed again.
    pub bytes: u64,
    /// Manifests.
    pub manifests: usize,
}

/// Reads all there is, and compares. Every lease must be over and reviewed, the trash empty.
pub fn verify(data: &Path) -> Remains {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (meta, _blobs) = open_directory(data, RocksOptions::default()).unwrap();
        let mut found = Remains::default();
        let mut named = BTreeSet::new();
        for (key, value) in all(meta.as_ref(), Key::new(Space::Doc, b'm')).await {
            let package = PackageId(u64::from_be_bytes(key.bytes[1..9].try_into().unwrap()));
            let (digest, _) = Digest::read_key(&key.bytes[9..]).unwrap();
            let record = ManifestRecord::decode(package, digest, &value).unwrap();
            found.manifests += 1;
            assert!(record.deleted.is_none(), "what was deleted is kept for no time at all");
            let blobs = record.targets.iter().filter(|target| target.present && !target.manifest);
            named.extend(blobs.map(|target| target.digest));
        }
        let mut stored = BTreeSet::new();
        let (mut files, mut inline) = (BTreeMap::new(), BTreeMap::new());
        for (key, value) in all(meta.as_ref(), Key::new(Space::Blob, b'b')).await {
            let (digest, _) = Digest::read_key(&key.bytes[1..]).unwrap();
            match BlobRecord::decode(digest, &value).unwrap().location {
                Location::Inline => _ = inline.insert(BlobRecord::inline_key(&digest), digest),
                Location::Physical(key) => _ = files.insert(hex::encode(key.0), digest),
            }
            stored.insert(digest);
        }
        assert_eq!(stored, named, "records of blobs, and what manifests name");
        found.blobs = stored.len();
        let on_disk = blob_files(&data.join("blobs"));
        let names: BTreeSet<_> = on_disk.keys().cloned().collect();
        assert_eq!(names, files.keys().cloned().collect(), "files, and what records name");
        for (name, digest) in files {
            let bytes = std::fs::read(&on_disk[&name]).unwrap();
            assert_eq!(sha256(&bytes), digest.to_string());
            found.bytes += bytes.len() as u64;
        }
        let bodies: BTreeMap<_, _> =
            all(meta.as_ref(), Key::new(Space::Inline, b'i')).await.into_iter().collect();
        assert!(bodies.keys().eq(inline.keys()), "small blobs' bytes, and what records name");
        for (key, digest) in inline {
            assert_eq!(sha256(&bodies[&key]), digest.to_string());
            found.bytes += bodies[&key].len() as u64;
        }
        let waiting = all(meta.as_ref(), reviews()).await;
        assert!(waiting.is_empty(), "{} reviews are waiting", waiting.len());
        assert!(all(meta.as_ref(), trash()).await.is_empty(), "the trash is not empty");
        let refs = all(meta.as_ref(), Key::new(Space::Refs, b'r')).await;
        let leases = refs.iter().filter(|(key, _)| key.bytes[34] == 0).count();
        assert_eq!(leases, 0, "leases that are over");
        found
    })
}

async fn all(meta: &dyn MetadataRead, prefix: Key) -> Vec<Entry> {
    meta.scan(&prefix, None, usize::MAX / 2).await.unwrap()
}

/// The files of blobs by the hexadecimal form of their keys.
pub fn blob_files(folder: &Path) -> BTreeMap<String, std::path::PathBuf> {
    let mut found = BTreeMap::new();
    for part in std::fs::read_dir(folder).unwrap() {
        let part = part.unwrap().path();
        if part.is_dir() {
            for file in std::fs::read_dir(part).unwrap() {
                let file = file.unwrap();
                found.insert(file.file_name().into_string().unwrap(), file.path());
            }
        }
    }
    found
}
