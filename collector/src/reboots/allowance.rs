//! How much one look asks before it goes on: so many nodes, so much time. What is left keeps its turn,
//! and what is under way is not kept waiting for it.

use palisade_report::Moment;

/// Questions that may still be asked.
#[derive(Debug)]
pub(super) struct Allowance {
    left: usize,
    until: Moment,
}

impl Allowance {
    /// So many questions, none of which begins later than `secs` from now.
    pub(super) const fn of(questions: usize, secs: i64, now: Moment) -> Self {
        Self { left: questions, until: now.plus(secs) }
    }

    /// Whether another question may be asked now; it is taken for asked.
    pub(super) fn takes(&mut self, now: Moment) -> bool {
        let may = self.left > 0 && now < self.until;
        if may {
            self.left = self.left.saturating_sub(1);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_unix(1_800_000_000);

    #[test]
    fn many_quick_questions_end_by_number_and_slow_ones_by_time() {
        let mut allowance = Allowance::of(3, 5, NOW);
        let quick: Vec<bool> = (0..5).map(|_| allowance.takes(NOW)).collect();
        assert_eq!(quick, [true, true, true, false, false]);
        let mut allowance = Allowance::of(100, 5, NOW);
        let slow: Vec<bool> = [0, 4, 5, 6].map(|at| allowance.takes(NOW.plus(at))).to_vec();
        assert_eq!(slow, [true, true, false, false]);
    }
}
