//! Whether the fleet was frozen a while ago: what comes back after a storm is not believed at once.

use palisade_plan::fleet::Fleet;
use palisade_plan::plan;
use palisade_plan::policy::Policy;
use palisade_report::Moment;

use super::coordinator::Coordinator;

/// What one term knows of storms.
#[derive(Debug, Default)]
pub(super) struct Storm {
    /// Whether this term has heard most of the fleet.
    was_calm: bool,
    frozen_at: Option<Moment>,
}

impl Storm {
    /// The last moment at which the fleet was frozen, if this is not one of a beginning: whoever has
    /// just come to lead has heard nobody yet, and silence means nothing until agents had their time.
    pub(super) fn look(&mut self, is_frozen: bool, term_secs: i64, now: Moment) -> Option<Moment> {
        let has_listened = self.was_calm || term_secs > plan::AGENT_SILENT_SECS;
        if is_frozen && has_listened {
            self.frozen_at = Some(now);
        }
        self.was_calm |= !is_frozen;
        // The clock of a term may be set back.
        self.frozen_at = self.frozen_at.map(|at| at.min(now));
        self.frozen_at
    }
}

impl Coordinator {
    /// Says when the fleet was frozen last.
    pub(super) fn recall_storm(&mut self, fleet: &mut Fleet, policy: &Policy, now: Moment) {
        let term_secs = now.since(self.clock.began_at());
        fleet.frozen_at = self.storm.look(plan::is_frozen(fleet, policy, now), term_secs, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_unix(1_800_000_000);

    #[test]
    fn silence_at_the_beginning_of_a_term_is_no_storm_and_later_it_is() {
        let mut storm = Storm::default();
        assert_eq!(storm.look(true, 3, NOW), None);
        assert_eq!(storm.look(false, 60, NOW.plus(57)), None);
        assert_eq!(storm.look(true, 90, NOW.plus(87)), Some(NOW.plus(87)));
        assert_eq!(storm.look(false, 95, NOW.plus(92)), Some(NOW.plus(87)));
        assert_eq!(storm.look(false, 1, NOW), Some(NOW), "after the clock was set back");
        let mut storm = Storm::default();
        assert_eq!(storm.look(true, plan::AGENT_SILENT_SECS + 1, NOW), Some(NOW));
    }
}
