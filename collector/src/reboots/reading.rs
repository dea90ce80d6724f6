//! Pods of nodes whose turn it may be, read when a plan asks for them. One node whose pods cannot be
//! read waits with the cause; it keeps nobody else from being asked.

use std::sync::Arc;

use palisade_plan::fleet::Fleet;
use palisade_plan::fleet::Known;
use palisade_plan::plan;
use palisade_plan::plan::Plan;
use palisade_plan::policy::Policy;
use palisade_report::NodeUid;

use super::allowance::Allowance;
use super::coordinator::Coordinator;
use crate::chain::Chain;

/// Rounds of questions about pods at one look; the next look goes on where this one ends.
const MAX_ROUNDS: usize = 16;

/// Nodes whose pods are read at one look, and seconds within which the last of them begins: what is
/// under way is stepped between two looks only.
const MAX_READ: usize = 128;
const READ_SECS: i64 = 5;

impl Coordinator {
    /// Reads the pods that a plan asks for. One node that turns out to be blocked makes room for the
    /// question about the next one.
    pub(super) async fn read_on(
        &mut self,
        mut plan: Plan,
        fleet: &mut Fleet,
        policy: &Policy,
    ) -> Plan {
        let mut allowance = Allowance::of(MAX_READ, READ_SECS, self.clock.now());
        for _ in 0..MAX_ROUNDS {
            if plan.ask.is_empty() || !self.is_fresh {
                break;
            }
            let mut is_through = true;
            for uid in &plan.ask {
                is_through = allowance.takes(self.clock.now());
                if !is_through {
                    break;
                }
                self.read_pods(uid, fleet).await;
            }
            plan = plan::plan(fleet, policy, self.clock.now());
            if !is_through {
                break;
            }
        }
        plan
    }

    /// Reads the pods of a node into the fleet, or shuts its gate with the cause; whether they were
    /// read.
    pub(super) async fn read_pods(&mut self, uid: &NodeUid, fleet: &mut Fleet) -> bool {
        let Some(around) = &self.around else { return false };
        let Known::Known(pods) = &mut fleet.pods else { return false };
        let Some(node) = fleet.nodes.get_mut(uid) else { return false };
        match self.workloads.pods_of(&node.name, around).await {
            Ok(found) => {
                let found: Arc<[_]> = Arc::from(found);
                self.asked.insert(uid.clone(), (self.clock.now(), Arc::clone(&found)));
                pods.insert(uid.clone(), found);
                self.refused.read(uid);
                true
            }
            Err(error) => {
                let cause = Chain(&error).to_string();
                // What was read before is not what is there now.
                self.asked.remove(uid);
                pods.remove(uid);
                let now = self.clock.now();
                let (blocker, is_news) = self.refused.not_read(uid.clone(), cause, now);
                if is_news {
                    tracing::warn!(node = %node.name, cause = %blocker.value, "not planned yet");
                }
                node.blockers.push(blocker);
                false
            }
        }
    }
}
