//! Who may what: accounts, tokens, rights, decided over a store in memory.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod accounts;
mod audit;
mod commands;
mod explain;
mod factors;
mod first_push;
mod limits;
mod links;
mod listing;
mod names;
mod oracle;
mod repositories;
mod rights;
mod robots;
mod teams;
mod tokens;
mod workflows;

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use packhouse::{
    auth::{Action, Caller, Grant, Manage, ManageOwner, Operate, PackageTarget, Publish, Push, Secret},
    error::{Error, Kind, Result},
    model::{OwnerId, OwnerName, PackageName, Reference, Role, Scope, Scopes, Tag, Timestamp, Visibility},
    registry::{
        NamedLimits, PutManifest, Registry, Settings, accounts::NewUser, generated_password,
        records::Membership,
    },
    store::memory::{MemoryBlobs, MemoryStore},
};

/// A moment; every test takes place at it unless it says otherwise.
pub(crate) const NOW: Timestamp = Timestamp(1_700_000_000_000);
/// Everybody's password.
pub(crate) const PASSWORD: &str = "correct horse battery";

pub(crate) const READ: &[Scope] = &[Scope::ReadPackages];
pub(crate) const WRITE: &[Scope] = &[Scope::WritePackages];
pub(crate) const ALL: &[Scope] = Scope::ALL;

/// An installation in memory.
pub(crate) struct World {
    pub(crate) registry: Registry,
    pub(crate) meta: Arc<MemoryStore>,
    pub(crate) blobs: Arc<MemoryBlobs>,
    /// The first user's password.
    pub(crate) first: Secret,
}

pub(crate) fn name(text: &str) -> PackageName {
    PackageName::parse(text).unwrap()
}

pub(crate) fn headers(authorization: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::from_str(authorization).unwrap());
    headers
}

pub(crate) fn basic(user: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{secret}")))
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        let meta = Arc::new(MemoryStore::new());
        let blobs = Arc::new(MemoryBlobs::new());
        let registry = Registry::open(Arc::clone(&meta) as _, Arc::clone(&blobs) as _, settings).unwrap();
        let password = generated_password().unwrap();
        let first = registry.initialize(NOW, &password).await.unwrap().unwrap();
        assert_eq!(first.name, "admin");
        Self { registry, meta, blobs, first: password }
    }

    pub(crate) fn operator(&self) -> Caller {
        Caller::operator(NOW, "test".into())
    }

    pub(crate) fn anonymous(&self) -> Caller {
        Caller::anonymous(NOW, "test".into())
    }

    pub(crate) fn operate(&self) -> Grant<Operate> {
        self.registry.policy().authorize_system(&self.operator()).unwrap()
    }

    pub(crate) async fn manage_owner(&self, name: &str) -> Grant<ManageOwner> {
        self.registry.policy().authorize_owner(&self.operator(), name).await.unwrap()
    }

    pub(crate) async fn manage(&self, path: &str) -> Grant<Manage> {
        self.registry.policy().authorize(&self.operator(), &name(path)).await.unwrap()
    }

    /// A user without a password: hashing one takes time that most tests have no use for.
    pub(crate) async fn user(&self, user: &str) -> OwnerId {
        let new = NewUser { name: &OwnerName::parse(user).unwrap(), administrator: false, password: None };
        self.registry.create_user(&self.operate(), new).await.unwrap()
    }

    pub(crate) async fn user_with_password(&self, user: &str) -> OwnerId {
        let password = Secret::new(PASSWORD);
        let name = OwnerName::parse(user).unwrap();
        let new = NewUser { name: &name, administrator: false, password: Some(&password) };
        self.registry.create_user(&self.operate(), new).await.unwrap()
    }

    pub(crate) async fn organization(&self, org: &str, owner: &str) -> OwnerId {
        let org = OwnerName::parse(org).unwrap();
        self.registry.create_organization(&self.operate(), &org, owner).await.unwrap()
    }

    pub(crate) async fn member(&self, org: &str, user: &str, membership: Option<Membership>) {
        self.registry.set_member(&self.manage_owner(org).await, user, membership).await.unwrap();
    }

    pub(crate) async fn role(&self, package: &str, user: &str, role: Option<Role>) {
        self.registry.set_role(&self.manage(package).await, user, role).await.unwrap();
    }

    pub(crate) async fn visibility(&self, package: &str, visibility: Visibility) {
        self.registry.set_visibility(&self.manage(package).await, visibility).await.unwrap();
    }

    /// A personal token's secret.
    pub(crate) async fn token(&self, user: &str, scopes: &[Scope]) -> String {
        let grant = self.manage_owner(user).await;
        let token = self.registry.issue_token(&grant, Scopes::of(scopes), 3600).await.unwrap();
        token.secret.reveal().to_owned()
    }

    /// A personal token's secret, limited to this.
    pub(crate) async fn limited_token(&self, user: &str, scopes: &[Scope], named: &NamedLimits) -> String {
        let limits = self.registry.limits_named(&self.operator(), named).await.unwrap();
        let grant = self.manage_owner(user).await;
        let scopes = Scopes::of(scopes);
        let token = self.registry.issue_limited_token(&grant, scopes, 3600, limits).await.unwrap();
        token.secret.reveal().to_owned()
    }

    /// Who a request with this header comes from.
    pub(crate) async fn who(&self, authorization: &str) -> Result<Caller> {
        self.who_at(authorization, NOW).await
    }

    pub(crate) async fn who_at(&self, authorization: &str, at: Timestamp) -> Result<Caller> {
        self.registry
            .authenticator()
            .authenticate(&headers(authorization), Caller::anonymous(at, "test".into()))
            .await
    }

    /// A caller with a fresh token of all scopes.
    pub(crate) async fn caller(&self, user: &str) -> Caller {
        self.caller_for(user, ALL).await
    }

    pub(crate) async fn caller_for(&self, user: &str, scopes: &[Scope]) -> Caller {
        let token = self.token(user, scopes).await;
        self.who(&format!("Bearer {token}")).await.unwrap()
    }

    pub(crate) async fn may<A: Action<Target = PackageTarget>>(
        &self,
        caller: &Caller,
        path: &str,
    ) -> Result<Grant<A>> {
        self.registry.policy().authorize(caller, &name(path)).await
    }

    /// The right to push, as the adapters get it.
    pub(crate) async fn publish(&self, caller: &Caller, path: &str) -> Result<Grant<Push>> {
        let path = name(path);
        match self.registry.policy().authorize_publish(caller, &path).await? {
            Publish::Existing(grant) => Ok(grant),
            Publish::New(grant) => {
                self.registry.allocate(&grant, &path).await?;
                self.registry.policy().authorize(caller, &path).await
            }
        }
    }

    /// Pushes a manifest that needs no blobs.
    pub(crate) async fn push(&self, caller: &Caller, path: &str) -> Result<()> {
        let grant = self.publish(caller, path).await?;
        self.put(&grant, "latest").await
    }

    pub(crate) async fn put(&self, grant: &Grant<Push>, tag: &str) -> Result<()> {
        let media_type = "application/vnd.oci.image.index.v1+json";
        let body = format!(r#"{{"schemaVersion":2,"mediaType":"{media_type}","manifests":[]}}"#);
        let put = PutManifest {
            reference: Reference::Tag(Tag::parse(tag).unwrap()),
            tags: Vec::new(),
            content_type: Some(media_type.to_owned()),
            bytes: body.into(),
            condition: Default::default(),
        };
        self.registry.put_manifest(grant, put).await.map(|_| ())
    }
}

/// A moment at which nothing pending is kept for the time it was allocated at.
pub(crate) fn later() -> Timestamp {
    NOW.plus_seconds(Settings::default().lease_ttl + 1)
}

/// What a refusal says, without its words.
pub(crate) fn kind<T: std::fmt::Debug>(result: Result<T>) -> Kind {
    result.unwrap_err().kind()
}

/// A refusal, word for word.
pub(crate) fn words(error: &Error) -> (Kind, String) {
    (error.kind(), error.public().to_owned())
}
