//! Packages and versions as people look at them: how many, since when, the newest first.
//!
//! None of this is stored. When a package changed last is what its last event says; how many versions it has is counted, and
//! kept until it changes.

use std::{cmp::Reverse, collections::BTreeSet, sync::Arc};

use quick_cache::sync::Cache;

use super::{
    Registry, accounts, packages,
    profiles::Profile,
    records::{AuditRecord, Log, ManifestRecord},
    versions::Version,
};
use crate::{
    auth::{self, Action, Caller, Grant, PackageTarget, Pull, Restore, Verb},
    error::{Challenge, Error, Kind, Result, What},
    model::{Digest, Ecosystem, Numbered as _, PackageId, Timestamp, Visibility, number},
    store::{Key, MetadataRead, stream_key},
};

/// Packages whose count is kept; some ten bytes each.
const KEPT: usize = 16 << 10;
/// Records read at once.
const STRIDE: usize = 256;

/// How many versions packages have, and after which event.
#[derive(Debug, Clone)]
pub(crate) struct Counted(Arc<Cache<PackageId, (u64, u64)>>);

impl Default for Counted {
    fn default() -> Self {
        Self(Arc::new(Cache::new(KEPT)))
    }
}

/// A package as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageView {
    /// Which.
    pub package: PackageTarget,
    /// Whose.
    pub owner: Profile,
    /// When it was first pushed to.
    pub created: Timestamp,
    /// When anything about it changed last.
    pub updated: Timestamp,
    /// How many versions it has that are not deleted.
    pub versions: u64,
}

/// Which packages of an owner are asked for.
#[derive(Debug, Clone, Default)]
pub struct Shelf {
    /// The owner's name, in any case.
    pub owner: String,
    /// Of this type alone.
    pub ecosystem: Option<Ecosystem>,
    /// Of this visibility alone.
    pub visibility: Option<Visibility>,
    /// Only if the owner is an organization.
    pub organization: bool,
    /// None of them: what is asked for is nothing that a package can be.
    pub nothing: bool,
}

impl Shelf {
    fn holds(&self, package: &PackageTarget) -> bool {
        !self.nothing
            && self.ecosystem.is_none_or(|ecosystem| ecosystem == package.name.ecosystem())
            && self.visibility.is_none_or(|visibility| visibility == package.visibility)
    }
}

/// A part of a list, by its place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// How many are left out at the beginning.
    pub skip: usize,
    /// How many are shown at most.
    pub limit: usize,
}

impl Window {
    /// The part of a list that is there whole, and whether there is more behind it.
    pub fn of<T>(self, list: Vec<T>) -> (Vec<T>, bool) {
        let more = list.len() > self.end();
        (list.into_iter().skip(self.skip).take(self.limit).collect(), more)
    }

    fn end(self) -> usize {
        self.skip.saturating_add(self.limit)
    }
}

impl Registry {
    /// A part of an owner's packages, those that the viewer may read, in order of their paths; and whether there are more.
    ///
    /// # Errors
    /// Not found when there is no such owner. Unauthenticated for nobody in particular when there is nothing to be seen,
    /// whether or not there is such an owner.
    pub async fn package_page(
        &self,
        viewer: &Caller,
        shelf: &Shelf,
        window: Window,
    ) -> Result<(Vec<PackageView>, bool)> {
        if !viewer.bound_allows("*", Verb::Pull) {
            let kind = Kind::Unauthenticated(Challenge::Insufficient);
            return Err(Error::new(kind, "this bearer token was not issued for lists of packages"));
        }
        let account = accounts::by_name(self.meta.as_ref(), &shelf.owner).await?;
        let account = account.filter(|account| !shelf.organization || Profile::of(account).is_organization());
        if account.is_none() {
            auth::signed_in(viewer)?;
            let kind = if shelf.organization { "organization" } else { "user or organization" };
            return Err(Error::not_found(What::Owner, format!("there is no {kind} named {}", shelf.owner)));
        }
        let (mut seen, mut found, mut after) = (0usize, Vec::new(), None::<String>);
        loop {
            let page = self.packages_of(viewer, Some(&shelf.owner), after.as_deref(), STRIDE).await?;
            after = page.packages.last().map(|package| package.name.to_string());
            for package in page.packages.into_iter().filter(|package| shelf.holds(package)) {
                seen += 1;
                if seen > window.end() {
                    return Ok((self.views(&found).await?, true));
                }
                if seen > window.skip {
                    found.push(package);
                }
            }
            if !page.more || after.is_none() {
                break;
            }
        }
        if seen == 0 && viewer.is_anonymous() {
            auth::signed_in(viewer)?;
        }
        Ok((self.views(&found).await?, false))
    }

    async fn views(&self, found: &[PackageTarget]) -> Result<Vec<PackageView>> {
        let view = self.meta.snapshot()?;
        let mut views = Vec::with_capacity(found.len());
        for package in found {
            views.extend(self.view(view.as_ref(), package).await?);
        }
        Ok(views)
    }

    /// A package as it is shown.
    ///
    /// # Errors
    /// [`Kind::StaleGrant`] when it was deleted meanwhile.
    pub async fn package_view<A>(&self, grant: &Grant<A>) -> Result<PackageView>
    where
        A: Action<Target = PackageTarget>,
    {
        let view = self.meta.snapshot()?;
        let shown = self.view(view.as_ref(), grant.target()).await?;
        self.still(grant).await?;
        shown.ok_or_else(|| Error::new(Kind::StaleGrant, "the package was deleted meanwhile; try again"))
    }

    /// Whose a package is.
    ///
    /// # Errors
    /// [`Kind::StaleGrant`] when it was removed meanwhile.
    pub async fn owner_of<A>(&self, grant: &Grant<A>) -> Result<Profile>
    where
        A: Action<Target = PackageTarget>,
    {
        let owner = accounts::by_id(self.meta.as_ref(), grant.target().owner).await?;
        let owner = owner.ok_or_else(|| Error::new(Kind::StaleGrant, "the owner was removed meanwhile"))?;
        Ok(Profile::of(&owner))
    }

    /// `None`: it went between the list and this look at it.
    async fn view(&self, view: &dyn MetadataRead, package: &PackageTarget) -> Result<Option<PackageView>> {
        let Some(record) = packages::by_id(view, package.id).await? else { return Ok(None) };
        let Some(owner) = accounts::by_id(view, record.owner).await? else { return Ok(None) };
        if record.deleted.is_some() {
            return Ok(None);
        }
        let created = Timestamp(record.created);
        let (event, updated) = last_event(view, package.id).await?.unwrap_or((0, created));
        let known = self.counted.0.get(&package.id).filter(|(at, _)| *at == event);
        let versions = match known {
            Some((_, versions)) => versions,
            None => {
                let versions = count(view, &ManifestRecord::live(package.id)).await?;
                self.counted.0.insert(package.id, (event, versions));
                versions
            }
        };
        let updated = updated.max(created);
        let (package, owner) = (record.target()?, Profile::of(&owner));
        Ok(Some(PackageView { package, owner, created, updated, versions }))
    }

    /// A part of a package's versions, those pushed last first; and whether there are more. What it costs goes by all of
    /// them, its memory by the part and what lies before it.
    pub async fn version_page(&self, grant: &Grant<Pull>, window: Window) -> Result<(Vec<Version>, bool)> {
        self.newest(grant.target().id, window, |record| record.deleted.is_none().then_some(record.pushed))
            .await
    }

    /// The same of its deleted versions, those deleted last first.
    pub async fn deleted_version_page(
        &self,
        grant: &Grant<Restore>,
        window: Window,
    ) -> Result<(Vec<Version>, bool)> {
        let page = self.newest(grant.target().id, window, |record| record.deleted).await?;
        self.still(grant).await?;
        Ok(page)
    }

    async fn newest(
        &self,
        package: PackageId,
        window: Window,
        when: impl Fn(&ManifestRecord) -> Option<Timestamp>,
    ) -> Result<(Vec<Version>, bool)> {
        let view = self.meta.snapshot()?;
        let mut first: BTreeSet<(Reverse<Timestamp>, Digest)> = BTreeSet::new();
        let mut from = None;
        loop {
            let page = records(view.as_ref(), package, &ManifestRecord::all(package), from.as_ref()).await?;
            from = page.next;
            for record in page.list {
                if let Some(when) = when(&record) {
                    first.insert((Reverse(when), record.digest));
                    if first.len() > window.end().saturating_add(1) {
                        first.pop_last();
                    }
                }
            }
            if from.is_none() {
                break;
            }
        }
        let (shown, more) = window.of(first.into_iter().collect());
        let mut versions = Vec::with_capacity(shown.len());
        for (_, digest) in shown {
            let found = view.get(&ManifestRecord::key_of(package, &digest)).await?;
            if let Some(value) = found {
                let record = ManifestRecord::decode(package, digest, &value)?;
                versions.push(self.version(view.as_ref(), record).await?);
            }
        }
        Ok((versions, more))
    }

    /// The version of a number, as [`number`] says.
    ///
    /// # Errors
    /// Not found; conflict when more than one has it.
    pub async fn version_numbered(&self, grant: &Grant<Pull>, number: u64) -> Result<Version> {
        let view = self.meta.snapshot()?;
        let record = numbered(view.as_ref(), grant.target().id, number, false).await?;
        self.still(grant).await?;
        self.version(view.as_ref(), record).await
    }

    /// The version of a digest.
    ///
    /// # Errors
    /// Not found.
    pub async fn version_of(&self, grant: &Grant<Pull>, digest: &Digest) -> Result<Version> {
        let view = self.meta.snapshot()?;
        let package = grant.target().id;
        let found = view.get(&ManifestRecord::key_of(package, digest)).await?;
        let record = found.map(|value| ManifestRecord::decode(package, *digest, &value)).transpose()?;
        let record = record.filter(|record| record.deleted.is_none()).ok_or_else(no_such_version)?;
        self.still(grant).await?;
        self.version(view.as_ref(), record).await
    }

    /// The digest of the deleted version of a number.
    ///
    /// # Errors
    /// As of [`Self::version_numbered`].
    pub async fn deleted_numbered(&self, grant: &Grant<Restore>, number: u64) -> Result<Digest> {
        let view = self.meta.snapshot()?;
        Ok(numbered(view.as_ref(), grant.target().id, number, true).await?.digest)
    }
}

/// Manifests, read on.
struct Read {
    list: Vec<ManifestRecord>,
    next: Option<Key>,
}

async fn records(
    view: &dyn MetadataRead,
    package: PackageId,
    prefix: &Key,
    after: Option<&Key>,
) -> Result<Read> {
    let skip = ManifestRecord::all(package).bytes.len();
    let page = view.scan(prefix, after, STRIDE).await?;
    let next = if page.len() == STRIDE { page.last().map(|(key, _)| key.clone()) } else { None };
    let mut list = Vec::with_capacity(page.len());
    for (key, value) in &page {
        if let Some((digest, _)) = key.bytes.get(skip..).and_then(Digest::read_key) {
            list.push(ManifestRecord::decode(package, digest, value)?);
        }
    }
    Ok(Read { list, next })
}

async fn numbered(
    view: &dyn MetadataRead,
    package: PackageId,
    number: u64,
    deleted: bool,
) -> Result<ManifestRecord> {
    let mut found = Vec::new();
    for beginning in number::beginnings(number) {
        let prefix = ManifestRecord::all(package).with(&beginning);
        let mut from = None;
        loop {
            let page = records(view, package, &prefix, from.as_ref()).await?;
            let of_number = |record: &ManifestRecord| {
                record.digest.number() == number && record.deleted.is_some() == deleted
            };
            found.extend(page.list.into_iter().filter(of_number));
            from = page.next;
            if from.is_none() {
                break;
            }
        }
    }
    if found.len() > 1 {
        let text = "more than one version of this package has this number; use its digest instead";
        return Err(Error::new(Kind::Conflict(What::Manifest), text));
    }
    found.pop().ok_or_else(no_such_version)
}

fn no_such_version() -> Error {
    Error::not_found(What::Manifest, "this package has no such version")
}

async fn count(view: &dyn MetadataRead, prefix: &Key) -> Result<u64> {
    let (mut count, mut after) = (0, None);
    loop {
        let page = view.scan(prefix, after.as_ref(), 1000).await?;
        count += page.len() as u64;
        after = match page.last() {
            Some((last, _)) if page.len() == 1000 => Some(last.clone()),
            Some(_) | None => return Ok(count),
        };
    }
}

/// The number and time of a package's last event. Numbers grow by one and are never given again, so it is searched for as in
/// a sorted list: a few dozen seeks, were there millions.
async fn last_event(view: &dyn MetadataRead, package: PackageId) -> Result<Option<(u64, Timestamp)>> {
    let log = Log::Package(package);
    let stream = log.stream();
    let number = |key: &Key| key.bytes.last_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes));
    let (mut last, mut value, mut none_after) = (0u64, None, u64::MAX);
    while last < none_after {
        // Twice as far while the end is unknown, then halfway to it.
        let far = match none_after {
            u64::MAX => last.saturating_mul(2),
            known => last + (known - last) / 2,
        };
        let found = view.scan(&stream, Some(&stream_key(&stream, far)), 1).await?;
        match found.into_iter().next() {
            Some((key, bytes)) => {
                last = number(&key).ok_or_else(|| Error::internal("an event's key has no number"))?;
                value = Some(bytes);
            }
            None => none_after = far,
        }
    }
    let row = value.map(|bytes| AuditRecord::decode(log, last, &bytes)).transpose()?;
    Ok(row.map(|row| (last, Timestamp(row.entry.at))))
}
