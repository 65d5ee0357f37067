//! Reading a manifest, and pages of tags.

use criterion::{BenchmarkId, Criterion};
use packhouse::{
    auth::{Grant, Pull},
    model::{Digest, Reference, Tag},
};

use crate::world::{World, name};

fn manifests(criterion: &mut Criterion) {
    let world = World::new();
    let package = name("ada/app");
    let (image, grant) = world.runtime.block_on(async {
        let ada = world.user("ada").await;
        let image = world.package(&ada, &package).await;
        (image, world.grant::<Pull>(&ada, &package).await)
    });
    let mut group = criterion.benchmark_group("manifest");
    for (name, reference) in [
        ("by_tag", Reference::Tag(Tag::parse("1").expect("a tag"))),
        ("by_digest", Reference::Digest(Digest::sha256(&image))),
    ] {
        let (world, grant, reference) = (&world, &grant, &reference);
        group.bench_function(name, |bencher| {
            bencher.to_async(&world.runtime).iter(async || {
                let head = world.registry.stat_manifest(grant, reference).await.expect("it is there");
                world.registry.manifest_bytes(grant, &head).await.expect("its bytes are")
            });
        });
    }
    group.finish();
}

/// A page from the middle, so that the store must find its place.
fn tags(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tag_page_of_100");
    for count in [10_000, 100_000] {
        let world = World::new();
        let package = name("ada/app");
        let grant: Grant<Pull> = world.runtime.block_on(async {
            let ada = world.user("ada").await;
            let image = world.package(&ada, &package).await;
            for hundred in 0..count / 100 {
                let tags = (0..100).map(|number| format!("v{:06}", hundred * 100 + number));
                world.put(&ada, &package, &image, tags).await;
            }
            world.grant(&ada, &package).await
        });
        let after = format!("v{:06}", count / 2);
        let (world, grant, after) = (&world, &grant, after.as_str());
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.to_async(&world.runtime).iter(async || {
                let page = world.registry.tags(grant, Some(after), 100).await.expect("a page");
                assert_eq!(page.len(), 100);
            });
        });
    }
    group.finish();
}

criterion::criterion_group!(group, manifests, tags);
