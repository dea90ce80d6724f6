//! An API server that does not review: known agents go on, nobody new comes in, people wait, and
//! everything heals without a restart.

use palisade_tests::cluster::proxy::Fault;
use palisade_tests::cluster::proxy::Rule;

use super::*;

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

#[test]
fn known_agents_outlast_a_silent_api_server_and_nobody_new_comes_in() {
    let cluster = ControlPlane::start();
    cluster.install("base");
    let proxy = cluster.proxy();
    let kubeconfig = cluster.collector_kubeconfig_through(&proxy);
    let bench = Bench::start(cluster, &kubeconfig);
    for node in ["worker-1", "worker-2"] {
        bench.cluster.node(node);
    }
    let viewer = bench.cluster.person("viewer", "palisade-viewer");
    let [known, new] =
        ["worker-1", "worker-2"].map(|node| bench.agent_token(&bench.cluster.agent_pod(node)));
    runtime().block_on(async {
        bench.ready(&viewer).await;
        let admitted = bench.beat(&known, "worker-1").await;
        assert_eq!(admitted.status, 200, "{admitted:?}");

        // The API server answers, but not about tokens.
        let silent = proxy.inject(Rule::new("POST", REVIEWS, Fault::Status(503)));
        let ask = async || bench.beat(&new, "worker-2").await;
        bench.until("somebody new is told to wait", ask, |heard| heard.status == 503).await;
        let refused = bench.beat(&new, "worker-2").await;
        assert_eq!((refused.status, refused.kind().as_str()), (503, "unavailable"), "{refused:?}");
        let retry_after = refused.field("retry-after").expect("retry-after");
        assert!(
            retry_after.parse::<u64>().is_ok_and(|secs| (1..=60).contains(&secs)),
            "{refused:?}"
        );
        let before = proxy.hits(silent);
        // Beyond the time for which a review is fresh: its renewal has failed, and it goes on.
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(65) {
            let going_on = bench.beat(&known, "worker-1").await;
            assert_eq!(going_on.status, 200, "after {:?}: {going_on:?}", began.elapsed());
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let tries = proxy.hits(silent) - before;
        println!("{tries} reviews tried while a known agent went on for {:?}", began.elapsed());
        let person = bench.get(&viewer, "/v1/nodes").await;
        assert_eq!((person.status, person.kind().as_str()), (503, "unavailable"), "{person:?}");
        proxy.remove(silent);
        bench.until("it heals without a restart", ask, |heard| heard.status == 200).await;
        let ask = async || bench.get(&viewer, "/v1/nodes").await;
        bench.until("people are known again", ask, |heard| heard.status == 200).await;
    });
}
