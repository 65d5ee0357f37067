//! Owners, ecosystems and packages.

use std::{fmt, str::FromStr};

use crate::error::{Error, Result, What};

/// First path segments that belong to protocols and pages, so no owner may have them. Complete: everything else that is
/// not an owner lives under `/-/`.
pub const RESERVED: [&str; 11] =
    ["v2", "npm", "maven", "rubygems", "nuget", "api", "token", "orgs", "metrics", "healthz", "readyz"];

/// The name of a user or an organization: letters, digits and single hyphens, at most 39, neither starting nor ending
/// with a hyphen, not reserved. Compared without regard to case and shown as registered.
#[derive(Debug, Clone)]
pub struct OwnerName {
    shown: String,
}

impl OwnerName {
    /// Longest name, in bytes.
    pub const MAX: usize = 39;

    /// Whether it is spelled as a name is, be it a reserved one.
    fn is_name(text: &str) -> bool {
        let letters = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let hyphens = text.starts_with('-') || text.ends_with('-') || text.contains("--");
        !text.is_empty() && text.len() <= Self::MAX && letters && !hyphens
    }

    /// Reads an owner's name or says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self> {
        if !Self::is_name(text) {
            return Err(Error::invalid(
                What::Name,
                "an owner's name is 1 to 39 letters, digits and single hyphens, and neither starts nor ends with a hyphen",
            ));
        }
        if RESERVED.iter().any(|word| word.eq_ignore_ascii_case(text)) {
            return Err(Error::invalid(What::Name, "this name is reserved for a protocol or a page"));
        }
        Ok(Self { shown: text.to_owned() })
    }

    /// As registered.
    pub fn as_str(&self) -> &str {
        &self.shown
    }

    /// The form under which it is found: lower case.
    pub fn folded(&self) -> String {
        self.shown.to_ascii_lowercase()
    }
}

impl PartialEq for OwnerName {
    fn eq(&self, other: &Self) -> bool {
        self.shown.eq_ignore_ascii_case(&other.shown)
    }
}

impl Eq for OwnerName {}

impl fmt::Display for OwnerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl FromStr for OwnerName {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

/// The name of a robot: `OWNER+NAME`. The second is spelled as an owner's, may be any word, and is found in any case. No owner has
/// the sign in its name, so the two are never mixed up.
#[derive(Debug, Clone)]
pub struct RobotName {
    owner: String,
    robot: String,
}

impl RobotName {
    /// What stands between the two.
    pub const SIGN: char = '+';

    /// Reads `OWNER+NAME`.
    pub fn parse(text: &str) -> Result<Self> {
        let (owner, robot) = text
            .split_once(Self::SIGN)
            .ok_or_else(|| Error::invalid(What::Name, "a robot is named OWNER+NAME"))?;
        Self::of(owner, robot)
    }

    /// The robot of this name of an owner's.
    pub fn of(owner: &str, robot: &str) -> Result<Self> {
        OwnerName::parse(owner)?;
        if !OwnerName::is_name(robot) {
            return Err(Error::invalid(
                What::Name,
                "a robot's own name is 1 to 39 letters, digits and single hyphens, and neither starts nor ends with a hyphen",
            ));
        }
        Ok(Self { owner: owner.to_owned(), robot: robot.to_owned() })
    }

    /// The owner's name.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The robot's own name.
    pub fn robot(&self) -> &str {
        &self.robot
    }
}

impl fmt::Display for RobotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.owner, Self::SIGN, self.robot)
    }
}

/// The name of a team: its organization's and its own. The second is spelled as an owner's, may be any word, and is
/// found in any case.
#[derive(Debug, Clone)]
pub struct TeamName {
    organization: String,
    team: String,
}

impl TeamName {
    /// Reads `ORGANIZATION/TEAM`.
    pub fn parse(text: &str) -> Result<Self> {
        let (organization, team) = text
            .split_once('/')
            .ok_or_else(|| Error::invalid(What::Name, "a team is named ORGANIZATION/TEAM"))?;
        OwnerName::parse(organization)?;
        if !OwnerName::is_name(team) {
            return Err(Error::invalid(
                What::Name,
                "a team's name is 1 to 39 letters, digits and single hyphens, and neither starts nor ends with a hyphen",
            ));
        }
        Ok(Self { organization: organization.to_owned(), team: team.to_owned() })
    }

    /// The organization's name.
    pub fn organization(&self) -> &str {
        &self.organization
    }

    /// The team's own name.
    pub fn team(&self) -> &str {
        &self.team
    }
}

impl fmt::Display for TeamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.organization, self.team)
    }
}

/// The protocol family a package belongs to. A package's identity is owner, ecosystem and name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ecosystem {
    /// OCI images and artifacts.
    Container = 1,
    /// npm packages.
    Npm = 2,
    /// Maven and Gradle artifacts.
    Maven = 3,
    /// Ruby gems.
    RubyGems = 4,
    /// NuGet packages.
    NuGet = 5,
}

impl Ecosystem {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Container, Self::Npm, Self::Maven, Self::RubyGems, Self::NuGet];

    /// The word for it; also the first component of its OCI repositories, except for containers.
    pub fn word(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Npm => "npm",
            Self::Maven => "maven",
            Self::RubyGems => "rubygems",
            Self::NuGet => "nuget",
        }
    }

    /// Reads the byte of a stored record.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|ecosystem| *ecosystem as u8 == code)
    }

    fn of_prefix(component: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|e| *e != Self::Container && e.word() == component)
    }
}

/// A package: owner, ecosystem and the rest of its OCI repository path.
///
/// Invariants: the whole path fits the distribution-spec grammar and 255 bytes; the rest has one component or more. The
/// owner's part is folded to lower case, as the grammar knows no upper case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PackageName {
    ecosystem: Ecosystem,
    owner: String,
    rest: String,
}

impl PackageName {
    /// Longest repository path, in bytes; many clients refuse longer ones.
    pub const MAX: usize = 255;

    /// Reads an OCI repository path: `OWNER/NAME[/MORE…]`, or `TYPE/OWNER/NAME` for the other ecosystems.
    ///
    /// # Errors
    /// [`What::Name`] invalid when the path does not fit the grammar; not found, with advice, when it has one component.
    pub fn parse(path: &str) -> Result<Self> {
        if path.len() > Self::MAX || !path.split('/').all(is_component) {
            return Err(Error::invalid(
                What::Name,
                "a repository is OWNER/NAME: lower-case letters and digits, joined by '.', '_', '__' or hyphens, \
                 components separated by '/', 255 bytes at most",
            ));
        }
        let (first, rest) = path.split_once('/').ok_or_else(|| {
            Error::not_found(What::Name, format!("repositories are named OWNER/NAME: use YOUR-NAME/{path}"))
        })?;
        let (ecosystem, owner, rest) = match Ecosystem::of_prefix(first) {
            None => (Ecosystem::Container, first, rest),
            Some(ecosystem) => {
                let (owner, rest) = rest.split_once('/').ok_or_else(|| {
                    Error::not_found(
                        What::Name,
                        format!("repositories of this type are named {first}/OWNER/NAME"),
                    )
                })?;
                (ecosystem, owner, rest)
            }
        };
        // An owner that no account can have: such a repository cannot exist, and the reason is worth a sentence.
        OwnerName::parse(owner)?;
        Ok(Self { ecosystem, owner: owner.to_owned(), rest: rest.to_owned() })
    }

    /// Which protocol family.
    pub fn ecosystem(&self) -> Ecosystem {
        self.ecosystem
    }

    /// The owner's name, folded.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The name below the owner.
    pub fn rest(&self) -> &str {
        &self.rest
    }

    /// Puts a name together from stored parts, which were valid when they were stored.
    pub(crate) fn from_parts(ecosystem: Ecosystem, owner: &str, rest: &str) -> Self {
        Self { ecosystem, owner: owner.to_ascii_lowercase(), rest: rest.to_owned() }
    }
}

impl fmt::Display for PackageName {
    /// The OCI repository path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ecosystem != Ecosystem::Container {
            write!(f, "{}/", self.ecosystem.word())?;
        }
        write!(f, "{}/{}", self.owner, self.rest)
    }
}

impl FromStr for PackageName {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*` (distribution-spec, "Pulling manifests").
pub fn is_component(text: &str) -> bool {
    let bytes = text.as_bytes();
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if !alnum(*first) || !alnum(*last) {
        return false;
    }
    bytes
        .chunk_by(|a, b| alnum(*a) == alnum(*b))
        .all(|run| alnum(run[0]) || matches!(run, b"." | b"_" | b"__") || run.iter().all(|b| *b == b'-'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn components_follow_the_grammar() {
        for good in ["a", "0", "a.b", "a_b", "a__b", "a---b", "a-b_c.d", "blobs", "manifests", "v2"] {
            assert!(is_component(good), "{good:?}");
        }
        for bad in [
            "", ".", "..", "-", "a-", "-a", "a..b", "a___b", "a._b", "a-_b", "A", "a b", "a%2fb", "ä",
            "_oci", "a\0",
        ] {
            assert!(!is_component(bad), "{bad:?}");
        }
    }

    #[test]
    fn packages_are_owner_and_name() {
        let name = PackageName::parse("acme/app/web").unwrap();
        assert_eq!((name.ecosystem(), name.owner(), name.rest()), (Ecosystem::Container, "acme", "app/web"));
        let name = PackageName::parse("npm/acme/left-pad").unwrap();
        assert_eq!((name.ecosystem(), name.owner(), name.rest()), (Ecosystem::Npm, "acme", "left-pad"));
        let advice = PackageName::parse("alpine").unwrap_err();
        assert!(advice.public().contains("YOUR-NAME/alpine"));
        for bad in ["a--b/x", "token/x", "orgs/x", "npm/x", "npm/v2/x", "a/", "/a", "a//b", "a/../b", "a_b/x"]
        {
            assert!(PackageName::parse(bad).is_err(), "{bad:?}");
        }
        assert!(PackageName::parse(&format!("a/{}", "b".repeat(253))).is_ok());
        assert!(PackageName::parse(&format!("a/{}", "b".repeat(254))).is_err());
    }

    #[test]
    fn owners_are_found_without_regard_to_case() {
        assert_eq!(OwnerName::parse("Ada").unwrap(), OwnerName::parse("aDA").unwrap());
        assert_eq!(OwnerName::parse("Ada").unwrap().as_str(), "Ada");
        for bad in ["", "-a", "a-", "a--b", "a.b", "a_b", "NPM", "v2", "ä", &"a".repeat(40)] {
            assert!(OwnerName::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn teams_are_organization_and_team() {
        let team = TeamName::parse("Acme/Core-2").unwrap();
        assert_eq!((team.organization(), team.team()), ("Acme", "Core-2"));
        assert_eq!(team.to_string(), "Acme/Core-2");
        // What is reserved for owners is a fine name for a team.
        assert!(TeamName::parse("acme/api").is_ok());
        for bad in [
            "", "acme", "acme/", "/core", "acme/a/b", "api/core", "acme/a_b", "acme/-a", "acme/a\0", "acme/ä",
        ] {
            assert!(TeamName::parse(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_parses_prints_itself(path in "([a-z0-9._-]{1,6}/){0,3}[a-z0-9._-]{1,8}") {
            if let Ok(name) = PackageName::parse(&path) {
                prop_assert_eq!(name.to_string(), path);
            }
        }

        #[test]
        fn nothing_panics(path: String) {
            let _ = PackageName::parse(&path);
            let _ = OwnerName::parse(&path);
            let _ = TeamName::parse(&path);
        }
    }
}
