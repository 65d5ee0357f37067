//! Reviews, trash, expiry: the queue space. Which trash is in use is found beside the files, since trash is by time.

use bytes::Bytes;

use super::{Check, fields::Fields};
use crate::{
    error::Result,
    registry::{orphans::Seen, records::UploadRecord},
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
            Some(b'm') => f.package().and_then(|_| f.digest()).and_then(|_| f.end()),
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
        if known.is_none() {
            self.unknown(key);
        }
        Ok(())
    }
}
