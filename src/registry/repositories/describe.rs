//! What is said of a repository: visibility, description, address, topics, licence, README.

use serde::{Deserialize, Serialize};

use super::check_visibility;
use crate::{
    auth::{Grant, ManageRepository, Subject},
    error::{Error, Kind, Result, What},
    model::{RepositoryId, Timestamp, Visibility, repository::place_of},
    registry::{
        Registry, accounts, events,
        records::{ReadmeRecord, RepositoryRecord},
        revisions::{self, Outcome},
    },
    store::Batch,
};

/// Longest description, in bytes.
const MAX_DESCRIPTION: usize = 512;
/// Longest licence expression, in bytes.
const MAX_LICENSE: usize = 256;
/// Most topics, and the longest, in bytes.
const MAX_TOPICS: (usize, usize) = (20, 50);
/// Longest README, in bytes: it is one value in a batch.
pub const MAX_README: usize = 256 << 10;

/// What is to be said of a repository; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RepositoryEdit {
    /// Who may see it without a role.
    pub visibility: Option<Visibility>,
    /// What it is, in a sentence: one line of at most 512 bytes.
    pub description: Option<String>,
    /// Where its source is: an `http` or `https` address of at most 256 bytes; empty for none.
    pub url: Option<String>,
    /// Words to find it by: at most 20, each of at most 50 lower-case letters, digits and hyphens.
    pub topics: Option<Vec<String>>,
    /// Its licence, as an SPDX expression of at most 256 bytes; empty for none.
    pub license: Option<String>,
    /// Its README, of at most 256 KiB; empty for none.
    pub readme: Option<String>,
    /// That all this is in line with the source now.
    pub synced: bool,
}

impl RepositoryEdit {
    /// Whether it may be said.
    pub(super) fn check(&self) -> Result<()> {
        line("description", self.description.as_deref(), MAX_DESCRIPTION)?;
        line("licence", self.license.as_deref(), MAX_LICENSE)?;
        let url = self.url.as_deref().unwrap_or_default();
        if !url.is_empty() && place_of(url).is_none() {
            return Err(invalid(
                "the address of a repository is http://HOST/PATH or https://HOST/PATH, without user, query or fragment, \
                 of 256 bytes at most",
            ));
        }
        let topics = self.topics.as_deref().unwrap_or_default();
        let word = |topic: &String| {
            let letters = topic.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
            !topic.is_empty() && topic.len() <= MAX_TOPICS.1 && letters && !topic.starts_with('-')
        };
        if topics.len() > MAX_TOPICS.0 || !topics.iter().all(word) {
            return Err(invalid(
                "topics are at most 20 words of 1 to 50 lower-case letters, digits and hyphens, not beginning with one",
            ));
        }
        let readme = self.readme.as_deref().unwrap_or_default();
        if readme.len() > MAX_README {
            let text = format!("a README has at most {MAX_README} bytes");
            return Err(Error::new(Kind::TooLarge(What::Repository), text));
        }
        Ok(())
    }

    /// A repository with this said of it.
    pub(super) fn applied(&self, to: &RepositoryRecord, at: Timestamp) -> RepositoryRecord {
        let mut topics = self.topics.clone().unwrap_or_else(|| to.topics.clone());
        topics.sort();
        topics.dedup();
        RepositoryRecord {
            visibility: self.visibility.unwrap_or(to.visibility),
            description: self.description.clone().unwrap_or_else(|| to.description.clone()),
            url: self.url.clone().unwrap_or_else(|| to.url.clone()),
            topics,
            license: self.license.clone().unwrap_or_else(|| to.license.clone()),
            synced: if self.synced { Some(at.0) } else { to.synced },
            ..to.clone()
        }
    }

    /// Stores the README in place of the one there was; says whether it is another.
    pub(super) fn write_readme(
        &self,
        batch: &mut Batch,
        id: RepositoryId,
        old: Option<&ReadmeRecord>,
    ) -> bool {
        let Some(text) = &self.readme else { return false };
        let new = (!text.is_empty()).then(|| ReadmeRecord { repository: id, text: text.clone() });
        if old == new.as_ref() {
            return false;
        }
        batch.replace(old, new.as_ref());
        true
    }
}

fn invalid(text: impl Into<String>) -> Error {
    Error::invalid(What::Repository, text.into())
}

fn line(what: &str, text: Option<&str>, most: usize) -> Result<()> {
    let text = text.unwrap_or_default();
    if text.len() <= most && !text.chars().any(char::is_control) {
        return Ok(());
    }
    Err(invalid(format!("a {what} is one line of at most {most} bytes")))
}

impl Registry {
    /// Says something else of a repository.
    ///
    /// # Errors
    /// Invalid when it is too long or misspelled, or internal of what a user owns.
    pub async fn edit_repository(
        &self,
        grant: &Grant<ManageRepository>,
        edit: &RepositoryEdit,
    ) -> Result<()> {
        edit.check()?;
        let mut under = self.under(grant);
        loop {
            let old = self.repository_record(grant.target()).await?;
            let new = edit.applied(&old, grant.at());
            let mut batch = Batch::new();
            let readme = self.readme_record(old.id).await?;
            let rewritten = edit.write_readme(&mut batch, old.id, readme.as_ref());
            if old == new && !rewritten {
                return Ok(());
            }
            let stream = events::stream_of_owner(old.owner);
            if old.visibility != new.visibility {
                if let Some(owner) = accounts::by_id(self.meta.as_ref(), old.owner).await? {
                    check_visibility(new.visibility, &owner)?;
                }
                revisions::bump(&mut batch, Subject::Repository(old.id));
                let detail = format!("repository:{} {}", old.id, new.visibility);
                events::rights(&mut batch, stream, grant.caller(), "repository.visibility", detail);
            }
            batch.replace(Some(&old), Some(&new));
            let detail = format!("repository:{} {}", old.id, changed(&old, &new, rewritten).join(","));
            events::rights(&mut batch, stream, grant.caller(), "repository.edit", detail);
            if under.commit(batch).await? == Outcome::Done {
                return Ok(());
            }
        }
    }
}

/// The names of what differs.
fn changed(old: &RepositoryRecord, new: &RepositoryRecord, readme: bool) -> Vec<&'static str> {
    let all = [
        ("visibility", old.visibility != new.visibility),
        ("description", old.description != new.description),
        ("url", old.url != new.url),
        ("topics", old.topics != new.topics),
        ("license", old.license != new.license),
        ("readme", readme),
        ("synced", old.synced != new.synced),
    ];
    all.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}
