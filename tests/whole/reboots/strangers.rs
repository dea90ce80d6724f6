//! Who speaks for a node that has a permission to reboot: nobody but that node.

use hyper::Method;
use hyper::body::Bytes;
use palisade_report::Manifest;
use palisade_tests::cluster::BoundPod;
use palisade_tests::cluster::api::Call;
use palisade_tests::cluster::installation::AGENT;
use palisade_tests::cluster::installation::NAMESPACE;
use palisade_tests::fleet::Server;
use palisade_tests::http::Answer;
use palisade_tests::http::Client;
use palisade_tests::process::Collector;
use palisade_tests::wait;

use super::bench::Bench;
use super::bench::WITHIN;
use super::bench::patient;
use super::life::Conduct;
use crate::identity::forge;

/// Says something in the name of a node.
fn say(bench: &Bench, collector: &Collector, token: &str, method: Method, path: &str) -> Answer {
    let body = if path.ends_with("/heartbeat") {
        let report = Manifest::default().digest();
        format!(
            r#"{{"wire":1,"agent":"0.1.0","report":"{report}","boot_id":"0f9b2a52-91c5-4d9d-9e6c-4e4a1f4f3d11","sequence":7,"sent_at":1,"manifest":{{}}}}"#
        )
    } else {
        r#"{"answer":"executing","code":"","words":""}"#.to_owned()
    };
    let Server { address, trust } = bench.cluster.server(collector.address);
    let trust = trust.expect("collectors in a cluster speak TLS");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let mut client = Client::new(address).with_trust(&trust).with_token(token);
        let json = [("content-type", "application/json")];
        client.try_send(method, path, &json, Bytes::from(body)).await.expect("an answer")
    })
}

#[test]
fn scenario_47_nobody_reports_or_takes_a_grant_for_a_node_but_itself() {
    let bench = Bench::start(2);
    let collector = bench.collector("one", &patient(1));
    let agents = bench.live(&collector);
    agents.conduct("node-0", Conduct::Ignores);
    agents.need_reboot("node-0");
    wait::until("it has its permission in hand", WITHIN, || {
        if agents.handed().is_empty() { Err(bench.summary(&collector)) } else { Ok(()) }
    });
    let pod = |node: &str| {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{node}");
        let uid = bench.cluster.get(&path)["metadata"]["uid"].as_str().expect("a UID").to_owned();
        BoundPod { name: node.to_owned(), uid }
    };
    let token = |node: &str, audience: &str| {
        bench.cluster.token(NAMESPACE, AGENT, audience, 600, Some(&pod(node)))
    };
    let own = token("node-0", "palisade");
    let key = std::fs::read_to_string(bench.cluster.directory().join("pki/sa.key"));
    let late = forge::signed(&own, &key.expect("a key"), |claims| {
        for name in ["iat", "nbf", "exp"] {
            claims[name] = (claims[name].as_i64().expect("a moment") - 7200).into();
        }
    });
    let strangers = [
        ("another node", token("node-1", "palisade"), 403),
        ("for another audience", token("node-0", "another"), 401),
        ("for the API server", token("node-0", ""), 401),
        ("expired", late, 401),
    ];
    let id = agents.handed().pop().expect("a grant").1.id;
    let grant = format!("/v1/nodes/node-0/grants/{id}");
    let refused = |who: &str, token: &str, status: u16| {
        let ways = [(Method::POST, "/v1/nodes/node-0/heartbeat"), (Method::POST, grant.as_str())];
        for (method, path) in ways {
            // Who shows many wrong tokens is told to wait.
            let answer = wait::until("it is answered", WITHIN, || {
                let answer = say(&bench, &collector, token, method.clone(), path);
                if answer.status == 429 { Err(answer.text()) } else { Ok(answer) }
            });
            let text = answer.text();
            assert_eq!(answer.status, status, "{who}: {path}: {text}");
            assert!(!text.contains("\"grant\""), "{who}: {path}: {text}");
        }
    };
    for (who, token, status) in &strangers {
        refused(who, token, *status);
    }
    // Nothing of that counted: the permission is still the node's to use.
    let status = bench.request("node-0").expect("its request")["status"].clone();
    assert_eq!(status["state"], "Granted", "{status:#}");
    assert!(status["grant"]["answer"].is_null(), "{status:#}");
    agents.conduct("node-0", Conduct::Reboots);
    bench.until_rebooted(&collector, &agents, &["node-0"]);
    bench.until_no_requests(&collector);

    // A pod that is gone speaks for nobody.
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/node-0");
    bench.cluster.api().must(Call::delete(path));
    wait::until("its token is refused", WITHIN, || {
        let path = "/v1/nodes/node-0/heartbeat";
        let answer = say(&bench, &collector, &own, Method::POST, path);
        if answer.status == 401 { Ok(()) } else { Err(answer.text()) }
    });
    refused("a deleted pod", &own, 401);
}
