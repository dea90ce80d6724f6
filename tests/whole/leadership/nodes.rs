//! Nodes that come, change, go, and come again under their names; and an API server that is away.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_come_change_go_and_come_again_while_the_api_server_is_away_now_and_then() {
    let bench = Bench::start();
    let cluster = &bench.cluster;
    let proxy = cluster.proxy();
    let way = cluster.collector_kubeconfig_through(&proxy);
    let collector = bench.collector("one", &way);
    bench.leads(&collector).await;

    // Never heard of, and not silently out.
    cluster.node("lonely");
    let unseen = |status, body: &Value| status == 200 && body["node"]["state"] == "never-seen";
    bench.until("it is listed", &collector, "/v1/nodes/lonely", unseen).await;

    // Labelled and cordoned; the watch is closed, and expires, meanwhile.
    proxy.end_watches();
    cluster.kubectl(&["label", "node", "lonely", "pool=blue"]);
    cluster.kubectl(&["cordon", "lonely"]);
    let changed = |_, body: &Value| {
        let said = &body["node"]["cluster"];
        said["cordoned"] == true && said["labels"]["pool"] == "blue"
    };
    bench.until("it is cordoned", &collector, "/v1/nodes/lonely", changed).await;

    // Reported, deleted, retired with its history; made again, and clean.
    let agents = bench.report(&collector, bench.agents(2)).await;
    let name = agents[0].name.clone();
    let target = format!("/v1/nodes/{name}");
    let before = bench.until("it is there", &collector, &target, |status, _| status == 200).await;
    cluster.kubectl(&["delete", "node", &name]);
    let gone = |_, body: &Value| body["node"]["state"] == "gone";
    bench.until("it is retired", &collector, &target, gone).await;
    let uid = cluster.node(&name);
    assert_ne!(before["node"]["uid"], *uid);
    let clean = |_, body: &Value| {
        body["node"]["uid"] == *uid
            && body["node"]["state"] == "never-seen"
            && body["findings"].as_array().is_some_and(Vec::is_empty)
    };
    bench.until("it is clean", &collector, &target, clean).await;
    let history = bench.ask(&collector, "/v1/history?limit=100").await.expect("an answer").1;
    assert!(history.to_string().contains("retired"), "{history}");

    // Made again at once, before it could be retired.
    let name = agents[1].name.clone();
    let target = format!("/v1/nodes/{name}");
    cluster.kubectl(&["delete", "node", &name]);
    let uid = cluster.node(&name);
    let anew = |_, body: &Value| body["node"]["uid"] == *uid;
    bench.until("it is another one", &collector, &target, anew).await;
    let audit = bench.ask(&collector, "/v1/audit?kind=node-recreated").await.expect("an answer").1;
    assert!(audit.to_string().contains(&name), "{audit}");

    // Away for longer than the grace and the Lease: nobody is retired, and the process goes on.
    let pid = collector.process.pid();
    cluster.stop_api_server();
    let suspended = |status, _: &Value| status == 503;
    bench.until("it acts on nothing", &collector, "/readyz", suspended).await;
    // Longer than the grace; that nothing happens cannot be waited for.
    tokio::time::sleep(Duration::from_secs(8)).await;
    cluster.start_api_server();
    bench.leads(&collector).await;
    assert_eq!(collector.process.pid(), pid);
    cluster.kubectl(&["uncordon", "lonely"]);
    let open = |_, body: &Value| body["node"]["cluster"]["cordoned"] == false;
    bench.until("the watch goes on", &collector, "/v1/nodes/lonely", open).await;
    let summary = bench.until("it counts", &collector, "/v1/summary", |it, _| it == 200).await;
    assert_eq!(summary["nodes"]["never-seen"], 3, "{summary}");
    assert_eq!(collector.process.terminate(), Some(0));
}
