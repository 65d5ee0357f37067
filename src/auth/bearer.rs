//! Short-lived bearer tokens: what `/token` answers and `/v2/` takes.
//!
//! `phb_KEY.CLAIMS.MAC`: the signing key's number, the claims as JSON, and HMAC-SHA-256 over both, the last two in
//! unpadded base64url. One algorithm, ours, so there is no header that could choose another. A token says who signed in,
//! how, and the most that may be done with it; what may be done is decided afresh on every use, so a revoked right ends
//! with the next request and not with the token.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::{Access, Verb};
use crate::{
    error::{Error, Result},
    model::{OwnerId, RepositoryId, Timestamp, TokenId, id::random},
};

/// How long a bearer token lives, in seconds.
pub const LIFETIME: u64 = 900;
/// How far in the future a token may have been issued: clocks of two servers over one store differ.
const SKEW: u64 = 60;
/// Longest token worth decoding; more than any header may hold.
const MAX: usize = 64 << 10;

/// How somebody signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Means {
    /// Not at all.
    Anonymous,
    /// With a password: the number says after how many changes of it. A later change ends what was signed in before.
    Password(u64),
    /// With a personal or refresh token.
    Token(TokenId),
}

/// What a bearer token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The user; `None` is anonymous.
    pub user: Option<OwnerId>,
    /// The repository whose workflow it is; then there is no user.
    pub repository: Option<RepositoryId>,
    /// How the user signed in.
    pub means: Means,
    /// The most that may be done.
    pub access: Vec<Access>,
    /// When it was issued.
    pub issued: Timestamp,
}

/// The claims as they are written. Strict: a field too many, too few or of another type is no token of ours.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    aud: String,
    sub: Option<OwnerId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    repo: Option<RepositoryId>,
    by: Means,
    iat: u64,
    exp: u64,
    access: Vec<WrittenAccess>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenAccess {
    name: String,
    actions: Vec<String>,
}

/// A key that bearer tokens are signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// Its number, written in the tokens.
    pub id: u32,
    /// When it was made.
    pub created: Timestamp,
    /// The secret.
    pub secret: [u8; 32],
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({:08x})", self.id)
    }
}

impl SigningKey {
    /// A fresh random key.
    pub fn generate(created: Timestamp) -> Result<Self> {
        Ok(Self { id: u32::from_be_bytes(random()?), created, secret: random()? })
    }

    /// The MAC over a purpose and parts, each behind its length: no byte can move from one part to the next.
    fn mac(&self, parts: &[&[u8]]) -> Result<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).map_err(Error::internal)?;
        for part in [b"packhouse bearer token v1".as_slice()].iter().chain(parts) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        Ok(mac)
    }
}

/// The keys of an installation: the newest signs, all of them verify.
#[derive(Debug, Clone)]
pub struct Keyring {
    audience: String,
    keys: Vec<SigningKey>,
}

impl Keyring {
    /// A ring of these keys. `audience` names the installation: a token of another one is refused even if, by a
    /// copied key, its MAC is right.
    pub fn new(audience: String, mut keys: Vec<SigningKey>) -> Self {
        keys.sort_by_key(|key| (std::cmp::Reverse(key.created), key.id));
        Self { audience, keys }
    }

    /// Whether a key of this number is on the ring.
    pub fn has(&self, id: u32) -> bool {
        self.keys.iter().any(|key| key.id == id)
    }

    /// Writes a token.
    pub fn sign(&self, claims: &Claims) -> Result<String> {
        let written = Written {
            aud: self.audience.clone(),
            sub: claims.user,
            repo: claims.repository,
            by: claims.means,
            iat: claims.issued.seconds(),
            exp: claims.issued.seconds() + LIFETIME,
            access: claims
                .access
                .iter()
                .map(|access| WrittenAccess {
                    name: access.name.clone(),
                    actions: access.verbs.iter().map(|verb| verb.word().to_owned()).collect(),
                })
                .collect(),
        };
        self.seal(&serde_json::to_vec(&written).map_err(Error::internal)?)
    }

    fn seal(&self, payload: &[u8]) -> Result<String> {
        let key = self.keys.first().ok_or_else(|| Error::internal("the installation has no signing key"))?;
        let mac = key.mac(&[&key.id.to_be_bytes(), payload])?.finalize().into_bytes();
        Ok(format!("phb_{:08x}.{}.{}", key.id, BASE64.encode(payload), BASE64.encode(mac)))
    }

    /// The key a token says it is signed with; `None` when the text is no bearer token of ours.
    pub fn key_of(token: &str) -> Option<u32> {
        let (id, _) = token.strip_prefix("phb_")?.split_once('.')?;
        let canonical = id.len() == 8 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if canonical { u32::from_str_radix(id, 16).ok() } else { None }
    }

    /// Reads a token: `None` unless it is signed by a key of this ring, for this installation, and good at `now`.
    /// Nothing in it is looked at before its MAC is known to be right.
    pub fn open(&self, token: &str, now: Timestamp) -> Option<Claims> {
        if token.len() > MAX {
            return None;
        }
        let id = Self::key_of(token)?;
        let key = self.keys.iter().find(|key| key.id == id)?;
        let (payload, mac) = token.split_once('.')?.1.split_once('.')?;
        let payload = BASE64.decode(payload).ok()?;
        let mac = BASE64.decode(mac).ok()?;
        key.mac(&[&id.to_be_bytes(), &payload]).ok()?.verify_slice(&mac).ok()?;

        let written: Written = serde_json::from_slice(&payload).ok()?;
        let now = now.seconds();
        let lifetime = written.exp.checked_sub(written.iat)?;
        if written.aud != self.audience
            || lifetime > LIFETIME
            || written.exp <= now
            || written.iat > now + SKEW
        {
            return None;
        }
        // Somebody has signed in somehow, nobody has not: anything else was never written by us.
        let somebody = match (written.sub, written.repo) {
            (None, None) => false,
            (Some(_), None) => true,
            (None, Some(_)) if matches!(written.by, Means::Token(_)) => true,
            (_, Some(_)) => return None,
        };
        if somebody == (written.by == Means::Anonymous) {
            return None;
        }
        let access = written.access.into_iter().map(read_access).collect::<Option<Vec<_>>>()?;
        let (user, repository) = (written.sub, written.repo);
        Some(Claims { user, repository, means: written.by, access, issued: Timestamp(written.iat * 1000) })
    }
}

fn read_access(written: WrittenAccess) -> Option<Access> {
    let verbs = written.actions.iter().map(|word| Verb::parse(word)).collect::<Option<Vec<_>>>()?;
    Some(Access { name: written.name, verbs })
}

#[cfg(test)]
mod tests;
