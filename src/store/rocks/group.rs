//! Batches that share one synced write: each is judged against what the batches before it leave behind.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
};

use bytes::Bytes;
use rocksdb::WriteBatch;

use super::{
    engine::{Engine, Moment, stream_name},
    known::Known,
};
use crate::{
    error::{Error, Result},
    store::{Add, Batch, CommitError, Committed, Expect, Key, Prefix, batch::stream_key},
};

/// Streams whose last number is remembered; beyond this all are forgotten and looked up again.
const STREAMS_KEPT: usize = 64 * 1024;

/// The last numbers of streams, as far as they were asked for.
#[derive(Default)]
pub(super) struct Numbers(HashMap<Key, u64>);

impl Numbers {
    /// Forgets all: the database may hold other numbers now.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }

    /// Takes in what a written group gave out.
    pub(super) fn learn(&mut self, given: HashMap<Key, u64>) {
        if self.0.len() + given.len() > STREAMS_KEPT {
            self.0.clear();
        }
        self.0.extend(given);
    }
}

/// The batches under way and what they leave behind: changes over the database, which meanwhile nobody else writes.
pub(super) struct Group<'a> {
    engine: &'a Engine,
    numbers: &'a Numbers,
    /// What the database holds, without the changes of this group.
    known: Known,
    overlay: BTreeMap<Key, Option<Bytes>>,
    given: HashMap<Key, u64>,
}

/// What a group leaves behind once it is written.
pub(super) struct Written {
    pub(super) known: Known,
    pub(super) given: HashMap<Key, u64>,
}

impl<'a> Group<'a> {
    pub(super) fn new(engine: &'a Engine, numbers: &'a Numbers, known: Known) -> Self {
        Self { engine, numbers, known, overlay: BTreeMap::new(), given: HashMap::new() }
    }

    /// Adds a batch if it holds against all before it; a refused one leaves no trace.
    pub(super) fn add(&mut self, batch: Batch) -> Result<Committed, CommitError> {
        for expect in &batch.expect {
            self.check(expect)?;
        }
        let sums = self.sums(&batch)?;
        let (committed, given) = self.numbers_for(&batch).map_err(CommitError::Failed)?;

        // Nothing can fail from here on. The order is part of the trait's contract: deletes, puts, additions, appends.
        for key in batch.deletes {
            self.overlay.insert(key, None);
        }
        for (key, value) in batch.puts {
            self.overlay.insert(key, Some(value));
        }
        for (key, sum) in sums {
            self.overlay.insert(key, Some(Bytes::copy_from_slice(&sum.to_be_bytes())));
        }
        for (append, number) in batch.appends.into_iter().zip(&committed.appended) {
            self.overlay.insert(stream_key(&append.stream, *number), Some(append.value));
            for entry in &append.index {
                self.overlay.insert(stream_key(entry, *number), Some(Bytes::new()));
            }
        }
        self.given.extend(given);
        Ok(committed)
    }

    /// The one write that makes the group durable, if anything changed, and what is true after it.
    pub(super) fn into_write(mut self) -> Result<(Option<WriteBatch>, Written)> {
        if self.overlay.is_empty() {
            return Ok((None, Written { known: self.known, given: self.given }));
        }
        let mut write = WriteBatch::default();
        let mut family = None;
        for (key, value) in &self.overlay {
            let family = match family {
                Some((space, family)) if space == key.space => family,
                _ => family.insert((key.space, self.engine.family(key.space)?)).1,
            };
            match value {
                Some(value) => write.put_cf(family, &key.bytes, value),
                None => write.delete_cf(family, &key.bytes),
            }
        }
        let streams = self.engine.streams()?;
        for (stream, number) in &self.given {
            write.put_cf(streams, stream_name(stream), number.to_be_bytes());
        }
        self.known.wrote(&self.overlay);
        Ok((Some(write), Written { known: self.known, given: self.given }))
    }

    fn get(&mut self, key: &Key) -> Result<Option<Bytes>> {
        if let Some(pending) = self.overlay.get(key) {
            return Ok(pending.clone());
        }
        if let Some(value) = self.known.get(key) {
            return Ok(value);
        }
        let value = self.engine.get(Moment::Now, key)?;
        self.known.learn(key, value.as_ref());
        Ok(value)
    }

    fn check(&mut self, expect: &Expect) -> Result<(), CommitError> {
        let (key, holds) = match expect {
            Expect::Equals(key, value) => (key, self.get(key).map(|found| found == *value)),
            Expect::Prefix { prefix, holds, .. } => (prefix, self.prefix_is(prefix, holds)),
        };
        match holds {
            Ok(true) => Ok(()),
            Ok(false) => Err(CommitError::Conflict(key.clone())),
            Err(error) => Err(CommitError::Failed(error)),
        }
    }

    fn prefix_is(&self, prefix: &Key, holds: &Prefix) -> Result<bool> {
        Ok(match holds {
            Prefix::Empty => self.first(prefix, 1)?.is_empty(),
            Prefix::Some => !self.first(prefix, 1)?.is_empty(),
            Prefix::Only(only) => matches!(self.first(prefix, 2)?.as_slice(), [one] if one == only),
        })
    }

    /// The first keys under a prefix, at most `count`: the database's, less those deleted here, and those put here.
    fn first(&self, prefix: &Key, count: usize) -> Result<Vec<Key>> {
        let mut put = Vec::new();
        let mut changed = false;
        for (key, value) in self.pending(prefix) {
            changed = true;
            if value.is_some() && put.len() < count {
                put.push(key.clone());
            }
        }
        let mut stored = Vec::new();
        let mut cursor = self.engine.cursor(Moment::Now, prefix)?;
        cursor.seek(None);
        while stored.len() < count {
            let Some((bytes, _)) = cursor.item() else {
                cursor.finish()?;
                break;
            };
            let key = Key { space: prefix.space, bytes: bytes.to_vec() };
            // A key that is pending counts above, if at all.
            if !changed || !self.overlay.contains_key(&key) {
                stored.push(key);
            }
            cursor.next();
        }
        put.extend(stored);
        put.sort();
        put.truncate(count);
        Ok(put)
    }

    fn pending(&self, prefix: &Key) -> impl Iterator<Item = (&Key, &Option<Bytes>)> {
        self.overlay
            .range((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(key, _)| key.space == prefix.space && key.bytes.starts_with(&prefix.bytes))
    }

    /// What the batch's counters become.
    fn sums(&mut self, batch: &Batch) -> Result<BTreeMap<Key, i64>, CommitError> {
        let mut sums = BTreeMap::new();
        for Add { key, amount, at_most } in &batch.adds {
            let before = match sums.get(key) {
                Some(sum) => *sum,
                None => self.counter(batch, key).map_err(CommitError::Failed)?,
            };
            let Some(sum) = before.checked_add(*amount) else { return Err(CommitError::Quota(key.clone())) };
            if *amount > 0 && at_most.is_some_and(|most| sum > most) {
                return Err(CommitError::Quota(key.clone()));
            }
            sums.insert(key.clone(), sum);
        }
        Ok(sums)
    }

    /// A counter as the batch's own deletes and puts leave it.
    fn counter(&mut self, batch: &Batch, key: &Key) -> Result<i64> {
        let put = batch.puts.iter().rev().find(|(put, _)| put == key).map(|(_, value)| value.clone());
        let value = match put {
            Some(value) => Some(value),
            None if batch.deletes.contains(key) => None,
            None => self.get(key)?,
        };
        match value {
            None => Ok(0),
            Some(value) => <[u8; 8]>::try_from(value.as_ref())
                .map(i64::from_be_bytes)
                .map_err(|_| Error::internal(format!("a counter in {} is not 8 bytes", key.space.word()))),
        }
    }

    /// The numbers for the batch's appends, and the last number of each stream after them.
    fn numbers_for(&self, batch: &Batch) -> Result<(Committed, HashMap<Key, u64>)> {
        let mut given: HashMap<Key, u64> = HashMap::new();
        let mut committed = Committed::default();
        for append in &batch.appends {
            let stream = &append.stream;
            let known =
                given.get(stream).or_else(|| self.given.get(stream)).or_else(|| self.numbers.0.get(stream));
            let last = match known {
                Some(last) => *last,
                None => self.engine.last_number(stream)?,
            };
            let number =
                last.checked_add(1).ok_or_else(|| Error::internal("a stream has no more numbers"))?;
            given.insert(stream.clone(), number);
            committed.appended.push(number);
        }
        Ok((committed, given))
    }
}
