//! What the planner decides, rule by rule; each file one part of the specification.

use palisade_report::Moment;
use palisade_report::NodeUid;

use super::*;
use crate::plan::sample::NOW;
use crate::plan::sample::uid;

mod alerts;
mod caps;
mod control_plane;
mod gates;
mod law;
mod time;
mod wave;

/// Names of the nodes that start.
fn started(fleet: &Fleet, policy: &Policy) -> Vec<String> {
    names(&plan(fleet, policy, NOW).start)
}

/// Names behind UIDs, as the samples give them.
fn names(uids: &[NodeUid]) -> Vec<String> {
    uids.iter().map(|uid| uid.as_str().trim_start_matches("uid-").to_owned()).collect()
}

/// Gates of the node of this name that are shut.
fn shut_gates(fleet: &Fleet, policy: &Policy, name: &str) -> Vec<Gate> {
    let plan = plan(fleet, policy, NOW);
    plan.places[&uid(name)].blockers.iter().map(|blocker| blocker.gate).collect()
}

/// The first blocker of the node of this name.
fn first_blocker(fleet: &Fleet, policy: &Policy, name: &str) -> Blocker {
    plan(fleet, policy, NOW).places[&uid(name)].blockers[0].clone()
}

/// The view of one gate of the node of this name.
fn view(fleet: &Fleet, policy: &Policy, name: &str, gate: Gate) -> GateView {
    let views = explain(fleet, policy, &uid(name), NOW);
    let gates: Vec<Gate> = views.iter().map(|view| view.gate).collect();
    assert_eq!(gates, Gate::ALL, "every gate, in order");
    views.into_iter().find(|view| view.gate == gate).unwrap()
}

fn eta(fleet: &Fleet, policy: &Policy, name: &str) -> Option<Moment> {
    plan(fleet, policy, NOW).places[&uid(name)].eta
}
