//! Reviews, trash, expiry: the queue space. Which trash is in use is found beside the files, since trash is by time.

use bytes::Bytes;

use super::{Check, Code, Found, fields::Fields};
use crate::{
    error::Result,
    model::PackageId,
    registry::{
        orphans::Seen,
        records::{DeletedTag, Due, ManifestRecord, PackageRecord, UploadRecord},
    },
    store::Key,
};

impl Check<'_> {
    pub(super) async fn queue(&mut self, key: &Key, value: &Bytes) -> Result<()> {
        let mut f = Fields(&key.bytes);
        if let [b'o', file @ ..] = key.bytes.as_slice() {
            if file.len() != 16 {
                self.unknown(key);
            } else {
                self.read(key, Seen::decode(value));
            }
            return Ok(());
        }
        let (tag, due) = (f.u8(), f.time());
        let known = match tag.filter(|_| due.is_some()) {
            // A review derives the truth anew, so one too many is no harm: only its form can be wrong.
            Some(b'q') => f.digest().and_then(|_| f.end()),
            Some(b't') => f.skip(16).and_then(|()| f.end()),
            // What was deleted under an earlier version; nothing reads it any more.
            Some(b'm') => {
                let mut batch = super::only_if(key, Some(value));
                batch.delete(key.clone());
                let found = Found::new(Code::IndexStray, super::shown(key), "an earlier version's queue");
                self.add(found.mended_by(batch));
                Some(())
            }
            Some(b'd') => match Due::read(key) {
                Some((_, due)) => {
                    self.due(key, value, due).await?;
                    Some(())
                }
                None => None,
            },
            Some(b'u') => match (f.upload(), f.end()) {
                (Some(id), Some(())) => {
                    let decode = |bytes: &[u8]| UploadRecord::decode(id, bytes);
                    self.entry(key, value, UploadRecord::key_of(id), decode).await?;
                    Some(())
                }
                _ => None,
            },
            _ => None,
        };
        let known = match tag {
            // In no order of time: the id follows at once.
            Some(b'z') if key.bytes.len() == 9 => {
                let id = PackageRecord::id_in(key).unwrap_or(PackageId(0));
                self.entry(key, value, PackageRecord::key_of(id), PackageRecord::decode).await?;
                Some(())
            }
            _ => known,
        };
        if known.is_none() {
            self.unknown(key);
        }
        Ok(())
    }

    /// The place of something deleted among all that was.
    async fn due(&mut self, key: &Key, value: &Bytes, due: Due) -> Result<()> {
        match due {
            Due::Tag(package, digest, tag) => {
                let at = DeletedTag::key_of(package, &digest, &tag);
                self.entry(key, value, at, |bytes| DeletedTag::decode(package, digest, tag, bytes)).await
            }
            Due::Manifest(package, digest) => {
                let at = ManifestRecord::key_of(package, &digest);
                self.entry(key, value, at, |bytes| ManifestRecord::decode(package, digest, bytes)).await
            }
            Due::Package(id) => {
                self.entry(key, value, PackageRecord::key_of(id), PackageRecord::decode).await
            }
        }
    }
}
