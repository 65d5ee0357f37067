//! Manifests and tags.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{
    Due,
    blob::{Hold, edges_in, wanted_in},
    codec::{Reader, Writer},
    doc, with_digest,
};
use crate::{
    error::Result,
    model::{Digest, OwnerId, PackageId, Tag, Timestamp, manifest::media},
    store::{Key, Record},
};

/// What a manifest names, as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The digest.
    pub digest: Digest,
    /// Whether the package holds it. A missing one is wanted: it gives no right and pins nothing.
    pub present: bool,
    /// Whether what it holds is a manifest of its own, and not a blob.
    pub manifest: bool,
    /// Whether it is named as a child of an index, and not as a configuration or a layer.
    pub child: bool,
}

/// A manifest of a package: everything but its bytes, which lie beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestRecord {
    /// The package.
    pub package: PackageId,
    /// The package's owner.
    pub owner: OwnerId,
    /// Its name.
    pub digest: Digest,
    /// Its media type, as pushed and without parameters.
    pub media_type: String,
    /// Size of its bytes.
    pub size: u64,
    /// When it was first pushed.
    pub pushed: Timestamp,
    /// When it was deleted; it can be restored for a while.
    pub deleted: Option<Timestamp>,
    /// What it refers to.
    pub subject: Option<Digest>,
    /// What a list of referrers shows as its type; empty for none.
    pub artifact_type: String,
    /// Its annotations as JSON, if it has a subject: lists of referrers show them.
    pub annotations: String,
    /// What it names, foreign layers excepted.
    pub targets: Vec<Target>,
}

/// The form without [`kind::BLOB_CHILD`] and [`kind::WANTED_CHILD`], as it was written from the beginning.
const VERSION: u8 = 1;
/// The form with them. A record is written in the form it was read in, since a change expects the bytes it read.
const WITH_CHILDREN: u8 = 2;

/// The kinds of target, as stored.
mod kind {
    pub const WANTED: u8 = 0;
    pub const BLOB: u8 = 1;
    pub const MANIFEST: u8 = 2;
    pub const BLOB_CHILD: u8 = 3;
    pub const WANTED_CHILD: u8 = 4;
}

impl Target {
    fn kind(&self) -> u8 {
        match (self.present, self.manifest, self.child) {
            (false, _, false) => kind::WANTED,
            (false, _, true) => kind::WANTED_CHILD,
            (true, true, _) => kind::MANIFEST,
            (true, false, false) => kind::BLOB,
            (true, false, true) => kind::BLOB_CHILD,
        }
    }

    fn of_kind(kind: u8, digest: Digest) -> Option<Self> {
        let (present, manifest, child) = match kind {
            kind::WANTED => (false, false, false),
            kind::WANTED_CHILD => (false, false, true),
            kind::MANIFEST => (true, true, true),
            kind::BLOB => (true, false, false),
            kind::BLOB_CHILD => (true, false, true),
            _ => return None,
        };
        Some(Self { digest, present, manifest, child })
    }
}

impl ManifestRecord {
    /// Where a manifest's record is.
    pub fn key_of(package: PackageId, digest: &Digest) -> Key {
        with_digest(Self::all(package), digest)
    }

    /// All manifests of a package.
    pub fn all(package: PackageId) -> Key {
        doc(b'm', package)
    }

    /// The index of a package's manifests that are not deleted.
    pub fn live(package: PackageId) -> Key {
        doc(b'v', package)
    }

    /// Where a manifest's bytes are.
    pub fn body_key(package: PackageId, digest: &Digest) -> Key {
        with_digest(doc(b'c', package), digest)
    }

    /// The manifests of a package that refer to a subject.
    pub fn referrers_of(package: PackageId, subject: &Digest) -> Key {
        with_digest(doc(b's', package), subject)
    }

    /// Those of one artifact type.
    pub fn referrers_typed(package: PackageId, subject: &Digest, artifact_type: &str) -> Key {
        Self::referrers_of(package, subject).with(&type_hash(artifact_type))
    }

    /// The referrer named by an index entry under `subject`.
    pub fn referrer_in(key: &Key, package: PackageId, subject: &Digest) -> Option<Digest> {
        let skip = Self::referrers_of(package, subject).bytes.len() + 8;
        Digest::read_key(key.bytes.get(skip..)?).map(|(digest, _)| digest)
    }

    /// Whether one of its targets is a child of an index. Release 0.1.0 did not store it of those that it wanted.
    pub fn is_child(&self, target: &Target) -> bool {
        target.child || !target.present && media::is_index(&self.media_type)
    }

    /// Reads a stored record.
    pub fn decode(package: PackageId, digest: Digest, bytes: &[u8]) -> Result<Self> {
        let (version, mut reader) = Reader::new(bytes, "manifest")?;
        if version != VERSION && version != WITH_CHILDREN {
            return Err(reader.broken("written by a newer version"));
        }
        let owner = OwnerId(reader.u64()?);
        let size = reader.u64()?;
        let pushed = Timestamp(reader.u64()?);
        let deleted = match reader.u64()? {
            0 => None,
            at => Some(Timestamp(at)),
        };
        let media_type = reader.text()?;
        let artifact_type = reader.text()?;
        let annotations = reader.text()?;
        let subject = if reader.flag()? { Some(reader.digest()?) } else { None };
        let count = reader.u64()?;
        let mut targets = Vec::new();
        for _ in 0..count {
            let kind = reader.u8()?;
            let target = Target::of_kind(kind, reader.digest()?);
            targets.push(target.ok_or_else(|| reader.broken("unknown kind of target"))?);
        }
        reader.end()?;
        if version != form(&targets) {
            return Err(reader.broken("its version is not that of its targets"));
        }
        Ok(Self {
            package,
            owner,
            digest,
            media_type,
            size,
            pushed,
            deleted,
            subject,
            artifact_type,
            annotations,
            targets,
        })
    }
}

/// The form in which a manifest with these targets is stored.
fn form(targets: &[Target]) -> u8 {
    let newer = targets.iter().any(|target| target.kind() > kind::MANIFEST);
    if newer { WITH_CHILDREN } else { VERSION }
}

/// Eight bytes that stand for an artifact type in a key; a reader compares the type itself.
fn type_hash(artifact_type: &str) -> [u8; 8] {
    let mut hash = [0; 8];
    hash.copy_from_slice(&Digest::sha256(artifact_type.as_bytes()).hash()[..8]);
    hash
}

impl Record for ManifestRecord {
    fn key(&self) -> Key {
        Self::key_of(self.package, &self.digest)
    }

    fn value(&self) -> Bytes {
        let mut writer = Writer::new(form(&self.targets))
            .u64(self.owner.0)
            .u64(self.size)
            .u64(self.pushed.0)
            .u64(self.deleted.map_or(0, |at| at.0))
            .bytes(self.media_type.as_bytes())
            .bytes(self.artifact_type.as_bytes())
            .bytes(self.annotations.as_bytes());
        writer = match &self.subject {
            Some(subject) => writer.u8(1).digest(subject),
            None => writer.u8(0),
        };
        writer = writer.u64(self.targets.len() as u64);
        for target in &self.targets {
            writer = writer.u8(target.kind()).digest(&target.digest);
        }
        writer.finish()
    }

    /// Edges to what it has, live or held; wanted keys for what it has not; its place among its subject's referrers, or
    /// in the queue of what was deleted. A child held as a blob has both edges: that of the blob keeps its bytes, and that
    /// of the child keeps the manifest from being deleted that the same digest may become.
    fn index(&self) -> BTreeSet<Key> {
        let mut keys = BTreeSet::new();
        keys.insert(match self.deleted {
            None => with_digest(Self::live(self.package), &self.digest),
            Some(at) => Due::Manifest(self.package, self.digest).key(at),
        });
        for target in &self.targets {
            let mut add = |key| keys.insert(with_digest(key, &self.digest));
            if !target.present {
                add(wanted_in(self.package, &target.digest));
                continue;
            }
            let edges = |hold| edges_in(&target.digest, hold, self.owner, self.package);
            let (of_blob, of_child) = match self.deleted {
                None => (Hold::Live, Hold::Child),
                Some(_) => (Hold::Held, Hold::HeldChild),
            };
            if !target.manifest {
                add(edges(of_blob));
            }
            if target.child {
                add(edges(of_child));
            }
        }
        if let (Some(subject), None) = (&self.subject, self.deleted) {
            let typed = Self::referrers_typed(self.package, subject, &self.artifact_type);
            keys.insert(with_digest(typed, &self.digest));
        }
        keys
    }
}

/// A tag of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagRecord {
    /// The package.
    pub package: PackageId,
    /// The tag.
    pub tag: Tag,
    /// The manifest it names.
    pub digest: Digest,
    /// When it was put there.
    pub moved: Timestamp,
}

impl TagRecord {
    /// Where a tag is stored.
    pub fn key_of(package: PackageId, tag: &str) -> Key {
        Self::all(package).with(tag.as_bytes())
    }

    /// All tags of a package.
    pub fn all(package: PackageId) -> Key {
        doc(b't', package)
    }

    /// The tags that name a manifest.
    pub fn of_manifest(package: PackageId, digest: &Digest) -> Key {
        with_digest(doc(b'd', package), digest)
    }

    /// Counts the tags that ever came to name a manifest. Who deletes the manifest with its tags expects the count it read
    /// before it read the tags, so that no tag can slip in between and dangle.
    pub fn arrivals(package: PackageId, digest: &Digest) -> Key {
        with_digest(Self::all_arrivals(package), digest)
    }

    /// All such counts of a package.
    pub fn all_arrivals(package: PackageId) -> Key {
        doc(b'a', package)
    }

    /// The tag's text at the end of a key that begins with `prefix`.
    pub fn text_in<'a>(key: &'a Key, prefix: &Key) -> Option<&'a str> {
        std::str::from_utf8(key.bytes.get(prefix.bytes.len()..)?).ok()
    }

    /// Reads a stored record.
    pub fn decode(package: PackageId, tag: Tag, bytes: &[u8]) -> Result<Self> {
        let (version, mut reader) = Reader::new(bytes, "tag")?;
        if version != VERSION {
            return Err(reader.broken("written by a newer version"));
        }
        let moved = Timestamp(reader.u64()?);
        let digest = reader.digest()?;
        reader.end()?;
        Ok(Self { package, tag, digest, moved })
    }
}

impl Record for TagRecord {
    fn key(&self) -> Key {
        Self::key_of(self.package, self.tag.as_str())
    }

    fn value(&self) -> Bytes {
        Writer::new(VERSION).u64(self.moved.0).digest(&self.digest).finish()
    }

    fn index(&self) -> BTreeSet<Key> {
        BTreeSet::from([Self::of_manifest(self.package, &self.digest).with(self.tag.as_str().as_bytes())])
    }
}
