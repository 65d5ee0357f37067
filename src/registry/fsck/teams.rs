//! Teams, who is in them, the roles of groups.

use bytes::Bytes;

use super::{Check, Code, Found, fields::Fields};
use crate::{
    error::Result,
    model::{Group, OwnerId, PackageId, TeamId},
    registry::{
        packages,
        records::{AccountRecord, GroupRoleRecord, MemberRecord, TeamMemberRecord, TeamRecord, tag},
        teams,
    },
    store::{Batch, Key, Record},
};

impl Check<'_> {
    /// Whether an account is there. One that cannot be read is, and is a finding of its own; so with teams.
    pub(super) async fn account_exists(&self, id: OwnerId) -> Result<bool> {
        Ok(self.view.get(&AccountRecord::key_of(id)).await?.is_some())
    }

    pub(super) async fn team_exists(&self, id: TeamId) -> Result<bool> {
        Ok(self.view.get(&TeamRecord::key_of(id)).await?.is_some())
    }

    pub(super) async fn team(&mut self, key: &Key, value: &Bytes) -> Result<()> {
        let Some(team) = self.read(key, TeamRecord::decode(value)) else { return Ok(()) };
        let object = format!("team {} of {}", team.name, team.organization);
        self.record(key, value, &team, &object).await?;
        if !self.account_exists(team.organization).await? {
            let text = format!("there is no organization {}", team.organization);
            self.useless(Code::AccountMissing, &object, text, &team);
            return Ok(());
        }
        let Some(parent) = team.parent else { return Ok(()) };
        if !self.team_exists(parent).await? {
            let mut batch = Batch::new();
            batch.expect_absent(TeamRecord::key_of(parent));
            batch.replace(Some(&team), Some(&TeamRecord { parent: None, ..team.clone() }));
            let text = format!("it is in the team {parent}, which is not there");
            self.add(Found::new(Code::TeamMissing, &object, text).mended_by(batch));
            return Ok(());
        }
        let Ok(line) = teams::line(self.view, team.clone()).await else { return Ok(()) };
        if line.iter().any(|above| above.organization != team.organization) {
            self.find(Code::TeamTree, &object, "it is in a team of another organization");
        } else if line
            .last()
            .is_some_and(|last| last.parent.is_some_and(|end| line.iter().any(|t| t.id == end)))
        {
            self.find(Code::TeamTree, &object, "the teams above it go round in a circle");
        }
        Ok(())
    }

    /// Index entries of teams, of who is in them, of the roles of groups. `None`: it is no such key.
    pub(super) async fn team_entry(
        &mut self,
        tag: u8,
        key: &Key,
        value: &Bytes,
        mut f: Fields<'_>,
    ) -> Result<Option<()>> {
        // What stands in front of the record's id.
        let (user, group) = match tag {
            tag::TEAM_MEMBER_OF => (f.owner(), None),
            tag::GROUP_ROLE_OF => (None, f.group()),
            _ => (None, None),
        };
        let between = match tag {
            tag::TEAM_NAME => f.skip(8).and_then(|()| f.text()).map(|_| ()),
            tag::GROUP_ROLE_OF => f.text().map(|_| ()),
            _ => f.skip(8),
        };
        let Some(id) = between.and_then(|()| f.u64()) else { return Ok(None) };
        if f.end().is_none() {
            return Ok(None);
        }
        match (user, group) {
            (Some(user), _) => {
                let at = TeamMemberRecord::key_of(TeamId(id), user);
                self.entry(key, value, at, TeamMemberRecord::decode).await?;
            }
            (_, Some(group)) => {
                let at = GroupRoleRecord::key_of(PackageId(id), group);
                self.entry(key, value, at, GroupRoleRecord::decode).await?;
            }
            _ if tag == tag::TEAM_NAME || tag == tag::TEAM_BELOW => {
                self.entry(key, value, TeamRecord::key_of(TeamId(id)), TeamRecord::decode).await?;
            }
            _ => return Ok(None),
        }
        Ok(Some(()))
    }

    pub(super) async fn team_member(&mut self, key: &Key, value: &Bytes) -> Result<()> {
        let Some(member) = self.read(key, TeamMemberRecord::decode(value)) else { return Ok(()) };
        let object = format!("member {} of team {}", member.user, member.team);
        self.record(key, value, &member, &object).await?;
        let belongs = MemberRecord::key_of(member.organization, member.user);
        if !self.team_exists(member.team).await? {
            self.useless(Code::TeamMissing, &object, "there is no such team".into(), &member);
        } else if !self.account_exists(member.user).await? {
            self.useless(Code::AccountMissing, &object, "there is no such user".into(), &member);
        } else if self.view.get(&belongs).await?.is_none() {
            let text = "the user does not belong to the team's organization".into();
            self.useless(Code::TeamStray, &object, text, &member);
        } else if let Ok(Some(team)) = teams::by_id(self.view, member.team).await
            && team.organization != member.organization
        {
            self.find(Code::TeamTree, &object, "it names another organization than the team does");
        }
        Ok(())
    }

    pub(super) async fn group_role(&mut self, key: &Key, value: &Bytes) -> Result<()> {
        let Some(role) = self.read(key, GroupRoleRecord::decode(value)) else { return Ok(()) };
        let object = format!("role of {} on {}", role.group, self.place(role.package).await);
        self.record(key, value, &role, &object).await?;
        let gone = match role.group {
            Group::Team(team) => (!self.team_exists(team).await?).then_some(Code::TeamMissing),
            Group::Organization(id) => (!self.account_exists(id).await?).then_some(Code::AccountMissing),
        };
        if !self.package_exists(role.package).await? {
            self.useless(Code::PackageMissing, &object, "there is no such package".into(), &role);
        } else if let Some(code) = gone {
            self.useless(code, &object, "there is no such group".into(), &role);
        } else {
            self.group_role_of(&object, &role, role.package).await;
        }
        Ok(())
    }

    /// What a role says of its package. One that cannot be read is a finding of its own.
    async fn group_role_of(&mut self, object: &str, role: &GroupRoleRecord, package: PackageId) {
        let Ok(Some(package)) = packages::by_id(self.view, package).await else { return };
        let Ok(path) = package.package_name().map(|name| name.to_string()) else { return };
        if let Group::Team(team) = role.group
            && let Ok(Some(team)) = teams::by_id(self.view, team).await
            && team.organization != package.owner
        {
            self.find(Code::OwnerWrong, object, "the team is of another organization than the package");
        } else if package.owner != role.owner {
            let text = format!("it says that {} owns the package, and {} does", role.owner, package.owner);
            self.find(Code::OwnerWrong, object, text);
        } else if path != role.path {
            let text = format!("it says that the package is {:?}, so lists leave it out", role.path);
            let mut batch = Batch::new();
            batch.expect_equals(package.key(), Some(package.value()));
            batch.replace(Some(role), Some(&GroupRoleRecord { path, ..role.clone() }));
            self.add(Found::new(Code::PathWrong, object, text).mended_by(batch));
        }
    }
}
