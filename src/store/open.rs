//! The data folder: whose it is, and what lies where in it.
//!
//! ```text
//! data/format    which releases can read it (see [`super::format`])
//! data/lock      held by the daemon that uses the folder
//! data/meta/     RocksDB
//! data/uploads/  blobs being written
//! data/blobs/ab/ blobs
//! ```

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
    sync::Arc,
};

use rustix::{fs::FlockOperation, io::Errno};

use super::{
    BlobStore, DirectoryBlobs, MetadataStore, RocksOptions, RocksStore,
    directory::{make_folder, sync_folder},
    format,
};
use crate::error::{Error, Kind, Result};

/// Opens the two stores of a data folder, making what is missing. Blocks; meant for the start of the process.
///
/// # Errors
/// [`Kind::Unavailable`], with a sentence for the operator, when another process uses the folder or it cannot be used.
pub fn open_directory(
    data: &Path,
    options: RocksOptions,
) -> Result<(Arc<dyn MetadataStore>, Arc<dyn BlobStore>)> {
    let unusable = |cause: io::Error| {
        let text = format!("the data folder {} cannot be used", data.display());
        Error::new(Kind::Unavailable, text).because(cause)
    };
    // Before anything is written, the lock included: a folder of another release stays as it is.
    format::check(data)?;
    DirBuilder::new().mode(0o700).recursive(true).create(data).map_err(unusable)?;
    let owned = own(data)?;
    // Once more, now that nobody else can change it, and then this release's number before its first byte.
    format::check(data)?;
    format::stamp(data)?;
    let meta = data.join("meta");
    make_folder(&meta)?;
    let rocks = RocksStore::open(&meta, options)?.keeping(Arc::clone(&owned));
    let blobs = DirectoryBlobs::open(data)?.keeping(owned);
    // The folder's own name, if it was made above: a data folder that is gone after a power cut holds nothing.
    if let Some(parent) = data.canonicalize().map_err(unusable)?.parent() {
        sync_folder(parent).map_err(unusable)?;
    }
    Ok((Arc::new(rocks), Arc::new(blobs)))
}

/// Takes the folder for this process, as long as the file is open. RocksDB's own lock would not do: it is free for a
/// moment while the database is opened again, and it does not cover the blobs.
fn own(data: &Path) -> Result<Arc<File>> {
    let path = data.join("lock");
    let cannot = |cause: io::Error| {
        let text = format!("the data folder {} cannot be locked", data.display());
        Error::new(Kind::Unavailable, text).because(cause)
    };
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).map_err(cannot)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Arc::new(file)),
        Err(Errno::WOULDBLOCK) => {
            let text = format!("another packhouse uses the data folder {}", data.display());
            Err(Error::new(Kind::Unavailable, text))
        }
        Err(cause) => Err(cannot(cause.into())),
    }
}

#[cfg(test)]
mod tests;
