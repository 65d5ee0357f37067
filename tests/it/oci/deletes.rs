//! Deleting tags, manifests, blobs.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use serde_json::{Value, json};

use super::{alice, at_once, blob, fresh_bytes, manifest};
use crate::support::{
    Client,
    content::{self, sha256},
};

fn digest_of(value: &Value) -> String {
    sha256(&content::bytes(value))
}

fn tags(client: &Client, repository: &str) -> Value {
    client.get(&format!("/v2/{repository}/tags/list")).expect(200).json()["tags"].clone()
}

#[test]
fn b19_deleting_a_tag_leaves_the_manifest() {
    let (client, repository) = alice();
    let image = client.push_image(&repository, "one", 19);
    client.put_manifest(&repository, "two", &image).expect(201);
    client.delete(&manifest(&repository, "one")).expect(202);
    client.get(&manifest(&repository, "one")).refuses(404, "MANIFEST_UNKNOWN");
    client.get(&manifest(&repository, "two")).expect(200);
    client.get(&manifest(&repository, &digest_of(&image))).expect(200);
    client.delete(&manifest(&repository, "one")).refuses(404, "MANIFEST_UNKNOWN");
    client.delete(&manifest(&repository, "two")).expect(202);
    client.get(&manifest(&repository, &digest_of(&image))).expect(200);
    assert_eq!(tags(&client, &repository), json!([]));
    let layer = image["layers"][0]["digest"].as_str().unwrap();
    client.get(&blob(&repository, layer)).expect(200);
}

#[test]
fn b19_deleting_a_digest_removes_all_its_tags_and_no_others() {
    let (client, repository) = alice();
    let image = client.push_image(&repository, "one", 20);
    client.put_manifest(&repository, "two", &image).expect(201);
    let other = client.push_image(&repository, "other", 21);
    client.delete(&manifest(&repository, &digest_of(&image))).expect(202);
    for reference in ["one", "two", &digest_of(&image)] {
        client.get(&manifest(&repository, reference)).refuses(404, "MANIFEST_UNKNOWN");
        client.head(&manifest(&repository, reference)).expect(404);
    }
    assert_eq!(tags(&client, &repository), json!(["other"]));
    assert_eq!(client.get(&manifest(&repository, "other")).expect(200).body, content::bytes(&other));
    client.delete(&manifest(&repository, &digest_of(&image))).refuses(404, "MANIFEST_UNKNOWN");
}

#[test]
fn b19_a_deleted_manifest_comes_back_when_it_is_pushed_again() {
    let (client, repository) = alice();
    let image = client.push_image(&repository, "one", 22);
    client.delete(&manifest(&repository, &digest_of(&image))).expect(202);
    client.put_manifest(&repository, "again", &image).expect(201);
    assert_eq!(client.get(&manifest(&repository, "again")).expect(200).body, content::bytes(&image));
    client.get(&manifest(&repository, "one")).refuses(404, "MANIFEST_UNKNOWN");
    let layer = image["layers"][0]["digest"].as_str().unwrap();
    client.get(&blob(&repository, layer)).expect(200);
    client.delete(&blob(&repository, layer)).refuses(405, "UNSUPPORTED");
}

#[test]
fn b19_a_child_of_a_live_index_is_not_deleted() {
    let (client, repository) = alice();
    let image = client.push_image(&repository, "image", 23);
    let inner = content::index(&[&image]);
    client.put_manifest(&repository, "inner", &inner).expect(201);
    let outer = content::index(&[&inner]);
    client.put_manifest(&repository, "outer", &outer).expect(201);
    for child in [&image, &inner] {
        let refused = client.delete(&manifest(&repository, &digest_of(child))).refuses(403, "DENIED");
        assert_eq!(refused.json()["errors"][0]["detail"]["reason"], "in-use");
        client.get(&manifest(&repository, &digest_of(child))).expect(200);
    }
    // Refused whole: its tags are still there, and may go by themselves.
    assert_eq!(tags(&client, &repository), json!(["image", "inner", "outer"]));
    client.delete(&manifest(&repository, "image")).expect(202);
    client.delete(&manifest(&repository, &digest_of(&image))).refuses(403, "DENIED");
    for value in [&outer, &inner, &image] {
        client.delete(&manifest(&repository, &digest_of(value))).expect(202);
    }
    assert_eq!(tags(&client, &repository), json!([]));
}

#[test]
fn b19_an_index_of_another_repository_is_in_nobodys_way() {
    let (client, repository) = alice();
    let (_, other) = alice();
    let image = client.push_image(&repository, "image", 24);
    client.push_image(&other, "image", 24);
    client.put_manifest(&other, "index", &content::index(&[&image])).expect(201);
    client.delete(&manifest(&repository, &digest_of(&image))).expect(202);
    client.get(&manifest(&other, &digest_of(&image))).expect(200);
}

/// A reader of other tags notices nothing of a deletion, and none of the deleted ones outlives another.
#[test]
fn b19_a_deletion_is_seen_whole_or_not_at_all() {
    let (client, repository) = alice();
    for round in 0..5 {
        let image = client.push_image(&repository, "a", 100 + round);
        for tag in ["b", "c", "z"] {
            client.put_manifest(&repository, tag, &image).expect(201);
        }
        client.push_image(&repository, "steady", 99);
        let done = AtomicBool::new(false);
        at_once(2, |thread| {
            if thread == 0 {
                client.delete(&manifest(&repository, &digest_of(&image))).expect(202);
                done.store(true, SeqCst);
                return;
            }
            loop {
                let last = done.load(SeqCst);
                let listed = tags(&client, &repository);
                let whole = json!(["a", "b", "c", "steady", "z"]);
                assert!(listed == whole || listed == json!(["steady"]), "{listed}");
                client.get(&manifest(&repository, "steady")).expect(200);
                if last {
                    assert_eq!(listed, json!(["steady"]));
                    break;
                }
            }
        });
    }
}

/// Of many who delete the same, one did it and the others find it gone; nobody gets an error of the server's.
#[test]
fn b19_deleting_is_idempotent_also_at_once() {
    let (client, repository) = alice();
    let image = client.push_image(&repository, "tag", 25);
    let layer = client.push_blob(&repository, &fresh_bytes(100));
    for target in
        [manifest(&repository, "tag"), manifest(&repository, &digest_of(&image)), blob(&repository, &layer)]
    {
        let answers = at_once(4, |_| client.delete(&target).status);
        assert!(answers.contains(&202), "{answers:?}");
        assert!(answers.iter().all(|status| matches!(status, 202 | 404)), "{target}: {answers:?}");
        client.delete(&target).expect(404);
    }
}

/// Whatever order a manifest's put and its blob's deletion take, no stored manifest lacks its blob.
#[test]
fn a_blob_deleted_while_a_manifest_arrives_is_kept_or_missed() {
    let (client, repository) = alice();
    client.push_image(&repository, "exists", 1);
    for _ in 0..10 {
        let layer = fresh_bytes(200);
        let config = fresh_bytes(20);
        client.push_blob(&repository, &config);
        let target = blob(&repository, &client.push_blob(&repository, &layer));
        let image = content::image(&config, &[&layer]);
        let answers = at_once(2, |thread| match thread {
            0 => client.delete(&target).status,
            _ => client.put_manifest(&repository, "race", &image).status,
        });
        match answers[..] {
            [405, 201] => assert!(client.get(&target).expect(200).body == layer),
            [202, 404] => {
                client.get(&target).refuses(404, "BLOB_UNKNOWN");
                client.get(&manifest(&repository, &digest_of(&image))).refuses(404, "MANIFEST_UNKNOWN");
            }
            _ => panic!("{answers:?}"),
        }
    }
}

/// Many repositories share blobs and lose them in any order: the others pull on (T031).
#[test]
fn blobs_that_repositories_share_survive_any_order_of_deletion() {
    let (client, _) = alice();
    for seed in 0..4u64 {
        let bytes: Vec<Vec<u8>> = [300, 30_000].map(fresh_bytes).to_vec();
        let repositories: Vec<String> = (0..4).map(|_| super::DAEMON.repository("alice")).collect();
        let mut held: Vec<(usize, usize)> = (0..4).flat_map(|one| [(one, 0), (one, 1)]).collect();
        for (one, which) in &held {
            client.push_blob(&repositories[*one], &bytes[*which]);
        }
        let mut order = content::noise(seed, 64).into_iter();
        while !held.is_empty() {
            let (one, which) = held.remove(usize::from(order.next().unwrap()) % held.len());
            client.delete(&blob(&repositories[one], &sha256(&bytes[which]))).expect(202);
            for (other, which) in &held {
                let target = blob(&repositories[*other], &sha256(&bytes[*which]));
                assert!(client.get(&target).expect(200).body == bytes[*which]);
            }
            client.get(&blob(&repositories[one], &sha256(&bytes[which]))).refuses(404, "BLOB_UNKNOWN");
        }
    }
}

/// Indexes of indexes, deeper than anything would walk by recursion.
#[test]
fn a_tower_of_indexes_is_built_and_taken_down() {
    let (client, repository) = alice();
    let mut tower = vec![json!({"schemaVersion": 2, "mediaType": content::OCI_INDEX, "manifests": []})];
    for _ in 0..60 {
        tower.push(content::index(&[tower.last().unwrap()]));
    }
    for value in &tower {
        client.put_manifest(&repository, &digest_of(value), value).expect(201);
    }
    client.delete(&manifest(&repository, &digest_of(&tower[0]))).refuses(403, "DENIED");
    for value in tower.iter().rev() {
        client.delete(&manifest(&repository, &digest_of(value))).expect(202);
    }
}
