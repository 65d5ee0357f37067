//! A small map of what was worked out recently. Holds only what is named by a hash or checked against a revision.

use std::{borrow::Borrow, collections::HashMap, hash::Hash};

/// A map of at most `2 * half` entries in two generations: when the young one is full it becomes the old one, and the
/// old one is forgotten whole. What is asked for moves back to the young one, so that it stays.
pub(crate) struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    half: usize,
}

impl<K: Eq + Hash, V> Recent<K, V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), half: (capacity / 2).max(1) }
    }

    pub(crate) fn get<Q>(&mut self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        if !self.young.contains_key(key) {
            let (key, value) = self.old.remove_entry(key)?;
            self.put(key, value);
        }
        self.young.get(key)
    }

    pub(crate) fn put(&mut self, key: K, value: V) {
        if self.young.len() >= self.half {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_within_its_bound_and_keeps_what_is_used() {
        let mut recent = Recent::new(100);
        recent.put(u32::MAX, "used");
        for number in 0..10_000 {
            recent.put(number, "once");
            assert_eq!(recent.get(&u32::MAX), Some(&"used"));
            assert!(recent.len() <= 101);
        }
        assert_eq!(recent.get(&0), None);
    }
}
