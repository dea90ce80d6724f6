//! Counts over the fleet, as the engine keeps them; nothing is computed here.

use std::collections::BTreeMap;

use palisade_alert::severity::Severity as Loud;
use palisade_report::Digest;
use palisade_report::SectionName;
use palisade_rules::Profile;
use palisade_rules::Severity;
use serde::Serialize;

use super::answer::Answer;
use super::metrics::notifications::Notifications;
use super::nodes::Counts;
use crate::snapshot::NodeState;
use crate::snapshot::Readiness;
use crate::snapshot::Snapshot;

/// The summary of a snapshot, and of alerts as they were worked out last.
#[must_use]
pub fn of(snapshot: &Snapshot, profile: &Profile, told: &Notifications) -> Answer {
    #[derive(Serialize)]
    struct Summary<'a> {
        nodes: BTreeMap<&'static str, u64>,
        findings: Counts,
        severities: BTreeMap<&'static str, Counts>,
        alerts: BTreeMap<&'static str, u64>,
        sections: Sections,
        judging: Vec<Group<'a>>,
        profile: Name<'a>,
        store: &'static str,
    }
    #[derive(Serialize)]
    struct Sections {
        distinct: u64,
        bytes: u64,
    }
    #[derive(Serialize)]
    struct Group<'a> {
        sections: &'a [SectionName],
        judgements: u64,
    }
    #[derive(Serialize)]
    struct Name<'a> {
        name: &'a str,
        digest: Digest,
        rules: usize,
    }
    let counters = &*snapshot.counters;
    let mut nodes: BTreeMap<_, _> =
        NodeState::ALL.map(|state| (state.as_str(), counters.nodes(state))).into();
    nodes.insert("enrolling", counters.enrolling);
    let severities = Severity::ALL
        .map(|severity| (severity.as_str(), Counts::from(counters.severity(severity))))
        .into();
    let mut alerts: BTreeMap<_, u64> =
        [Loud::Info, Loud::Warning, Loud::Critical].map(|it| (it.as_str(), 0)).into();
    for ((_, severity), count) in &told.firing {
        if let Some(sum) = alerts.get_mut(severity.as_str()) {
            *sum = sum.saturating_add(*count);
        }
    }
    let judging = counters
        .groups
        .iter()
        .map(|group| Group { sections: &group.sections, judgements: group.judgements })
        .collect();
    let name = profile.name();
    Answer::json(&Summary {
        nodes,
        findings: counters.findings.into(),
        severities,
        alerts,
        sections: Sections { distinct: counters.sections, bytes: counters.section_bytes },
        judging,
        profile: Name { name, digest: snapshot.profile, rules: profile.rules().len() },
        store: match snapshot.readiness {
            Readiness::Ready => "ready",
            Readiness::Failing { .. } => "failing",
        },
    })
}
