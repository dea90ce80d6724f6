//! How long to wait before a message is sent again.

use std::time::Duration;

/// The longest wait before the second attempt: long enough for a restart of a small service, short
/// enough that one lost packet is not noticed.
pub const BASE: Duration = Duration::from_secs(1);

/// The longest wait of all: a receiver that comes back is noticed within five minutes.
pub const CAP: Duration = Duration::from_secs(300);

/// After this long a message is put aside: whoever should have read it has to be told otherwise, and
/// the failure itself has been an alert for most of a day.
pub const GIVE_UP: Duration = Duration::from_secs(24 * 3600);

/// The wait after `attempt` failed attempts (1: the first has failed).
///
/// Exponential from [`BASE`] to [`CAP`] with full jitter, so that many collectors or messages that
/// failed together do not come back together. `chance` is any random number. A receiver that said how
/// long it wants to be left alone is left alone for that long, and the jitter is added.
#[must_use]
pub fn delay(attempt: u32, retry_after: Option<Duration>, chance: u64) -> Duration {
    let doublings = attempt.saturating_sub(1).min(16);
    let most = BASE.saturating_mul(1 << doublings).min(CAP);
    let most_ms = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
    // A tenth of a second at least: full jitter may come out as nothing.
    let jitter = Duration::from_millis((chance % most_ms.saturating_add(1)).max(100));
    match retry_after {
        None => jitter,
        Some(after) => after.saturating_add(jitter.min(after / 2)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_longest_wait_doubles_up_to_the_cap() {
        let longest = |attempt| delay(attempt, None, most_of(attempt)).as_secs();
        assert_eq!(
            [1, 2, 3, 4, 9, 10, 100, u32::MAX].map(longest),
            [1, 2, 4, 8, 256, 300, 300, 300]
        );
        assert_eq!(delay(5, None, 0), Duration::from_millis(100));
    }

    /// The chance that gives the longest wait.
    fn most_of(attempt: u32) -> u64 {
        (1000 << attempt.saturating_sub(1).min(16)).min(300_000)
    }

    proptest! {
        #[test]
        fn no_wait_is_longer_than_the_cap_or_shorter_than_asked(
            attempt: u32, chance: u64, secs in 1_u64..=3600,
        ) {
            let free = delay(attempt, None, chance);
            prop_assert!(free >= Duration::from_millis(100) && free <= CAP);
            let after = Duration::from_secs(secs);
            let asked = delay(attempt, Some(after), chance);
            prop_assert!(asked >= after && asked <= after + after / 2, "{asked:?}");
        }
    }
}
