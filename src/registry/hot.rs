//! Small contents in memory, by digest: never stale, since a digest names one content. It answers no question about who
//! may read; the caller has asked that before.

use bytes::Bytes;
use quick_cache::{
    DefaultHashBuilder, OptionsBuilder, Weighter,
    sync::{Cache, DefaultLifecycle},
};

use crate::model::Digest;

/// Largest content kept, in bytes: every manifest, so that many who read one at once share one copy of it.
const LARGEST: usize = 4 << 20;
/// Parts with a lock of their own. Few, since a content must fit in one.
const PARTS: usize = 2;

#[derive(Clone)]
struct Weight;

impl Weighter<Digest, Bytes> for Weight {
    fn weight(&self, _: &Digest, bytes: &Bytes) -> u64 {
        // The entry itself costs something too, so that a million empty blobs do not count as nothing.
        bytes.len() as u64 + 160
    }
}

/// A cache bounded in bytes.
pub(crate) struct Hot(Cache<Digest, Bytes, Weight>);

impl Hot {
    /// A cache of at most so many bytes.
    pub(crate) fn new(bytes: u64) -> Self {
        let entries = usize::try_from(bytes / 4096).unwrap_or(usize::MAX).max(16);
        let options = OptionsBuilder::new()
            .shards(PARTS)
            .estimated_items_capacity(entries)
            .weight_capacity(bytes)
            .build();
        // Building fails only without a capacity.
        match options {
            Ok(options) => Self(Cache::with_options(
                options,
                Weight,
                DefaultHashBuilder::default(),
                DefaultLifecycle::default(),
            )),
            Err(_) => Self(Cache::with_weighter(entries, bytes, Weight)),
        }
    }

    /// The content, if it is here.
    pub(crate) fn get(&self, digest: &Digest) -> Option<Bytes> {
        self.0.get(digest)
    }

    /// Bytes kept.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.weight()
    }

    /// Keeps a content if it is small. Copied, because `bytes` may be a part of something larger.
    pub(crate) fn insert(&self, digest: &Digest, bytes: &Bytes) {
        if bytes.len() <= LARGEST {
            self.0.insert(*digest, Bytes::copy_from_slice(bytes));
        }
    }
}
