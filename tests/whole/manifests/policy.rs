//! The admission policies in real API servers: that they refuse what they are there to refuse, and
//! let through what the collector is there to do.

use std::time::Duration;

use palisade_tests::cluster::ControlPlane;
use palisade_tests::cluster::api::Api;
use palisade_tests::cluster::api::Call;
use palisade_tests::http::Answer;
use palisade_tests::wait;
use serde_json::Value;
use serde_json::json;

use super::render;

const COLLECTOR: &str = "system:serviceaccount:palisade-system:palisade-collector";

/// A policy takes a moment from its creation to its first refusal; a loaded machine takes longer.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(120);

pub(super) const NODE: &str = "/api/v1/nodes/worker-1";
/// What keeps cluster-autoscaler from removing a node, and the collector's mark beside it.
const KEEPS: &str = "cluster-autoscaler.kubernetes.io/scale-down-disabled";
const KEEPS_MARK: &str = "palisade.dev/scale-down-disabled-by";
const PODS: &str = "/api/v1/namespaces/palisade-system/pods?dryRun=All";

/// A cluster with palisade applied and its policies in force, and one node.
pub(super) fn guarded(cluster: &ControlPlane) {
    cluster.apply(&render::combined_text("kubeadm", render::BY_LOGIND));
    let node = json!({
        "metadata": { "name": "worker-1", "labels": { "a": "b" }, "annotations": { "x": "1" } },
        "spec": {
            "podCIDR": "10.0.0.0/24",
            "taints": [{ "key": "foreign", "effect": "NoSchedule" }],
        },
    });
    cluster.api().must(Call::post("/api/v1/nodes", &node));
    let collector = collector(cluster);
    wait::until("the policy on nodes is in force", IN_FORCE_WITHIN, || {
        let patch = json!({ "metadata": { "labels": { "a": null } } });
        let answer = collector.send(Call::merge(format!("{NODE}?dryRun=All"), &patch));
        answer.map_err(|error| error.to_string()).and_then(is_refused)
    });
    wait::until("the policy on pods is in force", IN_FORCE_WITHIN, || {
        let mut pod = pod(cluster, "deployment", "palisade-collector");
        pod["spec"]["hostPID"] = true.into();
        let answer = cluster.api().send(Call::post(PODS, &pod));
        answer.map_err(|error| error.to_string()).and_then(is_refused)
    });
}

fn is_refused(answer: Answer) -> Result<(), String> {
    if answer.status.as_u16() == 422 { Ok(()) } else { Err(format!("answered {}", answer.status)) }
}

pub(super) fn collector(cluster: &ControlPlane) -> Api {
    cluster.api_as(COLLECTOR, &["system:serviceaccounts:palisade-system"])
}

/// A pod as the workload would make it.
fn pod(cluster: &ControlPlane, resource: &str, name: &str) -> Value {
    let path = format!("/apis/apps/v1/namespaces/palisade-system/{resource}s/{name}");
    let template = cluster.get(&path)["spec"]["template"].take();
    json!({
        "metadata": { "name": "tried", "labels": template["metadata"]["labels"] },
        "spec": template["spec"],
    })
}

/// The call is refused by this policy.
pub(super) fn refused(api: &Api, what: &str, call: Call, policy: &str) {
    let answer = api.send(call).expect("an answer");
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(answer.status.is_client_error(), "{what}: {} {text}", answer.status);
    assert!(text.contains(&format!("'{policy}'")), "{what}: refused, but not by {policy}: {text}");
}

fn confines_node_writes(cluster: &ControlPlane) {
    let collector = collector(cluster);
    let before = cluster.get(NODE);
    for (what, patch) in [
        ("another's label", json!({ "metadata": { "labels": { "a": "c" } } })),
        ("another's label away", json!({ "metadata": { "labels": { "a": null } } })),
        (
            "a role",
            json!({ "metadata": { "labels": { "node-role.kubernetes.io/control-plane": "" } } }),
        ),
        ("another's annotation", json!({ "metadata": { "annotations": { "x": "2" } } })),
        (
            "a prefix that only begins like ours",
            json!({ "metadata": { "annotations": { "palisade.dev.evil/x": "2" } } }),
        ),
        (
            "what keeps cluster-autoscaler away, without its mark",
            json!({ "metadata": { "annotations": { KEEPS: "true" } } }),
        ),
        (
            "the same with another value",
            json!({ "metadata": { "annotations": { KEEPS: "yes", KEEPS_MARK: "request" } } }),
        ),
        (
            "another annotation of cluster-autoscaler",
            json!({ "metadata": { "annotations": {
                "cluster-autoscaler.kubernetes.io/x": "true", KEEPS_MARK: "request",
            } } }),
        ),
        ("a finalizer", json!({ "metadata": { "finalizers": ["palisade.dev/x"] } })),
        (
            "an owner",
            json!({ "metadata": { "ownerReferences": [
                { "apiVersion": "v1", "kind": "Node", "name": "x", "uid": "y" }
            ] } }),
        ),
        ("another's taint away", json!({ "spec": { "taints": [] } })),
        (
            "a taint beside",
            json!({ "spec": { "taints": [
                { "key": "foreign", "effect": "NoSchedule" },
                { "key": "evil", "effect": "NoExecute" },
            ] } }),
        ),
        (
            "a taint of its own that evicts past budgets",
            json!({ "spec": { "taints": [
                { "key": "foreign", "effect": "NoSchedule" },
                { "key": "palisade.dev/pending", "effect": "NoExecute" },
            ] } }),
        ),
        ("another machine", json!({ "spec": { "providerID": "x" } })),
        (
            "cordon with a label",
            json!({
                "metadata": { "labels": { "evil": "" } }, "spec": { "unschedulable": true },
            }),
        ),
    ] {
        refused(&collector, what, Call::merge(NODE, &patch), "palisade-node-writes");
    }
    for (what, patch) in [
        (
            "another's condition",
            json!({ "status": { "conditions": [{ "type": "Ready", "status": "False" }] } }),
        ),
        ("capacity", json!({ "status": { "capacity": { "cpu": "64" } } })),
        (
            "addresses",
            json!({ "status": { "addresses": [{ "type": "InternalIP", "address": "192.0.2.1" }] } }),
        ),
    ] {
        let call = Call::merge(format!("{NODE}/status"), &patch);
        refused(&collector, what, call, "palisade-node-writes");
    }
    assert_eq!(cluster.get(NODE), before, "a refused patch changed something");

    // What it is there for goes through, and back again.
    let own = json!({ "key": "palisade.dev/pending", "effect": "PreferNoSchedule" });
    let foreign = before["spec"]["taints"].as_array().expect("taints").clone();
    let mut taints = foreign.clone();
    taints.push(own);
    collector.must(Call::merge(
        NODE,
        &json!({
            "metadata": {
                "annotations": {
                    "palisade.dev/cordoned-by": "request",
                    KEEPS: "true",
                    KEEPS_MARK: "request",
                },
                "labels": { "palisade.dev/pending": "true" },
            },
            "spec": { "unschedulable": true, "taints": taints },
        }),
    ));
    let other = json!({ "metadata": { "annotations": { KEEPS: "false" } } });
    refused(&collector, "its own, changed", Call::merge(NODE, &other), "palisade-node-writes");
    let condition = json!({ "type": "palisade.dev/RebootRequired", "status": "True" });
    let patch = json!({ "status": { "conditions": [condition] } });
    let node = collector.must(Call::merge(format!("{NODE}/status"), &patch));
    assert_eq!(node["spec"]["unschedulable"], true);
    assert_eq!(node["status"]["conditions"][0]["type"], "palisade.dev/RebootRequired");
    collector.must(Call::merge(
        NODE,
        &json!({
            "metadata": {
                "annotations": {
                    "palisade.dev/cordoned-by": null,
                    KEEPS: null,
                    KEEPS_MARK: null,
                    "palisade.dev/last-reboot": "{}",
                },
                "labels": { "palisade.dev/pending": null },
            },
            "spec": { "unschedulable": null, "taints": foreign },
        }),
    ));
    let after = cluster.get(NODE);
    assert_eq!(after["spec"], before["spec"]);
    assert_eq!(after["metadata"]["labels"], before["metadata"]["labels"]);
    assert_eq!(after["metadata"]["annotations"]["palisade.dev/last-reboot"], "{}");
    assert_eq!(after["metadata"]["annotations"][KEEPS], Value::Null);
    leaves_what_a_person_said(cluster, &collector);
    // Others are none of this policy's business.
    cluster.kubectl(&["label", "node", "worker-1", "a=d", "--overwrite"]);
}

/// Nothing that a person said to cluster-autoscaler is taken away, changed or made the collector's own.
fn leaves_what_a_person_said(cluster: &ControlPlane, collector: &Api) {
    marks_nothing_in_advance(cluster, collector);
    for (value, other) in [("true", "false"), ("false", "true")] {
        let said = format!("{KEEPS}={value}");
        cluster.kubectl(&["annotate", "--overwrite", "node", "worker-1", &said]);
        for (what, annotations) in [
            ("taken away", json!({ KEEPS: null })),
            ("changed", json!({ KEEPS: other })),
            ("changed under a mark", json!({ KEEPS: other, KEEPS_MARK: "request" })),
            ("marked", json!({ KEEPS_MARK: "request" })),
            ("marked and taken away", json!({ KEEPS: null, KEEPS_MARK: "request" })),
        ] {
            let patch = json!({ "metadata": { "annotations": annotations } });
            let what = format!("a person's {value}, {what}");
            refused(collector, &what, Call::merge(NODE, &patch), "palisade-node-writes");
        }
        let node = cluster.get(NODE);
        assert_eq!(node["metadata"]["annotations"][KEEPS], value, "{node:#}");
    }
    cluster.kubectl(&["annotate", "node", "worker-1", &format!("{KEEPS}-")]);
}

/// What a person says later is not made the collector's own before.
fn marks_nothing_in_advance(cluster: &ControlPlane, collector: &Api) {
    let patch = |annotations: Value| {
        Call::merge(NODE, &json!({ "metadata": { "annotations": annotations } }))
    };
    let mark = || patch(json!({ KEEPS_MARK: "request" }));
    refused(collector, "the mark alone, before the person", mark(), "palisade-node-writes");
    collector.must(patch(json!({ KEEPS: "true", KEEPS_MARK: "request" })));
    let value = patch(json!({ KEEPS: null }));
    refused(collector, "the value away, the mark left", value, "palisade-node-writes");
    // Once a person has done that, all else is written as before, and in the end the mark goes.
    cluster.kubectl(&["annotate", "node", "worker-1", &format!("{KEEPS}-")]);
    collector.must(patch(json!({ "palisade.dev/last-reboot": "{}" })));
    let condition = json!({ "type": "palisade.dev/RebootRequired", "status": "False" });
    let conditions = json!({ "status": { "conditions": [condition] } });
    collector.must(Call::merge(format!("{NODE}/status"), &conditions));
    let node = collector.must(patch(json!({ KEEPS_MARK: null })));
    let left = &node["metadata"]["annotations"];
    assert_eq!((&left[KEEPS], &left[KEEPS_MARK]), (&Value::Null, &Value::Null));
}

type Change = fn(&mut Value);

/// What no pod of ours has, by what is wrong.
const WRONG_AGENTS: &[(&str, Change)] = &[
    ("a capability", |pod| add(&mut pod["spec"]["containers"][0], "SYS_ADMIN")),
    ("a capability of the rebooter", |pod| add(&mut pod["spec"]["containers"][1], "SYS_PTRACE")),
    ("privileged", |pod| {
        pod["spec"]["containers"][0]["securityContext"]["privileged"] = true.into();
        pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = true.into();
    }),
    ("a writable root", |pod| {
        pod["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] = false.into();
    }),
    ("a writable host", |pod| {
        let mounts = pod["spec"]["containers"][0]["volumeMounts"].as_array_mut().expect("mounts");
        let host = mounts.iter_mut().find(|mount| mount["name"] == "host").expect("the host");
        host["readOnly"] = false.into();
        host["recursiveReadOnly"] = "Disabled".into();
    }),
    ("a host with mounts that stay writable", |pod| {
        let mounts = pod["spec"]["containers"][0]["volumeMounts"].as_array_mut().expect("mounts");
        let host = mounts.iter_mut().find(|mount| mount["name"] == "host").expect("the host");
        host.as_object_mut().expect("a mount").remove("recursiveReadOnly");
    }),
    ("a host in the rebooter", |pod| {
        let mounts = pod["spec"]["containers"][1]["volumeMounts"].as_array_mut();
        let mount = json!({ "name": "host", "mountPath": "/host", "readOnly": true });
        mounts.expect("mounts").push(mount);
    }),
    ("another directory of the host", |pod| {
        let volumes = pod["spec"]["volumes"].as_array_mut().expect("volumes");
        volumes.push(json!({ "name": "etc", "hostPath": { "path": "/etc" } }));
    }),
    ("a shell of the host", |pod| {
        pod["spec"]["containers"][0]["command"] = json!(["/host/bin/sh"]);
    }),
    ("another verb", |pod| pod["spec"]["containers"][0]["args"][0] = "scan".into()),
    ("no verb", |pod| pod["spec"]["containers"][0]["args"] = json!([])),
    ("another image", |pod| pod["spec"]["containers"][0]["image"] = "busybox".into()),
    ("another registry's image", |pod| {
        pod["spec"]["containers"][0]["image"] = "evil.example/palisade-agent:0.1.0".into();
    }),
    ("an image that ends alike", |pod| {
        pod["spec"]["containers"][0]["image"] = "evil/not-palisade-agent:1".into();
    }),
    ("an init container", |pod| {
        pod["spec"]["initContainers"] =
            json!([{ "name": "inspect0", "image": "palisade-agent:1" }]);
    }),
    ("a third container", |pod| {
        let containers = pod["spec"]["containers"].as_array_mut().expect("containers");
        let mut third = containers[1].clone();
        third["name"] = "third".into();
        containers.push(third);
    }),
    ("its IPC namespace", |pod| pod["spec"]["hostIPC"] = true.into()),
    ("no seccomp", |pod| {
        pod["spec"]["securityContext"]["seccompProfile"]["type"] = "Unconfined".into();
    }),
    ("a port", |pod| {
        pod["spec"]["containers"][0]["ports"] = json!([{ "containerPort": 80 }]);
    }),
    ("a token of the API server", |pod| pod["spec"]["automountServiceAccountToken"] = true.into()),
    ("a token for another", |pod| {
        for volume in pod["spec"]["volumes"].as_array_mut().expect("volumes") {
            if volume["name"] == "token" {
                volume["projected"]["sources"][0]["serviceAccountToken"]["audience"] = "x".into();
            }
        }
    }),
];

const WRONG_COLLECTORS: &[(&str, Change)] = &[
    ("the host's processes", |pod| pod["spec"]["hostPID"] = true.into()),
    ("the host's network", |pod| pod["spec"]["hostNetwork"] = true.into()),
    ("the host's files", |pod| {
        let volumes = pod["spec"]["volumes"].as_array_mut().expect("volumes");
        volumes.push(json!({ "name": "host", "hostPath": { "path": "/" } }));
    }),
    ("root", |pod| {
        pod["spec"]["securityContext"]["runAsNonRoot"] = false.into();
        pod["spec"]["securityContext"]["runAsUser"] = 0.into();
    }),
    ("the agent's image", |pod| {
        pod["spec"]["containers"][0]["image"] = "palisade-agent:1".into();
    }),
    ("a lifecycle command", |pod| {
        pod["spec"]["containers"][0]["lifecycle"] =
            json!({ "postStart": { "exec": { "command": ["/palisade-collector"] } } });
    }),
];

fn add(container: &mut Value, capability: &str) {
    let capabilities = &mut container["securityContext"]["capabilities"];
    match capabilities["add"].as_array_mut() {
        Some(added) => added.push(capability.into()),
        None => capabilities["add"] = json!([capability]),
    }
}

fn admits_only_its_own_pods(cluster: &ControlPlane) {
    let api = cluster.api();
    for (resource, name, wrong) in [
        ("daemonset", "palisade-agent", WRONG_AGENTS),
        ("deployment", "palisade-collector", WRONG_COLLECTORS),
    ] {
        let right = pod(cluster, resource, name);
        api.must(Call::post(PODS, &right));
        for (what, change) in wrong {
            let mut pod = right.clone();
            change(&mut pod);
            refused(api, what, Call::post(PODS, &pod), "palisade-pod-shapes");
        }
        refused(api, "a mirror", Call::post(PODS, &mirrored(right, name)), "palisade-pod-shapes");
    }
    // Nothing is added to a pod that runs, and nobody gets into it.
    let mut running = pod(cluster, "daemonset", "palisade-agent");
    running["spec"]["nodeName"] = "worker-1".into();
    api.must(Call::post(PODS.trim_end_matches("?dryRun=All"), &running));
    for (verb, arguments) in [
        ("exec", vec!["exec", "tried", "--", "sh"]),
        ("attach", vec!["attach", "tried"]),
        ("debug", vec!["debug", "tried", "--image=busybox", "--target=inspect"]),
    ] {
        let arguments = [vec!["-n", "palisade-system"], arguments].concat();
        let refused = cluster.try_kubectl(&arguments).expect_err(verb);
        assert!(refused.contains("ValidatingAdmissionPolicy"), "{verb}: {refused}");
    }
}

const MIRROR: &str = "registry.example:5000/team";

/// The pod with its images of a mirror.
fn mirrored(mut pod: Value, name: &str) -> Value {
    let image = format!("{MIRROR}/{name}@sha256:{}", "0".repeat(64));
    for container in pod["spec"]["containers"].as_array_mut().expect("containers") {
        container["image"] = image.clone().into();
    }
    pod
}

/// Whoever names a mirror for the images of both workloads names it for the policy.
fn mirror_admits_its_images(cluster: &ControlPlane) {
    let api = cluster.api();
    let digest = format!("sha256:{}", "0".repeat(64));
    let right = ["agent", "collector"].map(|it| format!("palisade-{it}"));
    let mut pods = Vec::new();
    for (name, resource) in right.iter().zip(["daemonset", "deployment"]) {
        let mut pod = pod(cluster, resource, name);
        // Another of its name runs already.
        pod["metadata"]["name"] = "mirrored".into();
        pods.push((name, pod));
    }
    let before = render::overlay_text("kubeadm");
    cluster.apply(&render::mirrored_text("kubeadm", MIRROR, &digest));
    for (name, before) in &pods {
        let call = || Call::post(PODS, &mirrored(before.clone(), name));
        wait::until("the policy follows its parameter", IN_FORCE_WITHIN, || {
            let answer = api.send(call()).map_err(|error| error.to_string())?;
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            if answer.status.is_success() { Ok(()) } else { Err(text) }
        });
        refused(api, "no mirror", Call::post(PODS, before), "palisade-pod-shapes");
    }
    cluster.apply(&before);
    wait::until("the policy follows its parameter back", IN_FORCE_WITHIN, || {
        let answers = pods.iter().map(|(_, pod)| api.send(Call::post(PODS, pod)));
        let answers = answers.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
        if answers.iter().all(|it| it.status.is_success()) {
            Ok(())
        } else {
            Err("not yet".to_owned())
        }
    });
}

fn guards(cluster: &ControlPlane) {
    guarded(cluster);
    confines_node_writes(cluster);
    admits_only_its_own_pods(cluster);
    mirror_admits_its_images(cluster);
}

#[test]
fn the_newest_api_server_confines_the_collector_and_the_namespace() {
    guards(&ControlPlane::start());
}

#[test]
fn the_oldest_api_server_confines_the_collector_and_the_namespace() {
    guards(&ControlPlane::start_oldest());
}

/// A policy whose expressions do not fit the types that they look at says so in its status, which
/// only a controller fills in.
fn fits(cluster: &ControlPlane) {
    cluster.apply(&render::overlay_text("kubeadm"));
    cluster.controllers();
    let path = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
    let ours = || {
        let mut policies = cluster.get(path)["items"].take();
        let list = policies.as_array_mut().expect("a list");
        list.retain(|it| it["metadata"]["labels"]["app.kubernetes.io/part-of"] == "palisade");
        std::mem::take(list)
    };
    wait::until("the policies are checked", IN_FORCE_WITHIN, || {
        let unchecked = |policy: &Value| policy["status"]["observedGeneration"].is_null();
        if ours().iter().any(unchecked) { Err("not yet") } else { Ok(()) }
    });
    let policies = ours();
    assert_eq!(policies.len(), 4);
    for policy in policies {
        let warnings = &policy["status"]["typeChecking"]["expressionWarnings"];
        assert!(warnings.is_null(), "{}: {warnings:#}", policy["metadata"]["name"]);
    }
}

#[test]
fn the_policies_fit_the_types_of_the_newest_api() {
    fits(&ControlPlane::start());
}

#[test]
fn the_policies_fit_the_types_of_the_oldest_api() {
    fits(&ControlPlane::start_oldest());
}
