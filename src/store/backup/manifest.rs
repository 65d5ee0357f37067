//! What a backup holds: a list with a sum under it, one JSON object a line, written last. A backup whose list is absent,
//! cut short or altered is not one.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, BufWriter, Read as _, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{FORMAT, damaged, files, unusable};
use crate::{
    error::{Error, Kind, Result},
    model::{Algorithm, Hasher, PhysicalKey},
};

/// The list's name in a backup's folder.
pub(super) const NAME: &str = "manifest";
/// Longest line, in bytes. Ours have a few hundred.
const LINE: u64 = 64 << 10;

/// What stands first: what kind of backup this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The version of this list and of the folders around it.
    pub format: u32,
    /// The format of the data folder it becomes.
    pub data: u32,
    /// Whose backup this is.
    pub installation: String,
    /// When it was begun, in milliseconds since the epoch.
    pub begun: u64,
    /// The release that wrote it.
    pub by: String,
}

/// A file of the metadata's copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileEntry {
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) digest: String,
}

/// A blob that has a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BlobEntry {
    pub(super) key: String,
    pub(super) size: u64,
    pub(super) digest: String,
}

impl BlobEntry {
    pub(super) fn key(&self) -> Result<PhysicalKey> {
        PhysicalKey::parse(&self.key)
            .ok_or_else(|| damaged(&format!("its list names the blob {:?}", self.key)))
    }
}

/// What stands last: how much there is, and the sum of the lines above.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// Files of the metadata.
    pub files: u64,
    /// Blobs.
    pub blobs: u64,
    /// Blobs that were recorded and whose bytes could not be read: they are not in this backup.
    pub absent: u64,
    /// Bytes of files and blobs together.
    pub bytes: u64,
    /// SHA-256 of the lines above, in hexadecimal.
    pub sha256: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Line {
    Backup(Head),
    File(FileEntry),
    Blob(BlobEntry),
    Absent(BlobEntry),
    End(Totals),
}

/// Writes a list.
pub(super) struct ListWriter {
    path: PathBuf,
    file: BufWriter<File>,
    sum: Hasher,
    pub(super) totals: Totals,
}

impl ListWriter {
    pub(super) fn create(folder: &Path, head: Head) -> Result<Self> {
        let path = folder.join(NAME);
        let file = files::create_new(&path).map_err(|cause| unusable(&path, cause))?;
        let mut list = Self {
            path,
            file: BufWriter::new(file),
            sum: Hasher::new(Algorithm::Sha256),
            totals: Totals::default(),
        };
        list.put(&Line::Backup(head))?;
        Ok(list)
    }

    fn put(&mut self, line: &Line) -> Result<()> {
        let mut text = serde_json::to_vec(line).map_err(Error::internal)?;
        text.push(b'\n');
        self.sum.update(&text);
        self.file.write_all(&text).map_err(|cause| unusable(&self.path, cause))
    }

    pub(super) fn file(&mut self, entry: FileEntry) -> Result<()> {
        self.totals.files += 1;
        self.totals.bytes += entry.size;
        self.put(&Line::File(entry))
    }

    pub(super) fn blob(&mut self, entry: BlobEntry) -> Result<()> {
        self.totals.blobs += 1;
        self.totals.bytes += entry.size;
        self.put(&Line::Blob(entry))
    }

    pub(super) fn absent(&mut self, entry: BlobEntry) -> Result<()> {
        self.totals.absent += 1;
        self.put(&Line::Absent(entry))
    }

    /// Writes the sum and makes the list durable.
    pub(super) fn finish(mut self) -> Result<Totals> {
        self.totals.sha256 = hex::encode(self.sum.clone().finish().hash());
        let totals = self.totals.clone();
        self.put(&Line::End(totals.clone()))?;
        let file = self.file.into_inner().map_err(|cause| unusable(&self.path, cause.into_error()))?;
        files::sync(&file, &self.path).map_err(|cause| unusable(&self.path, cause))?;
        Ok(totals)
    }
}

/// The lines of a list, the end excluded, which must be right.
pub(super) struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    sum: Hasher,
    seen: Totals,
    over: bool,
}

impl Lines {
    fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(NAME);
        let file = File::open(&path).map_err(|cause| unusable(&path, cause))?;
        let sum = Hasher::new(Algorithm::Sha256);
        Ok(Self { path, reader: BufReader::new(file), sum, seen: Totals::default(), over: false })
    }

    fn read(&mut self) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        let mut limited = self.reader.by_ref().take(LINE);
        limited.read_until(b'\n', &mut text).map_err(|cause| unusable(&self.path, cause))?;
        if text.last() != Some(&b'\n') {
            return Err(self.bad("is cut short"));
        }
        Ok(text)
    }

    fn bad(&self, why: &str) -> Error {
        damaged(&format!("its list {} {why}", self.path.display()))
    }

    /// The next entry; `None` at an end whose counts and sum are those of what was read.
    fn step(&mut self) -> Result<Option<Line>> {
        if self.over {
            return Ok(None);
        }
        let text = self.read()?;
        let line: Line =
            serde_json::from_slice(&text).map_err(|cause| self.bad(&format!("cannot be read: {cause}")))?;
        match &line {
            Line::File(FileEntry { size, .. }) => {
                self.seen.files += 1;
                self.seen.bytes += size;
            }
            Line::Blob(BlobEntry { size, .. }) => {
                self.seen.blobs += 1;
                self.seen.bytes += size;
            }
            Line::Absent(_) => self.seen.absent += 1,
            Line::Backup(_) => return Err(self.bad("begins twice")),
            Line::End(totals) => {
                self.seen.sha256 = hex::encode(self.sum.clone().finish().hash());
                let rest = self.reader.fill_buf().map_err(|cause| unusable(&self.path, cause))?;
                if !rest.is_empty() || *totals != self.seen {
                    return Err(self.bad("is not what was written: its sum differs"));
                }
                self.over = true;
                return Ok(None);
            }
        }
        self.sum.update(&text);
        Ok(Some(line))
    }
}

impl Iterator for Lines {
    type Item = Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.step().transpose();
        self.over |= matches!(item, Some(Err(_)));
        item
    }
}

/// Opens a list: what it is, and its entries.
///
/// # Errors
/// [`Kind::Unavailable`] when it was written by a newer release, or is none.
pub(super) fn open(folder: &Path) -> Result<(Head, Lines)> {
    let mut lines = Lines::open(folder)?;
    let text = lines.read()?;
    // The number first: a newer release may have given the head other fields.
    let value: serde_json::Value =
        serde_json::from_slice(&text).map_err(|cause| lines.bad(&format!("cannot be read: {cause}")))?;
    let newer = |what: &str, format: u64, known: u32| {
        let text = format!(
            "the backup {} has {what} {format} and this packhouse reads up to {known}: a newer one wrote it",
            folder.display()
        );
        Error::new(Kind::Unavailable, text)
    };
    let number = |field: &str| value["backup"][field].as_u64();
    if let Some(format) = number("format").filter(|format| *format > u64::from(FORMAT)) {
        return Err(newer("format", format, FORMAT));
    }
    if let Some(format) = number("data").filter(|format| *format > u64::from(super::super::format::FORMAT)) {
        return Err(newer("data format", format, super::super::format::FORMAT));
    }
    match serde_json::from_value(value) {
        Ok(Line::Backup(head)) => {
            lines.sum.update(&text);
            Ok((head, lines))
        }
        Ok(_) => Err(lines.bad("has no beginning")),
        Err(cause) => Err(lines.bad(&format!("cannot be read: {cause}"))),
    }
}

/// Reads a list to its end: what it is and how much there is.
pub(super) fn check(folder: &Path) -> Result<(Head, Totals)> {
    let (head, mut lines) = open(folder)?;
    for line in lines.by_ref() {
        line?;
    }
    Ok((head, lines.seen))
}
