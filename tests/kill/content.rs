//! Blobs made of a number and a size, so that none needs to be kept: any part of one can be made again when it is sent.

use std::sync::{Arc, OnceLock};

use sha2::{Digest as _, Sha256};

use crate::rng::Rng;

/// `sha256:…`, shared by all that name it.
pub type Digest = Arc<str>;

/// A little more than a mebibyte, and no multiple of a page: a page that lands in another's place shows.
const POOL: usize = (1 << 20) + 4099;

fn pool() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let mut rng = Rng::of(&[7]);
        let mut bytes: Vec<u8> = (0..=POOL / 8).flat_map(|_| rng.next().to_le_bytes()).collect();
        bytes.truncate(POOL);
        bytes
    })
}

/// A blob's bytes.
#[derive(Clone, Debug)]
pub struct Content {
    id: u64,
    pub size: u64,
    pub digest: Digest,
}

impl Content {
    pub fn new(id: u64, size: u64) -> Self {
        let mut content = Self { id, size, digest: "".into() };
        let mut hasher = Sha256::new();
        let mut buffer = [0; 64 << 10];
        let mut at = 0;
        while at < size {
            let length = buffer.len().min((size - at) as usize);
            content.fill(at, &mut buffer[..length]);
            hasher.update(&buffer[..length]);
            at += length as u64;
        }
        content.digest = digest(hasher);
        content
    }

    /// The bytes from `at` on, as many as `out` takes.
    pub fn fill(&self, at: u64, out: &mut [u8]) {
        let shift = Rng::of(&[self.id]).next();
        let mut done = 0;
        while done < out.len() {
            let from = ((at + done as u64).wrapping_add(shift >> 8) % POOL as u64) as usize;
            let length = (POOL - from).min(out.len() - done);
            out[done..done + length].copy_from_slice(&pool()[from..from + length]);
            done += length;
        }
        // The first bytes are the number, so that two blobs of a size differ.
        for (place, byte) in self.id.to_le_bytes().iter().enumerate() {
            if let Some(place) = (place as u64).checked_sub(at).filter(|place| *place < out.len() as u64) {
                out[place as usize] = *byte;
            }
        }
    }
}

pub fn digest(hasher: Sha256) -> Digest {
    format!("sha256:{}", hex::encode(hasher.finalize())).into()
}

pub fn digest_of(bytes: &[u8]) -> Digest {
    digest(Sha256::new().chain_update(bytes))
}
