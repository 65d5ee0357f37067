//! Tests of the whole, in one binary. `tidy` holds the rules of the tree itself.

// A helper of a test fails by panicking, as the test itself does; tables of cases have the types they need.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::type_complexity, clippy::cloned_ref_to_slice_refs)]

mod authz;
mod backup;
mod collect;
mod damage;
mod disk;
mod durability;
mod exchange;
mod kept;
mod load;
mod oci;
mod people;
mod properties;
mod rest;
mod server;
mod support;
mod tidy;
mod upgrade;
