//! Who may say what, against the real API server: a stolen node token, and an API server that is
//! silent.

use std::net::Ipv4Addr;
use std::time::Duration;
use std::time::Instant;

use palisade_report::Manifest;
use palisade_tests::cluster::BoundPod;
use palisade_tests::cluster::ControlPlane;
use palisade_tests::cluster::api::Call;
use palisade_tests::directory::Directory;
use palisade_tests::process::Collector;
use serde_json::Value;
use serde_json::json;

pub(crate) mod forge;
mod outage;
mod peer;
mod stolen;

use peer::Heard;
use peer::Way;
use peer::bearer;

const NAMESPACE: &str = "palisade-system";

/// Far more than anything here takes.
const WITHIN: Duration = Duration::from_secs(180);

/// An address that nobody attacks from.
const HONEST: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// The boot that honest heartbeats are of.
const BOOT: &str = "0f9b2a52-91c5-4d9d-9e6c-4e4a1f4f3d11";

/// A cluster and a collector that serves it.
struct Bench {
    cluster: ControlPlane,
    collector: Collector,
    way: Way,
    _state: Directory,
}

impl Bench {
    /// `kubeconfig` says how the collector reaches the API server.
    fn start(cluster: ControlPlane, kubeconfig: &std::path::Path) -> Self {
        let state = Directory::new("identity");
        let serving = cluster.authority().server("palisade", &["127.0.0.1".to_owned()]);
        state.write("tls.crt", &serving.certificate);
        state.write("tls.key", &serving.key);
        let path = |name: &str| state.path().join(name).to_str().expect("UTF-8").to_owned();
        let (certificate, key) = (path("tls.crt"), path("tls.key"));
        let kubeconfig = kubeconfig.to_str().expect("UTF-8");
        let arguments = [
            "--kubernetes",
            "--kubeconfig",
            kubeconfig,
            "--tls-cert",
            &certificate,
            "--tls-key",
            &key,
            // Nobody becomes late while the test runs.
            "--interval",
            "3600",
        ];
        let collector = Collector::start(&state.path().join("state"), &arguments);
        let way = Way::new(collector.address, &cluster.authority().pair());
        Self { cluster, collector, way, _state: state }
    }

    /// A ServiceAccount for people, allowed by these rules.
    fn person(&self, name: &str, verbs: &[&str]) -> String {
        let api = self.cluster.api();
        let account = json!({ "metadata": { "name": name } });
        api.must(Call::post(format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts"), &account));
        if !verbs.is_empty() {
            let role = json!({
                "metadata": { "name": format!("palisade-{name}") },
                "rules": [
                    { "apiGroups": ["palisade.dev"], "resources": ["*"], "verbs": verbs },
                    { "nonResourceURLs": ["/metrics", "/openapi.json"], "verbs": ["get"] },
                ],
            });
            let group = "/apis/rbac.authorization.k8s.io/v1";
            api.must(Call::post(format!("{group}/clusterroles"), &role));
            let binding = json!({
                "metadata": { "name": format!("palisade-{name}") },
                "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": format!("palisade-{name}") },
                "subjects": [{ "kind": "ServiceAccount", "namespace": NAMESPACE, "name": name }],
            });
            api.must(Call::post(format!("{group}/clusterrolebindings"), &binding));
        }
        self.cluster.token(NAMESPACE, name, "", 3600, None)
    }

    /// A pod of our agents on a node, as the DaemonSet would make it.
    fn agent_pod(&self, node: &str) -> BoundPod {
        let name = format!("palisade-agent-{node}");
        let pod = self.cluster.pod(NAMESPACE, &name, "palisade-agent", node);
        let labels = json!({ "metadata": { "labels": {
            "app.kubernetes.io/name": "palisade",
            "app.kubernetes.io/component": "agent",
        } } });
        self.cluster
            .api()
            .must(Call::merge(format!("/api/v1/namespaces/{NAMESPACE}/pods/{name}"), &labels));
        pod
    }

    fn agent_token(&self, pod: &BoundPod) -> String {
        self.cluster.token(NAMESPACE, "palisade-agent", "palisade", 3600, Some(pod))
    }

    async fn get(&self, token: &str, target: &str) -> Heard {
        self.way.say(HONEST, "GET", target, &[bearer(token)], "").await
    }

    async fn beat(&self, token: &str, node: &str) -> Heard {
        let target = format!("/v1/nodes/{node}/heartbeat");
        self.way.say(HONEST, "POST", &target, &[bearer(token)], &heartbeat("")).await
    }

    /// Waits until a request is answered as wanted.
    async fn until(
        &self,
        what: &str,
        mut ask: impl AsyncFnMut() -> Heard,
        fits: impl Fn(&Heard) -> bool,
    ) {
        let deadline = Instant::now() + WITHIN;
        loop {
            let heard = ask().await;
            if fits(&heard) {
                return;
            }
            assert!(Instant::now() < deadline, "{what}: not within {WITHIN:?}: {heard:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The collector leads, and whoever may ask is known to the authorizer.
    async fn ready(&self, viewer: &str) {
        let ask = async || self.get(viewer, "/v1/nodes").await;
        self.until("the collector answers", ask, |heard| heard.status == 200).await;
    }
}

/// The whole report of a node that has nothing to say, so that it is complete with the heartbeat.
fn heartbeat(more: &str) -> String {
    let report = Manifest::default().digest();
    format!(
        r#"{{"wire":1,"agent":"0.1.0","report":"{report}","boot_id":"{BOOT}","sequence":7,"sent_at":1,"manifest":{{}}{more}}}"#
    )
}

fn executing(more: &str) -> String {
    format!(r#"{{"answer":"executing"{more}}}"#)
}

fn upload(more: &str) -> String {
    let report = Manifest::default().digest();
    format!(r#"{{"report":"{report}","boot_id":"{BOOT}","sections":{{"kernel":{{}}}}{more}}}"#)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}
