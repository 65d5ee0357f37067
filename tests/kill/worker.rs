//! One client: does requests, compares each answer with its model, and reads back what the registry remembers.

use std::sync::{Arc, atomic::Ordering::SeqCst};

use crate::{
    content::{Content, Digest},
    history::RETAINED,
    http::{Body, Http, NoAnswer, Reply},
    model::{Cond, Doc, Expect, Model, Op, Pending, Reg, Session, Val},
    rng::Rng,
    world::World,
};

/// The daemon is down: this round is over for the client.
pub struct Down;

pub type Flow<T = ()> = Result<T, Down>;

/// What a request came to.
pub enum Answer {
    Status(u16, String),
    /// Killed before it was answered.
    Lost(String),
    /// Nobody was there to send it to.
    Unsent,
}

pub struct Worker {
    pub id: usize,
    pub user: String,
    pub secret: String,
    pub repos: Vec<String>,
    pub model: Model,
    pub rng: Rng,
    pub world: Arc<World>,
    pub http: Http,
    pub anonymous: Http,
    pub guest: Http,
    pub address: String,
}

impl Worker {
    /// For a daemon that was started again.
    pub fn connect(&mut self, address: &str) {
        self.address = address.to_owned();
        self.http = Http::basic(address, &self.user, &self.secret);
        self.anonymous = Http::new(address);
        self.guest = Http::basic(address, "guest", &self.world.guest_secret);
    }

    pub fn fail(&self, what: impl std::fmt::Display) {
        self.world.fail(&format!("client {}: {what}", self.id));
    }

    pub fn repo(&self, repo: usize) -> &str {
        &self.repos[repo]
    }

    /// An answer, or the end of the round; no answer from a daemon that nobody killed is a finding.
    pub fn answered(&self, result: Result<Reply, NoAnswer>) -> Flow<Reply> {
        match result {
            Ok(reply) => Ok(reply),
            Err(_) if self.world.killed() => Err(Down),
            Err(error) => {
                self.fail(format!("no answer from a daemon that was not killed: {error:?}"));
                Err(Down)
            }
        }
    }

    /// Does a request and keeps the model right. Ends the round when the daemon is gone.
    pub fn execute(&mut self, op: Op) -> Flow {
        self.model.began = self.model.epoch.load(SeqCst);
        let expect = self.model.expect(&op);
        let effects = self.model.effects(&op);
        let answer = self.perform(&op);
        self.world.stats.asked(op.name());
        match answer {
            Answer::Unsent if !self.world.killed() => {
                self.fail(format!("nobody listens, and no daemon was killed: {}", op.name()));
                Err(Down)
            }
            Answer::Lost(why) if !self.world.killed() => {
                self.fail(format!("no answer from a daemon that was not killed: {}: {why}", op.name()));
                Err(Down)
            }
            Answer::Unsent => Err(Down),
            Answer::Lost(_) => {
                self.world.stats.lost.add(1);
                effects.iter().for_each(|(reg, _)| self.model.mark(reg));
                if !effects.is_empty() {
                    self.model.pending = Some(Pending { op, effects });
                }
                Err(Down)
            }
            Answer::Status(status, shown) => self.judge(op, &expect, effects, (status, &shown)),
        }
    }

    fn judge(&mut self, op: Op, expect: &Expect, effects: Vec<(Reg, Val)>, answer: (u16, &str)) -> Flow {
        let (status, shown) = answer;
        match expect {
            Expect::Yes(wanted) | Expect::Either(wanted, _) if status == *wanted => {
                self.world.acked(op.name());
                self.model.done(&op, effects);
                Ok(())
            }
            Expect::Either(_, declined) if status == *declined => {
                if let Op::RestorePackage { repo } = op
                    && self.model.is_buried(repo)
                {
                    // Gone for good, so those before it are as well.
                    self.model.graves.remove(&repo);
                }
                Ok(())
            }
            Expect::No(statuses) if statuses.contains(&status) => {
                self.world.stats.refused.add(1);
                if let Op::Finish { lie: true, .. } = op {
                    // The one refusal that changes something, as it says: bytes of another digest are given up.
                    self.model.apply(effects);
                    return Ok(());
                }
                self.unchanged(&op, effects)
            }
            _ if status >= 500 => {
                self.world.stats.faults.add(1);
                self.world.note(&format!("client {}: {} was answered {shown}", self.id, op.name()));
                self.model.pending = Some(Pending { op, effects });
                self.resolve()
            }
            _ => {
                self.fail(format!("{op:?}: expected {expect:?}, got {shown}"));
                Ok(())
            }
        }
    }

    /// What was refused must not have happened; looked at now and then, since the check after a kill looks again.
    fn unchanged(&mut self, op: &Op, effects: Vec<(Reg, Val)>) -> Flow {
        for (reg, _) in effects {
            if self.rng.chance(50) {
                self.model.dirty.insert(reg.clone());
            } else {
                self.check(&reg, &format!("after a refused {}", op.name()))?;
            }
        }
        Ok(())
    }

    /// Finds out what became of the request without an answer: all of it, or nothing. Then it is tried again.
    pub fn resolve(&mut self) -> Flow {
        let Some(Pending { op, effects }) = self.model.pending.take() else { return Ok(()) };
        let (mut done, mut undone, mut seen, mut closed) = (true, true, Vec::new(), None);
        let mut steps = Vec::new();
        for (reg, after) in &effects {
            let before = self.model.get(reg);
            let Some(found) = self.read(reg)? else { continue };
            done &= found == *after;
            // A session's beginning is not synced, so a power cut may undo it; its end is.
            undone &= found == before || (self.world.power && matches!(reg, Reg::Session(_)));
            if op.has_steps() && (found == before || found == *after) {
                steps.push((reg.clone(), found.clone()));
            }
            seen.push(format!("{reg:?} was {before:?}, is {found:?}, was to be {after:?}"));
        }
        match (done, undone) {
            // Each step was done or not; the rest is done by the request tried again.
            (false, false) if steps.len() == seen.len() => self.model.apply(steps),
            (false, false) => self.fail(format!("{op:?} was done by half: {}", seen.join("; "))),
            (true, _) => {
                self.world.stats.resolved_done.add(1);
                if let Op::Finish { session, lie: false } = &op {
                    closed = self.model.sessions.get(session).cloned();
                }
                self.model.done(&op, effects);
            }
            (false, true) => self.world.stats.resolved_undone.add(1),
        }
        if let Some(session) = closed {
            return self.close_again(&session);
        }
        if let Op::Finish { session, .. } | Op::Cancel { session } = &op {
            // It begins where it stands now, or is gone.
            let session = session.clone();
            self.look_at(&session)?;
            if !self.model.sessions.contains_key(&session) {
                return Ok(());
            }
        }
        self.world.stats.retried.add(1);
        self.execute(op)
    }

    /// A client that closed a session and heard nothing closes it again, though it is closed.
    fn close_again(&mut self, session: &Session) -> Flow {
        let joint = if session.location.contains('?') { '&' } else { '?' };
        let target = format!("{}{joint}digest={}", session.location, session.content.digest);
        let reply = self.http.send("PUT", &target, &[], Body::None);
        let reply = self.answered(reply)?;
        self.world.stats.retried.add(1);
        if reply.status != 201 {
            self.fail(format!("closing {session:?} once more is answered {}", reply.shown()));
        }
        Ok(())
    }

    /// Compares one thing with the model.
    pub fn check(&mut self, reg: &Reg, when: &str) -> Flow {
        if let Reg::Session(id) = reg {
            return self.look_at(&id.clone());
        }
        // A role shows only where not everybody may read.
        if matches!(reg, Reg::Guest(repo) if self.model.get(&Reg::Public(*repo)) == Val::Present) {
            return Ok(());
        }
        let known = self.model.get(reg);
        let may_go = self.model.lapsing(RETAINED).contains(reg);
        if let Some(found) = self.read(reg)?
            && found != known
        {
            if may_go && found == Val::Absent {
                self.model.apply(vec![(reg.clone(), found)]);
                return Ok(());
            }
            self.fail(format!(
                "{when}: {reg:?} in {:?} is {found:?}, acknowledged was {known:?}",
                self.repos
            ));
        }
        self.world.stats.checked.add(1);
        Ok(())
    }

    /// Reads one thing, whole; `None` after a finding was reported.
    pub fn read(&mut self, reg: &Reg) -> Flow<Option<Val>> {
        let (target, wanted) = match reg {
            Reg::Blob(repo, digest) => {
                (format!("/v2/{}/blobs/{digest}", self.repo(*repo)), Some(digest.clone()))
            }
            Reg::Manifest(repo, digest) => {
                (format!("/v2/{}/manifests/{digest}", self.repo(*repo)), Some(digest.clone()))
            }
            Reg::Tag(repo, tag) => (format!("/v2/{}/manifests/{tag}", self.repo(*repo)), None),
            Reg::Session(id) => {
                let Some(session) = self.model.sessions.get(id) else { return Ok(Some(Val::Absent)) };
                (session.location.clone(), None)
            }
            Reg::Token(id) => return self.read_token(&id.clone()),
            Reg::Policy(repo) => return self.read_policy(*repo),
            Reg::Public(repo) | Reg::Guest(repo) => (format!("/v2/{}/tags/list", self.repo(*repo)), None),
        };
        let caller = match reg {
            Reg::Public(_) => &mut self.anonymous,
            Reg::Guest(_) => &mut self.guest,
            _ => &mut self.http,
        };
        let reply = caller.get(&target);
        let reply = self.answered(reply)?;
        let found = match (reg, reply.status) {
            (Reg::Public(_), 401) | (_, 404) => Val::Absent,
            (Reg::Session(_), 204) | (Reg::Public(_) | Reg::Guest(_), 200) => Val::Present,
            (Reg::Blob(..) | Reg::Manifest(..), 200) if wanted.as_ref() == Some(&reply.digest) => {
                self.world.stats.verified(reply.length);
                Val::Present
            }
            (Reg::Tag(..), 200) if reply.header("docker-content-digest") == Some(&*reply.digest) => {
                self.world.stats.verified(reply.length);
                Val::Names(reply.digest)
            }
            (_, 200) => {
                self.fail(format!("{target}: {} bytes with the digest {}", reply.length, reply.digest));
                return Ok(None);
            }
            _ => {
                self.fail(format!("{target}: {}", reply.shown()));
                return Ok(None);
            }
        };
        Ok(Some(found))
    }

    fn read_token(&mut self, id: &str) -> Flow<Option<Val>> {
        let Some(secret) = self.model.tokens.get(id) else { return Ok(None) };
        let reply = Http::basic(&self.address, &self.user, secret).get("/v2/");
        match self.answered(reply)?.status {
            200 => Ok(Some(Val::Present)),
            401 => Ok(Some(Val::Absent)),
            status => {
                self.fail(format!("a token got {status}"));
                Ok(None)
            }
        }
    }

    /// Asks a session where it stands, and holds it to what was acknowledged.
    pub fn look_at(&mut self, id: &str) -> Flow {
        let Some(session) = self.model.sessions.get(id).cloned() else { return Ok(()) };
        let reply = self.http.get(&session.location);
        let reply = self.answered(reply)?;
        let at =
            reply.header("location").and_then(|text| Some((text, text.rsplit_once("at=")?.1.parse().ok()?)));
        match (reply.status, at) {
            (204, Some((location, offset))) => {
                let location = location.to_owned();
                // The bytes of a close with bytes may have their lasting name and no record: it begins again then.
                let again = session.closing && offset == 0;
                if offset > session.sent || (offset < session.acked && !again && !self.world.power) {
                    self.fail(format!("a session claims {offset} bytes: {session:?}"));
                }
                self.world.stats.session(offset, session.acked);
                if let Some(session) = self.model.sessions.get_mut(id) {
                    (session.acked, session.location, session.closing) = (offset, location, false);
                }
            }
            (404, _) if self.world.power => {
                self.world.stats.sessions_gone.add(1);
                self.model.sessions.remove(id);
                self.model.regs.insert(Reg::Session(id.to_owned()), Val::Absent);
            }
            _ => self.fail(format!("{session:?} is answered {}", reply.shown())),
        }
        Ok(())
    }

    fn perform(&mut self, op: &Op) -> Answer {
        // A refused one may have taken the name as well.
        if let Op::Post { repo, .. }
        | Op::Begin { repo, .. }
        | Op::Mount { repo, .. }
        | Op::Put { repo, .. } = op
        {
            self.model.touch(*repo);
        }
        let result = match op {
            Op::Post { repo, content } => {
                let target = format!("/v2/{}/blobs/uploads/?digest={}", self.repo(*repo), content.digest);
                self.http.send("POST", &target, &[], whole(content))
            }
            Op::Begin { repo, content } => {
                let target = format!("/v2/{}/blobs/uploads/", self.repo(*repo));
                let reply = self.http.send("POST", &target, &[], Body::None);
                return self.opened(reply, *repo, content);
            }
            Op::Append { .. } | Op::Finish { .. } | Op::Cancel { .. } => return self.go_on(op),
            Op::Mount { repo, from, digest } => {
                let target = format!("/v2/{}/blobs/uploads/?mount={digest}&from={from}", self.repo(*repo));
                let reply = self.http.send("POST", &target, &[], Body::None);
                if let Ok(reply) = &reply
                    && reply.status == 202
                    && let Some(location) = reply.header("location")
                {
                    // Declined: the session it offers instead is not wanted.
                    let _ = self.http.send("DELETE", location, &[], Body::None);
                }
                reply
            }
            Op::Put { repo, doc, tags, by_digest, cond } => {
                return self.put((*repo, doc, tags), *by_digest, cond);
            }
            Op::DeleteTag { repo, tag } => self.erase(&format!("/v2/{}/manifests/{tag}", self.repo(*repo))),
            Op::DeleteManifest { repo, digest } => {
                self.erase(&format!("/v2/{}/manifests/{digest}", self.repo(*repo)))
            }
            Op::DeleteBlob { repo, digest } => {
                self.erase(&format!("/v2/{}/blobs/{digest}", self.repo(*repo)))
            }
            Op::Revoke { id } => return self.command(&["token", "revoke", id]),
            Op::Visibility { repo, public } => {
                let visibility = if *public { "public" } else { "private" };
                return self.command(&["package", "visibility", self.repo(*repo), visibility]);
            }
            Op::Grant { repo, role } => {
                let role = if *role { "read" } else { "none" };
                return self.command(&["package", "grant", self.repo(*repo), "guest", role]);
            }
            _ => return self.manage(op),
        };
        told(result)
    }

    fn erase(&mut self, target: &str) -> Result<Reply, NoAnswer> {
        self.http.send("DELETE", target, &[], Body::None)
    }

    fn put(&mut self, what: (usize, &Doc, &[String]), by_digest: bool, cond: &Cond) -> Answer {
        let (repo, doc, tags) = what;
        let mut target = format!("/v2/{}/manifests/", self.repo(repo));
        match tags.first() {
            Some(tag) if !by_digest => target += tag,
            _ => target += &doc.digest,
        }
        if by_digest {
            for (place, tag) in tags.iter().enumerate() {
                target += &format!("{}tag={tag}", if place == 0 { '?' } else { '&' });
            }
        }
        let named;
        let mut headers = vec![("Content-Type", doc.media)];
        match cond {
            Cond::None => {}
            Cond::Absent => headers.push(("If-None-Match", "*")),
            Cond::Is(digest) => {
                named = format!("\"{digest}\"");
                headers.push(("If-Match", &named));
            }
        }
        told(self.http.send("PUT", &target, &headers, Body::Bytes(&doc.bytes)))
    }

    fn opened(&mut self, reply: Result<Reply, NoAnswer>, repo: usize, content: &Content) -> Answer {
        if let Ok(reply) = &reply
            && reply.status == 202
            && let (Some(id), Some(location)) = (reply.header("docker-upload-uuid"), reply.header("location"))
        {
            let (id, location) = (id.to_owned(), location.to_owned());
            let session = Session {
                id: id.clone(),
                repo,
                content: content.clone(),
                location,
                acked: 0,
                sent: 0,
                closing: false,
            };
            self.model.regs.insert(Reg::Session(id.clone()), Val::Present);
            self.model.sessions.insert(id, session);
        }
        told(reply)
    }

    /// A request about a session.
    fn go_on(&mut self, op: &Op) -> Answer {
        let (Op::Append { session, .. } | Op::Finish { session, .. } | Op::Cancel { session }) = op else {
            return Answer::Unsent;
        };
        let Some(mut session) = self.model.sessions.get(session).cloned() else {
            return Answer::Status(404, "we know it is gone".to_owned());
        };
        let of = &session.content;
        let result = match op {
            Op::Append { to, chunked, .. } => {
                session.sent = session.sent.max(*to);
                let body = Body::Part { of, from: session.acked, to: *to, chunked: *chunked };
                let reply = self.http.send("PATCH", &session.location, &[], body);
                if let Ok(reply) = &reply
                    && reply.status == 202
                    && let Some(location) = reply.header("location")
                {
                    (session.acked, session.location) = (*to, location.to_owned());
                }
                reply
            }
            Op::Finish { lie, .. } => {
                session.sent = of.size;
                session.closing = session.acked < of.size && session.acked > 0;
                let digest: Digest =
                    if *lie { Content::new(of.size ^ 1, 40).digest } else { of.digest.clone() };
                let joint = if session.location.contains('?') { '&' } else { '?' };
                let target = format!("{}{joint}digest={digest}", session.location);
                let body = match of.size - session.acked {
                    0 => Body::None,
                    _ => Body::Part { of, from: session.acked, to: of.size, chunked: false },
                };
                self.http.send("PUT", &target, &[], body)
            }
            _ => self.http.send("DELETE", &session.location, &[], Body::None),
        };
        self.model.sessions.insert(session.id.clone(), session);
        told(result)
    }
}

fn whole(content: &Content) -> Body<'_> {
    Body::Part { of: content, from: 0, to: content.size, chunked: false }
}

fn told(result: Result<Reply, NoAnswer>) -> Answer {
    match result {
        Ok(reply) => Answer::Status(reply.status, reply.shown()),
        Err(NoAnswer::Refused) => Answer::Unsent,
        Err(NoAnswer::Lost(why)) => Answer::Lost(why),
    }
}
