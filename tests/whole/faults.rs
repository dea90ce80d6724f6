//! The proxy of the test bed: every fault is seen by a client, and only the fault.

use std::io::Read;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use palisade_tests::cluster::ControlPlane;
use palisade_tests::cluster::api::Api;
use palisade_tests::cluster::api::Call;
use palisade_tests::cluster::components::Component;
use palisade_tests::cluster::components::binary;
use palisade_tests::cluster::proxy::Fault;
use palisade_tests::cluster::proxy::Proxy;
use palisade_tests::cluster::proxy::Rule;
use palisade_tests::wait;
use serde_json::Value;
use serde_json::json;

/// Far more than anything here takes.
const WITHIN: Duration = Duration::from_secs(120);

const MAPS: &str = "/api/v1/namespaces/NS/configmaps";

/// A control plane, a namespace whose owner has a token, and a proxy.
struct Bed {
    cluster: std::sync::Arc<ControlPlane>,
    proxy: Proxy,
    token: String,
    maps: String,
}

impl Bed {
    fn new(namespace: &str) -> Self {
        let cluster = ControlPlane::shared();
        cluster.namespace(namespace, &["owner"]);
        cluster.apply(&format!(
            "{{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, \
              metadata: {{name: owner, namespace: {namespace}}}, \
              roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, \
              name: 'system:aggregate-to-edit'}}, \
              subjects: [{{kind: ServiceAccount, name: owner, namespace: {namespace}}}]}}\n---\n\
             {{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, \
              metadata: {{name: reader, namespace: {namespace}}}, \
              roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, \
              name: 'system:aggregate-to-view'}}, \
              subjects: [{{kind: ServiceAccount, name: owner, namespace: {namespace}}}]}}"
        ));
        let token = cluster.token(namespace, "owner", "", 3600, None);
        let maps = MAPS.replace("NS", namespace);
        let direct = cluster.api_with_token(&token);
        wait::until("the rights of the owner", WITHIN, || {
            let made = direct.send(Call::post(&maps, &map("probe"))).expect("an answer");
            let listed = direct.send(Call::get(&maps)).expect("an answer");
            if [201, 409].contains(&made.status.as_u16()) && listed.status == 200 {
                Ok(())
            } else {
                Err(made.text())
            }
        });
        let proxy = cluster.proxy();
        Self { cluster, proxy, token, maps }
    }

    fn api(&self) -> Api {
        Api::new(self.proxy.address(), self.cluster.authority().certificate(), None)
            .with_token(&self.token)
    }

    fn exists(&self, name: &str) -> bool {
        let path = format!("{}/{name}", self.maps);
        self.cluster.api().send(Call::get(path)).expect("an answer").status == 200
    }
}

fn map(name: &str) -> Value {
    json!({ "metadata": { "name": name } })
}

#[test]
fn a_status_comes_as_often_as_wanted_and_the_api_server_hears_nothing() {
    let bed = Bed::new("faults-status");
    for code in [409, 410, 429, 500] {
        let rule = Rule::new("POST", &bed.maps, Fault::Status(code)).times(2);
        let injected = bed.proxy.inject(rule);
        let name = format!("map-{code}");
        for _ in 0..2 {
            let answer = bed.api().send(Call::post(&bed.maps, &map(&name))).expect("an answer");
            assert_eq!(answer.status, code);
            assert_eq!(answer.json()["code"], code);
            assert_eq!(answer.headers.contains_key("retry-after"), code == 429);
        }
        assert!(!bed.exists(&name));
        let answer = bed.api().send(Call::post(&bed.maps, &map(&name))).expect("an answer");
        assert_eq!(answer.status, 201, "the third passes: {}", answer.text());
        assert_eq!(bed.proxy.hits(injected), 2);
    }
    let kubeconfig = bed.proxy.kubeconfig(&bed.token);
    let again = ["create", "configmap", "from-kubectl", "-n", "faults-status"];
    bed.proxy.inject(Rule::new("POST", "*/configmaps", Fault::Status(500)));
    let refused = bed.cluster.kubectl_with(&kubeconfig, &again, "").expect_err("a fault");
    assert!(refused.contains("the test wants 500"), "{refused}");
    bed.proxy.clear();
    bed.cluster.kubectl_with(&kubeconfig, &again, "").expect("no fault");
    let seen = bed.proxy.seen();
    let from_kubectl = seen.iter().filter(|seen| seen.agent.starts_with("kubectl/"));
    assert_eq!(from_kubectl.filter(|seen| seen.method == "POST").count(), 2, "{seen:#?}");
}

#[test]
fn what_fails_after_executing_was_executed() {
    let bed = Bed::new("faults-after");
    bed.proxy.inject(Rule::new("POST", "*", Fault::StatusAfter(504)).times(1));
    let answer = bed.api().send(Call::post(&bed.maps, &map("timed-out"))).expect("an answer");
    assert_eq!(answer.status, 504);
    assert!(bed.exists("timed-out"));

    bed.proxy.inject(Rule::new("POST", "*", Fault::CutAfter).times(1));
    bed.api().send(Call::post(&bed.maps, &map("cut"))).expect_err("no answer");
    assert!(bed.exists("cut"));

    bed.proxy.inject(Rule::new("POST", "*", Fault::CutBefore).times(1));
    bed.api().send(Call::post(&bed.maps, &map("never"))).expect_err("no answer");
    assert!(!bed.exists("never"));
}

#[test]
fn latency_is_added_and_other_rules_still_apply() {
    let bed = Bed::new("faults-latency");
    let latency = Duration::from_millis(300);
    bed.proxy.inject(Rule::new("GET", "*", Fault::Latency(latency)).times(1));
    bed.proxy.inject(Rule::new("GET", "*", Fault::Status(500)).times(1));
    let began = Instant::now();
    assert_eq!(bed.api().send(Call::get(&bed.maps)).expect("an answer").status, 500);
    assert!(began.elapsed() >= latency);
    assert_eq!(bed.api().send(Call::get(&bed.maps)).expect("an answer").status, 200);
}

#[test]
fn a_watch_ends_is_cut_or_expires() {
    let bed = Bed::new("faults-watch");
    let watch = format!("{}?watch=true&resourceVersion=0", bed.maps);

    // A watch from version 0 begins with what is there: at least the owner's probe.
    bed.proxy.inject(Rule::new("WATCH", "*", Fault::EndStream(1)).times(1));
    let ended = bed.api().send(Call::get(&watch)).expect("a proper end");
    let event: Value = serde_json::from_slice(&ended.body).expect("one event");
    assert_eq!(event["type"], "ADDED");

    bed.proxy.inject(Rule::new("WATCH", "*", Fault::CutStream(1)).times(1));
    bed.api().send(Call::get(&watch)).expect_err("no end");

    bed.proxy.inject(Rule::new("WATCH", "*", Fault::ExpireWatch(1)).times(1));
    let expired = bed.api().send(Call::get(&watch)).expect("a proper end").text();
    let last: Value = serde_json::from_str(expired.lines().last().expect("a line")).expect("JSON");
    assert_eq!((&last["type"], &last["object"]["code"]), (&json!("ERROR"), &json!(410)));

    // All that are under way, at any time; and a list is no watch.
    let open = std::thread::scope(|scope| {
        let open = scope.spawn(|| bed.api().send(Call::get(&watch)));
        wait::until("the watch is under way", WITHIN, || {
            let seen = bed.proxy.seen().iter().filter(|seen| seen.method == "WATCH").count();
            if seen == 4 { Ok(()) } else { Err(seen) }
        });
        while !open.is_finished() {
            bed.proxy.end_watches();
            std::thread::sleep(Duration::from_millis(10));
        }
        open.join().expect("a watch")
    });
    open.expect("a proper end");
}

#[test]
fn a_partition_cuts_what_is_open_and_what_is_new_until_it_heals() {
    let bed = Bed::new("faults-partition");
    let kubeconfig = bed.proxy.kubeconfig(&bed.token);
    let mut watcher = Command::new(binary(Component::Kubernetes, "kubectl"))
        .arg("--kubeconfig")
        .arg(&kubeconfig)
        .args(["get", "configmaps", "-n", "faults-partition", "--watch", "-o", "name"])
        .env("HOME", bed.cluster.directory())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("run kubectl");
    let mut said = [0; 9];
    let mut output = watcher.stdout.take().expect("a piped stdout");
    output.read_exact(&mut said).expect("what is there");
    assert_eq!(&said, b"configmap");

    bed.proxy.partition();
    watcher.wait().expect("kubectl ends when its watch is cut");
    bed.api().send(Call::get(&bed.maps)).expect_err("a partition");
    bed.proxy.heal();
    assert_eq!(bed.api().send(Call::get(&bed.maps)).expect("an answer").status, 200);
}

#[test]
fn a_client_certificate_is_not_carried() {
    let cluster = ControlPlane::shared();
    let proxy = cluster.proxy();
    let pair = cluster.authority().client("admin", &["system:masters"], WITHIN);
    let api = Api::new(proxy.address(), cluster.authority().certificate(), Some(&pair));
    let refused = api.send(Call::get("/api/v1/nodes")).expect("an answer");
    assert_eq!(refused.status, 403, "anonymous: {}", refused.text());
}
