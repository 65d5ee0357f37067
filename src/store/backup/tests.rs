//! Folders in one another; blobs of a store that cannot link.

use bytes::Bytes;

use super::*;
use crate::store::memory::MemoryBlobs;

#[test]
fn folders_in_one_another_are_refused_wherever_they_lead() {
    let top = tempfile::tempdir().unwrap();
    let at = |path: &str| top.path().join(path);
    std::fs::create_dir(at("data")).unwrap();
    std::os::unix::fs::symlink(at("data"), at("link")).unwrap();
    for (data, other, good) in [
        ("data", "backups", true),
        ("data", "data-2", true),
        ("absent", "backups", true),
        ("data", "data", false),
        ("data", "data/b/c", false),
        ("data", ".", false),
        ("data", "link/b", false),
        ("link/x", "data/x/y", false),
        ("data", "backups/../data/x", false),
        ("absent/data", "absent", false),
    ] {
        // A path with `..` behind something absent cannot be followed, which is a refusal too.
        assert_eq!(apart(&at(data), &at(other)).is_ok(), good, "{data} {other}");
    }
}

async fn stored(blobs: &MemoryBlobs, bytes: &'static [u8]) -> PhysicalKey {
    let key = PhysicalKey::random().unwrap();
    let mut writer = blobs.write(key, 0, Hasher::new(Algorithm::Sha256)).await.unwrap();
    writer.push(Bytes::from_static(bytes)).await.unwrap();
    writer.sync().await.unwrap();
    blobs.publish(key, bytes.len() as u64).await.unwrap();
    key
}

#[tokio::test]
async fn a_store_that_cannot_link_is_copied_once() {
    let top = tempfile::tempdir().unwrap();
    let root = top.path().join("b");
    let (blobs, bytes) = (MemoryBlobs::new(), b"some bytes".as_slice());
    let key = stored(&blobs, b"some bytes").await;
    let digest = Digest::sha256(bytes);
    let backup = async |altered: bool| {
        let folder = BackupFolder::open(&root, "one").unwrap();
        let mut draft = folder.begin(Timestamp(0), "one").unwrap();
        if altered {
            std::fs::write(folder_of(&root, key).join(key.to_string()), b"short").unwrap();
        }
        draft.blob(&blobs, key, 10, &digest).await.unwrap();
        let lost = draft.blob(&blobs, key, 11, &digest).await.unwrap_err();
        assert_eq!(lost.kind(), Kind::Internal);
        draft.blob(&blobs, key, 10, &digest).await.unwrap();
        std::fs::create_dir(draft.meta()).unwrap();
        assert!(BackupFolder::open(&root, "one").unwrap_err().public().contains("on its way"));
        draft.finish().unwrap()
    };
    let first = backup(false).await;
    assert_eq!(first.folder.file_name().unwrap(), "000001-19700101T000000Z");
    check(&root, &|_| ()).unwrap();
    let again = backup(true).await;
    assert!(again.folder.ends_with("000002-19700101T000000Z"));
    check(&root, &|_| ()).unwrap();
    check(&first.folder, &|_| ()).unwrap();
    assert!(BackupFolder::open(&root, "two").unwrap_err().public().contains("another installation"));
}
