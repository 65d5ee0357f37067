//! The question why somebody may do something, or may not.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::{Listing, admin::run};
use crate::{
    adapter::control::{self, Command},
    model::Scope,
};

#[derive(Args)]
pub(super) struct Options {
    /// OWNER/NAME, or TYPE/OWNER/NAME; it need not be there
    package: String,
    /// Who [default: somebody who does not sign in]
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Doing what
    #[arg(long)]
    action: Action,
    /// With a token of this scope; may be repeated [default: all scopes]
    #[arg(long = "scope", value_name = "SCOPE", requires = "user")]
    scopes: Vec<Scope>,
    #[command(flatten)]
    listing: Listing,
}

#[derive(Clone, Copy, ValueEnum)]
enum Action {
    /// Download
    Pull,
    /// Upload, or create the package
    Push,
    /// Delete
    Delete,
    /// Change visibility and roles
    Manage,
}

pub(super) fn explain(options: Options) -> ExitCode {
    let action = match options.action {
        Action::Pull => control::Act::Pull,
        Action::Push => control::Act::Push,
        Action::Delete => control::Act::Delete,
        Action::Manage => control::Act::Manage,
    };
    let Options { package, user, scopes, listing, .. } = options;
    let asked = control::Explain { package, user, action, scopes };
    run(&listing.place, Command::Explain(asked), listing.json)
}
