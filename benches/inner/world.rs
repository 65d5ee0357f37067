//! A registry over the real store in a temporary folder, and callers for it.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use packhouse::{
    auth::{Access, Action, Actor, Caller, Grant, Operate, PackageTarget, Publish, Push, Verb},
    model::{Digest, OwnerId, OwnerName, PackageName, Reference, Tag},
    registry::{ByteStream, Chunk, PutManifest, Registry, Settings, accounts::NewUser, generated_password},
    store::{MetadataStore, RocksOptions, open_directory},
};
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A registry in a folder of its own.
pub struct World {
    pub runtime: Runtime,
    pub registry: Registry,
    pub meta: Arc<dyn MetadataStore>,
    _folder: TempDir,
}

impl World {
    /// An empty installation, in `TMPDIR`: what waits for the disk waits for that one.
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        let (meta, blobs) = open_directory(&data, RocksOptions::default()).expect("a store");
        let settings = Settings { space_reserve: 0, ..Settings::default() };
        let registry = Registry::open(Arc::clone(&meta), blobs, settings).expect("a registry");
        let password = generated_password().expect("randomness");
        runtime.block_on(registry.initialize(registry.now(), &password)).expect("an installation");
        Self { runtime, registry, meta, _folder: folder }
    }

    /// A user without a password, who signed in as what has none can: before its first change.
    pub async fn user(&self, name: &str) -> Caller {
        let operator = Caller::operator(self.registry.now(), "bench".into());
        let grant: Grant<Operate> = self.registry.policy().authorize_system(&operator).expect("the operator");
        let name = OwnerName::parse(name).expect("a name");
        let user = NewUser { name: &name, administrator: false, password: None };
        self.as_user(self.registry.create_user(&grant, user).await.expect("a user"))
    }

    fn as_user(&self, user: OwnerId) -> Caller {
        let caller = Caller::anonymous(self.registry.now(), "bench".into());
        Caller { actor: Actor::User(user), sign_in: Some(0), ..caller }
    }

    /// The headers with which a client presents a bearer token for a repository.
    pub async fn headers(&self, caller: &Caller, name: &PackageName) -> HeaderMap {
        let access = vec![Access { name: name.to_string(), verbs: vec![Verb::Pull] }];
        let issued = self.registry.authenticator().issue(caller, access).await.expect("a token");
        let value = HeaderValue::from_str(&format!("Bearer {}", issued.token.reveal())).expect("a header");
        HeaderMap::from_iter([(AUTHORIZATION, value)])
    }

    /// The right to do something to a package.
    pub async fn grant<A: Action<Target = PackageTarget>>(
        &self,
        caller: &Caller,
        name: &PackageName,
    ) -> Grant<A> {
        self.registry.policy().authorize(caller, name).await.expect("the right")
    }

    /// A package with one image in it, tagged `1`; gives the image's manifest.
    pub async fn package(&self, caller: &Caller, name: &PackageName) -> Bytes {
        if let Publish::New(grant) =
            self.registry.policy().authorize_publish(caller, name).await.expect("the right to create")
        {
            self.registry.allocate(&grant, name).await.expect("a package");
        }
        let config = Bytes::from_static(b"{}");
        let grant = self.grant::<Push>(caller, name).await;
        self.registry.put_blob(grant, chunk(&config), Digest::sha256(&config)).await.expect("a blob");
        let image = image(&config, "1");
        self.put(caller, name, &image, ["1".to_owned()]).await;
        image
    }

    /// Puts a manifest under tags.
    pub async fn put(
        &self,
        caller: &Caller,
        name: &PackageName,
        bytes: &Bytes,
        tags: impl IntoIterator<Item = String>,
    ) {
        let put = PutManifest {
            reference: Reference::Digest(Digest::sha256(bytes)),
            tags: tags.into_iter().map(|tag| Tag::parse(&tag).expect("a tag")).collect(),
            content_type: None,
            condition: Default::default(),
            bytes: bytes.clone(),
        };
        let grant = self.grant::<Push>(caller, name).await;
        self.registry.put_manifest(&grant, put).await.expect("a manifest");
    }

    /// Does something for each number below a limit, many at once: their batches share syncs.
    pub fn many<F: Future<Output = ()>>(&self, count: usize, work: impl Fn(usize) -> F) {
        self.runtime.block_on(stream::iter(0..count).map(work).buffer_unordered(512).for_each(async |()| ()));
    }
}

/// A whole body, as one piece.
pub fn chunk(bytes: &Bytes) -> Chunk {
    Chunk { at: None, length: Some(bytes.len() as u64), bytes: pieces(vec![bytes.clone()]) }
}

/// A body in pieces.
pub fn pieces(pieces: Vec<Bytes>) -> ByteStream {
    Box::pin(stream::iter(pieces.into_iter().map(Ok)))
}

/// An image over a configuration, told apart by a word.
pub fn image(config: &Bytes, word: &str) -> Bytes {
    let json = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": Digest::sha256(config).to_string(),
            "size": config.len(),
        },
        "layers": [],
        "annotations": {"word": word},
    });
    json.to_string().into()
}

/// A package's name.
pub fn name(text: &str) -> PackageName {
    PackageName::parse(text).expect("a name")
}
