//! Figures for Prometheus, in OpenMetrics text. Labels come from closed sets only: no node names.
//!
//! What has a name of a node or a file in its labels is told elsewhere, to whoever asks for it:
//!
//! ```text
//! /metrics               of the fleet and of this process, some hundred series at most
//! /metrics/nodes         nodes.rs: of each node
//! /metrics/certificates  certificates.rs: of each certificate
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use prometheus_client::registry::Unit;

use palisade_plan::request::Alert;
use palisade_plan::request::State;
use palisade_report::Moment;
use palisade_report::wire::PREFIX;
use palisade_rules::Severity;
use palisade_rules::Verdict;

pub mod certificates;
pub mod exposition;
pub mod kept;
mod name;
pub mod nodes;
pub mod notifications;

use self::exposition::Exposition;
use self::exposition::Shape;
use self::notifications::Notifications;
use super::answer::Answer;
use super::answer::Kind;
use super::answer::Media;
use super::answer::Refused;
use crate::auth::Reason;
use crate::figures::Counted;
use crate::figures::Figures;
use crate::figures::OwnCertificates;
use crate::figures::STATUS_CLASSES;
use crate::figures::TURNED_AWAY;
use crate::kube::Standing;
use crate::planned::Planned;
use crate::snapshot::NodeState;
use crate::snapshot::Readiness;
use crate::snapshot::Snapshot;

type Labels = Vec<(&'static str, String)>;

/// What `reboot.needed` says of a node, by the word for it.
const NEEDS: [(&str, Verdict); 3] =
    [("needed", Verdict::Fail), ("not-needed", Verdict::Pass), ("unknown", Verdict::Unknown)];

/// What a collector knows of its fleet once the stored state is loaded.
#[derive(Debug)]
pub struct Fleet {
    /// The newest picture.
    pub snapshot: Arc<Snapshot>,
    /// The end of the certificate that ends first.
    pub earliest_end: Option<Moment>,
}

/// The figures of the fleet, of the HTTP side, and of what this collector is among its replicas.
/// `notified`: those of the notifier, and now.
///
/// # Errors
/// [`Refused`] if the text cannot be written, which nothing known causes.
pub fn text(
    known: Option<&Fleet>,
    figures: &Figures,
    open_connections: usize,
    standing: Option<&Standing>,
    planned: &Planned,
    notified: (&Notifications, Option<Moment>),
) -> Result<Answer, Refused> {
    let mut registry = Registry::with_prefix(PREFIX);
    if let Some(Fleet { snapshot, .. }) = known {
        fleet(&mut registry, snapshot);
    }
    traffic(&mut registry, figures, open_connections);
    own_certificates(&mut registry, figures);
    registry.register_with_unit(
        "reboot_look",
        "Time of a look at all reboots, calls to the API server included",
        Unit::Seconds,
        planned.looks().clone(),
    );
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|error| {
        tracing::error!(%error, "the figures cannot be written");
        Refused::new(Kind::Internal, "the figures cannot be written")
    })?;
    let mut text = Exposition::after(text);
    replica(&mut text, standing);
    by_rule(&mut text, known.map(|known| &*known.snapshot));
    ends(&mut text, known.and_then(|known| known.earliest_end), figures);
    reboots(&mut text, known.map(|known| &*known.snapshot), planned);
    let (notifications, now) = notified;
    notifications::put(&mut text, notifications, now);
    Ok(Answer::text(Media::OpenMetrics, text.into_text()))
}

/// The figures of certificates of a collector that knows none: the families, without series.
#[must_use]
pub fn no_certificates() -> Answer {
    // Without certificates nothing is compared with now.
    let text = certificates::text(None, &mut certificates::Tally::default(), Moment::from_unix(0));
    Answer::text(Media::OpenMetrics, text)
}

/// The same of nodes.
#[must_use]
pub fn no_nodes() -> Answer {
    Answer::text(Media::OpenMetrics, nodes::text(None, None))
}

/// Who must reboot, how far reboots are, and the alerts about them; about which nodes the API says.
fn reboots(out: &mut Exposition, snapshot: Option<&Snapshot>, planned: &Planned) {
    let label = |name, value: &str| exposition::Labels::default().with(name, value);
    let help = "Nodes by whether they must reboot, as judged by the rule reboot.needed";
    let mut samples = out.family("palisade_nodes_by_reboot_need", Shape::Gauge, help);
    let counts = snapshot.and_then(|snapshot| {
        snapshot.counters.rules.iter().find(|(rule, _)| rule.as_str() == nodes::NEEDED)
    });
    if let Some((_, counts)) = counts {
        for (word, verdict) in NEEDS {
            samples.count(&label("need", word), counts.of(verdict));
        }
    }
    let view = planned.view();
    let mut states: BTreeMap<State, u64> = BTreeMap::new();
    let mut raised: BTreeMap<Alert, u64> = BTreeMap::new();
    if let Some(view) = &view {
        states = State::ALL.into_iter().map(|state| (state, 0)).collect();
        for request in view.fleet.requests.values() {
            let count = states.entry(request.progress.state).or_default();
            *count = count.saturating_add(1);
        }
        for alert in view.alerts.values().flatten() {
            let count = raised.entry(*alert).or_default();
            *count = count.saturating_add(1);
        }
    }
    let help = "Requests for reboots by their state";
    let mut samples = out.family("palisade_reboot_requests", Shape::Gauge, help);
    for (state, count) in states {
        samples.count(&label("state", &format!("{state:?}")), count);
    }
    let help = "Nodes with this alert about their reboot";
    let mut samples = out.family("palisade_reboot_alerts", Shape::Gauge, help);
    for (alert, count) in raised {
        samples.count(&label("alert", &format!("{alert:?}")), count);
    }
}

/// Nothing but the families where there are no replicas.
fn replica(out: &mut Exposition, standing: Option<&Standing>) {
    let found = standing.map(|standing| match standing {
        Standing::Leading { epoch, .. } => (1, epoch.0),
        Standing::Suspended { epoch } => (0, epoch.0),
        Standing::Standby { .. } => (0, 0),
    });
    let epoch = "The term of leadership that this collector has, or may still have; 0: none";
    for (name, help, value) in [
        ("palisade_leader", "Whether this collector may act", found.map(|(leads, _)| leads)),
        ("palisade_leader_epoch", epoch, found.map(|(_, epoch)| epoch)),
    ] {
        let mut samples = out.family(name, Shape::Gauge, help);
        if let Some(value) = value {
            samples.count(&exposition::Labels::default(), value);
        }
    }
}

fn fleet(registry: &mut Registry, snapshot: &Snapshot) {
    let counters = &*snapshot.counters;
    let nodes = gauges(registry, "nodes", "Nodes by how long they have been quiet");
    for state in NodeState::ALL {
        set(&nodes, &[("state", state.as_str())], counters.nodes(state));
    }
    gauge(registry, "nodes_enrolling", "Nodes whose report is on its way", counters.enrolling);
    let findings = gauges(registry, "findings", "Findings by severity and verdict");
    for severity in Severity::ALL {
        for verdict in Verdict::ALL {
            let labels = [("severity", severity.as_str()), ("verdict", verdict.as_str())];
            set(&findings, &labels, counters.severity(severity).of(verdict));
        }
    }
    let judgements = counted(registry, "judgements", "Judgements made, by the sections read");
    for group in &counters.groups {
        let names: Vec<_> = group.sections.iter().map(|name| name.as_str()).collect();
        count(&judgements, &[("sections", &names.join("+"))], group.judgements);
    }
    gauge(registry, "sections", "Distinct sections stored", counters.sections);
    gauge(
        registry,
        "section_bytes",
        "Canonical bytes of all stored sections",
        counters.section_bytes,
    );
    let help = "Commits that failed";
    counter(registry, "failed_commits", help, counters.failed_commits);
    let help = "Heartbeats that used a sequence number again for another report";
    counter(registry, "sequence_conflicts", help, counters.sequence_conflicts);
    let ready = u64::from(snapshot.readiness == Readiness::Ready);
    gauge(registry, "store_ready", "Whether the store takes writes", ready);
}

fn by_rule(out: &mut Exposition, snapshot: Option<&Snapshot>) {
    let help = "Open findings by rule and verdict";
    let mut samples = out.family("palisade_rule_findings", Shape::Gauge, help);
    for (rule, counts) in snapshot.into_iter().flat_map(|snapshot| &snapshot.counters.rules) {
        for verdict in Verdict::ALL.into_iter().filter(|verdict| verdict.is_open()) {
            let labels = exposition::Labels::default().with("rule", rule.as_str());
            samples.count(&labels.with("verdict", verdict.as_str()), counts.of(verdict));
        }
    }
}

fn traffic(registry: &mut Registry, figures: &Figures, open_connections: usize) {
    let Counted {
        accept_errors,
        broken_connections,
        denied,
        failed_handshakes,
        refused_bodies,
        refused_sections,
        replies,
        stored_sections,
        turned_away,
        uploads,
        heartbeats,
    } = figures.counted();
    let open = u64::try_from(open_connections).unwrap_or(u64::MAX);
    gauge(registry, "connections", "Open connections", open);
    for (name, help, value) in [
        ("accept_errors", "Connections that could not be accepted", accept_errors),
        ("broken_connections", "Connections ended by a fault or a timeout", broken_connections),
        ("failed_handshakes", "TLS handshakes that failed", failed_handshakes),
        ("heartbeats", "Heartbeats that reached the engine", heartbeats),
        ("refused_bodies", "Request bodies that were not taken", refused_bodies),
        ("refused_sections", "Uploaded sections that were not taken", refused_sections),
        ("stored_sections", "Uploaded sections that were taken", stored_sections),
        ("uploads", "Uploads", uploads),
    ] {
        counter(registry, name, help, value);
    }
    let refused = counted(registry, "identity_refused", "Requests turned away for who asked");
    for (reason, value) in Reason::ALL.into_iter().zip(denied) {
        count(&refused, &[("reason", reason.as_str())], value);
    }
    let by_status = counted(registry, "replies", "Replies by class of status");
    for (class, value) in STATUS_CLASSES.into_iter().zip(replies) {
        count(&by_status, &[("status", class)], value);
    }
    let away = counted(registry, "connections_turned_away", "Connections closed at a bound");
    for (bound, value) in TURNED_AWAY.into_iter().zip(turned_away) {
        count(&away, &[("bound", bound)], value);
    }
    registry.register_with_unit(
        "upload_commit",
        "Time until an upload was durable",
        Unit::Seconds,
        figures.commit_wait().0.clone(),
    );
}

/// Ends in Unix time. One that is not known has no sample, so that no alert compares it with now.
fn ends(out: &mut Exposition, earliest: Option<Moment>, figures: &Figures) {
    let OwnCertificates { serving_end, authority_end, behind: _ } = figures.own_certificates();
    for (name, help, end) in [
        (
            "palisade_certificate_earliest_end_seconds",
            "End of the certificate on any node that ends first, in Unix time",
            earliest,
        ),
        (
            "palisade_serving_certificate_end_seconds",
            "End of the collector's certificate, in Unix time",
            serving_end,
        ),
        (
            "palisade_authority_end_seconds",
            "End of the collector's own authority, in Unix time",
            authority_end,
        ),
    ] {
        let mut samples = out.family(name, Shape::Gauge, help);
        if let Some(end) = end {
            samples.set(&exposition::Labels::default(), end.unix());
        }
    }
}

/// What agents make of the collector's certificate, and what is written for others.
fn own_certificates(registry: &mut Registry, figures: &Figures) {
    let OwnCertificates { serving_end: _, authority_end: _, behind } = figures.own_certificates();
    let help = "Agents heard lately that do not trust exactly the published authorities";
    gauge(registry, "agents_behind_trust", help, behind);
    let help = "Conditions of nodes, Events and ClusterReports, by what became of them";
    let outputs = counted(registry, "outputs", help);
    for (output, value) in figures.outputs() {
        count(&outputs, &[("outcome", output.as_str())], value);
    }
}

fn labels(labels: &[(&'static str, &str)]) -> Labels {
    labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

fn gauges(registry: &mut Registry, name: &str, help: &str) -> Family<Labels, Gauge> {
    let family = Family::default();
    registry.register(name, help, family.clone());
    family
}

fn set(family: &Family<Labels, Gauge>, names: &[(&'static str, &str)], value: u64) {
    family.get_or_create(&labels(names)).set(i64::try_from(value).unwrap_or(i64::MAX));
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let gauge: Gauge = Gauge::default();
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    registry.register(name, help, gauge);
}

fn counted(registry: &mut Registry, name: &str, help: &str) -> Family<Labels, Counter> {
    let family = Family::default();
    registry.register(name, help, family.clone());
    family
}

fn count(family: &Family<Labels, Counter>, names: &[(&'static str, &str)], value: u64) {
    family.get_or_create(&labels(names)).inc_by(value);
}

fn counter(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let counter: Counter = Counter::default();
    counter.inc_by(value);
    registry.register(name, help, counter);
}
