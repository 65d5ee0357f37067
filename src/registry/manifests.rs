//! Manifests: put, get, list. A manifest, its edges, its tags and its events are one batch.

mod list;
mod put;

pub(crate) use put::WANTING;
pub use put::{Condition, PutManifest, Stored};

use bytes::Bytes;

use super::{
    Registry,
    records::{ManifestRecord, TagRecord},
};
use crate::{
    auth::{Grant, Pull},
    error::{Error, Result, What},
    model::{Digest, PackageId, Reference, Tag},
};

/// A manifest without its bytes.
#[derive(Debug, Clone)]
pub struct ManifestHead {
    /// Its name.
    pub digest: Digest,
    /// Its media type, as pushed.
    pub media_type: String,
    /// Its size in bytes.
    pub size: u64,
}

pub(crate) fn unknown_manifest(reference: &Reference) -> Error {
    Error::not_found(What::Manifest, format!("this repository holds no manifest {reference}"))
}

impl Registry {
    /// The digest a tag names.
    pub(crate) async fn tag_record(&self, package: PackageId, tag: &Tag) -> Result<Option<TagRecord>> {
        let value = self.meta.get(&TagRecord::key_of(package, tag.as_str())).await?;
        value.map(|value| TagRecord::decode(package, tag.clone(), &value)).transpose()
    }

    /// A manifest's record, deleted or not.
    pub(crate) async fn manifest_record(
        &self,
        package: PackageId,
        digest: &Digest,
    ) -> Result<Option<ManifestRecord>> {
        let value = self.meta.get(&ManifestRecord::key_of(package, digest)).await?;
        value.map(|value| ManifestRecord::decode(package, *digest, &value)).transpose()
    }

    /// Finds a manifest by tag or digest.
    ///
    /// # Errors
    /// Not found; [`crate::error::Kind::StaleGrant`] when the right ended meanwhile.
    pub async fn stat_manifest(&self, grant: &Grant<Pull>, reference: &Reference) -> Result<ManifestHead> {
        let package = grant.target().id;
        let mut tagged = None;
        // The tag and the record are two reads: a tag that moved in between, away from a manifest that then went, is read
        // again. One that still names the same manifest names none.
        for _ in 0..16 {
            let digest = match reference {
                Reference::Digest(digest) => *digest,
                Reference::Tag(tag) => {
                    self.tag_record(package, tag).await?.ok_or_else(|| unknown_manifest(reference))?.digest
                }
            };
            let record = self.manifest_record(package, &digest).await?;
            if let Some(record) = record.filter(|record| record.deleted.is_none()) {
                self.still(grant).await?;
                return Ok(ManifestHead { digest, media_type: record.media_type, size: record.size });
            }
            if matches!(reference, Reference::Digest(_)) || tagged.replace(digest) == Some(digest) {
                break;
            }
        }
        Err(unknown_manifest(reference))
    }

    /// The bytes of a manifest that [`Self::stat_manifest`] found under the same grant.
    pub async fn manifest_bytes(&self, grant: &Grant<Pull>, head: &ManifestHead) -> Result<Bytes> {
        if let Some(bytes) = self.hot.get(&head.digest) {
            return Ok(bytes);
        }
        let key = ManifestRecord::body_key(grant.target().id, &head.digest);
        let bytes = self.meta.get(&key).await?.ok_or_else(|| {
            Error::internal(format!("manifest {} is recorded and its bytes are missing", head.digest))
        })?;
        // What is kept in memory by digest must be of that digest.
        if Digest::of(head.digest.algorithm(), &bytes) != head.digest {
            let text = format!("the stored bytes of manifest {} are not what its digest says", head.digest);
            return Err(Error::internal(text));
        }
        self.hot.insert(&head.digest, &bytes);
        Ok(bytes)
    }

    /// The tags that name a manifest.
    pub(crate) async fn tags_of(&self, package: PackageId, digest: &Digest) -> Result<Vec<TagRecord>> {
        let prefix = TagRecord::of_manifest(package, digest);
        let mut tags = Vec::new();
        let mut after = None;
        loop {
            let page = self.meta.scan(&prefix, after.as_ref(), 1000).await?;
            for (key, _) in &page {
                let Some(text) = TagRecord::text_in(key, &prefix) else { continue };
                if let Some(record) = self.tag_record(package, &Tag::parse(text)?).await?
                    && record.digest == *digest
                {
                    tags.push(record);
                }
            }
            if page.len() < 1000 {
                return Ok(tags);
            }
            after = page.last().map(|(key, _)| key.clone());
        }
    }

    /// A page of a package's tags, in bytewise order, those after `after` and at most `limit`.
    pub async fn tags(&self, grant: &Grant<Pull>, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        let package = grant.target().id;
        let prefix = TagRecord::all(package);
        // What follows `last` need not be a tag itself: any text marks a place in the order.
        let after = after.filter(|text| !text.is_empty()).map(|text| TagRecord::key_of(package, text));
        let page = self.meta.scan(&prefix, after.as_ref(), limit).await?;
        self.still(grant).await?;
        Ok(page.iter().filter_map(|(key, _)| TagRecord::text_in(key, &prefix)).map(str::to_owned).collect())
    }
}
