//! The shipped images as pods of a real kubelet, and what a killed test leaves.

use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use palisade_tests::cluster::ControlPlane;
use palisade_tests::cluster::Kubelet;
use palisade_tests::cluster::api::Api;
use palisade_tests::cluster::api::Call;
use palisade_tests::cluster::pki::Authority;
use palisade_tests::image;
use serde_json::Value;
use serde_json::json;

use crate::cluster::TO_BE_KILLED;

/// Where the collector of these tests is in the cluster; kube-proxy leads from here to its pod.
const SERVICE: &str = "10.96.7.43";
/// What a person shows.
const VIEWER: &str = "a-viewer-of-these-tests";
/// What an agent shows.
const AGENT: &str = "an-agent-of-these-tests";

/// Held by each test that starts a kubelet: one of them looks at what is left on the machine, which
/// the next one's kubelet would remove.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    // A test that failed while it held this has cleaned up like any other.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn node(control_plane: &ControlPlane, name: &str) -> Kubelet {
    control_plane.controllers();
    control_plane.scheduler();
    let kubelet = Kubelet::start(control_plane, name);
    kubelet.wait_ready();
    kubelet
}

fn image(name: &str) -> String {
    format!("{name}:{}", image::VERSION)
}

/// A pod that runs the agent once with `arguments`, with what the agent may have on a node.
fn agent_pod(name: &str, arguments: &[&str]) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": "default" },
        "spec": agent_spec("Never", arguments),
    })
}

fn agent_spec(restart: &str, arguments: &[&str]) -> Value {
    json!({
        "restartPolicy": restart,
        "automountServiceAccountToken": false,
        "hostPID": true,
        "hostNetwork": true,
        "dnsPolicy": "ClusterFirstWithHostNet",
        "hostAliases": [{ "ip": SERVICE, "hostnames": ["collector.default.svc"] }],
        "terminationGracePeriodSeconds": 1,
        "containers": [{
            "name": "agent", "image": image("palisade-agent"), "imagePullPolicy": "Never",
            "args": arguments,
            "env": [{ "name": "PALISADE_NODE", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } }],
            "securityContext": {
                "runAsUser": 0, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                "capabilities": { "drop": ["ALL"], "add": ["DAC_READ_SEARCH", "SYS_PTRACE", "SETUID", "SETGID"] },
                "seccompProfile": { "type": "RuntimeDefault" },
            },
            "volumeMounts": [
                { "name": "host", "mountPath": "/host", "readOnly": true, "recursiveReadOnly": "Enabled" },
                { "name": "peer", "mountPath": "/etc/palisade", "readOnly": true },
            ],
        }],
        "volumes": [
            { "name": "host", "hostPath": { "path": "/", "type": "Directory" } },
            { "name": "peer", "secret": { "secretName": "collector" } },
        ],
    })
}

/// A collector in the pods' network behind a Service, with certificate and tokens from a Secret.
fn collector(authority: &Authority) -> Value {
    let names = ["collector.default.svc".to_owned(), SERVICE.to_owned()];
    let served = authority.server("collector", &names);
    let labels = json!({ "app": "collector" });
    let probe = json!({ "httpGet": { "path": "/readyz", "port": 7443, "scheme": "HTTPS" }, "periodSeconds": 1 });
    json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "collector", "namespace": "default" },
          "stringData": {
              "ca.crt": authority.certificate(), "tls.crt": served.certificate, "tls.key": served.key,
              "agent": AGENT, "viewer": VIEWER,
          } },
        { "apiVersion": "v1", "kind": "Service", "metadata": { "name": "collector", "namespace": "default" },
          "spec": { "clusterIP": SERVICE, "selector": labels, "ports": [{ "port": 7443 }] } },
        { "apiVersion": "v1", "kind": "Pod",
          "metadata": { "name": "collector", "namespace": "default", "labels": labels },
          "spec": {
              "automountServiceAccountToken": false,
              "securityContext": { "runAsNonRoot": true, "fsGroup": 65532, "seccompProfile": { "type": "RuntimeDefault" } },
              "terminationGracePeriodSeconds": 1,
              "containers": [{
                  "name": "collector", "image": image("palisade-collector"), "imagePullPolicy": "Never",
                  "args": [
                      "--listen=0.0.0.0:7443", "--state-dir=/state", "--interval=1",
                      "--tls-cert=/files/tls.crt", "--tls-key=/files/tls.key",
                      "--agent-token-file=/files/agent", "--viewer-token-file=/files/viewer",
                  ],
                  "readinessProbe": probe,
                  "securityContext": {
                      "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                      "capabilities": { "drop": ["ALL"] },
                  },
                  "volumeMounts": [
                      { "name": "state", "mountPath": "/state" },
                      { "name": "files", "mountPath": "/files", "readOnly": true },
                  ],
              }],
              "volumes": [
                  { "name": "state", "emptyDir": {} },
                  { "name": "files", "secret": { "secretName": "collector" } },
              ],
          } },
    ] })
}

fn phase(control_plane: &ControlPlane, pod: &str) -> String {
    let pod = control_plane.get(&format!("/api/v1/namespaces/default/pods/{pod}"));
    pod["status"]["phase"].as_str().unwrap_or_default().to_owned()
}

fn is_ready(control_plane: &ControlPlane, pod: &str) -> bool {
    let pod = control_plane.get(&format!("/api/v1/namespaces/default/pods/{pod}"));
    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.iter().any(|it| it["type"] == "Ready" && it["status"] == "True")
}

/// From an archive of `make image` to a judged report of this host: the whole path, through the
/// Service, with the agent confined as on any node.
#[test]
fn the_shipped_images_run_as_pods_and_report_this_host() {
    // Before anything runs: building them may take minutes.
    let images = ["palisade-agent", "palisade-collector"].map(image::archive);
    let _alone = alone();
    let control_plane = ControlPlane::start();
    let kubelet = node(&control_plane, "kubelet-1");
    for image in &images {
        kubelet.import_image(image);
    }

    let authority = Authority::new("tests");
    control_plane.apply(&collector(&authority).to_string());
    control_plane.apply(&agent_pod("version", &["--version"]).to_string());
    kubelet.wait("a pod ends", || (phase(&control_plane, "version") == "Succeeded").then_some(()));
    assert_eq!(
        kubelet.logs("default", "version").trim(),
        format!("palisade-agent {}", image::VERSION)
    );
    kubelet.wait("the collector is ready", || is_ready(&control_plane, "collector").then_some(()));

    let agents = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": { "name": "agent", "namespace": "default" },
        "spec": {
            "selector": { "matchLabels": { "app": "agent" } },
            "template": {
                "metadata": { "labels": { "app": "agent" } },
                "spec": agent_spec("Always", &[
                    "run", "--root=/host", "--collector=https://collector.default.svc:7443",
                    "--token-file=/etc/palisade/agent", "--ca-file=/etc/palisade/ca.crt",
                ]),
            },
        },
    });
    control_plane.apply(&agents.to_string());
    let address = format!("{SERVICE}:7443").parse().expect("an address");
    let people = Api::new(address, authority.certificate(), None).with_token(VIEWER);
    let answer = kubelet.wait("the report of this host arrives", || {
        let answer = people.send(Call::get("/v1/nodes/kubelet-1")).ok()?;
        let answer = answer.status.is_success().then(|| answer.json())?;
        let node = &answer["node"];
        (node["report"].is_string() && node["pending"].is_null()).then(|| answer.clone())
    });

    // Of this host, and not of the container: its kernel, and a boot id that only it has.
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("a boot id");
    assert_eq!(answer["node"]["boot_id"], boot.trim(), "{:#}", answer["node"]);
    let findings = answer["findings"].as_array().expect("findings");
    assert!(findings.iter().any(|it| it["verdict"] == "fail"), "{findings:#?}");
    let unknown = answer["sections"].as_object().expect("sections").iter();
    let unknown: Vec<_> = unknown.filter(|(_, section)| section["state"] == "unknown").collect();
    assert!(unknown.is_empty(), "sections that could not be read: {unknown:#?}");
}

/// Leaves a running pod behind, once this process is killed.
fn leave_a_running_pod_behind() -> ! {
    let control_plane = ControlPlane::start();
    let kubelet = node(&control_plane, "kubelet-killed");
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "pause", "namespace": "default" },
        "spec": { "containers": [
            { "name": "pause", "image": "palisade-pause:1", "imagePullPolicy": "Never" }
        ] },
    });
    control_plane.apply(&pod.to_string());
    kubelet.wait("the pod runs", || (phase(&control_plane, "pause") == "Running").then_some(()));
    println!("a pod is left behind");
    loop {
        std::thread::park();
    }
}

#[test]
fn a_killed_run_poisons_neither_the_next_nor_the_machine() {
    if std::env::var_os(TO_BE_KILLED).is_some() {
        leave_a_running_pod_behind();
    }
    let _alone = alone();
    let mut killed = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "--nocapture", "--test-threads=1"])
        .arg("kubelet::a_killed_run_poisons_neither_the_next_nor_the_machine")
        .env(TO_BE_KILLED, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("run this test again");
    let stdout = BufReader::new(killed.stdout.take().expect("a piped stdout"));
    // The harness may have begun the line with the test's name.
    let ready =
        stdout.lines().map_while(Result::ok).any(|line| line.ends_with("a pod is left behind"));
    killed.kill().expect("kill the other test");
    killed.wait().expect("wait for the other test");
    assert!(ready, "it ended before its pod ran");
    assert!(!leftovers().is_empty(), "the killed test left nothing, so this one shows nothing");

    let control_plane = ControlPlane::start();
    let kubelet = node(&control_plane, "kubelet-next");
    drop(kubelet);
    assert_eq!(leftovers(), Vec::<String>::new());
}

/// What of a kubelet of these tests can be seen on this machine.
fn leftovers() -> Vec<String> {
    let mut found = Vec::new();
    for path in [
        "/sys/class/net/palisade-test0",
        "/var/lib/palisade-test-kubelet",
        "/run/palisade-test-kubelet",
    ] {
        found.extend(Path::new(path).exists().then(|| path.to_owned()));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    found.extend(
        mounts.lines().filter(|it| it.contains("palisade-test-kubelet")).map(str::to_owned),
    );
    for hierarchy in fs::read_dir("/sys/fs/cgroup").expect("cgroups").map_while(Result::ok) {
        for cgroup in [hierarchy.path(), hierarchy.path().join("palisade-test-kubelet")] {
            let ours = cgroup.file_name().is_some_and(|name| name == "palisade-test-kubelet");
            found.extend((ours && cgroup.exists()).then(|| cgroup.display().to_string()));
        }
    }
    let tables = Command::new("nft").args(["list", "tables"]).output().expect("run nft");
    let tables = String::from_utf8_lossy(&tables.stdout).into_owned();
    found.extend(tables.lines().filter(|it| it.ends_with(" kube-proxy")).map(str::to_owned));
    found
}
