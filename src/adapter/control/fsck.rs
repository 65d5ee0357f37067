//! Checking everything, finding by finding.

use tokio::sync::mpsc;

use super::{Answer, Feed, Line};
use crate::{
    auth::{Grant, Operate},
    error::{Error, Kind, Result},
    registry::{
        Registry,
        fsck::{Checked, Finding, FsckOptions, Repair, Said},
    },
};

/// Runs a check, sends on what it finds, and says what it came to.
pub(super) async fn fsck(
    registry: &Registry,
    grant: &Grant<Operate>,
    options: FsckOptions,
    feed: &Feed,
) -> Result<Answer> {
    let (say, mut heard) = mpsc::channel(16);
    let forward = async move {
        while let Some(said) = heard.recv().await {
            let line = match said {
                Said::Progress(place, seen) => Line::Progress(format!("{place}: {seen} keys and files")),
                Said::Finding(finding) => {
                    Line::Item { text: text(&finding), json: serde_json::json!(finding) }
                }
            };
            let gone = |_| Error::new(Kind::Unavailable, "nobody waits for the check any more");
            feed.send(line).await.map_err(gone)?;
        }
        Ok(())
    };
    let (checked, forwarded) = tokio::join!(registry.fsck(grant, options, say), forward);
    let checked = checked?;
    forwarded?;
    Ok(Answer { note: Some(summary(&checked)), failed: checked.left() > 0, ..Answer::default() })
}

fn text(finding: &Finding) -> String {
    let after = match finding.repair {
        Repair::None => "",
        Repair::Possible => " (--repair mends it)",
        Repair::Done => " (repaired)",
        Repair::Changed => " (changed meanwhile; check again)",
    };
    let Finding { code, severity, object, message, .. } = finding;
    format!("{} {}: {object}: {message}{after}", severity.word(), code.word())
}

fn summary(checked: &Checked) -> String {
    let Checked { keys, files, hashed, found, repaired, waiting } = checked;
    let mut text = format!("{keys} keys and {files} files checked, {hashed} bytes hashed: ");
    text += &match (found, repaired) {
        (0, _) => "all is as promised".to_owned(),
        (1, 0) => "1 finding".to_owned(),
        (found, 0) => format!("{found} findings"),
        (found, repaired) => format!("{found} found, {repaired} repaired"),
    };
    if *waiting > 0 {
        text += &format!("; {waiting} files that nothing points at will go when they are old enough");
    }
    text
}
