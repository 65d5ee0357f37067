//! Several scripts over the connections of one run.

use crate::{
    Result,
    client::{Answer, Body, Outgoing, Script, Step, Target},
};

/// Gives every operation of a connection to one of several scripts.
pub struct Mix<'a> {
    parts: Vec<Box<dyn Script + 'a>>,
    /// Whose the next operation of connection `at` is, given how many it has done.
    choose: Box<dyn Fn(usize, u64) -> usize + 'a>,
    now: Vec<(usize, u64)>,
}

impl<'a> Mix<'a> {
    pub fn new(
        connections: usize,
        parts: Vec<Box<dyn Script + 'a>>,
        choose: impl Fn(usize, u64) -> usize + 'a,
    ) -> Self {
        Self { parts, choose: Box::new(choose), now: vec![(0, 0); connections] }
    }
}

impl Script for Mix<'_> {
    fn request(&mut self, at: usize, fresh: bool, out: &mut Outgoing) -> Result<bool> {
        if fresh {
            let (part, done) = &mut self.now[at];
            *part = (self.choose)(at, *done);
            *done += 1;
        }
        self.parts[self.now[at].0].request(at, fresh, out)
    }

    fn answer(&mut self, at: usize, answer: &Answer<'_>) -> Result<Step> {
        self.parts[self.now[at].0].answer(at, answer)
    }
}

/// Sends a file into upload sessions that it never closes: bytes as fast as the server takes them.
pub struct Endless {
    target: Target,
    repository: String,
    body: Body,
    kind: usize,
    /// Where each connection's session is, once it has one that nothing was sent to.
    sessions: Vec<Option<String>>,
}

impl Endless {
    pub fn new(target: &Target, repository: &str, body: Body, kind: usize, connections: usize) -> Self {
        let sessions = vec![None; connections];
        Self { target: target.clone(), repository: repository.to_owned(), body, kind, sessions }
    }
}

impl Script for Endless {
    fn request(&mut self, at: usize, _: bool, out: &mut Outgoing) -> Result<bool> {
        if let Some(location) = &self.sessions[at] {
            let length = self.body.length;
            let more = format!("Content-Type: application/octet-stream\r\nContent-Length: {length}\r\n");
            out.bytes = self.target.head("PATCH", location, &more);
            out.body = Some(self.body.clone());
        } else {
            let path = format!("/v2/{}/blobs/uploads/", self.repository);
            out.bytes = self.target.head("POST", &path, "Content-Length: 0\r\n");
        }
        Ok(true)
    }

    fn answer(&mut self, at: usize, answer: &Answer<'_>) -> Result<Step> {
        answer.must_be(202)?;
        if self.sessions[at].take().is_some() {
            return Ok(Step::Done(self.kind));
        }
        self.sessions[at] = Some(answer.path()?.to_owned());
        Ok(Step::More)
    }
}
