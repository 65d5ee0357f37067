//! The first start: an installation with a name, keys, and an administrator who can sign in.

use serde::{Deserialize, Serialize};

use super::{
    Registry, accounts, events,
    records::{AccountKind, from_json, meta, tag, to_json},
    tokens, upgrade,
};
use crate::{
    auth::{Caller, Secret, SigningKey, random_text},
    error::{Error, Result},
    model::{OwnerName, Timestamp, id::random},
    store::{Batch, CommitError, Key, MetadataRead},
};

/// The name of the first user.
pub const FIRST_USER: &str = "admin";
/// Characters of a generated password: 119 bits.
const GENERATED: usize = 20;

/// What an installation is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installation {
    /// A random name: the audience of the tokens it signs.
    pub id: String,
    /// Milliseconds since the epoch.
    pub created: u64,
}

const VERSION: u8 = 1;

fn key() -> Key {
    meta(tag::SETTING).with_text("installation")
}

/// The installation in a store, if there is one.
pub(crate) async fn installation(view: &dyn MetadataRead) -> Result<Option<Installation>> {
    view.get(&key()).await?.map(|bytes| from_json(VERSION, &bytes, "installation")).transpose()
}

/// Who can sign in after the first start.
#[derive(Debug)]
pub struct FirstUser {
    /// The name.
    pub name: &'static str,
}

/// A password for somebody to type once.
pub fn generated_password() -> Result<Secret> {
    Ok(Secret::new(random_text(GENERATED)?))
}

impl Registry {
    /// Makes an empty store an installation whose first user has this password, and says who that is; `None` when it was
    /// one already. The password comes from the caller, who can put it where it will be found before anything is stored:
    /// a crash in between leaves nobody without a way in.
    ///
    /// # Errors
    /// Invalid when the password is too short or too long; then nothing was stored.
    pub async fn initialize(&self, at: Timestamp, password: &Secret) -> Result<Option<FirstUser>> {
        if self.initialized().await? {
            return Ok(None);
        }
        let hash = self.passwords.hash(password).await?;
        let mut batch = Batch::new();
        let installation = Installation { id: hex::encode(random::<16>()?), created: at.0 };
        batch.expect_absent(key());
        batch.put(key(), to_json(VERSION, &installation));
        // There is nothing of an older form.
        upgrade::done(&mut batch, at);
        // Two from the beginning: that one is not the only one is then never a special case.
        tokens::put_key(&mut batch, &SigningKey::generate(Timestamp(at.0.saturating_sub(1)))?);
        tokens::put_key(&mut batch, &SigningKey::generate(at)?);
        let mut account = accounts::blank(&OwnerName::parse(FIRST_USER)?, AccountKind::User, at)?;
        account.administrator = true;
        account.sign_in = 1;
        accounts::create(&mut batch, &account);
        accounts::put_password(&mut batch, account.id, &hash);
        let caller = Caller::job("first-start", at, "first-start".into());
        let stream = events::stream_of_owner(account.id).of_installation();
        events::rights(&mut batch, stream, &caller, "user.create", "administrator".into());
        match self.meta.commit(batch).await {
            Ok(_) => Ok(Some(FirstUser { name: FIRST_USER })),
            Err(CommitError::Failed(error)) => Err(error),
            Err(CommitError::Conflict(_) | CommitError::Quota(_)) => {
                Err(Error::internal("another process made this store an installation at the same moment"))
            }
        }
    }

    /// Whether the store holds an installation.
    pub async fn initialized(&self) -> Result<bool> {
        Ok(installation(self.meta.as_ref()).await?.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_form_is_these_bytes() {
        let installation = Installation { id: "ab".into(), created: 1 };
        let golden = b"\x01{\"id\":\"ab\",\"created\":1}";
        assert_eq!(to_json(VERSION, &installation).as_ref(), golden);
        assert_eq!(from_json::<Installation>(VERSION, golden, "x").unwrap(), installation);
        assert_eq!(key().bytes, b"sinstallation\0");
    }
}
