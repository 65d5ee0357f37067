//! What scrubbing found, and a round of it at once.

use tokio::sync::mpsc;

use super::{Answer, Feed, Line, execute::table};
use crate::{
    auth::{Grant, Operate},
    error::{Error, Kind, Result},
    model::{Digest, Timestamp},
    registry::{
        Registry,
        scrub::{Round, ScrubReport, ScrubSaid},
    },
};

/// Blobs in quarantine that a report lists.
const LISTED: usize = 10_000;
/// Blobs read at once.
const PAGE: usize = 256;

/// Does it.
pub(super) async fn scrub(
    registry: &Registry,
    grant: &Grant<Operate>,
    now: bool,
    feed: &Feed,
) -> Result<Answer> {
    let done = if now { Some(read_all(registry, grant, feed).await?) } else { None };
    let mut rows: Vec<[String; 5]> = Vec::new();
    let mut after: Option<Digest> = None;
    while rows.len() < LISTED {
        let page = registry.quarantined(grant, after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.digest);
        rows.extend(page.iter().map(|blob| {
            [
                blob.digest.to_string(),
                blob.size.to_string(),
                blob.quarantine.damage.word().to_owned(),
                blob.quarantine.since.to_string(),
                blob.packages.join(" "),
            ]
        }));
    }
    let failed = !rows.is_empty();
    let note = match done {
        Some(round) => made(&round),
        None => stands(&registry.scrub_report(grant).await?),
    };
    let answer = table(["digest", "size", "damage", "since", "packages"], rows)?;
    Ok(Answer { note: Some(note), failed, ..answer })
}

async fn read_all(registry: &Registry, grant: &Grant<Operate>, feed: &Feed) -> Result<Round> {
    let (say, mut heard) = mpsc::channel(16);
    let forward = async move {
        while let Some(said) = heard.recv().await {
            let text = match said {
                ScrubSaid::Progress(blobs, bytes) => format!("{blobs} blobs, {bytes} bytes read"),
                ScrubSaid::Damaged(digest, damage) => format!("blob {digest} is damaged: {}", damage.word()),
            };
            let gone = |_| Error::new(Kind::Unavailable, "nobody waits for the round any more");
            feed.send(Line::Progress(text)).await.map_err(gone)?;
        }
        Ok(())
    };
    let (round, forwarded) = tokio::join!(registry.scrub_now(grant, say), forward);
    let round = round?;
    forwarded.map(|()| round)
}

fn made(round: &Round) -> String {
    let Round { blobs, bytes, damaged, healed, .. } = round;
    let mut text = format!("{blobs} blobs read, {bytes} bytes: ");
    text += &match damaged {
        0 => "none was found damaged".to_owned(),
        1 => "1 was found damaged".to_owned(),
        many => format!("{many} were found damaged"),
    };
    if *healed > 0 {
        text += &format!(", {healed} whole again");
    }
    text
}

fn stands(report: &ScrubReport) -> String {
    let mut text = match report.rate {
        0 => "scrubbing is off".to_owned(),
        rate => format!("scrubbing reads {rate} bytes per second"),
    };
    if let Some(round) = &report.scrubbed.round {
        text += &format!("; the round since {} read {} blobs so far", Timestamp(round.began), round.blobs);
    }
    match &report.scrubbed.last {
        Some(last) => text + &format!("; the last round ended at {}: {}", Timestamp(last.ended), made(last)),
        None => text + "; no round has ended yet",
    }
}
