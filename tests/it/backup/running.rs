//! A backup taken while everybody pushes holds all that was acknowledged before it began.

use std::{
    os::unix::fs::PermissionsExt as _,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use super::{backups, files, packhouse, restored, said, small, text};
use crate::support::{
    Client, Server,
    content::{self, bytes, image, noise, sha256},
};

/// What was acknowledged, as paths and the digest of what they answer.
type Acknowledged = Mutex<Vec<(String, String)>>;

/// Pushes images, and takes every third down again, until told to stop.
fn push(client: &Client, number: u64, stop: &AtomicBool, done: &Acknowledged) {
    let package = format!("ada/p{number}");
    for turn in 0.. {
        if stop.load(Relaxed) {
            return;
        }
        let seed = number * 1_000_000 + turn;
        // One layer with a file of its own, one within the metadata, and one that everybody pushes.
        let layers = [noise(seed, 60_000), noise(seed + 500_000, 3000), noise(1 + turn % 5, 50_000)];
        let config = format!("{{\"seed\":{seed}}}").into_bytes();
        for blob in layers.iter().chain([&config]) {
            client.push_blob(&package, blob);
        }
        let parts: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
        let manifest = image(&config, &parts);
        let tag = format!("t{turn}");
        client.put_manifest(&package, &tag, &manifest).expect(201);
        let digest = sha256(&bytes(&manifest));
        if turn % 3 == 2 {
            client.delete(&format!("/v2/{package}/manifests/{digest}")).expect(202);
            continue;
        }
        let mut acknowledged = done.lock().unwrap();
        acknowledged.push((format!("/v2/{package}/manifests/{tag}"), digest));
        for blob in layers.iter().chain([&config]) {
            let digest = sha256(blob);
            acknowledged.push((format!("/v2/{package}/blobs/{digest}"), digest));
        }
    }
}

fn all_there(server: &Server, client: &Client, expected: &[(String, String)]) {
    let client = client.at(&server.address);
    for (path, digest) in expected {
        let answer = client.get(path).expect(200);
        assert_eq!(sha256(&answer.body), *digest, "{path}");
    }
}

#[test]
fn what_was_acknowledged_before_a_backup_began_is_in_it() {
    let server = Server::start();
    let client = server.signed_in("ada");
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("backups");
    let (stop, done) = (AtomicBool::new(false), Acknowledged::default());
    let taken: Vec<_> = std::thread::scope(|scope| {
        for number in 0..4 {
            let (client, stop, done) = (&client, &stop, &done);
            scope.spawn(move || push(client, number, stop, done));
        }
        let taken = (1..=3).map(|round| {
            // Something new in each round.
            while done.lock().unwrap().len() < 60 * round {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            let before = done.lock().unwrap().clone();
            server.admin_ok(&["backup", text(&into), "--verify"]);
            before
        });
        let taken = taken.collect();
        stop.store(true, Relaxed);
        taken
    });
    server.kill();
    let made = backups(&into);
    assert_eq!(made.len(), 3);
    let count = |folder: &std::path::Path| folder.read_dir().unwrap().count();
    assert_eq!(count(&into), 3 + 3, "the marker, the lock, the blobs, three backups and nothing else");
    for (backup, expected) in made.iter().zip(&taken) {
        let restored = restored(backup);
        // With the token of the original: tokens and keys are in the backup.
        all_there(&restored, &client, expected);
        restored.admin_ok(&["fsck", "--deep"]);
    }
    // The folder itself means the newest.
    all_there(&restored(&into), &client, &taken[2]);
}

#[test]
fn an_upload_under_way_begins_again_in_a_restored_folder() {
    let (server, folder) = small();
    let into = folder.path().join("b");
    let client = server.signed_in("ada");
    let begun = client.post("/v2/ada/app/blobs/uploads/", b"").expect(202);
    let sent = client.patch(begun.header("location").unwrap(), &[], &noise(900, 50_000)).expect(202);
    server.admin_ok(&["backup", text(&into)]);
    server.kill();
    let restored = restored(&into);
    restored.is_sound();
    let place = sent.header("location").unwrap().split('?').next().unwrap();
    let found = client.at(&restored.address).get(place).expect(204);
    assert_eq!(found.header("range"), Some("0-0"));
}

#[test]
fn a_second_backup_takes_what_is_new_and_leaves_the_first_alone() {
    let (server, folder) = small();
    let into = folder.path().join("b");
    let client = server.signed_in("ada");
    server.admin_ok(&["backup", text(&into)]);
    let first = backups(&into).remove(0);
    let before = files(&first);
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for private in [&into, &first, &into.join("blobs")] {
        assert_eq!(mode(private), 0o700, "{}", private.display());
    }

    let new = noise(7, 70_000);
    client.push_blob("ada/app", &new);
    // Offline, this time.
    assert!(server.terminate().success());
    let summary = said(&server.admin(&["backup", text(&into)]), 0);
    assert!(summary.contains("4 blobs"), "{summary}");
    assert!(summary.contains("new: 1 linked, 0 copied, 70000 bytes"), "{summary}");
    assert_eq!(files(&first), before, "a finished backup was altered");
    said(&packhouse(&["restore", "--check", text(&first)]), 0);

    let restored = restored(&into);
    let client = client.at(&restored.address);
    let path = format!("/v2/ada/app/blobs/{}", content::sha256(&new));
    assert_eq!(client.get(&path).expect(200).body, new);
    // The restored folder is its own: what is deleted there stays in the backup.
    assert!(restored.terminate().success());
    std::fs::remove_dir_all(restored.data()).unwrap();
    said(&packhouse(&["restore", "--check", text(&into)]), 0);
}

#[test]
fn an_upload_on_its_way_begins_again_after_a_restore() {
    let (server, folder) = small();
    let client = server.signed_in("ada");
    let (bytes, location) = (noise(9, 90_000), client.begin("ada/app"));
    let sent = client.patch(&location, &[("Content-Range", "0-49999")], &bytes[..50_000]).expect(202);
    let location = sent.header("location").unwrap().to_owned();
    let into = folder.path().join("b");
    server.admin_ok(&["backup", text(&into)]);

    let restored = restored(&into);
    let client = client.at(&restored.address);
    let state = client.get(&location).expect(204);
    assert_eq!(state.header("range"), Some("0-0"), "no byte of it is there");
    let refused = client.patch(&location, &[("Content-Range", "50000-89999")], &bytes[50_000..]);
    assert_eq!(refused.status, 416, "{}", refused.text());
    let digest = content::sha256(&bytes);
    let again = client.patch(&location, &[("Content-Range", "0-89999")], &bytes).expect(202);
    client.put(&format!("{}&digest={digest}", again.header("location").unwrap()), b"").expect(201);
    assert_eq!(client.get(&format!("/v2/ada/app/blobs/{digest}")).expect(200).body, bytes);
}
