//! What connections say: fetches, pushes, mixtures, checks.

mod fetch;
mod manifests;
mod mix;
mod push;
mod verify;

pub use fetch::Fetch;
pub use manifests::{Manifests, Tags};
pub use mix::{Endless, Mix};
pub use push::{How, Push, Unique};
pub use verify::{Check, Once, verify};
