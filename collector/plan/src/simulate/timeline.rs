//! What people read afterwards: one line for each thing that a person on duty would want to know.

use palisade_report::Moment;
use palisade_report::NodeUid;

use crate::fleet::Cordon;
use crate::law::Author;
use crate::law::Laws;
use crate::law::Readiness;
use crate::law::Record;
use crate::law::What;

/// Lines, or none.
#[derive(Clone, Debug)]
pub(super) struct Timeline {
    start: Moment,
    lines: Option<Vec<String>>,
    /// When a node came back for good, last.
    pub(super) finished_at: Option<Moment>,
    /// When a request was written last.
    pub(super) moved_at: Moment,
    /// Reboots that a grant led to.
    pub(super) reboots: u64,
}

/// Lines that are kept: a run of 5,000 nodes has about a dozen of each.
const MAX_LINES: usize = 200_000;

impl Timeline {
    /// A timeline that begins at `start`; without lines, it only counts.
    pub(super) fn new(start: Moment, keep: bool) -> Self {
        Self { start, lines: keep.then(Vec::new), finished_at: None, moved_at: start, reboots: 0 }
    }

    /// The lines.
    pub(super) fn lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }

    /// A line of its own.
    pub(super) fn say(&mut self, at: Moment, what: &str) {
        let Some(lines) = self.lines.as_mut().filter(|lines| lines.len() < MAX_LINES) else {
            return;
        };
        let secs = at.since(self.start);
        let (hours, minutes, seconds) = (secs / 3600, secs / 60 % 60, secs % 60);
        lines.push(format!("+{hours:02}:{minutes:02}:{seconds:02} {what}"));
    }

    /// A record, if a person wants to know of it.
    pub(super) fn note(&mut self, record: &Record, laws: &Laws) {
        let at = record.at;
        if matches!(record.what, What::Wrote(_)) {
            self.moved_at = at;
        }
        if matches!(record.what, What::Booted { grant: Some(_), .. }) {
            self.reboots = self.reboots.saturating_add(1);
        }
        if let What::Wrote(after) = &record.what
            && after.progress.state == crate::request::State::Done
        {
            self.finished_at = Some(at);
        }
        if self.lines.is_none() {
            return;
        }
        let name = |uid: &NodeUid| {
            laws.ledger()
                .node(uid)
                .map_or_else(|| uid.to_string(), |entry| entry.node.name.to_string())
        };
        let by = match record.by {
            Author::Collector { id, .. } => format!("collector {id}"),
            Author::Cluster => String::from("cluster"),
            Author::Node => String::from("node"),
            Author::Person => String::from("person"),
        };
        let line = match &record.what {
            What::Wrote(after) => {
                let before = laws.ledger().state(&after.uid);
                let state = after.progress.state;
                if before == Some(state) {
                    return;
                }
                let why = after
                    .progress
                    .failure
                    .as_ref()
                    .map(|fault| format!(" ({:?}: {})", fault.kind, fault.message))
                    .or_else(|| {
                        let blocker = after.progress.blockers.first()?;
                        Some(format!(" ({}: {})", blocker.gate, blocker.value))
                    });
                let from = before.map_or_else(|| String::from("-"), |state| format!("{state:?}"));
                format!("{} {from} -> {state:?}{}", after.node, why.unwrap_or_default())
            }
            What::Cordoned(uid, cordon) => {
                let how = match cordon {
                    Cordon::Schedulable => "takes pods",
                    Cordon::Ours { .. } => "is cordoned for its reboot",
                    Cordon::Foreign { .. } => "is cordoned",
                };
                format!("{} {how}, by {by}", name(uid))
            }
            What::Readiness(uid, Readiness::Ready) => format!("{} is ready", name(uid)),
            What::Readiness(uid, Readiness::NotReady) => format!("{} is not ready", name(uid)),
            What::Booted { node, grant, .. } => {
                let how = if grant.is_some() { "by a grant" } else { "by itself" };
                format!("{} booted {how}", name(node))
            }
            What::Accepted { node, .. } => format!("{} uses its grant", name(node)),
            What::Answered(node, _, answer) => format!("{} answers {answer:?}", name(node)),
            What::Notified { node, alert, .. } => format!("alert {alert:?} on {}", name(node)),
            What::Left(uid) => format!("{} is deleted", name(uid)),
            What::Removed(uid) => format!("request of {} is deleted, by {by}", name(uid)),
            What::Ruled(policy) => {
                format!("policy {}, by {by}", policy.digest.short())
            }
            What::Released(pool) => format!("failures of pool {pool} are forgiven"),
            What::FaultsEnded => String::from("nothing goes wrong from here on"),
            What::Held(uid, hold) => {
                let how = if hold.is_some() { "held" } else { "not held any more" };
                format!("{} is {how}", name(uid))
            }
            What::Joined { .. }
            | What::PodCame(..)
            | What::PodWent(..)
            | What::Budget(..)
            | What::Leads { .. }
            | What::Evicted { .. }
            | What::LeaseTaken(_)
            | What::LeaseReleased(_)
            | What::Handed { .. }
            | What::Said { .. }
            | What::Silent(_)
            | What::Heard(_)
            | What::Ended { .. } => return,
        };
        self.say(at, &line);
    }
}
