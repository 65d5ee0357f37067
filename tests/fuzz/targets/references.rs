//! Digests, tags, names: what parses prints itself, and no text is two things.
#![no_main]

use libfuzzer_sys::fuzz_target;
use packhouse::model::{Digest, OwnerName, PackageName, Reference, Tag};

fuzz_target!(|text: &str| {
    if let Ok(digest) = Digest::parse(text) {
        assert_eq!(digest.to_string(), text);
        assert!(Tag::parse(text).is_err());
        let mut key = Vec::new();
        digest.write_key(&mut key);
        assert_eq!(Digest::read_key(&key), Some((digest, [].as_slice())));
    }
    if let Ok(reference) = Reference::parse(text) {
        assert_eq!(reference.to_string(), text);
    }
    if let Ok(name) = PackageName::parse(text) {
        assert_eq!(name.to_string(), text);
        assert!(!text.contains("..") && !text.contains("//") && text.len() <= PackageName::MAX);
    }
    if let Ok(owner) = OwnerName::parse(text) {
        assert!(owner.folded().len() <= OwnerName::MAX);
    }
});
