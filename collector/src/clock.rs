//! The collector's clock, read once a turn and handed down as a value.
//!
//! Two hands: wall time, for what people see and what must outlive a restart, and monotonic time,
//! for waiting, so that a stepped clock neither silences the fleet nor frees what is held. Beside them
//! the machine's own time since its boot, by which permissions end.

use std::sync::atomic::AtomicI64;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use palisade_report::Moment;

use crate::kube::fence::BootClock;
use crate::kube::fence::MachineClock;

/// Where the shell reads the time.
pub trait Clock: BootClock + std::fmt::Debug + Send + Sync + 'static {
    /// Wall time: milliseconds of Unix time.
    fn unix_ms(&self) -> i64;

    /// Wall time, whole seconds.
    fn now(&self) -> Moment {
        Moment::from_unix(self.unix_ms().div_euclid(1000))
    }

    /// Milliseconds since some fixed moment of this process; never goes back.
    fn elapsed_ms(&self) -> u64;
}

/// The machine's own clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock whose monotonic hand starts at 0 now.
    #[must_use]
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn unix_ms(&self) -> i64 {
        // Before 1970 the machine has no clock to speak of; 0 is as good as any.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl BootClock for SystemClock {
    fn boot_ms(&self) -> i64 {
        MachineClock.boot_ms()
    }
}

/// A clock that stands still until it is moved; for tests and simulations.
#[derive(Debug)]
pub struct ManualClock {
    unix: AtomicI64,
    elapsed_ms: AtomicU64,
}

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub const fn at(now: Moment) -> Self {
        Self { unix: AtomicI64::new(now.unix()), elapsed_ms: AtomicU64::new(0) }
    }

    /// Moves both hands forward.
    pub fn advance(&self, secs: u32) {
        self.unix.fetch_add(i64::from(secs), Ordering::SeqCst);
        self.elapsed_ms.fetch_add(u64::from(secs).saturating_mul(1000), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn unix_ms(&self) -> i64 {
        self.unix.load(Ordering::SeqCst).saturating_mul(1000)
    }

    fn elapsed_ms(&self) -> u64 {
        self.elapsed_ms.load(Ordering::SeqCst)
    }
}

impl BootClock for ManualClock {
    fn boot_ms(&self) -> i64 {
        i64::try_from(self.elapsed_ms()).unwrap_or(i64::MAX)
    }
}
