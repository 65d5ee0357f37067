//! Users, organizations, members.

use packhouse::{
    auth::Secret,
    error::{Kind, Reason, What},
    model::{OwnerName, Role},
    registry::{
        accounts::NewUser,
        records::{AccountKind, Membership},
    },
};

use super::{World, kind};

async fn create(world: &World, name: &str) -> packhouse::error::Result<packhouse::model::OwnerId> {
    let name = OwnerName::parse(name)?;
    world
        .registry
        .create_user(&world.operate(), NewUser { name: &name, administrator: false, password: None })
        .await
}

#[tokio::test]
async fn a_name_is_had_once_in_any_case() {
    let world = World::new().await;
    create(&world, "Ada").await.unwrap();
    for taken in ["ada", "ADA", "Ada"] {
        assert_eq!(kind(create(&world, taken).await), Kind::Conflict(What::Owner));
        let name = OwnerName::parse(taken).unwrap();
        let org = world.registry.create_organization(&world.operate(), &name, "ada").await;
        assert_eq!(kind(org), Kind::Conflict(What::Owner));
    }
    for reserved in ["npm", "V2", "token"] {
        assert_eq!(kind(create(&world, reserved).await), Kind::Invalid(What::Name));
    }
    let listed = world.registry.accounts(&world.operate(), None, 10).await.unwrap();
    let names: Vec<_> = listed.iter().map(|account| account.name.as_str()).collect();
    assert_eq!(names, ["Ada", "admin"], "as registered");
    let page = world.registry.accounts(&world.operate(), Some("ADA"), 10).await.unwrap();
    assert_eq!(page.len(), 1);
}

#[tokio::test]
async fn two_at_once_make_one() {
    let world = World::new().await;
    let (one, two) = tokio::join!(create(&world, "ada"), create(&world, "Ada"));
    assert_eq!(one.is_ok() as u8 + two.is_ok() as u8, 1);
}

#[tokio::test]
async fn an_organization_keeps_an_owner() {
    let world = World::new().await;
    for user in ["ada", "bob"] {
        world.user(user).await;
    }
    let org = OwnerName::parse("acme").unwrap();
    let missing = world.registry.create_organization(&world.operate(), &org, "nobody").await;
    assert_eq!(kind(missing), Kind::NotFound(What::Owner));
    world.organization("acme", "ada").await;
    let grant = world.manage_owner("acme").await;
    for lesser in [None, Some(Membership::Member)] {
        let refused = world.registry.set_member(&grant, "ada", lesser).await;
        assert_eq!(kind(refused), Kind::Forbidden(Reason::InUse));
    }
    let removed = world.registry.remove_account(&world.operate(), "ada", AccountKind::User).await;
    assert_eq!(kind(removed), Kind::Forbidden(Reason::InUse));
    world.member("acme", "bob", Some(Membership::Owner)).await;
    world.member("acme", "ada", None).await;
    let members = world.registry.members(&world.manage_owner("acme").await).await.unwrap();
    assert_eq!(members.len(), 1);
    assert_eq!((members[0].user.as_str(), members[0].membership), ("bob", Membership::Owner));
}

#[tokio::test]
async fn two_owners_who_leave_at_once_do_not_both_go() {
    for _ in 0..10 {
        let world = World::new().await;
        for user in ["ada", "bob"] {
            world.user(user).await;
        }
        world.organization("acme", "ada").await;
        world.member("acme", "bob", Some(Membership::Owner)).await;
        let (one, two) = (world.manage_owner("acme").await, world.operate());
        let (one, two) = tokio::join!(
            world.registry.set_member(&one, "ada", None),
            world.registry.remove_account(&two, "bob", AccountKind::User),
        );
        assert_eq!(one.is_ok() as u8 + two.is_ok() as u8, 1);
    }
}

#[tokio::test]
async fn a_removed_user_leaves_nothing_behind() {
    let world = World::new().await;
    for user in ["ada", "bob"] {
        world.user(user).await;
    }
    world.organization("acme", "ada").await;
    world.member("acme", "bob", Some(Membership::Member)).await;
    let ada = world.caller("ada").await;
    world.push(&ada, "acme/app").await.unwrap();
    world.role("acme/app", "bob", Some(Role::Admin)).await;
    let bob = world.caller("bob").await;
    world.push(&bob, "bob/app").await.unwrap();
    let refused = world.registry.remove_account(&world.operate(), "bob", AccountKind::User).await;
    assert_eq!(kind(refused), Kind::Forbidden(Reason::InUse), "it owns a package");
    assert!(world.may::<packhouse::auth::Pull>(&bob, "acme/app").await.is_ok());

    let world = World::new().await;
    for user in ["ada", "bob"] {
        world.user(user).await;
    }
    world.organization("acme", "ada").await;
    let ada = world.caller("ada").await;
    world.push(&ada, "acme/app").await.unwrap();
    world.member("acme", "bob", Some(Membership::Member)).await;
    world.role("acme/app", "bob", Some(Role::Admin)).await;
    let bob = world.caller("bob").await;
    world.registry.remove_account(&world.operate(), "bob", AccountKind::User).await.unwrap();
    assert!(world.may::<packhouse::auth::Pull>(&bob, "acme/app").await.is_err());
    world.user("bob").await;
    let again = world.caller("bob").await;
    assert!(
        world.may::<packhouse::auth::Pull>(&again, "acme/app").await.is_err(),
        "who takes the name inherits nothing"
    );
    assert!(world.publish(&again, "acme/new").await.is_err());
    let members = world.registry.members(&world.manage_owner("acme").await).await.unwrap();
    assert_eq!(members.len(), 1);
    let roles = world.registry.roles(&world.manage("acme/app").await).await.unwrap();
    assert_eq!(roles.len(), 1);
}

#[tokio::test]
async fn an_organization_can_be_removed_when_it_is_empty() {
    let world = World::new().await;
    world.user("ada").await;
    world.organization("acme", "ada").await;
    let wrong = world.registry.remove_account(&world.operate(), "acme", AccountKind::User).await;
    assert_eq!(kind(wrong), Kind::NotFound(What::Owner));
    let ada = world.caller("ada").await;
    world.push(&ada, "acme/app").await.unwrap();
    let used = world.registry.remove_account(&world.operate(), "acme", AccountKind::Organization).await;
    assert_eq!(kind(used), Kind::Forbidden(Reason::InUse));
    world.organization("empty", "ada").await;
    world.registry.remove_account(&world.operate(), "empty", AccountKind::Organization).await.unwrap();
    world.organization("empty", "ada").await;
}

#[tokio::test]
async fn only_users_have_passwords_and_members_are_users() {
    let world = World::new().await;
    world.user("ada").await;
    world.organization("acme", "ada").await;
    let password = Secret::new("long enough now");
    let org = world.registry.set_password(&world.manage_owner("acme").await, &password).await;
    assert_eq!(kind(org), Kind::Invalid(What::Owner));
    let nested =
        world.registry.set_member(&world.manage_owner("acme").await, "acme", Some(Membership::Member)).await;
    assert_eq!(kind(nested), Kind::NotFound(What::Owner));
    let of_user =
        world.registry.set_member(&world.manage_owner("ada").await, "admin", Some(Membership::Member)).await;
    assert_eq!(kind(of_user), Kind::Invalid(What::Owner));
    let short = world.registry.set_password(&world.manage_owner("ada").await, &Secret::new("short")).await;
    assert_eq!(kind(short), Kind::Invalid(What::Request));
}

#[tokio::test]
async fn an_installation_is_made_once() {
    let world = World::new().await;
    assert!(world.registry.initialized().await.unwrap());
    let again = Secret::new("another first password");
    assert!(world.registry.initialize(super::NOW, &again).await.unwrap().is_none());
    let admin = super::basic("admin", world.first.reveal());
    let presented = packhouse::auth::Presented::read(&super::headers(&admin)).unwrap();
    let admin = world.registry.authenticator().sign_in(&presented, world.anonymous()).await.unwrap();
    assert!(admin.administrator);
}

#[tokio::test]
async fn a_first_password_that_is_no_good_stores_nothing() {
    use packhouse::{
        registry::{Registry, Settings},
        store::memory::{MemoryBlobs, MemoryStore},
    };
    let (meta, blobs) = (std::sync::Arc::new(MemoryStore::new()), std::sync::Arc::new(MemoryBlobs::new()));
    let registry = Registry::open(meta, blobs, Settings::default()).unwrap();
    let short = registry.initialize(super::NOW, &Secret::new("short")).await;
    assert_eq!(kind(short), Kind::Invalid(What::Request));
    assert!(!registry.initialized().await.unwrap());
    let good = registry.initialize(super::NOW, &Secret::new("long enough now")).await.unwrap();
    assert!(good.is_some());
}
