//! Crashes and full disks: what was acknowledged stays, what was not is gone.

use super::*;
use crate::snapshot::Readiness;

#[test]
fn after_a_crash_nothing_that_was_sent_is_asked_for_again() {
    let scratch = Scratch::new();
    let mut bench = Bench::open(&scratch, clock());
    let mut node = TestNode::new("a", &bad("k"));
    node.with_manifest = true;
    node.sequence = 1;
    assert_eq!(
        bench.beat(&node).unwrap().want,
        Want::Sections(vec![SectionName::Kernel, SectionName::Certificates])
    );
    bench.upload(&node, &[SectionName::Kernel]).unwrap();

    // Half of the report was acknowledged: only the other half is lacking.
    let mut bench = bench.crash(&scratch);
    node.with_manifest = false;
    node.sequence += 1;
    assert_eq!(bench.beat(&node).unwrap().want, Want::Sections(vec![SectionName::Certificates]));
    bench.upload(&node, &[SectionName::Certificates]).unwrap();
    let digest = bench.snapshot().digest();
    assert_eq!(bench.node("a").report, Some(node.manifest().digest()));

    let mut bench = bench.crash(&scratch);
    assert_eq!(bench.snapshot().digest(), digest);
    node.sequence += 1;
    assert_eq!(bench.beat(&node).unwrap().want, Want::Nothing);
    assert_eq!(bench.snapshot().counters.groups[0].judgements, 0, "judgements are kept, too");
}

#[test]
fn a_full_disk_refuses_what_is_new_keeps_what_was_and_heals() {
    let scratch = Scratch::new();
    let mut bench = Bench::open(&scratch, clock());
    let mut node = TestNode::new("a", &unknown("k"));
    bench.report(&mut node);
    let before = bench.snapshot();

    bench.core.store.limit_pages(Some(0));
    let mut large = TestNode::new("b", &unknown("k"));
    large.set(SectionName::Files, noise());
    large.with_manifest = true;
    large.sequence = 1;
    let asked = bench.beat(&large);
    let refused = match asked {
        Ok(_) => bench.upload(&large, &[SectionName::Files]).map(drop),
        Err(refusal) => Err(refusal),
    };
    assert!(matches!(refused, Err(Refusal::NotDurable { .. })), "{refused:?}");
    let after = bench.snapshot();
    assert!(
        matches!(&after.readiness, Readiness::Failing { reason, .. } if reason.contains("full"))
    );
    assert_eq!(after.counters.failed_commits, 1);
    assert_eq!(
        after.node("a").unwrap().report,
        before.node("a").unwrap().report,
        "what was acknowledged stays"
    );
    assert_eq!(after.counters.findings, before.counters.findings);

    // What needs no store is answered all the while.
    node.sequence += 1;
    assert_eq!(bench.beat(&node).unwrap().want, Want::Nothing);
    large.sequence += 1;
    assert!(matches!(bench.beat(&large), Err(Refusal::NotDurable { .. })));
    bench.advance(5);
    assert!(matches!(bench.snapshot().readiness, Readiness::Failing { .. }));
    assert_eq!(bench.snapshot().counters.failed_commits, 1, "probes are no commits");

    bench.core.store.limit_pages(None);
    bench.advance(1);
    assert_eq!(bench.snapshot().readiness, Readiness::Ready);
    bench.report(&mut large);
    let digest = bench.snapshot().digest();
    let mut bench = bench.crash(&scratch);
    assert_eq!(bench.snapshot().digest(), digest);
    assert_eq!(bench.snapshot().nodes.len(), 2);
}

#[test]
fn whoever_waits_for_the_audit_hears_of_it_when_it_is_durable_or_not_kept() {
    let scratch = Scratch::new();
    let mut bench = Bench::open(&scratch, clock());
    let tell = |bench: &mut Bench| {
        let (reply, mut answer) = oneshot::channel();
        let (happening, now) = (Happening::own(Kind::Reboot, "node a", "a wish"), bench.now());
        let outcome = bench.core.told(happening, now);
        bench.core.answer(outcome, |result| Reply::Kept(reply, result));
        let early = answer.try_recv().ok();
        bench.turn();
        early.map_or_else(|| (false, answer.try_recv().unwrap()), |early| (true, early))
    };
    let kept = |bench: &Bench| {
        let reader = bench.core.store.reader().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let page = runtime.block_on(reader.audit(crate::store::AuditFilter::default(), None, 5000));
        page.unwrap().rows.len()
    };
    bench.core.store.limit_pages(Some(0));
    let mut told = 0;
    let refused = loop {
        match tell(&mut bench) {
            (early, Ok(())) => {
                assert!(!early, "before the commit nobody can tell");
                told += 1;
                assert_eq!(kept(&bench), told);
            }
            (_, Err(refusal)) => break refusal,
        }
    };
    assert!(matches!(refused, Refusal::NotDurable { .. }), "{refused:?}");
    let (early, refused) = tell(&mut bench);
    assert!(early && refused.is_err(), "while the store fails nobody is kept waiting");
    bench.core.store.limit_pages(None);
    bench.advance(1);
    assert_eq!(kept(&bench), told, "what was refused is not kept later");
    assert_eq!(tell(&mut bench), (false, Ok(())));
    assert_eq!(kept(&bench), told + 1);
}

#[test]
fn a_batch_that_fails_takes_all_its_replies_with_it() {
    let scratch = Scratch::new();
    let mut bench = Bench::open(&scratch, clock());
    let mut node = TestNode::new("a", &unknown("k"));
    bench.report(&mut node);
    bench.core.store.limit_pages(Some(0));
    let names: Vec<String> = (0..200).map(|number| format!("new-{number}")).collect();
    let replies: Vec<_> = names
        .iter()
        .map(|name| {
            let mut node = TestNode::new(name, &unknown("k"));
            node.with_manifest = true;
            bench.hear(&node)
        })
        .collect();
    bench.turn();
    for reply in replies {
        let reply = reply.blocking_recv().unwrap();
        assert!(matches!(reply, Err(Refusal::NotDurable { .. })), "{reply:?}");
    }
    let snapshot = bench.snapshot();
    assert_eq!(snapshot.nodes.len(), 1);
    assert_eq!(snapshot.counters.enrolling, 0);
}

#[test]
fn other_rules_judge_what_is_stored_without_asking_anybody() {
    let scratch = Scratch::new();
    let mut bench = Bench::open(&scratch, clock());
    let mut node = TestNode::new("a", &bad("k"));
    bench.report(&mut node);
    let Bench { core, clock } = bench;
    drop(core);
    let clock = ManualClock::at(clock.now());
    let mut bench = Bench::with(&scratch, clock, EngineSettings::default(), "other");
    let snapshot = bench.snapshot();
    assert_eq!(snapshot.counters.groups[0].judgements, 1);
    let rules: Vec<&str> = snapshot.counters.rules.keys().map(|rule| rule.as_str()).collect();
    assert_eq!(rules, ["certificates.other", "kernel.other"]);
    let digest = snapshot.digest();
    assert_eq!(bench.core.store.load().unwrap().judgements.len(), 2, "the old ones are gone");
    node.sequence += 1;
    assert_eq!(bench.beat(&node).unwrap().want, Want::Nothing);

    // While it runs, too.
    let now = bench.now();
    bench.core.judge_by(Arc::new(TestJudge("third")), now);
    bench.turn();
    assert_ne!(bench.snapshot().digest(), digest);
    let third = bench.snapshot();
    let rules: Vec<&str> = third
        .counters
        .rules
        .iter()
        .filter(|(_, counts)| **counts != crate::snapshot::VerdictCounts::default())
        .map(|(rule, _)| rule.as_str())
        .collect();
    assert_eq!(rules, ["certificates.third", "kernel.third"]);
}

#[test]
fn the_handle_answers_publishes_and_stops() {
    let scratch = Scratch::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let clock = Arc::new(clock());
    let (engine, thread) = super::super::Engine::start(
        scratch.store(),
        EngineSettings::default(),
        Arc::new(TestJudge("rule")),
        Arc::clone(&clock) as Arc<dyn Clock>,
    )
    .unwrap();
    let mut changes = engine.changes();
    let mut node = TestNode::new("a", &bad("k"));
    let now = Now::read(&*clock);
    runtime.block_on(async {
        node.with_manifest = true;
        let beat =
            engine.heartbeat(node.name.clone(), None, node.heartbeat(now), now.at).await.unwrap();
        let Want::Sections(names) = beat.want else { panic!("{beat:?}") };
        let sections = names.iter().map(|name| node.section(*name)).collect();
        let report = node.manifest().digest();
        engine
            .upload(node.name.clone(), None, report, node.boot.clone(), sections, Vec::new())
            .await
            .unwrap();
        let enrolled = changes.recv().await.unwrap();
        assert_eq!(enrolled.what, What::Event(NodeEvent::Enrolled));
        engine.stop();
        thread.join();
        assert_eq!(engine.snapshot().node("a").unwrap().counts.fail, 1);
        assert_eq!(engine.retire(node.name.clone()).await, Err(Refusal::Stopped));
    });
}

#[test]
fn what_a_newer_report_took_away_is_asked_for_again_after_a_crash() {
    let scratch = Scratch::new();
    let mut bench = Bench::open(&scratch, clock());
    let mut node = TestNode::new("a", &unknown("k"));
    node.with_manifest = true;
    bench.beat(&node).unwrap();
    bench.upload(&node, &[SectionName::Certificates]).unwrap();
    // Another report replaces it, and its certificates are swept, before anything of it is stored.
    let mut other = node.clone();
    other.set(SectionName::Certificates, unknown("other"));
    other.sequence = 1;
    bench.beat(&other).unwrap();

    let mut bench = bench.crash(&scratch);
    node.sequence = 2;
    let both = Want::Sections(vec![SectionName::Kernel, SectionName::Certificates]);
    assert_eq!(bench.beat(&node).unwrap().want, both);
}

#[test]
fn memory_that_cannot_be_read_back_acknowledges_nothing() {
    let scratch = Scratch::new();
    let mut bench = Bench::open(&scratch, clock());
    let mut node = TestNode::new("a", &unknown("k"));
    bench.report(&mut node);
    // The commit of the next report fails, and so does reading the state again.
    bench.core.store.limit_pages(Some(0));
    bench.core.store.hide_history(true);
    node.set(SectionName::Files, noise());
    node.sequence += 1;
    node.with_manifest = true;
    bench.beat(&node).unwrap();
    assert!(bench.upload(&node, &[SectionName::Files]).is_err());
    node.sequence += 1;
    node.with_manifest = false;
    let answer = bench.beat(&node);
    assert!(matches!(answer, Err(Refusal::NotDurable { .. })), "{answer:?}");

    bench.core.store.limit_pages(None);
    bench.core.store.hide_history(false);
    bench.advance(1);
    assert_eq!(bench.snapshot().readiness, Readiness::Ready);
    node.sequence += 1;
    node.with_manifest = true;
    assert_eq!(bench.beat(&node).unwrap().want, Want::Sections(vec![SectionName::Files]));
}

#[test]
fn nobody_is_silent_because_the_store_failed_for_long() {
    let scratch = Scratch::new();
    let mut bench = Bench::open(&scratch, clock());
    let mut node = TestNode::new("a", &unknown("k"));
    bench.report(&mut node);
    bench.core.store.limit_pages(Some(0));
    let mut other = TestNode::new("b", &unknown("k"));
    other.set(SectionName::Files, noise());
    assert!(bench.enrol_fails(&mut other));
    for _ in 0..60 {
        bench.advance(60);
    }
    bench.core.store.limit_pages(None);
    bench.advance(2);
    assert_eq!(bench.snapshot().readiness, Readiness::Ready);
    assert_eq!(bench.node("a").state, crate::snapshot::NodeState::Fresh);
    bench.advance(300);
    assert_ne!(bench.node("a").state, crate::snapshot::NodeState::Fresh);
}

#[test]
fn the_end_of_the_thread_is_told_whatever_its_reason() {
    let scratch = Scratch::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(clock());
    let judge = Arc::new(TestJudge("rule"));
    let settings = EngineSettings::default();
    let (engine, mut thread) =
        super::super::Engine::start(scratch.store(), settings, judge, clock).unwrap();
    assert!(engine.is_running());
    // This judge panics where the engine does not expect it.
    engine.judge_by(Arc::new(NoJudge)).unwrap();
    runtime.block_on(thread.ended());
    assert!(!engine.is_running());
    thread.join();
}

/// Knows no groups, and says so by panicking.
struct NoJudge;

impl Judge for NoJudge {
    fn profile(&self) -> Digest {
        Digest::of(b"")
    }

    fn basis(&self) -> Digest {
        Digest::of(b"")
    }

    fn groups(&self) -> Vec<Vec<SectionName>> {
        panic!("no groups")
    }

    fn is_apart(&self, _: &NodeName) -> bool {
        false
    }

    fn judge(&self, _: usize, _: &Facts, _: Option<&NodeName>, _: Moment) -> Judgement {
        Judgement::default()
    }
}

/// A section that zstd cannot make small.
fn noise() -> Value {
    let words: Vec<String> =
        (0..2000).map(|n| Digest::of(format!("{n}").as_bytes()).to_string()).collect();
    json!({"state":"known","paths":words})
}
