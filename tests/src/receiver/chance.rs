//! Numbers that look random and are the same in every run (SplitMix64).

/// A source of them.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// From this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next, below `bound`; 0 if that is 0.
    pub const fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut it = self.0;
        it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let number = it ^ (it >> 31);
        if bound == 0 { 0 } else { number % bound }
    }

    /// One of these by weight; `None` if all weights are 0.
    pub fn pick<'a, T>(&mut self, weighted: &'a [(u32, T)]) -> Option<&'a T> {
        let all: u64 = weighted.iter().map(|(weight, _)| u64::from(*weight)).sum();
        let mut left = self.below(all);
        weighted.iter().find_map(|(weight, it)| match left.checked_sub(u64::from(*weight)) {
            Some(rest) => {
                left = rest;
                None
            }
            None => Some(it),
        })
    }
}
