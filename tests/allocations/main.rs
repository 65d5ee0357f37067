//! What deciding about a request allocates must not grow with the installation: a token check and an authorization, the
//! revisions read, over few users and over many. A test of its own, because the counting allocator is the whole program's.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use allocation_counter::{AllocationInfo, measure};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use packhouse::{
    auth::{Access, Actor, Caller, Grant, Operate, Publish, Pull, Push, Verb},
    model::{Digest, OwnerName, PackageName, Reference},
    registry::{Chunk, PutManifest, Registry, Settings, accounts::NewUser, generated_password},
    store::{RocksOptions, open_directory},
};
use serde_json::json;

/// Anything that grows with the number of users would show between these.
const FEW: usize = 10;
const MANY: usize = 1500;

async fn user(registry: &Registry, name: &str) -> Caller {
    let operator = Caller::operator(registry.now(), "test".into());
    let grant: Grant<Operate> = registry.policy().authorize_system(&operator).unwrap();
    let name = OwnerName::parse(name).unwrap();
    let new = NewUser { name: &name, administrator: false, password: None };
    let id = registry.create_user(&grant, new).await.unwrap();
    let caller = Caller::anonymous(registry.now(), "test".into());
    Caller { actor: Actor::User(id), sign_in: Some(0), ..caller }
}

/// A user with a package that holds one image.
async fn member(registry: &Registry, number: usize) -> (Caller, PackageName) {
    let caller = user(registry, &format!("user{number:06}")).await;
    let name = PackageName::parse(&format!("user{number:06}/app")).unwrap();
    let Publish::New(new) = registry.policy().authorize_publish(&caller, &name).await.unwrap() else {
        panic!("{name} is there already")
    };
    registry.allocate(&new, &name).await.unwrap();
    let config = Bytes::from_static(b"{}");
    let digest = Digest::sha256(&config);
    let bytes = Box::pin(stream::iter([Ok(config)]));
    let grant: Grant<Push> = registry.policy().authorize(&caller, &name).await.unwrap();
    registry.put_blob(grant, Chunk { at: None, length: Some(2), bytes }, digest).await.unwrap();
    let image = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest.to_string(), "size": 2},
        "layers": [],
    });
    let bytes = Bytes::from(image.to_string());
    let put = PutManifest {
        reference: Reference::Digest(Digest::sha256(&bytes)),
        tags: Vec::new(),
        content_type: None,
        condition: Default::default(),
        bytes,
    };
    let grant: Grant<Push> = registry.policy().authorize(&caller, &name).await.unwrap();
    registry.put_manifest(&grant, put).await.unwrap();
    (caller, name)
}

/// What deciding costs for one of so many: the first time, and once it is known.
fn decided_among(users: usize) -> (AllocationInfo, AllocationInfo) {
    // One thread, so that all that is allocated is counted.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (meta, blobs) = open_directory(&folder.path().join("data"), RocksOptions::default()).unwrap();
    let settings = Settings { space_reserve: 0, ..Settings::default() };
    let registry = Registry::open(Arc::clone(&meta), Arc::clone(&blobs), settings.clone()).unwrap();
    let mut members = runtime.block_on(async {
        registry.initialize(registry.now(), &generated_password().unwrap()).await.unwrap();
        let members = stream::iter(0..users).map(|number| member(&registry, number)).buffered(64);
        members.collect::<Vec<_>>().await
    });
    // Another registry over the same stores: it has read nothing yet.
    drop(registry);
    let registry = Registry::open(meta, blobs, settings).unwrap();
    let authenticator = registry.authenticator();
    let (caller, name) = members.swap_remove(users / 2);
    let access = vec![Access { name: name.to_string(), verbs: vec![Verb::Pull] }];
    let issued = runtime.block_on(authenticator.issue(&caller, access)).unwrap();
    let value = HeaderValue::from_str(&format!("Bearer {}", issued.token.reveal())).unwrap();
    let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
    let decide = || {
        measure(|| {
            runtime.block_on(async {
                let found = authenticator
                    .authenticate(&headers, Caller::anonymous(caller.at, Arc::clone(&caller.request)))
                    .await;
                let _grant: Grant<Pull> = registry.policy().authorize(&found.unwrap(), &name).await.unwrap();
            });
        })
    };
    (decide(), decide())
}

/// Bytes by which two decisions may differ though nothing grows.
const TEXTS: u64 = 64;

#[test]
fn what_a_decision_allocates_does_not_grow_with_the_installation() {
    let (few_first, few) = decided_among(FEW);
    let (many_first, many) = decided_among(MANY);
    println!("the first time: {few_first:?}; {many_first:?}\nknown: {few:?}; {many:?}");
    for (few, many) in [(few_first, many_first), (few, many)] {
        assert!(few.count_total > 0, "the allocations are counted");
        assert_eq!(few.count_total, many.count_total, "allocations");
        // Numbers drawn by lot, and their texts, are some bytes longer or shorter.
        let alike = |few: u64, many: u64| few.abs_diff(many) <= TEXTS;
        assert!(
            alike(few.bytes_total, many.bytes_total),
            "bytes: {} and {}",
            few.bytes_total,
            many.bytes_total
        );
        assert!(
            alike(few.bytes_max, many.bytes_max),
            "bytes at once: {} and {}",
            few.bytes_max,
            many.bytes_max
        );
    }
}
