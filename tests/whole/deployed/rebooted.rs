//! A real machine that needs a reboot gets one: cordon, drain, grant, boot, proof, uncordon.
//!
//! ```text
//! newer kernel installed ─> report ─> plan ─> RebootRequest ─> cordon ─> eviction under a budget
//!   ─> signed grant ─> agent ─> logind (then: a signal) ─> new boot_id, new kernel ─> uncordon
//! ```
//!
//! The machine picks its kernel by its own boot loader. What happened is printed as it happens.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use hyper::Method;
use hyper::body::Bytes;
use palisade_tests::cluster::Options;
use palisade_tests::cluster::api::Call;
use palisade_tests::cluster::machine::HOST;
use palisade_tests::cluster::machine::Machine;
use palisade_tests::cluster::machine::Place;
use palisade_tests::cluster::machine::Prepared;
use palisade_tests::cluster::machine::State;
use palisade_tests::image;
use serde_json::Value;
use serde_json::json;

use super::Deployed;
use super::NODE;

/// The machine's node.
const NAME: &str = "machine-1";
/// Where Services have their addresses.
const SERVICES: &str = "10.96.0.0/12";
/// How long anything may take on a busy machine, whose emulation is slow already.
const WITHIN: Duration = Duration::from_secs(15 * 60);

/// Two pods that want to be apart, and a budget that lets one of them go at a time.
fn workload() -> String {
    let labels = json!({ "app": "web" });
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "web", "namespace": "default" },
        "spec": {
            "replicas": 2, "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": {
                    "terminationGracePeriodSeconds": 5,
                    "topologySpreadConstraints": [{
                        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
                        "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": { "matchLabels": labels }
                    }],
                    "containers": [{
                        "name": "pause", "image": "palisade-pause:1", "imagePullPolicy": "Never"
                    }]
                }
            }
        }
    });
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": { "name": "web", "namespace": "default" },
        "spec": { "minAvailable": 1, "selector": { "matchLabels": labels } }
    });
    format!("{deployment}\n---\n{budget}\n")
}

/// Lets the kubelet shut down gracefully, and keeps the journal over boots. unattended-upgrades allows
/// inhibitors 30 s, and its drop-in for logind comes after that of the kubelet.
const GRACEFUL: &str = "
    set -e
    mkdir -p /var/log/journal
    systemctl restart systemd-journald
    echo 'shutdownGracePeriod: 20s' >> /var/lib/kubelet/config.yaml
    echo 'shutdownGracePeriodCriticalPods: 5s' >> /var/lib/kubelet/config.yaml
    # At this level it says that it heard of a shutdown.
    echo 'logging: {verbosity: 1}' >> /var/lib/kubelet/config.yaml
    systemctl restart kubelet";

/// Whether the kubelet holds up a shutdown, as logind has it.
const INHIBITS: &str = "systemd-inhibit --list --no-legend | grep kubelet";

/// How the boot before the last one ended, in seconds since its begin.
const ENDED: &str = "journalctl -b -1 -o short-monotonic --no-pager \
    | grep -E '(kubelet|systemd-logind|systemd)\\[' \
    | grep -iE 'shutdown|reboot|Stopp(ing|ed) (kubelet|containerd)|SIGRTMIN' | tail -n 25";

/// Whether the kubelet was asked to end its pods before the boot before the last one ended.
fn was_graceful(machine: &Machine) -> bool {
    let ended = machine.run(ENDED);
    eprintln!("{ended}");
    ended.lines().any(|it| it.contains("kubelet[") && it.contains("shutdown event"))
}

/// Nodes of the running pods of the workload, by their UIDs.
fn placed(deployed: &Deployed) -> BTreeMap<String, String> {
    let pods = deployed.control_plane.get("/api/v1/namespaces/default/pods");
    let pods = pods["items"].as_array().expect("a list");
    let running = pods.iter().filter(|pod| pod["status"]["phase"] == "Running");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    running.map(|pod| (text(&pod["metadata"]["uid"]), text(&pod["spec"]["nodeName"]))).collect()
}

/// What is printed of a reboot: each change of anything that a person would look at.
struct Transcript {
    began: Instant,
    last: String,
    states: Vec<String>,
    least_running: usize,
}

impl Transcript {
    fn begin() -> Self {
        Self { began: Instant::now(), last: String::new(), states: Vec::new(), least_running: 2 }
    }

    fn look(&mut self, deployed: &Deployed) -> Value {
        // A definition that was applied just now is not served at once.
        let path = "/apis/palisade.dev/v1alpha1/rebootrequests";
        let all = deployed.control_plane.api().send(Call::get(path));
        let all = all.ok().filter(|it| it.status.is_success()).map(|it| it.json());
        let request = all.map(|all| all["items"][0].clone()).unwrap_or_default();
        let node = deployed.control_plane.get(&format!("/api/v1/nodes/{NAME}"));
        let running = placed(deployed);
        let state = request["status"]["state"].as_str().unwrap_or("-").to_owned();
        let there = running.values().filter(|node| *node == NAME).count();
        let line = format!(
            "{state:12} unschedulable={:5} pods here {there} of {}  waits for {}  {}",
            node["spec"]["unschedulable"].as_bool().unwrap_or_default(),
            running.len(),
            request["status"]["blockers"][0]["gate"],
            request["status"]["message"].as_str().unwrap_or_default(),
        );
        if line != self.last {
            eprintln!("{:7.1} s  {line}", self.began.elapsed().as_secs_f64());
            self.last = line;
        }
        if self.states.last() != Some(&state) {
            self.states.push(state);
        }
        // Once the machine goes down, its pod counts as running until somebody notices.
        self.least_running = self.least_running.min(running.len());
        node
    }

    /// Waits for another boot and for the end of the request, and returns the node.
    fn follow(&mut self, machine: &Machine, deployed: &Deployed, before: &str) -> Value {
        machine.wait("the machine was rebooted and takes pods again", WITHIN, || {
            let node = self.look(deployed);
            let boot = node["status"]["nodeInfo"]["bootID"].as_str().unwrap_or_default();
            let free = !node["spec"]["unschedulable"].as_bool().unwrap_or_default();
            let over = self.states.last().is_some_and(|it| it == "-" || it == "Done");
            (boot != before && free && over).then_some(node)
        })
    }
}

/// Waits until the agent of this machine is ready with these arguments of its rebooter.
fn agent_with(machine: &Machine, deployed: &Deployed, mode: &str) {
    machine.wait(&format!("the agent reboots by {mode}"), WITHIN, || {
        let pod = deployed.pods().into_iter().find(|pod| {
            let labels = &pod["metadata"]["labels"];
            labels["app.kubernetes.io/name"] == "palisade-agent"
                && pod["spec"]["containers"][1]["args"][1] == format!("--mode={mode}")
                && pod["metadata"]["deletionTimestamp"].is_null()
        })?;
        let all = pod["status"]["containerStatuses"].as_array()?;
        (all.len() == 2 && all.iter().all(|it| it["ready"] == true)).then_some(())
    });
}

#[test]
fn a_machine_that_needs_a_reboot_gets_one_by_logind_and_one_by_signal() {
    let agent = image::archive("palisade-agent");
    let (deployed, machine) = thread::scope(|scope| {
        let machine = scope.spawn(|| Machine::start(NAME, Place::First, State::Pending));
        let options = Options { names: vec![HOST.to_string()], ..Options::default() };
        (Deployed::begin(options), machine.join().expect("a machine"))
    });
    machine.route(SERVICES);
    machine.join(&deployed.control_plane);
    machine.import_image(&agent);
    machine.wait_node_ready(&deployed.control_plane);
    machine.run(GRACEFUL);
    let inhibits = machine.wait("the kubelet delays shutdowns", WITHIN, || {
        let listed = machine.attempt(INHIBITS);
        (listed.code == Some(0)).then(|| String::from_utf8_lossy(&listed.stdout).into_owned())
    });
    eprintln!("{inhibits}");
    machine.wait_node_ready(&deployed.control_plane);
    deployed.control_plane.apply(&workload());
    machine.wait("both nodes run a pod of the workload", WITHIN, || {
        let nodes: Vec<String> = placed(&deployed).into_values().collect();
        (nodes.len() == 2 && nodes.iter().any(|it| it == NAME)).then_some(())
    });
    let old_kernel = machine.kernel();
    let newer = Prepared::get().newer_kernel();
    let first = machine.boot_id();

    deployed.apply_fixture("rebooting");
    let mut by_logind = Transcript::begin();
    let node = by_logind.follow(&machine, &deployed, &first);
    let second = machine.boot_id();
    assert_ne!(second, first);
    assert!(was_graceful(&machine), "logind did not wait for the kubelet");
    assert_eq!(node["status"]["nodeInfo"]["kernelVersion"], newer, "from {old_kernel}");
    assert!(by_logind.states.iter().any(|it| it == "Draining"), "{:?}", by_logind.states);
    assert!(by_logind.least_running >= 1, "the budget was not kept");
    let annotations = node["metadata"]["annotations"].to_string();
    assert!(!annotations.contains("cordoned-by"), "{annotations}");
    let explained =
        machine.wait("the collector says that nothing is needed any more", WITHIN, || {
            let explained = deployed.ask(&format!("/v1/nodes/{NAME}/explain"))?;
            (explained["verdict"] == "not-needed").then_some(explained)
        });
    eprintln!("{}", explained["says"]);

    deployed.apply_fixture("rebooting-by-signal");
    agent_with(&machine, &deployed, "signal");
    let operator = deployed.control_plane.person("operator", "palisade-operator");
    let wish = Bytes::from(json!({ "node": NAME, "note": "try the signal" }).to_string());
    machine.wait("the request is taken", WITHIN, || {
        deployed.tell(&operator, Method::POST, "/v1/reboots", wish.clone())
    });
    let mut by_signal = Transcript::begin();
    by_signal.follow(&machine, &deployed, &second);
    let third = machine.boot_id();
    assert_ne!(third, second);
    assert!(
        !was_graceful(&machine),
        "the kubelet heard of a shutdown that logind was not asked for"
    );

    // The other node, which no pool takes, was never touched.
    let other = deployed.control_plane.get(&format!("/api/v1/nodes/{NODE}"));
    assert!(other["spec"]["unschedulable"].is_null(), "{other:#}");
    let audit = deployed.tell(&operator, Method::GET, "/v1/audit?limit=100", Bytes::new());
    for entry in audit.expect("the audit")["entries"].as_array().expect("entries").iter().rev() {
        eprintln!(
            "audit {} {} {} {}",
            entry["entry"]["at"],
            entry["entry"]["kind"],
            entry["entry"]["object"],
            entry["entry"]["reason"]
        );
    }
}
