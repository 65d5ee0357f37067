//! The program: everything is in the library, so that tests can reach it.

use std::process::ExitCode;

#[cfg(feature = "rocksdb")]
fn main() -> ExitCode {
    packhouse::cli::main()
}

/// Without an engine there is nothing to run; this build is for the tests of the pure parts.
#[cfg(not(feature = "rocksdb"))]
fn main() -> ExitCode {
    ExitCode::FAILURE
}
