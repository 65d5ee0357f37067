//! What is true of permissions whatever the world: properties, each a named test, over towns that are made at random.
//!
//! P1 (the engine says what the oracle says) is `people::oracle`. What one property needs of the wire is in `wire`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cost;
mod ends;
mod inherit;
mod order;
mod shape;
mod town;
mod wire;

/// Runs a future to its end, as property tests must.
fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}
