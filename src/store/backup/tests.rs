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

/// A first backup that died before its folder said what it is: the next one is not refused.
#[test]
fn what_is_left_of_a_marker_is_no_obstacle() {
    let top = tempfile::tempdir().unwrap();
    std::fs::write(top.path().join(NEW_MARKER), b"{\"form").unwrap();
    drop(BackupFolder::open(top.path(), "one").unwrap());
    assert!(BackupFolder::open(top.path(), "two").unwrap_err().public().contains("another installation"));
}

const FIRST: &[u8] = b"the first blob";
const SECOND: &[u8] = b"and the second";

/// A folder in memory where there is one: nothing here is about what syncs do, only about which of them fail.
fn quick() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Makes a backup of two blobs and a file of metadata.
async fn made(root: &Path, blobs: &MemoryBlobs, keys: &[(PhysicalKey, &[u8])]) -> Result<Made> {
    let folder = BackupFolder::open(root, "one")?;
    let mut draft = folder.begin(Timestamp(0), "one")?;
    make(&draft.meta())?;
    std::fs::write(draft.meta().join("CURRENT"), b"metadata").unwrap();
    for (key, bytes) in keys {
        draft.blob(blobs, *key, bytes.len() as u64, &Digest::sha256(bytes)).await?;
    }
    draft.finish()
}

#[tokio::test]
async fn a_backup_whose_nth_step_fails_is_whole_or_none() {
    let blobs = MemoryBlobs::new();
    let keys = [(stored(&blobs, FIRST).await, FIRST), (stored(&blobs, SECOND).await, SECOND)];
    let (mut refused, mut late) = (0, 0);
    // 256 folders are made, and synced in the end: those in the middle are all alike.
    for steps in (0..8).chain(130..131).chain(258..285).chain(400..401).chain(530..560) {
        let top = quick();
        let root = top.path().join("b");
        let fault = files::Armed::after(&root, steps);
        let outcome = made(&root, &blobs, &keys).await;
        drop(fault);
        match (&outcome, check(&root, &|_| ())) {
            (Ok(_), whole) => {
                whole.unwrap();
                assert!(refused > 30 && late > 0, "{refused} {late}");
                return;
            }
            (Err(error), whole) => {
                assert!(error.public().contains("cannot be used"), "{steps}: {error}");
                // The last sync failed: its name is there, and it is what it says.
                late += u64::from(whole.is_ok());
                refused += 1;
            }
        }
        // Whatever is left of it, the next one is not refused, and is whole.
        made(&root, &blobs, &keys).await.unwrap_or_else(|error| panic!("{steps}: {error}"));
        check(&root, &|_| ()).unwrap();
    }
    panic!("it has more steps than that");
}

#[tokio::test]
async fn a_restore_whose_nth_step_fails_is_whole_or_no_installation() {
    let (top, blobs) = (quick(), MemoryBlobs::new());
    let keys = [(stored(&blobs, FIRST).await, FIRST), (stored(&blobs, SECOND).await, SECOND)];
    let root = top.path().join("b");
    made(&root, &blobs, &keys).await.unwrap();
    let whole = |data: &Path| {
        let has = |(key, bytes): &(PhysicalKey, &[u8])| {
            std::fs::read(folder_of(data, *key).join(key.to_string())).is_ok_and(|found| found == *bytes)
        };
        keys.iter().all(has)
            && std::fs::read(data.join("meta/CURRENT")).is_ok_and(|found| found == b"metadata")
    };
    let again = |data: &Path| restore(&root, data, Damaged::Refuse, &|_| ());
    let mut refused = 0;
    for steps in (0..20).chain((20..250).step_by(61)).chain(250..400) {
        // A folder around it, whose sync is a step as well.
        let around = top.path().join(format!("r{steps}"));
        std::fs::create_dir(&around).unwrap();
        let data = around.join("data");
        let fault = files::Armed::after(&around, steps);
        let outcome = again(&data);
        drop(fault);
        if outcome.is_ok() {
            assert!(whole(&data) && refused > 20, "{refused}");
            crate::store::format::check(&data).unwrap();
            return;
        }
        let empty = !data.exists() || data.read_dir().unwrap().next().is_none();
        match crate::store::format::check(&data) {
            Ok(()) => assert!(empty || whole(&data), "{steps}: a part is taken for all"),
            Err(refusal) => {
                assert!(refusal.public().contains("restore"), "{steps}: {refusal}");
                refused += 1;
            }
        }
        // Once more into what is left is refused, unless nothing is; into a new one it succeeds.
        match again(&data) {
            Ok(_) => assert!(empty, "{steps}"),
            Err(refusal) => assert!(refusal.public().contains("is not empty"), "{steps}: {refusal}"),
        }
        std::fs::remove_dir_all(&data).unwrap();
        again(&data).unwrap();
        assert!(whole(&data));
        std::fs::remove_dir_all(&around).unwrap();
    }
    panic!("it has more steps than that");
}
