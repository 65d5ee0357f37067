//! One atomic change, what it expects to find, and the index entries that follow from records.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::Key;
use crate::error::Error;

/// What must be true at the moment a batch is applied.
#[derive(Debug, Clone)]
pub enum Expect {
    /// The key has this value, or is absent.
    Equals(Key, Option<Bytes>),
    /// The keys under `prefix` are as `holds` says. `guard` is a key that every batch changing this prefix also touches:
    /// an engine without one committer locks it; the embedded engine needs no lock.
    Prefix {
        /// The prefix.
        prefix: Key,
        /// What must be there.
        holds: Prefix,
        /// The key to lock.
        guard: Key,
    },
}

/// What an expectation says of a prefix.
#[derive(Debug, Clone)]
pub enum Prefix {
    /// Nothing.
    Empty,
    /// This key and no other.
    Only(Key),
    /// One key or more.
    Some,
}

/// An addition to a counter (signed 64-bit, big endian; absent is 0).
#[derive(Debug, Clone)]
pub struct Add {
    /// The counter.
    pub key: Key,
    /// What is added.
    pub amount: i64,
    /// The batch is refused if the sum would be greater than this and the amount is positive.
    pub at_most: Option<i64>,
}

/// A value for a stream: the store gives the key at commit, `stream` followed by a 64-bit big-endian number that grows
/// by one in commit order, beginning with 1; no reader sees number n+1 before n. Numbers are not given again when
/// elements are deleted.
#[derive(Debug, Clone)]
pub struct Append {
    /// The stream's prefix.
    pub stream: Key,
    /// The value.
    pub value: Bytes,
    /// Keys (with empty values) that follow from it: each is followed by the number that it is given.
    pub index: Vec<Key>,
}

/// A stored thing. Its index entries are a pure function of it, so that nobody writes an index by hand.
pub trait Record {
    /// Where it is stored.
    fn key(&self) -> Key;
    /// Its bytes.
    fn value(&self) -> Bytes;
    /// The keys (with empty values) that follow from it.
    fn index(&self) -> BTreeSet<Key>;
}

/// One atomic change. The expectations look at what is there before it; then its parts are applied in a fixed order:
/// deletes, puts, additions, appends. So a key both deleted and put is put, of two puts the later one counts, and an
/// addition adds to what the same batch put.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// What must hold.
    pub expect: Vec<Expect>,
    /// Keys to write.
    pub puts: Vec<(Key, Bytes)>,
    /// Keys to remove.
    pub deletes: Vec<Key>,
    /// Counters to change.
    pub adds: Vec<Add>,
    /// Values to append to streams.
    pub appends: Vec<Append>,
    /// If set, `commit` may return before the batch is durable. A later synced batch makes it durable too.
    pub lazy: bool,
}

impl Batch {
    /// An empty change.
    pub fn new() -> Self {
        Self::default()
    }

    /// Expects a key to be absent.
    pub fn expect_absent(&mut self, key: Key) {
        self.expect.push(Expect::Equals(key, None));
    }

    /// Expects a key to have this value, or to be absent.
    pub fn expect_equals(&mut self, key: Key, value: Option<Bytes>) {
        self.expect.push(Expect::Equals(key, value));
    }

    /// Expects keys under a prefix, or none.
    pub fn expect_prefix(&mut self, prefix: Key, holds: Prefix, guard: Key) {
        self.expect.push(Expect::Prefix { prefix, holds, guard });
    }

    /// Writes a key that no record stands behind (a marker, a body).
    pub fn put(&mut self, key: Key, value: impl Into<Bytes>) {
        self.puts.push((key, value.into()));
    }

    /// Removes such a key.
    pub fn delete(&mut self, key: Key) {
        self.deletes.push(key);
    }

    /// Appends to a stream.
    pub fn append(&mut self, stream: Key, value: impl Into<Bytes>) {
        self.appends.push(Append { stream, value: value.into(), index: Vec::new() });
    }

    /// Replaces a record: the record itself and the difference of its index entries. `old` is what was read; it is
    /// expected to be there still, so that two changes of one record cannot both count from the same state.
    pub fn replace<R: Record>(&mut self, old: Option<&R>, new: Option<&R>) {
        let had = old.map(Record::index).unwrap_or_default();
        let has = new.map(Record::index).unwrap_or_default();
        for gone in had.difference(&has) {
            self.deletes.push(gone.clone());
        }
        for fresh in has.difference(&had) {
            self.puts.push((fresh.clone(), Bytes::new()));
        }
        match (old, new) {
            (None, None) => {}
            (None, Some(new)) => {
                self.expect_absent(new.key());
                self.put(new.key(), new.value());
            }
            (Some(old), None) => {
                self.expect_equals(old.key(), Some(old.value()));
                self.delete(old.key());
            }
            (Some(old), Some(new)) => {
                self.expect_equals(old.key(), Some(old.value()));
                if old.key() != new.key() {
                    self.delete(old.key());
                }
                self.put(new.key(), new.value());
            }
        }
    }

    /// Bytes this batch carries, for bounding a group.
    pub fn size(&self) -> usize {
        let puts: usize = self.puts.iter().map(|(key, value)| key.bytes.len() + value.len()).sum();
        let carried = |append: &Append| append.value.len() + 16 + 48 * append.index.len();
        let appends: usize = self.appends.iter().map(carried).sum();
        puts + appends + 64 * (self.deletes.len() + self.expect.len() + self.adds.len())
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.deletes.is_empty() && self.adds.is_empty() && self.appends.is_empty()
    }
}

/// What a commit gave.
#[derive(Debug, Clone, Default)]
pub struct Committed {
    /// The numbers given to the batch's appends, in their order.
    pub appended: Vec<u64>,
}

/// Why a batch was not applied.
#[derive(Debug)]
pub enum CommitError {
    /// An expectation did not hold; the key or prefix it was about.
    Conflict(Key),
    /// An addition would pass its limit; the counter.
    Quota(Key),
    /// The engine could not write.
    Failed(Error),
}

/// A counter's value from its bytes; absent is 0.
pub fn counter(value: Option<&Bytes>) -> i64 {
    value.and_then(|bytes| bytes.as_ref().try_into().ok()).map_or(0, i64::from_be_bytes)
}

/// The key of a stream's element.
pub fn stream_key(stream: &Key, number: u64) -> Key {
    Key { space: stream.space, bytes: stream.bytes.clone() }.with(&number.to_be_bytes())
}
