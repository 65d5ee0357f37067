//! The question why somebody may do something, or may not.

use std::{net::IpAddr, process::ExitCode};

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
    /// With this token, by its id in `packhouse token list`
    #[arg(long, value_name = "ID", conflicts_with_all = ["user", "scopes"])]
    token: Option<String>,
    /// From this address [default: one that the token may be used from]
    #[arg(long, value_name = "ADDRESS", requires = "token")]
    from: Option<IpAddr>,
    #[command(flatten)]
    listing: Listing,
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Action {
    /// Download
    Pull,
    /// Upload, or create the package
    Push,
    /// Delete
    Delete,
    /// Change visibility and roles
    Manage,
}

impl Action {
    pub(super) fn act(self) -> control::Act {
        match self {
            Self::Pull => control::Act::Pull,
            Self::Push => control::Act::Push,
            Self::Delete => control::Act::Delete,
            Self::Manage => control::Act::Manage,
        }
    }
}

pub(super) fn explain(options: Options) -> ExitCode {
    let Options { package, user, action, scopes, token, from, listing } = options;
    let asked = control::Explain { package, user, action: action.act(), scopes, token, from };
    run(&listing.place, Command::Explain(asked), listing.json)
}
