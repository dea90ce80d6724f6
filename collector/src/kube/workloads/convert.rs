//! Pods, budgets and claims, as far as a drain cares. Pure.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use palisade_plan::fleet;
use palisade_plan::fleet::Asks;
use palisade_plan::fleet::Deleting;
use palisade_plan::fleet::DisruptionBudget;
use palisade_plan::fleet::Known;
use palisade_plan::fleet::Owner;
use palisade_plan::fleet::Phase;
use palisade_report::Moment;

use super::Around;
use super::Budget;
use super::Running;

/// Set by the kubelet on the mirror of a static pod.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// What its owner wants of a drain.
const WISH: &str = "palisade.dev/drain";

/// Taint of a node that is cordoned.
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// Labels by which something is selected, see "Labels and Selectors" of the Kubernetes docs.
#[derive(Clone, Debug)]
pub struct Selector(LabelSelector);

impl Selector {
    /// Whether it selects these labels. An operator that is not known selects: a budget that may be
    /// for a pod is for it.
    #[must_use]
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        let exact = self.0.match_labels.iter().flatten();
        if !exact.into_iter().all(|(key, value)| labels.get(key) == Some(value)) {
            return false;
        }
        self.0.match_expressions.iter().flatten().all(|wanted| {
            let value = labels.get(&wanted.key);
            let is_among = |value: &String| wanted.values.iter().flatten().any(|it| it == value);
            match wanted.operator.as_str() {
                "In" => value.is_some_and(is_among),
                "NotIn" => !value.is_some_and(is_among),
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => true,
            }
        })
    }
}

/// A collector, if its container has started and it is to stay.
pub(super) fn running(pod: Pod) -> Option<Running> {
    let status = pod.status?;
    let containers = status.container_statuses.unwrap_or_default();
    let has_started = containers.iter().all(|it| it.started == Some(true));
    let runs = status.phase.as_deref() == Some("Running") && has_started && !containers.is_empty();
    let stays = pod.metadata.deletion_timestamp.is_none();
    (runs && stays).then_some(())?;
    let restarts: i64 = containers.iter().map(|it| i64::from(it.restart_count)).sum();
    let run = format!("{} {restarts}", pod.metadata.uid?);
    Some(Running { pod: pod.metadata.name?, node: pod.spec?.node_name?, run })
}

/// A budget; `None` if it selects nothing, which in policy/v1 is one without a selector.
pub(super) fn budget(object: &PodDisruptionBudget) -> Option<Budget> {
    let namespace = object.metadata.namespace.clone()?;
    let name = object.metadata.name.as_ref()?;
    let spec = object.spec.as_ref()?;
    let selector = Selector(spec.selector.clone()?);
    let status = object.status.clone().unwrap_or_default();
    let count = |number: i32| u32::try_from(number).unwrap_or(0);
    Some(Budget {
        name: format!("{namespace}/{name}"),
        namespace,
        selector,
        state: DisruptionBudget {
            allowed: count(status.disruptions_allowed),
            current_healthy: count(status.current_healthy),
            desired_healthy: count(status.desired_healthy),
            expected: count(status.expected_pods),
            is_current: object.metadata.generation.is_some()
                && status.observed_generation == object.metadata.generation,
            always_allow_unhealthy: spec.unhealthy_pod_eviction_policy.as_deref()
                == Some("AlwaysAllow"),
        },
    })
}

/// Namespaces of pods that use claims.
pub(super) fn namespaces_with_claims(pods: &[Pod]) -> BTreeSet<String> {
    let uses = |pod: &&Pod| !claims(pod).is_empty();
    pods.iter().filter(uses).filter_map(|pod| pod.metadata.namespace.clone()).collect()
}

fn claims(pod: &Pod) -> Vec<String> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes
        .filter_map(|volume| {
            if let Some(claim) = &volume.persistent_volume_claim {
                return Some(claim.claim_name.clone());
            }
            // The claim of a generic ephemeral volume is named by pod and volume.
            volume.ephemeral.as_ref()?;
            Some(format!("{}-{}", pod.metadata.name.as_deref()?, volume.name))
        })
        .collect()
}

/// The volume that a claim is bound to, by `namespace/claim`.
pub(super) fn volume_of(claim: &PersistentVolumeClaim) -> Option<(String, String)> {
    let namespace = claim.metadata.namespace.as_ref()?;
    let name = claim.metadata.name.as_ref()?;
    let volume = claim.spec.as_ref()?.volume_name.clone()?;
    Some((format!("{namespace}/{name}"), volume))
}

/// A pod; `None` if it has no name or UID, which no API server lets happen.
pub(super) fn pod(
    pod: &Pod,
    around: &Around,
    volumes: &BTreeMap<String, String>,
) -> Option<fleet::Pod> {
    let metadata = &pod.metadata;
    let namespace = metadata.namespace.as_ref()?;
    let name = metadata.name.as_ref()?;
    let labels = metadata.labels.clone().unwrap_or_default();
    let annotation =
        |key: &str| metadata.annotations.as_ref().and_then(|all| all.get(key)).cloned();
    let spec = pod.spec.as_ref()?;
    let status = pod.status.as_ref();
    let conditions = status.into_iter().flat_map(|it| it.conditions.iter().flatten());
    let budgets = around.budgets.iter();
    let owner = metadata.owner_references.iter().flatten();
    let owner = owner.into_iter().find(|owner| owner.controller == Some(true));
    let used = claims(pod);
    let used = used.iter().filter_map(|claim| volumes.get(&format!("{namespace}/{claim}")));
    Some(fleet::Pod {
        name: format!("{namespace}/{name}"),
        uid: metadata.uid.clone()?,
        phase: match status.and_then(|it| it.phase.as_deref()) {
            Some("Pending") => Phase::Pending,
            Some("Running") => Phase::Running,
            Some("Succeeded") => Phase::Succeeded,
            Some("Failed") => Phase::Failed,
            Some(_) | None => Phase::Unknown,
        },
        ready: conditions.into_iter().any(|it| it.type_ == "Ready" && it.status == "True"),
        owner: owner.map(|owner| Owner {
            kind: owner.kind.clone(),
            name: owner.name.clone(),
            exists: Known::Known(
                owner.kind != "DaemonSet" || around.daemon_sets.uids.contains(&owner.uid),
            ),
        }),
        is_mirror: annotation(MIRROR).is_some(),
        has_empty_dir: spec.volumes.iter().flatten().any(|volume| volume.empty_dir.is_some()),
        deleting: metadata.deletion_timestamp.as_ref().map(|at| Deleting {
            at: Moment::from_unix(at.0.as_second()),
            finalizers: metadata.finalizers.iter().flatten().cloned().collect(),
        }),
        wish: annotation(WISH),
        tolerates_cordon: spec.tolerations.iter().flatten().any(|it| {
            let is_key = it.key.as_deref().is_none_or(|key| key == UNSCHEDULABLE);
            is_key && it.effect.as_deref().is_none_or(|effect| effect == "NoSchedule")
        }),
        budgets: budgets
            .filter(|budget| budget.namespace == *namespace && budget.selector.selects(&labels))
            .map(|budget| budget.name.clone())
            .collect(),
        volumes: used.cloned().collect(),
        asks: asks(spec),
        labels,
    })
}

/// What the containers of a pod ask for together; init containers run before them and seldom ask for
/// more.
pub(super) fn asks(spec: &k8s_openapi::api::core::v1::PodSpec) -> Asks {
    let mut asks = Asks::default();
    for container in &spec.containers {
        let requests = container.resources.as_ref().and_then(|it| it.requests.as_ref());
        let of_one = requests.map(amounts).unwrap_or_default();
        asks.milli_cpu = asks.milli_cpu.saturating_add(of_one.milli_cpu);
        asks.memory = asks.memory.saturating_add(of_one.memory);
    }
    asks
}

/// CPU and memory of a list of resources; what is not listed is nothing.
pub(super) fn amounts(resources: &BTreeMap<String, Quantity>) -> Asks {
    let amount = |what: &str| resources.get(what).and_then(milli).unwrap_or(0);
    Asks { milli_cpu: amount("cpu"), memory: amount("memory") / 1000 }
}

/// Thousandths of a quantity, rounded down; `None` if it is none. Source: "Quantity" of the
/// Kubernetes API reference.
fn milli(quantity: &Quantity) -> Option<u64> {
    let text = quantity.0.trim();
    let at = text.find(|it: char| !it.is_ascii_digit() && it != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(at)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let mut milli: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    milli = milli.checked_mul(1000)?;
    let thousandths: String = fraction.chars().chain("000".chars()).take(3).collect();
    milli = milli.checked_add(thousandths.parse().ok()?)?;
    let times: u64 = match suffix {
        "n" => return Some(milli / 1_000_000_000),
        "u" => return Some(milli / 1_000_000),
        "m" => return Some(milli / 1000),
        "" => 1,
        "k" => 1000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        exponent => {
            let digits = exponent.strip_prefix(['e', 'E'])?;
            10u64.checked_pow(digits.parse().ok()?)?
        }
    };
    Some(milli.saturating_mul(times))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kube::workloads::DaemonSets;

    #[test]
    fn a_collector_runs_when_it_has_started_and_is_to_stay() {
        let pod = json!({
            "metadata": { "name": "c-1", "uid": "u-1" },
            "spec": { "nodeName": "worker-1" },
            "status": { "phase": "Running", "containerStatuses": [{ "name": "collector",
                "image": "", "imageID": "", "ready": false, "restartCount": 0, "started": true }] },
        });
        let runs = |pod: &serde_json::Value| running(serde_json::from_value(pod.clone()).unwrap());
        let word = str::to_owned;
        let expected = Running { pod: word("c-1"), node: word("worker-1"), run: word("u-1 0") };
        assert_eq!(runs(&pod), Some(expected));
        for (path, value) in [
            ("/status/phase", json!("Pending")),
            ("/status/containerStatuses/0/started", json!(false)),
            ("/status/containerStatuses", json!([])),
            ("/spec/nodeName", json!(null)),
            ("/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z")),
        ] {
            let mut other = pod.clone();
            match path.strip_prefix("/metadata/") {
                Some(field) => other["metadata"][field] = value,
                None => *other.pointer_mut(path).unwrap() = value,
            }
            assert_eq!(runs(&other), None, "{path}");
        }
        let mut anew = pod.clone();
        anew["status"]["containerStatuses"][0]["restartCount"] = 3.into();
        assert_eq!(runs(&anew).unwrap().run, "u-1 3");
    }

    fn around() -> Around {
        let budget = |name: &str, selector: serde_json::Value, generation: i64| {
            let object = json!({
                "metadata": { "name": name, "namespace": "shop", "generation": generation },
                "spec": { "selector": selector, "minAvailable": 1 },
                "status": { "observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 2,
                    "desiredHealthy": 1, "expectedPods": 2 },
            });
            budget(&serde_json::from_value(object).unwrap()).unwrap()
        };
        Around {
            budgets: vec![
                budget("web", json!({ "matchLabels": { "app": "web" } }), 1),
                budget("all", json!({}), 2),
                budget(
                    "not",
                    json!({ "matchExpressions": [
                        { "key": "app", "operator": "NotIn", "values": ["web"] }] }),
                    1,
                ),
            ],
            daemon_sets: DaemonSets { uids: ["ds-1".to_owned()].into(), kured: None },
        }
    }

    fn read(object: serde_json::Value) -> fleet::Pod {
        let object: Pod = serde_json::from_value(object).unwrap();
        let volumes = [
            ("shop/data".to_owned(), "pv-1".to_owned()),
            ("shop/web-1-scratch".to_owned(), "pv-2".to_owned()),
        ];
        pod(&object, &around(), &volumes.into()).unwrap()
    }

    fn web() -> serde_json::Value {
        json!({
            "metadata": { "name": "web-1", "namespace": "shop", "uid": "p-1",
                "labels": { "app": "web" },
                "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web",
                    "uid": "rs-1", "controller": true }] },
            "spec": {
                "containers": [{ "name": "main",
                    "resources": { "requests": { "cpu": "250m", "memory": "64Mi" } } }],
                "volumes": [
                    { "name": "data", "persistentVolumeClaim": { "claimName": "data" } },
                    { "name": "scratch", "ephemeral": {} },
                    { "name": "tmp", "emptyDir": {} },
                ],
            },
            "status": { "phase": "Running",
                "conditions": [{ "type": "Ready", "status": "True" }] },
        })
    }

    #[test]
    fn a_pod_has_its_budgets_volumes_and_owner() {
        let pod = read(web());
        assert_eq!(pod.name, "shop/web-1");
        let budgets: Vec<_> = pod.budgets.iter().map(String::as_str).collect();
        assert_eq!(budgets, ["shop/all", "shop/web"]);
        let volumes: Vec<_> = pod.volumes.iter().map(String::as_str).collect();
        assert_eq!(volumes, ["pv-1", "pv-2"]);
        assert!(pod.has_empty_dir && pod.ready && !pod.is_mirror && !pod.tolerates_cordon);
        assert_eq!(pod.asks, Asks { milli_cpu: 250, memory: 64 << 20 });
        assert_eq!(pod.phase, Phase::Running);
        assert_eq!(pod.owner.unwrap().kind, "ReplicaSet");
    }

    #[test]
    fn a_daemon_set_that_is_gone_is_no_owner_any_more() {
        for (uid, exists) in [("ds-1", true), ("ds-2", false)] {
            let mut object = web();
            object["metadata"]["ownerReferences"][0]["kind"] = "DaemonSet".into();
            object["metadata"]["ownerReferences"][0]["uid"] = uid.into();
            assert_eq!(read(object).owner.unwrap().exists, Known::Known(exists));
        }
    }

    #[test]
    fn a_budget_whose_controller_has_not_seen_its_newest_form_is_stale() {
        let around = around();
        let stale = around.budgets.iter().filter(|it| !it.state.is_current);
        assert_eq!(stale.map(|it| it.name.as_str()).collect::<Vec<_>>(), ["shop/all"]);
    }

    #[test]
    fn pods_of_other_namespaces_mirrors_and_tolerations_are_told_apart() {
        let mut object = web();
        object["metadata"]["namespace"] = "other".into();
        object["metadata"]["annotations"] = json!({ MIRROR: "x", WISH: "wait" });
        object["spec"]["tolerations"] = json!([{ "operator": "Exists" }]);
        object["metadata"]["deletionTimestamp"] = "2027-01-15T08:00:00Z".into();
        object["metadata"]["finalizers"] = json!(["a/b"]);
        let pod = read(object);
        assert!(pod.budgets.is_empty() && pod.volumes.is_empty());
        assert!(pod.is_mirror && pod.tolerates_cordon);
        assert_eq!(pod.wish.as_deref(), Some("wait"));
        let deleting = pod.deleting.unwrap();
        assert_eq!(deleting.at, Moment::from_unix(1_800_000_000));
        assert_eq!(deleting.finalizers.len(), 1);
    }

    #[test]
    fn quantities_are_read_in_every_form() {
        for (text, expected) in [
            ("100m", Some(100)),
            ("2", Some(2000)),
            ("1.5", Some(1500)),
            ("0.0005", Some(0)),
            ("1Ki", Some(1_024_000)),
            ("2e3", Some(2_000_000)),
            ("12n", Some(0)),
            ("lots", None),
            ("", Some(0)),
            ("-1", None),
        ] {
            assert_eq!(milli(&Quantity(text.to_owned())), expected, "{text}");
        }
    }
}
