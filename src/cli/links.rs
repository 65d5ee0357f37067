//! Commands about what a package links to.

use std::process::ExitCode;

use clap::Subcommand;

use super::{Listing, Place, Switch, admin::run};
use crate::adapter::control::{Command, LinkCommand};

#[derive(Subcommand)]
pub(super) enum Links {
    /// Show a package: visibility, the source repository it links to, where its roles come from
    Show {
        /// OWNER/NAME, or TYPE/OWNER/NAME
        package: String,
        #[command(flatten)]
        listing: Listing,
    },
    /// Link a package to a source repository of its owner, in place of the one it linked to
    ///
    /// The roles on the package stay its own, unless it is to inherit them. If it inherited them from another repository, it
    /// has none then.
    Link {
        /// OWNER/NAME, or TYPE/OWNER/NAME
        package: String,
        /// OWNER/REPO
        repo: String,
        /// Inherit the roles from the repository at once: those on the package are dropped
        #[arg(long)]
        inherit: bool,
        #[command(flatten)]
        place: Place,
    },
    /// End a package's link, and with it the roles it inherited
    Unlink {
        /// OWNER/NAME, or TYPE/OWNER/NAME
        package: String,
        #[command(flatten)]
        place: Place,
    },
    /// Make a linked package inherit its roles from the source repository, or have its own
    ///
    /// Switching either way drops the roles there were; the events of the package say which. Read and triage on the
    /// repository are read here, write and maintain are write, admin is admin.
    Inherit {
        /// OWNER/NAME, or TYPE/OWNER/NAME
        package: String,
        /// on or off
        on: Switch,
        #[command(flatten)]
        place: Place,
    },
}

pub(super) fn main(command: Links) -> ExitCode {
    let (command, place, json) = match command {
        Links::Show { package, listing } => (LinkCommand::Show { package }, listing.place, listing.json),
        Links::Link { package, repo, inherit, place } => {
            (LinkCommand::Link { package, repo, inherit }, place, false)
        }
        Links::Unlink { package, place } => (LinkCommand::Unlink { package }, place, false),
        Links::Inherit { package, on, place } => {
            (LinkCommand::Inherit { package, on: on == Switch::On }, place, false)
        }
    };
    run(&place, Command::Link(command), json)
}
