//! Pushes of blobs and manifests nobody has pushed before.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use sha2::{Digest, Sha256};

use crate::{
    Result,
    client::{Answer, Body, Outgoing, Script, Step, Target},
    content::noise,
};

/// Small contents of one size, each unlike all others, with digests made before they are needed.
pub struct Unique {
    base: Vec<u8>,
    /// The number that goes into the first bytes of the first.
    first: Option<u64>,
    digests: Vec<String>,
    next: Cell<usize>,
    /// Which were taken, and by whom: what has to be there afterwards.
    pushed: RefCell<Vec<(usize, usize)>>,
}

impl Unique {
    /// So many contents of `size` bytes. `seed` tells runs apart.
    pub fn new(seed: u64, size: usize, many: usize) -> Rc<Self> {
        let base = noise(seed, size);
        let first = Some(seed << 32);
        let mut unique =
            Self { base, first, digests: Vec::new(), next: Cell::new(0), pushed: RefCell::default() };
        let mut content = Vec::new();
        unique.digests = (0..many)
            .map(|number| {
                content.clear();
                unique.append(number, &mut content);
                format!("sha256:{}", hex::encode(Sha256::digest(&content)))
            })
            .collect();
        Rc::new(unique)
    }

    /// One content, as it is.
    fn one(bytes: &[u8]) -> Rc<Self> {
        let digests = vec![crate::content::sha256(bytes)];
        let base = bytes.to_vec();
        Rc::new(Self { base, first: None, digests, next: Cell::new(0), pushed: RefCell::default() })
    }

    fn append(&self, number: usize, out: &mut Vec<u8>) {
        let from = out.len();
        out.extend_from_slice(&self.base);
        let Some(first) = self.first else { return };
        out[from..from + 8].copy_from_slice(&(first + number as u64).to_be_bytes());
    }

    fn take(&self) -> Option<usize> {
        let number = self.next.get();
        self.next.set(number + 1);
        (number < self.digests.len()).then_some(number)
    }

    /// What was acknowledged: the repository's number, and the digest.
    pub fn pushed(&self) -> Vec<(usize, String)> {
        self.pushed.borrow().iter().map(|(number, to)| (*to, self.digests[*number].clone())).collect()
    }
}

/// The requests of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// POST, then PUT with the bytes.
    Put,
    /// POST, PATCH with the bytes, PUT.
    Patch,
    /// POST with digest and bytes.
    Single,
}

/// What is pushed.
pub enum Source {
    Unique(Rc<Unique>),
    /// One file, once, with its digest.
    File(Body, String, bool),
}

pub struct Push {
    target: Target,
    how: How,
    source: Source,
    repositories: Vec<String>,
    kind: usize,
    states: Vec<State>,
    /// `POST …/blobs/uploads/` to each repository.
    begins: Vec<Vec<u8>>,
}

#[derive(Default, Clone)]
struct State {
    /// Requests of the push that are answered.
    step: usize,
    number: usize,
    location: String,
}

impl Push {
    /// Pushes contents of `unique`, connection `at` into repository `at % repositories`.
    pub fn of(target: &Target, how: How, unique: &Rc<Unique>, repositories: &[String], many: usize) -> Self {
        Self::new(target, how, Source::Unique(unique.clone()), repositories, many)
    }

    /// Pushes these bytes once.
    pub fn bytes(target: &Target, bytes: &[u8], repository: &str) -> Self {
        Self::of(target, How::Put, &Unique::one(bytes), &[repository.to_owned()], 1)
    }

    /// Pushes one file once.
    pub fn file(target: &Target, how: How, body: Body, digest: &str, repository: &str) -> Self {
        Self::new(target, how, Source::File(body, digest.to_owned(), false), &[repository.to_owned()], 1)
    }

    fn new(target: &Target, how: How, source: Source, repositories: &[String], many: usize) -> Self {
        let begin = |name: &String| {
            target.head("POST", &format!("/v2/{name}/blobs/uploads/"), "Content-Length: 0\r\n")
        };
        Self {
            how,
            source,
            kind: 0,
            states: vec![State::default(); many],
            begins: repositories.iter().map(begin).collect(),
            repositories: repositories.to_vec(),
            target: target.clone(),
        }
    }

    /// Counts its operations under another kind.
    pub fn of_kind(self, kind: usize) -> Self {
        Self { kind, ..self }
    }

    fn digest(&self, number: usize) -> &str {
        match &self.source {
            Source::Unique(unique) => &unique.digests[number],
            Source::File(_, digest, _) => digest,
        }
    }

    /// A request with the content.
    fn with_content(&self, method: &str, path: &str, number: usize, out: &mut Outgoing) {
        let size = match &self.source {
            Source::Unique(unique) => unique.base.len() as u64,
            Source::File(body, ..) => body.length,
        };
        let more = format!("Content-Type: application/octet-stream\r\nContent-Length: {size}\r\n");
        out.bytes = self.target.head(method, path, &more);
        match &self.source {
            Source::Unique(unique) => unique.append(number, &mut out.bytes),
            Source::File(body, ..) => out.body = Some(body.clone()),
        }
    }
}

fn with_digest(location: &str, digest: &str) -> String {
    let sign = if location.contains('?') { '&' } else { '?' };
    format!("{location}{sign}digest={digest}")
}

impl Script for Push {
    fn request(&mut self, at: usize, fresh: bool, out: &mut Outgoing) -> Result<bool> {
        if fresh {
            let number = match &mut self.source {
                Source::Unique(unique) => unique.take(),
                Source::File(.., given) => (!std::mem::replace(given, true)).then_some(0),
            };
            let Some(number) = number else { return Ok(false) };
            self.states[at] = State { number, ..State::default() };
        }
        let state = &self.states[at];
        let (number, repository) = (state.number, at % self.repositories.len());
        match (self.how, state.step) {
            (How::Single, _) => {
                let path = format!("/v2/{}/blobs/uploads/", self.repositories[repository]);
                self.with_content("POST", &with_digest(&path, self.digest(number)), number, out);
            }
            (_, 0) => out.bytes.extend_from_slice(&self.begins[repository]),
            (How::Put, _) => {
                self.with_content("PUT", &with_digest(&state.location, self.digest(number)), number, out);
            }
            (How::Patch, 1) => self.with_content("PATCH", &state.location, number, out),
            (How::Patch, _) => {
                let path = with_digest(&state.location, self.digest(number));
                out.bytes = self.target.head("PUT", &path, "Content-Length: 0\r\n");
            }
        }
        Ok(true)
    }

    fn answer(&mut self, at: usize, answer: &Answer<'_>) -> Result<Step> {
        let last = match self.how {
            How::Single => 0,
            How::Put => 1,
            How::Patch => 2,
        };
        let state = &mut self.states[at];
        if state.step < last {
            answer.must_be(202)?;
            state.location = answer.path()?.to_owned();
            state.step += 1;
            return Ok(Step::More);
        }
        answer.must_be(201)?;
        if let Source::Unique(unique) = &self.source {
            unique.pushed.borrow_mut().push((state.number, at % self.repositories.len()));
        }
        Ok(Step::Done(self.kind))
    }
}
