//! `multipart/byteranges` (RFC 9110 §14.6): several ranges of one blob in one answer. Clients that read parts of
//! compressed layers ask for them.

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::{body::ByteStream, range::ByteRange};

/// A multipart body: its content type, its length in bytes, and the stream.
pub struct Multipart {
    /// With the boundary.
    pub content_type: String,
    /// Of the whole, with the parts' heads.
    pub length: u64,
    /// The bytes.
    pub body: ByteStream,
}

/// Puts ranges of a blob of `size` bytes into one body; `part` gives the bytes of each. `unique` must not occur in the
/// blob in front of two hyphens; a request's random id serves.
pub fn byteranges(
    ranges: &[ByteRange],
    size: u64,
    unique: &str,
    part: impl Fn(ByteRange) -> ByteStream + Send + 'static,
) -> Multipart {
    let head = |range: &ByteRange| {
        format!(
            "\r\n--{unique}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes {}-{}/{size}\r\n\r\n",
            range.first, range.last
        )
    };
    let tail = format!("\r\n--{unique}--\r\n");
    let heads: Vec<(String, ByteRange)> = ranges.iter().map(|range| (head(range), *range)).collect();
    let length =
        heads.iter().map(|(head, range)| head.len() as u64 + range.len()).sum::<u64>() + tail.len() as u64;
    let parts = stream::iter(heads).flat_map(move |(head, range)| {
        let head = stream::once(async move { Ok(Bytes::from(head)) });
        head.chain(part(range))
    });
    let body = parts.chain(stream::once(async move { Ok(Bytes::from(tail)) }));
    Multipart {
        content_type: format!("multipart/byteranges; boundary={unique}"),
        length,
        body: Box::pin(body),
    }
}
