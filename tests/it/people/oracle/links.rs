//! Links of packages to source repositories, and inheritance: done to both.

use packhouse::error::{Kind, Reason, What};
use proptest::prelude::*;

use super::{Both, PATHS, owner_of, repositories::REPOS, rules::Oracle};

#[derive(Debug, Clone)]
pub(super) enum Op {
    Link(usize, usize),
    Unlink(usize),
    Inherit(usize, bool),
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..7usize, 0..REPOS.len()).prop_map(|(path, repo)| Op::Link(path, repo)),
        1 => (0..7usize).prop_map(Op::Unlink),
        3 => (0..7usize, prop::bool::weighted(0.8)).prop_map(|(path, on)| Op::Inherit(path, on)),
    ]
}

impl Both {
    pub(super) async fn links(&mut self, op: &Op) {
        let (Op::Link(path, _) | Op::Unlink(path) | Op::Inherit(path, _)) = op;
        let path = PATHS[*path];
        if !self.oracle.packages.contains_key(path) {
            return;
        }
        match op {
            Op::Link(_, repo) => self.link(path, REPOS[*repo]).await,
            Op::Unlink(_) => {
                self.world.registry.unlink_package(&self.world.manage(path).await).await.unwrap();
                self.oracle.links.remove(path);
            }
            Op::Inherit(_, on) => self.inherit(path, *on).await,
        }
    }

    pub(super) async fn link(&mut self, path: &str, repo: &str) {
        let to = self.may_repo(&self.world.operator(), repo).await;
        assert_eq!(to.is_ok(), self.oracle.repositories.contains_key(repo));
        let Ok(to) = to else { return };
        let done = self.world.registry.link_package(&self.world.manage(path).await, &to).await;
        let own = repo.split('/').next().unwrap() == owner_of(path);
        assert_eq!(done.as_ref().map_err(packhouse::error::Error::kind).is_ok(), own, "{done:?}");
        if !own {
            assert_eq!(super::super::kind(done), Kind::Forbidden(Reason::Policy));
        } else if self.oracle.links.get(path).is_none_or(|(to, _)| to != repo) {
            self.oracle.links.insert(path.to_owned(), (repo.to_owned(), false));
        }
    }

    pub(super) async fn inherit(&mut self, path: &str, on: bool) {
        let done = self.world.registry.set_inherits(&self.world.manage(path).await, on).await;
        let oracle = &mut self.oracle;
        match oracle.links.get_mut(path) {
            Some((_, inherits)) if *inherits != on => {
                done.unwrap();
                *inherits = on;
                oracle.roles.retain(|(of, _), _| of != path);
                oracle.group_roles.retain(|(of, _), _| of != path);
            }
            Some(_) => done.unwrap(),
            None if on => assert_eq!(super::super::kind(done), Kind::Invalid(What::Package)),
            None => done.unwrap(),
        }
    }
}

impl Oracle {
    /// The repository from which a package inherits.
    pub(super) fn inherits(&self, path: &str) -> Option<&str> {
        self.links.get(path).filter(|(_, inherits)| *inherits).map(|(repo, _)| repo.as_str())
    }

    /// Ends all links to a repository.
    pub(super) fn unlink_all(&mut self, repo: &str) {
        self.links.retain(|_, (to, _)| to != repo);
    }
}
