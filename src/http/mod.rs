//! The wire minus the protocols: bodies, replies, ranges, conditions. Knows no registry and no adapter.

pub mod body;
pub mod conditional;
pub mod fetch;
pub mod multipart;
pub mod query;
pub mod range;
pub mod reply;
pub mod room;

pub use body::{Body, ByteStream, Leftover, Pace};
pub use reply::{Content, FilePart, Reply, Site};
