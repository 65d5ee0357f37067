//! Administration commands: sent to the running daemon, or, when there is none, run on its folder.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
    process::ExitCode,
};

use super::{Member, Org, Owner, Package, Place, Switch, Token, User, serve};
use crate::{
    adapter::control::{self, Answer, Command, Line, Outcome, SOCKET},
    config::Config,
    error::{Error, Result, What},
};

pub(super) fn user(command: User) -> ExitCode {
    match command {
        User::Add { name, admin, password_stdin, place } => {
            let password = if password_stdin { password().map(Some) } else { Ok(None) };
            with(password, |password| run(&place, Command::UserAdd { name, admin, password }, false))
        }
        User::Password { name, password_stdin: _, place } => {
            with(password(), |password| run(&place, Command::UserPassword { name, password }, false))
        }
        User::List(listing) => run(&listing.place, Command::UserList, listing.json),
        User::Suspend { name, undo, place } => {
            run(&place, Command::UserSuspend { name, suspended: !undo }, false)
        }
        User::Remove { name, place } => run(&place, Command::UserRemove { name }, false),
    }
}

pub(super) fn org(command: Org) -> ExitCode {
    match command {
        Org::Add { name, owner, place } => run(&place, Command::OrgAdd { name, owner }, false),
        Org::List(listing) => run(&listing.place, Command::OrgList, listing.json),
        Org::Member(Member::Add { org, user, owner, place }) => {
            run(&place, Command::OrgMember { org, user, owner: Some(owner) }, false)
        }
        Org::Member(Member::Remove { org, user, place }) => {
            run(&place, Command::OrgMember { org, user, owner: None }, false)
        }
        Org::Member(Member::List { org, listing }) => {
            run(&listing.place, Command::OrgMembers { org }, listing.json)
        }
    }
}

pub(super) fn owner(command: Owner) -> ExitCode {
    match command {
        Owner::AnonymousReads { name, allowed, place } => {
            run(&place, Command::OwnerAnonymousReads { name, allowed: allowed == Switch::On }, false)
        }
    }
}

pub(super) fn token(command: Token) -> ExitCode {
    match command {
        Token::Create { user, scopes, expires, place } => {
            run(&place, Command::TokenCreate { user, scopes, lifetime: expires.0.as_secs() }, false)
        }
        Token::List { user, listing } => run(&listing.place, Command::TokenList { user }, listing.json),
        Token::Revoke { id, place } => run(&place, Command::TokenRevoke { id }, false),
    }
}

pub(super) fn package(command: Package) -> ExitCode {
    match command {
        Package::List { owner, listing } => run(&listing.place, Command::PackageList { owner }, listing.json),
        Package::Visibility { package, visibility, place } => {
            run(&place, Command::PackageVisibility { package, visibility }, false)
        }
        Package::Grant { package, principal, role, place } => {
            run(&place, Command::PackageGrant { package, principal, role: role.role() }, false)
        }
    }
}

fn with<T>(input: Result<T>, work: impl FnOnce(T) -> ExitCode) -> ExitCode {
    match input {
        Ok(value) => work(value),
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// A password from the first line of standard input; never from an argument, which every user of the machine can see.
fn password() -> Result<String> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(Error::internal)?;
    let password = line.trim_end_matches(['\n', '\r']);
    if password.is_empty() {
        return Err(Error::invalid(What::Request, "no password on standard input"));
    }
    Ok(password.to_owned())
}

/// Does what a command asks, shows what it says and gives, and how it ended.
pub(super) fn run(place: &Place, command: Command, json: bool) -> ExitCode {
    let config = match place.load() {
        Ok(config) => config,
        Err(error) => return super::usage(&error),
    };
    match send(&config, command, json) {
        Ok(Ok(answer)) => {
            show(&answer, json);
            if answer.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Ok(Err(refusal)) => {
            complain(&refusal);
            ExitCode::FAILURE
        }
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Asks the daemon that serves the folder; without one, opens the folder itself, which keeps a daemon from starting on it
/// until the command is done.
fn send(config: &Config, command: Command, json: bool) -> Result<Outcome> {
    let data = &config.server.data;
    match UnixStream::connect(data.join(SOCKET)) {
        Ok(stream) => ask(stream, &command, json).map_err(|cause| {
            Error::new(crate::error::Kind::Unavailable, "the daemon did not answer").because(cause)
        }),
        Err(cause) if absent(&cause) => locally(config, data, command, json),
        Err(cause) => {
            let text = format!("the daemon's socket in {} cannot be used", data.display());
            Err(Error::new(crate::error::Kind::Unavailable, text).because(cause))
        }
    }
}

fn absent(cause: &std::io::Error) -> bool {
    matches!(cause.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused)
}

fn ask(mut stream: UnixStream, command: &Command, json: bool) -> std::io::Result<Outcome> {
    let mut line = serde_json::to_vec(command)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    for line in BufReader::new(stream).lines() {
        if let Some(outcome) = said(serde_json::from_str(&line?)?, json) {
            return Ok(outcome);
        }
    }
    Err(std::io::ErrorKind::UnexpectedEof.into())
}

/// Shows what a command says while it runs; gives the outcome when that is what it says.
fn said(line: Line, json: bool) -> Option<Outcome> {
    match line {
        Line::Progress(text) => complain(&text),
        Line::Item { json: value, .. } if json => print(&format!("{value}\n")),
        Line::Item { text, .. } => print(&format!("{text}\n")),
        Line::Ok(answer) => return Some(Ok(answer)),
        Line::Err(refusal) => return Some(Err(refusal)),
    }
    None
}

fn locally(config: &Config, data: &Path, command: Command, json: bool) -> Result<Outcome> {
    if !data.join("meta").is_dir() {
        let text = format!(
            "there is no installation in {}: start one with `packhouse serve --data {0}`, or name another with --data",
            data.display()
        );
        return Err(Error::invalid(What::Request, text));
    }
    serve::runtime()?.block_on(async {
        let registry = serve::open(config)?;
        let (feed, mut lines) = tokio::sync::mpsc::channel(control::WAITING);
        let shown = async move {
            while let Some(line) = lines.recv().await {
                said(line, json);
            }
        };
        let (outcome, ()) = tokio::join!(control::execute(&registry, command, feed), shown);
        Ok(outcome)
    })
}

fn show(answer: &Answer, json: bool) {
    if let Some((columns, rows)) = &answer.table {
        print(&if json { objects(columns, rows) } else { aligned(columns, rows) });
    }
    if let Some(value) = &answer.value {
        print(&format!("{value}\n"));
    }
    if let Some(note) = &answer.note {
        // Beside the value, so that a script that takes standard output gets the value alone.
        complain(note);
    }
}

fn objects(columns: &[String], rows: &[Vec<String>]) -> String {
    let objects: Vec<serde_json::Map<String, serde_json::Value>> = rows
        .iter()
        .map(|row| {
            columns
                .iter()
                .map(|name| name.replace(' ', "_"))
                .zip(row.iter().cloned().map(Into::into))
                .collect()
        })
        .collect();
    format!("{:#}\n", serde_json::json!(objects))
}

fn aligned(columns: &[String], rows: &[Vec<String>]) -> String {
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at)).chain(columns.get(at));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut text = String::new();
    for row in std::iter::once(columns).chain(rows.iter().map(Vec::as_slice)) {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}", width = *width)).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Prints to standard output. A reader that went away (`| head`) is no failure.
pub(super) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Prints to standard error.
pub(super) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "packhouse: {text}");
}
