//! A request on its way out, and what is to become of its answer's body.

use std::{fs::File, sync::Arc};

use sha2::{Digest, Sha256};

/// What follows a request's head, beyond what is in its bytes.
#[derive(Clone)]
pub struct Body {
    pub file: Arc<File>,
    pub offset: u64,
    pub length: u64,
}

/// What becomes of an answer's body.
#[derive(Default)]
pub enum Sink {
    #[default]
    Drop,
    Keep(Vec<u8>),
    Hash(Sha256),
}

impl Sink {
    pub fn hash() -> Self {
        Self::Hash(Sha256::new())
    }

    pub(super) fn drops(&self) -> bool {
        matches!(self, Self::Drop)
    }

    pub(super) fn take(&mut self, bytes: &[u8]) {
        match self {
            Self::Drop => {}
            Self::Keep(kept) => kept.extend_from_slice(bytes),
            Self::Hash(hash) => hash.update(bytes),
        }
    }

    /// The digest of what came, when it was hashed.
    pub fn digest(&self) -> Option<String> {
        let Self::Hash(hash) = self else { return None };
        Some(format!("sha256:{}", hex::encode(hash.clone().finalize())))
    }
}

/// A request. The buffers are used again for the next one of the connection.
#[derive(Default)]
pub struct Outgoing {
    /// The head, and a small body.
    pub bytes: Vec<u8>,
    pub body: Option<Body>,
    /// Whether the request is a HEAD: its answer has no body.
    pub is_head: bool,
    pub sink: Sink,
}

impl Outgoing {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.body = None;
        self.is_head = false;
        self.sink = Sink::Drop;
    }
}
