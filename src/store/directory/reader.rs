//! Reads of published bytes: without waiting where the kernel has them in memory, on the blocking pool where not.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, IoSliceMut},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use rustix::{
    fs::Advice,
    io::{Errno, ReadWriteFlags},
};

use super::{blocking, idle::idle, read_failure};
use crate::{
    error::{Error, Result},
    model::PhysicalKey,
    store::OpenBlob,
};

/// A file open for reading.
#[derive(Clone)]
pub(super) struct OpenFile {
    file: Arc<File>,
    size: u64,
}

impl OpenFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        // A hint only: where it is not taken, reading ahead is the kernel's default.
        let _ = rustix::fs::fadvise(&file, 0, None, Advice::Sequential);
        Ok(Self { file: Arc::new(file), size })
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Lets reads end before the end of the file.
    pub(super) fn cut(mut self, size: u64) -> Self {
        self.size = self.size.min(size);
        self
    }

    /// Gives the blob if it is as large as its record says: a file cut short must not look like a short success.
    pub(super) fn expect_size(self: Arc<Self>, size: u64) -> Result<Arc<dyn OpenBlob>> {
        if self.size != size {
            return Err(Error::internal(format!(
                "a blob's file holds {} bytes, its record says {size}",
                self.size
            )));
        }
        Ok(self)
    }

    /// How much of `length` bytes from `offset` on lies before the end.
    fn within(&self, offset: u64, length: usize) -> usize {
        let rest = self.size.saturating_sub(offset);
        usize::try_from(rest).unwrap_or(usize::MAX).min(length)
    }
}

#[async_trait]
impl OpenBlob for OpenFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn try_read(&self, offset: u64, into: &mut [u8]) -> Result<Option<usize>> {
        let length = self.within(offset, into.len());
        let mut slices = [IoSliceMut::new(&mut into[..length])];
        match rustix::io::preadv2(&self.file, &mut slices, offset, ReadWriteFlags::NOWAIT) {
            Ok(read) => Ok(Some(read)),
            // Not in memory, interrupted, or a file system that does not know the flag: the blocking pool reads it.
            Err(Errno::AGAIN | Errno::INTR | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(None),
            Err(cause) => Err(read_failure(cause.into())),
        }
    }

    async fn read(&self, offset: u64, length: usize) -> Result<Bytes> {
        let length = self.within(offset, length);
        let file = Arc::clone(&self.file);
        blocking(move || fill(&file, offset, length).map_err(read_failure)).await
    }

    fn file(&self) -> Option<Arc<File>> {
        Some(Arc::clone(&self.file))
    }
}

/// Tells what the medium says of these bytes from what is wrong elsewhere: with the process, or with the whole disk.
pub(super) fn inspection_failure(cause: io::Error) -> Error {
    let lost = [Errno::IO, Errno::BADMSG, Errno::UCLEAN, Errno::NODATA];
    if cause.raw_os_error().is_some_and(|code| lost.iter().any(|errno| errno.raw_os_error() == code)) {
        return Error::internal(cause);
    }
    read_failure(cause)
}

/// Reads so many bytes, fewer at the end of the file.
fn fill(file: &File, offset: u64, length: usize) -> io::Result<Bytes> {
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match rustix::io::pread(file, &mut bytes[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(Errno::INTR) => {}
            Err(cause) => return Err(cause.into()),
        }
    }
    bytes.truncate(filled);
    Ok(Bytes::from(bytes))
}

/// A file open to be checked. What the kernel has of it in memory is dropped before, so that the disk is asked, and after,
/// so that a walk over everything stored does not push out what clients read. Both are requests that the kernel may
/// refuse; the bytes are the same then.
pub(super) struct Inspected(OpenFile);

impl Inspected {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenFile::open(path)?;
        let _ = rustix::fs::fadvise(&file.file, 0, None, Advice::DontNeed);
        Ok(Self(file))
    }
}

impl Drop for Inspected {
    fn drop(&mut self) {
        let _ = rustix::fs::fadvise(&self.0.file, 0, None, Advice::DontNeed);
    }
}

#[async_trait]
impl OpenBlob for Inspected {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn try_read(&self, offset: u64, into: &mut [u8]) -> Result<Option<usize>> {
        self.0.try_read(offset, into)
    }

    async fn read(&self, offset: u64, length: usize) -> Result<Bytes> {
        let length = self.0.within(offset, length);
        let file = Arc::clone(&self.0.file);
        idle(move || fill(&file, offset, length).map_err(inspection_failure)).await
    }
}

/// Files that were read lately, open. Safe because a key is never used again: an entry can only be of the right bytes,
/// or of bytes that were deleted since and that nobody asks for.
pub(super) struct OpenFiles {
    most: usize,
    files: Mutex<Files>,
}

#[derive(Default)]
struct Files {
    by_key: HashMap<PhysicalKey, (Arc<OpenFile>, u64)>,
    by_use: BTreeMap<u64, PhysicalKey>,
    clock: u64,
}

impl OpenFiles {
    pub(super) fn new(most: usize) -> Self {
        Self { most: most.max(1), files: Mutex::default() }
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, key: PhysicalKey) -> Option<Arc<OpenFile>> {
        let mut files = self.files();
        let (file, _) = files.by_key.get(&key)?;
        let file = Arc::clone(file);
        files.touch(key, Arc::clone(&file));
        Some(file)
    }

    pub(super) fn insert(&self, key: PhysicalKey, file: Arc<OpenFile>) {
        let evicted = {
            let mut files = self.files();
            files.touch(key, file);
            if files.by_key.len() > self.most { files.pop() } else { None }
        };
        // Closing the last handle of a deleted file frees its blocks, which takes a while: not under the lock.
        drop(evicted);
    }

    pub(super) fn forget(&self, key: PhysicalKey) {
        let removed = {
            let mut files = self.files();
            let removed = files.by_key.remove(&key);
            if let Some((_, used)) = &removed {
                files.by_use.remove(used);
            }
            removed
        };
        drop(removed);
    }
}

impl Files {
    fn touch(&mut self, key: PhysicalKey, file: Arc<OpenFile>) {
        self.clock += 1;
        if let Some((_, used)) = self.by_key.insert(key, (file, self.clock)) {
            self.by_use.remove(&used);
        }
        self.by_use.insert(self.clock, key);
    }

    fn pop(&mut self) -> Option<Arc<OpenFile>> {
        let (_, key) = self.by_use.pop_first()?;
        self.by_key.remove(&key).map(|(file, _)| file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_used_longest_ago_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, b"bytes").unwrap();
        let files = OpenFiles::new(2);
        let key = |n| PhysicalKey([n; 16]);
        for n in 0..2 {
            files.insert(key(n), Arc::new(OpenFile::open(&path).unwrap()));
        }
        assert!(files.get(key(0)).is_some());
        files.insert(key(2), Arc::new(OpenFile::open(&path).unwrap()));
        assert!(files.get(key(1)).is_none());
        assert!(files.get(key(0)).is_some() && files.get(key(2)).is_some());
        files.forget(key(0));
        assert!(files.get(key(0)).is_none());
        let files = files.files();
        assert_eq!((files.by_key.len(), files.by_use.len()), (1, 1));
    }
}
