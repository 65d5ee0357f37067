//! Teams, base roles, roles of groups: done to both.

use packhouse::{
    error::{Kind, Reason, What},
    model::{Role, TeamName},
    registry::permissions::GroupName,
};
use proptest::prelude::*;

use super::{Both, ORGS, PATHS, USERS, owner_of};

pub(super) const TEAMS: [&str; 3] = ["core", "Web", "ops"];

#[derive(Debug, Clone)]
pub(super) enum Op {
    Base(usize, u8),
    /// Organization, team, the team it is in.
    Create(usize, usize, Option<usize>),
    Remove(usize, usize),
    Nest(usize, usize, Option<usize>),
    /// Organization, team, user, in it or not, as maintainer.
    Member(usize, usize, usize, bool, bool),
    /// Package, organization, team or the organization itself, role.
    Role(usize, usize, Option<usize>, u8),
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    let team = || (0..2usize, 0..3usize);
    prop_oneof![
        1 => (0..2usize, 0..4u8).prop_map(|(org, role)| Op::Base(org, role)),
        3 => (team(), prop::option::of(0..3usize)).prop_map(|((org, team), up)| Op::Create(org, team, up)),
        1 => team().prop_map(|(org, team)| Op::Remove(org, team)),
        2 => (team(), prop::option::of(0..3usize)).prop_map(|((org, team), up)| Op::Nest(org, team, up)),
        4 => (team(), 0..3usize, prop::bool::weighted(0.8), any::<bool>())
            .prop_map(|((org, team), user, is, maintains)| Op::Member(org, team, user, is, maintains)),
        4 => (0..7usize, 0..2usize, prop::option::weighted(0.7, 0..3usize), 0..4u8)
            .prop_map(|(path, org, team, role)| Op::Role(path, org, team, role)),
    ]
}

fn key(org: &str, team: &str) -> (String, String) {
    (org.to_owned(), team.to_owned())
}

impl Both {
    pub(super) async fn group(&mut self, op: &Op) {
        match op {
            Op::Base(org, role) => self.base(ORGS[*org], *role).await,
            Op::Create(org, team, up) => self.create(ORGS[*org], TEAMS[*team], up.map(|up| TEAMS[up])).await,
            Op::Remove(org, team) => self.remove(ORGS[*org], TEAMS[*team]).await,
            Op::Nest(org, team, up) => self.nest(ORGS[*org], TEAMS[*team], up.map(|up| TEAMS[up])).await,
            Op::Member(org, team, user, is, maintains) => {
                self.team_member(ORGS[*org], TEAMS[*team], USERS[*user], is.then_some(*maintains)).await;
            }
            Op::Role(path, org, team, role) => {
                self.group_role(PATHS[*path], ORGS[*org], team.map(|team| TEAMS[team]), *role).await;
            }
        }
    }

    pub(super) async fn base(&mut self, org: &str, role: u8) {
        let grant = self.world.manage_owner(org).await;
        let done = self.world.registry.set_base_role(&grant, Role::from_code(role)).await;
        assert_eq!(done.is_err(), role == 3, "who has admin everywhere is an owner");
        if role < 3 {
            self.oracle.base.insert(org.to_owned(), role);
        }
    }

    pub(super) async fn create(&mut self, org: &str, team: &str, up: Option<&str>) {
        let grant = self.world.manage_owner(org).await;
        let name = TeamName::parse(&format!("{org}/{}", team.to_uppercase())).unwrap();
        let done = self.world.registry.create_team(&grant, &name, up).await;
        let teams = &mut self.oracle.teams;
        let taken = teams.contains_key(&key(org, team));
        let lost = up.is_some_and(|up| !teams.contains_key(&key(org, up)));
        match done.map_err(|error| error.kind()) {
            Ok(_) => {
                assert!(!taken && !lost);
                teams.insert(key(org, team), up.map(str::to_owned));
            }
            Err(Kind::Conflict(What::Owner)) => assert!(taken),
            Err(Kind::NotFound(What::Owner)) => assert!(!taken && lost),
            Err(other) => panic!("{other:?}"),
        }
    }

    pub(super) async fn remove(&mut self, org: &str, team: &str) {
        let grant = self.world.manage_owner(org).await;
        let done = self.world.registry.remove_team(&grant, team).await;
        let oracle = &mut self.oracle;
        let there = oracle.teams.contains_key(&key(org, team));
        let holds = oracle.teams.iter().any(|((o, _), up)| o == org && up.as_deref() == Some(team));
        assert_eq!(done.is_ok(), there && !holds, "{done:?}");
        if done.is_ok() {
            oracle.teams.remove(&key(org, team));
            oracle.team_members.retain(|(o, t, _)| (o.as_str(), t.as_str()) != (org, team));
            let group = format!("team:{org}/{team}");
            oracle.group_roles.retain(|(_, of), _| *of != group);
            oracle.leave_repositories(org, &group);
        }
    }

    pub(super) async fn nest(&mut self, org: &str, team: &str, up: Option<&str>) {
        let grant = self.world.manage_owner(org).await;
        let done = self.world.registry.nest_team(&grant, team, up).await;
        let oracle = &mut self.oracle;
        let there = |team: &str| oracle.teams.contains_key(&key(org, team));
        let circle = up.is_some_and(|up| there(up) && oracle.within(org, up, team));
        let good = there(team) && up.is_none_or(there) && !circle;
        assert_eq!(done.is_ok(), good, "{team} into {up:?} of {:?}: {done:?}", oracle.teams);
        if good {
            oracle.teams.insert(key(org, team), up.map(str::to_owned));
        } else if circle && there(team) {
            assert_eq!(super::super::kind(done), Kind::Forbidden(Reason::InUse));
        }
    }

    pub(super) async fn team_member(&mut self, org: &str, team: &str, user: &str, is: Option<bool>) {
        let operator = self.world.operator();
        let grant = self.world.registry.policy().authorize_team(&operator, org, team).await;
        assert_eq!(grant.is_ok(), self.oracle.teams.contains_key(&key(org, team)));
        let Ok(grant) = grant else { return };
        let done = self.world.registry.set_team_member(&grant, user, is).await;
        let member = (org.to_owned(), team.to_owned(), user.to_owned());
        let refused = is.is_some() && !self.oracle.is_member(user, org);
        assert_eq!(done.is_err(), refused, "{done:?}");
        match is {
            Some(_) if !refused => drop(self.oracle.team_members.insert(member)),
            Some(_) => {}
            None => drop(self.oracle.team_members.remove(&member)),
        }
    }

    pub(super) async fn group_role(&mut self, path: &str, org: &str, team: Option<&str>, role: u8) {
        if !self.oracle.packages.contains_key(path) {
            return;
        }
        let group = match team {
            Some(team) => GroupName::Team(TeamName::parse(&format!("{org}/{team}")).unwrap()),
            None => GroupName::Organization(org.to_owned()),
        };
        let grant = self.world.manage(path).await;
        let done = self.world.registry.set_group_role(&grant, &group, Role::from_code(role)).await;
        let oracle = &mut self.oracle;
        let good = team
            .is_none_or(|team| owner_of(path) == org && oracle.teams.contains_key(&key(org, team)))
            && (role == 0 || oracle.inherits(path).is_none());
        assert_eq!(done.is_ok(), good, "{done:?}");
        if good {
            let group = team.map_or_else(|| format!("org:{org}"), |team| format!("team:{org}/{team}"));
            oracle.group_roles.remove(&(path.to_owned(), group.clone()));
            if role > 0 {
                oracle.group_roles.insert((path.to_owned(), group), role);
            }
        }
    }
}
