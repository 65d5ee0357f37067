//! What the key space stands at.

/// Two that are equal say that nothing was committed between the moments they were read at. Never stored, never shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Which opening of the engine; the numbers of commits begin anew with each.
    pub opened: u64,
    /// Grows with each batch that is committed.
    pub committed: u64,
}
