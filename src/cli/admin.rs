//! Administration commands: put into words, and what they give.

use std::{
    io::{BufRead, Write},
    process::ExitCode,
};

use super::{BaseRole, Clock, Member, Org, Owner, Package, Place, Switch, User, links, versions, way::Way};
use crate::{
    adapter::control::{Answer, Command, NameCommand, OrgCommand, VersionCommand},
    error::{Error, Result, What},
    model::Role,
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
        User::SecondFactor(command) => super::factors::main(command),
        User::List(listing) => run(&listing.place, Command::UserList, listing.json),
        User::Suspend { name, undo, place } => {
            run(&place, Command::UserSuspend { name, suspended: !undo }, false)
        }
        User::Rename { name, to, place } => run(&place, Command::Name(NameCommand::User { name, to }), false),
        User::Remove { name, place } => run(&place, Command::UserRemove { name }, false),
    }
}

pub(super) fn org(command: Org) -> ExitCode {
    match command {
        Org::Add { name, owner, place } => run(&place, Command::OrgAdd { name, owner }, false),
        Org::Rename { name, to, place } => {
            run(&place, Command::Name(NameCommand::Organization { name, to }), false)
        }
        Org::Remove { name, place } => run(&place, Command::Org(OrgCommand::Remove { org: name }), false),
        Org::List(listing) => run(&listing.place, Command::OrgList, listing.json),
        Org::Show { name, listing } => {
            run(&listing.place, Command::Org(OrgCommand::Show { org: name }), listing.json)
        }
        Org::BaseRole { name, role, place } => {
            let role = match role {
                BaseRole::None => None,
                BaseRole::Read => Some(Role::Read),
                BaseRole::Write => Some(Role::Write),
            };
            run(&place, Command::Org(OrgCommand::BaseRole { org: name, role }), false)
        }
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
        Owner::Names(listing) => run(&listing.place, Command::Name(NameCommand::Held), listing.json),
        Owner::FreeName { name, place } => run(&place, Command::Name(NameCommand::Free { name }), false),
        Owner::AnonymousReads { name, allowed, place } => {
            run(&place, Command::OwnerAnonymousReads { name, allowed: allowed == Switch::On }, false)
        }
    }
}

pub(super) fn package(command: Package) -> ExitCode {
    match command {
        Package::List { owner, deleted: false, listing } => {
            run(&listing.place, Command::PackageList { owner }, listing.json)
        }
        Package::List { owner, deleted: true, listing } => {
            run(&listing.place, Command::Version(VersionCommand::Packages { owner }), listing.json)
        }
        Package::Roles { package, listing } => {
            run(&listing.place, Command::PackageRoles { package }, listing.json)
        }
        Package::Links(command) => links::main(command),
        Package::Versions(command) => versions::main(command),
        Package::Visibility { package, visibility, place } => {
            run(&place, Command::PackageVisibility { package, visibility }, false)
        }
        Package::Grant { package, principal, role, place } => {
            run(&place, Command::PackageGrant { package, principal, role: role.role() }, false)
        }
    }
}

pub(super) fn clock(command: &Clock) -> ExitCode {
    match command {
        Clock::Show(place) => run(place, Command::ClockShow, false),
        Clock::Accept(place) => run(place, Command::ClockAccept, false),
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
    match Way::open(&config).and_then(|mut way| way.ask(command, json)) {
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
