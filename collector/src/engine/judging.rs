//! The judge as the engine sees it: groups of rules by the sections that they read.

use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::SectionName;
use palisade_rules::Facts;
use palisade_rules::Judgement;

/// Rules and waivers, in groups by the sections that they read.
pub trait Judge: Send + Sync + 'static {
    /// Digest of the profile, as agents and people see it.
    fn profile(&self) -> Digest;

    /// Digest of everything that a judgement depends on beside the facts: rules and waivers.
    fn basis(&self) -> Digest;

    /// The sections that each group reads, in the profile's order of groups.
    fn groups(&self) -> Vec<Vec<SectionName>>;

    /// Whether some waiver names this very node, so that it cannot share judgements.
    fn is_apart(&self, node: &NodeName) -> bool;

    /// Judges one group. `node` is given only for nodes that [`Self::is_apart`].
    fn judge(&self, group: usize, facts: &Facts, node: Option<&NodeName>, now: Moment)
    -> Judgement;
}
