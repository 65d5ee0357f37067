//! Reading and deleting blobs.

use std::collections::BTreeMap;

use super::{alice, blob, bob, fresh_bytes, manifest};
use crate::support::{
    Client, Response,
    content::{self, sha256, sha512},
};

/// The headers of an answer, without those that differ from one to the next.
fn headers(answer: &Response) -> BTreeMap<String, String> {
    let moment = ["date", "x-request-id"];
    let named = answer.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
    named.filter(|(name, _)| !moment.contains(&name.as_str())).collect()
}

#[track_caller]
fn head_is_get_without_its_body(client: &Client, target: &str) {
    let (get, head) = (client.get(target), client.head(target));
    assert_eq!(head.status, get.status, "{target}");
    assert!(head.body.is_empty());
    assert_eq!(headers(&head), headers(&get), "{target}");
    assert_eq!(get.header("content-length"), Some(get.body.len().to_string().as_str()), "{target}");
    assert_eq!(get.header("transfer-encoding"), None);
}

#[test]
fn b11_head_is_get_without_its_body_for_blobs_of_every_size() {
    let (client, repository) = alice();
    for size in [0, 1, 500, 16_384, 16_385, 500_000] {
        let bytes = fresh_bytes(size);
        let digest = client.push_blob(&repository, &bytes);
        head_is_get_without_its_body(&client, &blob(&repository, &digest));
        let get = client.get(&blob(&repository, &digest)).expect(200);
        assert_eq!(get.header("content-length"), Some(size.to_string().as_str()));
        assert_eq!(get.header("docker-content-digest"), Some(digest.as_str()));
        assert_eq!(get.header("accept-ranges"), Some("bytes"));
        assert_eq!(get.header("etag"), Some(format!("\"{digest}\"").as_str()));
        assert_eq!(get.header("content-type"), Some("application/octet-stream"));
    }
}

#[test]
fn b11_head_is_get_without_its_body_for_manifests() {
    let (client, repository) = alice();
    let image = client.push_image(&repository, "latest", 11);
    let digest = sha256(&content::bytes(&image));
    head_is_get_without_its_body(&client, &manifest(&repository, "latest"));
    head_is_get_without_its_body(&client, &manifest(&repository, &digest));
    let head = client.head(&manifest(&repository, "latest")).expect(200);
    assert_eq!(head.header("content-length"), Some(content::bytes(&image).len().to_string().as_str()));
    assert_eq!(head.header("docker-content-digest"), Some(digest.as_str()));
    assert_eq!(head.header("content-type"), Some(content::OCI_MANIFEST));
    head_is_get_without_its_body(&client, &format!("/v2/{repository}/tags/list"));
    head_is_get_without_its_body(&client, &format!("/v2/{repository}/referrers/{digest}"));
    head_is_get_without_its_body(&client, "/v2/");
}

#[test]
fn b13_what_is_named_by_digest_is_kept_for_ever_by_its_reader_alone() {
    let (client, repository) = alice();
    let image = client.push_image(&repository, "latest", 13);
    let digest = sha256(&content::bytes(&image));
    let layer = image["layers"][0]["digest"].as_str().unwrap();
    for target in [blob(&repository, layer), manifest(&repository, &digest)] {
        let answer = client.get(&target).expect(200);
        let cache = answer.header("cache-control").unwrap();
        assert!(cache.contains("private") && cache.contains("immutable"), "{cache}");
        assert!(cache.contains("max-age=31536000"), "{cache}");
        assert_eq!(
            answer.header("vary"),
            Some("Authorization"),
            "who asks decides whether there is an answer"
        );
    }
    for target in [manifest(&repository, "latest"), format!("/v2/{repository}/tags/list")] {
        let cache = client.get(&target).expect(200).header("cache-control").unwrap().to_owned();
        assert!(cache.contains("no-cache") && !cache.contains("immutable"), "{target}: {cache}");
    }
}

/// A browser must not take what somebody pushed for a page of this host.
#[test]
fn a_blob_is_no_page() {
    let (client, repository) = alice();
    let digest = client.push_blob(&repository, b"<script>alert(1)</script>");
    let answer = client.get(&blob(&repository, &digest)).expect(200);
    assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert!(answer.header("content-security-policy").unwrap().contains("sandbox"));
}

#[test]
fn a_blob_is_its_repositorys() {
    let (alice, repository) = alice();
    let (bob, theirs) = bob();
    bob.push_image(&theirs, "latest", 1);
    for size in [100, 50_000] {
        let digest = alice.push_blob(&repository, &fresh_bytes(size));
        let other = super::DAEMON.repository("alice");
        alice.push_image(&other, "latest", 2);
        for (client, elsewhere) in [(&alice, &other), (&bob, &theirs)] {
            client.head(&blob(elsewhere, &digest)).expect(404);
            client.get(&blob(elsewhere, &digest)).refuses(404, "BLOB_UNKNOWN");
            client.delete(&blob(elsewhere, &digest)).refuses(404, "BLOB_UNKNOWN");
        }
        alice.get(&blob(&repository, &digest)).expect(200);
    }
}

/// distribution's CVE-2026-35172: another repository's read brought a deleted blob back through a cache.
#[test]
fn a_blob_deleted_here_stays_deleted_whoever_reads_it_elsewhere() {
    let (client, first) = alice();
    let (_, second) = alice();
    for size in [100, 50_000] {
        let bytes = fresh_bytes(size);
        let digest = client.push_blob(&first, &bytes);
        client.push_blob(&second, &bytes);
        client.get(&blob(&first, &digest)).expect(200);
        client.delete(&blob(&first, &digest)).expect(202);
        for _ in 0..3 {
            assert!(client.get(&blob(&second, &digest)).expect(200).body == bytes);
            client.get(&blob(&first, &digest)).refuses(404, "BLOB_UNKNOWN");
            client.head(&blob(&first, &digest)).expect(404);
        }
    }
}

#[test]
fn a_blob_never_pushed_is_unknown() {
    let (client, repository) = alice();
    client.push_blob(&repository, b"something");
    for digest in [sha256(b"never"), sha512(b"never"), sha512(b"something")] {
        client.head(&blob(&repository, &digest)).expect(404);
        client.get(&blob(&repository, &digest)).refuses(404, "BLOB_UNKNOWN");
        client.delete(&blob(&repository, &digest)).refuses(404, "BLOB_UNKNOWN");
    }
}

#[test]
fn a_manifest_is_no_blob_and_a_blob_no_manifest() {
    let (client, repository) = alice();
    let image = client.push_image(&repository, "latest", 3);
    let digest = sha256(&content::bytes(&image));
    let config = image["config"]["digest"].as_str().unwrap();
    client.get(&blob(&repository, &digest)).refuses(404, "BLOB_UNKNOWN");
    client.get(&manifest(&repository, config)).refuses(404, "MANIFEST_UNKNOWN");
}

#[test]
fn a_blob_that_a_manifest_names_is_not_deleted() {
    let (client, repository) = alice();
    let image = client.push_image(&repository, "latest", 4);
    let digest = sha256(&content::bytes(&image));
    let layer = image["layers"][0]["digest"].as_str().unwrap().to_owned();
    let refused = client.delete(&blob(&repository, &layer)).refuses(405, "UNSUPPORTED");
    assert!(refused.text().contains("manifest"), "it says why: {}", refused.text());
    client.get(&blob(&repository, &layer)).expect(200);
    client.delete(&manifest(&repository, "latest")).expect(202);
    client.delete(&blob(&repository, &layer)).refuses(405, "UNSUPPORTED");
    client.delete(&manifest(&repository, &digest)).expect(202);
    client.delete(&blob(&repository, &layer)).expect(202);
    client.get(&blob(&repository, &layer)).refuses(404, "BLOB_UNKNOWN");
}
