//! A leader that is stopped, killed, or cut off, and the one that takes over.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_are_stopped_killed_and_cut_off_and_nobody_loses_a_report() {
    let bench = Bench::start();
    let mut agents = bench.agents(10);
    // Nodes whose first report makes a leader act: it writes their conditions.
    let mut fresh = agents.split_off(4);
    let one = bench.collector("one", &bench.cluster.collector_kubeconfig());
    let mut newest = bench.leads(&one).await;
    let mut terms = vec![newest];
    println!("one leads in epoch {newest}");
    let proxy = bench.cluster.proxy();
    let two = bench.collector("two", &bench.cluster.collector_kubeconfig_through(&proxy));
    bench.stands_by(&two, "one").await;
    let agents = bench.report(&one, agents).await;
    bench.makes_act(&one, &mut fresh).await;
    // Reported, and hardly acted upon before the leader is stopped: it has something to do when it
    // goes on, and must not.
    bench.report(&one, fresh.split_off(fresh.len() - 1)).await;

    // Stopped for longer than its Lease, and continued.
    signal(&one, Signal::SIGSTOP);
    let began = Instant::now();
    let epoch = bench.leads(&two).await;
    println!("SIGSTOP: two leads in epoch {epoch} after {:?}", began.elapsed());
    assert!(epoch > newest);
    newest = epoch;
    terms.push(epoch);
    let agents = bench.report(&two, agents).await;
    bench.makes_act(&two, &mut fresh).await;
    signal(&one, Signal::SIGCONT);
    bench.stands_by(&one, "two").await;

    // Cut off from the API server, and back.
    proxy.partition();
    let began = Instant::now();
    let epoch = bench.leads(&one).await;
    println!("partition: one leads in epoch {epoch} after {:?}", began.elapsed());
    assert!(epoch > newest);
    newest = epoch;
    terms.push(epoch);
    bench.until("it does not act", &two, "/readyz", |status, _| status == 503).await;
    let agents = bench.report(&one, agents).await;
    bench.makes_act(&one, &mut fresh).await;
    proxy.heal();
    bench.stands_by(&two, "one").await;

    // Killed.
    one.process.kill();
    let began = Instant::now();
    let epoch = bench.leads(&two).await;
    println!("kill -9: two leads in epoch {epoch} after {:?}", began.elapsed());
    assert!(epoch > newest);
    newest = epoch;
    terms.push(epoch);
    let agents = bench.report(&two, agents).await;
    bench.makes_act(&two, &mut fresh).await;

    // Asked to end: the next one need not wait.
    let three = bench.collector("three", &bench.cluster.collector_kubeconfig());
    bench.stands_by(&three, "two").await;
    let began = Instant::now();
    assert_eq!(two.process.terminate(), Some(0));
    let epoch = bench.leads(&three).await;
    println!("SIGTERM: three leads in epoch {epoch} after {:?}", began.elapsed());
    assert!(epoch > newest);
    newest = epoch;
    terms.push(epoch);
    bench.report(&three, agents).await;
    bench.makes_act(&three, &mut fresh).await;
    let audit = bench.ask(&three, "/v1/audit").await.expect("an answer").1;
    assert!(audit.to_string().contains("leadership"), "{audit}");

    // What was changed in the name of an epoch was changed before anything of a later one, and every
    // term has changed something; only the Lease is written outside of terms.
    let mut last = 0;
    let mut writes: BTreeMap<u64, usize> = BTreeMap::new();
    for event in bench.cluster.audit_log() {
        let agent = event["userAgent"].as_str().unwrap_or_default();
        let changes =
            matches!(event["verb"].as_str(), Some("create" | "update" | "patch" | "delete"));
        let resource = event["objectRef"]["resource"].as_str().unwrap_or_default();
        let asks = matches!(resource, "tokenreviews" | "subjectaccessreviews" | "leases");
        if !agent.starts_with("palisade-collector/") || !changes || asks {
            continue;
        }
        let epoch = agent.split_once("(epoch ").and_then(|(_, rest)| rest.strip_suffix(')'));
        let epoch = epoch.and_then(|epoch| epoch.parse::<u64>().ok());
        let epoch = epoch.unwrap_or_else(|| panic!("changed outside of a term: {event}"));
        assert!(epoch >= last, "epoch {epoch} after {last}: {event}");
        last = epoch;
        *writes.entry(epoch).or_default() += 1;
    }
    println!("changes by epoch: {writes:?}");
    assert_eq!(last, newest);
    for term in terms {
        assert!(writes.contains_key(&term), "nothing was changed in epoch {term}: {writes:?}");
    }
}

impl Bench {
    /// Lets one more node report to a leader, and waits until its conditions are written.
    async fn makes_act(&self, leader: &Collector, fresh: &mut Vec<fleet::Node>) {
        let node = fresh.pop().expect("a node that has not reported");
        let path = format!("/api/v1/nodes/{}", node.name);
        self.report(leader, vec![node]).await;
        self.until_conditions(leader, &path).await;
    }

    /// Waits until a node has the conditions of a judged one.
    pub(super) async fn until_conditions(&self, leader: &Collector, path: &str) {
        let deadline = Instant::now() + WITHIN;
        loop {
            let node = self.cluster.get(path);
            let conditions = node["status"]["conditions"].as_array();
            // Those of a node that nobody has judged yet are Unknown for this or that reason.
            let ours = conditions.into_iter().flatten().filter(|it| {
                it["type"].as_str().is_some_and(|kind| kind.starts_with("palisade.dev/"))
                    && !matches!(it["reason"].as_str(), Some("NeverReported" | "NoReport"))
            });
            if ours.count() == 3 {
                return;
            }
            assert!(Instant::now() < deadline, "{path}: {node} {:#?}", leader.process.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
