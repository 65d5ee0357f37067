//! Manifests: exact bytes and what this registry reads in them.
pub struct Manifest;
