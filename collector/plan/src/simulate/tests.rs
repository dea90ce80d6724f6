//! Runs that prove something about the whole: no law is broken, and a seed always gives the same bytes.
//! Many more seeds run with `make simulate`.

use std::io::Write as _;

use super::fault::Trouble;
use super::*;

mod builds;

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
fn what_is_done_to_a_run_is_counted_and_nothing_else_is() {
    let calm = run(1, 60, Profile::None);
    let harmless = [Fault::LeaderChanged, Fault::LearnedDeadline];
    let faults = calm.tally.faults.iter().filter(|(fault, _)| !harmless.contains(fault));
    assert_eq!(faults.collect::<Vec<_>>(), []);
    assert!(calm.tally.steps.values().all(|kills| kills.before + kills.after == 0));
    assert!(calm.tally.transitions() >= calm.reboots * 8, "{:?}", calm.tally);
    assert!(calm.tally.times(Fault::LearnedDeadline) > 0, "{:?}", calm.tally);

    let mut tally = Tally::default();
    for seed in 2..6 {
        tally.add(&run(seed, 120, Profile::All).tally);
    }
    let died = tally.times(Fault::DiedBefore) + tally.times(Fault::DiedAfter);
    let around: u64 = tally.steps.values().map(|kills| kills.before + kills.after).sum();
    assert!(around > 0 && around < died, "{around} of {died}");
    // The whole list is for a campaign; most of it happens to every few fleets.
    let tried = Fault::ALL.iter().filter(|fault| tally.times(**fault) > 0).count();
    assert!(tried > 40, "{tried} of {} kinds", Fault::ALL.len());
}

#[test]
fn a_node_on_its_way_at_the_cut_is_followed_to_its_end() {
    let (fleet, policy) = invent(1, 60);
    let mut followed = 0;
    for rest_secs in (1200..4800).step_by(300) {
        let options = Options { seed: 1, rest_secs, ..Options::default() };
        let outcome = simulate(&fleet, &policy, START, &options);
        assert_eq!(outcome.broken, [], "cut after {rest_secs} s");
        followed += u32::from(outcome.end > START.plus(rest_secs));
    }
    assert!(followed > 6, "{followed} of 12 runs had a node on its way at their cut");
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

/// A node goes while its request waits for the next look; a campaign needs collectors that die around it.
#[test]
fn a_node_is_deleted_while_its_request_waits_in_some_runs_and_the_others_are_as_they_were() {
    let drawn = |seed| {
        let mut chance = Chance::new(seed);
        chance.split();
        Faults::new(Profile::All).troubles(&mut chance, 3 * 3600)
    };
    let has = |seed: &u64, state| {
        drawn(*seed).iter().any(|(_, it)| matches!(it, Trouble::Gone(of, _) if *of == state))
    };
    for state in [State::Needed, State::Ready, State::Backoff] {
        let runs = (0..1000).filter(|seed| has(seed, state)).count();
        assert!((60..140).contains(&runs), "{state:?} in {runs} of 1000 runs");
    }
    let mut tally = Tally::default();
    for seed in (2..).filter(|seed| has(seed, State::Needed)).take(4) {
        let outcome = run(seed, 40, Profile::All);
        assert_eq!(outcome.broken, [], "seed {seed}");
        tally.add(&outcome.tally);
    }
    let gone = tally.steps.get(&(Some(State::Needed), State::NodeGone)).copied();
    assert!(gone.is_some_and(|kills| kills.done > 0), "{:?}", tally.steps);
    assert!(tally.times(Fault::DeletedWaiting) > 0);
}
