//! Kills the real daemon under load and compares what is left with what it acknowledged.
//!
//!     cargo test --test kill -- [--seconds S] [--kills N] [--seed N] [--clients N] [--power]
//!
//! Clients push, resume, mount, tag, delete, restore, set policies and administrate at random, and backups are made; at a random moment the daemon gets SIGKILL and is
//! started again on the same folder. `--power` has the folder on file systems whose power is cut instead, so that what was
//! not synced is lost (root; skipped by name where that cannot be). Decisions come from the seed, which is printed; when
//! requests meet the kill is up to the machine. The program is `$PACKHOUSE_BIN`, or the one of this build.

mod arena;
mod backup;
mod choose;
mod commands;
mod content;
mod daemon;
mod history;
mod http;
mod model;
mod place;
mod rng;
mod round;
mod stats;
mod verify;
mod worker;
mod world;

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use clap::Parser;

use stats::Stats;

pub type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Kills the daemon under load and looks for what is lost.
#[derive(Parser)]
struct Options {
    /// Kills to reach
    #[arg(long)]
    kills: Option<u64>,
    /// Time after which the run ends [default: 45, without --kills]
    #[arg(long)]
    seconds: Option<u64>,
    /// Where all decisions come from [default: the clock]
    #[arg(long)]
    seed: Option<u64>,
    /// Clients at once
    #[arg(long, default_value_t = 12)]
    clients: usize,
    /// Cut the power of the file systems instead
    #[arg(long)]
    power: bool,
    /// Kills before a fresh folder is begun; everything is checked then
    #[arg(long, default_value_t = 60)]
    kills_per_folder: u64,
    /// Longest time between a start and the kill, in milliseconds
    #[arg(long, default_value_t = 400)]
    longest_round: u64,
    /// Where data folders are made [default: the system's place for temporary files]
    #[arg(long)]
    within: Option<PathBuf>,
}

impl Options {
    fn program(&self) -> PathBuf {
        std::env::var_os("PACKHOUSE_BIN")
            .map_or_else(|| env!("CARGO_BIN_EXE_packhouse").into(), PathBuf::from)
    }

    fn over(&self, begun: Instant, kills: u64) -> bool {
        let seconds = self.seconds.or(self.kills.is_none().then_some(45));
        INTERRUPTED.load(SeqCst)
            || self.kills.is_some_and(|most| kills >= most)
            || seconds.is_some_and(|most| begun.elapsed() >= Duration::from_secs(most))
    }
}

/// Set by SIGINT and SIGTERM: the run ends after the round, and cleans up.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

fn heed_signals() {
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else { return };
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let (Ok(mut interrupt), Ok(mut terminate)) =
                (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
            else {
                return;
            };
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            INTERRUPTED.store(true, SeqCst);
        });
    });
}

fn main() -> ExitCode {
    let options = Options::parse();
    let name = if options.power { "power" } else { "kill" };
    if options.power {
        match place::inside() {
            Ok(true) => {}
            Ok(false) => {
                println!("FAIL {name}: {}", place::hand_over());
                return ExitCode::FAILURE;
            }
            Err(why) => {
                println!("SKIP {name}: {why}");
                return ExitCode::SUCCESS;
            }
        }
    }
    heed_signals();
    let clock =
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_nanos() as u64 % 1_000_000);
    let seed = options.seed.unwrap_or(clock);
    println!("{name}: seed {seed}, {} clients, {}", options.clients, options.program().display());
    let stats = Arc::new(Stats::default());
    let begun = Instant::now();
    let outcome = arena::judges_bite().map_err(Into::into).and_then(|()| run(&options, seed, begun, &stats));
    println!("{stats}");
    let took = begun.elapsed().as_secs();
    match outcome {
        Ok(()) if stats.kills.get() == 0 => {
            println!("FAIL {name}: seed {seed}: nothing was killed");
            ExitCode::FAILURE
        }
        Ok(()) => {
            println!("PASS {name}: seed {seed}, {took} s, nothing acknowledged is lost");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("FAIL {name}: seed {seed}, {took} s: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options, seed: u64, begun: Instant, stats: &Arc<Stats>) -> Result {
    for number in 0.. {
        let kills = || stats.kills.get() + stats.stillborn.get();
        if number > 0 && options.over(begun, kills()) {
            break;
        }
        let mut folder = round::Folder::new(options, seed, number, stats)?;
        let outcome = folder.live(|| options.over(begun, kills()));
        if let Err(error) = outcome {
            let kept =
                folder.keep().map_or_else(|error| error.to_string(), |path| path.display().to_string());
            return Err(format!("{error}; what is left is in {kept}").into());
        }
        println!("{:>6} s  {} kills, {}", begun.elapsed().as_secs(), kills(), folder.summary());
    }
    Ok(())
}
