//! An installation with one of everything, to be damaged.

use futures_util::stream;
use serde_json::json;

use crate::registry::fsck::*;
use crate::{
    auth::{Caller, Delete, Manage, Publish, Push},
    model::{
        OwnerId, OwnerName, PackageId, PackageName, PhysicalKey, Reference, Role, Scope, Scopes, Tag,
        TeamName, UploadId,
    },
    registry::{
        Chunk, PutManifest, Settings, Sparse,
        accounts::NewUser,
        packages,
        permissions::GroupName,
        records::{BlobRecord, Location, ManifestRecord, Membership, PackageRecord, UploadRecord},
        tests::InMemory,
    },
    store::{MetadataRead as _, MetadataStore as _},
};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

/// An installation with one of everything.
pub(in crate::registry) struct World {
    pub(in crate::registry) memory: InMemory,
    pub(in crate::registry) package: PackageId,
    pub(in crate::registry) owner: OwnerId,
    /// A blob in a file, one in metadata.
    pub(in crate::registry) layer: Digest,
    pub(in crate::registry) config: Digest,
    pub(in crate::registry) image: Digest,
    pub(in crate::registry) upload: UploadId,
}

pub(in crate::registry) fn now() -> Timestamp {
    Timestamp::now()
}

pub(in crate::registry) fn name() -> PackageName {
    PackageName::parse("acme/app").unwrap()
}

pub(in crate::registry) fn sample(length: usize, seed: u8) -> Bytes {
    (0..length).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8 ^ seed).collect()
}

pub(in crate::registry) fn chunk(bytes: &Bytes) -> Chunk {
    let bytes = bytes.clone();
    Chunk { at: None, length: None, bytes: Box::pin(stream::once(async move { Ok(bytes) })) }
}

pub(in crate::registry) fn descriptor(media_type: &str, digest: &Digest, size: usize) -> serde_json::Value {
    json!({"mediaType": media_type, "digest": digest.to_string(), "size": size})
}

impl World {
    pub(in crate::registry) async fn new() -> Self {
        let settings = Settings { sparse: Sparse::All, orphan_grace: 0, ..Settings::default() };
        let memory = InMemory::new(settings, now()).await;
        let operator = Caller::operator(now(), "test".into());
        let registry = &memory.registry;
        let system = registry.policy().authorize_system(&operator).unwrap();
        let user = NewUser { name: &OwnerName::parse("ada").unwrap(), administrator: false, password: None };
        registry.create_user(&system, user).await.unwrap();
        let owner =
            registry.create_organization(&system, &OwnerName::parse("acme").unwrap(), "ada").await.unwrap();
        let user = NewUser { name: &OwnerName::parse("bob").unwrap(), administrator: false, password: None };
        registry.create_user(&system, user).await.unwrap();
        let manage = registry.policy().authorize_owner(&operator, "acme").await.unwrap();
        registry.set_member(&manage, "bob", Some(Membership::Member)).await.unwrap();
        let ada = registry.policy().authorize_owner(&operator, "ada").await.unwrap();
        registry.issue_token(&ada, Scopes::of(&[Scope::ReadPackages]), 3600).await.unwrap();
        let Publish::New(create) = registry.policy().authorize_publish(&operator, &name()).await.unwrap()
        else {
            panic!()
        };
        let package = registry.allocate(&create, &name()).await.unwrap().id;
        let (layer, config) = (sample(20_000, 1), sample(200, 2));
        let mut world = Self {
            package,
            owner,
            layer: Digest::sha256(&layer),
            config: Digest::sha256(&config),
            image: Digest::sha256(b""),
            upload: UploadId([0; 16]),
            memory,
        };
        world.fill(&layer, &config).await;
        world
    }

    pub(in crate::registry) fn registry(&self) -> &Registry {
        &self.memory.registry
    }

    pub(in crate::registry) async fn grant(&self) -> Grant<Push> {
        let operator = Caller::operator(now(), "test".into());
        self.registry().policy().authorize(&operator, &name()).await.unwrap()
    }

    pub(in crate::registry) async fn push(&self, bytes: &Bytes) -> Digest {
        let digest = Digest::sha256(bytes);
        self.registry().put_blob(self.grant().await, chunk(bytes), digest).await.unwrap();
        digest
    }

    pub(in crate::registry) async fn put(
        &self,
        tag: &str,
        media_type: &str,
        manifest: serde_json::Value,
    ) -> Digest {
        let put = PutManifest {
            reference: Reference::Tag(Tag::parse(tag).unwrap()),
            tags: Vec::new(),
            content_type: Some(media_type.to_owned()),
            condition: Default::default(),
            bytes: serde_json::to_vec(&manifest).unwrap().into(),
        };
        self.registry().put_manifest(&self.grant().await, put).await.unwrap().digest
    }

    pub(in crate::registry) fn image(&self, note: &str) -> serde_json::Value {
        json!({
            "schemaVersion": 2, "mediaType": IMAGE, "annotations": {"note": note},
            "config": descriptor("application/vnd.oci.image.config.v1+json", &self.config, 200),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &self.layer, 20_000)],
        })
    }

    /// A manifest with a blob as its only layer.
    pub(in crate::registry) async fn put_naming(&self, layer: &Digest, size: usize) -> Result<Digest> {
        let mut image = self.image("naming");
        image["layers"] = json!([descriptor("application/vnd.oci.image.layer.v1.tar", layer, size)]);
        let put = PutManifest {
            reference: Reference::Tag(Tag::parse("naming").unwrap()),
            tags: Vec::new(),
            content_type: Some(IMAGE.to_owned()),
            condition: Default::default(),
            bytes: serde_json::to_vec(&image).unwrap().into(),
        };
        self.registry().put_manifest(&self.grant().await, put).await.map(|stored| stored.digest)
    }

    /// Images, an index over one that is there and one that is not, a referrer, a deleted image, a role, a session.
    pub(in crate::registry) async fn fill(&mut self, layer: &Bytes, config: &Bytes) {
        self.push(layer).await;
        self.push(config).await;
        let image = self.image("one");
        let size = serde_json::to_vec(&image).unwrap().len();
        self.image = self.put("one", IMAGE, image).await;
        let children = [descriptor(IMAGE, &self.image, size), descriptor(IMAGE, &Digest::sha256(b"?"), 9)];
        self.put("all", INDEX, json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": children})).await;
        let mut signature = self.image("signature");
        signature["subject"] = descriptor(IMAGE, &self.image, size);
        signature["artifactType"] = "a/b".into();
        self.put("signature", IMAGE, signature).await;
        let gone = self.put("gone", IMAGE, self.image("gone")).await;
        let operator = Caller::operator(now(), "test".into());
        let delete: Grant<Delete> = self.registry().policy().authorize(&operator, &name()).await.unwrap();
        self.registry().delete_manifest(&delete, &gone).await.unwrap();
        let manage = self.registry().policy().authorize(&operator, &name()).await.unwrap();
        self.registry().set_role(&manage, "bob", Some(Role::Write)).await.unwrap();
        self.teams(&manage).await;
        super::repositories::fill(self.registry()).await;
        let grant = self.grant().await;
        self.upload = self.registry().begin_upload(&grant, None).await.unwrap();
        self.registry().append(&grant, self.upload, chunk(&sample(30_000, 3))).await.unwrap();
    }

    /// One team in another, with a member, and roles of both kinds of groups.
    async fn teams(&self, manage: &Grant<Manage>) {
        let operator = Caller::operator(now(), "test".into());
        let policy = self.registry().policy();
        let acme = policy.authorize_owner(&operator, "acme").await.unwrap();
        for (team, parent) in [("acme/core", None), ("acme/web", Some("core"))] {
            let team = TeamName::parse(team).unwrap();
            self.registry().create_team(&acme, &team, parent).await.unwrap();
            let grant = policy.authorize_team(&operator, "acme", team.team()).await.unwrap();
            self.registry().set_team_member(&grant, "bob", Some(parent.is_none())).await.unwrap();
        }
        self.registry().set_base_role(&acme, Some(Role::Read)).await.unwrap();
        let core = GroupName::Team(TeamName::parse("acme/core").unwrap());
        for group in [core, GroupName::Organization("acme".into())] {
            self.registry().set_group_role(manage, &group, Some(Role::Write)).await.unwrap();
        }
    }

    pub(in crate::registry) async fn check(&self, deep: bool, repair: bool) -> Vec<Finding> {
        let operator = Caller::operator(now(), "test".into());
        let system = self.registry().policy().authorize_system(&operator).unwrap();
        self.registry().findings(&system, FsckOptions { deep, repair }).await.unwrap()
    }

    pub(in crate::registry) async fn get(&self, key: &Key) -> Bytes {
        self.memory.meta.get(key).await.unwrap().unwrap()
    }

    pub(in crate::registry) async fn edit(&self, change: impl FnOnce(&mut Batch)) {
        let mut batch = Batch::new();
        change(&mut batch);
        self.memory.meta.commit(batch).await.unwrap();
    }

    pub(in crate::registry) async fn drop_key(&self, key: Key) {
        self.get(&key).await;
        self.edit(|batch| batch.delete(key)).await;
    }

    pub(in crate::registry) async fn blob(&self, digest: &Digest) -> BlobRecord {
        BlobRecord::decode(*digest, &self.get(&BlobRecord::key_of(digest)).await).unwrap()
    }

    pub(in crate::registry) async fn file_of(&self, digest: &Digest) -> PhysicalKey {
        match self.blob(digest).await.location {
            Location::Physical(key) => key,
            Location::Inline => panic!(),
        }
    }

    pub(in crate::registry) async fn manifest(&self, digest: &Digest) -> ManifestRecord {
        let value = self.get(&ManifestRecord::key_of(self.package, digest)).await;
        ManifestRecord::decode(self.package, *digest, &value).unwrap()
    }

    pub(in crate::registry) async fn session(&self) -> UploadRecord {
        let value = self.get(&UploadRecord::key_of(self.upload)).await;
        UploadRecord::decode(self.upload, &value).unwrap()
    }

    pub(in crate::registry) async fn package(&self) -> PackageRecord {
        packages::by_id(self.memory.meta.as_ref(), self.package).await.unwrap().unwrap()
    }

    /// The findings are of these codes and no others; a repair then leaves so many.
    #[track_caller]
    pub(in crate::registry) fn expect(found: &[Finding], codes: &[Code]) {
        let mut all: Vec<Code> = found.iter().map(|finding| finding.code).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all, codes, "{found:#?}");
        for finding in found {
            assert_eq!(finding.severity, finding.code.severity());
            assert!(!finding.object.is_empty() && !finding.message.is_empty());
        }
    }

    pub(in crate::registry) async fn finds(&self, codes: &[Code]) {
        Self::expect(&self.check(false, false).await, codes);
    }

    /// It finds these, repairs them, and finds nothing then; what was stored is still there.
    pub(in crate::registry) async fn finds_and_mends(&self, codes: &[Code]) {
        self.finds(codes).await;
        let mended = self.check(false, true).await;
        assert!(mended.iter().all(|finding| finding.repair == Repair::Done), "{mended:#?}");
        Self::expect(&self.check(true, false).await, &[]);
        self.whole().await;
    }

    /// What was pushed can be read.
    pub(in crate::registry) async fn whole(&self) {
        self.manifest(&self.image).await;
        self.get(&ManifestRecord::body_key(self.package, &self.image)).await;
        for digest in [&self.layer, &self.config] {
            let blob = self.blob(digest).await;
            assert_eq!(self.registry().inspect(&blob, true).await.unwrap().0, None);
        }
    }
}
