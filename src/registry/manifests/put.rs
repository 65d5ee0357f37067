//! Storing a manifest.

use std::collections::HashSet;

use bytes::Bytes;

use crate::{
    auth::{Grant, PackageTarget, Push},
    error::{Error, Kind, Result, What},
    model::{
        Digest, Manifest, Reference, Tag, Timestamp,
        manifest::{Link, LinkRole},
    },
    registry::{
        Registry, Sparse, events,
        holds::{As, Holding, expect_held, is_open, review},
        packages,
        records::{
            BlobRecord, Hold, ManifestRecord, TagRecord, Target,
            blob::{edges_in, lease_key},
        },
        revisions,
        uploads::failed,
    },
    store::{Add, Batch, CommitError, Record},
};

/// What must be true of the reference before a put (RFC 9110 §13.1): compare-and-swap for tags.
#[derive(Debug, Clone, Default)]
pub enum Condition {
    /// Nothing.
    #[default]
    None,
    /// It must not exist.
    Absent,
    /// It must name one of these digests.
    Names(Vec<String>),
    /// It must exist.
    Exists,
}

/// A manifest to be stored.
#[derive(Debug)]
pub struct PutManifest {
    /// The tag or digest it is put under.
    pub reference: Reference,
    /// Further tags, for a put by digest.
    pub tags: Vec<Tag>,
    /// The request's media type.
    pub content_type: Option<String>,
    /// What must be true before.
    pub condition: Condition,
    /// The bytes.
    pub bytes: Bytes,
}

/// What was stored.
#[derive(Debug)]
pub struct Stored {
    /// The manifest's digest.
    pub digest: Digest,
    /// What it refers to.
    pub subject: Option<Digest>,
}

/// Most things a manifest may name that are not here. Each costs a change of the manifest's record when it arrives.
const ABSENT: usize = 1000;
/// Most manifests of a package that may come to want one digest: all of them change in the batch in which it arrives.
pub(crate) const WANTING: usize = 100;

/// How a link was found.
enum Found {
    /// A manifest of this package, stored with this value.
    Manifest(Bytes),
    /// A blob this package holds, and its record.
    Blob(Holding, BlobRecord),
    /// Neither; what is stored all the same: a deleted manifest, a lease that is over.
    Missing { manifest: Option<Bytes>, lease: Option<Bytes> },
}

impl Registry {
    /// Stores a manifest under a tag, a digest, or a digest and tags.
    ///
    /// # Errors
    /// [`What::Digest`] invalid when the bytes are not what the digest says; [`What::Manifest`] invalid; a
    /// [`What::ManifestBlob`] not found when it names what this package does not hold and may not be missing.
    pub async fn put_manifest(&self, grant: &Grant<Push>, put: PutManifest) -> Result<Stored> {
        self.check_space()?;
        let digest = named(&put)?;
        let manifest =
            Manifest::parse(&put.bytes, put.content_type.as_deref(), self.settings().max_descriptors)?;
        let mut rights = grant.revisions().to_vec();
        // One of all who move a tag at once wins each time, and the others decide again.
        for _ in 0..256 {
            let mut batch = self.prepare(grant, &put, &manifest, digest).await?;
            revisions::expect(&mut batch, &rights);
            match self.meta.commit(batch).await {
                Ok(_) => return Ok(Stored { digest, subject: manifest.subject }),
                Err(CommitError::Conflict(key)) if revisions::is_revision(&key) => {
                    rights = self.policy.renew(grant).await?;
                }
                // Something it names, or one of its tags, changed between reading and writing: decide again.
                Err(CommitError::Conflict(_)) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Err(Error::new(Kind::Unavailable, "the manifest is being changed by many clients at once; try again"))
    }

    async fn prepare(
        &self,
        grant: &Grant<Push>,
        put: &PutManifest,
        manifest: &Manifest,
        digest: Digest,
    ) -> Result<Batch> {
        let package = grant.target();
        let mut batch = Batch::new();
        let old = self.manifest_record(package.id, &digest).await?;
        let tags = self.tags_before(grant, put).await?;
        let current = match &put.reference {
            Reference::Tag(_) => {
                tags.first().and_then(|(_, before)| before.as_ref()).map(|before| before.digest)
            }
            Reference::Digest(_) => old.as_ref().filter(|old| old.deleted.is_none()).map(|old| old.digest),
        };
        check_condition(put, &current)?;
        if let Some(old) =
            old.as_ref().filter(|old| old.deleted.is_none() && old.media_type != manifest.media_type)
        {
            let text = format!("{digest} is already stored here as {}", old.media_type);
            return Err(Error::invalid(What::Manifest, text));
        }
        let targets = self.targets(grant, manifest, digest, &mut batch).await?;
        // Each push counts, also one of what is here: retention goes by it.
        let pushed = old.as_ref().map_or(grant.at(), |old| old.pushed.max(grant.at()));
        let new = ManifestRecord {
            package: package.id,
            owner: package.owner,
            digest,
            media_type: manifest.media_type.clone(),
            size: put.bytes.len() as u64,
            pushed,
            deleted: None,
            subject: manifest.subject,
            artifact_type: manifest.artifact_type.clone().unwrap_or_default(),
            annotations: annotations(manifest)?,
            targets,
        };
        match &old {
            Some(old) if ManifestRecord { pushed, ..old.clone() } == new => {
                batch.replace(Some(old), Some(&new));
                let body = ManifestRecord::body_key(package.id, &digest);
                // Nothing changes, unless what is stored was damaged: then this repairs it.
                if self.meta.get(&body).await?.is_none_or(|stored| stored != put.bytes) {
                    batch.put(body, put.bytes.clone());
                }
            }
            _ => {
                if let Some(old) = &old {
                    self.released(&mut batch, package, old, &new, grant.at()).await?;
                }
                batch.replace(old.as_ref(), Some(&new));
                batch.put(ManifestRecord::body_key(package.id, &digest), put.bytes.clone());
                events::record(&mut batch, grant, "manifest.put", Some(&digest), None);
            }
        }
        self.arrive(&mut batch, package, &[(digest, As::Manifest)]).await?;
        self.expect_movable(&mut batch, package, &tags, &digest).await?;
        for (tag, before) in tags {
            point(&mut batch, grant, tag, before, digest);
        }
        if package.pending {
            packages::reveal(self, &mut batch, grant).await?;
        }
        Ok(batch)
    }

    /// Expects that no policy keeps a tag from naming the manifest. What protects a tag is expected by each batch that might
    /// move it.
    async fn expect_movable(
        &self,
        batch: &mut Batch,
        package: &PackageTarget,
        tags: &[(&Tag, Option<TagRecord>)],
        digest: &Digest,
    ) -> Result<()> {
        if tags.is_empty() {
            return Ok(());
        }
        let policies = self.in_force(package).await?;
        for (tag, before) in tags {
            if before.as_ref().is_some_and(|before| before.digest != *digest) {
                policies.check(tag)?;
            }
        }
        policies.stay_in(batch);
        Ok(())
    }

    /// The tags that are to name the manifest, and what they name now. Read once: the condition is judged by what the
    /// batch then expects, so that of two who claim a free tag one gets it.
    async fn tags_before<'a>(
        &self,
        grant: &Grant<Push>,
        put: &'a PutManifest,
    ) -> Result<Vec<(&'a Tag, Option<TagRecord>)>> {
        let named = match &put.reference {
            Reference::Tag(tag) => std::slice::from_ref(tag),
            Reference::Digest(_) => &[],
        };
        let mut tags: Vec<(&Tag, Option<TagRecord>)> = Vec::new();
        for tag in named.iter().chain(&put.tags) {
            // A tag given twice moves once.
            if tags.iter().all(|(known, _)| *known != tag) {
                tags.push((tag, self.tag_record(grant.target().id, tag).await?));
            }
        }
        Ok(tags)
    }

    /// Finds what the manifest names in this package, expects it to stay, and says what is there.
    async fn targets(
        &self,
        grant: &Grant<Push>,
        manifest: &Manifest,
        digest: Digest,
        batch: &mut Batch,
    ) -> Result<Vec<Target>> {
        let package = grant.target();
        let links = manifest.links.iter().filter(|link| link.role != LinkRole::Foreign);
        let mut targets = Vec::new();
        let mut missing = Vec::new();
        let mut absent = 0;
        for link in links {
            let found = self.find(grant, link).await?;
            let child = link.role == LinkRole::Child;
            let present = match &found {
                Found::Manifest(value) => {
                    batch
                        .expect_equals(ManifestRecord::key_of(package.id, &link.digest), Some(value.clone()));
                    ManifestRecord::decode(package.id, link.digest, value)?.size == link.size
                }
                // Its bytes are damaged: a push of it repairs it, so the client is told that it is not here.
                Found::Blob(_, blob) if blob.quarantine.is_some() => {
                    missing.push(link.digest.to_string());
                    continue;
                }
                Found::Blob(holding, blob) => {
                    expect_held(batch, package, &link.digest, holding);
                    // Its bytes too: an edge from here on keeps a review from taking them, and a review before this
                    // batch makes it fail.
                    batch.expect_equals(blob.key(), Some(blob.value()));
                    blob.size == link.size
                }
                Found::Missing { manifest, lease } => {
                    let allowed = match self.settings().sparse {
                        Sparse::Off => false,
                        // What is deleted here did not merely not arrive yet: the client pushes it again.
                        Sparse::Indexes => child && manifest.is_none(),
                        Sparse::All => true,
                    };
                    if !allowed {
                        missing.push(link.digest.to_string());
                    }
                    absent += 1;
                    self.want(batch, package, &digest, &link.digest, lease.clone()).await?;
                    batch.expect_equals(ManifestRecord::key_of(package.id, &link.digest), manifest.clone());
                    targets.push(Target { digest: link.digest, present: false, manifest: false, child });
                    continue;
                }
            };
            if !present {
                let text =
                    format!("{} does not have the {} bytes its descriptor says", link.digest, link.size);
                return Err(Error::invalid(What::Manifest, text));
            }
            let manifest = matches!(found, Found::Manifest(_));
            targets.push(Target { digest: link.digest, present: true, manifest, child });
        }
        if missing.is_empty() && absent <= ABSENT {
            return Ok(targets);
        }
        if missing.is_empty() {
            let text =
                format!("the manifest names {absent} things that are not here, and {ABSENT} is the most");
            return Err(Error::invalid(What::Manifest, text));
        }
        let shown = missing.iter().take(8).map(String::as_str).collect::<Vec<_>>().join(", ");
        let text = format!("the manifest names what this repository does not hold: {shown}; push that first");
        Err(Error::not_found(What::ManifestBlob, text))
    }

    /// Looks after the blobs that a manifest named and, pushed once more, names as manifests now. Who was told that one
    /// is here was promised that it stays; one of a deleted manifest was promised to nobody.
    async fn released(
        &self,
        batch: &mut Batch,
        package: &PackageTarget,
        old: &ManifestRecord,
        new: &ManifestRecord,
        at: Timestamp,
    ) -> Result<()> {
        let is_blob = |target: &&Target| target.present && !target.manifest;
        let kept: HashSet<Digest> = new.targets.iter().filter(is_blob).map(|kept| kept.digest).collect();
        for gone in old.targets.iter().filter(is_blob).filter(|gone| !kept.contains(&gone.digest)) {
            match old.deleted {
                None => self.lease(batch, package, &gone.digest, at).await?,
                Some(_) => review(batch, &gone.digest, at),
            }
        }
        Ok(())
    }

    async fn find(&self, grant: &Grant<Push>, link: &Link) -> Result<Found> {
        let package = grant.target();
        let manifest_key = ManifestRecord::key_of(package.id, &link.digest);
        let child = match link.role {
            LinkRole::Child => Some(self.meta.get(&manifest_key).await?),
            LinkRole::Blob | LinkRole::Foreign => None,
        };
        // A child that is a deleted manifest may still be a blob.
        if let Some(Some(value)) = &child
            && ManifestRecord::decode(package.id, link.digest, value)?.deleted.is_none()
        {
            return Ok(Found::Manifest(value.clone()));
        }
        // A blob just pushed is held by its lease, so that is asked first here, unlike on a pull.
        let lease = self.meta.get(&lease_key(&link.digest, package.id)).await?;
        let holding = match lease.as_ref().filter(|value| is_open(value, self.surely(grant.at()))) {
            Some(value) => Some(Holding::Lease(value.clone())),
            None => {
                let edges = edges_in(&link.digest, Hold::Live, package.owner, package.id);
                self.meta.any(&edges).await?.then_some(Holding::Edge)
            }
        };
        // Held is asked first and the record read after: what arrives in between is then not held without a record.
        if let Some(holding) = holding
            && let Some(value) = self.meta.get(&BlobRecord::key_of(&link.digest)).await?
        {
            return Ok(Found::Blob(holding, BlobRecord::decode(link.digest, &value)?));
        }
        // A child's is the one it was judged by above. Of a layer that is here nobody needs to know it, and to look for what
        // is mostly absent is the dearest kind of read.
        let manifest = match child {
            Some(manifest) => manifest,
            None => self.meta.get(&manifest_key).await?,
        };
        Ok(Found::Missing { manifest, lease })
    }
}

/// Points a tag at a digest. The tag's old place is expected, so tags of one package move in one order for all.
fn point(batch: &mut Batch, grant: &Grant<Push>, tag: &Tag, old: Option<TagRecord>, digest: Digest) {
    let package = grant.target().id;
    match &old {
        Some(old) if old.digest == digest => batch.expect_equals(old.key(), Some(old.value())),
        _ => {
            let new = TagRecord { package, tag: tag.clone(), digest, moved: grant.at() };
            batch.replace(old.as_ref(), Some(&new));
            let arrivals = TagRecord::arrivals(package, &digest);
            batch.adds.push(Add { key: arrivals, amount: 1, at_most: None });
            events::record(batch, grant, "tag.put", Some(&digest), Some(tag));
        }
    }
}

/// The digest the manifest is stored under: the one it is put by, or its SHA-256.
fn named(put: &PutManifest) -> Result<Digest> {
    let Reference::Digest(wanted) = &put.reference else { return Ok(Digest::sha256(&put.bytes)) };
    let found = Digest::of(wanted.algorithm(), &put.bytes);
    if found != *wanted {
        return Err(Error::invalid(What::Digest, format!("the manifest has the digest {found}")));
    }
    Ok(found)
}

/// Only what refers to something is ever listed with its annotations.
fn annotations(manifest: &Manifest) -> Result<String> {
    if manifest.subject.is_none() || manifest.annotations.is_empty() {
        return Ok(String::new());
    }
    let sorted: std::collections::BTreeMap<_, _> = manifest.annotations.iter().collect();
    serde_json::to_string(&sorted).map_err(Error::internal)
}

fn check_condition(put: &PutManifest, current: &Option<Digest>) -> Result<()> {
    let holds = match (&put.condition, current) {
        (Condition::None, _) => true,
        (Condition::Absent, current) => current.is_none(),
        (Condition::Exists, current) => current.is_some(),
        (Condition::Names(_), None) => false,
        (Condition::Names(digests), Some(current)) => digests.contains(&current.to_string()),
    };
    if holds {
        Ok(())
    } else {
        Err(Error::new(Kind::Precondition, "the reference is not what the request expects"))
    }
}
