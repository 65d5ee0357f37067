//! A whole blob on its way out, hashed as it passes.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::Stream;

use crate::{
    error::{Error, Result},
    model::{Digest, Hasher},
    registry::Registry,
    store::BlobStream,
};

/// Holds back the last chunk until all are hashed: bytes that are not the digest's never arrive whole.
pub(crate) struct Verified {
    registry: Registry,
    stream: BlobStream,
    digest: Digest,
    /// Gone when the verdict is spoken.
    hasher: Option<Hasher>,
    held: Option<Bytes>,
}

impl Verified {
    pub(crate) fn new(registry: Registry, stream: BlobStream, digest: Digest) -> Self {
        let hasher = Some(Hasher::new(digest.algorithm()));
        Self { registry, stream, digest, hasher, held: None }
    }

    /// The last chunk, or why it stays here.
    fn verdict(&mut self, hasher: Hasher) -> Option<Result<Bytes>> {
        let found = hasher.finish();
        if found == self.digest {
            return self.held.take().map(Ok);
        }
        self.held = None;
        let (registry, digest) = (self.registry.clone(), self.digest);
        tokio::spawn(async move { registry.suspect(digest).await });
        Some(Err(Error::internal(format!("the bytes of blob {digest} have the digest {found}"))))
    }
}

impl Stream for Verified {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if self.hasher.is_none() {
                return Poll::Ready(None);
            }
            match ready!(Pin::new(&mut self.stream).poll_next(context)) {
                Some(Ok(bytes)) => {
                    if let Some(hasher) = &mut self.hasher {
                        hasher.update(&bytes);
                    }
                    if let Some(before) = self.held.replace(bytes) {
                        return Poll::Ready(Some(Ok(before)));
                    }
                }
                Some(Err(error)) => {
                    self.hasher = None;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    let Some(hasher) = self.hasher.take() else { return Poll::Ready(None) };
                    return Poll::Ready(self.verdict(hasher));
                }
            }
        }
    }
}
