//! Backups, asked for at the command line.

use std::path::PathBuf;

use super::Answer;
use crate::{
    auth::Caller,
    error::{Error, Kind, Result},
    registry::{Notes, Registry, check_backup},
};

/// Makes a backup; reads it whole again if that is wanted.
pub(super) async fn backup(
    registry: &Registry,
    caller: &Caller,
    into: PathBuf,
    verify: bool,
    notes: Notes<'_>,
) -> Result<Answer> {
    let began = std::time::Instant::now();
    let grant = registry.policy().authorize_system(caller)?;
    let done = registry.backup(&grant, into, notes).await?;
    let (made, totals, added) = (&done.made, &done.made.totals, &done.made.added);
    if verify {
        notes("reading it back");
        let folder = made.folder.clone();
        let read = tokio::task::spawn_blocking(move || check_backup(&folder, &|_| ()));
        read.await.map_err(Error::internal)??;
    }
    let summary = format!(
        "{}: {} blobs and {} metadata files, {} bytes{}; new: {} linked, {} copied, {} bytes; {:.1} s",
        made.folder.display(),
        totals.blobs,
        totals.files,
        totals.bytes,
        if verify { ", every digest compared" } else { "" },
        added.linked,
        added.copied,
        added.bytes,
        began.elapsed().as_secs_f64(),
    );
    if totals.absent == 0 {
        return super::done(summary);
    }
    let shown = done.absent.iter().map(|digest| format!("\n  {digest}")).collect::<String>();
    let text = format!(
        "{summary}\nthe backup is good but for {} blobs that the registry records and cannot read:{shown}",
        totals.absent
    );
    Err(Error::new(Kind::NotFound(crate::error::What::Blob), text))
}
