//! The clock of a term: wall time at its beginning, and from there on the machine's own time since
//! its boot. A stepped wall clock opens no window early and ends no wait before its time.
//!
//! While the two differ nothing new begins. Only while no permission may be in use, and the wall clock has
//! stayed elsewhere for a while, is it set anew: that is a clock that was wrong when the term began.

use std::sync::Arc;

use palisade_report::Moment;

use crate::clock::Clock;
use crate::kube::fence::BootClock;

/// Beyond it the wall clock was stepped, not slewed.
const STEP_SECS: i64 = 30;

/// How long it must stay elsewhere before it is believed.
const BELIEVED_AFTER_SECS: i64 = 900;

/// The clock of a term.
pub(super) struct TermClock {
    wall: Arc<dyn Clock>,
    boot: Arc<dyn BootClock>,
    began_at: Moment,
    began_ms: i64,
    elsewhere_since: Option<Moment>,
}

impl TermClock {
    /// A clock whose term begins now.
    pub(super) fn start(wall: Arc<dyn Clock>, boot: Arc<dyn BootClock>) -> Self {
        let (began_at, began_ms) = (wall.now(), boot.boot_ms());
        Self { wall, boot, began_at, began_ms, elsewhere_since: None }
    }

    /// Now.
    pub(super) fn now(&self) -> Moment {
        self.at(self.boot.boot_ms())
    }

    /// The moment of this clock at which the machine was so many milliseconds old: what happened
    /// elsewhere in this process is comparable with [`Self::now`] only so.
    pub(super) fn at(&self, boot_ms: i64) -> Moment {
        let elapsed_ms = boot_ms.saturating_sub(self.began_ms);
        self.began_at.plus(elapsed_ms.div_euclid(1000))
    }

    /// Since when the term runs.
    pub(super) const fn began_at(&self) -> Moment {
        self.began_at
    }

    /// How far the wall clock is from this one, if too far to begin anything: which of the two shows
    /// whether a window is open nobody knows yet.
    pub(super) fn is_off_by(&self) -> Option<i64> {
        let secs = self.wall.now().since(self.now());
        (secs.abs() > STEP_SECS).then_some(secs)
    }

    /// Follows a wall clock that has stayed elsewhere; to be called while no permission may be in use.
    /// Whether it does: what was dated before is not comparable with what follows.
    pub(super) fn follow_wall(&mut self) -> bool {
        let (now, wall) = (self.now(), self.wall.now());
        if wall.since(now).abs() <= STEP_SECS {
            self.elsewhere_since = None;
            return false;
        }
        let since = *self.elsewhere_since.get_or_insert(now);
        if now.since(since) < BELIEVED_AFTER_SECS {
            return false;
        }
        tracing::warn!(from = %now, to = %wall, "reboots go by another wall clock from now on");
        (self.began_at, self.began_ms) = (wall, self.boot.boot_ms());
        self.elsewhere_since = None;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicI64;
    use std::sync::atomic::Ordering;

    use super::*;

    #[derive(Debug, Default)]
    struct Hands {
        unix_ms: AtomicI64,
        boot_ms: AtomicI64,
    }

    impl Clock for Hands {
        fn unix_ms(&self) -> i64 {
            self.unix_ms.load(Ordering::SeqCst)
        }

        fn elapsed_ms(&self) -> u64 {
            0
        }
    }

    impl BootClock for Hands {
        fn boot_ms(&self) -> i64 {
            self.boot_ms.load(Ordering::SeqCst)
        }
    }

    #[test]
    fn a_stepped_wall_clock_moves_nothing_until_it_is_believed() {
        let hands = Arc::new(Hands::default());
        hands.unix_ms.store(1_000_000, Ordering::SeqCst);
        let (wall, boot) = (Arc::clone(&hands) as Arc<dyn Clock>, Arc::clone(&hands) as _);
        let mut clock = TermClock::start(wall, boot);
        hands.boot_ms.store(5_000, Ordering::SeqCst);
        hands.unix_ms.store(1_000_000 + 3_600_000, Ordering::SeqCst);
        clock.follow_wall();
        assert_eq!(clock.now(), Moment::from_unix(1_005));
        hands.boot_ms.store(5_000 + BELIEVED_AFTER_SECS * 1000, Ordering::SeqCst);
        clock.follow_wall();
        assert_eq!(clock.now(), Moment::from_unix(4_600));
    }

    #[test]
    fn what_was_heard_stays_before_now_whatever_the_wall_clock_does() {
        let hands = Arc::new(Hands::default());
        hands.boot_ms.store(7_000, Ordering::SeqCst);
        hands.unix_ms.store(1_000_000, Ordering::SeqCst);
        let (wall, boot) = (Arc::clone(&hands) as Arc<dyn Clock>, Arc::clone(&hands) as _);
        let clock = TermClock::start(wall, boot);
        assert_eq!(clock.is_off_by(), None);
        hands.boot_ms.store(17_000, Ordering::SeqCst);
        hands.unix_ms.store(1_010_000 + 3_600_000, Ordering::SeqCst);
        assert_eq!(clock.is_off_by(), Some(3_600));
        assert_eq!(clock.at(17_000), clock.now());
        assert_eq!(clock.at(12_999), Moment::from_unix(1_005), "never later than it was");
        assert_eq!(clock.at(2_000), Moment::from_unix(995), "heard before the term");
    }

    #[test]
    fn a_clock_that_was_only_away_for_a_moment_is_not_followed() {
        let hands = Arc::new(Hands::default());
        let (wall, boot) = (Arc::clone(&hands) as Arc<dyn Clock>, Arc::clone(&hands) as _);
        let mut clock = TermClock::start(wall, boot);
        hands.unix_ms.store(3_600_000, Ordering::SeqCst);
        clock.follow_wall();
        hands.boot_ms.store(10_000, Ordering::SeqCst);
        hands.unix_ms.store(10_000, Ordering::SeqCst);
        clock.follow_wall();
        hands.boot_ms.store(BELIEVED_AFTER_SECS * 1000 + 1, Ordering::SeqCst);
        hands.unix_ms.store(7_200_000, Ordering::SeqCst);
        clock.follow_wall();
        assert_eq!(clock.now(), Moment::from_unix(BELIEVED_AFTER_SECS));
    }
}
