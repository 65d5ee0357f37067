//! The audit log.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{Listing, admin::run};
use crate::{
    adapter::control::{AuditCommand, Command},
    config::Span,
    model::Timestamp,
};

#[derive(Subcommand)]
pub(super) enum Audit {
    /// List who did what, when, from where and by which credential, and what was denied; newest first
    ///
    /// Every change of rights or content is on record, every write that was denied, refused sign-ins, and downloads where
    /// the setting `audit.reads` is on. Rows are kept as long as the setting `audit.keep` says.
    List(Options),
}

#[derive(Args)]
pub(super) struct Options {
    /// Only what happened to this user or organization and its packages
    #[arg(long, value_name = "NAME")]
    owner: Option<String>,
    /// Only what happened to this package
    #[arg(long, value_name = "OWNER/NAME")]
    package: Option<String>,
    /// Only what concerns the installation itself: accounts made and removed, sign-ins refused
    #[arg(long, conflicts_with_all = ["owner", "package"])]
    installation: bool,
    /// Only what this user did, or `operator`, `anonymous`, `job:NAME`
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// Only actions that begin so, e.g. `package.role` or `token.`
    #[arg(long, value_name = "PREFIX")]
    action: Option<String>,
    /// Only what happened less long ago, e.g. 12h or 7d
    #[arg(long, value_name = "SPAN")]
    since: Option<Span>,
    /// Only what happened longer ago
    #[arg(long, value_name = "SPAN")]
    until: Option<Span>,
    /// Only what was denied
    #[arg(long)]
    denied: bool,
    /// Most rows
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    limit: usize,
    /// Go on where the last page ended, as it said
    #[arg(long, value_name = "PLACE")]
    after: Option<String>,
    #[command(flatten)]
    listing: Listing,
}

pub(super) fn main(command: Audit) -> ExitCode {
    let Audit::List(options) = command;
    let now = Timestamp::now();
    let ago = |span: Option<Span>| {
        span.map(|span| now.0.saturating_sub(u64::try_from(span.0.as_millis()).unwrap_or(u64::MAX)))
    };
    let asked = AuditCommand {
        owner: options.owner,
        package: options.package,
        installation: options.installation,
        actor: options.actor,
        action: options.action,
        since: ago(options.since),
        until: ago(options.until),
        denied: options.denied,
        after: options.after,
        limit: options.limit,
    };
    run(&options.listing.place, Command::Audit(asked), options.listing.json)
}
