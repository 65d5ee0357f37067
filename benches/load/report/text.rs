//! The table, as text.

use std::fmt::Write;

use super::{About, Found, bytes, median, time, value};
use crate::{
    peers::Peer,
    rows::{Sample, Unit},
};

/// The whole report.
pub fn text(about: &About, all: &[Found]) -> String {
    let mut out = format!(
        "{}; {}; load average {}\n{} rounds of {} s in turn; medians, with the least and the most in brackets\n",
        about.date, about.machine, about.load, about.rounds, about.seconds
    );
    for absent in &about.absent {
        let _ = writeln!(out, "absent: {absent}");
    }
    for found in all {
        out.push('\n');
        out.push_str(&row(found, all));
    }
    let verdicts: Vec<_> = all.iter().flat_map(|found| found.verdicts(all)).collect();
    let met = verdicts.iter().filter(|verdict| verdict.met).count();
    let _ = writeln!(out, "\n{met} of {} wishes met", verdicts.len());
    out
}

/// One row of it.
pub fn row(found: &Found, all: &[Found]) -> String {
    let mut out = format!("{}: {}\n", found.row.name, found.row.title);
    let unit = found.row.unit;
    let cost = if unit == Unit::Flow { "server s/GB" } else { "server/op" };
    let client = if unit == Unit::Flow { "client s/GB" } else { "client/op" };
    let _ = writeln!(
        out,
        "  {:<14}{:>12}  {:<26}{:>10}{:>10}{:>12}{:>12}{:>11}{:>8}",
        "", "median", "[least … most]", "p50", "p99", cost, client, "peak", "ours ×"
    );
    let ours = found.median(Peer::Ours);
    for (peer, samples) in &found.results {
        let of = |part: fn(&Sample) -> Option<f64>| {
            median(samples.iter().filter_map(part)).map_or("-".to_owned(), time)
        };
        let Some(middle) = found.median(*peer) else { continue };
        let (least, most) = samples.iter().fold((f64::MAX, f64::MIN), |(least, most), sample| {
            (least.min(sample.value), most.max(sample.value))
        });
        let peak = samples.iter().map(|sample| sample.peak).max().unwrap_or(0);
        let cpu = |cpu: Option<f64>| cpu.map_or("-".to_owned(), |cpu| shown(unit, cpu));
        let _ = writeln!(
            out,
            "  {:<14}{:>12}  {:<26}{:>10}{:>10}{:>12}{:>12}{:>11}{:>8}",
            peer.name(),
            value(unit, middle),
            format!("[{} … {}]", value(unit, least), value(unit, most)),
            of(|sample| sample.p50),
            of(|sample| sample.p99),
            cpu(found.server_cpu(*peer)),
            cpu(found.client_cpu(*peer)),
            bytes(peak as f64),
            ours.map_or("-".to_owned(), |ours| format!("{:.2}", ours / middle)),
        );
        for note in samples.iter().map(|sample| &sample.note).filter(|note| !note.is_empty()) {
            let _ = writeln!(out, "                {note}");
        }
    }
    for (peer, error) in &found.errors {
        let _ = writeln!(out, "  {:<14}FAILED: {error}", peer.name());
    }
    for verdict in found.verdicts(all) {
        let _ = writeln!(out, "  {} {}", if verdict.met { "met:   " } else { "MISSED:" }, verdict.text);
    }
    out
}

fn shown(unit: Unit, cpu: f64) -> String {
    if unit == Unit::Flow { format!("{cpu:.3}") } else { time(cpu) }
}
