//! Who may see and change source repositories: by roles on them, by ownership, by the organization's base role.

use super::{Facts, Policy, good_for, grant, refuse, trail};
use crate::{
    auth::{Action, Caller, Grant, Need, ReadRepository},
    error::{Error, Result, What},
    model::{OwnerId, RepositoryId, RepositoryRole, Role, Visibility},
};

/// A source repository, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryTarget {
    /// The repository.
    pub id: RepositoryId,
    /// Whose it is.
    pub owner: OwnerId,
    /// That owner's name, as registered.
    pub owner_name: String,
    /// The repository's own name, as given.
    pub name: String,
    /// Who may see it.
    pub visibility: Visibility,
}

/// What the registry knows about an actor and a source repository's name, read at one moment.
#[derive(Debug, Clone, Default)]
pub struct RepositoryFacts {
    /// About the owner.
    pub facts: Facts,
    /// The repository, if there is one of this name.
    pub repository: Option<RepositoryTarget>,
    /// Whether the actor belongs to the owner, and so sees what is internal.
    pub belongs: bool,
    /// The actor's role on it, from wherever it comes; what everybody may see gives none.
    pub role: Option<RepositoryRole>,
}

impl Policy {
    /// May `caller` do `A` to a source repository?
    ///
    /// # Errors
    /// Not found alike for one that is not there and for whoever may not see it.
    pub async fn authorize_repository<A>(
        &self,
        caller: &Caller,
        owner: &str,
        repository: &str,
    ) -> Result<Grant<A>>
    where
        A: Action<Target = RepositoryTarget>,
    {
        let known = self.acl.repository_facts(caller.actor, owner, repository).await?;
        let caller = self.current(caller, &known.facts).await?;
        let caller = caller.as_ref();
        let enough = may(caller, &known, A::NEED);
        match known.repository.clone() {
            Some(target) if enough => Ok(grant(caller, target, known.facts)),
            _ if caller.is_anonymous() => Err(refuse(caller, &known.facts, A::NEED, false, false)),
            Some(_) if sees(caller, &known) => {
                let facts = Facts { role: known.role.map(RepositoryRole::on_packages), ..known.facts };
                Err(refuse(caller, &facts, A::NEED, true, enough))
            }
            _ => {
                trail::refused(caller, &known.facts, A::NEED, enough);
                let text =
                    format!("there is no source repository {owner}/{repository}, or you may not see it");
                Err(Error::not_found(What::Repository, text))
            }
        }
    }

    /// Whether a repository is still the same and the caller may still do this to it; and the facts by which.
    pub(super) async fn still_on(
        &self,
        caller: &Caller,
        target: &RepositoryTarget,
        need: Need,
    ) -> Result<(Facts, bool)> {
        let known = self.acl.repository_facts(caller.actor, &target.owner_name, &target.name).await?;
        let same = known.repository.as_ref().is_some_and(|repository| repository.id == target.id);
        let holds = same && may(caller, &known, need);
        Ok((known.facts, holds))
    }
}

/// Whether the caller may see a repository: for lists, which filter by it; everything else asks
/// [`Policy::authorize_repository`].
pub(crate) fn sees(caller: &Caller, known: &RepositoryFacts) -> bool {
    let Some(repository) = &known.repository else { return false };
    if caller.bound.is_some() {
        return false;
    }
    let open = match repository.visibility {
        Visibility::Public => !caller.is_anonymous() || known.facts.anonymous_reads,
        Visibility::Internal => known.belongs && reads(caller, repository),
        Visibility::Private => false,
    };
    open || (known.role.is_some() || caller.administrator) && reads(caller, repository)
}

/// Whether the credential is good for reading what not everybody may see.
fn reads(caller: &Caller, repository: &RepositoryTarget) -> bool {
    let need = ReadRepository::NEED;
    caller.scopes.has(need.scope) && caller.limits_cover(Some(repository.owner), None, need.verb)
}

/// Whether the caller may do this to it. An administrator of the installation manages every owner and what it has, which
/// gives no role on packages.
fn may(caller: &Caller, known: &RepositoryFacts, need: Need) -> bool {
    if need.role == Role::Read {
        return sees(caller, known);
    }
    let role = match caller.administrator {
        true => Some(Role::Admin),
        false => known.role.map(RepositoryRole::on_packages),
    };
    role >= Some(need.role) && good_for(caller, &known.facts, need) && caller.bound.is_none()
}
