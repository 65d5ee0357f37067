//! Tokens and the keys that sign short ones.

use super::{
    Registry, accounts, events,
    records::{AccountKind, TokenRecord, decode_signing_key, encode_signing_key, signing_key, signing_keys},
    revisions::{self, Outcome},
};
use crate::{
    auth::{
        Actor, Caller, Grant, Keyring, Limits, ManageOwner, Operate, SigningKey, Subject, TokenHash,
        TokenKind, TokenSecret,
    },
    error::{Challenge, Error, Kind, Reason, Result, What},
    model::{OwnerId, Scopes, Timestamp, TokenId},
    store::{Batch, CommitError, MetadataRead},
};

/// Seconds in a day.
const DAY: u64 = 24 * 3600;
/// How long a personal token lives when nobody says otherwise, in seconds.
pub const DEFAULT_LIFETIME: u64 = 90 * DAY;
/// Longest life of a personal token, in seconds: one that never ends is one that nobody looks at again.
pub const MAX_LIFETIME: u64 = 366 * DAY;
/// How long a refresh token lives, in seconds.
const REFRESH_LIFETIME: u64 = 90 * DAY;
/// Refresh tokens a user may have; another one ends the oldest. Each `docker login` with a password makes one.
const MAX_REFRESH: usize = 200;
/// How long a signing key signs before another takes over, in seconds.
const KEY_LIFETIME: u64 = 30 * DAY;
/// Signing keys that are kept: the one that signs, and those whose tokens may still be good, with room to spare.
const KEYS: usize = 3;

/// The token of an id.
pub(crate) async fn by_id(view: &dyn MetadataRead, id: TokenId) -> Result<Option<TokenRecord>> {
    view.get(&TokenRecord::key_of(id)).await?.map(|bytes| TokenRecord::decode(&bytes)).transpose()
}

/// The id of the token with a hash.
pub(crate) async fn id_by_hash(view: &dyn MetadataRead, hash: &TokenHash) -> Result<Option<TokenId>> {
    let found = view.scan(&TokenRecord::hash_prefix(hash), None, 1).await?;
    Ok(found.first().and_then(|(key, _)| TokenRecord::id_in(key)))
}

/// The keys that sign bearer tokens.
pub(crate) async fn keyring(view: &dyn MetadataRead) -> Result<Keyring> {
    let installation = super::bootstrap::installation(view)
        .await?
        .ok_or_else(|| Error::internal("the store holds no installation"))?;
    Ok(Keyring::new(installation.id, keys(view).await?))
}

/// The stored keys, newest first.
async fn keys(view: &dyn MetadataRead) -> Result<Vec<SigningKey>> {
    let stored = view.scan(&signing_keys(), None, 64).await?;
    let keys: Result<Vec<_>> = stored.iter().map(|(key, bytes)| decode_signing_key(key, bytes)).collect();
    let mut keys = keys?;
    keys.sort_by_key(|key| (std::cmp::Reverse(key.created), key.id));
    Ok(keys)
}

/// Stores a new signing key.
pub(crate) fn put_key(batch: &mut Batch, key: &SigningKey) {
    batch.expect_absent(signing_key(key.id));
    batch.put(signing_key(key.id), encode_signing_key(key));
}

/// A token just made; its secret is never to be had again.
#[derive(Debug)]
pub struct NewToken {
    /// Its name in listings.
    pub id: TokenId,
    /// The secret.
    pub secret: TokenSecret,
    /// When it ends.
    pub expires: Timestamp,
}

fn new_token(
    kind: TokenKind,
    user: OwnerId,
    scopes: Scopes,
    at: Timestamp,
    lifetime: u64,
    sign_in: Option<u64>,
) -> Result<(NewToken, TokenRecord)> {
    let secret = TokenSecret::generate(kind)?;
    let token = NewToken { id: TokenId::random()?, secret, expires: at.plus_seconds(lifetime) };
    let record = TokenRecord {
        id: token.id,
        kind: kind as u8,
        user,
        hash: hex::encode(token.secret.hash().0),
        tail: token.secret.tail().to_owned(),
        scopes: scopes.bits(),
        created: at.0,
        expires: token.expires.0,
        sign_in,
        limits: None,
    };
    Ok((token, record))
}

impl Registry {
    /// Makes a personal token for a user, without limits.
    ///
    /// # Errors
    /// As [`Self::issue_limited_token`].
    pub async fn issue_token(
        &self,
        grant: &Grant<ManageOwner>,
        scopes: Scopes,
        lifetime: u64,
    ) -> Result<NewToken> {
        self.issue_limited_token(grant, scopes, lifetime, Limits::default()).await
    }

    /// Makes a personal token for a user.
    ///
    /// # Errors
    /// Forbidden when the caller is neither that user nor the operator (a token is the user, and an administrator is
    /// not), and when the token would be able to do more than what the caller signed in with.
    pub async fn issue_limited_token(
        &self,
        grant: &Grant<ManageOwner>,
        scopes: Scopes,
        lifetime: u64,
        limits: Limits,
    ) -> Result<NewToken> {
        let user = grant.target();
        let caller = grant.caller();
        if caller.actor != Actor::Operator && caller.user() != Some(user.id) {
            return Err(Error::new(Kind::Forbidden(Reason::Role), "only the user itself can make a token"));
        }
        let (token, record) =
            self.token_for(grant, user.id, TokenKind::Personal, scopes, lifetime, limits).await?;
        let mut under = self.under(grant);
        loop {
            if self.account(grant).await?.kind != AccountKind::User {
                return Err(Error::invalid(
                    What::Owner,
                    "only users have tokens; make one for a member or a robot",
                ));
            }
            let mut batch = Batch::new();
            batch.replace(None, Some(&record));
            let limited = if record.limits.is_some() { " limited" } else { "" };
            let detail = format!("token:{} {scopes}{limited}", record.id);
            events::rights(&mut batch, events::stream_of_owner(user.id), caller, "token.create", detail);
            if under.commit(batch).await? == Outcome::Done {
                return Ok(token);
            }
        }
    }

    /// A token that the caller may make for somebody, to be stored.
    ///
    /// # Errors
    /// Forbidden when it would be able to do more than what the caller signed in with; invalid when it could do nothing, or
    /// would live too long.
    pub(super) async fn token_for(
        &self,
        grant: &Grant<ManageOwner>,
        user: OwnerId,
        kind: TokenKind,
        scopes: Scopes,
        lifetime: u64,
        limits: Limits,
    ) -> Result<(NewToken, TokenRecord)> {
        let caller = grant.caller();
        if scopes.and(caller.scopes) != scopes {
            return Err(Error::new(
                Kind::Forbidden(Reason::Scope),
                "a token cannot make one that may do more than itself",
            ));
        }
        if scopes.bits() == 0 {
            return Err(Error::invalid(What::Token, "a token needs a scope at least"));
        }
        if lifetime == 0 || lifetime > MAX_LIFETIME {
            let most = MAX_LIFETIME / DAY;
            return Err(Error::invalid(
                What::Token,
                format!("a token lives a day at least and {most} days at most"),
            ));
        }
        self.check_limits(caller, &limits).await?;
        let (token, record) = new_token(kind, user, scopes, grant.at(), lifetime, None)?;
        if caller.expires.is_some_and(|end| end < token.expires) {
            let text = "a token cannot make one that lives longer than itself";
            return Err(Error::new(Kind::Forbidden(Reason::TokenLimit), text));
        }
        let limits = Some(limits).filter(|limits| !limits.are_none());
        let record = TokenRecord { limits, ..record };
        Ok((token, record))
    }

    /// Makes a refresh token for a caller who signed in with a password: it stands for that password until it changes.
    ///
    /// # Errors
    /// Unauthenticated when the caller signed in otherwise, or the sign-in is no longer good.
    pub async fn issue_refresh(&self, caller: &Caller) -> Result<NewToken> {
        let (Actor::User(user), Some(sign_in), None) = (caller.actor, caller.sign_in, caller.credential)
        else {
            let kind = Kind::Unauthenticated(Challenge::Insufficient);
            return Err(Error::new(kind, "a refresh token is made for a password only"));
        };
        let (token, record) =
            new_token(TokenKind::Refresh, user, Scopes::ALL, caller.at, REFRESH_LIFETIME, Some(sign_in))?;
        let mut caller = caller.clone();
        loop {
            let mut batch = Batch::new();
            revisions::expect(&mut batch, &caller.revisions);
            batch.replace(None, Some(&record));
            let detail = format!("token:{} refresh", record.id);
            events::rights(&mut batch, events::stream_of_owner(user), &caller, "token.create", detail);
            let prefix = TokenRecord::of_user_kind(user, TokenKind::Refresh);
            let held = self.meta.scan(&prefix, None, MAX_REFRESH).await?;
            if held.len() >= MAX_REFRESH
                && let Some(oldest) = held.first().and_then(|(key, _)| TokenRecord::id_in(key))
                && let Some(old) = by_id(self.meta.as_ref(), oldest).await?
            {
                batch.replace(Some(&old), None);
                revisions::bump(&mut batch, Subject::Credential(oldest));
            }
            match self.meta.commit(batch).await {
                Ok(_) => return Ok(token),
                Err(CommitError::Failed(error)) => return Err(error),
                Err(CommitError::Conflict(_) | CommitError::Quota(_)) => {
                    caller = crate::auth::recheck(self.directory.as_ref(), &caller).await?;
                }
            }
        }
    }

    /// A user's tokens, oldest first of each kind.
    pub async fn tokens(&self, grant: &Grant<ManageOwner>) -> Result<Vec<TokenRecord>> {
        self.tokens_of(grant.target().id).await
    }

    /// The tokens of a user or a robot.
    pub(super) async fn tokens_of(&self, user: OwnerId) -> Result<Vec<TokenRecord>> {
        let view = self.meta.snapshot()?;
        let mut tokens = Vec::new();
        for (key, _) in accounts::walk(view.as_ref(), &TokenRecord::of_user(user)).await? {
            if let Some(id) = TokenRecord::id_in(&key) {
                tokens.extend(by_id(view.as_ref(), id).await?);
            }
        }
        Ok(tokens)
    }

    /// Ends all tokens of an account that is removed.
    pub(super) async fn end_tokens(&self, batch: &mut Batch, user: OwnerId) -> Result<()> {
        for token in self.tokens_of(user).await? {
            batch.replace(Some(&token), None);
            revisions::bump(batch, Subject::Credential(token.id));
        }
        Ok(())
    }

    /// Whose token this is, and who rules that: the user itself, or the robot's owner.
    pub async fn token_user(&self, _grant: &Grant<Operate>, id: TokenId) -> Result<(String, String)> {
        let view = self.meta.snapshot()?;
        let token = by_id(view.as_ref(), id).await?.ok_or_else(|| unknown(id))?;
        let user = accounts::by_id(view.as_ref(), token.user).await?.ok_or_else(|| unknown(id))?;
        let ruler = match user.robot_of {
            Some(owner) => accounts::by_id(view.as_ref(), owner).await?.ok_or_else(|| unknown(id))?.folded(),
            None => user.folded(),
        };
        Ok((user.folded(), ruler))
    }

    /// Ends a token of a user or of one of its robots: it is refused from the next request on.
    ///
    /// # Errors
    /// Not found when they have no such token, be it that somebody else does.
    pub async fn revoke_token(&self, grant: &Grant<ManageOwner>, id: TokenId) -> Result<()> {
        let user = grant.target().id;
        let mut under = self.under(grant);
        loop {
            let old = by_id(self.meta.as_ref(), id).await?.ok_or_else(|| unknown(id))?;
            let robot = accounts::by_id(self.meta.as_ref(), old.user).await?;
            if old.user != user && robot.is_none_or(|robot| robot.robot_of != Some(user)) {
                return Err(unknown(id));
            }
            let mut batch = Batch::new();
            batch.replace(Some(&old), None);
            revisions::bump(&mut batch, Subject::Credential(id));
            let detail = format!("token:{id}");
            events::rights(&mut batch, events::stream_of_owner(user), grant.caller(), "token.revoke", detail);
            if under.commit(batch).await? == Outcome::Done {
                return Ok(());
            }
        }
    }

    /// Deletes tokens that have expired. They were refused already, so no revision counts it. Says how many went.
    pub async fn expire_tokens(&self, at: Timestamp) -> Result<usize> {
        let mut gone = 0;
        let (mut unread, mut unreadable) = (0, None);
        let mut after = None;
        loop {
            let page = self.meta.scan(&TokenRecord::all(), after.as_ref(), 256).await?;
            let Some((last, _)) = page.last() else {
                if let Some(error) = unreadable {
                    tracing::error!(unread, %error, "tokens cannot be read, and stay");
                }
                return Ok(gone);
            };
            after = Some(last.clone());
            for (_, bytes) in &page {
                let token = match TokenRecord::decode(bytes) {
                    Ok(token) => token,
                    // What cannot be read stays, signs nobody in, and keeps nothing behind it waiting.
                    Err(error) => {
                        unread += 1;
                        unreadable.get_or_insert(error);
                        continue;
                    }
                };
                if token.expires > at.0 {
                    continue;
                }
                let mut batch = Batch::new();
                batch.replace(Some(&token), None);
                gone += usize::from(self.commit_job(batch).await? == Outcome::Done);
            }
        }
    }

    /// Gives the installation a new signing key when the newest is old, and forgets those that nothing is signed with any
    /// more. Says whether it did.
    pub async fn rotate_keys(&self, at: Timestamp) -> Result<bool> {
        let keys = keys(self.meta.as_ref()).await?;
        if keys.first().is_some_and(|newest| newest.created.plus_seconds(KEY_LIFETIME) > at) && keys.len() > 1
        {
            return Ok(false);
        }
        let mut batch = Batch::new();
        put_key(&mut batch, &SigningKey::generate(at)?);
        for old in keys.iter().skip(KEYS - 1) {
            batch.delete(signing_key(old.id));
        }
        let done = self.commit_job(batch).await? == Outcome::Done;
        self.directory.forget_keyring();
        Ok(done)
    }
}

fn unknown(id: TokenId) -> Error {
    Error::not_found(What::Token, format!("there is no token {id}"))
}
