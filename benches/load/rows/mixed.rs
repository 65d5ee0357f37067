//! Reads and pushes at once.

use std::{rc::Rc, time::Duration};

use super::{Arena, Goal, HowOften, Phase, Place, Row, Sample, Unit, arena::measured, pushes, small};
use crate::{
    Result,
    client::{End, Script, run},
    content::{noise, sha256},
    peers::Peer,
    scripts::{Check, Endless, Fetch, How, Manifests, Mix, Push, Unique, verify},
};

/// How long the big transfers go on before the small ones are measured.
const BEFORE: Duration = Duration::from_millis(500);

const PEERS: &[Peer] = &[Peer::Ours, Peer::Zot, Peer::Distribution, Peer::Distribution2];

pub fn rows() -> Vec<Row> {
    vec![
        Row {
            name: "mixed-c32",
            title: "70 % reads (half manifests by tag, half a 64 KiB blob), 30 % pushes (two thirds 64 KiB blobs by POST and \
                    PUT, one third manifests by tag), 32 connections; the times are the reads'"
                .to_owned(),
            unit: Unit::Rate,
            peers: PEERS,
            goals: vec![Goal::Of(2.0, &[Peer::Zot])],
            how_often: HowOften::Warm,
            measure: Box::new(|arena, peer, phase| mixed(arena, peer, phase, false)),
        },
        Row {
            name: "mixed-c32-p99",
            title: "the 99th percentile of the reads' times in that mixture".to_owned(),
            unit: Unit::Time,
            peers: PEERS,
            goals: vec![],
            how_often: HowOften::Warm,
            measure: Box::new(|arena, peer, phase| mixed(arena, peer, phase, true)),
        },
        Row {
            name: "small-under-bulk-p99",
            title: "the 99th percentile of GETs of a manifest over 4 connections, while 4 others pull the big blob and \
                    2 push it, as fast as they can"
                .to_owned(),
            unit: Unit::Time,
            peers: PEERS,
            goals: vec![Goal::AtMost(0.005), Goal::Of(0.25, &[Peer::Zot])],
            how_often: HowOften::Cold,
            measure: Box::new(under_bulk),
        },
    ]
}

const READ: usize = 0;
const WRITE: usize = 1;

/// Whose turn it is: 7 reads and 3 pushes in 10, spread, each connection beginning at another place.
fn turn(at: usize, done: u64) -> usize {
    match (at as u64 * 3 + done * 7) % 10 {
        0 => 3,
        3 | 6 => 2,
        other => usize::from(other % 2 == 1),
    }
}

fn mixed(arena: &mut Arena, peer: Peer, phase: Phase, of_times: bool) -> Result<Sample> {
    let instance = arena.standing(peer, false)?;
    let (number, lasts) = (arena.number(), arena.lasts(phase));
    let (tag, size) = small::tagged(&instance)?;
    let blob = noise(0xb10b, 64 << 10);
    let path = format!("/v2/bench/small/blobs/{}", sha256(&blob));
    if instance.lacks("the blob of the mixture") {
        instance.put_blob("bench/small", &blob)?;
    }
    let repositories: Vec<String> = (0..16).map(|number| format!("bench/images{number}")).collect();
    let base = pushes::base(&instance, &repositories)?;
    let unique = Unique::new(number, 64 << 10, (lasts.as_secs_f64() * 10_000.0) as usize + 100);
    let target = &instance.target;
    let reads = |path: &str, size: usize| Fetch::new(32, vec![(target.get(path), size as u64)], false);
    let blobs = Push::of(target, How::Put, &unique, &repositories, 32).of_kind(WRITE);
    let manifests = Manifests::new(target, &base, &format!("m{number}-"), &repositories, 32)?.of_kind(WRITE);
    let mut script = Mix::new(
        32,
        vec![
            Box::new(reads(&tag, usize::try_from(size)?).of_kind(READ)),
            Box::new(reads(&path, blob.len()).of_kind(READ)),
            Box::new(blobs),
            Box::new(manifests),
        ],
        turn,
    );
    let (tally, mut sample) = measured(&instance, 32, &mut script, End::Finish(lasts))?;
    (sample.p50, sample.p99) = (tally.quantile(&[READ], 0.5), tally.quantile(&[READ], 0.99));
    let check = |(repository, digest): (usize, String)| Check {
        path: format!("/v2/{}/blobs/{digest}", repositories[repository]),
        digest,
    };
    verify(target, &unique.pushed().into_iter().map(check).collect::<Vec<_>>())?;
    if of_times {
        sample.value = sample.p99.ok_or("nothing was read")?;
    }
    Ok(sample)
}

/// The big transfers have a thread of their own: one that moves gigabytes would itself be what a small answer waits for. They
/// are cut off in the end, so the peer and its folder are of no further use.
fn under_bulk(arena: &mut Arena, peer: Peer, phase: Phase) -> Result<Sample> {
    let lasts = arena.lasts(phase);
    let instance = Rc::new(arena.fresh(peer, Place::Disk)?);
    let (tag, size) = small::tagged(&instance)?;
    let bulk = arena.bulk()?;
    let path = instance.put_bulk("bench/bulk", bulk)?;
    let target = &instance.target;
    let (body, source, length) = (bulk.body(), path.as_str(), bulk.size);
    let moved: Result<_> = std::thread::scope(|scope| {
        let moving = scope.spawn(move || {
            let parts: Vec<Box<dyn Script>> = vec![
                Box::new(Fetch::new(6, vec![(target.get(source), length)], false)),
                Box::new(Endless::new(target, "bench/endless", body, WRITE, 6)),
            ];
            let mut script = Mix::new(6, parts, |at, _| usize::from(at >= 4));
            let moved = run(target, 6, &mut script, End::Cut(lasts + BEFORE));
            moved.map(|tally| (tally.received + tally.sent) as f64).map_err(|error| error.to_string())
        });
        std::thread::sleep(BEFORE);
        let mut script = Fetch::new(4, vec![(target.get(&tag), size)], false).of_kind(READ);
        let small = measured(&instance, 4, &mut script, End::Cut(lasts));
        let moved = moving.join().map_err(|_| "the thread of the big transfers ended badly")??;
        small.map(|small| (small, moved))
    });
    let ((tally, mut sample), bytes) = moved?;
    (sample.p50, sample.p99) = (tally.quantile(&[READ], 0.5), tally.quantile(&[READ], 0.99));
    sample.value = sample.p99.ok_or("nothing was read")?;
    sample.bytes = bytes;
    verify(target, &[Check { path, digest: bulk.digest.clone() }])?;
    Ok(sample)
}
