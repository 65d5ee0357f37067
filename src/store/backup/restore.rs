//! From a backup to a data folder, or just a look whether that would work: both read every byte and compare its digest.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    DAMAGED, Head, Notes, PARTIAL, Totals, apart, damaged, files, finished, folder_of, make,
    manifest::{self, Line, NAME},
    unusable,
};
use crate::{
    error::{Error, Result, What},
    model::{Digest, Hasher},
    store::format,
};

/// A backup that was read whole, and was good.
#[derive(Debug, Clone)]
pub struct Checked {
    /// Its folder.
    pub folder: PathBuf,
    /// What it is.
    pub head: Head,
    /// How much it holds.
    pub totals: Totals,
    /// Digests of blobs that were recorded and could not be read when it was made, the first few of them.
    pub absent: Vec<String>,
    /// What is wrong with blobs that were left out because they are damaged.
    pub damaged: Vec<String>,
}

/// What becomes of a blob that is damaged in the backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damaged {
    /// It ends the restore.
    Refuse,
    /// It is left out; its record stays, and whoever pushes it again repairs it.
    LeaveOut,
}

/// Where one backup lies.
struct Found {
    root: PathBuf,
    folder: PathBuf,
}

/// The backup that a path names: a backup itself, or the newest in a folder of backups.
fn find(source: &Path) -> Result<Found> {
    let source = source.canonicalize().map_err(|cause| unusable(source, cause))?;
    let none = |why: &str| Error::invalid(What::Request, format!("{} {why}", source.display()));
    if source.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with(PARTIAL)) {
        return Err(none("is a backup that was never finished"));
    }
    if let (Some(root), true) = (source.parent(), source.join(NAME).is_file()) {
        return Ok(Found { root: root.to_owned(), folder: source.clone() });
    }
    match finished(&source)?.pop() {
        Some((_, name)) => Ok(Found { folder: source.join(name), root: source }),
        None => Err(none("holds no finished backup")),
    }
}

/// Reads a whole backup and compares every digest. Blocks.
///
/// # Errors
/// Unavailable, with the file and its digest, at the first thing that is not as it was written.
pub fn check(source: &Path, notes: Notes<'_>) -> Result<Checked> {
    walk(&find(source)?, None, Damaged::Refuse, notes)
}

/// Makes a backup a data folder, which must be absent or empty. Blocks.
///
/// # Errors
/// Invalid when the folder holds anything, or when one folder lies in the other; unavailable when the backup is damaged or
/// of a newer release. What was written by then is a folder that no daemon opens.
pub fn restore(source: &Path, data: &Path, damaged: Damaged, notes: Notes<'_>) -> Result<Checked> {
    let found = find(source)?;
    apart(data, &found.root)?;
    // The list first: whoever gives the wrong folder, or one cut short, keeps an untouched data folder.
    manifest::check(&found.folder)?;
    make(data)?;
    let mut entries = data.read_dir().map_err(|cause| unusable(data, cause))?;
    if entries.next().is_some() {
        let text = format!("{} is not empty: a restore writes over nothing", data.display());
        return Err(Error::invalid(What::Request, text));
    }
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(data, private).map_err(|cause| unusable(data, cause))?;
    format::begin_restore(data)?;
    let checked = walk(&found, Some(data), damaged, notes)?;
    // Everything at once, names and bytes, and only then the file that makes it an installation.
    files::sync_all(data).map_err(|cause| unusable(data, cause))?;
    format::end_restore(data)?;
    if let Some(parent) = data.canonicalize().ok().as_deref().and_then(Path::parent) {
        files::sync_folder(parent).map_err(|cause| unusable(parent, cause))?;
    }
    Ok(checked)
}

fn walk(found: &Found, into: Option<&Path>, damage: Damaged, notes: Notes<'_>) -> Result<Checked> {
    let (head, totals) = manifest::check(&found.folder)?;
    let (_, lines) = manifest::open(&found.folder)?;
    if let Some(data) = into {
        make(&data.join("meta"))?;
        for first in 0..=u8::MAX {
            make(&data.join("blobs").join(hex::encode([first])))?;
        }
    }
    let (mut absent, mut left_out) = (Vec::new(), Vec::new());
    let mut pace = Pace { notes, said: Instant::now(), bytes: 0, of: totals.bytes };
    for line in lines {
        match line? {
            Line::File(entry) => {
                let plain =
                    entry.name.strip_prefix("meta/").filter(|rest| !rest.is_empty() && !rest.contains('/'));
                if plain.is_none_or(|rest| rest == "." || rest == "..") {
                    return Err(damaged(&format!("its list names the file {:?}", entry.name)));
                }
                let to = into.map(|data| data.join(&entry.name));
                carry(&found.folder.join(&entry.name), to.as_deref(), entry.size, &entry.digest)?;
                pace.add(entry.size);
            }
            Line::Blob(entry) => {
                let key = entry.key()?;
                let from = folder_of(&found.root, key).join(key.to_string());
                let to = into.map(|data| folder_of(data, key).join(key.to_string()));
                match (carry(&from, to.as_deref(), entry.size, &entry.digest), damage) {
                    (Err(error), Damaged::LeaveOut) if error.kind() == DAMAGED => {
                        // What was written of it must not pass for it.
                        if let Some(to) = to {
                            remove(&to)?;
                        }
                        notes(error.public());
                        left_out.push(error.public().to_owned());
                    }
                    (result, _) => result?,
                }
                pace.add(entry.size);
            }
            Line::Absent(entry) if absent.len() < 100 => absent.push(entry.digest),
            Line::Absent(_) => {}
            // The reader gives neither.
            Line::Backup(_) | Line::End(_) => {}
        }
    }
    Ok(Checked { folder: found.folder.clone(), head, totals, absent, damaged: left_out })
}

fn remove(path: &Path) -> Result<()> {
    match files::remove(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(unusable(path, cause)),
        _ => Ok(()),
    }
}

/// Reads a file, compares it with what the list says, and writes it to another place if there is one.
fn carry(from: &Path, to: Option<&Path>, size: u64, digest: &str) -> Result<()> {
    let wrong = |why: &str| damaged(&format!("{} ({digest}) {why}", from.display()));
    let wanted = Digest::parse(digest).map_err(|_| wrong("has no digest"))?;
    let mut file = File::open(from).map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => wrong("is missing"),
        _ => wrong("cannot be read").because(cause),
    })?;
    let stored = file.metadata().map_err(|cause| wrong("cannot be read").because(cause))?.len();
    if stored != size {
        return Err(wrong(&format!("holds {stored} bytes, not {size}")));
    }
    let fail = |cause| unusable(to.unwrap_or(from), cause);
    let copy = to.map(files::create_new).transpose().map_err(fail)?;
    let mut hasher = Hasher::new(wanted.algorithm());
    let mut buffer = vec![0; 256 << 10];
    loop {
        let length = file.read(&mut buffer).map_err(|cause| wrong("cannot be read").because(cause))?;
        if length == 0 {
            break;
        }
        hasher.update(&buffer[..length]);
        if let (Some(copy), Some(to)) = (&copy, to) {
            files::write(copy, to, &buffer[..length]).map_err(fail)?;
        }
    }
    let found = hasher.finish();
    if found != wanted {
        return Err(wrong(&format!("has the digest {found}")));
    }
    Ok(())
}

/// Says how far it came, now and then.
struct Pace<'a> {
    notes: Notes<'a>,
    said: Instant,
    bytes: u64,
    of: u64,
}

impl Pace<'_> {
    fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
        if self.said.elapsed() >= Duration::from_secs(2) {
            self.said = Instant::now();
            (self.notes)(&format!("{} of {} bytes", self.bytes, self.of));
        }
    }
}
