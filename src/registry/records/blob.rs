//! Blobs, and what holds them: leases and edges.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{
    codec::{Reader, Writer},
    meta, tag, with_digest,
};
use crate::{
    error::Result,
    model::{Digest, OwnerId, PackageId, PhysicalKey, Timestamp},
    store::{Key, Record, Space},
};

/// Where a blob's bytes lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Location {
    /// In the inline space, under the digest.
    Inline,
    /// In the blob store.
    Physical(PhysicalKey),
}

/// What is wrong with a blob's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Damage {
    /// They are not there.
    Missing = 1,
    /// There are more or fewer of them than the record says.
    Size = 2,
    /// They do not have the digest they are stored under.
    Altered = 3,
    /// The disk does not give them.
    Unreadable = 4,
}

impl Damage {
    /// Its word in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Size => "size",
            Self::Altered => "altered",
            Self::Unreadable => "unreadable",
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        [Self::Missing, Self::Size, Self::Altered, Self::Unreadable]
            .into_iter()
            .find(|damage| *damage as u8 == code)
    }
}

/// That a blob's bytes were found damaged: they are not served, and whoever sends them again repairs the blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quarantine {
    /// When it was found.
    pub since: Timestamp,
    /// What was found.
    pub damage: Damage,
}

/// A blob: its size and where its bytes are. Says nothing about who may read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobRecord {
    /// Its name.
    pub digest: Digest,
    /// Size in bytes.
    pub size: u64,
    /// Where the bytes lie.
    pub location: Location,
    /// When it was stored.
    pub created: Timestamp,
    /// Set while its bytes are known to be damaged.
    pub quarantine: Option<Quarantine>,
}

/// The form of a blob whose bytes are good, as it was written from the beginning.
const VERSION: u8 = 1;
/// The same, followed by its quarantine.
const QUARANTINED: u8 = 2;

impl BlobRecord {
    /// Where a blob's record is.
    pub fn key_of(digest: &Digest) -> Key {
        with_digest(Key::new(Space::Blob, b'b'), digest)
    }

    /// Where a small blob's bytes are.
    pub fn inline_key(digest: &Digest) -> Key {
        with_digest(Key::new(Space::Inline, b'i'), digest)
    }

    /// Reads a stored record.
    pub fn decode(digest: Digest, bytes: &[u8]) -> Result<Self> {
        let (version, mut reader) = Reader::new(bytes, "blob")?;
        if version != VERSION && version != QUARANTINED {
            return Err(reader.broken("written by a newer version"));
        }
        let size = reader.u64()?;
        let created = Timestamp(reader.u64()?);
        let location = match reader.u8()? {
            0 => Location::Inline,
            1 => Location::Physical(PhysicalKey(reader.key16()?)),
            _ => return Err(reader.broken("unknown location")),
        };
        let quarantine = if version == QUARANTINED {
            let since = Timestamp(reader.u64()?);
            let damage = Damage::from_code(reader.u8()?).ok_or_else(|| reader.broken("unknown damage"))?;
            Some(Quarantine { since, damage })
        } else {
            None
        };
        reader.end()?;
        Ok(Self { digest, size, location, created, quarantine })
    }

    /// The index of blobs in quarantine.
    pub fn quarantined() -> Key {
        meta(tag::QUARANTINE)
    }
}

impl Record for BlobRecord {
    fn key(&self) -> Key {
        Self::key_of(&self.digest)
    }

    fn value(&self) -> Bytes {
        let version = if self.quarantine.is_some() { QUARANTINED } else { VERSION };
        let writer = Writer::new(version).u64(self.size).u64(self.created.0);
        let writer = match self.location {
            Location::Inline => writer.u8(0),
            Location::Physical(key) => writer.u8(1).raw(&key.0),
        };
        match self.quarantine {
            Some(quarantine) => writer.u64(quarantine.since.0).u8(quarantine.damage as u8),
            None => writer,
        }
        .finish()
    }

    /// Its place among those in quarantine, so that a report need not look for them.
    fn index(&self) -> BTreeSet<Key> {
        self.quarantine.iter().map(|_| with_digest(Self::quarantined(), &self.digest)).collect()
    }
}

/// What holds a blob, as the second part of its keys in the refs space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Hold {
    /// A package uploaded or mounted it and has not named it in a manifest yet.
    Lease = 0,
    /// A manifest names it.
    Live = 1,
    /// A deleted manifest that can still be restored names it.
    Held = 2,
    /// An index names the manifest of this digest. No right to a blob of the same digest, which may be somebody else's.
    Child = 3,
    /// A deleted index names it.
    HeldChild = 4,
}

/// All keys about a digest in the refs space.
pub fn refs_of(digest: &Digest) -> Key {
    with_digest(Key::new(Space::Refs, b'r'), digest)
}

/// All holds of one kind on a digest.
pub fn holds_of(digest: &Digest, hold: Hold) -> Key {
    refs_of(digest).with(&[hold as u8])
}

/// A package's lease on a digest. Its value is the [`Timestamp`] at which it ends.
pub fn lease_key(digest: &Digest, package: PackageId) -> Key {
    holds_of(digest, Hold::Lease).with(&package.bytes())
}

/// A lease's value.
pub fn lease_value(ends: Timestamp) -> Bytes {
    Bytes::copy_from_slice(&ends.0.to_be_bytes())
}

/// Reads a lease's value.
pub fn lease_ends(value: &[u8]) -> Option<Timestamp> {
    value.try_into().ok().map(|bytes| Timestamp(u64::from_be_bytes(bytes)))
}

/// When the last lease of a package ends. A package without a manifest dies then.
pub fn last_lease_key(package: PackageId) -> Key {
    Key::new(Space::Refs, b'l').with(&package.bytes())
}

/// The edges from a digest to the objects of one package.
pub fn edges_in(digest: &Digest, hold: Hold, owner: OwnerId, package: PackageId) -> Key {
    holds_of(digest, hold).with(&owner.bytes()).with(&package.bytes())
}

/// The package at which a lease or an edge of `digest` points.
pub fn package_in(key: &Key, digest: &Digest, hold: Hold) -> Option<PackageId> {
    let prefix = holds_of(digest, hold).bytes.len();
    let skip = if hold == Hold::Lease { 0 } else { 8 };
    let id = key.bytes.get(prefix + skip..prefix + skip + 8)?;
    Some(PackageId(u64::from_be_bytes(id.try_into().ok()?)))
}

/// What a package's manifests name and do not have: no right, no pin; it becomes an edge when the bytes arrive there.
pub fn wanted_in(package: PackageId, digest: &Digest) -> Key {
    with_digest(Key::new(Space::Refs, b'w').with(&package.bytes()), digest)
}

/// Counts the manifests that ever came to want a digest in a package. Bytes that arrive expect the count they read before
/// they looked for who wants them, so that no manifest is left wanting what is there.
pub fn wanting(package: PackageId, digest: &Digest) -> Key {
    with_digest(wanting_in(package), digest)
}

/// All such counts of a package.
pub fn wanting_in(package: PackageId) -> Key {
    Key::new(Space::Refs, b'W').with(&package.bytes())
}

/// An entry of the review queue: what may have lost its last hold, and when to look. Looking twice is cheap, since a
/// review derives the truth anew; so entries are never searched for and moved.
pub fn review_key(due: Timestamp, digest: &Digest) -> Key {
    with_digest(reviews().with(&due.0.to_be_bytes()), digest)
}

/// The review queue, in order of time.
pub fn reviews() -> Key {
    Key::new(Space::Queue, b'q')
}

/// When an entry of the review queue is due, and what it is about.
pub fn review_in(key: &Key) -> Option<(Timestamp, Digest)> {
    let (due, digest) = due_in(key)?;
    Digest::read_key(digest).map(|(digest, _)| (due, digest))
}

/// An entry of the trash: bytes that no record points at, and when they may go.
pub fn trash_key(due: Timestamp, key: PhysicalKey) -> Key {
    trash().with(&due.0.to_be_bytes()).with(&key.0)
}

/// The value of an entry of the trash: how many bytes lie there.
pub fn trash_value(size: u64) -> Bytes {
    Writer::new(VERSION).u64(size).finish()
}

/// Reads such a value. The first program wrote none.
pub fn trash_size(value: &[u8]) -> u64 {
    match value.split_first() {
        Some((&VERSION, size)) => size.try_into().map_or(0, u64::from_be_bytes),
        _ => 0,
    }
}

/// The trash, in order of time.
pub fn trash() -> Key {
    Key::new(Space::Queue, b't')
}

/// When an entry of the trash is due, and where its bytes are.
pub fn trash_in(key: &Key) -> Option<(Timestamp, PhysicalKey)> {
    let (due, physical) = due_in(key)?;
    Some((due, PhysicalKey(physical.try_into().ok()?)))
}

/// When an entry of a queue is due, and the rest of its key.
fn due_in(key: &Key) -> Option<(Timestamp, &[u8])> {
    let (due, rest) = key.bytes.get(1..)?.split_at_checked(8)?;
    Some((Timestamp(u64::from_be_bytes(due.try_into().ok()?)), rest))
}
