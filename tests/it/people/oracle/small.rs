//! Every world with at most two of each thing, and every way by which a member can come to a role in it.

use packhouse::{model::TeamName, registry::repositories::CollaboratorName};

use super::{Both, Op};

/// Bob in an organization of ada's with two teams, and in another one; a package of the first.
#[tokio::test]
async fn every_small_world_is_decided_alike() {
    let mut worlds = 0;
    for standing in [None, Some(false), Some(true)] {
        for elsewhere in [None, Some(false)] {
            for (core, ops) in [(None, None), (None, Some("core")), (Some("ops"), None)] {
                // A store of its own for some hundred worlds: each change leaves its events behind.
                let mut both = Both::new().await;
                both.apply(&Op::Push(0, 2)).await;
                both.create("acme", "core", None).await;
                both.create("acme", "ops", None).await;
                both.member("acme", "bob", standing).await;
                // Bob owns the other organization to begin with; carl takes it over.
                both.member("beta", "carl", Some(true)).await;
                both.member("beta", "bob", elsewhere).await;
                both.nest("acme", "ops", ops).await;
                both.nest("acme", "core", core).await;
                for teams in 0..4 {
                    for (bit, team) in [(1, "core"), (2, "ops")] {
                        let is = (teams & bit != 0).then_some(bit == 2);
                        both.team_member("acme", team, "bob", is).await;
                    }
                    worlds += roles(&mut both).await;
                    if standing.is_none() {
                        // Who does not belong to the organization is in no team: the other three are this one.
                        break;
                    }
                }
            }
        }
    }
    assert_eq!(worlds, 2 * 3 * (1 + 4 + 4) * 3 * 9 * 4 * 2);
}

/// All roles there can be, in a world whose people stand; says how many worlds that were.
async fn roles(both: &mut Both) -> usize {
    let mut worlds = 0;
    for base in 0..3 {
        both.base("acme", base).await;
        for core in [0, 1, 3] {
            both.group_role("acme/one", "acme", Some("core"), core).await;
            for ops in [0, 1, 3] {
                both.group_role("acme/one", "acme", Some("ops"), ops).await;
                for orgs in 0..4 {
                    both.group_role("acme/one", "acme", None, 2 * (orgs & 1)).await;
                    both.group_role("acme/one", "beta", None, orgs & 2).await;
                    for direct in [0, 2] {
                        both.role("acme/one", "bob", direct).await;
                        both.ask_about("bob", "acme/one").await;
                        worlds += 1;
                    }
                }
            }
        }
    }
    worlds
}

/// Bob in an organization of ada's with two teams, one in the other; a package of it that links to a repository, or does
/// not, and inherits from it, or does not.
#[tokio::test]
async fn every_small_world_with_a_repository_is_decided_alike() {
    let mut both = Both::new().await;
    both.apply(&Op::Push(0, 2)).await;
    both.create("acme", "core", None).await;
    both.create("acme", "Web", Some("core")).await;
    for repo in ["acme/src", "acme/Lib"] {
        both.create_repo(repo, 0).await;
    }
    let mut worlds = 0;
    for standing in [None, Some(false), Some(true)] {
        both.member("acme", "bob", standing).await;
        for team in [None, Some("core"), Some("Web")] {
            if standing.is_none() && team.is_some() {
                break;
            }
            for other in ["core", "Web"] {
                both.team_member("acme", other, "bob", None).await;
            }
            if let Some(team) = team {
                both.team_member("acme", team, "bob", Some(false)).await;
            }
            for link in [None, Some(("acme/src", false)), Some(("acme/src", true)), Some(("acme/Lib", true))]
            {
                both.world.registry.unlink_package(&both.world.manage("acme/one").await).await.unwrap();
                both.oracle.links.remove("acme/one");
                if let Some((repo, inherits)) = link {
                    both.link("acme/one", repo).await;
                    both.inherit("acme/one", inherits).await;
                }
                worlds += on_repository(&mut both).await;
            }
        }
    }
    assert_eq!(worlds, (1 + 3 + 3) * 4 * 3 * 3 * 6 * 3);
}

/// All roles there can be on the repository and, where there can be one, on the package.
async fn on_repository(both: &mut Both) -> usize {
    let mut worlds = 0;
    for base in 0..3 {
        both.base("acme", base).await;
        for core in [0, 2, 4] {
            let team = CollaboratorName::Team(TeamName::parse("acme/core").unwrap());
            both.repo_role("acme/src", &team, "team:acme/core".into(), core, true).await;
            for bob in 0..6 {
                let user = CollaboratorName::User("bob".into());
                both.repo_role("acme/src", &user, "bob".into(), bob, true).await;
                for direct in [0, 1, 2] {
                    both.role("acme/one", "bob", direct).await;
                    both.ask_about("bob", "acme/one").await;
                    worlds += 1;
                }
            }
        }
    }
    worlds
}
