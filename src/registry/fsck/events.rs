//! The audit log: each row can be read and is in its lists, none is missing between two others, and the lists hold no other.

use bytes::Bytes;

use super::{Check, Code, fields::Fields, shown};
use crate::{
    error::Result,
    registry::records::{AuditRecord, Log, audit::entry_in},
    store::{Key, stream_key},
};

impl Check<'_> {
    pub(super) async fn event(&mut self, key: &Key, value: &Bytes) -> Result<()> {
        let mut f = Fields(&key.bytes);
        match f.u8() {
            Some(b'e' | b'o') => self.row(key, value).await,
            Some(b't' | b's') => self.listed(key, value, 1).await,
            Some(b'w') => self.listed(key, value, 1 + 8).await,
            Some(b'p') => self.listed(key, value, 1 + 16).await,
            _ => {
                self.unknown(key);
                Ok(())
            }
        }
    }

    /// An entry of a list whose prefix has so many bytes.
    async fn listed(&mut self, key: &Key, value: &Bytes, prefix: usize) -> Result<()> {
        let list = Key { space: key.space, bytes: key.bytes.get(..prefix).unwrap_or_default().to_vec() };
        let Some((_, log, number)) = entry_in(key, &list) else {
            self.unknown(key);
            return Ok(());
        };
        let at = stream_key(&log.stream(), number);
        self.entry(key, value, at, |bytes| AuditRecord::decode(log, number, bytes)).await
    }

    async fn row(&mut self, key: &Key, value: &Bytes) -> Result<()> {
        let Some((log, number)) = AuditRecord::place(key) else {
            self.unknown(key);
            return Ok(());
        };
        let Some(row) = self.read(key, AuditRecord::decode(log, number, value)) else { return Ok(()) };
        // One of the first form waits for the upgrade.
        if !AuditRecord::is_first(value) {
            self.record(key, value, &row, &format!("event {}", shown(key))).await?;
        }
        let stream = Key { space: key.space, bytes: key.bytes[..Log::LENGTH].to_vec() };
        let Some(before) = self.before.filter(|before| before.bytes.starts_with(&stream.bytes)) else {
            return Ok(());
        };
        let Some(previous) = before.bytes.last_chunk::<8>().map(|last| u64::from_be_bytes(*last)) else {
            return Ok(());
        };
        // A stream may lose its beginning, never its middle: while the element before is there, so is what follows it.
        if number != previous + 1
            && self.view.get(before).await?.is_some()
            && self.view.get(&stream_key(&stream, previous + 1)).await?.is_none()
        {
            let object =
                format!("events {}:{}", char::from(key.bytes[0]), hex::encode(&key.bytes[1..Log::LENGTH]));
            let text = format!("number {previous} is followed by number {number}");
            self.find(Code::EventGap, object, text);
        }
        Ok(())
    }
}
