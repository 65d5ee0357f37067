//! Blobs as files in a folder: `uploads/<key>` while they are written, `blobs/ab/<key>` for ever after.
//!
//! What an answer of 201 rests on, in this order, each step durable before the next begins:
//!
//! 1. the bytes ([`BlobWriter::sync`]: `fdatasync`),
//! 2. their name ([`BlobStore::publish`]: rename, then a sync of the folder),
//! 3. the record that says where they are (the caller's metadata batch).
//!
//! A crash between two steps leaves a file that nobody knows of, never a record of bytes that are not there.

mod idle;
mod lane;
mod reader;
mod room;
#[cfg(test)]
mod tests;
mod workers;
mod writer;

use std::{
    collections::{BTreeSet, HashMap},
    fs::{DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use async_trait::async_trait;
use rustix::{fs::RenameFlags, io::Errno};

use self::{
    lane::Lane,
    reader::{Inspected, OpenFile, OpenFiles},
    room::Room,
    workers::Workers,
    writer::{Active, Disk, Writer},
};
use super::{
    BlobStore, BlobWriter, OpenBlob, Published,
    backup::{self, Saved},
};
use crate::{
    error::{Error, Kind, Result, What},
    model::{Hasher, PhysicalKey},
};

/// Files kept open for reading, where the process may have that many.
const OPEN_FILES: usize = 1000;

/// How long uploads are refused after the disk failed one. Tests wait for what ends it, not for the clock.
const SHY: Duration = Duration::from_secs(if cfg!(test) { 3600 } else { 5 });

/// Blobs in the folders `blobs` and `uploads` of one data folder, which lie on one file system.
pub struct DirectoryBlobs {
    inner: Arc<Inner>,
    _lock: Option<Arc<File>>,
}

struct Inner {
    blobs: PathBuf,
    uploads: PathBuf,
    open: OpenFiles,
    /// Who writes which upload; entries of writers long gone are swept now and then.
    writers: Mutex<HashMap<PhysicalKey, Active>>,
    /// Uploads of an earlier process, as long as they are neither published nor discarded.
    leftovers: Mutex<BTreeSet<PhysicalKey>>,
    health: Arc<Health>,
    room: Room,
    workers: Workers,
}

/// Whether the disk took the last write: when it did not, and what it said.
#[derive(Default)]
struct Health(Mutex<Option<(Instant, Kind, String)>>);

impl Health {
    fn good(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Takes note of a failed write and says it in our words.
    fn bad(&self, cause: io::Error) -> Error {
        tracing::error!(%cause, "the blob store could not be written");
        let why = cause.to_string();
        let error = write_failure(cause);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), error.kind(), why));
        error
    }

    /// Refuses for a while after a failure; then somebody must try, or nobody would ever learn that it works again.
    fn check(&self) -> Result<()> {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((when, kind, why)) if when.elapsed() < SHY => {
                Err(Error::new(*kind, "the blob store cannot be written now").because(why.clone()))
            }
            _ => Ok(()),
        }
    }
}

fn write_failure(cause: io::Error) -> Error {
    if matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        return Error::new(Kind::NoSpace, "there is no space for uploads").because(cause);
    }
    Error::new(Kind::Unavailable, "the blob store cannot be written now").because(cause)
}

fn read_failure(cause: io::Error) -> Error {
    Error::new(Kind::Unavailable, "the blob store cannot be read now").because(cause)
}

/// Runs system calls that may wait for the disk off the async workers.
async fn blocking<T: Send + 'static>(job: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(job).await.map_err(Error::internal)?
}

impl DirectoryBlobs {
    /// Opens the blob folders of a data folder, making what is missing. Blocks; meant for the start of the process.
    pub fn open(data: &Path) -> Result<Self> {
        let blobs = data.join("blobs");
        let uploads = data.join("uploads");
        make_folder(&blobs)?;
        make_folder(&uploads)?;
        // All folders are made here, once, and their names are durable before the first upload: a publish then has one
        // folder to sync, the one that holds the blob's name.
        for first in 0..=u8::MAX {
            make_folder(&blobs.join(hex::encode([first])))?;
        }
        for folder in [&blobs, &uploads, &data.to_owned()] {
            sync_folder(folder).map_err(write_failure)?;
        }
        let leftovers = keys_in(&uploads)?.collect::<Result<_>>()?;
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        // A reader's file is not to take the place of a connection.
        let open =
            limit.map_or(OPEN_FILES, |most| usize::try_from(most / 4).unwrap_or(OPEN_FILES).min(OPEN_FILES));
        let inner = Arc::new(Inner {
            room: Room::of(uploads.clone()),
            blobs,
            uploads,
            open: OpenFiles::new(open),
            writers: Mutex::default(),
            leftovers: Mutex::new(leftovers),
            health: Arc::default(),
            workers: Workers::start()?,
        });
        Ok(Self { inner, _lock: None })
    }

    /// Keeps a lock as long as blobs may be written.
    #[must_use]
    #[cfg(feature = "rocksdb")]
    pub(super) fn keeping(mut self, lock: Arc<File>) -> Self {
        self._lock = Some(lock);
        self
    }
}

/// Makes a folder, if it is missing, that only its owner can enter.
pub(super) fn make_folder(path: &Path) -> Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(()),
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(cause) => {
            let text = format!("cannot make the folder {}", path.display());
            Err(Error::new(Kind::Unavailable, text).because(cause))
        }
    }
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

impl Inner {
    fn upload(&self, key: PhysicalKey) -> PathBuf {
        self.uploads.join(key.to_string())
    }

    fn folder(&self, key: PhysicalKey) -> PathBuf {
        self.blobs.join(hex::encode(&key.0[..1]))
    }

    fn blob(&self, key: PhysicalKey) -> PathBuf {
        self.folder(key).join(key.to_string())
    }

    /// Stops whoever writes the upload, and waits until no byte of it can be written any more.
    async fn stop_writer(&self, key: PhysicalKey) {
        let active = self.writers.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        if let Some(lane) = active.and_then(|active| active.upgrade()) {
            lane.revoke(Kind::Conflict(What::Upload), "another writer took over");
            lane.left().await;
        }
    }

    fn remember_writer(&self, key: PhysicalKey, active: Active) {
        let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        if writers.len() >= 64 && writers.len().is_power_of_two() {
            writers.retain(|_, active| active.strong_count() > 0);
        }
        writers.insert(key, active);
    }

    /// Opens an upload's file so that it holds exactly `offset` bytes.
    fn open_upload(&self, key: PhysicalKey, offset: u64) -> Result<File> {
        let opened = OpenOptions::new()
            .write(true)
            .create(offset == 0)
            .truncate(false)
            .mode(0o600)
            .open(self.upload(key));
        let file = match opened {
            Ok(file) => file,
            // Made but never synced, and then the machine went down: the upload begins again.
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Err(held(0)),
            Err(cause) => return Err(write_failure(cause)),
        };
        let stored = file.metadata().map_err(write_failure)?.len();
        if stored < offset {
            return Err(held(stored));
        }
        if stored > offset {
            // What lies beyond was never promised, and a later byte must not end up behind it.
            rustix::fs::ftruncate(&file, offset).map_err(|cause| write_failure(cause.into()))?;
        }
        Ok(file)
    }

    fn publish(&self, key: PhysicalKey, size: u64) -> Result<()> {
        let (from, to) = (self.upload(key), self.blob(key));
        let named = match size_of(&from)? {
            Some(stored) if stored == size => name(&from, &to, size).map(|()| true)?,
            Some(stored) => {
                return Err(Error::internal(format!(
                    "upload {key} holds {stored} bytes, not the {size} to be published"
                )));
            }
            // Published before, perhaps by a call whose folder sync did not come to its end: that is repeated below.
            None => match size_of(&to)? {
                Some(stored) if stored == size => false,
                Some(stored) => {
                    return Err(Error::internal(format!(
                        "blob {key} holds {stored} bytes, not the {size} published"
                    )));
                }
                None => return Err(held(0)),
            },
        };
        // The bytes were synced before they got this name, so whoever finds the name after a power cut finds them
        // whole. Only now may a record be written that promises it.
        sync_folder(&self.folder(key)).map_err(|cause| {
            // A second sync would succeed without having written what the first could not. So the name goes, and the
            // upload with it: only bytes that are sent and synced anew may be promised. A name that an earlier call made
            // durable stays: a record may rest on it.
            if named && let Err(error) = remove(&to) {
                tracing::error!(blob = %key, %error, "a blob whose name could not be made durable stays behind");
            }
            self.health.bad(cause)
        })
    }

    fn done_with(&self, key: PhysicalKey) {
        self.leftovers.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }

    /// Gives a blob's file another name; `false` where the file systems differ or will not. Published bytes never change,
    /// and are synced: the other name is as good as a copy, as long as the disk is.
    fn link(&self, key: PhysicalKey, size: u64, to: &Path) -> Result<bool> {
        let from = self.blob(key);
        match size_of(&from)? {
            Some(stored) if stored == size => {}
            Some(stored) => {
                let text = format!("a blob's file holds {stored} bytes, its record says {size}");
                return Err(Error::internal(text));
            }
            None => return Err(Error::internal(format!("blob {key} is not there"))),
        }
        match rustix::fs::link(&from, to) {
            Ok(()) => Ok(true),
            Err(Errno::XDEV | Errno::PERM | Errno::MLINK | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
            Err(cause) => Err(write_failure(cause.into())),
        }
    }

    fn list(&self, after: Option<PhysicalKey>, limit: usize) -> Result<Vec<PhysicalKey>> {
        let mut listed = Vec::new();
        let from = after.map_or(0, |after| after.0[0]);
        for first in from..=u8::MAX {
            if listed.len() >= limit {
                break;
            }
            let mut keys = Vec::new();
            for key in keys_in(&self.blobs.join(hex::encode([first])))? {
                let key = key?;
                if key.0[0] == first && after.is_none_or(|after| key > after) {
                    keys.push(key);
                }
            }
            keys.sort_unstable();
            keys.truncate(limit - listed.len());
            listed.append(&mut keys);
        }
        Ok(listed)
    }
}

/// The keys that a folder's files are named by. Anything else in it is not ours to judge.
fn keys_in(folder: &Path) -> Result<impl Iterator<Item = Result<PhysicalKey>>> {
    let entries = folder.read_dir().map_err(read_failure)?;
    Ok(entries.filter_map(|entry| match entry {
        Ok(entry) => entry.file_name().to_str().and_then(PhysicalKey::parse).map(Ok),
        Err(cause) => Some(Err(read_failure(cause))),
    }))
}

/// Gives a file its lasting name, never taking that name from another.
fn name(from: &Path, to: &Path, size: u64) -> Result<()> {
    match rustix::fs::renameat_with(rustix::fs::CWD, from, rustix::fs::CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // Both names are there when a power cut undid half of a rename: keys are never used again, so these are the
        // same bytes.
        Err(Errno::EXIST) if size_of(to)? == Some(size) => remove(from),
        // Some network file systems cannot rename in this way; a link does not replace either.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            std::fs::hard_link(from, to).map_err(write_failure)?;
            remove(from)
        }
        Err(cause) => Err(write_failure(cause.into())),
    }
}

fn held(stored: u64) -> Error {
    Error::new(Kind::Offset { stored }, "the upload holds fewer bytes than that")
}

fn size_of(path: &Path) -> Result<Option<u64>> {
    match path.symlink_metadata() {
        Ok(data) => Ok(Some(data.len())),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(read_failure(cause)),
    }
}

fn published(path: &Path) -> Result<Option<Published>> {
    let data = match path.symlink_metadata() {
        Ok(data) => data,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(read_failure(cause)),
    };
    // The change of the inode and not of the bytes: publishing renames the file, which leaves its bytes as old as they
    // were; nor can a copying tool set this one back.
    let changed = Duration::from_secs(u64::try_from(data.ctime()).unwrap_or(0));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Ok(Some(Published { size: data.len(), age: now.saturating_sub(changed) }))
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(write_failure(cause)),
        _ => Ok(()),
    }
}

#[async_trait]
impl BlobStore for DirectoryBlobs {
    async fn write(&self, key: PhysicalKey, offset: u64, hasher: Hasher) -> Result<Box<dyn BlobWriter>> {
        self.inner.stop_writer(key).await;
        let inner = Arc::clone(&self.inner);
        let file = blocking(move || inner.open_upload(key, offset)).await?;
        let threads = self.inner.workers.threads();
        let health = Arc::clone(&self.inner.health);
        let disk = Lane::new(Disk { file, offset, begun: offset, health }, threads.clone());
        self.inner.remember_writer(key, Arc::downgrade(&disk));
        Ok(Box::new(Writer::new(disk, hasher, threads)))
    }

    async fn publish(&self, key: PhysicalKey, size: u64) -> Result<()> {
        // Published bytes never change, so nobody may still be able to add to them.
        self.inner.stop_writer(key).await;
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            inner.publish(key, size)?;
            inner.done_with(key);
            Ok(())
        })
        .await
    }

    async fn discard(&self, key: PhysicalKey) -> Result<()> {
        self.inner.stop_writer(key).await;
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            remove(&inner.upload(key))?;
            inner.done_with(key);
            Ok(())
        })
        .await
    }

    async fn leftovers(&self) -> Result<Vec<PhysicalKey>> {
        let leftovers = self.inner.leftovers.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(leftovers.iter().copied().collect())
    }

    async fn open(&self, key: PhysicalKey, size: u64) -> Result<Arc<dyn OpenBlob>> {
        if let Some(file) = self.inner.open.get(key) {
            return file.expect_size(size);
        }
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            let file = Arc::new(OpenFile::open(&inner.blob(key)).map_err(|cause| match cause.kind() {
                io::ErrorKind::NotFound => Error::internal(format!("blob {key} is not there")),
                _ => read_failure(cause),
            })?);
            let checked = Arc::clone(&file).expect_size(size)?;
            inner.open.insert(key, file);
            Ok(checked)
        })
        .await
    }

    async fn inspect(&self, key: PhysicalKey) -> Result<Arc<dyn OpenBlob>> {
        let inner = Arc::clone(&self.inner);
        blocking(move || match Inspected::open(&inner.blob(key)) {
            Ok(file) => Ok(Arc::new(file) as Arc<dyn OpenBlob>),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                Err(Error::not_found(What::Blob, format!("blob {key} is not there")))
            }
            Err(cause) => Err(reader::inspection_failure(cause)),
        })
        .await
    }

    async fn stat(&self, key: PhysicalKey) -> Result<Option<Published>> {
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            let found = published(&inner.blob(key))?;
            // All folders are made at the start: without this one it is not the blob that is missing.
            if found.is_none() && !inner.folder(key).is_dir() {
                return Err(read_failure(io::Error::from(io::ErrorKind::NotFound)));
            }
            Ok(found)
        })
        .await
    }

    async fn reread(&self, key: PhysicalKey, size: u64) -> Result<Arc<dyn OpenBlob>> {
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            let file = OpenFile::open(&inner.upload(key)).map_err(|cause| match cause.kind() {
                io::ErrorKind::NotFound => held(0),
                _ => read_failure(cause),
            })?;
            if file.size() < size {
                return Err(held(file.size()));
            }
            Ok(Arc::new(file.cut(size)) as Arc<dyn OpenBlob>)
        })
        .await
    }

    async fn delete(&self, key: PhysicalKey) -> Result<()> {
        self.inner.open.forget(key);
        let inner = Arc::clone(&self.inner);
        // The folder is not synced: a name that comes back after a power cut is garbage, which scrubbing finds.
        blocking(move || {
            remove(&inner.blob(key))?;
            // Somebody may have opened it between the two lines above; the disk's space is free when nobody has it.
            inner.open.forget(key);
            Ok(())
        })
        .await
    }

    async fn list(&self, after: Option<PhysicalKey>, limit: usize) -> Result<Vec<PhysicalKey>> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.list(after, limit)).await
    }

    async fn save(&self, key: PhysicalKey, size: u64, to: &Path) -> Result<Saved> {
        let (inner, link) = (Arc::clone(&self.inner), to.to_owned());
        if blocking(move || inner.link(key, size, &link)).await? {
            return Ok(Saved::Linked);
        }
        backup::copy(self.open(key, size).await?.as_ref(), to).await?;
        Ok(Saved::Copied)
    }

    fn space(&self) -> Result<u64> {
        self.inner.health.check()?;
        self.inner.room.free()
    }
}
