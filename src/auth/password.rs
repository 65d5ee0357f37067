//! Passwords: argon2id on a bounded pool, and a memory of those that were right a moment ago.

use std::{net::IpAddr, num::NonZeroUsize, sync::Arc};

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use hmac::{Hmac, KeyInit, Mac};
use quick_cache::sync::Cache;
use sha2::Sha256;
use tokio::sync::Semaphore;

use super::{
    Secret,
    lockout::{Lockout, place},
};
use crate::{
    error::{Error, Kind, Result, What},
    model::{OwnerId, id::random},
};

/// Shortest password, in characters.
pub const MIN: usize = 8;
/// Longest password, in bytes: nobody types more, and hashing it must stay cheap beside argon2 itself.
pub const MAX: usize = 1024;
/// Passwords that may wait while others are hashed; more are told to come back.
const QUEUE: usize = 64;
/// Passwords remembered as right.
const REMEMBERED: usize = 4096;

/// A stored password and the sign-in number it belongs to.
#[derive(Clone, Copy)]
pub struct Stored<'a> {
    /// Whose.
    pub user: OwnerId,
    /// How many times the password has changed.
    pub sign_in: u64,
    /// The hash, in PHC form.
    pub hash: &'a str,
}

/// Hashes and checks passwords. Each hash takes 19 MiB and some 20 ms of a core, so few run at a time and few wait.
pub struct Passwords {
    running: Arc<Semaphore>,
    admitted: Arc<Semaphore>,
    /// The key of `right`: what is remembered means nothing outside this process.
    key: [u8; 32],
    right: Cache<[u8; 32], ()>,
    lockout: Lockout,
}

impl std::fmt::Debug for Passwords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passwords")
    }
}

impl Passwords {
    /// A pool of half the cores, at least one and at most four.
    pub fn new() -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let running = (cores / 2).clamp(1, 4);
        Ok(Self {
            running: Arc::new(Semaphore::new(running)),
            admitted: Arc::new(Semaphore::new(running + QUEUE)),
            key: random()?,
            right: Cache::new(REMEMBERED),
            lockout: Lockout::new(),
        })
    }

    /// The hash to store for a new password.
    ///
    /// # Errors
    /// Invalid when it is too short or too long.
    pub async fn hash(&self, password: &Secret) -> Result<String> {
        let text = password.reveal();
        if text.chars().count() < MIN || text.len() > MAX {
            return Err(Error::invalid(
                What::Request,
                format!("a password has {MIN} characters at least and {MAX} bytes at most"),
            ));
        }
        let password = password.clone();
        self.slowly(move || {
            let hash = argon2()?.hash_password(password.reveal().as_bytes());
            hash.map(|hash| hash.to_string()).map_err(|cause| Error::internal(cause.to_string()))
        })
        .await
    }

    /// Whether a password is right. With nothing stored (no such user) the answer is no and takes as long.
    ///
    /// # Errors
    /// Too many when too many others wait.
    pub async fn check(
        &self,
        stored: Option<Stored<'_>>,
        password: &Secret,
        from: Option<IpAddr>,
    ) -> Result<bool> {
        if password.reveal().len() > MAX {
            return Ok(false);
        }
        let fingerprint = match stored {
            Some(stored) => Some(self.fingerprint(stored, password, from)?),
            None => None,
        };
        if let Some(fingerprint) = &fingerprint
            && self.right.get(fingerprint).is_some()
        {
            return Ok(true);
        }
        let hash = stored.map(|stored| stored.hash.to_owned());
        let password = password.clone();
        let right = self.slowly(move || verify(hash.as_deref(), &password)).await?;
        if let (true, Some(fingerprint)) = (right, fingerprint) {
            self.right.insert(fingerprint, ());
        }
        Ok(right)
    }

    /// How often wrong ones were tried, by name.
    pub(super) fn lockout(&self) -> &Lockout {
        &self.lockout
    }

    /// Whether a password was found right a moment ago, sent from the same place: what one place may skip, another must not
    /// learn of.
    pub(super) fn remembers(
        &self,
        stored: Stored<'_>,
        password: &Secret,
        from: Option<IpAddr>,
    ) -> Result<bool> {
        let fingerprint = self.fingerprint(stored, password, from)?;
        Ok(self.right.get(&fingerprint).is_some())
    }

    /// Names a right password without keeping it. The sign-in number is in it, so a change of password forgets the old.
    fn fingerprint(&self, stored: Stored<'_>, password: &Secret, from: Option<IpAddr>) -> Result<[u8; 32]> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).map_err(Error::internal)?;
        mac.update(b"packhouse remembered password v1");
        mac.update(&stored.user.bytes());
        mac.update(&stored.sign_in.to_be_bytes());
        mac.update(&place(from));
        mac.update(password.reveal().as_bytes());
        Ok(mac.finalize().into_bytes().into())
    }

    async fn slowly<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let Ok(admitted) = Arc::clone(&self.admitted).try_acquire_owned() else {
            return Err(Error::new(Kind::TooMany { retry_after: 2 }, "too many passwords are being checked"));
        };
        let running = Arc::clone(&self.running).acquire_owned().await.map_err(Error::internal)?;
        // The permits go with the work: a client that hangs up does not make room for another before the core is free.
        let done = tokio::task::spawn_blocking(move || {
            let _permits = (admitted, running);
            work()
        });
        done.await.map_err(Error::internal)?
    }
}

/// Argon2id with the parameters of OWASP's recommendation: 19 MiB, two passes, one lane.
fn argon2() -> Result<Argon2<'static>> {
    let params = Params::new(19 * 1024, 2, 1, None).map_err(|cause| Error::internal(cause.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn verify(hash: Option<&str>, password: &Secret) -> Result<bool> {
    let password = password.reveal().as_bytes();
    let Some(hash) = hash else {
        // Nobody to compare with: the same work, so that the time says nothing.
        let mut unused = [0; 32];
        let hashed = argon2()?.hash_password_into(password, &[0; 16], &mut unused);
        return hashed.map(|()| false).map_err(|cause| Error::internal(cause.to_string()));
    };
    let parsed = PasswordHash::new(hash).map_err(|cause| Error::internal(cause.to_string()))?;
    Ok(argon2()?.verify_password(password, &parsed).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(hash: &str, sign_in: u64) -> Option<Stored<'_>> {
        Some(Stored { user: OwnerId(1), sign_in, hash })
    }

    #[tokio::test]
    async fn right_and_wrong_passwords() {
        let passwords = Passwords::new().unwrap();
        let right = Secret::new("correct horse");
        let hash = passwords.hash(&right).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(hash, passwords.hash(&right).await.unwrap(), "salted");
        for _ in 0..2 {
            assert!(passwords.check(stored(&hash, 1), &right, None).await.unwrap());
            assert!(!passwords.check(stored(&hash, 1), &Secret::new("correct horsf"), None).await.unwrap());
            assert!(!passwords.check(None, &right, None).await.unwrap());
        }
        for bad in ["", "short", &"x".repeat(MAX + 1)] {
            assert!(passwords.hash(&Secret::new(bad)).await.is_err(), "{bad:?}");
        }
        assert!(!passwords.check(None, &Secret::new("x".repeat(MAX + 1)), None).await.unwrap());
    }

    #[tokio::test]
    async fn a_right_password_is_hashed_once_until_it_changes() {
        let passwords = Passwords::new().unwrap();
        let right = Secret::new("correct horse");
        let hash = passwords.hash(&right).await.unwrap();
        assert!(passwords.check(stored(&hash, 1), &right, None).await.unwrap());
        // No permit is left: only what is remembered can be answered.
        let all = Arc::clone(&passwords.admitted)
            .acquire_many_owned(u32::try_from(passwords.admitted.available_permits()).unwrap());
        let all = all.await.unwrap();
        assert!(passwords.check(stored(&hash, 1), &right, None).await.unwrap());
        let others: [(Option<Stored<'_>>, &str); 4] = [
            (stored(&hash, 2), "correct horse"),
            (stored(&hash, 1), "correct horsf"),
            (Some(Stored { user: OwnerId(2), sign_in: 1, hash: &hash }), "correct horse"),
            (None, "correct horse"),
        ];
        for (stored, text) in others {
            let refused = passwords.check(stored, &Secret::new(text), None).await.unwrap_err();
            assert_eq!(refused.kind(), Kind::TooMany { retry_after: 2 });
        }
        drop(all);
        assert!(!passwords.check(stored(&hash, 1), &Secret::new("correct horsf"), None).await.unwrap());
    }
}
