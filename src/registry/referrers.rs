//! What refers to a manifest: signatures, SBOMs, attestations.

use super::{Registry, records::ManifestRecord};
use crate::{
    auth::{Grant, Pull},
    error::Result,
    model::{Digest, manifest::media},
    store::Key,
};

/// A manifest as a list of referrers shows it.
#[derive(Debug, Clone)]
pub struct Referrer {
    /// Its name.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its artifact type, if it has one.
    pub artifact_type: Option<String>,
    /// Its annotations as a JSON object; empty for none.
    pub annotations: String,
}

/// A page of referrers, and where the next begins.
#[derive(Debug, Default)]
pub struct Referrers {
    /// The page.
    pub list: Vec<Referrer>,
    /// An opaque cursor; absent on the last page.
    pub next: Option<Vec<u8>>,
}

/// Most referrers on one page.
const PAGE: usize = 500;
/// Most bytes of annotations and types on one page: an index must stay below 4 MiB.
const PAGE_BYTES: usize = 3 << 20;

impl Registry {
    /// A page of the manifests of a package that refer to `subject`, which need not exist. With types: only those.
    pub async fn referrers(
        &self,
        grant: &Grant<Pull>,
        subject: &Digest,
        types: &[String],
        after: Option<&[u8]>,
    ) -> Result<Referrers> {
        let package = grant.target().id;
        let all = ManifestRecord::referrers_of(package, subject);
        let prefix = match types {
            [one] => ManifestRecord::referrers_typed(package, subject, one),
            _ => all.clone(),
        };
        let mut page = Referrers::default();
        let mut bytes = 0;
        let mut cursor: Option<Key> = after.map(|suffix| all.clone().with(suffix));
        loop {
            let found = self.meta.scan(&prefix, cursor.as_ref(), PAGE).await?;
            let last = found.len() < PAGE;
            for (key, _) in found {
                if let Some(referrer) = self.referrer(package, subject, &key, types).await? {
                    let size = referrer.annotations.len() + referrer.media_type.len() + media::MAX + 256;
                    if page.list.len() >= PAGE || (bytes + size > PAGE_BYTES && !page.list.is_empty()) {
                        page.next = cursor.map(|key| key.bytes[all.bytes.len()..].to_vec());
                        self.still(grant).await?;
                        return Ok(page);
                    }
                    bytes += size;
                    page.list.push(referrer);
                }
                cursor = Some(key);
            }
            if last {
                self.still(grant).await?;
                return Ok(page);
            }
        }
    }

    async fn referrer(
        &self,
        package: crate::model::PackageId,
        subject: &Digest,
        key: &Key,
        types: &[String],
    ) -> Result<Option<Referrer>> {
        let Some(digest) = ManifestRecord::referrer_in(key, package, subject) else { return Ok(None) };
        // Between the scan and this read it may have been deleted.
        let Some(record) = self.manifest_record(package, &digest).await? else { return Ok(None) };
        if record.deleted.is_some() || !(types.is_empty() || types.contains(&record.artifact_type)) {
            return Ok(None);
        }
        Ok(Some(Referrer {
            digest,
            media_type: record.media_type,
            size: record.size,
            artifact_type: Some(record.artifact_type).filter(|text| !text.is_empty()),
            annotations: record.annotations,
        }))
    }
}
