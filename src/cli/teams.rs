//! Commands about teams.

use std::process::ExitCode;

use clap::Subcommand;

use super::{Listing, Place, admin::run};
use crate::adapter::control::{Command, TeamCommand};

#[derive(Subcommand)]
pub(super) enum Team {
    /// Add a team to an organization
    Add {
        /// The team: 1 to 39 letters, digits and single hyphens behind its organization's name
        #[arg(value_name = "ORG/TEAM")]
        team: String,
        /// The team it is in, by its own name: its members then have what that one is given, too
        #[arg(long, value_name = "TEAM")]
        under: Option<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Remove a team, with its members and its roles; refused while there are teams in it
    Remove {
        /// The team
        #[arg(value_name = "ORG/TEAM")]
        team: String,
        #[command(flatten)]
        place: Place,
    },
    /// Put a team into another one of its organization, or at the top
    Nest {
        /// The team
        #[arg(value_name = "ORG/TEAM")]
        team: String,
        /// The team it is to be in, by its own name
        #[arg(long, value_name = "TEAM", required_unless_present = "top")]
        under: Option<String>,
        /// Put it at the top, in no other team
        #[arg(long, conflicts_with = "under")]
        top: bool,
        #[command(flatten)]
        place: Place,
    },
    /// List the teams of an organization
    List {
        /// The organization
        org: String,
        #[command(flatten)]
        listing: Listing,
    },
    /// Show the teams above a team, who is in it, and the packages it has roles on
    Show {
        /// The team
        #[arg(value_name = "ORG/TEAM")]
        team: String,
        #[command(flatten)]
        listing: Listing,
    },
    /// Add, list and remove a team's members
    #[command(subcommand)]
    Member(Member),
}

#[derive(Subcommand)]
pub(super) enum Member {
    /// Put a member of the organization into a team
    Add {
        /// The team
        #[arg(value_name = "ORG/TEAM")]
        team: String,
        /// The user
        user: String,
        /// The user says who else is in this team, and in those below it
        #[arg(long)]
        maintainer: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Take a user out of a team
    Remove {
        /// The team
        #[arg(value_name = "ORG/TEAM")]
        team: String,
        /// The user
        user: String,
        #[command(flatten)]
        place: Place,
    },
    /// List who is in a team
    List {
        /// The team
        #[arg(value_name = "ORG/TEAM")]
        team: String,
        #[command(flatten)]
        listing: Listing,
    },
}

pub(super) fn main(command: Team) -> ExitCode {
    let (command, place, json) = match command {
        Team::Add { team, under, place } => (TeamCommand::Add { team, parent: under }, place, false),
        Team::Remove { team, place } => (TeamCommand::Remove { team }, place, false),
        Team::Nest { team, under, top: _, place } => {
            (TeamCommand::Nest { team, parent: under }, place, false)
        }
        Team::List { org, listing } => (TeamCommand::List { org }, listing.place, listing.json),
        Team::Show { team, listing } => (TeamCommand::Show { team }, listing.place, listing.json),
        Team::Member(Member::Add { team, user, maintainer, place }) => {
            (TeamCommand::Member { team, user, maintainer: Some(maintainer) }, place, false)
        }
        Team::Member(Member::Remove { team, user, place }) => {
            (TeamCommand::Member { team, user, maintainer: None }, place, false)
        }
        Team::Member(Member::List { team, listing }) => {
            (TeamCommand::Members { team }, listing.place, listing.json)
        }
    };
    run(&place, Command::Team(command), json)
}
