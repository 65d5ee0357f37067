//! Values that the committer need not look up again.
//!
//! Each batch expects things that the batch before it expected too: revisions of rights, policies, leases, the records of
//! shared blobs; and a session's row is expected by the request that follows the one that wrote it. Only the committer
//! writes the database, so what it read there stays true until it writes that key again. It takes the whole of this into a
//! group and puts it back after the group's write succeeded: after a failure nothing is known any more.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use crate::store::Key;

/// Keys in each of two generations; with the largest values some three megabytes in all.
const KEYS: usize = 2048;

/// Longer values are looked up each time, in bytes.
const LARGEST: usize = 512;

/// What keys hold, absence included. What was not asked for in a while is forgotten.
#[derive(Default)]
pub(super) struct Known {
    young: HashMap<Key, Option<Bytes>>,
    old: HashMap<Key, Option<Bytes>>,
}

impl Known {
    /// What a key holds, if that is known.
    pub(super) fn get(&mut self, key: &Key) -> Option<Option<Bytes>> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = self.old.remove_entry(key)?;
        self.keep(key, value.clone());
        Some(value)
    }

    /// Takes in what was just read.
    pub(super) fn learn(&mut self, key: &Key, value: Option<&Bytes>) {
        if fits(value) {
            self.keep(key.clone(), value.cloned());
        }
    }

    /// Takes in what was just written. Only of keys that somebody asked for: most are never asked for again.
    pub(super) fn wrote(&mut self, changes: &BTreeMap<Key, Option<Bytes>>) {
        for (key, value) in changes {
            let place = match self.young.get_mut(key) {
                Some(place) => Some(place),
                None => self.old.get_mut(key),
            };
            let Some(place) = place else { continue };
            if fits(value.as_ref()) {
                // A copy, since these bytes may be a small part of something large.
                *place = value.as_deref().map(Bytes::copy_from_slice);
            } else {
                self.young.remove(key);
                self.old.remove(key);
            }
        }
    }

    fn keep(&mut self, key: Key, value: Option<Bytes>) {
        if self.young.len() >= KEYS {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

fn fits(value: Option<&Bytes>) -> bool {
    value.is_none_or(|value| value.len() <= LARGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Space;

    fn key(number: usize) -> Key {
        Key::new(Space::Meta, b't').with(&number.to_be_bytes())
    }

    fn wrote(known: &mut Known, number: usize, value: Option<Bytes>) {
        known.wrote(&BTreeMap::from([(key(number), value)]));
    }

    #[test]
    fn what_is_written_replaces_what_was_read() {
        let mut known = Known::default();
        let (one, two) = (Bytes::from_static(b"one"), Bytes::from_static(b"two"));
        assert_eq!(known.get(&key(1)), None);
        wrote(&mut known, 1, Some(one.clone()));
        assert_eq!(known.get(&key(1)), None, "nobody asked for it");
        known.learn(&key(1), None);
        assert_eq!(known.get(&key(1)), Some(None));
        for value in [Some(one), None, Some(two)] {
            wrote(&mut known, 1, value.clone());
            assert_eq!(known.get(&key(1)), Some(value));
        }
        wrote(&mut known, 1, Some(vec![0; LARGEST + 1].into()));
        assert_eq!(known.get(&key(1)), None, "too long to be kept, and not what it was before");
    }

    #[test]
    fn it_stays_small_and_keeps_what_is_asked_for() {
        let mut known = Known::default();
        let value = Some(Bytes::from_static(b"value"));
        for number in 0..10 * KEYS {
            known.learn(&key(number), value.as_ref());
            assert_eq!(known.get(&key(0)), Some(value.clone()));
            assert!(known.young.len() + known.old.len() <= 2 * KEYS);
            // Also while it is in the older generation.
            if number % KEYS == KEYS - 1 {
                wrote(&mut known, 0, None);
                assert_eq!(known.get(&key(0)), Some(None));
                wrote(&mut known, 0, value.clone());
            }
        }
        assert_eq!(known.get(&key(1)), None);
    }
}
