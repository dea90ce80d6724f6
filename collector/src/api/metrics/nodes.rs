//! Figures of single nodes, for those who alert or draw by node. On an address of their own: whoever
//! does not ask for them does not pay for one set of series per node.

use std::collections::BTreeMap;

use palisade_plan::fleet::Need;
use palisade_report::Moment;
use palisade_rules::Verdict;

use super::exposition::Exposition;
use super::exposition::Labels;
use super::exposition::Shape;
use crate::planned::View;
use crate::snapshot::Node;
use crate::snapshot::Snapshot;

/// Nodes that are shown, in order of their names: about six series each.
pub const MAX_NODES: usize = 20_000;

/// The rule whose finding says whether a node must reboot, where no coordinator looks at it.
pub const NEEDED: &str = "reboot.needed";

/// The text; `None` where the state is not this collector's to know, which describes the families only.
#[must_use]
pub fn text(snapshot: Option<&Snapshot>, view: Option<&View>) -> String {
    let live = |node: &&Node| node.state.is_live();
    let all = || {
        let nodes = snapshot.into_iter().flat_map(|snapshot| snapshot.nodes.iter());
        nodes.map(|node| &**node).filter(live)
    };
    let shown: Vec<(Labels, &Node)> = all()
        .take(MAX_NODES)
        .map(|node| (Labels::default().with("node", node.name.as_str()), node))
        .collect();
    let mut out = Exposition::default();
    let help = "1: by how long it has been quiet, the node is in this state";
    let mut samples = out.family("palisade_node_state", Shape::Gauge, help);
    for (labels, node) in &shown {
        samples.set(&labels.clone().with("state", node.state.as_str()), 1);
    }
    reboots(&mut out, &shown, view);
    let help = "Findings of the node by verdict, those that need a person";
    let mut samples = out.family("palisade_node_findings", Shape::Gauge, help);
    for (labels, node) in &shown {
        for verdict in Verdict::ALL.into_iter().filter(|verdict| verdict.is_open()) {
            let labels = labels.clone().with("verdict", verdict.as_str());
            samples.count(&labels, node.counts.of(verdict));
        }
    }
    let help = "Nodes that are not shown here, the last by their names";
    let mut samples = out.family("palisade_nodes_left_out", Shape::Gauge, help);
    if snapshot.is_some() {
        let left_out = all().skip(MAX_NODES).count();
        samples.count(&Labels::default(), u64::try_from(left_out).unwrap_or(u64::MAX));
    }
    out.into_text()
}

fn reboots(out: &mut Exposition, shown: &[(Labels, &Node)], view: Option<&View>) {
    let needs: Vec<_> = shown.iter().map(|(labels, node)| (labels, need(node, view))).collect();
    let help = "Whether the node must reboot: 1, 0; without a value where that cannot be told";
    let mut samples = out.family("palisade_node_reboot_required", Shape::Gauge, help);
    for (labels, needed) in &needs {
        match needed {
            Needed::Since(_) => samples.set(labels, 1),
            Needed::Not => samples.set(labels, 0),
            Needed::CannotTell => {}
        }
    }
    let help = "Since when the node must reboot, in Unix time";
    let name = "palisade_node_reboot_required_since_seconds";
    let mut samples = out.family(name, Shape::Gauge, help);
    for (labels, needed) in &needs {
        if let Needed::Since(Some(since)) = needed {
            samples.set(labels, since.unix());
        }
    }
    let help = "1: the request for a reboot of the node is in this state";
    let mut samples = out.family("palisade_node_reboot_state", Shape::Gauge, help);
    let states: BTreeMap<&str, String> = view
        .into_iter()
        .flat_map(|view| view.fleet.requests.values())
        .filter(|request| !request.progress.state.is_terminal())
        .map(|request| (request.node.as_str(), format!("{:?}", request.progress.state)))
        .collect();
    for (labels, node) in shown {
        if let Some(state) = states.get(node.name.as_str()) {
            samples.set(&labels.clone().with("state", state), 1);
        }
    }
}

/// Whether a node must reboot.
enum Needed {
    /// It must; since when, where that is known.
    Since(Option<Moment>),
    Not,
    CannotTell,
}

/// By what the coordinator sees, else by what the judge said.
fn need(node: &Node, view: Option<&View>) -> Needed {
    let seen = view.zip(node.uid.as_ref()).and_then(|(view, uid)| view.fleet.nodes.get(uid));
    if let Some(seen) = seen {
        return match &seen.agent.need {
            Need::Needed { since, .. } => Needed::Since(Some(*since)),
            Need::NotNeeded => Needed::Not,
            Need::Unknown { .. } => Needed::CannotTell,
        };
    }
    let Some(finding) = node.findings().find(|it| it.rule.as_str() == NEEDED) else {
        return Needed::CannotTell;
    };
    match finding.waiver.as_ref().map_or(finding.verdict, |waiver| waiver.instead_of) {
        Verdict::Fail => {
            let episode = node.episode(&finding.rule, &finding.subject);
            Needed::Since(episode.map(|episode| episode.first_seen_at))
        }
        Verdict::Pass => Needed::Not,
        Verdict::NotApplicable | Verdict::Unknown | Verdict::Waived => Needed::CannotTell,
    }
}

#[cfg(test)]
mod tests {
    use palisade_rules::Evidence;
    use palisade_rules::Finding;
    use palisade_rules::Severity;

    use super::*;
    use crate::snapshot::NodeState;
    use crate::snapshot::tests::found;
    use crate::snapshot::tests::of;

    fn needed(verdict: Verdict) -> Vec<Finding> {
        let rule = NEEDED.parse().unwrap();
        let (subject, evidence) = (String::new(), Evidence::default());
        let severity = Severity::Medium;
        vec![Finding { rule, verdict, severity, subject, evidence, waiver: None }]
    }

    #[test]
    fn a_node_of_which_it_cannot_be_told_is_neither_one_nor_zero() {
        let gone = Node { state: NodeState::Gone, ..found("d", needed(Verdict::Fail)) };
        let nodes = [
            found("a", needed(Verdict::Fail)),
            found("b", needed(Verdict::Pass)),
            found("c", needed(Verdict::Unknown)),
            gone,
        ];
        let text = text(Some(&of(nodes)), None);
        let lines = |name: &str| -> Vec<&str> {
            text.lines().filter_map(|line| line.strip_prefix(name)).collect()
        };
        let expected = [r#"{node="a"} 1"#, r#"{node="b"} 0"#];
        assert_eq!(lines("palisade_node_reboot_required"), expected);
        assert_eq!(lines("palisade_node_state").len(), 3, "{text}");
        assert_eq!(lines("palisade_nodes_left_out"), [" 0"]);
    }
}
