//! The chart: what it holds is written from the kustomize tree, and what it renders is the same.

use std::process::Command;

use palisade_tests::cluster::components::Component;
use palisade_tests::cluster::components::binary;
use palisade_tests::golden;
use serde_json::Value;
use serde_json::json;

use super::render;
use super::render::BY_LOGIND;
use super::render::Objects;
use super::render::PLATFORMS;
use super::render::combined;
use super::render::overlay;

/// Said at the top of what must not be edited.
const GENERATED: &str = "# Written by `make golden` from the kustomize tree; edit that.\n";

/// Components that add objects, or a part that the chart's template puts in.
const ADDING: &[&str] = &["durable-store", "monitoring", "open-reports"];

/// A digest of an image, for its shape.
const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn yaml(value: &Value) -> String {
    let text = serde_saphyr::to_string(value).expect("YAML");
    let read: Value = serde_saphyr::from_str(&text).expect("YAML that was just written");
    assert_eq!(&read, value, "YAML does not come back as it went");
    format!("{GENERATED}{text}{}", if text.ends_with('\n') { "" } else { "\n" })
}

/// What is in `full` and not the same in `base`.
fn beyond(base: &Objects, full: &Objects) -> Value {
    let removed: Vec<_> = base.keys().filter(|key| !full.contains_key(*key)).collect();
    assert!(removed.is_empty(), "an overlay takes away {removed:?}, which the chart cannot");
    let objects: Vec<_> = full
        .iter()
        .filter(|(key, object)| base.get(*key) != Some(object))
        .map(|(_, object)| object.clone())
        .collect();
    json!({ "objects": objects })
}

fn file(name: &str) -> String {
    format!("manifests/helm/palisade/files/{name}.yaml")
}

#[test]
fn the_crd_is_that_of_the_code() {
    let crd = serde_json::to_value(palisade_collector::kube::reboot_request::definition());
    let crd = crd.expect("JSON");
    let text = yaml(&crd).replace(
        GENERATED,
        "# Written by `make golden` from collector/src/kube/reboot_request.rs; edit that.\n",
    );
    golden::file("manifests/crd/rebootrequests.yaml", &text);
}

#[test]
fn what_the_chart_holds_is_what_kustomize_renders() {
    let base = render::base();
    let objects: Vec<_> = base.values().cloned().collect();
    golden::file(&file("base"), &yaml(&json!({ "objects": objects })));
    for platform in PLATFORMS {
        golden::file(
            &file(&format!("overlay-{platform}")),
            &yaml(&beyond(&base, &overlay(platform))),
        );
    }
    let plain = overlay("kubeadm");
    for component in ADDING {
        let mut added = combined("kubeadm", &[component]);
        // Changed as well as added to: that is the template's part, and compared below.
        added.retain(|key, _| !plain.contains_key(key));
        golden::file(
            &file(&format!("component-{component}")),
            &yaml(&beyond(&base, &added_to(&base, added))),
        );
    }
    let standby = combined("kubeadm", &["standby"]);
    let pod = &standby["Deployment/palisade-collector"]["spec"]["template"]["spec"];
    let spread = json!({ "topologySpreadConstraints": pod["topologySpreadConstraints"] });
    golden::file(&file("standby"), &yaml(&spread));
    let reboots = combined("kubeadm", &["reboot"]);
    golden::file(&file("reboot"), &yaml(&rebooter(&plain, &reboots)));
    let by_logind = combined("kubeadm", BY_LOGIND);
    golden::file(&file("reboot-by-logind"), &yaml(&rebooter(&plain, &by_logind)));
    let alerts = combined("kubeadm", &["alerts"]);
    golden::file(&file("alerts"), &yaml(&alerts_part(&plain, &alerts)));
    golden::file(&file("reboot-policy"), &yaml(&policy_part(&plain, &reboots)));
}

/// The elements of a list in the pod of a workload that only `full` has.
fn added(plain: &Objects, full: &Objects, workload: &str, pointer: &str) -> Vec<Value> {
    let part = |objects: &Objects| {
        let pod = &objects[workload]["spec"]["template"]["spec"];
        pod.pointer(pointer).and_then(Value::as_array).expect("a list").clone()
    };
    let before = part(plain);
    let mut after = part(full);
    after.retain(|it| !before.contains(it));
    after
}

/// What a policy adds to the collector's pod, and the policy.
fn policy_part(plain: &Objects, full: &Objects) -> Value {
    let added = |pointer: &str| added(plain, full, "Deployment/palisade-collector", pointer);
    json!({
        "env": added("/containers/0/env"),
        "mounts": added("/containers/0/volumeMounts"),
        "object": full["ConfigMap/palisade-reboot-policy"],
        "volumes": added("/volumes"),
    })
}

/// What alerts add to the collector's pod, and the objects beside it.
fn alerts_part(plain: &Objects, full: &Objects) -> Value {
    let added = |pointer: &str| added(plain, full, "Deployment/palisade-collector", pointer);
    let objects = full.iter().filter(|(key, _)| !plain.contains_key(*key));
    json!({
        "env": added("/containers/0/env"),
        "mounts": added("/containers/0/volumeMounts"),
        "objects": objects.map(|(_, object)| object.clone()).collect::<Vec<_>>(),
        "volumes": added("/volumes"),
    })
}

/// What the rebooter adds to the agent's pod.
fn rebooter(plain: &Objects, full: &Objects) -> Value {
    let added = |pointer: &str| added(plain, full, "DaemonSet/palisade-agent", pointer);
    // The other container is changed, and so is there too.
    let container = added("/containers").pop().expect("containers");
    assert_eq!(container["name"], "reboot");
    json!({
        "container": container,
        "mounts": added("/containers/0/volumeMounts"),
        "volumes": added("/volumes"),
    })
}

fn added_to(base: &Objects, added: Objects) -> Objects {
    let mut full = base.clone();
    full.extend(added);
    full
}

fn template(values: &[&str]) -> Result<String, String> {
    let mut command = Command::new(binary(Component::Deploy, "helm"));
    command.args(["template", "palisade", "--namespace", "palisade-system"]);
    command.arg(render::workspace().join("manifests/helm/palisade"));
    for value in values {
        // Text of a file, as people give what is longer than a line.
        let from_file = value.contains("=@");
        command.args(if from_file {
            ["--set-file".to_owned(), value.replacen("=@", "=", 1)]
        } else {
            ["--set".to_owned(), (*value).to_owned()]
        });
    }
    let output = command.output().unwrap_or_else(|error| panic!("run helm: {error}"));
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout).expect("UTF-8"));
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

pub(super) fn chart_text(values: &[&str]) -> String {
    template(values).unwrap_or_else(|error| panic!("helm template {values:?}: {error}"))
}

/// What helm renders, without the one annotation that only helm reads.
fn chart(values: &[&str]) -> Objects {
    let mut objects = render::keyed(&chart_text(values));
    let crd = objects.get_mut("CustomResourceDefinition/rebootrequests.palisade.dev");
    let metadata = crd.expect("the CRD")["metadata"].as_object_mut().expect("metadata");
    let kept = metadata.remove("annotations").expect("helm must not delete requests");
    assert_eq!(kept, json!({ "helm.sh/resource-policy": "keep" }));
    objects
}

fn same(what: &str, chart: &Objects, kustomize: &Objects) {
    let names = |objects: &Objects| objects.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(chart), names(kustomize), "{what}");
    for (key, object) in kustomize {
        assert_eq!(in_order(&chart[key]), in_order(object), "{what}: {key}");
    }
}

/// The object with the variables of its containers by name: kustomize puts those that a patch
/// changed first, and no value of ours refers to another variable.
fn in_order(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(containers) = object.pointer_mut("/spec/template/spec/containers") {
        for container in containers.as_array_mut().expect("containers") {
            if let Some(variables) = container.get_mut("env").and_then(Value::as_array_mut) {
                variables.sort_by_key(|variable| render::string(&variable["name"]).to_owned());
            }
        }
    }
    object
}

#[test]
fn the_chart_renders_what_kustomize_renders() {
    for platform in PLATFORMS {
        let values = [format!("platform={platform}")];
        same(platform, &chart(&values.each_ref().map(String::as_str)), &overlay(platform));
    }
    for (component, value) in [
        ("alerts", "alerts.enabled=true"),
        ("durable-store", "store.persistent=true"),
        ("external-certificate", "externalCertificate=true"),
        ("monitoring", "monitoring=true"),
        ("open-reports", "openReports=true"),
        ("reboot", "reboot.enabled=true"),
        ("selinux", "selinux=true"),
        ("standby", "standby=true"),
        ("without-node-conditions", "nodeConditions=false"),
    ] {
        same(component, &chart(&[value]), &combined("kubeadm", &[component]));
    }
    same(
        "reboot-by-logind",
        &chart(&["reboot.enabled=true", "reboot.method=logind"]),
        &combined("kubeadm", BY_LOGIND),
    );
    // Some that change the same list.
    same(
        "alerts, reboots and a volume",
        &chart(&["alerts.enabled=true", "reboot.enabled=true", "store.persistent=true"]),
        &combined("kubeadm", &["durable-store", "reboot", "alerts"]),
    );
    let both = chart(&["nodeConditions=false", "openReports=true"]);
    same(
        "other outputs",
        &both,
        &combined("kubeadm", &["open-reports", "without-node-conditions"]),
    );
}

#[test]
fn values_reach_the_objects() {
    let objects = chart(&[
        "image.registry=registry.example/team",
        "image.tag=v9",
        "image.pullPolicy=Always",
        &format!("image.digests.palisade-collector={DIGEST}"),
        "image.pullSecrets={regcred}",
        "reboot.enabled=true",
        "agent.tokenSeconds=3600",
        "agent.maxUnavailable=3",
        "agent.resources.limits.memory=96Mi",
        "collector.interval=30",
        "collector.nodeSelector.role=infra",
        "namespace.create=false",
        "store.persistent=true",
        "store.storageClass=fast",
        "store.size=9Gi",
    ]);
    assert!(!objects.contains_key("Namespace/palisade-system"));
    let agent = &objects["DaemonSet/palisade-agent"]["spec"];
    assert_eq!(agent["updateStrategy"]["rollingUpdate"]["maxUnavailable"], 3);
    let pod = &agent["template"]["spec"];
    for container in pod["containers"].as_array().expect("containers") {
        assert_eq!(container["image"], "registry.example/team/palisade-agent:v9");
        assert_eq!(container["imagePullPolicy"], "Always");
    }
    assert_eq!(pod["containers"][0]["resources"]["limits"]["memory"], "96Mi");
    assert_eq!(pod["containers"][1]["resources"]["limits"]["memory"], "16Mi");
    assert_eq!(pod["imagePullSecrets"], json!([{ "name": "regcred" }]));
    assert!(pod.to_string().contains(r#""expirationSeconds":3600"#), "{pod}");
    let pod = &objects["Deployment/palisade-collector"]["spec"]["template"]["spec"];
    let collector = &pod["containers"][0]["image"];
    assert_eq!(*collector, format!("registry.example/team/palisade-collector@{DIGEST}"));
    let admitted = &objects["PodTemplate/palisade-images"]["template"]["spec"]["containers"];
    assert_eq!(admitted[0]["image"], "registry.example/team/palisade-agent:v9");
    assert_eq!(admitted[1]["image"], *collector);
    assert_eq!(pod["nodeSelector"]["role"], "infra");
    assert!(pod.to_string().contains(r#"{"name":"PALISADE_INTERVAL","value":"30"}"#), "{pod}");
    let claim = &objects["PersistentVolumeClaim/palisade-collector"]["spec"];
    assert_eq!(claim["storageClassName"], "fast");
    assert_eq!(claim["resources"]["requests"]["storage"], "9Gi");
}

#[test]
fn values_that_mean_nothing_are_refused_by_name() {
    for (value, named) in [
        ("platform=minikube", "platform"),
        ("platfrom=kubeadm", "platfrom"),
        ("agent.tokenSeconds=60", "tokenSeconds"),
        ("collector.interval=1", "interval"),
        ("agent.maxUnavailable=0%", "maxUnavailable"),
        ("image.registry=Bad Registry", "registry"),
        ("image.digests.palisade-agent=sha256:12", "digests"),
        ("agent.tolerations={}", "tolerations"),
        ("reboot.method=kexec", "method"),
        ("reboot.policy=pools: []", "reboot"),
        ("reboot=true", "reboot"),
        ("alerts.config=receivers: []", "alerts"),
        ("alerts.secretName=Not a name", "secretName"),
    ] {
        let refused = template(&[value]).expect_err(value);
        assert!(refused.contains(named), "{value}: {refused}");
    }
    // Two replicas cannot share the volume of one writer.
    assert!(template(&["standby=true", "store.persistent=true"]).is_err());
    // Platforms that reboot their nodes themselves.
    for platform in ["bottlerocket", "openshift", "talos"] {
        assert!(
            template(&["reboot.enabled=true", &format!("platform={platform}")]).is_err(),
            "{platform}"
        );
    }
}
