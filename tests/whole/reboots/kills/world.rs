//! Nodes of every fate, and the people around them, so that requests go through all states again and
//! again:
//!
//! | node | fate |
//! |---|---|
//! | `node-0` | cordoned by a person; needs a reboot all the time and gets none |
//! | `node-1` to `node-3` | reboot whenever they need it, the last for some seconds; `web` runs there |
//! | `node-4` | keeps its reason: quarantined, until a person heals and releases it |
//! | `node-5` | a pod that does not end: rolled back, backs off, until its finalizer goes |
//! | `node-6` | the same, and a person calls each of its reboots off |
//! | `node-7` | cordoned by a person under a policy that includes such nodes, and kept from cluster-autoscaler; stays both |
//! | `gone-N-0` | deleted while it drains |

use palisade_tests::cluster::ControlPlane;
use palisade_tests::cluster::api::Call;
use palisade_tests::fleet::Server;
use serde_json::Value;
use serde_json::json;

use super::super::bench::Bench;
use super::super::bench::now;
use super::super::life::Agents;
use super::super::life::Conduct;
use super::super::scale_down::KEEPS;

/// How many nodes there are from the beginning.
pub(super) const NODES: usize = 8;

/// Everybody at once, no waits, and pools of their own for those whose fate would halt others.
pub(super) const POLICY: &str = "apiVersion: palisade.dev/v1alpha1\nkind: RebootPolicy\n\
cluster: {maxUnavailable: 9, nodeLease: medik8s-leases}
pools:
- name: liar
  selector: {matchLabels: {fate: liar}}
  mode: auto
  maxUnavailable: 1
  stable: 0s
  soak: 0s
  minimumInterval: 1s
  deadlines: {verify: 3s}
- name: stuck
  selector: {matchLabels: {fate: stuck}}
  mode: auto
  maxUnavailable: 4
  stable: 0s
  soak: 0s
  minimumInterval: 1s
  drain: {unmanaged: evict, slow: 2s, timeout: 4s}
  backoff: {first: 1s, longest: 1s}
- name: kept
  selector: {matchLabels: {fate: kept}}
  mode: auto
  maxUnavailable: 1
  stable: 0s
  soak: 0s
  minimumInterval: 1s
  foreignCordon: include
- name: all
  selector: {}
  mode: auto
  maxUnavailable: 4
  stable: 0s
  soak: 0s
  minimumInterval: 1s
  deadlines: {rebootLeast: 5s, rebootWithoutHistory: 5s}
";

/// The one that a person cordoned.
pub(super) const FOREIGN: &str = "node-0";
pub(super) const ORDINARY: [&str; 3] = ["node-1", "node-2", "node-3"];
/// The last of these, which is away for longer.
pub(super) const SLOW: &str = "node-3";
pub(super) const LIAR: &str = "node-4";
pub(super) const STUCK: &str = "node-5";
pub(super) const CALLED_OFF: &str = "node-6";
/// The one that a person cordoned, and that reboots nevertheless.
pub(super) const KEPT: &str = "node-7";

/// Those that reboot whenever they need it, sooner or later.
pub(super) const REBOOTING: [&str; 6] = ["node-1", "node-2", SLOW, LIAR, STUCK, KEPT];

/// Back-offs of the stuck node before its pod may end.
const BACKOFFS: usize = 2;

/// What happens to nodes, and what of it is known.
pub(super) struct World<'a> {
    bench: &'a Bench,
    pub(super) agents: Agents,
    server: Server,
    /// When the stuck node backed off since its pod was made.
    backoffs: Vec<String>,
    /// Nodes that are to be deleted: the one of now, its agent, and how many there were.
    gone: Option<(String, Agents)>,
    deleted: usize,
    released: usize,
    cancelled: usize,
}

impl<'a> World<'a> {
    /// Gives the nodes their fates; nothing happens yet.
    pub(super) fn new(bench: &'a Bench, agents: Agents, server: Server) -> Self {
        for (node, fate) in
            [(LIAR, "liar"), (STUCK, "stuck"), (CALLED_OFF, "stuck"), (KEPT, "kept")]
        {
            label(&bench.cluster, node, fate);
        }
        for node in [FOREIGN, KEPT] {
            bench.set_unschedulable(node, true);
            agents.need_reboot(node);
        }
        bench.cluster.kubectl(&["annotate", "node", KEPT, &format!("{KEEPS}=true")]);
        agents.conduct(LIAR, Conduct::KeepsReason);
        agents.conduct(SLOW, Conduct::TakesTime);
        lingering_pod(&bench.cluster, CALLED_OFF);
        agents.need_reboot(CALLED_OFF);
        Self {
            bench,
            agents,
            server,
            backoffs: Vec::new(),
            gone: None,
            deleted: 0,
            released: 0,
            cancelled: 0,
        }
    }

    /// Where the agents talk to from now on.
    pub(super) fn talk_to(&mut self, server: Server) {
        self.agents.talk_to(server.clone());
        if let Some((_, agents)) = &self.gone {
            agents.talk_to(server.clone());
        }
        self.server = server;
    }

    /// Lets what is due happen. `rounds` of deleted nodes are allowed by now.
    pub(super) fn go_on(&mut self, rounds: usize) {
        assert!(self.agents.are_alive(), "the agents panicked");
        let requests = self.bench.requests();
        let of = |node: &str| requests.iter().find(|it| it["spec"]["node"]["name"] == node);
        for node in ORDINARY.into_iter().chain([KEPT]) {
            if of(node).is_none() && self.agents.is_well(node) {
                self.agents.need_reboot(node);
            }
        }
        assert!(self.bench.is_unschedulable(KEPT), "what a person cordoned takes pods");
        self.lie(of(LIAR));
        self.get_stuck(of(STUCK));
        self.call_off(of(CALLED_OFF));
        self.vanish(&requests, rounds);
    }

    /// Nobody wants anything new, and what waits for a person is let go.
    pub(super) fn calm_down(&mut self) {
        let requests = self.bench.requests();
        let of = |node: &str| requests.iter().find(|it| it["spec"]["node"]["name"] == node);
        self.agents.need_no_reboot(FOREIGN);
        self.agents.need_no_reboot(CALLED_OFF);
        self.call_off(of(CALLED_OFF));
        if of(LIAR).is_some() {
            self.lie(of(LIAR));
        }
        let_pod_go(&self.bench.cluster, STUCK);
        if let Some((node, _)) = self.gone.take() {
            self.delete(&node);
        }
    }

    /// What happened besides reboots.
    pub(super) fn told(&self) -> String {
        let Self { deleted, released, cancelled, .. } = self;
        format!("{deleted} nodes deleted, {released} released, {cancelled} reboots called off")
    }

    fn lie(&mut self, request: Option<&Value>) {
        let Some(request) = request else {
            if self.agents.is_well(LIAR) {
                self.agents.need_reboot(LIAR);
            }
            return;
        };
        if request["status"]["state"] != "Quarantined" || !request["spec"]["release"].is_null() {
            return;
        }
        // Nobody looks at it before somebody was told.
        let is_told = request["status"]["alerts"].as_array().is_some_and(|it| !it.is_empty());
        if !is_told {
            return;
        }
        assert!(self.bench.is_unschedulable(LIAR), "a quarantined node takes pods");
        if self.agents.is_well(LIAR) {
            let release = json!({ "by": "admin", "at": now(), "reason": "it was looked at" });
            self.released += usize::from(self.amend(request, &json!({ "release": release })));
        } else {
            self.agents.need_no_reboot(LIAR);
        }
    }

    fn get_stuck(&mut self, request: Option<&Value>) {
        let Some(request) = request else {
            if self.agents.is_well(STUCK) {
                self.backoffs.clear();
                lingering_pod(&self.bench.cluster, STUCK);
                self.agents.need_reboot(STUCK);
            }
            return;
        };
        if request["status"]["state"] == "Backoff" {
            let since = request["status"]["since"].to_string();
            if !self.backoffs.contains(&since) {
                self.backoffs.push(since);
            }
        }
        if self.backoffs.len() >= BACKOFFS {
            let_pod_go(&self.bench.cluster, STUCK);
        }
    }

    fn call_off(&mut self, request: Option<&Value>) {
        let Some(request) = request else { return };
        let drains = request["status"]["state"] == "Draining";
        if drains && request["spec"]["intent"] != "Cancel" {
            self.cancelled += usize::from(self.amend(request, &json!({ "intent": "Cancel" })));
        }
    }

    fn vanish(&mut self, requests: &[Value], rounds: usize) {
        let Some((node, _)) = &self.gone else {
            if self.deleted < rounds {
                let made = self.bench.cluster.kwok().nodes(&format!("gone-{}", self.deleted), 1);
                let node = made[0].clone();
                label(&self.bench.cluster, &node, "stuck");
                lingering_pod(&self.bench.cluster, &node);
                let agents = Agents::start(&self.bench.cluster, &made, self.server.clone());
                agents.need_reboot(&node);
                self.gone = Some((node, agents));
            }
            return;
        };
        let request = requests.iter().find(|it| it["spec"]["node"]["name"] == node.as_str());
        if request.is_some_and(|it| it["status"]["state"] == "Draining") {
            let node = node.clone();
            self.gone = None;
            self.delete(&node);
        }
    }

    fn delete(&mut self, node: &str) {
        self.bench.cluster.kwok().delete(&[node.to_owned()]);
        let_pod_go(&self.bench.cluster, node);
        self.deleted += 1;
    }

    /// Whether it was written: the collector may have written first.
    fn amend(&self, request: &Value, spec: &Value) -> bool {
        let uid = request["metadata"]["name"].as_str().expect("a name");
        let path = format!("/apis/palisade.dev/v1alpha1/rebootrequests/{uid}");
        let version = &request["metadata"]["resourceVersion"];
        let patch = json!({ "metadata": { "resourceVersion": version }, "spec": spec });
        let answer = self.bench.cluster.api().send(Call::merge(path, &patch)).expect("an answer");
        assert!(
            answer.status.is_success() || matches!(answer.status.as_u16(), 404 | 409),
            "{}",
            answer.text()
        );
        answer.status.is_success()
    }
}

fn label(cluster: &ControlPlane, node: &str, fate: &str) {
    cluster.kubectl(&["label", "node", node, &format!("fate={fate}")]);
}

/// A pod on this node that goes on its way out when it is evicted, and does not get to the end.
fn lingering_pod(cluster: &ControlPlane, node: &str) {
    let pod = json!({
        "metadata": { "name": format!("lingers-{node}"), "finalizers": ["example.com/lingers"] },
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 0,
            "containers": [{ "name": "main", "image": "none" }],
        },
    });
    let path = "/api/v1/namespaces/default/pods";
    let answer = cluster.api().send(Call::post(path, &pod)).expect("an answer");
    assert!(answer.status.is_success() || answer.status == 409, "{}", answer.text());
}

fn let_pod_go(cluster: &ControlPlane, node: &str) {
    let path = format!("/api/v1/namespaces/default/pods/lingers-{node}");
    let patch = json!({ "metadata": { "finalizers": null } });
    let answer = cluster.api().send(Call::merge(&path, &patch)).expect("an answer");
    assert!(answer.status.is_success() || answer.status == 404, "{}", answer.text());
}
