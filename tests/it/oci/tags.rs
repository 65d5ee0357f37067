//! Tags: their grammar, their list, who wins.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use serde_json::json;

use super::{alice, at_once, manifest};
use crate::support::{
    Client, Response,
    content::{self, OCI_INDEX, sha256, sha512},
};

/// An index that says nothing but its number.
fn numbered(number: usize) -> Vec<u8> {
    let annotations = json!({"number": number.to_string()});
    content::bytes(
        &json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "annotations": annotations}),
    )
}

fn put(client: &Client, repository: &str, reference: &str, number: usize) -> Response {
    client.send("PUT", &manifest(repository, reference), &[("Content-Type", OCI_INDEX)], &numbered(number))
}

/// A repository with these tags on one manifest.
fn tagged(tags: &[&str]) -> (Client, String) {
    let (client, repository) = alice();
    put(&client, &repository, "first", 0).expect(201);
    let digest = sha256(&numbered(0));
    for some in tags.chunks(50) {
        let query: Vec<String> = some.iter().map(|tag| format!("tag={tag}")).collect();
        put(&client, &repository, &format!("{digest}?{}", query.join("&")), 0).expect(201);
    }
    client.delete(&manifest(&repository, "first")).expect(202);
    (client, repository)
}

#[track_caller]
fn list(client: &Client, repository: &str, query: &str) -> (Vec<String>, Option<String>) {
    let answer = client.get(&format!("/v2/{repository}/tags/list{query}")).expect(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let value = answer.json();
    assert_eq!(value["name"], repository);
    let tags =
        value["tags"].as_array().expect("never null").iter().map(|tag| tag.as_str().unwrap().to_owned());
    (tags.collect(), answer.header("link").map(next))
}

/// The address in a `Link` header.
#[track_caller]
fn next(link: &str) -> String {
    let (target, rest) = link.strip_prefix('<').unwrap().split_once('>').unwrap();
    assert_eq!(rest.trim_start_matches([';', ' ']), "rel=\"next\"");
    assert!(target.starts_with("/v2/"), "relative: {target}");
    target.to_owned()
}

#[test]
fn b05_a_tag_is_1_to_128_of_its_characters() {
    let (client, repository) = alice();
    let longest = "x".repeat(128);
    for tag in ["a", "_", "0", "latest", "v1.2.3-rc.1_build", "A-Z", "__", "a..b", "1.0.0_meta", &longest] {
        put(&client, &repository, tag, 5).expect(201);
        client.get(&manifest(&repository, tag)).expect(200);
        client.delete(&manifest(&repository, tag)).expect(202);
    }
    let long = "x".repeat(129);
    for tag in [".a", "-a", &long, "a%20b", "a+b", "a%2fb", "%61", "a~", "a@b", "", "%00", "a%0d%0ab"] {
        for method in ["GET", "PUT", "DELETE"] {
            let answer = client.send(
                method,
                &manifest(&repository, tag),
                &[("Content-Type", OCI_INDEX)],
                &numbered(5),
            );
            assert_eq!((answer.status, answer.code().as_str()), (400, "TAG_INVALID"), "{method} {tag:?}");
        }
    }
    assert!(list(&client, &repository, "").0.is_empty());
}

#[test]
fn b05_tags_differ_by_case() {
    let (client, repository) = alice();
    for (number, tag) in ["latest", "Latest", "LATEST"].into_iter().enumerate() {
        put(&client, &repository, tag, number).expect(201);
    }
    for (number, tag) in ["latest", "Latest", "LATEST"].into_iter().enumerate() {
        assert_eq!(client.get(&manifest(&repository, tag)).expect(200).body, numbered(number));
    }
    client.get(&manifest(&repository, "lATEST")).refuses(404, "MANIFEST_UNKNOWN");
}

/// What has a colon is a digest or an error; what looks like one without it is a tag, and never found by digest (T009).
#[test]
fn b05_a_tag_is_never_taken_for_a_digest_nor_the_reverse() {
    let (client, repository) = alice();
    let digest = sha256(&numbered(1));
    let dashed = digest.replace(':', "-");
    put(&client, &repository, &dashed, 2).expect(201);
    client.get(&manifest(&repository, &digest)).refuses(404, "MANIFEST_UNKNOWN");
    put(&client, &repository, &digest, 1).expect(201);
    assert_eq!(client.get(&manifest(&repository, &dashed)).expect(200).body, numbered(2));
    assert_eq!(client.get(&manifest(&repository, &digest)).expect(200).body, numbered(1));
    for reference in ["sha256:latest", "latest:1", ":", "sha256:"] {
        put(&client, &repository, reference, 3).refuses(400, "DIGEST_INVALID");
    }
}

#[test]
fn b15_tags_are_listed_bytewise_whole_or_in_pages() {
    let mut tags = vec![
        "a",
        "a-b",
        "a.b",
        "aB",
        "aa",
        "A",
        "B",
        "Z",
        "_",
        "0",
        "10",
        "9",
        "z",
        "a_b",
        "math",
        "math-voila",
    ];
    let (client, repository) = tagged(&tags);
    tags.sort_unstable();
    assert_eq!(list(&client, &repository, ""), (tags.iter().map(|tag| (*tag).to_owned()).collect(), None));
    for n in [1, 2, 3, 7, 15, 16, 17, 1000] {
        let mut pages = Vec::new();
        let mut target = Some(format!("/v2/{repository}/tags/list?n={n}"));
        while let Some(address) = target {
            let (page, link) = list(&client, &repository, address.split_once("tags/list").unwrap().1);
            assert!(page.len() == n || link.is_none(), "fewer than asked for only at the end");
            assert!(!page.is_empty(), "no page is promised that holds nothing");
            pages.extend(page);
            target = link;
        }
        assert_eq!(pages, tags, "n={n}");
    }
}

#[test]
fn b15_last_marks_a_place_in_the_order_and_need_not_be_a_tag() {
    let (client, repository) = tagged(&["b", "d", "f", "h"]);
    let after = |last: &str| list(&client, &repository, &format!("?last={last}"));
    let all = |tags: &[&str]| (tags.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>(), None);
    assert_eq!(after("d"), all(&["f", "h"]));
    assert_eq!(after("c"), all(&["d", "f", "h"]));
    assert_eq!(after("A"), all(&["b", "d", "f", "h"]));
    assert_eq!(after("h"), all(&[]));
    assert_eq!(after("zzz"), all(&[]));
    assert_eq!(after(""), all(&["b", "d", "f", "h"]));
    assert_eq!(after("d%20"), all(&["f", "h"]));
    assert_eq!(after(&"d".repeat(3000)), all(&["f", "h"]));
    let (page, link) = list(&client, &repository, "?n=2&last=b");
    assert_eq!(page, ["d", "f"]);
    assert!(link.unwrap().contains("last=f"));
}

#[test]
fn b15_zero_are_none_and_no_link() {
    let (client, repository) = tagged(&["a", "b"]);
    assert_eq!(list(&client, &repository, "?n=0"), (vec![], None));
    assert_eq!(list(&client, &repository, "?n=0&last=a"), (vec![], None));
}

#[test]
fn b15_a_strange_n_is_refused_or_clamped() {
    let (client, repository) = tagged(&["a", "b"]);
    for n in ["-1", "1e9", "x", "", "1.5", "0x10", "%201", "+1", "\u{661}"] {
        let answer = client.get(&format!("/v2/{repository}/tags/list?n={n}"));
        assert_eq!((answer.status, answer.code().as_str()), (400, "PAGINATION_NUMBER_INVALID"), "{n:?}");
    }
    for n in ["2147483648", "1000000000000000000", "18446744073709551616", "99999999999999999999999999"] {
        assert_eq!(list(&client, &repository, &format!("?n={n}")).0, ["a", "b"]);
    }
}

#[test]
fn b15_a_repository_without_tags_has_an_empty_list_and_an_absent_one_none() {
    let (client, repository) = tagged(&[]);
    assert_eq!(list(&client, &repository, ""), (vec![], None));
    let absent = super::DAEMON.repository("alice");
    client.get(&format!("/v2/{absent}/tags/list")).refuses(404, "NAME_UNKNOWN");
}

/// Ten tags at once is the least a registry should take.
#[test]
fn many_tags_in_one_put() {
    let (client, repository) = alice();
    let digest = sha256(&numbered(1));
    let tags: Vec<String> = (0..12).map(|index| format!("t{index:02}")).collect();
    let query: Vec<String> = tags.iter().map(|tag| format!("tag={tag}")).collect();
    let stored = put(&client, &repository, &format!("{digest}?{}", query.join("&")), 1).expect(201);
    let named: Vec<&str> = stored.header("oci-tag").unwrap().split(',').map(str::trim).collect();
    assert_eq!(named, tags);
    assert_eq!(list(&client, &repository, "").0, tags);
    // One named twice is one.
    put(&client, &repository, &format!("{digest}?tag=twice&tag=twice"), 1).expect(201);
    client.get(&manifest(&repository, "twice")).expect(200);
    // SHA-512 manifests have no other way to a tag.
    let digest = sha512(&numbered(2));
    put(&client, &repository, &format!("{digest}?tag=big&tag=t00"), 2).expect(201);
    for tag in ["big", "t00"] {
        let answer = client.get(&manifest(&repository, tag)).expect(200);
        assert_eq!(answer.header("docker-content-digest"), Some(digest.as_str()));
    }
}

/// The specification has 414 for this: the list of tags is in the address.
#[test]
fn too_many_tags_in_one_put_are_414_and_none_is_moved() {
    let (client, repository) = alice();
    let digest = sha256(&numbered(1));
    for count in [65, 300] {
        let query: Vec<String> = (0..count).map(|index| format!("tag=t{index}")).collect();
        let answer = put(&client, &repository, &format!("{digest}?{}", query.join("&")), 1);
        assert_eq!(answer.status, 414, "{count} tags: {}", answer.text());
    }
    client.get(&manifest(&repository, &digest)).expect(404);
}

#[test]
fn a_bad_tag_among_good_ones_moves_none() {
    let (client, repository) = alice();
    put(&client, &repository, "good", 1).expect(201);
    let digest = sha256(&numbered(2));
    put(&client, &repository, &format!("{digest}?tag=good&tag=.bad"), 2).refuses(400, "TAG_INVALID");
    put(&client, &repository, "other?tag=good", 2).refuses(400, "TAG_INVALID");
    assert_eq!(list(&client, &repository, "").0, ["good"]);
    assert_eq!(client.get(&manifest(&repository, "good")).expect(200).body, numbered(1));
}

#[test]
fn b40_the_last_of_many_who_move_a_tag_wins_and_nobody_fails() {
    let (client, repository) = alice();
    put(&client, &repository, "latest", 100).expect(201);
    let answers = at_once(8, |index| put(&client, &repository, "latest", index).status);
    assert_eq!(answers, [201; 8]);
    let body = client.get(&manifest(&repository, "latest")).expect(200).body;
    assert!((0..8).any(|index| body == numbered(index)), "one of them");
    for index in 0..8 {
        client.get(&manifest(&repository, &sha256(&numbered(index)))).expect(200);
    }
}

/// Readers that see a tag's new place never see an older one again.
#[test]
fn b40_nobody_sees_an_older_tag_after_a_newer_one() {
    let (client, repository) = alice();
    put(&client, &repository, "latest", 0).expect(201);
    let done = AtomicBool::new(false);
    at_once(4, |thread| {
        if thread == 0 {
            for number in 1..=40 {
                put(&client, &repository, "latest", number).expect(201);
            }
            done.store(true, SeqCst);
            return;
        }
        let mut newest = 0;
        loop {
            let last = done.load(SeqCst);
            let answer = client.get(&manifest(&repository, "latest")).expect(200);
            let number: usize = answer.json()["annotations"]["number"].as_str().unwrap().parse().unwrap();
            assert!(number >= newest, "{number} after {newest}");
            newest = number;
            if last {
                break;
            }
        }
        assert_eq!(newest, 40, "what was acknowledged is seen");
    });
}
