//! What goes by itself. The decision has its own tests beside it; here it is done.

use packhouse::{
    auth::{Delete, Manage, Pull, Restore},
    model::TagPatterns,
    registry::{Rules, records::Retention},
};
use serde_json::Value;

use super::{KEEP, World, blobs_of, digest_of, manifests};
use crate::support::{Server, content};

async fn rules(world: &World, retention: Retention) {
    let grant = world.may::<Manage>().await.unwrap();
    let rules = Rules { immutable: TagPatterns::default(), retention: Some(retention) };
    world.registry.set_package_policy(&grant, Some(rules)).await.unwrap();
}

/// Every version of the world, a second apart, each with a tag of its own if it is among these.
async fn filled(tagged: &[usize]) -> World {
    let mut world = World::new(0).await;
    for (number, manifest) in manifests().iter().enumerate() {
        for blob in blobs_of(manifest) {
            world.push_blob(&blob).await.unwrap();
        }
        let tag = format!("t{number}");
        let tags: &[&str] = if tagged.contains(&number) { &[&tag] } else { &[] };
        world.put(manifest, tags).await.unwrap();
        world.wind(1);
    }
    world
}

async fn left(world: &World) -> Vec<usize> {
    let pull = world.may::<Pull>().await.unwrap();
    let page = world.registry.versions(&pull, None, 100).await.unwrap();
    let all = manifests();
    (0..all.len())
        .filter(|number| page.list.iter().any(|version| version.digest == digest_of(&all[*number])))
        .collect()
}

async fn run_job(world: &World) -> usize {
    for steps in 1..1000 {
        if !world.registry.retain_all(&world.job(), 2).await.unwrap() {
            return steps;
        }
    }
    panic!("the job does not come to an end");
}

/// Behaviour 66. Images 0 to 3; 4 names 0 and 1, 5 names 1 and 2, 6 names 4 and 3; 7 signs 0.
#[tokio::test]
async fn b66_what_belongs_together_stays_and_goes_together() {
    let mut world = filled(&[5, 6]).await;
    assert_eq!(run_job(&world).await, 1, "without a policy nothing happens");
    // What was pushed without a tag may wait for its index as long as a blob would.
    world.wind(super::LEASE);
    rules(&world, Retention { keep_last: Some(1), untagged_older: Some(0), ..Retention::default() }).await;
    let plan = world.registry.retention_plan(&world.may::<Delete>().await.unwrap()).await.unwrap();
    assert_eq!(plan.going, 2);
    let why: Vec<String> = plan.fates.iter().map(|(_, fate)| fate.why.to_string()).collect();
    assert_eq!(
        why[..2],
        ["no rule keeps it".to_owned(), format!("goes with {}", digest_of(&manifests()[5]))]
    );
    assert_eq!(left(&world).await.len(), 8, "a plan does nothing");
    run_job(&world).await;
    // The first of the two outer indexes goes with what nothing else names; the other keeps all below it, signed or not.
    assert_eq!(left(&world).await, [0, 1, 3, 4, 6, 7]);
    run_job(&world).await;
    assert_eq!(left(&world).await, [0, 1, 3, 4, 6, 7]);

    // It can be restored, and the events name the rule.
    let grant = world.may::<Pull>().await.unwrap();
    let events = world.registry.events(&grant, 0, 1000).await.unwrap();
    let told: Vec<_> = events.iter().filter(|(_, event)| event.action == "manifest.delete").collect();
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|(_, event)| event.by == "job:test"));
    assert_eq!(told[0].1.detail.as_deref(), Some("retention: no rule keeps it"));
    let restored = world.restore(&manifests()[5]).await.unwrap();
    assert_eq!((restored.children, restored.tags.len()), (1, 1));

    // None of the last, and everything goes; the signature with what it signs.
    rules(&world, Retention { keep_last: Some(0), ..Retention::default() }).await;
    world.wind(super::LEASE);
    run_job(&world).await;
    assert!(left(&world).await.is_empty());
}

#[tokio::test]
async fn age_counts_from_the_last_push_or_tag() {
    let mut world = filled(&[0, 2]).await;
    rules(&world, Retention { keep_younger: Some(50), ..Retention::default() }).await;
    world.wind(30);
    world.put(&manifests()[2], &["again"]).await.unwrap();
    world.wind(40);
    run_job(&world).await;
    // 0 is named by an index, which no rule is about.
    assert_eq!(left(&world).await.len(), 8);
    world.delete(&manifests()[6]).await.unwrap();
    world.delete(&manifests()[4]).await.unwrap();
    run_job(&world).await;
    // 0 is old, and its signature 7 goes with it; 3 goes with 6, which somebody deleted; 2 was tagged again.
    assert_eq!(left(&world).await, [1, 2, 5]);
    assert!(world.now.0 - super::START.0 < KEEP * 1000);
    let restore = world.may::<Restore>().await.unwrap();
    let deleted = world.registry.deleted_versions(&restore, None, 100).await.unwrap();
    assert_eq!(deleted.list.len(), 5);
}

/// Somebody tags a version that was about to go: it is for the next decision to say.
#[test]
fn what_is_tagged_meanwhile_stays() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut stayed = 0;
    for seed in 1..60 {
        runtime.block_on(async {
            let mut world = World::new(seed).await;
            let image = manifests()[3].clone();
            for blob in blobs_of(&image) {
                world.push_blob(&blob).await.unwrap();
            }
            world.put(&image, &["old"]).await.unwrap();
            rules(&world, Retention { keep_younger: Some(5), ..Retention::default() }).await;
            world.wind(6);
            let (put, ()) = tokio::join!(world.put(&image, &["new"]), async {
                run_job(&world).await;
            });
            put.unwrap();
            // Before or after, never in between: a put that was acknowledged is there.
            let grant = world.may::<Pull>().await.unwrap();
            let tags = world.registry.tags(&grant, None, 10).await.unwrap();
            assert!(tags == ["new", "old"] || tags == ["new"], "{tags:?}");
            stayed += usize::from(tags.len() == 2);
        });
    }
    assert!((1..59).contains(&stayed), "both orders happen: {stayed}");
}

#[test]
fn a_policy_is_tried_dry_and_then_run() {
    let server = Server::start();
    let ada = server.signed_in("ada");
    for number in 1..=4 {
        ada.push_image("ada/app", &format!("v{number}"), number);
    }
    let other = ada.push_image("ada/other", "only", 5);
    server.admin_ok(&["policy", "set", "ada", "--keep-last", "2", "--keep-tag", "v1"]);
    server.admin_ok(&["policy", "set", "ada/other", "--keep-all"]);
    let planned = server.admin_ok(&["policy", "run", "ada", "--dry-run", "--json"]);
    let planned: Value = serde_json::from_str(&planned).unwrap();
    let rows: Vec<_> =
        planned.as_array().unwrap().iter().map(|row| (&row["tags"], &row["fate"], &row["why"])).collect();
    let row = |tag: &str| rows.iter().find(|(tags, ..)| *tags == tag).copied().unwrap();
    assert_eq!(rows.len(), 4, "a package that keeps all has no plan: {planned}");
    assert_eq!((row("v2").1, row("v2").2), (&"goes".into(), &"no rule keeps it".into()));
    assert_eq!((row("v1").1, row("v1").2), (&"stays".into(), &"the tag v1 is kept".into()));
    assert_eq!(row("v4").2, "one of the last 2");
    assert_eq!(ada.get("/v2/ada/app/tags/list").expect(200).json()["tags"].as_array().unwrap().len(), 4);
    let said = server.admin(&["policy", "run", "ada"]);
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("1 versions of 2 packages are deleted"), "{said}");
    assert_eq!(
        ada.get("/v2/ada/app/tags/list").expect(200).json()["tags"],
        serde_json::json!(["v1", "v3", "v4"])
    );
    assert_eq!(ada.get("/v2/ada/other/manifests/only").expect(200).body, content::bytes(&other));
    let deleted = server.admin_ok(&["package", "versions", "ada/app", "--deleted", "--json"]);
    let deleted: Value = serde_json::from_str(&deleted).unwrap();
    let digest = deleted[0]["version"].as_str().unwrap();
    server.admin_ok(&["package", "restore", &format!("ada/app@{digest}")]);
    ada.get("/v2/ada/app/manifests/v2").expect(200);
}

/// A version that somebody pushed or restored a moment ago is not old, however old it was before.
#[tokio::test]
async fn what_is_pushed_again_or_restored_counts_as_new() {
    let mut world = filled(&[]).await;
    let image = manifests()[3].clone();
    rules(&world, Retention { untagged_older: Some(60), ..Retention::default() }).await;
    let here = async |world: &World| left(world).await.contains(&3);
    world.delete(&manifests()[6]).await.unwrap();
    for again in ["pushed", "restored", "pushed while it is here"] {
        world.wind(100);
        if again == "pushed while it is here" {
            world.put(&image, &[]).await.unwrap();
        } else {
            world.delete(&image).await.unwrap();
            match again {
                "pushed" => {
                    for blob in blobs_of(&image) {
                        world.push_blob(&blob).await.unwrap();
                    }
                    world.put(&image, &[]).await.unwrap();
                }
                _ => drop(world.restore(&image).await.unwrap()),
            }
        }
        run_job(&world).await;
        assert!(here(&world).await, "{again}");
        world.wind(5);
        run_job(&world).await;
        assert!(here(&world).await, "{again}, for a while");
    }
    world.wind(100);
    run_job(&world).await;
    assert!(!here(&world).await, "then it is old");
}
