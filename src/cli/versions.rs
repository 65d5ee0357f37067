//! Commands about versions of packages, and about what was deleted.

use std::process::ExitCode;

use clap::Subcommand;

use super::{Listing, Place, admin::run};
use crate::adapter::control::{Command, VersionCommand};

#[derive(Subcommand)]
pub(super) enum Versions {
    /// List the versions of a package, the newest first
    #[command(name = "versions")]
    List {
        /// OWNER/NAME, or TYPE/OWNER/NAME
        package: String,
        /// List the deleted versions that can be restored instead
        #[arg(long)]
        deleted: bool,
        #[command(flatten)]
        listing: Listing,
    },
    /// Delete a package, one version with its tags, or one tag; it can be restored for a while
    ///
    /// How long is the setting trash.keep, 30 days by default. A deleted package's name is free at once. A version that an
    /// index names is not deleted; delete the index first.
    Delete {
        /// PACKAGE, PACKAGE@DIGEST or PACKAGE:TAG
        #[arg(value_name = "PACKAGE[:TAG|@DIGEST]")]
        what: String,
        #[command(flatten)]
        place: Place,
    },
    /// Restore a deleted package, version or tag
    ///
    /// A version comes back with the tags that went with it, except those that name something else by now; an index with
    /// its deleted versions. A package is not restored while another one has its name.
    Restore {
        /// PACKAGE, PACKAGE@DIGEST or PACKAGE:TAG
        #[arg(value_name = "PACKAGE[:TAG|@DIGEST]")]
        what: String,
        /// Which package, where several of the name were deleted [default: the last]
        #[arg(long)]
        id: Option<String>,
        #[command(flatten)]
        place: Place,
    },
}

pub(super) fn main(command: Versions) -> ExitCode {
    match command {
        Versions::List { package, deleted, listing } => {
            let command = VersionCommand::List { package, deleted };
            run(&listing.place, Command::Version(command), listing.json)
        }
        Versions::Delete { what, place } => {
            run(&place, Command::Version(VersionCommand::Delete { what }), false)
        }
        Versions::Restore { what, id, place } => {
            run(&place, Command::Version(VersionCommand::Restore { what, id }), false)
        }
    }
}
