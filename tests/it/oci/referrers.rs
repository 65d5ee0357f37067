//! What refers to what: signatures, SBOMs, attestations.

use serde_json::{Value, json};

use super::{DAEMON, alice, bob, manifest};
use crate::support::{
    Client, Response,
    content::{self, OCI_INDEX, OCI_MANIFEST, sha256, sha512},
};

fn referrers(repository: &str, digest: &str) -> String {
    format!("/v2/{repository}/referrers/{digest}")
}

/// An answer's list, checked to be an image index and nothing else.
#[track_caller]
fn list(answer: &Response) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some(OCI_INDEX));
    let value = answer.json();
    assert_eq!((&value["schemaVersion"], &value["mediaType"]), (&json!(2), &json!(OCI_INDEX)));
    value["manifests"].as_array().expect("a list, also when it is empty").clone()
}

#[track_caller]
fn digests(answer: &Response) -> Vec<String> {
    let mut found: Vec<_> =
        list(answer).iter().map(|entry| entry["digest"].as_str().unwrap().to_owned()).collect();
    found.sort();
    found
}

/// An index that refers to something; unlike every other by its number.
fn referring(subject: &str, artifact_type: Option<&str>) -> Value {
    let mut value = json!({
        "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [],
        "annotations": {"number": DAEMON.number().to_string()},
        "subject": {"mediaType": OCI_MANIFEST, "digest": subject, "size": 10},
    });
    if let Some(artifact_type) = artifact_type {
        value["artifactType"] = json!(artifact_type);
    }
    value
}

#[track_caller]
fn push(client: &Client, repository: &str, value: &Value) -> String {
    let digest = sha256(&content::bytes(value));
    let stored = client.put_manifest(repository, &digest, value).expect(201);
    assert_eq!(stored.header("oci-subject"), value["subject"]["digest"].as_str());
    digest
}

#[test]
fn b17_nothing_refers_to_what_is_unknown() {
    let (client, repository) = alice();
    let nothing = [sha256(b"nothing"), sha512(b"nothing"), format!("sha256:{}", "0".repeat(64))];
    let absent = DAEMON.repository("alice");
    let unowned = "nobody-here/app".to_owned();
    client.push_image(&repository, "latest", 17);
    for repository in [&repository, &absent, &unowned] {
        for digest in &nothing {
            assert!(list(&client.get(&referrers(repository, digest))).is_empty(), "{repository}");
        }
    }
    for digest in ["sha256:x", "latest", "sha256:", "md5:00"] {
        client.get(&referrers(&repository, digest)).refuses(400, "DIGEST_INVALID");
    }
}

/// Word for word the same, so that nobody learns which repositories there are.
#[test]
fn b17_referrers_of_a_private_repository_look_like_those_of_an_absent_one() {
    let (alice, repository) = alice();
    let (bob, _) = bob();
    let image = alice.push_image(&repository, "latest", 17);
    let subject = sha256(&content::bytes(&image));
    push(&alice, &repository, &referring(&subject, Some("a/b")));
    assert_eq!(list(&alice.get(&referrers(&repository, &subject))).len(), 1);
    let absent = DAEMON.repository("alice");
    for query in ["", "?artifactType=a/b"] {
        let (private, none) = (
            bob.get(&(referrers(&repository, &subject) + query)),
            bob.get(&(referrers(&absent, &subject) + query)),
        );
        assert!(list(&private).is_empty());
        assert_eq!(private.body, none.body);
        assert_eq!(private.header("oci-filters-applied"), none.header("oci-filters-applied"));
    }
    DAEMON.anonymous().get(&referrers(&repository, &subject)).refuses(401, "UNAUTHORIZED");
    DAEMON.anonymous().get(&referrers(&absent, &subject)).refuses(401, "UNAUTHORIZED");
}

#[test]
fn b17_a_referrer_is_described_by_its_own_type_or_its_configurations() {
    let (client, repository) = alice();
    let subject = sha256(b"subject");
    client.push_blob(&repository, b"{}");
    let image = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [],
        "config": content::descriptor("application/vnd.example.config", b"{}"),
        "subject": {"mediaType": OCI_MANIFEST, "digest": subject, "size": 10},
        "annotations": {"a": "1", "b": "two\nlines", "\u{e4}": "\u{1f4e6}"},
    });
    let mut typed = image.clone();
    typed["artifactType"] = json!("application/vnd.example.own");
    typed.as_object_mut().unwrap().remove("annotations");
    let untyped = referring(&subject, None);
    for (value, artifact_type) in [
        (&image, Some("application/vnd.example.config")),
        (&typed, Some("application/vnd.example.own")),
        (&untyped, None),
    ] {
        let digest = push(&client, &repository, value);
        let found = list(&client.get(&referrers(&repository, &subject)));
        let entry = found.iter().find(|entry| entry["digest"] == digest.as_str()).expect("at once");
        assert_eq!(entry["mediaType"], value["mediaType"]);
        assert_eq!(entry["size"], content::bytes(value).len());
        assert_eq!(entry.get("artifactType").and_then(Value::as_str), artifact_type);
        assert_eq!(entry.get("annotations"), value.get("annotations"), "all of them, or none");
    }
}

#[test]
fn b17_filters_are_applied_and_said_to_be() {
    let (client, repository) = alice();
    let subject = sha256(b"subject");
    let types = ["application/vnd.a", "application/vnd.b+json", "application/vnd.c"];
    let pushed: Vec<String> =
        types.iter().map(|kind| push(&client, &repository, &referring(&subject, Some(kind)))).collect();
    let ask = |query: &str| client.get(&format!("{}{query}", referrers(&repository, &subject)));
    assert_eq!(ask("").header("oci-filters-applied"), None);
    assert_eq!(list(&ask("")).len(), 3);
    for (kind, digest) in types.iter().zip(&pushed) {
        let answer = ask(&format!("?artifactType={}", kind.replace('+', "%2B")));
        assert_eq!(answer.header("oci-filters-applied"), Some("artifactType"));
        assert_eq!(digests(&answer), [digest.clone()]);
    }
    let two = ask("?artifactType=application/vnd.a&artifactType=application%2Fvnd.c");
    let mut expected = vec![pushed[0].clone(), pushed[2].clone()];
    expected.sort();
    assert_eq!(digests(&two), expected);
    let none = ask("?artifactType=application/vnd");
    assert!(list(&none).is_empty(), "whole types, not beginnings of them");
    assert_eq!(none.header("oci-filters-applied"), Some("artifactType"));
}

/// Follows `Link` to the end; no page above 4 MiB.
#[track_caller]
fn pages(client: &Client, mut target: String) -> (usize, Vec<String>) {
    let mut found = Vec::new();
    for count in 1.. {
        let answer = client.get(&target);
        assert!(answer.body.len() <= 4 << 20, "{} bytes", answer.body.len());
        found.extend(digests(&answer));
        let Some(link) = answer.header("link") else { return (count, found) };
        let (next, rest) = link.strip_prefix('<').unwrap().split_once('>').unwrap();
        assert_eq!(rest.trim_start_matches([';', ' ']), "rel=\"next\"");
        assert!(next.starts_with("/v2/"), "relative: {next}");
        next.clone_into(&mut target);
    }
    unreachable!()
}

#[test]
fn b17_long_lists_come_in_pages_of_bounded_size() {
    let (client, repository) = alice();
    let subject = sha256(b"subject");
    let mut pushed = Vec::new();
    for index in 0..5 {
        let mut value = referring(&subject, Some(if index % 2 == 0 { "even/x" } else { "odd/x" }));
        value["annotations"]["large"] = json!("\u{e9}\n".repeat(550_000));
        pushed.push((push(&client, &repository, &value), index % 2 == 0));
    }
    let (count, mut found) = pages(&client, referrers(&repository, &subject));
    assert!(count > 1, "five times two megabytes are more than a page");
    found.sort();
    let mut all: Vec<String> = pushed.iter().map(|(digest, _)| digest.clone()).collect();
    all.sort();
    assert_eq!(found, all, "each once");
    for query in ["?artifactType=even/x", "?artifactType=even/x&artifactType=none/x"] {
        let (_, mut found) = pages(&client, referrers(&repository, &subject) + query);
        found.sort();
        let mut even: Vec<String> =
            pushed.iter().filter(|(_, even)| *even).map(|(digest, _)| digest.clone()).collect();
        even.sort();
        assert_eq!(found, even, "the filter is kept from page to page");
    }
    for cursor in ["x", "zz", "00", &"f".repeat(1000)] {
        let answer = client.get(&format!("{}?last={cursor}", referrers(&repository, &subject)));
        assert!(matches!(answer.status, 200 | 400), "{cursor}: {}", answer.status);
    }
}

#[test]
fn b17_the_list_follows_every_put_and_delete_at_once() {
    let (client, repository) = alice();
    let subject = sha256(b"subject");
    let mut there: Vec<String> = Vec::new();
    for round in 0..6 {
        there.push(push(&client, &repository, &referring(&subject, Some("a/b"))));
        if round % 2 == 1 {
            client.delete(&manifest(&repository, &there.remove(0))).expect(202);
        }
        let mut expected = there.clone();
        expected.sort();
        assert_eq!(digests(&client.get(&referrers(&repository, &subject))), expected);
        assert_eq!(digests(&client.get(&(referrers(&repository, &subject) + "?artifactType=a/b"))), expected);
    }
}

/// A client that found no referrers API before recorded referrers in an index under a tag. The manifests that it names
/// say themselves what they refer to, so they are listed as all others are.
#[test]
fn b17_what_a_fallback_tag_lists_is_listed() {
    let (client, repository) = alice();
    let image = client.push_image(&repository, "latest", 17);
    let subject = sha256(&content::bytes(&image));
    let value = referring(&subject, Some("a/b"));
    let digest = push(&client, &repository, &value);
    let mut fallback = content::index(&[&value]);
    fallback["manifests"][0]["artifactType"] = json!("a/b");
    client.put_manifest(&repository, &subject.replace(':', "-"), &fallback).expect(201);
    assert_eq!(
        digests(&client.get(&referrers(&repository, &subject))),
        [digest],
        "once, and not the index itself"
    );
}

#[test]
fn b18_every_put_with_a_subject_says_so() {
    let (client, repository) = alice();
    client.push_blob(&repository, b"{}");
    let image = content::image(b"{}", &[]);
    let stored = client.put_manifest(&repository, "image", &image).expect(201);
    assert_eq!(stored.header("oci-subject"), None);
    for subject in [sha256(&content::bytes(&image)), sha256(b"missing"), sha512(b"missing")] {
        let mut with = image.clone();
        with["subject"] = json!({"mediaType": OCI_MANIFEST, "digest": subject, "size": 3});
        for value in [with, referring(&subject, None)] {
            let bytes = content::bytes(&value);
            for reference in
                [sha256(&bytes), sha512(&bytes), "tag".into(), format!("{}?tag=a&tag=b", sha256(&bytes))]
            {
                let stored = client.put_manifest(&repository, &reference, &value).expect(201);
                assert_eq!(stored.header("oci-subject"), Some(subject.as_str()), "{reference}");
            }
        }
    }
}

#[test]
fn b18_a_subject_pushed_later_finds_its_referrers_there() {
    let (client, repository) = alice();
    client.push_blob(&repository, b"{}");
    let image = content::image(b"{}", &[]);
    let subject = sha256(&content::bytes(&image));
    let digest = push(&client, &repository, &referring(&subject, Some("a/b")));
    client.get(&manifest(&repository, &subject)).expect(404);
    assert_eq!(digests(&client.get(&referrers(&repository, &subject))), [digest.clone()]);
    client.put_manifest(&repository, "latest", &image).expect(201);
    assert_eq!(digests(&client.get(&referrers(&repository, &subject))), [digest.clone()]);
    // And a deleted subject leaves them.
    client.delete(&manifest(&repository, &subject)).expect(202);
    assert_eq!(digests(&client.get(&referrers(&repository, &subject))), [digest]);
}

#[test]
fn referrers_are_their_repositorys() {
    let (client, first) = alice();
    let (_, second) = alice();
    let subject = sha256(b"subject");
    let digest = push(&client, &first, &referring(&subject, None));
    client.push_image(&second, "latest", 1);
    assert!(list(&client.get(&referrers(&second, &subject))).is_empty());
    assert_eq!(digests(&client.get(&referrers(&first, &subject))), [digest]);
}

/// A manifest cannot name its own digest, but one may be its subject's subject: lists are not followed.
#[test]
fn referrers_of_referrers_are_listed_one_step_at_a_time() {
    let (client, repository) = alice();
    let mut subject = sha256(b"root");
    for _ in 0..5 {
        let digest = push(&client, &repository, &referring(&subject, None));
        assert_eq!(digests(&client.get(&referrers(&repository, &subject))), [digest.clone()]);
        subject = digest;
    }
    assert!(list(&client.get(&referrers(&repository, &subject))).is_empty());
}
