//! What a user belongs to: organizations, their teams, the teams above those. Read at one moment, and as far as a decision
//! asks for it: what it costs goes by the groups of the user and those named on the package, never by an organization's size.

use std::collections::{BTreeSet, HashMap};

use super::{
    accounts, permissions,
    records::{AccountRecord, GroupRoleRecord, MemberRecord, PackageRecord, TeamMemberRecord, TeamRecord},
    repositories::given_on,
};
use crate::{
    auth::{Given, Rule},
    error::Result,
    model::{Group, OwnerId, PackageId, Role, TeamId},
    store::MetadataRead,
};

/// The groups of one user.
pub(crate) struct Groups<'a> {
    view: &'a dyn MetadataRead,
    user: OwnerId,
    any: Option<bool>,
    member_of: HashMap<OwnerId, bool>,
    teams: HashMap<OwnerId, BTreeSet<TeamId>>,
}

impl<'a> Groups<'a> {
    /// Those of a user; nothing is read yet.
    pub(crate) fn of(view: &'a dyn MetadataRead, user: OwnerId) -> Self {
        Self { view, user, any: None, member_of: HashMap::new(), teams: HashMap::new() }
    }

    /// Where they are read.
    pub(crate) fn view(&self) -> &'a dyn MetadataRead {
        self.view
    }

    /// Whose they are.
    pub(crate) fn user(&self) -> OwnerId {
        self.user
    }

    /// The organizations it is a member of.
    pub(crate) async fn organizations(&self) -> Result<Vec<OwnerId>> {
        let entries = accounts::walk(self.view, &MemberRecord::of_user(self.user)).await?;
        Ok(entries.iter().filter_map(|(key, _)| AccountRecord::id_in(key)).collect())
    }

    /// Whether it belongs to anything. Only members of an organization are in teams.
    async fn any(&mut self) -> Result<bool> {
        if let Some(any) = self.any {
            return Ok(any);
        }
        let any = self.view.any(&MemberRecord::of_user(self.user)).await?;
        self.any = Some(any);
        Ok(any)
    }

    async fn is_member(&mut self, organization: OwnerId) -> Result<bool> {
        if let Some(known) = self.member_of.get(&organization) {
            return Ok(*known);
        }
        let is = accounts::membership(self.view, organization, self.user).await?.is_some();
        self.member_of.insert(organization, is);
        Ok(is)
    }

    /// The teams of an organization whose roles are the user's: those it is in, and all above them.
    pub(crate) async fn teams(&mut self, organization: OwnerId) -> Result<&BTreeSet<TeamId>> {
        if !self.teams.contains_key(&organization) {
            let teams = self.read_teams(organization).await?;
            self.teams.insert(organization, teams);
        }
        Ok(self.teams.entry(organization).or_default())
    }

    async fn read_teams(&mut self, organization: OwnerId) -> Result<BTreeSet<TeamId>> {
        let mut all = BTreeSet::new();
        if !self.is_member(organization).await? {
            return Ok(all);
        }
        let within = TeamMemberRecord::of_user_at(self.user, organization);
        let entries = accounts::walk(self.view, &within).await?;
        let mut next: Vec<TeamId> = entries.iter().filter_map(|(key, _)| TeamRecord::id_in(key)).collect();
        // One step up at a time. Only what is new goes on, so this ends whatever is stored.
        while !next.is_empty() {
            let keys: Vec<_> = next.iter().map(|team| TeamRecord::key_of(*team)).collect();
            let mut above = Vec::new();
            for bytes in self.view.multi_get(&keys).await?.iter().flatten() {
                let team = TeamRecord::decode(bytes)?;
                if team.organization == organization && all.insert(team.id) {
                    above.extend(team.parent);
                }
            }
            next = above;
        }
        Ok(all)
    }

    /// The roles on a package that were given to the user, or to a group that it belongs to: on the package itself, or on the
    /// repository that it inherits from.
    pub(crate) async fn given(&mut self, package: &PackageRecord) -> Result<Vec<Given>> {
        if package.inherits().is_some() {
            return self.given_beside(None, package).await;
        }
        let direct = permissions::role_of(self.view, package.id, self.user).await?;
        self.given_beside(direct, package).await
    }

    /// The same, when what was given to the user itself is known.
    pub(crate) async fn given_beside(
        &mut self,
        direct: Option<Role>,
        package: &PackageRecord,
    ) -> Result<Vec<Given>> {
        // What inherits has no roles of its own, whatever is written elsewhere.
        if let Some(repository) = package.inherits() {
            let given = given_on(self, repository, package.owner).await?.into_iter();
            let there = |of| Rule::Repository(repository, of);
            return Ok(given.map(|on| Given { role: on.role.on_packages(), rule: there(on.of) }).collect());
        }
        let mut given: Vec<Given> = direct.map(|role| Given { role, rule: Rule::User }).into_iter().collect();
        if !self.any().await? {
            return Ok(given);
        }
        for record in roles_on(self.view, package.id).await? {
            let belongs = match record.group {
                // A team has rights in its own organization alone, whatever is written elsewhere.
                Group::Team(team) => self.teams(package.owner).await?.contains(&team),
                Group::Organization(organization) => self.is_member(organization).await?,
            };
            if belongs {
                given.push(Given { role: record.role, rule: Rule::Group(record.group) });
            }
        }
        Ok(given)
    }
}

/// The roles of groups on a package; bounded by the limit on giving them.
pub(crate) async fn roles_on(view: &dyn MetadataRead, package: PackageId) -> Result<Vec<GroupRoleRecord>> {
    let stored = accounts::walk(view, &GroupRoleRecord::on(package)).await?;
    stored.iter().map(|(_, bytes)| GroupRoleRecord::decode(bytes)).collect()
}
