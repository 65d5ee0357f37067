//! The file operations by which backups and restored folders come to be. A test can have each of them fail in turn.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

/// Makes a folder that only its owner can enter, and those around it; one that is there stays as it is.
pub(in crate::store) fn make(path: &Path) -> io::Result<()> {
    step(path)?;
    DirBuilder::new().mode(0o700).recursive(true).create(path)
}

/// Makes a file that is not there yet.
pub(in crate::store) fn create_new(path: &Path) -> io::Result<File> {
    step(path)?;
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Makes a file, or empties the one that is there.
pub(in crate::store) fn create(path: &Path) -> io::Result<File> {
    step(path)?;
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

pub(in crate::store) fn write(mut file: &File, path: &Path, bytes: &[u8]) -> io::Result<()> {
    step(path)?;
    file.write_all(bytes)
}

pub(in crate::store) fn sync(file: &File, path: &Path) -> io::Result<()> {
    step(path)?;
    file.sync_all()
}

pub(in crate::store) fn sync_folder(path: &Path) -> io::Result<()> {
    step(path)?;
    crate::store::directory::sync_folder(path)
}

/// Makes everything durable that the file system of a folder holds.
pub(in crate::store) fn sync_all(path: &Path) -> io::Result<()> {
    step(path)?;
    Ok(rustix::fs::syncfs(File::open(path)?)?)
}

pub(in crate::store) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    step(to)?;
    std::fs::rename(from, to)
}

pub(in crate::store) fn remove(path: &Path) -> io::Result<()> {
    step(path)?;
    std::fs::remove_file(path)
}

#[cfg(not(test))]
fn step(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
pub(in crate::store) use armed::{Armed, step};

#[cfg(test)]
mod armed {
    use std::{
        io,
        path::{Path, PathBuf},
        sync::Mutex,
    };

    /// Folders below which an operation is to fail, and how many are to succeed before.
    static ARMED: Mutex<Vec<(PathBuf, usize)>> = Mutex::new(Vec::new());

    /// One operation below a folder fails, until this is dropped.
    pub(in crate::store) struct Armed(PathBuf);

    impl Armed {
        pub(in crate::store) fn after(root: &Path, steps: usize) -> Self {
            ARMED.lock().unwrap().push((root.to_owned(), steps));
            Self(root.to_owned())
        }
    }

    impl Drop for Armed {
        fn drop(&mut self) {
            ARMED.lock().unwrap().retain(|(root, _)| *root != self.0);
        }
    }

    pub(in crate::store) fn step(path: &Path) -> io::Result<()> {
        let mut armed = ARMED.lock().unwrap();
        for (_, left) in armed.iter_mut().filter(|(root, _)| path.starts_with(root)) {
            let Some(less) = left.checked_sub(1) else { return Err(io::Error::other("a test's fault")) };
            *left = less;
        }
        Ok(())
    }
}
