//! Accounts, packages, roles, tokens, upload sessions.

use bytes::Bytes;

use super::{Check, Code, Found, fields::Fields, only_if, shown};
use crate::{
    error::Result,
    model::{Hasher, OwnerId, PackageId},
    registry::{
        accounts, packages,
        records::{
            AccountKind, AccountRecord, FactorRecord, Held, ManifestRecord, MemberRecord, PackageRecord,
            PolicyOf, PolicyRecord, RoleRecord, State, TokenRecord, UploadRecord, decode_password,
        },
    },
    store::{Batch, Key, Record},
};

impl Check<'_> {
    /// The account of an id, if it is there and can be read; one that cannot be read is a finding of its own.
    async fn who(&self, id: OwnerId) -> Result<Option<AccountRecord>> {
        Ok(accounts::by_id(self.view, id).await.unwrap_or_default())
    }

    /// A package by name, for people; by id when it has none.
    pub(super) async fn place(&self, id: PackageId) -> String {
        let record = packages::by_id(self.view, id).await.ok().flatten();
        let name = record.and_then(|record| record.package_name().ok());
        name.map_or_else(|| id.to_string(), |name| name.to_string())
    }

    /// Whether a package is there. One that cannot be read is, and is a finding of its own.
    pub(super) async fn package_exists(&self, id: PackageId) -> Result<bool> {
        Ok(self.view.get(&PackageRecord::key_of(id)).await?.is_some())
    }

    /// Whether a package is on its way out for good, so that parts of it are missing.
    pub(super) async fn is_purging(&self, id: PackageId) -> Result<bool> {
        let value = self.view.get(&PackageRecord::key_of(id)).await?;
        Ok(value.and_then(|value| PackageRecord::decode(&value).ok()).is_some_and(|package| package.purging))
    }

    pub(super) async fn account(&mut self, key: &Key, value: &Bytes) -> Result<()> {
        let Some(account) = self.read(key, AccountRecord::decode(value)) else { return Ok(()) };
        let object = format!("account {}", account.name);
        self.record(key, value, &account, &object).await?;
        if let Some(owner) = account.robot_of
            && self.view.get(&AccountRecord::key_of(owner)).await?.is_none()
        {
            self.useless(Code::AccountMissing, &object, format!("its owner {owner} is not there"), &account);
        }
        Ok(())
    }

    pub(super) async fn password(&mut self, key: &Key, value: &Bytes) -> Result<()> {
        let Some(user) = AccountRecord::id_in(key) else { return Ok(()) };
        if self.read(key, decode_password(value)).is_none() {
            return Ok(());
        }
        let at = AccountRecord::key_of(user);
        if self.view.get(&at).await?.is_none() {
            let mut batch = only_if(key, Some(value));
            batch.expect_absent(at);
            batch.delete(key.clone());
            let text = "it is the password of an account that is not there";
            self.add(Found::new(Code::AccountMissing, format!("password {user}"), text).mended_by(batch));
        }
        Ok(())
    }

    pub(super) async fn factor(&mut self, key: &Key, value: &Bytes) -> Result<()> {
        let Some(factor) = self.read(key, FactorRecord::decode(value)) else { return Ok(()) };
        let object = format!("second factor {}", factor.user);
        self.record(key, value, &factor, &object).await?;
        if self.read(key, factor.totp()).is_some() && self.who(factor.user).await?.is_none() {
            let text = format!("there is no account {}", factor.user);
            self.useless(Code::AccountMissing, &object, text, &factor);
        }
        Ok(())
    }

    pub(super) async fn member(&mut self, key: &Key, value: &Bytes) -> Result<()> {
        let Some(member) = self.read(key, MemberRecord::decode(value)) else { return Ok(()) };
        let object = format!("member {} of {}", member.user, member.organization);
        self.record(key, value, &member, &object).await?;
        for (id, kind) in [(member.organization, AccountKind::Organization), (member.user, AccountKind::User)]
        {
            if self.view.get(&AccountRecord::key_of(id)).await?.is_none() {
                self.useless(Code::AccountMissing, &object, format!("there is no account {id}"), &member);
            } else if self.who(id).await?.is_some_and(|account| account.kind != kind) {
                self.find(Code::AccountMissing, &object, format!("account {id} is of another kind"));
            }
        }
        Ok(())
    }

    pub(super) async fn package(&mut self, key: &Key, value: &Bytes) -> Result<()> {
        let Some(package) = self.read(key, PackageRecord::decode(value)) else { return Ok(()) };
        let object = match package.package_name() {
            Ok(name) => format!("package {name}"),
            Err(error) => {
                self.broken(key, &error);
                return Ok(());
            }
        };
        self.record(key, value, &package, &object).await?;
        match self.who(package.owner).await? {
            None if self.view.get(&AccountRecord::key_of(package.owner)).await?.is_none() => {
                let text = format!("its owner {} is not there", package.owner);
                self.find(Code::AccountMissing, &object, text);
            }
            Some(owner) if owner.folded() != package.owner_name => {
                self.find(Code::OwnerWrong, &object, format!("its owner's name is {}", owner.folded()));
            }
            _ => {}
        }
        self.link(&package, &object).await?;
        if package.state == State::Pending && self.view.any(&ManifestRecord::all(package.id)).await? {
            let visible = PackageRecord { state: State::Visible, ..package.clone() };
            let mut batch = Batch::new();
            batch.replace(Some(&package), Some(&visible));
            let text = "it holds manifests, and is not listed as if it held none";
            self.add(Found::new(Code::PackageState, object, text).mended_by(batch));
        }
        Ok(())
    }

    pub(super) async fn role(&mut self, key: &Key, value: &Bytes) -> Result<()> {
        let Some(role) = self.read(key, RoleRecord::decode(value)) else { return Ok(()) };
        let object = format!("role of {} on {}", role.user, self.place(role.package).await);
        self.record(key, value, &role, &object).await?;
        if !self.package_exists(role.package).await? {
            self.useless(Code::PackageMissing, &object, "there is no such package".into(), &role);
        } else if self.view.get(&AccountRecord::key_of(role.user)).await?.is_none() {
            self.useless(Code::AccountMissing, &object, "there is no such user".into(), &role);
        } else if let Ok(Some(package)) = packages::by_id(self.view, role.package).await
            && package.owner != role.owner
        {
            let text = format!("it says that {} owns the package, and {} does", role.owner, package.owner);
            self.find(Code::OwnerWrong, &object, text);
        } else if let Ok(Some(package)) = packages::by_id(self.view, role.package).await
            && let Ok(path) = package.package_name().map(|name| name.to_string())
            && path != role.path
        {
            let text =
                format!("it says that the package is {:?}, so the user's lists leave it out", role.path);
            let mut batch = Batch::new();
            batch.expect_equals(package.key(), Some(package.value()));
            batch.replace(Some(&role), Some(&RoleRecord { path, ..role.clone() }));
            self.add(Found::new(Code::PathWrong, &object, text).mended_by(batch));
        }
        Ok(())
    }

    pub(super) async fn policy(&mut self, key: &Key, value: &Bytes) -> Result<()> {
        let Some(policy) = self.read(key, PolicyRecord::decode(value)) else { return Ok(()) };
        let (object, missing) = match policy.of {
            PolicyOf::Owner(owner) => {
                let there = self.view.get(&AccountRecord::key_of(owner)).await?.is_some();
                (format!("policy of owner {owner}"), (!there).then_some(Code::AccountMissing))
            }
            PolicyOf::Package(package) => {
                let there = self.package_exists(package).await?;
                let object = format!("policy of {}", self.place(package).await);
                (object, (!there).then_some(Code::PackageMissing))
            }
        };
        self.record(key, value, &policy, &object).await?;
        if let Some(code) = missing {
            self.useless(code, &object, "whose policy it is, is not there".into(), &policy);
        }
        Ok(())
    }

    pub(super) async fn token(&mut self, key: &Key, value: &Bytes) -> Result<()> {
        let Some(token) = self.read(key, TokenRecord::decode(value)) else { return Ok(()) };
        let object = format!("token {}", token.id);
        self.record(key, value, &token, &object).await?;
        if let Err(error) = token.kind() {
            self.broken(key, &error);
        }
        if self.view.get(&AccountRecord::key_of(token.user)).await?.is_none() {
            self.useless(Code::AccountMissing, &object, format!("there is no user {}", token.user), &token);
        }
        Ok(())
    }

    pub(super) fn revision(&mut self, key: &Key, value: &Bytes, mut f: Fields<'_>) -> Option<()> {
        let length = match f.u8()? {
            1..=4 | 7..=9 => 8,
            5 => 16,
            6 => 9,
            _ => return None,
        };
        f.skip(length)?;
        self.counter(key, value);
        f.end()
    }

    /// A counter's value; one that has another length is a finding.
    pub(super) fn counter(&mut self, key: &Key, value: &Bytes) -> i64 {
        if value.len() != 8 {
            self.find(Code::ValueBroken, shown(key), "it is to be a number of 8 bytes");
        }
        crate::store::counter(Some(value))
    }

    pub(super) async fn upload(&mut self, key: &Key, value: &Bytes) -> Result<()> {
        let Some(id) = Fields(&key.bytes[1..]).upload() else { return Ok(()) };
        let Some(record) = &self.read(key, UploadRecord::decode(id, value)) else { return Ok(()) };
        let object = format!("upload {}", record.id);
        self.record(key, value, record, &object).await?;
        if !self.package_exists(record.package).await? {
            let text = format!("it is to go to the package {}, which is not there", record.package);
            self.useless(Code::PackageMissing, &object, text, record);
        }
        if Hasher::restore(&record.hash).is_none() {
            self.find(Code::UploadState, &object, "its hash state is of another version, or broken");
        }
        let held = match &record.held {
            Held::Row(bytes) => bytes.len() as u64,
            Held::File(file) => self.registry.upload_holds(*file, record).await?.unwrap_or(record.offset),
        };
        if held < record.offset {
            // Begun again, as the next request on it would: under no file, so that what is there is not touched.
            let again = record.begun_again();
            let mut batch = Batch::new();
            batch.replace(Some(record), Some(&again));
            let text = format!("it claims {} bytes, and {held} are there", record.offset);
            self.add(Found::new(Code::UploadShort, object, text).mended_by(batch));
        }
        Ok(())
    }
}
