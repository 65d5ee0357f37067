//! Tags that are neither moved nor deleted.

use std::collections::BTreeSet;

use packhouse::{
    auth::{Manage, ManageOwner},
    error::{Kind, Reason},
    model::TagPatterns,
    registry::Rules,
};
use serde_json::Value;

use super::{World, blobs_of, digest_of, manifests};
use crate::support::{
    Client, Server,
    content::{self, sha256},
};

fn patterns(tags: &[&str], except: &[&str]) -> TagPatterns {
    let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    TagPatterns::parse(&own(tags), &own(except)).unwrap()
}

#[track_caller]
fn denied(answer: crate::support::Response, words: &str) {
    let refused = answer.refuses(403, "DENIED").json();
    assert_eq!(refused["errors"][0]["detail"]["reason"], "policy");
    let message = refused["errors"][0]["message"].as_str().unwrap();
    assert!(message.contains(words), "{message}");
}

fn put_with_tags(client: &Client, manifest: &Value, tags: &str) -> crate::support::Response {
    let bytes = content::bytes(manifest);
    let target = format!("/v2/ada/app/manifests/{}?{tags}", sha256(&bytes));
    client.send("PUT", &target, &[("Content-Type", content::OCI_MANIFEST)], &bytes)
}

/// Behaviour 63: the same digest again is fine, another one is denied with a reason; by every way there is.
#[test]
fn b63_an_immutable_tag_stays_where_it_is() {
    let server = Server::start();
    let ada = server.signed_in("ada");
    server.admin_ok(&["policy", "set", "ada", "--immutable", "v*", "--except", "v-*"]);
    let first = ada.push_image("ada/app", "v1", 1);
    let second = ada.push_image("ada/app", "latest", 2);
    ada.put_manifest("ada/app", "v-next", &first).expect(201);
    ada.put_manifest("ada/app", "v1", &first).expect(201);
    denied(ada.put_manifest("ada/app", "v1", &second), "the tag v1 is immutable");
    denied(put_with_tags(&ada, &second, "tag=other&tag=v1"), "policy: v*");
    ada.get("/v2/ada/app/manifests/other").refuses(404, "MANIFEST_UNKNOWN");
    let current = ada.get("/v2/ada/app/manifests/v1").expect(200);
    assert_eq!(current.body, content::bytes(&first));
    let etag = current.header("etag").unwrap().to_owned();
    let bytes = content::bytes(&second);
    let headers = [("Content-Type", content::OCI_MANIFEST), ("If-Match", etag.as_str())];
    denied(ada.send("PUT", "/v2/ada/app/manifests/v1", &headers, &bytes), "immutable");
    denied(ada.delete("/v2/ada/app/manifests/v1"), "neither moved nor deleted");
    denied(ada.delete(&format!("/v2/ada/app/manifests/{}", sha256(&content::bytes(&first)))), "immutable");
    for what in ["ada/app:v1", "ada/app"] {
        let refused = server.admin(&["package", "delete", what]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&refused.stderr).contains("the tag v1 is immutable"));
    }
    // What is excepted, and what no pattern names, moves.
    for tag in ["v-next", "latest"] {
        ada.put_manifest("ada/app", tag, &second).expect(201);
        ada.put_manifest("ada/app", tag, &first).expect(201);
    }
    ada.delete("/v2/ada/app/manifests/latest").expect(202);

    // A package's own policy adds to its owner's, and lifts nothing of it.
    server.admin_ok(&["policy", "set", "ada/app", "--immutable", "*-final"]);
    ada.put_manifest("ada/app", "1-final", &first).expect(201);
    denied(ada.put_manifest("ada/app", "1-final", &second), "*-final");
    denied(ada.put_manifest("ada/app", "v1", &second), "v*");
    let shown = server.admin_ok(&["policy", "show", "ada/app", "--json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let rows: BTreeSet<_> =
        shown.as_array().unwrap().iter().map(|row| row["value"].as_str().unwrap()).collect();
    assert_eq!(rows, BTreeSet::from(["*-final", "v*", "v-*"]));
    server.admin_ok(&["policy", "clear", "ada"]);
    ada.put_manifest("ada/app", "v1", &second).expect(201);
    server.admin_ok(&["policy", "clear", "ada/app"]);
    server.admin_ok(&["policy", "clear", "ada/app"]);
    assert_eq!(server.admin_ok(&["policy", "show", "ada/app", "--json"]), "[]");
    ada.delete("/v2/ada/app/manifests/1-final").expect(202);
}

#[test]
fn a_policy_that_says_nothing_or_nonsense_is_refused() {
    let server = Server::start();
    server.signed_in("ada").push_image("ada/app", "v1", 1);
    for (args, code, words) in [
        (&["set", "ada"][..], 1, "says nothing"),
        (&["set", "ada", "--immutable", "v?"], 1, "is no pattern"),
        (&["set", "ada", "--except", "v1"], 1, "excepted from"),
        (&["set", "ada", "--keep-tag", "v1"], 1, "keep-last or keep-younger"),
        (&["set", "ada", "--keep-all", "--keep-last", "1"], 2, "--keep-all"),
        (&["set", "ada", "--keep-last", "x"], 2, "keep-last"),
        (&["set", "nobody", "--keep-last", "1"], 1, "nobody"),
        (&["set", "ada/none", "--keep-last", "1"], 1, "no such repository"),
        (&["run", "ada/none"], 1, "no such repository"),
    ] {
        let output = server.admin(&[&["policy"], args].concat());
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(code) && text.contains(words), "{args:?}: {text}");
    }
}

/// A policy and a push at once: one of them is first, and the other knows. The tag's events tell in which order.
#[test]
fn a_policy_and_a_move_do_not_pass_each_other() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut moved = 0;
    for seed in 1..200 {
        runtime.block_on(async {
            let world = World::new(seed).await;
            let all = manifests();
            for manifest in [&all[0], &all[2]] {
                for blob in blobs_of(manifest) {
                    world.push_blob(&blob).await.unwrap();
                }
            }
            world.put(&all[0], &["v1"]).await.unwrap();
            let rules = Rules { immutable: patterns(&["v*"], &[]), retention: None };
            let owned = seed % 2 == 0;
            let protect = async {
                for _ in 0..seed % 40 {
                    tokio::task::yield_now().await;
                }
                let policy = world.registry.policy();
                if owned {
                    let grant = policy.authorize_owner::<ManageOwner>(&world.caller(), "ada").await.unwrap();
                    world.registry.set_owner_policy(&grant, Some(rules)).await.unwrap();
                } else {
                    let grant = world.may::<Manage>().await.unwrap();
                    world.registry.set_package_policy(&grant, Some(rules)).await.unwrap();
                }
                let grant = world.may::<packhouse::auth::Pull>().await.unwrap();
                let tag = packhouse::model::Reference::parse("v1").unwrap();
                world.registry.stat_manifest(&grant, &tag).await.ok().map(|head| head.digest)
            };
            let ((protected, put), deleted) =
                tokio::join!(async { tokio::join!(protect, world.put(&all[2], &["v1"])) }, async {
                    if seed % 3 == 0 { world.delete(&all[0]).await } else { Ok(()) }
                });
            for refused in [put.as_ref().err(), deleted.as_ref().err()].into_iter().flatten() {
                let known = matches!(refused.kind(), Kind::Forbidden(Reason::Policy));
                assert!(known, "{refused:?}");
            }
            // What the tag named when the policy was in force, it names for ever.
            let grant = world.may::<packhouse::auth::Pull>().await.unwrap();
            let tag = packhouse::model::Reference::parse("v1").unwrap();
            let now = world.registry.stat_manifest(&grant, &tag).await.ok().map(|head| head.digest);
            // One that was free may be put once; one that was there stays.
            assert!(now == protected || protected.is_none(), "{protected:?} became {now:?}");
            // Events are in the order in which things happened.
            let (mut protected_since, mut named) = (false, None);
            for (_, event) in world.registry.events(&grant, 0, 100).await.unwrap() {
                let v1 = event.tag.as_deref() == Some("v1");
                match event.action.as_str() {
                    "package.policy" => protected_since = true,
                    "tag.put" if v1 => {
                        assert!(!protected_since || named.is_none(), "moved under the policy");
                        named = event.digest;
                    }
                    "tag.delete" if v1 => {
                        assert!(!protected_since, "deleted under the policy");
                        named = None;
                    }
                    _ => {}
                }
            }
            moved += usize::from(protected == Some(digest_of(&all[2])));
        });
    }
    assert!((1..199).contains(&moved), "both orders happen: {moved}");
}
