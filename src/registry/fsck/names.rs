//! Names that are held, and the marks by which they are.

use bytes::Bytes;

use super::{Check, Code, Found, fields::Fields, only_if};
use crate::{
    error::Result,
    registry::{
        accounts,
        records::{AccountRecord, NameRecord, tag},
    },
    store::{Batch, Key},
};

impl Check<'_> {
    pub(super) async fn held_name(&mut self, key: &Key, value: &Bytes) -> Result<()> {
        let Some(held) = self.read(key, NameRecord::decode(value)) else { return Ok(()) };
        let object = format!("held name {}", held.name);
        self.record(key, value, &held, &object).await?;
        if let Ok(Some(account)) = accounts::by_name(self.view, &held.name).await {
            self.find(Code::OwnerWrong, &object, format!("account {} has it", account.id));
        }
        if let Some(owner) = held.owner
            && !self.account_exists(owner).await?
        {
            // As if the account had been removed: nobody gets what was meant for it.
            let gone = NameRecord { owner: None, ..held.clone() };
            let mut batch = Batch::new();
            batch.expect_absent(AccountRecord::key_of(owner));
            batch.replace(Some(&held), Some(&gone));
            let text = format!("it leads to account {owner}, which is not there");
            self.add(Found::new(Code::AccountMissing, object, text).mended_by(batch));
        }
        Ok(())
    }

    /// An index entry of a name that an account had.
    pub(super) async fn name_entry(
        &mut self,
        tag: u8,
        key: &Key,
        value: &Bytes,
        mut f: Fields<'_>,
    ) -> Result<Option<()>> {
        let (tag::HELD_NAME_OF, Some(_), Some(name)) = (tag, f.owner(), f.text()) else { return Ok(None) };
        self.entry(key, value, NameRecord::key_of(name), NameRecord::decode).await?;
        Ok(f.end())
    }

    pub(super) async fn public_mark(&mut self, key: &Key, value: &Bytes) -> Result<()> {
        let Some(owner) = AccountRecord::id_in(key) else { return Ok(()) };
        if !self.account_exists(owner).await? {
            let mut batch = only_if(key, Some(value));
            batch.expect_absent(AccountRecord::key_of(owner));
            batch.delete(key.clone());
            let text = "it says that an account had public packages that is not there";
            self.add(Found::new(Code::AccountMissing, format!("mark {owner}"), text).mended_by(batch));
        }
        Ok(())
    }
}
