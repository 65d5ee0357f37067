//! The keys of an issuer, got by discovery and kept.
//!
//! A key that is not known may be a new one, so the keys are got again; at most once in [`PAUSE`], whoever asks for whatever, so that
//! nobody makes us ask an issuer by inventing names. One asks at a time, and the others wait for what it gets.

use std::{sync::Arc, time::Duration};

use serde::Deserialize;
use tokio::{sync::Mutex, time::Instant};

use super::{
    Fetch, Issuer,
    issuer::Address,
    jwt::{PublicKey, read_keys},
};
use crate::error::{Error, Kind, Result};

/// The least time from one fetch to the next.
const PAUSE: Duration = Duration::from_secs(30);
/// How long keys are good without asking again: a key that an issuer withdrew must end.
const GOOD: Duration = Duration::from_secs(3600);
/// Largest document, in bytes.
const MAX: usize = 256 << 10;

#[derive(Default)]
struct Known {
    keys: Arc<Vec<PublicKey>>,
    /// When the keys were got.
    got: Option<Instant>,
    /// When somebody last tried to.
    tried: Option<Instant>,
}

/// The keys of one issuer.
pub(super) struct Keys {
    issuer: String,
    fetch: Arc<dyn Fetch>,
    known: Mutex<Known>,
}

/// What of a discovery document counts.
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Keys {
    pub(super) fn new(issuer: &Issuer, fetch: Arc<dyn Fetch>) -> Self {
        Self { issuer: issuer.url.clone(), fetch, known: Mutex::default() }
    }

    /// The keys, with the one of this name if the issuer has it.
    ///
    /// # Errors
    /// Unavailable when there are none that are still good, and none can be had.
    pub(super) async fn with(&self, kid: &str) -> Result<Arc<Vec<PublicKey>>> {
        let mut known = self.known.lock().await;
        let now = Instant::now();
        let fresh = known.got.is_some_and(|got| now - got < GOOD);
        if fresh && known.keys.iter().any(|key| key.is(kid)) {
            return Ok(Arc::clone(&known.keys));
        }
        if known.tried.is_none_or(|tried| now - tried >= PAUSE) {
            known.tried = Some(now);
            match self.get().await {
                Ok(keys) => {
                    known.keys = Arc::new(keys);
                    known.got = Some(Instant::now());
                    return Ok(Arc::clone(&known.keys));
                }
                Err(error) => {
                    tracing::warn!(issuer = self.issuer, %error, "the keys of an OIDC issuer cannot be had");
                }
            }
        }
        if fresh {
            return Ok(Arc::clone(&known.keys));
        }
        Err(Error::new(Kind::Unavailable, "the issuer's keys cannot be had now; try again in half a minute"))
    }

    async fn get(&self) -> Result<Vec<PublicKey>> {
        let broken = |what: &str| Error::internal(what.to_owned());
        let base = Address::parse(&self.issuer).ok_or_else(|| broken("the issuer is no address"))?;
        let url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let document = self.fetch.get(&url, MAX).await?;
        let found: Discovery = serde_json::from_slice(&document).map_err(Error::internal)?;
        if found.issuer != self.issuer {
            return Err(broken("the discovery document is another issuer's"));
        }
        let keys = Address::parse(&found.jwks_uri).ok_or_else(|| broken("jwks_uri is no address"))?;
        if !keys.same_origin(&base) {
            return Err(broken("jwks_uri is not at the issuer's own host"));
        }
        let document = self.fetch.get(&found.jwks_uri, MAX).await?;
        read_keys(&document).ok_or_else(|| broken("the key set cannot be read"))
    }
}
