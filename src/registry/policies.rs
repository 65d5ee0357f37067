//! Policies of owners and packages: kept, and the half of them that protects tags.
//!
//! A tag is immutable if its package's policy says so or its owner's: an owner's protection is not for a package to lift.
//! What goes by itself is the package's to say; a package that says nothing leaves it to its owner.
//!
//! Every batch that moves or deletes a tag expects the policies it was judged by, so that of a policy and a push at once
//! one comes first and the other knows.

use super::{
    Registry, events,
    records::{PolicyOf, PolicyRecord, Retention},
    revisions::Outcome,
};
use crate::{
    auth::{Grant, Manage, ManageOwner, PackageTarget},
    error::{Error, Kind, Reason, Result, What},
    model::{OwnerId, Tag, TagPattern, TagPatterns},
    store::{Batch, Key, Record},
};

/// A policy, without whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// Tags that are never moved or deleted once they are there.
    pub immutable: TagPatterns,
    /// What goes by itself.
    pub retention: Option<Retention>,
}

impl Rules {
    /// A policy that says something, and nothing that contradicts itself.
    ///
    /// # Errors
    /// Invalid when it does not.
    pub fn checked(
        immutable: &[String],
        except: &[String],
        keep_all: bool,
        retention: Retention,
    ) -> Result<Self> {
        let immutable = TagPatterns::parse(immutable, except)?;
        let refuse = |text: &'static str| Err(Error::invalid(What::Request, text));
        if immutable.is_empty() && !except.is_empty() {
            return refuse("an exception needs something to be excepted from");
        }
        if keep_all && retention != Retention::default() {
            return refuse("to keep all and to let something go are two policies");
        }
        if !retention.keep_tags.is_empty() && retention.is_idle() {
            return refuse(
                "keeping some tags lets no others go; say with keep-last or keep-younger what else stays",
            );
        }
        let retention = (keep_all || !retention.is_idle()).then_some(retention);
        if immutable.is_empty() && retention.is_none() {
            return refuse("this policy says nothing; to take one away, clear it");
        }
        Ok(Self { immutable, retention })
    }
}

/// The policies in force for a package, as they were read.
#[derive(Debug, Clone, Default)]
pub(crate) struct InForce {
    read: Vec<(Key, Option<PolicyRecord>)>,
}

impl InForce {
    /// Expects, in a batch, that they are still in force.
    pub(crate) fn stay_in(&self, batch: &mut Batch) {
        for (key, policy) in &self.read {
            batch.expect_equals(key.clone(), policy.as_ref().map(Record::value));
        }
    }

    /// The pattern by which a tag is immutable, if it is.
    pub(crate) fn immutable(&self, tag: &str) -> Option<&TagPattern> {
        self.read.iter().flat_map(|(_, policy)| policy).find_map(|policy| policy.immutable.find(tag))
    }

    /// Whether any tag at all is.
    pub(crate) fn protects(&self) -> bool {
        self.read.iter().flat_map(|(_, policy)| policy).any(|policy| !policy.immutable.is_empty())
    }

    /// What goes by itself: the package's rules, or else its owner's.
    pub(crate) fn retention(&self) -> Option<&Retention> {
        self.read.iter().flat_map(|(_, policy)| policy).find_map(|policy| policy.retention.as_ref())
    }

    /// Refuses to move or delete an immutable tag.
    pub(crate) fn check(&self, tag: &Tag) -> Result<()> {
        let Some(pattern) = self.immutable(tag.as_str()) else { return Ok(()) };
        let text = format!(
            "the tag {tag} is immutable here (policy: {}): it is neither moved nor deleted; push under another tag",
            pattern.as_str()
        );
        Err(Error::new(Kind::Forbidden(Reason::Policy), text))
    }
}

impl Registry {
    /// The policies in force for a package, its own first.
    pub(crate) async fn in_force(&self, package: &PackageTarget) -> Result<InForce> {
        let keys = [PolicyOf::Package(package.id), PolicyOf::Owner(package.owner)].map(PolicyRecord::key_of);
        let values = self.meta.multi_get(&keys).await?;
        let mut read = Vec::new();
        for (key, value) in keys.into_iter().zip(values) {
            read.push((key, value.map(|value| PolicyRecord::decode(&value)).transpose()?));
        }
        Ok(InForce { read })
    }

    async fn policy_of(&self, of: PolicyOf) -> Result<Option<PolicyRecord>> {
        let value = self.meta.get(&PolicyRecord::key_of(of)).await?;
        value.map(|value| PolicyRecord::decode(&value)).transpose()
    }

    /// A package's own policy.
    pub async fn package_policy(&self, grant: &Grant<Manage>) -> Result<Option<Rules>> {
        Ok(self.policy_of(PolicyOf::Package(grant.target().id)).await?.map(rules))
    }

    /// An owner's policy for all its packages.
    pub async fn owner_policy(&self, grant: &Grant<ManageOwner>) -> Result<Option<Rules>> {
        Ok(self.policy_of(PolicyOf::Owner(grant.target().id)).await?.map(rules))
    }

    /// Sets a package's policy, or takes it away.
    pub async fn set_package_policy(&self, grant: &Grant<Manage>, rules: Option<Rules>) -> Result<()> {
        let of = PolicyOf::Package(grant.target().id);
        let mut under = self.under(grant);
        loop {
            let old = self.policy_of(of).await?;
            let Some(mut batch) = replacement(of, old, rules.clone(), grant.at().0) else { return Ok(()) };
            let stream = events::stream_of(grant.target().owner, grant.target().id);
            events::rights(&mut batch, stream, grant.caller(), "package.policy", said(rules.as_ref())?);
            if under.commit(batch).await? == Outcome::Done {
                return Ok(());
            }
        }
    }

    /// Sets an owner's policy, or takes it away.
    pub async fn set_owner_policy(&self, grant: &Grant<ManageOwner>, rules: Option<Rules>) -> Result<()> {
        let of = PolicyOf::Owner(grant.target().id);
        let mut under = self.under(grant);
        loop {
            let old = self.policy_of(of).await?;
            let Some(mut batch) = replacement(of, old, rules.clone(), grant.at().0) else { return Ok(()) };
            let stream = events::stream_of_owner(grant.target().id);
            events::rights(&mut batch, stream, grant.caller(), "owner.policy", said(rules.as_ref())?);
            if under.commit(batch).await? == Outcome::Done {
                return Ok(());
            }
        }
    }

    /// Takes an owner's policy away, in the batch that removes the owner.
    pub(crate) fn forget_policy(batch: &mut Batch, owner: OwnerId) {
        batch.delete(PolicyRecord::key_of(PolicyOf::Owner(owner)));
    }
}

fn rules(policy: PolicyRecord) -> Rules {
    Rules { immutable: policy.immutable, retention: policy.retention }
}

/// The batch that replaces a policy; `None` when nothing changes.
fn replacement(of: PolicyOf, old: Option<PolicyRecord>, new: Option<Rules>, set: u64) -> Option<Batch> {
    if old.clone().map(rules) == new {
        return None;
    }
    let Rules { immutable, retention } = new.clone().unwrap_or_default();
    let record = new.map(|_| PolicyRecord { of, immutable, retention, set });
    let mut batch = Batch::new();
    batch.replace(old.as_ref(), record.as_ref());
    Some(batch)
}

fn said(rules: Option<&Rules>) -> Result<String> {
    let Some(rules) = rules else { return Ok("none".to_owned()) };
    let value = serde_json::json!({ "immutable": rules.immutable, "retention": rules.retention });
    serde_json::to_string(&value).map_err(Error::internal)
}
