//! One connection: sends what its script says, reads the answer, and so on.

use std::{
    os::fd::{AsFd, BorrowedFd},
    time::Instant,
};

use super::{
    Outgoing, Scratch, Script, Sink, Step, Target,
    answer::{self, Chunks, Framing},
    stream::{AT_ONCE, Stream},
    tally::Tally,
};
use crate::Result;

/// An answer, whole.
pub struct Answer<'a> {
    pub status: u16,
    pub location: Option<&'a str>,
    /// Bytes of its body.
    pub length: u64,
    pub sink: &'a Sink,
    /// Its beginning as it came, for messages.
    beginning: &'a [u8],
}

impl Answer<'_> {
    /// What to say of it when it is not what was wanted.
    pub fn shown(&self) -> String {
        let text = String::from_utf8_lossy(&self.beginning[..self.beginning.len().min(1000)]);
        format!("{} of {} bytes: {text}", self.status, self.length)
    }

    /// # Errors
    /// When the status is another.
    pub fn must_be(&self, status: u16) -> Result {
        if self.status == status { Ok(()) } else { Err(format!("not {status}: {}", self.shown()).into()) }
    }

    /// The path of its Location.
    ///
    /// # Errors
    /// When it has none.
    pub fn path(&self) -> Result<&str> {
        let location = self.location.ok_or("no Location")?;
        Ok(match location.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
            None => location,
        })
    }
}

/// What a connection waits for after a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The same as before.
    Waits,
    /// Room to send in.
    WantsToSend,
    /// An answer: all is sent, which took more than one turn.
    Sent,
    /// Another connection: the server closed this one after an answer.
    Closed,
    /// Nothing: its script is done.
    Over,
}

/// What is read of a body at once when it is not dropped.
const PIECE: usize = 64 * 1024;

/// What is read of an answer whose head is not there yet. A blob of 16 KiB comes with its head; of a big one little is copied
/// that could be dropped.
const FIRST: usize = 20 * 1024;

pub struct Connection {
    pub at: usize,
    stream: Stream,
    out: Outgoing,
    sent: usize,
    body_sent: u64,
    /// Whether the socket was full, so that the poll has to say when it is not.
    blocked: bool,
    inbox: Vec<u8>,
    filled: usize,
    reading: Option<Reading>,
    began: Instant,
    window: Option<usize>,
}

/// An answer whose head is there.
struct Reading {
    head: answer::Head,
    chunks: Chunks,
    /// Bytes of the body so far, and with known length those to come.
    came: u64,
    left: u64,
    over: bool,
}

impl Connection {
    pub fn open(at: usize, target: &Target, window: Option<usize>) -> Result<Self> {
        Ok(Self {
            at,
            stream: Stream::open(target.address, target.tls.as_ref(), window)?,
            out: Outgoing::default(),
            sent: 0,
            body_sent: 0,
            blocked: false,
            inbox: vec![0; PIECE],
            filled: 0,
            reading: None,
            began: Instant::now(),
            window,
        })
    }

    /// Connects again. The request that waits in `out` is sent by the next turn.
    pub fn reopen(&mut self, target: &Target) -> Result {
        self.stream = Stream::open(target.address, target.tls.as_ref(), self.window)?;
        self.blocked = true;
        Ok(())
    }

    /// Begins the first operation.
    pub fn begin(&mut self, script: &mut dyn Script, now: Instant) -> Result<Progress> {
        self.began = now;
        if !self.next(script, true)? {
            return Ok(Progress::Over);
        }
        self.flush(u64::MAX).map(|_| self.progress(false))
    }

    fn next(&mut self, script: &mut dyn Script, fresh: bool) -> Result<bool> {
        self.out.clear();
        (self.sent, self.body_sent) = (0, 0);
        script.request(self.at, fresh, &mut self.out)
    }

    fn progress(&mut self, was_blocked: bool) -> Progress {
        match (was_blocked, self.blocked) {
            (false, true) => Progress::WantsToSend,
            (true, false) => Progress::Sent,
            _ => Progress::Waits,
        }
    }

    /// Sends what can be sent now of at most `most` bytes; says how many bytes of the body went.
    pub fn flush(&mut self, most: u64) -> Result<u64> {
        let mut went = 0;
        self.blocked = false;
        while self.sent < self.out.bytes.len() {
            match self.stream.send(&self.out.bytes[self.sent..], self.out.body.is_some())? {
                Some(size) => self.sent += size,
                None => {
                    self.blocked = true;
                    return Ok(went);
                }
            }
        }
        let Some(body) = &self.out.body else { return Ok(went) };
        while self.body_sent < body.length && went < most {
            let piece = (body.length - self.body_sent).min(most - went).min(AT_ONCE as u64);
            let Some(size) = self.stream.send_file(&body.file, body.offset + self.body_sent, piece)? else {
                self.blocked = true;
                break;
            };
            if size == 0 {
                return Err("the file to upload is too short".into());
            }
            self.body_sent += size as u64;
            went += size as u64;
        }
        self.blocked |= self.body_sent < body.length;
        Ok(went)
    }

    /// Does what can be done without waiting.
    pub fn turn(
        &mut self,
        script: &mut dyn Script,
        scratch: &mut Scratch,
        tally: &mut Tally,
        may_begin: bool,
    ) -> Result<Progress> {
        let was_blocked = self.blocked;
        if self.blocked {
            tally.sent += self.flush(AT_ONCE as u64)?;
        }
        loop {
            let some = self.receive(scratch, tally, u64::MAX)?;
            if self.reading.as_ref().is_some_and(|reading| reading.over) {
                return self.finish(script, tally, may_begin, was_blocked);
            }
            if some.is_none() || !self.stream.holds_back() {
                return Ok(self.progress(was_blocked));
            }
        }
    }

    /// The turn of a slow client: at most `most` bytes each way. False: its script is done.
    pub fn slow_turn(
        &mut self,
        script: &mut dyn Script,
        scratch: &mut Scratch,
        tally: &mut Tally,
        most: u64,
    ) -> Result<bool> {
        if self.blocked {
            tally.sent += self.flush(most)?;
        }
        self.receive(scratch, tally, most)?;
        if !self.reading.as_ref().is_some_and(|reading| reading.over) {
            return Ok(true);
        }
        Ok(match self.finish(script, tally, true, false)? {
            Progress::Over => false,
            Progress::Closed => return Err("the server closes a slow connection".into()),
            _ => true,
        })
    }

    /// Reads once, at most about `most` bytes. `None`: nothing is there.
    pub fn receive(&mut self, scratch: &mut Scratch, tally: &mut Tally, most: u64) -> Result<Option<usize>> {
        if let Some(reading) = &mut self.reading
            && self.out.sink.drops()
            && matches!(reading.head.framing, Framing::Length(_))
        {
            let Some(size) = self.stream.drop_some(reading.left.min(most), scratch)? else {
                return Ok(None);
            };
            if size == 0 {
                return Err("the server closed the connection within an answer".into());
            }
            reading.came += size as u64;
            reading.left -= size as u64;
            reading.over = reading.left == 0;
            tally.received += size as u64;
            return Ok(Some(size));
        }
        let most = if self.reading.is_none() { FIRST as u64 } else { most.max(1024) };
        let room = self.inbox.len().min(self.filled.saturating_add(usize::try_from(most)?));
        let Some(size) = self.stream.read(&mut self.inbox[self.filled..room])? else { return Ok(None) };
        if size == 0 {
            return Err("the server closed the connection before it answered".into());
        }
        self.filled += size;
        self.parse(tally)?;
        Ok(Some(size))
    }

    /// Takes what is in the inbox.
    fn parse(&mut self, tally: &mut Tally) -> Result {
        if self.reading.is_none() {
            let Some(head) = answer::head(&self.inbox[..self.filled], self.out.is_head)? else {
                return if self.filled < self.inbox.len() { Ok(()) } else { Err("too long a head".into()) };
            };
            let left = if let Framing::Length(length) = head.framing { length } else { 0 };
            let over = head.framing == Framing::Length(0);
            self.reading = Some(Reading { head, chunks: Chunks::default(), came: 0, left, over });
        }
        let Some(reading) = &mut self.reading else { return Ok(()) };
        // The head stays where it is until the answer is over: the script reads Location from it.
        let bytes = &self.inbox[reading.head.size..self.filled];
        let used = match reading.head.framing {
            Framing::Chunked => {
                let (sink, came) = (&mut self.out.sink, &mut reading.came);
                let (used, over) = reading.chunks.take(bytes, |data| {
                    *came += data.len() as u64;
                    sink.take(data);
                })?;
                reading.over = over;
                used
            }
            Framing::Length(_) => {
                let used = bytes.len().min(usize::try_from(reading.left)?);
                self.out.sink.take(&bytes[..used]);
                reading.came += used as u64;
                reading.left -= used as u64;
                reading.over = reading.left == 0;
                used
            }
        };
        if used < bytes.len() {
            return Err("more came than one answer".into());
        }
        tally.received += used as u64;
        self.filled = reading.head.size;
        if self.inbox.len() < self.filled + 1024 {
            self.inbox.resize(self.filled + PIECE, 0);
        }
        Ok(())
    }

    /// Gives the answer to the script, and goes on with the next request.
    fn finish(
        &mut self,
        script: &mut dyn Script,
        tally: &mut Tally,
        may_begin: bool,
        was_blocked: bool,
    ) -> Result<Progress> {
        let Some(reading) = self.reading.take() else { return Ok(Progress::Waits) };
        let location = match reading.head.location {
            Some((start, end)) => Some(std::str::from_utf8(&self.inbox[start..end])?),
            None => None,
        };
        tally.requests += 1;
        let beginning = (self.filled + reading.came as usize).min(self.inbox.len());
        let answer = Answer {
            status: reading.head.status,
            location,
            length: reading.came,
            sink: &self.out.sink,
            beginning: &self.inbox[..beginning],
        };
        let step = script.answer(self.at, &answer)?;
        self.filled = 0;
        let mut fresh = false;
        if let Step::Done(kind) = step {
            let now = Instant::now();
            tally.done(kind, u64::try_from((now - self.began).as_nanos())?);
            self.began = now;
            fresh = true;
            if !may_begin {
                return Ok(Progress::Over);
            }
        }
        if !self.next(script, fresh)? {
            return Ok(Progress::Over);
        }
        if reading.head.closes {
            return Ok(Progress::Closed);
        }
        tally.sent += self.flush(AT_ONCE as u64)?;
        Ok(self.progress(was_blocked))
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
