//! One package as an OCI image layout, out of one registry and into another. Others' tools read it in `conformance`.

use std::{path::Path, process::Command};

use serde_json::{Value, json};

use super::{files, said, text};
use crate::support::{
    Client, Server,
    content::{OCI_MANIFEST, bytes, descriptor, image, index, noise, sha256},
};

/// Every manifest of the package with its tag, if it has one.
fn publish(client: &Client, package: &str) -> Vec<(Option<&'static str>, Value)> {
    let config =
        |seed: u64| format!("{{\"architecture\":\"amd64\",\"os\":\"linux\",\"seed\":{seed}}}").into_bytes();
    let make = |seed: u64| {
        let (config, layer) = (config(seed), noise(seed, 30_000));
        client.push_blob(package, &config);
        client.push_blob(package, &layer);
        image(&config, &[&layer])
    };
    let (plain, child, loose) = (make(1), make(2), make(3));
    let list = index(&[&child]);
    let mut signature = make(4);
    signature["subject"] = descriptor(OCI_MANIFEST, &bytes(&plain));
    let all = [(Some("v1"), plain), (None, child), (None, loose), (Some("all"), list), (None, signature)];
    for (tag, manifest) in &all {
        let digest = sha256(&bytes(manifest));
        client.put_manifest(package, tag.unwrap_or(&digest), manifest).expect(201);
    }
    client.put_manifest(package, "v1-too", &all[0].1).expect(201);
    all.into()
}

fn same(client: &Client, package: &str, all: &[(Option<&'static str>, Value)]) {
    for (tag, manifest) in all {
        let digest = sha256(&bytes(manifest));
        for reference in [Some(digest.as_str()), *tag].into_iter().flatten() {
            let found = client.get(&format!("/v2/{package}/manifests/{reference}")).expect(200);
            assert_eq!(found.body, bytes(manifest));
        }
        let parts = manifest["layers"].as_array().into_iter().flatten().chain(manifest.get("config"));
        for part in parts {
            let digest = part["digest"].as_str().unwrap();
            let blob = client.get(&format!("/v2/{package}/blobs/{digest}")).expect(200);
            assert_eq!(sha256(&blob.body), digest);
        }
    }
    let tags = client.get(&format!("/v2/{package}/tags/list")).expect(200).json()["tags"].clone();
    assert_eq!(tags, json!(["all", "v1", "v1-too"]));
    let referrers = client.get(&format!("/v2/{package}/referrers/{}", sha256(&bytes(&all[0].1)))).expect(200);
    assert_eq!(referrers.json()["manifests"].as_array().unwrap().len(), 1);
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_package_goes_out_and_in_whole_as_often_as_one_likes() {
    let server = Server::start();
    let client = server.signed_in("ada");
    let all = publish(&client, "ada/app");
    let folder = tempfile::tempdir().unwrap();
    let (layout, archive) = (folder.path().join("layout"), folder.path().join("app.tar"));
    server.admin_ok(&["export", "ada/app", text(&layout)]);
    assert_eq!(read(&layout.join("oci-layout")), json!({"imageLayoutVersion": "1.0.0"}));
    let listed = read(&layout.join("index.json"));
    let mut names: Vec<_> = listed["manifests"].as_array().unwrap().iter().collect();
    // The child of the index is found through it.
    assert_eq!(names.len(), 3 + 2);
    names.retain(|entry| entry["annotations"].is_object());
    assert_eq!(names.len(), 3);
    for (path, bytes) in files(&layout.join("blobs/sha256")) {
        assert_eq!(sha256(&bytes)[7..], *path.file_name().unwrap().to_str().unwrap());
    }
    // Nothing is written over.
    let refused = said(&server.admin(&["export", "ada/app", text(&layout)]), 1);
    assert!(refused.contains("not empty"), "{refused}");
    assert!(server.terminate().success());
    // Offline, and into an archive.
    said(&server.admin(&["export", "ada/app", "--tar", text(&archive)]), 0);
    said(&server.admin(&["export", "ada/app", "--tar", text(&archive)]), 1);
    let listed = Command::new("tar").arg("-tf").arg(&archive).output().unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    assert_eq!(String::from_utf8_lossy(&listed.stdout).lines().count(), files(&layout).len());

    let other = Server::start();
    let client = other.signed_in("eve");
    for (from, package) in [(&layout, "eve/one"), (&archive, "eve/two"), (&layout, "eve/two")] {
        let said = said(&other.admin(&["import", package, text(from)]), 0);
        assert!(said.contains("5 manifests, 3 tags"), "{said}");
        same(&client, package, &all);
    }
    let again = said(&other.admin(&["import", "eve/one", text(&archive)]), 0);
    assert!(again.contains("0 blobs pushed, 0 bytes, 8 were there"), "{again}");
    // By the doors of a push: who owns the name space sees it, others do not.
    other.signed_in("mallory").get("/v2/eve/one/manifests/v1").expect(404);
}

#[test]
fn a_layout_that_lies_is_refused() {
    let server = Server::start();
    let client = server.signed_in("ada");
    publish(&client, "ada/app");
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path().join("layout");
    server.admin_ok(&["export", "ada/app", text(&layout)]);
    let refused = |package: &str, word: &str| {
        let text = said(&server.admin(&["import", package, text(&layout)]), 1);
        assert!(text.contains(word), "{text}");
    };
    for (path, good) in files(&layout.join("blobs/sha256")) {
        let mut bad = good.clone();
        bad[10] ^= 1;
        std::fs::write(&path, &bad).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        refused("ada/new", name);
        // Also where the package holds the true bytes.
        refused("ada/app", name);
        std::fs::write(&path, &good).unwrap();
    }
    refused("nobody/app", "there is no such repository");
    refused("npm/ada/app", "only container packages");
    let index = layout.join("index.json");
    let good = std::fs::read_to_string(&index).unwrap();
    for (from, to, word) in [
        ("\"v1\"", "\"no tag!\"", "no tag"),
        ("sha256:", "sha256:../../", "digest"),
        ("\"size\":", "\"size\":1", "bytes of that digest"),
        ("\"manifests\":[", "\"manifests\":[{", "cannot be read"),
    ] {
        assert!(good.contains(from));
        std::fs::write(&index, good.replacen(from, to, 1)).unwrap();
        refused("ada/other", word);
    }
    std::fs::write(&index, &good).unwrap();
    said(&server.admin(&["import", "ada/app", text(&layout)]), 0);
}
