//! How RocksDB is set up: one column family for each [`Space`], all within one memory budget.

use std::{path::PathBuf, time::Duration};

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode,
    DataBlockIndexType, LogLevel, Options, SliceTransform, WriteBufferManager,
    statistics::{StatsLevel, Ticker},
};

use crate::store::Space;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// The column family that keeps, for every stream, the last number given. It is no part of the key space: no scan sees
/// it, and the numbers do not start again when a stream's elements are deleted.
pub(super) const STREAMS: &str = "streams";

/// RocksDB's own default; it must exist and stays empty.
const DEFAULT: &str = rocksdb::DEFAULT_COLUMN_FAMILY_NAME;

/// zstd's "the level you think best" and raw deflate window, in the words of RocksDB's header.
const LEVEL_DEFAULT: i32 = 32767;
const WINDOW_DEFAULT: i32 = -14;

/// Logs kept to be written over.
const RECYCLED: usize = 8;

/// What an operator may choose about the embedded engine.
#[derive(Debug, Clone)]
pub struct RocksOptions {
    /// Bytes for the block cache and the memtables together.
    pub memory: usize,
    /// Batches in one synced write at most.
    pub group_batches: usize,
    /// Bytes in one synced write, at which a group takes no more batches.
    pub group_bytes: usize,
    /// Batches that may wait for the committer; more wait in their callers.
    pub waiting: usize,
    /// How often it is noted how far the log is durable.
    pub note_every: Duration,
}

impl Default for RocksOptions {
    fn default() -> Self {
        Self {
            memory: 64 * MIB,
            group_batches: 512,
            group_bytes: 8 * MIB,
            waiting: 4096,
            note_every: Duration::from_secs(30),
        }
    }
}

/// Everything that is needed to open the engine, and to open it again in the same process.
pub(super) struct Setup {
    pub(super) path: PathBuf,
    pub(super) memory: usize,
    cache: Cache,
    rows: Cache,
    buffers: WriteBufferManager,
    /// Where RocksDB counts its work; every opening adds to the same counters.
    counters: Options,
}

impl Setup {
    pub(super) fn new(path: PathBuf, memory: usize) -> Self {
        // Below this the memtables alone would not fit.
        let memory = memory.max(16 * MIB);
        // Single rows that are read again and again, as the revisions of rights are with every request: a hit spares the walk
        // through filter, index and block.
        let rows = Cache::new_lru_cache(memory / 16);
        let cache = Cache::new_hyper_clock_cache(memory - memory / 16, 0);
        // Charged to the cache: the memtables push blocks out, so that one figure bounds both. Never stalls writers.
        let buffers =
            WriteBufferManager::new_write_buffer_manager_with_cache(memory / 2, false, cache.clone());
        let mut counters = Options::default();
        counters.enable_statistics();
        // Plain counters only: a clock read twice for each read of a key would show.
        counters.set_statistics_level(StatsLevel::ExceptHistogramOrTimers);
        Self { path, memory, cache, rows, buffers, counters }
    }

    /// What RocksDB counted since this was made.
    pub(super) fn counted(&self, what: Ticker) -> u64 {
        self.counters.get_ticker_count(what)
    }

    pub(super) fn cache_bytes(&self) -> u64 {
        (self.cache.get_usage() + self.rows.get_usage()) as u64
    }

    pub(super) fn memtable_bytes(&self) -> u64 {
        self.buffers.get_usage() as u64
    }

    /// Settings of the whole database.
    pub(super) fn database(&self) -> Options {
        // A copy shares the counters.
        let mut options = self.counters.clone();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_paranoid_checks(true);
        // A synced commit survives a power cut; of what came after the last sync, a torn tail is dropped whole. So is what
        // follows damage elsewhere in the log: see `mark`.
        options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
        options.set_track_and_verify_wals_in_manifest(true);
        options.set_write_buffer_manager(&self.buffers);
        options.set_row_cache(&self.rows);
        // Bounds both the disk the log takes and the time a start takes to replay it.
        options.set_max_total_wal_size(self.memory.clamp(64 * MIB, 256 * MIB) as u64);
        // Large flushes and compactions reach the disk in steps, so that a commit's sync does not queue behind them.
        options.set_bytes_per_sync(MIB as u64);
        // A log that is no longer needed is written over and not deleted: where the file does not grow, a sync writes the
        // bytes alone and not the inode too. As many as can be alive at once, each as long as a memtable lasts.
        options.set_recycle_log_file_num(RECYCLED);
        options.set_wal_bytes_per_sync(MIB as u64);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        options.set_max_background_jobs(i32::try_from((cores / 2).clamp(2, 8)).unwrap_or(2));
        options.set_max_open_files(512);
        options.set_keep_log_file_num(5);
        options.set_max_log_file_size(16 * MIB);
        options.set_log_level(LogLevel::Warn);
        options.set_stats_dump_period_sec(0);
        options.set_stats_persist_period_sec(0);
        options
    }

    /// All column families with their settings.
    pub(super) fn families(&self) -> Vec<ColumnFamilyDescriptor> {
        let mut all: Vec<_> = Space::ALL
            .into_iter()
            .map(|space| ColumnFamilyDescriptor::new(space.word(), self.family(space)))
            .collect();
        all.push(ColumnFamilyDescriptor::new(DEFAULT, self.plain(8 * KIB, |_| {})));
        all.push(ColumnFamilyDescriptor::new(
            STREAMS,
            self.plain(8 * KIB, |table| table.set_bloom_filter(10.0, false)),
        ));
        all
    }

    /// Settings common to all: small write buffers (the manager bounds their sum), level compaction.
    fn plain(&self, block: usize, table: impl FnOnce(&mut BlockBasedOptions)) -> Options {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(&self.cache);
        blocks.set_block_size(block);
        blocks.set_format_version(6);
        // Index and filters are cut into blocks that come and go with the cache: whole ones of a large database would
        // not fit into a small one.
        blocks.set_cache_index_and_filter_blocks(true);
        blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
        blocks.set_pin_top_level_index_and_filter(true);
        blocks.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
        blocks.set_partition_filters(true);
        blocks.set_metadata_block_size(4 * KIB);
        blocks.set_optimize_filters_for_memory(true);
        // A key is found in its block by its hash, without a binary search.
        blocks.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
        blocks.set_data_block_hash_ratio(0.75);
        table(&mut blocks);
        let mut options = Options::default();
        options.set_block_based_table_factory(&blocks);
        options.set_write_buffer_size((self.memory / 8).clamp(2 * MIB, 32 * MIB));
        options.set_target_file_size_base(32 * MIB as u64);
        options.set_max_bytes_for_level_base(128 * MIB as u64);
        options.set_level_compaction_dynamic_level_bytes(true);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_bottommost_compression_type(DBCompressionType::Zstd);
        options
    }

    fn family(&self, space: Space) -> Options {
        match space {
            Space::Meta => {
                let mut options = self.plain(8 * KIB, |table| table.set_bloom_filter(10.0, false));
                answer_absent(&mut options);
                options
            }
            Space::Blob => {
                let mut options = self.plain(8 * KIB, |table| table.set_ribbon_filter(10.0));
                // Digests do not compress; zstd would only cost.
                options.set_bottommost_compression_type(DBCompressionType::Lz4);
                answer_absent(&mut options);
                options
            }
            Space::Refs => {
                let mut options = self.plain(8 * KIB, |table| {
                    table.set_bloom_filter(10.0, false);
                    table.set_whole_key_filtering(false);
                });
                options.set_prefix_extractor(SliceTransform::create(
                    "packhouse.tag-and-digest",
                    digest_prefix,
                    Some(has_digest_prefix),
                ));
                answer_absent(&mut options);
                options
            }
            Space::Doc => {
                // A read of one manifest unpacks three blocks, and keeps them: small ones, with few others in them.
                let mut options = self.plain(4 * KIB, |table| table.set_bloom_filter(10.0, false));
                options.set_compression_type(DBCompressionType::Zstd);
                // Manifests resemble each other; a dictionary finds that across blocks.
                options.set_bottommost_compression_options(
                    WINDOW_DEFAULT,
                    LEVEL_DEFAULT,
                    0,
                    (16 * KIB) as i32,
                    true,
                );
                answer_absent(&mut options);
                options
            }
            Space::Inline => self.inline(),
            Space::Queue => {
                let mut options = self.plain(8 * KIB, |_| {});
                options.set_write_buffer_size((self.memory / 16).clamp(MIB, 8 * MIB));
                // Keys die young here, and a scan from the front would walk their tombstones.
                options.add_compact_on_deletion_collector_factory(1024, 256, 0.5);
                options
            }
            Space::Event => {
                let mut options = self.plain(16 * KIB, |_| {});
                options.set_compression_type(DBCompressionType::Zstd);
                options
            }
        }
    }

    /// Small blobs: their bytes lie in files of their own, so that compaction moves only the keys.
    fn inline(&self) -> Options {
        let mut options = self.plain(8 * KIB, |table| table.set_ribbon_filter(10.0));
        options.set_enable_blob_files(true);
        options.set_min_blob_size(512);
        options.set_blob_file_size(64 * MIB as u64);
        options.set_enable_blob_gc(true);
        options.set_blob_gc_age_cutoff(0.25);
        options.set_blob_cache(&self.cache);
        // Signatures, archives, configurations: mostly compressed already, and read far more often than written.
        options.set_blob_compression_type(DBCompressionType::None);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_bottommost_compression_type(DBCompressionType::Lz4);
        options
    }
}

/// A filter in each memtable too. Whoever writes something new asks first whether it is there, and without a filter each
/// such question walks down the memtable: as dear as a write. A fiftieth of the memtable is some 20 bits a key.
fn answer_absent(options: &mut Options) {
    options.set_memtable_prefix_bloom_ratio(0.02);
    options.set_memtable_whole_key_filtering(true);
}

/// Length of "a tag byte, then a digest in its key form", judged by the digest's first byte.
fn digest_prefix_length(key: &[u8]) -> Option<usize> {
    let length = match key.get(1)? {
        1 => 1 + 33,
        2 => 1 + 65,
        _ => return None,
    };
    (key.len() >= length).then_some(length)
}

/// Whether a key, or the prefix of a scan, has the part that the filter of `Refs` holds. All keys that begin with a
/// prefix for which this is true have the same part, whatever their shape, so the filter cannot hide one of them.
pub(super) fn has_digest_prefix(key: &[u8]) -> bool {
    digest_prefix_length(key).is_some()
}

fn digest_prefix(key: &[u8]) -> &[u8] {
    digest_prefix_length(key).map_or(key, |length| &key[..length])
}
