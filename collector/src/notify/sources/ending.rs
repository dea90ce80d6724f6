//! What ended something: what is there now in its place.

use palisade_alert::key::Key;
use palisade_alert::kind::Kind;
use palisade_alert::sighting::Values;
use palisade_plan::request::State;
use palisade_report::NodeName;
use palisade_report::bound::clean_text;
use palisade_rules::Finding;
use palisade_rules::Verdict;

use super::World;
use super::edits;
use super::fleet::silent_of;
use super::node::BOOT;
use super::node::concerns;
use super::node::end;
use super::node::observed;
use super::own;
use super::uid;
use crate::snapshot::Node;
use crate::snapshot::NodeState;

/// When nothing tells what ended it.
const NO_MORE: &str = "it holds no more";

/// What ended an alert that does not hold any more, in a few words. Never more than is known.
#[must_use]
pub fn ending(world: &World<'_>, key: &Key, values: &Values) -> String {
    let Some(name) = &key.node else { return clean_text(&of_fleet(world, key, values)) };
    let node = world.snapshot.node(name.as_str()).filter(|it| it.state != NodeState::Gone);
    let words = match node {
        Some(node) => of_node(world, key, values, node),
        None if world.view.is_some_and(|it| is_planned(it, name)) => {
            of_reboot(world, name, values).unwrap_or_else(|| NO_MORE.to_owned())
        }
        None if key.kind == Kind::SecurityFinding => NOT_AGAIN.to_owned(),
        None => "there is no such node any more".to_owned(),
    };
    clean_text(&words)
}

const NOT_AGAIN: &str = "it was not seen again for an hour";

fn is_planned(view: &crate::planned::View, name: &NodeName) -> bool {
    view.fleet.nodes.values().any(|it| it.name == *name)
}

fn of_fleet(world: &World<'_>, key: &Key, values: &Values) -> String {
    if key.kind == Kind::ManyAgentsSilent {
        let (silent, live, _) = silent_of(world);
        return format!("{silent} of {live} nodes are silent now");
    }
    if edits::SUMMARIES.contains(&key.kind) {
        return edits::ending(values.get(edits::LASTS).map(String::as_str)).to_owned();
    }
    if key.kind == Kind::AlertConfigRefused {
        return format!("the newest {} of alerts is followed", key.subject);
    }
    if key.kind == Kind::StoreDegraded {
        return "the store takes writes again".to_owned();
    }
    if key.kind == Kind::SecurityFinding {
        return NOT_AGAIN.to_owned();
    }
    if key.kind == Kind::CollectorCertificateExpiring {
        let end = own::end_of(world, &key.subject);
        return end.map_or_else(
            || "it is not the collector's any more".to_owned(),
            |end| format!("renewed: valid until {end}"),
        );
    }
    if key.kind == Kind::RolloutHalted {
        return pool_goes_on(world, key);
    }
    NO_MORE.to_owned()
}

fn pool_goes_on(world: &World<'_>, key: &Key) -> String {
    let pool = key.pool.as_deref().unwrap_or_default();
    let Some(view) = world.view else { return NO_MORE.to_owned() };
    if view.policy.pool(pool).is_none() {
        return "the policy has no such pool any more".to_owned();
    }
    match view.fleet.past.released.get(pool) {
        Some(at) => format!("the pool goes on; its failures were released at {at}"),
        None => "the pool goes on".to_owned(),
    }
}

fn of_node(world: &World<'_>, key: &Key, values: &Values, node: &Node) -> String {
    match key.kind {
        Kind::AgentSilent => "it reports again".to_owned(),
        Kind::NodeUnmonitored => "it reports".to_owned(),
        Kind::AgentOutdated => format!("its agent is version {}", node.agent),
        Kind::ClockSkew => "its clock is within a minute again".to_owned(),
        Kind::HardeningCheckErrors | Kind::RebootSignalUnknown => "it can be told again".to_owned(),
        Kind::CertificateAuthorityExpiring
        | Kind::CertificateExpired
        | Kind::CertificateExpiring
        | Kind::CertificateInvalid
        | Kind::CertificateMissing
        | Kind::CertificateNotEffective
        | Kind::CertificateRotationStuck
        | Kind::HardeningRegressed => of_finding(world, key, node),
        Kind::SecurityFinding if key.subject.contains('.') => of_finding(world, key, node),
        Kind::SecurityFinding => NOT_AGAIN.to_owned(),
        Kind::RebootRequired => of_reboot(world, &node.name, values)
            .or_else(|| waived(node, key))
            .or_else(|| rebooted(node, values))
            .unwrap_or_else(|| "no reboot is needed any more".to_owned()),
        Kind::ClaimStuck
        | Kind::CordonFailed
        | Kind::DrainBackoff
        | Kind::DrainFailed
        | Kind::DrainSlow
        | Kind::GrantNotConsumed
        | Kind::NodeNotReturned
        | Kind::NodeQuarantined
        | Kind::RebootBlocked
        | Kind::RebootCommandFailed
        | Kind::RebootOverdue
        | Kind::RebootStarved
        | Kind::RollbackFailed
        | Kind::UncordonFailed => {
            of_reboot(world, &node.name, values).unwrap_or_else(|| NO_MORE.to_owned())
        }
        Kind::RebootBlockedByCertificate => "no certificate is in the way any more".to_owned(),
        Kind::UnplannedReboot => "no other one followed for an hour".to_owned(),
        Kind::AlertConfigRefused
        | Kind::CollectorCertificateExpiring
        | Kind::CollectorDown
        | Kind::CriticalFinding
        | Kind::EvaluationStale
        | Kind::ManyAgentsSilent
        | Kind::NotifierFailing
        | Kind::RebootPolicyChanged
        | Kind::ReviewsFail
        | Kind::RolloutHalted
        | Kind::RulesChanged
        | Kind::StoreDegraded
        | Kind::Watchdog => NO_MORE.to_owned(),
    }
}

/// What the finding says now that the alert was about.
fn of_finding(world: &World<'_>, key: &Key, node: &Node) -> String {
    let about = || node.findings().filter(|it| concerns(key, it) && it.verdict != Verdict::Fail);
    // A file that is not there says more than that its rule has nothing to say.
    let Some(finding) = about().find(|it| !it.subject.is_empty()).or_else(|| about().next()) else {
        let is_rule = |id: &str| world.rules.rules().iter().any(|it| it.id().as_str() == id);
        let rule = key.subject.split(' ').next().unwrap_or_default();
        let is_check = [Kind::HardeningRegressed, Kind::SecurityFinding].contains(&key.kind);
        return if is_check && !is_rule(rule) {
            "the rule is not in force any more".to_owned()
        } else {
            "what it was about is not there any more".to_owned()
        };
    };
    match finding.verdict {
        Verdict::Pass => passes(finding),
        Verdict::NotApplicable => {
            format!("it does not apply any more: {}", observed(finding))
        }
        Verdict::Waived => waiver(finding),
        Verdict::Fail | Verdict::Unknown => NO_MORE.to_owned(),
    }
}

fn passes(finding: &Finding) -> String {
    if let Some((end, _)) = end(finding) {
        return format!("renewed: valid until {end}");
    }
    match finding.evidence.fact.strip_prefix("sysctl.") {
        Some(name) => format!("{name} is {}", observed(finding)),
        None => format!("the check passes again: {}", observed(finding)),
    }
}

fn waived(node: &Node, key: &Key) -> Option<String> {
    let mut about = node.findings().filter(|it| concerns(key, it));
    about.find(|it| it.verdict == Verdict::Waived).map(waiver)
}

fn waiver(finding: &Finding) -> String {
    match &finding.waiver {
        Some(it) => format!("waived by {} until {}: {}", it.by, it.until, it.reason),
        None => "it is waived".to_owned(),
    }
}

/// That another boot runs than the one in which a reboot was needed.
fn rebooted(node: &Node, values: &Values) -> Option<String> {
    let needed_in = values.get(BOOT).filter(|it| !it.is_empty())?;
    node.boot_id.as_ref().filter(|it| it.as_str() != needed_in)?;
    let kernel = node.cluster.as_ref().and_then(|it| it.kernel.as_deref());
    let into = kernel.map_or_else(String::new, |kernel| format!(" into kernel {kernel}"));
    Some(format!("rebooted{into}"))
}

/// What became of a reboot: by its request, by the coordinator's memory, by the kernel that runs.
fn of_reboot(world: &World<'_>, name: &NodeName, values: &Values) -> Option<String> {
    let view = world.view;
    let node = world.snapshot.node(name.as_str());
    let uid = node.and_then(|it| uid(it));
    let planned = uid.as_ref().and_then(|uid| view?.fleet.nodes.get(uid));
    let cluster = node.and_then(|it| it.cluster.clone());
    let of_agent = planned.and_then(|it| it.agent.kernel.clone());
    let kernel =
        of_agent.or_else(|| cluster.and_then(|it| it.kernel.as_deref().map(str::to_owned)));
    let into = kernel.as_ref().map_or_else(String::new, |kernel| format!(" into kernel {kernel}"));
    let request = match &uid {
        Some(uid) => view.and_then(|it| it.fleet.requests.get(uid)),
        None => view.and_then(|it| it.fleet.requests.values().find(|it| it.node == *name)),
    };
    if let Some(request) = request {
        if let Some(release) = &request.wish.release {
            return Some(format!("released by {}: {}", release.by, release.reason));
        }
        return Some(match request.progress.state {
            State::Done => format!("rebooted{into}"),
            State::Booted | State::Verifying | State::Uncordoning => {
                format!("it rebooted{into} and is being checked")
            }
            State::Cancelled => match &request.progress.failure {
                Some(fault) => format!("the request ended: {}", fault.message),
                None => "the request was called off".to_owned(),
            },
            State::NodeGone => "there is no such node any more".to_owned(),
            state @ (State::Needed
            | State::Blocked
            | State::Ready
            | State::Claimed
            | State::Cordoning
            | State::Draining
            | State::Granted
            | State::Rebooting
            | State::RollingBack
            | State::Backoff
            | State::NotReturned
            | State::Quarantined) => format!("the request is {state:?} now"),
        });
    }
    let rebooted = planned.zip(view).and_then(|(node, view)| {
        let last = view.fleet.past.last_reboots(&node.uid).map(|it| it.at).max()?;
        (world.now.since(last) < RECENT_SECS).then_some(last)
    });
    if let Some(at) = rebooted {
        return Some(format!("rebooted{into} at {at}"));
    }
    // The kernel that the reboot was for runs now.
    let reason = values.get("reason").map(String::as_str).unwrap_or_default();
    let kernel = kernel?;
    let is_for_it = reason.split([' ', ',']).skip_while(|it| *it != "->").any(|it| it == kernel);
    is_for_it.then(|| format!("rebooted into kernel {kernel}"))
}

/// A reboot before that ended something else.
const RECENT_SECS: i64 = 86_400;
