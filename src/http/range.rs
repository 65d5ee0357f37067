//! Byte ranges of requests (RFC 9110 §14) and the chunk ranges of uploads (distribution-spec, "Pushing a blob in chunks").

use crate::error::{Error, Kind, Result, What};

/// A range of a blob, resolved against its size: `first..=last`, never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteRange {
    /// First byte.
    pub first: u64,
    /// Last byte, included.
    pub last: u64,
}

impl ByteRange {
    /// Its length in bytes.
    pub fn len(self) -> u64 {
        self.last - self.first + 1
    }

    /// Ranges hold a byte at least.
    pub fn is_empty(self) -> bool {
        false
    }
}

/// Most ranges one request may name; more are answered with the whole blob.
pub const MAX_RANGES: usize = 64;

/// Reads a `Range` header against a blob of `size` bytes. `None`: no byte ranges, or too many, or overlapping so much
/// that they ask for more than the blob: the whole is to be sent, as RFC 9110 allows.
///
/// # Errors
/// Unsatisfiable when no range lies in the blob, and when one is inverted (`500-0`): the conformance suite counts the
/// whole blob as a missing feature there.
pub fn parse(header: &str, size: u64) -> Result<Option<Vec<ByteRange>>> {
    let unsatisfiable =
        || Error::new(Kind::Unsatisfiable { size }, format!("no such range: the blob has {size} bytes"));
    let Some(list) = header.trim().strip_prefix("bytes=") else { return Ok(None) };
    let mut ranges = Vec::new();
    for (index, spec) in list.split(',').map(str::trim).enumerate() {
        if index >= MAX_RANGES {
            return Ok(None);
        }
        let Some((first, last)) = spec.split_once('-') else { return Ok(None) };
        match (number(first), number(last)) {
            (Num::Is(first), Num::Is(last)) if first > last => return Err(unsatisfiable()),
            (Num::Is(first), Num::Is(last)) if first < size => {
                ranges.push(ByteRange { first, last: last.min(size - 1) });
            }
            (Num::Is(first), Num::Empty) if first < size => ranges.push(ByteRange { first, last: size - 1 }),
            (Num::Empty, Num::Is(suffix)) if suffix > 0 && size > 0 => {
                ranges.push(ByteRange { first: size.saturating_sub(suffix), last: size - 1 });
            }
            (Num::Is(_), Num::Is(_) | Num::Empty) | (Num::Empty, Num::Is(_)) => {}
            (Num::Bad, _) | (_, Num::Bad) | (Num::Empty, Num::Empty) => return Ok(None),
        }
    }
    if ranges.is_empty() {
        return Err(unsatisfiable());
    }
    let asked = ranges.iter().fold(0u64, |sum, range| sum.saturating_add(range.len()));
    Ok((ranges.len() == 1 || asked <= size).then_some(ranges))
}

enum Num {
    Empty,
    Is(u64),
    Bad,
}

/// Digits only: `+5` and ` 5` parse as numbers elsewhere and must not here. More than u64 holds is beyond every blob.
fn number(text: &str) -> Num {
    if text.is_empty() {
        return Num::Empty;
    }
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Num::Bad;
    }
    Num::Is(text.parse().unwrap_or(u64::MAX))
}

/// Reads an upload's `Content-Range: FIRST-LAST` (inclusive; a `bytes ` unit and a `/total` are tolerated, since clients
/// send them). Says the offset and the length.
///
/// # Errors
/// Invalid range when it is not of that form or inverted.
pub fn parse_chunk(header: &str) -> Result<(u64, u64)> {
    let malformed = || Error::invalid(What::Range, "Content-Range of a chunk is FIRST-LAST, both included");
    let text = header.trim();
    let text = text.strip_prefix("bytes").map_or(text, |rest| rest.trim_start_matches([' ', '=']));
    let text = text.split_once('/').map_or(text, |(range, _)| range);
    let (first, last) = text.split_once('-').ok_or_else(malformed)?;
    match (number(first), number(last)) {
        (Num::Is(first), Num::Is(last)) if first <= last && last < u64::MAX => Ok((first, last - first + 1)),
        _ => Err(malformed()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(header: &str) -> Option<(u64, u64)> {
        parse(header, 2048).unwrap().map(|ranges| (ranges[0].first, ranges[0].last))
    }

    #[test]
    fn ranges_as_the_suite_asks() {
        assert_eq!(one("bytes=500-1499"), Some((500, 1499)));
        assert_eq!(one("bytes=500-"), Some((500, 2047)));
        assert_eq!(one("bytes=-500"), Some((1548, 2047)));
        assert_eq!(one("bytes=-5000"), Some((0, 2047)));
        assert_eq!(one("bytes=2000-5000"), Some((2000, 2047)));
        assert_eq!(one("bytes=0-0"), Some((0, 0)));
        for header in ["bytes=500-0", "bytes=5000-10000", "bytes=2048-", "bytes=-0"] {
            assert!(
                matches!(parse(header, 2048).unwrap_err().kind(), Kind::Unsatisfiable { size: 2048 }),
                "{header}"
            );
        }
        for header in
            ["", "bytes", "lines=1-2", "bytes=a-b", "bytes=+1-2", "bytes=1", "bytes=-", "bytes=1-2,x"]
        {
            assert_eq!(parse(header, 2048).unwrap(), None, "{header:?}");
        }
        assert!(parse("bytes=0-", 0).is_err());
        assert_eq!(parse("bytes=0-1,4-5", 10).unwrap().unwrap().len(), 2);
        assert_eq!(parse("bytes=0-9,0-9", 10).unwrap(), None, "more than the blob");
        assert_eq!(parse(&format!("bytes={}", "0-0,".repeat(65)), 1000).unwrap(), None, "too many");
    }

    #[test]
    fn chunks_as_clients_send_them() {
        assert_eq!(parse_chunk("0-1023").unwrap(), (0, 1024));
        assert_eq!(parse_chunk("bytes 1024-2047/*").unwrap(), (1024, 1024));
        assert_eq!(parse_chunk("bytes=0-0").unwrap(), (0, 1));
        for bad in ["", "5-4", "-4", "4-", "a-b", "0-99999999999999999999", "0 - 5", "bytes"] {
            assert!(parse_chunk(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn every_range_lies_in_the_blob(header in "(bytes=)?[0-9,-]{0,24}", size in 0u64..5000) {
            if let Ok(Some(ranges)) = parse(&header, size) {
                prop_assert!(!ranges.is_empty());
                for range in ranges {
                    prop_assert!(range.first <= range.last && range.last < size);
                }
            }
        }

        #[test]
        fn nothing_panics(header: String, size: u64) {
            let _ = parse(&header, size);
            let _ = parse_chunk(&header);
        }
    }
}
