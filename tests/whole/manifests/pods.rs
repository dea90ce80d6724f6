//! The pods: what they may, where they run, and that their arguments mean something to our binaries.

use clap::CommandFactory;
use clap::Parser;
use serde_json::Value;

use super::render;
use super::render::Objects;
use super::render::list;
use super::render::of_kind;
use super::render::string;
use super::render::strings;

/// The one directory of a host that is written to, and by whom: used grants, and when.
const WRITABLE: (&str, &str) = ("reboot", "/var/lib/palisade");

/// Container, capabilities that it adds, memory limit.
const CONTAINERS: &[(&str, &[&str], &str)] = &[
    ("collector", &[], "1Gi"),
    ("inspect", &["DAC_READ_SEARCH", "SETGID", "SETUID", "SYS_PTRACE"], "64Mi"),
    ("reboot", &[], "16Mi"),
];

fn pod<'a>(objects: &'a Objects, workload: &str) -> &'a Value {
    &objects[workload]["spec"]["template"]["spec"]
}

/// Pod specs of everything that makes pods.
fn pods(objects: &Objects) -> Vec<&Value> {
    let makes = ["DaemonSet", "Deployment", "StatefulSet", "Job", "CronJob", "Pod", "ReplicaSet"];
    let found: Vec<_> = makes.iter().flat_map(|kind| of_kind(objects, kind)).collect();
    let names: Vec<_> = found.iter().map(|object| string(&object["kind"])).collect();
    assert_eq!(names, ["DaemonSet", "Deployment"], "another kind of pod");
    found.into_iter().map(|object| &object["spec"]["template"]["spec"]).collect()
}

fn container<'a>(pod: &'a Value, name: &str) -> Option<&'a Value> {
    list(&pod["containers"]).iter().find(|container| container["name"] == name)
}

#[test]
fn every_container_has_its_row_of_the_table_and_no_more() {
    for (name, objects) in render::everything() {
        for pod in pods(objects) {
            assert_eq!(list(&pod["initContainers"]).len(), 0, "{name}");
            for container in list(&pod["containers"]) {
                let own = string(&container["name"]);
                let (_, capabilities, memory) = CONTAINERS
                    .iter()
                    .find(|(row, ..)| *row == own)
                    .unwrap_or_else(|| panic!("{name}: {own} has no row"));
                let context = &container["securityContext"];
                assert_eq!(context["privileged"], false, "{name}: {own}");
                assert_eq!(context["allowPrivilegeEscalation"], false, "{name}: {own}");
                assert_eq!(context["readOnlyRootFilesystem"], true, "{name}: {own}");
                assert_eq!(strings(&context["capabilities"]["drop"]), ["ALL"], "{name}: {own}");
                assert_eq!(
                    strings(&context["capabilities"]["add"]),
                    *capabilities,
                    "{name}: {own}"
                );
                assert!(context["procMount"].is_null(), "{name}: {own}");
                assert_eq!(container["resources"]["limits"]["memory"], *memory, "{name}: {own}");
                assert!(container["command"].is_null(), "{name}: {own}");
                assert!(container["lifecycle"].is_null(), "{name}: {own}");
            }
            let seccomp = &pod["securityContext"]["seccompProfile"]["type"];
            assert_eq!(seccomp, "RuntimeDefault", "{name}");
            assert_eq!(pod["hostUsers"], true, "{name}");
        }
        let collector = pod(objects, "Deployment/palisade-collector");
        assert_eq!(collector["securityContext"]["runAsUser"], 65532, "{name}");
        assert_eq!(collector["securityContext"]["runAsNonRoot"], true, "{name}");
        for key in ["hostPID", "hostNetwork", "hostIPC"] {
            assert_ne!(collector[key], true, "{name}: {key}");
        }
    }
}

#[test]
fn the_host_is_mounted_read_only_but_for_one_directory_of_the_rebooter() {
    for (name, objects) in render::everything() {
        let collector = pod(objects, "Deployment/palisade-collector");
        assert!(list(&collector["volumes"]).iter().all(|volume| volume["hostPath"].is_null()));
        let agent = pod(objects, "DaemonSet/palisade-agent");
        let mut seen = 0;
        for container in list(&agent["containers"]) {
            for mount in list(&container["volumeMounts"]) {
                let volume = list(&agent["volumes"])
                    .iter()
                    .find(|volume| volume["name"] == mount["name"])
                    .unwrap_or_else(|| panic!("{name}: {mount} has no volume"));
                assert!(mount["subPath"].is_null(), "{name}: {mount} never follows a change");
                let Some(path) = volume["hostPath"]["path"].as_str() else { continue };
                seen += 1;
                if (string(&container["name"]), path) == WRITABLE {
                    continue;
                }
                assert_eq!(mount["readOnly"], true, "{name}: {mount}");
                if path == "/" {
                    // Else mounts below / stay writable; it demands that nothing propagates.
                    assert_eq!(mount["recursiveReadOnly"], "IfPossible", "{name}: {mount}");
                    assert_eq!(mount["mountPropagation"], "None", "{name}: {mount}");
                    assert_eq!(container["name"], "inspect", "{name}: who sees the host");
                }
            }
        }
        let reboot = container(agent, "reboot").map(|it| strings(&it["args"]));
        let expected = match reboot {
            // The hold file and the record; and the system bus, where logind is asked.
            Some(arguments) if arguments.contains(&"--mode=logind") => 4,
            Some(_) => 3,
            None => 1,
        };
        assert_eq!(seen, expected, "{name}: host paths");
    }
}

#[test]
fn the_agent_runs_on_every_node_that_a_host_is_behind() {
    for (name, objects) in render::everything() {
        let agent = pod(objects, "DaemonSet/palisade-agent");
        assert_eq!(agent["hostPID"], true, "{name}");
        assert_eq!(agent["hostNetwork"], true, "{name}");
        assert_ne!(agent["hostIPC"], true, "{name}");
        assert_eq!(agent["dnsPolicy"], "ClusterFirstWithHostNet", "{name}");
        assert_eq!(agent["tolerations"], serde_json::json!([{ "operator": "Exists" }]), "{name}");
        assert_eq!(agent["priorityClassName"], "system-node-critical", "{name}");
        assert_eq!(agent["automountServiceAccountToken"], false, "{name}");
        let group = palisade_agent::sandbox::PARSER_ID;
        assert_eq!(agent["securityContext"]["fsGroup"], group, "{name}: who reads the token");
        let terms = &agent["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
            ["nodeSelectorTerms"];
        for expression in list(terms).iter().flat_map(|term| list(&term["matchExpressions"])) {
            // Whatever is left out is left out by name, and has no host.
            assert_eq!(expression["operator"], "NotIn", "{name}");
            let values = strings(&expression["values"]);
            assert!(["fargate", "virtual-kubelet"].contains(&values[0]), "{name}: {values:?}");
        }
    }
}

#[test]
fn the_agent_has_one_token_for_the_collector_and_the_rebooter_has_none() {
    for (name, objects) in render::everything() {
        let agent = pod(objects, "DaemonSet/palisade-agent");
        let mut tokens = Vec::new();
        for volume in list(&agent["volumes"]) {
            for source in list(&volume["projected"]["sources"]) {
                if !source["serviceAccountToken"].is_null() {
                    tokens.push((string(&volume["name"]), &source["serviceAccountToken"]));
                }
            }
            assert!(volume["secret"].is_null(), "{name}: {volume}");
        }
        assert_eq!(tokens.len(), 1, "{name}");
        let (volume, token) = tokens[0];
        assert_eq!(token["audience"], "palisade", "{name}");
        assert_eq!(token["expirationSeconds"], 600, "{name}");
        for container in list(&agent["containers"]) {
            let mounted =
                list(&container["volumeMounts"]).iter().any(|mount| mount["name"] == volume);
            assert_eq!(mounted, container["name"] == "inspect", "{name}: {}", container["name"]);
        }
    }
}

#[test]
fn images_are_those_of_this_version() {
    for (name, objects) in render::everything() {
        for pod in pods(objects) {
            for container in list(&pod["containers"]) {
                let image = string(&container["image"]);
                let (_, tag) =
                    image.split_once(':').unwrap_or_else(|| panic!("{image} has no tag"));
                assert_eq!(tag, env!("CARGO_PKG_VERSION"), "{name}: {image}");
            }
        }
    }
}

#[test]
fn the_images_that_are_admitted_are_those_that_run() {
    let mirrored = render::keyed(&render::mirrored_text("kubeadm", "m.example/x", "sha256:0"));
    let all = render::everything().iter().map(|(name, objects)| (name.as_str(), objects));
    for (name, objects) in all.chain([("mirrored", &mirrored)]) {
        let template = &objects["PodTemplate/palisade-images"]["template"]["spec"];
        let admitted: Vec<_> =
            list(&template["containers"]).iter().map(|it| string(&it["image"])).collect();
        for (pod, admitted) in pods(objects).iter().zip(admitted) {
            for container in list(&pod["containers"]) {
                assert_eq!(container["image"], admitted, "{name}: {}", container["name"]);
            }
        }
    }
}

#[test]
fn the_binaries_understand_their_arguments() {
    use palisade_collector::settings::Raw;
    use palisade_collector::settings::Settings;

    for (name, objects) in render::everything() {
        let collector = pod(objects, "Deployment/palisade-collector");
        let own = container(collector, "collector").expect("the collector");
        let given = std::iter::once("palisade-collector").chain(arguments(own));
        let raw = Raw::try_parse_from(given).unwrap_or_else(|error| panic!("{name}: {error}"));
        let settings = Settings::try_from(raw).unwrap_or_else(|error| panic!("{name}: {error}"));
        let cluster = settings.kubernetes.expect("it serves a cluster");
        assert_eq!(cluster.namespace, "palisade-system", "{name}");
        assert!(objects.contains_key(&format!("ServiceAccount/{}", cluster.agent_service_account)));
        for variable in list(&own["env"]) {
            known_variable(string(&variable["name"]), name);
        }
        let agent = pod(objects, "DaemonSet/palisade-agent");
        for own in list(&agent["containers"]) {
            let given = std::iter::once("palisade-agent").chain(arguments(own));
            if let Err(error) = palisade_agent::verb::Cli::try_parse_from(given) {
                panic!("{name}: {error}");
            }
        }
    }
}

fn arguments(container: &Value) -> impl Iterator<Item = &str> {
    list(&container["args"]).iter().map(string)
}

/// A misspelt variable would be ignored silently: it must be one that the collector's help names.
fn known_variable(variable: &str, rendering: &str) {
    let command = palisade_collector::settings::Raw::command();
    let known = command.get_arguments().any(|it| it.get_env().is_some_and(|env| env == variable));
    assert!(known, "{rendering}: the collector does not look at {variable}");
}

#[test]
fn the_namespace_says_what_pods_it_needs_and_everything_ours_is_in_it() {
    const CLUSTER_WIDE: &[&str] = &[
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "Namespace",
        "SecurityContextConstraints",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    ];
    for (name, objects) in render::everything() {
        let labels = &objects["Namespace/palisade-system"]["metadata"]["labels"];
        assert_eq!(labels["pod-security.kubernetes.io/enforce"], "privileged", "{name}");
        for (key, object) in objects {
            let kind = string(&object["kind"]);
            let expected = match object["metadata"]["namespace"].as_str() {
                None => CLUSTER_WIDE.contains(&kind),
                Some("default") => key.ends_with("/palisade-collector-events"),
                Some("medik8s-leases") => key.ends_with("/palisade-collector-node-leases"),
                Some(namespace) => namespace == "palisade-system",
            };
            assert!(expected, "{name}: {key} is in {}", object["metadata"]["namespace"]);
            let part_of = &object["metadata"]["labels"]["app.kubernetes.io/part-of"];
            assert_eq!(part_of, "palisade", "{name}: {key}");
        }
    }
}
