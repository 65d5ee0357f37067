//! Who is asking, when, in which request, with which upper bounds.

use std::{net::IpAddr, sync::Arc};

use super::{Limits, Trail, Verb, policy::Revision};
use crate::model::{OwnerId, PackageId, RepositoryId, Scopes, Timestamp, TokenId};

/// Who acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Actor {
    /// Nobody in particular.
    Anonymous,
    /// A user.
    User(OwnerId),
    /// A workflow of a source repository.
    Repository(RepositoryId),
    /// Whoever may open the data folder or its control socket: the machine's administrator.
    Operator,
    /// A timer of the daemon; made in `jobs` alone.
    Job(&'static str),
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Anonymous => f.write_str("anonymous"),
            Self::User(id) => write!(f, "user:{id}"),
            Self::Repository(id) => write!(f, "repository:{id}"),
            Self::Operator => f.write_str("operator"),
            Self::Job(name) => write!(f, "job:{name}"),
        }
    }
}

/// One entry of a bearer token's access list: a repository path and the verbs granted on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The repository path as the client wrote it; `*` stands for the catalog of the registry.
    pub name: String,
    /// The verbs.
    pub verbs: Vec<Verb>,
}

/// The access list of a bearer token: an upper bound, checked against fresh rights on every use.
pub type Bound = Arc<[Access]>;

/// Who is asking, when, in which request. Made once a request; every event takes its author and time from here.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who.
    pub actor: Actor,
    /// The token used, if one was.
    pub credential: Option<TokenId>,
    /// With a password: after how many changes of it. A grant cannot be renewed once it changed again.
    pub sign_in: Option<u64>,
    /// What the credential may be used for.
    pub scopes: Scopes,
    /// What the token is limited to besides; `None` for one without limits, and for every other credential.
    pub limits: Option<Arc<Limits>>,
    /// The bearer token's access list; `None` for every other credential.
    pub bound: Option<Bound>,
    /// When the token used ends, or the one a bearer token was made from.
    pub expires: Option<Timestamp>,
    /// Whether the user administers the installation.
    pub administrator: bool,
    /// The revisions of the principal and the credential at which all this was read.
    pub revisions: Vec<Revision>,
    /// The address the request came from: the client's own, behind trusted proxies too. `None` where there is none.
    pub address: Option<IpAddr>,
    /// The moment of the request.
    pub at: Timestamp,
    /// The request's id, as in the log.
    pub request: Arc<str>,
    /// What is decided on the way, for the audit log.
    pub trail: Option<Arc<Trail>>,
}

impl Caller {
    /// A caller without credentials.
    pub fn anonymous(at: Timestamp, request: Arc<str>) -> Self {
        Self {
            actor: Actor::Anonymous,
            credential: None,
            sign_in: None,
            scopes: Scopes::ALL,
            limits: None,
            bound: None,
            expires: None,
            administrator: false,
            revisions: Vec::new(),
            address: None,
            at,
            request,
            trail: None,
        }
    }

    /// The same caller at this address.
    #[must_use]
    pub fn calling_from(self, address: IpAddr) -> Self {
        Self { address: Some(address), ..self }
    }

    /// The machine's administrator, at the command line or the control socket.
    pub fn operator(at: Timestamp, request: Arc<str>) -> Self {
        Self { actor: Actor::Operator, administrator: true, ..Self::anonymous(at, request) }
    }

    /// A timer of the daemon.
    pub fn job(name: &'static str, at: Timestamp, request: Arc<str>) -> Self {
        Self { actor: Actor::Job(name), ..Self::anonymous(at, request) }
    }

    /// The signed-in user.
    pub fn user(&self) -> Option<OwnerId> {
        match self.actor {
            Actor::User(id) => Some(id),
            Actor::Anonymous | Actor::Repository(_) | Actor::Operator | Actor::Job(_) => None,
        }
    }

    /// The repository whose workflow it is.
    pub fn repository(&self) -> Option<RepositoryId> {
        match self.actor {
            Actor::Repository(id) => Some(id),
            Actor::Anonymous | Actor::User(_) | Actor::Operator | Actor::Job(_) => None,
        }
    }

    /// Whether nobody signed in.
    pub fn is_anonymous(&self) -> bool {
        self.actor == Actor::Anonymous
    }

    /// Whether the token's limits, if it has any, let it do this: to a package, to an owner, or to the installation.
    pub fn limits_cover(&self, owner: Option<OwnerId>, package: Option<PackageId>, verb: Verb) -> bool {
        self.limits.as_ref().is_none_or(|limits| limits.cover(owner, package, verb))
    }

    /// Whether the access list, if there is one, allows `verb` on the repository `name` (`*` for the catalog).
    pub fn bound_allows(&self, name: &str, verb: Verb) -> bool {
        match &self.bound {
            None => true,
            Some(list) => list.iter().any(|access| access.name == name && access.verbs.contains(&verb)),
        }
    }
}
