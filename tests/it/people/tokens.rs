//! Signing in, by every scheme.

use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use packhouse::{
    auth::{Access, Caller, Identities as _, Presented, Pull, Push, TokenSecret, Verb},
    error::{Challenge, Kind, Reason, What},
    model::{Scope, Scopes, TokenId},
    registry::records::{Membership, TokenRecord},
    store::{Key, MetadataRead as _, Space},
};

use super::{ALL, NOW, PASSWORD, READ, World, basic, headers, kind};

const INVALID: Kind = Kind::Unauthenticated(Challenge::Invalid);

async fn sign_in(world: &World, authorization: &str) -> packhouse::error::Result<Caller> {
    let presented = Presented::read(&headers(authorization))?;
    world.registry.authenticator().sign_in(&presented, world.anonymous()).await
}

#[tokio::test]
async fn a_token_is_the_same_caller_by_every_scheme() {
    let world = World::new().await;
    let user = world.user("Ada").await;
    let token = world.token("ada", READ).await;
    let bearer = world.who(&format!("Bearer {token}")).await.unwrap();
    assert_eq!(bearer.user(), Some(user));
    assert_eq!(bearer.scopes, Scopes::of(READ));
    for name in ["ada", "ADA", "", "token", "<token>", "x-access-token", "oauth2", "nobody-of-that-name"] {
        let basic = world.who(&basic(name, &token)).await.unwrap();
        assert_eq!(format!("{basic:?}"), format!("{bearer:?}"), "{name}");
    }
    let signed_in = sign_in(&world, &basic("ada", &token)).await.unwrap();
    assert_eq!(format!("{signed_in:?}"), format!("{bearer:?}"));
}

#[tokio::test]
async fn another_users_name_beside_a_token_is_refused() {
    let world = World::new().await;
    world.user("ada").await;
    world.user("bob").await;
    let token = world.token("ada", ALL).await;
    assert_eq!(kind(world.who(&basic("bob", &token)).await), INVALID);
    assert_eq!(kind(sign_in(&world, &basic("BOB", &token)).await), INVALID);
}

#[tokio::test]
async fn a_password_is_taken_where_one_signs_in_and_nowhere_else() {
    let world = World::new().await;
    let user = world.user_with_password("ada").await;
    let refused = world.who(&basic("ada", PASSWORD)).await.unwrap_err();
    assert_eq!(refused.kind(), INVALID);
    assert!(refused.public().contains("/token"), "says so: {}", refused.public());
    let ada = sign_in(&world, &basic("ada", PASSWORD)).await.unwrap();
    assert_eq!((ada.user(), ada.credential, ada.scopes), (Some(user), None, Scopes::ALL));
    assert!(!ada.administrator);
    let admin = sign_in(&world, &basic("admin", world.first.reveal())).await.unwrap();
    assert!(admin.administrator);
}

#[tokio::test]
async fn no_way_of_being_wrong_says_more_than_another() {
    let world = World::new().await;
    world.user_with_password("ada").await;
    world.user("bob").await;
    world.organization("acme", "ada").await;
    world.user_with_password("carl").await;
    world.registry.set_suspended(&world.operate(), "carl", true).await.unwrap();
    let mut answers = Vec::new();
    for (user, password) in [
        ("ada", "wrong wrong wrong"),
        ("nobody", PASSWORD),
        ("bob", PASSWORD),
        ("acme", PASSWORD),
        ("carl", PASSWORD),
        ("", PASSWORD),
        ("a b\u{7f}c", PASSWORD),
        ("ada", ""),
        ("admin", "admin"),
        ("admin", "password"),
    ] {
        let error = sign_in(&world, &basic(user, password)).await.unwrap_err();
        answers.push(super::words(&error));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(answers[0].0, INVALID);
}

#[tokio::test]
async fn tokens_end_when_they_expire_or_are_revoked() {
    let world = World::new().await;
    world.user("ada").await;
    let token = format!("Bearer {}", world.token("ada", READ).await);
    assert!(world.who_at(&token, NOW.plus_seconds(3599)).await.is_ok());
    assert_eq!(kind(world.who_at(&token, NOW.plus_seconds(3600)).await), INVALID);
    let ada = world.who(&token).await.unwrap();
    let id = ada.credential.unwrap();
    let others = world.manage_owner("admin").await;
    assert_eq!(kind(world.registry.revoke_token(&others, id).await), Kind::NotFound(What::Token));
    assert!(world.who(&token).await.is_ok(), "somebody else's is not theirs to revoke");
    world.registry.revoke_token(&world.manage_owner("ada").await, id).await.unwrap();
    assert_eq!(kind(world.who(&token).await), INVALID);
    assert_eq!(
        kind(world.registry.revoke_token(&world.manage_owner("ada").await, id).await),
        Kind::NotFound(What::Token)
    );
    let unknown = TokenSecret::generate(packhouse::auth::TokenKind::Personal).unwrap();
    assert_eq!(kind(world.who(&format!("Bearer {}", unknown.reveal())).await), INVALID);
}

#[tokio::test]
async fn a_bearer_token_ends_with_what_it_came_from() {
    let world = World::new().await;
    world.user("ada").await;
    let ada = world.caller("ada").await;
    world.push(&ada, "ada/app").await.unwrap();
    let authenticator = world.registry.authenticator();
    let access = vec![Access { name: "ada/app".into(), verbs: vec![Verb::Pull] }];
    let issued = authenticator.issue(&ada, access).await.unwrap();
    let bearer = format!("Bearer {}", issued.token.reveal());
    assert_eq!(issued.lifetime, 900);
    let caller = world.who(&bearer).await.unwrap();
    assert_eq!(caller.credential, ada.credential);
    assert!(world.may::<Pull>(&caller, "ada/app").await.is_ok());
    assert!(world.may::<Push>(&caller, "ada/app").await.is_err());
    assert!(world.who_at(&bearer, NOW.plus_seconds(899)).await.is_ok());
    assert_eq!(kind(world.who_at(&bearer, NOW.plus_seconds(900)).await), INVALID);
    assert_eq!(kind(sign_in(&world, &bearer).await), INVALID, "it does not prolong itself");
    assert_eq!(kind(world.who(&basic("ada", issued.token.reveal())).await), INVALID);
    world.registry.revoke_token(&world.manage_owner("ada").await, ada.credential.unwrap()).await.unwrap();
    assert_eq!(kind(world.who(&bearer).await), INVALID);
}

#[tokio::test]
async fn a_bearer_token_does_not_outlive_an_expiring_token() {
    let world = World::new().await;
    world.user("ada").await;
    let grant = world.manage_owner("ada").await;
    let token = world.registry.issue_token(&grant, Scopes::of(READ), 60).await.unwrap();
    let ada = world.who(&format!("Bearer {}", token.secret.reveal())).await.unwrap();
    let issued = world.registry.authenticator().issue(&ada, Vec::new()).await.unwrap();
    let bearer = format!("Bearer {}", issued.token.reveal());
    assert!(world.who_at(&bearer, NOW.plus_seconds(59)).await.is_ok());
    assert_eq!(kind(world.who_at(&bearer, NOW.plus_seconds(60)).await), INVALID);
}

#[tokio::test]
async fn a_suspended_user_is_refused_by_every_method() {
    let world = World::new().await;
    world.user_with_password("ada").await;
    let authenticator = world.registry.authenticator();
    let token = world.token("ada", ALL).await;
    let password = sign_in(&world, &basic("ada", PASSWORD)).await.unwrap();
    let refresh = world.registry.issue_refresh(&password).await.unwrap();
    let refresh = refresh.secret.reveal().to_owned();
    let by_token = world.who(&format!("Bearer {token}")).await.unwrap();
    let bearers = [
        authenticator.issue(&password, Vec::new()).await.unwrap().token,
        authenticator.issue(&by_token, Vec::new()).await.unwrap().token,
    ];
    let requests: Vec<String> = [format!("Bearer {token}"), basic("ada", &token)]
        .into_iter()
        .chain(bearers.iter().map(|bearer| format!("Bearer {}", bearer.reveal())))
        .collect();
    let sign_ins = [
        basic("ada", PASSWORD),
        basic("ada", &token),
        basic("ada", &refresh),
        format!("Bearer {token}"),
        format!("Bearer {refresh}"),
    ];
    let check = async |good: bool| {
        for authorization in &requests {
            assert_eq!(world.who(authorization).await.is_ok(), good, "{authorization}");
        }
        for authorization in &sign_ins {
            assert_eq!(sign_in(&world, authorization).await.is_ok(), good, "{authorization}");
        }
    };
    check(true).await;
    world.registry.set_suspended(&world.operate(), "ada", true).await.unwrap();
    check(false).await;
    world.registry.set_suspended(&world.operate(), "ada", false).await.unwrap();
    check(true).await;
    world
        .registry
        .remove_account(&world.operate(), "ada", packhouse::registry::records::AccountKind::User)
        .await
        .unwrap();
    check(false).await;
    world.user_with_password("ada").await;
    for authorization in &requests {
        assert!(world.who(authorization).await.is_err(), "another of this name");
    }
}

#[tokio::test]
async fn refresh_tokens_sign_in_and_do_nothing_else() {
    let world = World::new().await;
    let user = world.user_with_password("ada").await;
    let ada = sign_in(&world, &basic("ada", PASSWORD)).await.unwrap();
    let refresh = world.registry.issue_refresh(&ada).await.unwrap();
    assert!(refresh.secret.reveal().starts_with("phr_"));
    let refresh = refresh.secret.reveal();
    let again = sign_in(&world, &format!("Bearer {refresh}")).await.unwrap();
    assert_eq!((again.user(), again.scopes), (Some(user), Scopes::ALL));
    assert_eq!(sign_in(&world, &basic("ada", refresh)).await.unwrap().user(), Some(user));
    for elsewhere in [format!("Bearer {refresh}"), basic("ada", refresh)] {
        let refused = world.who(&elsewhere).await.unwrap_err();
        assert_eq!(refused.kind(), INVALID);
        assert!(refused.public().contains("/token"));
    }
    assert!(world.registry.issue_refresh(&again).await.is_err(), "no chain of them");
    let token = world.caller("ada").await;
    assert!(world.registry.issue_refresh(&token).await.is_err());
    assert!(world.registry.issue_refresh(&world.anonymous()).await.is_err());
}

#[tokio::test]
async fn a_user_has_only_so_many_refresh_tokens() {
    let world = World::new().await;
    world.user_with_password("ada").await;
    let ada = sign_in(&world, &basic("ada", PASSWORD)).await.unwrap();
    let mut made = Vec::new();
    for n in 0..203 {
        let ada = Caller { at: NOW.plus_seconds(n), ..ada.clone() };
        made.push(world.registry.issue_refresh(&ada).await.unwrap());
    }
    assert_eq!(world.registry.tokens(&world.manage_owner("ada").await).await.unwrap().len(), 200);
    for (index, token) in made.iter().enumerate() {
        let good = sign_in(&world, &format!("Bearer {}", token.secret.reveal())).await.is_ok();
        assert_eq!(good, index >= 3, "the oldest go");
    }
}

#[tokio::test]
async fn a_token_cannot_make_a_stronger_one() {
    let world = World::new().await;
    world.user("ada").await;
    world.organization("acme", "ada").await;
    let policy = world.registry.policy();
    let weak = world.caller_for("ada", &[Scope::Admin, Scope::ReadPackages]).await;
    let grant = policy.authorize_owner(&weak, "ada").await.unwrap();
    for scopes in [&[Scope::WritePackages][..], &[Scope::DeletePackages], ALL] {
        let refused = world.registry.issue_token(&grant, Scopes::of(scopes), 60).await;
        assert_eq!(kind(refused), Kind::Forbidden(Reason::Scope), "{scopes:?}");
    }
    assert!(world.registry.issue_token(&grant, Scopes::of(READ), 60).await.is_ok());
    assert!(world.registry.issue_token(&grant, Scopes::of(&[]), 60).await.is_err());
    let year = 366 * 24 * 3600;
    assert!(world.registry.issue_token(&grant, Scopes::of(READ), 0).await.is_err());
    assert!(world.registry.issue_token(&grant, Scopes::of(READ), year + 1).await.is_err());
    let longer = world.registry.issue_token(&grant, Scopes::of(READ), year).await;
    assert_eq!(kind(longer), Kind::Forbidden(Reason::TokenLimit), "it would outlive the one that makes it");
    let operator = world.manage_owner("ada").await;
    assert!(world.registry.issue_token(&operator, Scopes::of(READ), year).await.is_ok());
    assert!(world.registry.issue_token(&operator, Scopes::of(READ), year + 1).await.is_err());
    let reader = world.caller_for("ada", READ).await;
    assert!(policy.authorize_owner::<packhouse::auth::ManageOwner>(&reader, "ada").await.is_err());
    let organization = policy.authorize_owner(&world.operator(), "acme").await.unwrap();
    assert!(world.registry.issue_token(&organization, Scopes::of(READ), 60).await.is_err());
    let ada = world.caller("ada").await;
    world.user("bob").await;
    world.member("acme", "bob", Some(Membership::Owner)).await;
    let organization = policy.authorize_owner(&ada, "acme").await.unwrap();
    assert!(world.registry.issue_token(&organization, Scopes::of(READ), 60).await.is_err());
}

#[tokio::test]
async fn expired_tokens_are_swept_and_no_others() {
    let world = World::new().await;
    world.user("ada").await;
    let grant = world.manage_owner("ada").await;
    for lifetime in [10, 20, 30] {
        world.registry.issue_token(&grant, Scopes::of(READ), lifetime).await.unwrap();
    }
    // One that cannot be read stays, and holds nothing up.
    let first = packhouse::registry::records::TokenRecord::all().with(&[0]);
    let mut batch = packhouse::store::Batch::new();
    batch.put(first.clone(), bytes::Bytes::from_static(b"nonsense"));
    packhouse::store::MetadataStore::commit(world.meta.as_ref(), batch).await.unwrap();
    assert_eq!(world.registry.expire_tokens(NOW.plus_seconds(20)).await.unwrap(), 2);
    let mut batch = packhouse::store::Batch::new();
    batch.delete(first);
    packhouse::store::MetadataStore::commit(world.meta.as_ref(), batch).await.unwrap();
    assert_eq!(world.registry.tokens(&grant).await.unwrap().len(), 1);
    assert_eq!(world.registry.expire_tokens(NOW.plus_seconds(20)).await.unwrap(), 0);
}

#[tokio::test]
async fn two_credentials_that_differ_are_none() {
    let world = World::new().await;
    world.user("ada").await;
    world.user("bob").await;
    let (ada, bob) = (world.token("ada", ALL).await, world.token("bob", ALL).await);
    let mut both = HeaderMap::new();
    for token in [&ada, &bob] {
        both.append(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
    }
    let authenticator = world.registry.authenticator();
    assert_eq!(kind(authenticator.authenticate(&both, world.anonymous()).await), INVALID);
}

#[tokio::test]
async fn bad_credentials_are_never_taken_for_none() {
    let world = World::new().await;
    world.user("ada").await;
    let good = world.token("ada", ALL).await;
    let mut mangled = good.clone();
    let last = mangled.pop().unwrap();
    mangled.push(if last == 'a' { 'b' } else { 'a' });
    for bad in [
        "Bearer x".to_owned(),
        format!("Bearer {mangled}"),
        format!("Bearer {good}x"),
        format!("Bearer {}", good.to_uppercase()),
        "Basic !".to_owned(),
        basic("", ""),
        basic("ada", ""),
        format!("Digest {good}"),
        "Bearer phb_00000000.e30.AAAA".to_owned(),
        "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.".to_owned(),
    ] {
        assert_eq!(kind(world.who(&bad).await), INVALID, "{bad}");
        assert_eq!(kind(sign_in(&world, &bad).await), INVALID, "{bad}");
    }
    assert!(
        world
            .registry
            .authenticator()
            .authenticate(&HeaderMap::new(), world.anonymous())
            .await
            .unwrap()
            .is_anonymous()
    );
}

#[tokio::test]
async fn keys_rotate_and_old_tokens_stay_good() {
    let world = World::new().await;
    world.user("ada").await;
    let ada = world.caller("ada").await;
    let authenticator = world.registry.authenticator();
    let day = 24 * 3600;
    assert!(!world.registry.rotate_keys(NOW).await.unwrap(), "the first start made two");
    assert!(!world.registry.rotate_keys(NOW.plus_seconds(29 * day)).await.unwrap());
    let mut at = NOW;
    let mut first = None;
    for _ in 0..5 {
        let caller = Caller { at, ..ada.clone() };
        let token = authenticator.issue(&caller, Vec::new()).await.unwrap().token;
        let key = token.reveal().split('.').next().unwrap().to_owned();
        assert_ne!(first.replace(key.clone()), Some(key), "another key signs");
        at = at.plus_seconds(31 * day);
        assert!(world.registry.rotate_keys(at).await.unwrap());
        // Signed a moment before the rotation.
        let directory = packhouse::registry::Directory::new(world.meta.clone(), true);
        let keys = directory.keyring(None).await.unwrap();
        assert!(keys.open(token.reveal(), Caller { at: at.min(caller.at), ..caller.clone() }.at).is_some());
        let stored = world.meta.scan(&Key::new(Space::Meta, b'k'), None, 10).await.unwrap();
        assert_eq!(stored.len(), 3);
    }
}

/// Everything stored, searched for everything secret.
#[tokio::test]
async fn no_secret_is_stored() {
    let world = World::new().await;
    world.user_with_password("ada").await;
    let ada = sign_in(&world, &basic("ada", PASSWORD)).await.unwrap();
    let mut secrets = vec![PASSWORD.to_owned(), world.first.reveal().to_owned()];
    for _ in 0..5 {
        secrets.push(world.token("ada", ALL).await);
        secrets.push(world.registry.issue_refresh(&ada).await.unwrap().secret.reveal().to_owned());
        secrets.push(
            world.registry.authenticator().issue(&ada, Vec::new()).await.unwrap().token.reveal().to_owned(),
        );
    }
    let parts: Vec<String> = secrets
        .iter()
        .map(|secret| match TokenSecret::parse(secret) {
            Some(_) => secret[4..36].to_owned(),
            None => secret.clone(),
        })
        .collect();
    for space in Space::ALL {
        for tag in 0..=255 {
            for (key, value) in world.meta.scan(&Key::new(space, tag), None, 10_000).await.unwrap() {
                for part in &parts {
                    let found =
                        |bytes: &[u8]| bytes.windows(part.len()).any(|window| window == part.as_bytes());
                    assert!(!found(&key.bytes) && !found(&value), "{key:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_listing_names_tokens_and_shows_none() {
    let world = World::new().await;
    world.user("ada").await;
    let token = world.token("ada", READ).await;
    let listed: Vec<TokenRecord> = world.registry.tokens(&world.manage_owner("ada").await).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert!(token.ends_with(&listed[0].tail));
    assert_eq!(listed[0].tail.len(), 4);
    let id: TokenId = listed[0].id;
    assert_eq!(world.registry.token_user(&world.operate(), id).await.unwrap().0, "ada");
}
