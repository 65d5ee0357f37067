//! The server by itself, over the wire, with a small protocol of its own in place of the real adapters.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod harness;
mod http2;
mod jobs;
mod limits;
mod pipeline;
mod refusal;
mod slow;
mod stop;
mod tls;
mod wire;
