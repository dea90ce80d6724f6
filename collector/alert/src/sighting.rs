//! What somebody saw: that something holds which is worth an alert, or that it could not be told.
//!
//! Who looks says of each *scope* (a node, a pool, the collector) everything that holds in it. What was
//! there before and is not any more is over; but a scope that could not be looked at says so, and then
//! nothing of it is over: unknown is not resolved.

use std::collections::BTreeMap;
use std::sync::Arc;

use palisade_report::Moment;
use palisade_report::NodeName;
use serde::Deserialize;
use serde::Serialize;

use crate::key::Key;
use crate::severity::Severity;

/// The values that fill an alert's words: by name, as the catalogue's templates have it. Shared by all
/// nodes on which the same holds.
pub type Values = Arc<BTreeMap<String, String>>;

/// The value of a sighting that is there because somebody edited rules or settings, and not because its
/// node changed: nobody is told of it by itself. Unit: seconds since 1970, of when it was noticed.
pub const EDITED_AT: &str = "edited_at";

/// Something that holds now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// What it is about.
    pub key: Key,
    /// How loud now.
    pub severity: Severity,
    /// Since when it holds, as far as whoever looks knows it better than the book.
    pub since: Option<Moment>,
    /// What fills its words.
    pub values: Values,
}

/// Part of the world that is looked at as a whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// The collector itself.
    Collector,
    /// The fleet as a whole: counts over many nodes.
    Fleet,
    /// Facts about one node.
    Node(NodeName),
    /// The ways to receivers.
    Notifier,
    /// The reboots of all nodes.
    Reboots,
}

/// What was seen in a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// All that holds in it. What is not among it is over, and whoever looks may say by what.
    Seen(Vec<Sighting>),
    /// It could not be looked at since then, for this reason. Nothing of it is over.
    Stale {
        /// Since when.
        since: Moment,
        /// Why, in a few words.
        why: Arc<str>,
    },
}
