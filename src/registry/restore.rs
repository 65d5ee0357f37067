//! Undoing a deletion, while what was deleted is kept.

use super::{
    Registry, events,
    holds::As,
    packages,
    records::{DeletedTag, ManifestRecord, PackageRecord, State, TagRecord},
    revisions::{self, Outcome},
};
use crate::{
    auth::{Grant, Restore, Subject},
    error::{Error, Kind, Result, What},
    model::{Digest, PackageId, Tag},
    store::{Add, Batch, Prefix, Record},
};

/// What came back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restored {
    /// It was not deleted; nothing was done.
    pub already: bool,
    /// The tags that came back with it.
    pub tags: Vec<Tag>,
    /// The tags that it had and that name something else now; they stay as they are.
    pub taken: Vec<Tag>,
    /// How many manifests of an index came back with it.
    pub children: usize,
}

impl Registry {
    /// Restores a deleted manifest with the tags it had, except those that were put elsewhere meanwhile, and with the
    /// deleted manifests that it names if it is an index.
    ///
    /// # Errors
    /// Not found when it was never here or is gone for good.
    pub async fn restore_manifest(&self, grant: &Grant<Restore>, digest: &Digest) -> Result<Restored> {
        let mut under = self.under(grant);
        let package = grant.target().id;
        let mut children = 0;
        // Children first, each in a batch of its own: an index comes back only to what is there. A restart in between
        // leaves manifests that nothing names, as a push that is cut short does. A list, for towers may be high.
        let mut waiting = vec![*digest];
        while let Some(next) = waiting.last().copied() {
            let whole = waiting.len() == 1;
            let Some(old) = self.manifest_record(package, &next).await? else { return Err(gone(&next)) };
            if old.deleted.is_none() {
                if whole {
                    return Ok(Restored { already: true, ..Restored::default() });
                }
                waiting.pop();
                continue;
            }
            let mut batch = Batch::new();
            let deleted = self.expect_children(&mut batch, &old).await?;
            if !deleted.is_empty() {
                waiting.extend(deleted);
                continue;
            }
            // As if pushed now: what somebody wanted back does not go at once because it is old.
            let new = ManifestRecord { deleted: None, pushed: old.pushed.max(grant.at()), ..old.clone() };
            batch.replace(Some(&old), Some(&new));
            // What waited for it, or for a blob that only it holds, has it.
            let blobs = old.targets.iter().filter(|target| target.present && !target.manifest);
            let mut arrived = vec![(old.digest, As::Manifest)];
            arrived.extend(blobs.map(|target| (target.digest, As::Blob)));
            self.arrive(&mut batch, grant.target(), &arrived).await?;
            events::record(&mut batch, grant, "manifest.restore", Some(&old.digest), None);
            let mut restored = Restored::default();
            if whole {
                self.restore_tags(&mut batch, grant, &old, &mut restored).await?;
            }
            // A conflict: read it again.
            if under.commit(batch).await? == Outcome::Done {
                if whole {
                    return Ok(Restored { children, ..restored });
                }
                children += 1;
                waiting.pop();
            }
        }
        Err(gone(digest))
    }

    /// Expects that the manifests which a manifest names stay as they are. Those that are deleted are given back instead.
    async fn expect_children(&self, batch: &mut Batch, old: &ManifestRecord) -> Result<Vec<Digest>> {
        let named: Vec<Digest> =
            old.targets.iter().filter(|target| target.manifest).map(|target| target.digest).collect();
        let keys: Vec<_> = named.iter().map(|child| ManifestRecord::key_of(old.package, child)).collect();
        let values = self.meta.multi_get(&keys).await?;
        let mut deleted = Vec::new();
        for ((child, key), value) in named.iter().zip(keys).zip(values) {
            // A deleted index holds its manifests, so this one would have to be lost.
            let value = value.ok_or_else(|| gone(child))?;
            if ManifestRecord::decode(old.package, *child, &value)?.deleted.is_some() {
                deleted.push(*child);
            }
            batch.expect_equals(key, Some(value));
        }
        Ok(deleted)
    }

    /// Puts back the tags that went with a manifest. A tag that names something now is expected to: no live tag moves.
    async fn restore_tags(
        &self,
        batch: &mut Batch,
        grant: &Grant<Restore>,
        old: &ManifestRecord,
        restored: &mut Restored,
    ) -> Result<()> {
        let prefix = DeletedTag::of_manifest(old.package, &old.digest);
        let mut after = None;
        loop {
            let page = self.meta.scan(&prefix, after.as_ref(), 1000).await?;
            for (key, value) in &page {
                let deleted = DeletedTag::read(old.package, key, value)?;
                if !deleted.with_manifest || Some(deleted.deleted) != old.deleted {
                    continue;
                }
                match self.tag_record(old.package, &deleted.tag).await? {
                    Some(live) => {
                        batch.expect_equals(live.key(), Some(live.value()));
                        restored.taken.push(deleted.tag);
                    }
                    None => {
                        put_back(batch, grant, &deleted);
                        restored.tags.push(deleted.tag);
                    }
                }
            }
            if page.len() < 1000 {
                return Ok(());
            }
            after = page.last().map(|(key, _)| key.clone());
        }
    }

    /// Restores a deleted tag: the manifest that it named last, of those that are here.
    ///
    /// # Errors
    /// Not found when it was not deleted, or all that it named is deleted too; conflict when it names something now.
    pub async fn restore_tag(&self, grant: &Grant<Restore>, tag: &Tag) -> Result<Restored> {
        let package = grant.target().id;
        let mut under = self.under(grant);
        loop {
            let last = self.last_deleted(package, tag).await?;
            if let Some(live) = self.tag_record(package, tag).await? {
                if last.is_none_or(|(deleted, _)| deleted.digest == live.digest) {
                    return Ok(Restored { already: true, ..Restored::default() });
                }
                let text =
                    format!("{tag} names {} now, and a restore moves no tag; delete it first", live.digest);
                return Err(Error::new(Kind::Conflict(What::Tag), text));
            }
            let Some((deleted, manifest)) = last else {
                let text = format!("no deleted tag {tag} is kept here");
                return Err(Error::not_found(What::Tag, text));
            };
            let Some(manifest) = manifest else {
                let text =
                    format!("{tag} named {}, which is deleted too; restore that first", deleted.digest);
                return Err(Error::not_found(What::Tag, text));
            };
            let mut batch = Batch::new();
            batch.expect_equals(manifest.key(), Some(manifest.value()));
            put_back(&mut batch, grant, &deleted);
            if under.commit(batch).await? == Outcome::Done {
                return Ok(Restored { tags: vec![tag.clone()], ..Restored::default() });
            }
        }
    }

    /// The last deletion of a tag whose manifest is here, with the manifest; or the last one at all.
    pub(super) async fn last_deleted(
        &self,
        package: PackageId,
        tag: &Tag,
    ) -> Result<Option<(DeletedTag, Option<ManifestRecord>)>> {
        let prefix = DeletedTag::of_tag(package, tag);
        let mut last: Option<(DeletedTag, Option<ManifestRecord>)> = None;
        let mut after = None;
        loop {
            let page = self.meta.scan(&prefix, after.as_ref(), 256).await?;
            let Some((key, _)) = page.last() else { return Ok(last) };
            after = Some(key.clone());
            for digest in page.iter().filter_map(|(key, _)| DeletedTag::digest_in(key, &prefix)) {
                let key = DeletedTag::key_of(package, &digest, tag);
                let Some(value) = self.meta.get(&key).await? else { continue };
                let deleted = DeletedTag::decode(package, digest, tag.clone(), &value)?;
                let manifest = self.manifest_record(package, &digest).await?;
                let manifest = manifest.filter(|manifest| manifest.deleted.is_none());
                if manifest.is_some() || last.as_ref().is_none_or(|(_, live)| live.is_none()) {
                    last = Some((deleted, manifest));
                }
            }
        }
    }

    /// Restores a deleted package under its name, with everything it had.
    ///
    /// # Errors
    /// Conflict while another package has the name.
    pub async fn restore_package(&self, grant: &Grant<Restore>) -> Result<()> {
        let mut under = self.under(grant);
        loop {
            let old = self.package(grant.target()).await?;
            let name = old.package_name()?;
            if old.purging {
                return Err(Error::not_found(What::Package, format!("{name} is gone for good")));
            }
            let prefix = PackageRecord::name_prefix(&name);
            if let Some(other) = packages::by_name(self.meta.as_ref(), &name).await? {
                let text = match other.state {
                    State::Visible => {
                        format!("there is another package {name} now; delete that one first")
                    }
                    State::Pending => {
                        format!(
                            "uploads to a new package {name} are under way; delete that one first, or wait"
                        )
                    }
                };
                return Err(Error::new(Kind::Conflict(What::Package), text));
            }
            let new = PackageRecord { deleted: None, ..old.clone() };
            let mut batch = Batch::new();
            batch.expect_prefix(prefix.clone(), Prefix::Empty, prefix);
            batch.replace(Some(&old), Some(&new));
            revisions::bump(&mut batch, Subject::Package(old.id));
            events::of_whole(&mut batch, &old, grant.caller(), "package.restore")?;
            if under.commit(batch).await? == Outcome::Done {
                return Ok(());
            }
        }
    }
}

fn gone(digest: &Digest) -> Error {
    Error::not_found(What::Manifest, format!("no deleted version {digest} is kept here"))
}

/// Makes a deleted tag a live one, which must be free. It counts as moved now, as every tag that somebody puts.
fn put_back(batch: &mut Batch, grant: &Grant<Restore>, deleted: &DeletedTag) {
    let (package, digest) = (deleted.package, deleted.digest);
    let new = TagRecord { package, tag: deleted.tag.clone(), digest, moved: grant.at() };
    batch.replace(None, Some(&new));
    batch.replace(Some(deleted), None);
    batch.adds.push(Add { key: TagRecord::arrivals(package, &digest), amount: 1, at_most: None });
    events::record(batch, grant, "tag.restore", Some(&digest), Some(&deleted.tag));
}
