//! Walks over indexes that sort as the repository paths do, merged into one.

use std::collections::VecDeque;

use crate::{
    error::Result,
    model::PackageId,
    registry::records::PackageRecord,
    store::{Key, MetadataRead},
};

/// Index entries in order of their paths: some ranges of one index.
pub(super) struct Walk {
    /// What stands in front of the paths.
    base: Key,
    /// How the paths of what is not read yet begin: in order, none a part of another.
    ranges: VecDeque<String>,
    /// The last key read of the first range, or one that stands for those to be passed over.
    at: Option<Key>,
    /// What was read and not taken.
    ahead: VecDeque<(String, PackageId)>,
}

impl Walk {
    /// Over the entries behind `base` whose paths begin so and sort after `after`.
    pub(super) fn new(base: Key, mut beginnings: Vec<String>, after: Option<&str>) -> Self {
        beginnings.sort();
        let mut walk = Self { base, ranges: beginnings.into(), at: None, ahead: VecDeque::new() };
        if let Some(path) = after {
            let over = |range: &String| path >= range.as_str() && !path.starts_with(range.as_str());
            while walk.ranges.front().is_some_and(over) {
                walk.ranges.pop_front();
            }
            if walk.ranges.front().is_some_and(|range| path.starts_with(range.as_str())) {
                // The entry of `after` itself ends in an id; a byte behind its terminator that no id exceeds skips it.
                walk.at = Some(walk.base.clone().with_text(path).with(&[0xff; 8]));
            }
        }
        walk
    }

    /// Nothing that is still to come sorts before this; `None` at the end.
    fn least(&self) -> Option<(&str, PackageId)> {
        let read = self.ahead.front().map(|(path, id)| (path.as_str(), *id));
        read.or_else(|| self.ranges.front().map(|range| (range.as_str(), PackageId(0))))
    }

    /// Reads on, at most so many entries.
    async fn read(&mut self, view: &dyn MetadataRead, most: usize) -> Result<()> {
        let Some(range) = self.ranges.front() else { return Ok(()) };
        let prefix = self.base.clone().with(range.as_bytes());
        let entries = view.scan(&prefix, self.at.as_ref(), most).await?;
        if entries.len() < most {
            self.ranges.pop_front();
            self.at = None;
        } else {
            self.at = entries.last().map(|(key, _)| key.clone());
        }
        let start = self.base.bytes.len();
        self.ahead.extend(entries.iter().filter_map(|(key, _)| {
            let path = key.bytes.get(start..key.bytes.len().checked_sub(9)?)?;
            Some((std::str::from_utf8(path).ok()?.to_owned(), PackageRecord::id_in(key)?))
        }));
        Ok(())
    }

    /// Leaves out what is not taken yet of the paths that begin so.
    fn pass_over(&mut self, beginning: &str) {
        self.ahead.retain(|(path, _)| !path.starts_with(beginning));
        if self.ranges.front().is_some_and(|range| beginning.starts_with(range.as_str())) {
            // No byte of a path is as great.
            let behind = self.base.clone().with(beginning.as_bytes()).with(&[0xff]);
            if self.at.as_ref().is_none_or(|at| *at < behind) {
                self.at = Some(behind);
            }
        }
    }
}

/// Several walks as one; what more than one of them meets is met once.
pub(super) struct Merge {
    walks: Vec<Walk>,
    last: Option<(String, PackageId)>,
}

impl Merge {
    pub(super) fn new(walks: Vec<Walk>) -> Self {
        Self { walks, last: None }
    }

    /// The next packages in order of their paths, at most so many; fewer only at the end.
    pub(super) async fn next(&mut self, view: &dyn MetadataRead, most: usize) -> Result<Vec<PackageId>> {
        let mut ids = Vec::with_capacity(most);
        while ids.len() < most {
            let first = self.walks.iter_mut().filter(|walk| walk.least().is_some());
            let Some(first) = first.min_by(|one, other| one.least().cmp(&other.least())) else { break };
            match first.ahead.pop_front() {
                // Only now: what lies behind the end of the page is not read.
                None => first.read(view, most - ids.len()).await?,
                Some(found) => {
                    if self.last.as_ref() != Some(&found) {
                        ids.push(found.1);
                        self.last = Some(found);
                    }
                }
            }
        }
        Ok(ids)
    }

    /// Leaves out what is not taken yet of the paths that begin so.
    pub(super) fn pass_over(&mut self, beginning: &str) {
        for walk in &mut self.walks {
            walk.pass_over(beginning);
        }
    }
}
