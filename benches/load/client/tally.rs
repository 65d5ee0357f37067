//! What a run counted.

/// Operations by kind, with their times.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    pub seconds: f64,
    /// Processor seconds the client took for it.
    pub client_cpu: f64,
    /// Times of operations in nanoseconds, a list a kind.
    pub times: Vec<Vec<u64>>,
    pub requests: u64,
    /// Bytes of bodies.
    pub received: u64,
    pub sent: u64,
}

impl Tally {
    pub(super) fn new() -> Self {
        // Growing the list would show in the times.
        Self { times: vec![Vec::with_capacity(1 << 18)], ..Self::default() }
    }

    pub(super) fn done(&mut self, kind: usize, nanoseconds: u64) {
        if self.times.len() <= kind {
            self.times.resize(kind + 1, Vec::new());
        }
        self.times[kind].push(nanoseconds);
    }

    pub fn operations(&self) -> u64 {
        self.times.iter().map(|times| times.len() as u64).sum()
    }

    /// The time below which this part of the operations of these kinds stayed, in seconds.
    pub fn quantile(&self, kinds: &[usize], part: f64) -> Option<f64> {
        let mut times: Vec<u64> =
            kinds.iter().filter_map(|kind| self.times.get(*kind)).flatten().copied().collect();
        times.sort_unstable();
        let last = times.len().checked_sub(1)?;
        Some(times[(last as f64 * part).round() as usize] as f64 / 1e9)
    }
}
