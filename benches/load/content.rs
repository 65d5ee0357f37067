//! What is pushed and pulled.

use std::{
    fs::File,
    io::{BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use sha2::{Digest, Sha256};

use crate::{Result, client::Body};

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Bytes that do not compress, the same for the same seed.
pub fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        // xorshift64*
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

pub fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// A file to push or to pull, with its digest.
pub struct Bulk {
    pub path: PathBuf,
    pub size: u64,
    pub digest: String,
    file: Arc<File>,
}

impl Bulk {
    /// Makes a file of noise.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn make(path: &Path, seed: u64, size: u64) -> Result<Self> {
        // The same block over and over, but for a number in each: fast to make, and no two blocks alike.
        let mut block = noise(seed, 1 << 20);
        let mut file = BufWriter::with_capacity(1 << 20, File::create_new(path)?);
        let mut left = size;
        while left > 0 {
            block[..8].copy_from_slice(&left.to_be_bytes());
            let some = left.min(block.len() as u64) as usize;
            file.write_all(&block[..some])?;
            left -= some as u64;
        }
        file.into_inner()?.sync_all()?;
        let file = File::options().read(true).write(true).open(path)?;
        let digest = hash(&file)?;
        Ok(Self { path: path.to_owned(), size, digest, file: Arc::new(file) })
    }

    /// Changes it so that nobody has seen it.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn renew(&mut self, number: u64) -> Result {
        (&*self.file).seek(SeekFrom::Start(8))?;
        (&*self.file).write_all(&number.to_be_bytes())?;
        self.file.sync_data()?;
        self.digest = hash(&self.file)?;
        Ok(())
    }

    pub fn body(&self) -> Body {
        Body { file: self.file.clone(), offset: 0, length: self.size }
    }
}

fn hash(mut file: &File) -> Result<String> {
    file.seek(SeekFrom::Start(0))?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        let size = file.read(&mut buffer)?;
        if size == 0 {
            return Ok(format!("sha256:{}", hex::encode(hash.finalize())));
        }
        hash.update(&buffer[..size]);
    }
}

/// A small image: a configuration, and layers given by digest and size. With room for a number, for `Manifests`.
pub fn manifest(config: &[u8], layers: &[(String, u64)]) -> Vec<u8> {
    let layers: Vec<_> = layers
        .iter()
        .map(|(digest, size)| {
            serde_json::json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": size,
            })
        })
        .collect();
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": sha256(config),
            "size": config.len(),
        },
        "layers": layers,
        "annotations": { "org.example.number": "0000000000000000" },
    });
    manifest.to_string().into_bytes()
}
