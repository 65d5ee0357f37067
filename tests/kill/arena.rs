//! Tags that all clients move at once. Some are moved only by compare-and-swap: their history is one line, and what was
//! acknowledged lies on it. Others are moved freely: what such a tag names was put by a request that no acknowledged one
//! came after.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use crate::{
    choose::image,
    content::{Digest, digest_of},
    http::{Body, Http, NoAnswer},
    model::Doc,
    worker::{Down, Flow, Worker},
    world::{World, lock},
};

pub const REPO: &str = "kill/arena";
/// The configuration of everything here.
pub const EMPTY: &[u8] = b"{}";

const TAGS: usize = 3;

#[derive(Default)]
pub struct Arena {
    clock: AtomicU64,
    chains: [Mutex<Chain>; TAGS],
    free: [Mutex<Vec<Move>>; TAGS],
}

/// The moves of one tag since it was last looked at.
#[derive(Default)]
struct Chain {
    root: Option<Digest>,
    moves: Vec<Swap>,
    /// Put and refused: not to be there.
    refused: Vec<Digest>,
    longest: usize,
}

struct Swap {
    from: Option<Digest>,
    to: Digest,
    acked: bool,
}

struct Move {
    to: Digest,
    begun: u64,
    /// When the answer came, if one came.
    ended: Option<u64>,
}

impl Worker {
    fn entry(&mut self) -> Doc {
        image(&[(digest_of(EMPTY), EMPTY.len() as u64)], None, self.rng.next())
    }

    /// Moves a contended tag.
    pub fn contend(&mut self) -> Flow {
        let at = self.rng.index(TAGS);
        self.world.stats.asked("contended");
        if self.rng.chance(60) { self.swap(at) } else { self.move_freely(at) }
    }

    fn swap(&mut self, at: usize) -> Flow {
        let target = format!("/v2/{REPO}/manifests/cas{at}");
        let reply = self.http.send("HEAD", &target, &[], Body::None);
        let reply = self.answered(reply)?;
        let from: Option<Digest> = match (reply.status, reply.header("docker-content-digest")) {
            (200, Some(digest)) => Some(digest.into()),
            (404, _) => None,
            _ => {
                self.fail(format!("HEAD {target}: {}", reply.shown()));
                return Ok(());
            }
        };
        let doc = self.entry();
        let named = from.as_ref().map(|digest| format!("\"{digest}\""));
        let condition = named.as_ref().map_or(("If-None-Match", "*"), |named| ("If-Match", named.as_str()));
        let headers = [("Content-Type", doc.media), condition];
        let answer = self.http.send("PUT", &target, &headers, Body::Bytes(&doc.bytes));
        let world = Arc::clone(&self.world);
        let mut chain = lock(&world.arena.chains[at]);
        match answer {
            Ok(reply) if reply.status == 201 => {
                chain.moves.push(Swap { from, to: doc.digest, acked: true });
                self.world.acked("contended");
            }
            Ok(reply) if reply.status == 412 => {
                chain.refused.push(doc.digest);
                self.world.stats.refused.add(1);
            }
            Ok(reply) if reply.status >= 500 => {
                self.world.note(&format!("a contended tag was answered {}", reply.shown()));
                self.world.stats.faults.add(1);
                chain.moves.push(Swap { from, to: doc.digest, acked: false });
            }
            Ok(reply) => self.fail(format!("PUT {target} with {condition:?}: {}", reply.shown())),
            Err(NoAnswer::Lost(_)) if self.world.killed() => {
                self.world.stats.lost.add(1);
                chain.moves.push(Swap { from, to: doc.digest, acked: false });
                return Err(Down);
            }
            Err(error) => return self.answered(Err(error)).map(|_| ()),
        }
        Ok(())
    }

    fn move_freely(&mut self, at: usize) -> Flow {
        let doc = self.entry();
        let target = format!("/v2/{REPO}/manifests/free{at}");
        let world = Arc::clone(&self.world);
        let begun = world.arena.clock.fetch_add(1, SeqCst);
        let answer = self.http.send("PUT", &target, &[("Content-Type", doc.media)], Body::Bytes(&doc.bytes));
        let now = world.arena.clock.fetch_add(1, SeqCst);
        let mut free = lock(&world.arena.free[at]);
        match answer {
            Ok(reply) if reply.status == 201 => {
                free.push(Move { to: doc.digest, begun, ended: Some(now) });
                self.world.acked("contended");
            }
            Ok(reply) if reply.status >= 500 => {
                self.world.note(&format!("a contended tag was answered {}", reply.shown()));
                self.world.stats.faults.add(1);
                free.push(Move { to: doc.digest, begun, ended: None });
            }
            Ok(reply) => self.fail(format!("PUT {target}: {}", reply.shown())),
            Err(NoAnswer::Lost(_)) if self.world.killed() => {
                self.world.stats.lost.add(1);
                free.push(Move { to: doc.digest, begun, ended: None });
                return Err(Down);
            }
            Err(error) => return self.answered(Err(error)).map(|_| ()),
        }
        Ok(())
    }
}

/// What a name in the arena stands for now; its bytes are checked.
fn find(world: &World, http: &mut Http, name: &str) -> Option<Digest> {
    let target = format!("/v2/{REPO}/manifests/{name}");
    match http.get(&target) {
        Ok(reply) if reply.status == 404 => None,
        Ok(reply) if reply.status == 200 && reply.header("docker-content-digest") == Some(&*reply.digest) => {
            world.stats.verified(reply.length);
            Some(reply.digest)
        }
        Ok(reply) => {
            world.fail(&format!("{target}: {}", reply.shown()));
            None
        }
        Err(error) => {
            world.fail(&format!("{target}: {error:?}"));
            None
        }
    }
}

/// Looks at every contended tag after a kill.
pub fn verify(world: &World, http: &mut Http) {
    for at in 0..TAGS {
        let now = find(world, http, &format!("cas{at}"));
        let mut chain = lock(&world.arena.chains[at]);
        if let Err(what) = one_line(&chain, now.as_ref()) {
            world.fail(&format!("tag cas{at}: {what}"));
        }
        let line = ancestors(&chain, now.as_ref());
        for swap in &chain.moves {
            let there = find(world, http, &swap.to).is_some();
            if there != line.contains(&&swap.to) {
                world.fail(&format!("tag cas{at}: {} is there: {there}, on the line: {}", swap.to, !there));
            }
        }
        for digest in &chain.refused {
            if find(world, http, digest).is_some() {
                world.fail(&format!("tag cas{at}: {digest} was refused and is there"));
            }
        }
        let longest = chain.longest + line.len();
        *chain = Chain { root: now, longest, ..Chain::default() };
        world.stats.chains.add(1);
    }
    for at in 0..TAGS {
        let now = find(world, http, &format!("free{at}"));
        let mut moves = lock(&world.arena.free[at]);
        if let Err(what) = last(&moves, now.as_ref()) {
            world.fail(&format!("tag free{at}: {what}"));
        }
        for put in moves.iter().filter(|put| put.ended.is_some()) {
            if find(world, http, &put.to).is_none() {
                world.fail(&format!("tag free{at}: {} was acknowledged and is gone", put.to));
            }
        }
        // What it names now is where it begins: older than anything to come.
        moves.clear();
        moves.extend(now.map(|to| Move { to, begun: 0, ended: Some(0) }));
        world.stats.chains.add(1);
    }
}

/// From what the tag names back to its root.
fn ancestors<'a>(chain: &'a Chain, now: Option<&'a Digest>) -> Vec<&'a Digest> {
    let mut line = Vec::new();
    let mut at = now;
    while let Some(digest) = at
        && Some(digest) != chain.root.as_ref()
        && let Some(swap) = chain.moves.iter().find(|swap| swap.to == *digest)
    {
        line.push(digest);
        at = swap.from.as_ref();
    }
    line
}

/// Whether every acknowledged swap lies on the line from the tag's root to what it names now.
fn one_line(chain: &Chain, now: Option<&Digest>) -> Result<(), String> {
    let line = ancestors(chain, now);
    let root = match line.last() {
        None => now,
        Some(first) => chain.moves.iter().find(|swap| swap.to == **first).and_then(|swap| swap.from.as_ref()),
    };
    if root != chain.root.as_ref() {
        return Err(format!("it names {now:?}, which does not come from {:?}", chain.root));
    }
    for swap in chain.moves.iter().filter(|swap| swap.acked) {
        if !line.contains(&&swap.to) {
            return Err(format!(
                "the swap from {:?} to {} was acknowledged and is not in its history",
                swap.from, swap.to
            ));
        }
    }
    Ok(())
}

/// Whether what the tag names may be the last move.
fn last(moves: &[Move], now: Option<&Digest>) -> Result<(), String> {
    let Some(now) = now else {
        return match moves.iter().find(|put| put.ended.is_some()) {
            Some(put) => Err(format!("it names nothing, and {} was acknowledged", put.to)),
            None => Ok(()),
        };
    };
    let Some(put) = moves.iter().find(|put| put.to == *now) else {
        return Err(format!("it names {now}, which nobody put"));
    };
    let later = |other: &&Move| other.ended.is_some() && put.ended.is_some_and(|ended| other.begun > ended);
    match moves.iter().find(later) {
        Some(other) => Err(format!("it names {now}, and {} was put after that was acknowledged", other.to)),
        None => Ok(()),
    }
}

/// The judges must be able to say no.
pub fn judges_bite() -> Result<(), String> {
    let digest = |text: &str| -> Digest { text.into() };
    let swap = |from: Option<&str>, to: &str, acked| Swap { from: from.map(digest), to: digest(to), acked };
    let chain = |moves| Chain { moves, ..Chain::default() };
    let fork = chain(vec![swap(None, "a", true), swap(Some("a"), "b", true), swap(Some("a"), "c", true)]);
    let doubt = chain(vec![swap(None, "a", false), swap(Some("a"), "b", true), swap(Some("b"), "c", false)]);
    let put = |to: &str, begun, ended| Move { to: digest(to), begun, ended };
    let moves = [put("a", 1, Some(2)), put("b", 3, Some(6)), put("c", 4, Some(5)), put("d", 1, None)];
    let judged = [
        one_line(&fork, Some(&digest("b"))).is_err(),
        one_line(&doubt, Some(&digest("a"))).is_err(),
        one_line(&doubt, None).is_err(),
        one_line(&doubt, Some(&digest("b"))).is_ok(),
        one_line(&doubt, Some(&digest("c"))).is_ok(),
        last(&moves, Some(&digest("a"))).is_err(),
        last(&moves, None).is_err(),
        last(&moves, Some(&digest("e"))).is_err(),
        ["b", "c", "d"].iter().all(|name| last(&moves, Some(&digest(name))).is_ok()),
    ];
    match judged.iter().position(|right| !right) {
        Some(place) => Err(format!("judgement {place} on contended tags is wrong")),
        None => Ok(()),
    }
}
