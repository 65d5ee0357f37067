//! The rows of the table: what is measured, whom with, and what is wanted.

mod arena;
mod bulk;
mod crane;
mod http2;
mod memory;
mod mixed;
mod pages;
mod pushes;
mod small;

pub use arena::{Arena, Place};

use crate::{Result, client::Tally, peers::Peer, peers::Usage};

/// What a row's figure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Operations a second.
    Rate,
    /// Bytes a second.
    Flow,
    /// Seconds; less is better.
    Time,
    /// Bytes; less is better.
    Memory,
}

impl Unit {
    pub fn more_is_better(self) -> bool {
        matches!(self, Self::Rate | Self::Flow)
    }
}

/// What is wanted of our figure.
#[derive(Debug, Clone)]
pub enum Goal {
    /// At least (where less is better: at most) so many times the best of these peers'.
    Of(f64, &'static [Peer]),
    /// The same, of another row's figure of ours.
    OfRow(f64, &'static str),
    /// At most this much.
    AtMost(f64),
    /// Processor time of the server: at most so many times that peer's.
    Cpu(f64, Peer),
}

/// One measurement.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// In the row's unit.
    pub value: f64,
    pub p50: Option<f64>,
    pub p99: Option<f64>,
    /// Processor seconds of the server, and of the client's thread where it is ours.
    pub server_cpu: f64,
    pub client_cpu: Option<f64>,
    /// What they were spent on.
    pub operations: f64,
    pub bytes: f64,
    /// The most memory the server had.
    pub peak: u64,
    pub note: String,
}

impl Sample {
    /// What a run of our client and the server's use of the machine before and after it give.
    pub fn of(tally: &Tally, bytes: f64, before: Usage, after: Usage) -> Self {
        let operations = tally.operations() as f64;
        let kinds: Vec<usize> = (0..tally.times.len()).collect();
        Self {
            value: operations / tally.seconds,
            p50: tally.quantile(&kinds, 0.5),
            p99: tally.quantile(&kinds, 0.99),
            server_cpu: after.cpu - before.cpu,
            client_cpu: Some(tally.client_cpu),
            operations,
            bytes,
            peak: after.peak,
            note: String::new(),
        }
    }

    /// The same with the flow of bytes as its figure.
    pub fn flowing(self, seconds: f64) -> Self {
        Self { value: self.bytes / seconds, ..self }
    }
}

/// Whether a measurement counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The first one: short, and what it reads or pushes is checked.
    WarmUp,
    Timed,
}

type Measure = Box<dyn Fn(&mut Arena, Peer, Phase) -> Result<Sample>>;

pub struct Row {
    pub name: &'static str,
    /// What it is, in words: the sequence of requests, the sizes, the client.
    pub title: String,
    pub unit: Unit,
    pub peers: &'static [Peer],
    pub goals: Vec<Goal>,
    pub how_often: HowOften,
    pub measure: Measure,
}

/// How often a row is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HowOften {
    /// Once to warm up, then every round.
    Warm,
    /// Every round, each over an empty folder.
    Cold,
    /// In the first round alone.
    Once,
}

/// All rows.
pub fn all(arena: &Arena) -> Vec<Row> {
    let mut rows = bulk::rows(arena);
    rows.extend(small::rows());
    rows.extend(pushes::rows(arena));
    rows.extend(mixed::rows());
    rows.extend(pages::rows(arena));
    rows.extend(crane::rows(arena));
    rows.extend(http2::rows(arena));
    rows.extend(memory::rows(arena));
    rows
}
