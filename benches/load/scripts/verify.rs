//! Looks outside the timed windows whether what was read and pushed is what it has to be.

use std::time::Duration;

use crate::{
    Result,
    client::{Answer, End, Outgoing, Script, Sink, Step, Target, run},
};

/// Something that has to be there.
#[derive(Debug, Clone)]
pub struct Check {
    pub path: String,
    pub digest: String,
}

struct Checks<'a> {
    target: &'a Target,
    checks: &'a [Check],
    next: usize,
    now: Vec<usize>,
}

impl Script for Checks<'_> {
    fn request(&mut self, at: usize, _: bool, out: &mut Outgoing) -> Result<bool> {
        let Some(check) = self.checks.get(self.next) else { return Ok(false) };
        self.now[at] = self.next;
        self.next += 1;
        out.bytes = self.target.get(&check.path);
        out.sink = Sink::hash();
        Ok(true)
    }

    fn answer(&mut self, at: usize, answer: &Answer<'_>) -> Result<Step> {
        let check = &self.checks[self.now[at]];
        answer.must_be(200)?;
        if answer.sink.digest().as_ref() != Some(&check.digest) {
            return Err(format!("{}: not {}: {}", check.path, check.digest, answer.shown()).into());
        }
        Ok(Step::Done(0))
    }
}

/// How many of a long list are looked at, evenly spread.
const MOST: usize = 500;

/// Reads these and compares their digests; of many, some. Says how many.
///
/// # Errors
/// When one is not there or has other bytes.
pub fn verify(target: &Target, checks: &[Check]) -> Result<usize> {
    let every = checks.len().div_ceil(MOST).max(1);
    let some: Vec<Check> = checks.iter().step_by(every).cloned().collect();
    let connections = some.len().clamp(1, 8);
    let mut script = Checks { target, checks: &some, next: 0, now: vec![0; connections] };
    let tally = run(target, connections, &mut script, End::Finish(Duration::from_secs(600)))?;
    if tally.operations() as usize == some.len() { Ok(some.len()) } else { Err("not all were read".into()) }
}

/// One request after another over one connection, with their answers kept.
pub struct Once {
    requests: Vec<Vec<u8>>,
    next: usize,
    pub answers: Vec<(u16, Vec<u8>)>,
}

impl Once {
    /// # Errors
    /// When the connection breaks.
    pub fn send(target: &Target, requests: Vec<Vec<u8>>) -> Result<Vec<(u16, Vec<u8>)>> {
        let mut once = Self { requests, next: 0, answers: Vec::new() };
        run(target, 1, &mut once, End::Finish(Duration::from_secs(600)))?;
        Ok(once.answers)
    }
}

impl Script for Once {
    fn request(&mut self, _: usize, _: bool, out: &mut Outgoing) -> Result<bool> {
        let Some(request) = self.requests.get(self.next) else { return Ok(false) };
        self.next += 1;
        out.bytes.extend_from_slice(request);
        out.is_head = request.starts_with(b"HEAD ");
        out.sink = Sink::Keep(Vec::new());
        Ok(true)
    }

    fn answer(&mut self, _: usize, answer: &Answer<'_>) -> Result<Step> {
        let Sink::Keep(body) = answer.sink else { return Err("the body was not kept".into()) };
        self.answers.push((answer.status, body.clone()));
        Ok(Step::Done(0))
    }
}
