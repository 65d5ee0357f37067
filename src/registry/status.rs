//! How the stores are doing, for health questions and the metrics page. No grant: nothing here is anybody's.

use super::{Registry, Trust};
use crate::error::Result;

impl Registry {
    /// Whether writes can succeed now.
    ///
    /// # Errors
    /// Says why not.
    pub fn health(&self) -> Result<()> {
        self.meta.health()
    }

    /// Bytes free for uploads.
    pub fn space(&self) -> Result<u64> {
        self.blobs.space()
    }

    /// Figures of the metadata engine: name, value.
    pub fn figures(&self) -> Vec<(&'static str, u64)> {
        self.meta.figures()
    }

    /// What is going on here now: name, value.
    pub fn activity(&self) -> [(&'static str, u64); 5] {
        [
            ("uploads_at_work", self.sessions.at_work() as u64),
            ("transfer_buffers_used_bytes", self.buffers.used() as u64),
            ("transfer_buffers_idle_bytes", self.buffers.idle() as u64),
            ("hot_bytes", self.hot.bytes()),
            // While it is 1, nothing is deleted by time.
            ("clock_distrusted", u64::from(self.time().trust != Trust::Steady)),
        ]
    }
}
