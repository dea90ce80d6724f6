//! How long to wait after a failure: exponential, with full jitter, never beyond its bound.

use std::time::Duration;

/// The first bound of the wait.
const FIRST: Duration = Duration::from_secs(1);

/// The bound reaches at least this, however short the interval, so that a fleet leaves a sick
/// collector alone.
pub const LONG: Duration = Duration::from_secs(5 * 60);

/// Doublings after which the bound is beyond any interval.
const MAX_DOUBLINGS: u32 = 20;

/// Failures in a row, and what follows from them.
#[derive(Clone, Debug)]
pub struct Backoff {
    failures: u32,
    longest: Duration,
}

impl Backoff {
    /// None yet; waits are bounded by `interval` or [`LONG`], whichever is more.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self { failures: 0, longest: interval.max(LONG) }
    }

    /// It worked again.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }

    /// How many failures there were in a row.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// The wait after one more failure: anything from zero to the bound, as `random` falls.
    pub fn after_failure(&mut self, random: u64) -> Duration {
        let factor = 1_u32 << self.failures.min(MAX_DOUBLINGS);
        self.failures = self.failures.saturating_add(1);
        share(FIRST.saturating_mul(factor).min(self.longest), random)
    }

    /// The wait after the collector said how long: at least that, and as much again at most, so
    /// that those who were told the same do not come back together.
    pub fn after_being_told(&mut self, told: Duration, random: u64) -> Duration {
        let own = self.after_failure(random);
        told.saturating_add(own.min(told.max(FIRST)))
    }

    /// The wait when trying again soon is pointless: half of the bound to all of it.
    pub fn after_refusal(&mut self, random: u64) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let half = self.longest / 2;
        half.saturating_add(share(half, random))
    }
}

/// The part of `whole` that `random` stands for, in milliseconds.
fn share(whole: Duration, random: u64) -> Duration {
    let whole = u64::try_from(whole.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(random % whole.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_from_a_second_to_the_longest() {
        let mut backoff = Backoff::new(Duration::from_secs(60));
        for bound_ms in [1000, 2000, 4000, 8000] {
            // One less than a multiple of bound + 1 falls on the bound itself.
            let most = backoff.clone().after_failure(bound_ms);
            assert_eq!(most, Duration::from_millis(bound_ms));
            assert_eq!(backoff.after_failure(0), Duration::ZERO, "full jitter starts at zero");
        }
        for _ in 0..100 {
            assert!(backoff.after_failure(u64::MAX) <= LONG);
        }
        assert_eq!(backoff.failures(), 104);
        backoff.reset();
        assert!(backoff.after_failure(u64::MAX) <= FIRST);
    }

    #[test]
    fn a_long_interval_raises_the_bound() {
        let mut backoff = Backoff::new(Duration::from_secs(3600));
        for _ in 0..30 {
            backoff.after_failure(0);
        }
        assert_eq!(backoff.after_failure(3_600_000), Duration::from_secs(3600));
    }

    #[test]
    fn what_the_collector_said_is_the_least() {
        let told = Duration::from_secs(7);
        for random in [0, 1, 999, u64::MAX] {
            let wait = Backoff::new(Duration::from_secs(60)).after_being_told(told, random);
            assert!(wait >= told && wait <= told * 2, "{wait:?}");
        }
    }

    #[test]
    fn a_refusal_waits_minutes() {
        for random in [0, u64::MAX] {
            let wait = Backoff::new(Duration::from_secs(60)).after_refusal(random);
            assert!(wait >= LONG / 2 && wait <= LONG, "{wait:?}");
        }
    }
}
