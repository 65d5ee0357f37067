//! May this caller do this? The one place that makes grants, and the one place that chooses between 401, 403 and 404.

mod explain;
mod repositories;
mod teams;
mod trail;
mod viewer;
mod words;

use std::{borrow::Cow, sync::Arc};

use async_trait::async_trait;

use self::words::{renamed, unknown};
pub use self::{
    explain::Decided,
    repositories::{RepositoryFacts, RepositoryTarget},
    teams::{TeamFacts, TeamTarget},
    viewer::signed_in,
};
use super::{
    Action, Actor, Caller, CreatePackage, Delete, Grant, Need, Place, Pull, Push, Target as _, Verb,
    authenticator::ended,
};
use crate::{
    error::{Challenge, Error, Kind, Reason, Result, What},
    model::{
        Collaborator, Group, OwnerId, PackageId, PackageName, RepositoryId, Role, Stamp, TokenId, Visibility,
    },
};
pub(crate) use repositories::sees;
use viewer::{operates, rules};

/// Whose rights a revision counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// An owner: its existence, members, settings.
    Owner(OwnerId),
    /// A package: its existence, visibility and roles. Apart from its owner's, so that the first push of one package does
    /// not send every push under way in the others back to ask again.
    Package(PackageId),
    /// A user as a principal: suspension, password, memberships.
    Principal(OwnerId),
    /// A token: revocation.
    Credential(TokenId),
    /// The roles a user was given on an owner's packages. No decision reads it, since the package's own revision says as
    /// much; whoever takes all of them away expects it.
    RolesAt {
        /// The user.
        user: OwnerId,
        /// The owner.
        owner: OwnerId,
    },
    /// The roles a user was given, anywhere. No decision reads it; whoever removes the user expects it.
    RolesOf(OwnerId),
    /// Which packages an owner has. No decision reads it; whoever writes all of them again expects it.
    PackagesOf(OwnerId),
    /// What a group was given and who belongs to it. No decision reads it: what is given counts for the package, who belongs
    /// to it for the users. Whoever takes the group away expects it, so that nothing of it stays behind.
    Group(Group),
    /// A source repository: its existence, visibility and roles.
    Repository(RepositoryId),
}

/// Where a role on a package comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// The machine's administrator may everything.
    Operator,
    /// The package is the user's own.
    Own,
    /// The user owns the organization that the package belongs to.
    OrganizationOwner,
    /// The user began the package, which holds no manifest yet.
    Began,
    /// The role was given to the user itself.
    User,
    /// The role was given to a group that the user belongs to.
    Group(Group),
    /// The package inherits it from its source repository, on which it was given to the user or to a team of it.
    Repository(RepositoryId, Collaborator),
    /// The role was given to the workflows of the repository.
    Workflow(RepositoryId),
    /// The organization gives it to its members, on all its packages.
    BaseRole,
}

/// A role, and where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Given {
    /// The role.
    pub role: Role,
    /// Where it comes from.
    pub rule: Rule,
}

impl Given {
    /// The greatest role of several; of equal ones the first.
    pub fn greatest(all: &[Self]) -> Option<Self> {
        all.iter().rev().max_by_key(|given| given.role).copied()
    }
}

/// A revision of somebody's rights: every change to them adds one, in the batch of the change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Revision {
    /// Whose.
    pub of: Subject,
    /// How many changes so far.
    pub number: u64,
}

/// A package, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageTarget {
    /// The package.
    pub id: PackageId,
    /// Whose it is.
    pub owner: OwnerId,
    /// Its name.
    pub name: PackageName,
    /// Who may read it.
    pub visibility: Visibility,
    /// It was allocated by an upload and holds no manifest yet: unlisted, readable only by those who may create here.
    pub pending: bool,
    /// It was deleted and can be restored; only [`Policy::authorize_deleted`] gives a right to it.
    pub deleted: bool,
}

/// An owner, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerTarget {
    /// The owner.
    pub id: OwnerId,
    /// Its name, folded.
    pub name: String,
}

/// The installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct System;

/// What the registry knows about an actor and a name, read at one moment.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The owner, if there is one of this name.
    pub owner: Option<OwnerTarget>,
    /// The package, if there is one of this name.
    pub package: Option<PackageTarget>,
    /// The actor's role on the package: the greatest of ownership, direct grant, teams, organizations, base
    /// role, and the linked repository's where it inherits.
    pub role: Option<Role>,
    /// Where that role comes from.
    pub rule: Option<Rule>,
    /// The actor's role over the owner: admin for the user itself and for an organization's owners.
    pub owner_role: Option<Role>,
    /// Whether the actor belongs to the owner: is it, or a member of it.
    pub belongs: bool,
    /// Whether the actor may create packages here.
    pub may_create: bool,
    /// Whether this owner's and the installation's settings let anonymous callers read public packages.
    pub anonymous_reads: bool,
    /// The package's name, if it was asked for by one that its owner has no more: then it can be read and nothing else.
    pub renamed: Option<PackageName>,
    /// The revisions these facts were read at.
    pub revisions: Vec<Revision>,
    /// What the key space stood at before they were read, where that is known.
    pub stamp: Option<Stamp>,
}

/// Where facts come from. The registry implements it; tests have a dull, slow one of their own.
#[async_trait]
pub trait Acl: Send + Sync {
    /// The facts about an actor and a package's name, fresh.
    async fn package_facts(&self, actor: Actor, name: &PackageName) -> Result<Facts>;

    /// The facts about an actor and a deleted package that can still be restored: the one of this id, or else the one of
    /// this name that was deleted last.
    async fn deleted_facts(&self, actor: Actor, name: &PackageName, id: Option<PackageId>) -> Result<Facts>;

    /// The facts about an actor and an owner's name (any case), fresh.
    async fn owner_facts(&self, actor: Actor, name: &str) -> Result<Facts>;

    /// The facts about an actor and a team's name (any case), fresh.
    async fn team_facts(&self, actor: Actor, organization: &str, team: &str) -> Result<TeamFacts>;

    /// The facts about an actor and a source repository's name (any case), fresh.
    async fn repository_facts(&self, actor: Actor, owner: &str, repository: &str) -> Result<RepositoryFacts>;

    /// The caller with what its user and credential are now.
    ///
    /// # Errors
    /// Unauthenticated when they are no longer good.
    async fn recheck(&self, caller: &Caller) -> Result<Caller>;
}

/// Decides.
#[derive(Clone)]
pub struct Policy {
    acl: Arc<dyn Acl>,
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Policy")
    }
}

impl Policy {
    /// A policy that asks this source of facts.
    pub fn new(acl: Arc<dyn Acl>) -> Self {
        Self { acl }
    }

    /// May `caller` do `A` to the package of this name?
    ///
    /// # Errors
    /// Unauthenticated, forbidden or not found, so chosen that nobody learns of a package they may not read.
    pub async fn authorize<A>(&self, caller: &Caller, name: &PackageName) -> Result<Grant<A>>
    where
        A: Action<Target = super::PackageTarget>,
    {
        let (caller, facts) = self.facts_of_package(caller, name).await?;
        to_package(caller.as_ref(), name, facts)
    }

    /// May `caller` do `A` to a deleted package that had this name: the one of this id, or else the last one deleted?
    ///
    /// # Errors
    /// As [`Self::authorize`]. Whoever has no role on it learns nothing of it, were it ever so public before.
    pub async fn authorize_deleted<A>(
        &self,
        caller: &Caller,
        name: &PackageName,
        id: Option<PackageId>,
    ) -> Result<Grant<A>>
    where
        A: Action<Target = super::PackageTarget>,
    {
        let facts = self.acl.deleted_facts(caller.actor, name, id).await?;
        let caller = self.current(caller, &facts).await?;
        let caller = caller.as_ref();
        // By role alone: that a package was public makes what it was nobody's business now.
        let enough = facts.role >= Some(A::NEED.role) && good_for(caller, &facts, A::NEED);
        match facts.package.clone() {
            Some(target) if enough && caller.bound_allows(&name.to_string(), A::NEED.verb) => {
                Ok(grant(caller, target, facts))
            }
            Some(target) => {
                let known = facts.role.is_some()
                    && caller.limits_cover(Some(target.owner), Some(target.id), Verb::Pull);
                Err(refuse(caller, &facts, A::NEED, known, enough))
            }
            None => Err(refuse(caller, &facts, A::NEED, false, false)),
        }
    }

    /// May `caller` publish under this name? An existing package asks its own rights; a new one asks its owner's.
    pub async fn authorize_publish(&self, caller: &Caller, name: &PackageName) -> Result<Publish> {
        let (caller, facts) = self.facts_of_package(caller, name).await?;
        to_publish(caller.as_ref(), name, facts)
    }

    /// What `caller` may do under this name, as a bearer token would be bound to it: never an error for missing rights.
    /// Where a package may be created, what its creator may then do counts already.
    pub async fn verbs(&self, caller: &Caller, name: &PackageName) -> Result<Vec<Verb>> {
        let (caller, facts) = self.facts_of_package(caller, name).await?;
        let caller = caller.as_ref();
        let path = name.to_string();
        let new = facts.package.is_none() && facts.owner.is_some() && may_create(caller, &facts);
        let may = |need: Need| {
            let right = if facts.package.is_some() {
                enough(caller, &facts, need)
            } else {
                new && good_for(caller, &facts, need)
                    && (need.role < Role::Admin || facts.owner_role.is_some())
            };
            right && caller.bound_allows(&path, need.verb)
        };
        let needs = [Pull::NEED, Push::NEED, Delete::NEED];
        Ok(needs.into_iter().filter(|need| may(*need)).map(|need| need.verb).collect())
    }

    /// Decides once more what a grant was decided from, and says at which revisions it holds now: for a batch that met a
    /// newer revision than the grant's.
    ///
    /// # Errors
    /// [`Kind::StaleGrant`] when it would not be granted any more, or its target is another one now.
    pub async fn renew<A: Action>(&self, grant: &Grant<A>) -> Result<Vec<Revision>> {
        let stale =
            || Error::new(Kind::StaleGrant, "your rights changed while this request ran; send it again");
        let caller = match self.acl.recheck(grant.caller()).await {
            Err(error) if ended(&error) => return Err(stale()),
            rechecked => rechecked?,
        };
        let (facts, holds) = match grant.target().place() {
            Place::Package(target) => {
                let facts = if target.deleted {
                    self.acl.deleted_facts(caller.actor, &target.name, Some(target.id)).await?
                } else {
                    self.acl.package_facts(caller.actor, &target.name).await?
                };
                let same = facts.package.as_ref().is_some_and(|package| package.id == target.id);
                let holds = same && enough(&caller, &facts, A::NEED);
                (facts, holds)
            }
            Place::Owner(target) => {
                let facts = self.acl.owner_facts(caller.actor, &target.name).await?;
                let same = facts.owner.as_ref().is_some_and(|owner| owner.id == target.id);
                let right = match A::NEED.verb {
                    Verb::Push => may_create(&caller, &facts),
                    Verb::Pull | Verb::Delete | Verb::Manage => rules(&caller, &facts, A::NEED),
                };
                (facts, same && right)
            }
            Place::Team(target) => self.still_leads(&caller, target, A::NEED).await?,
            Place::Repository(target) => self.still_on(&caller, target, A::NEED).await?,
            Place::System => (Facts::default(), operates(&caller, A::NEED)),
        };
        if !holds {
            return Err(stale());
        }
        let mut revisions = facts.revisions;
        revisions.extend(caller.revisions);
        Ok(revisions)
    }

    /// May `caller` do `A` to the owner of this name?
    pub async fn authorize_owner<A>(&self, caller: &Caller, name: &str) -> Result<Grant<A>>
    where
        A: Action<Target = OwnerTarget>,
    {
        let facts = self.acl.owner_facts(caller.actor, name).await?;
        let caller = self.current(caller, &facts).await?;
        let caller = caller.as_ref();
        let enough = rules(caller, &facts, A::NEED);
        match facts.owner.clone() {
            Some(target) if enough => Ok(grant(caller, target, facts)),
            // That an owner exists is no secret: its name shows in every repository path that is public.
            Some(_) => Err(refuse(caller, &facts, A::NEED, true, enough)),
            // Who has not signed in learns of no name: each is half of a password.
            None if caller.is_anonymous() => Err(refuse(caller, &facts, A::NEED, true, enough)),
            None => {
                Err(Error::not_found(What::Owner, format!("there is no user or organization named {name}")))
            }
        }
    }

    async fn facts_of_package<'a>(
        &self,
        caller: &'a Caller,
        name: &PackageName,
    ) -> Result<(Cow<'a, Caller>, Facts)> {
        let facts = self.acl.package_facts(caller.actor, name).await?;
        Ok((self.current(caller, &facts).await?, facts))
    }

    /// The caller as of the facts: if its user changed since the headers were read, it is asked for again. So a change
    /// that leaves the rights standing costs a request nothing, and one that ends them ends the request.
    async fn current<'a>(&self, caller: &'a Caller, facts: &Facts) -> Result<Cow<'a, Caller>> {
        let moved = caller.revisions.iter().any(|known| {
            facts.revisions.iter().any(|found| found.of == known.of && found.number != known.number)
        });
        if moved { self.acl.recheck(caller).await.map(Cow::Owned) } else { Ok(Cow::Borrowed(caller)) }
    }

    /// May `caller` run the installation?
    pub fn authorize_system<A>(&self, caller: &Caller) -> Result<Grant<A>>
    where
        A: Action<Target = System>,
    {
        if operates(caller, A::NEED) {
            return Ok(grant(caller, System, Facts::default()));
        }
        Err(refuse(caller, &Facts::default(), A::NEED, true, caller.administrator))
    }
}

/// The two ways of publishing.
#[derive(Debug)]
pub enum Publish {
    /// The package exists.
    Existing(Grant<Push>),
    /// It does not; it may be created.
    New(Grant<CreatePackage>),
}

/// May `caller` do `A` to the package of this name, going by these facts?
fn to_package<A>(caller: &Caller, name: &PackageName, facts: Facts) -> Result<Grant<A>>
where
    A: Action<Target = super::PackageTarget>,
{
    let enough = enough(caller, &facts, A::NEED);
    match facts.package.clone() {
        Some(target) if enough && caller.bound_allows(&name.to_string(), A::NEED.verb) => {
            Ok(grant(caller, target, facts))
        }
        _ => Err(refuse(caller, &facts, A::NEED, may_read(caller, &facts), enough)),
    }
}

/// May `caller` publish under this name, going by these facts?
fn to_publish(caller: &Caller, name: &PackageName, facts: Facts) -> Result<Publish> {
    if facts.package.is_some() {
        return to_package(caller, name, facts).map(Publish::Existing);
    }
    let enough = may_create(caller, &facts);
    match facts.owner.clone() {
        Some(owner) if enough && caller.bound_allows(&name.to_string(), Push::NEED.verb) => {
            Ok(Publish::New(grant(caller, owner, facts)))
        }
        // Whoever rules the name space sees all of it, so the true reason gives nothing away; unless the token is limited to
        // something else.
        owner => {
            let sees = caller.limits_cover(owner.map(|owner| owner.id), None, Verb::Pull);
            Err(refuse(caller, &facts, CreatePackage::NEED, facts.owner_role.is_some() && sees, enough))
        }
    }
}

fn grant<A: Action>(caller: &Caller, target: A::Target, facts: Facts) -> Grant<A> {
    trail::granted(caller, A::NEED, target.place());
    let mut revisions = facts.revisions;
    revisions.extend_from_slice(&caller.revisions);
    Grant { caller: caller.clone(), target, revisions, stamp: facts.stamp }
}

/// Whether role and credential allow this to the package; the bearer token's access list is not asked.
fn enough(caller: &Caller, facts: &Facts, need: Need) -> bool {
    match need.role {
        Role::Read => may_read(caller, facts),
        least @ (Role::Write | Role::Admin) => facts.role >= Some(least) && good_for(caller, facts, need),
    }
}

/// Whether the credential is good for this, whatever the role: by its scopes, and by its limits.
fn good_for(caller: &Caller, facts: &Facts, need: Need) -> bool {
    caller.scopes.has(need.scope) && within_limits(caller, facts, need)
}

fn within_limits(caller: &Caller, facts: &Facts, need: Need) -> bool {
    let package = facts.package.as_ref();
    let owner = package.map(|package| package.owner).or(facts.owner.as_ref().map(|owner| owner.id));
    caller.limits_cover(owner, package.map(|package| package.id), need.verb)
}

/// Whether the caller may create packages here.
fn may_create(caller: &Caller, facts: &Facts) -> bool {
    facts.may_create && good_for(caller, facts, CreatePackage::NEED)
}

/// Whether the caller may know of the package: a role with a credential that reads, or publicity. For lists, which filter
/// by it; everything else asks [`Policy::authorize`].
pub fn may_read(caller: &Caller, facts: &Facts) -> bool {
    let Some(package) = &facts.package else { return false };
    let public = package.visibility == Visibility::Public && !package.pending;
    if public && (!caller.is_anonymous() || facts.anonymous_reads) {
        return true;
    }
    facts.role >= Some(Pull::NEED.role) && good_for(caller, facts, Pull::NEED)
}

/// 401, 403 or 404. `enough` says that the rights are there and only the bearer token's access list is in the way.
fn refuse(caller: &Caller, facts: &Facts, need: Need, readable: bool, enough: bool) -> Error {
    trail::refused(caller, facts, need, enough);
    match (caller.is_anonymous(), &caller.bound) {
        (true, None) => Error::new(Kind::Unauthenticated(Challenge::Missing), "authentication required"),
        (true, Some(_)) => Error::new(
            Kind::Unauthenticated(Challenge::Insufficient),
            "authentication required: anonymous access does not allow this",
        ),
        (false, Some(_)) if enough => Error::new(
            Kind::Unauthenticated(Challenge::Insufficient),
            "this bearer token was issued for less; ask for a new one",
        ),
        (false, _) if !readable => unknown(need),
        (false, _) if need.role > Role::Read && facts.renamed.is_some() => renamed(facts),
        (false, _) if !caller.scopes.has(need.scope) => {
            Error::new(Kind::Forbidden(Reason::Scope), format!("the token lacks the scope {}", need.scope))
        }
        (false, _) if !within_limits(caller, facts, need) => Error::new(
            Kind::Forbidden(Reason::TokenLimit),
            "the token is limited to other packages or actions",
        ),
        (false, _) => {
            let has = facts.role.map_or("none", Role::word);
            Error::new(
                Kind::Forbidden(Reason::Role),
                format!("this needs the role {} and you have {has}", need.role),
            )
        }
    }
}
