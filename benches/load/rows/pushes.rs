//! Small pushes: many blobs, many manifests.

use std::rc::Rc;

use super::{Arena, Goal, HowOften, Phase, Row, Sample, Unit, arena::measured, small::connected};
use crate::{
    Result,
    client::End,
    content::{manifest, noise, sha256},
    peers::{Instance, Peer},
    scripts::{Check, How, Manifests, Push, Unique, verify},
};

pub fn rows(_: &Arena) -> Vec<Row> {
    use Peer::{Bare, Distribution, Distribution2, Ours, Zot};
    let mut rows = Vec::new();
    for (name, connections) in [("push-4k-c1", 1), ("push-4k-c16", 16), ("push-4k-c64", 64)] {
        let goals = if connections == 1 {
            vec![Goal::Of(1.0, &[Zot])]
        } else {
            vec![Goal::Of(2.0, &[Zot]), Goal::Of(15.0, &[Distribution])]
        };
        rows.push(Row {
            name,
            title: format!("push 4 KiB blobs to disk: POST, PUT; {}", connected(connections)),
            unit: Unit::Rate,
            peers: &[Ours, Zot, Distribution, Distribution2, Bare],
            goals,
            how_often: HowOften::Warm,
            measure: Box::new(move |arena, peer, phase| blobs(arena, peer, phase, connections, How::Put)),
        });
    }
    rows.push(Row {
        name: "push-4k-single-c16",
        title: "push 4 KiB blobs to disk: one POST with the bytes; 16 connections".to_owned(),
        unit: Unit::Rate,
        peers: &[Ours],
        goals: vec![],
        how_often: HowOften::Warm,
        measure: Box::new(|arena, peer, phase| blobs(arena, peer, phase, 16, How::Single)),
    });
    rows.push(Row {
        name: "push-manifests-c16",
        title: "push manifests by tag into 16 repositories, 16 connections".to_owned(),
        unit: Unit::Rate,
        peers: &[Ours, Zot, Distribution, Distribution2],
        goals: vec![Goal::Of(20.0, &[Distribution])],
        how_often: HowOften::Warm,
        measure: Box::new(manifests),
    });
    rows
}

/// The most pushes a second that a peer is given contents for.
const FASTEST: f64 = 30_000.0;

fn blobs(arena: &mut Arena, peer: Peer, phase: Phase, connections: usize, how: How) -> Result<Sample> {
    let instance = arena.standing(peer, false)?;
    let (number, lasts) = (arena.number(), arena.lasts(phase));
    let unique = Unique::new(number, 4096, (lasts.as_secs_f64() * FASTEST) as usize + 100);
    let repositories: Vec<String> = (0..16).map(|number| format!("bench/pushed{number}")).collect();
    let mut script = Push::of(&instance.target, how, &unique, &repositories, connections);
    let (_, mut sample) = measured(&instance, connections, &mut script, End::Finish(lasts))?;
    sample.bytes = sample.operations * 4096.0;
    let path = |(repository, digest): (usize, String)| Check {
        path: format!("/v2/{}/blobs/{digest}", repositories[repository]),
        digest,
    };
    verify(&instance.target, &unique.pushed().into_iter().map(path).collect::<Vec<_>>())?;
    Ok(sample)
}

/// A manifest whose blobs are in these repositories.
///
/// # Errors
/// When they cannot be pushed.
pub fn base(instance: &Rc<Instance>, repositories: &[String]) -> Result<Vec<u8>> {
    let config = br#"{"architecture":"amd64","os":"linux"}"#;
    let layer = noise(7, 500);
    for repository in repositories {
        if instance.lacks(&format!("blobs in {repository}")) {
            instance.put_blob(repository, config)?;
            instance.put_blob(repository, &layer)?;
        }
    }
    Ok(manifest(config, &[(sha256(&layer), layer.len() as u64)]))
}

fn manifests(arena: &mut Arena, peer: Peer, phase: Phase) -> Result<Sample> {
    let instance = arena.standing(peer, false)?;
    let (number, lasts) = (arena.number(), arena.lasts(phase));
    let repositories: Vec<String> = (0..16).map(|number| format!("bench/images{number}")).collect();
    let base = base(&instance, &repositories)?;
    let mut script = Manifests::new(&instance.target, &base, &format!("r{number}-"), &repositories, 16)?;
    let (_, mut sample) = measured(&instance, 16, &mut script, End::Finish(lasts))?;
    sample.bytes = sample.operations * base.len() as f64;
    let check = |(path, digest)| Check { path, digest };
    verify(&instance.target, &script.acknowledged().into_iter().map(check).collect::<Vec<_>>())?;
    Ok(sample)
}
