//! All manifests of a package, for those who take it somewhere else.

use super::ManifestHead;
use crate::{
    auth::{Grant, Pull},
    error::Result,
    model::Digest,
    registry::{Registry, records::ManifestRecord},
};

impl Registry {
    /// A page of a package's manifests that are not deleted, in order of their digests: those after `after`. An empty page
    /// is the end.
    pub async fn manifests(
        &self,
        grant: &Grant<Pull>,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Vec<ManifestHead>> {
        let package = grant.target().id;
        let prefix = ManifestRecord::live(package);
        let mut from = after.map(|digest| {
            let mut key = prefix.clone();
            digest.write_key(&mut key.bytes);
            key
        });
        loop {
            let page = self.meta.scan(&prefix, from.as_ref(), limit).await?;
            let mut heads = Vec::with_capacity(page.len());
            for (key, _) in &page {
                let Some((digest, _)) = Digest::read_key(&key.bytes[prefix.bytes.len()..]) else { continue };
                // Deleted between the two reads, perhaps.
                let Some(record) = self.manifest_record(package, &digest).await? else { continue };
                if record.deleted.is_none() {
                    heads.push(ManifestHead { digest, media_type: record.media_type, size: record.size });
                }
            }
            // A page of which nothing is left is not the end.
            if !heads.is_empty() || page.len() < limit {
                return Ok(heads);
            }
            from = page.last().map(|(key, _)| key.clone());
        }
    }
}
