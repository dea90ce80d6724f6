//! A thousand agents of five configurations: what is stored, judged, answered and asked for.

use std::collections::BTreeMap;

use palisade_report::SectionName;
use palisade_report::section::Sharing;
use palisade_tests::directory::Directory;
use palisade_tests::fleet;
use palisade_tests::http::Client;
use palisade_tests::process::Collector;
use palisade_tests::worker;
use serde_json::Value;

const NODES: usize = 1000;
const CONFIGURATIONS: usize = 5;

/// Rounds of talk until a collector that paces its uploads has everything.
const ROUNDS: usize = 200;

fn judgements(summary: &Value) -> BTreeMap<String, u64> {
    let groups = summary["judging"].as_array().expect("groups");
    groups
        .iter()
        .map(|group| {
            (group["sections"].to_string(), group["judgements"].as_u64().expect("a count"))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_agents_of_five_configurations() {
    let state = Directory::new("state");
    let reports = worker::configurations(CONFIGURATIONS);
    let nodes = fleet::nodes(&reports, NODES);
    let distinct = fleet::distinct(&nodes);
    let collector = Collector::start(state.path(), &["--interval", "600"]);
    let mut client = Client::new(collector.address);

    let (mut nodes, talk) = fleet::settle(collector.address, nodes, ROUNDS).await;

    // Each distinct section came up once, whoever has it.
    for name in SectionName::ALL {
        let uploads = talk.sections.get(&name).copied().unwrap_or_default();
        assert_eq!(uploads, distinct[name.as_str()].len(), "{name}");
        if name.sharing() == Sharing::Shared {
            assert_eq!(uploads, CONFIGURATIONS, "{name} is shared");
        } else {
            assert_eq!(uploads, NODES, "{name} is each node's own");
        }
    }
    let summary = client.get("/v1/summary").await.json();
    let stored: usize = distinct.values().map(|digests| digests.len()).sum();
    assert_eq!(summary["sections"]["distinct"], stored);
    assert_eq!(summary["nodes"]["fresh"], NODES);
    assert_eq!(summary["nodes"]["enrolling"], 0);

    // Judged once for each configuration, not for each node.
    for (sections, count) in judgements(&summary) {
        let own = sections.contains("\"certificates\"") || sections.contains("\"boot\"");
        assert_eq!(count as usize, if own { NODES } else { CONFIGURATIONS }, "{sections}");
    }

    // Aggregates: configuration 0 and 3 have kptr_restrict 0, so two fifths of the fleet fail.
    let answer = client.get("/v1/findings?rule=sysctl.kptr-restrict&verdict=fail").await.json();
    assert_eq!(answer["findings"][0]["nodes"], NODES * 2 / CONFIGURATIONS, "{answer}");
    let facts = client.get("/v1/facts/kernel.release").await.json();
    let values = facts["answers"].as_array().expect("values");
    assert_eq!(values.len(), CONFIGURATIONS, "{facts}");
    assert!(values.iter().all(|value| value["count"] == NODES / CONFIGURATIONS), "{facts}");

    // Pages of all nodes: each once, in order.
    let mut names = Vec::new();
    let mut path = "/v1/nodes?limit=300".to_owned();
    loop {
        let page = client.get(&path).await.json();
        let list = page["nodes"].as_array().expect("nodes");
        names.extend(list.iter().map(|it| it["name"].as_str().expect("a name").to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/nodes?limit=300&after={next}");
    }
    let mut expected: Vec<_> = nodes.iter().map(|node| node.name.clone()).collect();
    expected.sort();
    assert_eq!(names, expected);

    // A killed collector knows all of it, and nobody sends anything again.
    collector.process.kill();
    let collector = Collector::start(state.path(), &["--interval", "600"]);
    let mut client = Client::new(collector.address);
    let after = client.get("/v1/summary").await.json();
    assert_eq!(after["findings"], summary["findings"]);
    assert_eq!(after["sections"], summary["sections"]);
    let talk;
    (nodes, talk) = fleet::talk(collector.address, nodes).await;
    assert_eq!((talk.manifests, talk.uploads()), (0, 0), "{talk:?}");
    let again = client.get("/v1/summary").await.json();
    assert!(
        judgements(&again).values().all(|count| *count == 0),
        "nothing was judged again: {again}"
    );
    assert_eq!(nodes.len(), NODES);
}
