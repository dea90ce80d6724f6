//! Objects that nearly every test needs: namespaces, service accounts, nodes, pods on nodes, tokens.

use serde_json::Value;
use serde_json::json;

use super::ControlPlane;
use super::api::Call;

/// A pod that a token is bound to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BoundPod {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

impl ControlPlane {
    /// `GET path`, which must succeed.
    ///
    /// # Panics
    /// If it does not.
    pub fn get(&self, path: &str) -> Value {
        self.api().must(Call::get(path))
    }

    /// Makes a namespace, and in it a service account of each of these names.
    pub fn namespace(&self, namespace: &str, service_accounts: &[&str]) {
        self.api()
            .must(Call::post("/api/v1/namespaces", &json!({ "metadata": { "name": namespace } })));
        for name in service_accounts {
            self.api().must(Call::post(
                format!("/api/v1/namespaces/{namespace}/serviceaccounts"),
                &json!({ "metadata": { "name": name } }),
            ));
        }
    }

    /// Makes a node object without a kubelet behind it, and returns its UID.
    pub fn node(&self, name: &str) -> String {
        let node = json!({ "metadata": { "name": name } });
        uid(&self.api().must(Call::post("/api/v1/nodes", &node)))
    }

    /// Makes a pod that is already scheduled to `node` (which nothing will start), under a service
    /// account. For tokens that are bound to a pod.
    pub fn pod(&self, namespace: &str, name: &str, service_account: &str, node: &str) -> BoundPod {
        bound(&self.api().must(create_pod(namespace, name, service_account, node)))
    }

    /// One such pod `PREFIX-NODE` for each of many nodes.
    ///
    /// # Panics
    /// If one cannot be made.
    #[must_use]
    pub fn pods(
        &self,
        namespace: &str,
        prefix: &str,
        service_account: &str,
        nodes: &[String],
    ) -> Vec<BoundPod> {
        let calls: Vec<Call> = nodes
            .iter()
            .map(|node| create_pod(namespace, &format!("{prefix}-{node}"), service_account, node))
            .collect();
        let answers = self.api().send_all(&calls);
        let made = answers.iter().map(|answer| {
            assert_eq!(answer.status, 201, "make a pod: {}", answer.text());
            bound(&answer.json())
        });
        made.collect()
    }

    /// A token by TokenRequest. The API server grants no less than 600 seconds; an empty audience is
    /// the API server's own.
    ///
    /// # Panics
    /// If it is refused.
    #[must_use]
    pub fn token(
        &self,
        namespace: &str,
        service_account: &str,
        audience: &str,
        seconds: u32,
        bound: Option<&BoundPod>,
    ) -> String {
        let call = request_token(namespace, service_account, audience, seconds, bound);
        token(&self.api().must(call))
    }

    /// One token for each of many pods.
    ///
    /// # Panics
    /// If one is refused.
    #[must_use]
    pub fn tokens(
        &self,
        namespace: &str,
        service_account: &str,
        audience: &str,
        seconds: u32,
        pods: &[BoundPod],
    ) -> Vec<String> {
        let calls: Vec<Call> = pods
            .iter()
            .map(|pod| request_token(namespace, service_account, audience, seconds, Some(pod)))
            .collect();
        let answers = self.api().send_all(&calls);
        let tokens = answers.iter().map(|answer| {
            assert_eq!(answer.status, 201, "request a token: {}", answer.text());
            token(&answer.json())
        });
        tokens.collect()
    }

    /// What the API server says about a token: the status of a TokenReview.
    #[must_use]
    pub fn review(&self, token: &str, audience: &str) -> Value {
        let review = json!({ "spec": { "token": token, "audiences": [audience] } });
        let path = "/apis/authentication.k8s.io/v1/tokenreviews";
        self.api().must(Call::post(path, &review))["status"].take()
    }
}

fn create_pod(namespace: &str, name: &str, service_account: &str, node: &str) -> Call {
    let pod = json!({
        "metadata": { "name": name },
        "spec": {
            "nodeName": node,
            "serviceAccountName": service_account,
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 0,
            "containers": [{ "name": "main", "image": "none" }],
        },
    });
    Call::post(format!("/api/v1/namespaces/{namespace}/pods"), &pod)
}

fn request_token(
    namespace: &str,
    service_account: &str,
    audience: &str,
    seconds: u32,
    bound: Option<&BoundPod>,
) -> Call {
    let audiences: &[&str] = if audience.is_empty() { &[] } else { &[audience] };
    let mut spec = json!({ "audiences": audiences, "expirationSeconds": seconds });
    if let Some(BoundPod { name, uid }) = bound {
        spec["boundObjectRef"] =
            json!({ "apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid });
    }
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token");
    Call::post(path, &json!({ "spec": spec }))
}

fn token(request: &Value) -> String {
    request["status"]["token"].as_str().expect("a token").to_owned()
}

pub(super) fn bound(pod: &Value) -> BoundPod {
    let name = pod["metadata"]["name"].as_str().expect("a name").to_owned();
    BoundPod { name, uid: uid(pod) }
}

fn uid(object: &Value) -> String {
    object["metadata"]["uid"].as_str().expect("a UID").to_owned()
}
