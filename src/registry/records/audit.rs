//! Rows of the audit log. A row is an element of a stream, so the store gives it its number when it is committed; what
//! lists find it by follows from it, and is written by the same append.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{from_json, to_json};
use crate::{
    error::Result,
    model::{Deed, Entry, Event, OwnerId, PackageId, Timestamp},
    store::{Key, Record, Space, stream_key},
};

/// A stream of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Log {
    /// What happened to a package.
    Package(PackageId),
    /// What happened to an account, or to the installation.
    Owner(OwnerId),
}

impl Log {
    /// Bytes of a stream's name.
    pub const LENGTH: usize = 9;

    /// The stream.
    pub fn stream(self) -> Key {
        let (tag, id) = match self {
            Self::Package(id) => (b'e', id.bytes()),
            Self::Owner(id) => (b'o', id.bytes()),
        };
        Key::new(Space::Event, tag).with(&id)
    }

    /// Reads what [`Self::stream`] made.
    pub fn read(bytes: &[u8; Self::LENGTH]) -> Option<Self> {
        let id = u64::from_be_bytes(*bytes.last_chunk()?);
        match bytes[0] {
            b'e' => Some(Self::Package(PackageId(id))),
            b'o' => Some(Self::Owner(OwnerId(id))),
            _ => None,
        }
    }
}

/// A row of the audit log, where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// In which stream.
    pub log: Log,
    /// The number it was given there.
    pub number: u64,
    /// What it says.
    pub entry: Entry,
}

/// The form of release 0.1.0: one deed, in no owner's list.
const FIRST: u8 = 1;
const VERSION: u8 = 2;

/// The prefix of all rows, newest first.
pub(crate) fn everything() -> Key {
    Key::new(Space::Event, b't')
}

/// The prefix of what concerns the installation, newest first.
pub(crate) fn of_installation() -> Key {
    Key::new(Space::Event, b's')
}

/// The prefix of what concerns an owner and its packages, newest first.
pub(crate) fn of_owner(owner: OwnerId) -> Key {
    Key::new(Space::Event, b'w').with(&owner.bytes())
}

/// The prefix of what concerns a package while it was an owner's, newest first.
pub(crate) fn of_package(owner: OwnerId, package: PackageId) -> Key {
    Key::new(Space::Event, b'p').with(&owner.bytes()).with(&package.bytes())
}

/// What follows a list's prefix in the entries of one moment. The later sorts first.
pub(crate) fn moment(at: Timestamp) -> [u8; 8] {
    (!at.0).to_be_bytes()
}

/// The moment, the stream and the number in an entry of a list with this prefix.
pub(crate) fn entry_in(key: &Key, prefix: &Key) -> Option<(Timestamp, Log, u64)> {
    let (moment, rest) = key.bytes.get(prefix.bytes.len()..)?.split_first_chunk::<8>()?;
    let (log, number) = rest.split_first_chunk::<{ Log::LENGTH }>()?;
    let number = u64::from_be_bytes(number.try_into().ok()?);
    Some((Timestamp(!u64::from_be_bytes(*moment)), Log::read(log)?, number))
}

/// The lists that a row of a stream is in: their entries without its number.
pub(crate) fn lists(log: Log, entry: &Entry) -> Vec<Key> {
    let at = moment(Timestamp(entry.at));
    let stream = log.stream();
    let system = entry.system || entry.owner == OwnerId::INSTALLATION;
    let package = match log {
        Log::Package(id) => Some(id),
        Log::Owner(_) => entry.package,
    };
    let lists = [
        Some(everything()),
        Some(of_owner(entry.owner)),
        package.map(|id| of_package(entry.owner, id)),
        system.then(of_installation),
    ];
    lists.into_iter().flatten().map(|list| list.with(&at).with(&stream.bytes)).collect()
}

/// A row's stored form.
pub(crate) fn encode(entry: &Entry) -> Bytes {
    to_json(VERSION, entry)
}

impl AuditRecord {
    /// The prefixes of all streams.
    pub fn streams() -> [Key; 2] {
        [Key::new(Space::Event, b'e'), Key::new(Space::Event, b'o')]
    }

    /// The stream and the number in a row's key.
    pub fn place(key: &Key) -> Option<(Log, u64)> {
        let (log, number) = key.bytes.split_first_chunk::<{ Log::LENGTH }>()?;
        Some((Log::read(log)?, u64::from_be_bytes(number.try_into().ok()?)))
    }

    /// Whether a stored row is of the first form, which is in no list.
    pub fn is_first(bytes: &[u8]) -> bool {
        bytes.first() == Some(&FIRST)
    }

    /// Reads a stored row.
    pub fn decode(log: Log, number: u64, bytes: &[u8]) -> Result<Self> {
        let entry = if Self::is_first(bytes) {
            let event: Event = from_json(FIRST, bytes, "event")?;
            let owner = match log {
                Log::Owner(owner) => owner,
                // It says nothing of its package's owner; the upgrade does.
                Log::Package(_) => OwnerId::INSTALLATION,
            };
            first(event, owner)
        } else {
            from_json(VERSION, bytes, "event")?
        };
        Ok(Self { log, number, entry })
    }
}

/// What the first form says.
fn first(event: Event, owner: OwnerId) -> Entry {
    let Event { action, at, by, request, digest, tag, detail } = event;
    let did = vec![Deed { action, digest, tag, detail }];
    let system = false;
    Entry {
        at,
        by,
        request,
        owner,
        package: None,
        via: None,
        from: None,
        denied: None,
        object: None,
        system,
        did,
    }
}

impl Record for AuditRecord {
    fn key(&self) -> Key {
        stream_key(&self.log.stream(), self.number)
    }

    fn value(&self) -> Bytes {
        encode(&self.entry)
    }

    fn index(&self) -> BTreeSet<Key> {
        lists(self.log, &self.entry).iter().map(|list| stream_key(list, self.number)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deed(action: &str) -> Deed {
        Deed { action: action.into(), digest: None, tag: None, detail: None }
    }

    #[test]
    fn the_stored_form_is_these_bytes() {
        let entry = Entry {
            at: 7,
            by: "user:1".into(),
            request: "r".into(),
            owner: OwnerId(2),
            package: None,
            via: None,
            from: None,
            denied: None,
            object: None,
            system: false,
            did: vec![deed("a")],
        };
        let record = AuditRecord { log: Log::Package(PackageId(3)), number: 4, entry };
        let golden =
            b"\x02{\"at\":7,\"by\":\"user:1\",\"request\":\"r\",\"owner\":2,\"did\":[{\"action\":\"a\"}]}";
        assert_eq!(record.value().as_ref(), golden);
        assert_eq!(AuditRecord::decode(record.log, 4, golden).unwrap(), record);
        assert_eq!(record.key().bytes, b"e\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x04");
        assert_eq!(AuditRecord::place(&record.key()), Some((record.log, 4)));
        let index: Vec<_> = record.index().into_iter().collect();
        let at = b"\xff\xff\xff\xff\xff\xff\xff\xf8".as_slice();
        let row = b"e\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x04".as_slice();
        let package = b"p\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03";
        assert_eq!(index[0].bytes, [package, at, row].concat());
        assert_eq!(index[1].bytes, [b"t", at, row].concat());
        assert_eq!(index[2].bytes, [b"w\0\0\0\0\0\0\0\x02", at, row].concat());
        assert_eq!(index.len(), 3);
        assert_eq!(entry_in(&index[2], &of_owner(OwnerId(2))), Some((Timestamp(7), record.log, 4)));

        let mut full = record.entry.clone();
        full.package = Some(PackageId(6));
        full.via = Some("bearer token:5".into());
        full.from = Some("::1".into());
        full.denied = Some("role".into());
        full.object = Some("PUT /v2/".into());
        full.system = true;
        let (digest, tag, detail) = (Some("sha256:a".into()), Some("v1".into()), Some("d".into()));
        full.did = vec![Deed { action: "b".into(), digest, tag, detail }];
        let full = AuditRecord { log: Log::Owner(OwnerId(2)), number: 1, entry: full };
        let golden =
            b"\x02{\"at\":7,\"by\":\"user:1\",\"request\":\"r\",\"owner\":2,\"package\":6,\"via\":\"bearer token:5\",\
            \"from\":\"::1\",\"denied\":\"role\",\"object\":\"PUT /v2/\",\"system\":true,\
            \"did\":[{\"action\":\"b\",\"digest\":\"sha256:a\",\"tag\":\"v1\",\"detail\":\"d\"}]}";
        assert_eq!(full.value().as_ref(), golden);
        assert_eq!(AuditRecord::decode(full.log, 1, golden).unwrap(), full);
        let tags: Vec<u8> = full.index().iter().map(|entry| entry.bytes[0]).collect();
        assert_eq!(tags, *b"pstw");
    }

    #[test]
    fn the_first_form_is_read() {
        let golden =
            b"\x01{\"action\":\"tag.put\",\"at\":7,\"by\":\"operator\",\"request\":\"r\",\"tag\":\"v1\"}";
        let read = AuditRecord::decode(Log::Owner(OwnerId(9)), 1, golden).unwrap();
        assert_eq!((read.entry.owner, read.entry.at), (OwnerId(9), 7));
        assert_eq!(read.entry.did, [Deed { tag: Some("v1".into()), ..deed("tag.put") }]);
        assert!(AuditRecord::decode(Log::Owner(OwnerId(9)), 1, b"\x03{}").is_err());
        assert!(AuditRecord::decode(Log::Owner(OwnerId(9)), 1, b"").is_err());
    }

    #[test]
    fn the_later_sorts_first() {
        let of = |at| moment(Timestamp(at));
        assert!(of(8) < of(7) && of(u64::MAX) < of(0));
    }
}
