//! What cannot be backed up, restored or opened is refused with a sentence, and stays as it was.

use std::path::{Path, PathBuf};

use super::{backups, files, packhouse, said, small, text};
use crate::support::Server;

/// Every blob's file in a folder of backups.
fn blobs(into: &Path) -> Vec<PathBuf> {
    files(&into.join("blobs")).into_iter().map(|(path, _)| path).collect()
}

#[test]
fn a_folder_that_is_none_for_backups_is_refused() {
    let (server, folder) = small();
    let data = server.data();
    let refused = |into: &Path, word: &str| {
        let text = said(&server.admin(&["backup", text(into)]), 1);
        assert!(text.contains(word), "{text}");
    };
    refused(&data.join("backups"), "lie in one another");
    assert!(!data.join("backups").exists());
    refused(server.folder(), "lie in one another");
    // By way of a link, too.
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&data, &link).unwrap();
    refused(&link.join("deep/er"), "lie in one another");

    let full = folder.path().join("full");
    std::fs::create_dir(&full).unwrap();
    std::fs::write(full.join("letter"), b"dear").unwrap();
    refused(&full, "is not empty");
    assert_eq!(files(&full), [(full.join("letter"), b"dear".to_vec())]);

    let into = folder.path().join("b");
    server.admin_ok(&["backup", text(&into)]);
    let other = Server::start();
    let text = said(&other.admin(&["backup", text(&into)]), 1);
    assert!(text.contains("another installation"), "{text}");
}

#[test]
fn a_restore_writes_over_nothing() {
    let (server, folder) = small();
    let into = folder.path().join("b");
    server.admin_ok(&["backup", text(&into)]);
    let restore = |data: &Path| said(&packhouse(&["restore", text(&into), "--data", text(data)]), 1);

    let full = folder.path().join("full");
    std::fs::create_dir(&full).unwrap();
    std::fs::write(full.join("letter"), b"dear").unwrap();
    assert!(restore(&full).contains("not empty"));
    assert_eq!(files(&full), [(full.join("letter"), b"dear".to_vec())]);
    // The folder of the running daemon, above all.
    let before = files(&server.data().join("blobs"));
    assert!(restore(&server.data()).contains("not empty"));
    assert_eq!(files(&server.data().join("blobs")), before);
    assert!(restore(&into.join("data")).contains("lie in one another"));
    assert!(restore(folder.path()).contains("lie in one another"));
    let nothing = folder.path().join("nothing");
    let text = said(&packhouse(&["restore", text(&full), "--data", text(&nothing)]), 1);
    assert!(text.contains("no finished backup"), "{text}");
}

#[test]
fn a_damaged_backup_names_what_is_damaged() {
    let (server, folder) = small();
    let into = folder.path().join("b");
    server.admin_ok(&["backup", text(&into)]);
    server.kill();
    let backup = backups(&into).remove(0);
    let data = folder.path().join("data");
    let damage = |path: &Path, change: &dyn Fn(&mut Vec<u8>), words: &[&str]| {
        let good = std::fs::read(path).unwrap();
        let mut bad = good.clone();
        change(&mut bad);
        // As another file: a linked one is the daemon's own.
        std::fs::remove_file(path).unwrap();
        std::fs::write(path, &bad).unwrap();
        for args in
            [&["restore", "--check", text(&into)][..], &["restore", text(&into), "--data", text(&data)]]
        {
            let said = said(&packhouse(args), 1);
            assert!(words.iter().all(|word| said.contains(word)), "{words:?}: {said}");
        }
        // What a restore left behind is no installation.
        if data.exists() {
            let refused = said(&packhouse(&["user", "list", "--data", text(&data)]), 1);
            assert!(
                refused.contains("did not come to its end") || refused.contains("no installation"),
                "{refused}"
            );
            std::fs::remove_dir_all(&data).unwrap();
        }
        std::fs::write(path, &good).unwrap();
    };
    let blob = blobs(&into).remove(0);
    let name = blob.file_name().unwrap().to_str().unwrap();
    let list = std::fs::read_to_string(backup.join("manifest")).unwrap();
    let line = list.lines().find(|line| line.contains(name)).unwrap();
    let digest = &line[line.find("sha256:").unwrap()..][..71];
    damage(&blob, &|bytes| bytes.truncate(1000), &[name, digest, "holds 1000 bytes"]);
    damage(&blob, &|bytes| bytes[5] ^= 1, &[name, digest, "has the digest"]);
    damage(&backup.join("meta/CURRENT"), &|bytes| bytes[0] ^= 1, &["meta/CURRENT", "has the digest"]);
    let manifest = backup.join("manifest");
    for cut in [0, 10, list.len() / 2, list.len() - 1, list.trim_end().rfind('\n').unwrap() + 1] {
        damage(&manifest, &|bytes| bytes.truncate(cut), &["manifest", "damaged"]);
    }
    damage(&manifest, &|bytes| bytes.extend_from_slice(b"{}\n"), &["its sum differs"]);
    let other = |from: &'static str, to: &'static str| {
        move |bytes: &mut Vec<u8>| {
            let text = String::from_utf8(bytes.clone()).unwrap();
            assert!(text.contains(from));
            *bytes = text.replacen(from, to, 1).into_bytes();
        }
    };
    damage(&manifest, &other("\"size\":", "\"size\":1"), &["its sum differs"]);
    damage(&manifest, &other("\"format\":1", "\"format\":2"), &["has format 2", "newer"]);
    damage(&manifest, &other("\"data\":2", "\"data\":9"), &["data format 9", "newer"]);
    said(&packhouse(&["restore", "--check", text(&into)]), 0);

    // Who has nothing else restores the rest.
    let good = std::fs::read(&blob).unwrap();
    std::fs::remove_file(&blob).unwrap();
    std::fs::write(&blob, [&good[1..], b"x"].concat()).unwrap();
    let rest = said(&packhouse(&["restore", text(&into), "--data", text(&data), "--skip-damaged"]), 1);
    assert!(rest.contains(digest) && rest.contains("1 blobs are damaged and were left out"), "{rest}");
    assert_eq!(files(&data.join("blobs")).len(), 2);
    said(&packhouse(&["user", "list", "--data", text(&data)]), 0);
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::write(&blob, &good).unwrap();

    std::fs::remove_file(&blob).unwrap();
    let gone = said(&packhouse(&["restore", "--check", text(&into)]), 1);
    assert!(gone.contains("is missing") && gone.contains(digest), "{gone}");
    // The next backup brings it back, and the one before is whole again with it.
    said(&server.admin(&["backup", text(&into)]), 0);
    said(&packhouse(&["restore", "--check", text(&backup)]), 0);
}

#[test]
fn a_backup_that_broke_off_is_swept_away_by_the_next() {
    let (server, folder) = small();
    let into = folder.path().join("b");
    server.admin_ok(&["backup", text(&into)]);
    let torn = into.join("000002-20260101T000000Z.partial");
    std::fs::create_dir(&torn).unwrap();
    std::fs::copy(backups(&into)[0].join("manifest"), torn.join("manifest")).unwrap();
    let refused = said(&packhouse(&["restore", "--check", text(&torn)]), 1);
    assert!(refused.contains("never finished"), "{refused}");
    server.admin_ok(&["backup", text(&into)]);
    assert!(!torn.exists());
    assert_eq!(backups(&into).len(), 2);
}

#[test]
fn a_blob_that_is_lost_is_reported_and_the_rest_is_backed_up() {
    let (server, folder) = small();
    let lost = files(&server.data().join("blobs")).remove(0).0;
    std::fs::remove_file(&lost).unwrap();
    let into = folder.path().join("b");
    let report = said(&server.admin(&["backup", text(&into), "--verify"]), 1);
    assert!(report.contains("sha256:") && report.contains("2 blobs"), "{report}");
    let data = folder.path().join("data");
    let report = said(&packhouse(&["restore", text(&into), "--data", text(&data)]), 1);
    assert!(report.contains("could not be read when the backup was made"), "{report}");
    said(&packhouse(&["user", "list", "--data", text(&data)]), 0);
}
