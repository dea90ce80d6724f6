//! Chance that can be repeated: every draw of a simulation comes from one seed.
//!
//! The generator is SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
//! Generators", OOPSLA 2014): one addition and one mixing function, equidistributed over 64 bits. It
//! decides what happens in a world that exists only in memory; nothing secret is drawn from it.

/// A seeded source of numbers.
#[derive(Clone, Debug)]
pub(crate) struct Chance {
    state: u64,
}

/// The odd constant of the paper: 2^64 divided by the golden ratio.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

impl Chance {
    /// The sequence of this seed.
    pub(crate) const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// A sequence of its own for one purpose, so that more draws for one do not shift the others.
    pub(crate) fn split(&mut self) -> Self {
        Self { state: self.next() }
    }

    /// The next 64 bits.
    pub(crate) const fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GAMMA);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `end` - 1; 0 for an empty range. The bias of the remainder is below 2^-40 for
    /// the small ranges asked for here.
    pub(crate) const fn below(&mut self, end: u64) -> u64 {
        match self.next().checked_rem(end) {
            Some(number) => number,
            None => 0,
        }
    }

    /// A number of seconds from `from` to `to`, both included.
    pub(crate) fn secs(&mut self, from: i64, to: i64) -> i64 {
        let width = u64::try_from(to.saturating_sub(from)).unwrap_or(0);
        from.saturating_add_unsigned(self.below(width.saturating_add(1)))
    }

    /// True in `part` of a thousand draws.
    pub(crate) const fn in_thousand(&mut self, part: u64) -> bool {
        self.below(1000) < part
    }

    /// Sixteen bytes, for ids.
    pub(crate) const fn bytes(&mut self) -> [u8; 16] {
        let whole = ((self.next() as u128) << 64) | self.next() as u128;
        whole.to_be_bytes()
    }

    /// One of `these`; `None` if there is none.
    pub(crate) fn pick<'a, T>(&mut self, these: &'a [T]) -> Option<&'a T> {
        let at = self.below(u64::try_from(these.len()).unwrap_or(0));
        these.get(usize::try_from(at).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_that_of_the_reference_implementation() {
        let mut chance = Chance::new(1_234_567);
        let drawn: Vec<u64> = (0..3).map(|_| chance.next()).collect();
        assert_eq!(
            drawn,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn draws_stay_in_their_range() {
        let mut chance = Chance::new(7);
        for _ in 0..1000 {
            assert!((3..=5).contains(&chance.secs(3, 5)));
            assert!(chance.below(10) < 10);
        }
        assert_eq!(chance.below(0), 0);
        assert_eq!(chance.pick::<u8>(&[]), None);
    }
}
