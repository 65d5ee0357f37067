//! Tokens of people (`php_`), refresh tokens (`phr_`), tokens of robots (`phs_`) and of workflows (`phw_`): behind the prefix 32 random base62 characters, and their checksum.
//!
//! The prefix lets a scanner recognize a leaked token, the checksum (GitHub's: CRC-32 of the random part alone, base62,
//! six characters) lets it be certain without asking us, and lets us refuse a mangled one before any lookup. Neither is a
//! security check. What is stored is a hash: 190 random bits need no slow one, so a check on the request path is cheap.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::{error::Result, model::id::random};

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TokenKind {
    /// Made by a person for a purpose, with scopes and an expiry.
    Personal = 1,
    /// Kept by a client instead of a password; good at `/token` only.
    Refresh = 2,
    /// Made for a robot, with scopes and an expiry.
    Robot = 3,
    /// A workflow's, of a source repository: short, and no person's.
    Workflow = 4,
}

impl TokenKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Personal, Self::Refresh, Self::Robot, Self::Workflow];
    /// Those that are good for requests.
    pub const DIRECT: [Self; 3] = [Self::Personal, Self::Robot, Self::Workflow];

    /// The letters in front of the underscore. They never change: scanners know them.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Personal => "php",
            Self::Refresh => "phr",
            Self::Robot => "phs",
            Self::Workflow => "phw",
        }
    }

    /// The word for it in lists.
    pub fn word(self) -> &'static str {
        match self {
            Self::Personal => "personal",
            Self::Refresh => "refresh",
            Self::Robot => "robot",
            Self::Workflow => "workflow",
        }
    }

    /// Reads the byte of a stored record.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == code)
    }
}

/// Under which a token is stored and found: the comparison is a lookup of a hash, so it tells nothing by its timing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash(pub [u8; 32]);

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash")
    }
}

/// A well-formed token: the secret itself. It has no `Display`; whoever shows it says so with [`Self::reveal`].
#[derive(Clone, PartialEq, Eq)]
pub struct TokenSecret {
    kind: TokenKind,
    text: String,
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_…", self.kind.prefix())
    }
}

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const BODY: usize = 32;
const CHECKSUM: usize = 6;

impl TokenSecret {
    /// A fresh one from the operating system's random source.
    pub fn generate(kind: TokenKind) -> Result<Self> {
        let body = random_text(BODY)?;
        let checksum = checksum(body.as_bytes());
        Ok(Self { kind, text: format!("{}_{body}{checksum}", kind.prefix()) })
    }

    /// Reads a token; `None` unless prefix, length, characters and checksum are right.
    pub fn parse(text: &str) -> Option<Self> {
        let (prefix, rest) = text.split_once('_')?;
        let kind = TokenKind::ALL.into_iter().find(|kind| kind.prefix() == prefix)?;
        if rest.len() != BODY + CHECKSUM || !rest.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return None;
        }
        let (body, sum) = rest.split_at(BODY);
        (checksum(body.as_bytes()) == sum).then(|| Self { kind, text: text.to_owned() })
    }

    /// Whether text means to be a token, be it a good one or not.
    pub fn resembles(text: &str) -> bool {
        TokenKind::ALL
            .iter()
            .any(|kind| text.strip_prefix(kind.prefix()).is_some_and(|rest| rest.starts_with('_')))
    }

    /// What it is for.
    pub fn kind(&self) -> TokenKind {
        self.kind
    }

    /// What is stored of it.
    pub fn hash(&self) -> TokenHash {
        let mut hasher = Sha256::new();
        hasher.update(b"packhouse-token-v1\0");
        hasher.update(self.kind.prefix());
        hasher.update(b"\0");
        hasher.update(&self.text);
        TokenHash(hasher.finalize().into())
    }

    /// The last four characters, for listings. They are checksum, so they give nothing of the secret away.
    pub fn tail(&self) -> &str {
        &self.text[self.text.len() - 4..]
    }

    /// The secret, to be shown once.
    pub fn reveal(&self) -> &str {
        &self.text
    }
}

/// Random base62 characters without modulo bias: bytes beyond the largest multiple of 62 are thrown away.
pub(crate) fn random_text(length: usize) -> Result<String> {
    let mut text = String::with_capacity(length);
    while text.len() < length {
        for byte in random::<64>()? {
            if byte < 248 && text.len() < length {
                text.push(char::from(ALPHABET[usize::from(byte % 62)]));
            }
        }
    }
    Ok(text)
}

/// CRC-32 (IEEE) of the body in base62, padded on the left with `0` to six characters.
fn checksum(body: &[u8]) -> String {
    let mut rest = crc32fast::hash(body);
    let mut digits = [b'0'; CHECKSUM];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    digits.iter().copied().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_checksum_is_githubs() {
        // A published, expired token of GitHub's.
        assert_eq!(checksum(b"zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ"), "0mLq17");
    }

    #[test]
    fn tokens_read_back_and_differ() {
        let mut seen = HashSet::new();
        let mut counts = [0u32; 128];
        for _ in 0..10_000 {
            let token = TokenSecret::generate(TokenKind::Personal).unwrap();
            assert_eq!(token.text.len(), 42);
            assert_eq!(TokenSecret::parse(token.reveal()), Some(token.clone()));
            for byte in token.text[4..4 + BODY].bytes() {
                counts[usize::from(byte)] += 1;
            }
            assert!(seen.insert(token.text));
        }
        let expected = 10_000.0 * 32.0 / 62.0;
        let chi: f64 =
            ALPHABET.iter().map(|b| (f64::from(counts[usize::from(*b)]) - expected).powi(2) / expected).sum();
        assert!(chi < 130.0, "61 degrees of freedom; 130 is beyond one in a million: {chi}");
    }

    #[test]
    fn a_kind_is_part_of_the_hash_and_never_of_the_debug_form() {
        let token = TokenSecret::generate(TokenKind::Refresh).unwrap();
        let twin = TokenSecret { kind: TokenKind::Personal, text: token.text.clone() };
        assert_ne!(token.hash(), twin.hash());
        assert_eq!(format!("{token:?}"), "phr_…");
        assert_eq!(token.hash(), TokenSecret::parse(token.reveal()).unwrap().hash());
    }

    proptest! {
        #[test]
        fn every_changed_character_is_noticed(position in 0usize..42, with in "[0-9A-Za-z_]") {
            let token = TokenSecret::generate(TokenKind::Personal).unwrap();
            let mut text = token.text.clone();
            text.replace_range(position..=position, &with);
            // The checksum is over the body alone, as GitHub's is: another kind's prefix reads as that kind, and the kind
            // is part of the hash, so it is found nowhere.
            match TokenSecret::parse(&text) {
                Some(read) if text == token.text => prop_assert_eq!(read, token),
                Some(read) => {
                    prop_assert_ne!(read.kind(), token.kind());
                    prop_assert_ne!(read.hash(), token.hash());
                }
                None => prop_assert_ne!(text, token.text),
            }
        }

        #[test]
        fn nothing_panics(text: String) {
            let _ = TokenSecret::parse(&text);
            let _ = TokenSecret::parse(&format!("php_{text}"));
        }
    }
}
