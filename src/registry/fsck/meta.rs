//! The meta space: which record or index entry a key is.

use bytes::Bytes;

use super::{Check, Code, fields::Fields, shown};
use crate::{
    error::Result,
    registry::records::{
        AccountRecord, BlobRecord, MemberRecord, PackageRecord, RoleRecord, TokenRecord, UploadRecord,
        decode_signing_key, pin::pin_ends, tag,
    },
    store::Key,
};

impl Check<'_> {
    pub(super) async fn meta(&mut self, key: &Key, value: &Bytes) -> Result<()> {
        let mut fields = Fields(&key.bytes);
        let known = match fields.u8() {
            Some(tag) => match self.kept(tag, key, value, fields).await? {
                None => self.pointing(tag, key, value, fields).await?,
                known => known,
            },
            None => None,
        };
        if known.is_none() {
            self.unknown(key);
        }
        Ok(())
    }

    /// What is no index. `None`: it is no such key.
    async fn kept(&mut self, tag: u8, key: &Key, value: &Bytes, mut f: Fields<'_>) -> Result<Option<()>> {
        let shape = match tag {
            tag::OWNER | tag::PACKAGE | tag::TOKEN | tag::PASSWORD | tag::FACTOR | tag::TEAM => f.skip(8),
            tag::REPOSITORY | tag::README => f.skip(8),
            tag::MEMBER | tag::ROLE | tag::UPLOAD | tag::TEAM_MEMBER => f.skip(16),
            tag::GROUP_ROLE | tag::REPOSITORY_ROLE => f.skip(8 + 9),
            tag::WORKFLOW_ROLE => f.skip(16),
            tag::PIN => f.skip(16),
            tag::POLICY => f.skip(9),
            tag::SIGNING_KEY => f.skip(4),
            tag::HELD_NAME => f.text().map(|_| ()),
            tag::WAS_PUBLIC => f.skip(8),
            tag::EXCHANGE | tag::EXCHANGE_HASH | tag::EXCHANGE_INDEX => {
                return self.exchange(tag, key, value, f).await;
            }
            tag::REVISION => return Ok(self.revision(key, value, f)),
            // Settings of the installation: each is read by whoever owns it.
            tag::SETTING => f.text().map(|_| ()),
            _ => None,
        };
        if shape.and_then(|()| f.end()).is_none() {
            return Ok(None);
        }
        match tag {
            tag::OWNER => self.account(key, value).await?,
            tag::PASSWORD => self.password(key, value).await?,
            tag::FACTOR => self.factor(key, value).await?,
            tag::MEMBER => self.member(key, value).await?,
            tag::PACKAGE => self.package(key, value).await?,
            tag::ROLE => self.role(key, value).await?,
            tag::TEAM => self.team(key, value).await?,
            tag::TEAM_MEMBER => self.team_member(key, value).await?,
            tag::GROUP_ROLE => self.group_role(key, value).await?,
            tag::REPOSITORY | tag::README | tag::REPOSITORY_ROLE | tag::WORKFLOW_ROLE => {
                self.on_repositories(tag, key, value).await?
            }
            tag::TOKEN => self.token(key, value).await?,
            tag::UPLOAD => self.upload(key, value).await?,
            tag::POLICY => self.policy(key, value).await?,
            tag::HELD_NAME => self.held_name(key, value).await?,
            tag::WAS_PUBLIC => self.public_mark(key, value).await?,
            tag::PIN if pin_ends(value).is_none() => {
                self.find(Code::ValueBroken, shown(key), "a pin is to say when it ends");
            }
            tag::SIGNING_KEY => {
                self.read(key, decode_signing_key(key, value));
            }
            _ => {}
        }
        Ok(Some(()))
    }

    /// Index entries.
    async fn pointing(&mut self, tag: u8, key: &Key, value: &Bytes, mut f: Fields<'_>) -> Result<Option<()>> {
        // What stands in front of the record's id.
        let before = match tag {
            tag::OWNER_NAME | tag::PACKAGE_NAME | tag::DELETED_NAME => f.text().map(|_| ()),
            tag::PENDING | tag::UPLOAD_OF | tag::LINKED => f.skip(8),
            tag::LISTED => f.text().and_then(|_| f.text()).map(|_| ()),
            tag::ROLE_PATH | tag::INHERITING | tag::ROBOT => f.skip(8).and_then(|()| f.text()).map(|_| ()),
            tag::TOKEN_HASH => f.skip(32),
            tag::TOKEN_OF => f.skip(8 + 1 + 8),
            _ => Some(()),
        };
        if before.is_none() {
            return Ok(None);
        }
        match tag {
            tag::OWNER_NAME | tag::ROBOT => {
                let Some(id) = f.owner() else { return Ok(None) };
                self.entry(key, value, AccountRecord::key_of(id), AccountRecord::decode).await?;
            }
            tag::MEMBER_OF => {
                let (Some(user), Some(organization)) = (f.owner(), f.owner()) else { return Ok(None) };
                let at = MemberRecord::key_of(organization, user);
                self.entry(key, value, at, MemberRecord::decode).await?;
            }
            tag::PACKAGE_NAME
            | tag::DELETED_NAME
            | tag::PENDING
            | tag::LISTED
            | tag::LINKED
            | tag::INHERITING => {
                let Some(id) = f.package() else { return Ok(None) };
                self.entry(key, value, PackageRecord::key_of(id), PackageRecord::decode).await?;
            }
            tag::ROLE_OF => {
                let (Some(user), Some(_), Some(package)) = (f.owner(), f.owner(), f.package()) else {
                    return Ok(None);
                };
                let at = RoleRecord::key_of(package, user);
                self.entry(key, value, at, RoleRecord::decode).await?;
            }
            tag::ROLE_PATH => {
                let Some(package) = f.package() else { return Ok(None) };
                let Some(user) = Fields(&key.bytes[1..]).owner() else { return Ok(None) };
                self.entry(key, value, RoleRecord::key_of(package, user), RoleRecord::decode).await?;
            }
            tag::TEAM_NAME | tag::TEAM_BELOW | tag::TEAM_MEMBER_OF | tag::GROUP_ROLE_OF => {
                return self.team_entry(tag, key, value, f).await;
            }
            tag::WORKFLOW_ROLE_OF => return self.workflow_entry(key, value, f).await,
            tag::REPOSITORY_NAME | tag::REPOSITORY_PLACE | tag::REPOSITORY_ROLE_OF => {
                return self.repository_entry(tag, key, value, f).await;
            }
            tag::TOKEN_HASH | tag::TOKEN_OF => {
                let Some(id) = f.token() else { return Ok(None) };
                self.entry(key, value, TokenRecord::key_of(id), TokenRecord::decode).await?;
            }
            tag::UPLOAD_OF => {
                let Some(id) = f.upload() else { return Ok(None) };
                let decode = |bytes: &[u8]| UploadRecord::decode(id, bytes);
                self.entry(key, value, UploadRecord::key_of(id), decode).await?;
            }
            tag::QUARANTINE => {
                let Some(digest) = f.digest() else { return Ok(None) };
                let decode = |bytes: &[u8]| BlobRecord::decode(digest, bytes);
                self.entry(key, value, BlobRecord::key_of(&digest), decode).await?;
            }
            _ => return self.name_entry(tag, key, value, f).await,
        }
        Ok(f.end())
    }
}
