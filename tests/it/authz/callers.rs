//! The kinds of callers.

use super::world::World;
use crate::support::Client;

/// What a caller presents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presents {
    Nothing,
    /// A personal token, by Basic.
    Token,
    /// A bearer token from `/token` for so much of the repository.
    Bearer(&'static str),
    /// The password itself, by Basic.
    Password,
}

/// Whose packages a caller is tried on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Home {
    User,
    Organization,
    /// An organization whose members may read everything.
    OpenOrganization,
}

/// A kind of caller: a column of the matrix.
#[derive(Debug)]
pub(super) struct Caller {
    /// Its column's head.
    pub(super) short: &'static str,
    /// Its line in the legend.
    pub(super) about: &'static str,
    pub(super) home: Home,
    /// The user, if it is one, and which of its tokens.
    pub(super) user: &'static str,
    pub(super) token: &'static str,
    pub(super) presents: Presents,
    /// Whether it has no right to know whether the private package exists.
    pub(super) blind: bool,
}

const fn caller(short: &'static str, about: &'static str, user: &'static str, token: &'static str) -> Caller {
    Caller { short, about, home: Home::User, user, token, presents: Presents::Token, blind: false }
}

/// All of them, in the order of their columns.
pub(super) const CALLERS: &[Caller] = &[
    Caller { presents: Presents::Nothing, blind: true, ..caller("anon", "nobody, no credentials", "", "") },
    Caller {
        presents: Presents::Bearer("pull"),
        blind: true,
        ..caller("anonB", "nobody, with an anonymous bearer token for pulling", "", "")
    },
    Caller { blind: true, ..caller("strng", "a user without any role", "stan", "all") },
    caller("readr", "role read on the private package", "rita", "all"),
    caller("writr", "role write on both", "wren", "all"),
    caller("admin", "role admin on both", "adam", "all"),
    caller("owner", "the user whose packages they are", "olga", "all"),
    Caller {
        home: Home::Organization,
        ..caller("membr", "a member of the organization whose packages they are", "memo", "all")
    },
    Caller { home: Home::Organization, ..caller("orgow", "an owner of that organization", "orla", "all") },
    Caller {
        home: Home::Organization,
        ..caller("teamr", "in a team below one that has the role write on both", "tess", "all")
    },
    Caller {
        home: Home::OpenOrganization,
        ..caller("basem", "a member of an organization whose base role is read", "basil", "all")
    },
    Caller {
        home: Home::Organization,
        blind: true,
        ..caller("exmem", "who was in that team, and is in the organization no more", "exa", "all")
    },
    Caller {
        blind: true,
        ..caller("sysad", "an administrator of the installation, nobody special here", "admin", "all")
    },
    Caller { blind: true, ..caller("suspd", "a suspended user with role write on both", "sue", "all") },
    caller("robot", "a robot of another owner with the role write on both", "acme+ci", "robot"),
    Caller {
        blind: true,
        ..caller("roboX", "a robot of the owner's without any role", "olga+idle", "robot")
    },
    caller("oRead", "the owner's token with read:packages alone", "olga", "read:packages"),
    caller("oWrit", "the owner's token with write:packages alone", "olga", "write:packages"),
    caller("oDele", "the owner's token with delete:packages alone", "olga", "delete:packages"),
    caller("oAdmn", "the owner's token with admin alone", "olga", "admin"),
    caller("lPack", "the owner's token limited to the private package", "olga", "package"),
    caller("lPull", "the owner's token limited to pulling, from this machine", "olga", "pull"),
    Caller {
        blind: true,
        ..caller("lElse", "the owner's token limited to another owner", "olga", "elsewhere")
    },
    Caller {
        blind: true,
        ..caller("lNetw", "the owner's token limited to another network", "olga", "network")
    },
    Caller { blind: true, ..caller("strnM", "a user without any role, with every scope", "stan", "manage") },
    caller("admiM", "role admin on both, with every scope", "adam", "manage"),
    caller("owneM", "the user whose packages they are, with every scope", "olga", "manage"),
    Caller {
        home: Home::Organization,
        ..caller("membM", "a member of the organization, with every scope", "memo", "manage")
    },
    Caller {
        home: Home::Organization,
        ..caller("mainM", "a maintainer of the team with the role write, with every scope", "mina", "manage")
    },
    Caller {
        home: Home::Organization,
        ..caller("orgoM", "an owner of the organization, with every scope", "orla", "manage")
    },
    Caller { blind: true, ..caller("expir", "an expired token of the owner's", "olga", "expired") },
    Caller { blind: true, ..caller("revok", "a revoked token with every scope", "rhea", "all") },
    Caller {
        presents: Presents::Bearer("pull,push,delete"),
        ..caller("writB", "the writer's bearer token for all it may", "wren", "all")
    },
    Caller {
        presents: Presents::Bearer("pull"),
        ..caller("pullB", "the owner's bearer token for pulling alone", "olga", "all")
    },
    Caller {
        presents: Presents::Password,
        blind: true,
        ..caller("passw", "the owner's password by Basic", "olga", "all")
    },
];

impl Caller {
    /// The name space of its packages.
    pub(super) fn namespace(&self) -> &'static str {
        match self.home {
            Home::User => "olga",
            Home::Organization => "acme",
            Home::OpenOrganization => "beta",
        }
    }

    /// A client that presents what this caller does, to a repository.
    pub(super) fn client(&self, world: &World, repository: &str) -> Client {
        let anonymous = world.server.anonymous();
        match self.presents {
            Presents::Nothing => anonymous,
            Presents::Token => anonymous.basic(self.user, world.secret(self.user, self.token)),
            Presents::Password => anonymous.basic(self.user, super::world::PASSWORD),
            Presents::Bearer(verbs) => {
                let asks = match self.user {
                    "" => anonymous.clone(),
                    user => anonymous.basic(user, world.secret(user, self.token)),
                };
                let answer = asks.get(&format!("/token?scope=repository:{repository}:{verbs}")).expect(200);
                anonymous.bearer(answer.json()["token"].as_str().unwrap())
            }
        }
    }

    /// The same user with everything it has, if it can sign in at all: for what must be its own beforehand.
    pub(super) fn at_its_best(&self, world: &World) -> Option<Client> {
        let can = !self.user.is_empty() && !matches!(self.user, "sue" | "rhea");
        let best = if self.token == "robot" { "robot" } else { "all" };
        can.then(|| world.server.anonymous().basic(self.user, world.secret(self.user, best)))
    }
}
