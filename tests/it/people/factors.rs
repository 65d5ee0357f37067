//! Second factors, and how often a password may be guessed.

use packhouse::{
    auth::{Secret, TotpKey},
    error::{Challenge, Kind, Reason, What},
    model::{Scopes, Timestamp},
    registry::{factors::Enrolment, records::AccountKind},
};

use super::{NOW, PASSWORD, World, basic, headers, kind};

/// What an app shows at a moment, by the arithmetic of RFC 6238 said once more.
fn shown(key: &str, at: Timestamp) -> String {
    use hmac::{KeyInit as _, Mac as _};
    let key = data_encoding::BASE32_NOPAD.decode(key.as_bytes()).unwrap();
    let mut mac = hmac::Hmac::<sha1::Sha1>::new_from_slice(&key).unwrap();
    mac.update(&(at.0 / 30_000).to_be_bytes());
    let mac = mac.finalize().into_bytes();
    let at = usize::from(mac[mac.len() - 1] % 16);
    let number = mac[at..at + 4].iter().fold(0u32, |number, byte| (number << 8) | u32::from(*byte));
    format!("{:06}", (number & 0x7fff_ffff) % 1_000_000)
}

async fn sign_in(
    world: &World,
    secret: &str,
    at: Timestamp,
) -> packhouse::error::Result<packhouse::auth::Caller> {
    let presented = packhouse::auth::Presented::read(&headers(&basic("ada", secret))).unwrap();
    let caller = packhouse::auth::Caller::anonymous(at, "test".into());
    world.registry.authenticator().sign_in(&presented, caller).await
}

const WRONG: Kind = Kind::Unauthenticated(Challenge::Invalid);

async fn enrolled(world: &World) -> Enrolment {
    world.user_with_password("ada").await;
    let grant = world.manage_owner("ada").await;
    let begun = world.registry.begin_factor(&grant, "Packhouse").await.unwrap();
    let code = Secret::new(shown(begun.key.reveal(), NOW));
    world.registry.confirm_factor(&grant, &code).await.unwrap();
    begun
}

/// The next step after the one that confirmed.
fn next() -> Timestamp {
    NOW.plus_seconds(30)
}

#[tokio::test]
async fn a_password_alone_is_not_enough() {
    let world = World::new().await;
    world.user_with_password("ada").await;
    let early = sign_in(&world, PASSWORD, NOW).await.unwrap();
    let refresh = world.registry.issue_refresh(&early).await.unwrap();
    let grant = world.manage_owner("ada").await;
    let begun = world.registry.begin_factor(&grant, "Packhouse").await.unwrap();
    assert!(begun.address.reveal().contains(begun.key.reveal()));
    sign_in(&world, PASSWORD, NOW).await.unwrap();
    let wrong = world.registry.confirm_factor(&grant, &Secret::new("000000")).await;
    assert_eq!(kind(wrong), Kind::Invalid(What::Request));
    let code = Secret::new(shown(begun.key.reveal(), NOW));
    world.registry.confirm_factor(&grant, &code).await.unwrap();

    // What was signed in without it ends; tokens stay.
    assert_eq!(kind(sign_in(&world, refresh.secret.reveal(), NOW).await), WRONG);
    assert!(world.may::<packhouse::auth::Pull>(&early, "ada/none").await.is_err());
    let token = world.token("ada", super::ALL).await;
    sign_in(&world, &token, next()).await.unwrap();

    assert_eq!(kind(sign_in(&world, PASSWORD, next()).await), WRONG);
    let used = format!("{PASSWORD},{}", code.reveal());
    assert_eq!(kind(sign_in(&world, &used, next()).await), WRONG, "the code that confirmed it");
    let good = format!("{PASSWORD},{}", shown(begun.key.reveal(), next()));
    sign_in(&world, &good, next()).await.unwrap();
    assert_eq!(kind(sign_in(&world, &good, next()).await), WRONG, "a code is good once");
    let wrong = format!("not the password,{}", shown(begun.key.reveal(), next().plus_seconds(30)));
    let refused = sign_in(&world, &wrong, next().plus_seconds(30)).await.unwrap_err();
    assert_eq!(refused.public(), "the user name or the password is wrong");
}

#[tokio::test]
async fn recovery_codes_are_good_once_each() {
    let world = World::new().await;
    let begun = enrolled(&world).await;
    assert_eq!(begun.recovery.len(), 10);
    for code in &begun.recovery {
        let sent = format!("{PASSWORD},{}", code.reveal());
        sign_in(&world, &sent, NOW).await.unwrap();
        assert_eq!(kind(sign_in(&world, &sent, NOW).await), WRONG);
    }
    let stored = world.registry.begin_factor(&world.manage_owner("ada").await, "Packhouse").await;
    assert_eq!(kind(stored), Kind::Forbidden(Reason::InUse));
}

/// Fifty at once with one code: one signs in.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_with_one_code_one_signs_in() {
    let world = std::sync::Arc::new(World::new().await);
    let begun = enrolled(&world).await;
    let directory = std::sync::Arc::new(packhouse::registry::Directory::new(world.meta.clone(), true));
    let user = sign_in(&world, &format!("{PASSWORD},{}", begun.recovery[0].reveal()), NOW).await.unwrap();
    let user = user.user().unwrap();
    for code in [shown(begun.key.reveal(), next()), begun.recovery[1].reveal().to_owned()] {
        let tasks: Vec<_> = (0..50)
            .map(|_| {
                let (directory, code) = (std::sync::Arc::clone(&directory), Secret::new(code.clone()));
                tokio::spawn(async move {
                    packhouse::auth::Identities::use_code(directory.as_ref(), user, &code, next())
                        .await
                        .unwrap()
                })
            })
            .collect();
        let mut good = 0;
        for task in tasks {
            good += usize::from(task.await.unwrap());
        }
        assert_eq!(good, 1);
    }
}

#[tokio::test]
async fn who_may_begin_and_end_one() {
    let world = World::new().await;
    let begun = enrolled(&world).await;
    let registry = &world.registry;
    world.user("bob").await;
    world.organization("acme", "bob").await;
    let org = registry.begin_factor(&world.manage_owner("acme").await, "Packhouse").await;
    assert_eq!(kind(org), Kind::Invalid(What::Owner));
    // An administrator could sign in as whoever it makes a key for; what it may is take one away.
    let admin = world.caller("admin").await;
    let over_bob = registry.policy().authorize_owner(&admin, "bob").await.unwrap();
    assert_eq!(kind(registry.begin_factor(&over_bob, "Packhouse").await), Kind::Forbidden(Reason::Role));
    let ada = world.caller("ada").await;
    let own = registry.policy().authorize_owner(&ada, "ada").await.unwrap();
    assert_eq!(kind(registry.remove_factor(&own, None).await), Kind::Invalid(What::Request));
    let wrong = Secret::new("123");
    assert_eq!(kind(registry.remove_factor(&own, Some(&wrong)).await), Kind::Invalid(What::Request));
    registry.remove_factor(&own, Some(&begun.recovery[3])).await.unwrap();
    sign_in(&world, PASSWORD, NOW).await.unwrap();
    let own = registry.policy().authorize_owner(&ada, "ada").await.unwrap();
    assert_eq!(kind(registry.remove_factor(&own, None).await), Kind::NotFound(What::Owner));
    let begun = registry.begin_factor(&own, "Packhouse").await.unwrap();
    assert!(TotpKey::generate().unwrap().text().reveal() != begun.key.reveal());

    // Who takes the name next has no factor.
    registry.confirm_factor(&own, &Secret::new(shown(begun.key.reveal(), NOW))).await.unwrap();
    registry.remove_account(&world.operate(), "ada", AccountKind::User).await.unwrap();
    world.user_with_password("ada").await;
    sign_in(&world, PASSWORD, NOW).await.unwrap();
    assert_eq!(world.caller_for("ada", super::READ).await.scopes, Scopes::of(super::READ));
}

/// Guessing for one name slows down, be there such a name or not; a right password that was just used goes on.
#[tokio::test]
async fn guessing_for_a_name_slows_down() {
    let world = World::new().await;
    world.user_with_password("ada").await;
    sign_in(&world, PASSWORD, NOW).await.unwrap();
    let guess = async |user: &str, at: Timestamp| {
        let presented = packhouse::auth::Presented::read(&headers(&basic(user, "guessed it"))).unwrap();
        let caller = packhouse::auth::Caller::anonymous(at, "test".into());
        kind(world.registry.authenticator().sign_in(&presented, caller).await)
    };
    for user in ["ada", "nobody"] {
        for attempt in 0..11 {
            assert_eq!(guess(user, NOW).await, WRONG, "{attempt}");
        }
        assert_eq!(guess(user, NOW).await, Kind::TooMany { retry_after: 1 });
        assert_eq!(guess(user, NOW.plus_seconds(1)).await, WRONG);
        assert_eq!(guess(user, NOW.plus_seconds(1)).await, Kind::TooMany { retry_after: 2 });
    }
    sign_in(&world, PASSWORD, NOW.plus_seconds(1)).await.unwrap();
    let token = world.token("ada", super::ALL).await;
    sign_in(&world, &token, NOW).await.unwrap();
}
