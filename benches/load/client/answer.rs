//! Answers of HTTP/1.1, as much of them as a benchmark needs: status, where the body ends, Location.

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How an answer's body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    Length(u64),
    Chunked,
}

/// The head of an answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    pub status: u16,
    pub framing: Framing,
    /// Whether the server closes the connection after it.
    pub closes: bool,
    /// Where the value of Location stands in the bytes read.
    pub location: Option<(usize, usize)>,
    /// Bytes of the head, with the empty line.
    pub size: usize,
}

/// Reads a head at the start of these bytes; `None` while it is not all there.
///
/// # Errors
/// When it is no answer, or its body ends with the connection.
pub fn head(bytes: &[u8], to_head: bool) -> Result<Option<Head>> {
    let Some(size) = find(bytes, b"\r\n\r\n").map(|at| at + 4) else {
        return if bytes.len() > 64 * 1024 { Err("an answer's head never ends".into()) } else { Ok(None) };
    };
    if !bytes.starts_with(b"HTTP/1.1 ") || size < 16 {
        return Err(format!("no answer: {:?}", String::from_utf8_lossy(&bytes[..size.min(80)])).into());
    }
    let status = number(&bytes[9..12])? as u16;
    let (mut length, mut chunked, mut closes, mut location) = (None, false, false, None);
    let mut at = find(bytes, b"\r\n").unwrap_or(0) + 2;
    while at + 2 < size {
        let line = &bytes[at..];
        let end = find(line, b"\r\n").unwrap_or(0);
        let line = &line[..end];
        let colon = line.iter().position(|byte| *byte == b':').ok_or("a header without a colon")?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            length = Some(number(value)?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            chunked = value.eq_ignore_ascii_case(b"chunked");
        } else if name.eq_ignore_ascii_case(b"location") {
            let start = at + end - line[colon + 1..].trim_ascii_start().len();
            location = Some((start, start + value.len()));
        } else if name.eq_ignore_ascii_case(b"connection") {
            closes = value.eq_ignore_ascii_case(b"close");
        }
        at += end + 2;
    }
    let framing = if to_head || status == 204 || status == 304 || status < 200 {
        Framing::Length(0)
    } else if chunked {
        Framing::Chunked
    } else {
        Framing::Length(length.ok_or("an answer that ends with its connection")?)
    };
    Ok(Some(Head { status, framing, closes, location, size }))
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    // Heads are short and the first byte is rare: nothing cleverer pays.
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == what[0]) {
        let at = from + at;
        if bytes[at..].starts_with(what) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

fn number(digits: &[u8]) -> Result<u64> {
    Ok(std::str::from_utf8(digits)?.parse()?)
}

/// Takes the chunks off a chunked body.
#[derive(Debug, Default)]
pub struct Chunks {
    state: Chunk,
    left: u64,
    line: Vec<u8>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Chunk {
    #[default]
    Size,
    Data,
    DataEnd,
    Trailer,
    Done,
}

impl Chunks {
    /// Gives what these bytes hold of the body to `data`; says how many bytes belonged to it, and whether it is over.
    ///
    /// # Errors
    /// When a size is none.
    pub fn take(&mut self, bytes: &[u8], mut data: impl FnMut(&[u8])) -> Result<(usize, bool)> {
        let mut at = 0;
        while at < bytes.len() && self.state != Chunk::Done {
            if self.state == Chunk::Data {
                let some = self.left.min((bytes.len() - at) as u64) as usize;
                data(&bytes[at..at + some]);
                at += some;
                self.left -= some as u64;
                if self.left == 0 {
                    self.state = Chunk::DataEnd;
                }
                continue;
            }
            let byte = bytes[at];
            at += 1;
            if byte != b'\n' {
                self.line.push(byte);
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let line = line.trim_ascii();
            self.state = match self.state {
                Chunk::Size => {
                    let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
                    self.left = u64::from_str_radix(std::str::from_utf8(size)?.trim(), 16)?;
                    if self.left == 0 { Chunk::Trailer } else { Chunk::Data }
                }
                Chunk::Trailer if line.is_empty() => Chunk::Done,
                Chunk::Trailer => Chunk::Trailer,
                _ if line.is_empty() => Chunk::Size,
                _ => return Err("a chunk that is longer than it says".into()),
            };
        }
        Ok((at, self.state == Chunk::Done))
    }
}
