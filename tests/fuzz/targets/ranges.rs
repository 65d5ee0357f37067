//! `Range`, `Content-Range`, queries, entity tags: every range lies in its blob.
#![no_main]

use libfuzzer_sys::fuzz_target;
use packhouse::http::{conditional, query::Query, range};

fuzz_target!(|data: (u64, &str)| {
    let (size, text) = data;
    if let Ok(Some(ranges)) = range::parse(text, size) {
        assert!(!ranges.is_empty() && ranges.len() <= range::MAX_RANGES);
        for range in ranges {
            assert!(range.first <= range.last && range.last < size);
        }
    }
    if let Ok((first, length)) = range::parse_chunk(text) {
        assert!(length > 0 && first.checked_add(length).is_some());
    }
    let _ = Query::parse(text);
    let _ = conditional::names(text, "sha256:00");
});
