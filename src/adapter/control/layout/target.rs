//! Where an export goes: an empty folder, or an archive that is not there yet.

use std::path::{Path, PathBuf};

use futures_util::StreamExt;
use tokio::{
    fs::{DirBuilder, File, OpenOptions},
    io::AsyncWriteExt,
};

use super::{tar, unusable};
use crate::{
    error::{Error, Result, What},
    model::{Digest, Hasher},
    registry::ByteStream,
};

pub(super) enum Target {
    Folder(PathBuf),
    Archive(PathBuf, File),
}

async fn fresh(path: &Path) -> Result<File> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).await;
    opened.map_err(|cause| match cause.kind() {
        std::io::ErrorKind::AlreadyExists => Error::invalid(
            What::Request,
            format!("{} is there already; nothing is written over", path.display()),
        ),
        _ => unusable(path, cause),
    })
}

async fn make(path: &Path) -> Result<()> {
    DirBuilder::new().mode(0o700).recursive(true).create(path).await.map_err(|cause| unusable(path, cause))
}

impl Target {
    pub(super) async fn create(path: PathBuf, archive: bool) -> Result<Self> {
        if archive {
            let file = fresh(&path).await?;
            return Ok(Self::Archive(path, file));
        }
        make(&path).await?;
        let mut entries = tokio::fs::read_dir(&path).await.map_err(|cause| unusable(&path, cause))?;
        if entries.next_entry().await.map_err(|cause| unusable(&path, cause))?.is_some() {
            let text = format!("{} is not empty; nothing is written over", path.display());
            return Err(Error::invalid(What::Request, text));
        }
        Ok(Self::Folder(path))
    }

    /// Writes a file whose bytes are known.
    pub(super) async fn put(&mut self, name: &str, bytes: Vec<u8>) -> Result<()> {
        let size = bytes.len() as u64;
        let stream = Box::pin(futures_util::stream::once(async move { Ok(bytes.into()) }));
        self.stream(name, size, stream, None).await
    }

    /// Writes a file as its bytes come, which must be `size` many and have the digest.
    pub(super) async fn stream(
        &mut self,
        name: &str,
        size: u64,
        bytes: ByteStream,
        digest: Option<&Digest>,
    ) -> Result<()> {
        match self {
            Self::Folder(root) => {
                let path = root.join(name);
                if let Some(parent) = path.parent() {
                    make(parent).await?;
                }
                let mut file = fresh(&path).await?;
                pour(&path, &mut file, size, bytes, digest).await?;
                file.flush().await.map_err(|cause| unusable(&path, cause))
            }
            Self::Archive(path, file) => {
                let header = tar::header(name, size).map_err(|cause| unusable(path, cause))?;
                file.write_all(&header).await.map_err(|cause| unusable(path, cause))?;
                pour(path, file, size, bytes, digest).await?;
                let zeros = vec![0; usize::try_from(tar::padding(size)).map_err(Error::internal)?];
                file.write_all(&zeros).await.map_err(|cause| unusable(path, cause))
            }
        }
    }

    /// Makes all of it durable.
    pub(super) async fn finish(self) -> Result<()> {
        match self {
            Self::Folder(path) => {
                let synced = tokio::task::spawn_blocking(move || {
                    let sync = || Ok(rustix::fs::syncfs(std::fs::File::open(&path)?)?);
                    sync().map_err(|cause: std::io::Error| unusable(&path, cause))
                });
                synced.await.map_err(Error::internal)?
            }
            Self::Archive(path, mut file) => {
                // Two empty blocks end an archive.
                let end = [0; 2 * tar::BLOCK as usize];
                file.write_all(&end).await.map_err(|cause| unusable(&path, cause))?;
                file.sync_all().await.map_err(|cause| unusable(&path, cause))
            }
        }
    }
}

async fn pour(
    path: &Path,
    file: &mut File,
    size: u64,
    mut bytes: ByteStream,
    digest: Option<&Digest>,
) -> Result<()> {
    let mut hasher = digest.map(|digest| Hasher::new(digest.algorithm()));
    let mut written = 0;
    while let Some(bytes) = bytes.next().await {
        let bytes = bytes?;
        if let Some(hasher) = &mut hasher {
            hasher.update(&bytes);
        }
        written += bytes.len() as u64;
        file.write_all(&bytes).await.map_err(|cause| unusable(path, cause))?;
    }
    let found = hasher.map(Hasher::finish);
    if written != size || found.as_ref() != digest {
        let named = digest.map(ToString::to_string).unwrap_or_default();
        return Err(Error::internal(format!("the registry's bytes of {named} are not what they should be")));
    }
    Ok(())
}
