//! The program: everything is in the library, so that tests can reach it.

use std::process::ExitCode;

/// For Rust and, under the C library's names, for RocksDB: gives memory back after a peak, which glibc's does not.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[cfg(feature = "rocksdb")]
fn main() -> ExitCode {
    packhouse::cli::main()
}

/// Without an engine there is nothing to run; this build is for the tests of the pure parts.
#[cfg(not(feature = "rocksdb"))]
fn main() -> ExitCode {
    ExitCode::FAILURE
}
