//! Visibility, and roles given to users and groups.

use super::{
    Registry, accounts, events, groups, names, packages,
    records::{AccountKind, AccountRecord, GroupRoleRecord, PackageRecord, RoleRecord},
    revisions::{self, Outcome},
    teams,
};
use crate::{
    auth::{Grant, Manage, PackageTarget, Subject},
    error::{Error, Kind, Reason, Result, What},
    model::{Group, OwnerId, PackageId, Role, TeamName, Timestamp, Visibility},
    store::{Batch, MetadataRead, Record},
};

/// Most users with a role on one package: they all lose it in one batch when it begins to inherit.
pub const MAX_USERS: usize = 5000;

/// Refuses to give a role on what inherits its roles.
fn has_own(package: &PackageRecord, role: Option<Role>) -> Result<()> {
    if role.is_none() || package.inherits().is_none() {
        return Ok(());
    }
    let text = "this package has the roles of its source repository; give the role there (packhouse repo grant), or end the \
                inheritance first (packhouse package inherit PACKAGE off)";
    Err(Error::new(Kind::Forbidden(Reason::Policy), text))
}

/// A user's direct role on a package.
pub(crate) async fn role_of(
    view: &dyn MetadataRead,
    package: PackageId,
    user: OwnerId,
) -> Result<Option<Role>> {
    Ok(record_of(view, package, user).await?.map(|record| record.role))
}

async fn record_of(view: &dyn MetadataRead, package: PackageId, user: OwnerId) -> Result<Option<RoleRecord>> {
    view.get(&RoleRecord::key_of(package, user)).await?.map(|bytes| RoleRecord::decode(&bytes)).transpose()
}

/// Gives a user the greatest role, whatever it had: the record says the same whoever writes it last.
pub(crate) fn give_admin(
    batch: &mut Batch,
    package: &PackageRecord,
    user: OwnerId,
    at: Timestamp,
) -> Result<()> {
    let record = given(package, user, Role::Admin, at)?;
    batch.put(record.key(), record.value());
    for key in record.index() {
        batch.put(key, bytes::Bytes::new());
    }
    revisions::bump(batch, Subject::RolesAt { user, owner: package.owner });
    revisions::bump(batch, Subject::RolesOf(user));
    Ok(())
}

fn given(package: &PackageRecord, user: OwnerId, role: Role, at: Timestamp) -> Result<RoleRecord> {
    let path = package.package_name()?.to_string();
    Ok(RoleRecord { package: package.id, user, owner: package.owner, role, since: at.0, path })
}

/// Takes all roles on a package away, in the batch that deletes it.
pub(crate) async fn take_all(view: &dyn MetadataRead, batch: &mut Batch, package: PackageId) -> Result<()> {
    for role in groups::roles_on(view, package).await? {
        batch.replace(Some(&role), None);
        revisions::bump(batch, Subject::Group(role.group));
    }
    let mut after = None;
    loop {
        let page = view.scan(&RoleRecord::on(package), after.as_ref(), 256).await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = Some(last.clone());
        for (_, bytes) in &page {
            batch.replace(Some(&RoleRecord::decode(bytes)?), None);
        }
    }
}

/// A user's role as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// The user's name.
    pub user: String,
    /// The role.
    pub role: Role,
}

/// A group by its name.
#[derive(Debug, Clone)]
pub enum GroupName {
    /// A team.
    Team(TeamName),
    /// The members of an organization.
    Organization(String),
}

/// A group's role as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupGranted {
    /// The group: `team:ORGANIZATION/TEAM` or `org:ORGANIZATION`.
    pub group: String,
    /// The role.
    pub role: Role,
}

/// A group as people write it; by its id when it is not there.
pub(crate) async fn shown(view: &dyn MetadataRead, group: Group) -> Result<String> {
    let named = match group {
        Group::Team(id) => match teams::by_id(view, id).await? {
            Some(team) => accounts::by_id(view, team.organization)
                .await?
                .map(|organization| format!("team:{}/{}", organization.name, team.name)),
            None => None,
        },
        Group::Organization(id) => {
            accounts::by_id(view, id).await?.map(|organization| format!("org:{}", organization.name))
        }
    };
    Ok(named.unwrap_or_else(|| group.to_string()))
}

impl Registry {
    /// Makes a package public or private.
    ///
    /// # Errors
    /// Unsupported for what only source repositories can be in this version.
    pub async fn set_visibility(&self, grant: &Grant<Manage>, visibility: Visibility) -> Result<()> {
        if visibility == Visibility::Internal {
            return Err(Error::new(Kind::Unsupported, "packages are public or private in this version"));
        }
        let mut under = self.under(grant);
        loop {
            let old = self.package(grant.target()).await?;
            if old.visibility == visibility {
                return Ok(());
            }
            let new = PackageRecord { visibility, ..old.clone() };
            let mut batch = Batch::new();
            batch.replace(Some(&old), Some(&new));
            revisions::bump(&mut batch, Subject::Package(old.id));
            if visibility == Visibility::Public {
                names::was_public(&mut batch, old.owner);
            }
            let stream = events::stream_of(old.owner, old.id);
            let detail = visibility.word().to_owned();
            events::rights(&mut batch, stream, grant.caller(), "package.visibility", detail);
            if under.commit(batch).await? == Outcome::Done {
                return Ok(());
            }
        }
    }

    /// Gives a user or a robot a role on a package, another one, or none.
    ///
    /// # Errors
    /// Not found when there is none of this name; forbidden by policy while the package inherits its roles, and over the limit of
    /// users.
    pub async fn set_role(&self, grant: &Grant<Manage>, user: &str, role: Option<Role>) -> Result<()> {
        let mut under = self.under(grant);
        loop {
            let account = self.principal_account(user).await?;
            let package = self.package(grant.target()).await?;
            has_own(&package, role)?;
            let old = record_of(self.meta.as_ref(), package.id, account.id).await?;
            if old.as_ref().map(|record| record.role) == role {
                return Ok(());
            }
            if old.is_none() {
                // Every role given on a package counts under its revision, which the grant carries: nobody comes between.
                self.room_for_user(package.id).await?;
            }
            let new = role.map(|role| given(&package, account.id, role, grant.at())).transpose()?;
            let mut batch = Batch::new();
            // The user must still be there when this is applied: its removal takes its roles along.
            batch.expect_equals(account.key(), Some(account.value()));
            batch.replace(old.as_ref(), new.as_ref());
            revisions::bump(&mut batch, Subject::Package(package.id));
            revisions::bump(&mut batch, Subject::RolesAt { user: account.id, owner: package.owner });
            revisions::bump(&mut batch, Subject::RolesOf(account.id));
            if account.robot_of.is_some() {
                // Whoever removes the robot expects it, and takes this role along.
                revisions::bump(&mut batch, Subject::Principal(account.id));
            }
            let detail = format!("user:{} {}", account.id, role.map_or("none", Role::word));
            let stream = events::stream_of(package.owner, package.id);
            events::rights(&mut batch, stream, grant.caller(), "package.role", detail);
            if under.commit(batch).await? == Outcome::Done {
                return Ok(());
            }
        }
    }

    /// Gives a group a role on a package, another one, or none.
    ///
    /// # Errors
    /// Not found when there is no such group; forbidden by policy for a team of another organization than the package's
    /// (whom its owners let in is not for them to say), while the package inherits its roles, and over the limit of groups.
    pub async fn set_group_role(
        &self,
        grant: &Grant<Manage>,
        group: &GroupName,
        role: Option<Role>,
    ) -> Result<()> {
        let mut under = self.under(grant);
        loop {
            let package = self.package(grant.target()).await?;
            has_own(&package, role)?;
            let mut batch = Batch::new();
            let group = self.group_named(&mut batch, &package, group).await?;
            let old = self.meta.get(&GroupRoleRecord::key_of(package.id, group)).await?;
            let old = old.map(|bytes| GroupRoleRecord::decode(&bytes)).transpose()?;
            if old.as_ref().map(|record| record.role) == role {
                return Ok(());
            }
            if old.is_none() {
                // Every role given on a package counts under its revision, which the grant carries: nobody comes between.
                self.room_for_group(package.id).await?;
            }
            let path = package.package_name()?.to_string();
            let (package, owner, since) = (package.id, package.owner, grant.at().0);
            let new = role.map(|role| GroupRoleRecord { package, group, owner, role, since, path });
            batch.replace(old.as_ref(), new.as_ref());
            revisions::bump(&mut batch, Subject::Package(package));
            revisions::bump(&mut batch, Subject::Group(group));
            let detail = format!("{group} {}", role.map_or("none", Role::word));
            let stream = events::stream_of(owner, package);
            events::rights(&mut batch, stream, grant.caller(), "package.role", detail);
            if under.commit(batch).await? == Outcome::Done {
                return Ok(());
            }
        }
    }

    async fn room_for_user(&self, package: PackageId) -> Result<()> {
        let users = self.meta.scan(&RoleRecord::on(package), None, MAX_USERS).await?;
        if users.len() < MAX_USERS {
            return Ok(());
        }
        Err(teams::over(MAX_USERS, "the package has no room for the role of another user"))
    }

    /// The group of a name that may have a role on a package. It must still be there when the batch is applied: its removal
    /// takes its roles along.
    async fn group_named(
        &self,
        batch: &mut Batch,
        package: &PackageRecord,
        name: &GroupName,
    ) -> Result<Group> {
        let organization = match name {
            GroupName::Team(team) => team.organization(),
            GroupName::Organization(name) => name,
        };
        let account = self.organization_named(organization).await?;
        match name {
            GroupName::Organization(_) => {
                batch.expect_equals(account.key(), Some(account.value()));
                Ok(Group::Organization(account.id))
            }
            GroupName::Team(_) if account.id != package.owner => {
                let text = format!(
                    "a team has roles on packages of its own organization; give one to org:{} instead",
                    account.name
                );
                Err(Error::new(Kind::Forbidden(Reason::Policy), text))
            }
            GroupName::Team(name) => {
                let team = self.team_named(&account, name.team()).await?;
                batch.expect_equals(team.key(), Some(team.value()));
                Ok(Group::Team(team.id))
            }
        }
    }

    pub(crate) async fn organization_named(&self, name: &str) -> Result<AccountRecord> {
        let account = accounts::by_name(self.meta.as_ref(), name).await?;
        account
            .filter(|account| account.kind == AccountKind::Organization)
            .ok_or_else(|| Error::not_found(What::Owner, format!("there is no organization named {name}")))
    }

    /// The roles of groups on a package.
    pub async fn group_roles(&self, grant: &Grant<Manage>) -> Result<Vec<GroupGranted>> {
        let view = self.meta.snapshot()?;
        let mut roles = Vec::new();
        for record in groups::roles_on(view.as_ref(), grant.target().id).await? {
            roles.push(GroupGranted { group: shown(view.as_ref(), record.group).await?, role: record.role });
        }
        roles.sort_by_key(|granted| granted.group.to_ascii_lowercase());
        Ok(roles)
    }

    /// The roles given on a package, by the users' names.
    pub async fn roles(&self, grant: &Grant<Manage>) -> Result<Vec<Granted>> {
        let view = self.meta.snapshot()?;
        let mut roles = Vec::new();
        let prefix = RoleRecord::on(grant.target().id);
        let mut after = None;
        loop {
            let page = view.scan(&prefix, after.as_ref(), 256).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for (_, bytes) in &page {
                let record = RoleRecord::decode(bytes)?;
                if let Some(account) = accounts::by_id(view.as_ref(), record.user).await? {
                    roles.push(Granted { user: account.name, role: record.role });
                }
            }
        }
        roles.sort_by_key(|granted| granted.user.to_ascii_lowercase());
        Ok(roles)
    }

    /// The record of a package that was there when a grant was made.
    ///
    /// # Errors
    /// [`Kind::StaleGrant`] when it is there no more, or was deleted or restored since: whoever asks for the right again
    /// learns what is there instead.
    pub(crate) async fn package(&self, target: &PackageTarget) -> Result<PackageRecord> {
        packages::by_id(self.meta.as_ref(), target.id)
            .await?
            .filter(|package| package.deleted.is_some() == target.deleted)
            .ok_or_else(|| Error::new(Kind::StaleGrant, "the package was deleted meanwhile; try again"))
    }
}
