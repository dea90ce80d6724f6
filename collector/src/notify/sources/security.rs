//! What looks like an attack, or like a bug that does the same, as audit and history have it.

use palisade_alert::key::Key;
use palisade_alert::kind::Kind;
use palisade_alert::severity::Severity;
use palisade_alert::sighting::Sighting;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::bound::clean_text;

use super::Memo;
use super::Seen;
use super::World;
use super::words::Shared;
use crate::audit;
use crate::audit::Decision;
use crate::audit::Entry;
use crate::engine::NodeEvent;
use crate::store::HistoryBody;
use crate::store::HistoryEntry;

/// Seconds for which it is told.
pub const WITHIN_SECS: i64 = 3600;

/// Rows of one kind that are read: the newest. A flood says the same again and again.
pub const MAX_ROWS: usize = 200;

/// The kinds of the audit to read for [`incidents`].
pub const KINDS: [audit::Kind; 2] = [audit::Kind::IdentityMismatch, audit::Kind::GrantAnswered];

/// Seconds in which boots of one node are counted.
pub(super) const BOOTS_WITHIN_SECS: i64 = 86_400;

/// Why a node refuses a permission that nobody should have been able to offer it. Others are the way of
/// things: it came too late, the node is held. The words are those of the agent.
const SUSPICIOUS: [&str; 7] = ["malformed", "key", "signature", "boot", "node", "epoch", "used"];

/// Something that should not have happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    /// When.
    pub at: Moment,
    /// The node that it is about, if it is about one.
    pub node: Option<NodeName>,
    /// What.
    pub what: IncidentKind,
    /// What was seen, in words.
    pub words: String,
}

/// Kinds of incidents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IncidentKind {
    /// Heard from a boot that the node has left.
    FormerBoot,
    /// A node refused a permission that was not for it, or not for now.
    GrantRefused,
    /// Somebody spoke for another node.
    IdentityMismatch,
    /// A sequence number came again with another report.
    SequenceReused,
}

impl IncidentKind {
    /// What the alert is about.
    const fn subject(self) -> &'static str {
        match self {
            Self::FormerBoot => "former-boot",
            Self::GrantRefused => "grant-refused",
            Self::IdentityMismatch => "identity-mismatch",
            Self::SequenceReused => "sequence-reused",
        }
    }

    const fn why(self) -> &'static str {
        match self {
            Self::FormerBoot | Self::SequenceReused => {
                "A machine was cloned, or two agents speak for one node: its findings may be those of \
                 another machine."
            }
            Self::GrantRefused => {
                "Permissions to reboot are made for one boot of one node. One that does not fit was \
                 copied, or made by somebody else."
            }
            Self::IdentityMismatch => {
                "The token of one node was used to speak for another one, which nothing of palisade does."
            }
        }
    }

    const fn ask(self) -> &'static str {
        match self {
            Self::FormerBoot | Self::SequenceReused => {
                "Find the second machine: its copy of the agent's identity has to go."
            }
            Self::GrantRefused => {
                "Compare the audit with the rebooter's log on the node; if it was not you, exchange the \
                 keys that sign permissions."
            }
            Self::IdentityMismatch => {
                "Treat the node that the token belongs to as taken over until the audit shows otherwise."
            }
        }
    }
}

/// A boot that nobody here asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// When it was noticed.
    pub at: Moment,
    /// Of which node.
    pub node: NodeName,
}

/// Incidents among entries of the audit.
pub fn incidents<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Vec<Incident> {
    let incident = |entry: &Entry| {
        let what = if entry.kind == audit::Kind::IdentityMismatch {
            IncidentKind::IdentityMismatch
        } else if entry.kind == audit::Kind::GrantAnswered && is_suspicious(&entry.reason) {
            IncidentKind::GrantRefused
        } else {
            return None;
        };
        let words = clean_text(&format!("{}: {}", entry.object, entry.reason));
        Some(Incident { at: entry.at, node: entry.node.clone(), what, words })
    };
    entries.into_iter().filter_map(incident).take(MAX_ROWS).collect()
}

/// Incidents among entries of the history.
pub fn oddities<'a>(entries: impl IntoIterator<Item = &'a HistoryEntry>) -> Vec<Incident> {
    let incident = |entry: &HistoryEntry| {
        let HistoryBody::Event(event) = &entry.body else { return None };
        let (what, words) = match event {
            NodeEvent::FormerBoot { former, current } => {
                let words = format!("heard from boot {former} while {current} runs");
                (IncidentKind::FormerBoot, words)
            }
            NodeEvent::SequenceConflict { sequence, first, second } => {
                let (first, second) = (first.short(), second.short());
                let words =
                    format!("message {sequence} came with report {first} and with {second}");
                (IncidentKind::SequenceReused, words)
            }
            NodeEvent::Enrolled
            | NodeEvent::Rebooted { .. }
            | NodeEvent::Recreated { .. }
            | NodeEvent::Retired => return None,
        };
        Some(Incident { at: entry.at, node: Some(entry.node.clone()), what, words })
    };
    entries.into_iter().filter_map(incident).take(MAX_ROWS).collect()
}

/// Boots that nobody here asked for, among entries of the audit of kind [`audit::Kind::Reboot`].
pub fn boots<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Vec<Boot> {
    let boots = entries.into_iter().filter(|entry| {
        entry.kind == audit::Kind::Reboot
            && entry.decision == Decision::Done
            && entry.reason == crate::reboots::UNASKED
    });
    boots.filter_map(|it| Some(Boot { at: it.at, node: it.node.clone()? })).take(MAX_ROWS).collect()
}

/// What a node said: `refused: CODE: words`.
fn is_suspicious(reason: &str) -> bool {
    let code = reason.strip_prefix("refused: ").and_then(|rest| rest.split(':').next());
    code.is_some_and(|code| SUSPICIOUS.contains(&code))
}

/// How often a node booted unasked within a day.
pub(super) fn boots_of(world: &World<'_>, node: &NodeName) -> usize {
    let boots = world.boots.iter().filter(|it| it.node == *node);
    boots.filter(|it| world.now.since(it.at) < BOOTS_WITHIN_SECS).count()
}

pub(super) fn look(world: &World<'_>, memos: &[Memo], found: &mut Seen, shared: &mut Shared) {
    let recent = world.incidents.iter().filter(|it| world.now.since(it.at) < WITHIN_SECS);
    for incident in recent.take(MAX_ROWS.saturating_mul(4)) {
        let mut key = Key::of(Kind::SecurityFinding).subject(incident.what.subject());
        key.node.clone_from(&incident.node);
        if let Some(name) = &incident.node
            && let Ok(at) = memos.binary_search_by(|memo| memo.node.name.cmp(name))
        {
            key.pool = memos.get(at).and_then(|memo| memo.pool.clone());
        }
        let since = found.get(&key).and_then(|it| it.since);
        if since.is_some_and(|since| since <= incident.at) {
            continue;
        }
        let what = incident.what;
        let values = [("problem", &*incident.words), ("why", what.why()), ("ask", what.ask())];
        let (severity, values) = (Severity::Critical, shared.of(values));
        // The first one of the hour: its words stay while others follow.
        found.insert(key.clone(), Sighting { key, severity, since: Some(incident.at), values });
    }
}

#[cfg(test)]
mod tests {
    use palisade_report::Digest;

    use super::*;
    use crate::audit::Happening;

    fn entry(kind: audit::Kind, reason: &str) -> Entry {
        let node: NodeName = "worker-1".parse().unwrap();
        Entry::new(1, Moment::from_unix(7), Happening::own(kind, "it", reason).about(node))
    }

    #[test]
    fn a_permission_that_does_not_fit_is_an_incident_and_one_that_came_late_is_none() {
        let what = |reason| {
            let found = incidents(&[entry(audit::Kind::GrantAnswered, reason)]);
            found.first().map(|it| it.what)
        };
        assert_eq!(what("refused: node: for another node"), Some(IncidentKind::GrantRefused));
        assert_eq!(what("refused: used"), Some(IncidentKind::GrantRefused));
        for fine in ["refused: expired: too late", "refused: hold", "executing", "failed: node: x"]
        {
            assert_eq!(what(fine), None, "{fine}");
        }
        let found = incidents(&[entry(audit::Kind::IdentityMismatch, "it spoke for another one")]);
        assert_eq!(found[0].what, IncidentKind::IdentityMismatch);
        assert!(incidents(&[entry(audit::Kind::TokenRefused, "refused: node")]).is_empty());
    }

    #[test]
    fn two_machines_that_are_one_node_are_an_incident() {
        let (first, second) = (Digest::of(b"1"), Digest::of(b"2"));
        let events = [
            NodeEvent::Enrolled,
            NodeEvent::SequenceConflict { sequence: 9, first, second },
            NodeEvent::FormerBoot {
                former: "0f9b2a52-91c5-4d9d-9e6c-4e4a1f4f3d11".parse().unwrap(),
                current: "11111111-91c5-4d9d-9e6c-4e4a1f4f3d11".parse().unwrap(),
            },
        ];
        let entries = events.map(|event| HistoryEntry {
            id: 1,
            at: Moment::from_unix(7),
            node: "worker-1".parse().unwrap(),
            body: HistoryBody::Event(event),
        });
        let what: Vec<_> = oddities(&entries).into_iter().map(|it| it.what).collect();
        assert_eq!(what, [IncidentKind::SequenceReused, IncidentKind::FormerBoot]);
    }

    #[test]
    fn boots_are_those_that_the_audit_calls_unasked() {
        let unasked = entry(audit::Kind::Reboot, crate::reboots::UNASKED);
        let others = [entry(audit::Kind::Reboot, "reboot for kernel"), unasked];
        let found = boots(&others);
        assert_eq!(found, [Boot { at: Moment::from_unix(7), node: "worker-1".parse().unwrap() }]);
    }
}
