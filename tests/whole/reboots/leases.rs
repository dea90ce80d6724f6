//! The Leases of nodes that tools share: ours is taken and given back, that of another tool is waited
//! for.

use palisade_tests::cluster::api::Call;
use palisade_tests::wait;
use serde_json::Value;
use serde_json::json;

use super::bench::Bench;
use super::bench::WITHIN;
use super::bench::patient;
use super::life::Conduct;

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/medik8s-leases/leases";

/// The rights that the component of the manifests adds.
const RIGHTS: &str = include_str!("../../../manifests/components/node-leases/rbac.yaml");

#[test]
fn scenario_48_a_node_whose_lease_another_tool_holds_waits_until_it_is_given_back() {
    let bench = Bench::start(2);
    let policy = patient(1).replace("cluster: {", "cluster: {nodeLease: medik8s-leases, ");
    let collector = bench.collector("one", &policy);
    let viewer = bench.person("viewer", &collector);
    let agents = bench.live(&collector);
    agents.need_reboot("node-0");
    // Leases that cannot be read are nobody's to take.
    viewer.until_shut("node-0", "node-lease", "");
    println!("{:?}", viewer.shut("node-0"));
    bench.cluster.namespace("medik8s-leases", &[]);
    let lease = json!({
        "metadata": { "name": "node-node-0" },
        "spec": {
            "holderIdentity": "self-node-remediation",
            "leaseDurationSeconds": 3600,
            "acquireTime": "2026-01-01T00:00:00.000000Z",
        },
    });
    bench.cluster.api().must(Call::post(LEASES, &lease));
    bench.cluster.apply(RIGHTS);
    viewer.until_shut("node-0", "node-lease", "self-node-remediation");
    viewer.until_looked();
    assert_eq!(bench.touched(), <[String; 0]>::default(), "nothing is touched");

    // Others go on: the Lease of each is held while it is in flight, and given back.
    agents.conduct("node-1", Conduct::Ignores);
    agents.need_reboot("node-1");
    bench.until_state(&collector, "node-1", "Granted");
    let holder = |node: &str| {
        let lease = bench.cluster.get(&format!("{LEASES}/node-{node}"));
        lease["spec"]["holderIdentity"].as_str().map(str::to_owned)
    };
    assert_eq!(holder("node-1").as_deref(), Some("palisade"));
    agents.conduct("node-1", Conduct::Reboots);
    bench.until_rebooted(&collector, &agents, &["node-1"]);
    bench.until_no_requests(&collector);
    assert_eq!(holder("node-1"), None);
    assert_eq!(holder("node-0").as_deref(), Some("self-node-remediation"), "it is not taken away");

    let free = json!({ "spec": { "holderIdentity": Value::Null } });
    bench.cluster.api().must(Call::merge(format!("{LEASES}/node-node-0"), &free));
    bench.until_rebooted(&collector, &agents, &["node-1", "node-0"]);
    bench.until_no_requests(&collector);
    wait::until("both are given back", WITHIN, || match [holder("node-0"), holder("node-1")] {
        [None, None] => Ok(()),
        held => Err(held),
    });
    // Taken before the node was touched.
    let log = bench.cluster.audit_log();
    let at = |resource: &str, name: &str, verbs: &[&str]| {
        log.iter().position(|event| {
            let object = &event["objectRef"];
            let is_it = object["resource"] == resource && object["name"] == name;
            is_it
                && object["subresource"].is_null()
                && event["userAgent"].as_str().is_some_and(|it| it.starts_with("palisade-"))
                && verbs.iter().any(|verb| event["verb"] == *verb)
        })
    };
    for node in ["node-0", "node-1"] {
        let taken = at("leases", &format!("node-{node}"), &["create", "update"]);
        let cordoned = at("nodes", node, &["patch"]);
        assert!(taken.is_some() && taken < cordoned, "{node}: {taken:?} {cordoned:?}");
    }
}
