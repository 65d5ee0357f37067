//! The load harness: Packhouse and its peers side by side, in alternating rounds, under one small client.
//!
//!     make bench                                    # everything, about an hour
//!     cargo bench --bench load -- --rows manifest   # some rows
//!     cargo bench --bench load -- --smoke           # whether it works, in seconds
//!
//! Packhouse runs as an installation would, with every sync and a token checked at each request; only the limits of rates are
//! off. Peers are at their defaults, without access logs. Those that are not here are named. What is read and pushed is compared
//! with its digest outside the timed windows.

mod client;
mod content;
mod peers;
mod report;
mod rows;
mod scripts;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;

use peers::Peer;
use report::{About, Found};
use rows::{Arena, HowOften, Phase, Row};

pub type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Measures Packhouse and its peers.
#[derive(Parser, Clone)]
struct Options {
    /// Rows whose name holds one of these words
    #[arg(long, value_delimiter = ',')]
    rows: Vec<String>,
    /// Peers to measure beside packhouse, by name [default: all that are here]
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// Rounds, each with every peer in turn
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of one measurement
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Where data folders are made
    #[arg(long, default_value = env!("CARGO_TARGET_TMPDIR"))]
    within: PathBuf,
    /// Bytes of the big blob
    #[arg(long, default_value_t = 1 << 30)]
    bulk_size: u64,
    /// Bytes of a layer that crane pulls
    #[arg(long, default_value_t = 8 << 20)]
    layer_size: u64,
    /// Tags of the shorter list; the longer one has ten times as many
    #[arg(long, default_value_t = 10_000)]
    tags: usize,
    /// Slow pulls at once
    #[arg(long, default_value_t = 1000)]
    slow_pulls: usize,
    /// Slow pushes at once beside them
    #[arg(long, default_value_t = 200)]
    slow_pushes: usize,
    /// How long they last
    #[arg(long, default_value_t = 60.0)]
    memory_seconds: f64,
    /// Tiny sizes, packhouse, nginx and the bare loop alone
    #[arg(long)]
    smoke: bool,
    /// Where the report goes as JSON [default: load.json in the target folder]
    #[arg(long)]
    json: Option<PathBuf>,
    /// Where the picture goes [default: load.svg in the target folder]
    #[arg(long)]
    svg: Option<PathBuf>,
    /// List the rows and the peers
    #[arg(long)]
    list: bool,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    fn given() -> Self {
        let mut options = Self::parse();
        if options.smoke {
            options.rounds = 1;
            options.seconds = 0.05;
            options.bulk_size = 2 << 20;
            options.layer_size = 32 << 10;
            options.tags = 200;
            options.slow_pulls = 20;
            options.slow_pushes = 4;
            options.memory_seconds = 1.0;
            options.peers = ["nginx", "bare", "bare-unsynced"].map(str::to_owned).into();
        }
        options
    }

    fn wants(&self, row: &Row) -> bool {
        // Programs that a fresh machine lacks have no place in the short run.
        let foreign = ["crane", "h2load", "tmpfs"].iter().any(|word| row.name.contains(word));
        let named = self.rows.is_empty() || self.rows.iter().any(|word| row.name.contains(word.as_str()));
        named && !(self.smoke && foreign)
    }

    fn wants_peer(&self, peer: Peer) -> bool {
        peer == Peer::Ours || self.peers.is_empty() || self.peers.iter().any(|name| name == peer.name())
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let done = match arguments.get(1).map(String::as_str) {
        Some("bare") => {
            let root = PathBuf::from(arguments.get(2).map_or(".", String::as_str));
            peers::bare::serve(&root, arguments.iter().any(|argument| argument == "--sync")).map(|()| true)
        }
        _ => measure(Options::given()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures what is asked for and writes the reports. False: something could not be measured.
fn measure(options: Options) -> Result<bool> {
    let mut about = about(&options);
    let mut present = Vec::new();
    for peer in Peer::ALL.into_iter().filter(|peer| options.wants_peer(*peer)) {
        match peer.program() {
            Ok(_) => present.push(peer),
            Err(why) => about.absent.push(format!("{}: {why}", peer.name())),
        }
    }
    let mut arena = Arena::new(options)?;
    let rows: Vec<Row> = rows::all(&arena).into_iter().filter(|row| arena.options.wants(row)).collect();
    if arena.options.list {
        for row in rows {
            println!("{:<22}{}", row.name, row.title);
        }
        println!("peers: {present:?}; absent: {:?}", about.absent);
        return Ok(true);
    }
    let mut all: Vec<Found> = Vec::new();
    for row in rows {
        let found = measure_row(&mut arena, row, &present);
        all.push(found);
        // Each row is shown when it is there: a run takes long.
        if let Some(found) = all.last() {
            eprintln!("{}", report::text::row(found, &all));
        }
    }
    arena.clear();
    print!("{}", report::text(&about, &all));
    let within = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let json = arena.options.json.clone().unwrap_or_else(|| within.join("load.json"));
    std::fs::write(&json, format!("{:#}\n", report::json(&about, &all)))?;
    let svg = arena.options.svg.clone().unwrap_or_else(|| within.join("load.svg"));
    std::fs::write(&svg, report::picture(&about, &all))?;
    println!("{} {}", json.display(), svg.display());
    Ok(all.iter().all(|found| found.errors.is_empty()))
}

fn measure_row(arena: &mut Arena, row: Row, present: &[Peer]) -> Found {
    let peers: Vec<Peer> = row.peers.iter().copied().filter(|peer| present.contains(peer)).collect();
    let results = peers.iter().map(|peer| (*peer, Vec::new())).collect();
    let mut found = Found { row, results, errors: Vec::new() };
    let rounds = if found.row.how_often == HowOften::Once { 1 } else { arena.options.rounds };
    let first = usize::from(found.row.how_often != HowOften::Warm);
    for round in first..=rounds {
        // The machine's mood changes: who comes first changes too.
        let mut turns: Vec<usize> = (0..peers.len()).collect();
        turns.rotate_left(round % peers.len().max(1));
        for turn in turns {
            let (peer, samples) = &mut found.results[turn];
            if found.errors.iter().any(|(failed, _)| failed == peer) {
                continue;
            }
            let phase = if round == 0 { Phase::WarmUp } else { Phase::Timed };
            match (found.row.measure)(arena, *peer, phase) {
                Ok(sample) if phase == Phase::Timed => samples.push(sample),
                Ok(_) => {}
                Err(error) => found.errors.push((*peer, error.to_string())),
            }
        }
    }
    found.results.retain(|(_, samples)| !samples.is_empty());
    found
}

fn about(options: &Options) -> About {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = read("/proc/meminfo");
    let kilobytes = memory.split_whitespace().nth(1).and_then(|number| number.parse::<f64>().ok());
    About {
        date: httpdate::fmt_http_date(std::time::SystemTime::now()),
        machine: format!(
            "{cores} cores of {}, {}, Linux {}",
            model.trim_start_matches([' ', '\t', ':']),
            report::bytes(kilobytes.unwrap_or(0.0) * 1024.0),
            read("/proc/sys/kernel/osrelease").trim()
        ),
        load: read("/proc/loadavg").split_whitespace().take(3).collect::<Vec<_>>().join(" "),
        rounds: options.rounds,
        seconds: options.seconds,
        absent: Vec::new(),
    }
}
