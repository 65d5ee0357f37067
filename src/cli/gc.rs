//! `packhouse gc`.

use std::{
    collections::BTreeMap,
    io::IsTerminal as _,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Args;

use super::{
    Listing,
    admin::{self, complain, print, run},
    way::Way,
};
use crate::{
    adapter::control::{Answer, Command, Gc},
    error::Result,
    model::Timestamp,
};

/// What `packhouse gc` takes.
#[derive(Args)]
#[group(id = "what", multiple = false)]
pub(super) struct Options {
    /// List what would be collected now, and how many bytes; change nothing
    #[arg(long, group = "what")]
    dry_run: bool,
    /// Collect what is due now, at full speed, and say what went
    #[arg(long, group = "what")]
    now: bool,
    /// Stop collecting until --resume, also across restarts
    #[arg(long, group = "what")]
    pause: bool,
    /// Go on collecting
    #[arg(long, group = "what")]
    resume: bool,
    #[command(flatten)]
    listing: Listing,
}

pub(super) fn gc(options: &Options) -> ExitCode {
    let Listing { place, json } = &options.listing;
    let command = match options {
        Options { now: true, .. } => return now(options),
        Options { dry_run: true, .. } => Gc::DryRun,
        Options { pause: true, .. } => Gc::Pause { paused: true },
        Options { resume: true, .. } => Gc::Pause { paused: false },
        _ => Gc::State,
    };
    run(place, Command::Gc(command), *json)
}

/// How often progress is shown.
const PROGRESS: Duration = Duration::from_secs(1);

fn now(options: &Options) -> ExitCode {
    let config = match options.listing.place.load() {
        Ok(config) => config,
        Err(error) => return super::usage(&error),
    };
    let outcome = Way::open(&config).and_then(|mut way| collect(&mut way));
    match outcome {
        Ok(Ok(total)) => {
            if options.listing.json {
                print(&format!("{:#}\n", serde_json::json!([total])));
            }
            complain(&summary(&total));
            ExitCode::SUCCESS
        }
        Ok(Err(refusal)) => {
            complain(&refusal);
            ExitCode::FAILURE
        }
        Err(error) => {
            admin::complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

type Figures = BTreeMap<String, u64>;

/// Slice after slice, until nothing that was due at the beginning is left.
fn collect(way: &mut Way) -> Result<std::result::Result<Figures, String>> {
    let until = Timestamp::now().0;
    let mut total = Figures::new();
    let mut shown = Instant::now();
    loop {
        let Answer { figures, .. } = match way.ask(Command::Gc(Gc::Now { until }), false)? {
            Ok(answer) => answer,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let mut more = false;
        for (name, value) in figures {
            match name.as_str() {
                "more" => more = value != 0,
                // What is left is as of the last slice; what was done adds up.
                name if name.starts_with("left_") => _ = total.insert(name.to_owned(), value),
                _ => *total.entry(name).or_default() += value,
            }
        }
        if !more {
            return Ok(Ok(total));
        }
        if std::io::stderr().is_terminal() && shown.elapsed() >= PROGRESS {
            shown = Instant::now();
            complain(&format!("so far: {}", summary(&total)));
        }
    }
}

fn summary(total: &Figures) -> String {
    let of = |name: &str| total.get(name).copied().unwrap_or(0);
    let mut text = format!(
        "collected {} blobs of {} bytes ({} looked at); deleted {} files, {} bytes freed",
        of("collected"),
        of("collected_bytes"),
        of("reviewed"),
        of("deleted"),
        of("freed_bytes"),
    );
    if of("left_trash") > 0 {
        text.push_str(&format!(
            "; {} files of {} bytes wait in the trash for gc.grace to pass",
            of("left_trash"),
            of("left_trash_bytes")
        ));
    }
    if of("postponed") > 0 {
        text.push_str(&format!("; {} could not be looked at: see the log", of("postponed")));
    }
    text
}
