//! The end of what was deleted and not restored in time.
//!
//! Each thing goes in one batch: its record, what follows from it, its bytes if they are metadata, and a review for each
//! blob it held, so that collection looks at it again. A package goes piece by piece; from the batch that begins it,
//! nobody can restore it, and whatever stops it in between, the next step goes on where it was.

use bytes::Bytes;

use super::{
    Registry,
    events::{self, What as Event},
    packages, permissions,
    records::{
        BlobRecord, DeletedTag, Due, Hold, ManifestRecord, PackageRecord, PolicyOf, PolicyRecord, TagRecord,
        blob::{edges_in, review_key, wanting_in},
    },
    repositories::take_workflows,
    revisions::{self, Outcome},
};
use crate::{
    auth::{Caller, Subject},
    error::{Kind, Result},
    model::{Digest, PackageId, Tag, Timestamp},
    store::{Batch, Key, Prefix, Record as _, Space},
};

/// Index entries read at once.
const STRIDE: usize = 256;

impl Registry {
    /// Removes for good what was deleted longer ago than is kept, about `limit` things; says how many.
    pub async fn purge_deleted(&self, caller: &Caller, limit: usize) -> Result<usize> {
        let keep = self.settings().keep_deleted;
        let mut done = self.requeue(limit).await?;
        let mut after: Option<Key> = None;
        'queue: while done < limit {
            let page = self.meta.scan(&Due::all(), after.as_ref(), STRIDE).await?;
            for (key, _) in &page {
                let Some((deleted, due)) = Due::read(key) else {
                    tracing::warn!(
                        key = hex::encode(&key.bytes),
                        "an entry of the queue of deleted things cannot be read"
                    );
                    continue;
                };
                if deleted.plus_seconds(keep) > caller.at || done >= limit {
                    break 'queue;
                }
                match self.purge_entry(caller, key, deleted, &due).await {
                    Ok(gone) => done += usize::from(gone),
                    // What cannot be read stays, and keeps nothing behind it waiting. A check tells of it.
                    Err(error) if error.kind() == Kind::Internal => {
                        tracing::error!(%error, "something deleted cannot be purged");
                    }
                    Err(error) => return Err(error),
                }
            }
            // What has to wait is left where it is, and the walk goes on behind it.
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
        }
        let mut after: Option<Key> = None;
        while done < limit {
            let page = self.meta.scan(&PackageRecord::purging(), after.as_ref(), STRIDE).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for id in page.iter().filter_map(|(key, _)| PackageRecord::id_in(key)) {
                done += self.purge_package(caller, id, limit.saturating_sub(done)).await?;
            }
        }
        Ok(done)
    }

    /// Moves what release 0.1.0 queued, which nothing reads any more, to where it belongs now; says how much.
    async fn requeue(&self, limit: usize) -> Result<usize> {
        let mut moved = 0;
        for (key, _) in self.meta.scan(&Key::new(Space::Queue, b'm'), None, limit).await? {
            let mut batch = Batch::new();
            batch.delete(key.clone());
            let fields = key.bytes.get(9..).and_then(|rest| rest.split_first_chunk::<8>());
            if let Some((package, Some((digest, _)))) = fields.map(|(id, rest)| (id, Digest::read_key(rest)))
            {
                let package = PackageId(u64::from_be_bytes(*package));
                let record = match self.manifest_record(package, &digest).await {
                    // One that cannot be read keeps its place: what becomes of it is for a check to say.
                    Err(error) if error.kind() == Kind::Internal => continue,
                    other => other?,
                };
                if let Some(record) = record {
                    batch.expect_equals(record.key(), Some(record.value()));
                    record.index().into_iter().for_each(|entry| batch.put(entry, Bytes::new()));
                }
            }
            batch.lazy = true;
            moved += usize::from(self.commit_job(batch).await? == Outcome::Done);
        }
        Ok(moved)
    }

    /// Whether one entry of the queue was dealt with. What was restored or deleted anew meanwhile has another entry or none.
    async fn purge_entry(&self, caller: &Caller, key: &Key, deleted: Timestamp, due: &Due) -> Result<bool> {
        let mut batch = Batch::new();
        match due {
            Due::Tag(package, digest, tag) => {
                let old = self.deleted_tag(*package, digest, tag).await?;
                match old.filter(|old| old.deleted == deleted) {
                    Some(old) => batch.replace(Some(&old), None),
                    None => batch.delete(key.clone()),
                }
            }
            Due::Manifest(package, digest) => {
                let old = self.manifest_record(*package, digest).await?;
                match old.filter(|old| old.deleted == Some(deleted)) {
                    Some(old) => {
                        if self.expect_unnamed(&mut batch, &old).await?.is_none() {
                            return Ok(false);
                        }
                        purge_manifest(&mut batch, &old, caller.at);
                        let action = "manifest.purge";
                        let event = Event { action, digest: Some(digest), tag: None, detail: None };
                        events::of_package(
                            &mut batch,
                            events::stream_of(old.owner, *package),
                            caller,
                            &event,
                        );
                    }
                    None => batch.delete(key.clone()),
                }
            }
            Due::Package(id) => {
                let old = packages::by_id(self.meta.as_ref(), *id).await?;
                match old.filter(|old| old.deleted == Some(deleted.0) && !old.purging) {
                    Some(old) => {
                        batch.replace(Some(&old), Some(&PackageRecord { purging: true, ..old.clone() }));
                        revisions::bump(&mut batch, Subject::Package(*id));
                    }
                    None => batch.delete(key.clone()),
                }
            }
        }
        // Nothing is lost with it: what a crash undoes is done again. A conflict: somebody restored it, or another step
        // of this job was faster.
        batch.lazy = true;
        Ok(self.commit_job(batch).await? == Outcome::Done)
    }

    /// Expects that no deleted index names a manifest: an index never comes back to less than it had. `None`: one does. It
    /// was deleted no later than its manifests, give or take a request's time, so it goes about now too. A live index that
    /// names what is deleted names it as a blob, and needs no manifest.
    async fn expect_unnamed(&self, batch: &mut Batch, old: &ManifestRecord) -> Result<Option<()>> {
        let parents = edges_in(&old.digest, Hold::HeldChild, old.owner, old.package);
        if self.meta.any(&parents).await? {
            return Ok(None);
        }
        batch.expect_prefix(parents, Prefix::Empty, BlobRecord::key_of(&old.digest));
        Ok(Some(()))
    }

    /// A step of a package's end: about `limit` of its things, or itself when nothing else is left. Says how many went.
    /// Tags first, and counts last: what is left in between disagrees with itself in nothing but an index that names
    /// manifests which went before it.
    async fn purge_package(&self, caller: &Caller, id: PackageId, limit: usize) -> Result<usize> {
        let Some(package) = packages::by_id(self.meta.as_ref(), id).await? else { return Ok(0) };
        let mut batch = Batch::new();
        let mut pieces = 0;
        for (key, value) in self.meta.scan(&TagRecord::all(id), None, STRIDE).await? {
            let Some(tag) = TagRecord::text_in(&key, &TagRecord::all(id)) else { continue };
            batch.replace(Some(&TagRecord::decode(id, Tag::parse(tag)?, &value)?), None);
            pieces += 1;
        }
        for (key, value) in self.meta.scan(&DeletedTag::all(id), None, STRIDE).await? {
            batch.replace(Some(&DeletedTag::read(id, &key, &value)?), None);
            pieces += 1;
        }
        if pieces > 0 {
            return self.purge_pieces(batch, pieces).await;
        }
        // One at least: none found must mean that none is there.
        let manifests = self.meta.scan(&ManifestRecord::all(id), None, limit.clamp(1, STRIDE)).await?;
        if !manifests.is_empty() {
            return self.purge_manifests(id, &manifests, caller.at).await;
        }
        for counters in [TagRecord::all_arrivals(id), wanting_in(id)] {
            for (key, _) in self.meta.scan(&counters, None, STRIDE).await? {
                batch.delete(key);
                pieces += 1;
            }
        }
        if pieces > 0 {
            return self.purge_pieces(batch, pieces).await;
        }
        self.purge_record(caller, &package).await
    }

    async fn purge_pieces(&self, mut batch: Batch, pieces: usize) -> Result<usize> {
        batch.lazy = true;
        let done = self.commit_job(batch).await? == Outcome::Done;
        Ok(if done { pieces } else { 0 })
    }

    async fn purge_manifests(&self, id: PackageId, page: &[(Key, Bytes)], at: Timestamp) -> Result<usize> {
        let mut done = 0;
        let prefix = ManifestRecord::all(id).bytes.len();
        for (key, value) in page {
            let Some((digest, _)) = key.bytes.get(prefix..).and_then(Digest::read_key) else { continue };
            let mut batch = Batch::new();
            purge_manifest(&mut batch, &ManifestRecord::decode(id, digest, value)?, at);
            batch.lazy = true;
            done += usize::from(self.commit_job(batch).await? == Outcome::Done);
        }
        Ok(done)
    }

    /// The package itself, when its uploads and leases are over too. What happened in it stays on record.
    async fn purge_record(&self, caller: &Caller, package: &PackageRecord) -> Result<usize> {
        let mut batch = Batch::new();
        if self.expect_unused(&mut batch, package.id, caller.at).await?.is_none() {
            return Ok(0);
        }
        for left in [ManifestRecord::all(package.id), TagRecord::all(package.id), DeletedTag::all(package.id)]
        {
            batch.expect_prefix(left.clone(), Prefix::Empty, left);
        }
        permissions::take_all(self.meta.as_ref(), &mut batch, package.id).await?;
        take_workflows(self.meta.as_ref(), &mut batch, package.id).await?;
        batch.delete(PolicyRecord::key_of(PolicyOf::Package(package.id)));
        batch.replace(Some(package), None);
        revisions::bump(&mut batch, Subject::Package(package.id));
        events::of_whole(&mut batch, package, caller, "package.purge")?;
        Ok(usize::from(self.commit_job(batch).await? == Outcome::Done))
    }

    async fn deleted_tag(
        &self,
        package: PackageId,
        digest: &Digest,
        tag: &Tag,
    ) -> Result<Option<DeletedTag>> {
        let value = self.meta.get(&DeletedTag::key_of(package, digest, tag)).await?;
        value.map(|value| DeletedTag::decode(package, *digest, tag.clone(), &value)).transpose()
    }
}

/// Takes a manifest away: its record with its edges, its bytes, its count of tags. That count may begin again from
/// nothing, since whoever expects the old one expects the old record too, which was pushed at another time.
fn purge_manifest(batch: &mut Batch, old: &ManifestRecord, at: Timestamp) {
    batch.replace(Some(old), None);
    batch.delete(ManifestRecord::body_key(old.package, &old.digest));
    batch.delete(TagRecord::arrivals(old.package, &old.digest));
    for target in old.targets.iter().filter(|target| target.present) {
        batch.put(review_key(at, &target.digest), Bytes::new());
    }
}
