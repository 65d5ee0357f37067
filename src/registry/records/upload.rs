//! Upload sessions.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{
    codec::{Reader, Writer},
    corrupt, meta, tag,
};
use crate::{
    error::Result,
    model::{Algorithm, Hasher, OwnerId, PackageId, PhysicalKey, Timestamp, UploadId},
    store::{Key, Record, Space},
};

/// Where a session's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// In this row: as long as they are few.
    Row(Bytes),
    /// In the blob store's upload of this key, which exists once bytes were written.
    File(PhysicalKey),
}

/// An upload session: which package, how far, and the hash state there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadRecord {
    /// Its name.
    pub id: UploadId,
    /// The package it belongs to.
    pub package: PackageId,
    /// Who opened it; the operator and jobs have no number and count together.
    pub user: OwnerId,
    /// Bytes received and synced.
    pub offset: u64,
    /// The saved hash state after them.
    pub hash: Bytes,
    /// Whether the client named the algorithm when it opened the session; then it must close with that one.
    pub hinted: bool,
    /// The bytes.
    pub held: Held,
    /// The start of the daemon that wrote this row: a later one cannot trust that what was not synced then is there.
    pub start: u64,
    /// When it was opened.
    pub opened: Timestamp,
    /// When it is given up.
    pub expires: Timestamp,
}

const VERSION: u8 = 1;

impl UploadRecord {
    /// Where a session is stored.
    pub fn key_of(id: UploadId) -> Key {
        meta(tag::UPLOAD).with(&id.0)
    }

    /// All sessions.
    pub fn all() -> Key {
        meta(tag::UPLOAD)
    }

    /// Reads a stored record found under [`Self::all`].
    pub fn decode_at(key: &Key, bytes: &[u8]) -> Result<Self> {
        let id = key.bytes.get(1..).and_then(|id| id.try_into().ok());
        Self::decode(UploadId(id.ok_or_else(|| corrupt("upload", "its key is not a session's"))?), bytes)
    }

    /// The sessions of a user.
    pub fn of_user(user: OwnerId) -> Key {
        meta(tag::UPLOAD_OF).with(&user.bytes())
    }

    /// The sessions of a package.
    pub fn of_package(package: PackageId) -> Key {
        Key::new(Space::Refs, b'u').with(&package.bytes())
    }

    /// Sessions in order of expiry; the keys end with the session's id.
    pub fn by_expiry() -> Key {
        Key::new(Space::Queue, b'u')
    }

    /// When the session of an entry under [`Self::by_expiry`] is given up, and which it is.
    pub fn expiring_in(key: &Key) -> Option<(Timestamp, UploadId)> {
        let bytes = key.bytes.get(1..)?;
        let (due, id) = bytes.split_at_checked(8)?;
        Some((Timestamp(u64::from_be_bytes(due.try_into().ok()?)), UploadId(id.try_into().ok()?)))
    }

    /// The session begun again: for one whose bytes are gone. It names no file, since the old one may have become a blob's.
    pub fn begun_again(&self) -> Self {
        let algorithm = Hasher::restore(&self.hash).map_or(Algorithm::Sha256, |hasher| hasher.algorithm());
        Self {
            offset: 0,
            held: Held::Row(Bytes::new()),
            hash: Hasher::new(algorithm).save().into(),
            ..self.clone()
        }
    }

    /// Reads a stored record.
    pub fn decode(id: UploadId, bytes: &[u8]) -> Result<Self> {
        let (version, mut reader) = Reader::new(bytes, "upload")?;
        if version != VERSION {
            return Err(reader.broken("written by a newer version"));
        }
        let package = PackageId(reader.u64()?);
        let user = OwnerId(reader.u64()?);
        let offset = reader.u64()?;
        let start = reader.u64()?;
        let opened = Timestamp(reader.u64()?);
        let expires = Timestamp(reader.u64()?);
        let hash = Bytes::copy_from_slice(reader.bytes()?);
        let hinted = reader.flag()?;
        let held = match reader.u8()? {
            0 => Held::Row(Bytes::copy_from_slice(reader.bytes()?)),
            1 => Held::File(PhysicalKey(reader.key16()?)),
            _ => return Err(reader.broken("unknown place")),
        };
        reader.end()?;
        Ok(Self { id, package, user, offset, hash, hinted, held, start, opened, expires })
    }
}

impl Record for UploadRecord {
    fn key(&self) -> Key {
        Self::key_of(self.id)
    }

    fn value(&self) -> Bytes {
        let writer = Writer::new(VERSION)
            .u64(self.package.0)
            .u64(self.user.0)
            .u64(self.offset)
            .u64(self.start)
            .u64(self.opened.0)
            .u64(self.expires.0)
            .bytes(&self.hash)
            .u8(u8::from(self.hinted));
        match &self.held {
            Held::Row(bytes) => writer.u8(0).bytes(bytes),
            Held::File(key) => writer.u8(1).raw(&key.0),
        }
        .finish()
    }

    fn index(&self) -> BTreeSet<Key> {
        BTreeSet::from([
            Self::of_user(self.user).with(&self.id.0),
            Self::of_package(self.package).with(&self.id.0),
            Self::by_expiry().with(&self.expires.0.to_be_bytes()).with(&self.id.0),
        ])
    }
}
