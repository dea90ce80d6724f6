//! The node that the collector itself runs on: rebooted by another collector, where one can lead.
//!
//! Without another one it goes last, and its drain moves the collector: the next one goes on with the
//! request where this one stopped.

use palisade_plan::fleet::Cordon;
use palisade_plan::fleet::Fleet;
use palisade_plan::fleet::Ready;
use palisade_plan::plan::Plan;
use palisade_plan::request::State;
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
        let others = others
            .iter()
            .filter(|it| it.pod != *own && !self.hand_over.has_passed(&it.run, now_ms));
        match successor(others, plan, fleet) {
            Successor::Now(successor) => {
                tracing::info!(
                    node = %successor.node, collector = %successor.pod,
                    "this node is to reboot, and another collector is to see to that"
                );
                self.hand_over.ask(&successor.run, now_ms);
                true
            }
            Successor::Later => true,
            Successor::Nobody => false,
        }
    }
}

/// Who could reboot the node that this collector runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Successor<'r> {
    /// One that stays where it is: its node is well and neither under way nor about to be.
    Now(&'r Running),
    /// One whose own node is rebooted first: two that move at once leave nobody to lead.
    Later,
    /// No other one can lead, as far as known.
    Nobody,
}

fn successor<'r>(
    others: impl Iterator<Item = &'r Running>,
    plan: &Plan,
    fleet: &Fleet,
) -> Successor<'r> {
    let mut found = Successor::Nobody;
    for running in others {
        let node = fleet.nodes.iter().find(|(_, node)| node.name.as_str() == running.node);
        let Some((uid, node)) = node.filter(|(uid, _)| fleet.own_node.as_ref() != Some(uid)) else {
            continue;
        };
        let request = fleet.requests.get(uid);
        let state = request.map(|it| it.progress.state).filter(|state| state.holds_slot());
        match state {
            // As long as that takes, which is as long as people take.
            Some(State::Quarantined | State::NotReturned) => {}
            // Each of them has its deadline.
            Some(_) => found = Successor::Later,
            None if plan.start.contains(uid) => found = Successor::Later,
            None => {
                if matches!(node.ready, Ready::Since(_)) && node.cordon == Cordon::Schedulable {
                    return Successor::Now(running);
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use palisade_plan::plan;
    use palisade_plan::policy::Policy;
    use palisade_plan::step;
    use palisade_report::Moment;

    use super::*;
    use crate::reboots::errand;
    use crate::reboots::sample::fleet_of;

    const NOW: Moment = Moment::from_unix(1_800_000_000);

    fn running(node: &str) -> Running {
        let (pod, run) = (format!("palisade-collector-{node}"), format!("{node} 0"));
        Running { pod, node: node.to_owned(), run }
    }

    /// The own node is `a`; `b` is in this state, or about to start.
    fn seen(state: Option<State>, starts: bool) -> (Fleet, Plan) {
        let mut fleet = fleet_of(&["a", "b", "c"], NOW);
        fleet.own_node = Some("a".parse().unwrap());
        let b: NodeUid = "b".parse().unwrap();
        if let Some(state) = state {
            let wish = errand::asked(None, None, "anna", NOW);
            let mut request =
                step::requested(fleet.nodes[&b].name.clone(), b.clone(), wish, 1, NOW);
            request.progress.state = state;
            fleet.requests.insert(b.clone(), request);
        }
        let mut plan = plan::plan(&fleet, &Policy::default(), NOW);
        plan.start = ["a".parse().unwrap()].into_iter().chain(starts.then_some(b)).collect();
        (fleet, plan)
    }

    #[test]
    fn two_collectors_do_not_move_at_once() {
        let (b, c) = (running("b"), running("c"));
        let to = |others: &[&Running], state, starts| {
            let (fleet, plan) = seen(state, starts);
            match successor(others.iter().copied(), &plan, &fleet) {
                Successor::Now(running) => running.node.clone(),
                Successor::Later => "later".to_owned(),
                Successor::Nobody => "nobody".to_owned(),
            }
        };
        assert_eq!(to(&[&b], None, false), "b");
        assert_eq!(to(&[], None, false), "nobody");
        assert_eq!(to(&[&running("a"), &running("x")], None, false), "nobody");
        assert_eq!(to(&[&b], None, true), "later", "it starts in the same look");
        assert_eq!(to(&[&b, &c], None, true), "c");
        for state in [State::Claimed, State::Draining, State::Rebooting, State::Uncordoning] {
            assert_eq!(to(&[&b], Some(state), false), "later", "{state:?}");
            assert_eq!(to(&[&b, &c], Some(state), false), "c", "{state:?}");
        }
        for state in [State::Quarantined, State::NotReturned] {
            assert_eq!(to(&[&b], Some(state), false), "nobody", "{state:?} ends by a person only");
        }
        assert_eq!(to(&[&b], Some(State::Backoff), false), "b");
    }
}
