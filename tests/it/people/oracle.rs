//! The decision, said twice: by the policy over its store and caches, and by the dullest code that can say it. It shares
//! no type with the policy; it knows names, sets and loops.

mod groups;
mod links;
mod repositories;
mod rules;
mod small;

use std::collections::BTreeSet;

use packhouse::{
    auth::{Access, Caller, Delete, Manage, Pull, Push, Verb},
    error::{Challenge, Kind, Reason, What},
    model::{Role, Scope, Visibility},
    registry::{NamedLimits, records::Membership},
};
use proptest::prelude::*;

use self::rules::{Limits, Oracle, Package, Says, Token, owner_of};
use super::{World, name};

const USERS: [&str; 3] = ["ada", "bob", "carl"];
const ROBOTS: [&str; 2] = ["acme+ci", "ada+ci"];
const ORGS: [&str; 2] = ["acme", "beta"];
const PATHS: [&str; 7] =
    ["ada/one", "bob/one", "acme/one", "acme/two/deep", "npm/acme/one", "beta/one", "nobody/one"];
const ACTIONS: [&str; 5] = ["pull", "push", "delete", "manage", "publish"];

#[derive(Debug, Clone)]
enum Op {
    Member(usize, usize, Option<bool>),
    Role(usize, usize, u8),
    Public(usize, bool),
    Push(usize, usize),
    Allocate(usize, usize),
    Suspend(usize, bool),
    Token(usize, u8, Limiting),
    Revoke(usize),
    Anonymous(usize, bool),
    Expire,
    Group(groups::Op),
    Repository(repositories::Op),
    Link(links::Op),
}

/// Limits of a token to be made: packages, owners, actions, by their places in the lists.
type Limiting = (Vec<usize>, Vec<usize>, Vec<&'static str>);

fn limiting() -> impl Strategy<Value = Limiting> {
    let actions = prop::sample::subsequence(vec!["pull", "push", "delete", "manage"], 0..4);
    let places = || prop_oneof![2 => Just(vec![]), 1 => prop::collection::vec(0..5usize, 1..3)];
    (places(), places(), actions)
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0..2usize, 0..3usize, prop::option::of(any::<bool>())).prop_map(|(o, u, m)| Op::Member(o, u, m)),
        3 => (0..7usize, 0..5usize, 0..4u8).prop_map(|(p, u, r)| Op::Role(p, u, r)),
        3 => (0..7usize, any::<bool>()).prop_map(|(p, v)| Op::Public(p, v)),
        4 => (0..3usize, 0..7usize).prop_map(|(u, p)| Op::Push(u, p)),
        2 => (0..3usize, 0..7usize).prop_map(|(u, p)| Op::Allocate(u, p)),
        2 => (0..5usize, any::<bool>()).prop_map(|(u, s)| Op::Suspend(u, s)),
        3 => (0..3usize, 1..16u8, limiting()).prop_map(|(u, s, l)| Op::Token(u, s, l)),
        1 => (0..10usize).prop_map(Op::Revoke),
        2 => (0..5usize, any::<bool>()).prop_map(|(o, a)| Op::Anonymous(o, a)),
        1 => Just(Op::Expire),
        8 => groups::op().prop_map(Op::Group),
        8 => repositories::op().prop_map(Op::Repository),
        6 => links::op().prop_map(Op::Link),
    ]
}

fn verb(word: &str) -> Verb {
    Verb::ALL.into_iter().find(|verb| verb.word() == word).unwrap()
}

/// A user or a robot.
fn who(number: usize) -> &'static str {
    USERS.into_iter().chain(ROBOTS).nth(number).unwrap()
}

fn set(names: &mut BTreeSet<String>, name: &str, member: bool) {
    if member {
        names.insert(name.to_owned());
    } else {
        names.remove(name);
    }
}

struct Both {
    world: World,
    oracle: Oracle,
    tokens: Vec<(String, Token)>,
    /// How many packages there have been.
    packages: u32,
}

impl Both {
    async fn new() -> Self {
        let world = World::new().await;
        for user in USERS {
            world.user(user).await;
        }
        let mut oracle = Oracle::default();
        for (org, owner) in [("acme", "ada"), ("beta", "bob")] {
            world.organization(org, owner).await;
            oracle.members.insert((org.into(), owner.into()), true);
        }
        let mut both = Self { world, oracle, tokens: Vec::new(), packages: 0 };
        for user in 0..3 {
            both.token(user, 15, &Limiting::default()).await;
        }
        for robot in ROBOTS {
            both.world.robot(robot).await;
            let secret = both.world.robot_token(robot, Scope::ALL).await;
            let scopes = BTreeSet::from(["read", "write", "delete", "admin"]);
            let limits = Limits::default();
            both.tokens.push((secret, Token { user: robot.into(), scopes, revoked: false, limits }));
        }
        both
    }

    async fn token(&mut self, user: usize, bits: u8, (packages, owners, actions): &Limiting) {
        let all = [
            (Scope::ReadPackages, "read"),
            (Scope::WritePackages, "write"),
            (Scope::DeletePackages, "delete"),
            (Scope::Admin, "admin"),
        ];
        let chosen: Vec<_> =
            all.into_iter().enumerate().filter(|(n, _)| bits & (1 << n) != 0).map(|(_, s)| s).collect();
        let asked: Vec<Scope> = chosen.iter().map(|(scope, _)| *scope).collect();
        let mut scopes: BTreeSet<&'static str> = chosen.iter().map(|(_, word)| *word).collect();
        if scopes.contains("write") || scopes.contains("delete") {
            scopes.insert("read");
        }
        // What is not there cannot be named; limited to nothing but that, a token would not be limited.
        let there = |path: &&str| self.oracle.packages.contains_key(*path);
        let paths: Vec<&str> = packages.iter().map(|path| PATHS[*path]).filter(there).collect();
        let owners: Vec<String> = owners
            .iter()
            .map(|owner| USERS.into_iter().chain(ORGS).nth(*owner).unwrap().to_owned())
            .collect();
        let named = NamedLimits {
            packages: paths.iter().map(|path| name(path)).collect(),
            owners: owners.clone(),
            actions: actions.iter().map(|word| verb(word)).collect(),
            networks: Vec::new(),
        };
        let secret = self.world.limited_token(USERS[user], &asked, &named).await;
        let packages = paths.iter().map(|path| self.oracle.packages[*path].number).collect();
        let limits = Limits { packages, owners, actions: actions.clone() };
        self.tokens.push((secret, Token { user: USERS[user].into(), scopes, revoked: false, limits }));
    }

    async fn apply(&mut self, op: &Op) {
        match op {
            Op::Member(org, user, standing) => self.member(ORGS[*org], USERS[*user], *standing).await,
            Op::Role(path, user, role) => self.role(PATHS[*path], who(*user), *role).await,
            Op::Public(path, public) => {
                if let Some(package) = self.oracle.packages.get_mut(PATHS[*path]) {
                    package.public = *public;
                    let visibility = if *public { Visibility::Public } else { Visibility::Private };
                    self.world.visibility(PATHS[*path], visibility).await;
                }
            }
            Op::Push(user, path) => self.publish(*user, PATHS[*path], true).await,
            Op::Allocate(user, path) => self.publish(*user, PATHS[*path], false).await,
            Op::Suspend(user, suspended) => {
                let who = who(*user);
                let registry = &self.world.registry;
                match who.split_once('+') {
                    None => registry.set_suspended(&self.world.operate(), who, *suspended).await.unwrap(),
                    Some((owner, robot)) => {
                        let grant = self.world.manage_owner(owner).await;
                        registry.set_robot_suspended(&grant, robot, *suspended).await.unwrap();
                    }
                }
                set(&mut self.oracle.suspended, who, *suspended);
            }
            Op::Token(user, bits, limits) if self.tokens.len() < 10 => self.token(*user, *bits, limits).await,
            // The first of each user and robot stays, so that somebody can push.
            Op::Revoke(index) if *index >= 5 => self.revoke(*index).await,
            Op::Token(..) | Op::Revoke(_) => {}
            Op::Anonymous(owner, allowed) => {
                let owner = USERS.into_iter().chain(ORGS).nth(*owner).unwrap();
                let grant = self.world.manage_owner(owner).await;
                self.world.registry.set_anonymous_reads(&grant, *allowed).await.unwrap();
                set(&mut self.oracle.no_anonymous, owner, !*allowed);
            }
            Op::Expire => {
                self.world.registry.expire_unused(super::later()).await.unwrap();
                self.oracle.packages.retain(|_, package| !package.pending);
                let packages = &self.oracle.packages;
                self.oracle.roles.retain(|(on, _), _| packages.contains_key(on));
                self.oracle.group_roles.retain(|(on, _), _| packages.contains_key(on));
                self.oracle.links.retain(|on, _| packages.contains_key(on));
            }
            Op::Group(op) => self.group(op).await,
            Op::Repository(op) => self.repository(op).await,
            Op::Link(op) => self.links(op).await,
        }
    }

    async fn member(&mut self, org: &str, user: &str, standing: Option<bool>) {
        let (world, oracle) = (&self.world, &mut self.oracle);
        let key = (org.to_owned(), user.to_owned());
        let owners = oracle.members.iter().filter(|((o, _), owner)| o == org && **owner).count();
        let last = oracle.members.get(&key) == Some(&true) && owners == 1 && standing != Some(true);
        let membership = standing.map(|owner| if owner { Membership::Owner } else { Membership::Member });
        let done = world.registry.set_member(&world.manage_owner(org).await, user, membership).await;
        assert_eq!(done.is_err(), last, "{done:?}");
        if last {
            return;
        }
        match standing {
            Some(owner) => {
                oracle.members.insert(key, owner);
            }
            None => {
                if oracle.members.remove(&key).is_some() {
                    oracle.roles.retain(|(path, who), _| owner_of(path) != org || who != user);
                    oracle.team_members.retain(|(of, _, who)| of != org || who != user);
                    oracle.leave_repositories(org, user);
                }
            }
        }
    }

    async fn role(&mut self, path: &str, user: &str, role: u8) {
        if self.oracle.packages.contains_key(path) {
            let key = (path.to_owned(), user.to_owned());
            let grant = self.world.manage(path).await;
            let done = self.world.registry.set_role(&grant, user, Role::from_code(role)).await;
            let refused = role > 0 && self.oracle.inherits(path).is_some();
            assert_eq!(done.is_err(), refused, "{done:?}");
            if refused {
                return;
            }
            self.oracle.roles.remove(&key);
            if role > 0 {
                self.oracle.roles.insert(key, role);
            }
        }
    }

    async fn publish(&mut self, user: usize, path: &str, manifest: bool) {
        let (world, oracle) = (&self.world, &mut self.oracle);
        let (secret, token) = self.tokens[user].clone();
        let Ok(caller) = world.who(&format!("Bearer {secret}")).await else { return };
        let may = oracle.decide(Some(&token), None, "publish", path) == Says::Yes;
        let grant = world.publish(&caller, path).await;
        assert_eq!(grant.is_ok(), may, "{path} {grant:?}");
        let Ok(grant) = grant else { return };
        let creator = token.user.clone();
        let package = oracle.packages.entry(path.to_owned());
        let number = self.packages;
        let package = package.or_insert(Package { number, public: false, pending: true, creator });
        self.packages += 1;
        if manifest {
            world.put(&grant, "latest").await.unwrap();
            let pending = std::mem::replace(&mut package.pending, false);
            if pending && owner_of(path) != token.user && oracle.inherits(path).is_none() {
                oracle.roles.insert((path.to_owned(), token.user.clone()), 3);
            }
        }
    }

    async fn revoke(&mut self, index: usize) {
        let Some((secret, token)) = self.tokens.get_mut(index) else { return };
        if let Ok(caller) = self.world.who(&format!("Bearer {secret}")).await {
            let grant = self.world.manage_owner(&token.user).await;
            self.world.registry.revoke_token(&grant, caller.credential.unwrap()).await.unwrap();
            token.revoked = true;
        }
    }

    /// Asks both about everything.
    async fn compare(&self, list: &[(String, Vec<&'static str>)]) {
        let world = &self.world;
        let access: Vec<Access> = list
            .iter()
            .map(|(name, verbs)| Access {
                name: name.clone(),
                verbs: verbs.iter().map(|word| Verb::parse(word).unwrap()).collect(),
            })
            .collect();
        let anonymous = world.anonymous();
        self.compare_repositories(&anonymous, None).await;
        for path in PATHS {
            self.ask(&anonymous, None, None, path).await;
            let bound = Caller { bound: Some(access.clone().into()), ..anonymous.clone() };
            self.ask(&bound, None, Some(list), path).await;
        }
        for (secret, token) in &self.tokens {
            let caller = world.who(&format!("Bearer {secret}")).await;
            if token.revoked || self.oracle.is_suspended(&token.user) {
                assert_eq!(super::kind(caller), Kind::Unauthenticated(Challenge::Invalid));
                continue;
            }
            let caller = caller.unwrap();
            self.compare_repositories(&caller, Some(token)).await;
            let issued = world.registry.authenticator().issue(&caller, access.clone()).await.unwrap();
            let bound = world.who(&format!("Bearer {}", issued.token.reveal())).await.unwrap();
            for path in PATHS {
                self.ask(&caller, Some(token), None, path).await;
                self.ask(&bound, Some(token), Some(list), path).await;
                let verbs = world.registry.policy().verbs(&caller, &name(path)).await.unwrap();
                for (word, verb) in [("pull", Verb::Pull), ("push", Verb::Push), ("delete", Verb::Delete)] {
                    // Where nothing is yet, what a creator may do counts already.
                    if self.oracle.packages.contains_key(path) {
                        let says = self.oracle.decide(Some(token), None, word, path);
                        assert_eq!(verbs.contains(&verb), says == Says::Yes, "{word} {path}");
                    }
                }
            }
            let listed = world.registry.catalog(&caller, None, 100).await.unwrap();
            for path in PATHS {
                let pending = self.oracle.packages.get(path).is_some_and(|package| package.pending);
                let reads = self.oracle.decide(Some(token), None, "pull", path) == Says::Yes;
                assert_eq!(listed.iter().any(|listed| listed == path), reads && !pending, "{path}");
            }
        }
    }

    /// Asks both about one user and one package, with a token of all scopes.
    async fn ask_about(&self, user: &str, path: &str) {
        let (secret, token) = self.tokens.iter().find(|(_, token)| token.user == user).unwrap();
        let caller = self.world.who(&format!("Bearer {secret}")).await.unwrap();
        self.ask(&caller, Some(token), None, path).await;
        let listed = self.world.registry.catalog(&caller, None, 100).await.unwrap();
        let reads = self.oracle.decide(Some(token), None, "pull", path) == Says::Yes;
        assert_eq!(listed.iter().any(|listed| listed == path), reads, "{path} in {:?}", self.oracle);
    }

    async fn ask(
        &self,
        caller: &Caller,
        token: Option<&Token>,
        bound: Option<&[(String, Vec<&'static str>)]>,
        path: &str,
    ) {
        for action in ACTIONS {
            let policy = self.world.registry.policy();
            let answer = match action {
                "pull" => self.world.may::<Pull>(caller, path).await.err(),
                "push" => self.world.may::<Push>(caller, path).await.err(),
                "delete" => self.world.may::<Delete>(caller, path).await.err(),
                "manage" => self.world.may::<Manage>(caller, path).await.err(),
                _ => policy.authorize_publish(caller, &name(path)).await.err(),
            };
            let policy_says = match answer.map(|error| error.kind()) {
                None => Says::Yes,
                Some(Kind::Unauthenticated(Challenge::Missing)) => Says::SignIn,
                Some(Kind::Unauthenticated(Challenge::Invalid)) => Says::BadCredentials,
                Some(Kind::Unauthenticated(Challenge::Insufficient)) => Says::AskForMore,
                Some(Kind::NotFound(What::Package)) => Says::NotThere,
                Some(Kind::Forbidden(Reason::Scope)) => Says::LacksScope,
                Some(Kind::Forbidden(Reason::TokenLimit)) => Says::Limited,
                Some(Kind::Forbidden(Reason::Role)) => Says::LacksRole,
                Some(other) => panic!("{other:?}"),
            };
            let oracle_says = self.oracle.decide(token, bound, action, path);
            assert_eq!(
                policy_says, oracle_says,
                "{action} {path} by {token:?} bound {bound:?} in {:?}",
                self.oracle
            );
        }
    }
}

fn access() -> impl Strategy<Value = Vec<(String, Vec<&'static str>)>> {
    let verbs = prop::sample::subsequence(vec!["pull", "push", "delete"], 0..=3);
    prop::collection::vec((prop::sample::select(PATHS.to_vec()), verbs), 0..4)
        .prop_map(|list| list.into_iter().map(|(path, verbs)| (path.to_owned(), verbs)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn policy_and_oracle_agree(ops in prop::collection::vec((op(), access()), 1..30)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut both = Both::new().await;
            // Something to decide about from the beginning, so that short histories are not empty ones.
            for op in [Op::Push(0, 2), Op::Push(0, 0), Op::Public(0, true), Op::Push(1, 5), Op::Public(5, true), Op::Allocate(0, 3)] {
                both.apply(&op).await;
            }
            for (op, list) in &ops {
                both.apply(op).await;
                both.compare(list).await;
            }
        });
    }
}
