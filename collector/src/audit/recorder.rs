//! How much of what strangers do is kept: a few entries of each kind and source, and a count of the
//! rest, so that nobody can fill the audit or keep the disk busy.
//!
//! Each kind has a measure of its own, so that a flood of one drowns no other. What costs nothing to
//! cause, a made-up token or a question without the right to ask, is kept so rarely over time that
//! it takes more than a week to push anything else out of the whole chain. Beyond that the newest
//! entries of each kind are kept, so that no flood of one kind takes another kind away.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use super::Kind;
use super::Weight;
use crate::http::limits::Buckets;
use crate::http::limits::MAX_ADDRESSES;
use crate::http::limits::gain;
use crate::http::limits::source;

/// Entries of one kind that one source may cause at once.
const BURST: u32 = 10;

/// Time in which it gains one more.
const GAIN: Duration = Duration::from_secs(6);

/// Entries of one kind that all sources together may cause at once.
const ALL_BURST: u32 = 200;

/// And per second over time, of a kind that takes a valid token to cause.
const WEIGHTY_PER_SECOND: u32 = 20;

/// Time in which all sources together gain one more of a kind that is routine: two such kinds fill
/// the 200,000 entries that are kept in 11 days.
const ROUTINE_GAIN: Duration = Duration::from_secs(10);

/// What is kept and what is counted.
#[derive(Debug)]
pub struct Recorder {
    measures: BTreeMap<Kind, Measure>,
    counts: Mutex<Counts>,
}

/// How much of one kind is kept.
#[derive(Debug)]
struct Measure {
    each: Buckets<IpAddr>,
    all: Buckets<()>,
}

#[derive(Debug, Default)]
struct Counts {
    by_source: BTreeMap<Kind, BTreeMap<IpAddr, u64>>,
    all: u64,
}

impl Measure {
    fn of(kind: Kind) -> Self {
        let all_gain = match kind.weight() {
            Weight::Medium => ROUTINE_GAIN,
            Weight::High | Weight::Info => gain(WEIGHTY_PER_SECOND),
        };
        Self {
            each: Buckets::new(BURST, GAIN, MAX_ADDRESSES),
            all: Buckets::new(ALL_BURST, all_gain, 1),
        }
    }

    fn take(&self, source: &IpAddr, now: Instant) -> Taken {
        // A source that is over its own measure takes nothing of the others'.
        let taken = self.each.take(source, now).and_then(|()| self.all.take(&(), now));
        if taken.is_ok() { Taken::Kept } else { Taken::Suppressed }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    Kept,
    Suppressed,
}

impl Default for Recorder {
    fn default() -> Self {
        let measures = Kind::ALL.into_iter().map(|kind| (kind, Measure::of(kind))).collect();
        Self { measures, counts: Mutex::default() }
    }
}

impl Recorder {
    /// Whether something that `address` did is kept. If so: how many like it were not kept before.
    pub fn admit(&self, kind: Kind, address: IpAddr, now: Instant) -> Option<u64> {
        let source = source(address);
        let taken =
            self.measures.get(&kind).map_or(Taken::Kept, |measure| measure.take(&source, now));
        let mut counts = self.counts();
        let Counts { by_source, all } = &mut *counts;
        let by_source = by_source.entry(kind).or_default();
        match taken {
            Taken::Kept => return Some(by_source.remove(&source).unwrap_or_default()),
            Taken::Suppressed => *all = all.saturating_add(1),
        }
        if by_source.len() < MAX_ADDRESSES || by_source.contains_key(&source) {
            let count = by_source.entry(source).or_default();
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

    #[test]
    fn a_flood_of_routine_refusals_hides_no_mismatch() {
        let recorder = Recorder::default();
        let start = Instant::now();
        let victim = IpAddr::from([192, 0, 2, 1]);
        // More sources than are remembered, so that neither places nor measure are left.
        for number in 0..u32::try_from(MAX_ADDRESSES + 10).unwrap() {
            let address = IpAddr::from(number.to_be_bytes());
            recorder.admit(Kind::TokenRefused, address, start);
            recorder.admit(Kind::AccessDenied, address, start);
        }
        assert_eq!(recorder.admit(Kind::TokenRefused, victim, start), None);
        assert_eq!(recorder.admit(Kind::IdentityMismatch, victim, start), Some(0));
    }

    #[test]
    fn routine_refusals_of_a_week_do_not_fill_the_audit() {
        let recorder = Recorder::default();
        let start = Instant::now();
        let (mut kept, mut address) = (0_u64, 0_u32);
        // A new source each second, for a day.
        for second in 0..86_400 {
            address += 1;
            let now = start + Duration::from_secs(second);
            for kind in [Kind::AccessDenied, Kind::TokenRefused] {
                let kind = recorder.admit(kind, IpAddr::from(address.to_be_bytes()), now);
                kept += u64::from(kind.is_some());
            }
        }
        assert!(kept * 7 < 200_000, "{kept} entries in a day");
    }
}
