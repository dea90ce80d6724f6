//! The node that the collector itself runs on: rebooted by another collector, where one can lead.
//!
//! Without another one it goes last, and its drain moves the collector: the next one goes on with the
//! request where this one stopped.

use palisade_plan::fleet::Cordon;
use palisade_plan::fleet::Fleet;
use palisade_plan::fleet::Ready;
use palisade_plan::plan::Plan;
use palisade_report::NodeUid;

use super::coordinator::Coordinator;
use crate::chain::Chain;
use crate::kube::workloads::Running;

impl Coordinator {
    /// Whether this node is left to another collector, which this one makes room for.
    pub(super) async fn leaves_to_another(
        &self,
        uid: &NodeUid,
        plan: &Plan,
        fleet: &Fleet,
    ) -> bool {
        if fleet.own_node.as_ref() != Some(uid) {
            return false;
        }
        if self.hand_over.is_asked() {
            return true;
        }
        let now_ms = self.boot_clock.boot_ms();
        if self.hand_over.was_tried(now_ms) {
            return false;
        }
        let (namespace, own) = &self.identity;
        let others = match self.workloads.collectors(namespace).await {
            Ok(others) => others,
            Err(error) => {
                // Asked again at the next look.
                tracing::warn!(cause = %Chain(&error), "whether another collector runs is not known");
                return true;
            }
        };
        let others = others.iter().filter(|it| it.pod != *own);
        let Some(successor) = successor(others, plan, fleet) else { return false };
        tracing::info!(
            node = %successor.node, collector = %successor.pod,
            "this node is to reboot, and another collector is to see to that"
        );
        self.hand_over.ask(now_ms);
        true
    }
}

/// A collector that stays where it is: its node is well and neither under way nor about to be.
fn successor<'r>(
    mut others: impl Iterator<Item = &'r Running>,
    plan: &Plan,
    fleet: &Fleet,
) -> Option<&'r Running> {
    others.find(|running| {
        let found = fleet.nodes.iter().find(|(_, node)| node.name.as_str() == running.node);
        found.is_some_and(|(uid, node)| {
            let request = fleet.requests.get(uid);
            matches!(node.ready, Ready::Since(_))
                && node.cordon == Cordon::Schedulable
                && fleet.own_node.as_ref() != Some(uid)
                && !plan.start.contains(uid)
                && !request.is_some_and(|it| it.progress.state.holds_slot())
        })
    })
}
