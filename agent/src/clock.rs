//! The only place of the agent where clocks are read; everything else is given a moment.

use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use nix::time::ClockId;
use palisade_report::Moment;
use palisade_report::Sequence;

/// The wall clock, in whole seconds. A clock before 1970 reads as 1970.
#[must_use]
pub fn now() -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment::from_unix(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// The wall clock, in ns of Unix time: what file systems stamp changes with.
#[must_use]
pub fn now_ns() -> i128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i128::try_from(since.as_nanos()).unwrap_or(i128::MAX)
}

/// Time since this boot, sleep included. Source: `CLOCK_BOOTTIME`, clock_gettime(2).
#[must_use]
pub fn since_boot() -> Duration {
    // The call fails only for a clock that the kernel lacks; this one is older than openat2.
    nix::time::clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}

/// Sequence numbers that grow with every use, also over restarts of the agent within one boot.
#[derive(Debug, Default)]
pub struct Sequences {
    last: u64,
}

impl Sequences {
    /// The next number at `since_boot`: its milliseconds, or one more than the last.
    #[must_use]
    pub fn next(&mut self, since_boot: Duration) -> Sequence {
        let milliseconds = u64::try_from(since_boot.as_millis()).unwrap_or(u64::MAX);
        self.last = milliseconds.max(self.last.saturating_add(1));
        Sequence(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_grow_even_when_the_clock_stands() {
        let mut sequences = Sequences::default();
        let at = Duration::from_millis(5000);
        assert_eq!(sequences.next(at), Sequence(5000));
        assert_eq!(sequences.next(at), Sequence(5001));
        assert_eq!(sequences.next(Duration::from_millis(6000)), Sequence(6000));
    }

    #[test]
    fn the_boot_clock_runs() {
        assert!(since_boot() > Duration::ZERO);
    }
}
