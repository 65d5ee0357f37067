//! Organizations and their members.

use super::{blank, by_id, create, walk};
use crate::{
    auth::{Grant, ManageOwner, Operate, Subject},
    error::{Error, Kind, Reason, Result, What},
    model::{Collaborator, OwnerId, OwnerName, Role},
    registry::{
        Registry, events, names,
        records::{AccountKind, AccountRecord, MemberRecord, Membership, RoleRecord},
        revisions::{self, Outcome},
    },
    store::{Batch, Key, MetadataRead, Record},
};

/// What a user is in an organization.
pub(crate) async fn membership(
    view: &dyn MetadataRead,
    organization: OwnerId,
    user: OwnerId,
) -> Result<Option<Membership>> {
    Ok(member(view, organization, user).await?.map(|member| member.membership))
}

/// A user's membership of an organization.
pub(crate) async fn member(
    view: &dyn MetadataRead,
    organization: OwnerId,
    user: OwnerId,
) -> Result<Option<MemberRecord>> {
    let found = view.get(&MemberRecord::key_of(organization, user)).await?;
    found.map(|bytes| MemberRecord::decode(&bytes)).transpose()
}

/// A member as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The user's name.
    pub user: String,
    /// What the user is there.
    pub membership: Membership,
}

impl Registry {
    /// Makes an organization, owned by a user.
    pub async fn create_organization(
        &self,
        grant: &Grant<Operate>,
        name: &OwnerName,
        owner: &str,
    ) -> Result<OwnerId> {
        let account = blank(name, AccountKind::Organization, grant.at())?;
        let mut under = self.under(grant);
        loop {
            let user = self.user_account(owner).await?;
            names::expect_free(self.meta.as_ref(), name).await?;
            let mut batch = Batch::new();
            create(&mut batch, &account);
            batch.expect_equals(user.key(), Some(user.value()));
            let member = MemberRecord {
                organization: account.id,
                user: user.id,
                membership: Membership::Owner,
                since: grant.at().0,
            };
            batch.replace(None, Some(&member));
            revisions::bump(&mut batch, Subject::Principal(user.id));
            let detail = format!("owner user:{}", user.id);
            let stream = events::stream_of_owner(account.id).of_installation();
            events::rights(&mut batch, stream, grant.caller(), "org.create", detail);
            if under.commit(batch).await? == Outcome::Done {
                return Ok(account.id);
            }
        }
    }

    /// Makes a user a member or an owner of an organization, or neither. Who leaves loses its teams and the roles on its
    /// packages and repositories.
    ///
    /// # Errors
    /// Forbidden when it would leave the organization without an owner.
    pub async fn set_member(
        &self,
        grant: &Grant<ManageOwner>,
        user: &str,
        membership: Option<Membership>,
    ) -> Result<()> {
        let mut under = self.under(grant);
        loop {
            let organization = self.organization(grant).await?;
            let user = self.user_account(user).await?;
            let old = member(self.meta.as_ref(), organization.id, user.id).await?;
            if old.as_ref().map(|member| member.membership) == membership {
                return Ok(());
            }
            if membership != Some(Membership::Owner) && old.as_ref().is_some_and(owns) {
                self.another_owner(&organization, user.id).await?;
            }
            let new = membership.map(|membership| MemberRecord {
                organization: organization.id,
                user: user.id,
                membership,
                since: grant.at().0,
            });
            let mut batch = Batch::new();
            batch.expect_equals(user.key(), Some(user.value()));
            batch.replace(old.as_ref(), new.as_ref());
            if new.is_none() {
                // A role that is given while this runs must not survive it.
                let given = Subject::RolesAt { user: user.id, owner: organization.id };
                let known = revisions::read(self.meta.as_ref(), &[given]).await?;
                revisions::expect(&mut batch, &known);
                self.take_roles(&mut batch, &RoleRecord::of_user_at(user.id, organization.id), user.id)
                    .await?;
                let who = Collaborator::User(user.id);
                self.end_roles_of(&mut batch, who, Some(organization.id)).await?;
                self.leave_teams(&mut batch, user.id, organization.id).await?;
            }
            revisions::bump(&mut batch, Subject::Owner(organization.id));
            revisions::bump(&mut batch, Subject::Principal(user.id));
            let word = match membership {
                Some(Membership::Owner) => "owner",
                Some(Membership::Member) => "member",
                None => "none",
            };
            let detail = format!("user:{} {word}", user.id);
            events::rights(
                &mut batch,
                events::stream_of_owner(organization.id),
                grant.caller(),
                "org.member",
                detail,
            );
            if under.commit(batch).await? == Outcome::Done {
                return Ok(());
            }
        }
    }

    /// Gives the members of an organization a role on all its packages, another one, or none.
    ///
    /// # Errors
    /// Invalid for a user, and for the role admin: who rules all packages of an organization is its owner.
    pub async fn set_base_role(&self, grant: &Grant<ManageOwner>, role: Option<Role>) -> Result<()> {
        if role == Some(Role::Admin) {
            let text = "a base role is none, read or write; who administers all packages is made an owner";
            return Err(Error::invalid(What::Request, text));
        }
        let mut under = self.under(grant);
        loop {
            let old = self.organization(grant).await?;
            if old.base_role == role {
                return Ok(());
            }
            let new = AccountRecord { base_role: role, ..old.clone() };
            let mut batch = Batch::new();
            batch.replace(Some(&old), Some(&new));
            revisions::bump(&mut batch, Subject::Owner(old.id));
            let detail = role.map_or("none", Role::word).to_owned();
            let stream = events::stream_of_owner(old.id);
            events::rights(&mut batch, stream, grant.caller(), "org.base-role", detail);
            if under.commit(batch).await? == Outcome::Done {
                return Ok(());
            }
        }
    }

    /// The organization a grant was made for.
    pub(crate) async fn organization(&self, grant: &Grant<ManageOwner>) -> Result<AccountRecord> {
        let account = self.account(grant).await?;
        if account.kind != AccountKind::Organization {
            let text = format!("{} is a user, not an organization", account.name);
            return Err(Error::invalid(What::Owner, text));
        }
        Ok(account)
    }

    /// The members of an organization, by name.
    pub async fn members(&self, grant: &Grant<ManageOwner>) -> Result<Vec<Member>> {
        let view = self.meta.snapshot()?;
        let mut members = Vec::new();
        for (_, bytes) in walk(view.as_ref(), &MemberRecord::of(grant.target().id)).await? {
            let member = MemberRecord::decode(&bytes)?;
            if let Some(account) = by_id(view.as_ref(), member.user).await? {
                members.push(Member { user: account.name, membership: member.membership });
            }
        }
        members.sort_by_key(|member| member.user.to_ascii_lowercase());
        Ok(members)
    }

    /// Takes the roles under a prefix of their index away.
    pub(in crate::registry) async fn take_roles(
        &self,
        batch: &mut Batch,
        prefix: &Key,
        user: OwnerId,
    ) -> Result<()> {
        for (key, _) in walk(self.meta.as_ref(), prefix).await? {
            let Some(package) = RoleRecord::package_in(&key) else { continue };
            if let Some(bytes) = self.meta.get(&RoleRecord::key_of(package, user)).await? {
                batch.replace(Some(&RoleRecord::decode(&bytes)?), None);
                revisions::bump(batch, Subject::Package(package));
            }
        }
        Ok(())
    }

    /// Refuses to leave an organization without an owner.
    pub(super) async fn another_owner(&self, organization: &AccountRecord, than: OwnerId) -> Result<()> {
        for (_, bytes) in walk(self.meta.as_ref(), &MemberRecord::of(organization.id)).await? {
            let member = MemberRecord::decode(&bytes)?;
            if owns(&member) && member.user != than {
                return Ok(());
            }
        }
        Err(Error::new(
            Kind::Forbidden(Reason::InUse),
            format!("this is the last owner of {}; give it another one first", organization.name),
        ))
    }
}

/// Whether this is an owner's.
pub(super) fn owns(member: &MemberRecord) -> bool {
    member.membership == Membership::Owner
}
