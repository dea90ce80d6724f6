//! Fleets for tests.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use palisade_plan::fleet::Agent;
use palisade_plan::fleet::Cordon;
use palisade_plan::fleet::Fleet;
use palisade_plan::fleet::Known;
use palisade_plan::fleet::Need;
use palisade_plan::fleet::Node;
use palisade_plan::fleet::Past;
use palisade_plan::fleet::Ready;
use palisade_plan::fleet::Role;
use palisade_report::Moment;

/// Ready nodes of these names, which are their UIDs too; they need nothing.
pub(super) fn fleet_of(names: &[&str], now: Moment) -> Fleet {
    let nodes = names.iter().map(|name| {
        let node = Node {
            name: name.parse().unwrap(),
            uid: name.parse().unwrap(),
            labels: Arc::default(),
            role: Role::Worker,
            ready: Ready::Since(now),
            cordon: Cordon::Schedulable,
            taints: BTreeSet::new(),
            hold: None,
            agent: Agent {
                heard_at: Some(now),
                boot: None,
                kernel: None,
                next_kernel: None,
                need: Need::NotNeeded,
                stable_since: None,
                package_manager: Known::Known(None),
                reboot_method: Known::Known("logind".to_owned()),
                hold_file: Known::Known(None),
                unsafe_to_reboot: Vec::new(),
                due_by: None,
                report: None,
            },
            blockers: Vec::new(),
            objections: Vec::new(),
        };
        (node.uid.clone(), node)
    });
    Fleet {
        nodes: nodes.collect(),
        requests: BTreeMap::new(),
        pods: Known::Known(BTreeMap::new()),
        budgets: Known::Known(BTreeMap::new()),
        blockers: Vec::new(),
        etcd: None,
        past: Past::default(),
        own_node: None,
        frozen_at: None,
    }
}
