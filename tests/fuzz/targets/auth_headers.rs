//! Any `Authorization` headers: no panic, of two that differ none is believed, no secret in what a debugger or an error
//! shows.
#![no_main]

use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use libfuzzer_sys::fuzz_target;
use packhouse::auth::{Presented, TokenSecret};

/// Put into a header, it must not come out again.
const CANARY: &[u8] = b"c4n4ry~";

/// A token that reads is the text it was read from, whole; of it nothing is shown but its kind.
fn token(text: &str) {
    let Some(token) = TokenSecret::parse(text) else { return };
    assert_eq!(token.reveal(), text);
    assert!(TokenSecret::resembles(text) && text.is_ascii());
    assert_eq!(format!("{token:?}"), format!("{}_…", token.kind().prefix()));
    assert!(text.ends_with(token.tail()) && token.tail().len() == 4);
    assert_eq!(format!("{:?}", token.hash()), "TokenHash");
}

fn headers(values: &[&[u8]]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).ok()?);
    }
    Some(headers)
}

fn leaks(value: &[u8]) -> bool {
    let value = [value, CANARY].concat();
    let Some(headers) = headers(&[&value]) else { return false };
    let shown = match Presented::read(&headers) {
        Ok(presented) => format!("{presented:?}"),
        Err(error) => format!("{error} {error:?} {}", error.public()),
    };
    shown.as_bytes().windows(CANARY.len()).any(|part| part == CANARY)
}

// Each line is a header's value: none can hold a line feed.
fuzz_target!(|data: &[u8]| {
    let values: Vec<_> = data.split(|byte| *byte == b'\n').collect();
    for value in &values {
        if let Ok(text) = std::str::from_utf8(value) {
            token(text);
        }
        assert!(!leaks(value));
    }
    let Some(headers) = headers(&values) else { return };
    let Ok(presented) = Presented::read(&headers) else { return };
    assert!(values.iter().all(|value| *value == values[0]));
    let shown = format!("{presented:?}");
    match &presented {
        Presented::Nothing => panic!("there is a header"),
        Presented::Bearer(secret) => {
            assert_eq!(shown, "Bearer(…)");
            assert!(!secret.reveal().is_empty());
            token(secret.reveal());
        }
        Presented::Basic { user, secret } => {
            assert_eq!(shown, format!("Basic {{ user: {user:?}, secret: … }}"));
            assert!(!user.contains(':'));
            token(secret.reveal());
        }
    }
});
