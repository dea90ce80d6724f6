//! How things stand without a grant: what the collector wants to know before it drains the node.
//!
//! Everything that a grant would need is looked at now, and looked at again when a grant comes.

use palisade_report::wire::CanReboot;
use palisade_report::wire::HoldFile;
use palisade_report::wire::RebooterState;

use super::Hold;
use super::Means;
use super::Rebooter;
use super::Record;
use super::Settings;
use super::Status;
use super::serve::load_keys;
use super::serve::look_for_hold;
use crate::verb::Chain;

impl Rebooter {
    /// Whether a grant could be carried out, and what stands against it.
    pub(super) fn status(&self) -> Status {
        let Settings { socket: _, keys, state, hold, node: _, floor: _, means, pause: _ } =
            &self.settings;
        let (hold, held) = match look_for_hold(hold) {
            Hold::Absent => (HoldFile::Absent, None),
            Hold::Present => (HoldFile::Present, None),
            Hold::Unknown(why) => (HoldFile::Unknown, Some(why)),
        };
        let (can, words) = match load_keys(keys) {
            Ok(keys) if keys.is_empty() => (CanReboot::NoKey, "no key yet".to_owned()),
            Err(why) => (CanReboot::NoKey, why),
            Ok(_) => match Record::load(state) {
                Err(why) => (CanReboot::NoRecord, Chain::of(&why).to_string()),
                Ok(_) => try_means(means),
            },
        };
        let words = held.into_iter().chain([words]).filter(|it| !it.is_empty());
        let words = words.collect::<Vec<_>>().join("; ");
        Status { state: RebooterState { can, hold }, words }
    }
}

/// Whether the means works, and in words who delays a shutdown, or why it does not.
fn try_means(means: &Means) -> (CanReboot, String) {
    match (means.test(), means) {
        (Err(why), _) => (CanReboot::NoMeans, Chain::of(&why).to_string()),
        (Ok(()), Means::Signal) => (CanReboot::Signal, String::new()),
        (Ok(()), Means::Logind(_)) => (CanReboot::Logind, inhibitors(means)),
    }
}

/// Who delays or blocks a shutdown, for people: whether logind obeys them it says itself.
fn inhibitors(means: &Means) -> String {
    match means.inhibitors() {
        Ok(inhibitors) => inhibitors.join("; "),
        Err(why) => Chain::of(&why).to_string(),
    }
}
