//! Tar archives as image layouts need them: plain files with short names. Written as POSIX ustar, with GNU's binary form
//! for sizes that twelve octal digits do not hold; read with pax headers and GNU's long names besides, as others write
//! them (POSIX.1-2017, "pax", and the GNU tar manual, "Basic Tar Format").

use std::{
    collections::HashMap,
    io::{self, Read, Seek, SeekFrom},
};

/// Everything in an archive comes in such blocks.
pub(super) const BLOCK: u64 = 512;
/// Longest header that says something about the next file, in bytes.
const EXTENSION: u64 = 1 << 20;
/// Most files of an archive.
const FILES: usize = 1 << 20;

/// The header of a file.
pub(super) fn header(name: &str, size: u64) -> io::Result<[u8; 512]> {
    let mut block = [0; 512];
    if name.len() > 100 {
        return Err(io::Error::other("the name is too long"));
    }
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..108].copy_from_slice(b"0000644\0");
    block[108..116].copy_from_slice(b"0000000\0");
    block[116..124].copy_from_slice(b"0000000\0");
    if size < 1 << 33 {
        block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    } else {
        block[124] = 0x80;
        block[128..136].copy_from_slice(&size.to_be_bytes());
    }
    // No time: the same package gives the same archive.
    block[136..148].copy_from_slice(b"00000000000\0");
    block[156] = b'0';
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum = format!("{:06o}\0 ", checksum(&block));
    block[148..156].copy_from_slice(sum.as_bytes());
    Ok(block)
}

/// How much fills up the last block of a file.
pub(super) fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK) - size
}

/// The sum of a header's bytes, its own field counted as spaces.
fn checksum(block: &[u8; 512]) -> u32 {
    let byte =
        |(at, byte): (usize, &u8)| if (148..156).contains(&at) { b' '.into() } else { u32::from(*byte) };
    block.iter().enumerate().map(byte).sum()
}

/// Where the files of an archive lie in it: name, offset, size. Of two of one name the later counts, as when unpacking.
pub(super) fn index(mut archive: impl Read + Seek) -> io::Result<HashMap<String, (u64, u64)>> {
    let length = archive.seek(SeekFrom::End(0))?;
    let mut files = HashMap::new();
    let (mut at, mut next_name, mut next_size) = (0, None, None);
    while at < length {
        let mut block = [0; 512];
        archive.seek(SeekFrom::Start(at))?;
        archive.read_exact(&mut block)?;
        if block.iter().all(|byte| *byte == 0) {
            break;
        }
        if number(&block[148..156])? != u64::from(checksum(&block)) {
            return Err(broken("a header has a wrong sum: it is no tar archive, or a compressed one"));
        }
        let kind = block[156];
        let own = number(&block[124..136])?;
        let size = if matches!(kind, b'x' | b'g' | b'L') { own } else { next_size.take().unwrap_or(own) };
        let begin = at + BLOCK;
        let end = begin.checked_add(size).filter(|end| *end <= length);
        let end = end.ok_or_else(|| broken("it is cut short"))?;
        match kind {
            b'x' | b'L' => {
                if size > EXTENSION {
                    return Err(broken("a header is too long"));
                }
                let mut text = vec![0; usize::try_from(size).map_err(io::Error::other)?];
                archive.read_exact(&mut text)?;
                if kind == b'L' {
                    next_name = Some(text_of(&text)?);
                } else {
                    let (name, size) = pax(&text)?;
                    next_name = name.or(next_name);
                    next_size = size.or(next_size);
                }
            }
            b'0' | 0 => {
                let name = match next_name.take() {
                    Some(name) => name,
                    None => name_of(&block)?,
                };
                if files.len() >= FILES {
                    return Err(broken("it holds too many files"));
                }
                files.insert(name.trim_start_matches("./").to_owned(), (begin, size));
            }
            // Folders, links: nothing that a layout needs. What was said of their names is over.
            _ => next_name = None,
        }
        at = end.next_multiple_of(BLOCK);
    }
    if at > length {
        return Err(broken("it is cut short"));
    }
    Ok(files)
}

fn broken(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn text_of(bytes: &[u8]) -> io::Result<String> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8(bytes[..end].to_vec()).map_err(|_| broken("a name is not UTF-8"))
}

fn name_of(block: &[u8; 512]) -> io::Result<String> {
    let name = text_of(&block[..100])?;
    let prefix = if block[257..262] == *b"ustar" && block[262] == 0 {
        text_of(&block[345..500])?
    } else {
        String::new()
    };
    Ok(if prefix.is_empty() { name } else { format!("{prefix}/{name}") })
}

fn number(field: &[u8]) -> io::Result<u64> {
    if field[0] & 0x80 != 0 {
        let bytes = field.last_chunk::<8>().ok_or_else(|| broken("a number is malformed"))?;
        return Ok(u64::from_be_bytes(*bytes));
    }
    let text = text_of(field)?;
    let text = text.trim();
    if text.is_empty() {
        Ok(0)
    } else {
        u64::from_str_radix(text, 8).map_err(|_| broken("a number is malformed"))
    }
}

/// The name and the size that a pax header gives the next file.
fn pax(mut text: &[u8]) -> io::Result<(Option<String>, Option<u64>)> {
    let malformed = || broken("a pax header is malformed");
    let (mut name, mut size) = (None, None);
    while !text.is_empty() {
        let space = text.iter().position(|byte| *byte == b' ').ok_or_else(malformed)?;
        let length = std::str::from_utf8(&text[..space]).ok().and_then(|text| text.parse::<usize>().ok());
        let length =
            length.filter(|length| *length > space + 1 && *length <= text.len()).ok_or_else(malformed)?;
        let record = std::str::from_utf8(&text[space + 1..length - 1]).map_err(|_| malformed())?;
        match record.split_once('=').ok_or_else(malformed)? {
            ("path", value) => name = Some(value.to_owned()),
            ("size", value) => size = Some(value.parse().map_err(|_| malformed())?),
            _ => {}
        }
        text = &text[length..];
    }
    Ok((name, size))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    fn file(name: &str, bytes: &[u8]) -> Vec<u8> {
        let mut all = header(name, bytes.len() as u64).unwrap().to_vec();
        all.extend_from_slice(bytes);
        all.resize(all.len() + padding(bytes.len() as u64) as usize, 0);
        all
    }

    fn extension(kind: u8, text: &[u8]) -> Vec<u8> {
        let mut all = file("x", text);
        all[156] = kind;
        let mut block = *all.first_chunk::<512>().unwrap();
        let sum = format!("{:06o}\0 ", checksum(&block));
        block[148..156].copy_from_slice(sum.as_bytes());
        all[..512].copy_from_slice(&block);
        all
    }

    #[test]
    fn files_are_found_where_they_lie() {
        let mut archive =
            [file("oci-layout", b"{}"), file("blobs/sha256/a", &[7; 600]), file("oci-layout", b"new")]
                .concat();
        archive.extend(extension(b'L', format!("{}\0", "long/".repeat(40)).as_bytes()));
        archive.extend(file("short", b"1"));
        archive.extend(extension(b'x', b"16 path=./named\n9 size=2\n"));
        archive.extend(file("other", b"12"));
        archive.extend([0; 1024]);
        let found = index(Cursor::new(&archive)).unwrap();
        let bytes = |name: &str| {
            let (at, size) = found[name];
            archive[at as usize..(at + size) as usize].to_vec()
        };
        assert_eq!(bytes("oci-layout"), b"new");
        assert_eq!(bytes("blobs/sha256/a"), [7; 600]);
        assert_eq!(bytes(&"long/".repeat(40)), b"1");
        assert_eq!(bytes("named"), b"12");
        assert_eq!(found.len(), 4);
        for cut in [100, 700, archive.len() - 1600] {
            assert!(index(Cursor::new(&archive[..cut])).is_err(), "{cut}");
        }
        assert!(index(Cursor::new([b"\x1f\x8b".as_slice(), &[1; 600]].concat())).is_err());
    }

    #[test]
    fn sizes_beyond_eight_gibibytes_are_written_and_read() {
        for size in [0, 511, (1 << 33) - 1, 1 << 33, u64::MAX >> 1] {
            assert_eq!(number(&header("a", size).unwrap()[124..136]).unwrap(), size);
        }
        assert!(header(&"x".repeat(101), 0).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..2048), fix: bool) {
            if let (true, Some(block)) = (fix, bytes.first_chunk_mut::<512>()) {
                let sum = format!("{:06o}\0 ", checksum(block));
                block[148..156].copy_from_slice(sum.as_bytes());
            }
            let _ = index(Cursor::new(bytes));
        }
    }
}
