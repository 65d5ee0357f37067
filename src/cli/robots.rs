//! Commands about robots.

use std::process::ExitCode;

use clap::Subcommand;

use super::{Listing, Place, admin::run, tokens::Limits};
use crate::{
    adapter::control::{Command, RobotCommand},
    config::Span,
    model::Scope,
};

#[derive(Subcommand)]
pub(super) enum Robot {
    /// Make a robot of a user or an organization
    Create {
        /// The robot: 1 to 39 letters, digits and single hyphens behind its owner's name, e.g. acme+ci
        #[arg(value_name = "OWNER+NAME")]
        robot: String,
        #[command(flatten)]
        place: Place,
    },
    /// List the robots of a user or an organization
    List {
        /// Whose
        owner: String,
        #[command(flatten)]
        listing: Listing,
    },
    /// Refuse a robot, whatever its tokens; its roles stay
    Suspend {
        /// The robot
        #[arg(value_name = "OWNER+NAME")]
        robot: String,
        /// Let the robot back in
        #[arg(long)]
        undo: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Remove a robot with its tokens and its roles
    Remove {
        /// The robot
        #[arg(value_name = "OWNER+NAME")]
        robot: String,
        #[command(flatten)]
        place: Place,
    },
    /// Make a token for a robot and print it, alone, on standard output
    ///
    /// List and end them with `packhouse token list --user OWNER+NAME` and `packhouse token revoke`.
    Token {
        /// The robot
        #[arg(value_name = "OWNER+NAME")]
        robot: String,
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
}

pub(super) fn main(command: Robot) -> ExitCode {
    let (command, place, json) = match command {
        Robot::Create { robot, place } => (RobotCommand::Create { robot }, place, false),
        Robot::List { owner, listing } => (RobotCommand::List { owner }, listing.place, listing.json),
        Robot::Suspend { robot, undo, place } => {
            (RobotCommand::Suspend { robot, suspended: !undo }, place, false)
        }
        Robot::Remove { robot, place } => (RobotCommand::Remove { robot }, place, false),
        Robot::Token { robot, scopes, expires, limits, place } => {
            let (lifetime, limits) = (expires.0.as_secs(), limits.asked());
            (RobotCommand::Token { robot, scopes, lifetime, limits }, place, false)
        }
    };
    run(&place, Command::Robot(command), json)
}
