//! Lists show each viewer what it may read, in the order of the paths.

use packhouse::{
    auth::{Access, Caller, Verb},
    error::{Challenge, Kind},
    model::{Role, Visibility},
};
use proptest::prelude::*;

use super::{READ, World, kind};

#[tokio::test]
async fn paths_sort_as_bytes_whatever_they_are_made_of() {
    let world = World::new().await;
    for user in ["a", "a-b", "a0", "npz", "maven-fan"] {
        world.user(user).await;
    }
    let mut paths = Vec::new();
    for owner in ["a", "a-b", "a0", "npz", "maven-fan"] {
        let caller = world.caller(owner).await;
        for rest in ["x", "x/y", "x-y", "x0", "x.y"] {
            for path in
                [format!("{owner}/{rest}"), format!("npm/{owner}/{rest}"), format!("maven/{owner}/{rest}")]
            {
                world.push(&caller, &path).await.unwrap();
                paths.push(path);
            }
        }
    }
    paths.sort();
    let operator = world.operator();
    assert_eq!(world.registry.catalog(&operator, None, 1000).await.unwrap(), paths);
    for limit in [1, 2, 7, 50] {
        let mut walked: Vec<String> = Vec::new();
        loop {
            let page =
                world.registry.catalog(&operator, walked.last().map(String::as_str), limit).await.unwrap();
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            walked.extend(page);
        }
        assert_eq!(walked, paths, "in pages of {limit}");
    }
    for after in ["", "a", "a/", "a-b/x-", "a/x\u{0}", "a/x/y/z", "npm", "zzz", "\u{10ffff}"] {
        let expected: Vec<_> = paths.iter().filter(|path| path.as_str() > after).cloned().collect();
        assert_eq!(
            world.registry.catalog(&operator, Some(after), 1000).await.unwrap(),
            expected,
            "after {after:?}"
        );
    }
    let of = |owner: &'static str| {
        paths
            .iter()
            .filter(move |path| path.split('/').any(|part| part == owner))
            .cloned()
            .collect::<Vec<_>>()
    };
    for owner in ["a", "a-b", "npz"] {
        for limit in [1, 4, 100] {
            let mut walked: Vec<String> = Vec::new();
            loop {
                let after = walked.last().map(String::as_str);
                let page = world.registry.packages_of(&operator, Some(owner), after, limit).await.unwrap();
                walked.extend(page.packages.iter().map(|package| package.name.to_string()));
                if !page.more {
                    break;
                }
            }
            assert_eq!(walked, of(owner));
        }
    }
    assert!(world.registry.catalog(&operator, None, 0).await.unwrap().is_empty());
}

#[tokio::test]
async fn each_viewer_sees_its_own() {
    let world = World::new().await;
    for user in ["ada", "bob"] {
        world.user(user).await;
    }
    let (ada, bob) = (world.caller("ada").await, world.caller("bob").await);
    for path in ["ada/private", "ada/public", "ada/shared"] {
        world.push(&ada, path).await.unwrap();
    }
    world.visibility("ada/public", Visibility::Public).await;
    world.role("ada/shared", "bob", Some(Role::Read)).await;
    let seen = |caller: Caller| {
        let world = &world;
        async move { world.registry.catalog(&caller, None, 10).await.unwrap() }
    };
    assert_eq!(seen(ada.clone()).await, ["ada/private", "ada/public", "ada/shared"]);
    assert_eq!(seen(bob.clone()).await, ["ada/public", "ada/shared"]);
    assert_eq!(seen(world.anonymous()).await, ["ada/public"]);
    assert_eq!(seen(world.caller("admin").await).await, ["ada/public"]);
    assert_eq!(seen(world.caller_for("ada", &[packhouse::model::Scope::Admin]).await).await, ["ada/public"]);
    assert_eq!(seen(world.caller_for("bob", READ).await).await, ["ada/public", "ada/shared"]);
    world.registry.set_anonymous_reads(&world.manage_owner("ada").await, false).await.unwrap();
    assert!(seen(world.anonymous()).await.is_empty());
    assert_eq!(seen(bob.clone()).await, ["ada/public", "ada/shared"]);

    let bound = |name: &str| {
        let list = vec![Access { name: name.to_owned(), verbs: vec![Verb::Pull] }];
        Caller { bound: Some(list.into()), ..bob.clone() }
    };
    assert_eq!(seen(bound("*")).await, ["ada/public", "ada/shared"]);
    let refused = world.registry.catalog(&bound("ada/public"), None, 10).await;
    assert_eq!(kind(refused), Kind::Unauthenticated(Challenge::Insufficient));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// What is listed is what may be pulled.
    #[test]
    fn list_and_get_agree(
        public in prop::collection::vec(any::<bool>(), 12),
        shared in prop::collection::vec(any::<bool>(), 12),
        limit in 1usize..5,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::new().await;
            world.user("ada").await;
            world.user("bob").await;
            let ada = world.caller("ada").await;
            let bob = world.caller("bob").await;
            for n in 0..12 {
                let path = format!("ada/p{n:02}");
                world.push(&ada, &path).await.unwrap();
                if public[n] {
                    world.visibility(&path, Visibility::Public).await;
                }
                if shared[n] {
                    world.role(&path, "bob", Some(Role::Read)).await;
                }
            }
            for viewer in [&ada, &bob, &world.anonymous()] {
                let mut listed: Vec<String> = Vec::new();
                loop {
                    let after = listed.last().map(String::as_str);
                    let page = world.registry.catalog(viewer, after, limit).await.unwrap();
                    if page.is_empty() { break; }
                    listed.extend(page);
                }
                for n in 0..12 {
                    let path = format!("ada/p{n:02}");
                    let may = world.may::<packhouse::auth::Pull>(viewer, &path).await.is_ok();
                    assert_eq!(listed.contains(&path), may, "{path}");
                }
            }
        });
    }
}
