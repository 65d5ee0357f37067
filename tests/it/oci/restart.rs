//! What a killed daemon knows afterwards: everything that it acknowledged.

use std::io::Write;

use super::{and, blob, eventually, fresh_bytes, location, manifest};
use crate::support::{
    Client, Response, Server,
    content::{self, sha256, sha512},
};

#[track_caller]
fn held(answer: &Response) -> usize {
    location(answer).split_once("?at=").unwrap().1.parse().unwrap()
}

fn again(server: &mut Server, client: &Client) -> Client {
    server.crash_and_restart();
    client.at(&server.address)
}

#[test]
fn b27_what_was_acknowledged_survives_a_kill() {
    let mut server = Server::start();
    let client = server.signed_in("alice");
    let repository = "alice/app";
    let image = client.push_image(repository, "latest", 27);
    let index = content::index(&[&image]);
    client.put_manifest(repository, "index", &index).expect(201);
    let mut with_subject = content::index(&[]);
    with_subject["subject"] = content::descriptor(content::OCI_MANIFEST, &content::bytes(&image));
    client.put_manifest(repository, "signature", &with_subject).expect(201);
    let (small, large) = (fresh_bytes(900), fresh_bytes(300_000));
    client.push_blob(repository, &small);
    client.push_blob(repository, &large);
    client.put_manifest(repository, "gone", &image).expect(201);
    client.delete(&manifest(repository, "gone")).expect(202);
    server.admin_ok(&["package", "visibility", repository, "public"]);

    let client = again(&mut server, &client);
    let subject = sha256(&content::bytes(&image));
    assert_eq!(client.get(&manifest(repository, "latest")).expect(200).body, content::bytes(&image));
    assert_eq!(client.get(&manifest(repository, "index")).expect(200).body, content::bytes(&index));
    client.get(&manifest(repository, "gone")).refuses(404, "MANIFEST_UNKNOWN");
    for bytes in [&small, &large] {
        assert!(client.get(&blob(repository, &sha256(bytes))).expect(200).body == *bytes);
    }
    let tags = client.get(&format!("/v2/{repository}/tags/list")).expect(200).json();
    assert_eq!(tags["tags"], serde_json::json!(["index", "latest", "signature"]));
    let found = client.get(&format!("/v2/{repository}/referrers/{subject}")).expect(200).json();
    assert_eq!(found["manifests"][0]["digest"], sha256(&content::bytes(&with_subject)));
    server.anonymous().get(&manifest(repository, "latest")).expect(200);
    let layer = image["layers"][0]["digest"].as_str().unwrap();
    client.delete(&blob(repository, layer)).refuses(405, "UNSUPPORTED");
    // And it goes on taking what comes.
    client.push_image(repository, "after", 28);
}

/// The status after the kill is the offset to go on from: never beyond what was sent, and everything before it is there.
#[test]
fn b27_sessions_go_on_after_a_kill() {
    let mut server = Server::start();
    let client = server.signed_in("alice");
    let repository = "alice/app";
    // What stays in the row, what is a file, and both with each algorithm.
    let cases: Vec<(Vec<u8>, usize, fn(&[u8]) -> String)> = vec![
        (fresh_bytes(0), 0, sha256),
        (fresh_bytes(5000), 2000, sha256),
        (fresh_bytes(5000), 2000, sha512),
        (fresh_bytes(400_000), 150_000, sha256),
        (fresh_bytes(400_000), 150_000, sha512),
        (fresh_bytes(30_000), 16_384, sha256),
    ];
    let hinted =
        location(&client.post("/v2/alice/app/blobs/uploads/?digest-algorithm=sha512", b"").expect(202));
    let hinted = location(&client.patch(&hinted, &[], b"hinted").expect(202));
    let places: Vec<String> = cases
        .iter()
        .map(|(bytes, first, _)| {
            location(&client.patch(&client.begin(repository), &[], &bytes[..*first]).expect(202))
        })
        .collect();

    let client = again(&mut server, &client);
    for ((bytes, first, digest_of), place) in cases.iter().zip(&places) {
        let status = client.get(place).expect(204);
        let at = held(&status);
        assert_eq!(at, *first, "nothing of the system's was lost, so nothing acknowledged is");
        let next = client.patch(&location(&status), &[], &bytes[at..]).expect(202);
        let digest = digest_of(bytes);
        client.put(&and(&location(&next), &format!("digest={digest}")), b"").expect(201);
        assert!(client.get(&blob(repository, &digest)).expect(200).body == *bytes);
    }
    client.put(&and(&hinted, &format!("digest={}", sha256(b"hinted"))), b"").refuses(400, "DIGEST_INVALID");
}

#[test]
fn b27_a_kill_in_the_middle_of_a_body_costs_no_more_than_that_body() {
    let mut server = Server::start();
    let mut client = server.signed_in("alice");
    let repository = "alice/app";
    for (first, sent, size) in [(0, 3000, 9000), (5000, 9000, 30_000), (100_000, 250_000, 600_000)] {
        let bytes = fresh_bytes(size);
        let place = location(&client.patch(&client.begin(repository), &[], &bytes[..first]).expect(202));
        let mut stream = client.open("PATCH", &place, &[], Some((size - first) as u64));
        stream.write_all(&bytes[first..sent]).unwrap();
        client = again(&mut server, &client);
        let status = client.get(&place).expect(204);
        let at = held(&status);
        assert!((first..=sent).contains(&at) || at == 0, "{at} of {first}..={sent}");
        let next = client.patch(&location(&status), &[], &bytes[at..]).expect(202);
        client.put(&and(&location(&next), &format!("digest={}", sha256(&bytes))), b"").expect(201);
        assert!(client.get(&blob(repository, &sha256(&bytes))).expect(200).body == bytes);
    }
}

/// Twice over: the second daemon cuts what the first left beyond its record, and the third goes on from there.
#[test]
fn b27_sessions_survive_kill_after_kill() {
    let mut server = Server::start();
    let mut client = server.signed_in("alice");
    let repository = "alice/app";
    let bytes = fresh_bytes(200_000);
    let mut place = client.begin(repository);
    for chunk in bytes.chunks(60_000) {
        // A replay of what the last daemon took is told apart by the next one.
        let next = location(&client.patch(&place, &[], chunk).expect(202));
        client = again(&mut server, &client);
        client.patch(&place, &[], chunk).expect(416);
        place = next;
    }
    client.put(&and(&place, &format!("digest={}", sha256(&bytes))), b"").expect(201);
    client = again(&mut server, &client);
    assert!(client.get(&blob(repository, &sha256(&bytes))).expect(200).body == bytes);
    client.get(&place).refuses(404, "BLOB_UPLOAD_UNKNOWN");
}

/// Pushed before, pulled after, for every size class and with a polite end instead of a kill.
#[test]
fn b01_a_restart_between_push_and_pull_is_not_noticed() {
    let mut server = Server::start();
    let client = server.signed_in("alice");
    let images: Vec<_> =
        (0..5).map(|seed| client.push_image("alice/app", &format!("v{seed}"), seed)).collect();
    let place = location(&client.patch(&client.begin("alice/app"), &[], b"half").expect(202));
    assert!(server.terminate().success());
    let client = again(&mut server, &client);
    for (seed, image) in images.iter().enumerate() {
        let pulled = client.get(&manifest("alice/app", &format!("v{seed}"))).expect(200);
        assert_eq!(pulled.body, content::bytes(image));
        let layer = image["layers"][0]["digest"].as_str().unwrap();
        assert_eq!(client.get(&blob("alice/app", layer)).expect(200).body, content::noise(seed as u64, 2000));
    }
    client.put(&and(&place, &format!("digest={}", sha256(b"half way"))), b" way").expect(201);
}

/// Bytes of uploads that were refused, cancelled or lost do not pile up in the folder.
#[test]
fn nothing_of_given_up_uploads_stays_in_the_folder() {
    let server = Server::start();
    let client = server.signed_in("alice");
    client.push_image("alice/app", "latest", 1);
    let before = files(&server);
    for _ in 0..3 {
        let place =
            location(&client.patch(&client.begin("alice/app"), &[], &fresh_bytes(90_000)).expect(202));
        client.delete(&place).expect(204);
        let place =
            location(&client.patch(&client.begin("alice/app"), &[], &fresh_bytes(90_000)).expect(202));
        client.put(&and(&place, &format!("digest={}", sha256(b"other"))), b"").refuses(400, "DIGEST_INVALID");
        let target = format!("/v2/alice/app/blobs/uploads/?digest={}", sha256(b"other"));
        client.post(&target, &fresh_bytes(90_000)).refuses(400, "DIGEST_INVALID");
    }
    eventually("the folder is as before", || files(&server) == before);
}

/// Bytes that no session names are gone some seconds after the next start; those of sessions stay.
#[test]
fn b27_a_kill_in_the_middle_of_an_upload_in_one_request_leaves_nothing_for_long() {
    let mut server = Server::start();
    let client = server.signed_in("alice");
    let bytes = fresh_bytes(300_000);
    let place = location(&client.patch(&client.begin("alice/app"), &[], &bytes[..200_000]).expect(202));
    assert_eq!(files(&server), 1);
    let target = format!("/v2/alice/app/blobs/uploads/?digest={}", sha256(&bytes));
    let mut stream = client.open("POST", &target, &[], Some(300_000));
    stream.write_all(&bytes[..200_000]).unwrap();
    eventually("the bytes arrive", || files(&server) == 2);

    let client = again(&mut server, &client);
    assert_eq!(files(&server), 2);
    eventually("the session's file alone is left", || files(&server) == 1);
    let place = location(&client.get(&place).expect(204));
    client.put(&and(&place, &format!("digest={}", sha256(&bytes))), &bytes[200_000..]).expect(201);
    assert!(client.get(&blob("alice/app", &sha256(&bytes))).expect(200).body == bytes);
}

/// How many files hold bytes of blobs or uploads.
pub(super) fn files(server: &Server) -> usize {
    fn count(folder: &std::path::Path) -> usize {
        let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
        entries.flatten().map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
    }
    assert!(server.data().join("blobs").is_dir());
    count(&server.data().join("blobs")) + count(&server.data().join("uploads"))
}

/// Killed between the bytes' lasting name and the batch that makes them a blob: the client that closes the session again
/// need not send them again.
#[test]
fn a_close_that_was_cut_off_can_be_tried_again() {
    let mut server = Server::start();
    let client = server.signed_in("alice");
    let repository = "alice/app";
    let digests: [fn(&[u8]) -> String; 2] = [sha256, sha512];
    for digest_of in digests {
        let bytes = fresh_bytes(60_000);
        let place = location(&client.at(&server.address).patch(
            &client.at(&server.address).begin(repository),
            &[],
            &bytes,
        ));
        server.kill();
        // What a kill between the two steps leaves.
        let uploads = std::fs::read_dir(server.data().join("uploads")).unwrap();
        let [upload] = uploads.map(|entry| entry.unwrap()).collect::<Vec<_>>().try_into().unwrap();
        let name = upload.file_name().into_string().unwrap();
        std::fs::rename(upload.path(), server.data().join("blobs").join(&name[..2]).join(&name)).unwrap();
        server.crash_and_restart();

        let client = client.at(&server.address);
        assert_eq!(held(&client.get(&place).expect(204)), bytes.len());
        let digest = digest_of(&bytes);
        client.put(&and(&place, &format!("digest={digest}")), b"").expect(201);
        assert!(client.get(&blob(repository, &digest)).expect(200).body == bytes);
    }
}
