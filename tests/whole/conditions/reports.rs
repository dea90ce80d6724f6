//! ClusterReports of OpenReports, with a definition of our own that has their shape only: the fields
//! that their documentation names, checked by the API server as strictly as it can.

use super::*;

const DEFINITION: &str = r"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: clusterreports.openreports.io, annotations: {api-approved.kubernetes.io: unapproved}}
spec:
  group: openreports.io
  scope: Cluster
  names: {kind: ClusterReport, listKind: ClusterReportList, plural: clusterreports, singular: clusterreport}
  versions:
  - name: v1alpha1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          source: {type: string}
          scope:
            type: object
            properties: {apiVersion: {type: string}, kind: {type: string}, name: {type: string}, uid: {type: string}}
          configuration:
            type: object
            properties:
              limits:
                type: object
                properties:
                  maxResults: {type: integer}
                  statusFilter: {type: array, items: {type: string, enum: [pass, fail, warn, error, skip]}}
          summary:
            type: object
            properties: {pass: {type: integer}, fail: {type: integer}, warn: {type: integer}, error: {type: integer}, skip: {type: integer}}
          results:
            type: array
            items:
              type: object
              required: [policy]
              properties:
                policy: {type: string}
                rule: {type: string}
                category: {type: string}
                severity: {type: string, enum: [critical, high, low, medium, info]}
                result: {type: string, enum: [pass, fail, warn, error, skip]}
                scored: {type: boolean}
                message: {type: string}
                timestamp:
                  type: object
                  required: [nanos, seconds]
                  properties: {nanos: {type: integer, format: int32}, seconds: {type: integer, format: int64}}
                properties: {type: object, additionalProperties: {type: string}}
";

#[test]
fn one_report_for_each_node_is_written_when_it_changed_and_only_then() {
    let bench = Bench::start();
    bench.cluster.apply(DEFINITION);
    bench.cluster.kubectl(&[
        "wait",
        "--for=condition=Established",
        "crd/clusterreports.openreports.io",
    ]);
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let rights = root.join("manifests/components/open-reports/rbac.yaml");
    bench.cluster.apply(&std::fs::read_to_string(rights).expect("the component's rights"));
    let collector = bench.collector("state", &["--open-reports"]);
    let mut agents = bench.agents(&[report(Wrong::Everything), report(Wrong::Nothing)]);
    agents = bench.settle(&collector, agents);
    let get = |node: &str, fail: u64| {
        wait::until("the report of a node", WITHIN, || {
            let path = "/apis/openreports.io/v1alpha1/clusterreports";
            let list = bench.cluster.get(path);
            let reports = list["items"].as_array().expect("reports").clone();
            let name = format!("palisade-{node}");
            let found = reports.into_iter().find(|it| it["metadata"]["name"] == *name);
            found.filter(|it| it["summary"]["fail"] == fail).ok_or(list)
        })
    };
    let (bad, good) = (get("node-0", 3), get("node-1", 0));
    let results = bad["results"].as_array().expect("results");
    assert_eq!(results.len(), 3, "{bad:#}");
    assert_eq!(results[0]["severity"], "critical", "the worst comes first: {bad:#}");
    assert!(results.iter().all(|it| it["result"] == "fail" && it["policy"] == "few"), "{bad:#}");
    assert_eq!(good["results"], json!([]), "{good:#}");
    assert_eq!(good["summary"]["pass"], 3, "{good:#}");
    for report in [&bad, &good] {
        assert!(report.to_string().len() < 128 * 1024, "{} bytes", report.to_string().len());
        let owner = &report["metadata"]["ownerReferences"][0];
        let node = bench
            .cluster
            .get(&format!("/api/v1/nodes/{}", owner["name"].as_str().expect("an owner")));
        assert_eq!(owner["uid"], node["metadata"]["uid"], "it goes with its node");
    }
    let written = bench.writes("clusterreports");
    assert_eq!(written, 2);

    bench.quiet();
    agents = bench.settle(&collector, agents);
    bench.quiet();
    assert_eq!(bench.writes("clusterreports"), written, "nothing changed");
    assert_eq!(collector.process.terminate(), Some(0));
    let collector = bench.collector("state", &["--open-reports"]);
    bench.quiet();
    assert_eq!(bench.writes("clusterreports"), written, "another process");

    agents[1].change(&report(Wrong::Reboot));
    bench.settle(&collector, agents);
    get("node-1", 1);
    assert_eq!(bench.writes("clusterreports"), written + 1);
}
