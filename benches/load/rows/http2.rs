//! HTTP/2 over TLS, by nghttp2's h2load.

use std::process::Command;

use super::{Arena, Goal, HowOften, Phase, Row, Sample, Unit};
use crate::{
    Result,
    peers::{Peer, output},
};

pub fn rows(arena: &Arena) -> Vec<Row> {
    let size = crate::report::bytes(arena.options.bulk_size as f64);
    let row = |name, shown: &str, h2: bool, goals| Row {
        name,
        title: format!(
            "pull a warm blob of {size} over TLS 1.3, {shown}, 4 connections (the client is h2load)"
        ),
        unit: Unit::Flow,
        peers: &[Peer::Ours, Peer::Nginx, Peer::Zot],
        goals,
        how_often: HowOften::Warm,
        measure: Box::new(move |arena, peer, phase| pull(arena, peer, phase, h2)),
    };
    vec![
        row("pull-1g-h2load-h1", "HTTP/1.1", false, vec![]),
        row(
            "pull-1g-h2load-h2",
            "HTTP/2",
            true,
            vec![Goal::OfRow(0.7, "pull-1g-h2load-h1"), Goal::Of(1.0, &[Peer::Zot])],
        ),
    ]
}

fn pull(arena: &mut Arena, peer: Peer, phase: Phase, h2: bool) -> Result<Sample> {
    let instance = arena.standing(peer, true)?;
    let path = super::bulk::seeded(arena, &instance)?;
    let mut command = Command::new("h2load");
    let seconds = arena.lasts(phase).as_secs_f64().ceil().to_string();
    command.args(["-c", "4", "-m", "1", "-t", "1", "-D", &seconds]);
    if !h2 {
        command.arg("--h1");
    }
    for line in instance.target.headers.lines().filter(|line| !line.starts_with("Host:")) {
        command.args(["-H", line]);
    }
    command.arg(format!("https://{}{path}", instance.target.address));
    instance.process.forget_peak();
    let before = instance.process.usage()?;
    let said = output(&mut command).map_err(|error| format!("h2load (Debian's nghttp2-client): {error}"))?;
    let after = instance.process.usage()?;
    let (seconds, bytes) = figures(&said).ok_or_else(|| format!("h2load says {said}"))?;
    let protocol = if h2 { "Application protocol: h2" } else { "Application protocol: http/1.1" };
    if !said.contains(protocol) || !said.contains("TLSv1.3") || bytes == 0.0 {
        return Err(format!("h2load did not do that: {said}").into());
    }
    Ok(Sample {
        value: bytes / seconds,
        server_cpu: after.cpu - before.cpu,
        operations: bytes / arena.options.bulk_size as f64,
        bytes,
        peak: after.peak,
        ..Sample::default()
    })
}

/// `finished in 2.01s, …` and `traffic: … total, … headers …, 1.20GB (1288490188) data`.
fn figures(said: &str) -> Option<(f64, f64)> {
    let line = |start: &str| said.lines().find_map(|line| line.trim().strip_prefix(start));
    let time = line("finished in ")?.split(',').next()?;
    let seconds = match time.strip_suffix("ms") {
        Some(milliseconds) => milliseconds.parse::<f64>().ok()? / 1e3,
        None => time.strip_suffix('s')?.parse().ok()?,
    };
    let data = line("traffic: ")?.rsplit(',').next()?;
    let bytes = data.split_once('(')?.1.split_once(')')?.0.parse().ok()?;
    Some((seconds, bytes))
}
