//! One message to one receiver about one group of alerts, before it has a shape.

use std::collections::BTreeMap;

use palisade_report::Moment;

use crate::key::AlertId;
use crate::kind::Kind;
use crate::severity::Severity;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whom it goes to, by the name in the settings.
    pub receiver: String,
    /// The group, as a stable text: receivers tell by it what belongs together.
    pub group_key: String,
    /// The labels that all its alerts share because they are grouped by them.
    pub group_labels: BTreeMap<&'static str, String>,
    /// The cluster that this collector looks after.
    pub cluster: String,
    /// Where people reach the collector, without a slash at the end; empty: not known.
    pub external_url: String,
    /// Why it is sent.
    pub reason: Reason,
    /// Alerts, firing ones first, then the most severe, then the oldest. Not more than
    /// [`MAX_NOTICED`]; the others are counted.
    pub alerts: Vec<Noticed>,
    /// Alerts of the group that fire, those that are left out included.
    pub firing: usize,
    /// Alerts that ended since the last message, those that are left out included.
    pub resolved: usize,
    /// Nodes that the alerts which fire are about.
    pub nodes: usize,
    /// When it was made.
    pub at: Moment,
}

/// Alerts that a notice has in full. A receiver that takes less shows less, and says how many it
/// leaves out.
pub const MAX_NOTICED: usize = 200;

impl Notice {
    /// Whether at least one of its alerts fires.
    #[must_use]
    pub const fn is_firing(&self) -> bool {
        self.firing > 0
    }

    /// The severity of the loudest alert that fires, or of the loudest that ended.
    #[must_use]
    pub fn severity(&self) -> Severity {
        let firing = self.alerts.iter().filter(|it| it.is_firing()).map(|it| it.severity).max();
        let any = || self.alerts.iter().map(|it| it.severity).max();
        firing.or_else(any).unwrap_or(Severity::Info)
    }

    /// Alerts of the group that are not in [`Self::alerts`].
    #[must_use]
    pub fn left_out(&self) -> usize {
        self.firing.saturating_add(self.resolved).saturating_sub(self.alerts.len())
    }
}

/// Why a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Alerts ended, and none fires any more.
    AllResolved,
    /// The first message about this group.
    First,
    /// More alerts fire than were told.
    New,
    /// Nothing is new; people are reminded.
    Repeat,
    /// An alert is louder than it was told.
    Severity,
    /// Alerts ended, and others still fire.
    SomeResolved,
    /// Somebody tries the receiver out.
    Test,
}

impl Reason {
    /// The words of Alertmanager 0.34's `notification_reason`, where it has some.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AllResolved => "all alerts resolved",
            Self::First => "first notification",
            Self::New => "new alerts added",
            Self::Repeat => "repeat interval elapsed",
            Self::Severity => "severity raised",
            Self::SomeResolved => "some alerts resolved",
            Self::Test => "test",
        }
    }
}

/// An alert in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noticed {
    /// By what it is known.
    pub id: AlertId,
    /// Which alert.
    pub kind: Kind,
    /// How loud.
    pub severity: Severity,
    /// When and by what it ended; `None`: it fires.
    pub ended: Option<Ended>,
    /// Its labels, the severity among them.
    pub labels: BTreeMap<&'static str, String>,
    /// First seen; does not move.
    pub starts_at: Moment,
    /// What it says. Not escaped for any target; without control characters, and bounded.
    pub words: Words,
    /// Since when nothing is known of it any more, and it is taken to hold.
    pub stale_since: Option<Moment>,
}

impl Noticed {
    /// Whether it fires.
    #[must_use]
    pub const fn is_firing(&self) -> bool {
        self.ended.is_none()
    }
}

/// The end of an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// When.
    pub at: Moment,
    /// What ended it: `renewed: valid until 2027-12-04`, `rebooted into kernel 6.1.0-56`.
    pub why: String,
}

/// What an alert says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// Subject and fact in a line: `worker-7 needs a reboot: kernel 6.1.0-56`.
    pub summary: String,
    /// Why it matters, and what happens if nothing is done.
    pub description: String,
    /// What a person should do.
    pub action: String,
    /// The address below the collector that explains it, with its slash: `/v1/nodes/worker-7/explain`.
    pub link: String,
}
