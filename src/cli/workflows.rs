//! Commands about tokens of workflows, and about jobs that repositories trust.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

use super::{Listing, Place, admin::run};
use crate::{
    adapter::control::{AskedTrust, Command, WorkflowCommand},
    config::Span,
};

/// What a workflow may do with packages.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Packages {
    /// Download
    Read,
    /// Upload, and delete where the repository administers
    Write,
}

#[derive(Subcommand)]
pub(super) enum WorkflowToken {
    /// Mint a workflow token of a source repository and print it, alone: for CI whose jobs have no token of an issuer
    Mint {
        /// OWNER/REPO
        repo: String,
        /// What it may do
        #[arg(long, default_value = "read")]
        packages: Packages,
        /// How long it is good for, 24h at most
        #[arg(long, value_name = "SPAN", default_value = "1h")]
        ttl: Span,
        #[command(flatten)]
        place: Place,
    },
    /// List a source repository's workflow tokens that are still good
    List {
        /// OWNER/REPO
        repo: String,
        #[command(flatten)]
        listing: Listing,
    },
    /// End a workflow token, by its id in the list
    Revoke {
        /// OWNER/REPO
        repo: String,
        /// The id
        id: String,
        #[command(flatten)]
        place: Place,
    },
}

/// Which jobs are trusted.
#[derive(Args)]
pub(super) struct Trust {
    /// OWNER/REPO: whose workflow tokens the jobs get
    repo: String,
    /// The issuer's address, as it is configured in [[oidc.issuers]]
    #[arg(long, value_name = "URL")]
    issuer: String,
    /// The id of the source repository at the issuer, which never changes; a name could be taken over
    #[arg(long, value_name = "ID")]
    repository_id: String,
    /// Only while its owner has this id
    #[arg(long, value_name = "ID")]
    owner_id: Option<String>,
    /// Only for this branch or tag, exactly, e.g. refs/heads/main
    #[arg(long = "ref", value_name = "REF")]
    reference: Option<String>,
    /// Only for this workflow file, exactly as the issuer's tokens name it
    #[arg(long, value_name = "WORKFLOW")]
    workflow: Option<String>,
    /// Only for this environment
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
    /// Only for jobs started by this; may be repeated [default: what the issuer's kind lets in: pushes, releases, schedules, by hand]
    #[arg(long = "event", value_name = "EVENT")]
    events: Vec<String>,
    /// What the jobs may do
    #[arg(long, default_value = "read")]
    packages: Packages,
    #[command(flatten)]
    place: Place,
}

pub(super) fn trust(trust: Trust) -> ExitCode {
    let asked = AskedTrust {
        repo: trust.repo,
        issuer: trust.issuer,
        source: trust.repository_id,
        owner: trust.owner_id,
        reference: trust.reference,
        workflow: trust.workflow,
        environment: trust.environment,
        events: trust.events.into_iter().collect(),
        write: trust.packages == Packages::Write,
    };
    run(&trust.place, Command::Workflow(WorkflowCommand::Trust(asked)), false)
}

pub(super) fn trusts(repo: String, listing: &Listing) -> ExitCode {
    run(&listing.place, Command::Workflow(WorkflowCommand::Trusts { repo }), listing.json)
}

pub(super) fn distrust(repo: String, id: String, place: &Place) -> ExitCode {
    run(place, Command::Workflow(WorkflowCommand::Distrust { repo, id }), false)
}

pub(super) fn main(command: WorkflowToken) -> ExitCode {
    let (command, place, json) = match command {
        WorkflowToken::Mint { repo, packages, ttl, place } => {
            let (write, lifetime) = (packages == Packages::Write, ttl.0.as_secs());
            (WorkflowCommand::Mint { repo, write, lifetime }, place, false)
        }
        WorkflowToken::List { repo, listing } => {
            (WorkflowCommand::Tokens { repo }, listing.place, listing.json)
        }
        WorkflowToken::Revoke { repo, id, place } => (WorkflowCommand::Revoke { repo, id }, place, false),
    };
    run(&place, Command::Workflow(command), json)
}
