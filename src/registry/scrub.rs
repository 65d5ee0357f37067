//! Whether stored bytes are still what they were stored as.

use bytes::Bytes;

use super::{
    Registry,
    records::{BlobRecord, Damage, Location},
};
use crate::{
    error::{Error, Kind, Result},
    model::{Digest, Hasher},
    store::OpenBlob,
};

/// Bytes read at once.
const CHUNK: usize = 256 << 10;

impl Registry {
    /// What is wrong with a blob's bytes as they are stored now, if anything, and how many were hashed to find out.
    /// `deep`: not only whether they are there and how many, but each of them.
    ///
    /// # Errors
    /// When the store as a whole cannot be asked.
    pub(crate) async fn inspect(&self, blob: &BlobRecord, deep: bool) -> Result<(Option<Damage>, u64)> {
        let key = match blob.location {
            Location::Inline => {
                let bytes = self.meta.get(&BlobRecord::inline_key(&blob.digest)).await?;
                return Ok((inline_damage(blob, bytes.as_ref()), blob.size));
            }
            Location::Physical(key) => key,
        };
        match self.blobs.stat(key).await? {
            None => return Ok((Some(Damage::Missing), 0)),
            Some(file) if file.size != blob.size => return Ok((Some(Damage::Size), 0)),
            Some(_) if !deep => return Ok((None, 0)),
            Some(_) => {}
        }
        let open = match self.blobs.inspect(key).await {
            Ok(open) => open,
            Err(error) if matches!(error.kind(), Kind::NotFound(_)) => return Ok((Some(Damage::Missing), 0)),
            Err(error) => return unreadable(blob, &error),
        };
        match hash(open.as_ref(), Hasher::new(blob.digest.algorithm())).await {
            Ok((found, hashed)) if hashed != blob.size || found != blob.digest => {
                let damage = if hashed == blob.size { Damage::Altered } else { Damage::Size };
                Ok((Some(damage), hashed))
            }
            Ok((_, hashed)) => Ok((None, hashed)),
            Err(error) => unreadable(blob, &error),
        }
    }
}

fn unreadable(blob: &BlobRecord, error: &Error) -> Result<(Option<Damage>, u64)> {
    tracing::error!(digest = %blob.digest, %error, "a blob cannot be read");
    Ok((Some(Damage::Unreadable), 0))
}

/// What is wrong with bytes that lie in metadata.
pub(crate) fn inline_damage(blob: &BlobRecord, bytes: Option<&Bytes>) -> Option<Damage> {
    match bytes {
        None => Some(Damage::Missing),
        Some(bytes) if bytes.len() as u64 != blob.size => Some(Damage::Size),
        Some(bytes) if Digest::of(blob.digest.algorithm(), bytes) != blob.digest => Some(Damage::Altered),
        Some(_) => None,
    }
}

/// The digest of all bytes of an open blob, and how many there are.
async fn hash(open: &dyn OpenBlob, mut hasher: Hasher) -> Result<(Digest, u64)> {
    let mut offset = 0;
    while offset < open.size() {
        let bytes = open.read(offset, CHUNK).await?;
        if bytes.is_empty() {
            break;
        }
        hasher.update(&bytes);
        offset += bytes.len() as u64;
        tokio::task::yield_now().await;
    }
    Ok((hasher.finish(), offset))
}
