//! The versions of a package, and what can be restored.

use super::{
    Registry, lists, packages,
    records::{DeletedTag, ManifestRecord, PackageRecord, TagRecord},
};
use crate::{
    auth::{Caller, Grant, PackageTarget, Pull, Restore, Verb},
    error::Result,
    model::{Digest, PackageId, PackageName, Reference, Role, Scope, Timestamp},
    store::{Key, MetadataRead},
};

/// A manifest as a list of versions shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Its name.
    pub digest: Digest,
    /// Its tags in bytewise order; of a deleted one, those that went with it.
    pub tags: Vec<String>,
    /// Its media type; of a signature and its like, the artifact type.
    pub kind: String,
    /// Bytes of the manifest itself.
    pub size: u64,
    /// When it was first pushed.
    pub pushed: Timestamp,
    /// When it was deleted, and until when it can be restored.
    pub deleted: Option<(Timestamp, Timestamp)>,
}

/// A page of versions, and where the next begins.
#[derive(Debug, Default)]
pub struct Versions {
    /// The page, in order of digests. May be empty although there are more.
    pub list: Vec<Version>,
    /// The last one looked at; absent on the last page.
    pub next: Option<Digest>,
}

/// A package that can be restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedPackage {
    /// The name it had, and will have.
    pub name: PackageName,
    /// Its id: a name may have been deleted more than once.
    pub id: PackageId,
    /// When it was deleted.
    pub deleted: Timestamp,
    /// Until when it can be restored.
    pub until: Timestamp,
}

impl Registry {
    /// A page of a package's versions, those that sort after `after`; looks at `limit` at most.
    pub async fn versions(
        &self,
        grant: &Grant<Pull>,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Versions> {
        self.list_versions(grant.target(), after, limit, false).await
    }

    /// The same of its deleted versions.
    pub async fn deleted_versions(
        &self,
        grant: &Grant<Restore>,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Versions> {
        self.list_versions(grant.target(), after, limit, true).await
    }

    async fn list_versions(
        &self,
        package: &PackageTarget,
        after: Option<&Digest>,
        limit: usize,
        deleted: bool,
    ) -> Result<Versions> {
        let view = self.meta.snapshot()?;
        let prefix = ManifestRecord::all(package.id);
        let after = after.map(|digest| ManifestRecord::key_of(package.id, digest));
        let page = view.scan(&prefix, after.as_ref(), limit).await?;
        let mut versions = Versions::default();
        for (key, value) in &page {
            let Some((digest, _)) = key.bytes.get(prefix.bytes.len()..).and_then(Digest::read_key) else {
                continue;
            };
            if page.len() == limit {
                versions.next = Some(digest);
            }
            let record = ManifestRecord::decode(package.id, digest, value)?;
            if record.deleted.is_some() == deleted {
                versions.list.push(self.version(view.as_ref(), record).await?);
            }
        }
        Ok(versions)
    }

    pub(super) async fn version(&self, view: &dyn MetadataRead, record: ManifestRecord) -> Result<Version> {
        let tags = match record.deleted {
            None => tags_of(view, &record).await?,
            Some(at) => deleted_tags_of(view, &record, at).await?,
        };
        let refers = record.subject.is_some() && !record.artifact_type.is_empty();
        let kind = if refers { record.artifact_type } else { record.media_type };
        Ok(Version {
            digest: record.digest,
            tags,
            kind,
            size: record.size,
            pushed: record.pushed,
            deleted: record.deleted.map(|at| (at, self.kept_until(at))),
        })
    }

    /// When a version or a tag was deleted, if it is and is still kept.
    pub async fn when_deleted(
        &self,
        grant: &Grant<Restore>,
        reference: &Reference,
    ) -> Result<Option<Timestamp>> {
        let package = grant.target().id;
        match reference {
            Reference::Digest(digest) => {
                Ok(self.manifest_record(package, digest).await?.and_then(|record| record.deleted))
            }
            Reference::Tag(tag) => {
                if self.tag_record(package, tag).await?.is_some() {
                    return Ok(None);
                }
                Ok(self.last_deleted(package, tag).await?.map(|(deleted, _)| deleted.deleted))
            }
        }
    }

    /// Until when what was deleted at a moment can be restored.
    pub fn kept_until(&self, deleted: Timestamp) -> Timestamp {
        deleted.plus_seconds(self.settings().keep_deleted)
    }

    /// The deleted packages of an owner, or of all, that a viewer may restore, in order of their paths: at most `limit`
    /// after `after`.
    pub async fn deleted_packages(
        &self,
        viewer: &Caller,
        owner: Option<&str>,
        after: Option<&DeletedPackage>,
        limit: usize,
    ) -> Result<Vec<DeletedPackage>> {
        let view = self.meta.snapshot()?;
        let mut eyes = lists::Eyes::new(self, view.as_ref(), viewer);
        let mut found = Vec::new();
        if !viewer.scopes.has(Scope::ReadPackages) {
            return Ok(found);
        }
        let start = after.map(|last| PackageRecord::deleted_prefix(&last.name).with(&last.id.bytes()));
        for beginning in packages::beginnings(owner) {
            let prefix = PackageRecord::deleted_paths(&beginning);
            let mut from: Option<Key> = match &start {
                Some(start) if start.bytes.starts_with(&prefix.bytes) => Some(start.clone()),
                Some(start) if *start > prefix => continue,
                Some(_) | None => None,
            };
            loop {
                let page = view.scan(&prefix, from.as_ref(), 256).await?;
                let Some((last, _)) = page.last() else { break };
                from = Some(last.clone());
                for id in page.iter().filter_map(|(key, _)| PackageRecord::id_in(key)) {
                    let Some(package) = packages::by_id(view.as_ref(), id).await? else { continue };
                    let Some(at) = package.deleted.map(Timestamp).filter(|_| !package.purging) else {
                        continue;
                    };
                    let covered = viewer.limits_cover(Some(package.owner), Some(id), Verb::Manage);
                    if !covered || eyes.role(&package).await? < Some(Role::Admin) {
                        continue;
                    }
                    let (name, until) = (package.package_name()?, self.kept_until(at));
                    found.push(DeletedPackage { name, id, deleted: at, until });
                    if found.len() == limit {
                        return Ok(found);
                    }
                }
            }
        }
        Ok(found)
    }
}

async fn tags_of(view: &dyn MetadataRead, record: &ManifestRecord) -> Result<Vec<String>> {
    let prefix = TagRecord::of_manifest(record.package, &record.digest);
    let entries = all(view, &prefix).await?;
    Ok(entries.iter().filter_map(|key| TagRecord::text_in(key, &prefix)).map(str::to_owned).collect())
}

async fn deleted_tags_of(
    view: &dyn MetadataRead,
    record: &ManifestRecord,
    at: Timestamp,
) -> Result<Vec<String>> {
    let mut tags = Vec::new();
    for key in all(view, &DeletedTag::of_manifest(record.package, &record.digest)).await? {
        let Some(value) = view.get(&key).await? else { continue };
        let deleted = DeletedTag::read(record.package, &key, &value)?;
        if deleted.with_manifest && deleted.deleted == at {
            tags.push(deleted.tag.to_string());
        }
    }
    Ok(tags)
}

/// The keys of a prefix.
async fn all(view: &dyn MetadataRead, prefix: &Key) -> Result<Vec<Key>> {
    let mut keys = Vec::new();
    let mut after = None;
    loop {
        let page = view.scan(prefix, after.as_ref(), 1000).await?;
        let Some((last, _)) = page.last() else { return Ok(keys) };
        after = Some(last.clone());
        keys.extend(page.into_iter().map(|(key, _)| key));
    }
}
