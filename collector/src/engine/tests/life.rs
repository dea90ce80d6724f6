//! The life of a node: sequence numbers, boots, silence, episodes, retirement.

use super::*;
use crate::engine::core::Outcome;
use crate::snapshot::NodeState;

#[test]
fn an_unchanged_report_is_answered_without_a_commit_and_with_a_slot() {
    let scratch = Scratch::new();
    let mut bench = Bench::open(&scratch, clock());
    let mut node = TestNode::new("a", &unknown("k"));
    assert_eq!(bench.report(&mut node), [SectionName::Kernel, SectionName::Certificates]);
    bench.core.store.limit_pages(Some(0));
    for _ in 0..100 {
        node.sequence += 1;
        let reply = bench.beat(&node).unwrap();
        assert_eq!(reply.want, Want::Nothing);
        assert!((25_000..=95_000).contains(&reply.next_in_ms));
    }
    assert_eq!(bench.snapshot().counters.failed_commits, 0);
}

#[test]
fn an_older_sequence_is_ignored_and_a_used_one_is_refused_and_noted() {
    let scratch = Scratch::new();
    let mut bench = Bench::open(&scratch, clock());
    let mut node = TestNode::new("a", &unknown("k"));
    bench.report(&mut node);
    let stored = bench.node("a").report;

    let mut older = TestNode::new("a", &unknown("other"));
    older.sequence = node.sequence - 1;
    assert_eq!(bench.beat(&older).unwrap().want, Want::Nothing);
    assert_eq!(bench.beat(&node).unwrap().want, Want::Nothing, "a repeated heartbeat");

    let mut twin = older;
    twin.sequence = node.sequence;
    assert_eq!(bench.beat(&twin), Err(Refusal::SequenceReused));
    assert_eq!(bench.beat(&twin), Err(Refusal::SequenceReused));
    let snapshot = bench.snapshot();
    assert_eq!(snapshot.counters.sequence_conflicts, 2);
    assert_eq!(snapshot.node("a").unwrap().report, stored);
    let reader = bench.core.store.reader().unwrap();
    let page = wait(reader.history(Some(node.name), None, 100)).unwrap();
    let conflicts = page.rows.iter().filter(|entry| {
        matches!(entry.body, crate::store::HistoryBody::Event(NodeEvent::SequenceConflict { .. }))
    });
    assert_eq!(conflicts.count(), 1, "noted once a minute: {page:?}");
    let since = |at| wait(reader.events_since(at, 100)).unwrap();
    let odd = crate::notify::sources::oddities(&since(bench.now().at));
    assert_eq!(odd.len(), 1, "{odd:?}");
    assert_eq!(since(bench.now().at.plus(1)), []);
}

#[test]
fn a_message_of_the_former_boot_does_not_bring_it_back() {
    let scratch = Scratch::new();
    let mut bench = Bench::open(&scratch, clock());
    let mut node = TestNode::new("a", &unknown("k"));
    bench.report(&mut node);
    let mut late = node.clone();
    late.sequence = 1_000_000;
    node.boot = NEXT_BOOT.parse().unwrap();
    node.sequence = 0;
    bench.report(&mut node);
    assert_eq!(bench.node("a").boot_id.as_ref().unwrap().as_str(), NEXT_BOOT);
    assert!(bench.beat(&late).is_ok());
    assert_eq!(bench.node("a").boot_id.as_ref().unwrap().as_str(), NEXT_BOOT);
    bench.clock.advance(601);
    bench.beat(&late).unwrap();
    assert_eq!(
        bench.node("a").boot_id.as_ref().unwrap().as_str(),
        BOOT,
        "a machine that was set back"
    );
}

#[test]
fn quiet_nodes_become_late_then_silent_and_come_back() {
    let scratch = Scratch::new();
    let mut bench = Bench::open(&scratch, clock());
    let mut node = TestNode::new("a", &bad("k"));
    bench.report(&mut node);
    let state = |bench: &mut Bench| {
        let snapshot = bench.snapshot();
        let state = snapshot.node("a").unwrap().state;
        assert_eq!(snapshot.counters.nodes(state), 1);
        assert_eq!(NodeState::ALL.map(|it| snapshot.counters.nodes(it)).iter().sum::<u64>(), 1);
        state
    };
    bench.advance(119);
    assert_eq!(state(&mut bench), NodeState::Fresh);
    bench.advance(1);
    assert_eq!(state(&mut bench), NodeState::Late);
    bench.advance(179);
    assert_eq!(state(&mut bench), NodeState::Late);
    bench.advance(1);
    assert_eq!(state(&mut bench), NodeState::Silent);
    assert_eq!(bench.node("a").counts.fail, 1, "the last findings stay");

    // After a restart nobody is called anything worse for two intervals.
    node.sequence += 1;
    bench.beat(&node).unwrap();
    assert_eq!(state(&mut bench), NodeState::Fresh);
    bench.advance(30);
    bench.clock.advance(1000);
    let mut bench = bench.crash(&scratch);
    bench.advance(119);
    assert_eq!(state(&mut bench), NodeState::Fresh);
    bench.advance(1);
    assert_eq!(state(&mut bench), NodeState::Silent);
}

#[test]
fn a_node_may_be_called_silent_earlier_and_never_before_three_intervals() {
    for (interval, silent_after, at) in [(60, 240, 240), (60, 10, 180), (5, 20, 20)] {
        let scratch = Scratch::new();
        let settings = EngineSettings {
            interval: std::time::Duration::from_secs(interval),
            silent_after: std::time::Duration::from_secs(silent_after),
            ..EngineSettings::default()
        };
        let mut bench = Bench::with(&scratch, clock(), settings, "rule");
        bench.report(&mut TestNode::new("a", &bad("k")));
        bench.advance(at - 1);
        assert_eq!(bench.node("a").state, NodeState::Late, "{interval} {silent_after}");
        bench.advance(1);
        assert_eq!(bench.node("a").state, NodeState::Silent, "{interval} {silent_after}");
    }
}

#[test]
fn the_history_keeps_its_newest_entries() {
    let scratch = Scratch::new();
    let settings = EngineSettings { max_history: 5, ..EngineSettings::default() };
    let mut bench = Bench::with(&scratch, clock(), settings, "rule");
    let mut node = TestNode::new("a", &unknown("k"));
    for turn in 0..20_u32 {
        let kernel = if turn % 2 == 0 { bad("k") } else { unknown("k") };
        node.set(SectionName::Kernel, kernel);
        bench.report(&mut node);
    }
    bench.advance(30);
    let reader = bench.core.store.reader().unwrap();
    let page = wait(reader.history(None, None, 100)).unwrap();
    let ids: Vec<i64> = page.rows.iter().map(|entry| entry.id).collect();
    assert_eq!(ids, [21, 20, 19, 18, 17], "enrolled, and one entry for each turn");
}

#[test]
fn a_retired_node_leaves_nothing_behind_but_its_history() {
    let scratch = Scratch::new();
    let mut bench = Bench::open(&scratch, clock());
    let mut node = TestNode::new("a", &bad("k"));
    bench.report(&mut node);
    let now = bench.now();
    assert!(matches!(bench.retire(&node.name, now), Outcome::Durable(Ok(()))));
    bench.turn();
    let mut bench = bench.crash(&scratch);
    let snapshot = bench.snapshot();
    assert_eq!(snapshot.counters.nodes(NodeState::Gone), 1);
    assert_eq!(snapshot.counters.findings, crate::snapshot::VerdictCounts::default());
    assert_eq!(snapshot.counters.sections, 0);
    assert!(snapshot.node("a").unwrap().episodes.is_empty());
    assert!(bench.core.store.load().unwrap().judgements.is_empty());
    bench.advance(1);
    assert_eq!(bench.report(&mut node).len(), 2, "a retired node starts again");
    let node = bench.node("a");
    assert_eq!((node.state, node.first_seen_at), (NodeState::Fresh, bench.now().at));
}

#[test]
fn an_episode_opens_changes_and_ends() {
    let scratch = Scratch::new();
    let mut bench = Bench::open(&scratch, clock());
    let opened = bench.now().at;
    let mut node = TestNode::new("a", &bad("k"));
    bench.report(&mut node);
    let episode = |bench: &mut Bench| {
        let node = bench.node("a");
        let rule = "kernel.rule".parse().unwrap();
        node.episode(&rule, "").cloned()
    };
    let first = episode(&mut bench).unwrap();
    assert_eq!((first.first_seen_at, first.changed_at), (opened, opened));

    // Other facts, the same verdict: the same episode.
    bench.advance(10);
    node.set(SectionName::Kernel, bad("k2"));
    bench.report(&mut node);
    assert_eq!(episode(&mut bench), Some(first));

    // No kernel section any more: could not tell.
    bench.advance(10);
    let kernel = node.sections.remove(1);
    bench.report(&mut node);
    let changed = bench.now().at;
    let second = episode(&mut bench).unwrap();
    assert_eq!(second.verdict, Verdict::Unknown);
    assert_eq!((second.first_seen_at, second.changed_at), (opened, changed));

    bench.advance(10);
    node.sections.push((kernel.0, unknown("good")));
    bench.report(&mut node);
    assert_eq!(episode(&mut bench), None);
    let resolved = bench.now().at;
    let reader = bench.core.store.reader().unwrap();
    let page = wait(reader.history(Some(node.name), None, 100)).unwrap();
    let transitions: Vec<_> = page
        .rows
        .iter()
        .filter_map(|entry| match &entry.body {
            crate::store::HistoryBody::Findings { transitions, .. } => {
                Some((entry.at, transitions[0].from, transitions[0].to))
            }
            crate::store::HistoryBody::Event(_) => None,
        })
        .collect();
    let (fail, unknown, pass) = (Verdict::Fail, Verdict::Unknown, Verdict::Pass);
    assert_eq!(
        transitions,
        [
            (resolved, Some(unknown), Some(pass)),
            (changed, Some(fail), Some(unknown)),
            (opened, None, Some(fail)),
        ]
    );
}

#[test]
fn only_judgements_whose_time_has_come_are_made_again() {
    let scratch = Scratch::new();
    let mut bench = Bench::open(&scratch, clock());
    for number in 0..10_u32 {
        let name = format!("node-{number}");
        let mut node = TestNode::new(&name, &unknown("k"));
        let mut certificates = unknown(&name);
        certificates["ends"] = json!(1_800_000_000 + 1000 * i64::from(number + 1));
        node.set(SectionName::Certificates, certificates);
        bench.report(&mut node);
    }
    let count = |bench: &mut Bench| {
        let snapshot = bench.snapshot();
        let groups: Vec<u64> = snapshot.counters.groups.iter().map(|it| it.judgements).collect();
        (groups, snapshot.counters.findings.fail)
    };
    assert_eq!(count(&mut bench), (vec![1, 10], 0));
    bench.advance(999);
    assert_eq!(count(&mut bench), (vec![1, 10], 0));
    let changes = bench.advance(1);
    assert_eq!(count(&mut bench), (vec![1, 11], 1));
    assert!(
        changes.iter().any(|change| change.node.as_str() == "node-0"
            && matches!(&change.what, What::Findings { cause: Cause::Time, .. })),
        "{changes:?}"
    );
    bench.advance(3000);
    assert_eq!(count(&mut bench), (vec![1, 14], 4));
    let digest = bench.snapshot().digest();
    let mut bench = bench.crash(&scratch);
    assert_eq!(bench.snapshot().digest(), digest);
    assert_eq!(count(&mut bench), (vec![0, 0], 4));
    bench.advance(6000);
    assert_eq!(count(&mut bench), (vec![0, 6], 10));
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn the_audit_keeps_what_a_flood_of_refused_tokens_came_after() {
    let scratch = Scratch::new();
    let settings =
        EngineSettings { max_audit: 100, audit_of_each: 10, ..EngineSettings::default() };
    let mut bench = Bench::with(&scratch, clock(), settings, "rule");
    let mut note = |kind, times: u32| {
        for _ in 0..times {
            let now = bench.now();
            bench.core.note(Happening::own(kind, "it", "a test"), now);
        }
        bench.turn();
    };
    note(Kind::Leadership, 1);
    (0..4).for_each(|_| note(Kind::TokenRefused, 1500));
    let reader = bench.core.store.reader().unwrap();
    let entries = |kind| {
        let filter = crate::store::AuditFilter { kind: Some(kind), node: None, actor: None };
        wait(reader.audit(filter, None, 10_000)).unwrap().rows.len()
    };
    assert_eq!(entries(Kind::Leadership), 1);
    assert!((100..=1600).contains(&entries(Kind::TokenRefused)), "old ones went");
    let verified = crate::store::verify_audit(&scratch.0.join("palisade.db")).unwrap();
    assert_eq!((verified.last.id, verified.singly), (6001, 1));
}
