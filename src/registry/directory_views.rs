//! Organizations as their members see them: who is in them, and which teams there are.

use super::{
    Registry, accounts, events,
    packages::beginning,
    profiles::Profile,
    records::{
        AccountRecord, MemberRecord, Membership, PackageRecord, RepositoryRecord, RepositoryRoleRecord,
        RoleRecord, TeamMemberRecord, TeamRecord,
    },
    revisions::{self, Outcome},
    teams,
};
use crate::{
    auth::{self, Caller, Grant, ManageOwner, ManageTeam, ReadOwner, ReadTeam, Subject, Verb},
    error::{Error, Kind, Result, What},
    model::{Collaborator, Ecosystem, OwnerId, TeamId, TeamName, Timestamp},
    store::{Batch, MetadataRead, Prefix},
};

/// A team as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TeamView {
    /// Its identity.
    pub id: TeamId,
    /// Its name.
    pub name: String,
    /// The team it is in.
    pub parent: Option<(TeamId, String)>,
    /// Whose it is.
    pub organization: Profile,
    /// How many users are in it, those of the teams below not counted.
    pub members: usize,
    /// When it was made.
    pub created: Timestamp,
}

impl Registry {
    /// The members of an organization, by name.
    pub async fn member_profiles(&self, grant: &Grant<ReadOwner>) -> Result<Vec<(Profile, Membership)>> {
        let view = self.meta.snapshot()?;
        let mut members = Vec::new();
        for (_, bytes) in accounts::walk(view.as_ref(), &MemberRecord::of(grant.target().id)).await? {
            let member = MemberRecord::decode(&bytes)?;
            if let Some(account) = accounts::by_id(view.as_ref(), member.user).await? {
                members.push((Profile::of(&account), member.membership));
            }
        }
        members.sort_by_key(|(member, _)| member.name.to_ascii_lowercase());
        Ok(members)
    }

    /// What a user is in an organization.
    ///
    /// # Errors
    /// Not found for whoever is nothing there, be there such a user or not.
    pub async fn member_profile(
        &self,
        grant: &Grant<ReadOwner>,
        user: &str,
    ) -> Result<(Profile, Membership)> {
        let view = self.meta.snapshot()?;
        let none =
            || Error::not_found(What::Owner, format!("{user} is not a member of {}", grant.target().name));
        let account = accounts::by_name(view.as_ref(), user).await?.ok_or_else(none)?;
        let membership = accounts::membership(view.as_ref(), grant.target().id, account.id).await?;
        Ok((Profile::of(&account), membership.ok_or_else(none)?))
    }

    /// Users with a role on something of an organization who are not its members, by name. Walks all it has.
    pub async fn outside_collaborators(&self, grant: &Grant<ManageOwner>) -> Result<Vec<Profile>> {
        let view = self.meta.snapshot()?;
        let (view, owner) = (view.as_ref(), grant.target());
        let mut users = std::collections::BTreeSet::new();
        for ecosystem in Ecosystem::ALL {
            let paths = PackageRecord::paths(&beginning(ecosystem, &owner.name));
            for (key, _) in accounts::walk(view, &paths).await? {
                let Some(package) = PackageRecord::id_in(&key) else { continue };
                for (_, bytes) in accounts::walk(view, &RoleRecord::on(package)).await? {
                    users.insert(RoleRecord::decode(&bytes)?.user);
                }
            }
        }
        for (key, _) in accounts::walk(view, &RepositoryRecord::names(owner.id)).await? {
            let Some(repository) = RepositoryRecord::id_in(&key) else { continue };
            let roles = RepositoryRoleRecord::on_of(repository, Collaborator::USER);
            for (_, bytes) in accounts::walk(view, &roles).await? {
                if let Collaborator::User(user) = RepositoryRoleRecord::decode(&bytes)?.of {
                    users.insert(user);
                }
            }
        }
        let mut found = Vec::new();
        for user in users {
            if accounts::membership(view, owner.id, user).await?.is_none()
                && let Some(account) = accounts::by_id(view, user).await?
            {
                found.push(Profile::of(&account));
            }
        }
        found.sort_by_key(|user| user.name.to_ascii_lowercase());
        Ok(found)
    }

    /// The teams of an organization, by name.
    pub async fn team_views(&self, grant: &Grant<ReadOwner>) -> Result<Vec<TeamView>> {
        let view = self.meta.snapshot()?;
        self.teams_at(view.as_ref(), grant.target().id).await
    }

    async fn teams_at(&self, view: &dyn MetadataRead, organization: OwnerId) -> Result<Vec<TeamView>> {
        let mut found = Vec::new();
        for (key, _) in accounts::walk(view, &TeamRecord::names(organization)).await? {
            if let Some(id) = TeamRecord::id_in(&key) {
                found.extend(team_view(view, id).await?);
            }
        }
        Ok(found)
    }

    /// A team.
    ///
    /// # Errors
    /// [`Kind::StaleGrant`] when it was removed meanwhile.
    pub async fn team_view(&self, grant: &Grant<ReadTeam>) -> Result<TeamView> {
        let view = self.meta.snapshot()?;
        let team = team_view(view.as_ref(), grant.target().id).await?;
        team.ok_or_else(|| Error::new(Kind::StaleGrant, "the team was removed meanwhile; try again"))
    }

    /// The teams right below a team, by name.
    pub async fn teams_below(&self, grant: &Grant<ReadTeam>) -> Result<Vec<TeamView>> {
        let view = self.meta.snapshot()?;
        let mut found = Vec::new();
        for (key, _) in accounts::walk(view.as_ref(), &TeamRecord::below(grant.target().id)).await? {
            if let Some(id) = TeamRecord::id_in(&key) {
                found.extend(team_view(view.as_ref(), id).await?);
            }
        }
        found.sort_by_key(|team| team.name.to_ascii_lowercase());
        Ok(found)
    }

    /// Who is in a team, by name, and whether as a maintainer.
    pub async fn team_member_profiles(&self, grant: &Grant<ReadTeam>) -> Result<Vec<(Profile, bool)>> {
        let view = self.meta.snapshot()?;
        let mut members = Vec::new();
        for (_, bytes) in accounts::walk(view.as_ref(), &TeamMemberRecord::of(grant.target().id)).await? {
            let member = TeamMemberRecord::decode(&bytes)?;
            if let Some(account) = accounts::by_id(view.as_ref(), member.user).await? {
                members.push((Profile::of(&account), member.maintainer));
            }
        }
        members.sort_by_key(|(member, _)| member.name.to_ascii_lowercase());
        Ok(members)
    }

    /// The teams that the viewer itself is in, by organization and name.
    ///
    /// # Errors
    /// Unauthenticated for whoever has not signed in.
    pub async fn own_teams(&self, viewer: &Caller) -> Result<Vec<TeamView>> {
        let user = auth::signed_in(viewer)?;
        let view = self.meta.snapshot()?;
        let mut found = Vec::new();
        for (key, _) in accounts::walk(view.as_ref(), &MemberRecord::of_user(user)).await? {
            let Some(organization) = AccountRecord::id_in(&key) else { continue };
            if !viewer.limits_cover(Some(organization), None, Verb::Pull) {
                continue;
            }
            let within = TeamMemberRecord::of_user_at(user, organization);
            for (key, _) in accounts::walk(view.as_ref(), &within).await? {
                if let Some(team) = TeamRecord::id_in(&key) {
                    found.extend(team_view(view.as_ref(), team).await?);
                }
            }
        }
        found.sort_by_key(|team| {
            (team.organization.name.to_ascii_lowercase(), team.name.to_ascii_lowercase())
        });
        Ok(found)
    }

    /// Gives a team another name. Its roles and members stay: they hang on its id.
    ///
    /// # Errors
    /// Conflict when another team of the organization has the name.
    pub async fn rename_team(&self, grant: &Grant<ManageOwner>, team: &str, to: &TeamName) -> Result<()> {
        let mut under = self.under(grant);
        loop {
            let organization = self.organization(grant).await?;
            let old = self.team_named(&organization, team).await?;
            if old.name == to.team() {
                return Ok(());
            }
            let new = TeamRecord { name: to.team().to_owned(), ..old.clone() };
            let mut batch = Batch::new();
            // Another spelling of the same name is its own.
            if !old.name.eq_ignore_ascii_case(to.team()) {
                if teams::by_name(self.meta.as_ref(), organization.id, to.team()).await?.is_some() {
                    let text = format!("there is a team {to} already");
                    return Err(Error::new(Kind::Conflict(What::Owner), text));
                }
                let named = TeamRecord::name_prefix(organization.id, to.team());
                batch.expect_prefix(named.clone(), Prefix::Empty, named);
            }
            batch.replace(Some(&old), Some(&new));
            revisions::bump(&mut batch, Subject::Owner(organization.id));
            let detail = format!("team:{} {} {}", old.id, old.name, new.name);
            let stream = events::stream_of_owner(organization.id);
            events::rights(&mut batch, stream, grant.caller(), "team.rename", detail);
            if under.commit(batch).await? == Outcome::Done {
                return Ok(());
            }
        }
    }

    /// The packages that a team itself has a role on, of those that whoever asks may read.
    pub async fn team_packages_seen(
        &self,
        grant: &Grant<ManageTeam>,
    ) -> Result<Vec<(crate::model::PackageName, crate::model::Role)>> {
        let mut seen = Vec::new();
        for (path, role) in self.team_packages(grant).await? {
            let name = crate::model::PackageName::parse(&path)?;
            match self.policy().authorize::<crate::auth::Pull>(grant.caller(), &name).await {
                Ok(_) => seen.push((name, role)),
                Err(error) if error.is_fault() => return Err(error),
                Err(_) => {}
            }
        }
        Ok(seen)
    }
}

async fn team_view(view: &dyn MetadataRead, id: TeamId) -> Result<Option<TeamView>> {
    let Some(team) = teams::by_id(view, id).await? else { return Ok(None) };
    let Some(organization) = accounts::by_id(view, team.organization).await? else { return Ok(None) };
    let parent = match team.parent {
        Some(parent) => teams::by_id(view, parent).await?.map(|parent| (parent.id, parent.name)),
        None => None,
    };
    let members = accounts::walk(view, &TeamMemberRecord::of(id)).await?.len();
    let (organization, created) = (Profile::of(&organization), Timestamp(team.created));
    Ok(Some(TeamView { id, name: team.name, parent, organization, members, created }))
}
