//! What a check can find: codes that stay what they are, and how bad each is.

use serde::Serialize;

use crate::store::Batch;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Bytes or a record that somebody was promised are gone or wrong.
    Damage,
    /// Records disagree with each other; nothing promised is lost by it yet.
    Inconsistency,
    /// Something takes space that nothing will ever free.
    Leak,
}

impl Severity {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Damage => "damage",
            Self::Inconsistency => "inconsistency",
            Self::Leak => "leak",
        }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])+ $name:ident = $word:literal, $severity:ident;)*) => {
        /// What kind of thing was found. The words are stable: scripts depend on them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[$doc])+ $name,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its word.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }

            /// How bad it is.
            pub fn severity(self) -> Severity {
                match self {
                    $(Self::$name => Severity::$severity,)*
                }
            }
        }
    };
}

codes! {
    /// A stored record cannot be read.
    RecordBroken = "record-broken", Damage;
    /// A record lies under another key than its own.
    RecordMisplaced = "record-misplaced", Damage;
    /// A record is not spelled as this program would write it, so that no change of it can succeed.
    RecordForm = "record-form", Inconsistency;
    /// A key that no record has.
    KeyUnknown = "key-unknown", Inconsistency;
    /// A value that is not of the form its key asks for.
    ValueBroken = "value-broken", Inconsistency;
    /// An index entry that follows from a record is not there.
    IndexMissing = "index-missing", Inconsistency;
    /// An index entry follows from no record.
    IndexStray = "index-stray", Inconsistency;
    /// A blob's bytes are not there.
    BlobMissing = "blob-missing", Damage;
    /// A blob's bytes are fewer or more than recorded.
    BlobSize = "blob-size", Damage;
    /// A blob's bytes do not have its digest.
    BlobAltered = "blob-altered", Damage;
    /// A blob's bytes cannot be read.
    BlobUnreadable = "blob-unreadable", Damage;
    /// A blob is in quarantine: its bytes were found damaged before.
    BlobQuarantined = "blob-quarantined", Damage;
    /// Nothing holds a blob and no review is due that would collect it.
    BlobLeak = "blob-leak", Leak;
    /// Inline bytes that no blob has.
    InlineStray = "inline-stray", Leak;
    /// A manifest's bytes are missing, or do not have its digest or size.
    ManifestBody = "manifest-body", Damage;
    /// A manifest's bytes without its record.
    BodyStray = "body-stray", Damage;
    /// A manifest holds something that is not there.
    EdgeDangling = "edge-dangling", Damage;
    /// A package was promised a blob that is not there.
    LeaseDangling = "lease-dangling", Inconsistency;
    /// A manifest wants what its package holds.
    WantedHeld = "wanted-held", Inconsistency;
    /// A count is less than what it counts.
    CounterLow = "counter-low", Inconsistency;
    /// A tag names a manifest that is not there.
    TagDangling = "tag-dangling", Damage;
    /// A record names an account that is not there, or of another kind.
    AccountMissing = "account-missing", Inconsistency;
    /// A record names a package that is not there.
    PackageMissing = "package-missing", Inconsistency;
    /// A record says that a package has another owner, or owner's name, than it has.
    OwnerWrong = "owner-wrong", Inconsistency;
    /// A role says that its package has another path than it has.
    PathWrong = "path-wrong", Inconsistency;
    /// A record names a team that is not there.
    TeamMissing = "team-missing", Inconsistency;
    /// Somebody is in a team of an organization that it does not belong to.
    TeamStray = "team-stray", Inconsistency;
    /// Teams are in one another in a circle, or across organizations.
    TeamTree = "team-tree", Inconsistency;
    /// A record names a source repository that is not there.
    RepositoryMissing = "repository-missing", Inconsistency;
    /// A package that inherits its roles has some of its own.
    RoleIdle = "role-idle", Inconsistency;
    /// A package without a manifest is listed, or one with manifests is not.
    PackageState = "package-state", Inconsistency;
    /// An upload session claims bytes that are not there.
    UploadShort = "upload-short", Inconsistency;
    /// An upload session cannot be continued.
    UploadState = "upload-state", Inconsistency;
    /// Bytes are in the trash and in use.
    TrashLive = "trash-live", Inconsistency;
    /// Two blobs lie in one place.
    BytesShared = "bytes-shared", Inconsistency;
    /// Bytes in the blob store that nothing points at, past their grace period.
    BytesOrphan = "bytes-orphan", Leak;
    /// Events are missing from the middle of a stream.
    EventGap = "event-gap", Damage;
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

/// What became of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Repair {
    /// Nothing can be done about it that could not lose something.
    None,
    /// It can be repaired, and was not asked to be.
    Possible,
    /// It was repaired.
    Done,
    /// The thing changed before it could be repaired; a repeated check tells.
    Changed,
}

/// Something that is not as the design promises.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind.
    pub code: Code,
    /// How bad.
    pub severity: Severity,
    /// What it is about: a kind of thing and its name.
    pub object: String,
    /// One sentence for a person.
    pub message: String,
    /// What became of it.
    pub repair: Repair,
}

/// A finding, and the conditional batch that repairs it without losing anything, if there is one.
pub(super) struct Found {
    pub(super) finding: Finding,
    pub(super) mend: Option<Batch>,
}

impl Found {
    pub(super) fn new(code: Code, object: impl Into<String>, message: impl Into<String>) -> Self {
        let finding = Finding {
            code,
            severity: code.severity(),
            object: object.into(),
            message: message.into(),
            repair: Repair::None,
        };
        Self { finding, mend: None }
    }

    pub(super) fn mended_by(mut self, batch: Batch) -> Self {
        self.finding.repair = Repair::Possible;
        self.mend = Some(batch);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_in_the_manual() {
        let manual = include_str!("../../../docs/fsck.md");
        let rows = manual.lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(rows, Code::ALL.len());
        for code in Code::ALL {
            let row = format!("| `{}` | {} |", code.word(), code.severity().word());
            assert!(manual.contains(&row), "{row}");
        }
    }

    #[test]
    fn codes_are_words_of_their_own() {
        let words: std::collections::BTreeSet<_> = Code::ALL.iter().map(|code| code.word()).collect();
        assert_eq!(words.len(), Code::ALL.len());
        assert!(words.iter().all(|word| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')));
    }
}
