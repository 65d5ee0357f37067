//! Pages of tags.

use std::{fs, path::Path};

use super::{Arena, Goal, HowOften, Phase, Row, Sample, Unit, arena::measured};
use crate::{
    Result,
    client::{End, run},
    content::{manifest, noise, sha256},
    peers::{Instance, Peer},
    scripts::{Fetch, Once, Tags},
};

pub fn rows(arena: &Arena) -> Vec<Row> {
    let few = arena.options.tags;
    let row = |name, tags: usize, goals| Row {
        name,
        title: format!("a page of 100 tags out of {tags}, at 16 places in turn, 8 connections"),
        unit: Unit::Rate,
        // Version 2 of distribution knows no pages.
        peers: &[Peer::Ours, Peer::Zot, Peer::Distribution],
        goals,
        how_often: HowOften::Warm,
        measure: Box::new(move |arena, peer, phase| page(arena, peer, phase, tags)),
    };
    let of_peer = Goal::Of(50.0, &[Peer::Distribution]);
    vec![
        row("tags-page-few", few, vec![of_peer.clone()]),
        row("tags-page-many", few * 10, vec![of_peer, Goal::OfRow(0.9, "tags-page-few")]),
    ]
}

fn page(arena: &mut Arena, peer: Peer, phase: Phase, tags: usize) -> Result<Sample> {
    let instance = arena.standing(peer, false)?;
    let repository = format!("bench/tags{tags}");
    if instance.lacks(&repository) {
        fill(&instance, &repository, tags)?;
    }
    let list = format!("/v2/{repository}/tags/list");
    let places = (0..16).map(|at| at * (tags - 100) / 16);
    let requests: Vec<_> =
        places.clone().map(|at| instance.target.get(&format!("{list}?n=100&last={}", tag(at)))).collect();
    let answers = Once::send(&instance.target, requests.clone())?;
    for ((status, body), at) in answers.iter().zip(places) {
        let wanted: Vec<String> = (at + 1..at + 101).map(tag).collect();
        let page: serde_json::Value =
            serde_json::from_slice(body).map_err(|_| format!("{status}, no JSON"))?;
        if page["tags"] != serde_json::json!(wanted) {
            return Err(format!("{}: a wrong page: {status} {page}", peer.name()).into());
        }
    }
    let requests = requests.into_iter().zip(answers).map(|(request, (_, body))| (request, body.len() as u64));
    let mut script = Fetch::new(8, requests.collect(), false);
    Ok(measured(&instance, 8, &mut script, End::Finish(arena.lasts(phase)))?.1)
}

fn tag(number: usize) -> String {
    format!("t{number:07}")
}

/// Gives a repository so many tags of one manifest. Where a push of each would take all day they are written into the peer's
/// folder, in its own format.
fn fill(instance: &Instance, repository: &str, tags: usize) -> Result {
    let config = br#"{"architecture":"amd64","os":"linux"}"#;
    let layer = noise(9, 300);
    instance.put_blob(repository, config)?;
    instance.put_blob(repository, &layer)?;
    let bytes = manifest(config, &[(sha256(&layer), layer.len() as u64)]);
    instance.put_manifest(repository, &tag(0), &bytes)?;
    match instance.peer {
        Peer::Distribution => {
            let folder = format!("docker/registry/v2/repositories/{repository}/_manifests/tags");
            links(&instance.data().join(folder), tags)
        }
        Peer::Zot => index(&instance.data().join(repository).join("index.json"), tags),
        _ => {
            let mut script = Tags::new(&instance.target, repository, &bytes, (0..tags).map(tag).collect());
            let end = End::Finish(std::time::Duration::from_secs(600));
            let tally = run(&instance.target, 32, &mut script, end)?;
            if tally.operations() as usize == tags { Ok(()) } else { Err("not all tags were pushed".into()) }
        }
    }
}

/// Tags as links to the first one: folders of their own take long to make, and longer to delete.
fn links(folder: &Path, tags: usize) -> Result {
    for number in 1..tags {
        std::os::unix::fs::symlink(tag(0), folder.join(tag(number)))?;
    }
    Ok(())
}

fn index(path: &Path, tags: usize) -> Result {
    let mut index: serde_json::Value = serde_json::from_slice(&fs::read(path)?)?;
    let first = index["manifests"][0].clone();
    let named = |number| {
        let mut descriptor = first.clone();
        descriptor["annotations"]["org.opencontainers.image.ref.name"] = tag(number).into();
        descriptor
    };
    index["manifests"] = (0..tags).map(named).collect();
    Ok(fs::write(path, index.to_string())?)
}
