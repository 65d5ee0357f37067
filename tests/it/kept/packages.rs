//! Whole packages: out of reach at once, back with everything, gone for good piece by piece.

use packhouse::{
    auth::{Delete, Policy, Pull, Push, Restore},
    error::{Error, Kind, Result, What},
    model::{Digest, PackageName, Visibility},
    registry::Registry,
};

use super::{KEEP, LEASE, World, blob, blobs_of, digest_of, manifests, path};

async fn filled() -> World {
    let world = World::new(0).await;
    for (number, manifest) in manifests().iter().enumerate() {
        for blob in blobs_of(manifest) {
            world.push_blob(&blob).await.unwrap();
        }
        world.put(manifest, &[&format!("t{number}")]).await.unwrap();
    }
    world
}

fn policy(registry: &Registry) -> &Policy {
    registry.policy()
}

fn kind<T>(result: Result<T>) -> Kind {
    result.map(|_| ()).map_err(|error: Error| error.kind()).unwrap_err()
}

const ABSENT: Kind = Kind::NotFound(What::Package);

/// By no route is anything of a deleted package to be had: by its name, by a mount from it, or by a probe for a mount.
#[tokio::test]
async fn a_deleted_package_is_out_of_reach_by_every_route() {
    let world = filled().await;
    let other = PackageName::parse("ada/other").unwrap();
    let policy = policy(&world.registry);
    let packhouse::auth::Publish::New(grant) =
        policy.authorize_publish(&world.caller(), &other).await.unwrap()
    else {
        panic!()
    };
    world.registry.allocate(&grant, &other).await.unwrap();
    let into = policy.authorize::<Push>(&world.caller(), &other).await.unwrap();
    let digest = Digest::sha256(&blob(1));
    assert_eq!(world.registry.mount_sources(&into, &digest).await.unwrap(), [path()]);

    // Grants from before: reading was allowed when it began, writing is not allowed any more.
    let (pull, push) = (world.may::<Pull>().await.unwrap(), world.may::<Push>().await.unwrap());
    let delete = world.may::<Delete>().await.unwrap();
    let again = world.may::<Delete>().await.unwrap();
    world.delete_package().await.unwrap();

    assert_eq!(kind(world.may::<Pull>().await), ABSENT);
    assert_eq!(kind(world.may::<Push>().await), ABSENT);
    assert_eq!(kind(world.may::<Delete>().await), ABSENT);
    assert_eq!(kind(world.may::<Restore>().await), ABSENT);
    assert!(world.registry.mount_sources(&into, &digest).await.unwrap().is_empty());
    assert!(!world.registry.mount_blob(&into, &pull, &digest).await.is_ok_and(|mounted| mounted));
    assert!(world.registry.catalog(&world.caller(), None, 10).await.unwrap().is_empty());
    assert!(world.registry.packages_of(&world.caller(), None, None, 10).await.unwrap().packages.is_empty());
    assert_eq!(kind(world.registry.delete_package(&again).await), Kind::StaleGrant);
    let one = digest_of(&manifests()[7]);
    assert_eq!(kind(world.registry.delete_manifest(&delete, &one).await), Kind::StaleGrant);
    let put = packhouse::registry::PutManifest {
        reference: packhouse::model::Reference::Digest(one),
        tags: Vec::new(),
        content_type: None,
        condition: Default::default(),
        bytes: crate::support::content::bytes(&manifests()[7]).into(),
    };
    assert_eq!(kind(world.registry.put_manifest(&push, put).await), Kind::StaleGrant);
}

/// Deleting is one small batch whatever the package holds, and restoring gives every key back as it was.
#[tokio::test]
async fn a_restored_package_is_what_it_was() {
    let world = filled().await;
    let manage = policy(&world.registry).authorize(&world.caller(), &path()).await.unwrap();
    world.registry.set_visibility(&manage, Visibility::Public).await.unwrap();
    let before = world.meta.everything().await;
    world.delete_package().await.unwrap();
    let deleted = world.meta.everything().await;
    let changed = before.iter().filter(|(key, value)| deleted.get(key) != Some(value)).count();
    assert!(changed <= 4, "{changed} keys of {} changed", before.len());
    world.restore_package().await.unwrap();
    let after = world.meta.everything().await;
    let differs: Vec<_> = after
        .iter()
        .filter(|(key, value)| before.get(key) != Some(value))
        .map(|(key, _)| (key.space.word(), char::from(key.bytes[0])))
        .collect();
    let expected = |what: &(&str, char)| matches!(what, ("meta", 'r') | ("event", _));
    assert!(differs.iter().all(expected), "{differs:?}");
    assert!(before.keys().all(|key| after.contains_key(key)));
    assert_eq!(world.may::<Pull>().await.unwrap().target().visibility, Visibility::Public);
}

/// Whoever was told nothing of a package is told nothing of it now; a public one is nobody's to restore.
#[tokio::test]
async fn only_who_administers_restores_and_learns_of_it() {
    let world = crate::people::World::new().await;
    for user in ["ada", "bob", "carl"] {
        world.user(user).await;
    }
    world.organization("acme", "ada").await;
    let (ada, bob, carl) = (world.caller("ada").await, world.caller("bob").await, world.caller("carl").await);
    world.push(&ada, "acme/app").await.unwrap();
    world.visibility("acme/app", Visibility::Public).await;
    world.role("acme/app", "bob", Some(packhouse::model::Role::Admin)).await;
    world.role("acme/app", "carl", Some(packhouse::model::Role::Write)).await;
    let grant = world.may::<Delete>(&bob, "acme/app").await.unwrap();
    world.registry.delete_package(&grant).await.unwrap();

    let policy = world.registry.policy();
    let name = PackageName::parse("acme/app").unwrap();
    let may = async |caller| policy.authorize_deleted::<Restore>(caller, &name, None).await;
    let absent = world.may::<Delete>(&carl, "acme/never").await.unwrap_err();
    let nobody = world.anonymous();
    assert!(matches!(kind(may(&nobody).await), Kind::Unauthenticated(_)));
    assert!(matches!(kind(may(&carl).await), Kind::Forbidden(_)), "carl had a role, and knows of it");
    let stranger = world.caller_for("ada", crate::people::READ).await;
    assert!(matches!(kind(may(&stranger).await), Kind::Forbidden(_)), "the token lacks the scope");
    world.user("dora").await;
    let dora = world.caller("dora").await;
    let refused = may(&dora).await.unwrap_err();
    assert_eq!((refused.kind(), refused.public()), (absent.kind(), absent.public()), "word for word");
    let listed = world.registry.deleted_packages(&dora, None, None, 10).await.unwrap();
    assert!(listed.is_empty());
    let listed = world.registry.deleted_packages(&bob, None, None, 10).await.unwrap();
    assert_eq!(listed.len(), 1);

    // An owner that has something to restore is not removed.
    let (operate, kind_of) = (world.operate(), packhouse::registry::records::AccountKind::Organization);
    let removed = world.registry.remove_account(&operate, "acme", kind_of);
    assert!(removed.await.unwrap_err().public().contains("deleted packages"));
    let grant = may(&bob).await.unwrap();
    world.registry.restore_package(&grant).await.unwrap();
    assert!(world.may::<Push>(&carl, "acme/app").await.is_ok(), "roles come back with it");
    assert_eq!(kind(world.registry.restore_package(&grant).await), Kind::StaleGrant);
}

#[tokio::test]
async fn a_name_that_is_taken_again_is_not_taken_back() {
    let mut world = filled().await;
    world.delete_package().await.unwrap();
    let first = world.may_restore_package().await.unwrap();
    world.wind(1);
    // Uploads of a new package have the name too.
    world.push_blob(&blob(9)).await.unwrap();
    let refused = world.restore_package().await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Conflict(What::Package));
    let new = manifests()[7].clone();
    for blob in blobs_of(&new) {
        world.push_blob(&blob).await.unwrap();
    }
    world.put(&new, &["new"]).await.unwrap();
    let refused = world.restore_package().await.unwrap_err();
    assert!(refused.public().contains("delete that one first"), "{}", refused.public());
    let pull = world.may::<Pull>().await.unwrap();
    assert_eq!(world.registry.tags(&pull, None, 10).await.unwrap(), ["new"], "nothing of the old one shows");
    // Nor does the new one hold what the old one does.
    assert!(world.registry.stat_blob(&pull, &Digest::sha256(&blob(2))).await.is_err());

    world.wind(1);
    world.delete_package().await.unwrap();
    let listed = world.registry.deleted_packages(&world.caller(), Some("ada"), None, 10).await.unwrap();
    assert_eq!(listed.len(), 2);
    // Without an id it is the last; with one it is that one.
    assert_ne!(world.may_restore_package().await.unwrap().target().id, first.target().id);
    let policy = policy(&world.registry);
    let caller = world.caller();
    let old = policy.authorize_deleted::<Restore>(&caller, &path(), Some(first.target().id)).await.unwrap();
    world.registry.restore_package(&old).await.unwrap();
    let pull = world.may::<Pull>().await.unwrap();
    assert_eq!(world.registry.tags(&pull, None, 10).await.unwrap().len(), manifests().len());
    assert_eq!(kind(world.restore_package().await), Kind::Conflict(What::Package));
}

/// However small the steps, and whatever happens between them, a package that is being purged is nobody's.
#[tokio::test]
async fn a_package_goes_for_good_in_steps() {
    let mut world = filled().await;
    world.delete_package().await.unwrap();
    world.wind(KEEP - 1);
    world.purge().await;
    world.restore_package().await.unwrap();
    world.delete_package().await.unwrap();
    world.wind(KEEP - 1);
    world.purge().await;
    let old = world.may_restore_package().await.unwrap();
    world.wind(1);
    let mut steps = 0;
    loop {
        let done = world.registry.purge_deleted(&world.job(), 1).await.unwrap();
        if done == 0 {
            break;
        }
        steps += 1;
        assert_eq!(kind(world.may_restore_package().await), ABSENT);
        assert!(world.registry.restore_package(&old).await.is_err());
        // The name lives on, as somebody else.
        world.push_blob(&blob(9)).await.unwrap();
        assert!(world.registry.deleted_packages(&world.caller(), None, None, 10).await.unwrap().is_empty());
    }
    assert!(steps > manifests().len(), "{steps}");
    world.wind(LEASE);
    world.registry.expire_unused(world.now).await.unwrap();
    world.purge().await;
    world.meta.collect(world.now).await;
    let left = super::store::Records::read(&world.meta.everything().await);
    assert!(left.manifests.is_empty() && left.tags.is_empty() && left.blobs.is_empty());
}

/// A blob whose record went to collection is pushed again under a new key, and a purged manifest as if it never was.
#[tokio::test]
async fn what_is_gone_for_good_is_pushed_anew() {
    let mut world = filled().await;
    let signature = manifests()[7].clone();
    world.delete(&signature).await.unwrap();
    world.wind(KEEP + LEASE);
    world.purge().await;
    assert_eq!(kind(world.restore(&signature).await), Kind::NotFound(What::Manifest));
    assert_eq!(kind(world.restore_tag("t7").await), Kind::NotFound(What::Tag));
    for blob in blobs_of(&signature) {
        world.push_blob(&blob).await.unwrap();
    }
    world.put(&signature, &[]).await.unwrap();
    let pull = world.may::<Pull>().await.unwrap();
    let page = world.registry.versions(&pull, None, 100).await.unwrap();
    let version = page.list.iter().find(|version| version.digest == digest_of(&signature)).unwrap();
    assert_eq!(version.pushed, world.now, "it is new");
    assert!(version.tags.is_empty());
}

/// An index comes back with its manifests, however high the tower, and what it names is not purged before it.
#[tokio::test]
async fn an_index_comes_back_whole() {
    let mut world = filled().await;
    let all = manifests();
    for number in [6, 5, 4, 0, 1] {
        world.delete(&all[number]).await.unwrap();
        world.wind(1);
    }
    let restored = world.restore(&all[6]).await.unwrap();
    assert_eq!(restored.children, 3);
    assert_eq!(restored.tags.iter().map(|tag| tag.as_str()).collect::<Vec<_>>(), ["t6"]);
    assert!(world.restore(&all[6]).await.unwrap().already);
    assert!(world.restore(&all[0]).await.unwrap().already);
    // Its manifests came back for it, without their tags.
    let pull = world.may::<Pull>().await.unwrap();
    assert_eq!(world.registry.tags(&pull, None, 10).await.unwrap(), ["t2", "t3", "t6", "t7"]);
    assert!(matches!(kind(world.delete(&all[0]).await), Kind::Forbidden(_)));
}

/// A manifest whose deletion carries an earlier time than its index's (two requests, each with its own clock reading) is
/// not purged before the index, which could still come back.
#[tokio::test]
async fn a_manifest_waits_for_its_index() {
    let mut world = filled().await;
    let all = manifests();
    world.delete(&all[6]).await.unwrap();
    world.wind(50);
    world.delete(&all[4]).await.unwrap();
    world.now = super::START.plus_seconds(40);
    world.delete(&all[0]).await.unwrap();
    world.now = super::START.plus_seconds(40 + KEEP);
    world.purge().await;
    assert_eq!(world.restore(&all[4]).await.unwrap().children, 1);
    world.delete(&all[4]).await.unwrap();
    world.delete(&all[0]).await.unwrap();
    world.wind(KEEP);
    world.purge().await;
    for gone in [4, 0] {
        assert_eq!(kind(world.restore(&all[gone]).await), Kind::NotFound(What::Manifest));
    }
}
