//! How long reboots of a pool take, from those that went well.

use crate::fleet::Finished;
use crate::fleet::Past;
use crate::policy::Pool;
use crate::seen::Usual;

/// Reboots that are looked at, newest first: enough for a 99th percentile, and few enough that an
/// old disk that was replaced is soon forgotten.
const MAX_SAMPLES: usize = 200;

/// Below this many the policy's assumption is better than a percentile.
const MIN_SAMPLES: usize = 5;

/// What was learned of a pool; absent from fewer than five reboots.
#[must_use]
pub fn usual(past: &Past, pool: &str) -> Usual {
    let Some(done) = past.done.get(pool) else { return Usual::default() };
    let newest: Vec<&Finished> = done.iter().rev().take(MAX_SAMPLES).collect();
    if newest.len() < MIN_SAMPLES {
        return Usual::default();
    }
    let mut drains: Vec<u32> = newest.iter().map(|finished| finished.drain_secs).collect();
    let mut reboots: Vec<u32> = newest.iter().map(|finished| finished.reboot_secs).collect();
    drains.sort_unstable();
    reboots.sort_unstable();
    Usual {
        drain_p95: percentile(&drains, 95),
        reboot_p95: percentile(&reboots, 95),
        reboot_p99: percentile(&reboots, 99),
    }
}

/// The middle of the times of `done`, if there are enough to speak of one.
pub(super) fn median_reboot(done: &[&Finished]) -> Option<u32> {
    let mut reboots: Vec<u32> = done.iter().map(|finished| finished.reboot_secs).collect();
    reboots.sort_unstable();
    if reboots.len() < MIN_SAMPLES { None } else { percentile(&reboots, 50) }
}

/// The nearest-rank percentile of sorted numbers.
fn percentile(sorted: &[u32], percent: usize) -> Option<u32> {
    let rank = sorted.len().saturating_mul(percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

/// How long the phases of one reboot take, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Takes {
    pub(super) drain_secs: i64,
    pub(super) reboot_secs: i64,
    pub(super) soak_secs: i64,
}

impl Takes {
    /// As learned, else as the policy assumes.
    pub(super) fn of(pool: &Pool, past: &Past) -> Self {
        let usual = usual(past, &pool.name);
        Self {
            drain_secs: usual.drain_p95.map_or(pool.assumed.drain_secs, i64::from),
            reboot_secs: usual.reboot_p95.map_or(pool.assumed.reboot_secs, i64::from),
            soak_secs: pool.soak_secs,
        }
    }

    /// From the claim to the uncordoned node.
    pub(super) const fn whole_secs(self) -> i64 {
        self.drain_secs.saturating_add(self.after_drain_secs())
    }

    /// From the grant to the uncordoned node.
    pub(super) const fn after_drain_secs(self) -> i64 {
        self.reboot_secs.saturating_add(self.soak_secs)
    }
}
