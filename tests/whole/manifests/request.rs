//! Reboot requests in a real API server: who may ask, who may approve, and what nobody may.

use palisade_tests::cluster::ControlPlane;
use palisade_tests::cluster::api::Api;
use palisade_tests::cluster::api::Call;
use serde_json::Value;
use serde_json::json;

use super::policy::NODE;
use super::policy::collector;
use super::policy::guarded;
use super::policy::refused;

#[test]
fn a_reboot_is_asked_for_by_one_and_approved_by_another() {
    let cluster = ControlPlane::start();
    guarded(&cluster);
    let uid = cluster.get(NODE)["metadata"]["uid"].as_str().expect("a UID").to_owned();
    for (role, user) in [("palisade-operator", "olga"), ("palisade-approver", "anna")] {
        let user = format!("--user={user}");
        let role = format!("--clusterrole={role}");
        cluster.kubectl(&["create", "clusterrolebinding", &user[7..], &role, &user]);
    }
    let olga = cluster.api_as("olga", &[]);
    let anna = cluster.api_as("anna", &[]);
    let collector = collector(&cluster);
    let all = "/apis/palisade.dev/v1alpha1/rebootrequests";
    let one = format!("{all}/{uid}");
    let digest = format!("sha256:{}", "0".repeat(64));
    let request = json!({
        "apiVersion": "palisade.dev/v1alpha1",
        "kind": "RebootRequest",
        "metadata": {
            "name": uid,
            "ownerReferences": [{ "apiVersion": "v1", "kind": "Node", "name": "worker-1", "uid": uid }],
        },
        "spec": {
            "node": { "name": "worker-1", "uid": uid },
            "reasons": [{ "source": "request", "kind": "manual", "subject": "firmware" }],
            "digest": digest,
            "requestedBy": "olga",
        },
    });
    let changed = |pointer: &str, value: Value| {
        let mut request = request.clone();
        *request.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value;
        Call::post(all, &request)
    };
    let policy = "palisade-reboot-requests";
    refused(&olga, "in another's name", changed("/spec/requestedBy", "bob".into()), policy);
    let other = json!("11111111-1111-1111-1111-111111111111");
    let owner = "/metadata/ownerReferences/0/uid";
    refused(&olga, "owned by another node", changed(owner, other.clone()), policy);
    let says = |api: &Api, call: Call, status: u16, text: &str| {
        let answer = api.send(call).expect("an answer");
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(
            answer.status.as_u16() == status && said.contains(text),
            "{} {said}",
            answer.status
        );
    };
    says(&olga, changed("/metadata/name", "other".into()), 422, "named by the UID");
    olga.must(Call::post(all, &request));
    says(
        &olga,
        Call::merge(&one, &json!({ "spec": { "node": { "uid": other } } })),
        422,
        "stays with its node",
    );
    says(
        &olga,
        Call::merge(&one, &json!({ "spec": { "requestedBy": "anna" } })),
        422,
        "does not change",
    );

    let approval = |by: &str, digest: &str| {
        let at = "2026-01-01T00:00:00Z";
        json!({ "spec": { "approval": { "by": by, "at": at, "until": at, "digest": digest } } })
    };
    refused(&olga, "her own approval", Call::merge(&one, &approval("olga", &digest)), policy);
    refused(&anna, "in another's name", Call::merge(&one, &approval("olga", &digest)), policy);
    let stale = format!("sha256:{}", "1".repeat(64));
    says(&anna, Call::merge(&one, &approval("anna", &stale)), 422, "other reasons need another");
    anna.must(Call::merge(&one, &approval("anna", &digest)));
    let gates = |digest: &str| {
        let at = "2026-01-01T00:00:00Z";
        let gates = ["window"];
        json!({ "spec": { "override": {
            "by": "anna", "at": at, "until": at, "reason": "x", "gates": gates, "digest": digest,
        } } })
    };
    refused(&anna, "an override", Call::merge(&one, &gates(&digest)), policy);
    let admin = cluster.api();
    let other = "for the reasons that it was given for";
    says(admin, Call::merge(&one, &gates(&stale)), 422, other);
    let reasons = json!([{ "source": "request", "kind": "manual", "subject": "else" }]);
    says(
        &olga,
        Call::merge(&one, &json!({ "spec": { "reasons": reasons } })),
        422,
        "another digest",
    );
    says(
        &olga,
        Call::merge(&one, &json!({ "spec": { "reasons": reasons, "digest": stale } })),
        422,
        "other reasons need another",
    );

    // The status is the collector's, in its order.
    let status = format!("{one}/status");
    let write = |state: &str, epoch: i64| {
        let mut request = cluster.get(&one);
        request["status"] = json!({ "state": state, "epoch": epoch });
        Call::put(&status, &request)
    };
    says(&olga, write("Done", 9), 403, "forbidden");
    collector.must(write("Claimed", 3));
    says(&collector, write("Draining", 2), 422, "leader of the past");
    collector.must(write("Done", 3));
    says(&collector, write("Needed", 3), 422, "stays ended");
    let table = cluster.kubectl(&["get", "rebootrequests"]);
    assert!(table.contains("worker-1") && table.contains("Done"), "{table}");
}
