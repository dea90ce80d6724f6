//! Who may do what in the API: exactly what SECURITY.md says.

use std::collections::BTreeSet;

use serde_json::Value;

use super::render;
use super::render::Objects;
use super::render::list;
use super::render::of_kind;
use super::render::string;
use super::render::strings;

/// All that the collector may do everywhere: group, resources, verbs.
const CLUSTER: &[(&str, &str, &str)] = &[
    ("", "nodes", "get list patch watch"),
    ("", "persistentvolumeclaims", "list"),
    ("", "pods", "get list watch"),
    ("", "pods/eviction", "create"),
    ("apps", "daemonsets", "list"),
    ("authentication.k8s.io", "tokenreviews", "create"),
    ("authorization.k8s.io", "subjectaccessreviews", "create"),
    ("palisade.dev", "rebootrequests", "create delete get list patch watch"),
    ("palisade.dev", "rebootrequests/status", "update"),
    ("policy", "poddisruptionbudgets", "list"),
    ("storage.k8s.io", "volumeattachments", "list"),
];

/// Conditions of nodes; the component `without-node-conditions` takes it away.
const CONDITIONS: &[(&str, &str, &str)] = &[("", "nodes/status", "patch")];

/// What a component adds, and nothing else does.
const OPTIONAL: &[(&str, &str, &str, &str)] = &[
    ("node-leases", "coordination.k8s.io", "leases", "create get list update"),
    ("open-reports", "openreports.io", "clusterreports", "create list patch"),
];

/// In its own namespace: resource, name (empty: any), verbs.
const NAMESPACED: &[(&str, &str, &str)] = &[
    ("configmaps", "palisade-trust", "get update"),
    ("leases", "", "create"),
    ("leases", "palisade-collector", "get update"),
    ("secrets", "palisade-collector-tls", "get update"),
];

fn rules(role: &Value) -> BTreeSet<(String, String, String)> {
    let rules = list(&role["rules"]).iter();
    rules
        .map(|rule| {
            let part = |key: &str| strings(&rule[key]).join(" ");
            (part("apiGroups"), part("resources"), part("verbs"))
        })
        .collect()
}

fn owned(table: &[(&str, &str, &str)]) -> BTreeSet<(String, String, String)> {
    table.iter().map(|(a, b, c)| ((*a).to_owned(), (*b).to_owned(), (*c).to_owned())).collect()
}

/// The roles that an account of ours is bound to.
fn bound<'a>(objects: &'a Objects, account: &str) -> Vec<&'a Value> {
    let bindings = of_kind(objects, "RoleBinding").chain(of_kind(objects, "ClusterRoleBinding"));
    bindings
        .filter(|binding| {
            list(&binding["subjects"])
                .iter()
                .any(|subject| subject["kind"] != "ServiceAccount" || subject["name"] == account)
        })
        .filter_map(|binding| {
            let key = format!(
                "{}/{}",
                string(&binding["roleRef"]["kind"]),
                string(&binding["roleRef"]["name"])
            );
            let found = objects.get(&key);
            // A role of the platform, which says under which constraint pods are admitted.
            assert!(found.is_some() || key.contains("system:openshift:scc:"), "{key} is nowhere");
            found
        })
        .collect()
}

#[test]
fn the_agent_has_no_right_in_the_api() {
    for (name, objects) in render::everything() {
        for role in bound(objects, "palisade-agent") {
            // OpenShift: which constraint admits the pod is asked as if it were a right.
            assert_eq!(name, "openshift", "{role}");
            let expected = [("security.openshift.io", "securitycontextconstraints", "use")];
            assert_eq!(rules(role), owned(&expected), "{name}");
            assert_eq!(strings(&role["rules"][0]["resourceNames"]), ["palisade-agent"]);
        }
        let account = &objects["ServiceAccount/palisade-agent"];
        assert_eq!(account["automountServiceAccountToken"], false, "{name}");
    }
}

#[test]
fn the_collector_has_exactly_its_rights() {
    for (name, objects) in render::everything() {
        let external = name.ends_with("external-certificate");
        assert_eq!(rules(&objects["ClusterRole/palisade-collector"]), owned(CLUSTER), "{name}");
        let own: BTreeSet<_> = list(&objects["Role/palisade-collector"]["rules"])
            .iter()
            .map(|rule| {
                let part = |key: &str| strings(&rule[key]).join(" ");
                (part("resources"), part("resourceNames"), part("verbs"))
            })
            .collect();
        let mut expected = owned(NAMESPACED);
        if external {
            expected.retain(|(resource, _, _)| resource == "leases");
            let secret = ("secrets", "palisade-collector-tls", "get");
            expected.extend(owned(&[secret]));
        }
        assert_eq!(own, expected, "{name}");
        let events = owned(&[("events.k8s.io", "events", "create")]);
        assert_eq!(rules(&objects["Role/palisade-collector-events"]), events, "{name}");
        let known = ["palisade-collector", "palisade-collector-events"];
        let extra: BTreeSet<_> = bound(objects, "palisade-collector")
            .into_iter()
            .filter(|role| !known.contains(&string(&role["metadata"]["name"])))
            .flat_map(rules)
            .collect();
        let optional: BTreeSet<_> = OPTIONAL
            .iter()
            .filter(|(component, ..)| name.ends_with(component))
            .map(|(_, group, resource, verbs)| (*group, *resource, *verbs))
            .collect();
        let mut expected = owned(&Vec::from_iter(optional));
        if !name.ends_with("without-node-conditions") {
            expected.extend(owned(CONDITIONS));
        }
        assert_eq!(extra, expected, "{name}");
    }
}

#[test]
fn no_role_has_a_wildcard_or_reaches_what_none_of_ours_needs() {
    const FORBIDDEN: &[&str] = &[
        "nodes/proxy",
        "pods/attach",
        "pods/ephemeralcontainers",
        "pods/exec",
        "pods/portforward",
        "serviceaccounts/token",
    ];
    for (name, objects) in render::everything() {
        for role in of_kind(objects, "Role").chain(of_kind(objects, "ClusterRole")) {
            for rule in list(&role["rules"]) {
                let role = string(&role["metadata"]["name"]);
                for key in ["apiGroups", "resources", "verbs", "nonResourceURLs"] {
                    assert!(
                        !strings(&rule[key]).iter().any(|it| it.contains('*')),
                        "{name}: {role} has a wildcard in {rule}"
                    );
                }
                let resources = strings(&rule["resources"]);
                for forbidden in FORBIDDEN {
                    assert!(!resources.contains(forbidden), "{name}: {role} has {forbidden}");
                }
                if resources.contains(&"secrets") {
                    assert_eq!(strings(&rule["resourceNames"]), ["palisade-collector-tls"]);
                }
                for verb in ["bind", "escalate", "impersonate", "deletecollection", "override"] {
                    assert!(!strings(&rule["verbs"]).contains(&verb), "{name}: {role} may {verb}");
                }
            }
        }
    }
}

#[test]
fn nothing_is_bound_to_people_nor_added_to_the_built_in_roles() {
    for (name, objects) in render::everything() {
        for (key, object) in objects {
            let labels = object["metadata"]["labels"].as_object();
            let aggregated =
                labels.is_some_and(|it| it.keys().any(|key| key.contains("aggregate")));
            assert!(!aggregated, "{name}: {key}");
            for subject in list(&object["subjects"]) {
                assert_eq!(subject["kind"], "ServiceAccount", "{name}: {key}");
                assert_eq!(subject["namespace"], "palisade-system", "{name}: {key}");
            }
        }
    }
}

/// What the collector asks the API server about people is what the roles for people have.
#[test]
fn the_roles_for_people_open_what_the_collector_asks_about() {
    use palisade_collector::http::route::RouteName;
    use palisade_collector::kube::access::Permission;
    use palisade_collector::kube::access::permission;

    let objects = render::base();
    let may = |role: &str, verb: &str, key: &str, what: &str| {
        list(&objects[&format!("ClusterRole/{role}")]["rules"]).iter().any(|rule| {
            let ours = key != "resources" || strings(&rule["apiGroups"]) == ["palisade.dev"];
            ours && strings(&rule[key]).contains(&what) && strings(&rule["verbs"]).contains(&verb)
        })
    };
    for route in [
        RouteName::Audit,
        RouteName::Certificates,
        RouteName::Facts,
        RouteName::Findings,
        RouteName::History,
        RouteName::Index,
        RouteName::Metrics,
        RouteName::MetricsOfCertificates,
        RouteName::MetricsOfNodes,
        RouteName::Node,
        RouteName::Nodes,
        RouteName::OpenApi,
        RouteName::Retire,
        RouteName::Rules,
        RouteName::Summary,
        RouteName::Explain,
        RouteName::Plan,
        RouteName::Reboots,
        RouteName::Watch,
        RouteName::WhatIf,
    ] {
        let (verb, key, what) = match permission(route) {
            None => continue,
            Some(Permission::All(verb, what) | Permission::One(verb, what)) => {
                (verb, "resources", what)
            }
            Some(Permission::Path(verb, what)) => (verb, "nonResourceURLs", what),
        };
        let viewer = may("palisade-viewer", verb, key, what);
        let operator = may("palisade-operator", verb, key, what);
        let metrics = may("palisade-metrics", verb, key, what);
        assert!(viewer || operator || metrics, "nobody may {verb} {what}");
        assert!(operator || metrics, "an operator may not {verb} {what}");
        let changes = verb == "delete" || what == "audit";
        assert_eq!(viewer, !changes && !metrics, "a viewer and {verb} {what}");
    }
    // Who only looks changes nobody's mind: silences and receivers are an operator's.
    for (verb, what, viewer) in [
        ("list", "alerts", true),
        ("get", "alerts", true),
        ("list", "silences", true),
        ("create", "silences", false),
        ("delete", "silences", false),
        ("list", "receivers", true),
        ("update", "receivers", false),
    ] {
        let may = |role: &str| may(role, verb, "resources", what);
        let found = (may("palisade-viewer"), may("palisade-operator"), may("palisade-approver"));
        assert_eq!(found, (viewer, true, false), "{verb} {what}");
    }
    // Who may ask for reboots may not approve them, nor let go of what failed.
    for (route, operator, approver) in [
        (RouteName::RequestReboot, true, false),
        (RouteName::CancelReboot, true, true),
        (RouteName::Approve, false, true),
        (RouteName::Release, false, true),
    ] {
        let Some(Permission::All(verb, what)) = permission(route) else {
            panic!("{route:?} takes no right to a resource");
        };
        let may = |role: &str| may(role, verb, "resources", what);
        let found = (may("palisade-viewer"), may("palisade-operator"), may("palisade-approver"));
        assert_eq!(found, (false, operator, approver), "{verb} {what}");
    }
}
