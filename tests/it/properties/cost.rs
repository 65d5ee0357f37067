//! P22: a decision ends, whatever is stored, and costs by what it is about and not by what there is.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use packhouse::{
    auth::{Caller, Push},
    error::Result,
    model::{OwnerName, Role, Scopes, Stamp, TeamName},
    registry::{
        Registry, Settings, accounts::NewUser, generated_password, permissions::GroupName,
        records::Membership,
    },
    store::{
        Batch, CommitError, Committed, Entry, Key, MetadataRead, MetadataStore,
        memory::{MemoryBlobs, MemoryStore},
    },
};

use crate::people::{NOW, headers, name};

/// A store that counts the keys it is asked for.
struct Counting<R: ?Sized>(Arc<R>, Arc<AtomicU64>);

#[async_trait]
impl<R: MetadataRead + ?Sized> MetadataRead for Counting<R> {
    async fn get(&self, key: &Key) -> Result<Option<Bytes>> {
        self.1.fetch_add(1, Relaxed);
        self.0.get(key).await
    }

    async fn multi_get(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        self.1.fetch_add(keys.len() as u64, Relaxed);
        self.0.multi_get(keys).await
    }

    async fn scan(&self, prefix: &Key, after: Option<&Key>, limit: usize) -> Result<Vec<Entry>> {
        let entries = self.0.scan(prefix, after, limit).await?;
        self.1.fetch_add(entries.len().max(1) as u64, Relaxed);
        Ok(entries)
    }
}

#[async_trait]
impl MetadataStore for Counting<MemoryStore> {
    fn snapshot(&self) -> Result<Arc<dyn MetadataRead>> {
        Ok(Arc::new(Counting(self.0.snapshot()?, Arc::clone(&self.1))))
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, CommitError> {
        self.0.commit(batch).await
    }

    async fn backup(&self, into: &Path) -> Result<Arc<dyn MetadataRead>> {
        self.0.backup(into).await
    }

    fn stamp(&self) -> Option<Stamp> {
        self.0.stamp()
    }

    fn health(&self) -> Result<()> {
        self.0.health()
    }

    fn figures(&self) -> Vec<(&'static str, u64)> {
        self.0.figures()
    }
}

/// An organization with this many members, teams and roles on its package; bob is in two teams, one of which may push.
struct Org {
    registry: Registry,
    keys: Arc<AtomicU64>,
    bob: Caller,
}

impl Org {
    async fn with(members: usize, teams: usize, roles: usize) -> Self {
        let (meta, keys) = (Arc::new(MemoryStore::new()), Arc::new(AtomicU64::new(0)));
        let counting = Arc::new(Counting(meta, Arc::clone(&keys)));
        let settings = Settings::default();
        let registry = Registry::open(counting, Arc::new(MemoryBlobs::new()), settings).unwrap();
        registry.initialize(NOW, &generated_password().unwrap()).await.unwrap();
        let operator = Caller::operator(NOW, "test".into());
        let policy = registry.policy();
        let operate = policy.authorize_system(&operator).unwrap();
        let add = async |user: &str| {
            let new =
                NewUser { name: &OwnerName::parse(user).unwrap(), administrator: false, password: None };
            registry.create_user(&operate, new).await.unwrap();
        };
        add("ada").await;
        add("bob").await;
        let acme = OwnerName::parse("acme").unwrap();
        registry.create_organization(&operate, &acme, "ada").await.unwrap();
        let owner = async || policy.authorize_owner(&operator, "acme").await.unwrap();
        let package = name("acme/app");
        let create = policy.authorize_owner(&operator, "acme").await.unwrap();
        registry.allocate(&create, &package).await.unwrap();
        let manage = async || policy.authorize(&operator, &package).await.unwrap();
        registry.set_member(&owner().await, "bob", Some(Membership::Member)).await.unwrap();
        for number in 0..members {
            let user = format!("u{number}");
            add(&user).await;
            registry.set_member(&owner().await, &user, Some(Membership::Member)).await.unwrap();
            if number < roles {
                registry.set_role(&manage().await, &user, Some(Role::Write)).await.unwrap();
            }
        }
        for number in 0..teams {
            let team = TeamName::parse(&format!("acme/t{number}")).unwrap();
            let under = (number % 4 != 0).then(|| format!("t{}", number - 1));
            registry.create_team(&owner().await, &team, under.as_deref()).await.unwrap();
        }
        for team in ["t1", "t2"] {
            let grant = policy.authorize_team(&operator, "acme", team).await.unwrap();
            registry.set_team_member(&grant, "bob", Some(false)).await.unwrap();
        }
        let group = GroupName::Team(TeamName::parse("acme/t0").unwrap());
        registry.set_group_role(&manage().await, &group, Some(Role::Write)).await.unwrap();
        let of = policy.authorize_owner(&operator, "bob").await.unwrap();
        let token = registry.issue_token(&of, Scopes::ALL, 3600).await.unwrap();
        let headers = headers(&format!("Bearer {}", token.secret.reveal()));
        let bob = registry
            .authenticator()
            .authenticate(&headers, Caller::anonymous(NOW, "test".into()))
            .await
            .unwrap();
        Self { registry, keys, bob }
    }

    /// Keys that a decision reads: the first, and the next one.
    async fn costs(&self) -> (u64, u64) {
        let ask = async || {
            let before = self.keys.load(Relaxed);
            self.registry.policy().authorize::<Push>(&self.bob, &name("acme/app")).await.unwrap();
            self.keys.load(Relaxed) - before
        };
        (ask().await, ask().await)
    }
}

#[tokio::test]
async fn p22_a_decision_costs_nothing_by_the_size_of_the_organization() {
    let small = Org::with(2, 4, 0).await.costs().await;
    let large = Org::with(300, 100, 300).await.costs().await;
    assert_eq!(small, large, "keys read: cold, warm");
    // Warm: the revisions of owner, package and user.
    assert_eq!(small.1, 3);
    assert!(small.0 < 40, "{small:?}");
}
