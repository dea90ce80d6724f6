//! Runs that prove something about the whole: no law is broken, broken implementations are caught, and
//! a seed always gives the same bytes. Many more seeds run with `make simulate`.

#![expect(clippy::wildcard_enum_match_arm, reason = "who breaks a law breaks it in one state")]

use std::io::Write as _;

use super::*;
use crate::fleet::Known;
use crate::request::BootRecord;
use crate::request::Proof;
use crate::request::Schedulability;
use crate::seen::DrainSeen;
use crate::step::Effect;

/// Seeds of the slice that every test run takes.
const SEEDS: u64 = 8;

fn run(seed: u64, nodes: usize, faults: Profile) -> Outcome {
    let (fleet, policy) = invent(seed, nodes);
    simulate(&fleet, &policy, START, &Options { seed, faults, ..Options::default() })
}

#[test]
fn a_fleet_without_faults_reboots_and_breaks_no_law() {
    let outcome = run(1, 60, Profile::None);
    assert_eq!(outcome.broken, []);
    assert!(outcome.reboots > 10, "{} reboots", outcome.reboots);
}

#[test]
fn under_all_faults_no_law_is_broken() {
    let (mut nodes, mut events, mut reboots) = (0, 0, 0);
    for seed in 0..SEEDS {
        let outcome = run(seed, 200, Profile::All);
        assert_eq!(outcome.broken, [], "seed {seed}");
        nodes += outcome.nodes;
        events += outcome.events;
        reboots += outcome.reboots;
    }
    let line = format!("{SEEDS} seeds, {nodes} nodes, {events} events, {reboots} reboots");
    writeln!(std::io::stderr(), "{line}: 0 laws broken").unwrap();
    assert!(reboots > 30, "{reboots} reboots");
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_one_does_not() {
    let (fleet, policy) = invent(5, 80);
    let told = |seed| {
        let options = Options { seed, faults: Profile::All, timeline: true, ..Options::default() };
        simulate(&fleet, &policy, START, &options)
    };
    let first = told(5);
    assert!(first.timeline.len() > 50);
    assert_eq!(told(5), first);
    assert_ne!(told(6).timeline, first.timeline);
}

#[test]
fn most_laws_are_put_to_the_test_by_every_few_seeds() {
    let mut kept: BTreeMap<u8, u64> = BTreeMap::new();
    for seed in 0..4 {
        for (law, times) in run(seed, 120, Profile::All).kept {
            *kept.entry(law).or_default() += times;
        }
    }
    for law in [1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 24] {
        assert!(kept.get(&law).copied().unwrap_or(0) > 0, "law {law}: {kept:?}");
    }
}

#[test]
fn snapshots_are_read_as_they_are_written_and_nonsense_is_refused_with_its_place() {
    let (fleet, _) = invent(2, 5);
    let snapshot = Snapshot { at: START, fleet };
    let text = serde_json::to_vec(&snapshot).unwrap();
    assert_eq!(Snapshot::parse(&text).unwrap(), snapshot);
    let refused = Snapshot::parse(b"{\n\"at\": 1,\n\"fleet\": 7}").unwrap_err();
    assert!(refused.to_string().contains("line 3"), "{refused}");
}

#[test]
fn assertions_are_read_and_nonsense_is_not() {
    for text in ["at-most 1 of app=storage", "at-most 0 of a=b,c=d", "finish-within 28800s"] {
        assert_eq!(text.parse::<Assertion>().unwrap().to_string(), text);
    }
    for text in ["", "at-most one of a=b", "at-most 1 of a", "finish-within soon", "at-most 1 a=b"]
    {
        assert!(text.parse::<Assertion>().is_err(), "{text}");
    }
    assert_eq!(duration_secs("8h"), Ok(28_800));
    assert!(duration_secs("h").is_err());
}

/// The laws that a decider breaks in a fleet in which nothing else goes wrong.
fn broken_by(decide: Decide) -> Vec<u8> {
    let mut broken = BTreeMap::new();
    for seed in 1..3 {
        let (fleet, policy) = invent(seed, 40);
        let options = Options { seed, rest_secs: 6 * 3600, ..Options::default() };
        let outcome = simulate_with(&fleet, &policy, START, &options, decide);
        broken.extend(outcome.broken.into_iter().map(|breach| (breach.law, breach.what)));
    }
    broken.into_keys().collect()
}

fn persist(request: &Request, state: State, change: impl FnOnce(&mut Request)) -> Step {
    let mut next = request.clone();
    next.progress.state = state;
    change(&mut next);
    Step::Persist(Box::new(next))
}

#[test]
fn who_frees_places_by_time_is_caught() {
    let broken = broken_by(|request, seen, pool, now| match request.progress.state {
        State::Rebooting if now.since(request.progress.since) > 60 => {
            persist(request, State::Done, |_| {})
        }
        _ => step(request, seen, pool, now),
    });
    assert!(broken.contains(&11) && broken.contains(&12), "{broken:?}");
}

#[test]
fn who_grants_before_the_drain_is_caught() {
    let broken = broken_by(|request, seen, pool, now| {
        let drain = Known::Known(DrainSeen::default());
        step(request, &Seen { drain, ..seen.clone() }, pool, now)
    });
    assert!(broken.contains(&3), "{broken:?}");
}

#[test]
fn who_takes_a_restart_of_the_agent_for_a_boot_is_caught() {
    let broken = broken_by(|request, seen, pool, now| match request.progress.state {
        State::Rebooting => persist(request, State::Booted, |next| {
            let boot = next.progress.grant.as_ref().map(|grant| BootRecord {
                boot: grant.boot.clone(),
                kernel: None,
                seen_at: now,
            });
            next.progress.boot = boot;
        }),
        _ => step(request, seen, pool, now),
    });
    assert!(broken.contains(&7), "{broken:?}");
}

#[test]
fn who_uncordons_without_all_proofs_is_caught() {
    let broken = broken_by(|request, seen, pool, now| match request.progress.state {
        State::Verifying => persist(request, State::Uncordoning, |next| {
            next.progress.proofs.remove(&Proof::Kernel);
        }),
        _ => step(request, seen, pool, now),
    });
    assert!(broken.contains(&8), "{broken:?}");
}

#[test]
fn who_cordons_before_the_state_is_stored_is_caught() {
    let broken = broken_by(|request, seen, pool, now| {
        let known = seen.node.known().and_then(Option::as_ref);
        let free = known.is_some_and(|node| node.cordon == crate::fleet::Cordon::Schedulable);
        match request.progress.state {
            State::Claimed if free => {
                Step::Do(vec![Effect::Cordon { before: Schedulability::Schedulable }])
            }
            _ => step(request, seen, pool, now),
        }
    });
    assert!(broken.contains(&13), "{broken:?}");
}

#[test]
fn who_never_ends_is_caught() {
    let broken = broken_by(|request, seen, pool, now| match request.progress.state {
        State::Draining => Step::Wait,
        _ => step(request, seen, pool, now),
    });
    assert!(broken.contains(&17), "{broken:?}");
}
