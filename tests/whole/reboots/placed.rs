//! What is put by hand onto nodes of KWOK: pods that a drain takes, that do not go, that have volumes.

use palisade_tests::cluster::api::Call;
use palisade_tests::process::Collector;
use palisade_tests::wait;
use serde_json::Value;
use serde_json::json;

use super::bench::Bench;
use super::bench::WITHIN;
use super::scale_down::KEEPS;

/// Keeps what has it from going until it is taken away.
pub(super) const FINALIZER: &str = "example.com/hold";

/// A policy with one pool for each of these nodes, so many of them at once, and what else is said of
/// each pool: `drain: {...}` and so on.
pub(super) fn one_pool_each(at_once: usize, pools: &[(&str, &str)]) -> String {
    let mut policy = format!(
        "apiVersion: palisade.dev/v1alpha1\nkind: RebootPolicy\n\
         cluster: {{maxUnavailable: {at_once}}}\npools:\n"
    );
    for (node, more) in pools {
        policy.push_str(&format!(
            "- name: {node}\n  selector: {{matchLabels: {{kubernetes.io/hostname: {node}}}}}\n  \
             mode: auto\n  stable: 0s\n  soak: 0s\n  minimumInterval: 1s\n  \
             deadlines: {{verify: 10s}}\n  {more}\n"
        ));
    }
    policy
}

impl Bench {
    /// Makes a pod on a node that every drain evicts, changed by a merge patch; its UID, once it runs.
    pub(super) fn place(&self, name: &str, node: &str, change: &Value) -> String {
        self.place_in("default", name, node, change)
    }

    /// The same in another namespace.
    pub(super) fn place_in(&self, space: &str, name: &str, node: &str, change: &Value) -> String {
        let mut pod = json!({
            "metadata": { "name": name, "annotations": { "palisade.dev/drain": "evict" } },
            "spec": {
                "nodeName": node,
                "automountServiceAccountToken": false,
                "terminationGracePeriodSeconds": 0,
                "containers": [{ "name": "main", "image": "none" }],
            },
        });
        merge(&mut pod, change);
        let pods = format!("/api/v1/namespaces/{space}/pods");
        let made = self.cluster.api().must(Call::post(&pods, &pod));
        wait::until("a pod runs", WITHIN, || {
            let pod = self.cluster.get(&format!("{pods}/{name}"));
            let status = &pod["status"];
            let is_ready = status["conditions"].to_string().contains("ContainersReady");
            if status["phase"] == "Running" && is_ready { Ok(()) } else { Err(status.clone()) }
        });
        made["metadata"]["uid"].as_str().expect("a UID").to_owned()
    }

    /// The pod of this UID; null if there is none.
    pub(super) fn pod(&self, uid: &str) -> Value {
        let pods = self.cluster.get("/api/v1/pods");
        let pods = pods["items"].as_array().expect("a list");
        pods.iter().find(|it| it["metadata"]["uid"] == uid).cloned().unwrap_or_default()
    }

    /// Waits until a node is drained and this pod of it is on its way out.
    pub(super) fn until_evicted(&self, collector: &Collector, node: &str, uid: &str) {
        wait::until("a pod is evicted", WITHIN, || {
            let is_going = !self.pod(uid)["metadata"]["deletionTimestamp"].is_null();
            if is_going && self.state(node).as_deref() == Some("Draining") {
                Ok(())
            } else {
                Err(self.summary(collector))
            }
        });
    }

    /// Lets a pod that [`FINALIZER`] keeps go.
    pub(super) fn let_go(&self, name: &str) {
        let path = format!("/api/v1/namespaces/default/pods/{name}");
        let none = json!({ "metadata": { "finalizers": null } });
        self.cluster.api().must(Call::merge(path, &none));
    }

    /// Ends a pod as its kubelet would: it has done its work.
    pub(super) fn complete(&self, name: &str) {
        let path = format!("/api/v1/namespaces/default/pods/{name}/status");
        let done = json!({ "status": { "phase": "Succeeded", "conditions": [] } });
        self.cluster.api().must(Call::merge(path, &done));
    }

    /// Evictions that were asked for and not only tried, with the code of each answer, in order.
    pub(super) fn evictions(&self) -> Vec<(String, u64)> {
        let events = self.cluster.audit_log();
        let real = events.iter().filter(|event| {
            let object = &event["objectRef"];
            let is_dry = event["requestURI"].as_str().is_some_and(|it| it.contains("dryRun"));
            object["subresource"] == "eviction" && event["verb"] == "create" && !is_dry
        });
        real.map(|event| {
            let object = &event["objectRef"];
            let part = |key: &str| object[key].as_str().unwrap_or_default();
            let code = event["responseStatus"]["code"].as_u64().unwrap_or_default();
            (format!("{}/{}", part("namespace"), part("name")), code)
        })
        .collect()
    }

    /// Whether a node takes pods and bears nothing of ours but the memory of its last reboot.
    pub(super) fn is_as_before(&self, node: &str) -> bool {
        let node = self.cluster.get(&format!("/api/v1/nodes/{node}"));
        let annotations = node["metadata"]["annotations"].as_object();
        let is_ours = |key: &String| {
            let is_kept = key.starts_with("palisade.dev/") && key != "palisade.dev/last-reboot";
            is_kept || key == KEEPS
        };
        let has_ours = annotations.is_some_and(|all| all.keys().any(is_ours));
        node["spec"]["unschedulable"].is_null() && !has_ours
    }

    /// Makes this the only node that takes pods, or lets all of them take pods again.
    pub(super) fn only(&self, open: Option<&str>) {
        for node in &self.nodes {
            let is_open = open.is_none_or(|open| open == node);
            self.set_unschedulable(node, !is_open);
        }
    }
}

/// A JSON merge patch, RFC 7396, without removals.
fn merge(into: &mut Value, change: &Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) => {
            for (key, value) in change {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, change) => *into = change.clone(),
    }
}
