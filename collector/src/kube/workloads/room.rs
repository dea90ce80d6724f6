//! The room that is left on nodes, as the scheduler counts it: what is allocatable, less what pods ask
//! for. Pods that wait for a node will take some of it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use palisade_plan::fleet::Asks;
use palisade_report::NodeUid;

use super::ListError;
use super::MAX_PAGES;
use super::PAGE;
use super::Workloads;
use super::blocking::UNFINISHED;
use super::convert;
use crate::kube::client::CALL_TIMEOUT;
use crate::kube::client::call;

/// Pods without a node that are counted. A DaemonSet's pod waits for its own node, and takes no other's.
const MAX_WAITING: usize = 1_000;

/// What is free on nodes.
#[derive(Clone, Debug, Default)]
pub struct Room {
    /// On each node that takes pods of any kind, by its UID.
    pub free: BTreeMap<NodeUid, Asks>,
    /// What pods ask for that wait for a node; no more than a bound.
    pub waiting: Vec<Asks>,
}

impl Workloads {
    /// What is not asked for yet on each node that takes pods of any kind, by its UID. A node with a
    /// taint takes only some: it is left out.
    ///
    /// This reads all pods of the cluster, page by page.
    ///
    /// # Errors
    /// [`ListError`].
    pub async fn rooms(&self) -> Result<Room, ListError> {
        const WHAT: &str = "all pods";
        let nodes: Vec<Node> = self.list("nodes", &ListParams::default()).await?;
        let mut rooms: BTreeMap<String, (NodeUid, Asks)> =
            nodes.iter().filter_map(empty_room).collect();
        let api: Api<Pod> = Api::all(self.client.clone());
        let mut waiting = Vec::new();
        let mut parameters = ListParams::default().fields(UNFINISHED).limit(PAGE);
        for _ in 0..MAX_PAGES {
            let page = call(CALL_TIMEOUT, api.list(&parameters)).await;
            let page = page.map_err(|source| ListError::Call { what: WHAT, source })?;
            for pod in page.items {
                let Some(spec) = &pod.spec else { continue };
                let asks = convert::asks(spec);
                let Some(node) = &spec.node_name else {
                    if waits(&pod) && waiting.len() < MAX_WAITING {
                        waiting.push(asks);
                    }
                    continue;
                };
                let Some((_, room)) = rooms.get_mut(node) else { continue };
                room.milli_cpu = room.milli_cpu.saturating_sub(asks.milli_cpu);
                room.memory = room.memory.saturating_sub(asks.memory);
            }
            match page.metadata.continue_ {
                Some(next) if !next.is_empty() => parameters.continue_token = Some(next),
                Some(_) | None => {
                    return Ok(Room { free: rooms.into_values().collect(), waiting });
                }
            }
        }
        Err(ListError::TooMany { what: WHAT })
    }
}

/// Whether a pod without a node will take one of those that are there.
fn waits(pod: &Pod) -> bool {
    let owners = pod.metadata.owner_references.iter().flatten();
    let of_daemon_set =
        owners.clone().any(|it| it.controller == Some(true) && it.kind == "DaemonSet");
    pod.metadata.deletion_timestamp.is_none() && !of_daemon_set
}

/// What a node has for pods, by its name; `None` if it takes none, or not all.
fn empty_room(node: &Node) -> Option<(String, (NodeUid, Asks))> {
    let spec = node.spec.as_ref()?;
    let keeps_away = |effect: &str| matches!(effect, "NoSchedule" | "NoExecute");
    let is_closed = spec.unschedulable == Some(true)
        || spec.taints.iter().flatten().any(|taint| keeps_away(&taint.effect));
    if is_closed {
        return None;
    }
    let status = node.status.as_ref()?;
    let is_ready =
        |it: &k8s_openapi::api::core::v1::NodeCondition| it.type_ == "Ready" && it.status == "True";
    status.conditions.iter().flatten().find(|it| is_ready(it))?;
    let room = convert::amounts(status.allocatable.as_ref()?);
    let uid = node.metadata.uid.as_ref()?.parse().ok()?;
    Some((node.metadata.name.clone()?, (uid, room)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn room(spec: serde_json::Value, ready: &str) -> Option<Asks> {
        let node = serde_json::from_value(json!({
            "metadata": { "name": "worker-1", "uid": "u-1" },
            "spec": spec,
            "status": {
                "allocatable": { "cpu": "3920m", "memory": "1Gi", "pods": "110" },
                "conditions": [{ "type": "Ready", "status": ready }],
            },
        }));
        empty_room(&node.unwrap()).map(|(_, (_, room))| room)
    }

    #[test]
    fn a_pod_waits_for_a_node_unless_it_ends_or_is_that_of_a_daemon_set() {
        let pod = |metadata: serde_json::Value| -> Pod {
            serde_json::from_value(json!({ "metadata": metadata })).unwrap()
        };
        let owned = |kind: &str| {
            json!({ "ownerReferences":
                [{ "apiVersion": "apps/v1", "kind": kind, "name": "x", "uid": "u", "controller": true }] })
        };
        assert!(waits(&pod(json!({}))) && waits(&pod(owned("ReplicaSet"))));
        assert!(!waits(&pod(owned("DaemonSet"))));
        assert!(!waits(&pod(json!({ "deletionTimestamp": "2026-11-22T15:20:00Z" }))));
    }

    #[test]
    fn only_nodes_that_take_any_pod_have_room() {
        let all = Asks { milli_cpu: 3920, memory: 1 << 30 };
        assert_eq!(room(json!({}), "True"), Some(all.clone()));
        assert_eq!(room(json!({}), "Unknown"), None);
        assert_eq!(room(json!({ "unschedulable": true }), "True"), None);
        let tainted = |effect: &str| json!({ "taints": [{ "key": "a", "effect": effect }] });
        assert_eq!(room(tainted("NoExecute"), "True"), None);
        assert_eq!(room(tainted("NoSchedule"), "True"), None);
        assert_eq!(room(tainted("PreferNoSchedule"), "True"), Some(all));
    }
}
