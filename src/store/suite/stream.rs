//! The stream of a blob's bytes, and the pool behind it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};

use crate::{
    error::{Error, Kind, Result},
    store::{BlobStream, Buffers, OpenBlob},
};

const KIB: usize = 1 << 10;

/// A blob that plays what a disk can do.
struct Play {
    bytes: Bytes,
    /// How many bytes the next reads find in memory; `None` is a miss, an empty list means all.
    finds: Mutex<Vec<Option<usize>>>,
    /// Where the file ends, whatever its size was when it was opened.
    ends: usize,
    fails_at: Option<usize>,
}

impl Play {
    fn new(length: usize) -> Self {
        let bytes = (0..length).map(|n| (n / 7) as u8).collect();
        Self { bytes, finds: Mutex::default(), ends: length, fails_at: None }
    }

    fn at(&self, offset: u64, length: usize) -> Result<Bytes> {
        let start = usize::try_from(offset).unwrap();
        if self.fails_at.is_some_and(|at| (start..start + length).contains(&at)) {
            return Err(Error::new(Kind::Unavailable, "the disk is broken"));
        }
        Ok(self.bytes.slice(start.min(self.ends)..(start + length).min(self.ends)))
    }
}

#[async_trait]
impl OpenBlob for Play {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn try_read(&self, offset: u64, into: &mut [u8]) -> Result<Option<usize>> {
        let find = self.finds.lock().unwrap().pop().unwrap_or(Some(into.len()));
        let Some(most) = find else { return Ok(None) };
        let bytes = self.at(offset, into.len().min(most))?;
        into[..bytes.len()].copy_from_slice(&bytes);
        Ok(Some(bytes.len()))
    }

    async fn read(&self, offset: u64, length: usize) -> Result<Bytes> {
        tokio::task::yield_now().await;
        self.at(offset, length)
    }
}

async fn drained(mut stream: BlobStream) -> (Vec<usize>, Vec<u8>, Option<Error>) {
    let (mut sizes, mut all) = (Vec::new(), Vec::new());
    while let Some(chunk) = stream.next().await {
        match chunk {
            Ok(chunk) => {
                assert!(!chunk.is_empty());
                sizes.push(chunk.len());
                all.extend_from_slice(&chunk);
            }
            Err(error) => {
                // Nothing follows a failure.
                assert!(stream.next().await.is_none());
                return (sizes, all, Some(error));
            }
        }
    }
    assert_eq!(stream.remaining(), 0);
    assert!(stream.next().await.is_none());
    (sizes, all, None)
}

#[tokio::test]
async fn chunks_grow_and_give_their_buffers_back() {
    let buffers = Buffers::new(40 << 20);
    let blob = Arc::new(Play::new(1 << 20));
    let whole = || BlobStream::of_blob(blob.clone(), 0..1 << 20, Arc::clone(&buffers));
    let stream = whole().patient(Duration::MAX);
    assert_eq!(stream.remaining(), 1 << 20);
    let (sizes, all, error) = drained(stream).await;
    assert!(error.is_none());
    assert_eq!(all, blob.bytes);
    assert_eq!(sizes[..5], [16 * KIB, 32 * KIB, 64 * KIB, 128 * KIB, 256 * KIB]);
    assert_eq!(buffers.used(), 0);
    // One buffer of each size was enough, and serves the next transfer.
    let kept = buffers.idle();
    assert_eq!(kept, 496 * KIB);
    drained(whole().patient(Duration::MAX)).await;
    assert_eq!((buffers.used(), buffers.idle()), (0, kept));
}

#[tokio::test]
async fn a_peer_that_does_not_drain_gets_small_chunks() {
    let blob = Arc::new(Play::new(200_000));
    let stream = BlobStream::of_blob(blob, 0..200_000, Buffers::new(1 << 20)).patient(Duration::ZERO);
    let (sizes, all, _) = drained(stream).await;
    assert_eq!(all.len(), 200_000);
    assert!(sizes.iter().all(|size| *size <= 16 * KIB));
}

/// A peer that takes nothing holds one chunk, however often the connection asks; letting go brings the next.
#[tokio::test]
async fn a_connection_gets_the_next_chunk_when_it_lets_go() {
    let blob = Arc::new(Play::new(2 << 20));
    for budget in [40 << 20, 0] {
        let buffers = Buffers::new(budget);
        let stream = BlobStream::of_blob(blob.clone(), 0..2 << 20, Arc::clone(&buffers)).as_taken();
        let mut stream = stream.patient(Duration::MAX);
        let (mut all, mut held) = (Vec::new(), Vec::new());
        loop {
            let chunk = match stream.next().now_or_never() {
                Some(chunk) => chunk,
                None => {
                    let out: usize = held.iter().map(Bytes::len).sum();
                    let most = if budget == 0 { 16 * KIB } else { 256 * KIB };
                    assert!(out > 0 && out <= most && buffers.used() == out, "{out} bytes are out");
                    let let_go = async {
                        tokio::task::yield_now().await;
                        all.extend(held.drain(..).flatten());
                    };
                    // Nobody else wakes it.
                    let both = async { tokio::join!(stream.next(), let_go).0 };
                    tokio::time::timeout(Duration::from_secs(60), both).await.unwrap()
                }
            };
            let Some(chunk) = chunk else { break };
            held.push(chunk.unwrap());
        }
        all.extend(held.into_iter().flatten());
        assert_eq!(all, blob.bytes);
    }
}

#[tokio::test]
async fn any_range_is_exact() {
    let blob = Arc::new(Play::new(100_000));
    let buffers = Buffers::new(1 << 20);
    for (start, end) in
        [(0, 0), (0, 1), (5, 5), (99_999, 100_000), (1, 99_999), (16_384, 32_768), (0, 100_000)]
    {
        for misses in [vec![], vec![None], vec![Some(1), None, Some(100), None]] {
            *blob.finds.lock().unwrap() = misses;
            let stream = BlobStream::of_blob(blob.clone(), start..end, Arc::clone(&buffers));
            let (_, all, error) = drained(stream).await;
            assert!(error.is_none());
            assert_eq!(all, blob.bytes[usize::try_from(start).unwrap()..usize::try_from(end).unwrap()]);
        }
    }
    assert_eq!(buffers.used(), 0);
}

#[tokio::test]
async fn a_blob_that_ends_early_is_an_error() {
    for finds in [vec![], vec![None; 10]] {
        let mut blob = Play::new(50_000);
        blob.ends = 20_000;
        *blob.finds.lock().unwrap() = finds;
        let buffers = Buffers::new(1 << 20);
        let stream = BlobStream::of_blob(Arc::new(blob), 0..50_000, Arc::clone(&buffers));
        let (_, all, error) = drained(stream).await;
        assert_eq!(all.len(), 20_000);
        let error = error.expect("a short read is no success");
        assert_eq!(error.kind(), Kind::Internal);
        assert_eq!(buffers.used(), 0);
    }
}

#[tokio::test]
async fn a_broken_disk_is_an_error() {
    for finds in [vec![], vec![None; 10]] {
        let mut blob = Play::new(50_000);
        blob.fails_at = Some(30_000);
        *blob.finds.lock().unwrap() = finds;
        let (_, all, error) =
            drained(BlobStream::of_blob(Arc::new(blob), 0..50_000, Buffers::new(1 << 20))).await;
        assert_eq!(all.len(), 16 * KIB);
        assert_eq!(error.expect("a failed read is no success").kind(), Kind::Unavailable);
    }
}

#[tokio::test]
async fn without_budget_a_transfer_goes_on_in_small_steps() {
    let buffers = Buffers::new(80 * KIB);
    let hog = buffers.take(64 * KIB).filled(1);
    let (sizes, all, error) =
        drained(BlobStream::of_blob(Arc::new(Play::new(200_000)), 0..200_000, Arc::clone(&buffers))).await;
    assert!(error.is_none());
    assert_eq!(all.len(), 200_000);
    assert!(sizes.iter().all(|size| *size <= 16 * KIB));
    // Beyond the budget there is still the minimum, and it is not kept afterwards.
    let more: Vec<_> = (0..10).map(|_| buffers.take(256 * KIB).filled(1)).collect();
    assert_eq!(buffers.used(), (64 + 160) * KIB);
    drop((hog, more));
    assert_eq!(buffers.used(), 0);
    assert!(buffers.idle() <= 80 * KIB);
}

#[tokio::test]
async fn a_buffer_is_taken_until_the_chunk_is_dropped() {
    let buffers = Buffers::new(1 << 20);
    let mut stream = BlobStream::of_blob(Arc::new(Play::new(100_000)), 0..100_000, Arc::clone(&buffers));
    let first = stream.next().await.unwrap().unwrap();
    assert_eq!(buffers.used(), 16 * KIB);
    let part = first.slice(10..20);
    drop((first, stream));
    assert_eq!(buffers.used(), 16 * KIB);
    assert_eq!(part[..], Play::new(100).bytes[10..20]);
    drop(part);
    assert_eq!(buffers.used(), 0);
    // What the blocking pool read counts as well.
    let blob = Play::new(100_000);
    blob.finds.lock().unwrap().push(None);
    let mut stream = BlobStream::of_blob(Arc::new(blob), 0..100_000, Arc::clone(&buffers));
    let first = stream.next().await.unwrap().unwrap();
    assert_eq!((first.len(), buffers.used()), (16 * KIB, 16 * KIB));
    drop(stream);
    drop(first);
    assert_eq!(buffers.used(), 0);
}

#[tokio::test]
async fn bytes_in_memory_pass_as_they_are() {
    let (sizes, all, error) = drained(BlobStream::of_bytes(Bytes::from_static(b"small"))).await;
    assert!(error.is_none());
    assert_eq!((sizes, all), (vec![5], b"small".to_vec()));
    assert!(drained(BlobStream::of_bytes(Bytes::new())).await.0.is_empty());
}
