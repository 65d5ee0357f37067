//! Commands about second factors.

use std::process::ExitCode;

use clap::Subcommand;

use super::{Place, admin::run};
use crate::adapter::control::{Command, FactorCommand};

#[derive(Subcommand)]
pub(super) enum Factor {
    /// Begin one: prints the key for an authenticator app, and recovery codes
    Begin {
        /// The user
        name: String,
        /// What the app shows beside the user's name
        #[arg(long, default_value = "Packhouse")]
        issuer: String,
        #[command(flatten)]
        place: Place,
    },
    /// Make it count, by a first code of the app: the user then signs in with PASSWORD,CODE
    Confirm {
        /// The user
        name: String,
        /// What the app shows now
        code: String,
        #[command(flatten)]
        place: Place,
    },
    /// Take it away, for somebody who lost the app and the recovery codes
    Remove {
        /// The user
        name: String,
        #[command(flatten)]
        place: Place,
    },
}

pub(super) fn main(command: Factor) -> ExitCode {
    let (place, command) = match command {
        Factor::Begin { name, issuer, place } => (place, FactorCommand::Begin { user: name, issuer }),
        Factor::Confirm { name, code, place } => (place, FactorCommand::Confirm { user: name, code }),
        Factor::Remove { name, place } => (place, FactorCommand::Remove { user: name }),
    };
    run(&place, Command::Factor(command), false)
}
