//! Tokens limited to packages, owners, actions and networks.

use std::net::IpAddr;

use packhouse::{
    adapter::control::{self, Act, AskedLimits, Command, Explain, TokenCommand},
    auth::{
        Access, Caller, Delete, Limits, Manage, ManageOwner, ManageTeam, Operate, Presented, Pull, Push, Verb,
    },
    error::{Challenge, Kind, Reason, What},
    model::{OwnerId, PackageId, Role, Scope, Scopes, Visibility},
    registry::{NamedLimits, Question, records::Membership},
};
use proptest::prelude::*;

use super::{ALL, World, basic, headers, kind, name};

const LIMITED: Kind = Kind::Forbidden(Reason::TokenLimit);
const PATHS: [&str; 5] = ["ada/one", "ada/two", "acme/app", "acme/open", "bob/other"];

/// ada owns acme and has a role on a package of bob's; acme/open is public.
async fn world() -> World {
    let world = World::new().await;
    for user in ["ada", "bob"] {
        world.user(user).await;
    }
    world.organization("acme", "ada").await;
    let (ada, bob) = (world.caller("ada").await, world.caller("bob").await);
    for path in PATHS {
        world.push(if path.starts_with("bob") { &bob } else { &ada }, path).await.unwrap();
    }
    world.visibility("acme/open", Visibility::Public).await;
    world.role("bob/other", "ada", Some(Role::Admin)).await;
    world
}

fn named(packages: &[&str], owners: &[&str], actions: &[Verb]) -> NamedLimits {
    NamedLimits {
        packages: packages.iter().map(|path| name(path)).collect(),
        owners: owners.iter().map(|&owner| owner.to_owned()).collect(),
        actions: actions.iter().copied().collect(),
        networks: Vec::new(),
    }
}

async fn limited(world: &World, named: NamedLimits) -> Caller {
    let token = world.limited_token("ada", ALL, &named).await;
    world.who(&format!("Bearer {token}")).await.unwrap()
}

/// What a caller may do to everything.
async fn rights(world: &World, caller: &Caller) -> Vec<(&'static str, Verb)> {
    let mut rights = Vec::new();
    for path in PATHS {
        for verb in Verb::ALL {
            let may = match verb {
                Verb::Pull => world.may::<Pull>(caller, path).await.is_ok(),
                Verb::Push => world.may::<Push>(caller, path).await.is_ok(),
                Verb::Delete => world.may::<Delete>(caller, path).await.is_ok(),
                Verb::Manage => world.may::<Manage>(caller, path).await.is_ok(),
            };
            if may {
                rights.push((path, verb));
            }
        }
    }
    rights
}

#[tokio::test]
async fn a_token_limited_to_a_package_does_nothing_elsewhere() {
    let world = world().await;
    let caller = limited(&world, named(&["acme/app"], &[], &[])).await;
    let app = Verb::ALL.map(|verb| ("acme/app", verb));
    // What everybody may read stays readable.
    assert_eq!(rights(&world, &caller).await, [app.as_slice(), &[("acme/open", Verb::Pull)]].concat());
    let listed = world.registry.catalog(&caller, None, 10).await.unwrap();
    assert_eq!(listed, ["acme/app", "acme/open"]);
    let owned = world.registry.packages_of(&caller, Some("ada"), None, 10).await.unwrap();
    assert!(owned.packages.is_empty() && !owned.more);

    // One out of its limits is like one that is not there, and one that everybody reads says why.
    let (hidden, absent) =
        (world.may::<Push>(&caller, "ada/one").await, world.may::<Push>(&caller, "ada/no").await);
    let (hidden, absent) = (hidden.unwrap_err(), absent.unwrap_err());
    assert_eq!((hidden.kind(), hidden.public()), (absent.kind(), absent.public()));
    assert_eq!(kind(world.may::<Push>(&caller, "acme/open").await), LIMITED);
    let policy = world.registry.policy();
    assert_eq!(
        kind(policy.authorize_publish(&caller, &name("acme/new")).await),
        Kind::NotFound(What::Package)
    );
    assert_eq!(kind(policy.authorize_owner::<ManageOwner>(&caller, "ada").await), LIMITED);
    let teams = policy.authorize_team::<ManageTeam>(&caller, "acme", "core").await;
    assert_eq!(kind(teams), Kind::NotFound(What::Owner));

    // Whoever takes over the name gets none of it.
    let whole = world.may::<Delete>(&world.operator(), "acme/app").await.unwrap();
    world.registry.delete_package(&whole).await.unwrap();
    world.push(&world.caller("ada").await, "acme/app").await.unwrap();
    assert_eq!(rights(&world, &caller).await, [("acme/open", Verb::Pull)]);
}

#[tokio::test]
async fn a_token_limited_to_an_owner_rules_it_and_no_other() {
    let world = world().await;
    world.team("acme/core", None).await;
    let caller = limited(&world, named(&[], &["ACME"], &[])).await;
    let there = rights(&world, &caller).await;
    assert_eq!(there.len(), 8);
    assert!(there.iter().all(|(path, _)| path.starts_with("acme/")));
    let policy = world.registry.policy();
    assert!(policy.authorize_publish(&caller, &name("acme/new")).await.is_ok());
    assert!(policy.authorize_owner::<ManageOwner>(&caller, "acme").await.is_ok());
    assert!(policy.authorize_team::<ManageTeam>(&caller, "acme", "core").await.is_ok());
    assert_eq!(kind(policy.authorize_owner::<ManageOwner>(&caller, "ada").await), LIMITED);
    let gone = world.may::<Delete>(&world.operator(), "ada/two").await.unwrap();
    world.registry.delete_package(&gone).await.unwrap();
    assert!(world.registry.deleted_packages(&caller, None, None, 9).await.unwrap().is_empty());
    let all = world.caller("ada").await;
    assert_eq!(world.registry.deleted_packages(&all, None, None, 9).await.unwrap().len(), 1);

    let pulls = limited(&world, named(&[], &["acme"], &[Verb::Pull])).await;
    let reads = [("acme/app", Verb::Pull), ("acme/open", Verb::Pull)];
    assert_eq!(rights(&world, &pulls).await, reads);
    assert_eq!(kind(world.may::<Push>(&pulls, "acme/app").await), LIMITED);
    assert_eq!(kind(policy.authorize_publish(&pulls, &name("acme/new")).await), LIMITED);
    let blind = limited(&world, named(&[], &["acme"], &[Verb::Push])).await;
    assert_eq!(world.registry.catalog(&blind, None, 9).await.unwrap(), ["acme/open"]);
}

#[tokio::test]
async fn a_limited_token_of_an_administrator_runs_no_installation() {
    let world = world().await;
    let operates = |limits: NamedLimits| {
        let world = &world;
        async move {
            let token = world.limited_token("admin", ALL, &limits).await;
            let caller = world.who(&format!("Bearer {token}")).await.unwrap();
            world.registry.policy().authorize_system::<Operate>(&caller).map(|_| ())
        }
    };
    assert!(operates(NamedLimits::default()).await.is_ok());
    assert!(operates(named(&[], &[], &[Verb::Manage])).await.is_ok());
    for limits in [named(&[], &["acme"], &[]), named(&["ada/one"], &[], &[]), named(&[], &[], &[Verb::Pull])]
    {
        assert_eq!(kind(operates(limits).await), LIMITED);
    }
}

#[tokio::test]
async fn what_is_made_from_a_limited_token_has_its_limits() {
    let world = world().await;
    let caller = limited(&world, named(&["acme/app"], &[], &[Verb::Pull])).await;
    let access = PATHS.map(|path| Access { name: path.into(), verbs: vec![Verb::Pull, Verb::Push] });
    let issued = world.registry.authenticator().issue(&caller, access.to_vec()).await.unwrap();
    let bearer = world.who(&format!("Bearer {}", issued.token.reveal())).await.unwrap();
    assert_eq!(rights(&world, &bearer).await, [("acme/app", Verb::Pull), ("acme/open", Verb::Pull)]);
    assert!(world.registry.issue_refresh(&caller).await.is_err(), "a token is its own refresh token");
    for path in PATHS {
        let verbs = world.registry.policy().verbs(&caller, &name(path)).await.unwrap();
        let reads = matches!(path, "acme/app" | "acme/open");
        assert_eq!(verbs, if reads { vec![Verb::Pull] } else { vec![] }, "{path}");
    }
}

#[tokio::test]
async fn a_token_is_good_from_its_networks_alone() {
    let world = world().await;
    let limits = NamedLimits {
        networks: vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
        ..NamedLimits::default()
    };
    let token = world.limited_token("ada", ALL, &limits).await;
    let authenticator = world.registry.authenticator();
    let from = |authorization: String, address: &str| {
        let caller = world.anonymous().calling_from(address.parse::<IpAddr>().unwrap());
        let authenticator = &authenticator;
        async move { authenticator.authenticate(&headers(&authorization), caller).await }
    };
    let inside = ["192.0.2.7", "::ffff:192.0.2.9", "2001:db8:9::1"];
    let outside = ["192.0.3.7", "127.0.0.1", "::1", "2001:db9::1"];
    let signed_in = from(basic("ada", &token), inside[0]).await.unwrap();
    let bearer = authenticator.issue(&signed_in, Vec::new()).await.unwrap().token;
    for authorization in
        [basic("ada", &token), format!("Bearer {token}"), format!("Bearer {}", bearer.reveal())]
    {
        for address in inside {
            assert!(from(authorization.clone(), address).await.is_ok(), "{address}");
        }
        for address in outside {
            let refused = from(authorization.clone(), address).await;
            assert_eq!(kind(refused), Kind::Unauthenticated(Challenge::Invalid), "{address}");
        }
        assert!(world.who(&authorization).await.is_err(), "from nowhere that is known");
    }
    let presented = Presented::read(&headers(&basic("ada", &token))).unwrap();
    assert!(authenticator.sign_in(&presented, world.anonymous()).await.is_err());

    // A grant that is decided again is decided for the address it was asked from.
    let grant = world.may::<Push>(&signed_in, "ada/one").await.unwrap();
    world.role("ada/one", "bob", Some(Role::Read)).await;
    assert!(world.registry.policy().renew(&grant).await.is_ok());
}

fn limits() -> impl Strategy<Value = (Vec<&'static str>, Vec<&'static str>, Vec<Verb>, Vec<&'static str>)> {
    (
        prop::sample::subsequence(PATHS.to_vec(), 0..3),
        prop::sample::subsequence(vec!["ada", "acme"], 0..=2),
        prop::sample::subsequence(Verb::ALL.to_vec(), 0..=4),
        prop::sample::subsequence(vec!["10.0.0.0/8", "10.1.0.0/16", "10.2.0.0/16"], 0..=2),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]
    /// P4: whatever is made with a token may do nothing that the token may not.
    #[test]
    fn what_a_token_makes_may_do_no_more(parent in limits(), child in limits(), scopes in (0..16u8, 1..16u8)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = world().await;
            let ask = |(packages, owners, actions, networks): &(Vec<&str>, Vec<&str>, Vec<Verb>, Vec<&str>)| {
                let networks = networks.iter().map(|network| network.parse().unwrap()).collect();
                NamedLimits { networks, ..named(packages, owners, actions) }
            };
            let of = |bits| Scope::ALL.iter().copied().filter(|scope| bits & scope.code() != 0).collect::<Vec<_>>();
            // It manages, or it makes no tokens at all.
            let token = world.limited_token("ada", &of(scopes.0 | Scope::Admin.code()), &ask(&parent)).await;
            let at = world.anonymous().calling_from("10.1.0.1".parse().unwrap());
            let authenticator = world.registry.authenticator();
            let parent = authenticator.authenticate(&headers(&format!("Bearer {token}")), at.clone()).await;
            let Ok(parent) = parent else { return };
            let grant = world.registry.policy().authorize_owner::<ManageOwner>(&parent, "ada").await;
            let Ok(grant) = grant else { return };
            let Ok(limits) = world.registry.limits_named(&parent, &ask(&child)).await else { return };
            let made = world.registry.issue_limited_token(&grant, Scopes::of(&of(scopes.1)), 3600, limits).await;
            let Ok(made) = made else { return };
            for address in ["10.1.0.1", "10.2.0.1", "10.3.0.1", "11.0.0.1"] {
                let at = world.anonymous().calling_from(address.parse().unwrap());
                let child = format!("Bearer {}", made.secret.reveal());
                let Ok(child) = authenticator.authenticate(&headers(&child), at.clone()).await else { continue };
                let parent = authenticator.authenticate(&headers(&format!("Bearer {token}")), at).await.unwrap();
                let (more, most) = (rights(&world, &child).await, rights(&world, &parent).await);
                assert!(more.iter().all(|right| most.contains(right)), "{more:?} of {most:?}");
                let owners = |caller: Caller| {
                    let world = &world;
                    async move {
                        let policy = world.registry.policy();
                        let mut ruled = Vec::new();
                        for owner in ["ada", "acme"] {
                            ruled.push(policy.authorize_owner::<ManageOwner>(&caller, owner).await.is_ok());
                        }
                        ruled
                    }
                };
                let (more, most) = (owners(child).await, owners(parent).await);
                assert!(more.iter().zip(&most).all(|(more, most)| most >= more), "{more:?} of {most:?}");
            }
        });
    }
}

#[tokio::test]
async fn a_limited_token_makes_limited_ones() {
    let world = world().await;
    let policy = world.registry.policy();
    let caller = limited(&world, named(&["acme/app"], &["ada"], &[Verb::Pull, Verb::Manage])).await;
    let grant = policy.authorize_owner::<ManageOwner>(&caller, "ada").await.unwrap();
    for (asked, good) in [
        (named(&[], &[], &[]), false),
        (named(&[], &["ada"], &[]), false),
        (named(&[], &[], &[Verb::Pull]), false),
        (named(&[], &["ada"], &[Verb::Push]), false),
        (named(&[], &["ada", "acme"], &[Verb::Pull]), false),
        (named(&["acme/open"], &[], &[Verb::Pull]), false),
        (named(&[], &["ada"], &[Verb::Pull]), true),
        (named(&["ada/two", "acme/app"], &[], &[Verb::Pull]), true),
        (named(&["acme/app"], &["ada"], &[Verb::Pull, Verb::Manage]), true),
    ] {
        let limits = world.registry.limits_named(&caller, &asked).await.unwrap();
        let made = world.registry.issue_limited_token(&grant, Scopes::ALL, 60, limits).await;
        assert_eq!(made.is_ok(), good, "{asked:?} {made:?}");
        if let Err(error) = made {
            assert_eq!(error.kind(), LIMITED);
        }
    }
    // What the token may not see it cannot name.
    let elsewhere = world.registry.limits_named(&caller, &named(&["bob/other"], &[], &[])).await;
    assert_eq!(kind(elsewhere), Kind::NotFound(What::Package));
    let nobody = world.registry.limits_named(&caller, &named(&[], &["nobody"], &[])).await;
    assert_eq!(kind(nobody), Kind::NotFound(What::Owner));
}

#[tokio::test]
async fn a_token_has_so_many_limits_and_no_more() {
    let world = world().await;
    let grant = world.manage_owner("ada").await;
    let networks =
        |count: u16| (0..count).map(|n| format!("10.{}.{}.0/24", n / 256, n % 256).parse().unwrap());
    let most = Limits {
        packages: (0..60).map(PackageId).collect(),
        owners: (0..40).map(OwnerId).collect(),
        networks: networks(32).collect(),
        ..Limits::default()
    };
    assert!(world.registry.issue_limited_token(&grant, Scopes::ALL, 60, most.clone()).await.is_ok());
    let over = [
        Limits { owners: (0..41).map(OwnerId).collect(), ..most.clone() },
        Limits { networks: networks(33).collect(), ..most },
    ];
    for limits in over {
        let refused = world.registry.issue_limited_token(&grant, Scopes::ALL, 60, limits).await;
        assert_eq!(kind(refused), Kind::Invalid(What::Token));
    }
    let many = NamedLimits { packages: vec![name("ada/one"); 101], ..NamedLimits::default() };
    let refused = world.registry.limits_named(&world.operator(), &many).await;
    assert_eq!(kind(refused), Kind::Invalid(What::Token));
}

#[tokio::test]
async fn why_a_token_may_is_what_its_requests_get() {
    let world = world().await;
    world.member("acme", "bob", Some(Membership::Member)).await;
    let mut codes = std::collections::BTreeSet::new();
    for asked in [
        named(&[], &[], &[]),
        named(&["acme/app"], &[], &[]),
        named(&[], &["acme"], &[Verb::Pull]),
        named(&[], &["ada"], &[Verb::Push]),
    ] {
        for user in ["ada", "bob"] {
            let secret = world.limited_token(user, &[Scope::WritePackages], &asked).await;
            let caller = world.who(&format!("Bearer {secret}")).await.unwrap();
            for path in ["acme/app", "acme/open", "ada/one", "acme/new", "nobody/x"] {
                for verb in Verb::ALL {
                    let path = name(path);
                    let told = world.registry.policy().decide(&caller, &path, verb).await.unwrap().refusal;
                    let told = told.map(|refusal| refusal.public().to_owned());
                    let (user, scopes, token) = (None, Scopes::ALL, caller.credential);
                    let question = Question { user, token, from: None, scopes, verb, name: &path };
                    let explained = world.registry.explain(&world.operate(), question).await.unwrap();
                    assert_eq!(
                        (explained.allowed, explained.told),
                        (told.is_none(), told),
                        "{path} {verb:?}"
                    );
                    codes.insert(explained.code);
                }
            }
        }
    }
    let codes: Vec<_> = codes.into_iter().collect();
    assert_eq!(codes, ["absent", "create", "role", "scope", "token-limit", "visibility"]);
}

#[tokio::test]
async fn the_commands_make_list_and_explain_limited_tokens() {
    let world = world().await;
    let run = |command| {
        let (feed, _) = tokio::sync::mpsc::channel(1);
        control::execute(&world.registry, command, feed)
    };
    let create = |packages: &[&str]| {
        let limits = AskedLimits {
            packages: packages.iter().map(|&path| path.to_owned()).collect(),
            owners: vec!["Acme".into()],
            actions: vec![Act::Push, Act::Pull],
            networks: vec!["192.0.2.9/24".parse().unwrap()],
        };
        let (user, scopes, lifetime) = ("ada".into(), ALL.to_vec(), 3600);
        Command::Token(TokenCommand::Create { user, scopes, lifetime, limits })
    };
    assert!(run(create(&["ada/one", "ada/none"])).await.is_err(), "one that is not there");
    assert!(run(create(&["ada/one"])).await.unwrap().value.is_some());
    let listed =
        run(Command::Token(TokenCommand::List { user: "ada".into() })).await.unwrap().table.unwrap().1;
    let limited = listed.iter().find(|row| !row[3].is_empty()).unwrap();
    assert_eq!(limited[3], "package:ada/one owner:acme action:pull action:push network:192.0.2.0/24");

    let explain = |package: &str, action, token: &str, from: Option<&str>| {
        let (package, token) = (package.into(), Some(token.into()));
        let from = from.map(|from| from.parse().unwrap());
        Command::Explain(Explain { package, user: None, action, scopes: Vec::new(), token, from })
    };
    for (package, action, from, code) in [
        ("ada/one", Act::Push, None, "role"),
        ("acme/app", Act::Pull, Some("192.0.2.77"), "role"),
        ("acme/app", Act::Delete, None, "token-limit"),
        ("ada/two", Act::Pull, None, "token-limit"),
        ("ada/one", Act::Push, Some("192.0.3.1"), "credentials"),
    ] {
        let answer = run(explain(package, action, &limited[0], from)).await.unwrap();
        let rows = answer.table.unwrap().1;
        assert_eq!(rows[1], ["rule", code], "{package} {rows:?}");
        assert_eq!(answer.failed, code != "role");
    }
    assert!(run(explain("ada/one", Act::Pull, "0000000000000000", None)).await.is_err());
}
