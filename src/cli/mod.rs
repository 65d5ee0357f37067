//! The command line. Its words are stable: scripts depend on them. Exit codes: 0 done, 1 refused or failed, 2 usage.

mod admin;
mod audit;
mod backup;
mod explain;
mod factors;
mod fsck;
mod gc;
mod links;
mod policy;
mod repositories;
mod robots;
mod scrub;
mod serve;
mod teams;
mod tokens;
mod versions;
mod way;
mod workflows;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    config::{Config, Overrides},
    error::Result,
    model::{Role, Visibility},
};

/// A self-hosted package registry: what docker, podman, helm and oras push to and pull from.
#[derive(Parser)]
#[command(name = "packhouse", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Top,
}

#[derive(Subcommand)]
enum Top {
    /// Run the daemon
    ///
    /// The first line on standard output says where it listens. The first start on an empty data folder creates the
    /// user `admin` and prints its password once.
    Serve(serve::Options),
    /// Add, list, suspend and remove users
    #[command(subcommand)]
    User(User),
    /// Add organizations and their members
    #[command(subcommand)]
    Org(Org),
    /// Add teams of an organization, fill them, put them into one another
    ///
    /// A team is given roles on its organization's packages (`packhouse package grant acme/app team:acme/core write`). Who is
    /// in a team has its roles, and those of all teams above it.
    #[command(subcommand)]
    Team(teams::Team),
    /// Record source repositories: what packages link to, and who has which role on them
    ///
    /// The source itself is elsewhere. A role on a repository is given to users and to teams of its owner
    /// (`packhouse repo grant acme/app team:acme/core write`).
    #[command(subcommand)]
    Repo(repositories::Repo),
    /// Mint, list and revoke tokens of a source repository's workflows
    ///
    /// Jobs whose CI issues tokens need none: see `packhouse repo trust`.
    #[command(subcommand)]
    WorkflowToken(workflows::WorkflowToken),
    /// Make robots: accounts for machines that sign in with tokens alone and have the roles they are given
    ///
    /// A robot belongs to a user or an organization and goes with it. It is given roles by its name, like a user: `packhouse
    /// package grant acme/app acme+ci write`.
    #[command(subcommand)]
    Robot(robots::Robot),
    /// Settings of a user or an organization as an owner of packages
    #[command(subcommand)]
    Owner(Owner),
    /// Create, list and revoke tokens: what docker login and CI jobs sign in with
    #[command(subcommand)]
    Token(tokens::Token),
    /// List, delete and restore packages and their versions, and say who may read and write them
    #[command(subcommand)]
    Package(Package),
    /// Say why somebody may do something to a package, or may not
    ///
    /// The answer is what a request would get, with the rule that gives or denies it and every role the user has there.
    /// Exits with 1 when it is denied.
    Explain(explain::Options),
    /// Show the audit log: who did what, when, from where, and what was denied
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Say which tags are immutable and which versions go by themselves
    #[command(subcommand)]
    Policy(policy::Policy),
    /// Say how the collection of unused blobs stands, run it now, pause it
    ///
    /// Blobs that no manifest names and nobody uploaded lately are collected by themselves while the daemon runs; nothing
    /// has to stop for it. Untagged manifests, and what they name, stay. Without an option: whether it runs, how far it is
    /// behind, and what it did since the daemon started.
    Gc(gc::Options),
    /// See whether the machine's clock is believed, and say that it is right
    #[command(subcommand)]
    Clock(Clock),
    /// Copy everything into a folder of backups, while the daemon runs or not
    ///
    /// The first backup into a folder takes everything; each further one takes what is new and leaves the earlier ones as
    /// they are. Where the folder is on the data's own file system, blobs get a second name instead of a copy: quick, and
    /// no protection from that disk. A backup holds all passwords' hashes and the keys that sign tokens: keep it secret.
    Backup(backup::Backup),
    /// Write one package as an OCI image layout: all tags, all manifests, everything they name
    ///
    /// What skopeo, oras and crane read: `skopeo copy oci:DIR:TAG …`, `oci-archive:FILE:TAG` for a tar archive.
    Export(backup::Export),
    /// Read an OCI image layout, a folder or a tar archive, into a package
    ///
    /// By the same doors as a push: every digest is compared, what is there already is left alone, and it may be repeated.
    Import(backup::Import),
    /// Make a backup a data folder, or only see whether that would work
    ///
    /// The data folder must be absent or empty. Every byte is compared with its digest on the way. Users, tokens and
    /// permissions are those of the backup; uploads that were on their way begin again.
    Restore(backup::Restore),
    /// Say which blobs the disk has damaged, or read all of them now
    ///
    /// The daemon reads every blob in the background, at the speed of the setting `scrub.rate`. A damaged one is served no
    /// more; the next push of it repairs it. Exits with 1 when there are damaged blobs.
    Scrub(scrub::Options),
    /// Check that everything stored is as promised, with the daemon running or stopped
    ///
    /// Findings go to standard output, one a line; progress goes to standard error. Exits with 0 when there is none, or all
    /// were repaired; with 1 when some are left. With --repair this is also how an index is rebuilt from its records.
    Fsck(fsck::Options),
    /// Read the configuration, say what is wrong with it, print what is in force
    CheckConfig(Place),
}

/// Which installation a command is about. It may be running or stopped.
#[derive(Args)]
struct Place {
    /// The data folder [default: the configuration's]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "PACKHOUSE_CONFIG")]
    config: Option<PathBuf>,
}

impl Place {
    fn load(&self) -> Result<Config> {
        let mut overrides = Overrides::default();
        overrides.set("server.data", self.data.as_ref().map(|data| data.display().to_string()));
        Config::load(self.config.as_deref(), &overrides)
    }
}

/// Which installation, and how a list is printed.
#[derive(Args)]
struct Listing {
    #[command(flatten)]
    place: Place,
    /// Print a JSON array of objects instead of columns
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum User {
    /// Add a user; without --password-stdin a password is made and printed
    Add {
        /// 1 to 39 letters, digits and single hyphens
        name: String,
        /// The user administers the installation: accounts, not other people's packages
        #[arg(long)]
        admin: bool,
        /// Read the password from the first line of standard input
        #[arg(long)]
        password_stdin: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Set a user's password; whatever was signed in with the old one is signed out
    Password {
        /// The user
        name: String,
        /// Read the password from the first line of standard input
        #[arg(long, required = true)]
        password_stdin: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Ask a user for a code of an authenticator app at sign-in
    #[command(subcommand)]
    SecondFactor(factors::Factor),
    /// List the users
    List(Listing),
    /// Refuse a user by every way of signing in; what it owns stays
    Suspend {
        /// The user
        name: String,
        /// Let the user back in
        #[arg(long)]
        undo: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Give a user another name; its packages are pushed to under that, and still pulled under the old one
    Rename {
        /// The name it has
        name: String,
        /// The name it is to have
        to: String,
        #[command(flatten)]
        place: Place,
    },
    /// Remove a user; refused while it owns packages
    Remove {
        /// The user
        name: String,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Subcommand)]
enum Org {
    /// Add an organization
    Add {
        /// 1 to 39 letters, digits and single hyphens
        name: String,
        /// The user that owns it
        #[arg(long, value_name = "USER")]
        owner: String,
        #[command(flatten)]
        place: Place,
    },
    /// Give an organization another name; its packages are pushed to under that, and still pulled under the old one
    Rename {
        /// The name it has
        name: String,
        /// The name it is to have
        to: String,
        #[command(flatten)]
        place: Place,
    },
    /// Remove an organization and its teams; refused while it owns packages
    Remove {
        /// The organization
        name: String,
        #[command(flatten)]
        place: Place,
    },
    /// List the organizations
    List(Listing),
    /// Show an organization's settings
    Show {
        /// The organization
        name: String,
        #[command(flatten)]
        listing: Listing,
    },
    /// Give every member a role on all of an organization's packages, or none
    BaseRole {
        /// The organization
        name: String,
        /// What members may do with every package
        role: BaseRole,
        #[command(flatten)]
        place: Place,
    },
    /// Add, list and remove members
    #[command(subcommand)]
    Member(Member),
}

#[derive(Clone, Copy, ValueEnum)]
enum BaseRole {
    /// What they are given
    None,
    /// Download
    Read,
    /// Upload and move tags too
    Write,
}

#[derive(Subcommand)]
enum Member {
    /// Make a user a member: it may create packages in the organization
    Add {
        /// The organization
        org: String,
        /// The user
        user: String,
        /// Make it an owner: it administers the organization and all its packages
        #[arg(long)]
        owner: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Take a user out of an organization, its teams, and its roles on the organization's packages
    Remove {
        /// The organization
        org: String,
        /// The user
        user: String,
        #[command(flatten)]
        place: Place,
    },
    /// List the members
    List {
        /// The organization
        org: String,
        #[command(flatten)]
        listing: Listing,
    },
}

#[derive(Subcommand)]
enum Owner {
    /// List names that accounts had and that nobody else can take
    ///
    /// An account that has another name is still found under the one before, by those who pull; the name of a removed account
    /// that had public packages leads nowhere. Both are held until they are freed.
    Names(Listing),
    /// Free such a name: whoever takes it gets what is meant for that name from then on
    FreeName {
        /// The name
        name: String,
        #[command(flatten)]
        place: Place,
    },
    /// Let callers without credentials read the owner's public packages, or only those who signed in
    AnonymousReads {
        /// A user or an organization
        name: String,
        /// on or off
        allowed: Switch,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    /// Allow it
    On,
    /// Forbid it
    Off,
}

#[derive(Subcommand)]
enum Package {
    /// List the packages, all or one owner's
    List {
        /// A user or an organization
        owner: Option<String>,
        /// List the deleted packages that can be restored instead
        #[arg(long)]
        deleted: bool,
        #[command(flatten)]
        listing: Listing,
    },
    /// Let everybody read a package, or nobody without a role
    Visibility {
        /// OWNER/NAME, or TYPE/OWNER/NAME
        package: String,
        /// public or private
        visibility: Visibility,
        #[command(flatten)]
        place: Place,
    },
    /// Give a user, a robot, a team, all members of an organization, or the workflows of a source repository a role on a package, or
    /// take it away
    Grant {
        /// OWNER/NAME, or TYPE/OWNER/NAME
        package: String,
        /// USER, OWNER+ROBOT, user:USER, robot:OWNER+ROBOT, team:ORG/TEAM, org:ORG or repo:OWNER/REPO; a team is of the organization that owns the package
        principal: String,
        /// What it may do
        role: Granted,
        #[command(flatten)]
        place: Place,
    },
    /// List the roles given on a package
    Roles {
        /// OWNER/NAME, or TYPE/OWNER/NAME
        package: String,
        #[command(flatten)]
        listing: Listing,
    },
    #[command(flatten)]
    Links(links::Links),
    #[command(flatten)]
    Versions(versions::Versions),
}

#[derive(Subcommand)]
enum Clock {
    /// Say whether the clock shows what it should; exits with 1 while it does not
    ///
    /// A clock that jumps, or that is far ahead after the machine was off, is not believed: leases, trash, deleted
    /// versions and tokens are kept until it is right again or accepted.
    Show(Place),
    /// Say that the clock is right as it is: what is due by it is deleted from now on
    Accept(Place),
}

#[derive(Clone, Copy, ValueEnum)]
enum Granted {
    /// Download
    Read,
    /// Upload and move tags too
    Write,
    /// Delete and manage too
    Admin,
    /// Nothing of its own
    None,
}

impl Granted {
    fn role(self) -> Option<Role> {
        match self {
            Self::Read => Some(Role::Read),
            Self::Write => Some(Role::Write),
            Self::Admin => Some(Role::Admin),
            Self::None => None,
        }
    }
}

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    // On a mistake, clap prints what is wrong and exits with 2.
    match Cli::parse().command {
        Top::Serve(options) => serve::serve(&options),
        Top::User(command) => admin::user(command),
        Top::Org(command) => admin::org(command),
        Top::Team(command) => teams::main(command),
        Top::Repo(command) => repositories::main(command),
        Top::Audit(command) => audit::main(command),
        Top::WorkflowToken(command) => workflows::main(command),
        Top::Robot(command) => robots::main(command),
        Top::Explain(options) => explain::explain(options),
        Top::Owner(command) => admin::owner(command),
        Top::Token(command) => tokens::main(command),
        Top::Package(command) => admin::package(command),
        Top::Policy(command) => policy::main(command),
        Top::Gc(options) => gc::gc(&options),
        Top::Clock(command) => admin::clock(&command),
        Top::Backup(options) => backup::backup(&options),
        Top::Export(options) => backup::export(&options),
        Top::Import(options) => backup::import(&options),
        Top::Restore(options) => backup::restore(&options),
        Top::Scrub(options) => scrub::scrub(&options),
        Top::Fsck(options) => fsck::fsck(&options),
        Top::CheckConfig(place) => check_config(&place),
    }
}

fn check_config(place: &Place) -> ExitCode {
    match place.load().and_then(|config| config.show()) {
        Ok(text) => {
            admin::print(&text);
            ExitCode::SUCCESS
        }
        Err(error) => usage(&error),
    }
}

/// A configuration that cannot work is a mistake of whoever started the command.
fn usage(error: &crate::error::Error) -> ExitCode {
    admin::complain(&error.to_string());
    ExitCode::from(2)
}
