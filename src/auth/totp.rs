//! One-time codes: RFC 6238 (TOTP) with what every authenticator app takes, SHA-1, six digits, steps of 30 seconds; and
//! recovery codes for when the app is lost. What was used already is kept by who stores a factor; nothing here is.

use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::{Secret, random_text};
use crate::{
    error::{Error, Result},
    model::{Timestamp, id::random},
};

/// Seconds of a step.
const STEP: u64 = 30;
/// Steps by which a clock may be off, either way (RFC 6238 section 5.2 recommends one).
const DRIFT: u64 = 1;
/// Digits of a code.
const DIGITS: usize = 6;
/// Recovery codes made at once.
pub const RECOVERY_CODES: usize = 10;
/// Characters of a recovery code, 62 of each kind: 95 bits.
const RECOVERY: usize = 16;

/// What an app and this installation share.
#[derive(Clone, PartialEq, Eq)]
pub struct TotpKey([u8; 20]);

impl std::fmt::Debug for TotpKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TotpKey")
    }
}

impl TotpKey {
    /// A new one: 160 bits, as RFC 4226 section 4 recommends.
    pub fn generate() -> Result<Self> {
        Ok(Self(random()?))
    }

    /// From its stored bytes.
    pub fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    /// To be stored.
    pub fn bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// As people type it into an app.
    pub fn text(&self) -> Secret {
        Secret::new(BASE32_NOPAD.encode(&self.0))
    }

    /// The address that apps read from a QR code.
    pub fn address(&self, issuer: &str, user: &str) -> Secret {
        let plain = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
        let (issuer, user, key) = (plain(issuer), plain(user), self.text());
        Secret::new(format!("otpauth://totp/{issuer}:{user}?secret={}&issuer={issuer}", key.reveal()))
    }

    /// The code of a step (RFC 4226 section 5.3).
    fn code(&self, step: u64) -> Result<String> {
        let mut mac = Hmac::<Sha1>::new_from_slice(&self.0).map_err(Error::internal)?;
        mac.update(&step.to_be_bytes());
        let mac: [u8; 20] = mac.finalize().into_bytes().into();
        let at = usize::from(mac[19] & 0xf);
        let four = [mac[at] & 0x7f, mac[at + 1], mac[at + 2], mac[at + 3]];
        let number = u32::from_be_bytes(four) % 10u32.pow(DIGITS as u32);
        Ok(format!("{number:0DIGITS$}"))
    }

    /// The step that a code is of, if it is one of now and none that was used: later than `last`.
    ///
    /// # Errors
    /// None but a fault of the MAC.
    pub fn step_of(&self, code: &str, at: Timestamp, last: u64) -> Result<Option<u64>> {
        let now = at.0 / 1000 / STEP;
        for step in now.saturating_sub(DRIFT)..=now + DRIFT {
            let right: bool =
                subtle::ConstantTimeEq::ct_eq(self.code(step)?.as_bytes(), code.as_bytes()).into();
            if right && step > last {
                return Ok(Some(step));
            }
        }
        Ok(None)
    }
}

/// Whether a text has the form of a code of an app.
fn is_code(text: &str) -> bool {
    text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A new recovery code.
pub fn recovery_code() -> Result<Secret> {
    Ok(Secret::new(random_text(RECOVERY)?))
}

/// What is stored of a recovery code. It is random, so a fast hash is enough.
pub fn recovery_hash(code: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(b"packhouse recovery code v1\0");
    hash.update(code.as_bytes());
    hex::encode(hash.finalize())
}

/// The password and the code in what a client sent as one: `PASSWORD,CODE`. Clients have one field, and a comma followed by
/// what has the form of a code at the very end is asked of nobody's password but of those who have a second factor.
pub fn split(secret: &Secret) -> Option<(Secret, Secret)> {
    let (password, code) = secret.reveal().rsplit_once(',')?;
    let recovery = code.len() == RECOVERY && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (is_code(code) || recovery).then(|| (Secret::new(password), Secret::new(code)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> TotpKey {
        TotpKey::from_bytes(*b"12345678901234567890")
    }

    /// RFC 6238, appendix B, whose codes have eight digits: the last six.
    #[test]
    fn codes_are_those_of_the_rfc() {
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            let at = Timestamp(seconds * 1000);
            assert_eq!(key().code(seconds / 30).unwrap(), code);
            assert_eq!(key().step_of(code, at, 0).unwrap(), Some(seconds / 30));
        }
    }

    #[test]
    fn a_code_is_good_once_and_for_a_while() {
        let at = |step: u64| Timestamp(step * 30_000 + 12_345);
        let code = key().code(1000).unwrap();
        for step in 998..=1002 {
            let good = (999..=1001).contains(&step);
            assert_eq!(key().step_of(&code, at(step), 0).unwrap(), good.then_some(1000), "{step}");
        }
        assert_eq!(key().step_of(&code, at(1000), 999).unwrap(), Some(1000));
        assert_eq!(key().step_of(&code, at(1000), 1000).unwrap(), None);
        for bad in ["", "12345", "1234567", "abcdef", "１２３４５６"] {
            assert_eq!(key().step_of(bad, at(1000), 0).unwrap(), None, "{bad}");
        }
    }

    #[test]
    fn what_was_sent_is_taken_apart_at_its_end() {
        let parts = |text: &str| {
            split(&Secret::new(text)).map(|(one, two)| (one.reveal().to_owned(), two.reveal().to_owned()))
        };
        assert_eq!(parts("pass,word,123456"), Some(("pass,word".into(), "123456".into())));
        assert_eq!(parts("p,abcdefghABCDEFGH"), Some(("p".into(), "abcdefghABCDEFGH".into())));
        for none in
            ["password", "123456", "password,12345", "password,1234567", "password,12345x", "password,", ""]
        {
            assert_eq!(parts(none), None, "{none}");
        }
        assert_eq!(recovery_code().unwrap().reveal().len(), RECOVERY);
    }

    #[test]
    fn apps_read_the_address() {
        let address = key().address("my packhouse", "ada-l");
        assert_eq!(
            address.reveal(),
            "otpauth://totp/my%20packhouse:ada%2Dl?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=my%20packhouse"
        );
    }
}
