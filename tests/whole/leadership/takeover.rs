//! A leader that is stopped, killed, or cut off, and the one that takes over.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_are_stopped_killed_and_cut_off_and_nobody_loses_a_report() {
    let bench = Bench::start();
    let agents = bench.agents(4);
    let one = bench.collector("one", bench.cluster.kubeconfig());
    let mut newest = bench.leads(&one).await;
    println!("one leads in epoch {newest}");
    let proxy = bench.cluster.proxy();
    let two = bench.collector("two", &proxy.kubeconfig(&bench.master));
    bench.stands_by(&two, "one").await;
    let agents = bench.report(&one, agents).await;

    // Stopped for longer than its Lease, and continued.
    signal(&one, Signal::SIGSTOP);
    let began = Instant::now();
    let epoch = bench.leads(&two).await;
    println!("SIGSTOP: two leads in epoch {epoch} after {:?}", began.elapsed());
    assert!(epoch > newest);
    newest = epoch;
    let agents = bench.report(&two, agents).await;
    signal(&one, Signal::SIGCONT);
    bench.stands_by(&one, "two").await;

    // Cut off from the API server, and back.
    proxy.partition();
    let began = Instant::now();
    let epoch = bench.leads(&one).await;
    println!("partition: one leads in epoch {epoch} after {:?}", began.elapsed());
    assert!(epoch > newest);
    newest = epoch;
    bench.until("it does not act", &two, "/readyz", |status, _| status == 503).await;
    let agents = bench.report(&one, agents).await;
    proxy.heal();
    bench.stands_by(&two, "one").await;

    // Killed.
    one.process.kill();
    let began = Instant::now();
    let epoch = bench.leads(&two).await;
    println!("kill -9: two leads in epoch {epoch} after {:?}", began.elapsed());
    assert!(epoch > newest);
    newest = epoch;
    let agents = bench.report(&two, agents).await;

    // Asked to end: the next one need not wait.
    let three = bench.collector("three", bench.cluster.kubeconfig());
    bench.stands_by(&three, "two").await;
    let began = Instant::now();
    assert_eq!(two.process.terminate(), Some(0));
    let epoch = bench.leads(&three).await;
    println!("SIGTERM: three leads in epoch {epoch} after {:?}", began.elapsed());
    assert!(epoch > newest);
    bench.report(&three, agents).await;
    let audit = bench.ask(&three, "/v1/audit").await.expect("an answer").1;
    assert!(audit.to_string().contains("leadership"), "{audit}");

    // What was changed in the name of an epoch was changed before anything of a later one.
    let mut last = 0;
    for event in bench.cluster.audit_log() {
        let agent = event["userAgent"].as_str().unwrap_or_default();
        let epoch = agent.split_once("(epoch ").and_then(|(_, rest)| rest.strip_suffix(')'));
        let Some(epoch) = epoch.and_then(|epoch| epoch.parse::<u64>().ok()) else { continue };
        if matches!(event["verb"].as_str(), Some("create" | "update" | "patch" | "delete")) {
            assert!(epoch >= last, "epoch {epoch} after {last}: {event}");
            last = epoch;
        }
    }
    println!("the last change was made in epoch {last}");
}
