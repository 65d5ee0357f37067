//! GET or HEAD of known things, in turn.

use crate::{
    Result,
    client::{Answer, Outgoing, Script, Step},
};

pub struct Fetch {
    requests: Vec<Vec<u8>>,
    /// Bytes each body has to have.
    lengths: Vec<u64>,
    is_head: bool,
    kind: usize,
    /// Which request each connection makes next.
    next: Vec<usize>,
}

impl Fetch {
    /// These requests, each with the length of its body, by so many connections. Each begins at another one.
    pub fn new(connections: usize, requests: Vec<(Vec<u8>, u64)>, is_head: bool) -> Self {
        let (requests, lengths): (Vec<_>, Vec<_>) = requests.into_iter().unzip();
        let next = (0..connections).map(|at| at * requests.len() / connections.max(1)).collect();
        Self { requests, lengths, is_head, kind: 0, next }
    }

    /// Counts its operations under another kind.
    pub fn of_kind(self, kind: usize) -> Self {
        Self { kind, ..self }
    }
}

impl Script for Fetch {
    fn request(&mut self, at: usize, _: bool, out: &mut Outgoing) -> Result<bool> {
        out.bytes.extend_from_slice(&self.requests[self.next[at]]);
        out.is_head = self.is_head;
        Ok(true)
    }

    fn answer(&mut self, at: usize, answer: &Answer<'_>) -> Result<Step> {
        answer.must_be(200)?;
        let here = &mut self.next[at];
        if !self.is_head && answer.length != self.lengths[*here] {
            return Err(format!("not {} bytes: {}", self.lengths[*here], answer.shown()).into());
        }
        *here = (*here + 1) % self.requests.len();
        Ok(Step::Done(self.kind))
    }
}
