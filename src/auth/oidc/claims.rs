//! What a token of an issuer says, typed before it is trusted: a time that is not a number, or a text that is not a text, is no claim.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::Value;

/// How far the clocks of two machines may differ, in seconds.
pub const LEEWAY: u64 = 30;
/// How long after its end, and the leeway, a token's name stays taken, in seconds: nobody is to find the moment in between.
const MARGIN: u64 = 60;
/// Longest life of a token, in seconds.
const MAX_LIFE: u64 = 24 * 3600;
/// Longest text of a claim, in bytes.
const MAX_TEXT: usize = 1024;

/// Claims as they stand in a token. One that comes twice is an error: which of two counts must not depend on who reads them.
pub(super) struct Raw(BTreeMap<String, Value>);

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Once;
        impl<'de> Visitor<'de> for Once {
            type Value = Raw;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of claims")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
                let mut claims = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if claims.insert(name, value).is_some() {
                        return Err(A::Error::custom("a claim comes twice"));
                    }
                }
                Ok(Raw(claims))
            }
        }
        deserializer.deserialize_map(Once)
    }
}

/// The claims of a token that is good, at its moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenClaims {
    /// Whom it is about, in the issuer's words.
    pub subject: String,
    /// Its name, by which it counts once.
    pub id: String,
    /// When it ends, in seconds since the epoch.
    pub expires: u64,
    /// Until when its name must stay taken, in seconds since the epoch.
    pub taken_until: u64,
    /// Every other claim that is a text or a whole number.
    texts: BTreeMap<String, String>,
}

impl TokenClaims {
    /// A claim's text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.texts.get(name).map(String::as_str)
    }

    /// Reads the claims of a token whose signature is right.
    ///
    /// # Errors
    /// A sentence that says what is wrong with them.
    pub(super) fn read(payload: &[u8], issuer: &str, audience: &str, now: u64) -> Result<Self, &'static str> {
        let Raw(claims) = serde_json::from_slice(payload).map_err(|_| "its claims cannot be read")?;
        let text = |name: &str| {
            let text = claims.get(name).and_then(Value::as_str);
            text.filter(|text| !text.is_empty() && text.len() <= MAX_TEXT)
        };
        // A float, a negative number, a number in quotes: none of them is a time.
        let time = |name: &str| claims.get(name).and_then(Value::as_u64);
        if text("iss") != Some(issuer) {
            return Err("it is not of this issuer");
        }
        let for_us = match claims.get("aud") {
            Some(Value::String(one)) => one == audience,
            Some(Value::Array(all)) => matches!(all.as_slice(), [Value::String(one)] if one == audience),
            _ => false,
        };
        if !for_us {
            return Err("its audience is not this registry and nobody else");
        }
        let subject = text("sub").ok_or("it does not say whom it is about (sub)")?;
        let id = text("jti").ok_or("it has no name by which it counts once (jti)")?;
        let expires = time("exp").ok_or("it does not say when it ends (exp)")?;
        let issued = time("iat").ok_or("it does not say when it was issued (iat)")?;
        if expires.saturating_add(LEEWAY) <= now {
            return Err("it has ended");
        }
        if issued > now + LEEWAY {
            return Err("it was issued in the future; is a clock wrong?");
        }
        if expires <= issued || expires - issued > MAX_LIFE {
            return Err("it lives longer than a day, or not at all");
        }
        if claims.contains_key("nbf") && time("nbf").is_none_or(|begins| begins > now + LEEWAY) {
            return Err("it is not good yet (nbf)");
        }
        let (subject, id) = (subject.to_owned(), id.to_owned());
        let texts = claims.iter().filter_map(|(name, value)| Some((name.clone(), plain(value)?))).collect();
        Ok(Self { subject, id, expires, taken_until: expires + LEEWAY + MARGIN, texts })
    }
}

/// A text, or a whole number as its digits: issuers write ids either way.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() && text.len() <= MAX_TEXT => Some(text.clone()),
        Value::Number(number) => number.as_u64().map(|number| number.to_string()),
        _ => None,
    }
}
