//! A town: a few users, two organizations with teams, packages; deeds that change it, and everything anybody may do in it.

use std::collections::{BTreeMap, BTreeSet};

use packhouse::{
    auth::{
        Action, Caller, Delete, Grant, LinkRepository, Manage, ManageRepository, Pull, Push, RepositoryTarget,
    },
    model::{RepositoryName, RepositoryRole, Role, TeamName, Visibility},
    registry::{
        Registry, Settings,
        permissions::GroupName,
        records::Membership,
        repositories::{CollaboratorName, RepositoryEdit},
    },
};
use proptest::prelude::*;

use crate::people::{World, name};

pub(super) const USERS: [&str; 4] = ["ada", "bob", "carl", "dora"];
/// Organizations, and who owns them to begin with.
pub(super) const ORGS: [(&str, &str); 2] = [("acme", "ada"), ("beta", "bob")];
pub(super) const TEAMS: [&str; 3] = ["core", "ops", "web"];
pub(super) const PATHS: [&str; 5] = ["ada/one", "acme/one", "acme/two/deep", "beta/one", "dora/own"];

/// Somebody may do something to something.
pub(super) type Right = (String, &'static str, &'static str);
pub(super) type Rights = BTreeSet<Right>;

/// A change. Numbers choose from the lists above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    /// Organization, user: not in it, a member, an owner.
    Member(usize, usize, u8),
    /// Package, user, role; 0 for none.
    Role(usize, usize, u8),
    /// Package, organization, team (or the organization itself), role.
    Group(usize, usize, Option<usize>, u8),
    /// Organization, role of all members.
    Base(usize, u8),
    /// Organization, team, user: not in it, a member, a maintainer.
    Team(usize, usize, usize, u8),
    /// Organization, team, the team above it.
    Nest(usize, usize, Option<usize>),
    /// Package.
    Public(usize, bool),
    /// User.
    Active(usize, bool),
    /// On acme's source repository: a user or else a team, role; 0 for none, 5 for admin.
    Source(Result<usize, usize>, u8),
    /// Package: whether it has the source repository's roles in place of its own. Those of acme can.
    Inherit(usize, bool),
}

pub(super) fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        3 => (0..2usize, 0..4usize, 0..3u8).prop_map(|(o, u, m)| Deed::Member(o, u, m)),
        3 => (0..5usize, 0..4usize, 0..4u8).prop_map(|(p, u, r)| Deed::Role(p, u, r)),
        4 => (0..5usize, 0..2usize, prop::option::weighted(0.7, 0..3usize), 0..4u8)
            .prop_map(|(p, o, t, r)| Deed::Group(p, o, t, r)),
        1 => (0..2usize, 0..3u8).prop_map(|(o, r)| Deed::Base(o, r)),
        4 => (0..2usize, 0..3usize, 0..4usize, 0..3u8).prop_map(|(o, t, u, m)| Deed::Team(o, t, u, m)),
        2 => (0..2usize, 0..3usize, prop::option::of(0..3usize)).prop_map(|(o, t, up)| Deed::Nest(o, t, up)),
        2 => (0..5usize, any::<bool>()).prop_map(|(p, v)| Deed::Public(p, v)),
        1 => (0..4usize, prop::bool::weighted(0.7)).prop_map(|(u, a)| Deed::Active(u, a)),
        2 => (0..4usize, 0..6u8).prop_map(|(u, r)| Deed::Source(Ok(u), r)),
        2 => (0..3usize, 0..6u8).prop_map(|(t, r)| Deed::Source(Err(t), r)),
        2 => (1..3usize, any::<bool>()).prop_map(|(p, i)| Deed::Inherit(p, i)),
    ]
}

/// Deeds that come to something: a town in which nobody is in a team says little.
pub(super) fn deeds(most: usize) -> impl Strategy<Value = Vec<Deed>> {
    prop::collection::vec(deed(), most / 3..most)
}

/// What a deed did to what anybody may do, as far as the deed alone says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// It was refused, or was so already.
    None,
    Gives,
    Takes,
    /// It gives one thing for another.
    Moves,
}

/// The other name of every thing, which sorts the other way round.
fn other(word: &str) -> String {
    word.bytes()
        .map(|byte| if byte.is_ascii_lowercase() { b'a' + (b'z' - byte) } else { byte } as char)
        .collect()
}

pub(super) struct Town {
    pub(super) world: World,
    /// A token of all scopes of each user.
    tokens: BTreeMap<&'static str, String>,
    /// Whether everything has its other name.
    renamed: bool,
    /// What was last set to each thing that a deed sets, as a number: the greater the more it gives.
    set: BTreeMap<String, u8>,
    /// The team above each team.
    above: BTreeMap<(usize, usize), Option<usize>>,
}

impl Town {
    pub(super) async fn new() -> Self {
        Self::with_names(false).await
    }

    pub(super) async fn with_names(renamed: bool) -> Self {
        let (tokens, set, above) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut town = Self { world: World::new().await, tokens, renamed, set, above };
        for user in USERS {
            town.world.user(&town.called(user)).await;
            let token = town.world.token(&town.called(user), crate::people::ALL).await;
            town.tokens.insert(user, token);
        }
        for (org, (called, owner)) in ORGS.into_iter().enumerate() {
            town.world.organization(&town.called(called), &town.called(owner)).await;
            let owner = USERS.iter().position(|user| *user == owner).unwrap();
            town.set.insert(format!("member {org} {owner}"), 2);
            for team in TEAMS {
                let grant = town.world.manage_owner(&town.called(called)).await;
                town.world.registry.create_team(&grant, &town.team_name(called, team), None).await.unwrap();
            }
        }
        for (path, pusher) in PATHS.into_iter().zip(["ada", "ada", "ada", "bob", "dora"]) {
            let caller = town.caller(pusher).await.unwrap();
            town.world.push(&caller, &town.called(path)).await.unwrap();
            // Whoever pushed first was given admin; here rights come from deeds alone.
            town.world.role(&town.called(path), &town.called(pusher), None).await;
        }
        let source = RepositoryName::parse(&town.called("acme/src")).unwrap();
        let acme = town.world.manage_owner(&town.called("acme")).await;
        town.world.registry.create_repository(&acme, &source, &RepositoryEdit::default()).await.unwrap();
        for path in &PATHS[1..3] {
            let to = town.source::<LinkRepository>().await;
            town.world
                .registry
                .link_package(&town.world.manage(&town.called(path)).await, &to)
                .await
                .unwrap();
        }
        town
    }

    /// The right to do something to acme's source repository.
    async fn source<A: Action<Target = RepositoryTarget>>(&self) -> Grant<A> {
        let (operator, acme, src) = (self.world.operator(), self.called("acme"), self.called("src"));
        self.world.registry.policy().authorize_repository(&operator, &acme, &src).await.unwrap()
    }

    pub(super) fn called(&self, word: &str) -> String {
        if self.renamed { other(word) } else { word.to_owned() }
    }

    pub(super) fn team_name(&self, org: &str, team: &str) -> TeamName {
        TeamName::parse(&format!("{}/{}", self.called(org), self.called(team))).unwrap()
    }

    /// The caller that a user is; none while it is suspended.
    pub(super) async fn caller(&self, user: &str) -> Option<Caller> {
        self.world.who(&format!("Bearer {}", self.tokens[user])).await.ok()
    }

    /// Does a deed, and says which way it went. `None` is checked to have changed nothing by who compares.
    pub(super) async fn does(&mut self, deed: Deed) -> Way {
        let (what, level) = match deed {
            Deed::Member(org, user, level) => (format!("member {org} {user}"), level),
            Deed::Role(path, user, level) => (format!("role {path} {user}"), level),
            Deed::Group(path, org, team, level) => (format!("group {path} {org} {team:?}"), level),
            Deed::Base(org, level) => (format!("base {org}"), level),
            // A maintainer has no role that a member has not.
            Deed::Team(org, team, user, level) => (format!("team {org} {team} {user}"), level.min(1)),
            Deed::Public(path, public) => (format!("public {path}"), public.into()),
            Deed::Active(user, active) => (format!("active {user}"), active.into()),
            Deed::Source(of, level) => (format!("source {of:?}"), level),
            Deed::Inherit(path, inherits) => (format!("inherit {path}"), inherits.into()),
            Deed::Nest(org, team, up) => return self.nest(org, team, up).await,
        };
        let first = if what.starts_with("active") { 1 } else { 0 };
        let old = self.set.get(&what).copied().unwrap_or(first);
        if !self.carries_out(deed).await {
            return Way::None;
        }
        self.set.insert(what, level);
        if let (Deed::Member(org, user, 0), true) = (deed, old > 0) {
            // Who leaves takes nothing along: neither its teams nor what it was given itself.
            for (team, _) in TEAMS.iter().enumerate() {
                self.set.remove(&format!("team {org} {team} {user}"));
            }
            for (path, _) in PATHS.iter().enumerate().filter(|(_, path)| owner_of(path) == ORGS[org].0) {
                self.set.remove(&format!("role {path} {user}"));
            }
            if org == 0 {
                self.set.remove(&format!("source {:?}", Ok::<_, usize>(user)));
            }
        }
        if let (Deed::Inherit(path, _), true) = (deed, level != old) {
            // Switching either way drops the roles there were.
            let its = [format!("role {path} "), format!("group {path} ")];
            self.set.retain(|what, _| !its.iter().any(|begins| what.starts_with(begins)));
            return Way::Moves;
        }
        match level.cmp(&old) {
            std::cmp::Ordering::Less => Way::Takes,
            std::cmp::Ordering::Equal => Way::None,
            std::cmp::Ordering::Greater => Way::Gives,
        }
    }

    async fn nest(&mut self, org: usize, team: usize, up: Option<usize>) -> Way {
        let grant = self.world.manage_owner(&self.called(ORGS[org].0)).await;
        let up_name = up.map(|up| self.called(TEAMS[up]));
        let done = self.world.registry.nest_team(&grant, &self.called(TEAMS[team]), up_name.as_deref()).await;
        if done.is_err() {
            return Way::None;
        }
        match (self.above.insert((org, team), up).flatten(), up) {
            (old, new) if old == new => Way::None,
            (None, Some(_)) => Way::Gives,
            (Some(_), None) => Way::Takes,
            _ => Way::Moves,
        }
    }

    async fn carries_out(&self, deed: Deed) -> bool {
        let registry = &self.world.registry;
        let org = |org: usize| self.called(ORGS[org].0);
        match deed {
            Deed::Member(to, user, level) => {
                let membership =
                    [None, Some(Membership::Member), Some(Membership::Owner)][usize::from(level)];
                let grant = self.world.manage_owner(&org(to)).await;
                registry.set_member(&grant, &self.called(USERS[user]), membership).await.is_ok()
            }
            Deed::Role(path, user, level) => {
                // Refused while the package inherits.
                let grant = self.world.manage(&self.called(PATHS[path])).await;
                registry.set_role(&grant, &self.called(USERS[user]), Role::from_code(level)).await.is_ok()
            }
            Deed::Source(of, level) => {
                let to = match of {
                    Ok(user) => CollaboratorName::User(self.called(USERS[user])),
                    Err(team) => CollaboratorName::Team(self.team_name("acme", TEAMS[team])),
                };
                let role = usize::from(level).checked_sub(1).map(|role| RepositoryRole::ALL[role]);
                let grant = self.source::<ManageRepository>().await;
                registry.set_repository_role(&grant, &to, role).await.is_ok()
            }
            Deed::Inherit(path, inherits) => {
                let grant = self.world.manage(&self.called(PATHS[path])).await;
                registry.set_inherits(&grant, inherits).await.is_ok()
            }
            Deed::Group(path, of, team, level) => {
                let group = match team {
                    Some(team) => GroupName::Team(self.team_name(ORGS[of].0, TEAMS[team])),
                    None => GroupName::Organization(org(of)),
                };
                let grant = self.world.manage(&self.called(PATHS[path])).await;
                registry.set_group_role(&grant, &group, Role::from_code(level)).await.is_ok()
            }
            Deed::Base(of, level) => {
                let grant = self.world.manage_owner(&org(of)).await;
                registry.set_base_role(&grant, Role::from_code(level)).await.is_ok()
            }
            Deed::Team(of, team, user, level) => {
                let (operator, team) = (self.world.operator(), self.called(TEAMS[team]));
                let grant = registry.policy().authorize_team(&operator, &org(of), &team).await.unwrap();
                let is = [None, Some(false), Some(true)][usize::from(level)];
                registry.set_team_member(&grant, &self.called(USERS[user]), is).await.is_ok()
            }
            Deed::Public(path, public) => {
                let visibility = if public { Visibility::Public } else { Visibility::Private };
                self.world.visibility(&self.called(PATHS[path]), visibility).await;
                true
            }
            Deed::Active(user, active) => {
                let operate = self.world.operate();
                registry.set_suspended(&operate, &self.called(USERS[user]), !active).await.is_ok()
            }
            Deed::Nest(..) => false,
        }
    }

    /// What each user and nobody in particular may do, and sees in the catalog.
    pub(super) async fn rights(&self) -> Rights {
        let mut rights = Rights::new();
        let anonymous = self.world.anonymous();
        self.rights_of("anonymous", &anonymous, &self.world.registry, &mut rights).await;
        for user in USERS {
            if let Some(caller) = self.caller(user).await {
                self.rights_of(user, &caller, &self.world.registry, &mut rights).await;
            }
        }
        rights
    }

    /// The same, asked of a registry that has just been opened over the same store and has nothing in memory.
    pub(super) async fn rights_afresh(&self) -> Rights {
        let (meta, blobs) = (self.world.meta.clone() as _, self.world.blobs.clone() as _);
        let fresh = Registry::open(meta, blobs, Settings::default()).unwrap();
        let mut rights = Rights::new();
        self.rights_of("anonymous", &self.world.anonymous(), &fresh, &mut rights).await;
        for user in USERS {
            let headers = crate::people::headers(&format!("Bearer {}", self.tokens[user]));
            let at = crate::people::NOW;
            if let Ok(caller) =
                fresh.authenticator().authenticate(&headers, Caller::anonymous(at, "test".into())).await
            {
                self.rights_of(user, &caller, &fresh, &mut rights).await;
            }
        }
        rights
    }

    /// What one caller may do.
    pub(super) async fn rights_of(&self, who: &str, caller: &Caller, registry: &Registry, into: &mut Rights) {
        let listed = registry.catalog(caller, None, 100).await.unwrap();
        for path in PATHS {
            let (called, policy) = (self.called(path), registry.policy());
            let target = name(&called);
            let may = [
                ("pull", policy.authorize::<Pull>(caller, &target).await.is_ok()),
                ("push", policy.authorize::<Push>(caller, &target).await.is_ok()),
                ("delete", policy.authorize::<Delete>(caller, &target).await.is_ok()),
                ("manage", policy.authorize::<Manage>(caller, &target).await.is_ok()),
                ("sees", listed.contains(&called)),
            ];
            into.extend(
                may.into_iter().filter(|(_, may)| *may).map(|(action, _)| (who.to_owned(), action, path)),
            );
        }
    }

    /// Who owns an organization or is the owner, as the deeds say.
    pub(super) fn rules(&self, user: &str, path: &str) -> bool {
        let owner = owner_of(path);
        let org = ORGS.iter().position(|(org, _)| *org == owner);
        match org {
            None => user == owner,
            Some(org) => {
                let user = USERS.iter().position(|known| *known == user).unwrap();
                self.set.get(&format!("member {org} {user}")) == Some(&2)
            }
        }
    }

    /// Whether a user may sign in.
    pub(super) fn is_active(&self, user: &str) -> bool {
        let user = USERS.iter().position(|known| *known == user).unwrap();
        self.set.get(&format!("active {user}")) != Some(&0)
    }
}

pub(super) fn owner_of(path: &str) -> &str {
    path.split('/').next().unwrap()
}
