//! Points at which a collector can be killed: each call that changes something, before and after the
//! API server executes it, in each state of the request that it is for. They are counted, and the next
//! one is chosen where the count is lowest.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;

use palisade_tests::cluster::proxy::Arrived;
use palisade_tests::cluster::proxy::Side;
use serde_json::Value;

/// Where requests for reboots are.
const REQUESTS: &str = "/apis/palisade.dev/v1alpha1/rebootrequests";

/// Where the Leases of nodes are.
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/medik8s-leases/leases";

/// Calls that pass without one being chosen, before any is.
const PATIENCE: usize = 60;

/// What is written, and for a request in which state; a written status stands for the state that it
/// brings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Point {
    pub(super) state: String,
    pub(super) call: &'static str,
}

/// Which points a trap is for.
#[derive(Clone, Debug, Default)]
pub(super) enum Wanted {
    /// All of them, the rarest first.
    #[default]
    Any,
    /// Writes of this state, each side in turn.
    State(&'static str),
}

/// All that passed by and all that was chosen.
#[derive(Debug, Default)]
pub(super) struct Points {
    pub(super) wanted: Wanted,
    /// How often each was chosen, before and after.
    chosen: BTreeMap<Point, [usize; 2]>,
    /// The state of the request of each node, by the node's name.
    states: BTreeMap<String, String>,
    /// Names of nodes by UID.
    names: BTreeMap<String, String>,
    /// Calls to let pass before the next choice, and how many have passed.
    let_pass: usize,
    passed: usize,
    last: Option<(Point, Side)>,
}

impl Points {
    /// Begins the life of another collector, of which so many calls pass first.
    pub(super) fn begin(&mut self, let_pass: usize) {
        (self.let_pass, self.passed, self.last) = (let_pass, 0, None);
    }

    /// Judges a call that has arrived.
    pub(super) fn judge(&mut self, arrived: &Arrived<'_>) -> Option<Side> {
        let (node, point) = self.point(arrived)?;
        self.passed += 1;
        let side = self.choice(&point);
        if side != Some(Side::Before) && matches!(point.call, "create" | "status") {
            self.states.insert(node, point.state.clone());
        }
        if let Some(side) = side {
            self.last = Some((point, side));
        }
        side
    }

    /// Counts what was chosen last, once it is certain that the collector was killed there.
    pub(super) fn count(&mut self) -> (Point, Side) {
        let (point, side) = self.last.take().expect("a point was chosen");
        let counts = self.chosen.entry(point.clone()).or_default();
        counts[usize::from(side == Side::After)] += 1;
        (point, side)
    }

    /// How many were counted.
    pub(super) fn total(&self) -> usize {
        self.chosen.values().flatten().sum()
    }

    /// How many were counted in each state, before and after.
    pub(super) fn by_state(&self) -> BTreeMap<&str, [usize; 2]> {
        let mut states = BTreeMap::<_, [usize; 2]>::new();
        for (point, [before, after]) in &self.chosen {
            let counts = states.entry(point.state.as_str()).or_default();
            *counts = [counts[0] + before, counts[1] + after];
        }
        states
    }

    /// The states in which any was counted.
    pub(super) fn states(&self) -> Vec<&str> {
        let counted = self.by_state().into_iter().filter(|(_, counts)| *counts != [0, 0]);
        counted.map(|(state, _)| state).collect()
    }

    fn choice(&mut self, point: &Point) -> Option<Side> {
        let counts = *self.chosen.entry(point.clone()).or_default();
        let side = if counts[0] <= counts[1] { Side::Before } else { Side::After };
        match self.wanted {
            Wanted::Any if self.passed <= self.let_pass => None,
            Wanted::Any => {
                let least = self.chosen.values().flatten().min().copied().unwrap_or_default();
                let least = least.max(self.total() / (4 * self.chosen.len().max(1)));
                let is_rare = counts.iter().min().is_some_and(|it| *it <= least);
                let is_due = self.passed > self.let_pass + PATIENCE;
                (is_rare || is_due).then_some(side)
            }
            Wanted::State(state) => {
                (point.state == state && point.call == "status").then_some(side)
            }
        }
    }

    /// Which node a call is about and what it does there; `None` if it does not belong to a reboot.
    fn point(&mut self, arrived: &Arrived<'_>) -> Option<(String, Point)> {
        let Arrived { method, path, query, body } = *arrived;
        if matches!(method, "GET" | "WATCH") {
            return None;
        }
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        if let Some(rest) = path.strip_prefix(REQUESTS) {
            let node = &body["spec"]["node"];
            if let (Some(uid), Some(name)) = (node["uid"].as_str(), node["name"].as_str()) {
                self.names.insert(uid.to_owned(), name.to_owned());
            }
            let uid = rest.trim_start_matches('/').trim_end_matches("/status");
            let uid = node["uid"].as_str().unwrap_or(uid);
            let name = self.names.get(uid)?.clone();
            let call = match method {
                "POST" => "create",
                "DELETE" => "delete",
                "PUT" => "status",
                _ if body["metadata"]["finalizers"].is_array() => "finalizer",
                _ => "spec",
            };
            let state = match (call, body["status"]["state"].as_str()) {
                ("status", Some(state)) => state.to_owned(),
                // What a request of this node came to before is not the state of this one.
                ("create", _) => "Needed".to_owned(),
                _ => self.state(&name),
            };
            return Some((name, Point { state, call }));
        }
        let (name, call) = if let Some(name) = path.strip_prefix("/api/v1/nodes/") {
            let marker = &body["metadata"]["annotations"]["palisade.dev/cordoned-by"];
            let call = match (marker.is_string(), marker.is_null()) {
                (true, _) => "cordon",
                (_, true) if body["metadata"]["annotations"].is_object() => "uncordon",
                _ => return None,
            };
            (name.to_owned(), call)
        } else if let Some(name) = path.strip_prefix(LEASES) {
            let name = match name.strip_prefix("/node-") {
                Some(name) => name.to_owned(),
                None => body["metadata"]["name"].as_str()?.strip_prefix("node-")?.to_owned(),
            };
            let holds = body["spec"]["holderIdentity"].is_string();
            (name, if holds { "take Lease" } else { "give Lease back" })
        } else if let Some(pod) = path.strip_suffix("/eviction") {
            let is_dry = query.contains("dryRun") || body["deleteOptions"]["dryRun"].is_array();
            if is_dry {
                return None;
            }
            (pod.to_owned(), "evict")
        } else if path.starts_with("/apis/events.k8s.io/") && body["action"] == "Reboot" {
            (body["regarding"]["name"].as_str()?.to_owned(), "tell")
        } else {
            return None;
        };
        // Whoever evicts has found the node in no other state.
        let state = if call == "evict" { "Draining".to_owned() } else { self.state(&name) };
        Some((name, Point { state, call }))
    }

    fn state(&self, node: &str) -> String {
        self.states.get(node).map_or("Needed", String::as_str).to_owned()
    }
}

/// One line for each state and call: how often before, how often after.
impl fmt::Display for Points {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = String::new();
        for (Point { state, call }, [before, after]) in &self.chosen {
            if before + after > 0 {
                writeln!(lines, "{state:12} {call:16} {before:4} before {after:4} after")?;
            }
        }
        write!(f, "{lines}{} kill points", self.total())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(points: &mut Points, method: &str, path: &str, body: &str) -> Option<(Point, Side)> {
        let arrived = Arrived { method, path, query: "", body: body.as_bytes() };
        points.judge(&arrived)?;
        Some(points.count())
    }

    #[test]
    fn calls_are_told_apart_and_each_side_has_its_turn() {
        let mut points = Points::default();
        points.begin(0);
        let made = r#"{"spec": {"node": {"name": "a", "uid": "u"}}}"#;
        let first = judged(&mut points, "POST", REQUESTS, made).unwrap();
        assert_eq!(first, (Point { state: "Needed".to_owned(), call: "create" }, Side::Before));
        let status =
            r#"{"spec": {"node": {"name": "a", "uid": "u"}}, "status": {"state": "Booted"}}"#;
        let path = format!("{REQUESTS}/u/status");
        let (point, side) = judged(&mut points, "PUT", &path, status).unwrap();
        assert_eq!((point.state.as_str(), point.call, side), ("Booted", "status", Side::Before));
        let (_, side) = judged(&mut points, "PUT", &path, status).unwrap();
        assert_eq!(side, Side::After);
        let freed = r#"{"spec": {"holderIdentity": null}}"#;
        let (point, _) = judged(&mut points, "PUT", &format!("{LEASES}/node-a"), freed).unwrap();
        assert_eq!((point.state.as_str(), point.call), ("Booted", "give Lease back"));
        assert_eq!(judged(&mut points, "GET", REQUESTS, ""), None);
        assert_eq!(points.total(), 4);
    }
}
