//! Conditional requests: what is had already is not sent again, what changed meanwhile is not overwritten.

use super::{alice, at_once, blob, manifest};
use crate::support::{
    Client, Response,
    content::{self, OCI_INDEX, OCI_MANIFEST, sha256},
};

fn ask(client: &Client, method: &str, target: &str, name: &str, value: &str) -> Response {
    client.send(method, target, &[(name, value)], b"")
}

#[test]
fn b12_what_the_client_has_is_304_for_blobs_and_manifests() {
    let (client, repository) = alice();
    let image = client.push_image(&repository, "latest", 12);
    let digest = sha256(&content::bytes(&image));
    let layer = image["layers"][0]["digest"].as_str().unwrap().to_owned();
    for (target, digest) in [
        (blob(&repository, &layer), &layer),
        (manifest(&repository, &digest), &digest),
        (manifest(&repository, "latest"), &digest),
    ] {
        let tag = client.get(&target).expect(200).header("etag").unwrap().to_owned();
        assert_eq!(tag, format!("\"{digest}\""), "a strong tag: the digest in quotes");
        for method in ["GET", "HEAD"] {
            for had in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".into()] {
                let answer = ask(&client, method, &target, "If-None-Match", &had).expect(304);
                assert!(answer.body.is_empty());
                assert_eq!(answer.header("etag"), Some(tag.as_str()), "{had}");
                assert_eq!(answer.header("docker-content-digest"), Some(digest.as_str()));
                // RFC 9110 §15.4.5: what a 200 would have said of caching.
                assert!(answer.header("cache-control").is_some() && answer.header("vary").is_some());
            }
            for other in ["\"sha256:0\"", digest.as_str(), "", "\"\""] {
                ask(&client, method, &target, "If-None-Match", other).expect(200);
            }
        }
    }
}

#[test]
fn b12_a_304_is_for_those_who_may_read() {
    let (alice, repository) = alice();
    let (bob, _) = super::bob();
    let image = alice.push_image(&repository, "latest", 12);
    let digest = sha256(&content::bytes(&image));
    ask(&bob, "GET", &manifest(&repository, "latest"), "If-None-Match", "*").refuses(404, "NAME_UNKNOWN");
    ask(&bob, "GET", &manifest(&repository, &digest), "If-None-Match", "*").refuses(404, "NAME_UNKNOWN");
    let absent = manifest(&repository, "absent");
    ask(&alice, "GET", &absent, "If-None-Match", "*").refuses(404, "MANIFEST_UNKNOWN");
}

/// An index that says nothing but its number.
fn numbered(number: usize) -> Vec<u8> {
    let index = serde_json::json!({
        "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "annotations": {"number": number.to_string()},
    });
    content::bytes(&index)
}

fn put(client: &Client, target: &str, bytes: &[u8], condition: (&str, &str)) -> Response {
    client.send("PUT", target, &[("Content-Type", OCI_INDEX), condition], bytes)
}

#[test]
fn b12_a_put_may_ask_for_a_tag_that_is_free() {
    let (client, repository) = alice();
    let target = manifest(&repository, "v1");
    put(&client, &target, &numbered(1), ("If-None-Match", "*")).expect(201);
    // Taken, even by the same.
    for number in [1, 2] {
        let answer = put(&client, &target, &numbered(number), ("If-None-Match", "*")).expect(412);
        assert!(answer.json()["errors"][0]["code"].is_string());
    }
    assert_eq!(client.get(&target).expect(200).body, numbered(1));
    client.delete(&target).expect(202);
    put(&client, &target, &numbered(3), ("If-None-Match", "*")).expect(201);
    // By digest: whether the manifest is there.
    let digest = sha256(&numbered(3));
    put(&client, &manifest(&repository, &digest), &numbered(3), ("If-None-Match", "*")).expect(412);
    let fresh = manifest(&repository, &sha256(&numbered(4)));
    put(&client, &fresh, &numbered(4), ("If-None-Match", "*")).expect(201);
}

#[test]
fn b12_a_put_may_ask_for_a_tag_that_is_as_it_was() {
    let (client, repository) = alice();
    let target = manifest(&repository, "v1");
    let tag_of = |number: usize| format!("\"{}\"", sha256(&numbered(number)));
    put(&client, &target, &numbered(1), ("If-Match", "*")).expect(412);
    put(&client, &target, &numbered(1), ("If-Match", &tag_of(1))).expect(412);
    client.get(&target).expect(404);
    put(&client, &target, &numbered(1), ("X-None", "")).expect(201);
    put(&client, &target, &numbered(2), ("If-Match", &tag_of(2))).expect(412);
    assert_eq!(client.get(&target).expect(200).body, numbered(1));
    put(&client, &target, &numbered(2), ("If-Match", &tag_of(1))).expect(201);
    put(&client, &target, &numbered(3), ("If-Match", &format!("\"x\", {}", tag_of(2)))).expect(201);
    put(&client, &target, &numbered(4), ("If-Match", "*")).expect(201);
    assert_eq!(client.get(&target).expect(200).body, numbered(4));
}

#[test]
fn b12_a_refused_put_stores_nothing() {
    let (client, repository) = alice();
    let target = manifest(&repository, "v1");
    put(&client, &target, &numbered(1), ("X-None", "")).expect(201);
    put(&client, &target, &numbered(2), ("If-None-Match", "*")).expect(412);
    client.get(&manifest(&repository, &sha256(&numbered(2)))).refuses(404, "MANIFEST_UNKNOWN");
}

#[test]
fn b12_of_many_who_claim_a_free_tag_one_gets_it() {
    let (client, repository) = alice();
    client.push_image(&repository, "exists", 1);
    for round in 0..25 {
        let target = manifest(&repository, &format!("claimed-{round}"));
        let answers =
            at_once(6, |index| put(&client, &target, &numbered(index), ("If-None-Match", "*")).status);
        assert_eq!(answers.iter().filter(|status| **status == 201).count(), 1, "{answers:?}");
        assert!(answers.iter().all(|status| matches!(status, 201 | 412)), "{answers:?}");
        let winner = answers.iter().position(|status| *status == 201).unwrap();
        assert_eq!(client.get(&target).expect(200).body, numbered(winner));
    }
}

/// Compare-and-swap loses no update: each of many writers adds its line by reading, changing, putting back.
#[test]
fn b12_compare_and_swap_loses_no_update() {
    let (client, repository) = alice();
    let target = manifest(&repository, "list");
    let list = |lines: &[String]| {
        content::bytes(&serde_json::json!({
            "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "annotations": {"lines": lines.join(" ")},
        }))
    };
    put(&client, &target, &list(&[]), ("X-None", "")).expect(201);
    let read = || {
        let answer = client.get(&target).expect(200);
        let text = answer.json()["annotations"]["lines"].as_str().unwrap().to_owned();
        let lines: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        (answer.header("etag").unwrap().to_owned(), lines)
    };
    at_once(4, |writer| {
        for round in 0..3 {
            loop {
                let (tag, mut lines) = read();
                lines.push(format!("{writer}.{round}"));
                let answer = put(&client, &target, &list(&lines), ("If-Match", &tag));
                if answer.status == 201 {
                    break;
                }
                answer.expect(412);
            }
        }
    });
    let mut lines = read().1;
    lines.sort();
    let all: Vec<String> = (0..4).flat_map(|w| (0..3).map(move |r| format!("{w}.{r}"))).collect();
    assert_eq!(lines, all);
}

#[test]
fn b12_a_condition_without_sense_is_refused() {
    let (client, repository) = alice();
    let image = client.push_image(&repository, "latest", 5);
    let digest = sha256(&content::bytes(&image));
    let typed = ("Content-Type", OCI_MANIFEST);
    let condition = ("If-None-Match", format!("\"{digest}\""));
    let headers = [typed, (condition.0, condition.1.as_str())];
    let answer = client.send("PUT", &manifest(&repository, "other"), &headers, &content::bytes(&image));
    assert!(matches!(answer.status, 400 | 412), "{}", answer.text());
    client.get(&manifest(&repository, "other")).refuses(404, "MANIFEST_UNKNOWN");
}
