//! Who may say who is in a team: the organization's owners, and maintainers of the team or of one above it.

use super::{Facts, Policy, good_for, grant, refuse, trail};
use crate::{
    auth::{Action, Caller, Grant, Need},
    error::{Error, Result, What},
    model::{OwnerId, Role, TeamId},
};

/// A team, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TeamTarget {
    /// The team.
    pub id: TeamId,
    /// Whose it is.
    pub organization: OwnerId,
    /// That organization's name, folded.
    pub owner: String,
    /// The team's own name, folded.
    pub name: String,
}

/// What the registry knows about an actor and a team's name, read at one moment.
#[derive(Debug, Clone, Default)]
pub struct TeamFacts {
    /// About the organization.
    pub facts: Facts,
    /// The team, if there is one of this name.
    pub team: Option<TeamTarget>,
    /// Whether the actor belongs to the organization, and so may know of its teams.
    pub belongs: bool,
    /// The actor's role over the team: admin for owners of the organization and for maintainers.
    pub role: Option<Role>,
}

impl Policy {
    /// May `caller` do `A` to a team of an organization?
    ///
    /// # Errors
    /// Not found alike for a team that is not there and for whoever does not belong to the organization.
    pub async fn authorize_team<A>(&self, caller: &Caller, organization: &str, team: &str) -> Result<Grant<A>>
    where
        A: Action<Target = TeamTarget>,
    {
        let known = self.acl.team_facts(caller.actor, organization, team).await?;
        let caller = self.current(caller, &known.facts).await?;
        let caller = caller.as_ref();
        let enough = leads(caller, &known, A::NEED);
        let sees = |team: &TeamTarget| caller.limits_cover(Some(team.organization), None, A::NEED.verb);
        match known.team.clone() {
            Some(target) if enough => Ok(grant(caller, target, known.facts)),
            _ if caller.is_anonymous() => Err(refuse(caller, &known.facts, A::NEED, false, false)),
            Some(target) if (known.belongs || caller.administrator) && sees(&target) => {
                Err(refuse(caller, &known.facts, A::NEED, true, enough))
            }
            _ => {
                trail::refused(caller, &known.facts, A::NEED, enough);
                let text = format!("there is no team {organization}/{team}, or you may not know of it");
                Err(Error::not_found(What::Owner, text))
            }
        }
    }

    /// Whether a team is still the same and the caller may still do this to it; and the facts by which.
    pub(super) async fn still_leads(
        &self,
        caller: &Caller,
        target: &TeamTarget,
        need: Need,
    ) -> Result<(Facts, bool)> {
        let known = self.acl.team_facts(caller.actor, &target.owner, &target.name).await?;
        let same = known.team.as_ref().is_some_and(|team| team.id == target.id);
        let holds = same && leads(caller, &known, need);
        Ok((known.facts, holds))
    }
}

fn leads(caller: &Caller, known: &TeamFacts, need: Need) -> bool {
    let belongs = known.belongs.then_some(Role::Read);
    let role = if caller.administrator { Some(Role::Admin) } else { known.role.or(belongs) };
    role >= Some(need.role) && good_for(caller, &known.facts, need) && caller.bound.is_none()
}
