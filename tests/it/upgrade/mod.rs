//! Data folders of other releases: older ones open and serve, newer ones are refused and stay as they are.
//!
//! `format-1.txt` is what release 0.1.0 stored for a few users, packages and uploads: a part of the key space, a key and a
//! value a line, in hexadecimal. Nobody makes it anew from the code as it is now: it is what is out there.

use std::path::Path;

use packhouse::store::{Batch, Key, RocksOptions, Space, open_directory};
use tempfile::TempDir;

use crate::support::{
    PROGRAM, Server,
    content::{OCI_MANIFEST, bytes, descriptor, image, index, noise, sha256},
    folder::everything,
};

const STORED: &str = include_str!("format-1.txt");

/// The lines of the fixture.
fn entries() -> Vec<(Key, Vec<u8>)> {
    let entry = |line: &str| {
        let [space, key, value] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let space = Space::ALL.into_iter().find(|known| known.word() == space).unwrap();
        (Key { space, bytes: hex::decode(key).unwrap() }, hex::decode(value).unwrap())
    };
    STORED.lines().map(entry).collect()
}

/// A folder as 0.1.0 left it, in a folder of the test's own.
async fn old() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (meta, _blobs) = open_directory(&data, RocksOptions::default()).unwrap();
    let mut batch = Batch::new();
    let big = noise(4, 40_000);
    for (key, value) in entries() {
        // The one blob with a file: its record ends in the file's name.
        if key.space == Space::Blob && hex::encode(&key.bytes).ends_with(&sha256(&big)[7..]) {
            let name = hex::encode(&value[value.len() - 16..]);
            std::fs::write(data.join("blobs").join(&name[..2]).join(&name), &big).unwrap();
        }
        batch.put(key, value);
    }
    meta.commit(batch).await.unwrap();
    drop(meta);
    std::fs::remove_file(data.join("format")).unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_0_1_0_opens_and_serves_all_it_holds() {
    let server = Server::of(old().await, &[]);
    assert_eq!(std::fs::read(server.data().join("format")).unwrap(), b"2\n", "it is stamped");
    let listed = server.admin_ok(&["user", "list"]);
    assert!(["admin", "ada", "bob"].iter().all(|name| listed.contains(name)), "{listed}");
    let listed = server.admin_ok(&["org", "member", "list", "acme"]);
    assert!(listed.contains("ada") && listed.contains("owner") && listed.contains("bob"), "{listed}");

    // The push of the fixture, made again here: every byte must be there.
    let anybody = server.anonymous();
    let configs =
        [1, 2].map(|seed| format!("{{\"architecture\":\"amd64\",\"os\":\"linux\",\"seed\":{seed}}}"));
    let images = [1, 2].map(|seed| image(configs[seed - 1].as_bytes(), &[&noise(seed as u64, 2000)]));
    let mut signature = image(b"{}", &[&noise(4, 40_000)]);
    signature["subject"] = descriptor(OCI_MANIFEST, &bytes(&images[1]));
    signature["annotations"] = serde_json::json!({"a": "b"});
    let manifests = [
        ("v1", images[0].clone()),
        ("v2", images[1].clone()),
        ("index", index(&[&images[1]])),
        ("signed", signature.clone()),
    ];
    for (tag, manifest) in &manifests {
        let answer = anybody.get(&format!("/v2/acme/app/manifests/{tag}")).expect(200);
        assert_eq!(answer.body, bytes(manifest), "{tag}");
    }
    let blobs = [noise(1, 2000), noise(2, 2000), noise(4, 40_000), b"{}".to_vec(), configs[0].clone().into()];
    for blob in &blobs {
        let path = format!("/v2/acme/app/blobs/{}", sha256(blob));
        assert_eq!(anybody.get(&path).expect(200).body, *blob);
    }
    let subject = sha256(&bytes(&images[1]));
    let referrers = anybody.get(&format!("/v2/acme/app/referrers/{subject}")).expect(200).json();
    assert_eq!(referrers["manifests"][0]["digest"], sha256(&bytes(&signature)));
    // What was deleted stays so, and what was private stays so.
    anybody.get("/v2/acme/app/manifests/old").expect(404);
    anybody.get(&format!("/v2/ada/pending/blobs/{}", sha256(b"leased"))).expect(401);

    // What was queued in the old form is moved by the first steps of the jobs.
    for _ in 0..300 {
        if server.admin(&["fsck"]).status.success() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    server.is_sound();

    // Passwords and signing keys are good: the challenge's way, and then a push.
    let scope = "service=x&scope=repository:acme/app:pull,push";
    let signed = anybody.basic("bob", "correct horse battery").get(&format!("/token?{scope}")).expect(200);
    let bob = anybody.bearer(signed.json()["token"].as_str().unwrap());
    bob.push_image("acme/app", "new", 9);
    anybody.get("/v2/acme/app/manifests/new").expect(200);
    assert_eq!(bob.get("/v2/acme/app/tags/list").expect(200).json()["tags"].as_array().unwrap().len(), 5);
}

/// Every way of opening a folder is refused with these words and exit code 1, and changes nothing in it.
fn refused(data: &Path, words: &[&str]) {
    let before = everything(data);
    let data_flag = data.to_str().unwrap();
    for args in [
        &["serve", "--listen", "127.0.0.1:0", "--metrics-listen", "off"][..],
        &["user", "list"],
        &["backup", "/nonexistent/backups"],
    ] {
        let output =
            std::process::Command::new(PROGRAM).args(args).args(["--data", data_flag]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        assert!(words.iter().all(|word| said.contains(word)), "{args:?}: {said}");
    }
    assert!(everything(data) == before, "something in the refused folder was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_a_newer_release_is_refused_untouched() {
    let folder = old().await;
    let data = folder.path().join("data");
    // As 0.1.0 left it, so without a lock file of this release's making.
    std::fs::remove_file(data.join("lock")).unwrap();
    std::fs::write(data.join("format"), "3\n").unwrap();
    refused(&data, &["format 3", "a newer one wrote it", "nothing in it was changed"]);
    std::fs::write(data.join("format"), "garbage").unwrap();
    refused(&data, &["damaged file `format`"]);
    std::fs::write(data.join("format"), "1\n").unwrap();
    let server = Server::of(folder, &[]);
    server.anonymous().get("/v2/acme/app/manifests/v1").expect(200);
}

#[test]
fn the_fixture_holds_a_record_of_every_kind() {
    // The first byte of a key says what it is; see `src/registry/records/mod.rs`.
    let kinds: std::collections::BTreeSet<_> =
        entries().iter().map(|(key, _)| (key.space.word(), key.bytes[0] as char)).collect();
    for (space, tags) in [
        ("meta", "pnoOwmMgGkrsuUP"),
        ("blob", "b"),
        ("inline", "i"),
        ("refs", "rlu"),
        ("doc", "mcvstda"),
        ("queue", "quqm"),
        ("event", "eo"),
    ] {
        for tag in tags.chars() {
            assert!(kinds.contains(&(space, tag)), "{space} {tag}");
        }
    }
}
