//! Which tags are meant: patterns, and exceptions from them.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, What};

/// A pattern of tags: its text, in which each `*` stands for any run of characters, also for none. Nothing else is
/// special, so that matching is a search for the parts between the stars, one after the other, and takes linear time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TagPattern(String);

impl TagPattern {
    /// Longest pattern, in bytes; no tag is longer.
    pub const MAX: usize = 128;

    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self> {
        let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b'*');
        if (1..=Self::MAX).contains(&text.len()) && text.bytes().all(known) {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::invalid(
            What::Tag,
            format!(
                "{text:?} is no pattern of tags: 1 to {} letters, digits, '_', '.', '-', and '*' for any run of them",
                Self::MAX
            ),
        ))
    }

    /// Whether a tag is meant.
    pub fn matches(&self, tag: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else { return self.0 == tag };
        let Some(mut tag) = tag.strip_prefix(first) else { return false };
        // The leftmost place for each part leaves the most for those behind it.
        let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        for part in middle.split('*').filter(|part| !part.is_empty()) {
            let Some(at) = tag.find(part) else { return false };
            tag = &tag[at + part.len()..];
        }
        tag.ends_with(last)
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Patterns, and exceptions from them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TagPatterns {
    /// The tags meant.
    pub tags: Vec<TagPattern>,
    /// Those that are not, although a pattern above names them.
    pub except: Vec<TagPattern>,
}

impl TagPatterns {
    /// Most patterns and exceptions, each.
    pub const MAX: usize = 64;

    /// Reads patterns and exceptions.
    pub fn parse(tags: &[String], except: &[String]) -> Result<Self> {
        if tags.len().max(except.len()) > Self::MAX {
            return Err(Error::invalid(What::Tag, format!("more than {} patterns", Self::MAX)));
        }
        let read = |texts: &[String]| texts.iter().map(|text| TagPattern::parse(text)).collect::<Result<_>>();
        Ok(Self { tags: read(tags)?, except: read(except)? })
    }

    /// The pattern that means a tag, if one does.
    pub fn find(&self, tag: &str) -> Option<&TagPattern> {
        let excepted = self.except.iter().any(|pattern| pattern.matches(tag));
        self.tags.iter().find(|pattern| pattern.matches(tag)).filter(|_| !excepted)
    }

    /// Whether nothing is meant.
    pub fn is_empty(&self) -> bool {
        self.tags.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// By the definition: a star is nothing, or one more character and a star.
    fn by_definition(pattern: &[u8], tag: &[u8]) -> bool {
        match (pattern.split_first(), tag.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), None) => by_definition(rest, tag),
            (Some((b'*', rest)), Some((_, less))) => by_definition(rest, tag) || by_definition(pattern, less),
            (Some((one, rest)), Some((first, less))) => one == first && by_definition(rest, less),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

        #[test]
        fn a_pattern_matches_by_its_definition(pattern in "[ab*]{1,8}", tag in "[ab]{0,10}") {
            let parsed = TagPattern::parse(&pattern).unwrap();
            prop_assert_eq!(parsed.matches(&tag), by_definition(pattern.as_bytes(), tag.as_bytes()));
        }
    }

    #[test]
    fn the_worst_pattern_takes_no_time() {
        let pattern = TagPattern::parse(&"a*".repeat(64)).unwrap();
        let tag = format!("{}b", "a".repeat(127));
        assert!(pattern.matches(&tag));
        assert!(!TagPattern::parse(&format!("{}c", "a*".repeat(63))).unwrap().matches(&tag));
    }

    #[test]
    fn exceptions_win() {
        let text = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let patterns = TagPatterns::parse(&text(&["v*", "*"]), &text(&["latest", "nightly-*"])).unwrap();
        assert_eq!(patterns.find("v1").map(TagPattern::as_str), Some("v*"));
        assert_eq!(patterns.find("x").map(TagPattern::as_str), Some("*"));
        assert!(patterns.find("latest").is_none() && patterns.find("nightly-").is_none());
        for wrong in ["", "v?", "a/b", "ä", "[v]*"] {
            assert!(TagPattern::parse(wrong).is_err(), "{wrong}");
        }
        assert!(TagPattern::parse(&"a".repeat(129)).is_err());
    }
}
