//! Many at once.

use super::{
    DAEMON, alice, and, at_once, blob, eventually, fresh_bytes, location, manifest, restart::files, uploads,
};
use crate::support::{
    Client, Server,
    content::{self, sha256},
};

/// Opens a session and sends half of a blob; then, all at once, the other half and the end.
fn halves(clients: &[(Client, String)], bytes: &[u8]) -> Vec<u16> {
    let (first, last) = bytes.split_at(bytes.len() / 2);
    let close = format!("digest={}", sha256(bytes));
    let places: Vec<String> = clients
        .iter()
        .map(|(client, repository)| {
            location(&client.patch(&client.begin(repository), &[], first).expect(202))
        })
        .collect();
    at_once(clients.len(), |index| clients[index].0.put(&and(&places[index], &close), last).status)
}

#[test]
fn b31_the_same_blob_from_many_clients_at_once_is_stored_once() {
    let server = Server::start();
    let clients: Vec<(Client, String)> = ["ann", "ben", "cem", "dot"]
        .iter()
        .flat_map(|user| {
            let client = server.signed_in(user);
            [(client.clone(), format!("{user}/one")), (client, format!("{user}/two"))]
        })
        .collect();
    for (client, repository) in &clients {
        client.push_blob(repository, b"the repository is there");
    }
    let before = files(&server);
    for size in [100_000, 1000] {
        let bytes = fresh_bytes(size);
        assert_eq!(halves(&clients, &bytes), [201; 8]);
        let digest = sha256(&bytes);
        for (client, repository) in &clients {
            assert!(client.get(&blob(repository, &digest)).expect(200).body == bytes);
        }
        let single = fresh_bytes(size);
        let target = |repository: &str| format!("{}?digest={}", uploads(repository), sha256(&single));
        let posted = at_once(8, |index| clients[index].0.post(&target(&clients[index].1), &single).status);
        assert_eq!(posted, [201; 8]);
    }
    // Two of a size that is kept in files; the other copies go by themselves.
    eventually("one copy of each is left", || files(&server) == before + 2);
    for (client, repository) in &clients {
        client.push_blob(repository, b"and all is well");
    }
    server.is_sound();
    server.kill();
    server.is_sound();
}

#[test]
fn b31_the_same_blob_into_one_repository_by_many_at_once() {
    let (client, repository) = alice();
    client.push_blob(&repository, b"the repository is there");
    for size in [100_000, 1000] {
        let bytes = fresh_bytes(size);
        let clients = vec![(client.clone(), repository.clone()); 6];
        assert_eq!(halves(&clients, &bytes), [201; 6]);
        assert!(client.get(&blob(&repository, &sha256(&bytes))).expect(200).body == bytes);
    }
}

/// The first of many pushes into a repository allocates it; all of them succeed.
#[test]
fn a_repository_is_made_by_whoever_comes_first_and_nobody_fails() {
    for _ in 0..5 {
        let (client, repository) = alice();
        let begun = at_once(6, |_| client.post(&uploads(&repository), b"").status);
        assert_eq!(begun, [202; 6]);
        let (client, repository) = alice();
        let empty = serde_json::json!({"schemaVersion": 2, "mediaType": content::OCI_INDEX, "manifests": []});
        let put = at_once(6, |index| client.put_manifest(&repository, &format!("t{index}"), &empty).status);
        assert_eq!(put, [201; 6]);
        let tags = client.get(&format!("/v2/{repository}/tags/list")).expect(200).json();
        assert_eq!(tags["tags"].as_array().unwrap().len(), 6);
    }
}

/// Whole images side by side, sharing a layer: every pull is what was pushed.
#[test]
fn many_images_at_once_share_a_layer() {
    let (client, repository) = alice();
    let shared = fresh_bytes(40_000);
    let images = at_once(6, |index| {
        let own = content::noise(7_000 + index as u64, 20_000);
        let config = format!("{{\"number\":{index}}}").into_bytes();
        for bytes in [&shared, &own, &config] {
            client.push_blob(&repository, bytes);
        }
        let image = content::image(&config, &[&shared, &own]);
        client.put_manifest(&repository, &format!("t{index}"), &image).expect(201);
        image
    });
    for (index, image) in images.iter().enumerate() {
        assert_eq!(
            client.get(&manifest(&repository, &format!("t{index}"))).expect(200).body,
            content::bytes(image)
        );
        for layer in image["layers"].as_array().unwrap() {
            let digest = layer["digest"].as_str().unwrap();
            assert_eq!(sha256(&client.get(&blob(&repository, digest)).expect(200).body), digest);
        }
    }
}

/// Two who work on one session by asking where it stands: whatever they do to each other, the blob is right.
#[test]
fn two_clients_on_one_session_finish_it_together() {
    let (client, repository) = alice();
    for size in [10_000, 200_000] {
        let bytes = fresh_bytes(size);
        let place = client.begin(&repository);
        at_once(2, |thread| {
            let chunk = size / (9 + 2 * thread);
            loop {
                let status = client.get(&place).expect(204);
                let next = location(&status);
                let at: usize = next.split_once("?at=").unwrap().1.parse().unwrap();
                if at == size {
                    break;
                }
                let answer = client.patch(&next, &[], &bytes[at..(at + chunk).min(size)]);
                assert!(matches!(answer.status, 202 | 416), "{}: {}", answer.status, answer.text());
            }
        });
        client.put(&and(&place, &format!("digest={}", sha256(&bytes))), b"").expect(201);
        assert!(client.get(&blob(&repository, &sha256(&bytes))).expect(200).body == bytes);
    }
}

/// Closing, cancelling and adding at once: one of them ends the session, and a blob is there only if it was closed.
#[test]
fn a_session_ends_once() {
    let (client, repository) = alice();
    client.push_blob(&repository, b"the repository is there");
    for size in [100, 50_000] {
        for _ in 0..5 {
            let bytes = fresh_bytes(size);
            let place = location(&client.patch(&client.begin(&repository), &[], &bytes).expect(202));
            let close = and(&place, &format!("digest={}", sha256(&bytes)));
            let answers = at_once(3, |thread| match thread {
                0 | 1 => client.put(&close, b"").status,
                _ => client.delete(&place).status,
            });
            // Who closes it second learns that the blob is here; who cancels it leaves nothing to close.
            let expected: &[u16] = if answers[2] == 204 { &[404, 404, 204] } else { &[201, 201, 404] };
            assert_eq!(answers, expected);
            let stored = client.head(&blob(&repository, &sha256(&bytes))).status;
            assert_eq!(stored, if answers[2] == 204 { 404 } else { 200 }, "{answers:?}");
        }
    }
}

/// Deleted here and pushed there at once: the pusher's copy is whole.
#[test]
fn a_blob_deleted_by_one_while_another_pushes_it_is_there_for_the_other() {
    let (client, first) = alice();
    let second = DAEMON.repository("alice");
    client.push_blob(&second, b"the repository is there");
    for size in [500, 60_000] {
        for _ in 0..5 {
            let bytes = fresh_bytes(size);
            let digest = client.push_blob(&first, &bytes);
            at_once(2, |thread| match thread {
                0 => client.delete(&blob(&first, &digest)).expect(202),
                _ => client.post(&format!("{}?digest={digest}", uploads(&second)), &bytes).expect(201),
            });
            assert!(client.get(&blob(&second, &digest)).expect(200).body == bytes);
            client.get(&blob(&first, &digest)).refuses(404, "BLOB_UNKNOWN");
        }
    }
}

/// An index that names what is missing, and what is missing, at once: whichever is first, the index holds it afterwards.
#[test]
fn what_arrives_while_an_index_names_it_is_held_by_it() {
    let (client, repository) = alice();
    client.push_image(&repository, "exists", 1);
    for _ in 0..25 {
        let layer = fresh_bytes(200);
        let child = serde_json::json!({
            "schemaVersion": 2, "mediaType": content::OCI_INDEX, "manifests": [],
            "annotations": {"number": DAEMON.number().to_string()},
        });
        let child_bytes = content::bytes(&child);
        let index = serde_json::json!({
            "schemaVersion": 2, "mediaType": content::OCI_INDEX,
            "manifests": [
                content::descriptor(content::OCI_LAYER, &layer),
                content::descriptor(content::OCI_INDEX, &child_bytes),
            ],
        });
        let target = format!("{}?digest={}", uploads(&repository), sha256(&layer));
        at_once(3, |thread| match thread {
            0 => client.put_manifest(&repository, "race", &index).expect(201),
            1 => client.post(&target, &layer).expect(201),
            _ => client.put_manifest(&repository, &sha256(&child_bytes), &child).expect(201),
        });
        client.delete(&blob(&repository, &sha256(&layer))).refuses(405, "UNSUPPORTED");
        client.delete(&manifest(&repository, &sha256(&child_bytes))).refuses(403, "DENIED");
    }
}
