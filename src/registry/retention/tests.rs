//! The decision, said once more by the dullest code that can say it.

use proptest::prelude::*;

use super::*;
use crate::model::{TagPattern, TagPatterns};

const COUNT: usize = 7;
const TAGS: [&str; 5] = ["v1", "v2", "release", "latest", "other"];

fn digest(number: usize) -> Digest {
    Digest::sha256(&[u8::try_from(number).unwrap()])
}

fn signature_of(number: usize) -> String {
    format!("sha256-{}.sig", digest(number).to_string().split_once(':').unwrap().1)
}

/// Versions that name only earlier ones, as digests make it; each tag is on one at most.
fn versions() -> impl Strategy<Value = Vec<Seen>> {
    let one = (
        (0u64..20, prop::bool::weighted(0.2)),
        0u64..20,
        any::<bool>(),
        prop::option::weighted(0.25, 0usize..COUNT + 2),
        prop::option::weighted(0.15, 0usize..COUNT),
        prop::collection::vec(0usize..COUNT, 0..3),
    );
    (prop::collection::vec(one, 1..COUNT), prop::collection::vec(0usize..COUNT, TAGS.len())).prop_map(
        |(all, places)| {
            let count = all.len();
            let seen =
                |(number, ((pushed, gone), later, immutable, subject, signs, children)): (usize, _)| {
                    let _: (&u64, &u64, &bool) = (&pushed, &later, &immutable);
                    let at = |place: &usize| *place % (2 * count) == number;
                    let tags = TAGS.iter().zip(&places).filter(|(_, place)| at(place));
                    let mut tags: Vec<_> =
                        tags.map(|(tag, _)| ((*tag).to_owned(), immutable && *tag == "v1")).collect();
                    let signs: Option<usize> = signs;
                    tags.extend(signs.map(|signs| (signature_of(signs), false)));
                    let subject: Option<usize> = subject;
                    let children: Vec<usize> = children;
                    let gone: bool = gone;
                    // What is deleted has no tags.
                    if gone {
                        tags.clear();
                    }
                    Seen {
                        digest: digest(number),
                        gone,
                        pushed: Timestamp(pushed * 1000),
                        touched: Timestamp((pushed + later) * 1000),
                        tags,
                        subject: subject.filter(|one| *one < number || *one >= count).map(digest),
                        children: children.into_iter().filter(|one| *one < number).map(digest).collect(),
                    }
                };
            all.into_iter().enumerate().map(seen).collect()
        },
    )
}

fn rules() -> impl Strategy<Value = Retention> {
    let span = || prop::option::of(0u64..40);
    (prop::option::of(0u32..4), span(), any::<bool>(), span()).prop_map(|(last, younger, keep, untagged)| {
        Retention {
            keep_last: last,
            keep_younger: younger,
            keep_tags: TagPatterns {
                tags: if keep { vec![TagPattern::parse("re*").unwrap()] } else { Vec::new() },
                except: Vec::new(),
            },
            untagged_older: untagged,
        }
    })
}

/// By sets and paths: what goes is what a rule names, or what belongs to that by steps through things without a fate of
/// their own; and nothing of it that can be reached from anything else.
fn oracle(all: &[Seen], rules: &Retention, now: u64) -> Vec<bool> {
    let plain = |one: &Seen| one.tags.iter().filter(|(tag, _)| !tag.starts_with("sha256-")).count() > 0;
    let protected = |one: &Seen| {
        one.tags
            .iter()
            .any(|(tag, immutable)| *immutable || (!rules.keep_tags.tags.is_empty() && tag.starts_with("re")))
    };
    let belongs = |inner: &Seen, outer: &Seen| {
        let signs = inner.tags.iter().any(|(tag, _)| {
            all.iter().position(|one| one == outer).is_some_and(|number| *tag == signature_of(number))
        });
        outer.children.contains(&inner.digest) || inner.subject == Some(outer.digest) || signs
    };
    let newer = |one: &Seen| {
        let tagged = all.iter().filter(|other| plain(other));
        tagged.filter(|other| (other.touched, other.digest) > (one.touched, one.digest)).count()
    };
    let old = |one: &Seen, span: u64| one.touched.0 / 1000 + span <= now;
    let dependent =
        |one: &Seen| !plain(one) && !protected(one) && all.iter().any(|other| belongs(one, other));
    let named = |one: &Seen| {
        if one.gone || protected(one) {
            return one.gone;
        }
        if plain(one) {
            let some = rules.keep_last.is_some() || rules.keep_younger.is_some();
            let counted = rules.keep_last.is_some_and(|last| newer(one) < last as usize);
            return some && !counted && rules.keep_younger.is_none_or(|span| old(one, span));
        }
        let refers = one.subject.is_some() || !one.tags.is_empty();
        !dependent(one) && !refers && rules.untagged_older.is_some_and(|span| old(one, span))
    };
    let mut may: Vec<bool> = all.iter().map(named).collect();
    for _ in 0..all.len() {
        for (place, one) in all.iter().enumerate() {
            let with = (0..all.len()).any(|outer| may[outer] && belongs(one, &all[outer]));
            may[place] |= dependent(one) && with;
        }
    }
    let mut reached: Vec<bool> = may.iter().map(|may| !may).collect();
    for _ in 0..all.len() {
        for (place, one) in all.iter().enumerate() {
            reached[place] |=
                !one.gone && (0..all.len()).any(|outer| reached[outer] && belongs(one, &all[outer]));
        }
    }
    reached.into_iter().map(|reached| !reached).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn the_decision_is_what_the_oracle_says(all in versions(), rules in rules(), now in 0u64..60) {
        let fates = evaluate(&all, &rules, Timestamp(now * 1000));
        let goes: Vec<bool> = fates.iter().map(|fate| fate.goes).collect();
        prop_assert_eq!(&goes, &oracle(&all, &rules, now));
        // And what must never happen, whoever is right.
        for (one, fate) in all.iter().zip(&fates) {
            let place = |digest: &Digest| all.iter().position(|other| other.digest == *digest);
            if !fate.goes && !one.gone {
                for child in one.children.iter().filter_map(place) {
                    prop_assert!(!goes[child] || all[child].gone, "a kept index loses a manifest");
                }
            }
            if let Some(subject) = one.subject.as_ref().and_then(place) {
                prop_assert!(goes[subject] || !fate.goes || one.gone, "a kept subject loses what refers to it");
            }
            prop_assert!(!fate.goes || one.tags.iter().all(|(_, immutable)| !immutable));
        }
    }
}

#[test]
fn tags_that_belong_to_a_digest() {
    let text = digest(1).to_string();
    let hex = text.split_once(':').unwrap().1;
    for ending in ["", ".sig", ".att", ".sbom", ".a.b"] {
        assert_eq!(companion(&format!("sha256-{hex}{ending}")), Some(digest(1)));
    }
    for other in ["latest", "sha256-12", "sha256", "v1-2"] {
        assert_eq!(companion(other), None);
    }
}
