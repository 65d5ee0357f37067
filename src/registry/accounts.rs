//! Users and their passwords; what users and organizations have in common.

mod members;

pub use members::Member;
use members::owns;
pub(crate) use members::{member, membership};

use super::{
    Registry, events, names,
    records::{
        AccountKind, AccountRecord, MemberRecord, PackageRecord, RepositoryRecord, RoleRecord,
        decode_password, encode_password,
    },
    revisions::{self, Outcome},
};
use crate::{
    auth::{Grant, ManageOwner, Operate, Secret, Subject},
    error::{Error, Kind, Reason, Result, What},
    model::{Collaborator, Ecosystem, Group, OwnerId, OwnerName},
    store::{Batch, Key, MetadataRead, Prefix},
};

/// The account of an id.
pub(crate) async fn by_id(view: &dyn MetadataRead, id: OwnerId) -> Result<Option<AccountRecord>> {
    view.get(&AccountRecord::key_of(id)).await?.map(|bytes| AccountRecord::decode(&bytes)).transpose()
}

/// The account of a name, in any case.
pub(crate) async fn by_name(view: &dyn MetadataRead, name: &str) -> Result<Option<AccountRecord>> {
    // What cannot be a name is nobody's, and must not meet the terminators of keys.
    if OwnerName::parse(name).is_err() {
        return Ok(None);
    }
    let found = view.scan(&AccountRecord::name_prefix(name), None, 1).await?;
    match found.first().and_then(|(key, _)| AccountRecord::id_in(key)) {
        Some(id) => by_id(view, id).await,
        None => Ok(None),
    }
}

/// A user's password hash.
pub(crate) async fn password(view: &dyn MetadataRead, user: OwnerId) -> Result<Option<String>> {
    view.get(&AccountRecord::password_key(user)).await?.map(|bytes| decode_password(&bytes)).transpose()
}

/// Everything under a prefix, for what is bounded by people's patience.
pub(crate) async fn walk(view: &dyn MetadataRead, prefix: &Key) -> Result<Vec<(Key, bytes::Bytes)>> {
    let mut all = Vec::new();
    loop {
        let page = view.scan(prefix, all.last().map(|(key, _)| key), 256).await?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

/// A user to be made.
#[derive(Debug)]
pub struct NewUser<'a> {
    /// Its name.
    pub name: &'a OwnerName,
    /// Whether it administers the installation.
    pub administrator: bool,
    /// Its password, if it is to have one.
    pub password: Option<&'a Secret>,
}

pub(crate) fn taken(name: &OwnerName) -> Error {
    Error::new(
        Kind::Conflict(What::Owner),
        format!("there is a user or an organization named {name} already"),
    )
}

fn nobody(name: &str) -> Error {
    Error::not_found(What::Owner, format!("there is no user named {name}"))
}

/// Creates an account in a batch; the name must be free when it is applied.
pub(crate) fn create(batch: &mut Batch, account: &AccountRecord) {
    names::take(batch, &account.name);
    batch.replace(None, Some(account));
}

/// Stores a password in a batch that stores its account too.
pub(crate) fn put_password(batch: &mut Batch, user: OwnerId, hash: &str) {
    batch.put(AccountRecord::password_key(user), encode_password(hash));
}

/// An account with nothing said yet.
pub(crate) fn blank(
    name: &OwnerName,
    kind: AccountKind,
    at: crate::model::Timestamp,
) -> Result<AccountRecord> {
    named(name.as_str().to_owned(), kind, at)
}

/// The same under any name.
pub(crate) fn named(name: String, kind: AccountKind, at: crate::model::Timestamp) -> Result<AccountRecord> {
    Ok(AccountRecord {
        id: OwnerId::random()?,
        name,
        kind,
        administrator: false,
        suspended: false,
        anonymous_reads: true,
        sign_in: 0,
        created: at.0,
        base_role: None,
        robot_of: None,
    })
}

impl Registry {
    /// Makes a user.
    pub async fn create_user(&self, grant: &Grant<Operate>, user: NewUser<'_>) -> Result<OwnerId> {
        let hash = match user.password {
            Some(password) => Some(self.passwords.hash(password).await?),
            None => None,
        };
        let mut account = blank(user.name, AccountKind::User, grant.at())?;
        account.administrator = user.administrator;
        account.sign_in = u64::from(hash.is_some());
        let mut under = self.under(grant);
        loop {
            names::expect_free(self.meta.as_ref(), user.name).await?;
            let mut batch = Batch::new();
            create(&mut batch, &account);
            if let Some(hash) = &hash {
                put_password(&mut batch, account.id, hash);
            }
            let detail = if user.administrator { "administrator" } else { "" };
            let stream = events::stream_of_owner(account.id).of_installation();
            events::rights(&mut batch, stream, grant.caller(), "user.create", detail.into());
            if under.commit(batch).await? == Outcome::Done {
                return Ok(account.id);
            }
        }
    }

    /// Sets a user's password. Whatever was signed in with the old one ends with its next request.
    pub async fn set_password(&self, grant: &Grant<ManageOwner>, password: &Secret) -> Result<()> {
        let hash = self.passwords.hash(password).await?;
        let mut under = self.under(grant);
        loop {
            let old = self.account(grant).await?;
            if old.kind != AccountKind::User {
                return Err(Error::invalid(
                    What::Owner,
                    "organizations have no password; their members sign in",
                ));
            }
            let new = AccountRecord { sign_in: old.sign_in + 1, ..old.clone() };
            let mut batch = Batch::new();
            batch.replace(Some(&old), Some(&new));
            put_password(&mut batch, old.id, &hash);
            revisions::bump(&mut batch, Subject::Principal(old.id));
            events::rights(
                &mut batch,
                events::stream_of_owner(old.id),
                grant.caller(),
                "user.password",
                String::new(),
            );
            if under.commit(batch).await? == Outcome::Done {
                return Ok(());
            }
        }
    }

    /// Suspends a user, or lets it back in. A suspended user is refused by every way of signing in; what it owns stays.
    pub async fn set_suspended(&self, grant: &Grant<Operate>, user: &str, suspended: bool) -> Result<()> {
        let mut under = self.under(grant);
        loop {
            let old = self.user_account(user).await?;
            if old.suspended == suspended {
                return Ok(());
            }
            let new = AccountRecord { suspended, ..old.clone() };
            let mut batch = Batch::new();
            batch.replace(Some(&old), Some(&new));
            revisions::bump(&mut batch, Subject::Principal(old.id));
            self.touch_robots(&mut batch, old.id).await?;
            let action = if suspended { "user.suspend" } else { "user.resume" };
            let stream = events::stream_of_owner(old.id).of_installation();
            events::rights(&mut batch, stream, grant.caller(), action, String::new());
            if under.commit(batch).await? == Outcome::Done {
                return Ok(());
            }
        }
    }

    /// Lets anonymous callers read an owner's public packages, or only those who signed in.
    pub async fn set_anonymous_reads(&self, grant: &Grant<ManageOwner>, allowed: bool) -> Result<()> {
        let mut under = self.under(grant);
        loop {
            let old = self.account(grant).await?;
            let new = AccountRecord { anonymous_reads: allowed, ..old.clone() };
            let mut batch = Batch::new();
            batch.replace(Some(&old), Some(&new));
            revisions::bump(&mut batch, Subject::Owner(old.id));
            let detail = if allowed { "on" } else { "off" };
            let stream = events::stream_of_owner(old.id);
            events::rights(&mut batch, stream, grant.caller(), "owner.anonymous-reads", detail.into());
            if under.commit(batch).await? == Outcome::Done {
                return Ok(());
            }
        }
    }

    /// Removes a user or an organization, with tokens, memberships, teams and roles. Its name is free again, and who takes it
    /// inherits nothing.
    ///
    /// # Errors
    /// Forbidden while it owns packages or source repositories, or is the last owner of an organization.
    pub async fn remove_account(&self, grant: &Grant<Operate>, name: &str, kind: AccountKind) -> Result<()> {
        let mut under = self.under(grant);
        loop {
            let account = by_name(self.meta.as_ref(), name).await?.filter(|account| account.kind == kind);
            let account = account.ok_or_else(|| match kind {
                AccountKind::User | AccountKind::Robot => nobody(name),
                AccountKind::Organization => {
                    Error::not_found(What::Owner, format!("there is no organization named {name}"))
                }
            })?;
            let mut batch = Batch::new();
            self.expect_no_packages(&mut batch, &account).await?;
            self.expect_no_repositories(&mut batch, &account).await?;
            self.leave_everything(&mut batch, &account).await?;
            names::leave(self.meta.as_ref(), &mut batch, &account, grant.at().0).await?;
            batch.replace(Some(&account), None);
            batch.delete(AccountRecord::password_key(account.id));
            self.end_factor(&mut batch, account.id).await?;
            Self::forget_policy(&mut batch, account.id);
            revisions::bump(&mut batch, Subject::Owner(account.id));
            revisions::bump(&mut batch, Subject::Principal(account.id));
            let stream = events::stream_of_owner(account.id).of_installation();
            events::rights(&mut batch, stream, grant.caller(), "account.remove", account.name.clone());
            if under.commit(batch).await? == Outcome::Done {
                return Ok(());
            }
        }
    }

    async fn expect_no_packages(&self, batch: &mut Batch, account: &AccountRecord) -> Result<()> {
        for ecosystem in Ecosystem::ALL {
            let prefix = PackageRecord::paths(&super::packages::beginning(ecosystem, &account.folded()));
            if self.meta.any(&prefix).await? {
                return Err(Error::new(
                    Kind::Forbidden(Reason::InUse),
                    format!(
                        "{} owns packages (packhouse package list {}); delete them first; uploads whose manifest \
                         never came count until they expire",
                        account.name, account.name
                    ),
                ));
            }
            batch.expect_prefix(prefix.clone(), Prefix::Empty, prefix);
            let deleted =
                PackageRecord::deleted_paths(&super::packages::beginning(ecosystem, &account.folded()));
            if self.meta.any(&deleted).await? {
                return Err(Error::new(
                    Kind::Forbidden(Reason::InUse),
                    format!(
                        "{0} owns deleted packages that can still be restored (packhouse package list {0} --deleted); \
                         they go by themselves when their time is over",
                        account.name
                    ),
                ));
            }
            batch.expect_prefix(deleted.clone(), Prefix::Empty, deleted);
        }
        Ok(())
    }

    async fn expect_no_repositories(&self, batch: &mut Batch, account: &AccountRecord) -> Result<()> {
        let names = RepositoryRecord::names(account.id);
        if self.meta.any(&names).await? {
            let text = format!(
                "{0} owns source repositories (packhouse repo list {0}); delete or transfer them first",
                account.name
            );
            return Err(Error::new(Kind::Forbidden(Reason::InUse), text));
        }
        batch.expect_prefix(names.clone(), Prefix::Empty, names);
        Ok(())
    }

    /// Ends an account's robots, tokens, memberships, members, teams and roles.
    async fn leave_everything(&self, batch: &mut Batch, account: &AccountRecord) -> Result<()> {
        let view = self.meta.as_ref();
        // Read before its members, memberships and teams are: a change of them from here on makes the batch fail.
        let (owner, principal) = (Subject::Owner(account.id), Subject::Principal(account.id));
        let own = [owner, principal, Subject::RolesOf(account.id)];
        let known = revisions::read(view, &own).await?;
        revisions::expect(batch, &known);
        for (key, _) in walk(view, &MemberRecord::of_user(account.id)).await? {
            let Some(id) = AccountRecord::id_in(&key) else { continue };
            // Read before the members are: a change of them from here on makes the batch fail.
            let known = revisions::read(view, &[Subject::Owner(id)]).await?;
            let Some(organization) = by_id(view, id).await? else { continue };
            let Some(old) = member(view, id, account.id).await? else { continue };
            if owns(&old) {
                self.another_owner(&organization, account.id).await?;
            }
            revisions::expect(batch, &known);
            self.leave_teams(batch, account.id, id).await?;
            batch.replace(Some(&old), None);
            revisions::bump(batch, Subject::Owner(id));
        }
        if account.kind == AccountKind::Organization {
            self.end_teams(batch, account.id).await?;
            self.end_group(batch, Group::Organization(account.id)).await?;
        }
        for (_, bytes) in walk(view, &MemberRecord::of(account.id)).await? {
            let old = MemberRecord::decode(&bytes)?;
            batch.replace(Some(&old), None);
            revisions::bump(batch, Subject::Principal(old.user));
        }
        self.end_roles_of(batch, Collaborator::User(account.id), None).await?;
        self.end_robots(batch, account.id).await?;
        self.end_tokens(batch, account.id).await?;
        self.take_roles(batch, &RoleRecord::of_user(account.id), account.id).await
    }

    /// A page of accounts in the order of their names; what follows begins after the last one's name.
    pub async fn accounts(
        &self,
        _grant: &Grant<Operate>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<AccountRecord>> {
        let view = self.meta.snapshot()?;
        let from = after.map(|name| AccountRecord::name_prefix(name).with(&[0xff; 8]));
        let mut accounts = Vec::new();
        for (key, _) in view.scan(&AccountRecord::names(), from.as_ref(), limit).await? {
            if let Some(id) = AccountRecord::id_in(&key)
                && let Some(account) = by_id(view.as_ref(), id).await?
            {
                accounts.push(account);
            }
        }
        Ok(accounts)
    }

    /// The account a grant was made for.
    pub(crate) async fn account(&self, grant: &Grant<ManageOwner>) -> Result<AccountRecord> {
        by_id(self.meta.as_ref(), grant.target().id)
            .await?
            .ok_or_else(|| Error::not_found(What::Owner, "the account was removed meanwhile"))
    }

    /// The user of a name.
    pub(crate) async fn user_account(&self, name: &str) -> Result<AccountRecord> {
        let account = by_name(self.meta.as_ref(), name).await?;
        account.filter(|account| account.kind == AccountKind::User).ok_or_else(|| nobody(name))
    }
}
