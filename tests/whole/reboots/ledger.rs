//! What became of nodes and of requests, by the API server's own record: each change in the order in
//! which etcd took it, whoever made it and however many collectors were alive.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde_json::Value;

use super::bench::Bench;

/// States in which a node is in the hands of a collector; a claim may still be withdrawn.
const IN_FLIGHT: [&str; 9] = [
    "Cordoning",
    "Draining",
    "Granted",
    "Rebooting",
    "NotReturned",
    "Booted",
    "Verifying",
    "Quarantined",
    "Uncordoning",
];

/// A request that went to another state.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    /// Which node.
    pub(super) node: String,
    /// Where it went.
    pub(super) state: String,
    /// Nodes that are in flight from then on.
    pub(super) in_flight: BTreeSet<String>,
}

/// The record so far.
pub(super) struct Ledger {
    /// Each state that a request entered.
    pub(super) turns: Vec<Turn>,
    /// Nodes that bore a cordon of ours at the same time, at most.
    pub(super) most_cordoned: usize,
    /// The epochs in which collectors changed nodes and requests, one for each change.
    pub(super) epochs: Vec<u64>,
}

impl Ledger {
    /// Nodes that were in flight at the same time, at most.
    pub(super) fn most_in_flight(&self) -> usize {
        self.turns.iter().map(|turn| turn.in_flight.len()).max().unwrap_or(0)
    }

    /// How often each node entered this state.
    pub(super) fn entered(&self, state: &str) -> BTreeMap<&str, usize> {
        let mut entered = BTreeMap::new();
        for turn in self.turns.iter().filter(|turn| turn.state == state) {
            *entered.entry(&*turn.node).or_default() += 1;
        }
        entered
    }
}

impl Bench {
    /// The record so far.
    pub(super) fn ledger(&self) -> Ledger {
        let mut changes: Vec<(u64, Value)> = self
            .cluster
            .audit_log()
            .into_iter()
            .filter_map(|event| Some((revision(&event)?, event)))
            .collect();
        changes.sort_by_key(|(revision, _)| *revision);
        let mut ledger = Ledger { turns: Vec::new(), most_cordoned: 0, epochs: Vec::new() };
        let (mut states, mut cordoned) = (BTreeMap::new(), BTreeSet::new());
        let mut in_flight = BTreeSet::new();
        for (_, event) in changes {
            let agent = event["userAgent"].as_str().unwrap_or_default();
            let epoch = agent.split_once("(epoch ").and_then(|(_, it)| it.strip_suffix(')'));
            ledger.epochs.extend(epoch.and_then(|it| it.parse::<u64>().ok()));
            let after = &event["responseObject"];
            let name = after["metadata"]["name"].as_str().expect("a name").to_owned();
            if event["objectRef"]["resource"] == "nodes" {
                let marker = &after["metadata"]["annotations"]["palisade.dev/cordoned-by"];
                if marker.is_string() {
                    cordoned.insert(name);
                } else {
                    cordoned.remove(&name);
                }
                ledger.most_cordoned = ledger.most_cordoned.max(cordoned.len());
                continue;
            }
            let node = after["spec"]["node"]["name"].as_str().expect("a node").to_owned();
            let state = after["status"]["state"].as_str().unwrap_or("Needed").to_owned();
            if states.insert(name, state.clone()).as_ref() == Some(&state) {
                continue;
            }
            if IN_FLIGHT.contains(&&*state) {
                in_flight.insert(node.clone());
            } else if state != "RollingBack" {
                in_flight.remove(&node);
            }
            ledger.turns.push(Turn { node, state, in_flight: in_flight.clone() });
        }
        ledger
    }
}

/// The revision of a node or a request that an event tells of; `None` for anything else.
fn revision(event: &Value) -> Option<u64> {
    let object = &event["objectRef"];
    let is_ours = matches!(object["resource"].as_str(), Some("nodes" | "rebootrequests"));
    let is_change = matches!(event["verb"].as_str(), Some("create" | "update" | "patch"));
    let is_done = event["responseStatus"]["code"].as_u64().is_some_and(|code| code < 300);
    let revision = event["responseObject"]["metadata"]["resourceVersion"].as_str()?;
    if is_ours && is_change && is_done { revision.parse().ok() } else { None }
}
