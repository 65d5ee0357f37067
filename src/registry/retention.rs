//! Which versions of a package stay and which go: decided by a pure function of what is there, and then done in steps.
//!
//! What is tagged is judged by the rules. What an index names, and what refers to something (a signature, an SBOM, by its
//! subject or by a tag `sha256-…`), shares the fate of what it belongs to: it stays while one of those stays, and goes
//! with the last of them, also when that was deleted before (so a run that is cut short is finished by the next). What
//! nothing says goes, stays.

mod run;
#[cfg(test)]
mod tests;

pub use run::{Cursor, Plan};

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use super::records::Retention;
use crate::model::{Algorithm, Digest, Timestamp};

/// A version, as far as its fate depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its name.
    pub digest: Digest,
    /// Whether it is deleted already. What belongs to it may follow.
    pub gone: bool,
    /// When it was first pushed.
    pub pushed: Timestamp,
    /// When it was pushed or a tag was put on it, the last time.
    pub touched: Timestamp,
    /// Its tags, and whether each is immutable.
    pub tags: Vec<(String, bool)>,
    /// What it refers to.
    pub subject: Option<Digest>,
    /// The manifests it names that are there.
    pub children: Vec<Digest>,
}

/// Why a version stays or goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It stays: a tag of it is immutable.
    Immutable(String),
    /// It stays: the rules keep such a tag.
    Tag(String),
    /// It stays: it is one of the last so many.
    Last(u32),
    /// It stays: it is younger than so many seconds.
    Young(u64),
    /// It stays: no rule is about it.
    NoRule,
    /// It stays: it belongs to this, which stays.
    Belongs(Digest),
    /// It stays: what it refers to is not here.
    Alone,
    /// It goes: it is not one of the last, or too old, or both, whichever is asked for.
    Old,
    /// It goes: it has no tag, nothing names it, and it is older than so many seconds.
    Untagged(u64),
    /// It goes with this.
    With(Digest),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Immutable(tag) => write!(f, "the tag {tag} is immutable"),
            Self::Tag(tag) => write!(f, "the tag {tag} is kept"),
            Self::Last(count) => write!(f, "one of the last {count}"),
            Self::Young(seconds) => write!(f, "younger than {}", Days(*seconds)),
            Self::NoRule => f.write_str("no rule is about it"),
            Self::Belongs(digest) => write!(f, "belongs to {digest}, which stays"),
            Self::Alone => f.write_str("what it refers to is not here"),
            Self::Old => f.write_str("no rule keeps it"),
            Self::Untagged(seconds) => write!(f, "untagged and older than {}", Days(*seconds)),
            Self::With(digest) => write!(f, "goes with {digest}"),
        }
    }
}

/// A span in the unit that fits.
struct Days(u64);

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            seconds if seconds % 86_400 == 0 => write!(f, "{}d", seconds / 86_400),
            seconds if seconds % 3600 == 0 => write!(f, "{}h", seconds / 3600),
            seconds => write!(f, "{seconds}s"),
        }
    }
}

/// What becomes of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fate {
    /// Whether it goes.
    pub goes: bool,
    /// Why.
    pub why: Why,
}

/// What a version's own tags and age say of it.
enum Own {
    Keep(Why),
    Go(Why),
    /// Nothing: it belongs to others.
    Belongs,
}

/// The digest that a tag belongs to, by the conventions of referrers and signatures: `sha256-<hex>`, with an ending.
pub fn companion(tag: &str) -> Option<Digest> {
    let (algorithm, rest) = tag.split_once('-')?;
    let algorithm = Algorithm::parse(algorithm).ok()?;
    Digest::parse(&format!("{}:{}", algorithm.word(), rest.split('.').next()?)).ok()
}

/// The fate of each version, in their order.
pub fn evaluate(versions: &[Seen], rules: &Retention, at: Timestamp) -> Vec<Fate> {
    let places: HashMap<Digest, usize> =
        versions.iter().enumerate().map(|(place, version)| (version.digest, place)).collect();
    // What belongs to each: its children, and what refers to it.
    let mut belonging: Vec<Vec<usize>> = vec![Vec::new(); versions.len()];
    let mut belongs = vec![false; versions.len()];
    for (place, version) in versions.iter().enumerate() {
        for child in version.children.iter().filter_map(|child| places.get(child)) {
            belonging[place].push(*child);
            belongs[*child] = true;
        }
        for subject in subjects(version).filter_map(|subject| places.get(&subject)) {
            belonging[*subject].push(place);
            belongs[place] = true;
        }
    }
    let last = last(versions, rules.keep_last);
    let owns: Vec<Own> = (0..versions.len())
        .map(|place| own(&versions[place], rules, at, last.contains(&place), belongs[place]))
        .collect();

    // What goes by itself, and all that may go with it.
    let mut fates: Vec<Option<Why>> = vec![None; versions.len()];
    let mut walk: Vec<usize> = Vec::new();
    for (place, own) in owns.iter().enumerate() {
        if let Own::Go(why) = own {
            fates[place] = Some(why.clone());
            walk.push(place);
        }
    }
    while let Some(place) = walk.pop() {
        for other in &belonging[place] {
            if fates[*other].is_none() && matches!(owns[*other], Own::Belongs) {
                fates[*other] = Some(Why::With(versions[place].digest));
                walk.push(*other);
            }
        }
    }
    // What belongs to something that stays, stays after all; and what belongs to that.
    let mut stays: Vec<Option<Why>> = vec![None; versions.len()];
    walk.extend((0..versions.len()).filter(|place| fates[*place].is_none()));
    while let Some(place) = walk.pop() {
        for other in &belonging[place] {
            if versions[*other].gone {
                continue;
            }
            if fates[*other].take().is_some() {
                walk.push(*other);
                stays[*other] = Some(Why::Belongs(versions[place].digest));
            } else if matches!(owns[*other], Own::Belongs) && stays[*other].is_none() {
                stays[*other] = Some(Why::Belongs(versions[place].digest));
            }
        }
    }
    let fate = |(place, own): (usize, Own)| match fates[place].take() {
        Some(why) => Fate { goes: true, why },
        None => {
            let why = match own {
                Own::Keep(why) => why,
                Own::Go(_) | Own::Belongs => stays[place].take().unwrap_or(Why::NoRule),
            };
            Fate { goes: false, why }
        }
    };
    owns.into_iter().enumerate().map(fate).collect()
}

/// What a version refers to, by its subject or by a tag.
fn subjects(version: &Seen) -> impl Iterator<Item = Digest> {
    version.subject.into_iter().chain(version.tags.iter().filter_map(|(tag, _)| companion(tag)))
}

fn is_tagged(version: &Seen) -> bool {
    !version.gone && version.tags.iter().any(|(tag, _)| companion(tag).is_none())
}

/// The places of the last so many that have tags.
fn last(versions: &[Seen], count: Option<u32>) -> HashSet<usize> {
    let mut tagged: Vec<usize> = (0..versions.len()).filter(|place| is_tagged(&versions[*place])).collect();
    tagged.sort_by_key(|place| std::cmp::Reverse((versions[*place].touched, versions[*place].digest)));
    tagged.truncate(count.unwrap_or(0) as usize);
    tagged.into_iter().collect()
}

fn own(version: &Seen, rules: &Retention, at: Timestamp, last: bool, belongs: bool) -> Own {
    if version.gone {
        return Own::Go(Why::Old);
    }
    if let Some((tag, _)) = version.tags.iter().find(|(_, immutable)| *immutable) {
        return Own::Keep(Why::Immutable(tag.clone()));
    }
    if let Some((tag, _)) = version.tags.iter().find(|(tag, _)| rules.keep_tags.find(tag).is_some()) {
        return Own::Keep(Why::Tag(tag.clone()));
    }
    if is_tagged(version) {
        return match (rules.keep_last, rules.keep_younger) {
            (None, None) => Own::Keep(Why::NoRule),
            (Some(count), _) if last => Own::Keep(Why::Last(count)),
            (_, Some(span)) if version.touched.plus_seconds(span) > at => Own::Keep(Why::Young(span)),
            _ => Own::Go(Why::Old),
        };
    }
    if belongs {
        return Own::Belongs;
    }
    if subjects(version).next().is_some() {
        return Own::Keep(Why::Alone);
    }
    match rules.untagged_older {
        None => Own::Keep(Why::NoRule),
        Some(span) if version.touched.plus_seconds(span) > at => Own::Keep(Why::Young(span)),
        Some(span) => Own::Go(Why::Untagged(span)),
    }
}
