//! From a layout to a package: by the doors that a push takes, so with the same checks, and as often as one likes.

use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
};

use futures_util::StreamExt;

use super::{Entry, INDEX, Index, LAYOUT, LayoutFile, NAME, blob_path, source::Source};
use crate::{
    adapter::control::{Answer, done},
    auth::{Caller, Grant, Publish, Push},
    error::{Error, Kind, Reason, Result, What},
    model::{
        Digest, Ecosystem, Hasher, Manifest, PackageName, Reference, Tag,
        manifest::{LinkRole, media},
    },
    registry::{Chunk, Condition, Notes, PutManifest, Registry},
};

/// Largest `index.json`.
const INDEX_MAX: u64 = 64 << 20;
/// Indexes within indexes.
const DEPTH: usize = 16;

fn invalid(text: String) -> Error {
    Error::invalid(What::Request, text)
}

/// Pushes everything in a layout into a package, which is made if it is not there.
pub(in crate::adapter::control) async fn import(
    registry: &Registry,
    caller: &Caller,
    package: &str,
    from: PathBuf,
    notes: Notes<'_>,
) -> Result<Answer> {
    if registry.read_only() {
        return Err(Error::new(Kind::Forbidden(Reason::Policy), "the registry is read-only now"));
    }
    let name = PackageName::parse(package)?;
    if name.ecosystem() != Ecosystem::Container {
        let text = "only container packages are imported; versions of others enter through their own clients";
        return Err(Error::new(Kind::Unsupported, text));
    }
    let source = Source::open(from).await?;
    let layout: LayoutFile = read(&source, LAYOUT, 1 << 10).await?;
    if layout.image_layout_version.split('.').next() != Some("1") {
        return Err(invalid(format!("this is an image layout of version {}", layout.image_layout_version)));
    }
    let index: Index = read(&source, INDEX, INDEX_MAX).await?;
    let roots = roots(&index.manifests)?;
    if roots.is_empty() {
        return Err(invalid("the layout's index.json lists no manifest".to_owned()));
    }
    // Nothing was changed before this.
    if let Publish::New(grant) = registry.policy().authorize_publish(caller, &name).await? {
        registry.allocate(&grant, &name).await?;
    }
    let mut import = Import {
        registry,
        caller,
        name: &name,
        source: &source,
        notes,
        done: HashSet::new(),
        pushed: (0, 0),
        held: 0,
    };
    let mut tags = 0;
    for root in &roots {
        tags += root.tags.len();
        import.manifest(&root.digest, root.size, &root.media_type, &root.tags, 0).await?;
    }
    let Import { done: manifests, pushed: (blobs, bytes), held, .. } = import;
    done(format!(
        "{package}: {} manifests, {tags} tags; {blobs} blobs pushed, {bytes} bytes, {held} were there; every digest compared",
        manifests.len()
    ))
}

async fn read<T: serde::de::DeserializeOwned>(source: &Source, name: &str, most: u64) -> Result<T> {
    let bytes = source.whole(name, most).await?;
    serde_json::from_slice(&bytes).map_err(|cause| invalid(format!("{name} cannot be read: {cause}")))
}

/// A manifest that `index.json` lists, with all its tags.
struct Root {
    digest: Digest,
    size: u64,
    media_type: String,
    tags: Vec<Tag>,
}

fn roots(entries: &[Entry]) -> Result<Vec<Root>> {
    let mut roots: BTreeMap<Digest, Root> = BTreeMap::new();
    for entry in entries {
        let digest = Digest::parse(&entry.digest)?;
        let root = roots.entry(digest).or_insert_with(|| Root {
            digest,
            size: entry.size,
            media_type: entry.media_type.clone(),
            tags: Vec::new(),
        });
        if let Some(name) = entry.annotations.get(NAME) {
            root.tags.push(tag_of(name)?);
        }
    }
    Ok(roots.into_values().collect())
}

/// The tag in a name; some tools write a whole reference.
fn tag_of(name: &str) -> Result<Tag> {
    let last = name.rsplit_once(':').map(|(_, tag)| tag);
    Tag::parse(name)
        .or_else(|error| last.map_or(Err(error), Tag::parse))
        .map_err(|_| invalid(format!("the layout names a manifest {name:?}, which is no tag")))
}

fn is_manifest(media_type: &str) -> bool {
    [media::OCI_MANIFEST, media::OCI_INDEX, media::DOCKER_MANIFEST, media::DOCKER_LIST].contains(&media_type)
}

struct Import<'a> {
    registry: &'a Registry,
    caller: &'a Caller,
    name: &'a PackageName,
    source: &'a Source,
    notes: Notes<'a>,
    /// Manifests that were put.
    done: HashSet<Digest>,
    /// Blobs that were pushed, and their bytes.
    pushed: (u64, u64),
    held: u64,
}

impl Import<'_> {
    async fn push(&self) -> Result<Grant<Push>> {
        self.registry.policy().authorize(self.caller, self.name).await
    }

    /// Puts a manifest after everything it names.
    async fn manifest(
        &mut self,
        digest: &Digest,
        size: u64,
        media_type: &str,
        tags: &[Tag],
        depth: usize,
    ) -> Result<()> {
        if depth > DEPTH {
            return Err(invalid(format!("{digest} lies in more than {DEPTH} indexes")));
        }
        if tags.is_empty() && self.done.contains(digest) {
            return Ok(());
        }
        let bytes = self.source.whole(&blob_path(digest), self.registry.max_manifest()).await?;
        if bytes.len() as u64 != size || Digest::of(digest.algorithm(), &bytes) != *digest {
            return Err(invalid(format!("{} is not {size} bytes of that digest", blob_path(digest))));
        }
        let manifest = Manifest::parse(&bytes, Some(media_type), usize::MAX)?;
        let children = children(&bytes)?;
        for link in &manifest.links {
            match (link.role, children.get(&link.digest)) {
                (LinkRole::Child, Some(kind)) if is_manifest(kind) => {
                    // One that the layout does not hold is for the door to judge.
                    if self.source.file(&blob_path(&link.digest)).await?.is_some() {
                        Box::pin(self.manifest(&link.digest, link.size, kind, &[], depth + 1)).await?;
                    }
                }
                _ => self.blob(&link.digest).await?,
            }
        }
        let put = PutManifest {
            reference: Reference::Digest(*digest),
            tags: tags.to_vec(),
            content_type: Some(manifest.media_type),
            condition: Condition::None,
            bytes: bytes.into(),
        };
        self.registry.put_manifest(&self.push().await?, put).await?;
        self.done.insert(*digest);
        (self.notes)(&format!(
            "{} manifests, {} blobs, {} bytes",
            self.done.len(),
            self.pushed.0,
            self.pushed.1
        ));
        Ok(())
    }

    /// Pushes a blob, if the layout has it and the package has not. Its digest is compared in any case.
    async fn blob(&mut self, digest: &Digest) -> Result<()> {
        let path = blob_path(digest);
        let Some((size, bytes)) = self.source.file(&path).await? else { return Ok(()) };
        match self.registry.keep_blob(&self.push().await?, digest).await {
            Ok(_) => {
                let mut hasher = Hasher::new(digest.algorithm());
                let mut bytes = bytes;
                while let Some(bytes) = bytes.next().await {
                    hasher.update(&bytes?);
                }
                let found = hasher.finish();
                if found != *digest {
                    return Err(invalid(format!("{path} has the digest {found}")));
                }
                self.held += 1;
            }
            Err(error) if matches!(error.kind(), Kind::NotFound(_)) => {
                let chunk = Chunk { at: None, length: Some(size), bytes };
                let pushed = self.registry.put_blob(self.push().await?, chunk, *digest).await;
                pushed.map_err(|error| match error.kind() {
                    Kind::Invalid(What::Digest) => invalid(format!("{path}: {}", error.public())),
                    _ => error,
                })?;
                self.pushed = (self.pushed.0 + 1, self.pushed.1 + size);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// The media types that an index gives its children.
fn children(bytes: &[u8]) -> Result<BTreeMap<Digest, String>> {
    let value: serde_json::Value =
        serde_json::from_slice(bytes).map_err(|cause| invalid(cause.to_string()))?;
    let mut found = BTreeMap::new();
    for child in value["manifests"].as_array().into_iter().flatten() {
        if let (Some(digest), Some(kind)) = (child["digest"].as_str(), child["mediaType"].as_str()) {
            found.insert(Digest::parse(digest)?, kind.to_owned());
        }
    }
    Ok(found)
}
