//! What a request's headers present as credentials, whatever the scheme. Says nothing of whether they are good.

use std::fmt;

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::{HeaderMap, header::AUTHORIZATION};

use crate::error::{Challenge, Error, Kind, Result};

/// Text that must not reach a log, an error or a debugger's output.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Credentials as sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presented {
    /// None.
    Nothing,
    /// A name with a token or, where that is allowed, a password.
    Basic {
        /// The name.
        user: String,
        /// What should prove it.
        secret: Secret,
    },
    /// A bearer or personal token.
    Bearer(Secret),
}

/// Some clients leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Presented {
    /// Reads the `Authorization` header. A query string is never looked at: it ends up in logs.
    ///
    /// # Errors
    /// Unauthenticated when the header cannot be read, names another scheme, or comes twice with different values: which
    /// of two to believe is not ours to guess.
    pub fn read(headers: &HeaderMap) -> Result<Self> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = values.next() else { return Ok(Self::Nothing) };
        if values.any(|other| other != value) {
            return Err(invalid("there are two Authorization headers and they differ"));
        }
        let text = value.to_str().map_err(|_| invalid("the Authorization header is not text"))?;
        let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        let rest = rest.trim();
        // Management clients write "token" for the same thing.
        let bearer = scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token");
        if bearer && !rest.is_empty() {
            return Ok(Self::Bearer(Secret::new(rest)));
        }
        if scheme.eq_ignore_ascii_case("basic") {
            let decoded = BASE64.decode(rest).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            if let Some((user, secret)) = decoded.as_deref().and_then(|text| text.split_once(':')) {
                return Ok(Self::Basic { user: user.to_owned(), secret: Secret::new(secret) });
            }
            return Err(invalid("the Basic credentials are not base64 of NAME:TOKEN"));
        }
        Err(invalid("the Authorization header is neither Basic nor Bearer"))
    }
}

/// Credentials that are no good, and why.
pub(super) fn invalid(why: &'static str) -> Error {
    Error::new(Kind::Unauthenticated(Challenge::Invalid), why)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn read(values: &[&str]) -> Result<Presented> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        Presented::read(&headers)
    }

    fn basic(user: &str, secret: &str) -> Presented {
        Presented::Basic { user: user.into(), secret: Secret::new(secret) }
    }

    #[test]
    fn the_schemes_and_their_spellings() {
        assert_eq!(read(&[]).unwrap(), Presented::Nothing);
        assert_eq!(read(&["Basic YWRhOnB3"]).unwrap(), basic("ada", "pw"));
        assert_eq!(read(&["bAsIc   YWRhOnA6dw=="]).unwrap(), basic("ada", "p:w"), "the first colon divides");
        assert_eq!(read(&["Basic YWRhOnA6dw"]).unwrap(), basic("ada", "p:w"), "no padding");
        assert_eq!(read(&["Basic OnB3"]).unwrap(), basic("", "pw"));
        assert_eq!(read(&["Bearer abc"]).unwrap(), Presented::Bearer(Secret::new("abc")));
        assert_eq!(read(&["token abc"]).unwrap(), Presented::Bearer(Secret::new("abc")));
        assert_eq!(read(&["bearer abc", "bearer abc"]).unwrap(), Presented::Bearer(Secret::new("abc")));
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for bad in [
            &["Basic"][..],
            &["Basic !"],
            &["Basic YWRh"],
            &["Basic /////w=="],
            &["Bearer"],
            &["Bearer "],
            &["token"],
            &["Negotiate abc"],
            &["php_abc"],
            &[""],
            &["Bearer \u{e4}"],
            &["Bearer a", "Bearer b"],
            &["Bearer a", "Basic YWRhOnB3"],
        ] {
            let error = read(bad).unwrap_err();
            assert_eq!(error.kind(), Kind::Unauthenticated(Challenge::Invalid), "{bad:?}");
        }
    }

    #[test]
    fn secrets_do_not_print() {
        assert_eq!(format!("{:?}", read(&["Bearer abc"]).unwrap()), "Bearer(…)");
    }

    proptest! {
        #[test]
        fn nothing_panics(value in "[ -~]{0,64}") {
            let _ = read(&[&value]);
            let _ = read(&[&format!("Basic {value}")]);
        }
    }
}
