//! Teams of organizations: made, put under one another, filled, taken away.
//!
//! What a team's members may do follows from the team and from all above it. So a change of the tree counts for the
//! organization, under whose revision every decision about its packages is made, and a change of who is in a team counts
//! for that user alone.

use super::{
    Registry, accounts, events,
    groups::roles_on,
    packages,
    records::{AccountRecord, GroupRoleRecord, PackageRecord, TeamMemberRecord, TeamRecord},
    revisions::{self, Outcome},
};
use crate::{
    auth::{Grant, ManageOwner, ManageTeam, Subject},
    error::{Error, Kind, Reason, Result, What},
    model::{Collaborator, Group, OwnerId, PackageId, Role, TeamId, TeamName},
    store::{Batch, MetadataRead, Prefix, Record},
};

/// Most teams in an organization: a decision may have to look at all that one user is in.
pub const MAX_TEAMS: usize = 1000;
/// Most teams from the uppermost to the lowest: each is one more step up in a decision.
pub const MAX_DEPTH: usize = 8;
/// Most users in a team: they all leave it in one batch when it is removed. A team of everybody is what the base role and
/// `org:` are for.
pub const MAX_MEMBERS: usize = 5000;
/// Most groups with a role on one package: a decision about it reads them all.
pub const MAX_GROUPS: usize = 1000;

/// The team of an id.
pub(crate) async fn by_id(view: &dyn MetadataRead, id: TeamId) -> Result<Option<TeamRecord>> {
    view.get(&TeamRecord::key_of(id)).await?.map(|bytes| TeamRecord::decode(&bytes)).transpose()
}

/// The team of a name, in any case.
pub(crate) async fn by_name(
    view: &dyn MetadataRead,
    organization: OwnerId,
    name: &str,
) -> Result<Option<TeamRecord>> {
    // What cannot be a name is no team's, and must not meet the terminators of keys.
    if name.contains('\0') {
        return Ok(None);
    }
    let found = view.scan(&TeamRecord::name_prefix(organization, name), None, 1).await?;
    match found.first().and_then(|(key, _)| TeamRecord::id_in(key)) {
        Some(id) => by_id(view, id).await,
        None => Ok(None),
    }
}

/// What a user is in a team.
pub(crate) async fn member(
    view: &dyn MetadataRead,
    team: TeamId,
    user: OwnerId,
) -> Result<Option<TeamMemberRecord>> {
    let found = view.get(&TeamMemberRecord::key_of(team, user)).await?;
    found.map(|bytes| TeamMemberRecord::decode(&bytes)).transpose()
}

/// A team and those above it, in order. Ends at a team that comes again: nothing stores such a tree, and no damage to what
/// is stored may make this go round for ever.
pub(crate) async fn line(view: &dyn MetadataRead, team: TeamRecord) -> Result<Vec<TeamRecord>> {
    let mut line = vec![team];
    while let Some(parent) = line.last().and_then(|team| team.parent) {
        if line.iter().any(|team| team.id == parent) {
            break;
        }
        let Some(above) = by_id(view, parent).await? else { break };
        line.push(above);
    }
    Ok(line)
}

/// Whether a user maintains a team or one above it.
pub(crate) async fn maintains(view: &dyn MetadataRead, user: OwnerId, team: TeamRecord) -> Result<bool> {
    for team in line(view, team).await? {
        if member(view, team.id, user).await?.is_some_and(|member| member.maintainer) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// How many teams there are from this one down to its lowest, itself among them.
async fn height(view: &dyn MetadataRead, team: TeamId) -> Result<usize> {
    let mut level = vec![team];
    let mut height = 0;
    // The walk need not go deeper than any tree may be.
    while !level.is_empty() && height <= MAX_DEPTH {
        height += 1;
        let mut below = Vec::new();
        for team in level {
            let entries = accounts::walk(view, &TeamRecord::below(team)).await?;
            below.extend(entries.iter().filter_map(|(key, _)| TeamRecord::id_in(key)));
        }
        level = below;
    }
    Ok(height)
}

/// Counts a change of an organization's tree of teams. Every such change also expects that revision, which its grant
/// carries; so of two that would only together make a circle, or too deep a tree, one comes first and the other knows.
fn tree_changed(
    batch: &mut Batch,
    grant: &Grant<ManageOwner>,
    team: &TeamRecord,
    action: &str,
    detail: String,
) {
    revisions::bump(batch, Subject::Owner(team.organization));
    let above = team.parent.map(|parent| Subject::Group(Group::Team(parent)));
    above.into_iter().for_each(|above| revisions::bump(batch, above));
    let stream = events::stream_of_owner(team.organization);
    events::rights(batch, stream, grant.caller(), action, detail);
}

fn unknown(organization: &str, team: &str) -> Error {
    Error::not_found(What::Owner, format!("there is no team {organization}/{team}"))
}

pub(crate) fn over(limit: usize, what: &str) -> Error {
    Error::new(Kind::Forbidden(Reason::Policy), format!("{what}, and {limit} are the most"))
}

/// A team as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Team {
    /// Its name.
    pub name: String,
    /// The name of the team it is in.
    pub parent: Option<String>,
    /// How many users are in it, those of the teams below it not counted.
    pub members: usize,
    /// How many packages it has a role on, those of the teams above it not counted.
    pub packages: usize,
}

/// Somebody in a team.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TeamMember {
    /// The user's name.
    pub user: String,
    /// Whether the user says who else is in it.
    pub maintainer: bool,
}

impl Registry {
    /// Makes a team, in another one or in none.
    ///
    /// # Errors
    /// Conflict when there is one of the name, in any case; not found without the team it is to be in; forbidden by policy
    /// over a limit.
    pub async fn create_team(
        &self,
        grant: &Grant<ManageOwner>,
        name: &TeamName,
        parent: Option<&str>,
    ) -> Result<TeamId> {
        let id = TeamId::random()?;
        let mut under = self.under(grant);
        loop {
            let organization = self.organization(grant).await?;
            if by_name(self.meta.as_ref(), organization.id, name.team()).await?.is_some() {
                let text = format!("there is a team {name} already");
                return Err(Error::new(Kind::Conflict(What::Owner), text));
            }
            let teams = self.meta.scan(&TeamRecord::names(organization.id), None, MAX_TEAMS).await?;
            if teams.len() >= MAX_TEAMS {
                return Err(over(MAX_TEAMS, "the organization has no room for another team"));
            }
            let above = self.place(&organization, parent, 1).await?;
            let team = TeamRecord {
                id,
                organization: organization.id,
                name: name.team().to_owned(),
                parent: above.first().map(|team| team.id),
                created: grant.at().0,
            };
            let mut batch = Batch::new();
            let named = TeamRecord::name_prefix(organization.id, name.team());
            batch.expect_prefix(named.clone(), Prefix::Empty, named);
            batch.replace(None, Some(&team));
            let detail = format!("team:{id} {}", team.name);
            tree_changed(&mut batch, grant, &team, "team.create", detail);
            if under.commit(batch).await? == Outcome::Done {
                return Ok(id);
            }
        }
    }

    /// Puts a team into another one, or into none: its members then have what that one is given, too.
    ///
    /// # Errors
    /// Forbidden as in use when the other one is the team itself or below it; by policy when the tree would be too deep.
    pub async fn nest_team(
        &self,
        grant: &Grant<ManageOwner>,
        name: &str,
        parent: Option<&str>,
    ) -> Result<()> {
        let mut under = self.under(grant);
        loop {
            let organization = self.organization(grant).await?;
            let old = self.team_named(&organization, name).await?;
            let height = height(self.meta.as_ref(), old.id).await?;
            let above = self.place(&organization, parent, height).await?;
            if above.iter().any(|team| team.id == old.id) {
                let text =
                    format!("{} is in {} already, and a team cannot be in itself", above[0].name, old.name);
                return Err(Error::new(Kind::Forbidden(Reason::InUse), text));
            }
            let new = TeamRecord { parent: above.first().map(|team| team.id), ..old.clone() };
            if new.parent == old.parent {
                return Ok(());
            }
            let mut batch = Batch::new();
            batch.replace(Some(&old), Some(&new));
            let into = new.parent.map_or_else(|| "none".to_owned(), |parent| format!("team:{parent}"));
            tree_changed(&mut batch, grant, &new, "team.nest", format!("team:{} {into}", new.id));
            if under.commit(batch).await? == Outcome::Done {
                return Ok(());
            }
        }
    }

    /// Removes a team, with its members and its roles. Its name is free again, and who takes it inherits nothing.
    ///
    /// # Errors
    /// Forbidden as in use while there are teams in it: what these are to have then is somebody's decision.
    pub async fn remove_team(&self, grant: &Grant<ManageOwner>, name: &str) -> Result<()> {
        let mut under = self.under(grant);
        loop {
            let organization = self.organization(grant).await?;
            let team = self.team_named(&organization, name).await?;
            let below = TeamRecord::below(team.id);
            if self.meta.any(&below).await? {
                let text =
                    format!("there are teams in {}; remove them or put them elsewhere first", team.name);
                return Err(Error::new(Kind::Forbidden(Reason::InUse), text));
            }
            let mut batch = Batch::new();
            batch.expect_prefix(below.clone(), Prefix::Empty, below);
            self.end_team(&mut batch, &team).await?;
            let detail = format!("team:{} {}", team.id, team.name);
            tree_changed(&mut batch, grant, &team, "team.remove", detail);
            if under.commit(batch).await? == Outcome::Done {
                return Ok(());
            }
        }
    }

    /// Makes a user of the organization a member or a maintainer of a team, or neither.
    ///
    /// # Errors
    /// Not found when there is no such user; forbidden by policy when it does not belong to the organization, or over a limit.
    pub async fn set_team_member(
        &self,
        grant: &Grant<ManageTeam>,
        user: &str,
        maintainer: Option<bool>,
    ) -> Result<()> {
        let mut under = self.under(grant);
        loop {
            let team = self.team(grant).await?;
            let user = self.user_account(user).await?;
            let group = Subject::Group(Group::Team(team.id));
            let counted = revisions::read(self.meta.as_ref(), &[group]).await?;
            let old = member(self.meta.as_ref(), team.id, user.id).await?;
            if old.as_ref().map(|member| member.maintainer) == maintainer {
                return Ok(());
            }
            let new = maintainer.map(|maintainer| TeamMemberRecord {
                team: team.id,
                user: user.id,
                organization: team.organization,
                maintainer,
                since: grant.at().0,
            });
            let mut batch = Batch::new();
            if new.is_some() {
                self.expect_member(&mut batch, grant, &user).await?;
                // The team must still be there when this is applied: its removal takes its members along.
                batch.expect_equals(team.key(), Some(team.value()));
            }
            if old.is_none() {
                let members = self.meta.scan(&TeamMemberRecord::of(team.id), None, MAX_MEMBERS).await?;
                if members.len() >= MAX_MEMBERS {
                    return Err(over(MAX_MEMBERS, "the team has no room for another member"));
                }
                revisions::expect(&mut batch, &counted);
            }
            batch.replace(old.as_ref(), new.as_ref());
            revisions::bump(&mut batch, Subject::Principal(user.id));
            revisions::bump(&mut batch, group);
            let word = maintainer.map_or("none", |is| if is { "maintainer" } else { "member" });
            let detail = format!("team:{} user:{} {word}", team.id, user.id);
            let stream = events::stream_of_owner(team.organization);
            events::rights(&mut batch, stream, grant.caller(), "team.member", detail);
            if under.commit(batch).await? == Outcome::Done {
                return Ok(());
            }
        }
    }

    /// The teams of an organization, by name.
    pub async fn teams(&self, grant: &Grant<ManageOwner>) -> Result<Vec<Team>> {
        let view = self.meta.snapshot()?;
        let mut teams = Vec::new();
        for (key, _) in accounts::walk(view.as_ref(), &TeamRecord::names(grant.target().id)).await? {
            let Some(id) = TeamRecord::id_in(&key) else { continue };
            let Some(team) = by_id(view.as_ref(), id).await? else { continue };
            let parent = match team.parent {
                Some(parent) => by_id(view.as_ref(), parent).await?.map(|parent| parent.name),
                None => None,
            };
            let members = accounts::walk(view.as_ref(), &TeamMemberRecord::of(id)).await?.len();
            let roles = GroupRoleRecord::paths_of(Group::Team(id), "");
            let packages = accounts::walk(view.as_ref(), &roles).await?.len();
            teams.push(Team { name: team.name, parent, members, packages });
        }
        Ok(teams)
    }

    /// Who is in a team, by name.
    pub async fn team_members(&self, grant: &Grant<ManageTeam>) -> Result<Vec<TeamMember>> {
        let view = self.meta.snapshot()?;
        let mut members = Vec::new();
        for (_, bytes) in accounts::walk(view.as_ref(), &TeamMemberRecord::of(grant.target().id)).await? {
            let member = TeamMemberRecord::decode(&bytes)?;
            if let Some(account) = accounts::by_id(view.as_ref(), member.user).await? {
                members.push(TeamMember { user: account.name, maintainer: member.maintainer });
            }
        }
        members.sort_by_key(|member| member.user.to_ascii_lowercase());
        Ok(members)
    }

    /// The names of the teams that a team is in, the nearest first.
    pub async fn teams_above(&self, grant: &Grant<ManageTeam>) -> Result<Vec<String>> {
        let view = self.meta.snapshot()?;
        let Some(team) = by_id(view.as_ref(), grant.target().id).await? else { return Ok(Vec::new()) };
        let line = line(view.as_ref(), team).await?;
        Ok(line.into_iter().skip(1).map(|team| team.name).collect())
    }

    /// The packages that a team itself has a role on, in order of their paths.
    pub async fn team_packages(&self, grant: &Grant<ManageTeam>) -> Result<Vec<(String, Role)>> {
        let view = self.meta.snapshot()?;
        let group = Group::Team(grant.target().id);
        let mut found = Vec::new();
        for (key, _) in accounts::walk(view.as_ref(), &GroupRoleRecord::paths_of(group, "")).await? {
            let Some(id) = PackageRecord::id_in(&key) else { continue };
            let package = packages::by_id(view.as_ref(), id).await?;
            // A role stays with what was deleted, for a restore.
            if package.is_none_or(|package| package.deleted.is_some()) {
                continue;
            }
            if let Some(bytes) = view.get(&GroupRoleRecord::key_of(id, group)).await? {
                let role = GroupRoleRecord::decode(&bytes)?;
                found.push((role.path, role.role));
            }
        }
        Ok(found)
    }

    /// Takes a user out of the teams of an organization, in the batch in which it leaves that.
    pub(crate) async fn leave_teams(
        &self,
        batch: &mut Batch,
        user: OwnerId,
        organization: OwnerId,
    ) -> Result<()> {
        // Read before the teams are: who is put into another one from here on makes the batch fail.
        let known = revisions::read(self.meta.as_ref(), &[Subject::Principal(user)]).await?;
        revisions::expect(batch, &known);
        let within = TeamMemberRecord::of_user_at(user, organization);
        for (key, _) in accounts::walk(self.meta.as_ref(), &within).await? {
            let Some(team) = TeamRecord::id_in(&key) else { continue };
            if let Some(old) = member(self.meta.as_ref(), team, user).await? {
                batch.replace(Some(&old), None);
                revisions::bump(batch, Subject::Group(Group::Team(team)));
            }
        }
        Ok(())
    }

    /// Takes all teams of an organization away, in the batch that removes it.
    pub(crate) async fn end_teams(&self, batch: &mut Batch, organization: OwnerId) -> Result<()> {
        for (key, _) in accounts::walk(self.meta.as_ref(), &TeamRecord::names(organization)).await? {
            let Some(id) = TeamRecord::id_in(&key) else { continue };
            if let Some(team) = by_id(self.meta.as_ref(), id).await? {
                self.end_team(batch, &team).await?;
            }
        }
        Ok(())
    }

    /// Takes away what a group was given, in the batch that removes the group.
    pub(crate) async fn end_group(&self, batch: &mut Batch, group: Group) -> Result<()> {
        // Read before the roles are: one that is given from here on makes the batch fail.
        let known = revisions::read(self.meta.as_ref(), &[Subject::Group(group)]).await?;
        revisions::expect(batch, &known);
        revisions::bump(batch, Subject::Group(group));
        for (key, _) in accounts::walk(self.meta.as_ref(), &GroupRoleRecord::paths_of(group, "")).await? {
            let Some(package) = PackageRecord::id_in(&key) else { continue };
            if let Some(bytes) = self.meta.get(&GroupRoleRecord::key_of(package, group)).await? {
                batch.replace(Some(&GroupRoleRecord::decode(&bytes)?), None);
                revisions::bump(batch, Subject::Package(package));
            }
        }
        Ok(())
    }

    async fn end_team(&self, batch: &mut Batch, team: &TeamRecord) -> Result<()> {
        self.end_group(batch, Group::Team(team.id)).await?;
        self.end_roles_of(batch, Collaborator::Team(team.id), None).await?;
        for (_, bytes) in accounts::walk(self.meta.as_ref(), &TeamMemberRecord::of(team.id)).await? {
            let old = TeamMemberRecord::decode(&bytes)?;
            batch.replace(Some(&old), None);
            revisions::bump(batch, Subject::Principal(old.user));
        }
        batch.replace(Some(team), None);
        Ok(())
    }

    /// The team to put another one into, and those above it; none for the top. `height`: of what is put there.
    async fn place(
        &self,
        organization: &AccountRecord,
        parent: Option<&str>,
        height: usize,
    ) -> Result<Vec<TeamRecord>> {
        let Some(parent) = parent else { return Ok(Vec::new()) };
        let parent = self.team_named(organization, parent).await?;
        let line = line(self.meta.as_ref(), parent).await?;
        if line.len() + height > MAX_DEPTH {
            return Err(over(MAX_DEPTH, "that would be too many teams in one another"));
        }
        Ok(line)
    }

    pub(crate) async fn team_named(&self, organization: &AccountRecord, name: &str) -> Result<TeamRecord> {
        let team = by_name(self.meta.as_ref(), organization.id, name).await?;
        team.ok_or_else(|| unknown(&organization.name, name))
    }

    /// The record of the team a grant was made for.
    async fn team(&self, grant: &Grant<ManageTeam>) -> Result<TeamRecord> {
        let target = grant.target();
        by_id(self.meta.as_ref(), target.id).await?.ok_or_else(|| unknown(&target.owner, &target.name))
    }

    /// Refuses whoever does not belong to the team's organization, and expects that it still does: who leaves that leaves
    /// its teams.
    async fn expect_member(
        &self,
        batch: &mut Batch,
        grant: &Grant<ManageTeam>,
        user: &AccountRecord,
    ) -> Result<()> {
        let target = grant.target();
        let Some(member) = accounts::member(self.meta.as_ref(), target.organization, user.id).await? else {
            let text = format!(
                "{0} is not a member of {1}; make it one first (packhouse org member add {1} {0})",
                user.name, target.owner
            );
            return Err(Error::new(Kind::Forbidden(Reason::Policy), text));
        };
        batch.expect_equals(member.key(), Some(member.value()));
        Ok(())
    }

    /// Whether a package has room for another group with a role.
    pub(crate) async fn room_for_group(&self, package: PackageId) -> Result<()> {
        if roles_on(self.meta.as_ref(), package).await?.len() < MAX_GROUPS {
            return Ok(());
        }
        Err(over(MAX_GROUPS, "the package has no room for the role of another group"))
    }
}
