//! That cluster-autoscaler removes no node which was emptied for its reboot: what says so is there from the
//! cordon to its end, whichever end that is, and what a person said of it stays.

use hyper::Method;
use palisade_tests::cluster::api::Call;
use palisade_tests::cluster::installation::COLLECTOR;
use palisade_tests::process::Collector;
use palisade_tests::wait;
use serde_json::Value;
use serde_json::json;

use super::bench::Bench;
use super::bench::HURRIED;
use super::bench::WITHIN;
use super::bench::for_many;
use super::life::Conduct;
use super::placed::FINALIZER;

/// With the value `true`, cluster-autoscaler leaves a node alone.
pub(super) const KEEPS: &str = "cluster-autoscaler.kubernetes.io/scale-down-disabled";

/// The mark beside it where it is the collector's.
const MARK: &str = "palisade.dev/scale-down-disabled-by";

/// The mark where it had to be left behind.
const LEFT: &str = "palisade.dev/scale-down-left-by";

/// What confines the collector on nodes.
const POLICY: &str =
    "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/palisade-node-writes";

/// What it says of annotations in the version before, which knows nothing of cluster-autoscaler.
const RULE_BEFORE: &str = "variables.annotations.all(k, k.startsWith('palisade.dev/') \
    || (k in variables.oldAnnotations && variables.annotations[k] == variables.oldAnnotations[k])) \
    && variables.oldAnnotations.all(k, k.startsWith('palisade.dev/') || k in variables.annotations)";

/// The policy of the version before, out of that of this one.
fn policy_before(mut spec: Value) -> Value {
    let annotations = "the collector changes only annotations under palisade.dev/";
    let validations = spec["validations"].as_array_mut().expect("validations");
    for rule in &mut *validations {
        if rule["message"] == annotations {
            rule["expression"] = RULE_BEFORE.into();
        }
    }
    let is_new =
        |rule: &Value| rule["expression"].as_str().is_some_and(|it| it.contains("keepsNode"));
    let count = validations.len();
    validations.retain(|it| !is_new(it));
    assert!(validations.len() < count, "no rule is of this version alone");
    spec
}

/// What a node says to cluster-autoscaler, and for which request.
pub(super) fn of(node: &Value) -> (Option<&str>, Option<&str>) {
    let annotations = &node["metadata"]["annotations"];
    (annotations[KEEPS].as_str(), annotations[MARK].as_str())
}

impl Bench {
    fn node(&self, node: &str) -> Value {
        self.cluster.get(&format!("/api/v1/nodes/{node}"))
    }

    fn until_kept(&self, collector: &Collector, node: &str, is: (Option<&str>, Option<&str>)) {
        wait::until(&format!("{node} says {is:?}"), WITHIN, || {
            let object = self.node(node);
            if of(&object) == is { Ok(()) } else { Err((object, self.summary(collector))) }
        });
    }

    fn until_no_requests_of(&self, collector: &Collector, node: &str) {
        wait::until(&format!("no request for {node} is left"), WITHIN, || {
            if self.request(node).is_none() { Ok(()) } else { Err(self.summary(collector)) }
        });
    }

    /// Puts this policy in force, so that a node like `probe`, which says nothing, is answered so when the
    /// collector says something.
    fn confine(&self, spec: &Value, probe: &str, status: u16) {
        let mut policy = self.cluster.get(POLICY);
        policy["spec"] = spec.clone();
        self.cluster.api().must(Call::put(POLICY, &policy));
        let api = self.cluster.api_as(COLLECTOR, &["system:serviceaccounts:palisade-system"]);
        let said = json!({ "metadata": { "annotations": { KEEPS: "true", MARK: "a-request" } } });
        wait::until(&format!("the policy in force answers {status}"), WITHIN, || {
            let call = Call::merge(format!("/api/v1/nodes/{probe}?dryRun=All"), &said);
            let answer = api.send(call).map_err(|error| error.to_string())?;
            if answer.status.as_u16() == status { Ok(()) } else { Err(answer.status.to_string()) }
        });
    }

    /// The UID of the request for a node.
    fn request_uid(&self, node: &str) -> String {
        let request = self.request(node).unwrap_or_default();
        request["metadata"]["uid"].as_str().expect("a UID").to_owned()
    }

    /// After each change of a node by the collector, in order: whether it is kept from
    /// cluster-autoscaler, and whether it takes no pods.
    fn kept_by_change(&self, node: &str) -> Vec<(bool, bool)> {
        let events = self.cluster.audit_log().into_iter();
        let changes = events.filter(|it| {
            it["user"]["username"] == COLLECTOR
                && it["verb"] == "patch"
                && it["objectRef"]["resource"] == "nodes"
                && it["objectRef"]["subresource"].is_null()
                && it["objectRef"]["name"] == node
                && it["responseStatus"]["code"] == 200
        });
        changes
            .map(|it| {
                let after = &it["responseObject"];
                (of(after).0 == Some("true"), after["spec"]["unschedulable"] == true)
            })
            .collect()
    }
}

#[test]
fn a_node_in_flight_is_kept_from_cluster_autoscaler_and_no_longer_than_that() {
    let bench = Bench::start(3);
    let collector = bench.collector("one", &for_many(3));
    let held = json!({ "metadata": { "finalizers": [FINALIZER] } });
    let pods = ["node-0", "node-1"].map(|it| bench.place(&format!("held-{it}"), it, &held));
    let agents = bench.live(&collector);
    // A person keeps this one for good.
    bench.cluster.kubectl(&["annotate", "node", "node-1", &format!("{KEEPS}=true")]);
    agents.conduct("node-2", Conduct::KeepsReason);
    for node in &bench.nodes {
        agents.need_reboot(node);
    }
    bench.until_evicted(&collector, "node-0", &pods[0]);
    bench.until_evicted(&collector, "node-1", &pods[1]);
    let uid = bench.request_uid("node-0");
    assert_eq!(of(&bench.node("node-0")), (Some("true"), Some(&*uid)));
    assert_eq!(of(&bench.node("node-1")), (Some("true"), None));

    // Killed with both in its hands, and followed by one that knows no more than the nodes tell.
    let (collector, server) = bench.restart(collector, &for_many(3));
    agents.talk_to(server);
    assert_eq!(of(&bench.node("node-0")), (Some("true"), Some(&*uid)));
    bench.let_go("held-node-0");
    bench.let_go("held-node-1");

    // Who waits for a person keeps its node.
    bench.until_state(&collector, "node-2", "Quarantined");
    let liar = bench.request_uid("node-2");
    assert_eq!(of(&bench.node("node-2")), (Some("true"), Some(&*liar)));

    bench.until_kept(&collector, "node-0", (None, None));
    wait::until("both have rebooted and take pods", WITHIN, || {
        let is_over = ["node-0", "node-1"].iter().all(|it| {
            agents.reboots().iter().any(|node| node == it) && !bench.is_unschedulable(it)
        });
        if is_over { Ok(()) } else { Err(bench.summary(&collector)) }
    });
    assert!(bench.is_as_before("node-0"));
    assert_eq!(of(&bench.node("node-1")), (Some("true"), None), "a person's value stays");
    agents.conduct("node-2", Conduct::Reboots);
    agents.need_no_reboot("node-2");
    let approver = bench.person("approver", &collector);
    let answer = approver.says(Method::POST, "/v1/reboots/node-2/release", &Value::Null);
    assert_eq!(answer.status, 200, "{}", answer.text());
    bench.until_kept(&collector, "node-2", (None, None));
    assert!(bench.is_as_before("node-2"));

    // With the cordon and with the uncordon, and no request of its own.
    let changes = bench.kept_by_change("node-0");
    println!("node-0, kept and cordoned after each patch: {changes:?}");
    assert_eq!(changes, [(true, true), (false, false)]);
}

#[test]
fn what_people_take_or_say_meanwhile_stays_and_nothing_of_ours_does() {
    let bench = Bench::start(3);
    let collector = bench.collector("one", &for_many(3));
    let held = json!({ "metadata": { "finalizers": [FINALIZER] } });
    let pods = bench.nodes.iter().map(|it| bench.place(&format!("held-{it}"), it, &held));
    let pods: Vec<_> = pods.collect();
    let agents = bench.live(&collector);
    for node in &bench.nodes {
        agents.need_reboot(node);
    }
    for (node, pod) in bench.nodes.iter().zip(&pods) {
        bench.until_evicted(&collector, node, pod);
        assert_eq!(of(&bench.node(node)).0, Some("true"), "{node}");
    }

    // Uncordoned by hand, and wanted no more before it is cordoned again or after: nothing is left.
    bench.set_unschedulable("node-0", false);
    agents.need_no_reboot("node-0");
    bench.until_kept(&collector, "node-0", (None, None));
    bench.until_no_requests_of(&collector, "node-0");
    assert!(bench.is_as_before("node-0"));

    // Its cordon made a person's own, who knows of no other annotation: that cordon stays alone.
    bench.cluster.kubectl(&["annotate", "node", "node-1", "palisade.dev/cordoned-by-"]);
    bench.until_kept(&collector, "node-1", (None, None));
    assert!(bench.is_unschedulable("node-1"));

    // A person says something else, and that stays.
    let said = format!("{KEEPS}=false");
    bench.cluster.kubectl(&["annotate", "--overwrite", "node", "node-2", &said]);
    bench.let_go("held-node-2");
    bench.until_kept(&collector, "node-2", (Some("false"), None));
    assert!(!bench.is_unschedulable("node-2"));
    assert_eq!(agents.reboots(), ["node-2"]);
}

#[test]
fn nodes_reboot_where_a_policy_lets_nobody_speak_to_cluster_autoscaler() {
    let bench = Bench::start(3);
    let collector = bench.collector("one", &for_many(3));
    let held = json!({ "metadata": { "finalizers": [FINALIZER] } });
    let [first, second] =
        ["node-0", "node-1"].map(|it| bench.place(&format!("held-{it}"), it, &held));
    let agents = bench.live(&collector);

    // Cordoned under the policy of this version, uncordoned under the one before.
    agents.need_reboot("node-0");
    bench.until_evicted(&collector, "node-0", &first);
    let uid = bench.request_uid("node-0");
    assert_eq!(of(&bench.node("node-0")), (Some("true"), Some(&*uid)));
    let policy = bench.cluster.get(POLICY)["spec"].take();
    bench.confine(&policy_before(policy.clone()), "node-2", 422);
    bench.let_go("held-node-0");
    bench.until_rebooted(&collector, &agents, &["node-0"]);
    bench.until_no_requests(&collector);
    let node = bench.node("node-0");
    assert_eq!(of(&node), (Some("true"), Some(&*uid)));
    assert_eq!(node["metadata"]["annotations"][LEFT], *uid);

    // Cordoned and uncordoned under the one before.
    agents.need_reboot("node-1");
    bench.until_evicted(&collector, "node-1", &second);
    assert!(bench.is_unschedulable("node-1"));
    assert_eq!(of(&bench.node("node-1")), (None, None));
    bench.let_go("held-node-1");
    bench.until_rebooted(&collector, &agents, &["node-0", "node-1"]);
    bench.until_no_requests(&collector);
    assert!(bench.is_as_before("node-1"));
    for said in ["nodes are cordoned without", "uncordoned nodes keep"] {
        let log = collector.process.log();
        let lines: Vec<_> = log.iter().filter(|it| it.contains(said)).collect();
        assert!(matches!(&*lines, [it] if it.contains("palisade-node-writes")), "{lines:?}");
    }

    // What was left behind goes with the next reboot under the policy of this version.
    assert_eq!(of(&bench.node("node-0")), (Some("true"), Some(&*uid)), "nobody came back for it");
    bench.confine(&policy, "node-2", 200);
    agents.need_reboot("node-0");
    bench.until_rebooted(&collector, &agents, &["node-0", "node-1", "node-0"]);
    bench.until_no_requests(&collector);
    assert!(bench.is_as_before("node-0"), "{:#}", bench.node("node-0")["metadata"]);
}

#[test]
fn a_node_that_cluster_autoscaler_removes_is_not_emptied_for_a_reboot() {
    let bench = Bench::start(2);
    let collector = bench.collector("one", HURRIED);
    let agents = bench.live(&collector);
    let taint = "ToBeDeletedByClusterAutoscaler=1:NoSchedule";
    bench.cluster.kubectl(&["taint", "node", "node-0", taint]);
    let viewer = bench.person("viewer", &collector);
    agents.need_reboot("node-0");
    wait::until("it is told who removes the node", WITHIN, || {
        let value = viewer.sees_shut("node-0", "other-actor")?;
        let is_it = value.contains("cluster-autoscaler removes the node");
        if is_it { Ok(()) } else { Err(value) }
    });
    viewer.until_looked();
    assert_eq!(bench.touched(), <[String; 0]>::default());
    bench.cluster.kubectl(&["taint", "node", "node-0", "ToBeDeletedByClusterAutoscaler-"]);
    bench.until_rebooted(&collector, &agents, &["node-0"]);
}
