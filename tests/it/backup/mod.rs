//! Backups of the real daemon, and what comes of them.

mod layouts;
mod refusals;
mod running;

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tempfile::TempDir;

use crate::support::{PROGRAM, Server, folder::everything};

/// Runs the program with these arguments.
fn packhouse(args: &[&str]) -> Output {
    Command::new(PROGRAM).args(args).output().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Expects an exit code; says what was written to standard error.
#[track_caller]
fn said(output: &Output, code: i32) -> String {
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{error}");
    error
}

/// Restores a backup into a folder of its own and starts a daemon there.
fn restored(backup: &Path) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    said(&packhouse(&["restore", text(backup), "--data", text(&data)]), 0);
    Server::of(folder, &[])
}

/// The finished backups in a folder, oldest first.
fn backups(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.join("manifest").is_file());
    found.sort();
    found
}

/// Every file below a folder, with its bytes.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    everything(folder).into_iter().filter_map(|(path, bytes)| Some((path, bytes?))).collect()
}

/// A daemon with a few packages, and a folder for backups beside its own.
fn small() -> (Server, TempDir) {
    let server = Server::start();
    let client = server.signed_in("ada");
    for seed in 0..3 {
        client.push_image("ada/app", &format!("v{seed}"), seed);
        client.push_blob("ada/app", &crate::support::content::noise(100 + seed, 40_000));
    }
    (server, tempfile::tempdir().unwrap())
}
