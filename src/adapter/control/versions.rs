//! Versions of packages: listed, deleted, restored.

use serde::{Deserialize, Serialize};

use super::{
    Answer, done,
    execute::{Desk, table},
};
use crate::{
    auth::{Action, Delete, Grant, PackageTarget, Pull, Restore},
    error::{Error, Kind, Result, What},
    model::{Digest, PackageId, PackageName, Reference, Tag},
    registry::{Restored, Version, Versions},
};

/// What can be asked of versions.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum VersionCommand {
    /// Lists the versions of a package.
    List {
        /// Which.
        package: String,
        /// Those that can be restored, not those that are there.
        deleted: bool,
    },
    /// Lists the packages that can be restored.
    Packages {
        /// Of one owner.
        owner: Option<String>,
    },
    /// Deletes a package, a version or a tag.
    Delete {
        /// `PACKAGE[:TAG|@DIGEST]`.
        what: String,
    },
    /// Restores one.
    Restore {
        /// `PACKAGE[:TAG|@DIGEST]`.
        what: String,
        /// Which package, where several of the name were deleted.
        id: Option<String>,
    },
}

/// Reads `PACKAGE[:TAG|@DIGEST]`. No name of a package holds a colon or an at sign.
fn parse(what: &str) -> Result<(PackageName, Option<Reference>)> {
    if let Some((name, digest)) = what.split_once('@') {
        return Ok((PackageName::parse(name)?, Some(Reference::Digest(Digest::parse(digest)?))));
    }
    match what.split_once(':') {
        Some((name, tag)) => Ok((PackageName::parse(name)?, Some(Reference::Tag(Tag::parse(tag)?)))),
        None => Ok((PackageName::parse(what)?, None)),
    }
}

fn is_absent(error: &Error) -> bool {
    matches!(error.kind(), Kind::NotFound(_))
}

fn no_package(name: &PackageName) -> Error {
    Error::not_found(What::Package, format!("there is no package {name}, nor a deleted one"))
}

impl Desk<'_> {
    pub(super) async fn version(&self, command: VersionCommand) -> Result<Answer> {
        match command {
            VersionCommand::List { package, deleted } => self.versions(&package, deleted).await,
            VersionCommand::Packages { owner } => self.deleted_packages(owner.as_deref()).await,
            VersionCommand::Delete { what } => self.delete(&what).await,
            VersionCommand::Restore { what, id } => self.restore(&what, id.as_deref()).await,
        }
    }

    /// The right to do something to a package; one that is deleted is said to be, since it can be restored.
    async fn live<A>(&self, name: &PackageName) -> Result<Grant<A>>
    where
        A: Action<Target = PackageTarget>,
    {
        match self.registry.policy().authorize::<A>(&self.caller, name).await {
            Err(error) if is_absent(&error) => match self.deleted(name, None).await {
                Ok(_) => Err(Error::not_found(
                    What::Package,
                    format!("the package {name} is deleted; packhouse package restore {name} brings it back"),
                )),
                Err(_) => Err(no_package(name)),
            },
            other => other,
        }
    }

    async fn deleted(&self, name: &PackageName, id: Option<PackageId>) -> Result<Grant<Restore>> {
        self.registry.policy().authorize_deleted::<Restore>(&self.caller, name, id).await
    }

    async fn delete(&self, what: &str) -> Result<Answer> {
        let (name, reference) = parse(what)?;
        let Some(reference) = reference else { return self.delete_package(&name).await };
        let grant = self.live::<Delete>(&name).await?;
        let deleted = match &reference {
            Reference::Digest(digest) => self.registry.delete_manifest(&grant, digest).await,
            Reference::Tag(tag) => self.registry.delete_tag(&grant, tag).await,
        };
        let until = self.registry.kept_until(self.caller.at);
        match deleted {
            Ok(()) => done(match &reference {
                Reference::Tag(_) => {
                    format!("{what} is deleted, its version stays; it can be restored until {until}")
                }
                Reference::Digest(_) => {
                    format!("{what} is deleted, with its tags; it can be restored until {until}")
                }
            }),
            // Asked for again, a deletion is done already.
            Err(error) if is_absent(&error) => {
                let restore = self.live::<Restore>(&name).await?;
                match self.registry.when_deleted(&restore, &reference).await? {
                    Some(at) => done(format!("{what} is deleted already, since {at}")),
                    None => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn delete_package(&self, name: &PackageName) -> Result<Answer> {
        match self.registry.policy().authorize::<Delete>(&self.caller, name).await {
            Ok(grant) => {
                self.registry.delete_package(&grant).await?;
                let until = self.registry.kept_until(self.caller.at);
                done(format!(
                    "{name} is deleted and its name is free; until {until} it can be restored, unless the name is taken"
                ))
            }
            Err(error) if is_absent(&error) => match self.deleted(name, None).await {
                Ok(_) => done(format!("{name} is deleted already")),
                Err(_) => Err(no_package(name)),
            },
            Err(error) => Err(error),
        }
    }

    async fn restore(&self, what: &str, id: Option<&str>) -> Result<Answer> {
        let (name, reference) = parse(what)?;
        let Some(reference) = reference else { return self.restore_package(&name, id).await };
        if id.is_some() {
            let text = "--id chooses among deleted packages; a version or a tag is restored without it";
            return Err(Error::invalid(What::Request, text));
        }
        let grant = self.live::<Restore>(&name).await?;
        let restored = match &reference {
            Reference::Digest(digest) => self.registry.restore_manifest(&grant, digest).await?,
            Reference::Tag(tag) => self.registry.restore_tag(&grant, tag).await?,
        };
        done(said(what, &reference, &restored))
    }

    async fn restore_package(&self, name: &PackageName, id: Option<&str>) -> Result<Answer> {
        let id = id.map(|id| {
            let parsed = u64::from_str_radix(id, 16).ok().filter(|_| id.len() == 16).map(PackageId);
            let text = "an id is 16 hexadecimal digits, as packhouse package list --deleted shows it";
            parsed.ok_or_else(|| Error::invalid(What::Request, text))
        });
        match self.deleted(name, id.transpose()?).await {
            Ok(grant) => {
                self.registry.restore_package(&grant).await?;
                done(format!("{name} is restored, with everything it had"))
            }
            Err(error) if is_absent(&error) => {
                match self.registry.policy().authorize::<Restore>(&self.caller, name).await {
                    Ok(_) => done(format!("{name} is not deleted")),
                    Err(_) => Err(no_package(name)),
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn versions(&self, package: &str, deleted: bool) -> Result<Answer> {
        const PAGE: usize = 256;
        let name = PackageName::parse(package)?;
        let mut versions: Vec<Version> = Vec::new();
        let mut next: Option<Digest> = None;
        loop {
            let page: Versions = if deleted {
                let grant = self.live::<Restore>(&name).await?;
                self.registry.deleted_versions(&grant, next.as_ref(), PAGE).await?
            } else {
                let grant = self.live::<Pull>(&name).await?;
                self.registry.versions(&grant, next.as_ref(), PAGE).await?
            };
            versions.extend(page.list);
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        // The newest first.
        versions.sort_by_key(|version| (std::cmp::Reverse(version.pushed), version.digest));
        let row = |version: &Version| {
            let digest = version.digest.to_string();
            [digest, version.tags.join(","), version.kind.clone(), version.pushed.to_string()]
        };
        if !deleted {
            return table(["version", "tags", "type", "pushed"], versions.iter().map(row).collect());
        }
        let rows = versions.iter().map(|version| {
            let [digest, tags, kind, pushed] = row(version);
            let (at, until) = version.deleted.unwrap_or_default();
            [digest, tags, kind, pushed, at.to_string(), until.to_string()]
        });
        table(["version", "tags", "type", "pushed", "deleted", "restorable until"], rows.collect())
    }

    async fn deleted_packages(&self, owner: Option<&str>) -> Result<Answer> {
        const PAGE: usize = 256;
        if let Some(owner) = owner {
            self.owner(owner).await?;
        }
        let mut rows = Vec::new();
        let mut last = None;
        loop {
            let page = self.registry.deleted_packages(&self.caller, owner, last.as_ref(), PAGE).await?;
            rows.extend(page.iter().map(|package| {
                let (name, id) = (package.name.to_string(), package.id.to_string());
                [name, id, package.deleted.to_string(), package.until.to_string()]
            }));
            if page.len() < PAGE {
                return table(["package", "id", "deleted", "restorable until"], rows);
            }
            last = page.into_iter().last();
        }
    }
}

/// What a restore did, in a sentence.
fn said(what: &str, reference: &Reference, restored: &Restored) -> String {
    if restored.already {
        return format!("{what} is not deleted");
    }
    let list = |tags: &[Tag]| tags.iter().map(Tag::as_str).collect::<Vec<_>>().join(", ");
    let mut text = format!("{what} is restored");
    if matches!(reference, Reference::Digest(_)) && !restored.tags.is_empty() {
        text.push_str(&format!(", with the tags {}", list(&restored.tags)));
    }
    if restored.children > 0 {
        text.push_str(&format!(", with {} versions that it names", restored.children));
    }
    if !restored.taken.is_empty() {
        text.push_str(&format!(
            "; these tags name something else now and stay so: {}",
            list(&restored.taken)
        ));
    }
    text
}
