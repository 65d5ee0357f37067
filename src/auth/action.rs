//! The table of actions: what each needs, by name.

use super::policy::{OwnerTarget, PackageTarget, RepositoryTarget, System, TeamTarget};
use crate::model::{Role, Scope};

/// The action words of the Docker token scheme; a bearer token is bound to some of them for each repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Read a repository.
    Pull,
    /// Write to it.
    Push,
    /// Delete in it.
    Delete,
    /// No bearer token can do it: management goes by other credentials.
    Manage,
}

impl Verb {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Pull, Self::Push, Self::Delete, Self::Manage];

    /// The word of the token scheme.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
            Self::Manage => "manage",
        }
    }

    /// Reads a word that a bearer token may be bound to.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Pull, Self::Push, Self::Delete].into_iter().find(|verb| verb.word() == word)
    }
}

/// What an action asks of a caller.
#[derive(Debug, Clone, Copy)]
pub struct Need {
    /// The least role.
    pub role: Role,
    /// The scope a token must have.
    pub scope: Scope,
    /// The word a bearer token must be bound to.
    pub verb: Verb,
    /// The action's name in logs and tables.
    pub name: &'static str,
}

mod sealed {
    pub trait Sealed {}
}

/// Something a caller may be allowed to do.
pub trait Action: sealed::Sealed + std::fmt::Debug + Send + Sync + 'static {
    /// What it is done to.
    type Target: Target;
    /// Its name in logs and tables.
    const NAME: &'static str;
    /// What it asks.
    const NEED: Need;
}

/// Something that can be acted on.
pub trait Target: std::fmt::Debug + Clone + Send + Sync + 'static {
    /// Which of the things it is.
    fn place(&self) -> Place<'_>;
}

/// A target, whichever it is.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// A package.
    Package(&'a PackageTarget),
    /// An owner.
    Owner(&'a OwnerTarget),
    /// A team.
    Team(&'a TeamTarget),
    /// A source repository.
    Repository(&'a RepositoryTarget),
    /// The installation.
    System,
}

impl Target for PackageTarget {
    fn place(&self) -> Place<'_> {
        Place::Package(self)
    }
}

impl Target for OwnerTarget {
    fn place(&self) -> Place<'_> {
        Place::Owner(self)
    }
}

impl Target for TeamTarget {
    fn place(&self) -> Place<'_> {
        Place::Team(self)
    }
}

impl Target for RepositoryTarget {
    fn place(&self) -> Place<'_> {
        Place::Repository(self)
    }
}

impl Target for System {
    fn place(&self) -> Place<'_> {
        Place::System
    }
}

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident($target:ty) needs $role:ident, $scope:ident, $verb:ident as $word:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub enum $name {}
        impl sealed::Sealed for $name {}
        impl Action for $name {
            type Target = $target;
            const NAME: &'static str = $word;
            const NEED: Need = Need { role: Role::$role, scope: Scope::$scope, verb: Verb::$verb, name: $word };
        }
    )+};
}

actions! {
    /// Download, list, read metadata.
    Pull(PackageTarget) needs Read, ReadPackages, Pull as "package:pull";
    /// Upload, move tags, cancel uploads.
    Push(PackageTarget) needs Write, WritePackages, Push as "package:push";
    /// Delete manifests, tags, blobs.
    Delete(PackageTarget) needs Admin, DeletePackages, Delete as "package:delete";
    /// Restore what was deleted. As with GitHub's packages: who may write and administers, not who may delete more.
    Restore(PackageTarget) needs Admin, WritePackages, Manage as "package:restore";
    /// Change visibility and roles.
    Manage(PackageTarget) needs Admin, Admin, Manage as "package:manage";
    /// Create a package in an owner's name space.
    CreatePackage(OwnerTarget) needs Write, WritePackages, Push as "owner:create-package";
    /// See who is in an organization, its teams, its settings; or one's own.
    ReadOwner(OwnerTarget) needs Read, Admin, Manage as "owner:read";
    /// See who is in a team.
    ReadTeam(TeamTarget) needs Read, Admin, Manage as "team:read";
    /// Change an owner: members, settings.
    ManageOwner(OwnerTarget) needs Admin, Admin, Manage as "owner:manage";
    /// Read an owner's audit log. By the owner's own role: who administers the installation has none.
    ReadAudit(OwnerTarget) needs Admin, Admin, Manage as "owner:audit";
    /// Say who is in a team.
    ManageTeam(TeamTarget) needs Admin, Admin, Manage as "team:manage";
    /// See a source repository.
    ReadRepository(RepositoryTarget) needs Read, ReadPackages, Pull as "repository:read";
    /// Link a package to a source repository.
    LinkRepository(RepositoryTarget) needs Write, Admin, Manage as "repository:link";
    /// Change a source repository, give roles on it, delete it.
    ManageRepository(RepositoryTarget) needs Admin, Admin, Manage as "repository:manage";
    /// Run the installation: accounts, organizations.
    Operate(System) needs Admin, Admin, Manage as "system:operate";
}
