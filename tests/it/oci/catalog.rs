//! The catalog: what one may read, in order.

use std::collections::BTreeSet;

use super::{DAEMON, eventually, manifest};
use crate::support::{
    Client, Shared,
    content::{self, sha256},
};

/// Other tests come and go on the common daemon; the catalog here is these tests' own.
static OWN: Shared = Shared::new(&[]);
static CLOSED: Shared = Shared::new(&[("PACKHOUSE_AUTH_ANONYMOUS_READS", "false")]);

#[track_caller]
fn page(client: &Client, target: &str) -> (Vec<String>, Option<String>) {
    let answer = client.get(target).expect(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let value = answer.json();
    let names = value["repositories"].as_array().expect("never null").iter();
    let link = answer.header("link").map(|link| {
        let (target, rest) = link.strip_prefix('<').unwrap().split_once('>').unwrap();
        assert_eq!(rest.trim_start_matches([';', ' ']), "rel=\"next\"");
        target.to_owned()
    });
    (names.map(|name| name.as_str().unwrap().to_owned()).collect(), link)
}

#[track_caller]
fn all(client: &Client, query: &str) -> Vec<String> {
    let (mut names, mut next) = page(client, &format!("/v2/_catalog{query}"));
    while let Some(target) = next {
        let (more, link) = page(client, &target);
        assert!(!more.is_empty(), "no page is promised that holds nothing");
        names.extend(more);
        next = link;
    }
    names
}

#[test]
fn b16_repositories_are_listed_in_order_and_by_right() {
    let (ada, ben) = (OWN.signed_in("ada"), OWN.signed_in("ben"));
    let names =
        ["ada/a", "ada/a-b", "ada/a.b", "ada/a/b", "ada/aa", "ada/math", "ada/math-voila", "ada/z/y/x"];
    for name in names {
        ada.push_image(name, "latest", 16);
    }
    let own = |client: &Client, query: &str| -> Vec<String> {
        all(client, query).into_iter().filter(|name| name.starts_with("ada/")).collect()
    };
    let mut sorted: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    sorted.sort();
    assert_eq!(own(&ada, ""), sorted, "bytewise");
    for n in [1, 2, 3, 5, 8, 9, 1000] {
        assert_eq!(own(&ada, &format!("?n={n}")), sorted, "n={n}: each once");
    }
    assert!(own(&ben, "").is_empty(), "private ones are not named");
    OWN.server().admin_ok(&["package", "visibility", "ada/aa", "public"]);
    OWN.server().admin_ok(&["package", "grant", "ada/math", "ben", "read"]);
    assert_eq!(own(&ben, ""), ["ada/aa", "ada/math"]);
    assert_eq!(own(&ben, "?n=1"), ["ada/aa", "ada/math"], "filtered before it is counted");
    OWN.server().admin_ok(&["package", "grant", "ada/math", "ben", "none"]);
    assert_eq!(own(&ben, ""), ["ada/aa"]);
    OWN.server().admin_ok(&["package", "visibility", "ada/aa", "private"]);
    assert!(own(&ben, "").is_empty());
}

#[test]
fn b16_an_empty_repository_is_not_listed() {
    let client = OWN.signed_in("cleo");
    let repository = OWN.repository("cleo");
    let listed = || all(&client, "").contains(&repository);
    client.push_blob(&repository, b"not a manifest yet");
    assert!(!listed(), "nothing to pull yet");
    let image = client.push_image(&repository, "latest", 1);
    assert!(listed());
    client.delete(&manifest(&repository, "latest")).expect(202);
    assert!(listed(), "the manifest is still there by digest");
    client.delete(&manifest(&repository, &sha256(&content::bytes(&image)))).expect(202);
    assert!(!listed(), "gone at once with its last manifest");
    client.push_image(&repository, "latest", 2);
    assert!(listed());
}

#[test]
fn b16_pages_are_asked_for_like_those_of_tags() {
    let client = OWN.signed_in("dora");
    for name in ["dora/x", "dora/y"] {
        client.push_image(name, "latest", 1);
    }
    assert_eq!(page(&client, "/v2/_catalog?n=0"), (vec![], None));
    assert_eq!(page(&client, "/v2/_catalog?n=1&last=dora/x").0, ["dora/y"]);
    assert_eq!(page(&client, "/v2/_catalog?n=1&last=dora%2Fx").0, ["dora/y"]);
    assert_eq!(page(&client, "/v2/_catalog?n=1&last=dora/w").0, ["dora/x"], "a place, not a name");
    assert_eq!(page(&client, "/v2/_catalog?last=zzzz"), (vec![], None));
    for n in ["-1", "1e9", "x", ""] {
        client.get(&format!("/v2/_catalog?n={n}")).refuses(400, "PAGINATION_NUMBER_INVALID");
    }
    for n in ["2147483648", "1000000000000000000", "18446744073709551616"] {
        assert!(all(&client, &format!("?n={n}")).contains(&"dora/x".to_owned()));
    }
}

/// Everything that changes while pages are read shows or does not; what does not change shows once (distribution #4903).
#[test]
fn b16_pages_lose_and_repeat_nothing_while_repositories_come_and_go() {
    let client = OWN.signed_in("eve");
    let steady: BTreeSet<String> = (0..12).map(|index| format!("eve/s{index:02}")).collect();
    for name in &steady {
        client.push_image(name, "latest", 1);
    }
    let (first, mut next) = page(&client, "/v2/_catalog?n=4&last=eve");
    let mut seen = first;
    for round in 0.. {
        let Some(target) = next else { break };
        client.push_image(&format!("eve/s0{round}-new"), "latest", 2);
        let (more, link) = page(&client, &target);
        seen.extend(more);
        next = link;
    }
    let seen: Vec<&String> = seen.iter().filter(|name| steady.contains(*name)).collect();
    assert_eq!(seen, steady.iter().collect::<Vec<_>>());
}

#[test]
fn b16_the_catalog_asks_who_is_asking() {
    let anonymous = DAEMON.anonymous();
    let refused = anonymous.get("/v2/_catalog").refuses(401, "UNAUTHORIZED");
    let challenge = refused.header("www-authenticate").unwrap();
    assert!(challenge.contains("scope=\"registry:catalog:*\""), "{challenge}");
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let answer = DAEMON.signed_in("alice").send(method, "/v2/_catalog", &[], b"");
        assert_eq!(answer.status, 405, "{method}");
    }
}

/// An anonymous token for the catalog lists what is public, and nothing where anonymous reads are turned off.
#[test]
fn b16_anonymous_callers_see_what_is_public() {
    for (daemon, sees) in [(&OWN, true), (&CLOSED, false)] {
        let owner = daemon.signed_in("fay");
        for name in ["fay/open", "fay/secret"] {
            owner.push_image(name, "latest", 1);
        }
        daemon.server().admin_ok(&["package", "visibility", "fay/open", "public"]);
        let token = super::auth::try_token(&daemon.anonymous(), "registry:catalog:*");
        let names = match token {
            Some(token) => match daemon.anonymous().bearer(&token).get("/v2/_catalog?n=1000") {
                answer if answer.status == 200 => answer.text(),
                answer => answer.refuses(401, "UNAUTHORIZED").text(),
            },
            None => String::new(),
        };
        assert_eq!(names.contains("fay/open"), sees);
        assert!(!names.contains("fay/secret"));
    }
}

/// A package whose uploads were all given up leaves nothing behind in anybody's list.
#[test]
fn b16_a_repository_that_never_got_a_manifest_is_unknown_to_others() {
    let (owner, other) = (OWN.signed_in("gus"), OWN.signed_in("hal"));
    owner.begin("gus/pending");
    assert!(!all(&owner, "").contains(&"gus/pending".to_owned()));
    other.get("/v2/gus/pending/tags/list").refuses(404, "NAME_UNKNOWN");
    owner.push_image("gus/pending", "latest", 1);
    eventually("it is listed", || all(&owner, "").contains(&"gus/pending".to_owned()));
    other.get("/v2/gus/pending/tags/list").refuses(404, "NAME_UNKNOWN");
}
