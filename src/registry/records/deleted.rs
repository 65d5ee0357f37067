//! What was deleted and can be restored for a while: the order in which it goes for good, and the tags that went.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{
    codec::{Reader, Writer},
    doc, with_digest,
};
use crate::{
    error::Result,
    model::{Digest, PackageId, Tag, Timestamp},
    store::{Key, Record, Space},
};

/// Something deleted, as the queue of it names it. Its place there is the moment of the deletion, not the moment it
/// goes: so the entry follows from the record alone, and how long things are kept may change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// A tag that named this manifest. Before the manifest, if both went at one moment.
    Tag(PackageId, Digest, Tag),
    /// A manifest.
    Manifest(PackageId, Digest),
    /// A whole package.
    Package(PackageId),
}

impl Due {
    /// The prefix of the whole queue; its entries sort by time.
    pub fn all() -> Key {
        Key::new(Space::Queue, b'd')
    }

    /// The entry of what was deleted at a moment.
    pub fn key(&self, deleted: Timestamp) -> Key {
        let key = Self::all().with(&deleted.0.to_be_bytes());
        match self {
            Self::Tag(package, digest, tag) => {
                with_digest(key.with(&[0]).with(&package.bytes()), digest).with(tag.as_str().as_bytes())
            }
            Self::Manifest(package, digest) => with_digest(key.with(&[1]).with(&package.bytes()), digest),
            Self::Package(package) => key.with(&[2]).with(&package.bytes()),
        }
    }

    /// Reads an entry: when it was deleted, and what.
    pub fn read(key: &Key) -> Option<(Timestamp, Self)> {
        let (at, rest) = key.bytes.get(1..)?.split_first_chunk::<8>()?;
        let (kind, rest) = rest.split_first()?;
        let (package, rest) = rest.split_first_chunk::<8>()?;
        let package = PackageId(u64::from_be_bytes(*package));
        let due = match kind {
            0 => {
                let (digest, tag) = Digest::read_key(rest)?;
                Self::Tag(package, digest, Tag::parse(std::str::from_utf8(tag).ok()?).ok()?)
            }
            1 => Self::Manifest(package, Digest::read_key(rest).filter(|(_, rest)| rest.is_empty())?.0),
            2 if rest.is_empty() => Self::Package(package),
            _ => return None,
        };
        Some((Timestamp(u64::from_be_bytes(*at)), due))
    }
}

/// A tag that was deleted, by itself or with its manifest. One for each tag and manifest: the last time counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedTag {
    /// The package.
    pub package: PackageId,
    /// The tag.
    pub tag: Tag,
    /// The manifest it named.
    pub digest: Digest,
    /// When it was put there.
    pub moved: Timestamp,
    /// When it was deleted.
    pub deleted: Timestamp,
    /// Whether it went with its manifest: then it comes back with it too.
    pub with_manifest: bool,
}

const VERSION: u8 = 1;

impl DeletedTag {
    /// All of a package.
    pub fn all(package: PackageId) -> Key {
        doc(b'x', package)
    }

    /// Those that named a manifest.
    pub fn of_manifest(package: PackageId, digest: &Digest) -> Key {
        with_digest(Self::all(package), digest)
    }

    /// Where one is stored.
    pub fn key_of(package: PackageId, digest: &Digest, tag: &Tag) -> Key {
        Self::of_manifest(package, digest).with(tag.as_str().as_bytes())
    }

    /// The index entries of a tag's deletions, in order of time.
    pub fn of_tag(package: PackageId, tag: &Tag) -> Key {
        doc(b'y', package).with_text(tag.as_str())
    }

    /// The manifest named by such an entry.
    pub fn digest_in(key: &Key, prefix: &Key) -> Option<Digest> {
        Digest::read_key(key.bytes.get(prefix.bytes.len() + 8..)?).map(|(digest, _)| digest)
    }

    /// Reads a stored record with its key.
    pub fn read(package: PackageId, key: &Key, value: &[u8]) -> Result<Self> {
        let (_, reader) = Reader::new(value, "deleted tag")?;
        let rest = key.bytes.get(Self::all(package).bytes.len()..).unwrap_or_default();
        let (digest, tag) = Digest::read_key(rest).ok_or_else(|| reader.broken("bad key"))?;
        let tag = std::str::from_utf8(tag).map_err(|_| reader.broken("bad key"))?;
        Self::decode(package, digest, Tag::parse(tag)?, value)
    }

    /// Reads a stored record.
    pub fn decode(package: PackageId, digest: Digest, tag: Tag, bytes: &[u8]) -> Result<Self> {
        let (version, mut reader) = Reader::new(bytes, "deleted tag")?;
        if version != VERSION {
            return Err(reader.broken("written by a newer version"));
        }
        let moved = Timestamp(reader.u64()?);
        let deleted = Timestamp(reader.u64()?);
        let with_manifest = reader.u8()? == 1;
        Ok(Self { package, tag, digest, moved, deleted, with_manifest })
    }
}

impl Record for DeletedTag {
    fn key(&self) -> Key {
        Self::key_of(self.package, &self.digest, &self.tag)
    }

    fn value(&self) -> Bytes {
        let writer = Writer::new(VERSION).u64(self.moved.0).u64(self.deleted.0);
        writer.u8(u8::from(self.with_manifest)).finish()
    }

    fn index(&self) -> BTreeSet<Key> {
        let by_tag = Self::of_tag(self.package, &self.tag).with(&self.deleted.0.to_be_bytes());
        let due = Due::Tag(self.package, self.digest, self.tag.clone());
        BTreeSet::from([with_digest(by_tag, &self.digest), due.key(self.deleted)])
    }
}
