//! Event streams: each element can be read, none is missing between two others.

use bytes::Bytes;

use super::{Check, Code, fields::Fields};
use crate::{
    error::Result,
    model::Event,
    registry::records::from_json,
    store::{Key, stream_key},
};

/// Bytes of a stream's name: its tag and whose it is.
const STREAM: usize = 9;

impl Check<'_> {
    pub(super) async fn event(&mut self, key: &Key, value: &Bytes) -> Result<()> {
        let mut f = Fields(&key.bytes);
        let (Some(b'e' | b'o'), Some(_), Some(number), Some(())) = (f.u8(), f.u64(), f.u64(), f.end()) else {
            self.unknown(key);
            return Ok(());
        };
        self.read(key, from_json::<Event>(1, value, "event"));
        let stream = Key { space: key.space, bytes: key.bytes[..STREAM].to_vec() };
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
                format!("events {}:{}", char::from(key.bytes[0]), hex::encode(&key.bytes[1..STREAM]));
            let text = format!("number {previous} is followed by number {number}");
            self.find(Code::EventGap, object, text);
        }
        Ok(())
    }
}
