//! `packhouse fsck`.

use std::process::ExitCode;

use clap::Args;

use super::{Place, admin};
use crate::adapter::control::Command;

/// What `packhouse fsck` takes.
#[derive(Args)]
pub(super) struct Options {
    /// Read and hash all stored bytes, too; takes as long as the disk needs for them
    #[arg(long)]
    deep: bool,
    /// Repair what can be repaired without losing anything: index entries, missing reviews, counts; damaged blobs are put
    /// in quarantine, where the next push of them repairs them
    #[arg(long)]
    repair: bool,
    /// Print each finding as a line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

pub(super) fn fsck(options: &Options) -> ExitCode {
    let Options { deep, repair, json, place } = options;
    admin::run(place, Command::Fsck { deep: *deep, repair: *repair }, *json)
}
