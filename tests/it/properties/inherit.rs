//! P10: a package has its own roles or those of the one repository it links to, and never a mixture.

use packhouse::{
    auth::{Pull, ReadRepository},
    model::Visibility,
};
use proptest::prelude::*;

use super::{
    town::{Deed, PATHS, Rights, Town, USERS, Way, deeds},
    wait,
};

/// What people have on a package who do not rule it.
async fn on(town: &Town, path: usize) -> Rights {
    let mut rights = town.rights().await;
    rights.retain(|(who, _, what)| *what == PATHS[path] && who != "anonymous" && !town.rules(who, what));
    rights
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn p10_switching_drops_the_roles_there_were(deeds in deeds(40)) {
        wait(async {
            let mut town = Town::new().await;
            for deed in deeds {
                town.does(deed).await;
            }
            for user in 0..USERS.len() {
                town.does(Deed::Active(user, true)).await;
            }
            town.does(Deed::Base(0, 0)).await;
            for path in [1, 2] {
                town.does(Deed::Public(path, false)).await;
                town.does(Deed::Inherit(path, false)).await;
                town.does(Deed::Role(path, 2, 3)).await;
                town.does(Deed::Group(path, 1, None, 1)).await;
                assert_eq!(town.does(Deed::Inherit(path, true)).await, Way::Moves);
            }
            // Both have the repository's roles now, and so the same ones.
            let (one, two) = (on(&town, 1).await, on(&town, 2).await);
            let plain = |rights: &Rights| -> Vec<_> {
                rights.iter().map(|(who, action, _)| (who.clone(), *action)).collect()
            };
            assert_eq!(plain(&one), plain(&two));
            // Nothing else can be given while that is so.
            for deed in [Deed::Role(1, 3, 3), Deed::Group(1, 1, None, 2), Deed::Group(1, 0, Some(0), 2)] {
                assert_eq!(town.does(deed).await, Way::None, "{deed:?}");
            }
            assert_eq!(on(&town, 1).await, one);
            // And back: neither what was inherited nor what there was before.
            for path in [1, 2] {
                town.does(Deed::Inherit(path, false)).await;
                assert_eq!(on(&town, path).await, Rights::new());
            }
        });
    }
}

/// A package may be public while its repository is nobody's business: who may not see that does not learn of the link.
#[tokio::test]
async fn p10_a_link_names_no_repository_to_who_may_not_see_it() {
    let mut town = Town::new().await;
    town.does(Deed::Inherit(1, true)).await;
    town.does(Deed::Public(1, true)).await;
    town.does(Deed::Source(Ok(2), 1)).await;
    let world = &town.world;
    let sees = async |caller| {
        let grant = world.may::<Pull>(caller, "acme/one").await.unwrap();
        let linked = world.registry.linked(&grant).await.unwrap();
        let repository =
            world.registry.policy().authorize_repository::<ReadRepository>(caller, "acme", "src");
        assert_eq!(linked.is_some(), repository.await.is_ok());
        linked.map(|linked| linked.repository.name)
    };
    let (anonymous, dora) = (world.anonymous(), town.caller("dora").await.unwrap());
    let (ada, carl) = (town.caller("ada").await.unwrap(), town.caller("carl").await.unwrap());
    assert_eq!(sees(&anonymous).await, None);
    assert_eq!(sees(&dora).await, None);
    assert_eq!(sees(&carl).await.as_deref(), Some("src"));
    assert_eq!(sees(&ada).await.as_deref(), Some("src"));
    world.visibility("acme/one", Visibility::Private).await;
    assert!(world.may::<Pull>(&dora, "acme/one").await.is_err());
}
