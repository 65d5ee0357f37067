//! What only files have: a disk that refuses, foreign files, names cut in half by a power cut.

use std::{os::unix::fs::symlink, path::Path};

use bytes::Bytes;

use rustix::io::Errno;

use super::DirectoryBlobs;
use crate::{
    error::Kind,
    model::{Algorithm, Hasher, PhysicalKey},
    store::{BlobStore, BlobWriter},
};

fn open(folder: &Path) -> DirectoryBlobs {
    DirectoryBlobs::open(folder).unwrap()
}

fn key(n: u8) -> PhysicalKey {
    PhysicalKey([n; 16])
}

async fn writer(store: &DirectoryBlobs, key: PhysicalKey) -> Box<dyn BlobWriter> {
    store.write(key, 0, Hasher::new(Algorithm::Sha256)).await.unwrap()
}

async fn upload(store: &DirectoryBlobs, key: PhysicalKey, bytes: &'static [u8]) {
    let mut writer = writer(store, key).await;
    writer.push(Bytes::from_static(bytes)).await.unwrap();
    writer.sync().await.unwrap();
}

#[tokio::test]
async fn a_full_disk_is_final_for_the_upload() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    symlink("/dev/full", folder.path().join("uploads").join(key(1).to_string())).unwrap();
    let mut full = writer(&store, key(1)).await;
    full.push(Bytes::from_static(b"bytes")).await.unwrap();
    for _ in 0..3 {
        assert_eq!(full.sync().await.unwrap_err().kind(), Kind::NoSpace);
    }
    let error = full.push(Bytes::from_static(b"more")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NoSpace);
    assert!(error.cause().is_some());
    // Others are refused for a moment; one that works ends that.
    assert_eq!(store.space().unwrap_err().kind(), Kind::NoSpace);
    upload(&store, key(2), b"bytes").await;
    assert!(store.space().unwrap() > 0);
}

#[tokio::test]
async fn a_failed_sync_is_never_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    // It takes every byte and cannot be synced.
    symlink("/dev/null", folder.path().join("uploads").join(key(1).to_string())).unwrap();
    let mut broken = writer(&store, key(1)).await;
    broken.push(Bytes::from(vec![1; 3 << 20])).await.unwrap();
    assert_eq!(broken.sync().await.unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(broken.sync().await.unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(broken.push(Bytes::from_static(b"more")).await.unwrap_err().kind(), Kind::Unavailable);
    assert!(store.space().is_err());
    drop(broken);
    assert!(store.publish(key(1), 3 << 20).await.is_err());
}

#[tokio::test]
async fn a_failed_upload_does_not_hold_back_its_client() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    symlink("/dev/full", folder.path().join("uploads").join(key(1).to_string())).unwrap();
    let mut full = writer(&store, key(1)).await;
    // Far more than may be in flight: what the failed lane drops must be given back.
    let chunk = Bytes::from(vec![0; 256 << 10]);
    let mut refused = false;
    for _ in 0..100 {
        refused |= full.push(chunk.clone()).await.is_err();
    }
    assert!(refused);
}

#[tokio::test]
async fn missing_folders_are_made_again() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let gone = folder.path().join("blobs").join("07");
    std::fs::remove_dir(&gone).unwrap();
    let store = open(folder.path());
    upload(&store, key(7), b"bytes").await;
    store.publish(key(7), 5).await.unwrap();
    assert!(gone.join(key(7).to_string()).exists());
}

#[tokio::test]
async fn foreign_files_are_not_listed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    upload(&store, key(7), b"bytes").await;
    store.publish(key(7), 5).await.unwrap();
    let blobs = folder.path().join("blobs");
    std::fs::write(blobs.join("07/lost"), b"").unwrap();
    std::fs::write(blobs.join("08").join(key(7).to_string()), b"").unwrap();
    std::fs::write(blobs.join("07").join(key(7).to_string().to_uppercase()), b"").unwrap();
    assert_eq!(store.list(None, 10).await.unwrap(), [key(7)]);
}

#[tokio::test]
async fn half_a_rename_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    upload(&store, key(7), b"bytes").await;
    let from = folder.path().join("uploads").join(key(7).to_string());
    let to = folder.path().join("blobs/07").join(key(7).to_string());
    std::fs::hard_link(&from, &to).unwrap();
    store.publish(key(7), 5).await.unwrap();
    assert!(!from.exists() && to.exists());
    // Another file of that name is never replaced.
    upload(&store, key(8), b"bytes").await;
    let to = folder.path().join("blobs/08").join(key(8).to_string());
    std::fs::write(&to, b"other!").unwrap();
    assert!(store.publish(key(8), 5).await.is_err());
    assert_eq!(std::fs::read(&to).unwrap(), b"other!");
}

#[tokio::test]
async fn a_file_cut_short_is_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    upload(&store, key(7), b"bytes").await;
    store.publish(key(7), 5).await.unwrap();
    std::fs::write(folder.path().join("blobs/07").join(key(7).to_string()), b"byt").unwrap();
    let error = store.open(key(7), 5).await.map(drop).unwrap_err();
    assert_eq!(error.kind(), Kind::Internal);
    assert!(error.cause().is_some());
    assert!(store.publish(key(7), 5).await.is_err());
}

#[tokio::test]
async fn the_folder_must_be_one() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("blobs"), b"").unwrap();
    let error = DirectoryBlobs::open(folder.path()).map(drop).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.public().contains("blobs"));
}

#[tokio::test]
async fn leftovers_are_those_of_an_earlier_process() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for n in 1..=4 {
        upload(&store, key(n), b"bytes").await;
    }
    assert!(store.leftovers().await.unwrap().is_empty(), "this process began them");
    drop(store);
    std::fs::write(folder.path().join("uploads/foreign"), b"").unwrap();
    let store = open(folder.path());
    upload(&store, key(5), b"bytes").await;
    assert_eq!(store.leftovers().await.unwrap(), [key(1), key(2), key(3), key(4)]);
    // One is published, one discarded, one continued: that one is still there, and named by a session.
    store.publish(key(1), 5).await.unwrap();
    store.discard(key(2)).await.unwrap();
    store.write(key(3), 5, Hasher::new(Algorithm::Sha256)).await.unwrap();
    assert_eq!(store.leftovers().await.unwrap(), [key(3), key(4)]);
}

/// What is wrong with the process or the whole disk says nothing of one blob.
#[tokio::test]
async fn a_folder_that_is_gone_is_no_missing_blob() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    upload(&store, key(7), b"bytes").await;
    store.publish(key(7), 5).await.unwrap();
    assert!(store.stat(key(8)).await.unwrap().is_none());
    let away = folder.path().join("away");
    std::fs::rename(folder.path().join("blobs"), &away).unwrap();
    assert_eq!(store.stat(key(7)).await.unwrap_err().kind(), Kind::Unavailable);
    std::fs::rename(&away, folder.path().join("blobs")).unwrap();
    assert_eq!(store.stat(key(7)).await.unwrap().unwrap().size, 5);
    for (errno, kind) in [
        (Errno::IO, Kind::Internal),
        (Errno::UCLEAN, Kind::Internal),
        (Errno::MFILE, Kind::Unavailable),
        (Errno::NOMEM, Kind::Unavailable),
    ] {
        assert_eq!(super::reader::inspection_failure(errno.into()).kind(), kind);
    }
}
