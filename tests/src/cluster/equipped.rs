//! Simulated agents with a pod and a token each, as the DaemonSet of the manifests would give them.

use serde_json::Value;
use serde_json::json;

use super::ControlPlane;
use super::api::Call;
use super::installation::AGENT;
use super::installation::NAMESPACE;
use super::objects;
use super::objects::BoundPod;
use crate::fleet::Node;

/// Seconds that a token lives: longer than any test takes.
const TOKEN_SECS: u32 = 7200;

impl ControlPlane {
    /// Makes a pod on the node of each agent, which must be there, and gives the agent the token that
    /// is bound to it. The rights of the manifests must be installed.
    ///
    /// # Panics
    /// If a pod or a token is refused.
    pub fn equip(&self, agents: &mut [Node]) {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods");
        let calls: Vec<_> = agents.iter().map(|it| Call::post(&path, &pod(&it.name))).collect();
        let pods: Vec<_> = self.all(&calls).iter().map(objects::bound).collect();
        for (agent, token) in
            agents.iter_mut().zip(self.tokens(NAMESPACE, AGENT, "palisade", TOKEN_SECS, &pods))
        {
            agent.token = Some(token);
        }
    }

    /// A pod like those of the DaemonSet on a node, which must be there.
    pub fn agent_pod(&self, node: &str) -> BoundPod {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods");
        objects::bound(&self.api().must(Call::post(path, &pod(node))))
    }

    /// Sends them all; each must succeed.
    fn all(&self, calls: &[Call]) -> Vec<Value> {
        let checked = self.api().send_all(calls).into_iter().map(|answer| {
            assert!(answer.status.is_success(), "{} {}", answer.status, answer.text());
            answer.json()
        });
        checked.collect()
    }
}

/// As much of an agent's pod as the admission policy of the manifests wants to see.
fn pod(node: &str) -> Value {
    json!({
        "metadata": { "name": node, "labels": { "app.kubernetes.io/name": AGENT } },
        "spec": {
            "nodeName": node,
            "serviceAccountName": AGENT,
            "automountServiceAccountToken": false,
            "securityContext": { "seccompProfile": { "type": "RuntimeDefault" } },
            "tolerations": [{ "operator": "Exists" }],
            "containers": [{
                "name": "inspect",
                "image": "palisade-agent:0.1.0",
                "args": ["run"],
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": { "drop": ["ALL"] },
                },
            }],
        },
    })
}
