//! Watches the bytes of an HTTP/1 connection go by, for what hyper does not tell.
//!
//! hyper accepts a request that has both `Content-Length` and `Transfer-Encoding`, and removes the former before anybody
//! sees it. It then reads the body as chunked and closes the connection, as RFC 9112 §6.3 allows; a proxy in front that
//! went by the length instead would disagree about where the next request begins. Such a request is refused here. The
//! other thing learnt is when the head of a request began to arrive, for its deadline.
//!
//! This follows message framing and judges nothing else: what it cannot follow, hyper refuses.

use super::pulse::Pulse;

/// Where in the stream of bytes we are.
#[derive(Debug)]
enum State {
    /// Between messages; empty lines are skipped, as hyper does.
    Between,
    /// In a request line or header lines.
    Head(Head),
    /// In a body with so many bytes to come.
    Sized(u64),
    /// In a chunk's size line: the size so far, and whether its digits ended.
    ChunkSize(u64, bool),
    /// In a chunk's data and its line end.
    ChunkData(u64),
    /// In trailers; how many bytes of the present line were seen, line ends not counted.
    Trailers(usize),
    /// Not followed any more: a message that hyper or the pipeline refuses.
    Blind,
    /// HTTP/2.
    Foreign,
}

/// Enough of a line to tell the two headers and a length.
const LINE: usize = 48;

#[derive(Debug)]
struct Head {
    line: [u8; LINE],
    /// Bytes of the present line, beyond what is kept too.
    seen: usize,
    request_line: bool,
    length: Option<u64>,
    chunked: bool,
    unreadable: bool,
}

/// Follows one connection.
#[derive(Debug)]
pub(super) struct Framing {
    state: State,
    heads: u32,
}

impl Framing {
    /// Follows an HTTP/1 connection from its first byte.
    pub(super) fn http1() -> Self {
        Self { state: State::Between, heads: 0 }
    }

    /// Follows nothing.
    pub(super) fn http2() -> Self {
        Self { state: State::Foreign, heads: 0 }
    }

    /// Whether the client is in the middle of sending something, as far as can be told.
    pub(super) fn is_mid_message(&self) -> bool {
        !matches!(self.state, State::Between | State::Foreign)
    }

    /// Takes the next bytes.
    pub(super) fn observe(&mut self, mut bytes: &[u8], pulse: &Pulse) {
        while !bytes.is_empty() && !matches!(self.state, State::Blind | State::Foreign) {
            bytes = self.step(bytes, pulse);
        }
        pulse.head_pending(matches!(self.state, State::Head(_)));
    }

    /// Takes some of the bytes and says which remain.
    fn step<'a>(&mut self, bytes: &'a [u8], pulse: &Pulse) -> &'a [u8] {
        let (&first, rest) = match bytes.split_first() {
            Some(split) => split,
            None => return bytes,
        };
        match &mut self.state {
            State::Between if matches!(first, b'\r' | b'\n') => rest,
            State::Between => {
                self.state = State::Head(Head::new());
                bytes
            }
            State::Head(head) => {
                let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
                    head.push(bytes);
                    return &[];
                };
                head.push(&bytes[..end]);
                if head.end_line() {
                    let next = head.body();
                    self.heads += 1;
                    if head.is_mixed() {
                        pulse.mixed_head(self.heads);
                    }
                    self.state = next;
                }
                &bytes[end + 1..]
            }
            State::Sized(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= taken as u64;
                if *left == 0 {
                    self.state = State::Between;
                }
                &bytes[taken..]
            }
            State::ChunkSize(size, ended) => {
                match char::from(first).to_digit(16) {
                    _ if first == b'\n' => {
                        let data = size.checked_add(2).map_or(State::Blind, State::ChunkData);
                        self.state = if *size == 0 { State::Trailers(0) } else { data };
                    }
                    Some(digit) if !*ended => match size.checked_mul(16) {
                        Some(shifted) => *size = shifted + u64::from(digit),
                        None => self.state = State::Blind,
                    },
                    _ => *ended = true,
                }
                rest
            }
            State::ChunkData(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= taken as u64;
                if *left == 0 {
                    self.state = State::ChunkSize(0, false);
                }
                &bytes[taken..]
            }
            State::Trailers(seen) => {
                match first {
                    b'\n' if *seen == 0 => self.state = State::Between,
                    b'\n' => *seen = 0,
                    b'\r' => {}
                    _ => *seen += 1,
                }
                rest
            }
            State::Blind | State::Foreign => &[],
        }
    }
}

impl Head {
    fn new() -> Self {
        Self { line: [0; LINE], seen: 0, request_line: true, length: None, chunked: false, unreadable: false }
    }

    /// Adds a piece of the present line.
    fn push(&mut self, piece: &[u8]) {
        let start = self.seen.min(LINE);
        let kept = piece.len().min(LINE - start);
        self.line[start..start + kept].copy_from_slice(&piece[..kept]);
        self.seen += piece.len();
    }

    /// Judges the line that just ended. Says whether it was the empty one that ends the head.
    fn end_line(&mut self) -> bool {
        let whole = self.seen <= LINE;
        let line = &self.line[..self.seen.min(LINE)];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let ends = line.is_empty() && !self.request_line;
        if !self.request_line
            && let Some(colon) = line.iter().position(|byte| *byte == b':')
        {
            let (name, value) = (&line[..colon], &line[colon + 1..]);
            if name.eq_ignore_ascii_case(b"transfer-encoding") {
                self.chunked = true;
            } else if name.eq_ignore_ascii_case(b"content-length") {
                let number = std::str::from_utf8(value).ok().and_then(|text| text.trim().parse().ok());
                self.unreadable |= number.is_none() || !whole;
                self.length = Some(number.unwrap_or(0));
            }
        }
        self.request_line = false;
        self.seen = 0;
        ends
    }

    /// Whether two readers could disagree about where the message ends: two lengths, or one that we cannot follow.
    fn is_mixed(&self) -> bool {
        (self.chunked && self.length.is_some()) || self.unreadable
    }

    /// What follows the head. After a mixed one the connection ends.
    fn body(&self) -> State {
        match self.length {
            _ if self.is_mixed() => State::Blind,
            _ if self.chunked => State::ChunkSize(0, false),
            None | Some(0) => State::Between,
            Some(length) => State::Sized(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds the bytes in pieces; says how many heads were seen and which one was mixed.
    fn follow(bytes: &[u8], piece: usize) -> (u32, Option<u32>) {
        let pulse = Pulse::new();
        let mut framing = Framing::http1();
        for part in bytes.chunks(piece) {
            framing.observe(part, &pulse);
        }
        (framing.heads, pulse.mixed())
    }

    const GET: &[u8] = b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n";
    const SIZED: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n\r\n\r\nx";
    const CHUNKED: &[u8] = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4;a=b\r\nabcd\r\nA\r\n0123456789\r\n0\r\nT: x\r\n\r\n";
    const MIXED: &[u8] = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\ncontent-LENGTH: 5\r\n\r\n";
    const MIXED_TOO: &[u8] = b"POST / HTTP/1.1\nContent-Length:5\ntransfer-encoding: chunked\n\n";

    #[test]
    fn finds_the_mixed_head_wherever_it_is() {
        for piece in [1, 2, 3, 7, 1000] {
            let all = [GET, b"\r\n", SIZED, CHUNKED, GET, CHUNKED].concat();
            assert_eq!(follow(&all, piece), (5, None), "{piece}");
            for mixed in [MIXED, MIXED_TOO] {
                assert_eq!(follow(&[&all, mixed].concat(), piece), (6, Some(6)), "{piece}");
                assert_eq!(follow(mixed, piece), (1, Some(1)));
            }
        }
    }

    #[test]
    fn a_body_that_looks_like_a_head_is_none() {
        let bytes = [
            &b"PUT / HTTP/1.1\r\nContent-Length: "[..],
            MIXED.len().to_string().as_bytes(),
            b"\r\n\r\n",
            MIXED,
            GET,
        ]
        .concat();
        assert_eq!(follow(&bytes, 11), (2, None));
        let long = format!(
            "GET / HTTP/1.1\r\nX: {}\r\ncontent-length: 5\r\n transfer-encoding: x\r\n",
            "a".repeat(500)
        );
        assert_eq!(follow(long.as_bytes(), 9).1, None, "the head has not ended");
    }

    #[test]
    fn a_half_head_is_pending_and_a_whole_one_is_not() {
        let pulse = Pulse::new();
        let mut framing = Framing::http1();
        assert!(!pulse.is_head_pending());
        framing.observe(b"GET / HT", &pulse);
        assert!(pulse.is_head_pending());
        framing.observe(b"TP/1.1\r\n\r\n", &pulse);
        assert!(!pulse.is_head_pending());
    }

    proptest! {
        #[test]
        fn any_bytes_are_followed_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), piece in 1usize..50) {
            follow(&bytes, piece);
            follow(&[MIXED, &bytes].concat(), piece);
            follow(&[&b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"[..], &bytes].concat(), piece);
        }
    }
}
