//! `simulate`: what a policy would do to a fleet, with everything that may go wrong. What is decided,
//! judged and asserted lives in `palisade_plan::simulate`; here are files, flags and lines.
//!
//! ```text
//! POLICY, SNAPSHOT ─> simulate, once for each seed ─> timeline of the first, laws, assertions
//!                                                      └─> 0, or 1 where one did not hold
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::io::Read as _;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use palisade_plan::law::LAWS;
use palisade_plan::policy::Policy;
use palisade_plan::policy::PolicyError;
use palisade_plan::simulate::Assertion;
use palisade_plan::simulate::MalformedAssertion;
use palisade_plan::simulate::MalformedDuration;
use palisade_plan::simulate::MalformedLabels;
use palisade_plan::simulate::Options;
use palisade_plan::simulate::Outcome;
use palisade_plan::simulate::Profile;
use palisade_plan::simulate::Snapshot;
use palisade_plan::simulate::SnapshotError;
use palisade_plan::simulate::duration_secs;
use palisade_plan::simulate::labels;
use palisade_plan::simulate::simulate;

/// What to simulate.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Simulate {
    /// The policy, as the collector reads it
    #[arg(value_name = "POLICY")]
    pub policy: PathBuf,
    /// The fleet, in JSON: an object with `at` (Unix time) and `fleet`
    #[arg(value_name = "SNAPSHOT")]
    pub snapshot: PathBuf,
    /// The seed of the first run
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// How many runs, each with the next seed
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,
    /// How much goes wrong
    #[arg(long, value_name = "none|usual|all", default_value = "none", value_parser = profile)]
    pub faults: Profile,
    /// What must hold: `at-most N of KEY=VALUE[,...]` or `finish-within 8h`; may be repeated
    #[arg(long = "assert", value_name = "EXPR")]
    pub assertions: Vec<String>,
    /// Nodes that may be down at once, of those that --of selects
    #[arg(long, value_name = "N", requires = "of")]
    pub at_most: Option<usize>,
    /// Labels of the nodes that --at-most counts
    #[arg(long, value_name = "KEY=VALUE[,...]", requires = "at_most")]
    pub of: Option<String>,
    /// When every node that needs a reboot must have had it
    #[arg(long, value_name = "DURATION")]
    pub finish_within: Option<String>,
    /// Leave out the timeline
    #[arg(long)]
    pub quiet: bool,
}

/// Why nothing was simulated.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// A file cannot be read. At fault: whoever named it.
    #[error("failed to read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file is longer than any that makes sense. At fault: whoever named it.
    #[error("failed to read {path}: it is longer than {most} bytes")]
    TooLong {
        /// The file.
        path: PathBuf,
        /// What is read at most.
        most: u64,
    },
    /// The policy is none. At fault: its author.
    #[error("failed to use the policy {path}")]
    Policy {
        /// The file.
        path: PathBuf,
        /// Line, column and what to write instead.
        source: PolicyError,
    },
    /// The policy is no text. At fault: its author.
    #[error("failed to use the policy {path}: it is not UTF-8")]
    PolicyText {
        /// The file.
        path: PathBuf,
    },
    /// The snapshot is none. At fault: whoever made it.
    #[error("failed to use the snapshot {path}")]
    Snapshot {
        /// The file.
        path: PathBuf,
        /// Where and what.
        source: SnapshotError,
    },
    /// An assertion is none. At fault: the arguments.
    #[error("failed to use --assert")]
    Assertion(#[source] MalformedAssertion),
    /// Labels are none. At fault: the arguments.
    #[error("failed to use --of")]
    Labels(#[source] MalformedLabels),
    /// A duration is none. At fault: the arguments.
    #[error("failed to use --finish-within")]
    Duration(#[source] MalformedDuration),
    /// Nobody reads what would be said. At fault: whoever started it.
    #[error("failed to say what happened")]
    Say(#[source] io::Error),
}

/// Bytes of a policy file: more than any person writes.
const MAX_POLICY: u64 = 4 << 20;

/// Bytes of a snapshot file.
const MAX_SNAPSHOT: u64 = 512 << 20;

/// Nodes that are listed with what they wait for; the rest is counted.
const MAX_WAITING: usize = 20;

fn profile(text: &str) -> Result<Profile, String> {
    match text {
        "none" => Ok(Profile::None),
        "usual" => Ok(Profile::Usual),
        "all" => Ok(Profile::All),
        _ => Err(String::from("expected none, usual or all")),
    }
}

/// Simulates what is asked for, says what happened, and ends with whether everything held.
///
/// # Errors
/// [`SimulateError`] if there was nothing to simulate.
pub fn run(asked: &Simulate, out: &mut impl Write) -> Result<ExitCode, SimulateError> {
    let policy = policy(&asked.policy)?;
    let text = bytes(&asked.snapshot, MAX_SNAPSHOT)?;
    let snapshot = Snapshot::parse(&text)
        .map_err(|source| SimulateError::Snapshot { path: asked.snapshot.clone(), source })?;
    let assertions = assertions(asked)?;
    let mut kept: BTreeMap<u8, u64> = BTreeMap::new();
    let mut held = true;
    let last = asked.seed.saturating_add(asked.seeds);
    for seed in asked.seed..last {
        let options = Options {
            seed,
            faults: asked.faults,
            timeline: !asked.quiet && seed == asked.seed,
            assertions: assertions.clone(),
            ..Options::default()
        };
        let outcome = simulate(&snapshot.fleet, &policy, snapshot.at, &options);
        for (law, times) in &outcome.kept {
            let so_far = kept.entry(*law).or_default();
            *so_far = so_far.saturating_add(*times);
        }
        held &= outcome.broken.is_empty() && outcome.violated.is_empty();
        say(out, seed, &outcome).map_err(SimulateError::Say)?;
    }
    for law in &LAWS {
        let times = kept.get(&law.number).copied().unwrap_or(0);
        writeln!(out, "law {:2}: checked {times} times: {}", law.number, law.title)
            .map_err(SimulateError::Say)?;
    }
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn policy(path: &Path) -> Result<Policy, SimulateError> {
    let text = String::from_utf8(bytes(path, MAX_POLICY)?)
        .map_err(|_| SimulateError::PolicyText { path: path.to_owned() })?;
    Policy::parse(&text).map_err(|source| SimulateError::Policy { path: path.to_owned(), source })
}

fn bytes(path: &Path, most: u64) -> Result<Vec<u8>, SimulateError> {
    let failed = |source| SimulateError::Read { path: path.to_owned(), source };
    let file = fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    let read = file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    if u64::try_from(read).unwrap_or(u64::MAX) > most {
        return Err(SimulateError::TooLong { path: path.to_owned(), most });
    }
    Ok(bytes)
}

fn assertions(asked: &Simulate) -> Result<Vec<Assertion>, SimulateError> {
    let parsed: Result<Vec<Assertion>, MalformedAssertion> =
        asked.assertions.iter().map(|text| text.parse()).collect();
    let mut assertions = parsed.map_err(SimulateError::Assertion)?;
    if let (Some(nodes), Some(of)) = (asked.at_most, &asked.of) {
        let of = labels(of).map_err(SimulateError::Labels)?;
        assertions.push(Assertion::AtMost { nodes, of });
    }
    if let Some(text) = &asked.finish_within {
        let secs = duration_secs(text).map_err(SimulateError::Duration)?;
        assertions.push(Assertion::FinishWithin(secs));
    }
    Ok(assertions)
}

fn say(out: &mut impl Write, seed: u64, outcome: &Outcome) -> io::Result<()> {
    for line in &outcome.timeline {
        writeln!(out, "{line}")?;
    }
    let finished = match outcome.finished_at {
        Some(at) => {
            format!("the last was done at {at}, {} s after the start", at.since(outcome.start))
        }
        None => String::from("none was done"),
    };
    writeln!(
        out,
        "seed {seed}: {} nodes, {} reboots, {finished}; {} nodes still wait",
        outcome.nodes,
        outcome.reboots,
        outcome.waiting.len()
    )?;
    for (node, why) in outcome.waiting.iter().take(MAX_WAITING) {
        writeln!(out, "  {node} waits: {why}")?;
    }
    for breach in &outcome.broken {
        writeln!(out, "seed {seed}: law {} broken at {}: {}", breach.law, breach.at, breach.what)?;
    }
    for violation in &outcome.violated {
        let at = violation.at;
        writeln!(
            out,
            "seed {seed}: {} did not hold at {at}: {}",
            violation.assertion, violation.what
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
