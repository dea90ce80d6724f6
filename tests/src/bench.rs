//! The benchmarks: every figure is a ratio against a real peer or a bare limit, taken in pairs on
//! the same machine within the same minute.
//!
//! ```text
//! bench [--write-readme] [ROW...]   ROW: B1 (B1u, B2 as well), B3, B4, B4s, B5, B9, B9b, B10, B11;
//!                             none: all
//! ```
//!
//! They are no tests: nothing fails because it is slow. Needs root (a mount namespace of its own)
//! and `PALISADE_AGENT`, `PALISADE_COLLECTOR`; everything listens on loopback.

mod blast;
mod changed;
mod deliver;
mod echo;
mod exporter;
mod files;
mod fixture;
mod floor;
mod heartbeat;
mod inspection;
mod measure;
mod peer;
mod planner;
mod pushgateway;
mod server;
mod size;
mod storm;
mod table;

use std::process::ExitCode;

use table::Row;

/// A row that can be asked for, and what measures it and its variants.
type Group = (&'static str, fn() -> Vec<Row>);

const GROUPS: [Group; 9] = [
    ("B1", inspection::run),
    ("B3", floor::run),
    ("B4", changed::run),
    ("B4s", changed::run_shared),
    ("B5", heartbeat::run),
    ("B9", deliver::run),
    ("B9b", storm::run),
    ("B10", planner::run),
    ("B11", size::run),
];

/// Runs what the arguments ask for and prints the table.
#[must_use]
pub fn main(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    let own_name = arguments.next().unwrap_or_default();
    if own_name.ends_with(fixture::KUBELET) {
        fixture::wait_for_the_end();
        return ExitCode::SUCCESS;
    }
    let arguments: Vec<String> = arguments.collect();
    if arguments.first().map(String::as_str) == Some(echo::ROLE) {
        echo::serve();
        return ExitCode::SUCCESS;
    }
    let write = arguments.iter().any(|word| word == "--write-readme");
    let wanted: Vec<&String> = arguments.iter().filter(|word| !word.starts_with('-')).collect();
    if let Some(stranger) = wanted.iter().find(|word| GROUPS.iter().all(|(name, _)| name != **word))
    {
        let known: Vec<&str> = GROUPS.iter().map(|(name, _)| *name).collect();
        eprintln!("error: no row {stranger}; there are {}", known.join(", "));
        return ExitCode::from(2);
    }
    let mut rows = Vec::new();
    for (name, run) in GROUPS {
        if wanted.is_empty() || wanted.iter().any(|word| *word == name) {
            rows.extend(run());
        }
    }
    print!("{}", table::text(&rows));
    if write {
        table::write_readme(&rows);
    }
    ExitCode::SUCCESS
}
