//! One protocol per folder. None knows another, none knows the store.

pub mod control;
pub mod exchange;
pub mod oci;
pub mod rest;

use http::{HeaderMap, Method, Uri};

use crate::{
    auth::{Action, Caller, Grant, OwnerTarget, PackageTarget, Policy, Publish, Push, Verb},
    error::{Error, Kind, Result},
    http::{Body, Reply, Site},
    model::PackageName,
    registry::Registry,
};

/// The head of a request, as parsing sees it.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// The method.
    pub method: &'a Method,
    /// Path and query, exactly as sent.
    pub uri: &'a Uri,
    /// The headers.
    pub headers: &'a HeaderMap,
}

/// A protocol: parse purely, handle with grants, render failures in its own shape.
pub trait Adapter {
    /// Its name: metrics label, configuration key.
    const NAME: &'static str;
    /// The name of every route it has; the permission matrix fails for one that nobody sampled.
    const ROUTES: &'static [&'static str];
    /// What a request asks, after parsing.
    type Route: std::fmt::Debug + Send + Sync;

    /// Reads a request's head. Pure: no state, no clock.
    fn parse(head: Head<'_>) -> Result<Self::Route>;

    /// The route's name, one of [`Self::ROUTES`].
    fn name(route: &Self::Route) -> &'static str;

    /// Whether the route reads credentials itself: a sign-in, the only kind that takes a password. The pipeline then
    /// passes an anonymous caller.
    fn signs_in(_route: &Self::Route) -> bool {
        false
    }

    /// Whether the route is a download, for an audit log that holds reads.
    fn downloads(_route: &Self::Route) -> bool {
        false
    }

    /// Does what is asked.
    fn handle(cx: Cx<'_>, route: &Self::Route, body: Body) -> impl Future<Output = Result<Reply>> + Send;

    /// A failure in this protocol's shape. `route` is absent when parsing failed.
    fn render(error: &Error, route: Option<&Self::Route>, site: &Site) -> Reply;
}

/// What a handler is given: the caller, the registry, and the right to ask.
#[derive(Debug, Clone, Copy)]
pub struct Cx<'a> {
    /// Who asks.
    pub caller: &'a Caller,
    /// The domain.
    pub registry: &'a Registry,
    /// The address of this installation.
    pub site: &'a Site,
    /// The request's headers.
    pub headers: &'a HeaderMap,
    policy: &'a Policy,
}

impl<'a> Cx<'a> {
    /// Puts one together; the pipeline does.
    pub fn new(
        caller: &'a Caller,
        registry: &'a Registry,
        policy: &'a Policy,
        site: &'a Site,
        headers: &'a HeaderMap,
    ) -> Self {
        Self { caller, registry, site, headers, policy }
    }

    /// The right to do `A` to a package, or the reason why not.
    pub async fn authorize<A: Action<Target = PackageTarget>>(&self, name: &PackageName) -> Result<Grant<A>> {
        let grant = self.policy.authorize(self.caller, name).await?;
        if A::NEED.verb != Verb::Pull {
            self.writable()?;
        }
        Ok(grant)
    }

    /// Refuses changes while the registry is read-only. Asked after the right, so that it tells nobody anything.
    fn writable(&self) -> Result<()> {
        if self.registry.read_only() {
            return Err(Error::new(
                Kind::Unsupported,
                "the registry is read-only for maintenance; try again later",
            ));
        }
        Ok(())
    }

    /// The right to do `A` to an owner.
    pub async fn authorize_owner<A: Action<Target = OwnerTarget>>(&self, name: &str) -> Result<Grant<A>> {
        self.policy.authorize_owner(self.caller, name).await
    }

    /// Whether the caller may push under a name, before anything is allocated; says whether the package exists.
    pub async fn may_publish(&self, name: &PackageName) -> Result<bool> {
        let publish = self.policy.authorize_publish(self.caller, name).await?;
        self.writable()?;
        Ok(matches!(publish, Publish::Existing(_)))
    }

    /// The right to push under a name. A package that does not exist yet is allocated, pending, where the caller may
    /// create it: this is the one place where pushing creates.
    pub async fn authorize_publish(&self, name: &PackageName) -> Result<Grant<Push>> {
        let publish = self.policy.authorize_publish(self.caller, name).await?;
        self.writable()?;
        match publish {
            Publish::Existing(grant) => Ok(grant),
            Publish::New(grant) => {
                self.registry.allocate(&grant, name).await?;
                self.policy.authorize(self.caller, name).await
            }
        }
    }

    /// The policy, for handlers that ask about names found in a body.
    pub fn policy(&self) -> &'a Policy {
        self.policy
    }
}
