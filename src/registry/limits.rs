//! Limits of tokens: from names to ids and back, and whether one may be made.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::{Registry, accounts, packages, records::TokenRecord};
use crate::{
    auth::{Caller, Limits, Pull, Verb},
    error::{Error, Kind, Reason, Result, What},
    model::{OwnerId, PackageId, PackageName},
    store::MetadataRead,
};

/// Limits as people name them.
#[derive(Debug, Clone, Default)]
pub struct NamedLimits {
    /// Packages.
    pub packages: Vec<PackageName>,
    /// Users and organizations.
    pub owners: Vec<String>,
    /// Actions.
    pub actions: BTreeSet<Verb>,
    /// Networks.
    pub networks: Vec<IpNet>,
}

impl Registry {
    /// What these limits are, in ids.
    ///
    /// # Errors
    /// Not found for a package that is not there or that `caller` may not read, and for an owner that is not there.
    pub async fn limits_named(&self, caller: &Caller, named: &NamedLimits) -> Result<Limits> {
        let mut limits = Limits {
            actions: named.actions.clone(),
            networks: named.networks.iter().map(IpNet::trunc).collect(),
            ..Limits::default()
        };
        limits.networks.sort();
        limits.networks.dedup();
        if named.packages.len() + named.owners.len() > Limits::PLACES {
            return Err(too_many(Limits::PLACES, "packages and owners"));
        }
        for name in &named.packages {
            let grant = self.policy().authorize::<Pull>(caller, name).await?;
            limits.packages.insert(grant.target().id);
        }
        for name in &named.owners {
            let owner = accounts::by_name(self.meta.as_ref(), name).await?;
            let owner = owner.ok_or_else(|| {
                Error::not_found(What::Owner, format!("there is no user or organization named {name}"))
            })?;
            limits.owners.insert(owner.id);
        }
        Ok(limits)
    }

    /// Whether `caller` may make a token with these limits.
    ///
    /// # Errors
    /// Invalid when there are too many, forbidden when the caller's own token is limited to less.
    pub(super) async fn check_limits(&self, caller: &Caller, limits: &Limits) -> Result<()> {
        if limits.packages.len() + limits.owners.len() > Limits::PLACES {
            return Err(too_many(Limits::PLACES, "packages and owners"));
        }
        if limits.networks.len() > Limits::NETWORKS {
            return Err(too_many(Limits::NETWORKS, "networks"));
        }
        let Some(own) = &caller.limits else { return Ok(()) };
        let mut owners = BTreeMap::new();
        for id in &limits.packages {
            if let Some(package) = packages::by_id(self.meta.as_ref(), *id).await? {
                owners.insert(*id, package.owner);
            }
        }
        if limits.within(own, |package| owners.get(&package).copied()) {
            return Ok(());
        }
        let text = "a token cannot make one that is limited to less than itself";
        Err(Error::new(Kind::Forbidden(Reason::TokenLimit), text))
    }

    /// A token's limits for people, each with its kind in front.
    pub async fn limits_shown(&self, token: &TokenRecord) -> Result<Vec<String>> {
        let Some(limits) = &token.limits else { return Ok(Vec::new()) };
        let view = self.meta.snapshot()?;
        let mut shown = Vec::new();
        for package in &limits.packages {
            shown.push(format!("package:{}", package_shown(view.as_ref(), *package).await?));
        }
        for owner in &limits.owners {
            shown.push(format!("owner:{}", owner_shown(view.as_ref(), *owner).await?));
        }
        shown.extend(limits.actions.iter().map(|verb| format!("action:{}", verb.word())));
        shown.extend(limits.networks.iter().map(|network| format!("network:{network}")));
        Ok(shown)
    }
}

/// A thing that was removed has no name any more.
async fn package_shown(view: &dyn MetadataRead, id: PackageId) -> Result<String> {
    match packages::by_id(view, id).await? {
        Some(package) => Ok(package.package_name()?.to_string()),
        None => Ok(id.to_string()),
    }
}

async fn owner_shown(view: &dyn MetadataRead, id: OwnerId) -> Result<String> {
    Ok(accounts::by_id(view, id).await?.map_or_else(|| id.to_string(), |account| account.name))
}

fn too_many(most: usize, what: &str) -> Error {
    Error::invalid(What::Token, format!("a token is limited to {most} {what} at most"))
}
