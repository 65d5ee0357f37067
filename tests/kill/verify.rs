//! After a kill: what was acknowledged is there, byte for byte; what was deleted is not; what got no answer is whole or
//! absent; sessions hold what they say.

use std::collections::BTreeSet;

use crate::{
    content::Digest,
    model::{Op, Reg, Val},
    worker::{Flow, Worker},
};

/// Facts that each client checks of those nothing happened to, and the bytes it may download for that, in one round.
const SAMPLE: usize = 24;
const SAMPLE_BYTES: u64 = 6 << 20;

impl Worker {
    /// Looks at what the last round touched and at a part of the rest, or at everything.
    pub fn verify(&mut self, everything: bool) -> Flow {
        self.resolve()?;
        let touched = std::mem::take(&mut self.model.dirty);
        for reg in &touched {
            self.check(reg, "after a kill")?;
        }
        let rest = if everything { self.model.regs.keys().cloned().collect() } else { self.sample() };
        for reg in rest.iter().filter(|reg| !touched.contains(reg)) {
            self.check(reg, "after another kill")?;
        }
        self.sessions(everything)?;
        for repo in 0..self.repos.len() {
            self.lists(repo, everything)?;
        }
        // What this itself changed is looked at after the next kill.
        Ok(())
    }

    /// The next facts in turn.
    fn sample(&mut self) -> Vec<Reg> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        let after = self.model.cursor.take();
        for reg in self.model.regs.keys().filter(|reg| after.as_ref().is_none_or(|after| *reg > after)) {
            if let Reg::Blob(_, digest) = reg {
                bytes += self.model.contents.get(digest).map_or(0, |content| content.size);
            }
            taken.push(reg.clone());
            if taken.len() >= SAMPLE || bytes >= SAMPLE_BYTES {
                self.model.cursor = Some(reg.clone());
                break;
            }
        }
        taken
    }

    /// Every session says where it stands; some go on from there to their end, where their digest tells whether the bytes
    /// they claimed were the ones sent.
    fn sessions(&mut self, all: bool) -> Flow {
        let ids: Vec<String> = self.model.sessions.keys().cloned().collect();
        for id in ids {
            self.look_at(&id)?;
            let Some(session) = self.model.sessions.get(&id).cloned() else { continue };
            if all || self.rng.chance(if session.acked > 0 { 40 } else { 10 }) {
                self.execute(Op::Finish { session: id, lie: false })?;
                self.check(&Reg::Blob(session.repo, session.content.digest), "an upload resumed")?;
                self.world.stats.sessions_finished.add(1);
            }
        }
        Ok(())
    }

    /// Lists come from keys of their own, which must agree with the records.
    fn lists(&mut self, repo: usize, everything: bool) -> Flow {
        if !self.model.visible(repo) {
            return Ok(());
        }
        // First, since nothing that goes by itself comes back.
        let lapsing = self.model.lapsing(repo);
        let listed = self.list(&format!("/v2/{}/tags/list", self.repo(repo)), "/tags")?;
        let known: BTreeSet<String> = self.model.tags_of(repo).into_iter().map(|(tag, _)| tag).collect();
        let missed = |tag: &&String| !lapsing.contains(&Reg::Tag(repo, (*tag).clone()));
        let right = listed.as_ref().is_some_and(|listed| {
            listed.is_subset(&known) && !known.difference(listed).any(|tag| missed(&tag))
        });
        if !right {
            self.fail(format!("{} lists the tags {listed:?}, acknowledged were {known:?}", self.repo(repo)));
        }
        let subjects: BTreeSet<Digest> =
            self.model.docs.values().filter_map(|doc| doc.subject.clone()).collect();
        let here = |subject: &&Digest| self.model.regs.contains_key(&Reg::Manifest(repo, (*subject).clone()));
        let mut subjects: Vec<Digest> = subjects.iter().filter(here).cloned().collect();
        if !everything {
            while subjects.len() > 2 {
                let at = self.rng.index(subjects.len());
                subjects.swap_remove(at);
            }
        }
        for subject in subjects {
            let listed = self.list(&format!("/v2/{}/referrers/{subject}", self.repo(repo)), "/manifests")?;
            let known = self.model.referrers_of(repo, &subject);
            if listed.as_ref() != Some(&known) {
                let repo = self.repo(repo);
                self.fail(format!("{repo} lists {listed:?} for {subject}, acknowledged were {known:?}"));
            }
        }
        if everything {
            let catalog = self.list("/v2/_catalog?n=1000", "/repositories")?.unwrap_or_default();
            // What holds no manifest any more is not listed.
            if catalog.contains(self.repo(repo)) == self.model.manifests_of(repo).is_empty() {
                self.fail(format!("the catalog is wrong about {}: {catalog:?}", self.repo(repo)));
            }
        }
        Ok(())
    }

    fn list(&mut self, target: &str, at: &str) -> Flow<Option<BTreeSet<String>>> {
        let reply = self.http.get(target);
        let reply = self.answered(reply)?;
        self.world.stats.lists.add(1);
        let value: serde_json::Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        let Some(entries) =
            value.pointer(at).and_then(|list| list.as_array()).filter(|_| reply.status == 200)
        else {
            self.fail(format!("{target}: {}", reply.shown()));
            return Ok(None);
        };
        let name = |entry: &serde_json::Value| {
            entry.as_str().or_else(|| entry["digest"].as_str()).unwrap_or_default().to_owned()
        };
        Ok(Some(entries.iter().map(name).collect()))
    }

    /// How many things are acknowledged and there.
    pub fn holds(&self) -> usize {
        self.model.regs.values().filter(|val| **val != Val::Absent).count()
    }
}
