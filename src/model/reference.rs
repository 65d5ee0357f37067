//! What names a manifest in a repository: a tag or a digest.

use std::fmt;

use super::digest::Digest;
use crate::error::{Error, Result, What};

/// A tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}` (distribution-spec, "Pulling manifests"). Case matters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

impl Tag {
    /// Longest tag, in bytes.
    pub const MAX: usize = 128;

    /// Reads a tag or says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self> {
        let mut bytes = text.bytes();
        let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
        let rest = bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
        if first && rest && text.len() <= Self::MAX {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::invalid(
            What::Tag,
            "a tag is 1 to 128 letters, digits, '_', '.' or '-', and begins with a letter, digit or '_'",
        ))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A tag or a digest. A tag can hold no colon, so text with one is a digest or an error, never a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// A movable name.
    Tag(Tag),
    /// The content's own name.
    Digest(Digest),
}

impl Reference {
    /// Reads a tag or a digest.
    pub fn parse(text: &str) -> Result<Self> {
        if text.contains(':') {
            Digest::parse(text).map(Self::Digest)
        } else {
            Tag::parse(text).map(Self::Tag)
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}
