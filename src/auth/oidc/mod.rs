//! Tokens of other issuers (OpenID Connect): whom we believe, with which keys, and what a token of theirs says.
//!
//! Nothing here gives a right: a token that is good says who signed it about whom. What that is worth is for records of trust to say.

mod claims;
mod issuer;
mod jwt;
mod keys;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

pub use claims::{LEEWAY, TokenClaims};
pub use issuer::{Address, ClaimNames, Issuer, IssuerKind};

use self::{jwt::Jwt, keys::Keys};
use super::{Secret, credentials::invalid};
use crate::{
    error::{Challenge, Error, Kind, Result},
    model::Timestamp,
};

/// Gets a document of an issuer. Redirects are not followed, and everything has a bound: the host that was asked is the one that
/// answers.
#[async_trait]
pub trait Fetch: Send + Sync {
    /// The body of an answer of 200, at most `most` bytes.
    async fn get(&self, url: &str, most: usize) -> Result<Bytes>;
}

/// A token that is good: whose, and what it says.
#[derive(Debug)]
pub struct Verified {
    /// The issuer's address, as configured.
    pub issuer: Arc<Issuer>,
    /// Its claims.
    pub claims: TokenClaims,
}

/// Checks tokens of the issuers that are configured.
pub struct Issuers {
    issuers: Vec<(Arc<Issuer>, Keys)>,
}

impl std::fmt::Debug for Issuers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.issuers.iter().map(|(issuer, _)| &issuer.url)).finish()
    }
}

impl Issuers {
    /// Those of a configuration, whose documents are got like this.
    ///
    /// # Errors
    /// Invalid when an address is none, or two are the same.
    pub fn new(issuers: Vec<Issuer>, fetch: Arc<dyn Fetch>) -> Result<Self> {
        let mut known: Vec<(Arc<Issuer>, Keys)> = Vec::new();
        for issuer in issuers {
            issuer.check()?;
            if known.iter().any(|(other, _)| other.url == issuer.url) {
                return Err(Error::invalid(
                    crate::error::What::Request,
                    format!("the issuer {} is configured twice", issuer.url),
                ));
            }
            let keys = Keys::new(&issuer, Arc::clone(&fetch));
            known.push((Arc::new(issuer), keys));
        }
        Ok(Self { issuers: known })
    }

    /// The issuer of an address.
    pub fn get(&self, url: &str) -> Option<&Arc<Issuer>> {
        self.issuers.iter().map(|(issuer, _)| issuer).find(|issuer| issuer.url == url)
    }

    /// What a token says, if it is one of a configured issuer's, for us, and good now.
    ///
    /// # Errors
    /// Unauthenticated, with the reason: whoever sends a token may know what is wrong with it. Unavailable when the issuer's keys
    /// cannot be had.
    pub async fn verify(&self, token: &Secret, now: Timestamp) -> Result<Verified> {
        let jwt = Jwt::parse(token.reveal())
            .ok_or_else(|| invalid("this is no signed token, or one that brings a key of its own"))?;
        let claimed = jwt.claimed_issuer().ok_or_else(|| invalid("the token does not say who issued it"))?;
        let found = self.issuers.iter().find(|(issuer, _)| issuer.url == claimed);
        let (issuer, keys) =
            found.ok_or_else(|| invalid("the token's issuer is none that is configured here"))?;
        let keys = keys.with(jwt.kid()).await?;
        let payload =
            jwt.open(&keys).ok_or_else(|| invalid("the token is not signed with a key of its issuer's"))?;
        let claims = TokenClaims::read(payload, &issuer.url, &issuer.audience, now.seconds());
        let claims = claims.map_err(|why| {
            Error::new(Kind::Unauthenticated(Challenge::Invalid), format!("the token is no good: {why}"))
        })?;
        Ok(Verified { issuer: Arc::clone(issuer), claims })
    }
}
