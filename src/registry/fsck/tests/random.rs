//! Whatever is done, the index kept step by step is the one rebuilt from the records, and nothing else is amiss.

use proptest::prelude::*;

use super::world::{World, chunk, descriptor, now, sample};
use crate::{
    auth::{Caller, Publish, Push, Restore},
    error::{Error, Kind, What},
    model::{Digest, PackageName, Reference, Role, Tag, TeamName, Timestamp, UploadId, Visibility},
    registry::{Chunk, PutManifest, fsck::*, permissions::GroupName, records::Membership},
    store::{Batch, Key, Space},
};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

#[derive(Debug, Clone)]
enum Step {
    Push {
        seed: u8,
        large: bool,
    },
    Put {
        tag: u8,
        blobs: Vec<u8>,
        children: Vec<u8>,
        subject: Option<u8>,
    },
    DeleteTag(u8),
    DeleteManifest(u8),
    DeleteBlob(u8),
    Mount(u8),
    Begin,
    Append {
        session: u8,
        length: usize,
    },
    Finish(u8),
    Cancel(u8),
    Role(bool),
    Member(bool),
    Base(bool),
    /// A team, and the one it is to be in.
    Team(u8, u8),
    EndTeam(u8),
    InTeam(u8, bool),
    /// A team, or the organization.
    GroupRole(u8, bool),
    Repository(super::repositories::Step),
    Visibility(bool),
    RestoreManifest(u8),
    RestoreTag(u8),
    DeletePackage,
    RestorePackage,
    Later(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let few = || prop::collection::vec(0u8..6, 0..3);
    let step = prop_oneof![
        5 => (0u8..6, any::<bool>()).prop_map(|(seed, large)| Step::Push { seed, large }),
        6 => (0u8..4, few(), few(), prop::option::of(0u8..6))
            .prop_map(|(tag, blobs, children, subject)| Step::Put { tag, blobs, children, subject }),
        2 => (0u8..4).prop_map(Step::DeleteTag),
        3 => (0u8..6).prop_map(Step::DeleteManifest),
        2 => (0u8..6).prop_map(Step::DeleteBlob),
        2 => (0u8..6).prop_map(Step::Mount),
        1 => Just(Step::Begin),
        2 => (0u8..3, prop_oneof![1usize..100, 15_000usize..20_000])
            .prop_map(|(session, length)| Step::Append { session, length }),
        1 => (0u8..3).prop_map(Step::Finish),
        1 => (0u8..3).prop_map(Step::Cancel),
        1 => any::<bool>().prop_map(Step::Role),
        1 => any::<bool>().prop_map(Step::Member),
        1 => any::<bool>().prop_map(Step::Base),
        3 => (0u8..3, 0u8..4).prop_map(|(team, into)| Step::Team(team, into)),
        1 => (0u8..3).prop_map(Step::EndTeam),
        2 => (0u8..3, any::<bool>()).prop_map(|(team, is)| Step::InTeam(team, is)),
        2 => (0u8..4, any::<bool>()).prop_map(|(group, given)| Step::GroupRole(group, given)),
        6 => super::repositories::steps().prop_map(Step::Repository),
        1 => any::<bool>().prop_map(Step::Visibility),
        2 => (0u8..6).prop_map(Step::RestoreManifest),
        2 => (0u8..4).prop_map(Step::RestoreTag),
        1 => Just(Step::DeletePackage),
        2 => Just(Step::RestorePackage),
        1 => prop::sample::select(vec![60u64, 25 * 3600, 40 * 24 * 3600]).prop_map(Step::Later),
    ];
    prop::collection::vec(step, 1..40)
}

struct Player {
    world: World,
    sessions: Vec<(UploadId, Vec<u8>)>,
    manifests: Vec<(Digest, usize)>,
    at: Timestamp,
}

fn layer(seed: u8) -> bytes::Bytes {
    sample(if seed.is_multiple_of(2) { 18_000 } else { 300 }, seed)
}

impl Player {
    fn operator(&self) -> Caller {
        Caller::operator(self.at, "test".into())
    }

    async fn may<A>(&self, path: &str) -> crate::error::Result<crate::auth::Grant<A>>
    where
        A: crate::auth::Action<Target = crate::auth::PackageTarget>,
    {
        let name = PackageName::parse(path).unwrap();
        self.world.registry().policy().authorize(&self.operator(), &name).await
    }

    async fn other(&self) -> crate::error::Result<crate::auth::Grant<Push>> {
        let name = PackageName::parse("acme/other").unwrap();
        let policy = self.world.registry().policy();
        if let Publish::New(grant) = policy.authorize_publish(&self.operator(), &name).await? {
            self.world.registry().allocate(&grant, &name).await?;
        }
        self.may("acme/other").await
    }

    fn chunk(bytes: &[u8]) -> Chunk {
        chunk(&bytes::Bytes::copy_from_slice(bytes))
    }

    async fn take(&mut self, step: &Step) -> crate::error::Result<()> {
        let app = "acme/app";
        let registry = self.world.registry().clone();
        match step {
            Step::Push { seed, large } => {
                let bytes = layer(seed.wrapping_mul(2) + u8::from(!large));
                let digest = Digest::sha256(&bytes);
                registry.put_blob(self.may(app).await?, chunk(&bytes), digest).await?;
            }
            Step::Put { tag, blobs, children, subject } => {
                self.put(*tag, blobs, children, *subject).await?;
            }
            Step::DeleteTag(tag) => {
                let tag = Tag::parse(&format!("t{tag}")).unwrap();
                registry.delete_tag(&self.may(app).await?, &tag).await?;
            }
            Step::DeleteManifest(at) => {
                if let Some((digest, _)) = self.manifests.get(usize::from(*at)) {
                    registry.delete_manifest(&self.may(app).await?, digest).await?;
                }
            }
            Step::DeleteBlob(seed) => {
                registry.delete_blob(&self.may(app).await?, &Digest::sha256(&layer(*seed))).await?;
            }
            Step::Mount(seed) => {
                let (into, from) = (self.other().await?, self.may(app).await?);
                registry.mount_blob(&into, &from, &Digest::sha256(&layer(*seed))).await?;
            }
            Step::Role(given) => {
                registry.set_role(&self.may(app).await?, "bob", given.then_some(Role::Read)).await?;
            }
            Step::Member(is) => {
                let grant = registry.policy().authorize_owner(&self.operator(), "acme").await?;
                registry.set_member(&grant, "bob", is.then_some(Membership::Member)).await?;
            }
            Step::Visibility(public) => {
                let visibility = if *public { Visibility::Public } else { Visibility::Private };
                registry.set_visibility(&self.may(app).await?, visibility).await?;
            }
            Step::Later(seconds) => self.later(*seconds).await?,
            Step::Repository(step) => super::repositories::take(&registry, &self.operator(), step).await?,
            Step::Base(_) | Step::Team(..) | Step::EndTeam(_) | Step::InTeam(..) | Step::GroupRole(..) => {
                self.people(step).await?;
            }
            _ => self.keep(step).await?,
        }
        Ok(())
    }

    /// Teams and what groups are given.
    async fn people(&mut self, step: &Step) -> crate::error::Result<()> {
        let registry = self.world.registry().clone();
        let policy = registry.policy();
        let name = |team: &u8| TeamName::parse(&format!("acme/t{team}")).unwrap();
        let acme = policy.authorize_owner(&self.operator(), "acme").await?;
        match step {
            Step::Base(given) => registry.set_base_role(&acme, given.then_some(Role::Read)).await?,
            Step::Team(team, into) => {
                let into = (*into < 3).then(|| format!("t{into}"));
                let made = registry.create_team(&acme, &name(team), into.as_deref()).await;
                if made.is_err_and(|error| error.kind() == Kind::Conflict(What::Owner)) {
                    registry.nest_team(&acme, name(team).team(), into.as_deref()).await?;
                }
            }
            Step::EndTeam(team) => registry.remove_team(&acme, name(team).team()).await?,
            Step::InTeam(team, is) => {
                let grant = policy.authorize_team(&self.operator(), "acme", name(team).team()).await?;
                registry.set_team_member(&grant, "bob", is.then_some(false)).await?;
            }
            Step::GroupRole(group, given) => {
                let organization = GroupName::Organization("acme".into());
                let group = if *group < 3 { GroupName::Team(name(group)) } else { organization };
                let grant = self.may("acme/app").await?;
                registry.set_group_role(&grant, &group, given.then_some(Role::Write)).await?;
            }
            _ => {}
        }
        Ok(())
    }

    /// What is deleted whole, and what is restored.
    async fn keep(&mut self, step: &Step) -> crate::error::Result<()> {
        let app = "acme/app";
        let registry = self.world.registry().clone();
        match step {
            Step::RestoreManifest(at) => {
                if let Some((digest, _)) = self.manifests.get(usize::from(*at)) {
                    registry.restore_manifest(&self.may::<Restore>(app).await?, digest).await?;
                }
            }
            Step::RestoreTag(tag) => {
                let tag = Tag::parse(&format!("t{tag}")).unwrap();
                registry.restore_tag(&self.may::<Restore>(app).await?, &tag).await?;
            }
            Step::DeletePackage => registry.delete_package(&self.may(app).await?).await?,
            Step::RestorePackage => {
                let name = PackageName::parse(app).unwrap();
                let policy = registry.policy();
                let grant = policy.authorize_deleted::<Restore>(&self.operator(), &name, None).await?;
                registry.restore_package(&grant).await?;
            }
            _ => self.upload(step).await?,
        }
        Ok(())
    }

    async fn put(
        &mut self,
        tag: u8,
        blobs: &[u8],
        children: &[u8],
        subject: Option<u8>,
    ) -> crate::error::Result<()> {
        let mut manifests: Vec<_> = blobs
            .iter()
            .map(|seed| descriptor("a/b", &Digest::sha256(&layer(*seed)), layer(*seed).len()))
            .collect();
        let known =
            |at: &u8| self.manifests.get(usize::from(*at)).copied().unwrap_or((Digest::sha256(&[*at]), 9));
        manifests.extend(children.iter().map(known).map(|(digest, size)| descriptor(INDEX, &digest, size)));
        let mut manifest =
            serde_json::json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
        if let Some((digest, size)) = subject.as_ref().map(known) {
            manifest["subject"] = descriptor(INDEX, &digest, size);
            manifest["artifactType"] = "c/d".into();
        }
        let bytes = serde_json::to_vec(&manifest).unwrap();
        let size = bytes.len();
        let put = PutManifest {
            reference: Reference::Tag(Tag::parse(&format!("t{tag}")).unwrap()),
            tags: Vec::new(),
            content_type: Some(INDEX.to_owned()),
            condition: Default::default(),
            bytes: bytes.into(),
        };
        let stored = self.world.registry().put_manifest(&self.may("acme/app").await?, put).await?;
        if self.manifests.iter().all(|(digest, _)| *digest != stored.digest) {
            self.manifests.push((stored.digest, size));
        }
        Ok(())
    }

    async fn upload(&mut self, step: &Step) -> crate::error::Result<()> {
        let grant = self.may("acme/app").await?;
        let registry = self.world.registry().clone();
        let at = |session: &u8| usize::from(*session);
        match step {
            Step::Begin => {
                let id = registry.begin_upload(&grant, None).await?;
                self.sessions.push((id, Vec::new()));
            }
            Step::Append { session, length } => {
                if let Some((id, held)) = self.sessions.get_mut(at(session)) {
                    let bytes = sample(*length, *session);
                    registry.append(&grant, *id, Self::chunk(&bytes)).await?;
                    held.extend_from_slice(&bytes);
                }
            }
            Step::Finish(session) if at(session) < self.sessions.len() => {
                let (id, held) = self.sessions.remove(at(session));
                registry.finish_upload(grant, id, None, Digest::sha256(&held)).await?;
            }
            Step::Cancel(session) if at(session) < self.sessions.len() => {
                let (id, _) = self.sessions.remove(at(session));
                registry.cancel_upload(&grant, id).await?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Time passes, and what has to be done by then is done.
    async fn later(&mut self, seconds: u64) -> crate::error::Result<()> {
        self.at = self.at.plus_seconds(seconds);
        let registry = self.world.registry().clone();
        registry.expire_uploads(self.at, 1000).await?;
        for _ in 0..1000 {
            if !registry.collect(self.at).await? {
                break;
            }
        }
        for _ in 0..1000 {
            if registry.purge_deleted(&Caller::job("test", self.at, "test".into()), 100).await? == 0 {
                break;
            }
        }
        registry.expire_unused(self.at).await?;
        registry.expire_tokens(self.at).await.map(|_| ())
    }

    async fn findings(&self, options: FsckOptions) -> Vec<Finding> {
        let system = self.world.registry().policy().authorize_system(&self.operator()).unwrap();
        self.world.registry().findings(&system, options).await.unwrap()
    }
}

/// Refusals are part of life; faults are not.
fn is_refusal(error: &Error) -> bool {
    !error.is_fault() && error.kind() != Kind::StaleGrant
}

async fn play(steps: &[Step]) {
    let world = World::new().await;
    let mut player = Player { world, sessions: Vec::new(), manifests: Vec::new(), at: now() };
    for step in steps {
        if let Err(error) = player.take(step).await {
            assert!(is_refusal(&error), "{step:?}: {error}");
        }
    }
    let deep = FsckOptions { deep: true, repair: false };
    assert_eq!(player.findings(deep).await, []);
    let kept = player.world.memory.everything().await;
    // An empty blob's bytes are no entry, nor are the queues.
    let is_entry = |key: &Key, value: &bytes::Bytes| {
        value.is_empty()
            && key.space != Space::Inline
            && !(key.space == Space::Queue && b"qt".contains(&key.bytes[0]))
    };
    let mut batch = Batch::new();
    for (key, _) in kept.iter().filter(|(key, value)| is_entry(key, value)) {
        batch.delete(key.clone());
    }
    assert!(batch.deletes.len() > 4);
    player.world.edit(|all| *all = batch).await;
    let repair = FsckOptions { deep: false, repair: true };
    assert!(!player.findings(repair).await.is_empty());
    assert!(player.world.memory.everything().await == kept, "the index made again is another");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_index_kept_is_the_index_rebuilt_after_anything(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play(&steps));
    }
}
