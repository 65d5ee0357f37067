//! The store in this process: opened, filled through the registry's doors, closed.

use std::{path::Path, sync::Arc, time::Instant};

use bytes::Bytes;
use packhouse::{
    auth::{Action, Actor, Caller, Grant, Manage, Operate, PackageTarget, Publish, Pull, Push},
    config::Memory,
    error::{Error, Kind, Result},
    model::{Digest, OwnerId, OwnerName, PackageName, Reference, Tag, Visibility},
    registry::{Chunk, PutManifest, Registry, Settings, accounts::NewUser, generated_password},
    store::{MetadataStore, RocksOptions, open_directory},
};
use tokio::task::JoinSet;

use super::content::{self, BASE_LAYERS, BASES, IMAGES, INDEXES, PER_OWNER, REFERRERS};

/// The registry over a data folder, at the default memory budget.
#[derive(Clone)]
pub struct World {
    pub registry: Registry,
    pub meta: Arc<dyn MetadataStore>,
}

/// Who pushed, as many as there are owners. Nobody yet by default.
#[derive(Default)]
pub struct People(Vec<OwnerId>);

impl People {
    /// The user who owns a repository's owner.
    pub fn of(&self, repository: u64) -> Result<OwnerId> {
        let index = usize::try_from(repository / PER_OWNER).map_err(Error::internal)?;
        self.0.get(index).copied().ok_or_else(|| Error::internal("no such owner"))
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.0.len() as u64
    }
}

impl World {
    /// Opens a data folder; says how long it took until the first read was answered, in seconds.
    pub async fn open(data: &Path) -> Result<(Self, f64)> {
        let begun = Instant::now();
        let memory = Memory::default();
        let bytes = usize::try_from(memory.metadata()).map_err(Error::internal)?;
        let (meta, blobs) = open_directory(data, RocksOptions { memory: bytes, ..RocksOptions::default() })?;
        let settings = Settings {
            hot_memory: memory.hot(),
            transfer_memory: memory.transfers(),
            space_reserve: 0,
            ..Settings::default()
        };
        let registry = Registry::open(Arc::clone(&meta), blobs, settings)?;
        registry.wind_clock().await?;
        registry.upgrade().await?;
        if !registry.initialized().await? {
            registry.initialize(registry.now(), &generated_password()?).await?;
        }
        Ok((Self { registry, meta }, begun.elapsed().as_secs_f64()))
    }

    fn operator(&self) -> Result<Grant<Operate>> {
        let caller = Caller::operator(self.registry.now(), "growth".into());
        self.registry.policy().authorize_system(&caller)
    }

    /// Nobody in particular.
    pub fn anonymous(&self) -> Caller {
        Caller::anonymous(self.registry.now(), "growth".into())
    }

    /// A caller who signed in as a user; users here have no password, which is the password before the first change.
    pub fn caller(&self, user: OwnerId) -> Caller {
        Caller { actor: Actor::User(user), sign_in: Some(0), ..self.anonymous() }
    }

    /// The right to do something to a repository, decided afresh as for each request.
    pub async fn grant<A: Action<Target = PackageTarget>>(
        &self,
        caller: &Caller,
        name: &PackageName,
    ) -> Result<Grant<A>> {
        self.registry.policy().authorize(caller, name).await
    }

    async fn blob(&self, caller: &Caller, name: &PackageName, bytes: Bytes) -> Result<()> {
        let digest = Digest::sha256(&bytes);
        let length = Some(bytes.len() as u64);
        let chunk = Chunk { at: None, length, bytes: Box::pin(futures_util::stream::iter([Ok(bytes)])) };
        let grant: Grant<Push> = self.grant(caller, name).await?;
        self.registry.put_blob(grant, chunk, digest).await.map(|_| ())
    }

    /// Puts a manifest under a tag, or without one under its digest.
    pub async fn manifest(
        &self,
        caller: &Caller,
        name: &PackageName,
        bytes: Bytes,
        tag: Option<&str>,
    ) -> Result<()> {
        let reference = match tag {
            Some(tag) => Reference::Tag(Tag::parse(tag)?),
            None => Reference::Digest(Digest::sha256(&bytes)),
        };
        let put = PutManifest {
            reference,
            tags: Vec::new(),
            content_type: None,
            condition: Default::default(),
            bytes,
        };
        let grant: Grant<Push> = self.grant(caller, name).await?;
        self.registry.put_manifest(&grant, put).await.map(|_| ())
    }

    async fn begin(&self, caller: &Caller, name: &PackageName) -> Result<()> {
        match self.registry.policy().authorize_publish(caller, name).await? {
            Publish::New(grant) => self.registry.allocate(&grant, name).await.map(|_| ()),
            Publish::Existing(_) => Ok(()),
        }
    }

    async fn public(&self, caller: &Caller, name: &PackageName) -> Result<()> {
        let grant: Grant<Manage> = self.grant(caller, name).await?;
        self.registry.set_visibility(&grant, Visibility::Public).await
    }

    /// The owner of some repositories: an organization, and a user who owns it.
    async fn owner(&self, organization: &str, user: &str) -> Result<OwnerId> {
        let (organization, name) = (OwnerName::parse(organization)?, OwnerName::parse(user)?);
        let grant = self.operator()?;
        let new = NewUser { name: &name, administrator: false, password: None };
        let id = self.registry.create_user(&grant, new).await?;
        self.registry.create_organization(&grant, &organization, user).await?;
        Ok(id)
    }

    /// The base images that all others are built on.
    pub async fn bases(&self) -> Result<()> {
        let user = self.owner("base", "base-keeper").await?;
        let caller = self.caller(user);
        for base in 0..BASES {
            let name = PackageName::parse(&content::base(base))?;
            self.begin(&caller, &name).await?;
            self.blob(&caller, &name, content::empty()).await?;
            for layer in 0..BASE_LAYERS {
                self.blob(&caller, &name, content::base_layer(base, layer)).await?;
            }
            self.manifest(&caller, &name, content::base_image(base), Some("1")).await?;
            self.public(&caller, &name).await?;
        }
        Ok(())
    }

    /// Makes the owners of the first `repositories` that are not there yet.
    pub async fn owners(&self, people: &mut People, repositories: u64) -> Result<()> {
        for owner in people.count()..repositories.div_ceil(PER_OWNER) {
            let first = owner * PER_OWNER;
            people.0.push(self.owner(&content::owner(first), &content::user(first)).await?);
        }
        Ok(())
    }

    /// Pushes one repository as clients do: every request decided afresh, blobs first, then what names them.
    async fn repository(&self, user: OwnerId, number: u64) -> Result<()> {
        let name = PackageName::parse(&content::repository(number))?;
        let caller = &self.caller(user);
        self.begin(caller, &name).await?;
        let base = PackageName::parse(&content::base(content::base_of(number)))?;
        for layer in 0..BASE_LAYERS {
            let digest = Digest::sha256(&content::base_layer(content::base_of(number), layer));
            let (into, from): (Grant<Push>, Grant<Pull>) =
                (self.grant(caller, &name).await?, self.grant(caller, &base).await?);
            if !self.registry.mount_blob(&into, &from, &digest).await? {
                return Err(Error::internal("a base layer could not be mounted"));
            }
        }
        for image in 0..IMAGES {
            if content::brings_shared(image) {
                self.blob(caller, &name, content::shared_layer(number, image)).await?;
            }
            self.blob(caller, &name, content::own_layer(number, image)).await?;
            self.blob(caller, &name, content::config(number, image)).await?;
            let tag = content::image_tag(image);
            self.manifest(caller, &name, content::image(number, image), Some(&tag)).await?;
        }
        for index in 0..INDEXES {
            let tag = content::index_tag(index);
            self.manifest(caller, &name, content::index(number, index), Some(&tag)).await?;
        }
        self.blob(caller, &name, content::empty()).await?;
        for referrer in 0..REFERRERS {
            self.blob(caller, &name, content::evidence(number, referrer)).await?;
            self.manifest(caller, &name, content::referrer(number, referrer), None).await?;
        }
        if content::is_public(number) {
            self.public(caller, &name).await?;
        }
        Ok(())
    }

    /// Pushes repositories, many at once so that their batches share syncs.
    pub async fn fill(&self, people: &People, from: u64, to: u64, at_once: usize) -> Result<()> {
        let mut tasks = JoinSet::new();
        let mut next = from;
        loop {
            while next < to && tasks.len() < at_once {
                let (world, user, number) = (self.clone(), people.of(next)?, next);
                tasks.spawn(async move { world.repository(user, number).await });
                next += 1;
            }
            match tasks.join_next().await {
                None => return Ok(()),
                Some(done) => done.map_err(Error::internal)??,
            }
        }
    }

    /// Waits until flushes and compactions rest; says how long that took, in seconds.
    pub async fn rest(&self) -> f64 {
        let begun = Instant::now();
        let mut calm = 0;
        while calm < 5 && begun.elapsed().as_secs() < 600 {
            let busy = self.figure("compactions_running") + self.figure("flushes_running");
            calm = if busy == 0 { calm + 1 } else { 0 };
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
        begun.elapsed().as_secs_f64()
    }

    /// One of the store's figures; 0 for one it does not have.
    pub fn figure(&self, name: &str) -> u64 {
        self.meta.figures().iter().find(|(known, _)| *known == name).map_or(0, |(_, value)| *value)
    }

    /// Closes the store; fails if somebody still holds it.
    pub fn close(self) -> Result<()> {
        let Self { registry, meta } = self;
        drop(registry);
        if Arc::strong_count(&meta) > 1 {
            return Err(Error::new(Kind::Unavailable, "the store is still in use"));
        }
        Ok(())
    }
}
