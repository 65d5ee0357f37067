//! Big blobs, out and in.

use super::{Arena, Goal, HowOften, Phase, Place, Row, Sample, Unit, arena::measured, small::connected};
use crate::{
    Result,
    client::End,
    peers::{Instance, Peer},
    scripts::{Check, Fetch, How, Push, verify},
};

pub fn rows(arena: &Arena) -> Vec<Row> {
    use Peer::{Bare, BareUnsynced, Distribution, Distribution2, Nginx, Ours, Zot};
    let size = crate::report::bytes(arena.options.bulk_size as f64);
    let mut rows = Vec::new();
    for (name, connections) in [("pull-1g-c1", 1), ("pull-1g-c4", 4), ("pull-1g-c16", 16)] {
        rows.push(Row {
            name,
            title: format!("pull a warm blob of {size}, {}", connected(connections)),
            unit: Unit::Flow,
            peers: &[Ours, Nginx, Zot, Distribution, Distribution2, Bare],
            goals: vec![Goal::Of(0.95, &[Nginx, Zot, Distribution])],
            how_often: HowOften::Warm,
            measure: Box::new(move |arena, peer, phase| pull(arena, peer, phase, connections, false)),
        });
    }
    for (name, connections) in [("pull-1g-tls-c1", 1), ("pull-1g-tls-c4", 4), ("pull-1g-tls-c16", 16)] {
        rows.push(Row {
            name,
            title: format!(
                "the same over TLS 1.3, {} (the client is our own, with rustls)",
                connected(connections)
            ),
            unit: Unit::Flow,
            peers: &[Ours, Nginx, Zot],
            goals: vec![Goal::Of(1.2, &[Zot])],
            how_often: HowOften::Warm,
            measure: Box::new(move |arena, peer, phase| pull(arena, peer, phase, connections, true)),
        });
    }
    for (how, shown) in
        [(How::Put, "POST, PUT with the bytes"), (How::Patch, "POST, PATCH with the bytes, PUT")]
    {
        rows.push(Row {
            name: if how == How::Put { "push-1g-put-tmpfs" } else { "push-1g-patch-tmpfs" },
            title: format!("push a blob of {size} to tmpfs: {shown}"),
            unit: Unit::Flow,
            peers: &[Ours, Zot, Distribution, Distribution2, Bare],
            goals: vec![Goal::Of(0.95, &[Bare]), Goal::Of(1.7, &[Zot, Distribution])],
            how_often: HowOften::Cold,
            measure: Box::new(move |arena, peer, _| push(arena, peer, how, Place::Memory)),
        });
        rows.push(Row {
            name: if how == How::Put { "push-1g-put-disk" } else { "push-1g-patch-disk" },
            title: format!("push a blob of {size} to disk, packhouse and bare synced: {shown}"),
            unit: Unit::Flow,
            peers: &[Ours, Zot, Distribution, Distribution2, Bare, BareUnsynced],
            goals: vec![Goal::Of(0.9, &[Bare])],
            how_often: HowOften::Cold,
            measure: Box::new(move |arena, peer, _| push(arena, peer, how, Place::Disk)),
        });
    }
    rows
}

/// Puts the big blob there, once; says its path.
///
/// # Errors
/// When it is refused, or has other bytes afterwards.
pub fn seeded(arena: &mut Arena, instance: &Instance) -> Result<String> {
    let bulk = arena.bulk()?;
    let path = format!("/v2/bench/bulk/blobs/{}", bulk.digest);
    if instance.lacks(&bulk.digest) {
        if instance.target.tls.is_some() && !instance.peer.is_static() {
            // This client sends files over plain connections only.
            instance.put_blob("bench/bulk", &std::fs::read(&bulk.path)?)?;
        } else {
            instance.put_bulk("bench/bulk", bulk)?;
        }
        verify(&instance.target, &[Check { path: path.clone(), digest: bulk.digest.clone() }])?;
    }
    Ok(path)
}

fn pull(arena: &mut Arena, peer: Peer, phase: Phase, connections: usize, tls: bool) -> Result<Sample> {
    let instance = arena.standing(peer, tls)?;
    let path = seeded(arena, &instance)?;
    let requests = vec![(instance.target.get(&path), arena.options.bulk_size)];
    let mut script = Fetch::new(connections, requests, false);
    let (tally, sample) = measured(&instance, connections, &mut script, End::Cut(arena.lasts(phase)))?;
    Ok(sample.flowing(tally.seconds))
}

/// One push into an empty folder, of a file nobody has seen.
fn push(arena: &mut Arena, peer: Peer, how: How, place: Place) -> Result<Sample> {
    let instance = arena.fresh(peer, place)?;
    let bulk = arena.upload()?;
    let mut script = Push::file(&instance.target, how, bulk.body(), &bulk.digest, "bench/pushed");
    let (tally, mut sample) = measured(&instance, 1, &mut script, End::Finish(std::time::Duration::ZERO))?;
    sample.bytes = bulk.size as f64;
    let path = format!("/v2/bench/pushed/blobs/{}", bulk.digest);
    verify(&instance.target, &[Check { path, digest: bulk.digest.clone() }])?;
    Ok(sample.flowing(tally.seconds))
}
