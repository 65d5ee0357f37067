//! Tests of the whole, in one binary. `tidy` holds the rules of the tree itself.

mod authz;
mod oci;
mod people;
mod server;
mod support;
mod tidy;
