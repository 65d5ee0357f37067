//! Commands about source repositories.

use std::{io::Read, path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand, ValueEnum};

use super::{
    Listing, Place,
    admin::{complain, run},
    workflows,
};
use crate::{
    adapter::control::{Command, RepoCommand},
    error::{Error, Result, What},
    model::{RepositoryRole, Visibility},
    registry::repositories::{MAX_README, RepositoryEdit},
};

#[derive(Subcommand)]
pub(super) enum Repo {
    /// Record a source repository of a user or an organization
    Create {
        /// OWNER/REPO: letters, digits, '-', '_' and '.', at most 100 behind the owner
        repo: String,
        #[command(flatten)]
        about: About,
        #[command(flatten)]
        place: Place,
    },
    /// Show what is recorded of a repository
    Show {
        /// OWNER/REPO
        repo: String,
        #[command(flatten)]
        listing: Listing,
    },
    /// List the repositories, all or one owner's
    List {
        /// A user or an organization
        owner: Option<String>,
        #[command(flatten)]
        listing: Listing,
    },
    /// Change what is recorded of a repository; what is not named stays
    Edit {
        /// OWNER/REPO
        repo: String,
        #[command(flatten)]
        about: About,
        #[command(flatten)]
        place: Place,
    },
    /// Give a repository another name; what links to it goes on linking to it
    Rename {
        /// OWNER/REPO
        repo: String,
        /// Its new name, without the owner's
        name: String,
        #[command(flatten)]
        place: Place,
    },
    /// Hand a repository over to another user or organization; all roles on it end
    Transfer {
        /// OWNER/REPO
        repo: String,
        /// Whose it is to be
        owner: String,
        #[command(flatten)]
        place: Place,
    },
    /// Remove a repository with its roles; packages stay
    Delete {
        /// OWNER/REPO
        repo: String,
        #[command(flatten)]
        place: Place,
    },
    /// Give a user or a team a role on a repository, or take it away
    Grant {
        /// OWNER/REPO
        repo: String,
        /// USER, user:USER or team:ORG/TEAM; a team is of the organization that owns the repository
        principal: String,
        /// What it may do
        role: Granted,
        #[command(flatten)]
        place: Place,
    },
    /// List the roles given on a repository
    Roles {
        /// OWNER/REPO
        repo: String,
        #[command(flatten)]
        listing: Listing,
    },
    /// Give jobs of a CI service workflow tokens of the repository, for tokens that the service issues to them
    ///
    /// The daemon believes the issuers of its configuration ([[oidc.issuers]]). A job sends its token to `/-/oidc/exchange` and
    /// gets a short workflow token. Every condition that is given must hold exactly.
    Trust(workflows::Trust),
    /// List which jobs the repository trusts
    Trusts {
        /// OWNER/REPO
        repo: String,
        #[command(flatten)]
        listing: Listing,
    },
    /// End a trust, by its id in the list
    Distrust {
        /// OWNER/REPO
        repo: String,
        /// The id
        id: String,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Args)]
pub(super) struct About {
    /// Who may see it without a role: everybody, the organization's members, nobody [default of a new one: private]
    #[arg(long)]
    visibility: Option<Visibility>,
    /// What it is, in a sentence
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Where its source is; packages that name this address can be linked to it
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// A word to find it by; may be repeated, and replaces those there were
    #[arg(long = "topic", value_name = "WORD")]
    topics: Vec<String>,
    /// It has no topics any more
    #[arg(long, conflicts_with = "topics")]
    no_topics: bool,
    /// Its licence, as an SPDX expression
    #[arg(long, value_name = "SPDX")]
    license: Option<String>,
    /// A file with its README, at most 256 KiB; an empty one removes it
    #[arg(long, value_name = "FILE")]
    readme: Option<PathBuf>,
    /// All this is in line with the source now: the time is recorded
    #[arg(long)]
    synchronized: bool,
}

impl About {
    fn read(self) -> Result<RepositoryEdit> {
        let readme = match self.readme {
            Some(path) => {
                let at = |cause: std::io::Error| {
                    Error::invalid(What::Request, format!("{}: {cause}", path.display()))
                };
                let mut text = String::new();
                // One byte more than there may be, so that a longer one is refused and not cut.
                let mut file = std::fs::File::open(&path).map_err(at)?.take(MAX_README as u64 + 1);
                file.read_to_string(&mut text).map_err(at)?;
                Some(text)
            }
            None => None,
        };
        Ok(RepositoryEdit {
            visibility: self.visibility,
            description: self.description,
            url: self.url,
            topics: (self.no_topics || !self.topics.is_empty()).then_some(self.topics),
            license: self.license,
            readme,
            synced: self.synchronized,
        })
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Granted {
    /// See it
    Read,
    /// The same
    Triage,
    /// Publish packages that name it
    Write,
    /// The same
    Maintain,
    /// Change it and give roles on it
    Admin,
    /// Nothing of its own
    None,
}

impl Granted {
    fn role(self) -> Option<RepositoryRole> {
        match self {
            Self::Read => Some(RepositoryRole::Read),
            Self::Triage => Some(RepositoryRole::Triage),
            Self::Write => Some(RepositoryRole::Write),
            Self::Maintain => Some(RepositoryRole::Maintain),
            Self::Admin => Some(RepositoryRole::Admin),
            Self::None => None,
        }
    }
}

pub(super) fn main(command: Repo) -> ExitCode {
    let (command, place, json) = match command {
        Repo::Trust(trust) => return workflows::trust(trust),
        Repo::Trusts { repo, listing } => return workflows::trusts(repo, &listing),
        Repo::Distrust { repo, id, place } => return workflows::distrust(repo, id, &place),
        Repo::Create { repo, about, place } => match about.read() {
            Ok(about) => (RepoCommand::Create { repo, about }, place, false),
            Err(error) => return unread(&error),
        },
        Repo::Edit { repo, about, place } => match about.read() {
            Ok(about) => (RepoCommand::Edit { repo, about }, place, false),
            Err(error) => return unread(&error),
        },
        Repo::Show { repo, listing } => (RepoCommand::Show { repo }, listing.place, listing.json),
        Repo::List { owner, listing } => (RepoCommand::List { owner }, listing.place, listing.json),
        Repo::Rename { repo, name, place } => (RepoCommand::Rename { repo, name }, place, false),
        Repo::Transfer { repo, owner, place } => (RepoCommand::Transfer { repo, owner }, place, false),
        Repo::Delete { repo, place } => (RepoCommand::Delete { repo }, place, false),
        Repo::Grant { repo, principal, role, place } => {
            (RepoCommand::Grant { repo, principal, role: role.role() }, place, false)
        }
        Repo::Roles { repo, listing } => (RepoCommand::Roles { repo }, listing.place, listing.json),
    };
    run(&place, Command::Repo(command), json)
}

fn unread(error: &Error) -> ExitCode {
    complain(&error.to_string());
    ExitCode::FAILURE
}
