//! What comes out: medians, spreads, ratios, and whether they are what is wanted; as text, JSON and a picture.

mod json;
mod picture;
pub mod text;

pub use json::json;
pub use picture::picture;
pub use text::text;

use crate::{
    peers::Peer,
    rows::{Goal, Row, Sample, Unit},
};

/// A row with all that was measured for it.
pub struct Found {
    pub row: Row,
    pub results: Vec<(Peer, Vec<Sample>)>,
    pub errors: Vec<(Peer, String)>,
}

/// A wish, and what became of it.
pub struct Verdict {
    pub text: String,
    /// How many times the wish's measure ours is, in the direction that is good, and how many times it should be.
    pub ratio: f64,
    pub wanted: f64,
    pub met: bool,
}

/// About a run as a whole.
pub struct About {
    pub date: String,
    pub machine: String,
    pub load: String,
    pub rounds: usize,
    pub seconds: f64,
    pub absent: Vec<String>,
}

impl Found {
    pub fn of(&self, peer: Peer) -> Option<&[Sample]> {
        self.results.iter().find(|(of, _)| *of == peer).map(|(_, samples)| samples.as_slice())
    }

    pub fn median(&self, peer: Peer) -> Option<f64> {
        median(self.of(peer)?.iter().map(|sample| sample.value))
    }

    /// Processor seconds of the server for an operation, or for a GB where bytes are what counts.
    pub fn server_cpu(&self, peer: Peer) -> Option<f64> {
        let unit = self.row.unit;
        median(self.of(peer)?.iter().filter_map(|sample| per(unit, sample, Some(sample.server_cpu))))
    }

    pub fn client_cpu(&self, peer: Peer) -> Option<f64> {
        let unit = self.row.unit;
        median(self.of(peer)?.iter().filter_map(|sample| per(unit, sample, sample.client_cpu)))
    }

    /// What became of each wish that can be judged.
    pub fn verdicts(&self, all: &[Self]) -> Vec<Verdict> {
        let Some(ours) = self.median(Peer::Ours) else { return Vec::new() };
        self.row.goals.iter().filter_map(|goal| self.verdict(goal, ours, all)).collect()
    }

    fn verdict(&self, goal: &Goal, ours: f64, all: &[Self]) -> Option<Verdict> {
        let more = self.row.unit.more_is_better();
        match goal {
            Goal::Of(wanted, peers) => {
                let known: Vec<_> =
                    peers.iter().filter_map(|peer| Some((self.median(*peer)?, peer.name()))).collect();
                let best = if more {
                    known.into_iter().max_by(|one, other| one.0.total_cmp(&other.0))
                } else {
                    known.into_iter().min_by(|one, other| one.0.total_cmp(&other.0))
                };
                let (value, name) = best?;
                Some(verdict(ours / value, *wanted, more, name))
            }
            Goal::OfRow(wanted, row) => {
                let other = all.iter().find(|found| found.row.name == *row)?.median(Peer::Ours)?;
                Some(verdict(ours / other, *wanted, more, row))
            }
            Goal::AtMost(most) => {
                let met = ours <= *most;
                let text = format!("at most {}", value(self.row.unit, *most));
                Some(Verdict { text, ratio: most / ours, wanted: 1.0, met })
            }
            Goal::Cpu(most, peer) => {
                let ratio = self.server_cpu(Peer::Ours)? / self.server_cpu(*peer)?;
                Some(verdict(ratio, *most, false, &format!("{}'s processor time", peer.name())))
            }
        }
    }
}

fn verdict(ratio: f64, wanted: f64, more: bool, whose: &str) -> Verdict {
    let met = if more { ratio >= wanted } else { ratio <= wanted };
    let bound = if more { "at least" } else { "at most" };
    let text = format!("{ratio:.2} × {whose}, wanted {bound} {wanted}");
    if more {
        Verdict { text, ratio, wanted, met }
    } else {
        Verdict { text, ratio: 1.0 / ratio, wanted: 1.0 / wanted, met }
    }
}

fn per(unit: Unit, sample: &Sample, cpu: Option<f64>) -> Option<f64> {
    let by = if unit == Unit::Flow { sample.bytes / 1e9 } else { sample.operations };
    (by > 0.0).then_some(cpu? / by)
}

pub fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        many if many % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

/// A figure with its unit, in three digits or so.
pub fn value(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Rate if value >= 10_000.0 => format!("{:.1} k/s", value / 1e3),
        Unit::Rate if value >= 100.0 => format!("{value:.0}/s"),
        Unit::Rate => format!("{value:.1}/s"),
        Unit::Flow => format!("{:.2} GB/s", value / 1e9),
        Unit::Time => time(value),
        Unit::Memory => format!("{:.1} MB", value / 1e6),
    }
}

pub fn time(seconds: f64) -> String {
    if seconds >= 1.0 {
        format!("{seconds:.2} s")
    } else if seconds >= 1e-3 {
        format!("{:.2} ms", seconds * 1e3)
    } else {
        format!("{:.1} µs", seconds * 1e6)
    }
}

pub fn bytes(bytes: f64) -> String {
    let mut left = bytes;
    for unit in ["B", "KiB", "MiB"] {
        if left < 1024.0 {
            return format!("{} {unit}", (left * 10.0).round() / 10.0);
        }
        left /= 1024.0;
    }
    format!("{} GiB", (left * 10.0).round() / 10.0)
}
