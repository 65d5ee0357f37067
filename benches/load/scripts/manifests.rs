//! Pushes of manifests.

use sha2::{Digest, Sha256};

use crate::{
    Result,
    client::{Answer, Outgoing, Script, Step, Target},
    content::OCI_MANIFEST,
};

/// Pushes manifests by tag, each unlike all others.
pub struct Manifests {
    target: Target,
    kind: usize,
    repositories: Vec<String>,
    /// A manifest with room for a number, and where that is.
    base: Vec<u8>,
    place: usize,
    prefix: String,
    next: usize,
    now: Vec<usize>,
    pub pushed: Vec<(usize, usize)>,
}

/// As many digits as a number in a manifest has.
const DIGITS: usize = 16;

impl Manifests {
    /// `base` holds `DIGITS` zeros in an annotation; tags begin with `prefix`.
    pub fn new(
        target: &Target,
        base: &[u8],
        prefix: &str,
        repositories: &[String],
        many: usize,
    ) -> Result<Self> {
        let zeros = [b'0'; DIGITS];
        let place = base.windows(DIGITS).position(|part| part == zeros).ok_or("no room for a number")?;
        Ok(Self {
            target: target.clone(),
            kind: 0,
            repositories: repositories.to_vec(),
            base: base.to_vec(),
            place,
            prefix: prefix.to_owned(),
            next: 0,
            now: vec![0; many],
            pushed: Vec::new(),
        })
    }

    /// Counts its operations under another kind.
    pub fn of_kind(self, kind: usize) -> Self {
        Self { kind, ..self }
    }

    fn append(&self, number: usize, out: &mut Vec<u8>) {
        let from = out.len() + self.place;
        out.extend_from_slice(&self.base);
        // The prefix tells rounds apart, the number what is pushed within one.
        let digits = format!("{number:0DIGITS$}");
        out[from..from + DIGITS].copy_from_slice(digits.as_bytes());
    }

    /// Path and digest of each that was acknowledged.
    pub fn acknowledged(&self) -> Vec<(String, String)> {
        let shown = |(number, repository): &(usize, usize)| {
            let mut bytes = Vec::new();
            self.append(*number, &mut bytes);
            let path = format!("/v2/{}/manifests/{}{number}", self.repositories[*repository], self.prefix);
            (path, format!("sha256:{}", hex::encode(Sha256::digest(&bytes))))
        };
        self.pushed.iter().map(shown).collect()
    }
}

impl Script for Manifests {
    fn request(&mut self, at: usize, _: bool, out: &mut Outgoing) -> Result<bool> {
        let number = self.next;
        self.next += 1;
        self.now[at] = number;
        let repository = &self.repositories[at % self.repositories.len()];
        let path = format!("/v2/{repository}/manifests/{}{number}", self.prefix);
        let more = format!("Content-Type: {}\r\nContent-Length: {}\r\n", OCI_MANIFEST, self.base.len());
        out.bytes = self.target.head("PUT", &path, &more);
        self.append(number, &mut out.bytes);
        Ok(true)
    }

    fn answer(&mut self, at: usize, answer: &Answer<'_>) -> Result<Step> {
        answer.must_be(201)?;
        self.pushed.push((self.now[at], at % self.repositories.len()));
        Ok(Step::Done(self.kind))
    }
}

/// Pushes one manifest by many tags.
pub struct Tags {
    target: Target,
    repository: String,
    bytes: Vec<u8>,
    tags: Vec<String>,
    next: usize,
}

impl Tags {
    pub fn new(target: &Target, repository: &str, bytes: &[u8], tags: Vec<String>) -> Self {
        let (target, bytes) = (target.clone(), bytes.to_vec());
        Self { target, repository: repository.to_owned(), bytes, tags, next: 0 }
    }
}

impl Script for Tags {
    fn request(&mut self, _: usize, _: bool, out: &mut Outgoing) -> Result<bool> {
        let Some(tag) = self.tags.get(self.next) else { return Ok(false) };
        self.next += 1;
        let path = format!("/v2/{}/manifests/{tag}", self.repository);
        let more = format!("Content-Type: {OCI_MANIFEST}\r\nContent-Length: {}\r\n", self.bytes.len());
        out.bytes = self.target.head("PUT", &path, &more);
        out.bytes.extend_from_slice(&self.bytes);
        Ok(true)
    }

    fn answer(&mut self, _: usize, answer: &Answer<'_>) -> Result<Step> {
        answer.must_be(201)?;
        Ok(Step::Done(0))
    }
}
