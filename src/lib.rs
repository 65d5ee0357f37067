//! Packhouse: a self-hosted package registry. This file is the map; `ARCHITECTURE.md` walks requests through it.
//!
//! Layers, bottom first; imports go downward only (`tests/it/tidy.rs` holds the table):
//! [`error`] and [`model`] are pure values. [`store`] is bytes and keys. [`auth`] says who asks and whether they may.
//! [`registry`] is the domain. [`http`] is the wire minus protocols. [`adapter`] has one protocol a folder. [`server`]
//! listens and dispatches. [`config`] and [`cli`] are what an operator touches.

pub mod adapter;
pub mod auth;
#[cfg(feature = "rocksdb")]
pub mod cli;
pub mod config;
pub mod error;
pub mod http;
pub mod jobs;
pub mod model;
pub mod registry;
pub mod server;
pub mod store;
