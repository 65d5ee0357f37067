//! What reviews found, so that it stays mended.

use serde_json::json;

use super::{DAEMON, alice, and, blob, bob, fresh_bytes, manifest, uploads};
use crate::support::{
    Server,
    content::{self, OCI_INDEX, sha256},
};

/// A blob of JSON is a manifest too, to whoever guesses it: that is no way to learn that somebody else has it.
#[test]
fn a_child_manifest_is_no_right_to_a_blob_of_its_digest() {
    let (alice, secret) = alice();
    let (bob, own) = bob();
    let guess = json!({"pin": DAEMON.number()});
    let bytes = content::bytes(&guess);
    let digest = alice.push_blob(&secret, &bytes);
    let typed = [("Content-Type", "application/x.y+json")];
    bob.send("PUT", &manifest(&own, &digest), &typed, &bytes).expect(201);
    let index = json!({
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [content::descriptor("application/x.y+json", &bytes)],
    });
    bob.put_manifest(&own, "ix", &index).expect(201);
    bob.get(&blob(&own, &digest)).refuses(404, "BLOB_UNKNOWN");
    bob.head(&blob(&own, &digest)).expect(404);
    // Nor is it one for a manifest that names the digest as a layer.
    let image = content::image(&bytes, &[]);
    bob.put_manifest(&own, "image", &image).refuses(404, "MANIFEST_BLOB_UNKNOWN");
    bob.get(&manifest(&own, &digest)).expect(200);
    bob.delete(&manifest(&own, &digest)).refuses(403, "DENIED");
}

#[test]
fn a_refused_chunk_leaves_a_session_that_can_be_closed() {
    let (client, repository) = alice();
    let bytes = fresh_bytes(100_000);
    let place = client.begin(&repository);
    let answer = client.patch(&place, &[], &bytes).expect(202);
    let place = answer.header("location").unwrap().to_owned();
    let surplus = fresh_bytes(60_001);
    let lies = [("Content-Range", "100000-149999")];
    client.send_chunked("PATCH", &place, &lies, &[&surplus]).refuses(400, "SIZE_INVALID");
    assert_eq!(client.get(&place).expect(204).header("range"), Some("0-99999"));
    client.put(&and(&place, &format!("digest={}", sha256(&bytes))), b"").expect(201);
    assert!(client.get(&blob(&repository, &sha256(&bytes))).expect(200).body == bytes);
}

#[test]
fn a_blob_whose_file_is_gone_is_repaired_by_pushing_it_again() {
    let server = Server::start();
    let client = server.signed_in("alice");
    let bytes = content::noise(7, 100_000);
    let digest = client.push_blob("alice/app", &bytes);
    let mut files = Vec::new();
    for folder in std::fs::read_dir(server.data().join("blobs")).unwrap() {
        files.extend(std::fs::read_dir(folder.unwrap().path()).unwrap().map(|file| file.unwrap().path()));
    }
    assert_eq!(files.len(), 1);
    std::fs::remove_file(&files[0]).unwrap();
    client.push_blob("alice/app", &bytes);
    assert!(client.get(&blob("alice/app", &digest)).expect(200).body == bytes);
}

#[test]
fn a_media_type_is_not_kept_beyond_deletion() {
    let (client, repository) = alice();
    let value = json!({"schemaVersion": 2, "manifests": [], "n": DAEMON.number()});
    let bytes = content::bytes(&value);
    let target = manifest(&repository, &sha256(&bytes));
    client.send("PUT", &target, &[("Content-Type", "application/wrong+json")], &bytes).expect(201);
    client.send("PUT", &target, &[("Content-Type", OCI_INDEX)], &bytes).refuses(400, "MANIFEST_INVALID");
    client.delete(&target).expect(202);
    client.send("PUT", &target, &[("Content-Type", OCI_INDEX)], &bytes).expect(201);
    assert_eq!(client.head(&target).expect(200).header("content-type"), Some(OCI_INDEX));
}

#[test]
fn only_what_stores_something_allocates_a_package() {
    let (client, repository) = alice();
    let session = format!("{}0123456789abcdef0123456789abcdef", uploads(&repository));
    client.get(&session).refuses(404, "NAME_UNKNOWN");
    client.patch(&session, &[], b"x").refuses(404, "NAME_UNKNOWN");
    client.send("PUT", &manifest(&repository, "bad"), &[], b"no manifest").refuses(400, "MANIFEST_INVALID");
    client.get(&format!("/v2/{repository}/tags/list")).refuses(404, "NAME_UNKNOWN");
}

#[test]
fn a_status_query_after_a_restart_disturbs_no_upload() {
    let mut server = Server::start();
    let client = server.signed_in("alice");
    let bytes = content::noise(8, 300_000);
    let place = client.begin("alice/app");
    client.patch(&place, &[], &bytes[..100_000]).expect(202);
    server.crash_and_restart();
    let client = client.at(&server.address);
    let (bare, _) = place.split_once('?').unwrap();
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| (0..50).for_each(|_| drop(client.get(bare).expect(204)))))
            .collect();
        client.patch(bare, &[("Content-Range", "100000-199999")], &bytes[100_000..200_000]).expect(202);
        client.patch(bare, &[("Content-Range", "200000-299999")], &bytes[200_000..]).expect(202);
        asking.into_iter().for_each(|thread| thread.join().unwrap());
    });
    client.put(&format!("{bare}?digest={}", sha256(&bytes)), b"").expect(201);
    assert!(client.get(&blob("alice/app", &sha256(&bytes))).expect(200).body == bytes);
}

/// The first password is not lost with a start that failed.
#[test]
fn a_first_start_on_a_busy_port_shows_the_password_all_the_same() {
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(crate::support::PROGRAM)
        .args(["serve", "--metrics-listen", "off", "--listen"])
        .arg(busy.local_addr().unwrap().to_string())
        .arg("--data")
        .arg(folder.path().join("data"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("with the password"), "{output:?}");
}

/// The last manifest that holds a blob may go between "it is here" and the manifest that was to name it.
#[test]
fn what_a_deleted_manifest_held_stays_for_the_next() {
    let server = Server::with(&[("PACKHOUSE_LIMITS_LEASE_TTL", "2s")]);
    let client = server.signed_in("alice");
    let first = client.push_image("alice/app", "one", 5);
    std::thread::sleep(std::time::Duration::from_millis(2500));
    let layer = first["layers"][0]["digest"].as_str().unwrap();
    client.head(&blob("alice/app", layer)).expect(200);
    client.delete(&manifest("alice/app", &sha256(&content::bytes(&first)))).expect(202);
    let mut second = first.clone();
    second["annotations"] = json!({"another": "one"});
    client.put_manifest("alice/app", "two", &second).expect(201);
    client.get(&blob("alice/app", layer)).expect(200);
}
