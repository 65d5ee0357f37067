//! What users may know of accounts: which there are, and more about their own and those they belong to.

use super::{
    Registry, accounts,
    facts::standing,
    groups::Groups,
    records::{AccountKind, AccountRecord, Membership},
};
use crate::{
    auth::{self, Caller, Verb},
    error::{Error, Result, What},
    model::{OwnerId, Role, Timestamp},
};

/// An account, as far as a viewer may know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Its identity.
    pub id: OwnerId,
    /// Its name as registered.
    pub name: String,
    /// User or organization.
    pub kind: AccountKind,
    /// Whether it administers the installation.
    pub administrator: bool,
    /// When it was made.
    pub created: Timestamp,
    /// What it decided, for those who belong to it.
    pub settings: Option<OwnerSettings>,
    /// Whether it may not sign in; for those who decide that.
    pub suspended: Option<bool>,
}

/// What an owner decided about what it owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnerSettings {
    /// The role of an organization's members on all its packages.
    pub base_role: Option<Role>,
    /// Whether anonymous callers may read its public packages.
    pub anonymous_reads: bool,
}

impl Profile {
    /// What everybody may know who knows of the account.
    pub(crate) fn of(account: &AccountRecord) -> Self {
        Self {
            id: account.id,
            name: account.name.clone(),
            kind: account.kind,
            administrator: account.administrator,
            created: Timestamp(account.created),
            settings: None,
            suspended: None,
        }
    }

    /// Whether it is an organization.
    pub fn is_organization(&self) -> bool {
        self.kind == AccountKind::Organization
    }

    fn with_settings(self, account: &AccountRecord) -> Self {
        let settings =
            OwnerSettings { base_role: account.base_role, anonymous_reads: account.anonymous_reads };
        Self { settings: Some(settings), ..self }
    }
}

impl Registry {
    /// The account of a name, in any case.
    ///
    /// # Errors
    /// Unauthenticated for whoever has not signed in, be it there or not; not found.
    pub async fn profile(&self, viewer: &Caller, name: &str) -> Result<Profile> {
        auth::signed_in(viewer)?;
        let view = self.meta.snapshot()?;
        let account = accounts::by_name(view.as_ref(), name).await?.ok_or_else(|| nobody(name))?;
        let mut profile = Profile::of(&account);
        let belongs = standing(view.as_ref(), viewer.actor, &account).await?.belongs;
        if (belongs || viewer.administrator) && viewer.limits_cover(Some(account.id), None, Verb::Pull) {
            profile = profile.with_settings(&account);
        }
        profile.suspended = viewer.administrator.then_some(account.suspended);
        Ok(profile)
    }

    /// The viewer's own account.
    ///
    /// # Errors
    /// Unauthenticated for whoever has not signed in.
    pub async fn own_profile(&self, viewer: &Caller) -> Result<Profile> {
        let user = auth::signed_in(viewer)?;
        let account = accounts::by_id(self.meta.as_ref(), user).await?;
        // Removed between the headers and now: its credentials are no good any more.
        let account = account.ok_or_else(|| nobody("this one any more"))?;
        Ok(Profile::of(&account).with_settings(&account))
    }

    /// The organizations that the viewer belongs to, by name, and what it is there.
    ///
    /// # Errors
    /// Unauthenticated for whoever has not signed in.
    pub async fn own_organizations(&self, viewer: &Caller) -> Result<Vec<(Profile, Membership)>> {
        let user = auth::signed_in(viewer)?;
        let view = self.meta.snapshot()?;
        let mut found = Vec::new();
        for id in Groups::of(view.as_ref(), user).organizations().await? {
            let Some(account) = accounts::by_id(view.as_ref(), id).await? else { continue };
            if !viewer.limits_cover(Some(id), None, Verb::Pull) {
                continue;
            }
            if let Some(membership) = accounts::membership(view.as_ref(), id, user).await? {
                found.push((Profile::of(&account).with_settings(&account), membership));
            }
        }
        found.sort_by_key(|(organization, _)| organization.name.to_ascii_lowercase());
        Ok(found)
    }
}

fn nobody(name: &str) -> Error {
    Error::not_found(What::Owner, format!("there is no user or organization named {name}"))
}
