//! Source repositories: their names, who can have a role on one, and how addresses of them are compared.

use std::{fmt, str::FromStr};

use super::{OwnerId, OwnerName, TeamId};
use crate::error::{Error, Result, What};

/// The name of a source repository: its owner's and its own. The second has 1 to 100 letters, digits, `-`, `_` and `.`, is
/// shown as it was given and found in any case. Letters of other alphabets are in none, so none looks like another.
#[derive(Debug, Clone)]
pub struct RepositoryName {
    owner: String,
    repository: String,
}

impl RepositoryName {
    /// Longest name behind the owner's, in bytes.
    pub const MAX: usize = 100;

    /// Reads `OWNER/REPO`.
    pub fn parse(text: &str) -> Result<Self> {
        let (owner, repository) = text
            .split_once('/')
            .ok_or_else(|| Error::invalid(What::Name, "a source repository is named OWNER/REPO"))?;
        OwnerName::parse(owner)?;
        Self::check(repository)?;
        Ok(Self { owner: owner.to_owned(), repository: repository.to_owned() })
    }

    /// Whether this can be a repository's own name.
    ///
    /// # Errors
    /// Says what is wrong with it. A name that ends in `.git` could not be told from another one's address.
    pub fn check(repository: &str) -> Result<()> {
        let letters =
            repository.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if repository.is_empty() || repository.len() > Self::MAX || !letters {
            return Err(Error::invalid(
                What::Name,
                "a source repository's name is 1 to 100 letters, digits, '-', '_' and '.'",
            ));
        }
        if matches!(repository, "." | "..") || repository.to_ascii_lowercase().ends_with(".git") {
            return Err(Error::invalid(
                What::Name,
                "a source repository is not named '.' or '..', nor does its name end in .git",
            ));
        }
        Ok(())
    }

    /// The owner's name.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The repository's own name.
    pub fn repository(&self) -> &str {
        &self.repository
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.repository)
    }
}

impl FromStr for RepositoryName {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

/// Who can have a role on a source repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Collaborator {
    /// A user.
    User(OwnerId),
    /// A team of the organization that owns it, with the teams below it.
    Team(TeamId),
}

impl Collaborator {
    /// The bytes it has in a key: its kind, its id.
    pub fn bytes(self) -> [u8; 9] {
        let id = match self {
            Self::User(id) => id.bytes(),
            Self::Team(id) => id.bytes(),
        };
        let mut bytes = [self.kind(); 9];
        bytes[1..].copy_from_slice(&id);
        bytes
    }

    /// The byte of its kind.
    pub fn kind(self) -> u8 {
        match self {
            Self::User(_) => Self::USER,
            Self::Team(_) => Self::TEAM,
        }
    }

    /// The byte of users.
    pub const USER: u8 = 1;
    /// The byte of teams.
    pub const TEAM: u8 = 2;

    /// Reads those bytes.
    pub fn from_bytes(bytes: [u8; 9]) -> Option<Self> {
        let [kind, id @ ..] = bytes;
        let id = u64::from_be_bytes(id);
        match kind {
            Self::USER => Some(Self::User(OwnerId(id))),
            Self::TEAM => Some(Self::Team(TeamId(id))),
            _ => None,
        }
    }
}

impl fmt::Display for Collaborator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => write!(f, "user:{id}"),
            Self::Team(id) => write!(f, "team:{id}"),
        }
    }
}

/// Longest address of a source repository, in bytes.
pub const MAX_URL: usize = 256;

/// The place an address of a source repository names, in the one form in which two are compared: host and path, folded,
/// without what git clients add. `None` for what is no `http` or `https` address, or says more than a place (a password, a
/// query, a fragment).
pub fn place_of(url: &str) -> Option<String> {
    let url = url.strip_prefix("git+").unwrap_or(url);
    let (scheme, rest) = url.split_once("://")?;
    let plain = url.len() <= MAX_URL && url.bytes().all(|b| b.is_ascii_graphic());
    let http = scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http");
    if !plain || !http || rest.contains(['@', '?', '#', '%', '\\', '"', '<', '>']) {
        return None;
    }
    let (host, path) = rest.split_once('/')?;
    let path = path.trim_end_matches('/').to_ascii_lowercase();
    let path = path.strip_suffix(".git").unwrap_or(&path);
    let parts = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    let host = host.to_ascii_lowercase();
    let good =
        host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']'));
    (!host.is_empty() && good && parts).then(|| format!("{host}/{path}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn repositories_are_owner_and_name() {
        let name = RepositoryName::parse("Acme/My.App_2").unwrap();
        assert_eq!((name.owner(), name.repository()), ("Acme", "My.App_2"));
        assert_eq!(name.to_string(), "Acme/My.App_2");
        assert!(RepositoryName::parse(&format!("a/{}", "b".repeat(100))).is_ok());
        assert!(RepositoryName::parse(&format!("a/{}", "b".repeat(101))).is_err());
        for bad in [
            "",
            "acme",
            "acme/",
            "/app",
            "acme/a/b",
            "api/app",
            "acme/a b",
            "acme/.",
            "acme/..",
            "acme/a\0",
            "acme/аpp",
            "acme/app.git",
            "acme/.GIT",
            "acme/a+b",
            "a_b/app",
            "acme/a%2fb",
        ] {
            assert!(RepositoryName::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn collaborators_are_these_bytes() {
        for (who, kind) in [(Collaborator::User(OwnerId(7)), 1), (Collaborator::Team(TeamId(7)), 2)] {
            assert_eq!(who.bytes(), [kind, 0, 0, 0, 0, 0, 0, 0, 7]);
            assert_eq!(Collaborator::from_bytes(who.bytes()), Some(who));
        }
        assert_eq!(Collaborator::from_bytes([3; 9]), None);
    }

    #[test]
    fn addresses_of_one_place_are_one() {
        for url in [
            "https://git.example/Acme/App",
            "http://GIT.example/acme/app/",
            "git+https://git.example/acme/app.git",
            "HTTPS://git.example/acme/app.GIT/",
        ] {
            assert_eq!(place_of(url).as_deref(), Some("git.example/acme/app"), "{url}");
        }
        assert_eq!(place_of("http://[::1]:3000/a").as_deref(), Some("[::1]:3000/a"));
        for other in [
            "",
            "git.example/acme/app",
            "ssh://git.example/acme/app",
            "https://git.example",
            "https:///acme",
            "https://git.example/",
            "https://me:pw@git.example/acme/app",
            "https://git.example/acme/app?x",
            "https://git.example/acme/app#x",
            "https://git.example/acme//app",
            "https://git.example/acme/../b",
            "https://git.example/acme/аpp",
            "javascript://x/y",
            "https://git.example/a b",
            "https://h/a\0",
        ] {
            assert_eq!(place_of(other), None, "{other}");
        }
        assert!(place_of(&format!("https://h/{}", "a".repeat(246))).is_some());
        assert!(place_of(&format!("https://h/{}", "a".repeat(247))).is_none());
    }

    proptest! {
        #[test]
        fn nothing_panics(text: String) {
            let _ = RepositoryName::parse(&text);
            let _ = place_of(&text);
        }
    }
}
