//! What the decision rests on, and what follows from it.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use super::{Fate, Seen, evaluate};
use crate::{
    auth::{Caller, Delete, Grant, PackageTarget, Subject},
    error::{Error, Kind, Reason, Result},
    model::{Digest, Tag, Timestamp},
    registry::{
        Registry, Trust, packages,
        policies::InForce,
        records::{ManifestRecord, PackageRecord, PolicyRecord, Retention, TagRecord},
        removal::Author,
        revisions::{self, Outcome},
    },
    store::{Key, MetadataRead},
};

/// How far the job has come in its walk over the packages. Forgotten at a restart: then it begins anew.
#[derive(Debug, Default)]
pub struct Cursor(Mutex<Option<Key>>);

impl Cursor {
    fn get(&self) -> Option<Key> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, key: Option<Key>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = key;
    }
}

/// The fates of a package's versions: what goes first, each index before what it names.
#[derive(Debug, Default)]
pub struct Plan {
    /// A version and what becomes of it.
    pub fates: Vec<(Seen, Fate)>,
    /// How many go.
    pub going: usize,
}

/// Packages looked at in one step of the job.
const PACKAGES: usize = 64;
/// Keys read at once.
const STRIDE: usize = 1000;

impl Registry {
    /// What the rules in force say of a package's versions now.
    pub async fn retention_plan(&self, grant: &Grant<Delete>) -> Result<Plan> {
        let policies = self.in_force(grant.target()).await?;
        self.plan(grant.target(), &policies, grant.at()).await
    }

    /// Deletes what the rules let go, at most `limit` versions; says how many.
    ///
    /// # Errors
    /// Unavailable while the clock is not believed, or the registry takes no changes.
    pub async fn retain(&self, grant: &Grant<Delete>, limit: usize) -> Result<usize> {
        let trust = self.time().trust;
        if trust != Trust::Steady {
            let text = format!("{trust}: nothing is deleted by time until `packhouse clock accept`");
            return Err(Error::new(Kind::Unavailable, text));
        }
        if self.read_only() {
            return Err(Error::new(Kind::Unavailable, "the registry is read-only and deletes nothing"));
        }
        let (done, _) = self.retain_as(grant.caller(), grant.target(), limit).await?;
        Ok(done)
    }

    /// A step of the job: goes on over the packages, and deletes about `limit` versions. Says whether there is more.
    pub async fn retain_all(&self, caller: &Caller, limit: usize) -> Result<bool> {
        if !self.meta.any(&PolicyRecord::all()).await? {
            return Ok(false);
        }
        let mut left = limit;
        let page = self.meta.scan(&PackageRecord::paths(""), self.retained.get().as_ref(), PACKAGES).await?;
        for (key, _) in &page {
            if let Some(id) = PackageRecord::id_in(key)
                && let Some(package) = packages::by_id(self.meta.as_ref(), id).await?
                && package.deleted.is_none()
            {
                let target = package.target()?;
                let (done, more) = match self.retain_as(caller, &target, left).await {
                    Ok(outcome) => outcome,
                    Err(error) if error.kind() == Kind::Internal => {
                        // A record that cannot be read keeps this package as it is, and not those behind it.
                        tracing::error!(package = %target.name, %error, "retention passes a package by");
                        (0, false)
                    }
                    Err(error) => return Err(error),
                };
                left = left.saturating_sub(done);
                if more {
                    return Ok(true);
                }
            }
            self.retained.set(Some(key.clone()));
        }
        let more = page.len() == PACKAGES;
        if !more {
            self.retained.set(None);
        }
        Ok(more)
    }

    /// Deletes what goes from one package; says how much, and whether there is more.
    async fn retain_as(
        &self,
        caller: &Caller,
        package: &PackageTarget,
        limit: usize,
    ) -> Result<(usize, bool)> {
        let policies = self.in_force(package).await?;
        let plan = self.plan(package, &policies, caller.at).await?;
        let mut done = 0;
        for (seen, fate) in plan.fates.iter().take(plan.going) {
            if done >= limit {
                return Ok((done, true));
            }
            let why = format!("retention: {}", fate.why);
            let author = Author { package, caller, why: Some(&why) };
            done += usize::from(self.retire(author, seen, &policies).await?);
        }
        Ok((done, false))
    }

    /// Deletes a version as it was seen, under the policies that were read. `false`: something changed since, so it is not
    /// for this decision to say.
    async fn retire(&self, author: Author<'_>, seen: &Seen, policies: &InForce) -> Result<bool> {
        let package = author.package.id;
        // Read first: deleting, restoring or handing over the package from here on makes the batch fail.
        let known = revisions::read(self.meta.as_ref(), &[Subject::Package(package)]).await?;
        let there = packages::by_id(self.meta.as_ref(), package).await?;
        if there.is_none_or(|package| package.deleted.is_some()) {
            return Ok(false);
        }
        let record = self.manifest_record(package, &seen.digest).await?;
        let Some(record) = record.filter(|record| record.deleted.is_none() && record.pushed == seen.pushed)
        else {
            return Ok(false);
        };
        // What was just pushed without a tag may wait for the index that will name it, as long as a blob would.
        let fresh = record.pushed.plus_seconds(self.settings().lease_ttl) > author.caller.at;
        if seen.tags.is_empty() && fresh {
            return Ok(false);
        }
        let mut batch = match self.removal(author, &record, Some(&seen.tags)).await {
            Ok(Some(batch)) => batch,
            Ok(None) => return Ok(false),
            // An index came to name it, or a policy to protect it.
            Err(error) if matches!(error.kind(), Kind::Forbidden(Reason::InUse | Reason::Policy)) => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        policies.stay_in(&mut batch);
        revisions::expect(&mut batch, &known);
        Ok(self.commit_job(batch).await? == Outcome::Done)
    }

    async fn plan(&self, package: &PackageTarget, policies: &InForce, at: Timestamp) -> Result<Plan> {
        let Some(rules) = policies.retention().filter(|rules| !rules.is_idle()) else {
            return Ok(Plan::default());
        };
        let view = self.meta.snapshot()?;
        let seen = seen(view.as_ref(), package, policies).await?;
        Ok(planned(seen, rules, at))
    }
}

fn planned(seen: Vec<Seen>, rules: &Retention, at: Timestamp) -> Plan {
    let fates = evaluate(&seen, rules, at);
    let (seen, fates): (Vec<_>, Vec<_>) = seen.into_iter().zip(fates).filter(|(seen, _)| !seen.gone).unzip();
    let going = fates.iter().filter(|fate| fate.goes).count();
    let order = outermost_first(&seen);
    let mut fates: Vec<_> = seen.into_iter().zip(fates).collect();
    // Sorting is stable: of what goes, what names others before them; then what stays, the newest first.
    fates.sort_by_key(|(seen, fate)| {
        let place = if fate.goes { order.get(&seen.digest).copied().unwrap_or_default() } else { 0 };
        (!fate.goes, place, std::cmp::Reverse(seen.touched))
    });
    Plan { fates, going }
}

/// How far each version is from one that nothing names, at most. Digests allow no circle, so the walk ends.
fn outermost_first(all: &[Seen]) -> HashMap<Digest, usize> {
    let named_by = |digest: &Digest, named: &HashMap<Digest, usize>| named.get(digest).copied().unwrap_or(0);
    let mut parents: HashMap<Digest, usize> = HashMap::new();
    for child in all.iter().flat_map(|one| &one.children) {
        *parents.entry(*child).or_default() += 1;
    }
    let by_digest: HashMap<Digest, &Seen> = all.iter().map(|one| (one.digest, one)).collect();
    let mut ready: Vec<Digest> =
        all.iter().map(|one| one.digest).filter(|digest| named_by(digest, &parents) == 0).collect();
    let mut order = HashMap::new();
    while let Some(digest) = ready.pop() {
        order.insert(digest, order.len());
        for child in by_digest.get(&digest).into_iter().flat_map(|one| &one.children) {
            if let Some(count) = parents.get_mut(child) {
                *count -= 1;
                if *count == 0 {
                    ready.push(*child);
                }
            }
        }
    }
    order
}

/// The versions of a package at one moment, also those that are deleted and kept.
async fn seen(view: &dyn MetadataRead, package: &PackageTarget, policies: &InForce) -> Result<Vec<Seen>> {
    let mut tags: HashMap<Digest, Vec<TagRecord>> = HashMap::new();
    let prefix = TagRecord::all(package.id);
    let mut after = None;
    loop {
        let page = view.scan(&prefix, after.as_ref(), STRIDE).await?;
        for (key, value) in &page {
            let text =
                TagRecord::text_in(key, &prefix).ok_or_else(|| Error::internal("a tag's key is no text"))?;
            let tag = TagRecord::decode(package.id, Tag::parse(text)?, value)?;
            tags.entry(tag.digest).or_default().push(tag);
        }
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
    }
    let mut all = Vec::new();
    let prefix = ManifestRecord::all(package.id);
    let mut after = None;
    loop {
        let page = view.scan(&prefix, after.as_ref(), STRIDE).await?;
        for (key, value) in &page {
            let Some((digest, _)) = key.bytes.get(prefix.bytes.len()..).and_then(Digest::read_key) else {
                continue;
            };
            let record = ManifestRecord::decode(package.id, digest, value)?;
            let tags = tags.remove(&digest).unwrap_or_default();
            let moved = tags.iter().map(|tag| tag.moved).max().unwrap_or_default();
            let immutable = |tag: &TagRecord| policies.immutable(tag.tag.as_str()).is_some();
            let children = record.targets.iter().filter(|target| target.child).map(|target| target.digest);
            all.push(Seen {
                digest,
                gone: record.deleted.is_some(),
                pushed: record.pushed,
                touched: record.pushed.max(moved),
                tags: tags.iter().map(|tag| (tag.tag.to_string(), immutable(tag))).collect(),
                subject: record.subject,
                children: children.collect(),
            });
        }
        let Some((last, _)) = page.last() else { return Ok(all) };
        after = Some(last.clone());
    }
}
