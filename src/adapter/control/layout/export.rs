//! From a package to a layout.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    path::PathBuf,
};

use super::{Entry, INDEX, Index, LAYOUT, LayoutFile, NAME, blob_path, target::Target};
use crate::{
    adapter::control::{Answer, done},
    auth::{Caller, Grant, Pull},
    error::{Error, Kind, Result},
    model::{
        Digest, Manifest, PackageName, Reference, Tag,
        manifest::{LinkRole, media},
    },
    registry::{ManifestHead, Notes, Registry},
};

/// How many names or manifests are asked for at once.
const PAGE: usize = 256;

/// Writes every manifest of a package, with its tags and everything it names, into an empty folder or a new archive.
pub(in crate::adapter::control) async fn export(
    registry: &Registry,
    caller: &Caller,
    package: &str,
    into: PathBuf,
    archive: bool,
    notes: Notes<'_>,
) -> Result<Answer> {
    let grant = registry.policy().authorize::<Pull>(caller, &PackageName::parse(package)?).await?;
    let shown = into.display().to_string();
    let mut export = Export {
        registry,
        grant: &grant,
        target: Target::create(into, archive).await?,
        written: HashSet::new(),
        children: HashSet::new(),
        absent: BTreeSet::new(),
        bytes: 0,
    };
    let layout = LayoutFile { image_layout_version: "1.0.0".to_owned() };
    export.target.put(LAYOUT, serde_json::to_vec(&layout).map_err(Error::internal)?).await?;
    // The tags first: what they name is then among the manifests, or was deleted since.
    let tags = export.tags().await?;
    let manifests = export.manifests(notes).await?;
    let named = tags.len();
    let entries = export.entries(&manifests, tags);
    let index =
        Index { schema_version: 2, media_type: Some(media::OCI_INDEX.to_owned()), manifests: entries };
    export.target.put(INDEX, serde_json::to_vec(&index).map_err(Error::internal)?).await?;
    let Export { target, written, absent, bytes, .. } = export;
    target.finish().await?;
    let mut text = format!(
        "{package} is in {shown}: {} manifests, {named} tags, {} files, {bytes} bytes, every digest compared",
        manifests.len(),
        written.len(),
    );
    if !absent.is_empty() {
        let names = absent.iter().take(20).map(|digest| format!("\n  {digest}")).collect::<String>();
        text.push_str(&format!("; {} things that its manifests name are not here:{names}", absent.len()));
    }
    done(text)
}

struct Export<'a> {
    registry: &'a Registry,
    grant: &'a Grant<Pull>,
    target: Target,
    /// Digests whose bytes are in the layout.
    written: HashSet<Digest>,
    /// Those that an index names: they are found through it.
    children: HashSet<Digest>,
    absent: BTreeSet<Digest>,
    bytes: u64,
}

fn is_gone(error: &Error) -> bool {
    matches!(error.kind(), Kind::NotFound(_))
}

impl Export<'_> {
    async fn tags(&self) -> Result<BTreeMap<String, Digest>> {
        let mut tags = BTreeMap::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.registry.tags(self.grant, after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(tags) };
            after = Some(last.clone());
            for tag in page {
                let reference = Reference::Tag(Tag::parse(&tag)?);
                match self.registry.stat_manifest(self.grant, &reference).await {
                    Ok(head) => {
                        tags.insert(tag, head.digest);
                    }
                    Err(error) if is_gone(&error) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }

    async fn manifests(&mut self, notes: Notes<'_>) -> Result<Vec<ManifestHead>> {
        let mut all: Vec<ManifestHead> = Vec::new();
        loop {
            let page = self.registry.manifests(self.grant, all.last().map(|head| &head.digest), PAGE).await?;
            if page.is_empty() {
                break;
            }
            all.extend(page);
        }
        let known: HashSet<Digest> = all.iter().map(|head| head.digest).collect();
        for (number, head) in all.iter().enumerate() {
            let bytes = self.registry.manifest_bytes(self.grant, head).await?;
            let manifest = Manifest::parse(&bytes, Some(&head.media_type), usize::MAX)?;
            self.write(&head.digest, head.size, Box::pin(futures_util::stream::once(async { Ok(bytes) })))
                .await?;
            for link in &manifest.links {
                if known.contains(&link.digest) {
                    if link.role == LinkRole::Child {
                        self.children.insert(link.digest);
                        continue;
                    }
                } else if link.role == LinkRole::Foreign && self.written.contains(&link.digest) {
                    continue;
                }
                self.blob(&link.digest, link.role).await?;
            }
            notes(&format!("{} of {} manifests, {} bytes", number + 1, all.len(), self.bytes));
        }
        Ok(all)
    }

    async fn blob(&mut self, digest: &Digest, role: LinkRole) -> Result<()> {
        if self.written.contains(digest) {
            return Ok(());
        }
        match self.registry.blob(self.grant, digest).await {
            Ok(blob) => self.write(digest, blob.size, blob.stream(0, blob.size)).await,
            Err(error) if is_gone(&error) => {
                // A layer that lies elsewhere was never meant to be here.
                if role != LinkRole::Foreign {
                    self.absent.insert(*digest);
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn write(&mut self, digest: &Digest, size: u64, bytes: crate::registry::ByteStream) -> Result<()> {
        if self.written.insert(*digest) {
            self.target.stream(&blob_path(digest), size, bytes, Some(digest)).await?;
            self.bytes += size;
        }
        Ok(())
    }

    /// What `index.json` lists: each tag, and each manifest without one that no index leads to.
    fn entries(&self, manifests: &[ManifestHead], tags: BTreeMap<String, Digest>) -> Vec<Entry> {
        let mut of: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
        for (tag, digest) in tags {
            of.entry(digest).or_default().push(tag);
        }
        let entry = |head: &ManifestHead, tag: Option<String>| Entry {
            media_type: head.media_type.clone(),
            digest: head.digest.to_string(),
            size: head.size,
            annotations: tag.map(|tag| (NAME.to_owned(), tag)).into_iter().collect(),
        };
        let mut entries = Vec::new();
        for head in manifests {
            match of.remove(&head.digest) {
                Some(tags) => entries.extend(tags.into_iter().map(|tag| entry(head, Some(tag)))),
                None if self.children.contains(&head.digest) => {}
                None => entries.push(entry(head, None)),
            }
        }
        entries
    }
}
