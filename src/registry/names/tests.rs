//! Other names for accounts: what packages are read by, who takes which name, and what comes between.

use std::sync::Mutex;

use async_trait::async_trait;
use futures_util::future::BoxFuture;

use super::*;
use crate::{
    auth::{Caller, Manage},
    model::{Role, Timestamp, Visibility},
    registry::{
        Settings,
        accounts::NewUser,
        fsck::{FsckOptions, tests::world::World},
        permissions::GroupName,
        records::Membership,
        tests::InMemory,
    },
    store::{
        CommitError, Committed, Entry, Key, MetadataStore,
        memory::{MemoryBlobs, MemoryStore},
    },
};

/// A store in which something happens just before a batch is applied: after all that the batch was built from was read.
pub(crate) struct Before {
    inner: std::sync::Arc<MemoryStore>,
    first: Mutex<Option<BoxFuture<'static, ()>>>,
}

#[async_trait]
impl MetadataRead for Before {
    async fn get(&self, key: &Key) -> Result<Option<bytes::Bytes>> {
        self.inner.get(key).await
    }

    async fn multi_get(&self, keys: &[Key]) -> Result<Vec<Option<bytes::Bytes>>> {
        self.inner.multi_get(keys).await
    }

    async fn scan(&self, prefix: &Key, after: Option<&Key>, limit: usize) -> Result<Vec<Entry>> {
        self.inner.scan(prefix, after, limit).await
    }
}

#[async_trait]
impl MetadataStore for Before {
    fn snapshot(&self) -> Result<std::sync::Arc<dyn MetadataRead>> {
        self.inner.snapshot()
    }

    async fn commit(&self, batch: Batch) -> std::result::Result<Committed, CommitError> {
        let first = self.first.lock().unwrap().take();
        if let Some(first) = first {
            first.await;
        }
        self.inner.commit(batch).await
    }

    fn health(&self) -> Result<()> {
        Ok(())
    }

    fn figures(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

/// A registry over the same keys, in which this happens before its first batch.
pub(crate) fn with(memory: &InMemory, first: BoxFuture<'static, ()>) -> Registry {
    let store = Before { inner: memory.meta.clone(), first: Mutex::new(Some(first)) };
    Registry::open(std::sync::Arc::new(store), std::sync::Arc::new(MemoryBlobs::new()), Settings::default())
        .unwrap()
}

fn operator(registry: &Registry) -> Caller {
    Caller::operator(registry.now(), "test".into())
}

fn named(name: &str) -> OwnerName {
    OwnerName::parse(name).unwrap()
}

fn path(name: &str) -> PackageName {
    PackageName::parse(name).unwrap()
}

async fn user(registry: &Registry, name: &str) {
    let grant = registry.policy().authorize_system(&operator(registry)).unwrap();
    let user = NewUser { name: &named(name), administrator: false, password: None };
    registry.create_user(&grant, user).await.unwrap();
}

async fn rename(registry: &Registry, from: &str, kind: AccountKind, to: &str) -> Result<()> {
    let grant = registry.policy().authorize_owner(&operator(registry), from).await?;
    registry.rename_account(&grant, kind, &named(to)).await
}

async fn role(registry: &Registry, package: &str, user: &str, role: Option<Role>) -> Result<()> {
    let grant: Grant<Manage> = registry.policy().authorize(&operator(registry), &path(package)).await?;
    registry.set_role(&grant, user, role).await
}

async fn sound(memory: &InMemory) {
    let grant = memory.registry.policy().authorize_system(&operator(&memory.registry)).unwrap();
    let found = memory.registry.findings(&grant, FsckOptions { deep: false, repair: false }).await.unwrap();
    assert!(found.is_empty(), "{found:#?}");
}

async fn memory() -> InMemory {
    let memory = InMemory::new(Settings::default(), Timestamp(1_700_000_000_000)).await;
    for name in ["ada", "bob"] {
        user(&memory.registry, name).await;
    }
    let grant = memory.registry.policy().authorize_system(&operator(&memory.registry)).unwrap();
    memory.registry.create_organization(&grant, &named("acme"), "ada").await.unwrap();
    memory.package(&operator(&memory.registry), "acme/app", Visibility::Private).await;
    memory
}

#[tokio::test]
async fn what_is_pushed_or_given_meanwhile_has_the_new_name_too() {
    // A package that is made, a role, a group's role: each after the batch of the new name was built.
    for what in 0..4 {
        let memory = memory().await;
        let other = memory.registry.clone();
        let first = Box::pin(async move {
            let operator = operator(&other);
            match what {
                0 => {
                    let policy = other.policy();
                    let publish = policy.authorize_publish(&operator, &path("acme/new")).await.unwrap();
                    let crate::auth::Publish::New(grant) = publish else { panic!() };
                    other.allocate(&grant, &path("acme/new")).await.unwrap();
                }
                1 => role(&other, "acme/app", "bob", Some(Role::Write)).await.unwrap(),
                2 => {
                    let grant = other.policy().authorize(&operator, &path("acme/app")).await.unwrap();
                    let group = GroupName::Organization("acme".into());
                    other.set_group_role(&grant, &group, Some(Role::Read)).await.unwrap();
                }
                _ => {
                    let grant = other.policy().authorize(&operator, &path("acme/app")).await.unwrap();
                    other.set_visibility(&grant, Visibility::Public).await.unwrap();
                }
            }
        });
        let racing = with(&memory, first);
        rename(&racing, "acme", AccountKind::Organization, "zeta").await.unwrap();
        sound(&memory).await;
        let listed = memory.registry.packages_of(&operator(&memory.registry), None, None, 10).await.unwrap();
        let paths: Vec<_> = listed.packages.iter().map(|package| package.name.to_string()).collect();
        assert_eq!(paths, ["zeta/app"], "{what}");
        let old = PackageRecord::paths("acme/");
        assert!(!memory.meta.any(&old).await.unwrap(), "{what}: a path of the old name is left");
    }
}

#[tokio::test]
async fn a_package_is_not_made_under_a_name_that_went_meanwhile() {
    let memory = memory().await;
    let other = memory.registry.clone();
    let first = Box::pin(async move {
        rename(&other, "acme", AccountKind::Organization, "zeta").await.unwrap();
    });
    let racing = with(&memory, first);
    let publish = racing.policy().authorize_publish(&operator(&racing), &path("acme/new")).await.unwrap();
    let crate::auth::Publish::New(grant) = publish else { panic!() };
    let refused = racing.allocate(&grant, &path("acme/new")).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::StaleGrant);
    sound(&memory).await;
}

#[tokio::test]
async fn two_who_want_one_name() {
    let memory = memory().await;
    let other = memory.registry.clone();
    let first = Box::pin(async move { user(&other, "zeta").await });
    let racing = with(&memory, first);
    let refused = rename(&racing, "acme", AccountKind::Organization, "Zeta").await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Conflict(What::Owner));
    // The other way round.
    let other = memory.registry.clone();
    let first = Box::pin(async move {
        rename(&other, "acme", AccountKind::Organization, "beta").await.unwrap();
    });
    let racing = with(&memory, first);
    let grant = racing.policy().authorize_system(&operator(&racing)).unwrap();
    let new = NewUser { name: &named("BETA"), administrator: false, password: None };
    assert_eq!(racing.create_user(&grant, new).await.unwrap_err().kind(), Kind::Conflict(What::Owner));
    sound(&memory).await;
}

#[tokio::test]
async fn names_are_limited_and_so_is_what_one_batch_moves() {
    let memory = memory().await;
    let registry = &memory.registry;
    let mut last = "bob".to_owned();
    for n in 0..MAX_NAMES {
        let next = format!("bob{n}");
        rename(registry, &last, AccountKind::User, &next).await.unwrap();
        last = next;
    }
    let over = rename(registry, &last, AccountKind::User, "robert").await.unwrap_err();
    assert_eq!(over.kind(), Kind::Forbidden(crate::error::Reason::Policy));
    // One that it had is no further one.
    rename(registry, &last, AccountKind::User, "bob").await.unwrap();
    let system = registry.policy().authorize_system(&operator(registry)).unwrap();
    registry.free_name(&system, "bob3").await.unwrap();
    rename(registry, "bob", AccountKind::User, "robert").await.unwrap();
    let held = registry.held_names(&system).await.unwrap();
    assert_eq!(held.len(), MAX_NAMES);
    assert!(held.iter().all(|held| held.now.as_deref() == Some("robert")), "{held:?}");
    sound(&memory).await;

    // More packages than a batch takes.
    let world = World::new().await;
    let package = world.package().await;
    let mut batch = Batch::new();
    for n in 0..MAX_RENAMED {
        let id = crate::model::PackageId::random().unwrap();
        let more = PackageRecord { id, name: format!("more{n}"), ..package.clone() };
        batch.replace(None, Some(&more));
    }
    world.memory.meta.commit(batch).await.unwrap();
    let registry = &world.memory.registry;
    let kind = world.get(&AccountRecord::key_of(package.owner)).await;
    let kind = AccountRecord::decode(&kind).unwrap().kind;
    let over = rename(registry, &package.owner_name, kind, "zeta").await.unwrap_err();
    assert_eq!(over.kind(), Kind::Forbidden(crate::error::Reason::Policy));
    let mut batch = Batch::new();
    for n in 0..20 {
        let more = path(&format!("{}/more{n}", package.owner_name));
        let fewer = packages::by_name(world.memory.meta.as_ref(), &more).await.unwrap().unwrap();
        batch.replace(Some(&fewer), None);
    }
    world.memory.meta.commit(batch).await.unwrap();
    rename(registry, &package.owner_name, kind, "zeta").await.unwrap();
    let old = PackageRecord::paths(&format!("{}/", package.owner_name));
    assert!(!world.memory.meta.any(&old).await.unwrap());
}

/// The race that a role given while its user is removed used to win.
#[tokio::test]
async fn a_role_given_while_its_user_goes_goes_too() {
    let memory = memory().await;
    let other = memory.registry.clone();
    let first = Box::pin(async move { role(&other, "acme/app", "bob", Some(Role::Admin)).await.unwrap() });
    let racing = with(&memory, first);
    let grant = racing.policy().authorize_system(&operator(&racing)).unwrap();
    racing.remove_account(&grant, "bob", AccountKind::User).await.unwrap();
    let left = accounts::walk(memory.meta.as_ref(), &RoleRecord::all()).await.unwrap();
    assert!(left.is_empty(), "a role outlives its user");
    sound(&memory).await;
    // The other way round: who is gone is given nothing.
    let other = memory.registry.clone();
    user(&other, "carl").await;
    let first = Box::pin(async move {
        let grant = other.policy().authorize_system(&operator(&other)).unwrap();
        other.remove_account(&grant, "carl", AccountKind::User).await.unwrap();
    });
    let racing = with(&memory, first);
    let refused = role(&racing, "acme/app", "carl", Some(Role::Read)).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::NotFound(What::Owner));
    sound(&memory).await;
}

/// A member that is added, a package that is made public: what the removal of an account must know of.
#[tokio::test]
async fn a_name_that_was_public_meanwhile_is_held() {
    let memory = memory().await;
    let registry = &memory.registry;
    let grant = registry.policy().authorize_owner::<ManageOwner>(&operator(registry), "acme").await.unwrap();
    registry.set_member(&grant, "bob", Some(Membership::Member)).await.unwrap();
    let manage = registry.policy().authorize(&operator(registry), &path("acme/app")).await.unwrap();
    registry.set_visibility(&manage, Visibility::Public).await.unwrap();
    let delete = registry.policy().authorize(&operator(registry), &path("acme/app")).await.unwrap();
    registry.delete_package(&delete).await.unwrap();
    let system = registry.policy().authorize_system(&operator(registry)).unwrap();
    let refused = registry.remove_account(&system, "acme", AccountKind::Organization).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Forbidden(crate::error::Reason::InUse));
    let years = Caller::job("test", registry.now().plus_seconds(400 * 24 * 3600), "test".into());
    while registry.purge_deleted(&years, 100).await.unwrap() > 0 {}
    rename(registry, "acme", AccountKind::Organization, "zeta").await.unwrap();
    registry.remove_account(&system, "zeta", AccountKind::Organization).await.unwrap();
    let held: Vec<_> =
        registry.held_names(&system).await.unwrap().into_iter().map(|held| held.name).collect();
    assert_eq!(held, ["acme", "zeta"]);
    for name in ["acme", "ZETA"] {
        let new = NewUser { name: &named(name), administrator: false, password: None };
        let refused = registry.create_user(&system, new).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::Conflict(What::Owner));
        registry.free_name(&system, name).await.unwrap();
        user(registry, name).await;
    }
    // One that never had anything public leaves its name behind.
    registry.remove_account(&system, "bob", AccountKind::User).await.unwrap();
    user(registry, "bob").await;
    sound(&memory).await;
}
