//! What the engine publishes: an immutable picture of the fleet from which every query is answered.
//!
//! A snapshot is cheap to make (nodes sit in chunks behind `Arc`, counters are kept and not
//! computed) and never waits for a write. Section bodies, history and the certificate list are not
//! in here; [`crate::store::Reader`] has them.
//!
//! ```text
//! engine ──(at most 10 a second)──> Arc<Snapshot> ──> any number of readers
//! ```

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use palisade_report::BootId;
use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::NodeUid;
use palisade_report::SectionName;
use palisade_report::TrustId;
use palisade_report::wire::RebooterState;
use palisade_rules::Finding;
use palisade_rules::RuleId;
use palisade_rules::Severity;
use palisade_rules::Verdict;
use serde::Deserialize;
use serde::Serialize;

mod cluster;
mod count;
mod table;

pub use cluster::ClusterNode;
pub use cluster::HOSTNAME;
pub use cluster::Ready;
pub use cluster::Scheduling;
pub(crate) use count::Counted;
pub use count::Counters;
pub use count::GroupCount;
pub use count::VerdictCounts;
pub use table::NodeTable;

/// The fleet at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Grows by one with each snapshot that differs from the one before; an `ETag` for lists.
    /// Starts again at 1 with the process, so an `ETag` needs [`Self::started_at`] beside it.
    pub version: u64,
    /// When this process of the collector started.
    pub started_at: Moment,
    /// When it was published.
    pub published_at: Moment,
    /// Digest of the profile by which nodes are judged.
    pub profile: Digest,
    /// Whether the store takes writes.
    pub readiness: Readiness,
    /// Nodes in order of their names, gone ones included.
    pub nodes: NodeTable,
    /// Counts over all nodes.
    pub counters: Arc<Counters>,
}

impl Snapshot {
    /// A node by its name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Arc<Node>> {
        self.nodes.get(name)
    }

    /// A digest over everything durable in it: names, reports, sections, findings, episodes. Equal
    /// before and after a restart; last-seen times do not take part.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut text = format!("{}\n", self.profile);
        for node in self.nodes.iter() {
            text.push_str(&format!(
                "{} {:?} {} {:?} {:?} {} {:?}\n",
                node.name,
                node.uid,
                node.state,
                node.boot_id,
                node.report,
                node.first_seen_at,
                node.sections
            ));
            for judged in node.judgements.iter() {
                text.push_str(&format!("{} {:?}\n", judged.key, judged.findings));
            }
            for episode in node.episodes.iter() {
                text.push_str(&format!("{episode:?}\n"));
            }
        }
        Digest::of(text.as_bytes())
    }
}

/// Whether the store takes writes. Heartbeats without news are answered either way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It does.
    Ready,
    /// The last commit failed; nothing new is acknowledged until one works again.
    Failing {
        /// When it began.
        since: Moment,
        /// The chain of causes, for `/readyz` and people.
        reason: Arc<str>,
    },
}

/// How long a node has been quiet, in multiples of the interval that it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeState {
    /// Heard within two intervals.
    Fresh,
    /// Heard within three intervals, or five minutes if that is more.
    Late,
    /// Not heard since; its findings are the last known and stale.
    Silent,
    /// The cluster has it, and it has never been heard.
    NeverSeen,
    /// Retired; it has no findings any more.
    Gone,
}

impl NodeState {
    /// All, in order of growing absence.
    pub const ALL: [Self; 5] = [Self::Fresh, Self::Late, Self::Silent, Self::NeverSeen, Self::Gone];

    /// Whether a node in this state has a record that goes on.
    #[must_use]
    pub const fn is_live(self) -> bool {
        match self {
            Self::Fresh | Self::Late | Self::Silent => true,
            Self::Gone | Self::NeverSeen => false,
        }
    }

    /// The word on the wire and in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Gone => "gone",
            Self::Late => "late",
            Self::NeverSeen => "never-seen",
            Self::Silent => "silent",
        }
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text names no state of a node. At fault: the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown node state: expected fresh, late, silent, never-seen or gone")]
pub struct UnknownNodeState;

impl FromStr for NodeState {
    type Err = UnknownNodeState;

    fn from_str(text: &str) -> Result<Self, UnknownNodeState> {
        Self::ALL.into_iter().find(|it| it.as_str() == text).ok_or(UnknownNodeState)
    }
}

/// A node as the collector knows it.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// What it is in its cluster; `None`: not known, or standalone.
    pub uid: Option<NodeUid>,
    /// What the cluster says of it; `None`: nothing, not yet, or standalone.
    pub cluster: Option<Arc<ClusterNode>>,
    /// How long it has been quiet.
    pub state: NodeState,
    /// Since when it is in that state.
    pub state_since: Moment,
    /// When it was first heard of.
    pub first_seen_at: Moment,
    /// The boot that it spoke of last; `None`: it has never been heard.
    pub boot_id: Option<BootId>,
    /// Version of its agent, made safe to show.
    pub agent: Arc<str>,
    /// Digest of the last report of which every section is stored; `None` while the first one is
    /// on its way.
    pub report: Option<Digest>,
    /// Digest of a newer report whose sections are not all here yet.
    pub pending: Option<Digest>,
    /// When the stored report was complete.
    pub reported_at: Option<Moment>,
    /// The sections of the stored report, in order of their names.
    pub sections: Arc<[(SectionName, Digest)]>,
    /// What the judge says, one for each group of rules, in the profile's order.
    pub judgements: Arc<[Arc<Judged>]>,
    /// Open findings and since when, in order of rule and subject.
    pub episodes: Arc<[Episode]>,
    /// Findings by verdict.
    pub counts: VerdictCounts,
    /// When it was last heard, kept apart so that a heartbeat without news copies nothing.
    pub seen: Arc<Seen>,
}

impl Node {
    /// All findings of all groups, in the profile's order of groups.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.judgements.iter().flat_map(|judged| judged.findings.iter())
    }

    /// Digest of one section of the stored report.
    #[must_use]
    pub fn section(&self, name: SectionName) -> Option<Digest> {
        self.sections.iter().find(|(it, _)| *it == name).map(|(_, digest)| *digest)
    }

    /// Since when a finding is open; `None` if its verdict is not an open one.
    #[must_use]
    pub fn episode(&self, rule: &RuleId, subject: &str) -> Option<&Episode> {
        self.episodes
            .binary_search_by(|it| {
                it.key.rule.cmp(rule).then_with(|| (*it.key.subject).cmp(subject))
            })
            .ok()
            .and_then(|at| self.episodes.get(at))
    }
}

/// Where no boot clock of this process was read.
const NOT_HEARD: i64 = i64::MIN;

/// When a node was last heard. Moves without a new snapshot.
#[derive(Debug)]
pub struct Seen {
    at: AtomicI64,
    /// The same moment by the machine's time since its boot; [`NOT_HEARD`] by another process.
    boot_ms: AtomicI64,
    skew_secs: AtomicI64,
    /// Number of the [`TrustId`] that it named; 0: none.
    trust: AtomicU64,
    rebooter: Mutex<Option<RebooterState>>,
}

impl Seen {
    /// Heard at `at`, its own clock ahead of ours by `skew_secs`.
    #[must_use]
    pub const fn new(at: Moment, skew_secs: i64) -> Self {
        Self {
            at: AtomicI64::new(at.unix()),
            boot_ms: AtomicI64::new(NOT_HEARD),
            skew_secs: AtomicI64::new(skew_secs),
            trust: AtomicU64::new(0),
            rebooter: Mutex::new(None),
        }
    }

    /// When it was last heard.
    #[must_use]
    pub fn at(&self) -> Moment {
        Moment::from_unix(self.at.load(Ordering::Relaxed))
    }

    /// When this process heard it last, in milliseconds since the machine's boot; `None`: not yet. The
    /// wall clock may have been stepped since, this one never is.
    #[must_use]
    pub fn boot_ms(&self) -> Option<i64> {
        let heard = self.boot_ms.load(Ordering::Relaxed);
        (heard != NOT_HEARD).then_some(heard)
    }

    /// Seconds by which its clock was ahead of ours, the way of the message included.
    #[must_use]
    pub fn skew_secs(&self) -> i64 {
        self.skew_secs.load(Ordering::Relaxed)
    }

    /// The authorities that it trusts, as it said last; `None`: not said since this process
    /// started.
    #[must_use]
    pub fn trust(&self) -> Option<TrustId> {
        NonZeroU64::new(self.trust.load(Ordering::Relaxed)).map(TrustId::from_number)
    }

    /// Whether it could be rebooted, as it said last; `None`: it has nobody who could, or nothing was
    /// said since this process started.
    #[must_use]
    pub fn rebooter(&self) -> Option<RebooterState> {
        *self.rebooter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes whether it could be rebooted.
    pub(crate) fn hear_of_rebooter(&self, state: Option<RebooterState>) {
        *self.rebooter.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// Notes that it was heard.
    pub(crate) fn hear(&self, at: Moment, boot_ms: i64, skew_secs: i64, trust: Option<TrustId>) {
        self.at.store(at.unix(), Ordering::Relaxed);
        self.boot_ms.store(boot_ms, Ordering::Relaxed);
        self.skew_secs.store(skew_secs, Ordering::Relaxed);
        self.trust.store(trust.map_or(0, |trust| trust.number().get()), Ordering::Relaxed);
    }
}

/// What the judge said about one group of rules and one set of sections; shared by every node that
/// has these sections.
#[derive(Debug)]
pub struct Judged {
    /// Digest over the rules, the waivers, the group, and the sections that it reads.
    pub key: Digest,
    /// Index of the group in the profile.
    pub group: usize,
    /// Findings in order of rule and subject.
    pub findings: Vec<Finding>,
    /// When the same facts will be judged differently; `None`: never.
    pub next_change_at: Option<Moment>,
    /// What each finding is about, in the order of `findings`; episodes share them.
    pub(crate) keys: Vec<Arc<FindingKey>>,
}

/// What a finding is about: rule and subject identify it within a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FindingKey {
    /// The rule.
    pub rule: RuleId,
    /// What it is about within the node; empty: the node as a whole.
    pub subject: Box<str>,
}

/// An open finding of a node: from its first sight to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Episode {
    /// Which finding; one value shared by all nodes that have it.
    pub key: Arc<FindingKey>,
    /// Its verdict: fail, unknown or waived.
    pub verdict: Verdict,
    /// Its severity.
    pub severity: Severity,
    /// When it opened.
    pub first_seen_at: Moment,
    /// What opened it.
    pub opened: Opened,
    /// What an edit made of it; `None`: it is what its node made of it.
    pub edited: Option<Box<Edit>>,
    /// When verdict or severity last changed.
    pub changed_at: Moment,
}

impl Episode {
    /// How bad it is.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        Standing { verdict: self.verdict, severity: self.severity }
    }

    /// The edit that it stands as it does because of; `None`: its node, or time, made it so.
    #[must_use]
    pub fn edit(&self) -> Option<&Edit> {
        self.edited.as_deref().filter(|it| self.standing().is_within(it.made))
    }

    /// How bad its node made it without the edit; `None`: it would not be open.
    #[must_use]
    pub fn own(&self) -> Option<Standing> {
        self.edit().map_or_else(|| Some(self.standing()), |it| it.was)
    }
}

/// How bad an open finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Fail, unknown or waived.
    pub verdict: Verdict,
    /// How severe.
    pub severity: Severity,
}

impl Standing {
    /// Whether this says nothing beyond the other one.
    #[must_use]
    pub fn is_within(self, other: Self) -> bool {
        self.verdict == other.verdict && self.severity <= other.severity
    }
}

/// What an edit of rules or waivers made of a finding, its node not having changed. What becomes worse
/// than that afterwards, its node or time made so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// When they were first judged by.
    pub at: Moment,
    /// How bad the node alone had made it; `None`: it was not open.
    pub was: Option<Standing>,
    /// How bad the edit made it.
    pub made: Standing,
}

/// What opened a finding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Opened {
    /// The first report of its node that was judged: nobody knows whether it was better before. What an
    /// older version kept without this word counts as such, too.
    #[default]
    FirstReport,
    /// A later report: the node changed.
    Report,
    /// Other rules or waivers: the node did not change.
    Rules,
    /// Time passed a threshold.
    Time,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A picture of these nodes, in which nothing is counted.
    pub(crate) fn of(nodes: impl IntoIterator<Item = Node>) -> Snapshot {
        let mut table = NodeTable::default();
        nodes.into_iter().for_each(|node| table.insert(Arc::new(node)));
        let at = Moment::from_unix(1_700_000_000);
        Snapshot {
            version: 1,
            started_at: at,
            published_at: at,
            profile: Digest::of(b""),
            readiness: Readiness::Ready,
            nodes: table,
            counters: Arc::default(),
        }
    }

    /// A node of that name about which this was found and nothing else is known.
    pub(crate) fn found(name: &str, findings: Vec<Finding>) -> Node {
        let judged = Judged {
            key: Digest::of(b""),
            group: 0,
            findings,
            next_change_at: None,
            keys: Vec::new(),
        };
        Node {
            judgements: [Arc::new(judged)].into(),
            report: Some(Digest::of(b"")),
            ..Node::clone(&node(name))
        }
    }

    /// A node of that name about which nothing else is known.
    pub(crate) fn node(name: &str) -> Arc<Node> {
        let at = Moment::from_unix(1_700_000_000);
        Arc::new(Node {
            name: name.parse().unwrap(),
            uid: None,
            cluster: None,
            state: NodeState::Fresh,
            state_since: at,
            first_seen_at: at,
            boot_id: Some("0f9b2a52-91c5-4d9d-9e6c-4e4a1f4f3d11".parse().unwrap()),
            agent: "0.1.0".into(),
            report: None,
            pending: None,
            reported_at: None,
            sections: Arc::default(),
            judgements: Arc::default(),
            episodes: Arc::default(),
            counts: VerdictCounts::default(),
            seen: Arc::new(Seen::new(at, 0)),
        })
    }
}
