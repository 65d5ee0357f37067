//! First pushes: packages that come to be.

use packhouse::{
    auth::{Pull, Push, Subject},
    error::{Challenge, Kind, Reason, What},
    model::{PackageName, Visibility},
    registry::{
        Settings,
        records::{Membership, PackageRecord, PolicyRecord, UploadRecord},
    },
    store::{MetadataRead as _, MetadataStore as _},
};

use super::{ALL, READ, World, kind, name, words};

#[tokio::test]
async fn a_first_push_allocates_and_its_manifest_reveals() {
    let world = World::new().await;
    world.user("ada").await;
    let ada = world.caller("ada").await;
    let grant = world.publish(&ada, "ada/app").await.unwrap();
    assert!(grant.target().pending);
    assert_eq!(grant.target().visibility, Visibility::Private);
    assert!(world.registry.catalog(&ada, None, 10).await.unwrap().is_empty(), "pending is unlisted");
    world.put(&grant, "1").await.unwrap();
    assert_eq!(world.registry.catalog(&ada, None, 10).await.unwrap(), ["ada/app"]);
    assert!(!world.may::<Pull>(&ada, "ada/app").await.unwrap().target().pending);
}

#[tokio::test]
async fn two_who_allocate_one_name_get_one_package() {
    let world = World::new().await;
    world.user("ada").await;
    world.user("bob").await;
    world.organization("acme", "ada").await;
    world.member("acme", "bob", Some(Membership::Member)).await;
    let (ada, bob) = (world.caller("ada").await, world.caller("bob").await);
    let path = name("acme/app");
    let policy = world.registry.policy();
    let one = policy.authorize_publish(&ada, &path).await.unwrap();
    let two = policy.authorize_publish(&bob, &path).await.unwrap();
    let (packhouse::auth::Publish::New(one), packhouse::auth::Publish::New(two)) = (one, two) else {
        panic!()
    };
    // Bob is first; ada, who owns the organization, gets the same.
    let (two, one) = tokio::join!(world.registry.allocate(&two, &path), world.registry.allocate(&one, &path));
    assert_eq!(one.unwrap().id, two.unwrap().id);

    // Its creator and the owner may upload into it; the first manifest decides whose it is.
    let (one, two) =
        (world.publish(&ada, "acme/app").await.unwrap(), world.publish(&bob, "acme/app").await.unwrap());
    world.put(&two, "1").await.unwrap();
    assert!(world.may::<packhouse::auth::Delete>(&bob, "acme/app").await.is_ok(), "publisher is admin");
    // The rights of the other changed under it; the adapter asks once more and then it is an ordinary push.
    let again = match world.put(&one, "2").await {
        Err(error) if error.kind() == Kind::StaleGrant => {
            world.put(&world.publish(&ada, "acme/app").await.unwrap(), "2").await
        }
        result => result,
    };
    again.unwrap();
}

#[tokio::test]
async fn many_first_pushes_of_one_owner_do_not_disturb_each_other() {
    let world = World::new().await;
    world.user("ada").await;
    let ada = world.caller("ada").await;
    let grants = futures_util::future::join_all((0..20).map(|n| {
        let (world, ada) = (&world, &ada);
        async move { world.publish(ada, &format!("ada/app{n}")).await.unwrap() }
    }))
    .await;
    // Every grant was made before any manifest arrived.
    for grant in &grants {
        world.put(grant, "1").await.unwrap();
    }
    assert_eq!(world.registry.catalog(&ada, None, 100).await.unwrap().len(), 20);
}

#[tokio::test]
async fn pending_belongs_to_those_who_may_create_it() {
    let world = World::new().await;
    for user in ["ada", "bob", "carl"] {
        world.user(user).await;
    }
    world.organization("acme", "ada").await;
    world.member("acme", "bob", Some(Membership::Member)).await;
    let (ada, bob, carl) = (world.caller("ada").await, world.caller("bob").await, world.caller("carl").await);
    world.publish(&bob, "acme/app").await.unwrap();
    for member in [&ada, &bob] {
        assert!(world.may::<Pull>(member, "acme/app").await.is_ok());
        assert!(world.may::<Push>(member, "acme/app").await.is_ok());
    }
    assert!(world.may::<packhouse::auth::Delete>(&bob, "acme/app").await.is_ok(), "its creator");
    assert_eq!(kind(world.may::<Pull>(&carl, "acme/app").await), Kind::NotFound(What::Package));
    let anonymous = world.anonymous();
    assert_eq!(
        kind(world.may::<Pull>(&anonymous, "acme/app").await),
        Kind::Unauthenticated(Challenge::Missing)
    );
    // Made public before it is there: still nobody else's to see.
    world.visibility("acme/app", Visibility::Public).await;
    assert!(world.may::<Pull>(&carl, "acme/app").await.is_err());
    assert!(world.may::<Pull>(&anonymous, "acme/app").await.is_err());
    // Who leaves has nothing left, creator or not.
    world.member("acme", "bob", None).await;
    assert!(world.may::<Pull>(&bob, "acme/app").await.is_err());
}

#[tokio::test]
async fn an_owner_may_have_only_so_many_pending() {
    let world = World::with(Settings { max_pending: 3, ..Settings::default() }).await;
    world.user("ada").await;
    let ada = world.caller("ada").await;
    for n in 0..3 {
        world.publish(&ada, &format!("ada/app{n}")).await.unwrap();
    }
    world.publish(&ada, "ada/app0").await.expect("one that is there already");
    assert_eq!(kind(world.publish(&ada, "ada/app3").await), Kind::Forbidden(Reason::Policy));
    world.push(&ada, "ada/app1").await.unwrap();
    world.publish(&ada, "ada/app3").await.expect("one of them is pending no more");
}

#[tokio::test]
async fn pending_packages_end_with_their_last_use() {
    let world = World::new().await;
    world.user("ada").await;
    let ada = world.caller("ada").await;
    for path in ["ada/idle", "ada/busy", "ada/done"] {
        world.publish(&ada, path).await.unwrap();
    }
    world.push(&ada, "ada/done").await.unwrap();
    world.role("ada/idle", "admin", Some(packhouse::model::Role::Read)).await;
    // A session is a use: it keeps the package it was opened in.
    let busy = world.may::<Push>(&ada, "ada/busy").await.unwrap();
    let session = world.registry.begin_upload(&busy, None).await.unwrap();
    let expire = async |at| world.registry.expire_unused(at).await.unwrap();
    let later = super::NOW.plus_seconds(48 * 3600);
    assert_eq!(expire(super::NOW).await, 0, "not before its time");
    assert_eq!(expire(later).await, 1);
    assert_eq!(kind(world.may::<Pull>(&ada, "ada/idle").await), Kind::NotFound(What::Package));
    assert!(world.may::<Pull>(&ada, "ada/busy").await.is_ok());
    world.registry.cancel_upload(&busy, session).await.unwrap();
    assert_eq!(expire(later).await, 1, "its last session is gone");
    assert!(world.may::<Pull>(&ada, "ada/busy").await.is_err());
    assert!(world.may::<Pull>(&ada, "ada/done").await.is_ok());
    // The name is free, and the new package is another one.
    world.push(&ada, "ada/idle").await.unwrap();
    let admin = world.caller("admin").await;
    assert!(world.may::<Pull>(&admin, "ada/idle").await.is_err(), "inherits nothing");
}

/// Nothing of a package outlives it: no policy, and no session that a request begins under a right from before.
#[tokio::test]
async fn an_expired_package_leaves_nothing_behind() {
    let world = World::new().await;
    world.user("ada").await;
    let ada = world.caller("ada").await;
    let old = world.publish(&ada, "ada/idle").await.unwrap();
    let rules = packhouse::registry::Rules::default();
    world.registry.set_package_policy(&world.manage("ada/idle").await, Some(rules)).await.unwrap();
    let broken = world.publish(&ada, "ada/broken").await.unwrap();
    let mut batch = packhouse::store::Batch::new();
    batch.put(PackageRecord::key_of(broken.target().id), bytes::Bytes::from_static(b"nonsense"));
    world.meta.commit(batch).await.unwrap();

    // What cannot be read stays, and holds nothing else up.
    assert_eq!(world.registry.expire_unused(super::later()).await.unwrap(), 1);
    assert_eq!(world.meta.scan(&PolicyRecord::all(), None, 10).await.unwrap(), []);
    assert_eq!(kind(world.registry.begin_upload(&old, None).await), Kind::StaleGrant);
    world.publish(&ada, "ada/idle").await.unwrap();
    assert_eq!(kind(world.registry.begin_upload(&old, None).await), Kind::StaleGrant);
    assert_eq!(world.meta.scan(&UploadRecord::all(), None, 10).await.unwrap(), []);
}

#[tokio::test]
async fn an_unknown_owner_answers_like_one_where_nothing_may_be_created() {
    let world = World::new().await;
    for user in ["ada", "bob"] {
        world.user(user).await;
    }
    let bob = world.caller("bob").await;
    world.push(&bob, "bob/secret").await.unwrap();
    let ada = world.caller("ada").await;
    let refused = |path: &'static str| {
        let (world, ada) = (&world, &ada);
        async move { words(&world.publish(ada, path).await.unwrap_err()) }
    };
    let unknown = refused("nobody/app").await;
    assert_eq!(unknown.0, Kind::NotFound(What::Package));
    assert!(unknown.1.contains("packhouse org add"), "names the command: {}", unknown.1);
    assert_eq!(refused("bob/new").await, unknown);
    assert_eq!(refused("bob/secret").await, unknown);
    let advice = PackageName::parse("alpine").unwrap_err();
    assert_eq!(advice.kind(), Kind::NotFound(What::Name));
    // A reader of the name space's own tokens learns the true reason at home.
    let reader = world.caller_for("ada", READ).await;
    assert_eq!(kind(world.publish(&reader, "ada/new").await), Kind::Forbidden(Reason::Scope));
    assert_eq!(words(&world.publish(&reader, "bob/new").await.unwrap_err()), unknown);
}

#[tokio::test]
async fn every_decision_about_a_package_is_kept_under_its_three_revisions() {
    let world = World::new().await;
    let user = world.user("ada").await;
    let ada = world.caller_for("ada", ALL).await;
    world.push(&ada, "ada/app").await.unwrap();
    let grant = world.may::<Push>(&ada, "ada/app").await.unwrap();
    let of: Vec<Subject> = grant.revisions().iter().map(|revision| revision.of).collect();
    for subject in [Subject::Owner(user), Subject::Package(grant.target().id), Subject::Principal(user)] {
        assert!(of.contains(&subject), "{subject:?}");
    }
    assert!(of.contains(&Subject::Credential(ada.credential.unwrap())));
}
