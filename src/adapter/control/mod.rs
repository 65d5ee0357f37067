//! The control protocol: the command line's way to a running daemon, over the unix socket in its data folder.
//!
//! A connection carries one command, a line of JSON, and one answer, another line; before it, lines that say how far the
//! work came. The same commands run without a daemon
//! over the same code: [`execute()`] is all there is to them. Whoever may open the socket, or the data folder, is the
//! machine's administrator; so every command runs as the operator, and the grants it needs are asked for all the same.

mod backup;
mod execute;
mod gc;
mod versions;

use std::{path::PathBuf, sync::Arc};

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
};

pub use execute::execute;
pub use gc::Gc;
pub use versions::VersionCommand;

use crate::{
    model::{Role, Scope, Visibility},
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
    /// Makes a token.
    TokenCreate {
        /// Whose.
        user: String,
        /// What for.
        scopes: Vec<Scope>,
        /// Seconds it lives.
        lifetime: u64,
    },
    /// Lists a user's tokens.
    TokenList {
        /// Whose.
        user: String,
    },
    /// Ends a token.
    TokenRevoke {
        /// Its id in the list.
        id: String,
    },
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
        /// To whom: `NAME` or `KIND:NAME`.
        principal: String,
        /// The role; `None` takes it away.
        role: Option<Role>,
    },
    /// Makes a backup.
    Backup {
        /// The folder of backups, absolute.
        into: PathBuf,
        /// Whether all of it is read again.
        verify: bool,
    },
    /// Lists, deletes and restores versions, tags and packages.
    Version(VersionCommand),
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
}

/// An answer, or the sentence of a refusal.
pub type Outcome = std::result::Result<Answer, String>;

/// What the daemon writes: sentences on the way, then the outcome.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Said {
    /// How far it came.
    Note(String),
    /// The end.
    #[serde(untagged)]
    Outcome(Outcome),
}

/// Told how far the work came.
pub type Notes<'a> = crate::registry::Notes<'a>;

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
    let outcome: Outcome = match serde_json::from_str(&line) {
        Ok(command) => work(registry, command, &mut writer).await?,
        Err(cause) => {
            Err(format!("this daemon does not know the command; is it of the same version? ({cause})"))
        }
    };
    write_line(&mut writer, &Said::Outcome(outcome)).await?;
    writer.shutdown().await
}

/// Does it, and passes on what it says on the way: the last sentence, when there is one to write. A command line that went
/// away is met here, and ends the work at its next await.
async fn work(
    registry: &Registry,
    command: Command,
    writer: &mut (impl AsyncWriteExt + Unpin),
) -> std::io::Result<Outcome> {
    let (sender, mut notes) = tokio::sync::watch::channel(String::new());
    let note = |text: &str| sender.send_modify(|last| text.clone_into(last));
    let mut work = std::pin::pin!(execute(registry, command, &note));
    loop {
        tokio::select! {
            outcome = &mut work => return Ok(outcome),
            changed = notes.changed() => {
                if changed.is_ok() {
                    let text = notes.borrow_and_update().clone();
                    write_line(writer, &Said::Note(text)).await?;
                }
            }
        }
    }
}

async fn write_line(writer: &mut (impl AsyncWriteExt + Unpin), said: &Said) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(said)?;
    line.push(b'\n');
    writer.write_all(&line).await
}
