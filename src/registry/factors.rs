//! Second factors of users: begun, confirmed by a first code, used up code by code, taken away.
//!
//! What demands a code is the password at sign-in. Tokens are not asked for one: they were made by somebody who signed in.

use super::{
    Registry, events,
    records::{AccountKind, AccountRecord, FactorRecord},
    revisions::{self, Outcome},
};
use crate::{
    auth::{
        Actor, Grant, ManageOwner, RECOVERY_CODES, Secret, Subject, TotpKey, recovery_code, recovery_hash,
    },
    error::{Error, Kind, Reason, Result, What},
    model::{OwnerId, Timestamp},
    store::{Batch, CommitError, MetadataRead, MetadataStore, Record as _},
};

/// A factor just begun; none of this is shown again.
#[derive(Debug)]
pub struct Enrolment {
    /// The key, as people type it.
    pub key: Secret,
    /// The same as apps read it from a QR code.
    pub address: Secret,
    /// Codes for when the app is lost, each good once.
    pub recovery: Vec<Secret>,
}

/// A user's second factor, confirmed or not.
pub(crate) async fn of(view: &dyn MetadataRead, user: OwnerId) -> Result<Option<FactorRecord>> {
    view.get(&FactorRecord::key_of(user)).await?.map(|bytes| FactorRecord::decode(&bytes)).transpose()
}

/// The factor after a code of it was used; none when the code is no good.
fn used(factor: &FactorRecord, code: &str, at: Timestamp) -> Result<Option<FactorRecord>> {
    if let Some(step) = factor.totp()?.step_of(code, at, factor.step)? {
        return Ok(Some(FactorRecord { step, ..factor.clone() }));
    }
    // What is compared is a hash of something random: how long that takes says nothing.
    let hash = recovery_hash(code);
    let mut left = factor.clone();
    left.recovery.retain(|known| *known != hash);
    Ok((left.recovery.len() < factor.recovery.len()).then_some(left))
}

/// Takes a code, once: of several requests with the same one, one succeeds.
pub(crate) async fn use_code(
    meta: &dyn MetadataStore,
    user: OwnerId,
    code: &Secret,
    at: Timestamp,
) -> Result<bool> {
    loop {
        let Some(old) = of(meta, user).await?.filter(|factor| factor.confirmed) else { return Ok(false) };
        let Some(new) = used(&old, code.reveal(), at)? else { return Ok(false) };
        let mut batch = Batch::new();
        batch.replace(Some(&old), Some(&new));
        match meta.commit(batch).await {
            Ok(_) => return Ok(true),
            // Somebody was faster. Each turn of this loop is one code gone, and there are few.
            Err(CommitError::Conflict(_)) => {}
            Err(CommitError::Failed(error)) => return Err(error),
            Err(CommitError::Quota(_)) => return Err(Error::internal("a code met the limit of a counter")),
        }
    }
}

impl Registry {
    /// Begins a second factor for a user: the key for its app, and recovery codes. Nothing asks for it before
    /// [`Self::confirm_factor`]; begun again, it is another one.
    ///
    /// # Errors
    /// Forbidden to everybody but the user itself and the operator; in use when there is one already.
    pub async fn begin_factor(&self, grant: &Grant<ManageOwner>, issuer: &str) -> Result<Enrolment> {
        let user = self.own(grant).await?;
        let (key, mut recovery) = (TotpKey::generate()?, Vec::new());
        for _ in 0..RECOVERY_CODES {
            recovery.push(recovery_code()?);
        }
        let hashes = recovery.iter().map(|code| recovery_hash(code.reveal())).collect();
        let new = FactorRecord::new(user.id, &key, hashes, grant.at().0);
        let mut under = self.under(grant);
        loop {
            let old = of(self.meta.as_ref(), user.id).await?;
            if old.as_ref().is_some_and(|factor| factor.confirmed) {
                let text = format!("{} has a second factor; remove that one first", user.name);
                return Err(Error::new(Kind::Forbidden(Reason::InUse), text));
            }
            let mut batch = Batch::new();
            // The user must still be there when this is applied: its removal takes the factor along.
            batch.expect_equals(user.key(), Some(user.value()));
            batch.replace(old.as_ref(), Some(&new));
            self.note(&mut batch, grant, "user.second-factor", "begun");
            if under.commit(batch).await? == Outcome::Done {
                return Ok(Enrolment { key: key.text(), address: key.address(issuer, &user.name), recovery });
            }
        }
    }

    /// Makes a second factor count, by a first code of the app. Whatever was signed in with the password alone ends.
    ///
    /// # Errors
    /// As [`Self::begin_factor`]; not found when none was begun; invalid when the code is wrong.
    pub async fn confirm_factor(&self, grant: &Grant<ManageOwner>, code: &Secret) -> Result<()> {
        let mut under = self.under(grant);
        loop {
            let user = self.own(grant).await?;
            let old = of(self.meta.as_ref(), user.id).await?.filter(|factor| !factor.confirmed);
            let old = old.ok_or_else(|| {
                Error::not_found(What::Owner, format!("no second factor was begun for {}", user.name))
            })?;
            let step = old.totp()?.step_of(code.reveal(), grant.at(), old.step)?;
            let step = step.ok_or_else(|| Error::invalid(What::Request, "the code is wrong or too old"))?;
            let new = FactorRecord { confirmed: true, step, ..old.clone() };
            let mut batch = Batch::new();
            batch.replace(Some(&old), Some(&new));
            batch.replace(Some(&user), Some(&AccountRecord { sign_in: user.sign_in + 1, ..user.clone() }));
            revisions::bump(&mut batch, Subject::Principal(user.id));
            self.note(&mut batch, grant, "user.second-factor", "on");
            if under.commit(batch).await? == Outcome::Done {
                return Ok(());
            }
        }
    }

    /// Takes a user's second factor away. The user itself shows a code of it; whoever manages the user does not: phones get
    /// lost, and it stands in the events.
    ///
    /// # Errors
    /// Not found when there is none; invalid when the user's code is wrong.
    pub async fn remove_factor(&self, grant: &Grant<ManageOwner>, code: Option<&Secret>) -> Result<()> {
        let user = self.account(grant).await?;
        let mut under = self.under(grant);
        loop {
            let old = of(self.meta.as_ref(), user.id).await?;
            let old = old.ok_or_else(|| {
                Error::not_found(What::Owner, format!("{} has no second factor", user.name))
            })?;
            if old.confirmed && grant.caller().user() == Some(user.id) {
                let good = match code {
                    Some(code) => used(&old, code.reveal(), grant.at())?.is_some(),
                    None => false,
                };
                if !good {
                    return Err(Error::invalid(What::Request, "this takes a code of the second factor"));
                }
            }
            let mut batch = Batch::new();
            batch.replace(Some(&old), None);
            revisions::bump(&mut batch, Subject::Principal(user.id));
            self.note(&mut batch, grant, "user.second-factor", "off");
            if under.commit(batch).await? == Outcome::Done {
                return Ok(());
            }
        }
    }

    /// Takes a second factor away in the batch that removes its user.
    pub(crate) async fn end_factor(&self, batch: &mut Batch, user: OwnerId) -> Result<()> {
        if let Some(old) = of(self.meta.as_ref(), user).await? {
            batch.replace(Some(&old), None);
        }
        Ok(())
    }

    /// The user a grant was made for, asked for by itself or by the operator: whoever has somebody else's key could sign in
    /// as that user.
    async fn own(&self, grant: &Grant<ManageOwner>) -> Result<AccountRecord> {
        let account = self.account(grant).await?;
        if account.kind != AccountKind::User {
            return Err(Error::invalid(What::Owner, "only users have a second factor"));
        }
        let caller = grant.caller();
        if caller.actor == Actor::Operator || caller.user() == Some(account.id) {
            return Ok(account);
        }
        Err(Error::new(Kind::Forbidden(Reason::Role), "only the user itself can have a second factor made"))
    }

    fn note(&self, batch: &mut Batch, grant: &Grant<ManageOwner>, action: &str, detail: &str) {
        let stream = events::stream_of_owner(grant.target().id);
        events::rights(batch, stream, grant.caller(), action, detail.to_owned());
    }
}
