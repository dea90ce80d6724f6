//! Many nodes: ask once, judge once, pace uploads, keep nodes apart.

use super::*;
use crate::engine::core::Outcome;
use palisade_report::section::Sharing;

/// Drives nodes by heartbeats until all reports are complete; returns the uploads of each section.
fn enrol(bench: &mut Bench, nodes: &mut [TestNode]) -> (usize, usize) {
    let (mut shared, mut own) = (0, 0);
    for node in &mut *nodes {
        node.sequence += 1;
        assert_eq!(bench.beat(node).unwrap().want, Want::Manifest);
    }
    for round in 0.. {
        assert!(round < 1000, "enrolment does not end");
        let mut asked = Vec::new();
        for node in &mut *nodes {
            node.sequence += 1;
            node.with_manifest = round == 0;
            if let Want::Sections(names) = bench.beat(node).unwrap().want {
                asked.push((node.clone(), names));
            }
        }
        if asked.is_empty() && bench.snapshot().counters.enrolling == 0 {
            return (shared, own);
        }
        assert!(asked.len() <= 20, "{} uploads at once", asked.len());
        for (node, names) in asked {
            let is_shared = |name: &&SectionName| name.sharing() == Sharing::Shared;
            shared += names.iter().filter(is_shared).count();
            own += names.iter().filter(|name| !is_shared(name)).count();
            bench.upload(&node, &names).unwrap();
        }
        bench.clock.advance(1);
    }
    (shared, own)
}

#[test]
fn a_thousand_nodes_of_five_configurations_cost_five() {
    let scratch = Scratch::new();
    let mut bench = Bench::open(&scratch, clock());
    let mut nodes: Vec<TestNode> = (0..1000)
        .map(|number| {
            let mut node =
                TestNode::new(&format!("node-{number}"), &bad(&(number % 5).to_string()));
            node.set(SectionName::Host, unknown(&(number % 5).to_string()));
            node
        })
        .collect();
    assert_eq!(enrol(&mut bench, &mut nodes), (10, 1000));
    let snapshot = bench.snapshot();
    let judgements: Vec<u64> = snapshot.counters.groups.iter().map(|it| it.judgements).collect();
    assert_eq!(judgements, [5, 1000]);
    assert_eq!(snapshot.counters.sections, 1010);
    assert_eq!(snapshot.counters.findings.fail, 1000);
    assert_eq!(snapshot.counters.findings.pass, 1000);
    assert_eq!(snapshot.counters.severity(Severity::High).fail, 1000);
    assert_eq!(snapshot.counters.rules[&"kernel.rule".parse().unwrap()].fail, 1000);
    let digest = snapshot.digest();

    let mut bench = bench.crash(&scratch);
    assert_eq!(bench.snapshot().digest(), digest);
    for node in &mut nodes {
        node.sequence += 1;
        assert_eq!(bench.beat(node).unwrap().want, Want::Nothing);
    }
    let again = bench.snapshot();
    assert_eq!(again.counters.findings, snapshot.counters.findings);
    assert_eq!(again.counters.rules, snapshot.counters.rules);
    assert!(again.counters.groups.iter().all(|group| group.judgements == 0));
}

#[test]
fn a_section_that_is_not_sent_is_asked_from_the_next_node_after_ten_seconds() {
    let scratch = Scratch::new();
    let mut bench = Bench::open(&scratch, clock());
    let mut nodes: Vec<TestNode> =
        ["a", "b"].iter().map(|name| TestNode::new(name, &unknown("k"))).collect();
    let mut asked = |bench: &mut Bench, at: usize| {
        let node = &mut nodes[at];
        node.sequence += 1;
        node.with_manifest = true;
        bench.beat(node).unwrap()
    };
    let both = Want::Sections(vec![SectionName::Kernel, SectionName::Certificates]);
    assert_eq!(asked(&mut bench, 0).want, both);
    assert_eq!(asked(&mut bench, 1).want, Want::Sections(vec![SectionName::Certificates]));
    bench.clock.advance(9);
    assert_eq!(asked(&mut bench, 1).want, Want::Sections(vec![SectionName::Certificates]));
    bench.clock.advance(1);
    assert_eq!(asked(&mut bench, 1).want, both);
    assert_eq!(asked(&mut bench, 0).want, Want::Sections(vec![SectionName::Certificates]));
}

#[test]
fn no_node_learns_by_a_digest_what_another_one_has() {
    let scratch = Scratch::new();
    let mut bench = Bench::open(&scratch, clock());
    let mut victim = TestNode::new("victim", &unknown("k"));
    bench.report(&mut victim);
    let secret = victim.section(SectionName::Certificates);

    let mut prober = TestNode::new("prober", &unknown("k"));
    prober.set(SectionName::Certificates, (*secret.value).clone());
    assert_eq!(bench.report(&mut prober), [SectionName::Certificates]);

    // Nor by naming it as a section that nodes share.
    let mut prober = TestNode::new("prober-2", &unknown("k"));
    prober.set(SectionName::Files, (*secret.value).clone());
    assert!(bench.report(&mut prober).contains(&SectionName::Files));
}

#[test]
fn what_nobody_refers_to_is_removed() {
    let scratch = Scratch::new();
    let mut bench = Bench::open(&scratch, clock());
    let mut nodes: Vec<TestNode> =
        ["a", "b"].iter().map(|name| TestNode::new(name, &unknown("old"))).collect();
    for (at, node) in nodes.iter_mut().enumerate() {
        bench.report(node);
        node.set(SectionName::Kernel, unknown("new"));
        assert_eq!(bench.snapshot().counters.sections, 2 + u64::try_from(at).unwrap());
    }
    let old = TestNode::new("x", &unknown("old")).section(SectionName::Kernel).digest;
    let stored = |bench: &Bench| {
        let loaded = bench.core.store.load().unwrap();
        (
            loaded.sections.iter().any(|(_, digest, _)| *digest == old),
            loaded.sections.len(),
            loaded.judgements.len(),
        )
    };
    bench.report(&mut nodes[0]);
    assert_eq!(stored(&bench), (true, 4, 4));
    bench.report(&mut nodes[1]);
    assert_eq!(stored(&bench), (false, 3, 3));
    assert_eq!(bench.snapshot().counters.sections, 3);
}

#[test]
fn a_node_brings_only_so_many_new_sections_within_an_hour() {
    let scratch = Scratch::new();
    let settings = EngineSettings { max_new_sections_per_hour: 4, ..EngineSettings::default() };
    let mut bench = Bench::with(&scratch, clock(), settings, "rule");
    let mut node = TestNode::new("a", &unknown("0"));
    bench.report(&mut node);
    for turn in 1..=2 {
        node.set(SectionName::Kernel, unknown(&turn.to_string()));
        bench.report(&mut node);
    }
    node.set(SectionName::Kernel, unknown("3"));
    node.sequence += 1;
    node.with_manifest = true;
    bench.beat(&node).unwrap();
    let refused = bench.upload(&node, &[SectionName::Kernel]);
    assert!(matches!(refused, Err(Refusal::TooManyNewSections { .. })), "{refused:?}");
    assert_eq!(bench.snapshot().counters.sections, 2);
    bench.clock.advance(3600);
    bench.upload(&node, &[SectionName::Kernel]).unwrap();
}

#[test]
fn there_is_room_for_so_many_nodes_and_a_retired_one_makes_room() {
    let scratch = Scratch::new();
    let settings = EngineSettings { max_nodes: 1, ..EngineSettings::default() };
    let mut bench = Bench::with(&scratch, clock(), settings, "rule");
    let mut first = TestNode::new("a", &unknown("k"));
    bench.report(&mut first);
    let mut second = TestNode::new("b", &unknown("k"));
    second.with_manifest = true;
    assert_eq!(bench.beat(&second), Err(Refusal::TooManyNodes));
    let now = bench.now();
    assert!(matches!(bench.retire(&first.name, now), Outcome::Durable(Ok(()))));
    bench.turn();
    bench.report(&mut second);
}

#[test]
fn a_node_that_a_waiver_names_is_judged_apart() {
    let scratch = Scratch::new();
    let mut bench = Bench::open(&scratch, clock());
    for name in ["a", "apart", "b"] {
        bench.report(&mut TestNode::new(name, &bad("k")));
    }
    let verdict = |bench: &mut Bench, name: &str| bench.node(name).counts.waived;
    assert_eq!(["a", "apart", "b"].map(|name| verdict(&mut bench, name)), [0, 2, 0]);
    assert_eq!(bench.snapshot().counters.groups[0].judgements, 2);
}

#[test]
fn a_manifest_of_another_report_or_without_end_is_refused() {
    let scratch = Scratch::new();
    let mut bench = Bench::open(&scratch, clock());
    let node = TestNode::new("a", &unknown("k"));
    let now = bench.now();
    let mut heartbeat = node.heartbeat(now);
    heartbeat.manifest = Some(TestNode::new("b", &unknown("k")).manifest());
    let mut refusal = |heartbeat: &Heartbeat| {
        let outcome = bench.core.heartbeat(&node.name, heartbeat, now.at, now);
        match outcome {
            Outcome::AtOnce(result) | Outcome::Durable(result) => result.unwrap_err(),
        }
    };
    assert_eq!(refusal(&heartbeat), Refusal::ManifestMismatch);
    let entry = ManifestEntry { schema: 1, digest: Digest::of(b""), size: 0 };
    let many = Manifest((0..33).map(|number| (number.to_string(), entry)).collect());
    heartbeat.report = many.digest();
    heartbeat.manifest = Some(many);
    assert_eq!(refusal(&heartbeat), Refusal::TooManySections);
    assert_eq!(bench.snapshot().nodes.len(), 0);
}

#[test]
fn a_report_is_complete_without_a_section_that_nobody_can_take() {
    let scratch = Scratch::new();
    let mut bench = Bench::open(&scratch, clock());
    let mut nodes: Vec<TestNode> =
        ["a", "b"].iter().map(|name| TestNode::new(name, &unknown("k"))).collect();
    for node in &mut nodes {
        node.set(SectionName::Files, unknown("strange"));
        node.with_manifest = true;
        node.sequence += 1;
        bench.beat(node).unwrap();
    }
    let usable = [SectionName::Kernel, SectionName::Certificates];
    bench.upload_beside(&nodes[0], &usable, &[SectionName::Files]).unwrap();
    let report = Some(nodes[0].manifest().digest());
    assert_eq!(bench.node("a").report, report, "it does not wait for ever");
    assert_eq!(bench.node("a").section(SectionName::Files), None);
    bench.upload(&nodes[1], &[SectionName::Certificates]).unwrap();
    assert_eq!(bench.node("b").report, Some(nodes[1].manifest().digest()), "nor do others");
    assert_eq!(bench.snapshot().counters.enrolling, 0);

    // The agent does not send it again, so a restart must not wait for it either.
    let mut bench = bench.crash(&scratch);
    nodes[0].set(SectionName::Kernel, unknown("newer"));
    assert_eq!(bench.report(&mut nodes[0]), [SectionName::Kernel]);
    assert_eq!(bench.node("a").report, Some(nodes[0].manifest().digest()));
}

#[test]
fn a_rule_that_panics_costs_its_own_verdicts_and_nothing_else() {
    let scratch = Scratch::new();
    let mut bench = Bench::open(&scratch, clock());
    let mut value = unknown("k");
    value["panic"] = json!(true);
    let mut node = TestNode::new("a", &value);
    bench.report(&mut node);
    let counts = bench.node("a").counts;
    assert_eq!((counts.unknown, counts.pass), (1, 1), "{counts:?}");
}
