//! Who is asking? Turns what was presented into a [`Caller`], the same way for every scheme and every protocol.

use std::sync::Arc;

use async_trait::async_trait;
use http::HeaderMap;

use super::{
    Access, Actor, Caller, Claims, Keyring, LIFETIME, Limits, Means, Passwords, Presented, Revision, Secret,
    TokenHash, TokenKind, TokenSecret, credentials::invalid, password::Stored, totp,
};
use crate::{
    error::{Challenge, Error, Kind, Result},
    model::{OwnerId, Scopes, Timestamp, TokenId},
};

/// A user, a robot or a repository's workflow, as signing in sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Which.
    pub actor: Actor,
    /// Its name, folded.
    pub name: String,
    /// Not suspended.
    pub active: bool,
    /// Administers the installation.
    pub administrator: bool,
    /// How many times the password has changed.
    pub sign_in: u64,
    /// Whether a code must come with the password.
    pub second_factor: bool,
    /// The principal's revision all this was read at.
    pub revision: Revision,
}

impl Identity {
    /// The user or robot.
    pub fn user(&self) -> Option<OwnerId> {
        match self.actor {
            Actor::User(id) => Some(id),
            Actor::Anonymous | Actor::Repository(_) | Actor::Operator | Actor::Job(_) => None,
        }
    }
}

/// A token, as checking it sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Which.
    pub id: TokenId,
    /// Its kind.
    pub kind: TokenKind,
    /// What it may be used for.
    pub scopes: Scopes,
    /// What it is limited to besides.
    pub limits: Option<Arc<Limits>>,
    /// When it ends.
    pub expires: Timestamp,
    /// For one that stands for a password: the change of password it belongs to.
    pub sign_in: Option<u64>,
    /// The credential's revision all this was read at.
    pub revision: Revision,
}

/// Where users and tokens come from. Every answer is fresh: what it says was true after the call began.
#[async_trait]
pub trait Identities: Send + Sync {
    /// The token with this hash, and its user. A revoked token is absent.
    async fn token(&self, hash: &TokenHash) -> Result<Option<(Identity, Credential)>>;

    /// The token of this id, and its user.
    async fn token_by_id(&self, id: TokenId) -> Result<Option<(Identity, Credential)>>;

    /// The user of this id.
    async fn user(&self, id: OwnerId) -> Result<Option<Identity>>;

    /// The user of this name, in any case.
    async fn user_named(&self, name: &str) -> Result<Option<Identity>>;

    /// A user's password hash, if it has a password.
    async fn password(&self, user: OwnerId) -> Result<Option<String>>;

    /// Takes a code of a user's second factor, once: says whether it was good. The only thing here that writes.
    async fn use_code(&self, user: OwnerId, code: &Secret, at: Timestamp) -> Result<bool>;

    /// The keys that sign bearer tokens. `wanted` is a key's number seen in one: if it is unknown, a source that more
    /// than one process writes looks again.
    async fn keyring(&self, wanted: Option<u32>) -> Result<Arc<Keyring>>;
}

/// User names that mean "see the token", as clients and their documentation write them.
const ANYBODY: [&str; 9] = [
    "",
    "token",
    "<token>",
    "_token",
    "__token__",
    "oauth2",
    "oauth2accesstoken",
    "x-access-token",
    "x-oauth-basic",
];

/// A bearer token, as `/token` answers it.
#[derive(Debug)]
pub struct Issued {
    /// The token.
    pub token: Secret,
    /// When it was issued.
    pub at: Timestamp,
    /// How long it lives, in seconds.
    pub lifetime: u64,
}

/// Checks credentials.
#[derive(Clone)]
pub struct Authenticator {
    identities: Arc<dyn Identities>,
    passwords: Arc<Passwords>,
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authenticator")
    }
}

impl Authenticator {
    /// One that asks this source.
    pub fn new(identities: Arc<dyn Identities>, passwords: Arc<Passwords>) -> Self {
        Self { identities, passwords }
    }

    /// Who sent a request to a registry or an API: anonymous, or the bearer of a token. No password is accepted here, so
    /// no slow hash is ever on this path, and nothing is written. `caller` is the anonymous one: when, from where, in which
    /// request.
    ///
    /// # Errors
    /// Unauthenticated when credentials were sent and are no good: they are never silently ignored.
    pub async fn authenticate(&self, headers: &HeaderMap, caller: Caller) -> Result<Caller> {
        match Presented::read(headers)? {
            Presented::Nothing => Ok(caller),
            Presented::Bearer(secret) if Keyring::key_of(secret.reveal()).is_some() => {
                self.bearer(&secret, caller).await
            }
            Presented::Bearer(secret) => self.token(None, &secret, &TokenKind::DIRECT, caller).await,
            Presented::Basic { user, secret } => {
                self.token(Some(&user), &secret, &TokenKind::DIRECT, caller).await
            }
        }
    }

    /// Who signs in, at `/token` and sign-in routes: what [`Self::authenticate`] takes except short bearer tokens, which
    /// must not prolong themselves, and besides refresh tokens and passwords.
    ///
    /// # Errors
    /// Unauthenticated; the same for a user who does not exist, a wrong password and a suspended user.
    pub async fn sign_in(&self, presented: &Presented, caller: Caller) -> Result<Caller> {
        match presented {
            Presented::Nothing => Ok(caller),
            Presented::Bearer(secret) => self.token(None, secret, &TokenKind::ALL, caller).await,
            Presented::Basic { user, secret } if TokenSecret::parse(secret.reveal()).is_some() => {
                self.token(Some(user), secret, &TokenKind::ALL, caller).await
            }
            Presented::Basic { user, secret } => self.password(user, secret, caller).await,
        }
    }

    /// A bearer token for whoever signed in, good for this and no more.
    pub async fn issue(&self, caller: &Caller, access: Vec<Access>) -> Result<Issued> {
        let means = match (caller.credential, caller.sign_in) {
            (Some(token), _) => Means::Token(token),
            (None, Some(sign_in)) => Means::Password(sign_in),
            (None, None) => Means::Anonymous,
        };
        let (user, repository) = (caller.user(), caller.repository());
        let claims = Claims { user, repository, means, access, issued: caller.at };
        let token = self.identities.keyring(None).await?.sign(&claims)?;
        Ok(Issued { token: Secret::new(token), at: caller.at, lifetime: LIFETIME })
    }

    async fn token(
        &self,
        name: Option<&str>,
        secret: &Secret,
        accepted: &[TokenKind],
        caller: Caller,
    ) -> Result<Caller> {
        let Some(token) = TokenSecret::parse(secret.reveal()) else {
            return Err(if TokenSecret::resembles(secret.reveal()) {
                invalid("the token is mangled: its checksum is wrong (was it cut off while copying?)")
            } else if name.is_none() {
                invalid("the bearer token is none of ours")
            } else {
                invalid(
                    "passwords are accepted at /token and sign-in pages only; use a token instead, made by: packhouse \
                     token create --user NAME --scope read:packages",
                )
            });
        };
        if !accepted.contains(&token.kind()) {
            return Err(invalid("a refresh token is accepted at /token only"));
        }
        let Some((identity, credential)) = self.identities.token(&token.hash()).await? else {
            return Err(invalid("the token is unknown or was revoked"));
        };
        if let Some(name) = name {
            self.named(name, &identity).await?;
        }
        with_token(&identity, &credential, caller)
    }

    /// A name beside a token may be its user's, one that means nothing, or nobody's at all. Another user's is a mix-up
    /// that must not pass for that user.
    async fn named(&self, name: &str, identity: &Identity) -> Result<()> {
        // A job writes the name of whoever started it.
        let job = matches!(identity.actor, Actor::Repository(_));
        if job || name.eq_ignore_ascii_case(&identity.name) || ANYBODY.contains(&name) {
            return Ok(());
        }
        match self.identities.user_named(name).await? {
            None => Ok(()),
            Some(named) if named.actor == identity.actor => Ok(()),
            Some(_) => Err(invalid("the token belongs to another user than the one named")),
        }
    }

    async fn bearer(&self, secret: &Secret, caller: Caller) -> Result<Caller> {
        let expired = || invalid("the bearer token is no longer good; ask /token for another");
        let keyring = self.identities.keyring(Keyring::key_of(secret.reveal())).await?;
        let claims = keyring.open(secret.reveal(), caller.at).ok_or_else(expired)?;
        let bound = Some(claims.access.into());
        let actor = match (claims.user, claims.repository) {
            (Some(user), _) => Actor::User(user),
            (None, Some(repository)) => Actor::Repository(repository),
            (None, None) => return Ok(Caller { bound, ..caller }),
        };
        let claimed = match claims.means {
            Means::Token(id) => Caller { credential: Some(id), ..caller },
            Means::Password(sign_in) => Caller { sign_in: Some(sign_in), ..caller },
            Means::Anonymous => return Err(expired()),
        };
        recheck(self.identities.as_ref(), &Caller { actor, bound, ..claimed }).await
    }

    async fn password(&self, name: &str, secret: &Secret, caller: Caller) -> Result<Caller> {
        let identity = self.identities.user_named(name).await?;
        let user = identity.as_ref().and_then(Identity::user);
        let hash = match user {
            Some(user) => self.identities.password(user).await?,
            None => None,
        };
        let stored = match (&identity, user, &hash) {
            (Some(identity), Some(user), Some(hash)) => {
                Some(Stored { user, sign_in: identity.sign_in, hash })
            }
            _ => None,
        };
        let factor = identity.as_ref().is_some_and(|identity| identity.second_factor);
        let (password, code) = match totp::split(secret).filter(|_| factor) {
            Some((password, code)) => (password, Some(code)),
            None => (secret.clone(), None),
        };
        // What was right a moment ago is no guess; a code always may be one.
        let guess = match stored {
            Some(stored) if !factor => !self.passwords.remembers(stored, &password, caller.address)?,
            _ => true,
        };
        if guess {
            self.passwords.lockout().attempt(name, caller.address, caller.at)?;
        }
        let right = self.passwords.check(stored, &password, caller.address).await?;
        let Some(identity) = identity.filter(|identity| right && identity.active) else {
            return Err(invalid("the user name or the password is wrong"));
        };
        if let (true, Some(user)) = (factor, user) {
            self.second_factor(user, code, caller.at).await?;
        }
        if guess {
            self.passwords.lockout().right(name, caller.address);
        }
        let caller = Caller { sign_in: Some(identity.sign_in), scopes: Scopes::ALL, ..caller };
        Ok(acting(&identity, caller))
    }

    /// Asked after the password was right, so that nobody else learns who has one.
    async fn second_factor(&self, user: OwnerId, code: Option<Secret>, at: Timestamp) -> Result<()> {
        let Some(code) = code else {
            return Err(invalid(
                "a code is needed besides: send PASSWORD,CODE with a new code of your app or a recovery code; commands \
                 and CI jobs use a token instead",
            ));
        };
        match self.identities.use_code(user, &code, at).await? {
            true => Ok(()),
            false => {
                Err(invalid("the code is wrong, was used already, or is too old; wait for the next one"))
            }
        }
    }
}

/// The caller with what its user and credential are now, by their ids: for a bearer token's claims, and for renewing a
/// grant whose revisions have passed. Expiry is judged at the caller's moment, which is when the headers arrived.
///
/// # Errors
/// Unauthenticated when the user is suspended or gone, the token revoked, or the password changed.
pub async fn recheck(identities: &dyn Identities, caller: &Caller) -> Result<Caller> {
    let ended = || invalid("what this was signed in with is no longer good");
    if !matches!(caller.actor, Actor::User(_) | Actor::Repository(_)) {
        return Ok(caller.clone());
    }
    if let Some(token) = caller.credential {
        let (identity, credential) = identities.token_by_id(token).await?.ok_or_else(ended)?;
        if identity.actor != caller.actor {
            return Err(ended());
        }
        return with_token(&identity, &credential, caller.clone());
    }
    let user = caller.user().ok_or_else(ended)?;
    let identity = identities.user(user).await?.ok_or_else(ended)?;
    if !identity.active || caller.sign_in != Some(identity.sign_in) {
        return Err(ended());
    }
    Ok(acting(&identity, Caller { scopes: Scopes::ALL, ..caller.clone() }))
}

fn with_token(identity: &Identity, credential: &Credential, caller: Caller) -> Result<Caller> {
    if !identity.active {
        return Err(invalid("the token's user is suspended"));
    }
    if credential.expires <= caller.at {
        return Err(invalid("the token has expired"));
    }
    if credential.sign_in.is_some_and(|sign_in| sign_in != identity.sign_in) {
        return Err(invalid("the password has changed since this token was made"));
    }
    if !credential.limits.as_ref().is_none_or(|limits| limits.admit(caller.address)) {
        return Err(invalid("the token is good from other networks only"));
    }
    let mut caller = acting(identity, caller);
    caller.credential = Some(credential.id);
    caller.scopes = credential.scopes;
    caller.limits = credential.limits.clone();
    caller.expires = Some(credential.expires);
    caller.revisions.push(credential.revision);
    Ok(caller)
}

fn acting(identity: &Identity, caller: Caller) -> Caller {
    Caller {
        actor: identity.actor,
        administrator: identity.administrator,
        revisions: vec![identity.revision],
        ..caller
    }
}

/// Whether a failure says that credentials were good and no longer are.
pub(super) fn ended(error: &Error) -> bool {
    error.kind() == Kind::Unauthenticated(Challenge::Invalid)
}
