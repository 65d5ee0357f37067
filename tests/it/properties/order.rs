//! More gives more and less gives less: P2 to P5.

use packhouse::{
    auth::ManageOwner,
    model::{Role, Scope, Scopes},
};
use proptest::prelude::*;

use super::{
    town::{Deed, ORGS, PATHS, Rights, TEAMS, Town, USERS, Way, deeds},
    wait,
};

/// With every role and base role taken back and everything private, nobody but who rules a name space may do anything.
async fn only_rulers(town: &mut Town) {
    for (path, _) in PATHS.iter().enumerate() {
        town.does(Deed::Public(path, false)).await;
        for (user, _) in USERS.iter().enumerate() {
            town.does(Deed::Role(path, user, 0)).await;
        }
        for (org, _) in ORGS.iter().enumerate() {
            for team in (0..TEAMS.len()).map(Some).chain([None]) {
                town.does(Deed::Group(path, org, team, 0)).await;
            }
        }
    }
    for (org, _) in ORGS.iter().enumerate() {
        town.does(Deed::Base(org, 0)).await;
    }
    for of in (0..USERS.len()).map(Ok).chain((0..TEAMS.len()).map(Err)) {
        town.does(Deed::Source(of, 0)).await;
    }
    let mut expected = Rights::new();
    for user in USERS.into_iter().filter(|user| town.is_active(user)) {
        for path in PATHS.into_iter().filter(|path| town.rules(user, path)) {
            for action in ["pull", "push", "delete", "manage", "sees"] {
                expected.insert((user.to_owned(), action, path));
            }
        }
    }
    assert_eq!(town.rights().await, expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn p02_without_grants_only_owners_may_anything(deeds in deeds(40)) {
        wait(async {
            let mut town = Town::new().await;
            for deed in deeds {
                town.does(deed).await;
            }
            only_rulers(&mut town).await;
        });
    }

    /// P20 beside it: a registry that was opened this moment says the same, whatever the first one keeps in memory.
    #[test]
    fn p03_giving_never_takes_and_taking_never_gives(deeds in deeds(40)) {
        wait(async {
            let mut town = Town::new().await;
            let mut before = town.rights().await;
            for deed in deeds {
                let way = town.does(deed).await;
                let after = town.rights().await;
                match way {
                    Way::None => assert_eq!(before, after, "{deed:?}"),
                    Way::Gives => assert!(before.is_subset(&after), "{deed:?} took {:?}", &before - &after),
                    Way::Takes => assert!(after.is_subset(&before), "{deed:?} gave {:?}", &after - &before),
                    Way::Moves => {}
                }
                assert_eq!(town.rights_afresh().await, after, "P20, after {deed:?}");
                before = after;
            }
        });
    }

    #[test]
    fn p04_no_credential_may_more_than_who_made_it(
        deeds in deeds(30),
        user in 0..4usize,
        scopes in 1..16u8,
        child in 1..16u8,
    ) {
        wait(async {
            let mut town = Town::new().await;
            for deed in deeds {
                town.does(deed).await;
            }
            let user = USERS[user];
            let Some(whole) = town.caller(user).await else { return };
            let asked: Vec<Scope> = Scopes::from_bits(scopes).iter().collect();
            let parent = town.world.caller_for(user, &asked).await;
            let of = async |caller| {
                let mut rights = Rights::new();
                town.rights_of(user, caller, &town.world.registry, &mut rights).await;
                rights
            };
            let (all, some) = (of(&whole).await, of(&parent).await);
            assert!(some.is_subset(&all), "{asked:?} gave {:?}", &some - &all);

            let registry = &town.world.registry;
            let grant = registry.policy().authorize_owner::<ManageOwner>(&parent, user).await;
            // Who may make tokens at all has the scope to manage.
            assert_eq!(grant.is_ok(), parent.scopes.has(Scope::Admin));
            let Ok(grant) = grant else { return };
            let wanted = Scopes::of(&Scopes::from_bits(child).iter().collect::<Vec<_>>());
            let made = registry.issue_token(&grant, wanted, 3600).await;
            assert_eq!(made.is_ok(), wanted.and(parent.scopes) == wanted, "{wanted} of {}", parent.scopes);
            let Ok(made) = made else { return };
            let child = town.world.who(&format!("Bearer {}", made.secret.reveal())).await.unwrap();
            assert!(of(&child).await.is_subset(&some));
        });
    }
}

#[test]
fn p05_each_role_includes_those_below_it() {
    wait(async {
        let mut town = Town::new().await;
        // By itself, by a team, by a team above that, as a member of an organization elsewhere, by the base role.
        town.does(Deed::Member(0, 2, 1)).await;
        town.does(Deed::Team(0, 0, 2, 1)).await;
        town.does(Deed::Nest(0, 0, Some(1))).await;
        town.does(Deed::Member(1, 2, 1)).await;
        town.does(Deed::Inherit(1, false)).await;
        let ways: [fn(u8) -> Deed; 5] = [
            |role| Deed::Role(1, 2, role),
            |role| Deed::Group(1, 0, Some(0), role),
            |role| Deed::Group(1, 0, Some(1), role),
            |role| Deed::Group(1, 1, None, role),
            |role| Deed::Base(0, role),
        ];
        for (number, way) in ways.into_iter().enumerate() {
            let mut before = Rights::new();
            for role in Role::ALL {
                if matches!(way(role.code()), Deed::Base(_, 3)) {
                    continue;
                }
                town.does(way(role.code())).await;
                let rights: Rights = town
                    .rights()
                    .await
                    .into_iter()
                    .filter(|(who, _, path)| who == "carl" && *path == PATHS[1])
                    .collect();
                let has: Vec<_> = rights.iter().map(|(_, action, _)| *action).collect();
                let expected = match role {
                    Role::Read => vec!["pull", "sees"],
                    Role::Write => vec!["pull", "push", "sees"],
                    Role::Admin => vec!["delete", "manage", "pull", "push", "sees"],
                };
                assert_eq!(has, expected, "{role} by way {number}");
                assert!(before.is_subset(&rights));
                before = rights;
            }
            town.does(way(0)).await;
        }
    });
}
