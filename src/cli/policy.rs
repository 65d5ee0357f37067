//! Commands about policies.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{Listing, Place, admin::run};
use crate::{
    adapter::control::{Command, PolicyCommand, Wanted},
    config::Span,
};

#[derive(Subcommand)]
pub(super) enum Policy {
    /// Show the policy of an owner, or of a package and its owner
    Show {
        /// OWNER or PACKAGE
        name: String,
        #[command(flatten)]
        listing: Listing,
    },
    /// Set the whole policy of an owner's packages, or of one package
    ///
    /// Immutable tags can be pushed once and are then neither moved nor deleted, nor are their versions; both policies count, the
    /// package's and its owner's. Versions with tags go, if --keep-last or --keep-younger is given, when nothing keeps them;
    /// a package that has retention rules of its own does not follow its owner's. What an index names stays while the index
    /// does, and goes with it; so do signatures and whatever else refers to a version. What goes can be restored for a while.
    Set {
        /// OWNER or PACKAGE
        name: String,
        #[command(flatten)]
        rules: Rules,
        #[command(flatten)]
        place: Place,
    },
    /// Take the policy of an owner or of a package away
    Clear {
        /// OWNER or PACKAGE
        name: String,
        #[command(flatten)]
        place: Place,
    },
    /// Delete now what the rules let go; the daemon does so every hour
    Run {
        /// OWNER or PACKAGE
        name: String,
        /// Only print what would go, what would stay, and why
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        listing: Listing,
    },
}

/// What a policy says.
#[derive(Args)]
pub(super) struct Rules {
    /// Tags that match are immutable; `*` stands for any characters; may be repeated
    #[arg(long, value_name = "PATTERN")]
    immutable: Vec<String>,
    /// Tags that match are not immutable, although --immutable says so; may be repeated
    #[arg(long, value_name = "PATTERN")]
    except: Vec<String>,
    /// Keep every version of this package, whatever its owner's policy says
    #[arg(long, conflicts_with_all = ["keep_last", "keep_younger", "keep_tag", "untagged_older"])]
    keep_all: bool,
    /// Of the versions with tags, keep the last N
    #[arg(long, value_name = "N")]
    keep_last: Option<u32>,
    /// Keep versions with tags that were pushed or tagged within this time, e.g. 90d
    #[arg(long, value_name = "SPAN")]
    keep_younger: Option<Span>,
    /// Keep versions that have a tag that matches; may be repeated
    #[arg(long, value_name = "PATTERN")]
    keep_tag: Vec<String>,
    /// Let versions go that have no tag, that nothing names, and that are older than this, e.g. 14d
    #[arg(long, value_name = "SPAN")]
    untagged_older: Option<Span>,
}

impl Rules {
    fn wanted(self) -> Wanted {
        let seconds = |span: Span| span.0.as_secs();
        Wanted {
            immutable: self.immutable,
            except: self.except,
            keep_all: self.keep_all,
            keep_last: self.keep_last,
            keep_younger: self.keep_younger.map(seconds),
            keep_tags: self.keep_tag,
            untagged_older: self.untagged_older.map(seconds),
        }
    }
}

pub(super) fn main(command: Policy) -> ExitCode {
    match command {
        Policy::Show { name, listing } => {
            run(&listing.place, Command::Policy(PolicyCommand::Show { name }), listing.json)
        }
        Policy::Set { name, rules, place } => {
            let command = PolicyCommand::Set { name, rules: rules.wanted() };
            run(&place, Command::Policy(command), false)
        }
        Policy::Clear { name, place } => run(&place, Command::Policy(PolicyCommand::Clear { name }), false),
        Policy::Run { name, dry_run, listing } => {
            run(&listing.place, Command::Policy(PolicyCommand::Run { name, dry_run }), listing.json)
        }
    }
}
