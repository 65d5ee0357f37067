//! The query of a request's target: `application/x-www-form-urlencoded`, read strictly.

use percent_encoding::percent_decode_str;

use crate::error::{Error, Kind, Result, What};

/// The pairs of a query or of a form, decoded, in order.
#[derive(Debug, Clone, Default)]
pub struct Query(Vec<(String, String)>);

/// Most pairs read.
const MAX: usize = 256;

impl Query {
    /// Reads a query.
    ///
    /// # Errors
    /// Invalid when a pair does not decode to text; too large when there are more than 256.
    pub fn parse(text: &str) -> Result<Self> {
        let mut pairs = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            if pairs.len() >= MAX {
                return Err(Error::new(Kind::TooLarge(What::Target), "the query has too many parameters"));
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            pairs.push((decode(name)?, decode(value)?));
        }
        Ok(Self(pairs))
    }

    /// The first value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// Every pair, in order.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Every value of a name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

fn decode(text: &str) -> Result<String> {
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    let decoded = decoded.map_err(|_| Error::invalid(What::Request, "the query is not UTF-8"))?;
    if decoded.contains('\0') {
        return Err(Error::invalid(What::Request, "the query holds a NUL"));
    }
    Ok(decoded.into_owned())
}

/// Encodes a value for a query; leaves what needs no encoding.
pub fn encode(text: &str) -> String {
    const KEEP: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~')
        .remove(b':')
        .remove(b'/');
    percent_encoding::utf8_percent_encode(text, KEEP).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pairs_are_decoded_in_order() {
        let query = Query::parse("digest=sha256%3Aab&a=1&a=b+c&flag").unwrap();
        assert_eq!(query.get("digest"), Some("sha256:ab"));
        assert_eq!(query.all("a").collect::<Vec<_>>(), ["1", "b c"]);
        assert_eq!(query.get("flag"), Some(""));
        assert!(Query::parse("a=%ff").is_err());
        assert!(Query::parse("a=%00").is_err());
        assert!(Query::parse(&"a&".repeat(257)).is_err());
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes(text in "[^\0]{0,40}") {
            let query = Query::parse(&format!("x={}", encode(&text))).unwrap();
            prop_assert_eq!(query.get("x"), Some(text.as_str()));
        }
    }
}
