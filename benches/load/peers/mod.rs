//! Packhouse and those it is compared with, as processes on one machine.

pub mod bare;
mod process;
mod start;

use std::{
    cell::RefCell,
    collections::HashSet,
    path::{Path, PathBuf},
};

pub use process::{Process, Usage, output};
pub use start::{Certificate, start};

use crate::{
    Result,
    client::{End, Target, run},
    content::{Bulk, OCI_MANIFEST, sha256},
    scripts::{How, Once, Push},
};

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Peer {
    Ours,
    Nginx,
    Zot,
    Distribution,
    Distribution2,
    /// Our own loop, the limit: as durable as we are.
    Bare,
    /// The same without waiting for the disk.
    BareUnsynced,
}

impl Peer {
    pub const ALL: [Self; 7] = [
        Self::Ours,
        Self::Nginx,
        Self::Zot,
        Self::Distribution,
        Self::Distribution2,
        Self::Bare,
        Self::BareUnsynced,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "packhouse",
            Self::Nginx => "nginx",
            Self::Zot => "zot",
            Self::Distribution => "distribution",
            Self::Distribution2 => "distribution2",
            Self::Bare => "bare",
            Self::BareUnsynced => "bare-unsynced",
        }
    }

    /// Where its program is, or why there is none.
    ///
    /// # Errors
    /// What to do to have it.
    pub fn program(self) -> std::result::Result<PathBuf, String> {
        let named = |variable: &str| std::env::var_os(variable).map(PathBuf::from);
        let (found, how) = match self {
            Self::Ours => {
                (named("PACKHOUSE_BIN").or(Some(env!("CARGO_BIN_EXE_packhouse").into())), "PACKHOUSE_BIN=")
            }
            Self::Nginx => {
                (named("PEER_NGINX").or_else(|| on_path("nginx")), "Debian's nginx, or PEER_NGINX=")
            }
            Self::Zot => (named("PEER_ZOT"), "PEER_ZOT="),
            Self::Distribution => (named("PEER_DISTRIBUTION"), "PEER_DISTRIBUTION="),
            Self::Distribution2 => (
                named("PEER_DISTRIBUTION2").or_else(|| on_path("docker-registry")),
                "Debian's docker-registry, or PEER_DISTRIBUTION2=",
            ),
            Self::Bare | Self::BareUnsynced => {
                (Some(std::env::current_exe().map_err(|error| error.to_string())?), "")
            }
        };
        match found {
            Some(program) if program.is_file() => Ok(program),
            Some(program) => Err(format!("{} is no file ({how})", program.display())),
            None => Err(format!("not here ({how})")),
        }
    }

    /// Whether it takes no pushes but serves the files of a folder.
    pub fn is_static(self) -> bool {
        matches!(self, Self::Nginx | Self::Bare | Self::BareUnsynced)
    }
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// A peer that runs, over a data folder of its own.
pub struct Instance {
    pub peer: Peer,
    pub target: Target,
    pub process: Process,
    /// User name and password, where it asks for them.
    pub login: Option<(String, String)>,
    folder: tempfile::TempDir,
    seeded: RefCell<HashSet<String>>,
}

impl Instance {
    /// The folder it keeps its data in.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The end of what it said.
    pub fn log(&self) -> String {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<String> =
            log.lines().rev().take(3).map(|line| line.chars().take(300).collect()).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Whether this is the first time that this is asked for: then it has to be put there.
    pub fn lacks(&self, what: &str) -> bool {
        self.seeded.borrow_mut().insert(what.to_owned())
    }

    fn file(&self, path: &str) -> Result<PathBuf> {
        let path = self.data().join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        Ok(path)
    }

    /// Stores a blob; says its path.
    ///
    /// # Errors
    /// When it is refused.
    pub fn put_blob(&self, repository: &str, bytes: &[u8]) -> Result<String> {
        let path = format!("/v2/{repository}/blobs/{}", sha256(bytes));
        if self.peer.is_static() {
            std::fs::write(self.file(&path)?, bytes)?;
            return Ok(path);
        }
        let mut push = Push::bytes(&self.target, bytes, repository);
        run(&self.target, 1, &mut push, End::Finish(std::time::Duration::from_secs(60)))?;
        Ok(path)
    }

    /// Stores a file as a blob; says its path.
    ///
    /// # Errors
    /// When it is refused.
    pub fn put_bulk(&self, repository: &str, bulk: &Bulk) -> Result<String> {
        let path = format!("/v2/{repository}/blobs/{}", bulk.digest);
        if self.peer.is_static() {
            let file = self.file(&path)?;
            if std::fs::hard_link(&bulk.path, &file).is_err() {
                std::fs::copy(&bulk.path, &file)?;
            }
            return Ok(path);
        }
        let mut push = Push::file(&self.target, How::Put, bulk.body(), &bulk.digest, repository);
        run(&self.target, 1, &mut push, End::Finish(std::time::Duration::from_secs(1)))?;
        Ok(path)
    }

    /// Stores a manifest by tag; says its path.
    ///
    /// # Errors
    /// When it is refused.
    pub fn put_manifest(&self, repository: &str, tag: &str, bytes: &[u8]) -> Result<String> {
        let path = format!("/v2/{repository}/manifests/{tag}");
        if self.peer.is_static() {
            std::fs::write(self.file(&path)?, bytes)?;
            return Ok(path);
        }
        let more = format!("Content-Type: {OCI_MANIFEST}\r\nContent-Length: {}\r\n", bytes.len());
        let mut request = self.target.head("PUT", &path, &more);
        request.extend_from_slice(bytes);
        self.must(201, request)?;
        Ok(path)
    }

    /// Sends one request; gives its answer's body.
    ///
    /// # Errors
    /// When the status is another.
    pub fn must(&self, status: u16, request: Vec<u8>) -> Result<Vec<u8>> {
        let answers = Once::send(&self.target, vec![request])?;
        let (got, body) = answers.into_iter().next().ok_or("no answer")?;
        if got == status {
            return Ok(body);
        }
        let said = String::from_utf8_lossy(&body[..body.len().min(500)]).into_owned();
        Err(format!("{}: {got}, not {status}: {said}", self.peer.name()).into())
    }
}
