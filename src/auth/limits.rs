//! What a token is limited to, beyond its scopes: to what it may do there, to some packages and owners, to the networks it is
//! used from. A limit takes away and never gives: the user's role is asked all the same.
//!
//! What a token may act on is named by ids, so a rename changes nothing, and who takes over a name gets nothing. A thing that is
//! removed stays named, and is nowhere: limits never widen.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Verb;
use crate::model::{OwnerId, PackageId};

/// Limits of a token. Each list that is empty limits nothing. An unknown field is refused: a limit that is not understood must
/// not be left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// The packages it may act on, besides those of `owners`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub packages: BTreeSet<PackageId>,
    /// The owners it may act on, with all their packages.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub owners: BTreeSet<OwnerId>,
    /// What it may do.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub actions: BTreeSet<Verb>,
    /// The networks it may be used from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<IpNet>,
}

impl Limits {
    /// Most packages and owners together: each decision looks them up, and each list walks them.
    pub const PLACES: usize = 100;
    /// Most networks.
    pub const NETWORKS: usize = 32;

    /// Whether nothing is limited.
    pub fn are_none(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it may act everywhere.
    pub fn everywhere(&self) -> bool {
        self.packages.is_empty() && self.owners.is_empty()
    }

    /// Whether this may be done.
    pub fn allow(&self, verb: Verb) -> bool {
        self.actions.is_empty() || self.actions.contains(&verb)
    }

    /// Whether this may be done to a package, to an owner, or, without either, to the installation.
    pub fn cover(&self, owner: Option<OwnerId>, package: Option<PackageId>, verb: Verb) -> bool {
        let here = self.everywhere()
            || owner.is_some_and(|owner| self.owners.contains(&owner))
            || package.is_some_and(|package| self.packages.contains(&package));
        here && self.allow(verb)
    }

    /// Whether it may be used from this address. An address that is not known is none of those that may.
    pub fn admit(&self, address: Option<IpAddr>) -> bool {
        let inside = |address: IpAddr| self.networks.iter().any(|network| network.contains(&address));
        self.networks.is_empty() || address.is_some_and(|address| inside(address.to_canonical()))
    }

    /// Whether a token with these limits may do nothing that one with `other` may not. `owner_of` says whose a package is.
    pub fn within(&self, other: &Self, owner_of: impl Fn(PackageId) -> Option<OwnerId>) -> bool {
        let owned = |package| owner_of(package).is_some_and(|owner| other.owners.contains(&owner));
        let places = other.everywhere()
            || !self.everywhere()
                && self.owners.is_subset(&other.owners)
                && self.packages.iter().all(|package| other.packages.contains(package) || owned(*package));
        let actions =
            other.actions.is_empty() || !self.actions.is_empty() && self.actions.is_subset(&other.actions);
        let inside = |network: &IpNet| other.networks.iter().any(|outer| outer.contains(network));
        let networks =
            other.networks.is_empty() || !self.networks.is_empty() && self.networks.iter().all(inside);
        places && actions && networks
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VERBS: [Verb; 4] = [Verb::Pull, Verb::Push, Verb::Delete, Verb::Manage];
    const NETWORKS: [&str; 5] =
        ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "2001:db8::/32", "2001:db8:1::/48"];
    const ADDRESSES: [&str; 7] =
        ["10.1.2.3", "10.1.9.9", "10.9.9.9", "11.0.0.1", "2001:db8:1::1", "2001:db8:2::1", "::ffff:10.1.2.3"];

    fn limits() -> impl Strategy<Value = Limits> {
        let packages = prop::collection::btree_set((0..4u64).prop_map(PackageId), 0..3);
        let owners = prop::collection::btree_set((0..2u64).prop_map(OwnerId), 0..2);
        let actions = prop::collection::btree_set(prop::sample::select(VERBS.to_vec()), 0..4);
        let networks = prop::collection::vec(prop::sample::select(NETWORKS.to_vec()), 0..3);
        (packages, owners, actions, networks).prop_map(|(packages, owners, actions, networks)| {
            let networks = networks.into_iter().map(|network| network.parse().unwrap()).collect();
            Limits { packages, owners, actions, networks }
        })
    }

    /// Packages 0 and 1 belong to owner 0, the others to owner 1.
    fn owner_of(package: PackageId) -> OwnerId {
        OwnerId(package.0 / 2)
    }

    proptest! {
        #[test]
        fn what_is_within_may_do_no_more(inner in limits(), outer in limits()) {
            let mut more = false;
            for verb in VERBS {
                more |= inner.cover(None, None, verb) && !outer.cover(None, None, verb);
                for owner in (0..3).map(OwnerId) {
                    let may = |limits: &Limits| limits.cover(Some(owner), None, verb);
                    more |= may(&inner) && !may(&outer);
                }
                for package in (0..4).map(PackageId) {
                    let may = |limits: &Limits| limits.cover(Some(owner_of(package)), Some(package), verb);
                    more |= may(&inner) && !may(&outer);
                }
            }
            for address in ADDRESSES {
                let address = Some(address.parse().unwrap());
                more |= inner.admit(address) && !outer.admit(address);
            }
            more |= inner.admit(None) && !outer.admit(None);
            let within = inner.within(&outer, |package| Some(owner_of(package)));
            prop_assert!(!within || !more, "{inner:?} within {outer:?}");
            // And everything is within itself and within no limits.
            prop_assert!(inner.within(&inner, |_| None));
            prop_assert!(inner.within(&Limits::default(), |_| None));
        }
    }

    #[test]
    fn addresses_in_every_spelling() {
        let limits = Limits { networks: vec!["10.1.0.0/16".parse().unwrap()], ..Limits::default() };
        for (address, admitted) in ADDRESSES.into_iter().zip([true, true, false, false, false, false, true]) {
            assert_eq!(limits.admit(Some(address.parse().unwrap())), admitted, "{address}");
        }
        assert!(!limits.admit(None), "an unknown address is not one of them");
        assert!(Limits::default().admit(None));
    }

    #[test]
    fn the_stored_form_is_this_text() {
        let limits = Limits {
            packages: BTreeSet::from([PackageId(2), PackageId(1)]),
            owners: BTreeSet::from([OwnerId(3)]),
            actions: BTreeSet::from([Verb::Manage, Verb::Pull]),
            networks: vec!["10.0.0.0/8".parse().unwrap()],
        };
        let text = r#"{"packages":[1,2],"owners":[3],"actions":["pull","manage"],"networks":["10.0.0.0/8"]}"#;
        assert_eq!(serde_json::to_string(&limits).unwrap(), text);
        assert_eq!(serde_json::from_str::<Limits>(text).unwrap(), limits);
        assert_eq!(serde_json::to_string(&Limits::default()).unwrap(), "{}");
        assert!(serde_json::from_str::<Limits>(r#"{"hours":[9]}"#).is_err(), "a limit of a newer version");
    }
}
