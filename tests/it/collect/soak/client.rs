//! One client of a soak, and what it may rely on.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{CHURN, POOL, Run, SHARED};
use crate::{
    collect::{Dice, Wire},
    support::{
        Response,
        content::{self, OCI_INDEX, OCI_MANIFEST, sha256},
    },
};

/// The client's clock and the server's agree to within this.
const SLACK: Duration = Duration::from_millis(10);
/// Manifests a client keeps, in its own repository and in the shared ones: few, so that most blobs are named by none now
/// and then.
const KEPT: usize = 2;

/// A manifest in the client's own repository.
struct Live {
    bytes: Vec<u8>,
    blobs: Vec<usize>,
    children: Vec<String>,
}

pub struct Client<'a> {
    run: &'a Run,
    wire: Wire,
    dice: Dice,
    own: String,
    shared: Vec<String>,
    /// Until when a blob is promised to be in a repository.
    promised: BTreeMap<(String, usize), Instant>,
    /// What is in the client's own repository, in which nobody else works.
    live: BTreeMap<String, Live>,
    /// Manifests seen in the shared repositories.
    seen: Vec<(String, String)>,
}

/// The blobs a manifest names.
pub fn named(manifest: &[u8]) -> Vec<String> {
    let manifest: Value = serde_json::from_slice(manifest).unwrap();
    let layers = manifest["layers"].as_array().into_iter().flatten();
    let all = std::iter::once(&manifest["config"]).chain(layers);
    all.filter_map(|part| part["digest"].as_str().map(str::to_owned)).collect()
}

impl<'a> Client<'a> {
    pub fn new(run: &'a Run, number: usize, seed: u64) -> Self {
        Self {
            run,
            wire: run.wire(),
            dice: Dice::new(seed.wrapping_add(1 + number as u64)),
            own: format!("soak/own{number}"),
            shared: (0..SHARED).map(|number| format!("soak/shared{number}")).collect(),
            promised: BTreeMap::new(),
            live: BTreeMap::new(),
            seen: Vec::new(),
        }
    }

    pub fn work(&mut self) {
        while self.run.goes_on() {
            self.step();
            if self.live.len() > KEPT {
                self.delete_own();
            }
            if self.seen.len() > KEPT {
                self.delete_shared();
            }
        }
    }

    /// One thing that a client does.
    pub fn step(&mut self) {
        let repository = self.a_repository();
        let blob = self.run.any_blob(&mut self.dice);
        match self.dice.below(100) {
            0..24 => self.put_image(&repository),
            24..30 => self.push(&repository, blob),
            30..36 => _ = self.head(&repository, blob),
            36..42 => self.mount(&repository, blob),
            42..54 => self.churn(),
            54..60 => self.drop_blob(blob),
            60..66 => self.delete_own(),
            66..72 => self.delete_shared(),
            72..82 => self.pull_own(),
            82..92 => self.pull_shared(),
            92..96 => self.put_index(),
            _ => self.move_tag(),
        }
    }

    fn a_repository(&mut self) -> String {
        if self.dice.below(2) == 0 { self.own.clone() } else { self.dice.of(&self.shared).clone() }
    }

    /// Until when a blob must be there.
    fn relied_on(&self, repository: &str, blob: usize) -> Option<Instant> {
        if repository == self.own && self.live.values().any(|live| live.blobs.contains(&blob)) {
            return Some(Instant::now() + Duration::from_secs(3600));
        }
        self.promised.get(&(repository.to_owned(), blob)).copied()
    }

    fn promise(&mut self, repository: &str, blob: usize, from: Instant, for_how_long: Duration) {
        let until = from + for_how_long - SLACK;
        let known = self.promised.entry((repository.to_owned(), blob)).or_insert(until);
        *known = (*known).max(until);
    }

    /// An answer said that blobs are not there: were they promised?
    fn judge(&self, what: &str, repository: &str, blobs: &[usize], answer: &Response) {
        let now = Instant::now();
        if blobs.iter().all(|blob| self.relied_on(repository, *blob).is_some_and(|until| until > now)) {
            let blobs: Vec<_> = blobs.iter().map(|blob| &self.run.digests[*blob]).collect();
            self.run.broke(format!("{what} in {repository}: {} {} {blobs:?}", answer.status, answer.text()));
        } else {
            self.run.note("lease over");
        }
    }

    fn unexpected(&self, what: &str, answer: &Response) {
        // Too much at once in one place is said, and a retry is safe: nothing was promised.
        if answer.status == 503 {
            return self.run.note("503");
        }
        self.run.broke(format!("{what}: {} {}", answer.status, answer.text()));
    }

    fn push(&mut self, repository: &str, blob: usize) {
        let begun = self.wire.send("POST", &format!("/v2/{repository}/blobs/uploads/"), None, b"");
        match begun.status {
            202 => self.upload(repository, blob, begun.header("location").unwrap()),
            _ => self.unexpected("begin", &begun),
        }
    }

    /// Ends a session with a blob, whole or in pieces.
    fn upload(&mut self, repository: &str, blob: usize, location: &str) {
        let (bytes, digest) = (&self.run.blobs[blob], &self.run.digests[blob]);
        let mut location = location.to_owned();
        let mut rest = bytes.as_slice();
        for _ in 0..self.dice.below(3) {
            let (piece, more) = rest.split_at(rest.len() / 2);
            let patched = self.wire.send("PATCH", &location, Some("application/octet-stream"), piece);
            if patched.status != 202 {
                return self.unexpected("patch", &patched);
            }
            location = patched.header("location").unwrap().to_owned();
            rest = more;
        }
        let sent = Instant::now();
        let put = self.wire.send(
            "PUT",
            &format!("{location}&digest={digest}"),
            Some("application/octet-stream"),
            rest,
        );
        self.run.did("push");
        match put.status {
            201 => self.promise(repository, blob, sent, self.run.lease),
            _ => self.unexpected("push", &put),
        }
    }

    fn head(&mut self, repository: &str, blob: usize) -> bool {
        let sent = Instant::now();
        let target = format!("/v2/{repository}/blobs/{}", self.run.digests[blob]);
        let answer = self.wire.send("HEAD", &target, None, b"");
        self.run.did("head");
        match answer.status {
            200 => self.promise(repository, blob, sent, self.run.lease / 2),
            404 => self.judge("HEAD", repository, &[blob], &answer),
            _ => self.unexpected("HEAD", &answer),
        }
        answer.status == 200
    }

    fn mount(&mut self, repository: &str, blob: usize) {
        let from = self.a_repository();
        let sent = Instant::now();
        let digest = &self.run.digests[blob];
        let source = if self.dice.below(4) == 0 { String::new() } else { format!("&from={from}") };
        let target = format!("/v2/{repository}/blobs/uploads/?mount={digest}{source}");
        let answer = self.wire.send("POST", &target, None, b"");
        self.run.did("mount");
        match answer.status {
            201 => {
                self.run.note("mounted");
                self.promise(repository, blob, sent, self.run.lease);
            }
            // A mount may be declined; then it is an upload's beginning.
            202 => self.upload(repository, blob, answer.header("location").unwrap()),
            _ => self.unexpected("mount", &answer),
        }
    }

    /// Sees to it that a blob is there, as clients do.
    fn ensure(&mut self, repository: &str, blob: usize) {
        let soon = Instant::now() + self.run.lease / 5;
        let known = self.relied_on(repository, blob).is_some_and(|until| until > soon);
        match self.dice.below(4) {
            0 | 1 if known => {}
            0 => self.mount(repository, blob),
            _ => {
                if !self.head(repository, blob) {
                    self.push(repository, blob);
                }
            }
        }
    }

    fn put(&mut self, repository: &str, reference: &str, kind: &str, bytes: &[u8]) -> Response {
        let target = format!("/v2/{repository}/manifests/{reference}");
        let answer = self.wire.send("PUT", &target, Some(kind), bytes);
        self.run.did("put");
        if answer.status == 201 {
            self.run.put.lock().unwrap().insert((repository.to_owned(), sha256(bytes)));
        }
        answer
    }

    fn a_tag(&mut self) -> String {
        format!("t{}", self.dice.below(6))
    }

    fn put_image(&mut self, repository: &str) {
        let count = 1 + self.dice.below(4);
        let mut blobs: Vec<usize> = (0..count).map(|_| self.run.any_blob(&mut self.dice)).collect();
        blobs.dedup();
        for blob in &blobs {
            self.ensure(repository, *blob);
        }
        let layers: Vec<&[u8]> = blobs[1..].iter().map(|blob| self.run.blobs[*blob].as_slice()).collect();
        let bytes = content::bytes(&content::image(&self.run.blobs[blobs[0]], &layers));
        let digest = sha256(&bytes);
        let reference = if self.dice.below(3) == 0 { digest.clone() } else { self.a_tag() };
        let answer = self.put(repository, &reference, OCI_MANIFEST, &bytes);
        match answer.status {
            201 if *repository == *self.own => {
                self.live.insert(digest, Live { bytes, blobs, children: Vec::new() });
            }
            201 => self.seen.push((repository.to_owned(), digest)),
            404 => self.judge("PUT", repository, &blobs, &answer),
            _ => self.unexpected("PUT", &answer),
        }
    }

    fn put_index(&mut self) {
        let images: Vec<&String> =
            self.live.iter().filter(|(_, live)| live.children.is_empty()).map(|(digest, _)| digest).collect();
        if images.len() < 2 {
            return;
        }
        let children = vec![(*self.dice.of(&images)).clone(), (*self.dice.of(&images)).clone()];
        let manifests: Vec<Value> =
            children.iter().map(|child| serde_json::from_slice(&self.live[child].bytes).unwrap()).collect();
        let bytes = content::bytes(&content::index(&manifests.iter().collect::<Vec<_>>()));
        let (own, tag) = (self.own.clone(), self.a_tag());
        let answer = self.put(&own, &tag, OCI_INDEX, &bytes);
        match answer.status {
            201 => _ = self.live.insert(sha256(&bytes), Live { bytes, blobs: Vec::new(), children }),
            _ => self.unexpected("PUT of an index", &answer),
        }
    }

    /// What is there already is put under another tag.
    fn move_tag(&mut self) {
        let images: Vec<_> = self.live.values().filter(|live| live.children.is_empty()).collect();
        if images.is_empty() {
            return;
        }
        let bytes = self.dice.of(&images).bytes.clone();
        let (own, tag) = (self.own.clone(), self.a_tag());
        let answer = self.put(&own, &tag, OCI_MANIFEST, &bytes);
        if answer.status != 201 {
            self.unexpected("a tag's move", &answer);
        }
        if self.dice.below(3) == 0 {
            let answer = self.wire.send("DELETE", &format!("/v2/{own}/manifests/{tag}"), None, b"");
            self.run.did("delete tag");
            if answer.status != 202 {
                self.unexpected("DELETE of a tag", &answer);
            }
        }
    }

    /// Pushes a blob and takes it back, so that it is collected at once, while others do the same.
    fn churn(&mut self) {
        let blob = POOL + self.dice.below(CHURN);
        let own = self.own.clone();
        self.push(&own, blob);
        match self.dice.below(3) {
            0 => _ = self.head(&own, blob),
            1 => self.read(&own, blob),
            _ => {}
        }
        self.drop_blob(blob);
    }

    fn drop_blob(&mut self, blob: usize) {
        let own = self.own.clone();
        let target = format!("/v2/{own}/blobs/{}", self.run.digests[blob]);
        let answer = self.wire.send("DELETE", &target, None, b"");
        self.run.did("delete blob");
        let named = self.live.values().any(|live| live.blobs.contains(&blob));
        match answer.status {
            202 if !named => _ = self.promised.remove(&(own, blob)),
            405 if named => {}
            404 => self.judge("DELETE", &own, &[blob], &answer),
            _ => self.unexpected("DELETE of a blob", &answer),
        }
    }

    fn delete_own(&mut self) {
        let kept = |digest: &String| self.live.values().any(|live| live.children.contains(digest));
        let free: Vec<String> = self.live.keys().filter(|digest| !kept(digest)).cloned().collect();
        if free.is_empty() {
            return;
        }
        let digest = self.dice.of(&free).clone();
        let (own, sent) = (self.own.clone(), Instant::now());
        let answer = self.wire.send("DELETE", &format!("/v2/{own}/manifests/{digest}"), None, b"");
        self.run.did("delete");
        if answer.status != 202 {
            return self.unexpected("DELETE", &answer);
        }
        for blob in self.live.remove(&digest).unwrap().blobs {
            self.promise(&own, blob, sent, self.run.lease);
        }
    }

    fn delete_shared(&mut self) {
        if self.seen.is_empty() {
            return;
        }
        let at = self.dice.below(self.seen.len());
        let (repository, digest) = self.seen.swap_remove(at);
        let answer = self.wire.send("DELETE", &format!("/v2/{repository}/manifests/{digest}"), None, b"");
        self.run.did("delete");
        if ![202, 404].contains(&answer.status) {
            self.unexpected("DELETE", &answer);
        }
    }

    fn read(&mut self, repository: &str, blob: usize) {
        let digest = &self.run.digests[blob];
        let answer = self.wire.send("GET", &format!("/v2/{repository}/blobs/{digest}"), None, b"");
        self.run.did("get");
        match answer.status {
            200 if answer.body == self.run.blobs[blob] => {}
            404 => self.judge("GET", repository, &[blob], &answer),
            _ => self.unexpected("GET", &answer),
        }
    }

    fn pull_own(&mut self) {
        let all: Vec<_> = self.live.keys().cloned().collect();
        if all.is_empty() {
            return;
        }
        let (own, digest) = (self.own.clone(), self.dice.of(&all).clone());
        let answer = self.wire.send("GET", &format!("/v2/{own}/manifests/{digest}"), None, b"");
        self.run.did("get");
        if answer.status != 200 || answer.body != self.live[&digest].bytes {
            return self.unexpected("GET of a manifest", &answer);
        }
        for blob in self.live[&digest].blobs.clone() {
            self.read(&own, blob);
        }
    }

    /// What a manifest names can be read when it was there, also if it is deleted meanwhile.
    fn pull_shared(&mut self) {
        let (repository, tag) = (self.dice.of(&self.shared).clone(), self.a_tag());
        let sent = Instant::now();
        let answer = self.wire.send("GET", &format!("/v2/{repository}/manifests/{tag}"), None, b"");
        self.run.did("get");
        match answer.status {
            200 => {}
            404 => return,
            _ => return self.unexpected("GET of a manifest", &answer),
        }
        self.seen.push((repository.clone(), sha256(&answer.body)));
        for blob in named(&answer.body) {
            let blob = self.run.by_digest[&blob];
            self.promise(&repository, blob, sent, self.run.lease);
            self.read(&repository, blob);
        }
    }
}
