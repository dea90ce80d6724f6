//! Nodes as the cluster knows them: by UID, whatever they are called.

use super::*;
use crate::engine::ClusterNews;
use crate::snapshot::ClusterNode;
use crate::snapshot::NodeState;
use crate::snapshot::Ready;
use crate::snapshot::Scheduling;
use crate::store::HistoryBody;

fn uid(text: &str) -> palisade_report::NodeUid {
    text.parse().unwrap()
}

fn member(text: &str) -> Arc<ClusterNode> {
    Arc::new(ClusterNode {
        uid: uid(text),
        labels: Arc::default(),
        hostname: None,
        ready: Ready::Ready,
        scheduling: Scheduling::Open,
        boot_id: None,
        kernel: None,
        kubelet: None,
        taints: Vec::new(),
    })
}

impl Bench {
    fn news(&mut self, known: &[(&str, &str)], gone: &[&str]) {
        let known = known.iter().map(|(name, uid)| (name.parse().unwrap(), member(uid)));
        let gone = gone.iter().map(|name| name.parse().unwrap());
        let news = ClusterNews { known: known.collect(), gone: gone.collect() };
        let now = self.now();
        self.core.cluster(news, now);
        self.turn();
    }

    /// Reports as the node with this UID; the refusal if it is not let.
    fn report_as(&mut self, node: &mut TestNode, text: &str) -> Option<Refusal> {
        let now = self.now();
        let refusal = self.core.recognise(&node.name, Some(&uid(text)), now);
        if refusal.is_none() {
            self.report(node);
        }
        refusal
    }

    fn count(&mut self, state: NodeState) -> u64 {
        self.snapshot().counters.nodes(state)
    }

    fn recreations(&self) -> usize {
        let reader = self.core.store.reader().unwrap();
        let page = wait(reader.history(None, None, 1000)).unwrap();
        let is_recreation =
            |body: &HistoryBody| matches!(body, HistoryBody::Event(NodeEvent::Recreated { .. }));
        page.rows.iter().filter(|entry| is_recreation(&entry.body)).count()
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn a_node_that_never_reported_is_listed_until_the_cluster_has_it_no_more() {
    let scratch = Scratch::new();
    let mut bench = Bench::open(&scratch, clock());
    bench.news(&[("a", "1"), ("b", "2")], &[]);
    assert_eq!(bench.count(NodeState::NeverSeen), 2);
    assert_eq!(bench.node("a").boot_id, None);
    let mut node = TestNode::new("a", &bad("k"));
    assert_eq!(bench.report_as(&mut node, "1"), None);
    assert_eq!((bench.count(NodeState::NeverSeen), bench.count(NodeState::Fresh)), (1, 1));
    assert!(bench.node("a").cluster.is_some());
    bench.news(&[], &["a", "b"]);
    assert!(bench.snapshot().node("b").is_none());
    let still_there = bench.node("a");
    assert_eq!((still_there.state, still_there.cluster.is_none()), (NodeState::Fresh, true));
    // None of those that never reported is in the store.
    let mut bench = bench.crash(&scratch);
    assert_eq!(bench.snapshot().nodes.len(), 1);
    assert_eq!(bench.node("a").uid, Some(uid("1")));
}

#[test]
fn another_uid_under_a_name_is_another_node_that_begins_with_nothing() {
    let scratch = Scratch::new();
    let mut bench = Bench::open(&scratch, clock());
    bench.news(&[("a", "1")], &[]);
    let mut node = TestNode::new("a", &bad("k"));
    assert_eq!(bench.report_as(&mut node, "1"), None);
    assert!(!bench.node("a").episodes.is_empty());
    bench.advance(10);
    bench.news(&[("a", "2")], &[]);
    let clean = bench.node("a");
    assert_eq!((clean.state, clean.uid.clone()), (NodeState::NeverSeen, Some(uid("2"))));
    assert!(clean.episodes.is_empty() && clean.report.is_none());
    assert_eq!(bench.snapshot().counters.findings, crate::snapshot::VerdictCounts::default());
    assert_eq!(bench.snapshot().counters.sections, 0);
    assert_eq!((bench.count(NodeState::Gone), bench.count(NodeState::Fresh)), (0, 0));
    assert_eq!(bench.recreations(), 1);

    // The token of the old one still passes somewhere: nothing of it is taken.
    let refused = bench.report_as(&mut node, "1");
    assert_eq!(refused, Some(Refusal::OtherNode));
    assert_eq!(bench.node("a").state, NodeState::NeverSeen);

    let mut new = TestNode::new("a", &bad("k"));
    new.boot = NEXT_BOOT.parse().unwrap();
    assert_eq!(bench.report_as(&mut new, "2"), None);
    let now = bench.now();
    assert_eq!((bench.node("a").state, bench.node("a").first_seen_at), (NodeState::Fresh, now.at));
    let mut bench = bench.crash(&scratch);
    assert_eq!(bench.node("a").uid, Some(uid("2")));
    assert_eq!(bench.recreations(), 1);
}

#[test]
fn a_uid_that_the_cluster_does_not_tell_yet_ends_the_record_of_another() {
    let scratch = Scratch::new();
    let mut bench = Bench::open(&scratch, clock());
    let mut node = TestNode::new("a", &bad("k"));
    assert_eq!(bench.report_as(&mut node, "1"), None);
    let mut bench = bench.crash(&scratch);
    bench.advance(10);
    let mut new = TestNode::new("a", &bad("other"));
    assert_eq!(bench.report_as(&mut new, "2"), None);
    assert_eq!(bench.node("a").uid, Some(uid("2")));
    assert_eq!(bench.recreations(), 1);
    let opened = bench.node("a").episodes[0].first_seen_at;
    assert_eq!(opened, bench.now().at, "an episode of the old one goes on as the new one's");
    assert_eq!(bench.count(NodeState::Gone), 0);
}

#[test]
fn a_collector_that_moves_into_a_cluster_keeps_its_records() {
    let scratch = Scratch::new();
    let mut bench = Bench::open(&scratch, clock());
    let mut node = TestNode::new("a", &bad("k"));
    bench.report(&mut node);
    bench.advance(10);
    bench.news(&[("a", "1")], &[]);
    assert_eq!(bench.node("a").state, NodeState::Fresh);
    let mut bench = bench.crash(&scratch);
    assert_eq!(bench.node("a").uid, Some(uid("1")));
    assert_eq!(bench.recreations(), 0);
}

#[test]
fn what_the_cluster_said_outlives_a_store_that_failed() {
    let scratch = Scratch::new();
    let mut bench = Bench::open(&scratch, clock());
    bench.news(&[("a", "1")], &[]);
    bench.core.store.limit_pages(Some(0));
    let mut node = TestNode::new("b", &bad("k"));
    bench.enrol_fails(&mut node);
    bench.core.store.limit_pages(None);
    bench.advance(5);
    assert_eq!(bench.count(NodeState::NeverSeen), 1);
    assert_eq!(bench.node("a").state, NodeState::NeverSeen);
}

#[test]
fn epochs_only_grow() {
    let scratch = Scratch::new();
    let mut bench = Bench::open(&scratch, clock());
    assert_eq!(bench.core.store.epoch().unwrap(), 0);
    for epoch in [7, 3] {
        bench.core.lead(epoch);
        bench.turn();
    }
    assert_eq!(bench.core.store.epoch().unwrap(), 7);
}
