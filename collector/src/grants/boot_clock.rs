//! Whether the boot clock that a node names goes like ours. Pure.
//!
//! A grant ends a minute after the moment that its heartbeat names, on the node's own clock. Whoever
//! lies about that moment keeps a grant that can still be used when the collector counts it as void. No
//! clock is shared, but both run: what a node names may come late, and may not run ahead.
//!
//! ```text
//! ours:   ──r1──────────r2──────>   r2 - r1
//! node's: ──b1──────────b2──────>   b2 - b1   ahead by more than delay and drift explain: no grant
//! ```
//!
//! An agent that names the same wrong offset from its first word of a boot on, or lets it grow by
//! seconds an hour, is not found out this way. It gains nothing that it could not have by asking for a reboot later: its node alone goes down.

use palisade_report::BootId;

/// How far a node's clock may seem ahead: the first heartbeat may have been under way for that long.
/// Beyond [`palisade_report::grant::MAX_AHEAD`], this and [`MAX_DRIFT_MS`] a grant can start nothing
/// more; the planner's margin is wider, which a test holds.
pub(crate) const MAX_LEAD_MS: i64 = 5_000;

/// How late a heartbeat may be. A later one is no basis: it says that time was lost somewhere.
pub(crate) const MAX_LAG_MS: i64 = 30_000;

/// One thousandth: several times what the worst crystals differ.
const DRIFT_DIVISOR: i64 = 1_000;

/// What is compared with is at most two of these old, so that drift does not add up to a lie.
const WINDOW_MS: i64 = 3_600_000;

/// The drift of two windows. An agent that was silent for longer than that may have to settle again.
pub(crate) const MAX_DRIFT_MS: i64 = 2 * WINDOW_MS / DRIFT_DIVISOR;

/// How long clocks that once disagreed must agree before they are believed again.
pub(crate) const SETTLED_AFTER_MS: i64 = 600_000;

/// The clock of one boot of one node, as its heartbeats show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BootClock {
    boot: BootId,
    /// Ours minus the node's: the least of the window before, which was under way for the shortest
    /// time.
    offset_ms: i64,
    /// When that window began, on ours.
    since_ms: i64,
    /// The least of this window.
    least_ms: i64,
    /// When this window began.
    window_ms: i64,
    /// Before that moment nothing is believed.
    settled_ms: i64,
}

/// What a heartbeat's clock says together with those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accord {
    /// It goes like ours.
    Agrees,
    /// It does not, or did not a short while ago.
    Disagrees,
    /// There is nothing to compare it with yet.
    First,
}

/// Takes a heartbeat of `boot` that names `boottime_ms` and is here at `now_ms`.
pub(crate) fn note(
    clock: &mut Option<BootClock>,
    boot: &BootId,
    boottime_ms: u64,
    now_ms: i64,
) -> Accord {
    let Ok(boottime_ms) = i64::try_from(boottime_ms) else { return Accord::Disagrees };
    let offset_ms = now_ms.saturating_sub(boottime_ms);
    let begin = |settled_ms| BootClock {
        boot: boot.clone(),
        offset_ms,
        since_ms: now_ms,
        least_ms: offset_ms,
        window_ms: now_ms,
        settled_ms,
    };
    let known = match clock {
        Some(known) if known.boot == *boot => known,
        Some(_) | None => {
            *clock = Some(begin(now_ms));
            return Accord::First;
        }
    };
    let drift_ms = (now_ms.saturating_sub(known.since_ms) / DRIFT_DIVISOR).min(MAX_DRIFT_MS);
    let lead_ms = known.offset_ms.saturating_sub(offset_ms);
    let may_lead = MAX_LEAD_MS.saturating_add(drift_ms);
    let may_lag = MAX_LAG_MS.saturating_add(drift_ms);
    if lead_ms > may_lead || lead_ms.saturating_neg() > may_lag {
        *known = begin(now_ms.saturating_add(SETTLED_AFTER_MS));
        return Accord::Disagrees;
    }
    if now_ms.saturating_sub(known.window_ms) >= WINDOW_MS {
        (known.offset_ms, known.since_ms) = (known.least_ms, known.window_ms);
        (known.least_ms, known.window_ms) = (offset_ms, now_ms);
    }
    known.least_ms = known.least_ms.min(offset_ms);
    if now_ms < known.settled_ms { Accord::Disagrees } else { Accord::Agrees }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::issue::not_after;
    use super::*;

    fn boot(last: char) -> BootId {
        format!("0f9b2a52-91c5-4d9d-9e6c-4e4a1f4f3d1{last}").parse().unwrap()
    }

    #[test]
    fn the_first_word_of_a_boot_is_compared_with_nothing() {
        let mut clock = None;
        assert_eq!(note(&mut clock, &boot('1'), 5_000, 100_000), Accord::First);
        assert_eq!(note(&mut clock, &boot('1'), 65_000, 160_500), Accord::Agrees);
        assert_eq!(note(&mut clock, &boot('2'), 1_000, 200_000), Accord::First);
    }

    #[test]
    fn a_clock_that_jumps_an_hour_is_not_believed_until_it_has_gone_well_for_long() {
        for jump in [3_600_000_i64, -3_600_000, 6_000, -31_000] {
            let mut clock = None;
            let named = |at: i64| u64::try_from(10_000_000 + at + jump).unwrap();
            assert_eq!(note(&mut clock, &boot('1'), 10_000_000, 0), Accord::First);
            assert_eq!(
                note(&mut clock, &boot('1'), named(1_000), 1_000),
                Accord::Disagrees,
                "{jump}"
            );
            for at in [61_000, 300_000, 1_000 + SETTLED_AFTER_MS - 1] {
                assert_eq!(
                    note(&mut clock, &boot('1'), named(at), at),
                    Accord::Disagrees,
                    "{jump}"
                );
            }
            let at = 1_000 + SETTLED_AFTER_MS;
            assert_eq!(note(&mut clock, &boot('1'), named(at), at), Accord::Agrees, "{jump}");
        }
        assert_eq!(note(&mut None, &boot('1'), u64::MAX, 0), Accord::Disagrees);
    }

    #[test]
    fn what_may_be_gained_is_within_the_margin_of_the_planner() {
        let margin_ms = palisade_plan::step::MARGIN_SECS * 1000;
        assert!(MAX_LEAD_MS + MAX_DRIFT_MS < margin_ms, "{}", MAX_LEAD_MS + MAX_DRIFT_MS);
    }

    #[test]
    fn a_crystal_that_is_off_agrees_for_ever_and_a_jump_after_a_month_does_not() {
        let mut clock = None;
        let named = |minute: i64| u64::try_from(minute * 60_018).unwrap();
        note(&mut clock, &boot('1'), named(0), 0);
        for minute in 1..=30 * 1440 {
            let accord = note(&mut clock, &boot('1'), named(minute), minute * 60_000);
            assert_eq!(accord, Accord::Agrees, "minute {minute}");
        }
        let minute = 30 * 1440 + 1;
        let ahead = named(minute) + 14_000;
        let accord = note(&mut clock, &boot('1'), ahead, minute * 60_000);
        assert_eq!(accord, Accord::Disagrees);
    }

    #[test]
    fn steps_that_are_small_enough_each_do_not_add_up() {
        let mut clock = None;
        note(&mut clock, &boot('1'), 1_000_000, 0);
        let accords: Vec<_> = (1..=60_i64)
            .map(|minute| {
                let named = 1_000_000 + minute * (60_000 + 1_000);
                note(&mut clock, &boot('1'), u64::try_from(named).unwrap(), minute * 60_000)
            })
            .collect();
        assert!(accords.contains(&Accord::Disagrees), "{accords:?}");
    }

    proptest! {
        /// An honest clock, whatever its offset, drift and delays: never later than counted on.
        #[test]
        fn a_grant_of_an_honest_node_ends_when_the_collector_counts_on_it(
            up_ms in 0_u64..1 << 45,
            ppm in -300_i64..300,
            beats in proptest::collection::vec((5_000_i64..120_000, 0_i64..5_000), 1..200),
        ) {
            let mut clock = None;
            let mut sent = 0_i64;
            for (wait, delay) in beats {
                sent += wait;
                let boottime = up_ms.checked_add_signed(sent + sent * ppm / 1_000_000).unwrap();
                let accord = note(&mut clock, &boot('1'), boottime, sent + delay);
                prop_assert_ne!(accord, Accord::Disagrees);
                let end = not_after(boottime).unwrap().as_millis();
                // It was sent before it arrived, so its minute is over before ours.
                prop_assert_eq!(end, u128::from(boottime) + 60_000);
            }
        }

        /// Whatever a node names: if it is believed, its grant ends at most lead and drift later.
        #[test]
        fn a_lie_that_is_believed_gains_seconds(
            up_ms in 10_000_000_u64..1 << 45,
            beats in proptest::collection::vec((5_000_i64..30_000, -60_000_i64..60_000), 1..100),
        ) {
            let mut clock = None;
            let mut now = 0_i64;
            // The first word is the truth, and all of this is within one window.
            note(&mut clock, &boot('1'), up_ms, 0);
            let mut since_lie = i64::MIN;
            for (wait, lie) in beats {
                now += wait;
                let truth = up_ms.checked_add_signed(now).unwrap();
                let named = truth.checked_add_signed(lie).unwrap();
                match note(&mut clock, &boot('1'), named, now) {
                    Accord::Agrees if since_lie == i64::MIN => {
                        prop_assert!(lie <= MAX_LEAD_MS + now / DRIFT_DIVISOR);
                    }
                    Accord::Agrees => prop_assert!(now - since_lie >= SETTLED_AFTER_MS),
                    Accord::Disagrees if since_lie == i64::MIN => since_lie = now,
                    Accord::Disagrees | Accord::First => {}
                }
            }
        }
    }
}
