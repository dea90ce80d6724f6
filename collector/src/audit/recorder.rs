//! How much of what strangers do is kept: a few entries of each kind and source, and a count of the
//! rest, so that nobody can fill the audit or keep the disk busy.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use super::Kind;
use crate::http::limits::Buckets;
use crate::http::limits::MAX_ADDRESSES;
use crate::http::limits::gain;
use crate::http::limits::source;

/// Entries of one kind that one source may cause at once.
const BURST: u32 = 10;

/// Time in which it gains one more.
const GAIN: Duration = Duration::from_secs(6);

/// Entries per second that all sources together may cause, over time.
const ALL_PER_SECOND: u32 = 20;

/// And at once.
const ALL_BURST: u32 = 200;

/// What is kept and what is counted.
#[derive(Debug)]
pub struct Recorder {
    each: Buckets<(IpAddr, Kind)>,
    all: Buckets<()>,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    by_source: BTreeMap<(IpAddr, Kind), u64>,
    all: u64,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            each: Buckets::new(BURST, GAIN, MAX_ADDRESSES),
            all: Buckets::new(ALL_BURST, gain(ALL_PER_SECOND), 1),
            counts: Mutex::default(),
        }
    }
}

impl Recorder {
    /// Whether something that `address` did is kept. If so: how many like it were not kept before.
    pub fn admit(&self, kind: Kind, address: IpAddr, now: Instant) -> Option<u64> {
        let key = (source(address), kind);
        let kept = self.each.take(&key, now).is_ok() && self.all.take(&(), now).is_ok();
        let mut counts = self.counts();
        if kept {
            return Some(counts.by_source.remove(&key).unwrap_or_default());
        }
        counts.all = counts.all.saturating_add(1);
        if counts.by_source.len() < MAX_ADDRESSES || counts.by_source.contains_key(&key) {
            let count = counts.by_source.entry(key).or_default();
            *count = count.saturating_add(1);
        }
        None
    }

    /// What was not kept since the start.
    #[must_use]
    pub fn suppressed(&self) -> u64 {
        self.counts().all
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_repeats_itself_is_counted_and_others_are_still_kept() {
        let recorder = Recorder::default();
        let [a, b]: [IpAddr; 2] = ["10.0.0.1", "10.0.0.2"].map(|it| it.parse().unwrap());
        let start = Instant::now();
        for _ in 0..BURST {
            assert_eq!(recorder.admit(Kind::TokenRefused, a, start), Some(0));
        }
        for _ in 0..7 {
            assert_eq!(recorder.admit(Kind::TokenRefused, a, start), None);
        }
        assert_eq!(recorder.admit(Kind::IdentityMismatch, a, start), Some(0), "another kind");
        assert_eq!(recorder.admit(Kind::TokenRefused, b, start), Some(0), "another source");
        assert_eq!(recorder.suppressed(), 7);
        assert_eq!(recorder.admit(Kind::TokenRefused, a, start + GAIN), Some(7));
        assert_eq!(recorder.admit(Kind::TokenRefused, a, start + 2 * GAIN), Some(0));
    }

    #[test]
    fn all_sources_together_are_bounded_too() {
        let recorder = Recorder::default();
        let start = Instant::now();
        let mut kept = 0;
        for number in 0..1000_u32 {
            let address = IpAddr::from(number.to_be_bytes());
            kept += u32::from(recorder.admit(Kind::TokenRefused, address, start).is_some());
        }
        assert_eq!(kept, ALL_BURST);
    }
}
