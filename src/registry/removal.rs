//! Deleting tags, manifests and whole packages. What is deleted is out of everybody's reach in one batch and can be
//! restored for a while; `purge` makes it final.

use super::{
    Registry,
    events::{self, What as Event},
    manifests::unknown_manifest,
    records::{BlobRecord, DeletedTag, Hold, ManifestRecord, PackageRecord, TagRecord, blob::edges_in},
    revisions::{self, Outcome},
};
use crate::{
    auth::{Caller, Delete, Grant, PackageTarget, Subject},
    error::{Error, Kind, Reason, Result},
    model::{Digest, Reference, Tag},
    store::{Batch, Prefix},
};

/// In which package, on whose behalf and by which rule something is deleted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Author<'a> {
    pub(crate) package: &'a PackageTarget,
    pub(crate) caller: &'a Caller,
    /// What the events say of it.
    pub(crate) why: Option<&'a str>,
}

impl<'a> Author<'a> {
    fn of(grant: &'a Grant<Delete>) -> Self {
        Self { package: grant.target(), caller: grant.caller(), why: None }
    }

    fn event(&self, batch: &mut Batch, action: &str, digest: Option<&Digest>, tag: Option<&Tag>) {
        let what = Event { action, digest, tag, detail: self.why };
        let stream = events::stream_of(self.package.owner, self.package.id);
        events::of_package(batch, stream, self.caller, &what);
    }
}

impl Registry {
    /// Deletes a manifest and every tag that names it, in one batch.
    ///
    /// # Errors
    /// In use while an index of the package names it: the index would break.
    pub async fn delete_manifest(&self, grant: &Grant<Delete>, digest: &Digest) -> Result<()> {
        let mut under = self.under(grant);
        loop {
            let old = self.manifest_record(grant.target().id, digest).await?;
            let old = old.filter(|record| record.deleted.is_none());
            let old = old.ok_or_else(|| unknown_manifest(&Reference::Digest(*digest)))?;
            let Some(batch) = self.removal(Author::of(grant), &old, None).await? else { continue };
            if under.commit(batch).await? == Outcome::Done {
                return Ok(());
            }
        }
    }

    /// Deletes a tag; the manifest stays.
    pub async fn delete_tag(&self, grant: &Grant<Delete>, tag: &Tag) -> Result<()> {
        let mut under = self.under(grant);
        loop {
            let old = self.tag_record(grant.target().id, tag).await?;
            let old = old.ok_or_else(|| unknown_manifest(&Reference::Tag(tag.clone())))?;
            let batch = self.tag_removal(Author::of(grant), &old).await?;
            if under.commit(batch).await? == Outcome::Done {
                return Ok(());
            }
        }
    }

    /// Deletes a package and frees its name, in one small batch however much it holds.
    ///
    /// Nothing but its record changes: no request finds it by name any more, and each that found it before meets its
    /// revision when it writes. Its edges and leases stay as they are, and collection counts them as before; they give no
    /// right, since rights are looked for in the package of a grant, and nobody gets a grant to this one but to restore
    /// it. So deleting and restoring have nothing to convert, and collection nothing to meet half done.
    pub async fn delete_package(&self, grant: &Grant<Delete>) -> Result<()> {
        let mut under = self.under(grant);
        loop {
            let old = self.package(grant.target()).await?;
            let new = PackageRecord { deleted: Some(grant.at().0), ..old.clone() };
            let mut batch = Batch::new();
            self.expect_no_immutable(&mut batch, grant.target()).await?;
            batch.replace(Some(&old), Some(&new));
            revisions::bump(&mut batch, Subject::Package(old.id));
            events::of_whole(&mut batch, &old, grant.caller(), "package.delete")?;
            if under.commit(batch).await? == Outcome::Done {
                return Ok(());
            }
        }
    }

    /// The batch that deletes a manifest and its tags; whoever commits it adds what must be true of the package. `None`: its
    /// tags are not those that were `seen` on it.
    pub(crate) async fn removal(
        &self,
        author: Author<'_>,
        old: &ManifestRecord,
        seen: Option<&[(String, bool)]>,
    ) -> Result<Option<Batch>> {
        let (package, at) = (author.package, author.caller.at);
        let mut batch = Batch::new();
        let parents = edges_in(&old.digest, Hold::Child, package.owner, package.id);
        if self.meta.any(&parents).await? {
            return Err(Error::new(
                Kind::Forbidden(Reason::InUse),
                "an index of this repository names this manifest; delete the index first",
            ));
        }
        batch.expect_prefix(parents, Prefix::Empty, BlobRecord::key_of(&old.digest));
        let arrivals = TagRecord::arrivals(package.id, &old.digest);
        let counted = self.meta.get(&arrivals).await?;
        let tags = self.tags_of(package.id, &old.digest).await?;
        batch.expect_equals(arrivals, counted);
        let differs = |seen: &[(String, bool)]| {
            seen.len() != tags.len()
                || seen.iter().zip(&tags).any(|((text, _), tag)| text != tag.tag.as_str())
        };
        if seen.is_some_and(differs) {
            return Ok(None);
        }
        self.remove_tags(&mut batch, author, &tags, true).await?;
        // Who was told that a blob is here was promised that it stays for the manifest to come.
        for target in old.targets.iter().filter(|target| target.present && !target.manifest) {
            self.lease(&mut batch, package, &target.digest, at).await?;
        }
        let new = ManifestRecord { deleted: Some(at), ..old.clone() };
        batch.replace(Some(old), Some(&new));
        author.event(&mut batch, "manifest.delete", Some(&old.digest), None);
        Ok(Some(batch))
    }

    /// Expects that no tag of a package is immutable. One that comes while this looks goes with the package.
    async fn expect_no_immutable(&self, batch: &mut Batch, package: &PackageTarget) -> Result<()> {
        let policies = self.in_force(package).await?;
        policies.stay_in(batch);
        let prefix = TagRecord::all(package.id);
        let mut after = None;
        while policies.protects() {
            let page = self.meta.scan(&prefix, after.as_ref(), 1000).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for text in page.iter().filter_map(|(key, _)| TagRecord::text_in(key, &prefix)) {
                policies.check(&Tag::parse(text)?)?;
            }
        }
        Ok(())
    }

    /// The batch that deletes a tag alone.
    pub(crate) async fn tag_removal(&self, author: Author<'_>, old: &TagRecord) -> Result<Batch> {
        let mut batch = Batch::new();
        self.remove_tags(&mut batch, author, std::slice::from_ref(old), false).await?;
        Ok(batch)
    }

    async fn remove_tags(
        &self,
        batch: &mut Batch,
        author: Author<'_>,
        tags: &[TagRecord],
        with_manifest: bool,
    ) -> Result<()> {
        let package = author.package.id;
        if !tags.is_empty() {
            let policies = self.in_force(author.package).await?;
            tags.iter().try_for_each(|old| policies.check(&old.tag))?;
            policies.stay_in(batch);
        }
        let keys: Vec<_> =
            tags.iter().map(|old| DeletedTag::key_of(package, &old.digest, &old.tag)).collect();
        let before = self.meta.multi_get(&keys).await?;
        for (old, before) in tags.iter().zip(before) {
            let deleted = DeletedTag {
                package,
                tag: old.tag.clone(),
                digest: old.digest,
                moved: old.moved,
                deleted: author.caller.at,
                with_manifest,
            };
            let before = before
                .map(|value| DeletedTag::decode(package, old.digest, old.tag.clone(), &value))
                .transpose()?;
            batch.replace(Some(old), None);
            batch.replace(before.as_ref(), Some(&deleted));
            author.event(batch, "tag.delete", Some(&old.digest), Some(&old.tag));
        }
        Ok(())
    }
}
