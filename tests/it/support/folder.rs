//! Looking at folders.

use std::path::{Path, PathBuf};

/// Everything in a folder and its subfolders, in order: paths, and the bytes of files.
pub fn everything(folder: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in at.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path.clone());
            }
            let bytes = path.is_file().then(|| std::fs::read(&path).unwrap());
            found.push((path, bytes));
        }
    }
    found.sort();
    found
}
