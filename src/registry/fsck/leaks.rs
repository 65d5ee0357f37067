//! Blobs that nothing holds and no review is due for: nobody would ever collect them.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{Code, Found, Run, blobs::is_held, only_if};
use crate::{
    error::Result,
    model::Digest,
    registry::records::{BlobRecord, blob::review_key},
    store::{Key, Space},
};

/// Blobs gathered before the queue is asked: 65 bytes each.
pub(super) const GATHERED: usize = 100_000;
/// Keys read at once.
const PAGE: usize = 256;

impl Run<'_> {
    /// Asks the review queue for the blobs that were found unheld. The queue is by time, so it is walked once for many;
    /// by one view, so that a review which took place meanwhile is not missed: it took the blob along.
    pub(super) async fn leaks(&mut self) -> Result<()> {
        let gathered = std::mem::take(&mut self.unheld);
        let view = self.registry.meta.snapshot()?;
        let mut unheld = BTreeSet::new();
        for digest in gathered {
            if view.get(&BlobRecord::key_of(&digest)).await?.is_some()
                && !is_held(view.as_ref(), &digest, self.at).await?
            {
                unheld.insert(digest);
            }
        }
        let queue = Key::new(Space::Queue, b'q');
        let mut after: Option<Key> = None;
        while !unheld.is_empty() {
            let page = view.scan(&queue, after.as_ref(), PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for (key, _) in &page {
                if let Some((digest, _)) = key.bytes.get(9..).and_then(Digest::read_key) {
                    unheld.remove(&digest);
                }
            }
            tokio::task::yield_now().await;
        }
        for digest in unheld {
            let key = BlobRecord::key_of(&digest);
            let value = view.get(&key).await?;
            let mut batch = only_if(&key, value.as_ref());
            batch.put(review_key(self.at, &digest), Bytes::new());
            let text = "nothing holds it, and no review is due that would collect it";
            self.tell(Found::new(Code::BlobLeak, format!("blob {digest}"), text).mended_by(batch)).await?;
        }
        Ok(())
    }
}
