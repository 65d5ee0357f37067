//! What a client does next. Every choice is drawn from the client's own stream.

use std::sync::Arc;

use crate::{
    content::{Content, Digest, digest_of},
    history::RETAINED,
    model::{Cond, Doc, Op, Reg, Val},
    worker::{Flow, Worker},
};

pub const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What a blob is said to be in a descriptor.
fn descriptor(media: &str, digest: &str, size: u64) -> serde_json::Value {
    serde_json::json!({ "mediaType": media, "digest": digest, "size": size })
}

/// A document that is like no other.
pub fn image(blobs: &[(Digest, u64)], subject: Option<(&Digest, u64)>, number: u64) -> Doc {
    let layer = |(digest, size): &(Digest, u64)| descriptor("application/octet-stream", digest, *size);
    let mut value = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "config": blobs.first().map(layer),
        "layers": blobs.iter().skip(1).map(layer).collect::<Vec<_>>(),
        "annotations": { "number": number.to_string() },
    });
    if let Some((digest, size)) = subject {
        value["subject"] = descriptor(IMAGE, digest, size);
        value["artifactType"] = "application/vnd.example.note".into();
    }
    let named = blobs.iter().map(|(digest, _)| digest.clone()).collect();
    doc(&value, IMAGE, named, Vec::new(), subject.map(|(digest, _)| digest.clone()))
}

fn index(children: &[(Digest, u64)], number: u64) -> Doc {
    let value = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": children.iter().map(|(digest, size)| descriptor(IMAGE, digest, *size)).collect::<Vec<_>>(),
        "annotations": { "number": number.to_string() },
    });
    doc(&value, INDEX, Vec::new(), children.iter().map(|(digest, _)| digest.clone()).collect(), None)
}

fn doc(
    value: &serde_json::Value,
    media: &'static str,
    blobs: Vec<Digest>,
    children: Vec<Digest>,
    subject: Option<Digest>,
) -> Doc {
    let bytes = value.to_string().into_bytes();
    Doc { digest: digest_of(&bytes), bytes, media, blobs, children, subject }
}

impl Worker {
    /// One step: a request chosen by weight. What is not possible yet is left out.
    pub fn step(&mut self) -> Flow {
        let repo = self.rng.index(RETAINED);
        if self.model.is_buried(repo) {
            // Now and then its name gets a new life.
            match self.rng.below(10) {
                0..5 => return self.execute(Op::RestorePackage { repo }),
                5 => {}
                _ => return Ok(()),
            }
        }
        match self.rng.below(108) {
            0..16 => {
                let content = self.content(false);
                self.execute(Op::Post { repo, content })
            }
            16..24 => self.begin(repo),
            24..44 => self.go_on_with_one(),
            44..50 => self.mount(repo),
            50..64 => self.put_image(repo, false),
            64..68 => self.put_index(repo),
            68..72 => self.put_image(repo, true),
            72..80 => self.move_tag(repo),
            80..88 => self.delete(repo),
            88..91 => self.administrate(repo),
            91..97 => self.contend(),
            100..105 => self.tend(repo),
            105..108 => self.retain(),
            _ => self.look(),
        }
    }

    /// A blob: one that others push as well, or a new one.
    fn content(&mut self, large: bool) -> Content {
        let shared = &self.world.contents;
        if !large && self.rng.chance(30) {
            let at = self.rng.index(shared.len());
            return self.known(shared[at].clone());
        }
        let size = match self.rng.below(if large { 104 } else { 100 }) {
            0..10 => self.rng.between(1, 16),
            10..35 => self.rng.between(17, 16 << 10),
            // Where a blob stops being kept in metadata.
            35..45 => self.rng.between((16 << 10) - 2, (16 << 10) + 2),
            45..75 => self.rng.between(16 << 10, 256 << 10),
            75..100 => self.rng.between(256 << 10, 3 << 20),
            // Beyond what is recorded on the way.
            _ => self.rng.between(65 << 20, 72 << 20),
        };
        let id = self.rng.next();
        self.known(Content::new(id, size))
    }

    fn known(&mut self, content: Content) -> Content {
        self.world.stats.pushed.add(content.size);
        self.model.contents.insert(content.digest.clone(), content.clone());
        content
    }

    fn begin(&mut self, repo: usize) -> Flow {
        if self.model.sessions.len() >= 8 {
            return self.go_on_with_one();
        }
        let content = self.content(true);
        self.execute(Op::Begin { repo, content })
    }

    /// The next chunk, or the end, of an upload under way.
    fn go_on_with_one(&mut self) -> Flow {
        let ids: Vec<String> = self.model.sessions.keys().cloned().collect();
        let Some(id) = self.rng.pick(&ids).cloned() else { return Ok(()) };
        let Some(session) = self.model.sessions.get(&id) else { return Ok(()) };
        let (at, size) = (session.acked, session.content.size);
        let op = match self.rng.below(20) {
            0 => Op::Cancel { session: id },
            1 => Op::Finish { session: id, lie: true },
            2..10 => Op::Finish { session: id, lie: false },
            _ if at == size => Op::Finish { session: id, lie: false },
            _ => {
                let to = if self.rng.chance(50) { size } else { self.rng.between(at + 1, size) };
                Op::Append { session: id, to, chunked: self.rng.chance(50) }
            }
        };
        self.execute(op)
    }

    fn mount(&mut self, repo: usize) -> Flow {
        let Some((from, content)) = self.world.offered(&mut self.rng) else { return Ok(()) };
        if from == self.repos[repo] {
            return Ok(());
        }
        let content = self.known(content);
        self.execute(Op::Mount { repo, from, digest: content.digest })
    }

    fn sized(&self, digests: &[Digest]) -> Vec<(Digest, u64)> {
        let size = |digest: &Digest| Some((digest.clone(), self.model.contents.get(digest)?.size));
        digests.iter().filter_map(size).collect()
    }

    fn put_image(&mut self, repo: usize, refers: bool) -> Flow {
        let here = self.model.blobs_of(repo);
        let mut blobs: Vec<Digest> = Vec::new();
        for _ in 0..self.rng.between(1, 4) {
            if let Some(blob) = self.rng.pick(&here).filter(|blob| !blobs.contains(blob)) {
                blobs.push(blob.clone());
            }
        }
        if blobs.is_empty() {
            return Ok(());
        }
        let mut blobs = self.sized(&blobs);
        // What others mount.
        if let Some(content) = self.model.contents.get(&blobs[0].0) {
            self.world.offer(&self.repos[repo], content);
        }
        if self.rng.chance(6) {
            let absent = Content::new(self.rng.next(), 20);
            blobs.push((absent.digest, absent.size));
        }
        let subjects = self.model.manifests_of(repo);
        let subject =
            self.rng.pick(&subjects).filter(|_| refers).and_then(|it| self.model.docs.get(it)).cloned();
        let subject = subject.as_ref().map(|doc| (&doc.digest, doc.bytes.len() as u64));
        let doc = Arc::new(image(&blobs, subject, self.rng.next()));
        self.model.docs.insert(doc.digest.clone(), doc.clone());
        let by_digest = refers || self.rng.chance(40);
        let some =
            if refers { 0 } else { self.rng.between(u64::from(!by_digest), if by_digest { 3 } else { 1 }) };
        let mut tags: Vec<String> = (0..some).map(|_| self.tag()).collect();
        tags.sort_unstable();
        tags.dedup();
        self.execute(Op::Put { repo, doc, tags, by_digest, cond: Cond::None })
    }

    fn tag(&mut self) -> String {
        format!("t{}", self.rng.below(6))
    }

    fn put_index(&mut self, repo: usize) -> Flow {
        let here = self.model.manifests_of(repo);
        let images: Vec<_> = here.iter().filter_map(|digest| self.model.docs.get(digest)).collect();
        let mut children: Vec<(Digest, u64)> = Vec::new();
        for _ in 0..self.rng.between(1, 3) {
            if let Some(doc) = self.rng.pick(&images) {
                children.push((doc.digest.clone(), doc.bytes.len() as u64));
            }
        }
        // One that was never pushed, or was deleted: an index may name it all the same.
        if self.rng.chance(25) {
            let known: Vec<_> = self.model.docs.values().collect();
            if let Some(doc) = self.rng.pick(&known) {
                children.push((doc.digest.clone(), doc.bytes.len() as u64));
            }
        }
        children.sort();
        children.dedup();
        if children.is_empty() {
            return Ok(());
        }
        let doc = Arc::new(index(&children, self.rng.next()));
        self.model.docs.insert(doc.digest.clone(), doc.clone());
        let tags = if self.rng.chance(50) { vec![self.tag()] } else { Vec::new() };
        let by_digest = tags.is_empty();
        self.execute(Op::Put { repo, doc, tags, by_digest, cond: Cond::None })
    }

    /// Puts a known manifest again, deleted or not, mostly under a tag that names another; half of the time on a
    /// condition that holds or does not.
    fn move_tag(&mut self, repo: usize) -> Flow {
        let known = self.model.regs.keys().filter_map(|reg| match reg {
            Reg::Manifest(of, digest) if *of == repo => Some(digest.clone()),
            _ => None,
        });
        let known: Vec<Digest> = known.collect();
        let Some(doc) = self.rng.pick(&known).and_then(|digest| self.model.docs.get(digest)).cloned() else {
            return Ok(());
        };
        let tag = self.tag();
        let now = self.model.tag(repo, &tag);
        let cond = match (self.rng.below(4), now) {
            (0, _) => Cond::Absent,
            (1, Some(now)) => Cond::Is(now),
            (1, None) => Cond::Is(doc.digest.clone()),
            _ => Cond::None,
        };
        self.execute(Op::Put { repo, doc, tags: vec![tag], by_digest: false, cond })
    }

    fn delete(&mut self, repo: usize) -> Flow {
        let op = match self.rng.below(3) {
            0 => Op::DeleteTag { repo, tag: self.tag() },
            1 => {
                let here = self.model.manifests_of(repo);
                let Some(digest) = self.rng.pick(&here).cloned() else { return Ok(()) };
                Op::DeleteManifest { repo, digest }
            }
            _ => {
                let here = self.model.blobs_of(repo);
                let Some(digest) = self.rng.pick(&here).cloned() else { return Ok(()) };
                Op::DeleteBlob { repo, digest }
            }
        };
        self.execute(op)
    }

    fn administrate(&mut self, repo: usize) -> Flow {
        // A package without a manifest is nobody's to change.
        let shown = self.model.visible(repo);
        match self.rng.below(4) {
            0 if self.model.tokens.len() < 40 => self.new_token(),
            1 => {
                let ids: Vec<String> = self.model.tokens.keys().cloned().collect();
                let Some(id) = self.rng.pick(&ids).cloned() else { return Ok(()) };
                self.execute(Op::Revoke { id })
            }
            2 if shown => {
                let public = self.rng.chance(50);
                self.execute(Op::Visibility { repo, public })
            }
            _ if shown => {
                let role = self.model.get(&Reg::Guest(repo)) == Val::Absent;
                self.execute(Op::Grant { repo, role })
            }
            _ => Ok(()),
        }
    }

    /// Deletes and restores, and sets policies; now and then has collection run.
    fn tend(&mut self, repo: usize) -> Flow {
        if !self.model.visible(repo) {
            return Ok(());
        }
        let op = match self.rng.below(10) {
            // So that what became of it can be seen.
            0..2 if !self.model.manifests_of(repo).is_empty() => Op::DeletePackage { repo },
            2 => Op::RestorePackage { repo },
            3..5 if self.model.keeps => {
                let deleted = self.model.restorable(repo);
                let Some(digest) = self.rng.pick(&deleted).cloned() else { return Ok(()) };
                Op::RestoreManifest { repo, digest }
            }
            5..7 if self.model.keeps => Op::RestoreTag { repo, tag: self.tag() },
            7..9 => {
                let set = self.model.get(&Reg::Policy(repo)) == Val::Absent;
                Op::Policy { repo, set }
            }
            9 => Op::Collect,
            _ => return Ok(()),
        };
        self.execute(op)
    }

    /// Pushes versions, each with a tag of its own, to where retention leaves only the last ones.
    fn retain(&mut self) -> Flow {
        let repo = RETAINED;
        let op = match self.rng.below(10) {
            0..2 if self.model.visible(repo) => Op::Retain { repo },
            2 if self.model.visible(repo) => {
                let set = self.model.get(&Reg::Policy(repo)) == Val::Absent;
                Op::Policy { repo, set }
            }
            _ => {
                let id = self.rng.next();
                let size = self.rng.between(1, 20 << 10);
                let content = self.known(Content::new(id, size));
                let blob = (content.digest.clone(), content.size);
                self.execute(Op::Post { repo, content })?;
                if !self.model.has_blob(repo, &blob.0) {
                    return Ok(());
                }
                let doc = Arc::new(image(&[blob], None, self.rng.next()));
                self.model.docs.insert(doc.digest.clone(), doc.clone());
                // Which version is the last is told by the millisecond.
                std::thread::sleep(std::time::Duration::from_millis(2));
                let tags = vec![format!("v{}", self.rng.next())];
                Op::Put { repo, doc, tags, by_digest: false, cond: Cond::None }
            }
        };
        self.execute(op)
    }

    /// Reads something back at once.
    fn look(&mut self) -> Flow {
        let regs: Vec<Reg> = self.model.regs.keys().cloned().collect();
        match self.rng.pick(&regs) {
            Some(reg) => self.check(reg, "while it runs"),
            None => Ok(()),
        }
    }
}
