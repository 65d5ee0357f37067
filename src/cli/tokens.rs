//! Commands about tokens.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use ipnet::IpNet;

use super::{Listing, Place, admin::run, explain::Action};
use crate::{
    adapter::control::{AskedLimits, Command, TokenCommand},
    config::Span,
    model::Scope,
};

#[derive(Subcommand)]
pub(super) enum Token {
    /// Make a token and print it, alone, on standard output
    ///
    /// It may do what its user may, within its scopes and its limits. A token limited to packages or owners still reads what
    /// everybody may read.
    Create {
        /// Whose token it is
        #[arg(long)]
        user: String,
        /// read:packages, write:packages, delete:packages or admin; may be repeated
        #[arg(long = "scope", value_name = "SCOPE", required = true)]
        scopes: Vec<Scope>,
        /// How long it is good for, e.g. 12h or 30d
        #[arg(long, value_name = "SPAN", default_value = "90d")]
        expires: Span,
        #[command(flatten)]
        limits: Limits,
        #[command(flatten)]
        place: Place,
    },
    /// List a user's tokens, without their secrets
    List {
        /// Whose
        #[arg(long)]
        user: String,
        #[command(flatten)]
        listing: Listing,
    },
    /// End a token, by its id in the list; it is refused from the next request on
    Revoke {
        /// The id
        id: String,
        #[command(flatten)]
        place: Place,
    },
}

/// What a token is limited to.
#[derive(Args)]
pub(super) struct Limits {
    /// Good for this package, OWNER/NAME or TYPE/OWNER/NAME, even when it is renamed; may be repeated
    #[arg(long = "package", value_name = "PACKAGE")]
    packages: Vec<String>,
    /// Good for this user or organization and all its packages; may be repeated
    #[arg(long = "owner", value_name = "OWNER")]
    owners: Vec<String>,
    /// Good for this alone, whatever the scopes; may be repeated
    #[arg(long = "action", value_name = "ACTION")]
    actions: Vec<Action>,
    /// Good from this network alone, e.g. 10.2.0.0/16 or 192.0.2.7/32; may be repeated
    #[arg(long = "network", value_name = "NETWORK")]
    networks: Vec<IpNet>,
}

impl Limits {
    pub(super) fn asked(self) -> AskedLimits {
        let Self { packages, owners, actions, networks } = self;
        AskedLimits { packages, owners, actions: actions.into_iter().map(Action::act).collect(), networks }
    }
}

pub(super) fn main(command: Token) -> ExitCode {
    let (command, place, json) = match command {
        Token::Create { user, scopes, expires, limits, place } => {
            let (lifetime, limits) = (expires.0.as_secs(), limits.asked());
            (TokenCommand::Create { user, scopes, lifetime, limits }, place, false)
        }
        Token::List { user, listing } => (TokenCommand::List { user }, listing.place, listing.json),
        Token::Revoke { id, place } => (TokenCommand::Revoke { id }, place, false),
    };
    run(&place, Command::Token(command), json)
}
