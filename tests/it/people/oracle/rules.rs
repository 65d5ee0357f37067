//! The dullest code that can say who may do what: names, sets, loops. It shares no type with the policy.

use std::collections::{BTreeMap, BTreeSet};

use super::{ORGS, USERS, repositories::Repository};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Says {
    Yes,
    SignIn,
    BadCredentials,
    AskForMore,
    NotThere,
    LacksScope,
    Limited,
    LacksRole,
}

#[derive(Default, Debug)]
pub(super) struct Oracle {
    pub(super) suspended: BTreeSet<String>,
    /// (organization, user) → owner?
    pub(super) members: BTreeMap<(String, String), bool>,
    pub(super) no_anonymous: BTreeSet<String>,
    pub(super) packages: BTreeMap<String, Package>,
    /// (package, user) → 1 read, 2 write, 3 admin
    pub(super) roles: BTreeMap<(String, String), u8>,
    /// organization → 1 read, 2 write
    pub(super) base: BTreeMap<String, u8>,
    /// (organization, team) → the team it is in
    pub(super) teams: BTreeMap<(String, String), Option<String>>,
    /// Organization, team, user.
    pub(super) team_members: BTreeSet<(String, String, String)>,
    /// (package, `team:acme/core` or `org:acme`) → 1 read, 2 write, 3 admin
    pub(super) group_roles: BTreeMap<(String, String), u8>,
    pub(super) repositories: BTreeMap<String, Repository>,
    /// package → the repository it links to, and whether it inherits
    pub(super) links: BTreeMap<String, (String, bool)>,
}

#[derive(Debug)]
pub(super) struct Package {
    /// Told apart from others that had its name.
    pub(super) number: u32,
    pub(super) public: bool,
    pub(super) pending: bool,
    pub(super) creator: String,
}

#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) user: String,
    pub(super) scopes: BTreeSet<&'static str>,
    pub(super) revoked: bool,
    pub(super) limits: Limits,
}

/// What a token is limited to; a list that is empty limits nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct Limits {
    pub(super) packages: Vec<u32>,
    pub(super) owners: Vec<String>,
    pub(super) actions: Vec<&'static str>,
}

impl Limits {
    pub(super) fn reach(&self, owner: &str, package: Option<u32>) -> bool {
        if self.packages.is_empty() && self.owners.is_empty() {
            return true;
        }
        let owned = self.owners.iter().any(|named| named == owner);
        owned || package.is_some_and(|package| self.packages.contains(&package))
    }

    pub(super) fn include(&self, action: &str) -> bool {
        let verb = if action == "publish" { "push" } else { action };
        self.actions.is_empty() || self.actions.contains(&verb)
    }
}

pub(super) fn owner_of(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').collect();
    if parts[0] == "npm" { parts[1].to_owned() } else { parts[0].to_owned() }
}

impl Oracle {
    pub(super) fn is_member(&self, user: &str, org: &str) -> bool {
        self.members.contains_key(&(org.to_owned(), user.to_owned()))
    }

    /// A robot is when its owner is, too.
    pub(super) fn is_suspended(&self, user: &str) -> bool {
        let owner = user.split('+').next().unwrap();
        self.suspended.contains(user) || self.suspended.contains(owner)
    }

    /// Whether a team is another one, or in it, or in one that is in it, and so on.
    pub(super) fn within(&self, org: &str, team: &str, other: &str) -> bool {
        let mut at = Some(team.to_owned());
        for _ in 0..20 {
            match at {
                None => return false,
                Some(name) if name == other => return true,
                Some(name) => at = self.teams.get(&(org.to_owned(), name)).cloned().flatten(),
            }
        }
        panic!("teams go round: {:?}", self.teams);
    }

    /// What groups give a user on a package.
    fn by_groups(&self, user: &str, path: &str) -> u8 {
        let owner = owner_of(path);
        let mut role = 0;
        for ((on, group), given) in &self.group_roles {
            if on != path {
                continue;
            }
            let belongs = match group.split_once(':').unwrap() {
                ("org", org) => self.is_member(user, org),
                (_, team) => {
                    let (org, team) = team.split_once('/').unwrap();
                    let mut teams = self.team_members.iter().filter(|(o, _, who)| o == org && who == user);
                    org == owner && teams.any(|(_, of, _)| self.within(org, of, team))
                }
            };
            if belongs {
                role = role.max(*given);
            }
        }
        if self.is_member(user, &owner) {
            role = role.max(*self.base.get(&owner).unwrap_or(&0));
        }
        role
    }

    pub(super) fn rules(&self, user: &str, owner: &str) -> bool {
        user == owner || self.members.get(&(owner.to_owned(), user.to_owned())) == Some(&true)
    }

    fn creates(&self, user: &str, owner: &str) -> bool {
        self.rules(user, owner) || self.members.contains_key(&(owner.to_owned(), user.to_owned()))
    }

    fn role(&self, user: &str, path: &str) -> u8 {
        let owner = owner_of(path);
        let Some(package) = self.packages.get(path) else { return 0 };
        let mut role = *self.roles.get(&(path.to_owned(), user.to_owned())).unwrap_or(&0);
        role = role.max(self.by_groups(user, path));
        if let Some(repo) = self.inherits(path) {
            role = role.max([0, 1, 1, 2, 2, 3][usize::from(self.given_on(user, repo))]);
        }
        if self.rules(user, &owner) {
            role = 3;
        }
        if package.pending && package.creator == user && self.creates(user, &owner) {
            role = role.max(3);
        }
        role
    }

    pub(super) fn decide(
        &self,
        token: Option<&Token>,
        bound: Option<&[(String, Vec<&str>)]>,
        action: &str,
        path: &str,
    ) -> Says {
        let verb = if action == "publish" { "push" } else { action };
        let bound_allows =
            bound.is_none_or(|list| list.iter().any(|(name, verbs)| name == path && verbs.contains(&verb)));
        let package = self.packages.get(path);
        let public = package.is_some_and(|package| package.public && !package.pending);
        let Some(token) = token else {
            let reads = action == "pull" && public && !self.no_anonymous.contains(&owner_of(path));
            return match (reads, bound) {
                (true, _) if bound_allows => Says::Yes,
                (_, None) => Says::SignIn,
                (_, Some(_)) => Says::AskForMore,
            };
        };
        if token.revoked || self.is_suspended(&token.user) {
            return Says::BadCredentials;
        }
        let role = self.role(&token.user, path);
        let reaches = token.limits.reach(&owner_of(path), package.map(|package| package.number));
        let within = reaches && token.limits.include(action);
        let sees = reaches && token.limits.include("pull");
        let readable = public || (role >= 1 && token.scopes.contains("read") && sees);
        let scope = match action {
            "pull" => "read",
            "push" | "publish" => "write",
            "delete" => "delete",
            _ => "admin",
        };
        let has_scope = token.scopes.contains(scope);
        let creating = action == "publish" && package.is_none();
        let enough = match action {
            "pull" => readable,
            "publish" if creating => {
                let exists =
                    USERS.contains(&owner_of(path).as_str()) || ORGS.contains(&owner_of(path).as_str());
                exists && self.creates(&token.user, &owner_of(path)) && has_scope && within
            }
            "push" | "publish" => role >= 2 && has_scope && within,
            _ => role >= 3 && has_scope && within,
        };
        let there = package.is_some() || creating;
        let known = readable || (creating && sees && self.rules(&token.user, &owner_of(path)));
        if there && enough && bound_allows {
            Says::Yes
        } else if bound.is_some() && enough {
            Says::AskForMore
        } else if !known {
            Says::NotThere
        } else if !has_scope {
            Says::LacksScope
        } else if !within {
            Says::Limited
        } else {
            Says::LacksRole
        }
    }
}
