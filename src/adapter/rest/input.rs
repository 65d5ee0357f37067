//! Bodies of requests: short, JSON, and of a shape of their own for each endpoint, so that nothing is set which the endpoint
//! does not name.

use serde::de::DeserializeOwned;

use crate::{
    error::{Error, Kind, Result, What},
    http::Body,
};

/// Longest body, in bytes. What is set here is names and words.
const LONGEST: u64 = 64 << 10;

/// Reads a body; none is an empty object, since clients send none where nothing is to be said.
///
/// # Errors
/// Too large; [`What::Target`] invalid (400) when it is no JSON, [`What::Request`] invalid (422) when it is of another shape.
pub(super) async fn read<T: DeserializeOwned>(body: Body) -> Result<T> {
    let bytes = body.small(LONGEST, What::Request).await?;
    parse(&bytes)
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let bytes = if bytes.trim_ascii().is_empty() { b"{}" } else { bytes };
    serde_json::from_slice(bytes).map_err(|error| {
        // What is no JSON, and what is JSON and something else than asked for.
        let what = match serde_json::from_slice::<serde::de::IgnoredAny>(bytes) {
            Ok(_) => What::Request,
            Err(_) => What::Target,
        };
        let text = match what {
            // What serde says may hold what was sent, a password in a wrong place: only our own words are passed on.
            What::Request => format!("the body is not as it should be: {}", shape(&error)),
            _ => "the body is not JSON".to_owned(),
        };
        Error::new(Kind::Invalid(what), text)
    })
}

fn shape(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    let ours = text.starts_with("missing field `") || text.starts_with("duplicate field `");
    let place = format!("line {}, column {}", error.line(), error.column());
    match text.split_once(", expected ") {
        _ if ours => text.to_owned(),
        Some((_, expected)) => format!("expected {expected} at {place}"),
        None => format!("see {place}"),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Strict {
        #[serde(default)]
        role: Option<String>,
        #[serde(default)]
        word: Option<Word>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    enum Word {
        One,
    }

    #[test]
    fn bodies_are_what_they_should_be() {
        assert_eq!(parse::<Strict>(b"").unwrap(), Strict { role: None, word: None });
        assert_eq!(parse::<Strict>(br#" {"role":"read"} "#).unwrap().role.as_deref(), Some("read"));
        for (bad, what) in [
            (&b"{"[..], What::Target),
            (b"\xff", What::Target),
            (br#"{"role":1}"#, What::Request),
            (br#"{"word":1}"#, What::Request),
            (br#"{"administrator":true}"#, What::Request),
            (br#"{"role":"a","role":"b"}"#, What::Request),
            (b"null", What::Request),
            (b"[1]", What::Request),
        ] {
            let error = parse::<Strict>(bad).unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid(what), "{}", String::from_utf8_lossy(bad));
        }
        let text = parse::<Strict>(br#"{"role":90210}"#).unwrap_err();
        assert!(text.public().contains("expected a string"), "{text}");
        // Nothing of what was sent is said again: it may be a password in a wrong place.
        for body in ["{\"role\":90210}", "{\"word\":\"90210\"}", "{\"90210\":1}", "\"90210\"", "[90210]"] {
            let text = parse::<Strict>(body.as_bytes()).unwrap_err().to_string();
            assert!(!text.contains("90210"), "{text}");
        }
    }
}
