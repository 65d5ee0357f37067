//! Backing up and restoring a whole installation; taking one package out and in.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;

use super::{Place, admin, serve};
use crate::{
    adapter::control::Command,
    error::Result,
    store::backup::{self, Damaged},
};

/// What `packhouse backup` takes.
#[derive(Args)]
pub(super) struct Backup {
    /// The folder of backups; made if it is missing. Not inside the data folder, nor around it
    folder: PathBuf,
    /// Then read the whole backup and compare every digest
    #[arg(long)]
    verify: bool,
    #[command(flatten)]
    place: Place,
}

/// What `packhouse restore` takes.
#[derive(Args)]
pub(super) struct Restore {
    /// A folder of backups, of which the newest is taken, or one backup in it
    folder: PathBuf,
    /// Read the whole backup, compare every digest, and write nothing
    #[arg(long)]
    check: bool,
    /// Leave out blobs that are damaged in the backup, and name them, instead of refusing; whoever pushes one again repairs
    /// it. Damaged metadata is refused in any case
    #[arg(long, conflicts_with = "check")]
    skip_damaged: bool,
    #[command(flatten)]
    place: Place,
}

/// What `packhouse export` takes.
#[derive(Args)]
pub(super) struct Export {
    /// OWNER/NAME, or TYPE/OWNER/NAME
    package: String,
    /// An empty folder; made if it is missing
    #[arg(required_unless_present = "tar")]
    folder: Option<PathBuf>,
    /// Write a tar archive instead
    #[arg(long, value_name = "FILE", conflicts_with = "folder")]
    tar: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

/// What `packhouse import` takes.
#[derive(Args)]
pub(super) struct Import {
    /// OWNER/NAME; made if it is missing
    package: String,
    /// A folder with a layout, or a tar archive of one
    from: PathBuf,
    #[command(flatten)]
    place: Place,
}

pub(super) fn export(options: &Export) -> ExitCode {
    let archive = options.tar.is_some();
    let command = options.place.load().and_then(|config| {
        let path = options.tar.as_ref().or(options.folder.as_ref());
        let into = absolute(path.map_or(Path::new(""), PathBuf::as_path))?;
        backup::apart(&config.server.data, &into)?;
        Ok(Command::Export { package: options.package.clone(), into, archive })
    });
    match command {
        Ok(command) => admin::run(&options.place, command, false),
        Err(error) => failed(&error),
    }
}

pub(super) fn import(options: &Import) -> ExitCode {
    match absolute(&options.from) {
        Ok(from) => {
            let command = Command::Import { package: options.package.clone(), from };
            admin::run(&options.place, command, false)
        }
        Err(error) => failed(&error),
    }
}

/// The daemon has a working folder of its own.
fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(crate::error::Error::internal)
}

pub(super) fn backup(options: &Backup) -> ExitCode {
    let command = options.place.load().and_then(|config| {
        let into = absolute(&options.folder)?;
        backup::apart(&config.server.data, &into)?;
        Ok(Command::Backup { into, verify: options.verify })
    });
    match command {
        Ok(command) => admin::run(&options.place, command, false),
        Err(error) => failed(&error),
    }
}

pub(super) fn restore(options: &Restore) -> ExitCode {
    match restored(options) {
        Ok(found) => {
            if !found.absent.is_empty() {
                admin::complain(&format!(
                    "{} blobs could not be read when the backup was made, and are not in it:\n  {}",
                    found.totals.absent,
                    found.absent.join("\n  ")
                ));
            }
            if !found.damaged.is_empty() {
                admin::complain(&format!("{} blobs are damaged and were left out", found.damaged.len()));
            }
            let whole = found.absent.is_empty() && found.damaged.is_empty();
            if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => failed(&error),
    }
}

fn restored(options: &Restore) -> Result<backup::Checked> {
    let began = std::time::Instant::now();
    let (found, verb) = if options.check {
        (backup::check(&options.folder, &admin::complain)?, "is good")
    } else {
        let config = options.place.load()?;
        let damaged = if options.skip_damaged { Damaged::LeaveOut } else { Damaged::Refuse };
        let found = backup::restore(&options.folder, &config.server.data, damaged, &admin::complain)?;
        // A restart of the daemon would do without: a session is looked after when it is used. But then a check finds it.
        serve::runtime()?.block_on(serve::open(&config)?.restart_lost_uploads())?;
        (found, "is restored")
    };
    admin::complain(&format!(
        "{} {verb}: {} blobs and {} metadata files, {} bytes, every digest compared; taken {}; {:.1} s",
        found.folder.display(),
        found.totals.blobs,
        found.totals.files,
        found.totals.bytes,
        crate::model::Timestamp(found.head.begun),
        began.elapsed().as_secs_f64(),
    ));
    Ok(found)
}

fn failed(error: &crate::error::Error) -> ExitCode {
    admin::complain(&error.to_string());
    ExitCode::FAILURE
}
