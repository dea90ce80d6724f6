//! The test bed itself: what other tests take for granted when they stand on it.

use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use palisade_tests::cluster::ControlPlane;
use palisade_tests::cluster::Release;
use palisade_tests::cluster::api::Call;
use palisade_tests::wait;

/// Set in the process that is going to be killed.
pub(crate) const TO_BE_KILLED: &str = "PALISADE_TO_BE_KILLED";

/// Far more than anything here takes.
const WITHIN: Duration = Duration::from_secs(120);

fn serves(cluster: &ControlPlane, version: &str) {
    let said = cluster.get("/version");
    assert_eq!(said["major"], "1");
    assert_eq!(said["minor"], version, "{said}");
    assert_eq!(cluster.kubectl(&["get", "nodes"]), "");
    cluster.namespace("palisade-system", &["palisade-agent"]);
    let token_review = "authentication.kubernetes.io";
    let node_uid = cluster.node("worker-1");
    let pod = cluster.pod("palisade-system", "agent-1", "palisade-agent", "worker-1");
    let token = cluster.token("palisade-system", "palisade-agent", "palisade", 600, Some(&pod));

    let review = cluster.review(&token, "palisade");
    assert_eq!(review["authenticated"], true, "{review}");
    assert_eq!(review["user"]["username"], "system:serviceaccount:palisade-system:palisade-agent");
    let extra = |name: &str| review["user"]["extra"][format!("{token_review}/{name}")][0].clone();
    assert_eq!(extra("node-name"), "worker-1");
    assert_eq!(extra("node-uid"), node_uid.as_str());
    assert_eq!(extra("pod-name"), "agent-1");
    assert_eq!(extra("pod-uid"), pod.uid.as_str());

    let elsewhere = cluster.review(&token, "another");
    assert_ne!(elsewhere["authenticated"], true, "{elsewhere}");
    // A token for another audience is none for the API server, and a good one has no rights.
    let refused =
        cluster.api_with_token(&token).send(Call::get("/api/v1/nodes")).expect("an answer");
    assert_eq!(refused.status, 401);
    let own = cluster.token("palisade-system", "palisade-agent", "", 600, Some(&pod));
    let refused = cluster.api_with_token(&own).send(Call::get("/api/v1/nodes")).expect("an answer");
    assert_eq!(refused.status, 403);

    cluster.api().must(Call::delete("/api/v1/namespaces/palisade-system/pods/agent-1"));
    // The API server remembers a token that it has accepted for ten seconds.
    wait::until("the token of a deleted pod is refused", WITHIN, || {
        let review = cluster.review(&token, "palisade");
        if review["authenticated"] == true { Err(review) } else { Ok(()) }
    });
}

#[test]
fn both_api_servers_start_and_know_which_node_a_token_belongs_to() {
    for (release, minor) in [(Release::Newest, "36"), (Release::Oldest, "34")] {
        let began = Instant::now();
        let cluster = match release {
            Release::Newest => ControlPlane::start(),
            Release::Oldest => ControlPlane::start_oldest(),
        };
        println!("1.{minor} ready in {:?}", began.elapsed());
        serves(&cluster, minor);
        let from_here = |event: &serde_json::Value| {
            event["objectRef"]["resource"] == "tokenreviews"
                && event["userAgent"] == "palisade-tests"
        };
        assert!(cluster.audit_log().iter().filter(|event| from_here(event)).count() >= 3);
    }
}

#[test]
fn kubeconfigs_act_for_whom_they_were_made() {
    let cluster = ControlPlane::start();
    cluster.node("worker-1");
    cluster.apply(
        "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: seers}, \
          roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: 'system:aggregate-to-view'}, \
          subjects: [{kind: Group, apiGroup: rbac.authorization.k8s.io, name: seers}]}",
    );
    let seer = cluster.kubeconfig_for("alice", &["people", "seers"]);
    // The authorizer follows the bindings by a watch.
    wait::until("a seer sees", WITHIN, || {
        cluster.kubectl_with(&seer, &["get", "configmaps", "-A"], "")
    });
    let refused =
        cluster.kubectl_with(&seer, &["get", "secrets", "-A"], "").expect_err("only that");
    assert!(refused.contains("Forbidden") && refused.contains("alice"), "{refused}");

    // NodeRestriction: a kubelet's name may label its own node and no other.
    cluster.node("worker-2");
    let kubelet = cluster.api_as("system:node:worker-1", &["system:nodes"]);
    let label = |node| {
        let labels = serde_json::json!({ "metadata": { "labels": { "a": "b" } } });
        kubelet.send(Call::merge(format!("/api/v1/nodes/{node}"), &labels)).expect("an answer")
    };
    assert_eq!(label("worker-1").status, 200);
    let refused = label("worker-2");
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("is not allowed to modify node"), "{}", refused.text());
}

#[test]
fn an_api_server_that_was_stopped_refuses_and_comes_back_with_its_state() {
    let cluster = ControlPlane::start();
    let uid = cluster.node("worker-1");
    let address = cluster.address();
    cluster.stop_api_server();
    let refused = cluster.api().send(Call::get("/readyz")).expect_err("nobody listens");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    cluster.start_api_server();
    assert_eq!(cluster.address(), address);
    assert_eq!(cluster.get("/api/v1/nodes/worker-1")["metadata"]["uid"], uid.as_str());
}

#[test]
fn controllers_and_scheduler_work() {
    let cluster = ControlPlane::start();
    cluster.controllers();
    cluster.scheduler();
    cluster.node("worker-1");
    let ready = serde_json::json!({ "status": {
        "capacity": { "cpu": "1", "memory": "1Gi", "pods": "10" },
        "conditions": [{ "type": "Ready", "status": "True", "reason": "Test", "message": "",
            "lastHeartbeatTime": "2099-01-01T00:00:00Z", "lastTransitionTime": "2099-01-01T00:00:00Z" }],
    }});
    cluster.api().must(Call::merge("/api/v1/nodes/worker-1/status", &ready));
    let deployment = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: sleeper}, spec: \
        {selector: {matchLabels: {app: sleeper}}, template: {metadata: {labels: {app: sleeper}}, \
        spec: {tolerations: [{operator: Exists}], containers: [{name: main, image: none}]}}}}";
    cluster.apply(deployment);
    wait::until("the pod is scheduled", WITHIN, || {
        let pods = cluster.get("/api/v1/namespaces/default/pods");
        let pods = pods["items"].as_array().expect("a list");
        let scheduled = pods.iter().any(|pod| pod["spec"]["nodeName"] == "worker-1");
        if scheduled { Ok(()) } else { Err(cluster.log("kube-scheduler")) }
    });
}

#[test]
fn a_hundred_fake_nodes_are_ready_run_pods_and_go() {
    let cluster = ControlPlane::start();
    cluster.namespace("palisade-system", &["palisade-agent"]);
    let began = Instant::now();
    let kwok = cluster.kwok();
    let names = kwok.nodes("pool", 100);
    println!("100 nodes Ready in {:?}", began.elapsed());
    let listed = cluster.kubectl(&["get", "nodes", "--no-headers"]);
    assert_eq!(listed.lines().filter(|line| line.contains(" Ready ")).count(), 100, "{listed}");

    let pods = cluster.pods("palisade-system", "agent", "palisade-agent", &names);
    wait::until("all pods run", WITHIN, || {
        let phases =
            ["get", "pods", "-n", "palisade-system", "-o", "jsonpath={.items[*].status.phase}"];
        let phases = cluster.kubectl(&phases);
        let running = phases.split(' ').filter(|phase| *phase == "Running").count();
        if running == pods.len() { Ok(()) } else { Err(phases) }
    });
    let tokens = cluster.tokens("palisade-system", "palisade-agent", "palisade", 600, &pods);
    let review = cluster.review(&tokens[99], "palisade");
    assert_eq!(
        review["user"]["extra"]["authentication.kubernetes.io/node-name"][0], "pool-99",
        "{review}"
    );

    // What others say about a node outlives what KWOK says.
    let condition = serde_json::json!({ "status": { "conditions": [
        { "type": "palisade.dev/RebootRequired", "status": "True", "reason": "Test" }] } });
    cluster.api().must(Call::strategic("/api/v1/nodes/pool-0/status", &condition));
    let node = cluster.get("/api/v1/nodes/pool-0");
    assert_eq!(node["status"]["conditions"].as_array().map(Vec::len), Some(5), "{node}");

    kwok.delete(&names[..50]);
    kwok.wait_until_ready("pool", 50);
}

#[test]
fn a_killed_run_leaves_no_process_and_the_next_removes_its_files() {
    if std::env::var_os(TO_BE_KILLED).is_some() {
        let cluster = ControlPlane::start();
        cluster.controllers();
        println!("directory {}", cluster.directory().display());
        loop {
            std::thread::sleep(Duration::from_secs(1));
        }
    }
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "--nocapture", "--test-threads=1"])
        .arg("cluster::a_killed_run_leaves_no_process_and_the_next_removes_its_files")
        .env(TO_BE_KILLED, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("run this test again");
    let lines = BufReader::new(child.stdout.take().expect("a piped stdout")).lines();
    let directory = lines
        .map_while(Result::ok)
        .find_map(|line| Some(line.split_once("directory ")?.1.to_owned()))
        .expect("the directory of the other control plane");
    assert_eq!(users(&directory).len(), 3, "etcd, API server, controllers");

    child.kill().expect("kill the other test");
    child.wait().expect("wait for the other test");
    wait::until("all processes are gone", WITHIN, || {
        let users = users(&directory);
        if users.is_empty() { Ok(()) } else { Err(users) }
    });
    let _cluster = ControlPlane::start();
    assert!(!Path::new(&directory).exists(), "{directory}");
}

/// The processes with an argument below `directory`.
fn users(directory: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").expect("list processes").map_while(Result::ok);
    let arguments = processes
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok()))
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "));
    arguments.filter(|line| line.contains(&format!("{directory}/"))).collect()
}
