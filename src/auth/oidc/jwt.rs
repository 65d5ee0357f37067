//! Signed tokens of issuers (JWS compact form, RFC 7515), read as strictly as one can: the key says which algorithm counts, a key
//! that a token brings along or points at is a reason to refuse it, and nothing of the claims is looked at before the signature
//! is known to be right.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use serde::{Deserialize, de::IgnoredAny};

/// Longest token, in bytes.
pub(super) const MAX: usize = 16 << 10;
/// Longest name of a key, in bytes.
const MAX_KID: usize = 256;
/// Most keys of an issuer.
const MAX_KEYS: usize = 100;

/// What a key is for: each key has one algorithm, whatever a token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
}

impl Algorithm {
    fn word(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Material {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// The uncompressed point.
    P256([u8; 65]),
}

/// A public key of an issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PublicKey {
    kid: String,
    material: Material,
}

impl PublicKey {
    /// Whether it has this name.
    pub(super) fn is(&self, kid: &str) -> bool {
        self.kid == kid
    }

    fn algorithm(&self) -> Algorithm {
        match self.material {
            Material::Rsa { .. } => Algorithm::Rs256,
            Material::P256(_) => Algorithm::Es256,
        }
    }

    fn verifies(&self, signed: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Rsa { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, signed, signature).is_ok()
            }
            Material::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed, signature).is_ok()
            }
        }
    }
}

/// A key as an issuer publishes it (RFC 7517).
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<serde_json::Value>,
}

/// The keys of an issuer that may sign tokens. What is of no use to us is left out: other kinds, other uses, keys without a name, and
/// keys of one name, since which of them is meant is not ours to guess.
pub(super) fn read_keys(document: &[u8]) -> Option<Vec<PublicKey>> {
    let Jwks { keys } = serde_json::from_slice(document).ok()?;
    if keys.len() > MAX_KEYS {
        return None;
    }
    let mut found: Vec<PublicKey> =
        keys.into_iter().filter_map(|key| serde_json::from_value(key).ok()).filter_map(read_key).collect();
    let names: Vec<String> = found.iter().map(|key| key.kid.clone()).collect();
    found.retain(|key| names.iter().filter(|name| **name == key.kid).count() == 1);
    Some(found)
}

fn read_key(key: Jwk) -> Option<PublicKey> {
    let kid = key.kid.filter(|kid| !kid.is_empty() && kid.len() <= MAX_KID)?;
    let signs = key.usage.is_none_or(|usage| usage == "sig");
    let verifies = key.key_ops.is_none_or(|all| all.iter().any(|one| one == "verify"));
    let bytes = |text: Option<String>| BASE64.decode(text?).ok();
    let material = match key.kty.as_str() {
        "RSA" => Material::Rsa { n: bytes(key.n)?, e: bytes(key.e)? },
        "EC" if key.crv.as_deref() == Some("P-256") => {
            let mut point = [4; 65];
            point[1..33].copy_from_slice(&<[u8; 32]>::try_from(bytes(key.x)?).ok()?);
            point[33..].copy_from_slice(&<[u8; 32]>::try_from(bytes(key.y)?).ok()?);
            Material::P256(point)
        }
        _ => return None,
    };
    let read = PublicKey { kid, material };
    let same = key.alg.is_none_or(|alg| alg == read.algorithm().word());
    (signs && verifies && same).then_some(read)
}

/// What a token says of itself. A field that comes twice is an error; so is one that would choose the key.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
    typ: Option<String>,
    jwk: Option<IgnoredAny>,
    jku: Option<IgnoredAny>,
    x5c: Option<IgnoredAny>,
    x5u: Option<IgnoredAny>,
    crit: Option<IgnoredAny>,
    b64: Option<IgnoredAny>,
    zip: Option<IgnoredAny>,
    enc: Option<IgnoredAny>,
}

impl Header {
    fn is_plain(&self) -> bool {
        let odd = [&self.jwk, &self.jku, &self.x5c, &self.x5u, &self.crit, &self.b64, &self.zip, &self.enc];
        let typed = self.typ.as_ref().is_none_or(|typ| typ.eq_ignore_ascii_case("JWT"));
        odd.iter().all(|field| field.is_none()) && typed && !self.kid.is_empty() && self.kid.len() <= MAX_KID
    }
}

/// A token, taken apart. Nothing of it is known to be true.
pub(super) struct Jwt<'a> {
    header: Header,
    signed: &'a str,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl<'a> Jwt<'a> {
    /// Takes a token apart; `None` unless it has the one form there is.
    pub(super) fn parse(token: &'a str) -> Option<Self> {
        if token.len() > MAX {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let header: Header = serde_json::from_slice(&BASE64.decode(header).ok()?).ok()?;
        // A payload with a dot is none: base64url has no such letter.
        let (payload, signature) = (BASE64.decode(payload).ok()?, BASE64.decode(signature).ok()?);
        header.is_plain().then_some(Self { header, signed, payload, signature })
    }

    /// Which key it says it is signed with.
    pub(super) fn kid(&self) -> &str {
        &self.header.kid
    }

    /// The issuer it says it is of, to find the keys by; believed once they fit.
    pub(super) fn claimed_issuer(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Issuer {
            iss: String,
        }
        serde_json::from_slice::<Issuer>(&self.payload).ok().map(|claims| claims.iss)
    }

    /// What it says, if the key of its name signed it with the key's own algorithm.
    pub(super) fn open(&self, keys: &[PublicKey]) -> Option<&[u8]> {
        let key = keys.iter().find(|key| key.kid == self.header.kid)?;
        let fits = self.header.alg == key.algorithm().word();
        (fits && key.verifies(self.signed.as_bytes(), &self.signature)).then_some(&self.payload)
    }
}
