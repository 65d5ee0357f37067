//! How far the log was known to be durable: a number in a small file beside the database.
//!
//! A power cut leaves a torn end of the log, and damage in the midst of what was synced looks the same to RocksDB, which
//! drops all that follows either. So the committer notes, now and then after a sync and when it closes, the number of the
//! last change that was synced. A database that ends before it has lost what was acknowledged, and is not opened as if
//! nothing had happened. What came after the last note is not watched over; nor is damage behind a flush that came after it,
//! for the flush itself says how far the database goes. And RocksDB has dropped what lay behind the damage when this refuses.

use std::{io::Write as _, path::Path};

use super::engine::Engine;
use crate::error::{Error, Kind, Result};

const NAME: &str = "packhouse.synced";

/// Notes that everything in the database now is durable. No sync of its own: a note that is lost leaves an older one.
///
/// # Errors
/// Unavailable when the file cannot be written; the note before stays.
pub(super) fn note(path: &Path, engine: &Engine) -> Result<()> {
    let number = engine.db().latest_sequence_number();
    let fresh = path.join(format!("{NAME}.new"));
    let write = || {
        let mut file = std::fs::File::create(&fresh)?;
        writeln!(file, "{number}")?;
        std::fs::rename(&fresh, path.join(NAME))
    };
    write().map_err(|cause: std::io::Error| {
        Error::new(Kind::Unavailable, "how far the metadata is durable could not be noted").because(cause)
    })
}

/// Refuses a database that ends before what is noted.
///
/// # Errors
/// Unavailable, with what an operator can do.
pub(super) fn check(path: &Path, engine: &Engine) -> Result<()> {
    let file = path.join(NAME);
    // Without a note, or with one that a power cut left empty, there is nothing to compare with.
    let Some(noted) = std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse::<u64>().ok())
    else {
        return Ok(());
    };
    let found = engine.db().latest_sequence_number();
    if found >= noted {
        return Ok(());
    }
    let text = format!(
        "the metadata in {} ends {} changes before what was acknowledged: its log is damaged. Restore a backup, or \
         remove {} to go on without them",
        path.display(),
        noted - found,
        file.display()
    );
    Err(Error::new(Kind::Unavailable, text))
}
