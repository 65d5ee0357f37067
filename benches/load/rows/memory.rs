//! What stays in memory: idle, and while many slow clients wait.

use std::{rc::Rc, time::Duration};

use super::{Arena, Goal, HowOften, Phase, Place, Row, Sample, Unit};
use crate::{
    Result,
    client::paced::{self, Pace},
    peers::Peer,
    scripts::{Endless, Fetch, Mix},
};

const PEERS: &[Peer] = &[Peer::Ours, Peer::Zot, Peer::Distribution, Peer::Distribution2];

pub fn rows(arena: &Arena) -> Vec<Row> {
    let (pulls, pushes) = (arena.options.slow_pulls, arena.options.slow_pushes);
    let row = |name, title, most, measure| Row {
        name,
        title,
        unit: Unit::Memory,
        peers: PEERS,
        goals: vec![Goal::AtMost(most)],
        how_often: HowOften::Once,
        measure,
    };
    let slow = format!(
        "most memory in {} s of {pulls} pulls and {pushes} pushes at once of 160 KB/s each",
        arena.options.memory_seconds
    );
    vec![
        row("memory-idle", "memory two seconds after the start".to_owned(), 40e6, Box::new(idle)),
        row("memory-slow", slow, 150e6, Box::new(move |arena, peer, _| many(arena, peer, pulls, pushes))),
    ]
}

fn idle(arena: &mut Arena, peer: Peer, _: Phase) -> Result<Sample> {
    let instance = arena.fresh(peer, Place::Disk)?;
    std::thread::sleep(Duration::from_secs(2));
    let usage = instance.process.usage()?;
    Ok(Sample { value: usage.resident as f64, peak: usage.peak, ..Sample::default() })
}

fn many(arena: &mut Arena, peer: Peer, pulls: usize, pushes: usize) -> Result<Sample> {
    let instance = Rc::new(arena.fresh(peer, Place::Disk)?);
    let lasts = Duration::from_secs_f64(arena.options.memory_seconds);
    let bulk = arena.bulk()?;
    let path = instance.put_bulk("bench/bulk", bulk)?;
    let target = &instance.target;
    let all = pulls + pushes;
    let fetch = Fetch::new(all, vec![(target.get(&path), bulk.size)], false);
    let endless = Endless::new(target, "bench/endless", bulk.body(), 1, all);
    let mut script =
        Mix::new(all, vec![Box::new(fetch), Box::new(endless)], move |at, _| usize::from(at >= pulls));
    instance.process.forget_peak();
    let before = instance.process.usage()?;
    let pace = Pace { tick: Duration::from_millis(100), bytes: 16 * 1024 };
    let mut seen = Vec::new();
    let tally = paced::run(target, all, &mut script, pace, lasts, || {
        seen.push(instance.process.usage()?.resident);
        Ok(())
    })
    .map_err(|error| format!("{}: {error}\n{}", peer.name(), instance.log()))?;
    let after = instance.process.usage()?;
    // Flat: the last third needs no more than the one before.
    let third = seen.len() / 3;
    let most = |part: &[u64]| part.iter().copied().max().unwrap_or(0) as f64;
    let (middle, last) = (most(&seen[third..2 * third]), most(&seen[2 * third..]));
    let shown = crate::report::bytes;
    Ok(Sample {
        value: after.peak as f64,
        server_cpu: after.cpu - before.cpu,
        bytes: (tally.received + tally.sent) as f64,
        peak: after.peak,
        note: format!("middle third {}, last third {}", shown(middle), shown(last)),
        ..Sample::default()
    })
}
