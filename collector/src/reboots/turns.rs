//! Who is next where one look does not reach everybody: nobody is starved by those before. Pure.

use std::collections::BTreeMap;

use palisade_report::Moment;
use palisade_report::NodeUid;

/// Seconds until somebody who had a turn has another one. What the API server refuses once it refuses
/// again.
const AGAIN_SECS: i64 = 60;

/// These, in order, from behind `last` on: whoever was last at the look before is last again.
pub(super) fn behind<'a>(
    all: impl IntoIterator<Item = &'a NodeUid>,
    last: Option<&NodeUid>,
) -> Vec<NodeUid> {
    let mut all: Vec<NodeUid> = all.into_iter().cloned().collect();
    let next = all.partition_point(|uid| last.is_some_and(|it| uid <= it));
    all.rotate_left(next);
    all
}

/// When those who are served one at a time had their last turn.
#[derive(Debug, Default)]
pub(super) struct Turns(BTreeMap<NodeUid, Moment>);

impl Turns {
    /// Whose turn it is of those who wait: whose last one is longest ago, and never if there was none.
    /// It is had by that. `None` if all had one just now.
    pub(super) fn next<'a>(
        &mut self,
        waiting: impl IntoIterator<Item = &'a NodeUid>,
        now: Moment,
    ) -> Option<&'a NodeUid> {
        let next = waiting.into_iter().min_by_key(|uid| self.0.get(*uid))?;
        if self.0.get(next).is_some_and(|at| now.since(*at) < AGAIN_SECS) {
            return None;
        }
        self.0.insert(next.clone(), now);
        Some(next)
    }

    /// Forgets who waits no more.
    pub(super) fn retain(&mut self, waits: impl Fn(&NodeUid) -> bool) {
        self.0.retain(|uid, _| waits(uid));
    }

    /// Forgets everything: the clock is another one.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_unix(1_800_000_000);

    fn uids(names: &[&str]) -> Vec<NodeUid> {
        names.iter().map(|it| it.parse().unwrap()).collect()
    }

    #[test]
    fn whoever_was_last_is_last_again_whether_it_is_still_there_or_not() {
        let all = uids(&["a", "c", "e"]);
        for (last, expected) in [
            (None, ["a", "c", "e"]),
            (Some("a"), ["c", "e", "a"]),
            (Some("b"), ["c", "e", "a"]),
            (Some("e"), ["a", "c", "e"]),
            (Some("f"), ["a", "c", "e"]),
        ] {
            let last: Option<NodeUid> = last.map(|it| it.parse().unwrap());
            assert_eq!(behind(&all, last.as_ref()), uids(&expected), "{last:?}");
        }
    }

    #[test]
    fn one_that_comes_back_each_time_keeps_nobody_from_a_turn() {
        let (all, mut turns) = (uids(&["a", "b", "c"]), Turns::default());
        let had: Vec<_> = (0..4).map(|at| turns.next(&all, NOW.plus(at)).cloned()).collect();
        let [a, b, c] = ["a", "b", "c"].map(|it| it.parse().ok());
        assert_eq!(had, [a.clone(), b, c, None]);
        assert_eq!(turns.next(&all, NOW.plus(AGAIN_SECS)).cloned(), a);
        turns.retain(|_| false);
        assert_eq!(turns.next(&all, NOW.plus(AGAIN_SECS)).cloned(), a, "it came anew");
    }
}
