//! Many invented fleets under all faults, one after the other: `make simulate SEEDS=n`.
//!
//! ```text
//! campaign [SEEDS [FIRST [NODES]]] [--show]
//! ```
//!
//! Without NODES most fleets have 200 nodes, every hundredth 1,000 and every thousandth 5,000. Prints a
//! line for each broken law, and in the end what was run and what was done to it: each kind of fault,
//! each transition and each call with the collectors that died before and after it. With `--show` the
//! timeline of FIRST alone. Exit code 1 if a law was broken, or if a campaign that is long enough for it
//! never tried one of these.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Instant;

use palisade_plan::law::LAWS;
use palisade_plan::simulate::Fault;
use palisade_plan::simulate::Kills;
use palisade_plan::simulate::Options;
use palisade_plan::simulate::Outcome;
use palisade_plan::simulate::Profile;
use palisade_plan::simulate::Tally;
use palisade_plan::simulate::invent;
use palisade_plan::simulate::simulate;
use palisade_plan::simulate::words;
use palisade_report::Moment;

/// When every run begins; the simulator's own fleets know this moment.
const START: Moment = palisade_plan::simulate::START;

/// Seeds between two lines that say how far it is.
const PROGRESS_SEEDS: u64 = 500;

/// Lines of broken laws; more of them say no more.
const MAX_SHOWN: u64 = 200;

/// Seeds from which on whatever can go wrong is to have gone wrong, also what is seldom.
const THOROUGH_SEEDS: u64 = 5_000;

/// What was run.
#[derive(Default)]
struct Sum {
    runs: u64,
    nodes: u64,
    events: u64,
    reboots: u64,
    broken: u64,
    kept: BTreeMap<u8, u64>,
    of_law: BTreeMap<u8, u64>,
    tally: Tally,
}

fn size(seed: u64) -> usize {
    match seed {
        seed if seed % 1000 == 999 => 5000,
        seed if seed % 100 == 99 => 1000,
        _ => 200,
    }
}

fn run(seed: u64, nodes: usize) -> Outcome {
    let (fleet, policy) = invent(seed, nodes);
    let faults = profile(seed);
    simulate(&fleet, &policy, START, &Options { seed, faults, ..Options::default() })
}

fn profile(seed: u64) -> Profile {
    match seed % 20 {
        0 => Profile::None,
        1 => Profile::Usual,
        _ => Profile::All,
    }
}

fn main() -> ExitCode {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    let seeds = numbers.first().copied().unwrap_or(1000);
    let first = numbers.get(1).copied().unwrap_or(0);
    let nodes = numbers.get(2).and_then(|nodes| usize::try_from(*nodes).ok());
    if std::env::args().any(|text| text == "--show") {
        let (fleet, policy) = invent(first, nodes.unwrap_or_else(|| size(first)));
        let options =
            Options { seed: first, faults: profile(first), timeline: true, ..Options::default() };
        let outcome = simulate(&fleet, &policy, START, &options);
        let shown = outcome.timeline.join("\n");
        return match writeln!(std::io::stdout(), "{shown}\n{:#?}", outcome.broken) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(2),
        };
    }
    match campaign(seeds, first, nodes) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(_) => ExitCode::from(2),
    }
}

fn campaign(seeds: u64, first: u64, nodes: Option<usize>) -> std::io::Result<u64> {
    let mut out = std::io::stdout().lock();
    let began = Instant::now();
    let next = AtomicU64::new(first);
    let last = first.saturating_add(seeds);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (sender, outcomes) = mpsc::channel();
    let mut sum = Sum::default();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= last {
                        break;
                    }
                    let outcome = run(seed, nodes.unwrap_or_else(|| size(seed)));
                    if sender.send((seed, outcome)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        for (seed, outcome) in outcomes {
            take(&mut out, &mut sum, seed, &outcome)?;
            if sum.runs.is_multiple_of(PROGRESS_SEEDS) {
                let (secs, Sum { runs, broken, .. }) = (began.elapsed().as_secs(), &sum);
                writeln!(
                    std::io::stderr(),
                    "{runs} of {seeds} seeds, {secs} s, {broken} laws broken"
                )?;
            }
        }
        std::io::Result::Ok(())
    })?;
    for law in &LAWS {
        let kept = sum.kept.get(&law.number).copied().unwrap_or(0);
        let broken = sum.of_law.get(&law.number).copied().unwrap_or(0);
        writeln!(out, "law {:2} kept {kept:9} broken {broken:4}  {}", law.number, law.title)?;
    }
    told(&mut out, &sum.tally)?;
    let mut failed = sum.broken;
    if seeds >= THOROUGH_SEEDS {
        for what in sum.tally.missing() {
            failed = failed.saturating_add(1);
            writeln!(out, "never tried: {what}")?;
        }
    }
    let secs = began.elapsed().as_secs_f64();
    let Sum { runs, nodes, events, reboots, broken, tally, .. } = &sum;
    let faults: u64 = tally.faults.values().sum();
    let kills = tally.times(Fault::DiedBefore).saturating_add(tally.times(Fault::DiedAfter));
    let (transitions, leaders) = (tally.transitions(), tally.times(Fault::LeaderChanged));
    writeln!(
        out,
        "{transitions} transitions, {kills} kills of collectors, {leaders} leader changes, {faults} faults"
    )?;
    writeln!(
        out,
        "{runs} seeds, {nodes} nodes, {events} events, {reboots} reboots: {broken} laws broken, {secs:.1} s"
    )?;
    Ok(failed)
}

/// What was done to the runs.
fn told(out: &mut impl std::io::Write, tally: &Tally) -> std::io::Result<()> {
    for fault in Fault::ALL {
        writeln!(out, "fault {:9}  {}", tally.times(*fault), fault.words())?;
    }
    for (state, times) in &tally.forced {
        writeln!(out, "record taken away {times:9} in {state:?}")?;
    }
    for (step, Kills { done, before, after }) in &tally.steps {
        let what = words(*step);
        writeln!(out, "transition {done:9} killed before {before:6} after {after:6}  {what}")?;
    }
    for (what, Kills { done, before, after }) in &tally.calls {
        writeln!(out, "call       {done:9} killed before {before:6} after {after:6}  {what}")?;
    }
    Ok(())
}

fn take(
    out: &mut impl std::io::Write,
    sum: &mut Sum,
    seed: u64,
    outcome: &Outcome,
) -> std::io::Result<()> {
    sum.runs = sum.runs.saturating_add(1);
    sum.nodes = sum.nodes.saturating_add(u64::try_from(outcome.nodes).unwrap_or(0));
    sum.events = sum.events.saturating_add(outcome.events);
    sum.reboots = sum.reboots.saturating_add(outcome.reboots);
    for (law, times) in &outcome.kept {
        let kept = sum.kept.entry(*law).or_default();
        *kept = kept.saturating_add(*times);
    }
    sum.tally.add(&outcome.tally);
    for breach in &outcome.broken {
        sum.broken = sum.broken.saturating_add(1);
        let times = sum.of_law.entry(breach.law).or_default();
        *times = times.saturating_add(1);
        if sum.broken <= MAX_SHOWN {
            writeln!(out, "seed {seed} law {} at {}: {}", breach.law, breach.at, breach.what)?;
        }
    }
    Ok(())
}
