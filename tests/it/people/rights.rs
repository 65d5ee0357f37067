//! Rights, and how they end: with the next request.

use bytes::Bytes;
use packhouse::{
    auth::{Access, Caller, Delete, Manage, Publish, Pull, Push, Verb},
    error::{Challenge, Kind, Reason, What},
    model::{Digest, Role, Scope, Timestamp, Visibility},
    registry::{Chunk, Settings, records::Membership},
    store::BlobStore as _,
};

use super::{ALL, PASSWORD, READ, WRITE, World, basic, kind, later, name, words};

/// ada owns acme, bob is a member, carl nobody; acme/app is private and pushed by ada.
async fn acme() -> World {
    acme_with(Settings::default()).await
}

async fn acme_with(settings: Settings) -> World {
    let world = World::with(settings).await;
    for user in ["ada", "bob", "carl"] {
        world.user(user).await;
    }
    world.organization("acme", "ada").await;
    world.member("acme", "bob", Some(Membership::Member)).await;
    let ada = world.caller("ada").await;
    world.push(&ada, "acme/app").await.unwrap();
    world
}

async fn can(world: &World, caller: &Caller, path: &str) -> (bool, bool, bool, bool) {
    (
        world.may::<Pull>(caller, path).await.is_ok(),
        world.may::<Push>(caller, path).await.is_ok(),
        world.may::<Delete>(caller, path).await.is_ok(),
        world.may::<Manage>(caller, path).await.is_ok(),
    )
}

const NOTHING: (bool, bool, bool, bool) = (false, false, false, false);
const READS: (bool, bool, bool, bool) = (true, false, false, false);
const WRITES: (bool, bool, bool, bool) = (true, true, false, false);
const RULES: (bool, bool, bool, bool) = (true, true, true, true);

#[tokio::test]
async fn roles_on_a_package() {
    let world = acme().await;
    let (ada, bob, carl) = (world.caller("ada").await, world.caller("bob").await, world.caller("carl").await);
    assert_eq!(can(&world, &ada, "acme/app").await, RULES, "an owner of the organization");
    assert_eq!(can(&world, &bob, "acme/app").await, NOTHING, "a member creates, and reads what it is given");
    for (role, rights) in
        [(Role::Read, READS), (Role::Write, WRITES), (Role::Admin, RULES), (Role::Read, READS)]
    {
        world.role("acme/app", "carl", Some(role)).await;
        assert_eq!(can(&world, &carl, "acme/app").await, rights, "{role}");
        assert_eq!(can(&world, &bob, "acme/app").await, NOTHING);
    }
    world.role("acme/app", "carl", None).await;
    assert_eq!(can(&world, &carl, "acme/app").await, NOTHING);
}

#[tokio::test]
async fn scopes_are_an_upper_bound() {
    let world = acme().await;
    for (scopes, rights) in [
        (READ, READS),
        (WRITE, WRITES),
        (&[Scope::DeletePackages], (true, false, true, false)),
        (&[Scope::Admin], (false, false, false, true)),
        (ALL, RULES),
    ] {
        let ada = world.caller_for("ada", scopes).await;
        assert_eq!(can(&world, &ada, "acme/app").await, rights, "{scopes:?}");
        let carl = world.caller_for("carl", scopes).await;
        assert_eq!(can(&world, &carl, "acme/app").await, NOTHING, "a scope is no right");
    }
    let reader = world.caller_for("ada", READ).await;
    assert_eq!(kind(world.may::<Push>(&reader, "acme/app").await), Kind::Forbidden(Reason::Scope));
    world.role("acme/app", "carl", Some(Role::Read)).await;
    let carl = world.caller("carl").await;
    assert_eq!(kind(world.may::<Push>(&carl, "acme/app").await), Kind::Forbidden(Reason::Role));
}

#[tokio::test]
async fn an_administrator_is_nobody_in_others_packages() {
    let world = acme().await;
    let admin = world.caller("admin").await;
    assert!(admin.administrator);
    assert_eq!(can(&world, &admin, "acme/app").await, NOTHING);
    assert!(world.registry.policy().authorize_system::<packhouse::auth::Operate>(&admin).is_ok());
    let grant = world
        .registry
        .policy()
        .authorize_owner::<packhouse::auth::ManageOwner>(&admin, "acme")
        .await
        .unwrap();
    // It can give itself a role only where everybody sees it, and never by making somebody else's token.
    let users = world.registry.policy().authorize_owner(&admin, "ada").await.unwrap();
    let refused = world.registry.issue_token(&users, packhouse::model::Scopes::ALL, 3600).await;
    assert_eq!(kind(refused), Kind::Forbidden(Reason::Role));
    world.registry.set_member(&grant, "admin", Some(Membership::Owner)).await.unwrap();
    assert_eq!(can(&world, &admin, "acme/app").await, RULES);
    assert_eq!(can(&world, &world.operator(), "acme/app").await, RULES, "the operator may everything");
}

#[tokio::test]
async fn what_is_public_is_read_by_everybody_and_written_by_nobody_else() {
    let world = acme().await;
    let (carl, anonymous) = (world.caller("carl").await, world.anonymous());
    world.visibility("acme/app", Visibility::Public).await;
    assert_eq!(can(&world, &carl, "acme/app").await, READS);
    assert_eq!(can(&world, &anonymous, "acme/app").await, READS);
    assert_eq!(
        kind(world.may::<Push>(&anonymous, "acme/app").await),
        Kind::Unauthenticated(Challenge::Missing)
    );
    assert_eq!(kind(world.may::<Push>(&carl, "acme/app").await), Kind::Forbidden(Reason::Role));
    world.visibility("acme/app", Visibility::Private).await;
    assert_eq!(can(&world, &carl, "acme/app").await, NOTHING);
    assert_eq!(can(&world, &anonymous, "acme/app").await, NOTHING);
}

#[tokio::test]
async fn anonymous_reads_can_be_turned_off() {
    let world = acme().await;
    world.visibility("acme/app", Visibility::Public).await;
    let (carl, anonymous) = (world.caller("carl").await, world.anonymous());
    assert!(world.may::<Pull>(&anonymous, "acme/app").await.is_ok());
    world.registry.set_anonymous_reads(&world.manage_owner("acme").await, false).await.unwrap();
    assert_eq!(
        kind(world.may::<Pull>(&anonymous, "acme/app").await),
        Kind::Unauthenticated(Challenge::Missing)
    );
    assert!(world.may::<Pull>(&carl, "acme/app").await.is_ok(), "whoever signs in reads");
    world.registry.set_anonymous_reads(&world.manage_owner("acme").await, true).await.unwrap();
    assert!(world.may::<Pull>(&anonymous, "acme/app").await.is_ok());

    let world = World::with(Settings { anonymous_reads: false, ..Settings::default() }).await;
    world.user("ada").await;
    let ada = world.caller("ada").await;
    world.push(&ada, "ada/app").await.unwrap();
    world.visibility("ada/app", Visibility::Public).await;
    assert!(world.may::<Pull>(&world.anonymous(), "ada/app").await.is_err());
    assert!(world.may::<Pull>(&world.caller("admin").await, "ada/app").await.is_ok());
}

#[tokio::test]
async fn absent_and_private_are_told_apart_by_nobody_who_may_not_read() {
    let world = acme().await;
    let nobody = [
        world.anonymous(),
        Caller { bound: Some(Vec::new().into()), ..world.anonymous() },
        world.caller("carl").await,
        world.caller_for("carl", READ).await,
        world.caller_for("carl", &[Scope::Admin]).await,
        Caller { bound: Some(Vec::new().into()), ..world.caller("carl").await },
        world.caller("admin").await,
        world.caller_for("ada", &[Scope::Admin]).await,
    ];
    for caller in &nobody {
        for absent in ["acme/none", "nobody/app"] {
            macro_rules! same {
                ($($action:ty),+) => {$(
                    // A token of an owner without the scope to read may still know what it manages.
                    if let Err(private) = world.may::<$action>(caller, "acme/app").await {
                        let other = world.may::<$action>(caller, absent).await.unwrap_err();
                        assert_eq!(words(&private), words(&other), "{caller:?}");
                    }
                )+};
            }
            same!(Pull, Push, Delete, Manage);
        }
        if caller.scopes == packhouse::model::Scopes::ALL {
            let private = world.publish(caller, "acme/app").await.unwrap_err();
            let absent = world.publish(caller, "acme/none").await.unwrap_err();
            assert_eq!(words(&private), words(&absent));
        }
        let policy = world.registry.policy();
        let verbs = policy.verbs(caller, &name("acme/app")).await.unwrap();
        assert!(caller.user() == nobody[7].user() || verbs.is_empty());
    }
}

#[tokio::test]
async fn a_bearer_tokens_list_binds_and_says_so() {
    let world = acme().await;
    world.visibility("acme/app", Visibility::Public).await;
    let ada = world.caller("ada").await;
    let bound = |verbs: &[Verb], path: &str| {
        let list = vec![Access { name: path.to_owned(), verbs: verbs.to_vec() }];
        Caller { bound: Some(list.into()), ..ada.clone() }
    };
    assert_eq!(can(&world, &bound(&[Verb::Pull], "acme/app"), "acme/app").await, READS);
    assert_eq!(can(&world, &bound(&[Verb::Pull, Verb::Push], "acme/app"), "acme/app").await, WRITES);
    assert_eq!(can(&world, &bound(&[Verb::Pull], "acme/other"), "acme/app").await, NOTHING);
    let all = bound(&[Verb::Pull, Verb::Push, Verb::Delete, Verb::Manage], "acme/app");
    assert_eq!(can(&world, &all, "acme/app").await, RULES);
    let insufficient = Kind::Unauthenticated(Challenge::Insufficient);
    assert_eq!(kind(world.may::<Push>(&bound(&[Verb::Pull], "acme/app"), "acme/app").await), insufficient);
    assert_eq!(kind(world.publish(&bound(&[Verb::Pull], "acme/app"), "acme/new").await), insufficient);
    let manages = world.registry.policy().authorize_owner::<packhouse::auth::ManageOwner>(&all, "acme").await;
    assert!(manages.is_err(), "no bearer token manages");
}

/// Every way of losing a right, seen by the very next question.
#[tokio::test]
async fn what_is_taken_away_is_gone_at_once() {
    let world = acme().await;
    let carl = world.caller("carl").await;
    let bob = world.caller("bob").await;
    for _ in 0..3 {
        world.role("acme/app", "carl", Some(Role::Write)).await;
        assert_eq!(can(&world, &carl, "acme/app").await, WRITES);
        world.role("acme/app", "carl", None).await;
        assert_eq!(can(&world, &carl, "acme/app").await, NOTHING);

        world.member("acme", "bob", Some(Membership::Owner)).await;
        assert_eq!(can(&world, &bob, "acme/app").await, RULES);
        world.member("acme", "bob", Some(Membership::Member)).await;
        assert_eq!(can(&world, &bob, "acme/app").await, NOTHING);
        assert!(world.publish(&bob, "acme/bobs").await.is_ok());
        world.member("acme", "bob", None).await;
        assert!(world.publish(&bob, "acme/more").await.is_err());
        assert!(world.publish(&bob, "acme/bobs").await.is_err(), "its own pending package too");
    }
}

#[tokio::test]
async fn who_leaves_an_organization_loses_the_roles_there() {
    let world = acme().await;
    let bob = world.caller("bob").await;
    world.push(&bob, "acme/bobs").await.unwrap();
    world.role("acme/app", "bob", Some(Role::Read)).await;
    world.push(&bob, "bob/own").await.unwrap();
    assert_eq!(can(&world, &bob, "acme/bobs").await, RULES);
    world.member("acme", "bob", None).await;
    assert_eq!(can(&world, &bob, "acme/bobs").await, NOTHING);
    assert_eq!(can(&world, &bob, "acme/app").await, NOTHING);
    assert_eq!(can(&world, &bob, "bob/own").await, RULES);
    world.member("acme", "bob", Some(Membership::Member)).await;
    assert_eq!(can(&world, &bob, "acme/bobs").await, NOTHING, "and does not find them again");
}

/// A grant in somebody's hands when the rights end: what is written under it is refused.
#[tokio::test]
async fn a_grant_does_not_outlive_the_rights_it_came_from() {
    let world = acme().await;
    world.role("acme/app", "carl", Some(Role::Write)).await;
    let carl = world.caller("carl").await;
    let grant = world.may::<Push>(&carl, "acme/app").await.unwrap();
    world.put(&grant, "1").await.unwrap();
    world.role("acme/app", "carl", Some(Role::Read)).await;
    assert_eq!(kind(world.put(&grant, "2").await), Kind::StaleGrant);
    assert_eq!(kind(world.registry.policy().renew(&grant).await), Kind::StaleGrant);

    // A change that leaves the right standing costs one more question.
    world.role("acme/app", "carl", Some(Role::Write)).await;
    let grant = world.may::<Push>(&carl, "acme/app").await.unwrap();
    world.role("acme/app", "bob", Some(Role::Read)).await;
    let renewed = world.registry.policy().renew(&grant).await.unwrap();
    assert_ne!(renewed, grant.revisions());

    // The token behind it.
    let grant = world.may::<Push>(&carl, "acme/app").await.unwrap();
    world.registry.revoke_token(&world.manage_owner("carl").await, carl.credential.unwrap()).await.unwrap();
    assert_eq!(kind(world.put(&grant, "3").await), Kind::StaleGrant);
    assert_eq!(kind(world.registry.policy().renew(&grant).await), Kind::StaleGrant);

    // The user behind it.
    let carl = world.caller("carl").await;
    let grant = world.may::<Push>(&carl, "acme/app").await.unwrap();
    world.registry.set_suspended(&world.operate(), "carl", true).await.unwrap();
    assert_eq!(kind(world.put(&grant, "4").await), Kind::StaleGrant);
    assert_eq!(kind(world.registry.policy().renew(&grant).await), Kind::StaleGrant);
    assert!(world.may::<Push>(&carl, "acme/app").await.is_err(), "the caller as it was is no way in either");
}

/// The bytes of a refused upload had their lasting name before the batch that would have made them a blob.
#[tokio::test]
async fn an_upload_refused_at_its_end_leaves_no_bytes() {
    // The world's clock stands still, the one that uploads are measured by does not.
    let world = acme_with(Settings { max_upload_time: u64::from(u32::MAX), ..Settings::default() }).await;
    let bytes = Bytes::from(vec![7; 20_000]);
    let digest = Digest::sha256(&bytes);
    let chunk = || {
        let bytes = bytes.clone();
        Chunk { at: None, length: None, bytes: Box::pin(futures_util::stream::once(async { Ok(bytes) })) }
    };
    for session in [false, true] {
        world.role("acme/app", "carl", Some(Role::Write)).await;
        let carl = world.caller("carl").await;
        let grant = world.may::<Push>(&carl, "acme/app").await.unwrap();
        let id = world.registry.begin_upload(&grant, None).await.unwrap();
        world.role("acme/app", "carl", Some(Role::Read)).await;
        let refused = if session {
            world.registry.finish_upload(grant, id, Some(chunk()), digest).await
        } else {
            world.registry.put_blob(grant, chunk(), digest).await
        };
        assert_eq!(kind(refused), Kind::StaleGrant);
        // A session may be finished by who regains the right, so it keeps its bytes until it expires.
        assert_eq!(world.blobs.list(None, 9).await.unwrap().len(), usize::from(session));
        world.registry.expire_uploads(grant_end(), 100).await.unwrap();
        assert!(world.blobs.list(None, 9).await.unwrap().is_empty());
    }
}

/// When every session opened now has expired.
fn grant_end() -> Timestamp {
    Timestamp::now().plus_seconds(2 * Settings::default().session_ttl)
}

/// Granting again what was decided before: a grant to create, of an owner, of the installation.
#[tokio::test]
async fn every_kind_of_grant_can_be_renewed_and_ends() {
    let world = acme().await;
    let policy = world.registry.policy();
    let bob = world.caller("bob").await;
    let Publish::New(create) = policy.authorize_publish(&bob, &name("acme/new")).await.unwrap() else {
        panic!()
    };
    world.member("acme", "carl", Some(Membership::Member)).await;
    assert!(policy.renew(&create).await.is_ok());
    world.registry.allocate(&create, &name("acme/new")).await.expect("allocates under the renewed revisions");
    world.member("acme", "bob", None).await;
    assert_eq!(kind(policy.renew(&create).await), Kind::StaleGrant);
    assert_eq!(kind(world.registry.allocate(&create, &name("acme/newer")).await), Kind::StaleGrant);

    let ada = world.caller("ada").await;
    let manage = policy.authorize_owner::<packhouse::auth::ManageOwner>(&ada, "acme").await.unwrap();
    world.member("acme", "carl", Some(Membership::Owner)).await;
    assert!(policy.renew(&manage).await.is_ok());
    world.member("acme", "ada", Some(Membership::Member)).await;
    assert_eq!(kind(policy.renew(&manage).await), Kind::StaleGrant);
    assert_eq!(
        kind(world.registry.set_member(&manage, "bob", Some(Membership::Owner)).await),
        Kind::StaleGrant
    );

    let admin = world.caller("admin").await;
    let operate = policy.authorize_system::<packhouse::auth::Operate>(&admin).unwrap();
    assert!(policy.renew(&operate).await.is_ok());
    world.registry.set_suspended(&operate, "admin", true).await.unwrap();
    assert_eq!(kind(world.registry.set_suspended(&operate, "admin", false).await), Kind::StaleGrant);
}

#[tokio::test]
async fn a_deleted_and_made_again_name_is_another_package() {
    let world = World::new().await;
    world.user("ada").await;
    let ada = world.caller("ada").await;
    let old = world.publish(&ada, "ada/app").await.unwrap();
    world.registry.expire_unused(later()).await.unwrap();
    world.push(&ada, "ada/app").await.unwrap();
    assert_eq!(kind(world.registry.policy().renew(&old).await), Kind::StaleGrant);
    assert_eq!(kind(world.put(&old, "1").await), Kind::StaleGrant);
}

#[tokio::test]
async fn a_password_change_ends_what_was_signed_in_with_it() {
    let world = World::new().await;
    world.user_with_password("ada").await;
    let authenticator = world.registry.authenticator();
    let presented = packhouse::auth::Presented::read(&super::headers(&basic("ada", PASSWORD))).unwrap();
    let signed_in = authenticator.sign_in(&presented, world.anonymous()).await.unwrap();
    world.push(&signed_in, "ada/app").await.unwrap();
    let grant = world.may::<Push>(&signed_in, "ada/app").await.unwrap();
    let access = vec![Access { name: "ada/app".into(), verbs: vec![Verb::Pull, Verb::Push] }];
    let bearer = authenticator.issue(&signed_in, access).await.unwrap().token;
    let bearer = format!("Bearer {}", bearer.reveal());
    let caller = world.who(&bearer).await.unwrap();
    assert_eq!(can(&world, &caller, "ada/app").await, WRITES);

    let refresh = world.registry.issue_refresh(&signed_in).await.unwrap();
    let refresh = packhouse::auth::Presented::Bearer(packhouse::auth::Secret::new(refresh.secret.reveal()));
    assert!(authenticator.sign_in(&refresh, world.anonymous()).await.is_ok());

    let new = packhouse::auth::Secret::new("another long one");
    world.registry.set_password(&world.manage_owner("ada").await, &new).await.unwrap();
    let invalid = Kind::Unauthenticated(Challenge::Invalid);
    assert_eq!(kind(world.who(&bearer).await), invalid);
    assert_eq!(kind(authenticator.sign_in(&presented, world.anonymous()).await), invalid);
    assert_eq!(kind(authenticator.sign_in(&refresh, world.anonymous()).await), invalid);
    assert_eq!(kind(world.registry.issue_refresh(&signed_in).await), invalid);
    assert_eq!(kind(world.put(&grant, "2").await), Kind::StaleGrant);
    assert_eq!(kind(world.may::<Push>(&signed_in, "ada/app").await), invalid);
}

#[tokio::test]
async fn roles_on_what_is_not_there() {
    let world = acme().await;
    let manage = world.manage("acme/app").await;
    let unknown = world.registry.set_role(&manage, "nobody", Some(Role::Read)).await;
    assert_eq!(kind(unknown), Kind::NotFound(What::Owner));
    let organization = world.registry.set_role(&manage, "acme", Some(Role::Read)).await;
    assert_eq!(kind(organization), Kind::NotFound(What::Owner));
    world.role("acme/app", "carl", Some(Role::Read)).await;
    let roles = world.registry.roles(&manage).await.unwrap();
    let roles: Vec<_> = roles.iter().map(|granted| (granted.user.as_str(), granted.role)).collect();
    assert_eq!(roles, [("ada", Role::Admin), ("carl", Role::Read)]);
}
