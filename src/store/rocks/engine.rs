//! One open database: typed reads over a moment of it, and the words for its failures.

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use rocksdb::{ColumnFamily, DB, DBRawIterator, ErrorKind, ReadOptions, Snapshot, checkpoint::Checkpoint};

use super::{
    mark,
    options::{STREAMS, Setup, has_digest_prefix},
};
use crate::{
    error::{Error, Kind, Result},
    model::Stamp,
    store::{Entry, Key, Space},
};

/// Says a RocksDB failure in our words.
pub(super) fn failure(cause: rocksdb::Error) -> Error {
    if cause.as_ref().contains("No space left on device") {
        return Error::new(Kind::NoSpace, "the disk is full").because(cause);
    }
    match cause.kind() {
        ErrorKind::IOError | ErrorKind::Busy | ErrorKind::TryAgain | ErrorKind::TimedOut => {
            Error::new(Kind::Unavailable, "the metadata store cannot be used now").because(cause)
        }
        _ => Error::internal(cause),
    }
}

/// Whether opening failed because of what the files hold, or do not.
fn is_damage(cause: &rocksdb::Error) -> bool {
    matches!(cause.kind(), ErrorKind::Corruption | ErrorKind::NotFound | ErrorKind::InvalidArgument)
        || cause.as_ref().contains("No such file or directory")
}

/// The sentence for files that are not what was written. Nothing is repaired by guessing.
fn damaged(path: &Path, cause: &dyn std::fmt::Display) -> Error {
    let text = format!(
        "the metadata in {} is damaged and was not opened; restore a backup, or see that its disk is well",
        path.display()
    );
    Error::new(Kind::Unavailable, text).because(cause.to_string())
}

/// Refuses a folder whose database has lost the file that names its parts: opening would take it for an empty one and
/// begin a new database in the middle of the old.
fn whole(path: &Path) -> Result<()> {
    if path.join("CURRENT").exists() {
        return Ok(());
    }
    let cannot = |cause: std::io::Error| {
        Error::new(Kind::Unavailable, format!("{} cannot be read", path.display())).because(cause)
    };
    for entry in path.read_dir().map_err(cannot)? {
        let name = entry.map_err(cannot)?.file_name();
        let name = name.to_string_lossy();
        // A first start that broke off leaves neither tables nor a log.
        if [".sst", ".blob", ".log"].iter().any(|ending| name.ends_with(ending)) {
            return Err(damaged(path, &format!("{name} is there and CURRENT is not")));
        }
    }
    Ok(())
}

/// The open database.
pub(super) struct Engine {
    db: DB,
    /// Of a read of the newest state: made once, for it costs as much as finding out that a key is absent.
    newest: ReadOptions,
    /// Which opening this is, of all in this process: what was not synced before is not there after it, and the
    /// numbers that it had are given again.
    opened: u64,
}

/// Openings so far.
static OPENED: AtomicU64 = AtomicU64::new(0);

/// Where reads look: the newest state, or that of a snapshot.
#[derive(Clone, Copy)]
pub(super) enum Moment<'a> {
    Now,
    At(&'a Snapshot<'a>),
}

impl Engine {
    pub(super) fn open(setup: &Setup) -> Result<Self> {
        whole(&setup.path)?;
        let opened = DB::open_cf_descriptors(&setup.database(), &setup.path, setup.families());
        let db = opened.map_err(|cause| {
            // RocksDB locks its folder: between processes with fcntl, within one by a table of its own.
            let text = cause.as_ref();
            if text.contains("While lock file") || text.contains("lock hold by current process") {
                let text = format!("another packhouse uses the data folder of {}", setup.path.display());
                return Error::new(Kind::Unavailable, text).because(cause);
            }
            // Said of a database with parts that this program does not name.
            if text.contains("Column families not opened") || text.contains("olumn family not opened") {
                let text = format!(
                    "the metadata in {} has parts that this packhouse does not know: a newer one wrote it",
                    setup.path.display()
                );
                return Error::new(Kind::Unavailable, text).because(cause);
            }
            if is_damage(&cause) {
                return damaged(&setup.path, &cause);
            }
            failure(cause)
        })?;
        let engine = Self::of(db);
        mark::check(&setup.path, &engine)?;
        Ok(engine)
    }

    /// Copies the database as it is now into a folder that is not there: finished files by a second name where the file
    /// system can, the log so far by a copy. A batch is in it whole or not at all.
    pub(super) fn copy(&self, into: &Path) -> Result<()> {
        let checkpoint = Checkpoint::new(&self.db).map_err(failure)?;
        checkpoint.create_checkpoint(into).map_err(failure)
    }

    /// Opens such a copy for reading; nothing is written into it.
    pub(super) fn open_copy(setup: &Setup) -> Result<Self> {
        let mut options = setup.database();
        options.create_if_missing(false);
        options.create_missing_column_families(false);
        let opened = DB::open_cf_descriptors_read_only(&options, &setup.path, setup.families(), false);
        Ok(Self::of(opened.map_err(failure)?))
    }

    fn of(db: DB) -> Self {
        Self { db, newest: ReadOptions::default(), opened: OPENED.fetch_add(1, Ordering::Relaxed) }
    }

    /// The last batch that readers see. RocksDB moves that number when a batch has become visible.
    pub(super) fn stamp(&self) -> Stamp {
        Stamp { opened: self.opened, committed: self.db.latest_sequence_number() }
    }

    pub(super) fn db(&self) -> &DB {
        &self.db
    }

    pub(super) fn family(&self, space: Space) -> Result<&ColumnFamily> {
        self.family_named(space.word())
    }

    pub(super) fn streams(&self) -> Result<&ColumnFamily> {
        self.family_named(STREAMS)
    }

    fn family_named(&self, name: &str) -> Result<&ColumnFamily> {
        self.db.cf_handle(name).ok_or_else(|| Error::internal(format!("no column family {name}")))
    }

    pub(super) fn get(&self, moment: Moment<'_>, key: &Key) -> Result<Option<Bytes>> {
        let family = self.family(key.space)?;
        let found = match moment {
            Moment::Now => self.db.get_cf_opt(family, &key.bytes, &self.newest),
            Moment::At(_) => self.db.get_cf_opt(family, &key.bytes, &options(moment)),
        };
        Ok(found.map_err(failure)?.map(Bytes::from))
    }

    pub(super) fn multi_get(&self, moment: Moment<'_>, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        let pairs = keys
            .iter()
            .map(|key| Ok((self.family(key.space)?, key.bytes.as_slice())))
            .collect::<Result<Vec<_>>>()?;
        // One call is one moment across column families.
        let found = match moment {
            Moment::Now => self.db.multi_get_cf_opt(pairs, &self.newest),
            Moment::At(_) => self.db.multi_get_cf_opt(pairs, &options(moment)),
        };
        found.into_iter().map(|value| Ok(value.map_err(failure)?.map(Bytes::from))).collect()
    }

    pub(super) fn scan(
        &self,
        moment: Moment<'_>,
        prefix: &Key,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        if limit == 0 {
            return Ok(entries);
        }
        let mut cursor = self.cursor(moment, prefix)?;
        cursor.seek(after.map(|after| after.bytes.as_slice()));
        while let Some((key, value)) = cursor.item() {
            // The only key that can be met and is not after `after` is `after` itself.
            if after.is_none_or(|after| key != after.bytes) {
                let key = Key { space: prefix.space, bytes: key.to_vec() };
                entries.push((key, Bytes::copy_from_slice(value)));
                if entries.len() == limit {
                    return Ok(entries);
                }
            }
            cursor.next();
        }
        cursor.finish()?;
        Ok(entries)
    }

    /// Walks the keys that begin with a prefix.
    pub(super) fn cursor(&self, moment: Moment<'_>, prefix: &Key) -> Result<Cursor<'_>> {
        let mut options = options(moment);
        let start = prefix.bytes.clone();
        if let Some(end) = successor(&start) {
            options.set_iterate_upper_bound(end);
        }
        // The filter of Refs knows digests only; a shorter prefix must not ask it.
        options.set_total_order_seek(prefix.space != Space::Refs || !has_digest_prefix(&start));
        let iterator = self.db.raw_iterator_cf_opt(self.family(prefix.space)?, options);
        Ok(Cursor { iterator, start })
    }

    /// The last number given in a stream, 0 if none was.
    pub(super) fn last_number(&self, stream: &Key) -> Result<u64> {
        let kept = self.db.get_cf(self.streams()?, stream_name(stream)).map_err(failure)?;
        let kept = match kept {
            None => 0,
            Some(bytes) => {
                number(&bytes).ok_or_else(|| Error::internal("a stream's number is not 8 bytes"))?
            }
        };
        // Elements that came by other ways (a restore, an import) count as well.
        let length = stream.bytes.len() + 8;
        let mut last = stream.bytes.clone();
        last.extend_from_slice(&[0xff; 8]);
        let mut options = ReadOptions::default();
        options.set_total_order_seek(true);
        let mut iterator = self.db.raw_iterator_cf_opt(self.family(stream.space)?, options);
        iterator.seek_for_prev(&last);
        iterator.status().map_err(failure)?;
        let stored = match iterator.key() {
            Some(key) if key.len() == length && key.starts_with(&stream.bytes) => {
                number(&key[stream.bytes.len()..]).unwrap_or(0)
            }
            _ => 0,
        };
        Ok(kept.max(stored))
    }
}

/// The key in the streams' column family.
pub(super) fn stream_name(stream: &Key) -> Vec<u8> {
    let mut name = Vec::with_capacity(stream.bytes.len() + 1);
    name.push(stream.space as u8);
    name.extend_from_slice(&stream.bytes);
    name
}

fn number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

fn options(moment: Moment<'_>) -> ReadOptions {
    let mut options = ReadOptions::default();
    if let Moment::At(snapshot) = moment {
        options.set_snapshot(snapshot);
    }
    options
}

/// The first key that no longer begins with the prefix; none if all later keys do.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let kept = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=kept].to_vec();
    end[kept] += 1;
    Some(end)
}

/// A walk over the keys of one prefix.
pub(super) struct Cursor<'a> {
    iterator: DBRawIterator<'a>,
    start: Vec<u8>,
}

impl Cursor<'_> {
    /// Goes to the first key that is not before `from`, or to the prefix's first.
    pub(super) fn seek(&mut self, from: Option<&[u8]>) {
        self.iterator.seek(from.filter(|from| *from >= self.start.as_slice()).unwrap_or(&self.start));
    }

    pub(super) fn next(&mut self) {
        self.iterator.next();
    }

    pub(super) fn item(&self) -> Option<(&[u8], &[u8])> {
        // The upper bound ends the walk; the check costs little and holds without it.
        self.iterator.item().filter(|(key, _)| key.starts_with(&self.start))
    }

    /// An iterator that met an error looks like one at its end: whoever saw the end must ask.
    pub(super) fn finish(&self) -> Result<()> {
        self.iterator.status().map_err(failure)
    }
}

#[cfg(test)]
mod tests {
    use super::successor;

    #[test]
    fn the_successor_of_a_prefix_ends_it() {
        assert_eq!(successor(b""), None);
        assert_eq!(successor(&[0xff, 0xff]), None);
        assert_eq!(successor(&[1, 0xff]), Some(vec![2]));
        assert_eq!(successor(&[1, 2]), Some(vec![1, 3]));
        assert_eq!(successor(&[0, 0xff, 0]), Some(vec![0, 0xff, 1]));
    }
}
