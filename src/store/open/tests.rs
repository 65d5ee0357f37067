//! A database that is not what was written is refused with a sentence, or tells every reader: never a wrong value, never
//! an empty database in its place.

use std::path::PathBuf;

use bytes::Bytes;

use super::*;
use crate::store::{Batch, Key, Space};

fn key(number: u32) -> Key {
    Key::new(Space::Meta, b'x').with(&number.to_be_bytes())
}

fn value(number: u32) -> Bytes {
    Bytes::from(format!("{number:064}"))
}

const KEYS: u32 = 2000;

/// A data folder with tables, and nothing in the log.
async fn filled() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let open = || open_directory(folder.path(), RocksOptions::default()).unwrap();
    let (meta, _) = open();
    let mut batch = Batch::new();
    for number in 0..KEYS {
        batch.put(key(number), value(number));
    }
    meta.commit(batch).await.unwrap();
    drop(meta);
    // Opening flushes what the log gives back.
    drop(open());
    folder
}

fn files(folder: &Path, is: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = folder.join("meta").read_dir().unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries.filter(|path| is(path.file_name().unwrap().to_str().unwrap())).collect();
    found.sort();
    found
}

/// Opens it: refused with a sentence for the operator; or every value is right or an error.
async fn judge(folder: &Path) -> Result<u32> {
    let (meta, _) = open_directory(folder, RocksOptions::default())?;
    let mut failed = 0;
    for number in 0..KEYS {
        match meta.get(&key(number)).await {
            Ok(found) => assert_eq!(found, Some(value(number)), "a wrong value was read"),
            Err(_) => failed += 1,
        }
    }
    Ok(failed)
}

#[tokio::test]
async fn flipped_bytes_are_refused_or_told() {
    let folder = filled().await;
    assert_eq!(judge(folder.path()).await.unwrap(), 0);
    let (mut refused, mut told) = (0, 0);
    for path in files(folder.path(), |name| {
        name == "CURRENT" || name.starts_with("MANIFEST-") || name.ends_with(".sst")
    }) {
        let good = std::fs::read(&path).unwrap();
        let step = (good.len() / 12).max(1);
        for at in (0..good.len()).step_by(step) {
            let copy = tempfile::tempdir().unwrap();
            copy_folder(folder.path(), copy.path());
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            std::fs::write(copy.path().join("meta").join(path.file_name().unwrap()), &bad).unwrap();
            match judge(copy.path()).await {
                Err(error) => {
                    assert!(error.public().contains("damaged"), "{} at {at}: {error}", path.display());
                    refused += 1;
                }
                Ok(failed) => told += u32::from(failed > 0),
            }
        }
    }
    assert!(refused > 0 && told > 0, "{refused} refused, {told} told");
}

#[tokio::test]
async fn lost_files_are_refused() {
    let folder = filled().await;
    for name in ["CURRENT", "MANIFEST-", ".sst"] {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(folder.path(), copy.path());
        for path in files(copy.path(), |found| found.starts_with(name) || found.ends_with(name)) {
            std::fs::remove_file(path).unwrap();
        }
        let error = judge(copy.path()).await.unwrap_err();
        assert!(error.public().contains("damaged"), "{name}: {error}");
    }
    // A first start that broke off before there was anything is begun again.
    let fresh = tempfile::tempdir().unwrap();
    make_folder(&fresh.path().join("meta")).unwrap();
    std::fs::write(fresh.path().join("meta/MANIFEST-000001"), b"torn").unwrap();
    open_directory(fresh.path(), RocksOptions::default()).unwrap();
}

#[tokio::test]
async fn a_part_that_this_release_does_not_know_is_a_newer_ones() {
    let folder = filled().await;
    let meta = folder.path().join("meta");
    let mut names = rocksdb::DB::list_cf(&rocksdb::Options::default(), &meta).unwrap();
    let mut options = rocksdb::Options::default();
    options.create_missing_column_families(true);
    names.push("of-a-newer-release".into());
    drop(rocksdb::DB::open_cf(&options, &meta, names).unwrap());
    let error = judge(folder.path()).await.unwrap_err();
    assert!(error.public().contains("a newer one wrote it"), "{error}");
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in from.read_dir().unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            if entry.file_name() != "blobs" {
                std::fs::create_dir(&to).unwrap();
                copy_folder(&entry.path(), &to);
            }
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}
