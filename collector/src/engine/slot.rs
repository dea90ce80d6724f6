//! When a node is heard next: its slot within the interval, from nothing but its name.
//!
//! Slots are spread by a hash of the name, so a restart of the collector moves nobody, and after
//! an outage one interval is enough to spread the fleet again. The period has jitter, so that two
//! fleets behind one network do not beat in step.

use palisade_report::Digest;
use palisade_report::NodeName;

/// The jitter on the period, as a divisor: an interval of 60 s varies by 3 s in each direction.
const JITTER: i64 = 20;

/// Milliseconds until the next slot of `node`: between almost a half and one and a half intervals.
pub(crate) fn next_in_ms(node: &NodeName, sequence: u64, interval_ms: i64, unix_ms: i64) -> u64 {
    let interval = interval_ms.max(1);
    let phase = hash(node, 0).rem_euclid(interval);
    let since = unix_ms.saturating_sub(phase).rem_euclid(interval);
    let mut until = interval.saturating_sub(since);
    if until < interval / 2 {
        until = until.saturating_add(interval);
    }
    let width = (interval / JITTER).max(1);
    let jitter = hash(node, sequence).rem_euclid(width.saturating_mul(2)).saturating_sub(width);
    u64::try_from(until.saturating_add(jitter)).unwrap_or(0)
}

/// Milliseconds until a node comes back that has to wait for its turn or for another node: `base`
/// and a spread of the same length.
pub(crate) fn back_in_ms(node: &NodeName, sequence: u64, base_ms: i64) -> u64 {
    let spread = hash(node, sequence).rem_euclid(base_ms.max(1));
    u64::try_from(base_ms.saturating_add(spread)).unwrap_or(0)
}

/// A number in `0..=i64::MAX` that any version computes alike.
fn hash(node: &NodeName, salt: u64) -> i64 {
    let digest = Digest::of(format!("{node} {salt}").as_bytes());
    let (first, _) = digest.as_bytes().split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
    i64::from_be_bytes(*first) & i64::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_even_and_nobody_comes_far_too_early_or_late() {
        let mut counts = [0_u32; 6];
        for number in 0..6000 {
            let node: NodeName = format!("node-{number}").parse().unwrap();
            let mut at = 1_000_000_000_000;
            for sequence in 0..5 {
                let wait = next_in_ms(&node, sequence, 60_000, at);
                assert!((27_000..=93_000).contains(&wait), "{wait}");
                at += i64::try_from(wait).unwrap();
            }
            counts[usize::try_from(at.rem_euclid(60_000) / 10_000).unwrap()] += 1;
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }
}
