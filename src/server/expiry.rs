//! When a certificate expires, for the metric that keeps it from happening unnoticed. Reads just enough DER (X.690) of
//! an X.509 certificate (RFC 5280 §4.1) to find `notAfter`; everything else about it is rustls's business.

use jiff::{civil::DateTime, tz::TimeZone};
use rustls::sign::CertifiedKey;

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// Seconds since 1970 of the first certificate's `notAfter`; 0 when it cannot be read.
pub(super) fn of(pair: &CertifiedKey) -> i64 {
    pair.cert.first().and_then(|cert| not_after(cert)).unwrap_or(0)
}

fn not_after(der: &[u8]) -> Option<i64> {
    let (certificate, _) = element(der, SEQUENCE)?;
    let (mut fields, _) = element(certificate, SEQUENCE)?;
    if let Some((_, rest)) = element(fields, VERSION) {
        fields = rest;
    }
    let (_, rest) = element(fields, INTEGER)?;
    let (_, rest) = element(rest, SEQUENCE)?;
    let (_, rest) = element(rest, SEQUENCE)?;
    let (validity, _) = element(rest, SEQUENCE)?;
    let (_, not_after) = element(validity, UTC_TIME).or_else(|| element(validity, GENERALIZED_TIME))?;
    match element(not_after, UTC_TIME) {
        // Two digits of the year: 50 and later are of the 20th century.
        Some((text, _)) if text.first()? >= &b'5' => moment(&[b"19", text].concat()),
        Some((text, _)) => moment(&[b"20", text].concat()),
        None => moment(element(not_after, GENERALIZED_TIME)?.0),
    }
}

/// `YYYYMMDDHHMMSSZ`.
fn moment(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let at = DateTime::strptime("%Y%m%d%H%M%SZ", text).ok()?;
    Some(at.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}

/// The content of the element that `der` begins with, if it has this tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&short, mut rest) = rest.split_first()?;
    if found != tag {
        return None;
    }
    let mut length = usize::from(short);
    if short >= 0x80 {
        let (digits, after) = rest.split_at_checked(usize::from(short & 0x7f))?;
        length = digits
            .iter()
            .try_fold(0usize, |sum, digit| sum.checked_mul(256)?.checked_add((*digit).into()))?;
        rest = after;
    }
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::{CertificateDer, pem::PemObject};

    use super::*;

    #[test]
    fn finds_the_end_of_a_certificate() {
        let pem = include_bytes!("../../tests/it/server/tls/first.pem");
        let der = CertificateDer::from_pem_slice(pem).unwrap();
        // openssl x509 -enddate
        assert_eq!(
            not_after(&der).map(|at| jiff::Timestamp::from_second(at).unwrap().to_string()).as_deref(),
            Some("2126-10-28T13:08:42Z")
        );
        for cut in 0..der.len().min(300) {
            not_after(&der[..cut]);
        }
        assert_eq!(moment(b"20301231235959Z"), Some(1_924_991_999));
        assert_eq!(moment(b"2030"), None);
    }
}
