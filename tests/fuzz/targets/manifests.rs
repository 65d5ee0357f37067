//! Any bytes as a manifest: no panic, bounded descriptors, a media type that fits a header.
#![no_main]

use libfuzzer_sys::fuzz_target;
use packhouse::model::Manifest;

fuzz_target!(|data: (Option<&str>, &[u8])| {
    if let Ok(manifest) = Manifest::parse(data.1, data.0, 100) {
        assert!(manifest.links.len() <= 100);
        assert!(manifest.links.windows(2).all(|pair| pair[0].digest < pair[1].digest));
        assert!(http::HeaderValue::from_str(&manifest.media_type).is_ok());
    }
});
