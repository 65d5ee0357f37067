//! `packhouse scrub`.

use std::process::ExitCode;

use clap::Args;

use super::{Listing, admin};
use crate::adapter::control::Command;

/// What `packhouse scrub` takes.
#[derive(Args)]
pub(super) struct Options {
    /// List the damaged blobs and say when all were read last; this is what it does without --now
    #[arg(long, conflicts_with = "now")]
    report: bool,
    /// Read and hash every blob now, as fast as the disk allows
    #[arg(long)]
    now: bool,
    #[command(flatten)]
    listing: Listing,
}

pub(super) fn scrub(options: &Options) -> ExitCode {
    admin::run(&options.listing.place, Command::Scrub { now: options.now }, options.listing.json)
}
