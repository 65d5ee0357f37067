//! Which release's data folder is this? A number in the file `format`, read before anything else is touched.
//!
//! Format 1 is that of release 0.1.0, whose folders carry no file yet: they are stamped when they are opened. Format 2 has
//! the indexes of lists, roles that know their package's path, teams and what groups are given; an older release would leave
//! the indexes as they are, and give a name's new holder what a group had. A release
//! that stores what an older one would misread counts the number up, reads the older forms, and stamps the folder before
//! it writes the first of the new ones; from then on the older release refuses the folder.

use std::{io, path::Path};

use super::backup::files;
use crate::error::{Error, Kind, Result};

/// The format this release writes, and the newest it reads.
pub const FORMAT: u32 = 2;

const NAME: &str = "format";
/// There while a restore writes the folder: what lies in it is not whole.
const RESTORING: &str = "restoring";

fn cannot(data: &Path, cause: io::Error) -> Error {
    let text = format!("the data folder {} cannot be used", data.display());
    Error::new(Kind::Unavailable, text).because(cause)
}

/// Refuses a folder that this release must not open. Reads and writes nothing else.
///
/// # Errors
/// [`Kind::Unavailable`], with a sentence for the operator.
pub(super) fn check(data: &Path) -> Result<()> {
    let refuse = |why: String| {
        let text = format!("the data folder {} {why}; nothing in it was changed", data.display());
        Err(Error::new(Kind::Unavailable, text))
    };
    if data.join(RESTORING).try_exists().map_err(|cause| cannot(data, cause))? {
        return refuse("holds a restore that did not come to its end: empty it and restore again".to_owned());
    }
    let text = match std::fs::read_to_string(data.join(NAME)) {
        Ok(text) => text,
        Err(cause) if matches!(cause.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(());
        }
        Err(cause) if cause.kind() == io::ErrorKind::InvalidData => String::new(),
        Err(cause) => return Err(cannot(data, cause)),
    };
    match text.trim_end().parse::<u32>() {
        Ok(found) if (1..=FORMAT).contains(&found) => Ok(()),
        Ok(found) if found > FORMAT => refuse(format!(
            "has format {found} and this packhouse reads formats up to {FORMAT}: a newer one wrote it, start that one"
        )),
        _ => refuse(format!("has a damaged file `{NAME}`: it holds no number of a format")),
    }
}

/// Writes this release's format, durably, before anything of this release is written.
pub(super) fn stamp(data: &Path) -> Result<()> {
    let current = format!("{FORMAT}\n");
    if std::fs::read_to_string(data.join(NAME)).is_ok_and(|text| text == current) {
        return Ok(());
    }
    let write = || {
        let draft = data.join("format.new");
        let file = files::create(&draft)?;
        files::write(&file, &draft, current.as_bytes())?;
        files::sync(&file, &draft)?;
        files::rename(&draft, &data.join(NAME))?;
        files::sync_folder(data)
    };
    write().map_err(|cause| cannot(data, cause))
}

/// Marks a folder as one that is being restored.
pub(super) fn begin_restore(data: &Path) -> Result<()> {
    let mark = || {
        let mark = data.join(RESTORING);
        files::sync(&files::create(&mark)?, &mark)?;
        files::sync_folder(data)
    };
    mark().map_err(|cause| cannot(data, cause))
}

/// Makes a restored folder one that can be opened. Everything in it is durable by now.
pub(super) fn end_restore(data: &Path) -> Result<()> {
    stamp(data)?;
    let unmark = || {
        files::remove(&data.join(RESTORING))?;
        files::sync_folder(data)
    };
    unmark().map_err(|cause| cannot(data, cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(data: &Path) -> String {
        check(data).unwrap_err().to_string()
    }

    #[test]
    fn a_folder_is_opened_refused_or_stamped_by_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        check(&data.join("absent")).unwrap();
        // A folder of 0.1.0 has no number.
        check(data).unwrap();
        stamp(data).unwrap();
        assert_eq!(std::fs::read(data.join(NAME)).unwrap(), b"2\n");
        check(data).unwrap();
        for (bytes, word) in [
            (b"3\n".as_slice(), "format 3"),
            (b"", "damaged"),
            (b"0\n", "damaged"),
            (b"one\n", "damaged"),
            (b"\xff\xfe", "damaged"),
        ] {
            std::fs::write(data.join(NAME), bytes).unwrap();
            assert!(refusal(data).contains(word), "{bytes:?}: {}", refusal(data));
        }
    }

    #[test]
    fn a_restore_that_broke_off_is_no_installation() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        begin_restore(data).unwrap();
        assert!(refusal(data).contains("restore"));
        end_restore(data).unwrap();
        check(data).unwrap();
    }
}
