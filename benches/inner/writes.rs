//! Batches that wait for the disk, alone and in company; and bodies that become files.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput};
use futures_util::future::join_all;
use packhouse::{
    auth::Push,
    model::{Algorithm, Digest, Hasher, PhysicalKey},
    registry::Chunk,
    store::{Batch, BlobStore as _, DirectoryBlobs, Key, MetadataStore, Space},
};

use crate::world::{World, name, pieces};

/// Frames as connections give them.
const FRAME: usize = 256 << 10;

/// A batch of the size that storing a small blob has: one expectation, four keys.
async fn commit(meta: &dyn MetadataStore, number: u64) {
    let mut batch = Batch::new();
    let key = |tag: u8| Key::new(Space::Meta, tag).with(&number.to_be_bytes());
    batch.expect_absent(key(0xf0));
    for tag in 0xf0..0xf4 {
        batch.put(key(tag), vec![7; 64]);
    }
    assert!(meta.commit(batch).await.is_ok(), "the batch is stored");
}

/// Commits a second: each task waits for its own before it sends the next.
fn batches(criterion: &mut Criterion) {
    let world = World::new();
    let next = AtomicU64::new(0);
    let mut group = criterion.benchmark_group("batch_commit_synced");
    for tasks in [1_u64, 16, 64] {
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::from_parameter(tasks), |bencher| {
            bencher.iter_custom(|iterations| {
                let each = iterations.div_ceil(tasks);
                let took = world.runtime.block_on(async {
                    let begun = Instant::now();
                    join_all((0..tasks).map(async |_| {
                        for _ in 0..each {
                            commit(world.meta.as_ref(), next.fetch_add(1, Relaxed)).await;
                        }
                    }))
                    .await;
                    begun.elapsed()
                });
                // Rounding up made a few more than were asked for.
                scale(took, iterations, each * tasks)
            });
        });
    }
    group.finish();
}

fn scale(took: Duration, asked: u64, done: u64) -> Duration {
    took.mul_f64(asked as f64 / done as f64)
}

/// From the pieces of a body to a synced file and its digest, and from there to a blob.
fn bodies(criterion: &mut Criterion) {
    let world = World::new();
    let folder = tempfile::tempdir().expect("a folder");
    let blobs = DirectoryBlobs::open(folder.path()).expect("a blob store");
    let package = name("ada/app");
    let ada = world.runtime.block_on(async {
        let ada = world.user("ada").await;
        world.package(&ada, &package).await;
        ada
    });
    let mut group = criterion.benchmark_group("body_to_file");
    for size in [1 << 20, 64 << 20] {
        let body = Bytes::from(vec![0x5a; size]);
        let digest = Digest::sha256(&body);
        let frames: Vec<Bytes> =
            (0..size).step_by(FRAME).map(|at| body.slice(at..(at + FRAME).min(size))).collect();
        let (blobs, frames, world, ada, package) = (&blobs, &frames, &world, &ada, &package);
        group.sample_size(10).throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("hash_alone", size), |bencher| {
            bencher.iter(|| Digest::sha256(&body));
        });
        group.bench_function(BenchmarkId::new("store", size), |bencher| {
            bencher.to_async(&world.runtime).iter(async || {
                let key = PhysicalKey::random().expect("randomness");
                let hasher = Hasher::new(Algorithm::Sha256);
                let mut writer = blobs.write(key, 0, hasher).await.expect("a writer");
                for frame in frames {
                    writer.push(frame.clone()).await.expect("room");
                }
                let written = writer.sync().await.expect("a sync");
                assert_eq!(written.hasher.finish(), digest);
                drop(writer);
                blobs.discard(key).await.expect("the end of it");
            });
        });
        group.bench_function(BenchmarkId::new("registry", size), |bencher| {
            bencher.to_async(&world.runtime).iter(async || {
                let grant = world.grant::<Push>(ada, package).await;
                let chunk = Chunk { at: None, length: Some(size as u64), bytes: pieces(frames.clone()) };
                world.registry.put_blob(grant, chunk, digest).await.expect("a blob")
            });
        });
    }
    group.finish();
}

criterion::criterion_group!(group, batches, bodies);
