//! Manifests that name what is not here: whether they are taken, and that they give nobody a right.

use serde_json::{Value, json};

use super::{blob, fresh_bytes, manifest, uploads};
use crate::support::{
    Client, Shared,
    content::{self, OCI_INDEX, OCI_LAYER, sha256},
};

static OFF: Shared = Shared::new(&[("PACKHOUSE_OCI_SPARSE", "off")]);
/// The default.
static INDEXES: Shared = Shared::new(&[]);
static ALL: Shared = Shared::new(&[("PACKHOUSE_OCI_SPARSE", "all")]);

/// A mode: its daemon, whether a layer may be missing, whether a child of an index may.
const MODES: [(&str, &Shared, bool, bool); 3] =
    [("off", &OFF, false, false), ("indexes", &INDEXES, false, true), ("all", &ALL, true, true)];

fn index_of(descriptors: &[Value]) -> Value {
    json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": descriptors})
}

#[track_caller]
fn put(client: &Client, repository: &str, tag: &str, value: &Value, allowed: bool, mode: &str) {
    let answer = client.put_manifest(repository, tag, value);
    if allowed {
        assert_eq!(answer.status, 201, "{mode}, {tag}: {}", answer.text());
    } else {
        let answer = answer.refuses(404, "MANIFEST_BLOB_UNKNOWN");
        assert!(answer.text().contains("sha256:"), "{mode}: it names what is missing: {}", answer.text());
        client.get(&manifest(repository, tag)).refuses(404, "MANIFEST_UNKNOWN");
    }
}

/// Neither as a blob nor as a manifest, neither read nor deleted nor mounted from here.
#[track_caller]
fn is_not_had(client: &Client, repository: &str, digest: &str, mode: &str) {
    for target in [blob(repository, digest), manifest(repository, digest)] {
        assert_eq!(client.head(&target).status, 404, "{mode}: HEAD {target}");
        assert_eq!(client.get(&target).status, 404, "{mode}: GET {target}");
        assert_eq!(client.delete(&target).status, 404, "{mode}: DELETE {target}");
        let part = client.send("GET", &target, &[("Range", "bytes=0-1")], b"");
        assert_eq!(part.status, 404, "{mode}: a part of {target}");
    }
    is_not_mounted(client, repository, digest, &format!("&from={repository}"));
}

#[track_caller]
fn is_not_mounted(client: &Client, repository: &str, digest: &str, source: &str) {
    let target = format!("{}?mount={digest}{source}", uploads(&format!("{repository}-copy")));
    let answer = client.post(&target, b"").expect(202);
    client.delete(&super::location(&answer)).expect(204);
}

/// The proof that the issue asks for: naming a digest gives nothing, in every mode.
#[test]
fn a_manifest_that_names_anothers_private_digest_gets_nothing_by_it() {
    for (mode, daemon, layers, children) in MODES {
        let (alice, mallory) = (daemon.signed_in("alice"), daemon.signed_in("mallory"));
        let (secret, theirs) = (daemon.repository("alice"), daemon.repository("mallory"));
        for size in [200, 40_000] {
            let layer = fresh_bytes(size);
            alice.push_blob(&secret, &layer);
            alice.push_blob(&secret, b"{}");
            let image = content::image(b"{}", &[&layer]);
            alice.put_manifest(&secret, "latest", &image).expect(201);
            let (layer_digest, image_digest) = (sha256(&layer), sha256(&content::bytes(&image)));

            mallory.push_blob(&theirs, b"{}");
            put(&mallory, &theirs, &format!("layer-{size}"), &image, layers, mode);
            let as_config = json!({
                "schemaVersion": 2, "mediaType": content::OCI_MANIFEST,
                "config": content::descriptor("a/b", &layer), "layers": [],
            });
            put(&mallory, &theirs, &format!("config-{size}"), &as_config, layers, mode);
            let as_blob = index_of(&[content::descriptor(OCI_LAYER, &layer)]);
            put(&mallory, &theirs, &format!("blob-{size}"), &as_blob, children, mode);
            let as_child = content::index(&[&image]);
            put(&mallory, &theirs, &format!("child-{size}"), &as_child, children, mode);
            let mut as_subject = index_of(&[]);
            as_subject["subject"] = content::descriptor(content::OCI_MANIFEST, &content::bytes(&image));
            mallory.put_manifest(&theirs, &format!("subject-{size}"), &as_subject).expect(201);

            is_not_had(&mallory, &theirs, &layer_digest, mode);
            is_not_mounted(&mallory, &theirs, &layer_digest, "");
            is_not_mounted(&mallory, &theirs, &layer_digest, &format!("&from={secret}"));
            if layers {
                // The image itself was pushed by mallory, who had its bytes; what it names was not.
                mallory.get(&manifest(&theirs, &image_digest)).expect(200);
            } else {
                is_not_had(&mallory, &theirs, &image_digest, mode);
            }
            // A size that lies finds no true one out.
            let mut lie = content::descriptor(OCI_LAYER, &layer);
            lie["size"] = json!(size + 1);
            put(&mallory, &theirs, &format!("size-{size}"), &index_of(&[lie]), children, mode);
            assert!(alice.get(&blob(&secret, &layer_digest)).expect(200).body == layer);
        }
    }
}

/// The rule is the repository's, not the user's: another of one's own is no different.
#[test]
fn naming_what_another_repository_of_ones_own_holds_is_naming_what_is_missing() {
    for (mode, daemon, layers, children) in MODES {
        let client = daemon.signed_in("alice");
        let (first, second) = (daemon.repository("alice"), daemon.repository("alice"));
        let image = client.push_image(&first, "latest", 5);
        put(&client, &second, "image", &image, layers, mode);
        put(&client, &second, "index", &content::index(&[&image]), children, mode);
        is_not_had(&client, &second, image["layers"][0]["digest"].as_str().unwrap(), mode);
    }
}

/// What was missing and arrives is there, and held by what named it.
#[test]
fn what_arrives_later_is_readable_and_held() {
    for (mode, daemon, layers, children) in MODES {
        let client = daemon.signed_in("alice");
        let repository = daemon.repository("alice");
        if children {
            for size in [200, 40_000] {
                let (layer, mounted) = (fresh_bytes(size), fresh_bytes(size));
                let index = index_of(&[
                    content::descriptor(OCI_LAYER, &layer),
                    content::descriptor(OCI_LAYER, &mounted),
                ]);
                client.put_manifest(&repository, "blobs", &index).expect(201);
                is_not_had(&client, &repository, &sha256(&layer), mode);
                client.push_blob(&repository, &layer);
                let other = daemon.repository("alice");
                client.push_blob(&other, &mounted);
                let target = format!("{}?mount={}&from={other}", uploads(&repository), sha256(&mounted));
                client.post(&target, b"").expect(201);
                for bytes in [&layer, &mounted] {
                    let target = blob(&repository, &sha256(bytes));
                    assert!(client.get(&target).expect(200).body == *bytes, "{mode}");
                    client.delete(&target).refuses(405, "UNSUPPORTED");
                }
                client.delete(&manifest(&repository, &sha256(&content::bytes(&index)))).expect(202);
                client.delete(&blob(&repository, &sha256(&layer))).expect(202);
            }
            child_arrives(&client, &repository);
        }
        if layers {
            let (config, layer) = (fresh_bytes(20), fresh_bytes(40_000));
            client.put_manifest(&repository, "image", &content::image(&config, &[&layer])).expect(201);
            for bytes in [&layer, &config] {
                is_not_had(&client, &repository, &sha256(bytes), mode);
                client.push_blob(&repository, bytes);
                client.delete(&blob(&repository, &sha256(bytes))).refuses(405, "UNSUPPORTED");
                assert!(client.get(&blob(&repository, &sha256(bytes))).expect(200).body == *bytes);
            }
        }
    }
}

fn child_arrives(client: &Client, repository: &str) {
    let inner = index_of(&[]);
    let outer = content::index(&[&inner]);
    let digest = sha256(&content::bytes(&inner));
    client.put_manifest(repository, "outer", &outer).expect(201);
    client.get(&manifest(repository, &digest)).refuses(404, "MANIFEST_UNKNOWN");
    client.put_manifest(repository, &digest, &inner).expect(201);
    client.get(&manifest(repository, &digest)).expect(200);
    client.delete(&manifest(repository, &digest)).refuses(403, "DENIED");
    client.delete(&manifest(repository, &sha256(&content::bytes(&outer)))).expect(202);
    client.delete(&manifest(repository, &digest)).expect(202);
}

/// What arrives with another size than was promised: the index is what it is, the blob too.
#[test]
fn a_missing_blob_may_turn_out_to_be_of_another_size() {
    let client = INDEXES.signed_in("alice");
    let repository = INDEXES.repository("alice");
    let layer = fresh_bytes(300);
    let mut lie = content::descriptor(OCI_LAYER, &layer);
    lie["size"] = json!(299);
    client.put_manifest(&repository, "lie", &index_of(&[lie])).expect(201);
    client.push_blob(&repository, &layer);
    assert!(client.get(&blob(&repository, &sha256(&layer))).expect(200).body == layer);
    client.get(&manifest(&repository, "lie")).expect(200);
}

/// What is gone counts as missing, also where it was named before.
#[test]
fn a_deleted_blob_is_missing_for_the_next_manifest() {
    let client = OFF.signed_in("alice");
    let repository = OFF.repository("alice");
    let image = client.push_image(&repository, "latest", 9);
    let layer = image["layers"][0]["digest"].as_str().unwrap();
    client.delete(&manifest(&repository, &sha256(&content::bytes(&image)))).expect(202);
    client.delete(&blob(&repository, layer)).expect(202);
    put(&client, &repository, "again", &image, false, "off");
    client.push_blob(&repository, &content::noise(9, 2000));
    put(&client, &repository, "again", &image, true, "off");
}

#[test]
fn an_index_of_what_is_missing_can_be_pushed_as_often_as_one_likes() {
    let client = INDEXES.signed_in("alice");
    let repository = INDEXES.repository("alice");
    let missing = content::descriptor(content::OCI_MANIFEST, b"not here yet");
    for time in 0..110 {
        put(&client, &repository, "again", &index_of(&[missing.clone()]), true, &time.to_string());
    }
}

/// What was deleted here did not merely not arrive yet.
#[test]
fn a_deleted_child_is_pushed_again_before_its_index() {
    for (mode, daemon, _, _) in MODES {
        let client = daemon.signed_in("alice");
        let repository = daemon.repository("alice");
        let image = client.push_image(&repository, "child", 1);
        let child = content::bytes(&image);
        client.delete(&manifest(&repository, &sha256(&child))).expect(202);
        let index = index_of(&[content::descriptor(content::OCI_MANIFEST, &child)]);
        put(&client, &repository, "index", &index, mode == "all", mode);
        client.push_image(&repository, "child", 1);
        put(&client, &repository, "index", &index, true, mode);
        client.get(&manifest(&repository, &sha256(&child))).expect(200);
    }
}
