//! Where an import comes from: a folder, or an archive.

use std::{
    collections::HashMap,
    io::SeekFrom,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use futures_util::TryStreamExt;
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt},
};

use super::{tar, unusable};
use crate::{
    error::{Error, Result, What},
    registry::ByteStream,
};

/// Bytes read at once.
const STEP: u64 = 256 << 10;

pub(super) enum Source {
    Folder(PathBuf),
    Archive(PathBuf, HashMap<String, (u64, u64)>),
}

impl Source {
    pub(super) async fn open(path: PathBuf) -> Result<Self> {
        let found = tokio::fs::metadata(&path).await.map_err(|cause| unusable(&path, cause))?;
        if found.is_dir() {
            return Ok(Self::Folder(path));
        }
        let indexed = tokio::task::spawn_blocking(move || {
            let read = || tar::index(std::io::BufReader::new(std::fs::File::open(&path)?));
            match read() {
                Ok(files) => Ok(Self::Archive(path, files)),
                Err(cause) if cause.kind() == std::io::ErrorKind::InvalidData => {
                    Err(Error::invalid(What::Request, format!("{}: {cause}", path.display())))
                }
                Err(cause) => Err(unusable(&path, cause)),
            }
        });
        indexed.await.map_err(Error::internal)?
    }

    fn path(&self) -> &Path {
        match self {
            Self::Folder(path) | Self::Archive(path, _) => path,
        }
    }

    /// A file's size and bytes, if it is there.
    pub(super) async fn file(&self, name: &str) -> Result<Option<(u64, ByteStream)>> {
        let fail = |cause| unusable(self.path(), cause);
        let (file, size) = match self {
            Self::Folder(root) => {
                let path = root.join(name);
                let file = match File::open(&path).await {
                    Ok(file) => file,
                    Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                    Err(cause) => return Err(unusable(&path, cause)),
                };
                let found = file.metadata().await.map_err(fail)?;
                if !found.is_file() {
                    return Err(Error::invalid(What::Request, format!("{} is no file", path.display())));
                }
                (file, found.len())
            }
            Self::Archive(path, files) => {
                let Some((offset, size)) = files.get(name) else { return Ok(None) };
                let mut file = File::open(path).await.map_err(fail)?;
                file.seek(SeekFrom::Start(*offset)).await.map_err(fail)?;
                (file, *size)
            }
        };
        let path = self.path().join(name);
        let bytes = futures_util::stream::try_unfold((file, size), move |(mut file, left)| {
            let path = path.clone();
            async move {
                if left == 0 {
                    return Ok::<_, Error>(None);
                }
                let mut buffer = vec![0; usize::try_from(left.min(STEP)).map_err(Error::internal)?];
                let length = file.read(&mut buffer).await.map_err(|cause| unusable(&path, cause))?;
                if length == 0 {
                    return Err(Error::invalid(What::Request, format!("{} is cut short", path.display())));
                }
                buffer.truncate(length);
                Ok(Some((Bytes::from(buffer), (file, left - length as u64))))
            }
        });
        Ok(Some((size, Box::pin(bytes))))
    }

    /// A file that is read whole.
    ///
    /// # Errors
    /// Invalid when it is absent or larger than `most` bytes.
    pub(super) async fn whole(&self, name: &str, most: u64) -> Result<Vec<u8>> {
        let wrong =
            |why: &str| Error::invalid(What::Request, format!("{}: {name} {why}", self.path().display()));
        let (size, bytes) = self.file(name).await?.ok_or_else(|| wrong("is missing"))?;
        if size > most {
            return Err(wrong("is too large"));
        }
        let parts: Vec<Bytes> = bytes.try_collect().await?;
        Ok(parts.concat())
    }
}
