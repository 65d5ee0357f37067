//! Source repositories and the roles on them: done to both, and asked of both.

use std::collections::BTreeMap;

use packhouse::{
    auth::{Action, Caller, Grant, LinkRepository, ManageRepository, ReadRepository, RepositoryTarget},
    error::{Challenge, Kind, Reason, Result, What},
    model::{RepositoryName, RepositoryRole, TeamName, Visibility},
    registry::repositories::{CollaboratorName, RepositoryEdit},
};
use proptest::prelude::*;

use super::{
    Both, ORGS, USERS,
    groups::TEAMS,
    rules::{Oracle, Says, Token},
};

pub(super) const REPOS: [&str; 5] = ["ada/src", "acme/src", "acme/Lib", "beta/src", "bob/lib"];

#[derive(Debug, Clone)]
pub(super) enum Op {
    Create(usize, u8),
    Delete(usize),
    Visibility(usize, u8),
    User(usize, usize, u8),
    Team(usize, usize, usize, u8),
    /// To another place, which is another name or another owner.
    Move(usize, usize),
}

#[derive(Debug, Clone)]
pub(super) struct Repository {
    /// 0 private, 1 internal, 2 public
    pub(super) visibility: u8,
    /// `ada` or `team:acme/core` → 1 read to 5 admin
    pub(super) roles: BTreeMap<String, u8>,
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    let repo = || 0..REPOS.len();
    prop_oneof![
        4 => (repo(), 0..3u8).prop_map(|(repo, visibility)| Op::Create(repo, visibility)),
        1 => repo().prop_map(Op::Delete),
        2 => (repo(), 0..3u8).prop_map(|(repo, visibility)| Op::Visibility(repo, visibility)),
        4 => (repo(), 0..3usize, 0..6u8).prop_map(|(repo, user, role)| Op::User(repo, user, role)),
        4 => (repo(), 0..2usize, 0..3usize, 0..6u8)
            .prop_map(|(repo, org, team, role)| Op::Team(repo, org, team, role)),
        2 => (repo(), repo()).prop_map(|(repo, to)| Op::Move(repo, to)),
    ]
}

fn seen(visibility: u8) -> Visibility {
    [Visibility::Private, Visibility::Internal, Visibility::Public][usize::from(visibility)]
}

fn owner(repo: &str) -> &str {
    repo.split('/').next().unwrap()
}

impl Both {
    pub(super) async fn may_repo<A>(&self, caller: &Caller, repo: &str) -> Result<Grant<A>>
    where
        A: Action<Target = RepositoryTarget>,
    {
        let (owner, name) = repo.split_once('/').unwrap();
        self.world.registry.policy().authorize_repository(caller, owner, &name.to_uppercase()).await
    }

    pub(super) async fn repository(&mut self, op: &Op) {
        match op {
            Op::Create(repo, visibility) => self.create_repo(REPOS[*repo], *visibility).await,
            Op::Delete(repo) => {
                let Some(grant) = self.manage_repo(REPOS[*repo]).await else { return };
                self.world.registry.delete_repository(&grant).await.unwrap();
                self.oracle.repositories.remove(REPOS[*repo]);
                self.oracle.unlink_all(REPOS[*repo]);
            }
            Op::Visibility(repo, visibility) => {
                let Some(grant) = self.manage_repo(REPOS[*repo]).await else { return };
                let edit = RepositoryEdit { visibility: Some(seen(*visibility)), ..Default::default() };
                let done = self.world.registry.edit_repository(&grant, &edit).await;
                let good = *visibility != 1 || ORGS.contains(&owner(REPOS[*repo]));
                assert_eq!(done.is_ok(), good, "{done:?}");
                if good {
                    self.oracle.repositories.get_mut(REPOS[*repo]).unwrap().visibility = *visibility;
                }
            }
            Op::User(repo, user, role) => {
                let who = CollaboratorName::User(USERS[*user].to_owned());
                self.repo_role(REPOS[*repo], &who, USERS[*user].to_owned(), *role, true).await;
            }
            Op::Team(repo, org, team, role) => {
                let name = format!("{}/{}", ORGS[*org], TEAMS[*team]);
                let there = self.oracle.teams.contains_key(&(ORGS[*org].into(), TEAMS[*team].into()));
                let good = there && owner(REPOS[*repo]) == ORGS[*org];
                let who = CollaboratorName::Team(TeamName::parse(&name).unwrap());
                self.repo_role(REPOS[*repo], &who, format!("team:{name}"), *role, good).await;
            }
            Op::Move(repo, to) => self.move_repo(REPOS[*repo], REPOS[*to]).await,
        }
    }

    pub(super) async fn manage_repo(&self, repo: &str) -> Option<Grant<ManageRepository>> {
        let grant = self.may_repo(&self.world.operator(), repo).await;
        assert_eq!(grant.is_ok(), self.oracle.repositories.contains_key(repo));
        grant.ok()
    }

    pub(super) async fn create_repo(&mut self, repo: &str, visibility: u8) {
        let grant = self.world.manage_owner(owner(repo)).await;
        let name = RepositoryName::parse(repo).unwrap();
        let about = RepositoryEdit { visibility: Some(seen(visibility)), ..Default::default() };
        let done = self.world.registry.create_repository(&grant, &name, &about).await;
        let taken = self.oracle.repositories.contains_key(repo);
        let nobody = visibility == 1 && !ORGS.contains(&owner(repo));
        assert_eq!(done.is_ok(), !taken && !nobody, "{done:?}");
        if !taken && !nobody {
            self.oracle
                .repositories
                .insert(repo.to_owned(), Repository { visibility, roles: BTreeMap::new() });
        }
    }

    pub(super) async fn repo_role(
        &mut self,
        repo: &str,
        who: &CollaboratorName,
        word: String,
        role: u8,
        good: bool,
    ) {
        let Some(grant) = self.manage_repo(repo).await else { return };
        let done =
            self.world.registry.set_repository_role(&grant, who, RepositoryRole::from_code(role)).await;
        assert_eq!(done.is_ok(), good, "{done:?}");
        let roles = &mut self.oracle.repositories.get_mut(repo).unwrap().roles;
        if good && role > 0 {
            roles.insert(word, role);
        } else if good {
            roles.remove(&word);
        }
    }

    /// By transfer where the owner is another, and by renaming where the name is.
    async fn move_repo(&mut self, repo: &str, to: &str) {
        let Some(grant) = self.manage_repo(repo).await else { return };
        let ((from, name), (new_owner, new_name)) =
            (repo.split_once('/').unwrap(), to.split_once('/').unwrap());
        if repo == to || (from != new_owner && !name.eq_ignore_ascii_case(new_name)) {
            return;
        }
        let done = if from == new_owner {
            self.world.registry.rename_repository(&grant, new_name).await
        } else {
            let owner = self.world.manage_owner(new_owner).await;
            self.world.registry.transfer_repository(&grant, &owner).await
        };
        let taken = self.oracle.repositories.contains_key(to);
        assert_eq!(done.is_ok(), !taken, "{done:?}");
        if taken {
            return;
        }
        let mut moved = self.oracle.repositories.remove(repo).unwrap();
        for (_, (link, _)) in self.oracle.links.iter_mut().filter(|(_, (link, _))| link == repo) {
            *link = to.to_owned();
        }
        if from != new_owner {
            self.oracle.unlink_all(to);
            moved.roles.clear();
            if !ORGS.contains(&new_owner) && moved.visibility == 1 {
                moved.visibility = 0;
            }
        }
        self.oracle.repositories.insert(to.to_owned(), moved);
    }

    /// Asks both about every repository.
    pub(super) async fn compare_repositories(&self, caller: &Caller, token: Option<&Token>) {
        let (seen, _) = self.world.registry.repositories_of(caller, None, None, 100).await.unwrap();
        let mut seen: Vec<String> = seen.iter().map(|at| format!("{}/{}", at.owner_name, at.name)).collect();
        for repo in REPOS {
            let answers = [
                ("see", self.may_repo::<ReadRepository>(caller, repo).await.err()),
                ("link", self.may_repo::<LinkRepository>(caller, repo).await.err()),
                ("manage", self.may_repo::<ManageRepository>(caller, repo).await.err()),
            ];
            for (action, answer) in answers {
                let says = match answer.map(|error| error.kind()) {
                    None => Says::Yes,
                    Some(Kind::Unauthenticated(Challenge::Missing)) => Says::SignIn,
                    Some(Kind::NotFound(What::Repository)) => Says::NotThere,
                    Some(Kind::Forbidden(Reason::Scope)) => Says::LacksScope,
                    Some(Kind::Forbidden(Reason::TokenLimit)) => Says::Limited,
                    Some(Kind::Forbidden(Reason::Role)) => Says::LacksRole,
                    Some(other) => panic!("{other:?}"),
                };
                let expected = self.oracle.on_repository(token, action, repo);
                assert_eq!(says, expected, "{action} {repo} by {token:?} in {:?}", self.oracle);
            }
            // Names are shown as they were given, and are the same in any case.
            let listed = seen.iter().position(|at| at.eq_ignore_ascii_case(repo));
            let sees = self.oracle.on_repository(token, "see", repo) == Says::Yes;
            assert_eq!(listed.is_some(), sees, "{repo} in {seen:?}");
            listed.map(|at| seen.remove(at));
        }
        assert!(seen.is_empty(), "{seen:?}");
    }
}

impl Oracle {
    /// Forgets what somebody was given on the repositories of an owner.
    pub(super) fn leave_repositories(&mut self, of: &str, who: &str) {
        for (repo, repository) in &mut self.repositories {
            if owner(repo) == of {
                repository.roles.remove(who);
            }
        }
    }

    /// What a user was given on a repository, itself or by a team: 0 to 5.
    pub(super) fn given_on(&self, user: &str, repo: &str) -> u8 {
        let Some(repository) = self.repositories.get(repo) else { return 0 };
        let mut role = 0;
        for (who, given) in &repository.roles {
            let is = match who.strip_prefix("team:") {
                None => who == user,
                Some(team) => {
                    let (org, team) = team.split_once('/').unwrap();
                    let mut teams = self.team_members.iter().filter(|(o, _, who)| o == org && who == user);
                    teams.any(|(_, of, _)| self.within(org, of, team))
                }
            };
            if is {
                role = role.max(*given);
            }
        }
        role
    }

    fn role_on(&self, user: &str, repo: &str) -> u8 {
        if !self.repositories.contains_key(repo) {
            return 0;
        }
        let mut role = self.given_on(user, repo);
        if self.is_member(user, owner(repo)) {
            role = role.max([0, 1, 3][usize::from(*self.base.get(owner(repo)).unwrap_or(&0))]);
        }
        if self.rules(user, owner(repo)) { 5 } else { role }
    }

    pub(super) fn on_repository(&self, token: Option<&Token>, action: &str, repo: &str) -> Says {
        let visibility = self.repositories.get(repo).map_or(0, |repository| repository.visibility);
        let Some(token) = token else {
            let open = visibility == 2 && !self.no_anonymous.contains(owner(repo));
            return if open && action == "see" { Says::Yes } else { Says::SignIn };
        };
        let role = self.role_on(&token.user, repo);
        // A token is limited to owners, not to repositories; one that is limited to packages reaches none.
        let within = |action| token.limits.reach(owner(repo), None) && token.limits.include(action);
        let reads = token.scopes.contains("read") && within("pull");
        let manages = token.scopes.contains("admin") && within("manage");
        // A robot is no member, and sees what is internal to its owner.
        let robot = token.user.split_once('+').is_some_and(|(of, _)| of == owner(repo));
        let belongs = robot || self.is_member(&token.user, owner(repo));
        let sees = visibility == 2 || (visibility == 1 && belongs && reads) || (role > 0 && reads);
        let enough = match action {
            "see" => sees,
            "link" => role >= 3 && manages,
            _ => role >= 5 && manages,
        };
        if enough {
            Says::Yes
        } else if !sees {
            Says::NotThere
        } else if !token.scopes.contains("admin") {
            Says::LacksScope
        } else if !manages {
            Says::Limited
        } else {
            Says::LacksRole
        }
    }
}
