//! Real API servers, the newest and the oldest: that they take what is rendered.

use palisade_tests::cluster::ControlPlane;
use palisade_tests::cluster::api::Call;
use serde_json::json;

use super::chart::chart_text;
use super::render;
use super::render::PLATFORMS;

/// Kinds of others that a cluster with these platforms and components has. Their own schemas are not
/// here: any content is taken, so this only shows that nothing else stands in the way.
const FOREIGN: &[(&str, &str, &str, &str, &str)] = &[
    (
        "security.openshift.io",
        "v1",
        "SecurityContextConstraints",
        "securitycontextconstraints",
        "Cluster",
    ),
    ("monitoring.coreos.com", "v1", "ServiceMonitor", "servicemonitors", "Namespaced"),
    ("monitoring.coreos.com", "v1", "PrometheusRule", "prometheusrules", "Namespaced"),
];

fn foreign_kinds(cluster: &ControlPlane) {
    for (group, version, kind, plural, scope) in FOREIGN {
        let schema = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
        let crd = json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": { "name": format!("{plural}.{group}") },
            "spec": {
                "group": group,
                "scope": scope,
                "names": { "kind": kind, "plural": plural },
                "versions": [{
                    "name": version, "served": true, "storage": true,
                    "schema": { "openAPIV3Schema": schema },
                }],
            },
        });
        cluster
            .api()
            .must(Call::post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &crd));
        let crd = format!("customresourcedefinition/{plural}.{group}");
        cluster.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", &crd]);
    }
}

fn takes_everything(cluster: &ControlPlane) {
    foreign_kinds(cluster);
    // What is in a namespace cannot be tried before the namespace is there.
    cluster.apply("{apiVersion: v1, kind: Namespace, metadata: {name: palisade-system}}");
    let mut renderings: Vec<_> = PLATFORMS
        .iter()
        .flat_map(|platform| {
            let chart = chart_text(&[&format!("platform={platform}")]);
            [
                (format!("overlay {platform}"), render::overlay_text(platform)),
                (format!("chart {platform}"), chart),
            ]
        })
        .collect();
    let outputs = ["monitoring", "open-reports", "selinux"];
    for (name, components) in [
        ("outputs and a standby", [outputs.as_slice(), &["standby"]].concat()),
        ("outputs and a volume", [outputs.as_slice(), &["durable-store"]].concat()),
        (
            "another's certificate and a rebooter",
            [render::BY_LOGIND, &["external-certificate", "without-node-conditions"]].concat(),
        ),
    ] {
        renderings.push((name.to_owned(), render::combined_text("kubeadm", &components)));
    }
    for (name, text) in renderings {
        let arguments = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];
        let answer = cluster.kubectl_with(cluster.kubeconfig(), &arguments, &text);
        let said = answer.unwrap_or_else(|error| panic!("{name}: {error}"));
        let objects = render::keyed(&text).len();
        assert_eq!(said.lines().count(), objects, "{name}: {said}");
    }
}

#[test]
fn the_newest_api_server_takes_every_overlay_and_the_chart_for_each() {
    takes_everything(&ControlPlane::start());
}

#[test]
fn the_oldest_api_server_takes_every_overlay_and_the_chart_for_each() {
    takes_everything(&ControlPlane::start_oldest());
}
