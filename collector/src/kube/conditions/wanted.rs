//! Which conditions a node should have, and which of them have to be written. Pure.
//!
//! | condition | True | False | Unknown |
//! |---|---|---|---|
//! | `RebootRequired` | rule `reboot.needed` fails, waived or not: a waiver excuses, it does not change the machine | it passes | it cannot be told |
//! | `CertificateExpiring` | a rule of certificates' ends fails | all of them pass, or there is none | none fails, one cannot be told |
//! | `HardeningDrift` | a rule of another area with severity high or critical fails and is not waived | none does | none fails, one cannot be told |
//!
//! All are Unknown while a node is silent, has not reported yet, or is judged by a profile without
//! such rules. Messages hold no number that moves with time: a condition that says the same is not
//! written again.

use std::collections::BTreeSet;
use std::fmt;

use palisade_report::Moment;
use palisade_report::bound::clean;
use palisade_rules::Finding;
use palisade_rules::Severity;
use palisade_rules::Verdict;

use crate::snapshot::Node;
use crate::snapshot::NodeState;

/// Bytes of a message: some lines of `kubectl describe node`.
pub const MAX_MESSAGE: usize = 512;

/// Rules or files that a message names.
const MAX_NAMED: usize = 4;

/// Bytes of one name in a message.
const MAX_NAME: usize = 96;

/// Rules about the end of certificates.
const EXPIRY_RULES: [&str; 3] =
    ["certificate.authority-expiry", "certificate.kubelet-expiry", "certificate.leaf-expiry"];

/// The rule about a pending reboot.
const REBOOT_RULE: &str = "reboot.needed";

/// Areas that are no hardening: their conditions are others, or none.
const OTHER_AREAS: [&str; 3] = ["certificate", "reboot", "updates"];

/// One of our conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A certificate on the node comes to its end.
    CertificateExpiring,
    /// A barrier that the profile wants is down.
    HardeningDrift,
    /// Updates wait for a reboot.
    RebootRequired,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] =
        [Self::RebootRequired, Self::CertificateExpiring, Self::HardeningDrift];

    /// `type` of the condition.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CertificateExpiring => "palisade.dev/CertificateExpiring",
            Self::HardeningDrift => "palisade.dev/HardeningDrift",
            Self::RebootRequired => "palisade.dev/RebootRequired",
        }
    }
}

/// `status` of a condition. True is what needs a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// It is not so.
    False,
    /// It is so.
    True,
    /// It cannot be told.
    Unknown,
}

impl Status {
    /// The word in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::False => "False",
            Self::True => "True",
            Self::Unknown => "Unknown",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A condition as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Which.
    pub kind: Kind,
    /// Its status.
    pub status: Status,
    /// A word in CamelCase.
    pub reason: &'static str,
    /// A sentence, at most [`MAX_MESSAGE`] bytes.
    pub message: String,
}

/// A condition as the node object has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// `type`.
    pub kind: Kind,
    /// `status`; `None`: a word that is none of the three.
    pub status: Option<Status>,
    /// `reason`.
    pub reason: String,
    /// `message`.
    pub message: String,
    /// `lastTransitionTime`.
    pub since: Option<Moment>,
}

/// A condition that has to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// What to write.
    pub wanted: Wanted,
    /// Since when it has its status.
    pub since: Moment,
    /// What became of the status; `None`: only reason or message changed.
    pub transition: Option<Transition>,
}

/// A status that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The status before; `None`: the node did not have this condition.
    pub from: Option<Status>,
    /// Since when it had that status.
    pub from_since: Option<Moment>,
}

/// The conditions that a node should have.
#[must_use]
pub fn wanted(node: &Node) -> [Wanted; 3] {
    Kind::ALL.map(|kind| match untold(node) {
        Some((reason, message)) => Wanted { kind, status: Status::Unknown, reason, message },
        None => told(node, kind),
    })
}

/// Those that differ from what the node object has. `ours` is what we last wanted there: a status that
/// has not changed since then keeps its time, whatever others did to the object.
#[must_use]
pub fn due(wanted: &[Wanted], present: &[Present], ours: &[Present], now: Moment) -> Vec<Due> {
    let of = |list: &[Present], wanted: &Wanted| {
        let with_it = list.iter().find(|it| it.kind == wanted.kind);
        with_it.filter(|it| it.status == Some(wanted.status)).and_then(|it| it.since)
    };
    let due = wanted.iter().filter_map(|wanted| {
        let since = of(ours, wanted).or_else(|| of(present, wanted)).unwrap_or(now);
        let due = |transition| Some(Due { wanted: wanted.clone(), since, transition });
        let Some(old) = present.iter().find(|it| it.kind == wanted.kind) else {
            return due(Some(Transition { from: None, from_since: None }));
        };
        if old.status != Some(wanted.status) {
            return due(Some(Transition { from: old.status, from_since: old.since }));
        }
        let same = old.reason == wanted.reason
            && old.message == wanted.message
            && old.since == Some(since);
        if same { None } else { due(None) }
    });
    due.collect()
}

/// Why nothing can be told of a node at all.
fn untold(node: &Node) -> Option<(&'static str, String)> {
    match node.state {
        NodeState::Fresh | NodeState::Late if node.report.is_some() => None,
        NodeState::Fresh | NodeState::Late => {
            Some(("NoReport", "the first report of this node is on its way".to_owned()))
        }
        NodeState::NeverSeen => {
            Some(("NeverReported", "no agent has ever reported from this node".to_owned()))
        }
        NodeState::Gone => Some(("Retired", "this node was retired".to_owned())),
        NodeState::Silent => {
            let message =
                "the agent of this node is silent; what it last said is no longer vouched for";
            Some(("AgentSilent", message.to_owned()))
        }
    }
}

fn told(node: &Node, kind: Kind) -> Wanted {
    let mut seen = Seen::default();
    for finding in node.findings().filter(|finding| is_about(kind, finding)) {
        seen.take(kind, finding);
    }
    let Seen { failing, unknown, judged } = seen;
    let (status, reason, message) = if !failing.is_empty() {
        let (reason, what) = words(kind);
        (Status::True, reason, named(kind, what, &failing))
    } else if !unknown.is_empty() {
        (Status::Unknown, "CannotTell", named(kind, "cannot be told", &unknown))
    } else if judged {
        let (reason, message) = fine(kind);
        (Status::False, reason, message.to_owned())
    } else {
        let message = "the profile of this node has no rule about it";
        (Status::Unknown, "NotJudged", message.to_owned())
    };
    Wanted { kind, status, reason, message }
}

#[derive(Default)]
struct Seen<'a> {
    failing: BTreeSet<&'a str>,
    unknown: BTreeSet<&'a str>,
    judged: bool,
}

impl<'a> Seen<'a> {
    fn take(&mut self, kind: Kind, finding: &'a Finding) {
        let Finding { rule, verdict, severity: _, subject, evidence, waiver } = finding;
        self.judged = true;
        let name = match kind {
            Kind::CertificateExpiring if !subject.is_empty() => subject.as_str(),
            Kind::RebootRequired if !evidence.reason.is_empty() => evidence.reason.as_str(),
            Kind::CertificateExpiring | Kind::HardeningDrift | Kind::RebootRequired => {
                rule.as_str()
            }
        };
        let without_waiver = waiver.as_ref().map(|waiver| waiver.instead_of);
        let verdict = match (kind, *verdict) {
            (Kind::RebootRequired, Verdict::Waived) => without_waiver.unwrap_or(Verdict::Waived),
            (_, verdict) => verdict,
        };
        match verdict {
            Verdict::Fail => {
                self.failing.insert(name);
            }
            Verdict::Unknown => {
                self.unknown.insert(name);
            }
            Verdict::NotApplicable | Verdict::Pass | Verdict::Waived => {}
        }
    }
}

fn is_about(kind: Kind, finding: &Finding) -> bool {
    let rule = finding.rule.as_str();
    match kind {
        Kind::CertificateExpiring => EXPIRY_RULES.contains(&rule),
        Kind::HardeningDrift => {
            finding.severity >= Severity::High && !OTHER_AREAS.contains(&finding.rule.area())
        }
        Kind::RebootRequired => rule == REBOOT_RULE,
    }
}

const fn words(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::CertificateExpiring => ("CertificateEndsSoon", "near or past its end"),
        Kind::HardeningDrift => ("RulesFail", "fails"),
        Kind::RebootRequired => ("RebootPending", "a reboot is pending"),
    }
}

const fn fine(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::CertificateExpiring => ("CertificatesValid", "no certificate comes to its end soon"),
        Kind::HardeningDrift => ("RulesHold", "no rule of high or critical severity fails"),
        Kind::RebootRequired => ("NoRebootPending", "nothing waits for a reboot"),
    }
}

/// `what: a, b, c and 4 more`. Names come from nodes: they are cleaned and cut.
fn named(kind: Kind, what: &str, names: &BTreeSet<&str>) -> String {
    let longest = match kind {
        // One finding, and its reasons are short already.
        Kind::RebootRequired => MAX_MESSAGE,
        Kind::CertificateExpiring | Kind::HardeningDrift => MAX_NAME,
    };
    let shown: Vec<String> =
        names.iter().take(MAX_NAMED).map(|name| clean(name.as_bytes(), longest)).collect();
    let more = names.len().saturating_sub(MAX_NAMED);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    clean(format!("{what}: {}{more}", shown.join(", ")).as_bytes(), MAX_MESSAGE)
}

#[cfg(test)]
mod tests;
