//! So much a second and no more, so that requests do not feel it.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// A bucket that fills with time and holds what half a second brings.
#[derive(Default)]
pub(super) struct Throttle(Mutex<Option<Bucket>>);

struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Throttle {
    /// Takes up to `most`, at `rate` a second in the long run; 0 is no limit.
    pub(super) fn take(&self, most: usize, rate: u32) -> usize {
        if rate == 0 {
            return most;
        }
        let (now, rate) = (Instant::now(), f64::from(rate));
        let full = (rate / 2.0).max(1.0);
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = bucket.get_or_insert(Bucket { tokens: full, at: now });
        let gained = now.duration_since(bucket.at).as_secs_f64() * rate;
        bucket.tokens = (bucket.tokens + gained).min(full);
        bucket.at = now;
        let mut taken = 0;
        while taken < most && bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            taken += 1;
        }
        taken
    }

    /// Gives back what was taken and not used.
    pub(super) fn give_back(&self, unused: u64) {
        if let Some(bucket) = self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            bucket.tokens += unused as f64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_rate() {
        let throttle = Throttle::default();
        let begun = Instant::now();
        let mut taken = 0;
        for _ in 0..1000 {
            taken += throttle.take(64, 100);
        }
        let allowed = 50.0 + 100.0 * begun.elapsed().as_secs_f64();
        assert!(taken >= 50 && taken as f64 <= allowed, "{taken} of {allowed}");
        throttle.give_back(7);
        assert!(throttle.take(64, 100) >= 7);
        assert_eq!(throttle.take(64, 0), 64);
    }
}
