//! The control protocol: the command line's way to a running daemon, over the unix socket in its data folder.
//!
//! A connection carries one command, a line of JSON, and one answer, another line; what a long command says before it is
//! done comes in lines between them ([`Line`]). The same commands run without a daemon
//! over the same code: [`execute()`] is all there is to them. Whoever may open the socket, or the data folder, is the
//! machine's administrator; so every command runs as the operator, and the grants it needs are asked for all the same.

mod audit;
mod backup;
mod execute;
mod explain;
mod factors;
mod fsck;
mod gc;
mod layout;
mod links;
mod names;
mod policy;
mod repositories;
mod robots;
mod scrub;
mod teams;
mod tokens;
mod versions;
mod workflows;

use std::{path::PathBuf, sync::Arc};

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    sync::mpsc,
};

pub use audit::AuditCommand;
pub use execute::execute;
pub use explain::{Act, Explain};
pub use factors::FactorCommand;
pub use gc::Gc;
pub use links::LinkCommand;
pub use names::NameCommand;
pub use policy::{PolicyCommand, Wanted};
pub use repositories::RepoCommand;
pub use robots::RobotCommand;
pub use teams::{OrgCommand, TeamCommand};
pub use tokens::{AskedLimits, TokenCommand};
pub use versions::VersionCommand;
pub use workflows::{AskedTrust, WorkflowCommand};

use crate::{
    model::{Role, Visibility},
    registry::Registry,
};

/// Name of the socket in the data folder.
pub const SOCKET: &str = "control.sock";
/// Longest command, in bytes.
const MAX: u64 = 1 << 20;

/// What can be asked. Not `Debug`: passwords pass through it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Command {
    /// Adds a user; without a password one is made.
    UserAdd {
        /// Its name.
        name: String,
        /// Whether it administers the installation.
        admin: bool,
        /// Its password.
        password: Option<String>,
    },
    /// Sets a user's password.
    UserPassword {
        /// Its name.
        name: String,
        /// The new password.
        password: String,
    },
    /// Second factors.
    Factor(FactorCommand),
    /// Lists the users.
    UserList,
    /// Suspends a user, or lets it back in.
    UserSuspend {
        /// Its name.
        name: String,
        /// Suspend it, or not.
        suspended: bool,
    },
    /// Removes a user that owns nothing.
    UserRemove {
        /// Its name.
        name: String,
    },
    /// Adds an organization.
    OrgAdd {
        /// Its name.
        name: String,
        /// The user that owns it.
        owner: String,
    },
    /// Lists the organizations.
    OrgList,
    /// Makes a user a member, an owner, or neither.
    OrgMember {
        /// The organization.
        org: String,
        /// The user.
        user: String,
        /// `Some(true)` an owner, `Some(false)` a member, `None` neither.
        owner: Option<bool>,
    },
    /// Lists the members of an organization.
    OrgMembers {
        /// The organization.
        org: String,
    },
    /// Lets callers without credentials read an owner's public packages, or not.
    OwnerAnonymousReads {
        /// A user or an organization.
        name: String,
        /// Let them, or not.
        allowed: bool,
    },
    /// Makes, lists and ends tokens.
    Token(TokenCommand),
    /// Lists packages.
    PackageList {
        /// Of one owner.
        owner: Option<String>,
    },
    /// Makes a package public or private.
    PackageVisibility {
        /// Which.
        package: String,
        /// Who may read it.
        visibility: Visibility,
    },
    /// Collection of what nothing holds.
    Gc(Gc),
    /// Gives somebody a role on a package, or takes it away.
    PackageGrant {
        /// Which.
        package: String,
        /// To whom: `NAME`, `user:NAME`, `team:ORGANIZATION/TEAM` or `org:NAME`.
        principal: String,
        /// The role; `None` takes it away.
        role: Option<Role>,
    },
    /// Says whether the clock is believed.
    ClockShow,
    /// Believes the clock as it is.
    ClockAccept,
    /// Writes a package as an OCI image layout.
    Export {
        /// Which.
        package: String,
        /// Where to, absolute.
        into: PathBuf,
        /// Whether that is a tar archive, and not a folder.
        archive: bool,
    },
    /// Reads one into a package.
    Import {
        /// Which.
        package: String,
        /// Where from, absolute: a folder or a tar archive.
        from: PathBuf,
    },
    /// Makes a backup.
    Backup {
        /// The folder of backups, absolute.
        into: PathBuf,
        /// Whether all of it is read again.
        verify: bool,
    },
    /// Says how scrubbing stands, or reads everything at once.
    Scrub {
        /// Now.
        now: bool,
    },
    /// Checks everything that is stored.
    Fsck {
        /// All bytes, too.
        deep: bool,
        /// Repair what can be repaired without losing anything.
        repair: bool,
    },
    /// Lists, deletes and restores versions, tags and packages.
    Version(VersionCommand),
    /// Shows, sets and follows policies.
    Policy(PolicyCommand),
    /// What else concerns an organization.
    Org(OrgCommand),
    /// Adds, fills, nests, lists and removes teams.
    Team(TeamCommand),
    /// Adds, describes, hands over, lists and removes source repositories.
    Repo(RepoCommand),
    /// Shows what a package links to, links and unlinks it, says where its roles come from.
    Link(LinkCommand),
    /// Trusts jobs of issuers, and makes, lists and ends tokens of workflows.
    Workflow(WorkflowCommand),
    /// Makes, lists, suspends and removes robots, and makes their tokens.
    Robot(RobotCommand),
    /// Lists the roles given on a package.
    PackageRoles {
        /// Which.
        package: String,
    },
    /// Says why somebody may do something, or may not.
    Explain(Explain),
    /// Shows the audit log.
    Audit(AuditCommand),
    /// Changes, lists and frees names of accounts.
    Name(NameCommand),
}

/// What a command gave.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Answer {
    /// A value to print alone: a token, a password.
    pub value: Option<String>,
    /// A sentence for people.
    pub note: Option<String>,
    /// A list: the names of its columns, and its rows.
    pub table: Option<(Vec<String>, Vec<Vec<String>>)>,
    /// Figures for the command line itself, which puts them into words.
    #[serde(default)]
    pub figures: Vec<(String, u64)>,
    /// Whether the command is to end as one that failed, though it did what was asked: a check that found something.
    #[serde(default)]
    pub failed: bool,
}

/// An answer, or the sentence of a refusal.
pub type Outcome = std::result::Result<Answer, String>;

/// A line of the daemon's. The last one is the outcome; those before it are what a long command says while it runs.
#[derive(Debug, Serialize, Deserialize)]
pub enum Line {
    /// How far it is, for people.
    #[serde(rename = "progress")]
    Progress(String),
    /// One of many things it found: for people, and for programs.
    #[serde(rename = "item")]
    Item {
        /// A line of text.
        text: String,
        /// The same for `--json`.
        json: serde_json::Value,
    },
    /// It is done.
    Ok(Answer),
    /// It was refused, or failed.
    Err(String),
}

impl From<Outcome> for Line {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Ok(answer) => Self::Ok(answer),
            Err(refusal) => Self::Err(refusal),
        }
    }
}

/// Where a running command says its lines. One that cannot be sent means that nobody waits for the command any more.
pub type Feed = mpsc::Sender<Line>;

/// Lines that may wait for a reader.
pub const WAITING: usize = 64;

fn done(note: impl Into<String>) -> crate::error::Result<Answer> {
    Ok(Answer { note: Some(note.into()), ..Answer::default() })
}

/// Serves one connection.
pub fn serve(stream: UnixStream, registry: Arc<Registry>) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        if let Err(cause) = converse(stream, &registry).await {
            // The command line went away; what it asked for is done or not, as it will find.
            tracing::debug!(%cause, "control connection");
        }
    })
}

async fn converse(mut stream: UnixStream, registry: &Registry) -> std::io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut line = String::new();
    BufReader::new(reader.take(MAX)).read_line(&mut line).await?;
    let command = match serde_json::from_str(&line) {
        Ok(command) => command,
        Err(cause) => {
            let text = format!("this daemon does not know the command; is it of the same version? ({cause})");
            write(&mut writer, &Line::Err(text)).await?;
            return writer.shutdown().await;
        }
    };
    let (feed, mut lines) = mpsc::channel(WAITING);
    let output = &mut writer;
    // Owns the lines' end: a client that is gone closes it, and that ends a command that says much.
    let forward = async move {
        while let Some(line) = lines.recv().await {
            write(output, &line).await?;
        }
        std::io::Result::Ok(())
    };
    let (outcome, forwarded) = tokio::join!(execute(registry, command, feed), forward);
    forwarded?;
    write(&mut writer, &outcome.into()).await?;
    writer.shutdown().await
}

async fn write(writer: &mut (impl AsyncWriteExt + Unpin), line: &Line) -> std::io::Result<()> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    writer.write_all(&bytes).await
}
