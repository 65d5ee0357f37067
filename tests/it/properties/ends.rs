//! A right that ended never was: P7, P9, P18, P20, P21.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
};

use packhouse::{
    auth::{Pull, Push},
    error::Kind,
    model::{Reference, Role, Tag, Visibility},
    registry::{
        permissions::GroupName,
        records::{AccountKind, Membership},
    },
};
use proptest::prelude::*;

use super::{
    town::{Deed, ORGS, PATHS, Town, USERS, Way, deed, deeds},
    wait,
};
use crate::people::{kind, name};

/// The deed that takes back what another one gives.
fn undone(deed: Deed) -> Option<Deed> {
    Some(match deed {
        Deed::Role(path, user, _) => Deed::Role(path, user, 0),
        Deed::Group(path, org, team, _) => Deed::Group(path, org, team, 0),
        Deed::Base(org, _) => Deed::Base(org, 0),
        Deed::Team(org, team, user, _) => Deed::Team(org, team, user, 0),
        Deed::Nest(org, team, Some(_)) => Deed::Nest(org, team, None),
        Deed::Public(path, true) => Deed::Public(path, false),
        Deed::Active(user, true) => Deed::Active(user, false),
        Deed::Source(of, _) => Deed::Source(of, 0),
        // Who leaves an organization leaves what it was given there too, so the world is another one afterwards.
        _ => return None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    /// Given and taken back, a right leaves nothing behind; and a grant that was decided under it cannot be used any more.
    #[test]
    fn p07_what_is_revoked_never_was(deeds in deeds(30), last in deed()) {
        wait(async {
            let mut town = Town::new().await;
            for deed in deeds {
                town.does(deed).await;
            }
            // From nothing to something, so that taking it back is going back to nothing.
            let Some(back) = undone(last) else { return };
            town.does(back).await;
            let before = town.rights().await;
            if town.does(last).await != Way::Gives {
                return;
            }
            let given: Vec<_> = town.rights().await.difference(&before).cloned().collect();
            let mut grants = Vec::new();
            for (user, _, path) in given.iter().filter(|(who, action, _)| *action == "push" && who != "anonymous") {
                let caller = town.caller(user).await.unwrap();
                let path = name(&town.called(path));
                grants.push(town.world.registry.policy().authorize::<Push>(&caller, &path).await.unwrap());
            }
            town.does(back).await;
            assert_eq!(town.rights().await, before, "{last:?} and {back:?}");
            for grant in grants {
                let put = town.world.put(&grant, "late").await;
                assert_eq!(kind(put), Kind::StaleGrant, "{last:?} and {back:?}");
            }
        });
    }

    /// A town whose every name is another one, sorting the other way round, decides alike.
    #[test]
    fn p09_names_decide_nothing(deeds in deeds(40)) {
        wait(async {
            let (mut town, mut other) = (Town::new().await, Town::with_names(true).await);
            for deed in deeds {
                let way = town.does(deed).await;
                assert_eq!(other.does(deed).await, way, "{deed:?}");
                assert_eq!(town.rights().await, other.rights().await, "{deed:?}");
            }
        });
    }

    /// Whatever is tried, an organization keeps an owner, and every package an owner that is there.
    #[test]
    fn p18_no_package_is_left_without_an_owner(
        steps in prop::collection::vec((0..2usize, 0..4usize, 0..3u8, 0..8usize), 10..40),
    ) {
        wait(async {
            let town = Town::new().await;
            let registry = &town.world.registry;
            for (org, user, level, removed) in steps {
                let (org, user) = (ORGS[org].0, USERS[user]);
                let membership = [None, Some(Membership::Member), Some(Membership::Owner)][usize::from(level)];
                // Some of these are refused: the last owner's leaving, what is to be done to who is gone.
                let _ = registry.set_member(&town.world.manage_owner(org).await, user, membership).await;
                let operate = town.world.operate();
                let _ = match removed {
                    0 | 1 => registry.remove_account(&operate, user, AccountKind::User).await,
                    2 => registry.remove_account(&operate, org, AccountKind::Organization).await,
                    _ => Ok(()),
                };
                for (org, _) in ORGS {
                    let members = registry.members(&town.world.manage_owner(org).await).await.unwrap();
                    assert!(members.iter().any(|member| member.membership == Membership::Owner), "{org}");
                }
                for path in PATHS {
                    town.world.manage(path).await;
                }
            }
        });
    }
}

/// Who or what comes again by a name inherits nothing: a user, a team, an organization, a package.
#[tokio::test]
async fn p09_what_comes_again_by_a_name_inherits_nothing() {
    let mut town = Town::new().await;
    for deed in [
        Deed::Role(1, 2, 3),
        Deed::Member(0, 3, 1),
        Deed::Team(0, 0, 3, 1),
        Deed::Group(1, 0, Some(0), 2),
        Deed::Group(1, 1, None, 2),
        Deed::Role(3, 2, 2),
    ] {
        assert_eq!(town.does(deed).await, Way::Gives, "{deed:?}");
    }
    let world = &town.world;
    let registry = &world.registry;
    let pushes = async |user: &str, path: &str| {
        let caller = world.caller(user).await;
        world.may::<Push>(&caller, path).await.is_ok()
    };

    assert!(pushes("carl", "acme/one").await && pushes("dora", "acme/one").await);
    registry.remove_account(&world.operate(), "carl", AccountKind::User).await.unwrap();
    world.user("carl").await;
    assert!(!pushes("carl", "acme/one").await, "a user");

    let acme = world.manage_owner("acme").await;
    registry.remove_team(&acme, "core").await.unwrap();
    let acme = world.manage_owner("acme").await;
    registry.create_team(&acme, &town.team_name("acme", "core"), None).await.unwrap();
    let operator = world.operator();
    let core = registry.policy().authorize_team(&operator, "acme", "core").await.unwrap();
    registry.set_team_member(&core, "dora", Some(true)).await.unwrap();
    assert!(!pushes("dora", "acme/one").await, "a team");

    // Bob belongs to beta, which has a role on acme's package; beta goes, and another beta comes.
    assert!(pushes("bob", "acme/one").await);
    let bobs = world.caller("bob").await;
    let delete = world.may(&bobs, "beta/one").await.unwrap();
    registry.delete_package(&delete).await.unwrap();
    let much_later = crate::people::NOW.plus_seconds(10 * 366 * 24 * 3600);
    let job = packhouse::auth::Caller::job("purge", much_later, "test".into());
    while registry.purge_deleted(&job, 100).await.unwrap() > 0 {}
    registry.remove_account(&world.operate(), "beta", AccountKind::Organization).await.unwrap();
    world.organization("beta", "bob").await;
    assert!(!pushes("bob", "acme/one").await, "an organization");

    world.role("acme/two/deep", "carl", Some(Role::Write)).await;
    world.visibility("acme/two/deep", Visibility::Public).await;
    let ada = world.caller("ada").await;
    registry.delete_package(&world.may(&ada, "acme/two/deep").await.unwrap()).await.unwrap();
    world.push(&ada, "acme/two/deep").await.unwrap();
    assert!(!pushes("carl", "acme/two/deep").await, "a package");
    assert!(world.may::<Pull>(&world.anonymous(), "acme/two/deep").await.is_err());
}

/// P20: while many ask, and keep what they found, each change that was acknowledged is seen by whoever asks next.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p20_what_is_kept_is_never_older_than_a_change() {
    let town = Arc::new(Town::new().await);
    let carl = town.caller("carl").await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let asking: Vec<_> = (0..3)
        .map(|_| {
            let (town, carl, stop) = (Arc::clone(&town), carl.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                while !stop.load(SeqCst) {
                    let _ = town.world.may::<Push>(&carl, "acme/one").await;
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let (acme, registry) = ("acme/one", &town.world.registry);
    let core = GroupName::Team(town.team_name("acme", "core"));
    town.world.member("acme", "carl", Some(Membership::Member)).await;
    for round in 0..150 {
        let may = async || town.world.may::<Push>(&carl, acme).await.is_ok();
        town.world.role(acme, "carl", Some(Role::Write)).await;
        assert!(may().await, "{round}");
        town.world.role(acme, "carl", None).await;
        assert!(!may().await, "{round}");
        registry.set_group_role(&town.world.manage(acme).await, &core, Some(Role::Write)).await.unwrap();
        let operator = town.world.operator();
        let team = async || registry.policy().authorize_team(&operator, "acme", "core").await.unwrap();
        registry.set_team_member(&team().await, "carl", Some(false)).await.unwrap();
        assert!(may().await, "{round}");
        registry.set_team_member(&team().await, "carl", None).await.unwrap();
        assert!(!may().await, "{round}");
    }
    stop.store(true, SeqCst);
    for task in asking {
        task.await.unwrap();
    }
}

/// P21: the reader is put out, and then another version comes; the reader never gets that one ("new enemy").
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p21_who_was_put_out_never_reads_what_came_later() {
    let town = Arc::new(Town::new().await);
    let ada = town.caller("ada").await.unwrap();
    let latest = Reference::Tag(Tag::parse("secret").unwrap());
    for _ in 0..60 {
        town.world.role("acme/one", "carl", Some(Role::Read)).await;
        let read = Arc::new(AtomicU64::new(0));
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let (town, latest, read) = (Arc::clone(&town), latest.clone(), Arc::clone(&read));
                tokio::spawn(async move {
                    let carl = town.caller("carl").await.unwrap();
                    while let Ok(grant) = town.world.may::<Pull>(&carl, "acme/one").await {
                        read.fetch_add(1, SeqCst);
                        let found = town.world.registry.stat_manifest(&grant, &latest).await;
                        // Decided before the end, used after it: it may read what is there, were it not asked again.
                        if found.is_ok() {
                            return false;
                        }
                        tokio::task::yield_now().await;
                    }
                    true
                })
            })
            .collect();
        while read.load(SeqCst) < 3 {
            tokio::task::yield_now().await;
        }
        town.world.role("acme/one", "carl", None).await;
        let push = town.world.publish(&ada, "acme/one").await.unwrap();
        town.world.put(&push, "secret").await.unwrap();
        for reader in readers {
            assert!(reader.await.unwrap(), "read what was pushed after it was put out");
        }
        let delete = town.world.may(&ada, "acme/one").await.unwrap();
        town.world.registry.delete_tag(&delete, &Tag::parse("secret").unwrap()).await.unwrap();
    }
}

/// P21, each step in turn: what was decided before the end, and read after it, is not given away.
#[tokio::test]
async fn p21_a_decision_is_no_older_than_what_is_read_under_it() {
    let town = Town::new().await;
    let (ada, carl) = (town.caller("ada").await.unwrap(), town.caller("carl").await.unwrap());
    let (world, latest) = (&town.world, Reference::Tag(Tag::parse("latest").unwrap()));
    world.role("acme/one", "carl", Some(Role::Read)).await;
    let early = world.may::<Pull>(&carl, "acme/one").await.unwrap();
    // Something else was written meanwhile: the decision stands.
    world.push(&ada, "acme/two/deep").await.unwrap();
    assert!(world.registry.stat_manifest(&early, &latest).await.is_ok());
    world.role("acme/one", "carl", None).await;
    let push = world.publish(&ada, "acme/one").await.unwrap();
    world.put(&push, "new").await.unwrap();
    let new = Reference::Tag(Tag::parse("new").unwrap());
    assert_eq!(kind(world.registry.stat_manifest(&early, &new).await), Kind::StaleGrant);
    assert_eq!(kind(world.registry.tags(&early, None, 10).await), Kind::StaleGrant);
    assert_eq!(kind(world.registry.events(&early, 0, 10).await), Kind::StaleGrant);
    let digest = packhouse::model::Digest::of(packhouse::model::Algorithm::Sha256, b"");
    assert_eq!(kind(world.registry.referrers(&early, &digest, &[], None).await), Kind::StaleGrant);
}
