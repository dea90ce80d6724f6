//! The manifests, applied to a real cluster: what a user does, with what a user gets.
//!
//! ```text
//! kubectl kustomize tests/fixtures/deployed | kubectl apply
//!   Deployment ─> kubelet ─> collector ─> API server (authority, Lease, TokenReview)
//!   DaemonSet ──> kubelet ─> agent ─────> Service ─> collector ─> finding, Node condition
//! ```

mod by_hand;
mod on_machine;
mod rebooted;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::MutexGuard;

use hyper::Method;
use hyper::body::Bytes;
use palisade_tests::cluster::ControlPlane;
use palisade_tests::cluster::Kubelet;
use palisade_tests::cluster::Options;
use palisade_tests::http::Client;
use palisade_tests::http::Trust;
use palisade_tests::image;
use serde_json::Value;

use crate::kubelet;

/// Where the Service is, as `tests/fixtures/deployed` says.
const SERVICE: &str = "10.96.74.43:7443";
/// What agents, and here a person, call it.
const NAME: &str = "palisade-collector.palisade-system.svc";
/// The node.
const NODE: &str = "kubelet-1";
/// The sections of a report.
const SECTIONS: [&str; 10] = [
    "boot",
    "certificates",
    "files",
    "host",
    "kernel",
    "kubelet",
    "reboot",
    "sockets",
    "sysctls",
    "updates",
];
/// Kernel parameters that rules ask for and every kernel since 5.10 has; kubelet changes one.
const PARAMETERS: [&str; 5] = [
    "fs.protected_symlinks",
    "kernel.dmesg_restrict",
    "kernel.kptr_restrict",
    "kernel.panic",
    "kernel.randomize_va_space",
];

/// A cluster of one node with everything from the manifests in it.
struct Deployed {
    // In the order in which they must end.
    kubelet: Kubelet,
    control_plane: ControlPlane,
    person: String,
    _alone: MutexGuard<'static, ()>,
}

impl Deployed {
    fn start() -> Self {
        let begun = Self::begin(Options::default());
        begun.apply();
        begun
    }

    /// Everything but the manifests.
    fn begin(options: Options) -> Self {
        // Before anything runs: building them may take minutes.
        let images = ["palisade-agent", "palisade-collector"].map(image::archive);
        let alone = kubelet::alone();
        let control_plane = ControlPlane::start_with(options);
        control_plane.controllers();
        control_plane.scheduler();
        let kubelet = Kubelet::start(&control_plane, NODE);
        for image in &images {
            kubelet.import_image(image);
        }
        kubelet.wait_ready();
        let person = control_plane.person("auditor", "palisade-viewer");
        Self { kubelet, control_plane, person, _alone: alone }
    }

    fn apply(&self) {
        self.apply_fixture("deployed");
    }

    fn apply_fixture(&self, name: &str) {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
        let fixture = fixture.to_str().expect("UTF-8");
        let rendered = self.control_plane.kubectl(&["kustomize", fixture]);
        self.control_plane.apply(&rendered);
    }

    fn pods(&self) -> Vec<Value> {
        let pods = self.control_plane.get("/api/v1/namespaces/palisade-system/pods");
        pods["items"].as_array().expect("a list").clone()
    }

    /// Waits until all containers of the pod called `prefix`... are ready.
    fn ready(&self, prefix: &str) -> String {
        self.kubelet.wait(&format!("{prefix} is ready\n{}", self.words(prefix)), || {
            let pods = self.pods();
            let pod = pods.iter().find(|pod| {
                pod["metadata"]["name"].as_str().is_some_and(|name| name.starts_with(prefix))
            })?;
            let conditions = pod["status"]["conditions"].as_array()?;
            let ready = conditions.iter().any(|it| it["type"] == "Ready" && it["status"] == "True");
            ready.then(|| pod["metadata"]["name"].as_str().unwrap_or_default().to_owned())
        })
    }

    /// What the pods called `prefix`... have said so far.
    fn words(&self, prefix: &str) -> String {
        let selector = format!("app.kubernetes.io/name={prefix}");
        let arguments = ["logs", "-n", "palisade-system", "-l", &selector, "--tail=20"];
        self.control_plane.try_kubectl(&arguments).unwrap_or_else(|error| error)
    }

    /// What the person is told at `path`, through the Service; `None` before there is an answer.
    fn ask(&self, path: &str) -> Option<Value> {
        self.tell(&self.person, Method::GET, path, Bytes::new())
    }

    /// What is answered to whoever has this token; `None` before there is an answer that is a success.
    fn tell(&self, token: &str, method: Method, path: &str, body: Bytes) -> Option<Value> {
        let published =
            self.control_plane.get("/api/v1/namespaces/palisade-system/configmaps/palisade-trust");
        let authorities = published["data"]["ca.crt"].as_str()?;
        let trust = Trust::new(authorities, NAME);
        let address: SocketAddr = SERVICE.parse().expect("an address");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let answer = runtime.expect("a runtime").block_on(async {
            let mut client = Client::new(address).with_trust(&trust).with_token(token);
            client.try_send(method, path, &[], body).await
        });
        let answer = answer.ok()?;
        answer.status.is_success().then(|| answer.json())
    }

    /// The report of the node once it is whole.
    fn report(&self) -> Value {
        self.kubelet.wait("the report arrives", || self.reported(NODE))
    }

    /// What is known of a node, facts of all sections included, if its report is whole.
    fn reported(&self, node: &str) -> Option<Value> {
        let answer = self.ask(&format!("/v1/nodes/{node}?facts={}", SECTIONS.join(",")))?;
        let known = &answer["node"];
        (known["report"].is_string() && known["pending"].is_null()).then(|| answer.clone())
    }

    /// The conditions of palisade on the object of a node, by their types.
    fn conditions(&self, node: &str) -> BTreeMap<String, Value> {
        let node = self.control_plane.get(&format!("/api/v1/nodes/{node}"));
        let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let named = conditions.into_iter().filter_map(|it| {
            let kind = it["type"].as_str()?.strip_prefix("palisade.dev/")?.to_owned();
            Some((kind, it))
        });
        named.collect()
    }

    /// The one value that the fleet of one node has for a fact, as text.
    fn fact(&self, path: &str) -> String {
        let answer = self.ask(&format!("/v1/facts/{path}")).unwrap_or_default();
        let said = &answer["answers"][0]["said"];
        assert_eq!(said["state"], "known", "{path}: {answer:#}");
        said["value"].as_str().map_or_else(|| said["value"].to_string(), str::to_owned)
    }
}

fn host(path: &str) -> String {
    let value = fs::read_to_string(path).unwrap_or_else(|error| panic!("read {path}: {error}"));
    value.trim().to_owned()
}

#[test]
fn what_is_applied_from_the_manifests_reports_its_node_rightly() {
    let deployed = Deployed::start();
    deployed.ready("palisade-collector");
    deployed.ready("palisade-agent");
    let answer = deployed.report();

    // The object of the node and the report speak of one boot.
    let object = deployed.control_plane.get(&format!("/api/v1/nodes/{NODE}"));
    assert_eq!(answer["node"]["boot_id"], object["status"]["nodeInfo"]["bootID"]);
    // By hand, on the node.
    assert_eq!(deployed.fact("kernel.release"), host("/proc/sys/kernel/osrelease"));
    for name in PARAMETERS {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        assert_eq!(deployed.fact(&format!("sysctls.keys.{name}.running")), host(&path), "{name}");
    }
    let unknown = answer["sections"].as_object().expect("sections").iter();
    let unknown: Vec<_> = unknown.filter(|(_, it)| it["facts"]["state"] == "unknown").collect();
    assert!(unknown.is_empty(), "sections that could not be read: {unknown:#?}");
}

#[test]
fn a_deployed_collector_shows_what_it_knows_as_conditions_of_the_node() {
    let deployed = Deployed::start();
    deployed.report();
    let ours = deployed.kubelet.wait("the conditions say what the report says", || {
        let ours = deployed.conditions(NODE);
        // Before the first report they say that there is none yet.
        let said =
            ours.values().all(|it| it["reason"] != "NeverReported" && it["reason"] != "NoReport");
        (ours.len() == 3 && said).then_some(ours)
    });
    let drift = ours.get("HardeningDrift").unwrap_or_else(|| panic!("no drift: {ours:#?}"));
    // No machine that runs these tests is hardened in every respect.
    assert_eq!(drift["status"], "True", "{ours:#?}");
    assert!(drift["message"].as_str().is_some_and(|it| !it.is_empty()), "{ours:#?}");
}
