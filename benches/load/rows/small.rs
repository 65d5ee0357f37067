//! Small reads: blobs of 1 MiB and 16 KiB, manifests.

use std::rc::Rc;

use super::{Arena, Goal, HowOften, Phase, Row, Sample, Unit, arena::measured};
use crate::{
    Result,
    client::End,
    content::{manifest, noise, sha256},
    peers::{Instance, Peer},
    scripts::{Check, Fetch, verify},
};

const ALL: &[Peer] = &[Peer::Ours, Peer::Nginx, Peer::Zot, Peer::Distribution, Peer::Distribution2];

pub fn rows() -> Vec<Row> {
    use Peer::{Distribution, Nginx, Zot};
    let blobs = |name, size: usize, shown: &str, goals| Row {
        name,
        title: format!("GET 16 blobs of {shown} in turn, 32 connections"),
        unit: Unit::Rate,
        peers: ALL,
        goals,
        how_often: HowOften::Warm,
        measure: Box::new(move |arena, peer, phase| get_blobs(arena, peer, phase, size)),
    };
    let mut rows = vec![
        blobs("get-1m-c32", 1 << 20, "1 MiB", vec![Goal::Of(0.95, &[Nginx, Zot])]),
        blobs("get-16k-c32", 16 << 10, "16 KiB", vec![Goal::Of(0.5, &[Nginx]), Goal::Of(3.0, &[Zot])]),
    ];
    for (name, method, connections) in [
        ("get-manifest-c1", "GET", 1),
        ("get-manifest-c32", "GET", 32),
        ("head-manifest-c1", "HEAD", 1),
        ("head-manifest-c32", "HEAD", 32),
    ] {
        rows.push(Row {
            name,
            title: format!("{method} a manifest by tag, {}", connected(connections)),
            unit: Unit::Rate,
            peers: ALL,
            goals: vec![Goal::Of(0.5, &[Nginx]), Goal::Of(4.0, &[Zot]), Goal::Of(8.0, &[Distribution])],
            how_often: HowOften::Warm,
            measure: Box::new(move |arena, peer, phase| manifests(arena, peer, phase, method, connections)),
        });
    }
    rows
}

pub fn connected(connections: usize) -> String {
    if connections == 1 { "1 connection".to_owned() } else { format!("{connections} connections") }
}

fn get_blobs(arena: &mut Arena, peer: Peer, phase: Phase, size: usize) -> Result<Sample> {
    let instance = arena.standing(peer, false)?;
    let blobs: Vec<_> = (0..16).map(|number| noise(0x5a00 + number, size)).collect();
    let path = |blob: &[u8]| format!("/v2/bench/small/blobs/{}", sha256(blob));
    if instance.lacks(&format!("blobs of {size}")) {
        for blob in &blobs {
            instance.put_blob("bench/small", blob)?;
        }
        let check = |blob: &Vec<u8>| Check { path: path(blob), digest: sha256(blob) };
        verify(&instance.target, &blobs.iter().map(check).collect::<Vec<_>>())?;
    }
    let requests = blobs.iter().map(|blob| (instance.target.get(&path(blob)), size as u64)).collect();
    let mut script = Fetch::new(32, requests, false);
    Ok(measured(&instance, 32, &mut script, End::Cut(arena.lasts(phase)))?.1)
}

/// An image in `bench/tagged` with the tag `latest`: its manifest's path and size. Its layers are small.
///
/// # Errors
/// When it cannot be pushed.
pub fn tagged(instance: &Rc<Instance>) -> Result<(String, u64)> {
    let config = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
    let layers = [noise(1, 1000), noise(2, 1000)];
    let named: Vec<_> = layers.iter().map(|layer| (sha256(layer), layer.len() as u64)).collect();
    let bytes = manifest(config, &named);
    let path = "/v2/bench/tagged/manifests/latest".to_owned();
    if instance.lacks("a tagged manifest") {
        for blob in layers.iter().map(Vec::as_slice).chain([&config[..]]) {
            instance.put_blob("bench/tagged", blob)?;
        }
        instance.put_manifest("bench/tagged", "latest", &bytes)?;
        verify(&instance.target, &[Check { path: path.clone(), digest: sha256(&bytes) }])?;
    }
    Ok((path, bytes.len() as u64))
}

fn manifests(
    arena: &mut Arena,
    peer: Peer,
    phase: Phase,
    method: &str,
    connections: usize,
) -> Result<Sample> {
    let instance = arena.standing(peer, false)?;
    let (path, size) = tagged(&instance)?;
    let requests = vec![(instance.target.head(method, &path, ""), size)];
    let mut script = Fetch::new(connections, requests, method == "HEAD");
    Ok(measured(&instance, connections, &mut script, End::Cut(arena.lasts(phase)))?.1)
}
