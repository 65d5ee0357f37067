//! The audit log: every change of rights or content, every denial of a write, and reads where a setting wants them.
//!
//! A change's row is written in the change's own batch (`events`). What was refused changed nothing, so there is no batch
//! to write it in: it is told here, and written a moment later. Whoever is refused does not decide how much that is: there
//! is a rate for each caller and one for all, and what is over it is counted and not written.

mod keep;
mod list;
#[cfg(test)]
mod tests;
mod told;
mod upgrade;

pub use list::{AuditPage, AuditQuery, AuditRow};
pub(crate) use told::Teller;
pub use told::Told;
pub(super) use upgrade::done;
