//! Names of accounts: taken, changed, held back, freed.
//!
//! A package's repository path begins with its owner's name, and is what lists and roles are sorted by. So an account that
//! gets another name writes all of its packages and the roles on them again, in one batch: nobody sees half of it, and
//! there is nothing to resume. Grants and caches end with it, because the owner's revision counts it.
//!
//! The old name is held: it leads whoever may read a package to it, under its new path, and nobody else can take it. So
//! what somebody's pipeline pulls by an old name is never a stranger's.

use super::{
    Registry, accounts, events, groups, packages,
    records::{
        AccountKind, AccountRecord, GroupRoleRecord, NameRecord, PackageRecord, RoleRecord,
        WorkflowRoleRecord,
    },
    revisions::{self, Outcome},
    teams::over,
};
use crate::{
    auth::{Grant, ManageOwner, Operate, Subject},
    error::{Error, Kind, Result, What},
    model::{Ecosystem, OwnerId, OwnerName, PackageName},
    store::{Batch, MetadataRead, Prefix},
};

/// Most packages, and roles on them, that are written again with a name: they are one batch.
pub const MAX_RENAMED: usize = 10_000;
/// Most names that lead to one account.
pub const MAX_NAMES: usize = 10;

/// A held name.
pub(crate) async fn held(view: &dyn MetadataRead, name: &str) -> Result<Option<NameRecord>> {
    // What cannot be a name is nobody's, and must not meet the terminators of keys.
    if OwnerName::parse(name).is_err() {
        return Ok(None);
    }
    view.get(&NameRecord::key_of(name)).await?.map(|bytes| NameRecord::decode(&bytes)).transpose()
}

/// The account that had a name and has another one now.
pub(crate) async fn moved(view: &dyn MetadataRead, name: &str) -> Result<Option<AccountRecord>> {
    match held(view, name).await?.and_then(|held| held.owner) {
        Some(owner) => accounts::by_id(view, owner).await,
        None => Ok(None),
    }
}

/// Refuses a name that an account has or that is held.
pub(crate) async fn expect_free(view: &dyn MetadataRead, name: &OwnerName) -> Result<()> {
    if accounts::by_name(view, name.as_str()).await?.is_some() {
        return Err(accounts::taken(name));
    }
    match held(view, name.as_str()).await? {
        Some(_) => Err(withheld(name)),
        None => Ok(()),
    }
}

fn withheld(name: &OwnerName) -> Error {
    let text = format!(
        "{name} was another account's name and is held, so that nobody gets what was meant for that one; an \
         administrator of the installation frees it (packhouse owner free-name {name})"
    );
    Error::new(Kind::Conflict(What::Owner), text)
}

/// Takes a name for an account in a batch; it must be free when that is applied.
pub(crate) fn take(batch: &mut Batch, name: &str) {
    let named = AccountRecord::name_prefix(name);
    batch.expect_prefix(named.clone(), Prefix::Empty, named);
    batch.expect_absent(NameRecord::key_of(name));
}

/// Notes in a batch that an owner has a package that everybody may read: its name is held when the account is removed.
pub(crate) fn was_public(batch: &mut Batch, owner: OwnerId) {
    batch.put(NameRecord::was_public(owner), vec![1]);
}

/// What becomes of an account's names in the batch that removes it. Those under which somebody may still ask for what was
/// public stay held, with nobody behind them.
pub(crate) async fn leave(
    view: &dyn MetadataRead,
    batch: &mut Batch,
    account: &AccountRecord,
    at: u64,
) -> Result<()> {
    for held in names_of(view, account.id).await? {
        let gone = NameRecord { owner: None, ..held.clone() };
        batch.replace(Some(&held), Some(&gone));
    }
    let mark = NameRecord::was_public(account.id);
    let public = view.get(&mark).await?;
    batch.expect_equals(mark.clone(), public.clone());
    if public.is_some() {
        batch.delete(mark);
        batch.replace(None, Some(&NameRecord { name: account.folded(), owner: None, since: at }));
    }
    Ok(())
}

/// The names an account had.
async fn names_of(view: &dyn MetadataRead, owner: OwnerId) -> Result<Vec<NameRecord>> {
    let mut names = Vec::new();
    for (key, _) in accounts::walk(view, &NameRecord::of(owner)).await? {
        if let Some(name) = NameRecord::name_in(&key) {
            names.extend(held(view, name).await?);
        }
    }
    Ok(names)
}

/// A held name as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldName {
    /// The name.
    pub name: String,
    /// The name that its account has now; `None` when that is gone.
    pub now: Option<String>,
    /// Since when, in milliseconds since the epoch.
    pub since: u64,
}

impl Registry {
    /// Gives an account another name. Its packages have it in their paths from the same moment on; the old name leads
    /// readers to them, and nobody else can have it.
    ///
    /// # Errors
    /// Conflict when the name is taken or held; forbidden by policy over a limit.
    pub async fn rename_account(
        &self,
        grant: &Grant<ManageOwner>,
        kind: AccountKind,
        name: &OwnerName,
    ) -> Result<()> {
        let mut under = self.under(grant);
        loop {
            let old = self.account(grant).await?;
            if old.kind != kind {
                let text = format!("{} is not {}", old.name, kind.words());
                return Err(Error::invalid(What::Owner, text));
            }
            if old.name == name.as_str() {
                return Ok(());
            }
            let new = AccountRecord { name: name.as_str().to_owned(), ..old.clone() };
            let mut batch = Batch::new();
            batch.replace(Some(&old), Some(&new));
            // In another case it is the same name, in every path.
            if old.folded() != new.folded() {
                self.move_names(&mut batch, &old, name, grant.at().0).await?;
                self.move_packages(&mut batch, &old, &new).await?;
            }
            revisions::bump(&mut batch, Subject::Owner(old.id));
            revisions::bump(&mut batch, Subject::Principal(old.id));
            let stream = events::stream_of_owner(old.id).of_installation();
            let detail = format!("{} {}", old.name, new.name);
            events::rights(&mut batch, stream, grant.caller(), "account.rename", detail);
            if under.commit(batch).await? == Outcome::Done {
                return Ok(());
            }
        }
    }

    /// The new name is taken, the old one held.
    async fn move_names(
        &self,
        batch: &mut Batch,
        account: &AccountRecord,
        name: &OwnerName,
        since: u64,
    ) -> Result<()> {
        let view = self.meta.as_ref();
        if accounts::by_name(view, name.as_str()).await?.is_some() {
            return Err(accounts::taken(name));
        }
        let named = AccountRecord::name_prefix(name.as_str());
        batch.expect_prefix(named.clone(), Prefix::Empty, named);
        let before = names_of(view, account.id).await?;
        match held(view, name.as_str()).await? {
            // It may have again what was its own.
            Some(own) if own.owner == Some(account.id) => batch.replace(Some(&own), None),
            Some(_) => return Err(withheld(name)),
            None if before.len() >= MAX_NAMES => {
                let text = format!("{} has had too many names; free one first", account.name);
                return Err(over(MAX_NAMES, &text));
            }
            None => batch.expect_absent(NameRecord::key_of(name.as_str())),
        }
        let held = NameRecord { name: account.folded(), owner: Some(account.id), since };
        batch.replace(None, Some(&held));
        Ok(())
    }

    /// Writes an account's packages and the roles on them again, under its new name.
    async fn move_packages(&self, batch: &mut Batch, old: &AccountRecord, new: &AccountRecord) -> Result<()> {
        let view = self.meta.as_ref();
        // Read before the packages are: one that is made from here on makes the batch fail.
        let known = revisions::read(view, &[Subject::PackagesOf(old.id)]).await?;
        revisions::expect(batch, &known);
        let mut written = 0;
        for ecosystem in Ecosystem::ALL {
            let beginning = packages::beginning(ecosystem, &old.folded());
            for paths in [PackageRecord::paths(&beginning), PackageRecord::deleted_paths(&beginning)] {
                for (key, _) in accounts::walk(view, &paths).await? {
                    let Some(id) = PackageRecord::id_in(&key) else { continue };
                    written += self.move_package(batch, id, &new.folded()).await?;
                    if written > MAX_RENAMED {
                        let text =
                            format!("{} has too many packages and roles on them for another name", old.name);
                        return Err(over(MAX_RENAMED, &text));
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes a package and the roles on it again, under its owner's new name; says how many records that are.
    async fn move_package(
        &self,
        batch: &mut Batch,
        id: crate::model::PackageId,
        owner: &str,
    ) -> Result<usize> {
        let view = self.meta.as_ref();
        // Read before the roles are, for the same reason.
        let known = revisions::read(view, &[Subject::Package(id)]).await?;
        revisions::expect(batch, &known);
        let Some(old) = packages::by_id(view, id).await? else { return Ok(0) };
        let new = PackageRecord { owner_name: owner.to_owned(), ..old.clone() };
        let path = new.package_name()?.to_string();
        batch.replace(Some(&old), Some(&new));
        let mut written = 1;
        for (_, bytes) in accounts::walk(view, &RoleRecord::on(id)).await? {
            let role = RoleRecord::decode(&bytes)?;
            batch.replace(Some(&role), Some(&RoleRecord { path: path.clone(), ..role.clone() }));
            written += 1;
        }
        for role in groups::roles_on(view, id).await? {
            batch.replace(Some(&role), Some(&GroupRoleRecord { path: path.clone(), ..role.clone() }));
            written += 1;
        }
        for (_, bytes) in accounts::walk(view, &WorkflowRoleRecord::on(id)).await? {
            let role = WorkflowRoleRecord::decode(&bytes)?;
            batch.replace(Some(&role), Some(&WorkflowRoleRecord { path: path.clone(), ..role.clone() }));
            written += 1;
        }
        Ok(written)
    }

    /// Frees a held name: it leads nowhere from then on, and anybody may take it.
    ///
    /// # Errors
    /// Not found when it is not held.
    pub async fn free_name(&self, grant: &Grant<Operate>, name: &str) -> Result<()> {
        let mut under = self.under(grant);
        loop {
            let Some(old) = held(self.meta.as_ref(), name).await? else {
                return Err(Error::not_found(What::Owner, format!("the name {name} is not held")));
            };
            let mut batch = Batch::new();
            batch.replace(Some(&old), None);
            let mut detail = old.name.clone();
            if let Some(owner) = old.owner {
                // Decisions by the old name are kept under it.
                revisions::bump(&mut batch, Subject::Owner(owner));
                detail = format!("{detail} user:{owner}");
            }
            let stream = events::stream_of_owner(OwnerId::INSTALLATION);
            events::rights(&mut batch, stream, grant.caller(), "name.free", detail);
            if under.commit(batch).await? == Outcome::Done {
                return Ok(());
            }
        }
    }

    /// The held names, in order.
    pub async fn held_names(&self, _grant: &Grant<Operate>) -> Result<Vec<HeldName>> {
        let view = self.meta.snapshot()?;
        let mut names = Vec::new();
        for (_, bytes) in accounts::walk(view.as_ref(), &NameRecord::all()).await? {
            let NameRecord { name, owner, since } = NameRecord::decode(&bytes)?;
            let now = match owner {
                Some(owner) => accounts::by_id(view.as_ref(), owner).await?.map(|account| account.name),
                None => None,
            };
            names.push(HeldName { name, now, since });
        }
        Ok(names)
    }
}

/// A package's name below another owner.
pub(crate) fn under(name: &PackageName, owner: &AccountRecord) -> PackageName {
    PackageName::from_parts(name.ecosystem(), &owner.folded(), name.rest())
}

#[cfg(test)]
pub(crate) mod tests;
