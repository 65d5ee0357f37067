//! Backups in a folder: what lies where, and in which order it is made durable.
//!
//! ```text
//! DIR/packhouse-backup   what this folder is, and of which installation
//! DIR/lock               held by whoever adds a backup
//! DIR/blobs/ab/<key>     bytes of blobs, shared by all backups: they never change, and no key is used twice
//! DIR/000001-<time>/     one backup: `meta/`, a copy of the metadata, and `manifest`, the list of all it holds
//! ```
//!
//! A backup is made under a name that ends in `.partial`. Its list, with a sum under it, is written last; then everything
//! is synced; then the folder gets its lasting name. So a folder without the ending is whole, a crash leaves one that
//! the next backup sweeps away, and nothing ever writes into a finished backup or into a blob that it names.

pub(in crate::store) mod files;
mod manifest;
mod restore;
#[cfg(test)]
mod tests;

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use rustix::{fs::FlockOperation, io::Errno};
use serde::{Deserialize, Serialize};

pub use manifest::{Head, Totals};
pub use restore::{Checked, Damaged, check, restore};

use self::manifest::{BlobEntry, FileEntry, ListWriter};
use super::{BlobStore, OpenBlob};
use crate::{
    error::{Error, Kind, Result, What},
    model::{Algorithm, Digest, Hasher, PhysicalKey, Timestamp},
};

/// The version of the layout above and of the lists. A newer one is refused.
pub const FORMAT: u32 = 1;

const MARKER: &str = "packhouse-backup";
const NEW_MARKER: &str = ".packhouse-backup.new";
const PARTIAL: &str = ".partial";
const META: &str = "meta";

/// Told how far something came, in a sentence.
pub type Notes<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// What the folder says of itself.
#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    format: u32,
    installation: String,
}

fn unusable(path: &Path, cause: io::Error) -> Error {
    let kind = match cause.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::NoSpace,
        _ => Kind::Unavailable,
    };
    Error::new(kind, format!("{} cannot be used", path.display())).because(cause)
}

/// Set apart from disks that cannot be used: what is in the backup is not what was written.
const DAMAGED: Kind = Kind::Conflict(What::Blob);

fn damaged(why: &str) -> Error {
    Error::new(DAMAGED, format!("the backup is damaged: {why}"))
}

/// Makes a folder that only its owner can enter; one that is there stays as it is.
fn make(path: &Path) -> Result<()> {
    files::make(path).map_err(|cause| unusable(path, cause))
}

fn folder_of(root: &Path, key: PhysicalKey) -> PathBuf {
    root.join("blobs").join(hex::encode(&key.0[..1]))
}

/// Refuses two folders of which one lies in the other: a backup in the data folder goes with it, and data in a backup
/// would be taken for part of it. Folders that are not there yet are judged by where they would be.
///
/// # Errors
/// Invalid, with a sentence for the operator.
pub fn apart(data: &Path, other: &Path) -> Result<()> {
    let (data_real, other_real) = (real(data)?, real(other)?);
    if data_real.starts_with(&other_real) || other_real.starts_with(&data_real) {
        let text =
            format!("{} and {} lie in one another; take a folder outside", other.display(), data.display());
        return Err(Error::invalid(What::Request, text));
    }
    Ok(())
}

/// Where a path leads, links followed as far as it exists.
fn real(path: &Path) -> Result<PathBuf> {
    let path = std::path::absolute(path).map_err(|cause| unusable(path, cause))?;
    let mut missing = Vec::new();
    let mut at = path.as_path();
    loop {
        match at.canonicalize() {
            Ok(mut found) => {
                found.extend(missing.iter().rev());
                return Ok(found);
            }
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => match (at.parent(), at.file_name()) {
                (Some(parent), Some(name)) => {
                    missing.push(name.to_owned());
                    at = parent;
                }
                _ => return Err(unusable(&path, cause)),
            },
            Err(cause) => return Err(unusable(&path, cause)),
        }
    }
}

/// Finished backups in a folder, oldest first.
fn finished(root: &Path) -> Result<Vec<(u32, String)>> {
    let mut found = Vec::new();
    for entry in root.read_dir().map_err(|cause| unusable(root, cause))? {
        let name = entry.map_err(|cause| unusable(root, cause))?.file_name();
        let Some(name) = name.to_str().filter(|name| !name.ends_with(PARTIAL)) else { continue };
        found.extend(number_of(name).map(|number| (number, name.to_owned())));
    }
    found.sort();
    Ok(found)
}

/// The number at the beginning of a backup's name.
fn number_of(name: &str) -> Option<u32> {
    let (number, _) = name.split_once('-')?;
    if number.len() < 6 { None } else { number.parse().ok() }
}

/// A folder of backups, locked for adding one.
#[derive(Debug)]
pub struct BackupFolder {
    root: PathBuf,
    _lock: File,
}

impl BackupFolder {
    /// Opens a folder of backups of this installation, or makes an empty or absent folder one.
    ///
    /// # Errors
    /// Invalid when the folder holds anything else; unavailable while another backup is made into it.
    pub fn open(root: &Path, installation: &str) -> Result<Self> {
        make(root)?;
        let refuse = |why: &str| {
            Err(Error::invalid(What::Request, format!("{} {why}; take another folder", root.display())))
        };
        let marker = root.join(MARKER);
        match std::fs::read(&marker) {
            Ok(bytes) => match serde_json::from_slice::<Marker>(&bytes) {
                Ok(found) if found.format > FORMAT => return refuse("was written by a newer packhouse"),
                Ok(found) if found.installation != installation => {
                    return refuse("holds backups of another installation");
                }
                Ok(_) => {}
                Err(_) => return refuse("holds a damaged file `packhouse-backup`"),
            },
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                for entry in root.read_dir().map_err(|cause| unusable(root, cause))? {
                    // One that did not live to give the marker its name left this.
                    if entry.map_err(|cause| unusable(root, cause))?.file_name() != NEW_MARKER {
                        return refuse("is not empty and holds no backups");
                    }
                }
                let text = Marker { format: FORMAT, installation: installation.to_owned() };
                let text = serde_json::to_vec(&text).map_err(Error::internal)?;
                let write = || {
                    // Under its name only when it is whole: what a crash before leaves is written over.
                    let new = root.join(NEW_MARKER);
                    let file = files::create(&new)?;
                    files::write(&file, &new, &text)?;
                    files::sync(&file, &new)?;
                    files::rename(&new, &marker)?;
                    files::sync_folder(root)
                };
                write().map_err(|cause| unusable(root, cause))?;
            }
            Err(cause) => return Err(unusable(&marker, cause)),
        }
        let lock = lock(root)?;
        for first in 0..=u8::MAX {
            make(&root.join("blobs").join(hex::encode([first])))?;
        }
        Ok(Self { root: root.to_owned(), _lock: lock })
    }

    /// Begins a backup; what earlier ones left unfinished is swept away.
    pub fn begin(&self, at: Timestamp, installation: &str) -> Result<Draft> {
        let fail = |cause| unusable(&self.root, cause);
        for entry in self.root.read_dir().map_err(fail)? {
            let entry = entry.map_err(fail)?;
            if entry
                .file_name()
                .to_str()
                .is_some_and(|name| name.ends_with(PARTIAL) && number_of(name).is_some())
            {
                std::fs::remove_dir_all(entry.path()).map_err(fail)?;
            }
        }
        let number = finished(&self.root)?.last().map_or(1, |(number, _)| number + 1);
        let time = at.to_string().replace([':', '-'], "");
        let name = format!("{number:06}-{time}");
        let folder = self.root.join(format!("{name}{PARTIAL}"));
        make(&folder)?;
        let head = Head {
            format: FORMAT,
            data: super::format::FORMAT,
            installation: installation.to_owned(),
            begun: at.0,
            by: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let list = ListWriter::create(&folder, head)?;
        Ok(Draft { root: self.root.clone(), name, folder, list, added: Added::default() })
    }
}

fn lock(root: &Path) -> Result<File> {
    let path = root.join("lock");
    let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = opened.map_err(|cause| unusable(&path, cause))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => {
            let text = format!("another backup into {} is on its way", root.display());
            Err(Error::new(Kind::Unavailable, text))
        }
        Err(cause) => Err(unusable(&path, cause.into())),
    }
}

/// What a backup took that no earlier one into the same folder had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Added {
    /// Blobs that were linked: the file system gave them a second name and no bytes were written.
    pub linked: u64,
    /// Blobs that were copied.
    pub copied: u64,
    /// Bytes of both.
    pub bytes: u64,
}

/// How a blob's bytes came to another place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// By a second name for the same file.
    Linked,
    /// By a copy, which is synced.
    Copied,
}

/// A backup that is being made.
pub struct Draft {
    root: PathBuf,
    name: String,
    folder: PathBuf,
    list: ListWriter,
    added: Added,
}

impl std::fmt::Debug for Draft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Draft({})", self.name)
    }
}

/// A backup that was made.
#[derive(Debug, Clone)]
pub struct Made {
    /// Its folder.
    pub folder: PathBuf,
    /// All it holds.
    pub totals: Totals,
    /// What of it is new.
    pub added: Added,
}

impl Draft {
    /// Where the copy of the metadata goes. It is not there yet.
    pub fn meta(&self) -> PathBuf {
        self.folder.join(META)
    }

    /// Takes a blob. What an earlier backup has is not taken again.
    ///
    /// # Errors
    /// Internal when the store does not hold it as recorded; then [`Self::absent`] says so in the list.
    pub async fn blob(
        &mut self,
        blobs: &dyn BlobStore,
        key: PhysicalKey,
        size: u64,
        digest: &Digest,
    ) -> Result<()> {
        let folder = folder_of(&self.root, key);
        let (path, draft) = (folder.join(key.to_string()), folder.join(format!("{key}{PARTIAL}")));
        let (from, to) = (draft.clone(), path.clone());
        // Off the workers: a backup may go to a disk that answers late.
        if blocking(move || room_for(&from, &to, size)).await? {
            match blobs.save(key, size, &draft).await? {
                Saved::Linked => self.added.linked += 1,
                Saved::Copied => self.added.copied += 1,
            }
            self.added.bytes += size;
            let named = move || files::rename(&draft, &path).map_err(|cause| unusable(&path, cause));
            blocking(named).await?;
        }
        self.list.blob(BlobEntry { key: key.to_string(), size, digest: digest.to_string() })
    }

    /// Says that a recorded blob could not be read and is not in this backup.
    pub fn absent(&mut self, key: PhysicalKey, size: u64, digest: &Digest) -> Result<()> {
        self.list.absent(BlobEntry { key: key.to_string(), size, digest: digest.to_string() })
    }

    /// How much was taken so far.
    pub fn totals(&self) -> &Totals {
        &self.list.totals
    }

    /// Takes the files of the metadata's copy, makes everything durable, and gives the backup its name. Blocks.
    pub fn finish(mut self) -> Result<Made> {
        let meta = self.meta();
        let fail = |cause| unusable(&meta, cause);
        let mut names = Vec::new();
        for entry in meta.read_dir().map_err(fail)? {
            names.push(entry.map_err(fail)?.file_name());
        }
        names.sort();
        for name in names {
            let path = meta.join(&name);
            let name = name.into_string().map_err(|_| damaged("a file of the metadata has an odd name"))?;
            let file = File::open(&path).map_err(|cause| unusable(&path, cause))?;
            let (size, digest) = hash(&file, Algorithm::Sha256).map_err(|cause| unusable(&path, cause))?;
            files::sync(&file, &path).map_err(|cause| unusable(&path, cause))?;
            self.list.file(FileEntry { name: format!("{META}/{name}"), size, digest: digest.to_string() })?;
        }
        let totals = self.list.finish()?;
        let made = self.root.join(&self.name);
        let settle = || {
            // The names of blobs too, those that an earlier run gave and did not live to make durable included.
            for first in 0..=u8::MAX {
                files::sync_folder(&self.root.join("blobs").join(hex::encode([first])))?;
            }
            for folder in [&self.root.join("blobs"), &meta, &self.folder, &self.root] {
                files::sync_folder(folder)?;
            }
            // Only now does it look like a backup.
            files::rename(&self.folder, &made)?;
            files::sync_folder(&self.root)
        };
        settle().map_err(|cause| unusable(&made, cause))?;
        Ok(Made { folder: made, totals, added: self.added })
    }
}

/// Whether a blob is to be taken; then nothing is in the way of it. Under its lasting name a file is whole: a copy is
/// synced before it gets the name, and a link has no bytes of its own. One of another size was altered by somebody.
fn room_for(draft: &Path, path: &Path, size: u64) -> Result<bool> {
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() == size) {
        return Ok(false);
    }
    for old in [draft, path] {
        match files::remove(old) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(unusable(old, cause)),
            _ => {}
        }
    }
    Ok(true)
}

async fn blocking<T: Send + 'static>(job: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(job).await.map_err(Error::internal)?
}

/// Copies a blob's bytes into a file that is not there yet, and syncs it: for stores that cannot link.
pub(super) async fn copy(blob: &dyn OpenBlob, to: &Path) -> Result<()> {
    const STEP: usize = 1 << 20;
    let at = to.to_owned();
    let mut file = blocking(move || files::create_new(&at).map_err(|cause| unusable(&at, cause))).await?;
    let mut offset = 0;
    while offset < blob.size() {
        let bytes = blob.read(offset, STEP).await?;
        if bytes.is_empty() {
            return Err(Error::internal("a blob ended before its size"));
        }
        offset += bytes.len() as u64;
        let at = to.to_owned();
        file = blocking(move || {
            files::write(&file, &at, &bytes).map_err(|cause| unusable(&at, cause))?;
            Ok(file)
        })
        .await?;
    }
    let at = to.to_owned();
    blocking(move || files::sync(&file, &at).map_err(|cause| unusable(&at, cause))).await
}

/// The size and the digest of a file's bytes.
fn hash(mut file: &File, algorithm: Algorithm) -> io::Result<(u64, Digest)> {
    let mut hasher = Hasher::new(algorithm);
    let mut buffer = vec![0; 256 << 10];
    let mut size = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((size, hasher.finish())),
            length => {
                hasher.update(&buffer[..length]);
                size += length as u64;
            }
        }
    }
}
