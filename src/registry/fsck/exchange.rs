//! Tokens of workflows, trusts, exchanged tokens.

use bytes::Bytes;

use super::{Check, Code, fields::Fields};
use crate::{
    error::Result,
    model::{RepositoryId, TokenId},
    registry::records::{RepositoryRecord, TrustRecord, UsedTokenRecord, WorkflowTokenRecord, kept, tag},
    store::Key,
};

impl Check<'_> {
    /// What lies under the tags of exchanges. `None`: it is no such key.
    pub(super) async fn exchange(
        &mut self,
        of: u8,
        key: &Key,
        value: &Bytes,
        mut f: Fields<'_>,
    ) -> Result<Option<()>> {
        if of != tag::EXCHANGE {
            return self.exchange_entry(of, key, value, f).await;
        }
        let kind = f.u8();
        let length = match kind {
            Some(kept::TOKEN) => 8,
            Some(kept::TRUST) => 16,
            Some(kept::USED) => 32,
            _ => return Ok(None),
        };
        let name = f.0;
        if f.skip(length).and_then(|()| f.end()).is_none() {
            return Ok(None);
        }
        match kind {
            Some(kept::TOKEN) => self.workflow_token(key, value).await?,
            Some(kept::TRUST) => self.trust(key, value).await?,
            _ => {
                let Ok(name) = name.try_into() else { return Ok(None) };
                let Some(used) = self.read(key, UsedTokenRecord::decode(name, value)) else {
                    return Ok(Some(()));
                };
                self.record(key, value, &used, "exchanged token").await?;
            }
        }
        Ok(Some(()))
    }

    async fn workflow_token(&mut self, key: &Key, value: &Bytes) -> Result<()> {
        let Some(token) = self.read(key, WorkflowTokenRecord::decode(value)) else { return Ok(()) };
        // Its repository may be gone: then it is good for nothing, and goes when its time is over.
        self.record(key, value, &token, &format!("workflow token {}", token.id)).await
    }

    async fn trust(&mut self, key: &Key, value: &Bytes) -> Result<()> {
        let Some(trust) = self.read(key, TrustRecord::decode(value)) else { return Ok(()) };
        let object = format!("trust {} of repository {}", trust.id, trust.repository);
        self.record(key, value, &trust, &object).await?;
        if self.view.get(&RepositoryRecord::key_of(trust.repository)).await?.is_none() {
            self.useless(Code::RepositoryMissing, &object, "there is no such repository".into(), &trust);
        }
        Ok(())
    }

    /// Index entries of exchanges.
    async fn exchange_entry(
        &mut self,
        of: u8,
        key: &Key,
        value: &Bytes,
        mut f: Fields<'_>,
    ) -> Result<Option<()>> {
        if of == tag::EXCHANGE_INDEX && f.0.first() == Some(&kept::USED) {
            let Some((_, name)) = UsedTokenRecord::in_entry(key).filter(|_| f.0.len() == 1 + 8 + 32) else {
                return Ok(None);
            };
            let decode = |bytes: &[u8]| UsedTokenRecord::decode(name, bytes);
            self.entry(key, value, UsedTokenRecord::key_of(&name), decode).await?;
            return Ok(Some(()));
        }
        let before = match of {
            tag::EXCHANGE_HASH => f.skip(32),
            _ if f.u8() == Some(kept::TOKEN) => f.u64().map(RepositoryId).and_then(|_| f.skip(8)),
            _ => None,
        };
        let Some(id) = before.and_then(|()| f.u64()).filter(|_| f.end().is_some()) else { return Ok(None) };
        let at = WorkflowTokenRecord::key_of(TokenId(id));
        self.entry(key, value, at, WorkflowTokenRecord::decode).await?;
        Ok(Some(()))
    }
}
